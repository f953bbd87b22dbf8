//! The description of the calls at `/openapi.json`, compared with the server, the manual, and the answers to generated requests.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};
use support::http::{ask, bearer};
use support::packages::{SCHEMATHESIS, SCRIPTS, run};
use support::server::{Server, token};

const REST: &str = include_str!("../../docs/rest.md");
const PROTOCOL: &str = include_str!("../../docs/protocol.md");

/// Generated requests for each call and kind of test, the same ones each time. `SWITCHBOARD_EXAMPLES` replaces the number, and then
/// they are others each time.
const EXAMPLES: &str = "15";

fn description(server: &Server) -> Value {
    let answer = ask(&server.address, "GET", "/openapi.json", &[], None);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json; charset=utf-8")));
    answer.json()
}

/// The methods of each path, as the description has them.
fn described(description: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let paths = description["paths"].as_object().expect("paths");
    let methods = |item: &Value| {
        let names = item.as_object().expect("operations").keys().filter(|name| *name != "parameters");
        names.map(|name| name.to_uppercase()).collect()
    };
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

#[test]
fn description_has_the_methods_of_the_server() {
    let server = Server::start(&[]);
    for (path, mut methods) in described(&description(&server)) {
        let sample = path.replace(['{', '}'], "");
        let allowed = ask(&server.address, "OPTIONS", &sample, &[], None);
        let allowed = allowed.header("allow").expect("methods").split(", ").map(str::to_owned).collect();
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
        methods.insert("OPTIONS".to_owned());
        assert_eq!(methods, allowed, "{path}");
    }
}

#[test]
fn description_has_the_calls_of_the_manual() {
    let server = Server::start(&[]);
    let described = described(&description(&server));
    let table = REST.split("## All calls").nth(1).and_then(|rest| rest.split("## ").next()).expect("a table");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let is_page =
        |cells: &str| ["page", "script", "calls of", "files", "icon", "client"].iter().any(|word| cells.contains(word));
    let calls: BTreeSet<(String, &str)> = rows
        .filter(|(_, cells)| !cells.contains("without a token") || !is_page(cells))
        .map(|(call, _)| {
            let (method, path) = call.split_once(' ').expect("a method and a path");
            let segment = |segment: &str| match segment.strip_prefix(':') {
                // One path of the server has two names of its parameter.
                Some("connectionId") => "{userId}".to_owned(),
                Some(name) => format!("{{{name}}}"),
                None => segment.to_owned(),
            };
            (path.split('/').map(segment).collect::<Vec<_>>().join("/"), method)
        })
        .collect();
    let described: BTreeSet<(String, &str)> = described
        .iter()
        .flat_map(|(path, methods)| methods.iter().map(|method| (path.clone(), method.as_str())))
        .collect();
    assert_eq!(described, calls);
}

#[test]
fn description_has_the_version_and_the_codes_of_errors() {
    let server = Server::start(&[]);
    let description = description(&server);
    assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    let table = PROTOCOL.split("\n## Errors").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a table");
    let codes = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let codes: Vec<&str> = codes.collect();
    assert_eq!(description["components"]["schemas"]["Error"]["properties"]["code"]["enum"], json!(codes));
}

/// Has Schemathesis send requests of all kinds to the operations, and compare each answer with the description.
fn generate(server: &Server, operations: &[&str]) {
    let wanted = std::env::var("SWITCHBOARD_EXAMPLES").ok();
    let examples = wanted.as_deref().unwrap_or(EXAMPLES);
    let admin = bearer(&token("root", &json!({ "role": "admin" })));
    let program = SCHEMATHESIS.with_file_name("schemathesis");
    let mut command = Command::new(program);
    command.args(["run", &format!("http://{}/openapi.json", server.address), "--checks", "all", "--no-color"]);
    command.args(["--max-examples", examples, "--header", admin.trim(), "--warnings", "off"]).args(operations);
    command
        .current_dir(support::workspace::scratch())
        .env("PYTHONPATH", SCRIPTS)
        .env("SCHEMATHESIS_HOOKS", "requests_made");
    if wanted.is_none() {
        command.args(["--seed", "1"]);
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    run(&mut command);
}

#[test]
fn generated_requests_get_the_described_answers() {
    let unlimited =
        ["limits.connection_attempts", "limits.rest_per_minute", "limits.cost_per_ip"].map(|name| format!("{name}=0"));
    let mut arguments = vec!["--set", "auth.guests=true"];
    arguments.extend(unlimited.iter().flat_map(|setting| ["--set", setting.as_str()]));
    let server = Server::start(&arguments);
    // A room that is closed by one path is gone at the other, which a check of Schemathesis takes for a fault: it knows
    // resources by their paths.
    // The answer to a trace does not end.
    // Calls that block and revoke would shut the caller out.
    generate(
        &server,
        &[
            "--exclude-operation-id",
            "closeMeeting",
            "--exclude-operation-id",
            "endRoom",
            "--exclude-operation-id",
            "traceFrames",
            "--exclude-tag",
            "Administration",
        ],
    );
    generate(&server, &["--include-path-regex", "^/api/rooms"]);
    generate(&server, &["--include-path-regex", "^/api/v1/rooms/[^/]*$"]);
}
