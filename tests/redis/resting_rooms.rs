//! Rooms without members, whose messages Redis keeps: how much memory they take, and how many there are.

use serde_json::{Value, json};

use support::client::Client;
use support::process::wait_until;
use support::redis::RedisServer;
use support::server::{Server, token};
use support::webhook_receiver::WebhookReceiver;

fn start(settings: &[&str]) -> (RedisServer, Server, Client) {
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let server = Server::of_shards(1, &[&[&*url], settings].concat());
    let client = Client::connect(&server.address, Some(&token("ada", &json!({}))));
    (redis, server, client)
}

fn send(client: &mut Client, room: &str, seq: u64) {
    client.send(&json!({ "type": "message", "roomId": room, "content": "hello", "requestId": seq }));
    assert_eq!(client.wait_for("message-sent")["seq"], seq);
}

fn leave(client: &mut Client, room: &str) {
    client.send(&json!({ "type": "leave-room", "roomId": room, "requestId": "leave" }));
    client.wait_until(|message| message["requestId"] == "leave");
}

fn keys(redis: &RedisServer, pattern: &str) -> Vec<String> {
    let mut keys: Vec<String> = redis.ask(&format!("KEYS switchboard:room:{pattern}"));
    keys.sort();
    keys
}

#[test]
fn room_without_members_takes_little_memory_and_goes_on() {
    let (redis, _server, mut ada) = start(&[]);
    ada.join("tea", "a");
    (1..=3).for_each(|seq| send(&mut ada, "tea", seq));
    leave(&mut ada, "tea");
    let kept = keys(&redis, "*");
    assert_eq!(kept, ["", ":i", ":l"].map(|part| format!("switchboard:room:{{tea}}{part}")));
    let bytes: usize = kept.iter().map(|key| redis.ask::<usize>(&format!("MEMORY USAGE {key} SAMPLES 0"))).sum();
    assert!(bytes < 2_500, "{bytes} bytes");
    let ends = kept.iter().map(|key| redis.ask::<i64>(&format!("PTTL {key}"))).all(|ms| ms > 60_000);
    assert!(ends, "all of it ends with the retention time");
    assert_eq!(ada.join("tea", "a")["seq"], 3);
    send(&mut ada, "tea", 4);
    ada.send(&json!({ "type": "history", "roomId": "tea", "after": 0 }));
    let history = ada.wait_for("history");
    let known: Vec<&Value> = history["messages"].as_array().expect("a list").iter().map(|it| &it["seq"]).collect();
    assert_eq!(known, [1, 2, 3, 4]);
}

#[test]
fn rooms_without_members_are_bounded() {
    let (redis, _server, mut ada) = start(&["redis.resting_rooms=2"]);
    let rooms = ["r0", "r1", "r2", "r3", "r4"];
    for room in rooms {
        ada.join(room, "a");
        send(&mut ada, room, 1);
        leave(&mut ada, room);
    }
    ada.join("r0", "a");
    wait_until("the others are removed", || keys(&redis, "*:l").len() == 3);
    let kept = ["r0", "r3", "r4"].map(|room| format!("switchboard:room:{{{room}}}:l"));
    assert_eq!(keys(&redis, "*:l"), kept);
    assert_eq!(keys(&redis, "{r1}*"), [""; 0]);
    send(&mut ada, "r0", 2);
}

/// The room was left this long ago, for its own script and for the list that nodes look at.
fn age(redis: &RedisServer, room: &str, ms: i64) {
    redis.ask::<i64>(&format!("HINCRBY switchboard:room:{{{room}}} a -{ms}"));
    wait_until("it is listed", || {
        redis.ask::<Option<String>>(&format!("ZSCORE switchboard:nodes:{{all}}:left {room}")).is_some()
    });
    redis.ask::<String>(&format!("ZINCRBY switchboard:nodes:{{all}}:left -{ms} {room}"));
}

#[test]
fn idle_room_ends_once_with_an_event() {
    let redis = RedisServer::start();
    let receiver = WebhookReceiver::start();
    let url = format!("redis.url={}", redis.url());
    let servers = [(); 2].map(|()| receiver.start_server("", &["--set", &url, "--set", "rooms.history=false"]));
    let mut ada = Client::connect(&servers[0].address, Some(&token("ada", &json!({}))));
    let of_tea = |events: &[Value]| -> Vec<String> {
        let of_tea = events.iter().filter(|event| event["data"]["roomId"] == "tea");
        of_tea.map(|event| event["type"].as_str().expect("a type").to_owned()).collect()
    };
    let all = ["room.created", "room.occupied", "member.joined", "member.left", "room.vacated", "room.closed"];
    for round in 1..=2 {
        ada.join("tea", "a");
        leave(&mut ada, "tea");
        age(&redis, "tea", 70_000);
        let events = receiver.wait_for("its end", |events| of_tea(events).len() >= round * all.len());
        assert_eq!(of_tea(&events), all.repeat(round));
        let last = events.iter().rfind(|event| event["type"] == "room.closed").expect("it has ended");
        assert_eq!(last["data"]["reason"], "idle");
        assert_eq!(keys(&redis, "{tea}*"), [""; 0]);
    }
}

#[test]
fn room_that_is_used_again_does_not_end() {
    let (redis, _server, mut ada) = start(&["rooms.history=false"]);
    ada.join("tea", "a");
    leave(&mut ada, "tea");
    let epoch = ada.join("tea", "a")["epoch"].clone();
    age(&redis, "tea", 70_000);
    let score = || redis.ask::<Option<String>>("ZSCORE switchboard:nodes:{all}:left tea");
    wait_until("a node has looked at it", || score().is_none());
    assert_eq!(ada.join("tea", "a")["epoch"], epoch);
}
