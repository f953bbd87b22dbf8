//! Webhooks of one server at their limits: dead letters, a full outbox, large messages, the end of the server, and TLS.

use std::time::Duration;

use serde_json::{Value, json};

use support::client::Client;
use support::directory::Directory;
use support::http::{Http, bearer};
use support::process::wait_until;
use support::server::{Server, token};
use support::webhook_receiver::{WebhookReceiver, published_contents};

fn say(client: &mut Client, room: &str, content: &str) {
    client.send(&json!({"type": "message", "roomId": room, "content": content}));
}

#[test]
fn webhook_that_was_given_up_after_a_day_is_listed_and_replayed() {
    let receiver = WebhookReceiver::start();
    receiver.answer_with(500);
    let directory = Directory::new();
    let data = directory.text();
    let server = receiver.start_server(r#"events = ["message.published"]"#, &["--data", &data]);
    let mut ann = Client::of(&server.address, "ann");
    ann.join("r", "a");
    for content in ["one", "two"] {
        say(&mut ann, "r", content);
        ann.wait_for("message-sent");
    }
    wait_until("a refused request", || !receiver.requests().is_empty());
    server.kill();
    // A day passes.
    let store = rusqlite::Connection::open(directory.path().join("store.db")).expect("the store");
    assert_eq!(store.execute("UPDATE hook_event SET at = at - 86400000", []).expect("an update"), 2);
    drop(store);
    let server = receiver.start_server(r#"events = ["message.published"]"#, &["--data", &data]);
    let root = bearer(&token("root", &json!({ "role": "admin" })));
    let call = |method: &str, path: &str, by: &str| Http::connect(&server.address).ask(method, path, &[by], None);
    let listed = || call("GET", "/api/v1/webhooks/dead-letters", &root).json()["deadLetters"].clone();
    wait_until("two dead letters", || listed().as_array().is_some_and(|letters| letters.len() == 2));
    let letters = listed();
    assert_eq!(letters[0]["endpoint"], "app");
    assert_eq!([0, 1].map(|at| letters[at]["event"]["data"]["content"].clone()), ["one", "two"]);
    let page = server.metrics();
    assert!(page.contains("switchboard_webhook_events_dead_total{endpoint=\"app\"} 2"), "{page}");
    assert!(page.contains("switchboard_webhook_dead_letters{endpoint=\"app\"} 2"), "{page}");

    let bob = bearer(&token("bob", &json!({})));
    assert_eq!(call("GET", "/api/v1/webhooks/dead-letters", &bob).status, 403);
    assert_eq!(call("POST", "/api/v1/webhooks/app/replay", &bob).status, 403);
    assert_eq!(call("POST", "/api/v1/webhooks/other/replay", &root).status, 404);
    receiver.answer_with(200);
    assert_eq!(call("POST", "/api/v1/webhooks/app/replay", &root).status, 204);
    let events = receiver.wait_for("both messages", |events| events.len() == 2);
    assert_eq!(published_contents(&events), ["one", "two"]);
    assert_eq!(listed(), json!([]));
}

#[test]
fn webhook_that_waits_is_bounded_and_goes_on_afterwards() {
    let receiver = WebhookReceiver::start();
    receiver.answer_with(500);
    let server = receiver.start_server(r#"events = ["message.published"]"#, &["--set", "webhooks.outbox_bytes=65536"]);
    let mut ann = Client::of(&server.address, "ann");
    ann.join("r", "a");
    let long = "x".repeat(4_000);
    for number in 0..40 {
        say(&mut ann, "r", &format!("{number} {long}"));
        ann.wait_for("message-sent");
    }
    let dropped = || !server.metrics().contains("switchboard_webhook_events_dropped_total{endpoint=\"app\"} 0");
    wait_until("dropped events", dropped);
    receiver.answer_with(200);
    let first = receiver.wait_for("those that were kept", |events| events.len() >= 10);
    assert!(published_contents(&first)[9].starts_with("9 ") && first.len() < 20, "{}", first.len());
    // There is room again, once the delivery is recorded.
    wait_until("an empty outbox", || {
        server.metrics().contains("switchboard_webhook_waiting_bytes{endpoint=\"app\"} 0")
    });
    say(&mut ann, "r", "after");
    receiver.wait_for("a later message", |events| published_contents(events).contains(&"after".to_owned()));
}

#[test]
fn webhook_of_large_messages_is_sent_in_several_requests() {
    let receiver = WebhookReceiver::start();
    let server = receiver.start_server(r#"events = ["message.published"]"#, &[]);
    let mut ann = Client::of(&server.address, "ann");
    ann.join("r", "a");
    let long = "x".repeat(10_000);
    for number in 0..90 {
        say(&mut ann, "r", &format!("{number} {long}"));
        ann.wait_for("message-sent");
    }
    receiver.wait_for("all messages", |events| events.len() == 90);
    assert!(receiver.requests().iter().all(|request| request.body.len() < 600_000));
}

#[test]
fn webhook_of_the_last_moment_is_sent_before_the_server_ends() {
    let receiver = WebhookReceiver::start();
    let mut server = receiver.start_server(r#"events = ["message.published"]"#, &["--set", "drain.seconds=0"]);
    let mut ann = Client::of(&server.address, "ann");
    ann.join("r", "a");
    say(&mut ann, "r", "last");
    ann.wait_for("message-sent");
    server.signal(15);
    assert!(server.wait(Duration::from_secs(20)).success());
    assert_eq!(published_contents(&receiver.events()), ["last"]);
}

#[test]
fn webhook_by_https_needs_a_trusted_certificate() {
    let receiver = WebhookReceiver::start_secure();
    let directory = Directory::new();
    std::fs::create_dir_all(directory.path()).expect("a directory");
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, receiver.certificate()).expect("a file");
    let endpoint = receiver.setting("").replace("http://127.0.0.1", "https://localhost");
    let arguments = ["--set", &endpoint, "--set", "webhooks.allow_private=true"];
    let trusting = Server::start_with(&arguments, &[("SSL_CERT_FILE", &file.to_string_lossy())]);
    let _ann = Client::of(&trusting.address, "ann");
    receiver.wait_for("an event", |events| !events.is_empty());
    let received = receiver.requests().len();

    let other = WebhookReceiver::start_secure();
    std::fs::write(&file, other.certificate()).expect("a file");
    let distrusting = Server::start_with(&arguments, &[("SSL_CERT_FILE", &file.to_string_lossy())]);
    let _bob = Client::of(&distrusting.address, "bob");
    let failed = || !distrusting.metrics().contains("switchboard_webhook_requests_failed_total{endpoint=\"app\"} 0");
    wait_until("a failure", failed);
    assert!(receiver.requests().len() - received <= 1, "only the first server sends");
    let is_bobs = |event: &Value| event["data"]["userId"] == "bob";
    assert!(!receiver.events().iter().any(is_bobs));
}
