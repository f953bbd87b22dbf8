//! A part of a room that a failover has left in Redis: the room takes messages all the same, and an error leaves no part of an
//! operation.

use serde_json::{Value, json};

use support::client::Client;
use support::process::wait_until;
use support::redis::RedisServer;
use support::server::{Server, token};

const ROOM: &str = "switchboard:room:{r}";
const LOG: &str = "switchboard:room:{r}:l";

struct Scene {
    redis: RedisServer,
    _server: Server,
    ada: Client,
    bo: Client,
}

impl Scene {
    /// Two members of a room with five messages.
    fn begin() -> Self {
        let redis = RedisServer::start();
        let server = Server::of_shards(2, &[&format!("redis.url={}", redis.url())]);
        let connect = |user: &str| Client::connect(&server.address, Some(&token(user, &json!({}))));
        let (mut ada, mut bo) = (connect("ada"), connect("bo"));
        ada.join("r", "a");
        bo.join("r", "b");
        let mut scene = Self { redis, ada, bo, _server: server };
        (1..=5).for_each(|seq| scene.send(seq, json!({})));
        scene
    }

    /// Ada sends a message, which has this number for both.
    fn send(&mut self, seq: u64, more: Value) {
        let answer = self.try_send(more);
        assert_eq!((&answer["type"], &answer["seq"]), (&json!("message-sent"), &json!(seq)), "{answer}");
        let message = self.bo.wait_for("message");
        assert_eq!(message["seq"], seq, "{message}");
    }

    fn try_send(&mut self, more: Value) -> Value {
        let mut message = json!({ "type": "message", "roomId": "r", "content": "x", "requestId": 1 });
        message.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        self.ada.send(&message);
        self.ada.wait_until(|answer| matches!(answer["type"].as_str(), Some("message-sent" | "error")))
    }

    fn number(&self, field: &str) -> u64 {
        self.redis.ask(&format!("HGET {ROOM} {field}"))
    }
}

#[test]
fn message_takes_the_place_of_log_entries_beyond_the_room() {
    let mut scene = Scene::begin();
    scene.redis.command(&["HSET", ROOM, "s", "2"]);
    scene.send(3, json!({}));
    scene.redis.command(&["HSET", ROOM, "s", "1"]);
    scene.send(2, json!({ "clientMessageId": "c" }));
    let entries: u64 = scene.redis.ask(&format!("XLEN {LOG}"));
    assert_eq!((entries, scene.number("s")), (2, 2));
    let ids: u64 = scene.redis.ask(&format!("HLEN {ROOM}:i"));
    assert_eq!(ids, 2, "the others are forgotten, too");
}

#[test]
fn room_made_beside_a_former_log_begins_without_it() {
    let mut scene = Scene::begin();
    scene.redis.command(&["DEL", ROOM]);
    let answer = scene.try_send(json!({}));
    assert_eq!(answer["code"], "ROOM_NOT_FOUND", "{answer}");
    assert_eq!(scene.ada.wait_for("room-closed")["roomId"], "r");
    assert_eq!(scene.bo.wait_for("room-closed")["roomId"], "r");
    let joined = scene.ada.join("r", "a");
    assert_eq!((&joined["seq"], &joined["participantCount"]), (&json!(0), &json!(1)), "{joined}");
    scene.bo.join("r", "b");
    (1..=3).for_each(|seq| scene.send(seq, json!({})));
    scene.ada.send(&json!({ "type": "history", "roomId": "r", "limit": 50 }));
    let history = scene.ada.wait_for("history");
    assert_eq!(history["messages"].as_array().map(Vec::len), Some(3), "{history}");
}

#[test]
fn events_beyond_the_room_do_not_stop_it() {
    let mut scene = Scene::begin();
    let number = scene.number("n");
    scene.redis.command(&["XADD", &format!("{ROOM}:f"), &format!("{}-0", number + 9), "b", "{}"]);
    for is_typing in [true, false] {
        scene.ada.send(&json!({ "type": "typing", "roomId": "r", "isTyping": is_typing }));
        assert_eq!(scene.bo.wait_for("typing")["isTyping"], is_typing);
    }
    scene.send(6, json!({}));
}

#[test]
fn message_that_cannot_be_stored_leaves_no_number_and_can_be_repeated() {
    for more in [json!({}), json!({ "clientMessageId": "c" })] {
        let mut scene = Scene::begin();
        let numbers = [scene.number("s"), scene.number("n")];
        scene.redis.command(&["RENAME", LOG, "aside"]);
        scene.redis.command(&["SET", LOG, "no log"]);
        for _ in 0..3 {
            let answer = scene.try_send(more.clone());
            assert_eq!(answer["code"], "STORAGE_UNAVAILABLE", "{answer}");
        }
        assert_eq!([scene.number("s"), scene.number("n")], numbers);
        scene.redis.command(&["RENAME", "aside", LOG]);
        scene.send(6, more);
        wait_until("it is stored", || scene.redis.ask::<u64>(&format!("XLEN {LOG}")) == 6);
    }
}
