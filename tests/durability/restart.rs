//! State that survives a restart or a crash: messages to absent users, receipts, idempotency records, created rooms.

use serde_json::{Value, json};

use crate::start;
use support::directory::Directory;
use support::http::{ask, bearer};
use support::lossy_client::LossyClient;
use support::process::wait_until;
use support::room_log::{number, room_name, text};
use support::server::{Server, token};

const ANY_PORT: &str = "127.0.0.1:0";

fn connect(server: &Server, user: &str) -> LossyClient {
    LossyClient::connect(&server.address, user).expect("the server listens")
}

fn request(line: &mut LossyClient, request: Value, answer: &str) -> Value {
    line.send(&request).expect("it lives");
    loop {
        let message = line.next().expect("it lives");
        if message["type"] == answer || message["type"] == "error" {
            return message;
        }
    }
}

/// Kills the server and starts it again.
fn again(server: Server, directory: &Directory) -> Server {
    start(&server.kill(), directory, &[])
}

fn direct(line: &mut LossyClient, to: &str, content: &str) -> Value {
    request(line, json!({ "type": "message", "toUserId": to, "content": content }), "message-sent")
}

/// The directs that come until one says `last`.
fn directs(line: &mut LossyClient, last: &str) -> Vec<String> {
    let mut all = Vec::new();
    while all.last().is_none_or(|content| content != last) {
        let message = line.wait_for("message", drop).expect("it lives");
        assert_eq!(message["sender"], "ann");
        all.push(text(&message, "content"));
    }
    all
}

#[test]
fn requests_behind_the_join_of_an_unloaded_room_wait_for_it() {
    let directory = Directory::new();
    let server = start(ANY_PORT, &directory, &[]);
    let say = |line: &mut LossyClient, content: &str| {
        line.send(&json!({ "type": "message", "roomId": "tea", "content": content })).expect("it lives");
    };
    let mut ann = connect(&server, "ann");
    for content in ["one", "two"] {
        request(&mut ann, json!({ "type": "join-room", "roomId": "tea" }), "room-joined");
        say(&mut ann, content);
        ann.wait_for("message-sent", drop).expect("it lives");
    }
    let server = again(server, &directory);
    // Two clients at once, with all that they want at once.
    let mut lines: Vec<LossyClient> = ["ann", "bo"].map(|user| connect(&server, user)).into();
    for line in &mut lines {
        line.send(&json!({ "type": "join-room", "roomId": "tea" })).expect("it lives");
        say(line, "more");
        line.send(&json!({ "type": "join-room", "roomId": "new" })).expect("it lives");
    }
    let mut numbers = Vec::new();
    for line in &mut lines {
        let mut rooms = Vec::new();
        let sent = line.wait_for("message-sent", |message| match message["type"].as_str() {
            Some("room-joined") => rooms.push(text(&message, "roomId")),
            Some("error") => panic!("{message}"),
            _ => {}
        });
        assert!(rooms.contains(&"tea".to_owned()), "{rooms:?}");
        numbers.push(sent.expect("it lives")["seq"].as_u64());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [Some(3), Some(4)]);
    let history = json!({ "type": "history", "roomId": "tea" });
    let history = request(&mut lines[0], history, "history");
    assert_eq!(history["messages"].as_array().map(Vec::len), Some(4), "{history}");
}

#[test]
fn messages_to_absent_users_are_delivered_after_restart() {
    let directory = Directory::new();
    let server = start(ANY_PORT, &directory, &[]);
    let mut ann = connect(&server, "ann");
    // Nobody has ever seen zed.
    assert_eq!(direct(&mut ann, "zed", "hello")["code"], "USER_NOT_FOUND");
    connect(&server, "bo").leave();
    wait_until("bo is away, and known", || direct(&mut ann, "bo", "0")["type"] == "message-sent");
    let mut bo = connect(&server, "bo");
    directs(&mut bo, "0");
    bo.leave();
    // More than one answer of the store holds.
    let said: Vec<String> = (1..=700).map(|n| n.to_string()).collect();
    for content in &said[..600] {
        assert_eq!(direct(&mut ann, "bo", content)["type"], "message-sent");
    }
    let server = again(server, &directory);
    let mut ann = connect(&server, "ann");
    for content in &said[600..] {
        assert_eq!(direct(&mut ann, "bo", content)["type"], "message-sent");
    }
    let mut bo = connect(&server, "bo");
    let heard = directs(&mut bo, "700");
    let first = heard.iter().position(|content| content == "1").expect("the first");
    // The one that showed that bo is known may have come twice, or not be bo's any more.
    assert!(heard[..first].iter().all(|content| content == "0"));
    assert_eq!(heard[first..], said);
    // They were delivered, and are not delivered again.
    assert_eq!(direct(&mut ann, "bo", "now")["type"], "message-sent");
    assert_eq!(directs(&mut bo, "now"), ["now"]);
    bo.leave();
    assert_eq!(direct(&mut ann, "bo", "later")["type"], "message-sent");
    assert_eq!(directs(&mut connect(&server, "bo"), "later"), ["later"]);
    assert_eq!(direct(&mut ann, "zed", "hello")["code"], "USER_NOT_FOUND");
}

#[test]
fn receipts_and_idempotency_records_survive_restart() {
    let directory = Directory::new();
    let server = start(ANY_PORT, &directory, &[]);
    let (mut ann, mut bo) = (connect(&server, "ann"), connect(&server, "bo"));
    let room = room_name(0);
    let join = json!({ "type": "join-room", "roomId": room });
    let joined = [&mut ann, &mut bo].map(|line| request(line, join.clone(), "room-joined"));
    let named = |content: &str, name: &str| json!({ "type": "message", "roomId": room, "content": content, "clientMessageId": name, "requestId": name });
    let first = request(&mut ann, named("one", "mine"), "message-sent");
    let other = request(&mut bo, named("two", "mine"), "message-sent");
    assert_eq!((number(&first, "seq"), number(&other, "seq")), (1, 2));
    let id = text(&first, "id");
    for kind in ["delivered", "read-receipt"] {
        bo.send(&json!({ "type": kind, "roomId": room, "messageId": id })).expect("it lives");
        assert_eq!(ann.wait_for(kind, drop).expect("it lives")["userId"], "bo");
    }
    let receipts = json!({ "type": "receipts", "roomId": room, "messageId": id });
    let known = request(&mut ann, receipts.clone(), "receipts");
    let server = again(server, &directory);
    let (mut ann, mut bo) = (connect(&server, "ann"), connect(&server, "bo"));
    let again = [&mut ann, &mut bo].map(|line| request(line, join.clone(), "room-joined"));
    assert_eq!((&again[0]["epoch"], &again[0]["seq"]), (&joined[0]["epoch"], &json!(2)));
    let known_again = request(&mut ann, receipts, "receipts");
    for list in ["delivered", "read"] {
        assert_eq!(known[list][0]["userId"], "bo");
        assert_eq!((&known_again[list], &known_again["complete"]), (&known[list], &json!(true)));
    }
    // The sender of an old message hears of receipts as of those of new ones.
    // One that was known before the restart has no effect when it is repeated.
    let mut cy = connect(&server, "cy");
    request(&mut cy, join.clone(), "room-joined");
    for line in [&mut bo, &mut cy] {
        line.send(&json!({ "type": "read-receipt", "roomId": room, "messageId": id })).expect("it lives");
        request(line, json!({ "type": "ping", "requestId": "after" }), "pong");
    }
    let heard = ann.wait_for("read-receipt", drop).expect("it lives");
    assert_eq!((&heard["messageId"], &heard["userId"]), (&json!(id), &json!("cy")));
    for (line, before) in [(&mut ann, &first), (&mut bo, &other)] {
        let repeated = request(line, named("whatever", "mine"), "message-sent");
        for part in ["id", "seq", "timestamp", "requestId"] {
            assert_eq!(repeated[part], before[part], "{part}");
        }
    }
    assert_eq!(number(&request(&mut ann, named("three", "another"), "message-sent"), "seq"), 3);
    let history = request(&mut ann, json!({ "type": "history", "roomId": room }), "history");
    assert_eq!(history["messages"].as_array().map(Vec::len), Some(3));
}

#[test]
fn created_rooms_survive_restart_with_participants() {
    let directory = Directory::new();
    let server = start(ANY_PORT, &directory, &[]);
    let keys = ["ann", "bo", "cy", "dee"].map(|user| bearer(&token(user, &json!({}))));
    let [ann, bo, cy, dee] = keys.each_ref().map(|key| [key.as_str()]);
    let body = json!({ "name": "plans", "participants": ["bo"], "isPrivate": true }).to_string();
    let made = ask(&server.address, "POST", "/rooms", &ann, Some(&body));
    assert_eq!(made.status, 201, "{}", made.text());
    let room = text(&made.json()["room"], "roomId");
    let path = format!("/rooms/{room}");
    assert_eq!(ask(&server.address, "POST", &format!("{path}/join"), &bo, Some("{}")).status, 200);
    let meeting = ask(&server.address, "POST", "/api/rooms", &ann, Some(r#"{"maxParticipants":2}"#)).json();
    let meeting = format!("/api/rooms/{}", text(&meeting, "roomId"));
    let gone = ask(&server.address, "POST", "/api/rooms", &ann, Some("{}")).json();
    let gone = format!("/api/rooms/{}", text(&gone, "roomId"));
    assert_eq!(ask(&server.address, "DELETE", &gone, &ann, None).status, 204);
    let before = ask(&server.address, "GET", &path, &bo, None).json();
    let meeting_before = ask(&server.address, "GET", &meeting, &dee, None).json();
    let mut server = again(server, &directory);
    for _ in 0..2 {
        let after = ask(&server.address, "GET", &path, &bo, None).json();
        for part in ["roomId", "name", "participants", "isPrivate", "createdAt", "host"] {
            assert_eq!(after["room"][part], before["room"][part], "{part}");
        }
        assert_eq!(ask(&server.address, "GET", &path, &cy, None).status, 403);
        assert_eq!(ask(&server.address, "GET", &path, &dee, None).status, 403);
        let meeting_after = ask(&server.address, "GET", &meeting, &dee, None).json();
        assert_eq!(meeting_after["meetingInfo"], meeting_before["meetingInfo"]);
        assert_eq!(ask(&server.address, "GET", &gone, &ann, None).status, 404);
        // With a message in it, too.
        let mut line = connect(&server, "bo");
        let joined = request(&mut line, json!({ "type": "join-room", "roomId": room }), "room-joined");
        let sent = json!({ "type": "message", "roomId": room, "content": "on with it" });
        let seq = number(&request(&mut line, sent, "message-sent"), "seq");
        assert_eq!(seq, number(&joined, "seq") + 1);
        server = again(server, &directory);
    }
    // Who left is no participant any more.
    assert_eq!(ask(&server.address, "POST", &format!("{path}/leave"), &bo, Some("{}")).status, 200);
    let server = again(server, &directory);
    assert_eq!(ask(&server.address, "GET", &path, &bo, None).status, 403);
    assert_eq!(ask(&server.address, "DELETE", &format!("/api{path}"), &ann, None).status, 204);
    let server = again(server, &directory);
    assert_eq!(ask(&server.address, "GET", &path, &ann, None).status, 404);
}
