//! The tables of reference are complete and name only what exists: error codes, close codes, calls, metrics, requests and
//! events with their fields.

use std::collections::BTreeSet;

use serde_json::Value;

use super::golden::{Sample, samples};
use super::markdown::{Document, Table, codes, document, read, words};
use support::http::ask;
use support::server::Server;

/// The first code of each row of the tables with that first column.
fn named(document: &Document, column: &str) -> BTreeSet<String> {
    let tables = document.tables().into_iter().filter(|table| table.header[0] == column);
    tables.flat_map(|table| table.rows).filter_map(|row| Some(codes(&row[0]).next()?.to_owned())).collect()
}

#[test]
fn every_error_code_has_its_status() {
    let source = read("src/domain/reject.rs");
    let codes: Vec<&str> = source.lines().filter_map(|line| line.split_once("=> \"")?.1.strip_suffix("\",")).collect();
    assert!(codes.len() > 20, "{} codes found in the source", codes.len());
    let protocol = document("docs/protocol.md");
    let table = protocol.tables().into_iter().find(|table| table.heading == "Errors").expect("a table");
    let listed: Vec<&str> = table.rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(listed, codes);
    let statuses = read("src/dialect/rest/refusal.rs");
    for row in &table.rows {
        let name: String = row[0].trim_matches('`').split('_').map(capitalized).collect();
        let arm =
            statuses.split(&format!("Code::{name}")).nth(1).is_some_and(|_| has_status(&statuses, &name, &row[1]));
        assert!(arm, "{} is not {}", row[0], row[1]);
    }
}

fn capitalized(word: &str) -> String {
    format!("{}{}", &word[..1], word[1..].to_ascii_lowercase())
}

/// Whether the function `status_of` gives that status for that code.
fn has_status(source: &str, code: &str, status: &str) -> bool {
    let body = source.split_once("pub fn status_of").expect("the function").1;
    let arms = body.split_once("\n}").expect("its end").0;
    let after = arms.split_once(&format!("Code::{code}")).expect("the code").1;
    let arm = after.split_once("=>").expect("an arm").1;
    arm.trim_start().starts_with(status)
}

#[test]
fn every_close_code_of_a_conversation_is_listed() {
    let document = document("docs/protocol.md");
    let table = document.tables().into_iter().find(|table| table.heading == "Close codes").expect("a table");
    let listed: BTreeSet<&str> = table.rows.iter().flat_map(|row| row[0].split(", ")).collect();
    let shard: String = ["timers", "peers", "recovery", "connections", "drain", "answers"]
        .map(|file| std::fs::read_to_string(format!("{}/src/shard/{file}.rs", env!("CARGO_MANIFEST_DIR"))))
        .map(Result::unwrap_or_default)
        .concat();
    let mut found = BTreeSet::new();
    found.extend(words(&shard).filter(|word| word.len() == 4 && (word.starts_with("44") || word.starts_with("101"))));
    let golden = read("tests/golden/closing.txt");
    found.extend(golden.lines().filter_map(|line| line.split_once(" closed ")?.1.split(' ').next()));
    assert!(found.len() > 6, "{found:?}");
    for code in found {
        assert!(listed.contains(code), "{code} is not in the table of close codes");
    }
}

#[test]
fn every_call_is_listed() {
    let source = read("src/dialect/rest/route.rs");
    let rows = source.lines().filter_map(|line| line.trim().strip_prefix("row(\""));
    let calls: Vec<String> = rows
        .filter_map(|row| {
            let mut parts = row.split('"');
            Some(format!("{} {}", parts.next()?, parts.nth(1)?))
        })
        .collect();
    assert!(calls.len() > 25, "{calls:?}");
    let listed = named(&document("docs/rest.md"), "call");
    assert_eq!(listed, calls.into_iter().collect());
}

#[test]
fn every_metric_is_listed() {
    let server = Server::start(&["--dev"]);
    let response = ask(&server.address, "GET", "/metrics", &[], None);
    let text = String::from_utf8(response.body).expect("text");
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let real: BTreeSet<String> = types.map(str::to_owned).collect();
    let operations = document("docs/operations.md");
    let table = operations.tables().into_iter().find(|table| table.header[0] == "metric").expect("a table");
    let listed: BTreeSet<String> =
        table.rows.iter().map(|row| format!("{} {}", row[0].trim_matches('`'), row[1])).collect();
    assert_eq!(listed, real);
}

#[test]
fn every_bench_is_listed() {
    let manifest = read("Cargo.toml");
    let benches = manifest.split("[[bench]]").skip(1);
    let names = benches.filter_map(|bench| Some(bench.split_once("name = \"")?.1.split('"').next()?.to_owned()));
    assert_eq!(named(&document("docs/performance.md"), "bench"), names.collect());
}

/// Fields of a payload that every answer of its kind has.
const COMMON: [&str; 8] = ["type", "requestId", "timestamp", "success", "message", "code", "detail", "retryAfter"];

fn fields(value: &Value) -> Vec<String> {
    value.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
}

/// Each field of these samples is in the text.
fn assert_named<'a>(samples: impl Iterator<Item = &'a Sample>, text: &str, place: &str) {
    let known: BTreeSet<&str> = words(text).collect();
    for sample in samples {
        for field in fields(&sample.value) {
            let is_known = known.contains(field.as_str()) || COMMON.contains(&field.as_str());
            assert!(is_known, "{place} does not have {field}, as in {}", sample.value);
        }
    }
}

#[test]
fn every_request_and_event_of_raw_is_listed_with_its_fields() {
    let samples: Vec<Sample> = samples().into_iter().filter(|sample| sample.dialect == "raw").collect();
    let protocol = document("docs/protocol.md");
    let tables: Vec<Table> =
        protocol.tables().into_iter().filter(|table| table.heading == "Requests and events").collect();
    let [requests, events] = tables.as_slice() else { panic!("{} tables", tables.len()) };
    let decoder = read("src/dialect/raw/decode.rs");
    for row in &requests.rows {
        let name = row[0].trim_matches('`');
        assert!(decoder.contains(&format!("\"{name}\" =>")), "{name} is no request");
        assert_named(samples.iter().filter(|s| s.is_sent && s.name == name), &row[1], name);
    }
    let is_listed = |name: &str| requests.rows.iter().any(|row| row[0].trim_matches('`') == name);
    let arms = decoder.split_once("match kind {").expect("the requests").1.split_once("\n    }").expect("their end").0;
    let names = arms.lines().filter_map(|line| line.strip_prefix("        \"")?.split_once("\" =>"));
    for (name, _) in names {
        assert!(is_listed(name), "{name} is not in the table of requests");
    }
    for sample in samples.iter().filter(|sample| !sample.is_sent && sample.name != "error") {
        let name = format!("`{}`", sample.name);
        let rows = requests.rows.iter().chain(&events.rows);
        let rows = rows.filter(|row| row.iter().any(|cell| cell.contains(&name)));
        let text = rows.flatten().cloned().collect::<Vec<String>>().join(" ");
        assert!(!text.is_empty(), "{name} is not in the tables");
        assert_named(std::iter::once(sample), &text, &name);
    }
}

/// Requests of a dialect of Socket.IO, by its decoder.
fn requests_of(dialect: &str) -> BTreeSet<String> {
    let source = read(&format!("src/dialect/{dialect}/decode.rs"));
    let list = source.split_once("requests! {").expect("the requests").1.split_once("\n}").expect("their end").0;
    list.lines().filter_map(|line| Some(line.split_once(" = \"")?.1.split('"').next()?.to_owned())).collect()
}

#[test]
fn every_request_and_event_of_socketio_is_listed_with_its_fields() {
    let all = samples();
    let guide = document("docs/socketio.md");
    let of =
        |heading: &str| -> Vec<Table> { guide.tables().into_iter().filter(|table| table.heading == heading).collect() };
    let shared = of("Events that all dialects share");
    let shared_names: BTreeSet<String> = shared[0].rows.iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    let extra = guide.text.split_once("A *user entry* is").expect("what rows refer to").1;
    let extra = extra.split_once("\n\n").expect("its end").0;
    for dialect in ["colon", "camel", "notify"] {
        let samples: Vec<&Sample> = all.iter().filter(|sample| sample.dialect == dialect).collect();
        let tables = of(&format!("`{dialect}`"));
        let [requests, events] = tables.as_slice() else { panic!("{dialect}: {} tables", tables.len()) };
        let listed: BTreeSet<String> = requests.rows.iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
        assert_eq!(listed, requests_of(dialect), "{dialect}");
        for row in requests.rows.iter().chain(&shared[0].rows).filter(|row| !row[1].starts_with("any")) {
            let name = row[0].trim_matches('`');
            let of_name = || samples.iter().filter(|sample| sample.name == name).copied();
            assert_named(of_name().filter(|sample| sample.is_sent), &row[1], name);
            let acks = of_name().filter(|sample| sample.is_ack && sample.value["success"] != false);
            let ack_column = requests.header.iter().position(|column| column == "ack").expect("a column");
            let ack = if shared_names.contains(name) { &row[3] } else { &row[ack_column] };
            assert_named(acks, ack, name);
        }
        for sample in samples.iter().filter(|sample| !sample.is_sent && !sample.is_ack && sample.name != "error") {
            let row = events.rows.iter().find(|row| row[0].trim_matches('`') == sample.name);
            let is_shared = shared_names.contains(&sample.name) || sample.name == "message";
            match row {
                Some(row) => assert_named(std::iter::once(*sample), &format!("{} {extra}", row[1]), &sample.name),
                None => assert!(is_shared, "{dialect}: {} is not in the table of events", sample.name),
            }
        }
        let heard: BTreeSet<&str> = samples.iter().filter(|s| !s.is_sent).map(|s| s.name.as_str()).collect();
        for row in &events.rows {
            let name = row[0].trim_matches('`');
            let source = read(&format!("src/dialect/{dialect}/encode.rs"));
            assert!(heard.contains(name) || source.contains(&format!("\"{name}\"")), "{dialect}: {name} is no event");
        }
    }
}
