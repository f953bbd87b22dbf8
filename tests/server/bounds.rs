//! What may wait for one receiver, whoever sends it: signaling messages, and direct messages. With the embedded store and with
//! Redis.

use serde_json::{Value, json};
use support::client::Client;
use support::http::{Response, ask, bearer};
use support::redis::RedisServer;
use support::server::{Server, token};

fn connect(server: &Server, user: &str) -> Client {
    Client::connect(&server.address, Some(&token(user, &json!({}))))
}

/// Runs a test with one server by itself, and with two that share a Redis.
fn with_each_owner(settings: &[&str], test: impl Fn(&[&Server])) {
    let alone = Server::of_shards(2, settings);
    test(&[&alone]);
    drop(alone);
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let all: Vec<&str> = settings.iter().copied().chain([url.as_str()]).collect();
    let servers = [(); 2].map(|()| Server::of_shards(2, &all));
    test(&[&servers[0], &servers[1]]);
}

/// Sends a request; its answer, or that of the departure behind it.
fn answer_to(client: &mut Client, mut request: Value, number: usize) -> Value {
    request["requestId"] = json!(number);
    client.send(&request);
    // The owner of the room answers one request after the other.
    client.send(&json!({ "type": "leave-room", "roomId": "r", "requestId": "after" }));
    let first = client.wait_until(|answer| answer["requestId"] == number || answer["requestId"] == "after");
    if first["requestId"] != "after" {
        client.wait_until(|answer| answer["requestId"] == "after");
    }
    first
}

#[test]
fn signals_of_many_senders_are_refused_before_the_receiver_is_closed() {
    with_each_owner(&[], |servers| {
        let mut bob = connect(servers[0], "bob");
        bob.join("r", "bob");
        let names: Vec<String> = (0..12).map(|n| format!("user-{n}")).collect();
        let mut senders: Vec<Client> =
            names.iter().enumerate().map(|(n, user)| connect(servers[n % servers.len()], user)).collect();
        for (sender, name) in senders.iter_mut().zip(&names) {
            sender.join("r", name);
        }
        // Each of them alone stays within what one sender may send.
        let offer = "x".repeat(200 * 1024);
        let signal = json!({ "type": "offer", "roomId": "r", "toPeerId": "bob", "offer": offer });
        let (mut refused, mut passed) = (0, 0);
        for (n, sender) in senders.iter_mut().enumerate() {
            let answer = answer_to(sender, signal.clone(), n);
            match answer["requestId"] == n {
                true => {
                    assert_eq!(answer["code"], "RATE_LIMITED", "{answer}");
                    assert!(answer["retryAfter"].as_u64().is_some_and(|wait| (1..=3).contains(&wait)), "{answer}");
                    refused += 1;
                }
                false => passed += 1,
            }
        }
        assert!(passed >= 2 && refused >= 4, "{passed} passed, {refused} were refused");
        // The receiver has not read anything meanwhile. It gets what was not refused, and goes on.
        for _ in 0..passed {
            bob.wait_for("offer");
        }
        bob.send(&json!({ "type": "ping", "requestId": "on" }));
        bob.wait_until(|answer| answer["requestId"] == "on");
        let mut eve = connect(servers[0], "eve");
        let outsider = answer_to(&mut eve, signal, 1);
        assert_eq!(outsider["code"], "NOT_IN_ROOM", "who is not in the room uses nothing up");
    });
}

#[test]
fn direct_messages_for_a_user_who_is_away_stop_at_the_limit() {
    with_each_owner(&["limits.direct_bytes_per_user=20000"], |servers| {
        let mut bob = connect(servers[0], "bob");
        bob.send(&json!({ "type": "ping" }));
        bob.wait_for("pong");
        bob.close();
        let mut ann = connect(servers[servers.len() - 1], "ann");
        let text = "x".repeat(3_000);
        let send = |ann: &mut Client, to: &str, number: usize| {
            let message = json!({ "type": "message", "toUserId": to, "content": text, "requestId": number });
            ann.send(&message);
            ann.wait_until(|answer| answer["requestId"] == number)
        };
        let mut kept = 0;
        let refusal = loop {
            let answer = send(&mut ann, "bob", kept);
            if answer["type"] == "error" {
                break answer;
            }
            kept += 1;
            assert!(kept < 10, "no limit");
        };
        assert_eq!(refusal["code"], "RATE_LIMITED", "{refusal}");
        let text = refusal["error"].as_str().unwrap_or_default();
        assert!(text.contains("limits.direct_bytes_per_user"), "{refusal}");
        assert!((5..=6).contains(&kept), "{kept} messages");
        assert_eq!(send(&mut ann, "bob", 100)["type"], "error");
        // Others are not concerned, and the user gets what was not refused; then there is place again.
        assert_eq!(send(&mut ann, "ann", 101)["type"], "message-sent");
        let mut bob = connect(servers[0], "bob");
        for _ in 0..kept {
            bob.wait_for("message");
        }
        let mut number = 200;
        support::process::wait_until("the messages are confirmed", || {
            number += 1;
            // A client proves receipt as it answers pings, which takes one that reads.
            bob.send(&json!({ "type": "ping", "requestId": number }));
            bob.wait_until(|answer| answer["requestId"] == number);
            send(&mut ann, "bob", number)["type"] == "message-sent"
        });
    });
}

/// Creates rooms by REST until that is refused; their ids.
fn create(server: &Server, user: &str, most: usize) -> (Vec<String>, Response) {
    let bearer = bearer(&token(user, &json!({})));
    let mut rooms = Vec::new();
    loop {
        let answer = ask(&server.address, "POST", "/rooms", &[&bearer], Some("{}"));
        if answer.status != 201 {
            return (rooms, answer);
        }
        rooms.push(answer.json()["room"]["roomId"].as_str().expect("an id").to_owned());
        if rooms.len() == most {
            return (rooms, answer);
        }
    }
}

fn check_too_many_rooms(refusal: &Value) {
    assert_eq!(refusal["code"], "RATE_LIMITED", "{refusal}");
    assert!(refusal["error"].as_str().is_some_and(|text| text.contains("limits.rooms_per_user")), "{refusal}");
}

#[test]
fn rooms_created_by_a_user_stop_at_the_limit() {
    with_each_owner(&["limits.rooms_per_user=4", "limits.cost_per_user=0", "limits.rest_per_minute=0"], |servers| {
        let last = servers[servers.len() - 1];
        let (mut rooms, _) = create(servers[0], "ann", 2);
        let (more, refused) = create(last, "ann", 10);
        rooms.extend(more);
        assert_eq!((rooms.len(), refused.status), (4, 429), "{}", refused.text());
        check_too_many_rooms(&refused.json());
        assert_eq!(create(last, "bob", 3).0.len(), 3, "others are not concerned");
        // A room that is closed makes place.
        let bearer = bearer(&token("ann", &json!({})));
        let closed = ask(&last.address, "DELETE", &format!("/api/rooms/{}", rooms[0]), &[&bearer], None);
        assert!(closed.status < 300, "{}", closed.text());
        support::process::wait_until("there is place again", || create(servers[0], "ann", 1).0.len() == 1);
        check_too_many_rooms(&create(servers[0], "ann", 1).1.json());
    });
}

#[test]
fn kept_rooms_that_a_user_makes_by_joining_stop_at_the_limit() {
    with_each_owner(&["limits.rooms_per_user=4", "limits.cost_per_user=0"], |servers| {
        let mut ann = connect(servers[0], "ann");
        let mut visit = |room: &str| {
            ann.send(&json!({ "type": "join-room", "roomId": room, "requestId": room }));
            let joined = ann.wait_until(|answer| answer["requestId"] == room);
            if joined["type"] == "room-joined" {
                ann.send(&json!({ "type": "message", "roomId": room, "content": "x" }));
                ann.wait_for("message-sent");
                ann.send(&json!({ "type": "leave-room", "roomId": room }));
                ann.wait_for("room-left");
            }
            joined
        };
        let mut made = 0;
        let refused = loop {
            let answer = visit(&format!("room-{made}"));
            if answer["type"] == "error" {
                break answer;
            }
            made += 1;
            assert!(made < 40, "no limit");
        };
        check_too_many_rooms(&refused);
        // The count follows a join, so a room or two more can be made meanwhile.
        assert!((4..=12).contains(&made), "{made} rooms");
        check_too_many_rooms(&visit("another"));
        assert_eq!(visit("room-0")["type"], "room-joined", "rooms that exist can be joined");
        let (rooms, refused) = create(servers[servers.len() - 1], "ann", 1);
        assert!(rooms.is_empty(), "{}", refused.text());
    });
}
