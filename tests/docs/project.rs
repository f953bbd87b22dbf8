//! The documents for contributors list what there is: tests, fuzz targets, layers, decisions, and terms within their bound.

use std::collections::BTreeSet;
use std::fs;

use super::markdown::{Document, codes, document, read, root};

/// Terms that the glossary may have.
const TERMS: usize = 40;

/// The names in the first column of the tables under a heading.
fn listed(document: &Document, heading: &str) -> BTreeSet<String> {
    let tables = document.tables().into_iter().filter(|table| table.heading == heading);
    tables.flat_map(|table| table.rows).filter_map(|row| Some(codes(&row[0]).next()?.to_owned())).collect()
}

#[test]
fn every_test_program_is_listed() {
    let mut programs: BTreeSet<String> = ["src", "loadtest/tests"].map(str::to_owned).into();
    for entry in fs::read_dir(root().join("tests")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let is_program = path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").exists();
        if is_program {
            programs.insert(path.file_stem().expect("a name").to_string_lossy().into_owned());
        }
    }
    assert_eq!(listed(&document("docs/testing.md"), "Kinds of test"), programs);
}

#[test]
fn every_fuzz_target_is_listed() {
    let manifest = read("tests/fuzz/Cargo.toml");
    let targets = manifest.split("[[bin]]").skip(1);
    let names = targets.filter_map(|target| Some(target.split_once("name = \"")?.1.split('"').next()?.to_owned()));
    assert_eq!(listed(&document("docs/testing.md"), "Fuzzing"), names.collect());
}

#[test]
fn every_layer_is_listed() {
    let library = read("src/lib.rs");
    let modules = library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let expected: BTreeSet<&str> = modules.collect();
    let architecture = document("docs/architecture.md");
    let table = architecture.tables().into_iter().find(|table| table.header[0] == "layer").expect("a table");
    let found: BTreeSet<&str> = table.rows.iter().flat_map(|row| codes(&row[1])).collect();
    assert_eq!(found, expected);
}

#[test]
fn sources_in_the_architecture_exist() {
    let mut count = 0;
    for name in ["docs/architecture.md", "docs/redis.md", "docs/testing.md", "CONTRIBUTING.md"] {
        let document = document(name);
        for (_, line) in document.prose() {
            for code in codes(line).filter(|code| code.starts_with("src/") || code.starts_with("tests/")) {
                assert!(root().join(code).exists(), "{name}: {code} does not exist");
                count += 1;
            }
            for code in codes(line).filter(|code| code.contains("::") && !code.contains(' ')) {
                let path = format!("src/{}", code.replace("::", "/"));
                let is_module = root().join(format!("{path}.rs")).exists() || root().join(&path).is_dir();
                let is_item = code.rsplit("::").next().is_some_and(|item| item.starts_with(|c: char| c.is_uppercase()));
                assert!(is_module || is_item, "{name}: {code} is no module");
                count += 1;
            }
        }
    }
    assert!(count > 40, "{count} found");
}

#[test]
fn glossary_has_each_term_once_and_few_of_them() {
    let architecture = document("docs/architecture.md");
    let table = architecture.tables().into_iter().find(|table| table.heading == "Glossary").expect("a table");
    let terms: BTreeSet<&String> = table.rows.iter().map(|row| &row[0]).collect();
    assert_eq!(terms.len(), table.rows.len(), "a term is there twice");
    assert!(terms.len() <= TERMS, "{} terms", terms.len());
}

#[test]
fn every_decision_has_its_parts_and_is_listed() {
    let index = read("docs/adr/README.md");
    let mut count = 0;
    for entry in fs::read_dir(root().join("docs/adr")).expect("a folder") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        if name == "README.md" {
            continue;
        }
        assert!(index.contains(&format!("({name})")), "{name} is not listed");
        let document = document(&format!("docs/adr/{name}"));
        let headings: Vec<&str> = document.text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, ["Context", "Decision", "Consequences", "Alternatives"], "{name}");
        count += 1;
    }
    assert!(count >= 10, "{count} decisions");
}
