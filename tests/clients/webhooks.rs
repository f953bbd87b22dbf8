//! The libraries of Standard Webhooks from npm and PyPI verify requests, also with a secret that is about to be replaced.

use std::process::Command;

use serde_json::json;

use support::client::Client;
use support::directory::Directory;
use support::packages::{NODE, PYTHON, SCRIPTS, run};
use support::server::{Server, token};
use support::webhook_receiver::{WEBHOOK_SECRET, WebhookReceiver};

#[test]
fn webhooks_are_verified_by_stock_libraries() {
    const NEW: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let receiver = WebhookReceiver::start();
    let one = format!("secret = \"{WEBHOOK_SECRET}\"");
    let two = format!("secrets = [\"{NEW}\", \"{WEBHOOK_SECRET}\"]");
    let setting = receiver.setting("").replace(&one, &two);
    let server = Server::start(&[
        "--set",
        &setting,
        "--set",
        "webhooks.allow_private=true",
        "--set",
        "rooms.create_on_join=always",
    ]);
    for user in ["ann", "bob", "zoë"] {
        let mut client = Client::connect(&server.address, Some(&token(user, &json!({}))));
        client.join("räume \"1\"", user);
        client.send(&json!({"type": "message", "roomId": "räume \"1\"", "content": "😀 \u{2028} \"x\" \\"}));
        client.wait_for("message-sent");
        let said = |events: &[serde_json::Value]| {
            events.iter().any(|event| event["type"] == "message.published" && event["data"]["userId"] == user)
        };
        receiver.wait_for("the message", said);
    }
    let requests = receiver.requests();
    let both = requests.iter().flat_map(|request| {
        [NEW, WEBHOOK_SECRET].map(|secret| json!({"secret": secret, "headers": request.headers, "body": request.body}))
    });
    let both = serde_json::Value::Array(both.collect());
    let directory = Directory::new();
    std::fs::create_dir_all(directory.path()).expect("a directory");
    let file = directory.path().join("requests.json");
    std::fs::write(&file, both.to_string()).expect("a file");
    let expected = format!("verified {}\n", 2 * requests.len());
    assert!(requests.len() >= 3);
    assert_eq!(run(Command::new("node").arg(NODE.join("webhooks.mjs")).arg(&file)), expected);
    assert_eq!(run(Command::new(&*PYTHON).arg(format!("{SCRIPTS}/webhooks.py")).arg(&file)), expected);
}
