//! The list of the mutation check (`tests/mutation`): every entry still applies to the source.

use std::collections::BTreeSet;
use std::fs;

use serde::Deserialize;

use crate::Violation;
use crate::source::root;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutation: Vec<Mutation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutation {
    name: String,
    invariant: String,
    file: String,
    search: String,
    replace: String,
    detector: String,
}

pub(crate) fn violations() -> Vec<Violation> {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap_or_default();
    wrong(&read("tests/mutation/mutations.toml"), &read("tests/simulation/main.rs"), read)
}

fn wrong(list: &str, tests: &str, read: impl Fn(&str) -> String) -> Vec<Violation> {
    let list: List = toml::from_str(list).expect("a list of mutations");
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    for mutation in list.mutation {
        let Mutation { name, invariant, file, search, replace, detector } = mutation;
        let mut report = |what: &str| {
            let what = format!("`{name}`: {what}");
            found.push(Violation::new(&*what, format!("tests/mutation/mutations.toml: {what}")));
        };
        if read(&file).matches(&search).count() != 1 {
            report(&format!("its text does not occur exactly once in {file}"));
        }
        if search == replace || invariant.is_empty() || !names.insert(name.clone()) {
            report("it changes nothing, names no invariant, or its own name is taken");
        }
        if !tests.contains(&format!("fn {detector}()")) {
            report("its detector is no test of tests/simulation/main.rs");
        }
    }
    found
}

mod tests {
    use super::*;

    #[test]
    fn mutation_that_does_not_apply_is_found() {
        let entry = |search: &str, detector: &str| {
            format!(
                "[[mutation]]\nname = \"a\"\ninvariant = \"b\"\nfile = \"c\"\nsearch = \"{search}\"\n\
                 replace = \"d\"\ndetector = \"{detector}\"\n"
            )
        };
        let count = |list: &str| wrong(list, "fn e() {}", |_| "once twice twice".to_owned()).len();
        assert_eq!(count(&entry("once", "e")), 0);
        assert_eq!(count(&entry("twice", "e")), 1);
        assert_eq!(count(&entry("never", "e")), 1);
        assert_eq!(count(&entry("once", "f")), 1);
        assert_eq!(count(&(entry("once", "e") + &entry("once", "e"))), 1);
    }
}
