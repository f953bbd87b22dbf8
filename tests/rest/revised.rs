//! Streams whose message was edited or deleted: nothing that reads the room shows the text of their pieces any more.

use serde_json::{Value, json};
use support::client::Client;
use support::server::Server;

use crate::rooms::{backend, with_each_owner};

/// Publishes a stream of two pieces, complete or not; its id.
fn stream(server: &Server, is_complete: bool) -> String {
    let call = |path: &str, body: Value| {
        let answer = backend(server, "POST", path, &[], body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    };
    let opened = call("/api/v1/publish", json!({ "rooms": ["tea"], "data": "", "status": "streaming" }));
    let id = opened["rooms"][0]["id"].as_str().expect("an id").to_owned();
    let append = format!("/api/v1/rooms/tea/messages/{id}/append");
    call(&append, json!({ "data": "secret one " }));
    let status = if is_complete { "complete" } else { "streaming" };
    call(&append, json!({ "data": "secret two", "status": status }));
    id
}

#[test]
fn pieces_of_a_changed_stream_are_not_shown() {
    let settings = ["limits.rest_per_minute=0", "rooms.create_on_join=always"];
    with_each_owner(&settings, |servers| {
        let (first, last) = (servers[0], servers[servers.len() - 1]);
        let mut ann = Client::of(&first.address, "ann");
        ann.join("tea", "a");
        let (edited, deleted, open) = (stream(first, true), stream(first, true), stream(first, false));
        let kept = stream(first, true);
        let messages = || backend(last, "GET", "/api/v1/rooms/tea/messages?after=0", &[], Value::Null).text();
        assert_eq!(messages().matches("secret one").count(), 8, "each text, and each piece: {}", messages());
        let path = |id: &str| format!("/api/v1/rooms/tea/messages/{id}");
        assert_eq!(backend(last, "PATCH", &path(&edited), &[], json!({ "data": "public" })).status, 200);
        assert_eq!(backend(last, "DELETE", &path(&deleted), &[], Value::Null).status, 200);
        assert_eq!(backend(last, "DELETE", &path(&open), &[], Value::Null).status, 200);
        let text = messages();
        assert_eq!(text.matches("secret").count(), 4, "the last stream: {text}");
        assert!(text.contains("public"), "{text}");
        let page: Value = serde_json::from_str(&text).expect("JSON");
        let page = page["messages"].as_array().expect("messages");
        let numbers: Vec<&Value> = page.iter().map(|message| &message["seq"]).collect();
        assert_eq!(numbers, (1..=15).collect::<Vec<u64>>());
        let of = |id: &str| page.iter().filter(|message| message["messageId"] == id).cloned().collect::<Vec<Value>>();
        for id in [&edited, &deleted, &open] {
            let pieces: Vec<Value> = of(id).iter().take(2).map(|piece| piece["data"].clone()).collect();
            assert_eq!(pieces, ["", ""], "{id}");
        }
        assert_eq!(of(&kept)[0]["data"], "secret one ");
        // So with a request at the wire.
        ann.send(&json!({ "type": "history", "roomId": "tea", "after": 0, "limit": 50, "requestId": 7 }));
        let history = ann.wait_until(|answer| answer["requestId"] == 7);
        assert_eq!(history.to_string().matches("secret").count(), 4, "{history}");
        assert!(history.to_string().contains(&kept), "{history}");
    });
}
