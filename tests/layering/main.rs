//! The structure of the source: modules import downward only, deterministic modules stay deterministic, each layer uses
//! its own list of crates, and no file, function, type or cycle of files is too large.
//!
//! The rules read the text of `src/` with comments, literals and test modules blanked out, so line numbers remain
//! valid. Each rule has unit tests with sources that break it.

mod crates;
mod expected;
mod layers;
mod manifest;
mod mutations;
mod sizes;
mod source;
mod system;
mod types;

use std::fmt::Write as _;
use std::fs;

use source::{Source, root, sources};

/// One violation of a rule.
#[derive(Debug)]
struct Violation {
    /// Identifies it without line numbers and figures, for [`expected::EXPECTED_VIOLATIONS`].
    key: String,
    /// The place and the reason, for the developer.
    message: String,
}

impl Violation {
    fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }

    /// A violation at a place in a file.
    fn at(source: &Source, offset: usize, what: &str) -> Self {
        Self::new(format!("src/{}: {what}", source.path), format!("{}: {what}", source.at(offset)))
    }

    #[cfg(test)]
    fn line(&self) -> usize {
        self.message.split(':').nth(1).and_then(|line| line.parse().ok()).expect("a line number")
    }
}

/// A rule that looks at one file at a time.
type FileRule = fn(&Source) -> Vec<Violation>;

/// Applies a rule to all files.
fn check_files(rules: &[FileRule], test: &str) {
    check(test, rules.iter().flat_map(|rule| sources().iter().flat_map(rule)).collect());
}

/// Fails unless the violations are exactly the expected ones of this test.
fn check(test: &str, violations: Vec<Violation>) {
    if let Some(text) = differences(test, &violations, expected::EXPECTED_VIOLATIONS) {
        panic!("{text}");
    }
}

/// What is unexpected, and what is expected but absent.
fn differences(test: &str, violations: &[Violation], expected: &[(&str, &str)]) -> Option<String> {
    let expected: Vec<&str> = expected.iter().filter(|(of, _)| *of == test).map(|(_, key)| *key).collect();
    let mut text = String::new();
    for violation in violations.iter().filter(|violation| !expected.contains(&violation.key.as_str())) {
        let _ = write!(text, "\n{}\n    (\"{test}\", \"{}\"),", violation.message, violation.key);
    }
    for key in expected.iter().filter(|key| !violations.iter().any(|violation| violation.key == **key)) {
        let _ = write!(text, "\nno longer violated, remove it from tests/layering/expected.rs: {key}");
    }
    (!text.is_empty()).then_some(text)
}

#[test]
fn modules_import_downward_only() {
    check_files(&[layers::imports_go_downward], "modules_import_downward_only");
}

#[test]
fn crate_root_has_no_reexports() {
    let root = fs::read_to_string(root().join("src/lib.rs")).expect("it is readable");
    check("crate_root_has_no_reexports", layers::reexports(&Source::new("lib.rs", &root)));
}

#[test]
fn layers_use_their_crates_only() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("it is readable");
    check("layers_use_their_crates_only", crates::violations(sources(), &manifest));
}

#[test]
fn system_is_used_in_runtime_only() {
    check_files(
        &[system::nothing_below_runtime_uses_the_system, system::maps_come_from_base],
        "system_is_used_in_runtime_only",
    );
}

#[test]
fn unsafe_code_is_in_runtime_and_base_only() {
    check_files(&[system::unsafe_code_has_two_places], "unsafe_code_is_in_runtime_and_base_only");
}

#[test]
fn files_and_functions_are_short() {
    check_files(&[sizes::files_are_short, sizes::functions_are_short], "files_and_functions_are_short");
}

#[test]
fn types_are_small() {
    check("types_are_small", types::large_types(sources()));
}

#[test]
fn files_form_no_large_cycles() {
    check("files_form_no_large_cycles", types::large_cycles(sources()));
}

#[test]
fn neighbouring_modules_define_different_type_names() {
    check("neighbouring_modules_define_different_type_names", types::doubled_names(sources()));
}

#[test]
fn modules_are_documented_and_have_a_layer() {
    let root = fs::read_to_string(root().join("src/lib.rs")).expect("it is readable");
    check("modules_are_documented_and_have_a_layer", layers::unmapped(&root));
}

#[test]
fn dependencies_state_their_purpose() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("it is readable");
    check("dependencies_state_their_purpose", manifest::unexplained(&manifest));
}

#[test]
fn mutations_apply_to_the_source() {
    check("mutations_apply_to_the_source", mutations::violations());
}

#[test]
fn expected_violations_are_compared_in_both_directions() {
    let found = [Violation::new("a", "src/a.rs:1: a")];
    assert_eq!(differences("rule", &found, &[("rule", "a"), ("other", "b")]), None);
    assert!(differences("rule", &found, &[]).is_some_and(|text| text.contains("src/a.rs:1")));
    assert!(differences("rule", &[], &[("rule", "a")]).is_some_and(|text| text.contains("no longer violated")));
}
