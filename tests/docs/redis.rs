//! The page on Redis lists every script, and every kind of key that a server leaves there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use redis::from_redis_value;
use serde_json::json;

use super::markdown::{codes, document, root};
use support::client::Client;
use support::http::{ask, bearer};
use support::process::wait_until;
use support::redis::RedisServer;
use support::server::{Server, token};

/// The Lua files below a folder.
fn scripts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            scripts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "lua") {
            found.push(path);
        }
    }
}

#[test]
fn every_script_is_listed_and_no_other() {
    let mut files = Vec::new();
    scripts(&root().join("src"), &mut files);
    let names: BTreeSet<String> =
        files.iter().map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    assert!(names.len() > 40, "{names:?}");
    let page = document("docs/redis.md");
    let section = page.prose().filter(|(heading, _)| heading == "Scripts").map(|(_, line)| line);
    let section: Vec<&str> = section.collect();
    let listed: BTreeSet<String> = section
        .iter()
        .flat_map(|line| codes(line))
        .filter(|code| code.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, names);
}

/// The kind of a key, as the page names it.
fn kind(key: &str) -> String {
    let key = key.replacen("switchboard", "P", 1);
    let Some((head, rest)) = key.split_once('{') else { return key };
    let (tag, suffix) = rest.split_once('}').expect("the end of a tag");
    let tag = match head {
        "P:room:" => "ROOM",
        "P:user:" => "USER",
        "P:session:" => "CONNECTION",
        "P:node:" => "NODE",
        _ => tag,
    };
    let suffix = match (head, suffix) {
        ("P:room:", suffix) if suffix.starts_with(":k:") => ":k:MESSAGE",
        ("P:room:", suffix) if suffix.starts_with(":c:") => ":c:HASH",
        ("P:user:", suffix) if suffix.starts_with(":l") => ":lKIND",
        (_, suffix) => suffix,
    };
    format!("{head}{{{tag}}}{suffix}")
}

#[test]
fn every_kind_of_key_is_listed() {
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let server = Server::start(&["--dev", "--set", &url, "--set", "limits.messages_per_minute=100"]);
    let mut clients = ["ann", "bob"].map(|user| Client::connect(&server.address, Some(&token(user, &json!({})))));
    for (client, peer) in clients.iter_mut().zip(["a", "b"]) {
        client.join("tea", peer);
    }
    let [ann, bob] = &mut clients;
    ann.send(&json!({ "type": "message", "roomId": "tea", "content": "Hello", "clientMessageId": "c-1" }));
    let id = ann.wait_for("message-sent")["id"].clone();
    bob.send(&json!({ "type": "read-receipt", "roomId": "tea", "messageId": id }));
    ann.wait_for("read-receipt");
    ann.send(&json!({ "type": "typing", "roomId": "tea", "isTyping": true }));
    bob.wait_for("typing");
    let headers = bearer(&token("ann", &json!({})));
    let headers: Vec<&str> = vec![&headers, "Content-Type: application/json"];
    let call = |path: &str, body: &str| {
        let response = ask(&server.address, "POST", path, &headers, Some(body));
        assert!(response.status < 300, "{path}: {}", response.status);
    };
    call("/rooms", r#"{"name": "Tea", "participants": ["bob"], "isPrivate": true}"#);
    call("/connections", r#"{"userId": "ann", "socketId": "tab-1"}"#);
    // Sessions are stored a moment after their connections have joined.
    let keys = || {
        let keys: Vec<String> = from_redis_value(redis.command(&["KEYS", "*"])).expect("names");
        keys.iter().map(|key| kind(key)).collect::<BTreeSet<String>>()
    };
    wait_until("a session is stored", || keys().contains("P:session:{CONNECTION}"));
    let found = keys();
    assert!(found.len() >= 18, "{found:?}");
    let page = document("docs/redis.md");
    let tables = page.tables();
    let table = tables.iter().find(|table| table.heading == "Keys").expect("a table");
    let listed: BTreeSet<&str> = table.rows.iter().map(|row| row[0].trim_matches('`')).collect();
    for key in found {
        assert!(listed.contains(key.as_str()), "{key} is not listed");
    }
}
