//! The source keeps to its own plan: modules import downward only, what is deterministic stays so, nothing grows too
//! large, and everything is named where a newcomer looks for it.
//!
//! The rules read the text of the source with comments, literals and test modules blanked out, so that line numbers
//! still hold.

use std::fmt::Write as _;
use std::fs;

#[path = "layering/source.rs"]
mod source;

use source::{Source, is_word, item_end, paths, root, sources, words};

/// Each top-level module and its layer, in halves, so that `mail` has a number between two others.
const LAYERS: [(&str, u8); 13] = [
    ("base", 0),
    ("pages", 0),
    ("codec", 2),
    ("domain", 2),
    ("dialect", 4),
    ("message", 5),
    ("connection", 6),
    ("owner", 6),
    ("shard", 8),
    ("runtime", 10),
    ("config", 12),
    ("command_line", 12),
    ("main", 12),
];

/// Modules of one layer that are blind to each other.
const SIBLINGS: [(&str, &str); 3] = [("codec", "domain"), ("connection", "owner"), ("base", "pages")];

/// From here on the operating system may be seen.
const RUNTIME: u8 = 10;

/// What a module below `runtime` must not name, as the beginning of a path, and what that is.
const FORBIDDEN_PATHS: [(&str, &str); 26] = [
    ("std::fs", "files"),
    ("std::thread", "threads"),
    ("std::process", "processes"),
    ("std::env", "the environment"),
    ("std::net::TcpStream", "sockets"),
    ("std::net::TcpListener", "sockets"),
    ("std::net::UdpSocket", "sockets"),
    ("std::net::ToSocketAddrs", "name resolution"),
    ("std::os", "the operating system"),
    ("std::sync::mpsc", "queues between threads"),
    ("std::sync::Mutex", "locks"),
    ("std::sync::RwLock", "locks"),
    ("std::collections::HashMap", "a map in random order"),
    ("std::collections::HashSet", "a set in random order"),
    ("std::collections::hash_map", "a map in random order"),
    ("std::hash::RandomState", "entropy"),
    ("std::hash::DefaultHasher", "a hash that another compiler may change"),
    ("mio", "sockets"),
    ("socket2", "sockets"),
    ("tokio", "an asynchronous runtime"),
    ("getrandom", "entropy"),
    ("rand", "entropy; randomness comes from base::rng"),
    ("crossbeam_channel", "queues between threads"),
    ("signal_hook", "signals"),
    ("rlimit", "the operating system"),
    ("rusqlite", "files"),
];

/// What a module below `runtime` must not call, wherever the name comes from.
const FORBIDDEN_WORDS: [(&str, &str); 10] = [
    ("Instant", "a clock"),
    ("SystemTime::now", "a clock"),
    (".elapsed", "a clock"),
    ("now_v7", "a clock and entropy"),
    ("new_v4", "entropy"),
    ("thread_rng", "entropy"),
    ("from_os_rng", "entropy"),
    ("OsRng", "entropy"),
    ("RandomState", "entropy"),
    ("File::open", "files"),
];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

fn layer_of(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// The layer of the module a file belongs to; `None` for the crate's root.
fn layer(source: &Source) -> Option<u8> {
    layer_of(source.top()?)
}

/// The top-level module of this crate that `path` leads to, as named in `source`.
fn target<'a>(source: &Source, path: &'a str) -> Option<&'a str> {
    let segments: Vec<&str> = path.split("::").collect();
    let climbs = segments.iter().take_while(|segment| **segment == "super").count();
    let depth = if source.top().is_none() { 0 } else { source.modules().len() };
    let module = match segments.first() {
        Some(&("crate" | "switchboard")) => segments.get(1)?,
        Some(&"super") if climbs >= depth => segments.get(climbs)?,
        _ => return None,
    };
    layer_of(module).map(|_| *module)
}

fn is_or_below(path: &str, forbidden: &str) -> bool {
    path.strip_prefix(forbidden).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// A rule: what is wrong with a file, as `file:line: what`.
type Rule = fn(&Source) -> Vec<String>;

fn imports_go_downward(source: &Source) -> Vec<String> {
    let (Some(own), Some(layer)) = (source.top(), layer(source)) else { return Vec::new() };
    let mut wrong = Vec::new();
    for (at, path) in paths(&source.code) {
        let Some(module) = target(source, &path).filter(|module| *module != own) else { continue };
        let other = layer_of(module).unwrap_or(u8::MAX);
        let is_sideways = SIBLINGS.contains(&(own, module)) || SIBLINGS.contains(&(module, own));
        if other > layer || is_sideways {
            let way = if is_sideways { "sideways" } else { "upward" };
            wrong.push(format!("{}: `{own}` must not import `{module}`: that is {way}", source.at(at)));
        }
    }
    wrong
}

fn below_runtime_nothing_is_seen_of_the_system(source: &Source) -> Vec<String> {
    if layer(source).is_none_or(|layer| layer >= RUNTIME) {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    let mut report = |at, name: &str, what: &str| {
        wrong.push(format!("{}: `{name}` is {what}, which only `runtime` and above may see", source.at(at)));
    };
    for (at, path) in paths(&source.code) {
        for (forbidden, what) in FORBIDDEN_PATHS {
            // A path may also start from a module that was imported: `fs::read`, `thread::spawn`.
            let short = forbidden.strip_prefix("std::").filter(|rest| !rest.contains("::") && path.contains("::"));
            if is_or_below(&path, forbidden) || short.is_some_and(|short| is_or_below(&path, short)) {
                report(at, forbidden, what);
            }
        }
    }
    for (word, what) in FORBIDDEN_WORDS {
        for at in words(&source.code, word) {
            report(at, word, what);
        }
    }
    wrong
}

fn maps_come_from_base(source: &Source) -> Vec<String> {
    if source.path == "base/map.rs" || layer(source).is_none_or(|layer| layer >= RUNTIME) {
        return Vec::new();
    }
    let named = paths(&source.code).into_iter().filter(|(_, path)| is_or_below(path, "hashbrown::HashMap"));
    named.map(|(at, _)| format!("{}: a map without a seed; take the one in base::map", source.at(at))).collect()
}

fn unsafe_code_has_two_places(source: &Source) -> Vec<String> {
    if matches!(source.top(), Some("runtime" | "base")) {
        return Vec::new();
    }
    words(&source.code, "unsafe").map(|at| format!("{}: `unsafe` only in runtime and base", source.at(at))).collect()
}

fn files_are_short(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![format!("src/{}:{lines}: a file of more than {FILE_LINES_MAX} lines is two things", source.path)]
}

fn functions_are_short(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    for at in words(&source.code, "fn") {
        let rest = source.code[at + 2..].trim_start();
        let name: String = rest.bytes().take_while(|byte| is_word(*byte)).map(char::from).collect();
        if name.is_empty() {
            continue; // a function's type
        }
        let lines = source.code[at..item_end(&source.code, at)].lines().count();
        if lines > FUNCTION_LINES_MAX {
            let place = source.at(at);
            wrong.push(format!("{place}: `{name}` has {lines} lines, more than {FUNCTION_LINES_MAX}"));
        }
    }
    wrong
}

/// What is wrong with the crate's root: each module it declares has a layer and stands in its map.
fn unmapped(root: &str) -> Vec<String> {
    let map: String = root.lines().filter(|line| line.starts_with("//!")).collect();
    let mut wrong = Vec::new();
    for (number, line) in root.lines().enumerate() {
        let declared = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "));
        let Some(module) = declared.and_then(|rest| rest.strip_suffix(';')) else { continue };
        let at = format!("src/lib.rs:{}", number + 1);
        if layer_of(module).is_none() {
            wrong.push(format!("{at}: `{module}` has no layer; give it one in tests/layering.rs"));
        }
        if words(&map, module).next().is_none() {
            wrong.push(format!("{at}: `{module}` is not in the map at the top of src/lib.rs"));
        }
    }
    wrong
}

/// What is wrong with the manifest: each dependency says after a `#` what it is for.
fn unexplained(manifest: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut is_dependencies = false;
    for (number, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            is_dependencies = line.trim_end_matches(']').ends_with("dependencies");
            continue;
        }
        let is_entry = is_dependencies && line.starts_with(|c: char| c.is_ascii_alphabetic());
        // A `#` between quotes is none; dependencies have no such values.
        let reason = line.split_once('#').map_or("", |(_, reason)| reason.trim());
        if is_entry && reason.is_empty() {
            let name = line.split_whitespace().next().unwrap_or_default();
            wrong.push(format!("Cargo.toml:{}: `{name}` does not say what it is for", number + 1));
        }
    }
    wrong
}

fn hold(rule: Rule) {
    let wrong: Vec<String> = sources().iter().flat_map(rule).collect();
    agree(&wrong);
}

fn agree(wrong: &[String]) {
    let mut text = String::new();
    for line in wrong {
        let _ = write!(text, "\n{line}");
    }
    assert!(wrong.is_empty(), "{text}");
}

#[test]
fn modules_import_downward_and_never_across() {
    hold(imports_go_downward);
}

#[test]
fn clocks_entropy_threads_sockets_and_files_stay_in_the_runtime() {
    hold(below_runtime_nothing_is_seen_of_the_system);
    hold(maps_come_from_base);
}

#[test]
fn unsafe_code_is_in_runtime_and_base_only() {
    hold(unsafe_code_has_two_places);
}

#[test]
fn no_file_and_no_function_is_too_long() {
    hold(files_are_short);
    hold(functions_are_short);
}

#[test]
fn every_module_is_on_the_map_and_has_a_layer() {
    agree(&unmapped(&fs::read_to_string(root().join("src/lib.rs")).expect("it is readable")));
}

#[test]
fn every_dependency_says_what_it_is_for() {
    agree(&unexplained(&fs::read_to_string(root().join("Cargo.toml")).expect("it is readable")));
}

/// The rules themselves: each sees what it is there for, and where.
mod rules {
    use super::source::without_prose;
    use super::*;

    fn wrong(rule: Rule, path: &str, text: &str) -> Vec<usize> {
        let found = rule(&Source::new(path, text));
        let line = |wrong: &String| wrong.split(':').nth(1).and_then(|line| line.parse().ok());
        found.iter().map(|wrong| line(wrong).expect("a line")).collect()
    }

    #[test]
    fn imports_upward_and_sideways_are_seen_however_they_are_spelled() {
        let seen = |path, text| wrong(imports_go_downward, path, text);
        assert_eq!(seen("base/ids.rs", "use crate::domain::op::Op;"), [1]);
        assert_eq!(seen("domain/room.rs", "\nuse crate::{base::Name, codec::ws};"), [2]);
        assert_eq!(seen("domain/room.rs", "use crate::base::{ids,\n map};\nfn a(x: crate::shard::Shard) {}"), [3]);
        assert_eq!(seen("domain/op.rs", "use super::super::shard::Stats;"), [1]);
        assert_eq!(seen("mail.rs", "use super::shard::Stats;"), [1]);
        assert_eq!(seen("mail.rs", "use crate::codec::jwt::Verifier;"), [0usize; 0]);
        assert_eq!(seen("connection/conn.rs", "use crate::owner::OwnerContract;"), [1]);
        assert_eq!(seen("owner/mod.rs", "use crate::{\n    base::Name,\n    connection::{self, conn}};"), [3, 3]);
        assert_eq!(seen("pages/mod.rs", "use crate::base::Name;"), [1]);
        assert_eq!(seen("shard/mod.rs", "use crate::owner::embedded::EmbeddedOwner; use crate::pages;"), [0usize; 0]);
        assert_eq!(seen("codec/http/mod.rs", "// crate::shard\nconst A: &str = \"crate::shard\";"), [0usize; 0]);
        assert_eq!(seen("codec/a.rs", "#[cfg(test)]\nmod tests { use crate::domain::op::Op; }"), [0usize; 0]);
    }

    #[test]
    fn what_the_system_gives_is_seen_below_the_runtime() {
        let seen = |text| wrong(below_runtime_nothing_is_seen_of_the_system, "shard/mod.rs", text);
        for text in [
            "use std::{io, fs};",
            "fn a() { std::thread::sleep(b) }",
            "fn a() { thread::spawn(b) }",
            "use std::net::{IpAddr, TcpStream};",
            "use std::collections::{BTreeMap, HashMap};",
            "fn a() -> u64 { getrandom::u64() }",
            "use mio::Poll;",
            "fn a(b: B) { b.elapsed() }",
            "fn a() { SystemTime::now(); }",
            "use std::sync::{Arc, Mutex};",
        ] {
            assert_eq!(seen(text), [1], "{text}");
        }
        assert_eq!(seen("use std::time::Instant;\nfn a() { Instant::now() }"), [1, 2]);
        assert_eq!(seen("use std::net::{IpAddr, SocketAddr};\nuse std::collections::BTreeMap;"), [0usize; 0]);
        assert_eq!(seen("/// std::fs\nfn fs_like() { let thread = 1; }"), [0usize; 0]);
        let above = wrong(below_runtime_nothing_is_seen_of_the_system, "runtime/clock.rs", "use std::time::Instant;");
        assert_eq!(above, [0usize; 0]);
        assert_eq!(wrong(maps_come_from_base, "domain/room.rs", "use hashbrown::HashMap;"), [1]);
        assert_eq!(wrong(maps_come_from_base, "base/map.rs", "use hashbrown::HashMap;"), [0usize; 0]);
    }

    #[test]
    fn unsafe_code_and_length_are_seen() {
        assert_eq!(wrong(unsafe_code_has_two_places, "codec/a.rs", "fn a() {\n unsafe { b() } }"), [2]);
        assert_eq!(wrong(unsafe_code_has_two_places, "base/a.rs", "unsafe fn a() {}"), [0usize; 0]);
        assert_eq!(wrong(unsafe_code_has_two_places, "codec/a.rs", "// unsafe\n#![deny(unsafe_code)]"), [0usize; 0]);
        let function = |lines: usize| format!("\nfn a() {{\n{}}}\nfn b() {{}}", "x();\n".repeat(lines));
        assert_eq!(wrong(functions_are_short, "base/a.rs", &function(69)), [2]);
        assert_eq!(wrong(functions_are_short, "base/a.rs", &function(68)), [0usize; 0]);
        assert_eq!(
            wrong(functions_are_short, "base/a.rs", &format!("#[cfg(test)] mod t {{{}}}", function(90))),
            [0; 0]
        );
        assert_eq!(wrong(files_are_short, "base/a.rs", &"\n".repeat(601)), [601]);
        assert_eq!(wrong(files_are_short, "base/a.rs", &"\n".repeat(600)), [0usize; 0]);
    }

    #[test]
    fn literals_are_not_code() {
        let text = "let a = \"} fn \\\" {\"; let b = '{'; let c = r#\"{\"# ; let d: &'static str = b\"{\"; /* { */ e";
        let code = without_prose(text);
        assert!(!code.contains(['{', '}']), "{code}");
        assert!(code.contains("&'static str") && code.ends_with('e') && code.len() == text.len());
    }

    #[test]
    fn what_is_missing_in_the_map_and_the_manifest_is_seen() {
        assert_eq!(unmapped("//! - `base`: ids\n\npub mod base;\npub mod codec;\nmod novel;").len(), 3);
        assert_eq!(unmapped("//! base, and codec.\npub mod base;\npub mod codec;"), [""; 0]);
        let manifest =
            "[package]\nname = \"a\"\n[dependencies]\na = \"1\" # why\nb = { version = \"1\" }\n[lints]\nc = 1";
        assert_eq!(unexplained(manifest), ["Cargo.toml:5: `b` does not say what it is for"]);
    }
}
