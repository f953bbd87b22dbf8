//! Reads Rust as far as the rules need it: which part of a text is code, which words and paths it names, where an item
//! ends.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{fs, io};

/// One source file: its path below `src/`, its text, and the same with all but code blanked out.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: without_tests(&without_prose(text)) }
    }

    /// The modules that lead to this file: `["shard", "requests"]`.
    pub(crate) fn modules(&self) -> Vec<&str> {
        let mut modules: Vec<&str> = self.path.trim_end_matches(".rs").split('/').collect();
        if modules.last() == Some(&"mod") {
            modules.pop();
        }
        modules
    }

    /// The top-level module it belongs to; `None` for the crate's root.
    pub(crate) fn top(&self) -> Option<&str> {
        self.modules().first().copied().filter(|module| *module != "lib")
    }

    pub(crate) fn at(&self, offset: usize) -> String {
        format!("src/{}:{}", self.path, line_of(&self.code, offset))
    }
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All source files except those that are compiled for tests only.
pub(crate) fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(read_sources)
}

fn read_sources() -> Vec<Source> {
    let mut paths = Vec::new();
    find(&root().join("src"), &mut paths).expect("the source is readable");
    paths.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("the source is readable");
        let below = path.strip_prefix(root().join("src")).expect("it is below src");
        Source::new(&below.to_string_lossy(), &text)
    };
    let all: Vec<Source> = paths.iter().map(read).collect();
    assert!(all.len() > 50, "only {} files: they are looked for in the wrong place", all.len());
    let for_tests: Vec<String> = all.iter().flat_map(test_files).collect();
    all.into_iter().filter(|source| !for_tests.iter().any(|below| source.path.starts_with(below.as_str()))).collect()
}

fn find(folder: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    Ok(())
}

/// Where the modules are that a file declares for tests only (`#[cfg(test)] mod tests;`): paths below `src/`.
fn test_files(source: &Source) -> Vec<String> {
    let code = without_prose(&source.text);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let item = code[at + "#[cfg(test)]".len()..].trim_start();
        if let Some(name) = item.strip_prefix("mod ").and_then(|rest| rest.split_once(';')).map(|(name, _)| name)
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
        {
            let folder = source.modules().join("/");
            found.push(format!("{folder}/{name}.rs"));
            found.push(format!("{folder}/{name}/"));
        }
    }
    found
}

/// The text with comments, string literals and character literals blanked out.
pub(crate) fn without_prose(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at).min(bytes.len());
        if end == at {
            at += 1;
            continue;
        }
        for byte in out[at..end].iter_mut().filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
        at = end;
    }
    String::from_utf8(out).expect("blanks are text")
}

/// Where the comment or literal that starts at `at` ends; `at` when none starts there.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let after_word = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => at + find_bytes(rest, b"*/").map_or(rest.len(), |end| end + 2),
        [b'r', b'"' | b'#', ..] if !after_word => raw_string_end(rest).map_or(at, |end| at + end),
        [b'b', b'r', b'"' | b'#', ..] if !after_word => raw_string_end(&rest[1..]).map_or(at, |end| at + 1 + end),
        [b'"', ..] => at + quoted_end(rest, b'"'),
        // A lifetime has no closing quote after one character.
        [b'\'', b'\\', ..] => at + quoted_end(rest, b'\''),
        [b'\'', first, ..] => {
            let width = match first {
                0..0x80 => 1,
                0xC0..0xE0 => 2,
                0xE0..0xF0 => 3,
                _ => 4,
            };
            if rest.get(1 + width) == Some(&b'\'') { at + 2 + width } else { at }
        }
        _ => at,
    }
}

fn quoted_end(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string_end(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let start = hashes + 2;
    Some(find_bytes(&rest[start..], &close).map_or(rest.len(), |end| start + end + close.len()))
}

fn find_bytes(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The code with everything blanked out that `#[cfg(test)]` stands before.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(at) = out.find("#[cfg(test)]") {
        let end = item_end(&out, at);
        let blank: String = out[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(at..end, &blank);
    }
    out
}

/// The end of the item that starts at `at`: its semicolon or the end of its outermost braces. A semicolon within
/// brackets, as in `[u8; 4]`, does not end it.
pub(crate) fn item_end(code: &str, at: usize) -> usize {
    let mut depth = 0;
    for (offset, c) in code[at..].char_indices() {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            _ => {}
        }
        if depth < 0 || (depth == 0 && matches!(c, '}' | ';')) {
            return at + offset + 1;
        }
    }
    code.len()
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text[..offset].matches('\n').count()
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where `word` stands in `code` as a whole word.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    let is_edge = |at: Option<&u8>| at.is_none_or(|byte| !is_word(*byte));
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let starts = !is_word(word.as_bytes()[0]) || *at == 0 || is_edge(bytes.get(at - 1));
        starts && is_edge(bytes.get(at + word.len()))
    })
}

/// Every path the code names, with its place: those in expressions and types as they stand, those in `use` trees
/// written out in full.
pub(crate) fn paths(code: &str) -> Vec<(usize, String)> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let starts = is_word(bytes[at]) && (at == 0 || !is_word(bytes[at - 1]));
        if !starts {
            at += 1;
            continue;
        }
        let end = at + bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
        if &code[at..end] == "use" && !code[..at].trim_end().ends_with("impl") {
            let end = item_of(code, end, b';');
            spread(code, at + 3, end, "", &mut found);
            at = end;
        } else {
            let end = path_end(bytes, at);
            found.push((at, code[at..end].split_whitespace().collect()));
            at = end;
        }
    }
    found
}

fn item_of(code: &str, at: usize, end: u8) -> usize {
    code.as_bytes()[at..].iter().position(|byte| *byte == end).map_or(code.len(), |offset| at + offset)
}

fn path_end(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at += bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
        let goes_on = bytes[at..].starts_with(b"::") && bytes.get(at + 2).is_some_and(|byte| is_word(*byte));
        if !goes_on {
            return at;
        }
        at += 2;
    }
}

/// Writes out the branches of a `use` tree between `at` and `end`, each behind `prefix`.
fn spread(code: &str, at: usize, end: usize, prefix: &str, found: &mut Vec<(usize, String)>) {
    let (mut start, mut depth) = (at, 0);
    for (offset, c) in code[at..end].char_indices().chain([(end - at, ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branch(code, start, at + offset, prefix, found);
                start = at + offset + 1;
            }
            _ => {}
        }
    }
}

fn branch(code: &str, at: usize, end: usize, prefix: &str, found: &mut Vec<(usize, String)>) {
    let text = &code[at..end];
    match text.find('{') {
        Some(open) => {
            let close = text.rfind('}').unwrap_or(text.len());
            let stem: String = text[..open].split_whitespace().collect();
            spread(code, at + open + 1, at + close, &format!("{prefix}{stem}"), found);
        }
        None => {
            let place = at + (text.len() - text.trim_start().len());
            let plain = text.split_once(" as ").map_or(text, |(plain, _)| plain);
            let plain: String = plain.split_whitespace().collect();
            if !plain.is_empty() {
                found.push((place, format!("{prefix}{plain}")));
            }
        }
    }
}

mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_not_code() {
        let text = "let a = \"} fn \\\" {\"; let b = '{'; let c = r#\"{\"# ; let d: &'static str = b\"{\"; /* { */ e";
        let code = without_prose(text);
        assert!(!code.contains(['{', '}']), "{code}");
        assert!(code.contains("&'static str") && code.ends_with('e') && code.len() == text.len());
    }
}
