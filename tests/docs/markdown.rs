//! Markdown files as far as the tests read them: headings, fenced blocks, tables, links.

use std::fs;
use std::path::{Path, PathBuf};

/// The address at which the documents have the server.
pub(crate) const ADDRESS: &str = "127.0.0.1:8090";

/// One Markdown file.
pub(crate) struct Document {
    /// Its path below the repository's root, with `/`.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// One fenced block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) language: String,
    /// The nearest heading above it, of any level.
    pub(crate) heading: String,
    pub(crate) text: String,
    /// Whether only blank lines separate it from the block before it.
    pub(crate) is_adjacent: bool,
}

/// One table: its rows without the line below the header, each cell trimmed.
pub(crate) struct Table {
    pub(crate) heading: String,
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All documents: the Markdown files in the root, in `docs` and in `examples`.
pub(crate) fn documents() -> Vec<Document> {
    let mut paths = Vec::new();
    for folder in ["", "docs", "docs/adr", "examples", "examples/socketio-chat"] {
        let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
        let files = entries.map(|entry| entry.expect("an entry").path());
        paths.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    paths.sort();
    let name = |path: &PathBuf| path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
    paths.iter().map(|path| document(&name(path))).collect()
}

pub(crate) fn document(name: &str) -> Document {
    Document { name: name.to_owned(), text: read(name) }
}

impl Document {
    /// The lines outside fenced blocks, each with the heading that it stands under.
    pub(crate) fn prose(&self) -> impl Iterator<Item = (String, &str)> {
        let (mut is_fenced, mut heading) = (false, String::new());
        self.text.lines().filter_map(move |line| {
            let is_fence = line.starts_with("```");
            is_fenced ^= is_fence;
            if is_fenced || is_fence {
                return None;
            }
            if line.starts_with('#') {
                heading = line.trim_start_matches('#').trim().to_owned();
            }
            Some((heading.clone(), line))
        })
    }

    pub(crate) fn blocks(&self) -> Vec<Block> {
        let (mut blocks, mut heading, mut is_adjacent) = (Vec::<Block>::new(), String::new(), false);
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
                let (language, heading) = (language.to_owned(), heading.clone());
                blocks.push(Block { language, heading, text: text.join("\n"), is_adjacent });
                is_adjacent = true;
                continue;
            }
            if line.starts_with('#') {
                heading = line.trim_start_matches('#').trim().to_owned();
            }
            is_adjacent &= line.trim().is_empty();
        }
        blocks
    }

    pub(crate) fn blocks_in(&self, language: &str) -> Vec<Block> {
        self.blocks().into_iter().filter(|block| block.language == language).collect()
    }

    pub(crate) fn tables(&self) -> Vec<Table> {
        let mut tables: Vec<Table> = Vec::new();
        let mut is_open = false;
        for (heading, line) in self.prose() {
            let Some(inner) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
                is_open = false;
                continue;
            };
            let cells: Vec<String> = inner.split('|').map(|cell| cell.trim().to_owned()).collect();
            match tables.last_mut().filter(|_| is_open) {
                _ if cells.iter().all(|cell| cell.chars().all(|c| c == '-')) && is_open => {}
                Some(table) => table.rows.push(cells),
                None => tables.push(Table { heading, header: cells, rows: Vec::new() }),
            }
            is_open = true;
        }
        tables
    }

    /// The anchors that its headings have on GitHub.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let headings = self.prose().filter(|(_, line)| line.starts_with('#'));
        headings.map(|(heading, _)| anchor(&heading)).collect()
    }
}

/// What stands between backticks.
pub(crate) fn codes(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The names in a text.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn a_heading_becomes_the_anchor_that_github_gives_it() {
    assert_eq!(anchor("From `--dev` to production"), "from---dev-to-production");
    assert_eq!(anchor("Coming from Socket.IO, Centrifugo or Ably"), "coming-from-socketio-centrifugo-or-ably");
}
