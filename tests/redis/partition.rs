//! A server that is cut off from Redis until the others take it for dead and remove its members: its clients return to their
//! rooms by recovery, and miss nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::asked;
use support::client::{Client, End};
use support::engineio::{Socket, array, event};
use support::fault_proxy::FaultProxy;
use support::http;
use support::process::wait_until;
use support::redis::RedisServer;
use support::server::{Server, token};

fn connect(server: &Server, user: &str) -> Client {
    Client::connect(&server.address, Some(&token(user, &json!({}))))
}

/// A stock client's connection to a namespace, and the answer; `position`: the private id and offset that it shows.
fn chat(server: &Server, position: Option<(&str, &str)>) -> (Socket, Value) {
    let path = "/socket.io/?EIO=4&transport=websocket&dialect=camel";
    let mut socket = Socket::connect(&server.address, path);
    assert!(socket.next().starts_with('0'));
    let (pid, offset) = position.unzip();
    let payload = json!({ "token": token("eve", &json!({})), "pid": pid, "offset": offset });
    socket.send(&format!("40/chat,{payload}"));
    let answer = socket.next();
    (socket, serde_json::from_str(answer.strip_prefix("40/chat,").expect("an answer")).expect("JSON"))
}

/// The next message to a room: its content and offset.
fn hear(socket: &mut Socket) -> (Value, String) {
    loop {
        let packet = socket.next();
        if packet.contains("newMessage") {
            let offset = array(&packet).last().and_then(Value::as_str).expect("an offset").to_owned();
            return (event(&packet).1["content"].clone(), offset);
        }
        assert!(!packet.starts_with("41"), "the client would not come back after {packet}");
    }
}

fn say(client: &mut Client, content: &str) {
    client.send(&json!({ "type": "message", "roomId": "r", "content": content }));
    client.wait_for("message-sent");
}

fn return_after(cut: impl Fn(&FaultProxy)) {
    let redis = RedisServer::start();
    let proxy = FaultProxy::to(redis.port());
    let settings = |url: String| [format!("redis.url={url}"), "recovery.window_ms=120000".to_owned()];
    let [own, other] = [proxy.url(), redis.url()].map(|url| {
        let settings = settings(url);
        Server::of_shards(2, &settings.each_ref().map(String::as_str))
    });
    let (mut ada, mut bo) = (connect(&own, "ada"), connect(&other, "bo"));
    let (mut eve, first) = chat(&own, None);
    let joined = ada.join("r", "a");
    eve.send(r#"42/chat,["joinRoom","r"]"#);
    while !eve.next().contains("joinedRoom") {}
    bo.join("r", "b");
    say(&mut bo, "before");
    assert_eq!(ada.wait_for("message")["content"], "before");
    let (content, offset) = hear(&mut eve);
    assert_eq!(content, "before");
    wait_until("their sessions are kept", || redis.ask::<Vec<String>>("KEYS *:session:*").len() >= 3);
    cut(&proxy);
    bo.wait_until(|message| message["type"] == "peer-left" && message["peerId"] == "a");
    say(&mut bo, "meanwhile");
    proxy.restore();
    let told =
        ada.wait_until(|message| !matches!(message["type"].as_str(), Some("message" | "peer-left" | "presence")));
    assert_eq!(
        (&told["type"], &told["reason"], &told["reconnect"]),
        (&json!("disconnect"), &json!("server-isolated"), &json!(true)),
        "{told}"
    );
    assert_eq!(ada.end(), End::Close(1012, "service restart".to_owned()));
    eve.end();
    wait_until("the server is ready", || http::ask(&own.address, "GET", "/readyz", &[], None).status == 200);
    let mut again = connect(&own, "ada");
    let position = json!({ "r": { "epoch": joined["epoch"], "seq": 1 } });
    again.send(&json!({ "type": "resume", "recoveryToken": ada.hello["recoveryToken"], "rooms": position }));
    let resumed = again.wait_for("resumed");
    let room = &resumed["rooms"]["r"];
    assert_eq!((&room["recovered"], &room["messages"][0]["content"]), (&json!(true), &json!("meanwhile")), "{resumed}");
    let (mut eve, answer) = chat(&own, Some((first["pid"].as_str().expect("a pid"), &offset)));
    assert_eq!(answer["pid"], first["pid"], "it was recovered");
    assert_eq!(hear(&mut eve).0, "meanwhile");
    say(&mut bo, "after");
    assert_eq!(again.wait_for("message")["content"], "after");
    assert_eq!(hear(&mut eve).0, "after");
}

#[test]
fn clients_of_a_server_without_redis_for_long_return_to_their_rooms() {
    return_after(FaultProxy::drop_all);
}

#[test]
fn clients_of_a_server_that_redis_does_not_hear_return_to_their_rooms() {
    return_after(FaultProxy::drop_requests);
}

/// A member on a server that is cut off, with the messages that it has heard.
struct Listener {
    client: Client,
    epoch: Value,
    seq: Value,
    heard: Vec<String>,
}

impl Listener {
    fn join(server: &Server) -> Self {
        let mut client = connect(server, "ada");
        let joined = client.join("r", "a");
        Self { client, epoch: joined["epoch"].clone(), seq: joined["seq"].clone(), heard: Vec::new() }
    }

    fn take(&mut self, message: &Value) {
        self.seq = message["seq"].clone();
        self.heard.push(message["content"].as_str().expect("a text").to_owned());
    }

    /// Returns to the room: the server has ended the connection.
    fn resume(&mut self, server: &Server) {
        let secret = self.client.hello["recoveryToken"].clone();
        wait_until("the server is ready", || http::ask(&server.address, "GET", "/readyz", &[], None).status == 200);
        self.client = connect(server, "ada");
        let position = json!({ "r": { "epoch": self.epoch, "seq": self.seq } });
        self.client.send(&json!({ "type": "resume", "recoveryToken": secret, "rooms": position }));
        let resumed = self.client.wait_for("resumed");
        let room = &resumed["rooms"]["r"];
        assert_eq!((&room["recovered"], &room["epoch"]), (&json!(true), &self.epoch), "{resumed}");
        for message in room["messages"].as_array().expect("messages") {
            self.take(message);
        }
    }

    /// Listens until `last` is heard; whether the server has ended the connection meanwhile.
    fn listen(&mut self, server: &Server, last: &str) -> bool {
        let mut is_ended = false;
        while self.heard.last().is_none_or(|heard| heard != last) {
            match self.client.next_or_end() {
                Ok(message) if message["type"] == "message" => self.take(&message),
                Ok(message) if message["type"] == "disconnect" => {
                    assert_eq!(message["reason"], "server-isolated", "{message}");
                    assert_eq!(message["reconnect"], true, "{message}");
                }
                Ok(message) => assert_ne!(message["type"], "room-closed", "{message}"),
                Err(end) => {
                    assert_eq!(end, End::Close(1012, "service restart".to_owned()));
                    is_ended = true;
                    self.resume(server);
                }
            }
        }
        is_ended
    }
}

/// The number of times that each partition happens, and its lengths in seconds.
fn partitions() -> (usize, &'static [u64]) {
    asked().map_or((1, &[1]), |times| (times, &[1, 8, 18, 40]))
}

/// A server is cut off for a while: its member hears every message once and in order, is a member all the time or is told to
/// connect again, and can send afterwards.
fn converge_after(cut: impl Fn(&FaultProxy)) {
    let (times, lengths) = partitions();
    let redis = RedisServer::start();
    let proxy = FaultProxy::to(redis.port());
    let [own, other] = [proxy.url(), redis.url()].map(|url| {
        Server::of_shards(
            2,
            // The clients answer no pings while the server is cut off.
            &[
                &format!("redis.url={url}"),
                "recovery.window_ms=120000",
                "limits.messages_per_minute=0",
                "heartbeat.interval_ms=60000",
                "heartbeat.timeout_ms=60000",
            ],
        )
    });
    let (mut ada, mut bo) = (Listener::join(&own), connect(&other, "bo"));
    bo.join("r", "b");
    wait_until("the session is kept", || !redis.ask::<Vec<String>>("KEYS *:session:*").is_empty());
    let mut said = Vec::new();
    for (round, length) in (0..times).flat_map(|round| lengths.iter().map(move |length| (round, *length))) {
        let mut say = |bo: &mut Client, when: &str| {
            let text = format!("{round}, {length} s, {when}");
            say_to(bo, &text);
            said.push(text.clone());
            text
        };
        say(&mut bo, "before");
        cut(&proxy);
        say(&mut bo, "meanwhile");
        proxy.restore_after(Duration::from_secs(length));
        let last = say(&mut bo, "after");
        let is_ended = ada.listen(&own, &last);
        eprintln!("cut off for {length} s: {}", if is_ended { "told to connect again" } else { "unnoticed" });
        assert_eq!(ada.heard, said);
        let back = format!("{round}, {length} s, back");
        say_until_taken(&mut ada.client, &back);
        let heard = bo.wait_for("message");
        assert_eq!(heard["content"], back.as_str(), "once");
        said.push(back.clone());
        ada.heard.push(back);
    }
}

/// Sends a message again until it is taken: a request can be on its way to Redis on a connection that is not known to be dead.
fn say_until_taken(client: &mut Client, content: &str) {
    let message = json!({ "type": "message", "roomId": "r", "content": content, "clientMessageId": content });
    loop {
        client.send(&message);
        let answer = client.wait_until(|message| message["type"] == "message-sent" || message["type"] == "error");
        if answer["type"] == "message-sent" {
            return;
        }
        assert_eq!(answer["code"], "STORAGE_UNAVAILABLE", "{answer}");
    }
}

fn say_to(client: &mut Client, content: &str) {
    let is_answer = |message: &Value| {
        assert_ne!(message["type"], "error", "{message}");
        message["type"] == "message-sent"
    };
    client.send(&json!({ "type": "message", "roomId": "r", "content": content }));
    client.wait_until(is_answer);
}

#[test]
fn member_of_a_server_whose_connections_to_redis_are_cut_hears_everything_once() {
    converge_after(FaultProxy::cut);
}

#[test]
fn member_of_a_server_whose_packets_are_lost_hears_everything_once() {
    converge_after(FaultProxy::drop_all);
}

#[test]
fn member_of_a_server_that_redis_does_not_hear_hears_everything_once() {
    converge_after(FaultProxy::drop_requests);
}

#[test]
fn member_of_a_server_that_hears_nothing_of_redis_hears_everything_once() {
    converge_after(FaultProxy::drop_replies);
}
