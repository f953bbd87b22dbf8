//! The documents as pages: short where promised, reachable, with links that lead somewhere.

use std::collections::BTreeSet;

use super::markdown::{Document, document, documents, root};

/// Lines that the README may have.
const README_LINES: usize = 150;

/// Languages of fenced blocks. Each has its check; see the table at the head of `main.rs`.
const LANGUAGES: [&str; 11] =
    ["sh", "json", "js", "javascript", "toml", "text", "ini", "nginx", "dockerfile", "yaml", "mermaid"];

/// Targets of the links in a document, as they are written.
fn links(document: &Document) -> Vec<String> {
    let mut links = Vec::new();
    for (_, line) in document.prose() {
        for part in line.split("](").skip(1) {
            links.push(part.split(')').next().expect("a target").to_owned());
        }
    }
    links
}

/// A link's file below the root, if it is a file of the repository, and its anchor.
fn target(from: &Document, link: &str) -> Option<(String, Option<String>)> {
    if link.contains("://") {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor.to_owned())));
    let mut segments: Vec<&str> = from.name.split('/').collect();
    segments.pop();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        match segment {
            ".." => assert!(segments.pop().is_some(), "{link} in {} leaves the repository", from.name),
            _ => segments.push(segment),
        }
    }
    let name = if path.is_empty() { from.name.clone() } else { segments.join("/") };
    Some((name, anchor))
}

#[test]
fn readme_is_short() {
    let lines = document("README.md").text.lines().count();
    assert!(lines <= README_LINES, "{lines} lines");
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let mut count = 0;
    for document in documents() {
        for link in links(&document) {
            let Some((name, anchor)) = target(&document, &link) else { continue };
            assert!(root().join(&name).exists(), "{}: {link}", document.name);
            if let Some(anchor) = anchor {
                let anchors = super::markdown::document(&name).anchors();
                assert!(anchors.contains(&anchor), "{}: {link} is none of {anchors:?}", document.name);
            }
            count += 1;
        }
    }
    assert!(count > 100, "{count} links found");
}

#[test]
fn every_document_can_be_reached_from_the_readme() {
    let mut reached = BTreeSet::new();
    let mut open = vec!["README.md".to_owned()];
    while let Some(name) = open.pop() {
        if name.ends_with(".md") && reached.insert(name.clone()) {
            let document = document(&name);
            open.extend(links(&document).iter().filter_map(|link| Some(target(&document, link)?.0)));
        }
    }
    for document in documents() {
        assert!(reached.contains(&document.name), "no link leads to {}", document.name);
    }
}

#[test]
fn blocks_are_closed_and_of_a_language_that_is_checked() {
    for document in documents() {
        let fences = document.text.lines().filter(|line| line.starts_with("```")).count();
        assert_eq!(fences % 2, 0, "{}: a fence is open", document.name);
        for block in document.blocks() {
            assert!(LANGUAGES.contains(&block.language.as_str()), "{}: {:?}", document.name, block.language);
        }
    }
}

#[test]
fn long_documents_have_a_table_of_contents() {
    for document in documents().iter().filter(|document| document.name.starts_with("docs/")) {
        let sections: Vec<String> =
            document.prose().filter_map(|(_, line)| Some(line.strip_prefix("## ")?.to_owned())).collect();
        if document.text.lines().count() < 100 || sections.len() < 3 {
            continue;
        }
        let listed: Vec<String> = links(document);
        let anchors = document.anchors();
        let linked = anchors.iter().filter(|anchor| listed.contains(&format!("#{anchor}"))).count();
        assert!(linked >= sections.len(), "{}: {linked} of {} sections are linked", document.name, sections.len());
    }
}
