//! Webhooks of one server: the events, their order and signature, an endpoint that fails, and a server that is killed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::client::Client;
use support::directory::Directory;
use support::http::{Http, bearer};
use support::process::wait_until;
use support::server::{Server, token};
use support::webhook_receiver::{WEBHOOK_SECRET, WebhookReceiver, check_alternation, published_contents};

/// The types of events, with the room or user of each.
fn outline(events: &[Value]) -> Vec<String> {
    let of = |event: &Value| {
        let (kind, data) = (event["type"].as_str().unwrap_or_default(), &event["data"]);
        let subject = data["roomId"].as_str().or(data["userId"].as_str()).unwrap_or_default();
        format!("{kind} {subject}")
    };
    events.iter().map(of).collect()
}

fn say(client: &mut Client, room: &str, content: &str) {
    client.send(&json!({"type": "message", "roomId": room, "content": content, "clientMessageId": content}));
}

fn of_room<'a>(events: &'a [Value], room: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["data"]["roomId"] == room)
}

#[test]
fn webhook_of_a_conversation_has_every_event_in_order() {
    let receiver = WebhookReceiver::start();
    let server = receiver.start_server("", &[]);
    let mut ann = Client::of(&server.address, "ann");
    ann.join("r", "ann-1");
    let mut bob = Client::of(&server.address, "bob");
    bob.join("r", "bob-1");
    say(&mut ann, "r", "hello");
    bob.wait_for("message");
    ann.wait_for("message-sent");
    bob.close();
    ann.wait_for("peer-left");
    ann.close();
    let events = receiver.wait_for("the end of ann", |events| outline(events).contains(&"user.offline ann".to_owned()));
    let of_the_room: Vec<Value> = of_room(&events, "r").cloned().collect();
    let kinds = outline(&of_the_room);
    let expected = [
        "room.created",
        "room.occupied",
        "member.joined",
        "member.joined",
        "message.published",
        "member.left",
        "member.left",
        "room.vacated",
    ];
    assert_eq!(kinds, expected.map(|kind| format!("{kind} r")));
    let message = &of_the_room[4];
    let data = &message["data"];
    assert_eq!(message["id"], data["messageId"]);
    assert_eq!((&data["userId"], &data["peerId"], &data["seq"]), (&json!("ann"), &json!("ann-1"), &json!(1)));
    assert_eq!((&data["content"], &data["event"]), (&json!("hello"), &json!("message")));
    let of_ann: Vec<String> = outline(&events).into_iter().filter(|line| line.ends_with(" ann")).collect();
    assert_eq!(of_ann, ["connection.opened ann", "user.online ann", "connection.closed ann", "user.offline ann"]);
    let request = &receiver.requests()[0];
    assert_eq!(request.headers["content-type"], "application/json");
    assert!(request.headers["user-agent"].starts_with("switchboard/"));
}

#[test]
fn webhook_filters_select_kinds_and_rooms() {
    let receiver = WebhookReceiver::start();
    let server = receiver.start_server(r#"events = ["message.published", "room.vacated"], rooms = ["game-*"]"#, &[]);
    let mut ann = Client::of(&server.address, "ann");
    for room in ["chat", "game-1"] {
        ann.join(room, "ann-1");
        say(&mut ann, room, room);
        ann.wait_for("message-sent");
    }
    ann.close();
    let events = receiver.wait_for("the end of game-1", |events| events.len() >= 2);
    assert_eq!(outline(&events), ["message.published game-1", "room.vacated game-1"]);
}

#[test]
fn webhook_of_a_closed_room_ends_its_memberships() {
    let receiver = WebhookReceiver::start();
    let server = receiver.start_server(r#"events = ["room.*", "member.*"]"#, &[]);
    let mut http = Http::connect(&server.address);
    let ann = bearer(&token("ann", &json!({})));
    let made = http.ask("POST", "/rooms", &[&ann], Some("{}")).json();
    let room = made["room"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let mut bob = Client::of(&server.address, "bob");
    bob.join(&room, "b");
    assert_eq!(http.ask("DELETE", &format!("/api/rooms/{room}"), &[&ann], None).status / 100, 2);
    let events = receiver.wait_for("the end", |events| events.iter().any(|event| event["type"] == "room.closed"));
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap_or_default()).collect();
    let expected = ["room.created", "room.occupied", "member.joined", "member.left", "room.vacated", "room.closed"];
    assert_eq!(kinds, expected);
    assert_eq!(events[5]["data"]["reason"], "closed");
}

#[test]
fn webhook_of_a_failing_endpoint_is_repeated_with_its_id_until_accepted() {
    let receiver = WebhookReceiver::start();
    let server = receiver.start_server(r#"events = ["message.published"]"#, &[]);
    receiver.answer_with(307);
    let mut ann = Client::of(&server.address, "ann");
    ann.join("r", "a");
    say(&mut ann, "r", "one");
    ann.wait_for("message-sent");
    wait_until("two refused requests", || receiver.requests().len() >= 2);
    receiver.answer_with(200);
    receiver.wait_for("the message", |events| published_contents(events) == ["one"]);
    let ids: Vec<String> = receiver.requests().iter().map(|request| request.headers["webhook-id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let page = server.metrics();
    let failed = ids.len() - 1;
    for line in [
        format!("switchboard_webhook_requests_failed_total{{endpoint=\"app\"}} {failed}"),
        "switchboard_webhook_requests_accepted_total{endpoint=\"app\"} 1".to_owned(),
        "switchboard_webhook_events_delivered_total{endpoint=\"app\"} 1".to_owned(),
        "switchboard_webhook_breaker_open{endpoint=\"app\"} 0".to_owned(),
    ] {
        assert!(page.contains(&line), "{line}:\n{page}");
    }
}

#[test]
fn webhook_to_a_private_address_is_not_sent() {
    let receiver = WebhookReceiver::start();
    let endpoint = receiver.setting("");
    let named = endpoint.replace("127.0.0.1", "localhost").replace("app", "named");
    let both = format!("{},{}", endpoint.trim_end_matches(']'), named.trim_start_matches("webhooks.endpoints=["));
    let server = Server::start(&["--set", &both, "--set", "rooms.create_on_join=always"]);
    let mut ann = Client::of(&server.address, "ann");
    ann.join("r", "a");
    let failed = |endpoint: &str, page: &str| {
        let start = format!("switchboard_webhook_requests_failed_total{{endpoint=\"{endpoint}\"}} ");
        page.lines().any(|line| line.strip_prefix(&start).is_some_and(|count| count != "0"))
    };
    wait_until("failures", || {
        let page = server.metrics();
        failed("app", &page) && failed("named", &page)
    });
    assert!(receiver.requests().is_empty());
}

#[test]
fn webhook_is_delivered_after_the_endpoint_was_gone() {
    let receiver = WebhookReceiver::start();
    let server = receiver.start_server(r#"events = ["message.published"]"#, &[]);
    let address = receiver.address.clone();
    drop(receiver);
    let mut ann = Client::of(&server.address, "ann");
    ann.join("r", "a");
    let all: Vec<String> = (0..250).map(|number| format!("m{number}")).collect();
    for content in &all {
        say(&mut ann, "r", content);
        ann.wait_for("message-sent");
    }
    wait_until("a failure", || {
        let page = server.metrics();
        !page.contains("switchboard_webhook_requests_failed_total{endpoint=\"app\"} 0")
    });
    let receiver = WebhookReceiver::start_at(&address);
    let events = receiver.wait_for("all messages", |events| events.len() >= all.len());
    assert_eq!(published_contents(&events), all);
    assert!(receiver.requests().iter().all(|request| request.events().len() <= 100));
}

#[test]
fn webhook_survives_a_killed_server() {
    let receiver = WebhookReceiver::start();
    let directory = Directory::new();
    let data = directory.text();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        // The endpoint refuses, so that events wait, and the kill hits requests under way.
        receiver.answer_with(if round == 1 { 500 } else { 200 });
        let server =
            receiver.start_server(r#"events = ["message.published", "room.*", "member.*"]"#, &["--data", &data]);
        let mut ann = Client::of(&server.address, "ann");
        ann.join("r", "a");
        for number in 0..400 {
            let content = format!("{round}-{number}");
            say(&mut ann, "r", &content);
            ann.wait_for("message-sent");
            acknowledged.push(content);
        }
        server.kill();
    }
    receiver.answer_with(200);
    let server = receiver.start_server(r#"events = ["message.published", "room.*", "member.*"]"#, &["--data", &data]);
    let is_complete = |events: &[Value]| {
        let known: std::collections::BTreeSet<String> = published_contents(events).into_iter().collect();
        acknowledged.iter().all(|content| known.contains(content))
            && outline(events).iter().filter(|line| *line == "room.vacated r").count() == 3
    };
    let events = receiver.wait_for("all acknowledged messages", is_complete);
    assert_eq!(published_contents(&events), acknowledged, "in order, and each once by its id");
    check_alternation(&events);
    let restarts = events.iter().filter(|event| event["data"]["reason"] == "restart").count();
    assert_eq!(restarts, 6, "a member and a room in each of three lives");
    drop(server);
}

#[test]
fn webhook_of_a_slow_endpoint_does_not_delay_messages() {
    let receiver = WebhookReceiver::start();
    receiver.answer_after(Duration::from_secs(3));
    let server = receiver.start_server("", &[]);
    let (mut ann, mut bob) = (Client::of(&server.address, "ann"), Client::of(&server.address, "bob"));
    ann.join("r", "a");
    bob.join("r", "b");
    let began = Instant::now();
    for number in 0..300 {
        say(&mut ann, "r", &number.to_string());
        bob.wait_for("message");
    }
    // One request takes three seconds; so many messages behind requests would take minutes.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn webhook_of_rooms_that_open_and_close_alternates() {
    let receiver = WebhookReceiver::start();
    let server = receiver.start_server(r#"events = ["room.occupied", "room.vacated"]"#, &[]);
    let mut clients: Vec<Client> =
        (0..4).map(|number| Client::of(&server.address, &format!("user-{number}"))).collect();
    for round in 0..40 {
        for (number, client) in clients.iter_mut().enumerate() {
            let room = format!("room-{}", (round + number) % 5);
            client.send(&json!({"type": "join-room", "roomId": room, "peerId": format!("p{number}")}));
            client.send(&json!({"type": "leave-room", "roomId": room, "peerId": format!("p{number}")}));
        }
    }
    // Of each client the last request is done, and so all before it.
    for (number, mut client) in clients.into_iter().enumerate() {
        client.join("last", &format!("last-{number}"));
        client.close();
    }
    let events = receiver.wait_for("an end of each room", |events| {
        let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
        count("room.occupied") > 5
            && count("room.occupied") == count("room.vacated")
            && of_room(events, "last").any(|event| event["type"] == "room.vacated")
    });
    check_alternation(&events);
}

#[test]
fn webhook_is_signed_by_each_secret_while_they_change() {
    let receiver = WebhookReceiver::start();
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let setting = receiver
        .setting("")
        .replace(&format!("secret = \"{WEBHOOK_SECRET}\""), &format!("secrets = [\"{other}\", \"{WEBHOOK_SECRET}\"]"));
    let server = Server::start(&["--set", &setting, "--set", "webhooks.allow_private=true"]);
    let _ann = Client::of(&server.address, "ann");
    receiver.wait_for("an event", |events| !events.is_empty());
    let signatures = receiver.requests()[0].headers["webhook-signature"].clone();
    assert_eq!(signatures.split(' ').filter(|signature| signature.starts_with("v1,")).count(), 2);
}
