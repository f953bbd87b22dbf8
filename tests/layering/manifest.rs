//! The manifest: each dependency states its purpose in a comment.

use crate::Violation;

/// Each dependency without a comment behind it.
pub(crate) fn unexplained(manifest: &str) -> Vec<Violation> {
    dependencies(manifest)
        .filter(|(_, line, _)| line.split_once('#').is_none_or(|(_, reason)| reason.trim().is_empty()))
        .map(|(name, _, number)| {
            let what = format!("`{name}` does not state its purpose");
            Violation::new(what.clone(), format!("Cargo.toml:{number}: {what}"))
        })
        .collect()
}

/// Each entry of a table of dependencies: its name, its line, and the line's number.
fn dependencies(manifest: &str) -> impl Iterator<Item = (&str, &str, usize)> {
    let mut is_dependencies = false;
    manifest.lines().enumerate().filter_map(move |(number, line)| {
        if line.starts_with('[') {
            is_dependencies = line.trim_end_matches(']').ends_with("dependencies");
        }
        let is_entry = is_dependencies && line.starts_with(|c: char| c.is_ascii_alphabetic());
        is_entry.then(|| (line.split_whitespace().next().unwrap_or_default(), line, number + 1))
    })
}

/// The crates that the library itself may name, as they are written in Rust.
pub(crate) fn crates(manifest: &str) -> Vec<String> {
    let own = manifest.split("[dev-dependencies]").next().unwrap_or_default();
    dependencies(own).map(|(name, _, _)| name.replace('-', "_")).collect()
}

mod tests {
    use super::*;

    #[test]
    fn dependency_without_purpose_is_found() {
        let manifest =
            "[package]\nname = \"a\"\n[dependencies]\na = \"1\" # why\nb-c = { version = \"1\" }\n[lints]\nc = 1";
        let found: Vec<String> = unexplained(manifest).into_iter().map(|violation| violation.message).collect();
        assert_eq!(found, ["Cargo.toml:5: `b-c` does not state its purpose"]);
        assert_eq!(crates(manifest), ["a", "b_c"]);
    }
}
