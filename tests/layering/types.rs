//! Types over all their impl blocks: lines, methods, cycles among the files that share them, and names defined twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::Violation;
use crate::source::{Source, is_word, item_end, words};

const TYPE_LINES_MAX: usize = 1_000;
const TYPE_METHODS_MAX: usize = 60;
const CYCLE_FILES_MAX: usize = 3;

/// One impl block.
struct Block<'a> {
    /// The type's name, without its path and parameters.
    name: &'a str,
    lines: usize,
    methods: Vec<&'a str>,
}

/// The impl blocks of a file's own level; `impl Trait` in a signature is none.
fn blocks(code: &str) -> Vec<Block<'_>> {
    let starts_line = |at: usize| {
        let line = &code[code[..at].rfind('\n').map_or(0, |end| end + 1)..at];
        line.is_empty() || line == "unsafe "
    };
    let mut found = Vec::new();
    for at in words(code, "impl").filter(|at| starts_line(*at)) {
        let block = &code[at..item_end(code, at)];
        let Some(open) = block.find('{') else { continue };
        if let Some(name) = implementing(&block["impl".len()..open]) {
            found.push(Block { name, lines: block.lines().count(), methods: methods(&block[open..]) });
        }
    }
    found
}

/// The type in the head of an impl block: `<T> Trait<T> for path::Type<T> where …`.
fn implementing(head: &str) -> Option<&str> {
    let mut depth = 0;
    let mut start = 0;
    let mut end = head.len();
    for (at, c) in head.char_indices() {
        match c {
            '<' | '(' | '[' => depth += 1,
            '>' if !head[..at].ends_with('-') => depth -= 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 && c == '>' && head[..start].trim().is_empty() && head.trim_start().starts_with('<') && start == 0
        {
            start = at + 1; // the block's own parameters
        } else if depth == 0 && head[at..].starts_with(" for ") {
            start = at + " for ".len();
        } else if depth == 0 && (head[at..].starts_with(" where") || head[at..].starts_with("\nwhere")) {
            end = at;
            break;
        }
    }
    let head = head[start..end].trim().trim_start_matches('&');
    let head = head.strip_prefix("mut ").unwrap_or(head);
    let path = head.split('<').next().unwrap_or_default().trim();
    let name = path.rsplit("::").next().unwrap_or_default();
    (!name.is_empty() && name.bytes().all(is_word)).then_some(name)
}

/// The functions directly in a block that starts with its brace.
fn methods(block: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut depth = 0;
    let mut last = 0;
    for at in words(block, "fn") {
        for c in block[last..at].chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
        }
        last = at;
        let rest = block[at + "fn".len()..].trim_start();
        let name = &rest[..rest.bytes().take_while(|byte| is_word(*byte)).count()];
        // A parameter of the type `fn(…)` has no name.
        if depth == 1 && !name.is_empty() {
            found.push(name);
        }
    }
    found
}

/// The types over the limits, types of the same name taken together.
pub(crate) fn large_types(sources: &[Source]) -> Vec<Violation> {
    let mut types: BTreeMap<&str, (usize, usize, BTreeSet<&str>)> = BTreeMap::new();
    for source in sources {
        for block in blocks(&source.code) {
            let entry = types.entry(block.name).or_default();
            entry.0 += block.lines;
            entry.1 += block.methods.len();
            entry.2.insert(&source.path);
        }
    }
    let mut found = Vec::new();
    for (name, (lines, methods, files)) in types {
        let mut report = |figure: usize, limit: usize, what: &str| {
            if figure > limit {
                let key = format!("`{name}` has more than {limit} {what}");
                found.push(Violation::new(
                    &*key,
                    format!("`{name}` has {figure} {what}, more than {limit}, in {files:?}"),
                ));
            }
        };
        report(lines, TYPE_LINES_MAX, "lines");
        report(methods, TYPE_METHODS_MAX, "methods");
    }
    found
}

/// Cycles of too many files. A file depends on another when it has an impl block of a type and calls on `self` a method
/// that, of this type, only the other file defines.
pub(crate) fn large_cycles(sources: &[Source]) -> Vec<Violation> {
    let graph = dependencies(sources);
    let mut found = Vec::new();
    for cycle in cycles(&graph).into_iter().filter(|cycle| cycle.len() > CYCLE_FILES_MAX) {
        let names: Vec<&str> = cycle.iter().map(|file| sources[*file].path.as_str()).collect();
        let key = format!("cycle of files in src/{}", common_directory(&names));
        found.push(Violation::new(
            key,
            format!("{} files call each other in a cycle: {}", names.len(), names.join(", ")),
        ));
    }
    found
}

fn common_directory(paths: &[&str]) -> String {
    let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let mut common = parts(paths[0]);
    common.pop();
    for path in paths {
        let shared = common.iter().zip(parts(path)).take_while(|(own, other)| *own == other).count();
        common.truncate(shared);
    }
    common.join("/")
}

/// For each file, the files whose methods it calls.
fn dependencies(sources: &[Source]) -> Vec<BTreeSet<usize>> {
    let mut defined: BTreeMap<&str, BTreeMap<&str, BTreeSet<usize>>> = BTreeMap::new();
    let mut types: Vec<BTreeSet<&str>> = Vec::new();
    for (file, source) in sources.iter().enumerate() {
        let blocks = blocks(&source.code);
        types.push(blocks.iter().map(|block| block.name).collect());
        for block in blocks {
            let methods = defined.entry(block.name).or_default();
            for method in block.methods {
                methods.entry(method).or_default().insert(file);
            }
        }
    }
    let mut graph = Vec::new();
    for (file, source) in sources.iter().enumerate() {
        let called = called_methods(&source.code);
        let definitions = types[file].iter().filter_map(|name| defined.get(name));
        let only_elsewhere = definitions.flat_map(|methods| {
            called
                .iter()
                .filter_map(|method| methods.get(method))
                .filter(|files| files.len() == 1 && !files.contains(&file))
        });
        graph.push(only_elsewhere.flatten().copied().collect());
    }
    graph
}

/// The methods that are called on `self`.
fn called_methods(code: &str) -> BTreeSet<&str> {
    let calls = words(code, "self").filter_map(|at| {
        let rest = code[at + "self".len()..].trim_start().strip_prefix('.')?;
        let name = &rest[..rest.bytes().take_while(|byte| is_word(*byte)).count()];
        rest[name.len()..].starts_with('(').then_some(name)
    });
    calls.collect()
}

/// The strongly connected components of more than one node, largest first: nodes that reach each other.
fn cycles(graph: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    let reach = |from: usize| {
        let mut seen = BTreeSet::new();
        let mut open: Vec<usize> = graph[from].iter().copied().collect();
        while let Some(node) = open.pop() {
            if seen.insert(node) {
                open.extend(&graph[node]);
            }
        }
        seen
    };
    let reached: Vec<BTreeSet<usize>> = (0..graph.len()).map(reach).collect();
    let mut found: Vec<Vec<usize>> = Vec::new();
    for node in 0..graph.len() {
        if found.iter().any(|cycle| cycle.contains(&node)) {
            continue;
        }
        let cycle: Vec<usize> =
            (0..graph.len()).filter(|other| reached[node].contains(other) && reached[*other].contains(&node)).collect();
        if cycle.len() > 1 {
            found.push(cycle);
        }
    }
    found.sort_by_key(|cycle| std::cmp::Reverse(cycle.len()));
    found
}

/// The types that a file defines at its own level.
fn definitions(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(|line| {
        let line = match line.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
            Some(rest) => rest.trim_start(),
            None => line,
        };
        let line = line.strip_prefix("unsafe ").unwrap_or(line);
        let (kind, rest) = line.split_once(' ')?;
        let name = &rest[..rest.bytes().take_while(|byte| is_word(*byte)).count()];
        (["struct", "enum", "trait", "type", "union"].contains(&kind) && !name.is_empty()).then_some(name)
    })
}

/// Type names defined in two modules with the same parent, or in a module and its parent.
pub(crate) fn doubled_names(sources: &[Source]) -> Vec<Violation> {
    let mut defined: BTreeMap<&str, Vec<Vec<&str>>> = BTreeMap::new();
    for source in sources {
        for name in definitions(&source.code) {
            defined.entry(name).or_default().push(source.modules());
        }
    }
    let mut found = Vec::new();
    for (name, modules) in defined {
        for (at, one) in modules.iter().enumerate() {
            for other in modules[at + 1..].iter().filter(|other| are_neighbours(one, other)) {
                let what = format!("`{name}` is defined in `{}` and in `{}`", one.join("::"), other.join("::"));
                found.push(Violation::new(&*what, &*what));
            }
        }
    }
    found
}

fn are_neighbours(one: &[&str], other: &[&str]) -> bool {
    let parent = |modules: &[&str]| modules[..modules.len().saturating_sub(1)].join("::");
    let (one_path, other_path) = (one.join("::"), other.join("::"));
    parent(one) == parent(other) || parent(one) == other_path || one_path == parent(other)
}

mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Vec<Source> {
        files.iter().map(|(path, text)| Source::new(path, text)).collect()
    }

    fn keys(violations: Vec<Violation>) -> Vec<String> {
        violations.into_iter().map(|violation| violation.key).collect()
    }

    #[test]
    fn impl_block_belongs_to_its_type() {
        for (head, name) in [
            ("impl Shard {", "Shard"),
            ("impl<T: Fn() -> u8> Shard<T> {", "Shard"),
            ("impl<'a, T> Iterator for super::Shard<'a, T>\nwhere\n    T: Clone,\n{", "Shard"),
            ("impl From<Vec<u8>> for Shard {", "Shard"),
            ("unsafe impl<T> Send for &mut Shard<T> where T: for<'a> Fn(&'a u8) {", "Shard"),
        ] {
            let text = format!("{head}\n    fn a() {{}}\n}}\n");
            let found = blocks(&text);
            assert_eq!(found.len(), 1, "{head}");
            assert_eq!((found[0].name, &found[0].methods[..]), (name, &["a"][..]), "{head}");
        }
        assert!(blocks("fn a(b: impl Fn()) -> impl Iterator {}\n").is_empty());
    }

    #[test]
    fn large_type_is_found_over_all_its_files() {
        let methods =
            |count: usize| (0..count).map(|at| format!("    fn m{at}() -> [u8; 2] {{ [0; 2] }}\n")).collect::<String>();
        let block = |count| format!("impl Shard {{\n{}}}\n", methods(count));
        let (one, other) = (block(30), block(31));
        assert_eq!(
            keys(large_types(&sources(&[("shard/a.rs", &one), ("shard/b.rs", &other)]))),
            ["`Shard` has more than 60 methods"]
        );
        assert!(large_types(&sources(&[("shard/a.rs", &one), ("shard/b.rs", &one)])).is_empty());
        let long = |lines: usize| format!("impl A for Shard {{\n{}}}\n", "    // one\n".repeat(lines));
        let (one, other) = (long(498), long(499));
        assert_eq!(
            keys(large_types(&sources(&[("shard/a.rs", &one), ("shard/b.rs", &other)]))),
            ["`Shard` has more than 1000 lines"]
        );
        assert!(large_types(&sources(&[("shard/a.rs", &one), ("shard/b.rs", &one)])).is_empty());
    }

    #[test]
    fn methods_within_methods_and_types_of_functions_are_not_counted() {
        let text = "impl A {\n    fn a(b: fn(u8)) {\n        fn c() {}\n        impl B { fn d() {} }\n    }\n    const fn e() {}\n}\n";
        assert_eq!(blocks(text)[0].methods, ["a", "e"]);
    }

    #[test]
    fn cycle_of_four_files_is_found() {
        let file = |own: usize, next: usize| {
            (
                format!("shard/{own}.rs"),
                format!("impl Shard {{\n    fn m{own}(&self) {{\n        self\n            .m{next}() }}\n}}\n"),
            )
        };
        let ring = |count: usize| -> Vec<Source> {
            let files = (0..count).map(|at| file(at, (at + 1) % count));
            files.map(|(path, text)| Source::new(&path, &text)).collect()
        };
        assert_eq!(keys(large_cycles(&ring(4))), ["cycle of files in src/shard"]);
        assert!(large_cycles(&ring(3)).is_empty());
        let mut open = ring(4);
        open[3] = Source::new("shard/3.rs", "impl Shard {\n    fn m3(&self) {}\n}\n");
        assert!(large_cycles(&open).is_empty());
        // A method that several files define, and a field that is called like a method, say nothing.
        open[3] = Source::new("shard/3.rs", "impl Shard {\n    fn m3(&self) { self.m0 }\n}\n");
        assert!(large_cycles(&open).is_empty());
    }

    #[test]
    fn name_defined_in_neighbouring_modules_is_found() {
        let found = |one, other| {
            let files = [(one, "pub(crate) struct Entry;"), (other, "\nenum Entry { A }\nimpl Entry {}")];
            keys(doubled_names(&sources(&files))).len()
        };
        assert_eq!(found("codec/ws/mod.rs", "codec/http/mod.rs"), 1);
        assert_eq!(found("codec/ws/decode.rs", "codec/ws/encode.rs"), 1);
        assert_eq!(found("codec/ws/mod.rs", "codec/ws/encode.rs"), 1);
        assert_eq!(found("codec/ws.rs", "codec/ws/encode.rs"), 1);
        assert_eq!(found("codec/ws/encode.rs", "codec/http/encode.rs"), 0);
        assert_eq!(found("codec/ws/encode.rs", "domain/room.rs"), 0);
        assert_eq!(
            keys(doubled_names(&sources(&[("codec/a.rs", "type A = u8;"), ("codec/b.rs", "fn b() { struct A; }")])))
                .len(),
            0
        );
        assert_eq!(
            keys(doubled_names(&sources(&[("codec/a.rs", "type A = u8;"), ("codec/b.rs", "pub unsafe trait A {}")])))
                .len(),
            1
        );
    }
}
