//! Determinism: below `runtime`, no clock, entropy, thread, socket, file or randomly ordered map; `unsafe` in two
//! modules.

use crate::Violation;
use crate::layers::{RUNTIME, layer};
use crate::source::{Source, paths, words};

/// Paths that a module below `runtime` must not name, and what each gives access to.
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

/// Words that a module below `runtime` must not contain, wherever the name comes from.
const FORBIDDEN_WORDS: [(&str, &str); 11] = [
    ("Moment::now", "a clock"),
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

fn is_or_below(path: &str, forbidden: &str) -> bool {
    path.strip_prefix(forbidden).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

pub(crate) fn nothing_below_runtime_uses_the_system(source: &Source) -> Vec<Violation> {
    if layer(source).is_none_or(|layer| layer >= RUNTIME) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut report = |at, name: &str, what: &str| {
        let what = format!("`{name}` gives access to {what}, which only `runtime` and above may use");
        found.push(Violation::at(source, at, &what));
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
        // Its name as a value; what reads the clock is its function `now`.
        let is_alias = word == "Instant" && source.path == "base/time.rs";
        for at in words(&source.code, word).filter(|_| !is_alias) {
            report(at, word, what);
        }
    }
    found
}

pub(crate) fn maps_come_from_base(source: &Source) -> Vec<Violation> {
    if source.path == "base/map.rs" || layer(source).is_none_or(|layer| layer >= RUNTIME) {
        return Vec::new();
    }
    let named = paths(&source.code).into_iter().filter(|(_, path)| is_or_below(path, "hashbrown::HashMap"));
    named.map(|(at, _)| Violation::at(source, at, "a map without a seed; use base::map")).collect()
}

pub(crate) fn unsafe_code_has_two_places(source: &Source) -> Vec<Violation> {
    if matches!(source.top(), Some("runtime" | "base")) {
        return Vec::new();
    }
    words(&source.code, "unsafe").map(|at| Violation::at(source, at, "`unsafe` outside runtime and base")).collect()
}

mod tests {
    use super::*;
    use crate::FileRule;

    fn wrong(rule: FileRule, path: &str, text: &str) -> Vec<usize> {
        rule(&Source::new(path, text)).iter().map(Violation::line).collect()
    }

    #[test]
    fn use_of_the_system_is_found_below_runtime() {
        let found = |text| wrong(nothing_below_runtime_uses_the_system, "shard/mod.rs", text);
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
            assert_eq!(found(text), [1], "{text}");
        }
        assert_eq!(found("use std::time::Instant;\nfn a() { Instant::now() }"), [1, 2]);
        assert_eq!(found("use std::net::{IpAddr, SocketAddr};\nuse std::collections::BTreeMap;"), [0usize; 0]);
        assert_eq!(found("/// std::fs\nfn fs_like() { let thread = 1; }"), [0usize; 0]);
        let above = wrong(nothing_below_runtime_uses_the_system, "runtime/clock.rs", "use std::time::Instant;");
        assert_eq!(above, [0usize; 0]);
        assert_eq!(wrong(maps_come_from_base, "domain/room.rs", "use hashbrown::HashMap;"), [1]);
        assert_eq!(wrong(maps_come_from_base, "base/map.rs", "use hashbrown::HashMap;"), [0usize; 0]);
    }

    #[test]
    fn unsafe_code_is_found_outside_two_modules() {
        assert_eq!(wrong(unsafe_code_has_two_places, "codec/a.rs", "fn a() {\n unsafe { b() } }"), [2]);
        assert_eq!(wrong(unsafe_code_has_two_places, "base/a.rs", "unsafe fn a() {}"), [0usize; 0]);
        assert_eq!(wrong(unsafe_code_has_two_places, "codec/a.rs", "// unsafe\n#![deny(unsafe_code)]"), [0usize; 0]);
    }
}
