//! Crates: each top-level module uses those on its list, and every entry of the list is in use.

use crate::Violation;
use crate::manifest;
use crate::source::{Source, paths};

/// The external crates that each top-level module may name.
const ALLOWED: &[(&str, &[&str])] = &[
    (
        "base",
        &[
            "base64",
            "foldhash",
            "hashbrown",
            "httpdate",
            "humantime",
            "rand_chacha",
            "slab",
            "time",
            "unicode_normalization",
            "unicode_security",
        ],
    ),
    (
        "codec",
        &[
            "aws_lc_rs",
            "base64",
            "flate2",
            "httparse",
            "jsonwebtoken",
            "memchr",
            "proxy_header",
            "rmp",
            "serde",
            "serde_json",
            "simdutf8",
            "smallvec",
            "tungstenite",
        ],
    ),
    ("domain", &["smallvec", "triomphe", "uuid"]),
    ("dialect", &["serde", "serde_json", "uuid"]),
    ("message", &["smallvec", "uuid"]),
    ("connection", &["serde", "serde_json", "smallvec"]),
    ("media", &["serde", "serde_json", "slab", "str0m"]),
    ("owner", &["serde", "serde_json", "slab", "smallvec", "tracing", "uuid"]),
    ("shard", &["hashbrown", "slab", "smallvec", "tracing", "uuid"]),
    (
        "runtime",
        &[
            "base64",
            "crc16",
            "crossbeam_channel",
            "getrandom",
            "libc",
            "mio",
            "redis",
            "rusqlite",
            "rustix",
            "rustls",
            "rustls_native_certs",
            "serde",
            "serde_json",
            "signal_hook",
            "socket2",
            "tokio",
            "tracing",
            "tracing_appender",
            "ureq",
            "uuid",
        ],
    ),
    ("config", &["jsonwebtoken", "serde", "serde_json", "strsim", "toml", "tracing"]),
    (
        "command_line",
        &[
            "clap",
            "clap_complete",
            "clap_mangen",
            "httparse",
            "httpdate",
            "humantime",
            "jsonwebtoken",
            "rlimit",
            "rustls",
            "rustls_native_certs",
            "serde_json",
            "tracing",
            "tracing_appender",
            "tracing_subscriber",
        ],
    ),
    ("pages", &["flate2", "foldhash"]),
    ("main", &["clap", "jsonwebtoken", "rlimit", "tracing"]),
];

pub(crate) fn violations(sources: &[Source], manifest: &str) -> Vec<Violation> {
    compare(sources, &manifest::crates(manifest), ALLOWED)
}

fn compare(sources: &[Source], known: &[String], allowed: &[(&str, &[&str])]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut used: Vec<(String, String)> = Vec::new();
    for source in sources {
        let module = source.top().unwrap_or("lib");
        let may = allowed.iter().find(|(name, _)| *name == module).map_or(&[][..], |(_, crates)| *crates);
        for (at, name) in named(source, known) {
            if !used.contains(&(module.to_owned(), name.clone())) {
                if !may.contains(&name.as_str()) {
                    let what = format!("`{module}` uses the crate `{name}`, which is not on its list");
                    found.push(Violation::new(what.clone(), format!("{}: {what}", source.at(at))));
                }
                used.push((module.to_owned(), name));
            }
        }
    }
    for (module, crates) in allowed {
        for name in crates.iter().filter(|name| !used.contains(&((*module).to_owned(), (**name).to_owned()))) {
            let what = format!("`{module}` does not use the crate `{name}`, which is on its list");
            found.push(Violation::new(what.clone(), format!("tests/layering/crates.rs: {what}")));
        }
    }
    found
}

/// The crates a file names, with their places. A module of the same name that the file declares or imports is no crate.
fn named(source: &Source, known: &[String]) -> Vec<(usize, String)> {
    let all = paths(&source.code);
    let is_module = |name: &str| {
        source.code.contains(&format!("mod {name};"))
            || source.code.contains(&format!("mod {name} {{"))
            || all.iter().any(|(_, path)| {
                let (stem, last) = path.rsplit_once("::").unwrap_or_default();
                ["crate", "super", "self"].contains(&stem.split("::").next().unwrap_or_default())
                    && (last == name || (last == "self" && stem.rsplit("::").next() == Some(name)))
            })
    };
    let crate_of =
        |path: &str| known.iter().find(|name| path.split_once("::").is_some_and(|(first, _)| first == **name));
    let mut found = Vec::new();
    for (at, path) in &all {
        let is_absolute = source.code[..*at].ends_with("::")
            && !source.code[..*at]
                .trim_end_matches(':')
                .ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>');
        if let Some(name) = crate_of(path).filter(|name| is_absolute || !is_module(name)) {
            found.push((*at, name.clone()));
        }
    }
    found
}

mod tests {
    use super::*;

    fn found(path: &str, text: &str, allowed: &[(&str, &[&str])]) -> Vec<String> {
        let known = ["mio".to_owned(), "redis".to_owned(), "serde_json".to_owned()];
        let violations = compare(&[Source::new(path, text)], &known, allowed);
        violations.into_iter().map(|violation| violation.key).collect()
    }

    #[test]
    fn crate_outside_the_list_is_found() {
        for text in [
            "use mio::Poll;",
            "fn a() -> mio::Poll { b() }",
            "use {std::io, mio::{Poll, Token}};",
            "fn a() { ::mio::b() }",
            "impl From<mio::Token> for A {}",
        ] {
            let wrong = found("codec/a.rs", text, &[("codec", &["redis"])]);
            assert!(wrong[0].starts_with("`codec` uses the crate `mio`"), "{text}: {wrong:?}");
        }
        assert_eq!(found("codec/a.rs", "use mio::Poll;", &[("codec", &["mio"])]), [""; 0]);
        assert_eq!(found("codec/a.rs", "// mio::Poll\nlet mio = 1; a.mio();", &[]), [""; 0]);
        assert_eq!(found("codec/a.rs", "#[cfg(test)]\nmod tests { use mio::Poll; }", &[]), [""; 0]);
    }

    #[test]
    fn module_named_as_a_crate_is_no_crate() {
        assert_eq!(found("owner/mod.rs", "pub mod redis;\nuse redis::Keys;", &[]), [""; 0]);
        assert_eq!(found("shard/mod.rs", "use crate::message::redis;\nfn a(b: redis::Call) {}", &[]), [""; 0]);
        assert_eq!(
            found("shard/mod.rs", "use crate::message::redis::{self, Call};\nfn a(b: redis::C) {}", &[]),
            [""; 0]
        );
        assert_eq!(found("shard/mod.rs", "use crate::message::redis::Call;", &[]), [""; 0]);
    }

    #[test]
    fn unused_entry_of_the_list_is_found() {
        let wrong = found("codec/a.rs", "use mio::Poll;", &[("codec", &["mio", "redis"])]);
        assert_eq!(wrong, ["`codec` does not use the crate `redis`, which is on its list"]);
    }
}
