//! The documents for contributors list what there is: tests, fuzz targets, layers, decisions, and terms within their bound.

use std::collections::BTreeSet;
use std::fs;

use super::markdown::{Document, codes, document, read, root};

/// Terms that the glossary may have.
const TERMS: usize = 43;

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
fn every_mutation_is_listed() {
    let list = read("tests/mutation/mutations.toml");
    let names = list.lines().filter_map(|line| Some(line.strip_prefix("name = \"")?.strip_suffix('"')?.to_owned()));
    assert_eq!(listed(&document("docs/testing.md"), "Mutations"), names.collect());
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

/// The source of a module: its file, or its `mod.rs` and all files below it.
fn source(module: &str) -> Option<String> {
    let path = root().join("src").join(module.replace("::", "/"));
    let mut text = fs::read_to_string(path.with_extension("rs")).unwrap_or_default();
    let mut folders = vec![path];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => text.push_str(&fs::read_to_string(&path).unwrap_or_default()),
            }
        }
    }
    (!text.is_empty()).then_some(text)
}

/// Whether a path such as `domain::room::Room::apply` names a module, or items of one.
fn exists(path: &str) -> bool {
    let segments: Vec<&str> = path.split("::").collect();
    let modules = (1..=segments.len()).rev();
    let Some((count, text)) = modules.filter_map(|count| Some((count, source(&segments[..count].join("::"))?))).next()
    else {
        return false;
    };
    let is_defined = |name: &str| {
        let forms = ["fn", "struct", "enum", "trait", "type", "const", "static", "impl"];
        forms.iter().any(|form| {
            text.match_indices(&format!("{form} {name}")).any(|(at, found)| {
                let next = text[at + found.len()..].chars().next();
                next.is_none_or(|c| !c.is_alphanumeric() && c != '_')
            })
        })
    };
    segments[count..].iter().all(|name| is_defined(name))
}

#[test]
fn sources_named_in_the_documents_exist() {
    let (mut count, mut missing) = (0, Vec::new());
    for name in ["docs/architecture.md", "docs/redis.md", "docs/testing.md", "CONTRIBUTING.md"] {
        for (_, line) in document(name).prose() {
            for code in codes(line).filter(|code| !code.contains(' ')) {
                let is_there = match code {
                    file if file.starts_with("src/") || file.starts_with("tests/") => root().join(file).exists(),
                    path if path.contains("::") => exists(path),
                    _ => continue,
                };
                count += 1;
                if !is_there {
                    missing.push(format!("{name}: {code}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "these have moved or are gone; update the documents: {missing:#?}");
    assert!(count > 40, "{count} found");
}

/// The paths of a message, and the number of functions that each may have.
const FUNCTIONS: [(&str, usize); 3] = [("Path (a)", 55), ("Path (b)", 45), ("Path (c)", 65)];

#[test]
fn paths_of_a_message_are_listed_and_short() {
    let architecture = document("docs/architecture.md");
    let tables = architecture.tables();
    for (path, most) in FUNCTIONS {
        let lists = tables.iter().filter(|table| table.heading.starts_with(path) && table.header[0] == "function");
        let functions: Vec<&str> = lists.flat_map(|table| &table.rows).flat_map(|row| codes(&row[0])).collect();
        let once: BTreeSet<&&str> = functions.iter().collect();
        assert_eq!(once.len(), functions.len(), "{path} has a function twice");
        assert!(functions.iter().all(|function| exists(function)), "{path} has a function that does not exist");
        assert!((1..=most).contains(&functions.len()), "{path} has {} functions", functions.len());
        let count = format!("{} functions, in the order", functions.len());
        let is_said = architecture.prose().any(|(heading, line)| heading.starts_with(path) && line.starts_with(&count));
        assert!(is_said, "{path} has {} functions", functions.len());
    }
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
