//! Hooks that decide about raw clients: answers, refusals, and an endpoint that is slow, fails and comes back.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use support::client::{Client, End};
use support::server::{Server, token};
use support::webhook_receiver::{WEBHOOK_SECRET, WebhookReceiver};

/// A server that asks `hooks` of an endpoint, with further keys of each.
fn start(receiver: &WebhookReceiver, hooks: &[(&str, &str)], settings: &[&str]) -> Server {
    let hook = |(name, more): &(&str, &str)| {
        let (address, more) = (&receiver.address, if more.is_empty() { String::new() } else { format!(", {more}") });
        format!("hooks.{name}={{url=\"http://{address}/hook\", secret=\"{WEBHOOK_SECRET}\"{more}}}")
    };
    let hooks: Vec<String> = hooks.iter().map(hook).collect();
    let fixed = ["hooks.allow_private=true", "rooms.create_on_join=always", "limits.messages_per_minute=0"];
    let mut all = vec!["--shards", "2"];
    for setting in hooks.iter().map(String::as_str).chain(fixed).chain(settings.iter().copied()) {
        all.extend(["--set", setting]);
    }
    Server::start(&all)
}

/// The questions of one type, each with its data.
fn asked(receiver: &WebhookReceiver, kind: &str) -> Vec<Value> {
    let bodies =
        receiver.requests().into_iter().map(|request| serde_json::from_str::<Value>(&request.body).expect("JSON"));
    bodies.filter(|body| body["type"] == kind).map(|body| body["data"].clone()).collect()
}

fn say(client: &mut Client, room: &str, content: &str) {
    client.send(&json!({"type": "message", "roomId": room, "content": content, "requestId": content}));
}

/// The answer to a request: its receipt, or its refusal.
fn answer(client: &mut Client, request: &str) -> Value {
    client.wait_until(|message| message["requestId"] == request)
}

#[test]
fn connect_hook_sets_user_grants_rooms_and_data() {
    let receiver = WebhookReceiver::start();
    receiver.answer_by(|question| match question["type"].as_str() {
        Some("connect") => json!({
            "user": {"id": "member-7", "username": "Ann"}, "join": ["lobby"], "data": {"team": 1},
            "grants": [{"rooms": "lobby", "can": ["join", "publish"]}],
        }),
        _ => json!({}),
    });
    let server = start(&receiver, &[("connect", ""), ("publish", "")], &[]);
    let mut ann = Client::of(&server.address, "ann");
    assert_eq!(ann.hello["userId"], "member-7");
    assert_eq!(ann.wait_for("room-joined")["roomId"], "lobby");
    say(&mut ann, "lobby", "hello");
    assert_eq!(answer(&mut ann, "hello")["type"], "message-sent");
    ann.send(&json!({"type": "join-room", "roomId": "elsewhere", "requestId": "j"}));
    assert_eq!(answer(&mut ann, "j")["code"], "FORBIDDEN", "it is not granted");
    let question = &asked(&receiver, "connect")[0];
    assert_eq!((&question["namespace"], &question["userId"]), (&json!("/ws"), &json!("ann")));
    assert_eq!(question["address"], "127.0.0.1");
    let question = &asked(&receiver, "publish")[0];
    let known = [&question["userId"], &question["username"], &question["data"], &question["content"]];
    assert_eq!(known, [&json!("member-7"), &json!("Ann"), &json!({"team": 1}), &json!("hello")]);
}

#[test]
fn connect_hook_that_refuses_closes_before_the_greeting() {
    let receiver = WebhookReceiver::start();
    receiver.answer_by(|_| json!({"refuse": {"code": "RATE_LIMITED", "message": "Not today"}}));
    let server = start(&receiver, &[("connect", "cache_ms=60000")], &[]);
    for _ in 0..3 {
        let mut client = Client::open(&server.address, &format!("events=all&token={}", token("ann", &json!({}))));
        let refused = client.next();
        assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("RATE_LIMITED")), "{refused}");
        assert_eq!(refused["error"], "Not today");
        assert_eq!(client.end(), End::Close(4403, "refused".to_owned()));
    }
    let asked = asked(&receiver, "connect").len();
    assert!(asked <= 2, "each shard asks once: {asked}");
}

#[test]
fn connect_hook_without_an_answer_refuses_or_lets_in() {
    for on_failure in ["refuse", "allow"] {
        let receiver = WebhookReceiver::start();
        receiver.answer_by(|_| json!({}));
        receiver.answer_with(500);
        let server = start(&receiver, &[("connect", &format!("on_failure=\"{on_failure}\""))], &[]);
        let open = || Client::open(&server.address, &format!("events=all&token={}", token("ann", &json!({}))));
        let mut client = open();
        let first = client.next();
        if on_failure == "allow" {
            assert_eq!(first["type"], "connect", "{first}");
            continue;
        }
        assert_eq!((&first["type"], &first["code"]), (&json!("error"), &json!("OVERLOADED")), "{first}");
        assert_eq!(client.end(), End::Close(1013, "unavailable".to_owned()));
        receiver.answer_with(200);
        assert_eq!(open().next()["type"], "connect");
    }
}

#[test]
fn client_that_leaves_while_the_application_is_asked_is_forgotten() {
    let receiver = WebhookReceiver::start();
    receiver.answer_by(|_| json!({"join": ["lobby"]}));
    let server = start(&receiver, &[("connect", ""), ("join", ""), ("publish", "")], &[]);
    let mut ann = Client::of(&server.address, "ann");
    ann.join("r", "ann");
    receiver.answer_after(Duration::from_millis(300));
    for number in 0..10 {
        drop(Client::open(&server.address, &format!("token={}", token(&format!("gone-{number}"), &json!({})))));
    }
    // These leave in the midst of a request.
    let mut going: Vec<Client> = (0..5).map(|number| Client::of(&server.address, &format!("going-{number}"))).collect();
    for client in &mut going {
        client.send(&json!({"type": "join-room", "roomId": "r"}));
        say(client, "r", "bye");
    }
    drop(going);
    receiver.answer_after(Duration::ZERO);
    say(&mut ann, "r", "still here");
    assert_eq!(answer(&mut ann, "still here")["type"], "message-sent");
    let only_ann = || server.metrics().lines().any(|line| line == "switchboard_connections{dialect=\"raw\"} 1");
    support::process::wait_until("only one is left", only_ann);
}

#[test]
fn join_and_publish_hooks_decide_in_order() {
    let receiver = WebhookReceiver::start();
    receiver.answer_by(|question| {
        let data = &question["data"];
        match (question["type"].as_str(), data["roomId"].as_str(), data["content"].as_str()) {
            (Some("join"), Some("closed"), _) => json!({"refuse": {"code": "ROOM_FULL", "message": "Members only"}}),
            (Some("publish"), _, Some(text)) if text.ends_with('7') => json!({"refuse": {"code": "MINE"}}),
            _ => json!({}),
        }
    });
    let server = start(&receiver, &[("join", ""), ("publish", "only=[\"r*\"]")], &[]);
    let (mut ann, mut bob) = (Client::of(&server.address, "ann"), Client::of(&server.address, "bob"));
    ann.send(&json!({"type": "join-room", "roomId": "closed", "requestId": "c"}));
    let refused = answer(&mut ann, "c");
    assert_eq!((&refused["code"], &refused["error"]), (&json!("ROOM_FULL"), &json!("Members only")));
    ann.join("r", "ann");
    bob.join("r", "bob");
    let texts: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    texts.iter().for_each(|text| say(&mut ann, "r", text));
    // It is read after all of them.
    ann.send(&json!({"type": "leave-room", "roomId": "r", "requestId": "leave"}));
    let permitted: Vec<&String> = texts.iter().filter(|text| !text.ends_with('7')).collect();
    for text in &permitted {
        assert_eq!(bob.wait_for("message")["content"], ***text);
    }
    bob.wait_for("peer-left");
    // A refusal need not wait for the receipts of the messages before it.
    let mut answers: BTreeMap<String, Value> = BTreeMap::new();
    while !texts.iter().all(|text| answers.contains_key(text)) {
        let message = ann.next();
        if let Some(id) = message["requestId"].as_str() {
            answers.insert(id.to_owned(), message.clone());
        }
    }
    for text in &texts {
        let answer = &answers[text];
        match text.ends_with('7') {
            // A code that the protocol does not know.
            true => assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("FORBIDDEN"))),
            false => assert_eq!(answer["type"], "message-sent"),
        }
    }
    // Other rooms are not asked about.
    bob.join("other", "bob");
    say(&mut bob, "other", "x7");
    assert_eq!(answer(&mut bob, "x7")["type"], "message-sent");
    assert!(asked(&receiver, "publish").iter().all(|question| question["roomId"] == "r"));
}

#[test]
fn failing_hook_refuses_or_allows_until_it_recovers() {
    for (on_failure, code) in [("refuse", Some("OVERLOADED")), ("allow", None)] {
        let receiver = WebhookReceiver::start();
        receiver.answer_by(|_| json!({}));
        let server = start(&receiver, &[("publish", &format!("timeout_ms=200, on_failure=\"{on_failure}\""))], &[]);
        let mut ann = Client::of(&server.address, "ann");
        ann.join("r", "ann");
        let mut expect = |text: &str, code: Option<&str>| {
            say(&mut ann, "r", text);
            let answer = answer(&mut ann, text);
            assert_eq!(answer["code"].as_str(), code, "{on_failure}, {text}: {answer}");
        };
        expect("fine", None);
        receiver.answer_with(500);
        expect("500", code);
        receiver.answer_with(200);
        receiver.answer_after(Duration::from_millis(1_000));
        expect("late", code);
        receiver.answer_after(Duration::ZERO);
        receiver.answer_by(|_| json!([1]));
        expect("no object", code);
        receiver.answer_by(|_| json!({}));
        expect("recovered", None);
    }
}

#[test]
fn question_that_finds_the_queue_full_fails_at_once() {
    let receiver = WebhookReceiver::start();
    let (open, gate) = std::sync::mpsc::channel::<()>();
    // It answers once the gate is open.
    receiver.answer_by(move |_| gate.recv().map_or_else(|_| json!({}), |()| json!({})));
    let server = start(&receiver, &[("publish", "timeout_ms=60000")], &["hooks.concurrency=1"]);
    let mut clients: Vec<Client> =
        (0..70).map(|number| Client::of(&server.address, &format!("user-{number}"))).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.join("r", &format!("p-{number}"));
    }
    clients.iter_mut().for_each(|client| say(client, "r", "full?"));
    // One is asked and 64 wait; the others are told so while the endpoint still thinks.
    let refused = || {
        let page = server.metrics();
        let line = page.lines().find_map(|line| line.strip_prefix("switchboard_refusals_total{code=\"OVERLOADED\"} "));
        line.and_then(|count| count.parse::<u32>().ok()).is_some_and(|count| count >= 5)
    };
    support::process::wait_until("the others are refused", refused);
    drop(open);
    let answers: Vec<Value> = clients.iter_mut().map(|client| answer(client, "full?")).collect();
    let refused: Vec<&Value> = answers.iter().filter(|answer| answer["type"] == "error").collect();
    assert!((5..=6).contains(&refused.len()), "{}", refused.len());
    for answer in refused {
        assert_eq!(answer["error"], "Too many questions to the application are waiting");
    }
}

#[test]
fn connects_through_a_slow_hook_all_succeed() {
    let receiver = WebhookReceiver::start();
    receiver.answer_by(|_| json!({}));
    receiver.answer_after(Duration::from_millis(50));
    let server = start(&receiver, &[("connect", "timeout_ms=30000")], &[]);
    let count: usize = std::env::var("SWITCHBOARD_CONNECTS").ok().and_then(|count| count.parse().ok()).unwrap_or(200);
    let address = server.address.as_str();
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        for part in 0..50 {
            scope.spawn(move || {
                for number in 0..count / 50 {
                    Client::of(address, &format!("user-{part}-{number}")).close();
                }
            });
        }
    });
    println!("{count} connects through a hook of 50 ms took {:?}", began.elapsed());
    assert_eq!(asked(&receiver, "connect").len(), count / 50 * 50);
}
