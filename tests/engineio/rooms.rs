//! Rooms whose members are on different wires: `raw`, Socket.IO by WebSocket, Socket.IO by polling.

use serde_json::{Value, json};

use super::client::{Polling, Socket, connect_packet};
use super::support::client::Client;
use super::support::http::{ask, bearer};
use super::support::process::wait_until;
use super::support::server::{Server, token};

/// Has a peer of `user` join the room by REST; it hears so by itself.
fn join(server: &Server, user: &str, peer: &str, room: &str) {
    let bearer = bearer(&token(user, &json!({})));
    let body = json!({ "connectionId": peer }).to_string();
    let answer = ask(&server.address, "POST", &format!("/rooms/{room}/join"), &[&bearer], Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// The event of a packet: its name and its argument.
fn event(packet: &str) -> (String, Value) {
    let json = &packet[packet.find('[').expect("an array")..];
    let mut event: Vec<Value> = serde_json::from_str(json).expect("JSON");
    let argument = event.pop().expect("an argument");
    (event[0].as_str().expect("a name").to_owned(), argument)
}

/// The next room message that a socket hears.
fn message(socket: &mut Socket, beginning: &str) -> Value {
    loop {
        let packet = socket.next();
        assert!(packet.starts_with(beginning), "{packet}");
        let (name, argument) = event(&packet);
        if name == "message" {
            return argument;
        }
    }
}

fn polled_message(client: &mut Polling, beginning: &str) -> Value {
    loop {
        let (name, argument) = event(&client.wait_for(beginning));
        if name == "message" {
            return argument;
        }
    }
}

#[test]
fn all_hear_what_is_said_in_one_order_on_every_wire() {
    for shards in [1, 3] {
        let server = Server::of_shards(shards, &[]);
        let mut raw = Client::connect(&server.address, Some(&token("ada", &json!({}))));
        raw.join("tea", "ada");
        let mut second = Client::connect(&server.address, Some(&token("eve", &json!({}))));
        second.join("tea", "eve");
        let (mut main, main_id) = Socket::peer(&server.address, "/", "bob");
        join(&server, "bob", &main_id, "tea");
        assert_eq!(event(&main.next()).0, "room-joined");
        let (mut chat, chat_id) = Socket::peer(&server.address, "/chat", "cyd");
        join(&server, "cyd", &chat_id, "tea");
        assert_eq!(event(&chat.next()).0, "room-joined");
        let mut polling = Polling::open(&server.address, "/socket.io/");
        polling.send(&connect_packet("/chat", "dan"));
        let accepted = polling.wait_for("40/chat,");
        let accepted: Value = serde_json::from_str(&accepted["40/chat,".len()..]).expect("JSON");
        join(&server, "dan", accepted["sid"].as_str().expect("a sid"), "tea");
        assert_eq!(event(&polling.wait_for("42/chat,")).0, "room-joined");
        for number in 0..200 {
            let sender = if number % 2 == 0 { &mut raw } else { &mut second };
            sender.send(&json!({ "type": "message", "roomId": "tea", "content": number.to_string() }));
        }
        let mut order = Vec::new();
        for seq in 1..=200 {
            let heard = message(&mut main, "42[");
            assert_eq!(heard["seq"], seq);
            order.push(heard["content"].clone());
        }
        for (seq, content) in (1..=200).zip(&order) {
            let heard = message(&mut chat, "42/chat,");
            assert_eq!((&heard["seq"], &heard["content"]), (&json!(seq), content));
            let heard = polled_message(&mut polling, "42/chat,");
            assert_eq!((&heard["seq"], &heard["content"]), (&json!(seq), content));
        }
    }
}

/// A way to leave.
type Leave = fn(&mut Socket);

#[test]
fn who_leaves_in_whatever_way_is_missed() {
    let server = Server::of_shards(2, &[]);
    let mut raw = Client::connect(&server.address, Some(&token("ada", &json!({}))));
    raw.join("tea", "ada");
    let arrive = |raw: &mut Client| {
        let (socket, id) = Socket::peer(&server.address, "/chat", "bob");
        join(&server, "bob", &id, "tea");
        assert_eq!(raw.wait_for("peer-joined")["peerId"], id);
        (socket, id)
    };
    let ways: [(&str, Leave); 4] = [
        ("a packet that leaves the namespace", |socket| socket.send("41/chat,")),
        ("a packet that ends the session", |socket| socket.send("1")),
        ("a packet that is none", |socket| socket.send("4x")),
        ("a close frame", |socket| socket.0.close(None).expect("it goes out")),
    ];
    for (way, leave) in ways {
        let (mut socket, id) = arrive(&mut raw);
        leave(&mut socket);
        assert_eq!(raw.wait_for("peer-left")["peerId"], id, "{way}");
    }
    let (socket, id) = arrive(&mut raw);
    drop(socket);
    assert_eq!(raw.wait_for("peer-left")["peerId"], id);
}

#[test]
fn who_does_not_read_is_dropped_and_nobody_waits_for_it() {
    let server = Server::of_shards(1, &["limits.outbound_bytes=65536"]);
    let mut raw = Client::connect(&server.address, Some(&token("ada", &json!({}))));
    raw.join("tea", "ada");
    let (mut reader, reading) = Socket::peer(&server.address, "/chat", "bob");
    join(&server, "bob", &reading, "tea");
    let (_deaf, deaf) = Socket::peer(&server.address, "/chat", "cyd");
    join(&server, "cyd", &deaf, "tea");
    let content = "x".repeat(16_000);
    // The kernel takes some megabytes for it first.
    for number in 0..2_000 {
        raw.send(&json!({ "type": "message", "roomId": "tea", "content": content }));
        raw.wait_for("message-sent");
        assert_eq!(message(&mut reader, "42/chat,")["seq"], number + 1);
        if number % 50 == 49 {
            let bearer = bearer(&token("ada", &json!({})));
            let room = ask(&server.address, "GET", "/rooms/tea", &[&bearer], None).json();
            if !room.to_string().contains(&deaf) {
                return;
            }
        }
    }
    panic!("it is still there");
}

#[test]
fn signaling_passes_between_wires() {
    let server = Server::of_shards(2, &[]);
    let mut raw = Client::connect(&server.address, Some(&token("ada", &json!({}))));
    raw.join("call", "ada");
    let (mut socket, id) = Socket::peer(&server.address, "/chat", "bob");
    join(&server, "bob", &id, "call");
    assert_eq!(event(&socket.next()).0, "room-joined");
    raw.wait_for("peer-joined");
    raw.send(&json!({ "type": "offer", "roomId": "call", "toPeerId": id, "offer": { "sdp": "v=0" } }));
    let (name, offer) = event(&socket.next());
    assert_eq!(
        (name.as_str(), &offer["offer"], &offer["fromPeerId"]),
        ("offer", &json!({ "sdp": "v=0" }), &json!("ada"))
    );
    let answer = json!(["answer", { "roomId": "call", "toPeerId": "ada", "answer": { "sdp": "v=1" } }]);
    socket.send(&format!("42/chat,5{answer}"));
    let heard = raw.wait_for("answer");
    assert_eq!((&heard["answer"], &heard["fromPeerId"]), (&json!({ "sdp": "v=1" }), &json!(id)));
}

#[test]
fn a_message_to_a_user_reaches_every_wire() {
    let server = Server::of_shards(2, &[]);
    let mut raw = Client::connect(&server.address, Some(&token("ada", &json!({}))));
    let (mut main, _) = Socket::peer(&server.address, "/", "bob");
    let (mut chat, _) = Socket::peer(&server.address, "/chat", "bob");
    raw.send(&json!({ "type": "message", "toUserId": "bob", "content": "hi" }));
    assert_eq!(message(&mut main, "42[")["data"], "hi");
    assert_eq!(message(&mut chat, "42/chat,")["data"], "hi");
}

#[test]
fn everybody_hears_of_presence() {
    let server = Server::start(&["--shards", "2", "--set", "presence.scope=all"]);
    let (mut socket, _) = Socket::peer(&server.address, "/chat", "bob");
    let mut polling = Polling::open(&server.address, "/socket.io/");
    polling.send(&connect_packet("/", "cyd"));
    polling.wait_for("40{");
    let mut raw = Client::connect(&server.address, Some(&token("ada", &json!({}))));
    raw.send(&json!({ "type": "presence", "status": "busy" }));
    wait_until("the socket hears", || event(&socket.next()).1["status"] == "busy");
    wait_until("the polling client hears", || event(&polling.wait_for("42[")).1["status"] == "busy");
}

#[test]
fn peers_are_described_reached_and_closed_like_other_connections() {
    let server = Server::of_shards(2, &[]);
    let (mut chat, id) = Socket::peer(&server.address, "/chat", "bob");
    let mut polling = Polling::open(&server.address, "/socket.io/");
    polling.send(&connect_packet("/", "bob"));
    polling.wait_for("40{");
    let bob = bearer(&token("bob", &json!({})));
    let described = ask(&server.address, "GET", "/connections/bob", &[&bob], None).json();
    let mut carried: Vec<(&str, &str)> = Vec::new();
    for connection in described["connections"].as_array().expect("a list") {
        assert_eq!(connection["ipAddress"], "127.0.0.1");
        let text = |field: &str| connection[field].as_str().expect("a text");
        carried.push((text("transport"), text("dialect")));
    }
    carried.sort_unstable();
    assert_eq!(carried, [("polling", "notify"), ("websocket", "colon")]);
    let admin = bearer(&token("root", &json!({ "role": "admin" })));
    let body = json!({ "message": "hi all", "type": "info" }).to_string();
    assert!(ask(&server.address, "POST", "/broadcast", &[&admin], Some(&body)).status < 300);
    assert!(chat.next().contains("hi all") && polling.wait_for("42[").contains("hi all"));
    let answer = ask(&server.address, "DELETE", &format!("/connections/{id}"), &[&bob], None);
    assert!(answer.status < 300, "{}", answer.text());
    assert_eq!(chat.next(), "41/chat,");
}

#[test]
fn a_room_that_is_closed_is_left_on_every_wire() {
    let server = Server::of_shards(2, &[]);
    let host = bearer(&token("ada", &json!({})));
    let made = ask(&server.address, "POST", "/api/rooms", &[&host], Some("{}")).json();
    let room = made["roomId"].as_str().expect("a room").to_owned();
    let (mut socket, id) = Socket::peer(&server.address, "/chat", "bob");
    join(&server, "bob", &id, &room);
    assert_eq!(event(&socket.next()).0, "room-joined");
    assert_eq!(ask(&server.address, "DELETE", &format!("/api/rooms/{room}"), &[&host], None).status, 204);
    assert_eq!(event(&socket.next()).0, "room-closed");
}
