//! Rooms whose members use different transports: raw, Socket.IO by WebSocket, Socket.IO by polling.

use serde_json::{Value, json};

use support::client::Client;
use support::engineio::{Polling, Socket, connect_packet, event};
use support::http::{ask, bearer};
use support::process::wait_until;
use support::server::{Server, token};

/// Has a peer of `user` join the room by REST; it hears so by itself.
fn join(server: &Server, user: &str, peer: &str, room: &str) {
    let bearer = bearer(&token(user, &json!({})));
    let body = json!({ "connectionId": peer }).to_string();
    let answer = ask(&server.address, "POST", &format!("/rooms/{room}/join"), &[&bearer], Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// The next room message that a polling client of `colon` hears.
fn polled_message(client: &mut Polling) -> Value {
    loop {
        let (name, argument) = event(&client.wait_for("42/chat,"));
        if name == "message:new" {
            return argument;
        }
    }
}

#[test]
fn user_with_several_tabs_is_announced_once() {
    for shards in [1, 3] {
        let server = Server::of_shards(shards, &[]);
        let mut raw = Client::connect(&server.address, Some(&token("eve", &json!({}))));
        raw.join("tea", "eve");
        let (mut colon, _) = Socket::chat(&server.address, "colon", "ada");
        colon.ask(0, "join:chat", &json!({ "chatId": "tea" }));
        colon.acked(0);
        let (mut camel, _) = Socket::chat(&server.address, "camel", "cyd");
        camel.send(r#"42/chat,["joinRoom","tea"]"#);
        camel.hear("joinedRoom");
        // One tab is a raw client, two are not.
        let mut first = Client::connect(&server.address, Some(&token("bob", &json!({}))));
        first.join("tea", "tab");
        let mut others: Vec<Socket> = (0..2).map(|_| Socket::chat(&server.address, "camel", "bob").0).collect();
        for tab in &mut others {
            tab.send(r#"42/chat,["joinRoom","tea"]"#);
            tab.hear("joinedRoom");
        }
        first.close();
        others.into_iter().for_each(drop);
        // All news of Bob up to a message that is sent when he is gone.
        let mut joined = 0;
        let mut left = 0;
        while left < 3 {
            match raw.next()["type"].as_str() {
                Some("peer-joined") => joined += 1,
                Some("peer-left") => left += 1,
                _ => {}
            }
        }
        assert_eq!(joined, 5, "a raw client is told of each peer");
        raw.send(&json!({ "type": "message", "roomId": "tea", "content": "end" }));
        let news = |socket: &mut Socket, names: [&str; 2], end: &str| {
            let packets = std::iter::repeat_with(|| event(&socket.next())).take_while(|(name, _)| name != end);
            let of_bob = packets.filter(|(name, it)| names.contains(&name.as_str()) && it["userId"] == "bob");
            of_bob.map(|(name, _)| name).collect::<Vec<_>>()
        };
        let names = ["user:joined", "user:left"];
        assert_eq!(news(&mut colon, names, "message:new"), names);
        let names = ["userJoinedRoom", "userLeftRoom"];
        assert_eq!(news(&mut camel, names, "newMessage"), names);
    }
}

#[test]
fn members_of_all_transports_receive_messages_in_one_order() {
    for shards in [1, 3] {
        let server = Server::of_shards(shards, &["limits.messages_per_minute=0"]);
        let mut raw = Client::connect(&server.address, Some(&token("ada", &json!({}))));
        raw.join("tea", "ada");
        let mut witness = Client::connect(&server.address, Some(&token("eve", &json!({}))));
        witness.join("tea", "eve");
        let (mut colon, _) = Socket::chat(&server.address, "colon", "bob");
        colon.ask(0, "join:chat", &json!({ "chatId": "tea" }));
        assert_eq!(colon.acked(0)["success"], true);
        let (mut camel, _) = Socket::chat(&server.address, "camel", "cyd");
        camel.send(r#"42/chat,["joinRoom","tea"]"#);
        assert_eq!(camel.hear("joinedRoom"), "tea");
        let mut polling = Polling::open(&server.address, "/socket.io/");
        polling.send(&connect_packet("/chat", "dan"));
        polling.wait_for("40/chat,");
        polling.send(r#"42/chat,1["join:chat",{"chatId":"tea"}]"#);
        assert!(polling.wait_for("43/chat,1").contains(r#""success":true"#));
        // Each speaks in turn and at once with the others, so that the order is nobody's but the room's.
        for number in 0..50 {
            let content = |who: &str| format!("{who} {number}");
            raw.send(&json!({ "type": "message", "roomId": "tea", "content": content("raw") }));
            colon.ask(7, "message:send", &json!({ "chatId": "tea", "content": content("colon") }));
            let message = json!(["sendMessage", { "roomId": "tea", "content": content("camel") }]);
            camel.send(&format!("42/chat,{message}"));
            let message = json!(["message:send", { "chatId": "tea", "content": content("polling") }]);
            polling.send(&format!("42/chat,{message}"));
        }
        let mut own = 0;
        for seq in 1..=200 {
            let heard = witness.wait_for("message");
            assert_eq!(heard["seq"], seq);
            let content = &heard["content"];
            let by_colon = colon.hear("message:new");
            assert_eq!((&by_colon["seq"], &by_colon["content"]), (&json!(seq), content));
            assert_eq!((&by_colon["id"], &by_colon["chatId"]), (&heard["id"], &json!("tea")));
            let by_camel = camel.hear("newMessage");
            assert_eq!((&by_camel["seq"], &by_camel["content"]), (&json!(seq), content));
            assert_eq!((&by_camel["id"], &by_camel["sender"]), (&heard["id"], &by_colon["userId"]));
            let by_polling = polled_message(&mut polling);
            assert_eq!((&by_polling["seq"], &by_polling["content"]), (&json!(seq), content));
            // A sender that speaks `raw` does not hear itself.
            if content.as_str().is_some_and(|content| content.starts_with("raw")) {
                own += 1;
            } else {
                assert_eq!(raw.wait_for("message")["seq"], seq);
            }
        }
        assert_eq!(own, 50);
    }
}

/// A way to leave.
type Leave = fn(&mut Socket);

#[test]
fn member_leaving_in_any_way_is_announced() {
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
fn member_not_reading_is_closed_without_delay_for_others() {
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
        assert_eq!(reader.hear("message:new")["seq"], number + 1);
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
fn signaling_passes_between_transports() {
    let server = Server::of_shards(2, &[]);
    let mut raw = Client::connect(&server.address, Some(&token("ada", &json!({}))));
    raw.join("call", "ada");
    let (mut socket, id) = Socket::peer(&server.address, "/chat", "bob");
    join(&server, "bob", &id, "call");
    socket.hear("room:joined");
    raw.wait_for("peer-joined");
    raw.send(&json!({ "type": "offer", "roomId": "call", "toPeerId": id, "offer": { "sdp": "v=0" } }));
    let offer = socket.hear("offer");
    assert_eq!((&offer["offer"], &offer["fromPeerId"]), (&json!({ "sdp": "v=0" }), &json!("ada")));
    let answer = json!(["answer", { "roomId": "call", "toPeerId": "ada", "answer": { "sdp": "v=1" } }]);
    socket.send(&format!("42/chat,5{answer}"));
    let heard = raw.wait_for("answer");
    assert_eq!((&heard["answer"], &heard["fromPeerId"]), (&json!({ "sdp": "v=1" }), &json!(id)));
}

#[test]
fn direct_message_reaches_all_transports() {
    let server = Server::of_shards(2, &[]);
    let mut raw = Client::connect(&server.address, Some(&token("ada", &json!({}))));
    let (mut main, _) = Socket::peer(&server.address, "/", "bob");
    let (mut chat, _) = Socket::peer(&server.address, "/chat", "bob");
    raw.send(&json!({ "type": "message", "toUserId": "bob", "content": "hi" }));
    assert_eq!(main.hear("message")["data"], "hi");
    assert_eq!(chat.hear("message")["data"], "hi");
}

#[test]
fn presence_reaches_all_transports() {
    let server = Server::start(&["--shards", "2", "--set", "presence.scope=all"]);
    let (mut socket, _) = Socket::peer(&server.address, "/chat", "bob");
    let mut polling = Polling::open(&server.address, "/socket.io/");
    polling.send(&connect_packet("/chat", "cyd"));
    polling.wait_for("40/chat,{");
    let mut raw = Client::connect(&server.address, Some(&token("ada", &json!({}))));
    raw.send(&json!({ "type": "presence", "status": "busy" }));
    wait_until("the socket hears", || event(&socket.next()).1["status"] == "busy");
    wait_until("the polling client hears", || event(&polling.wait_for("42/chat,[")).1["status"] == "busy");
}

#[test]
fn socketio_peers_appear_in_rest_like_connections() {
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
    assert!(chat.next().contains("hi all") && polling.wait_for(r#"42["message""#).contains("hi all"));
    let answer = ask(&server.address, "DELETE", &format!("/connections/{id}"), &[&bob], None);
    assert!(answer.status < 300, "{}", answer.text());
    assert_eq!(chat.next(), "41/chat,");
}

#[test]
fn closed_room_is_left_on_all_transports() {
    let server = Server::of_shards(2, &[]);
    let host = bearer(&token("ada", &json!({})));
    let made = ask(&server.address, "POST", "/api/rooms", &[&host], Some("{}")).json();
    let room = made["roomId"].as_str().expect("a room").to_owned();
    let (mut socket, id) = Socket::peer(&server.address, "/chat", "bob");
    join(&server, "bob", &id, &room);
    assert_eq!(socket.hear("room:joined")["chatId"], room);
    assert_eq!(ask(&server.address, "DELETE", &format!("/api/rooms/{room}"), &[&host], None).status, 204);
    assert_eq!(socket.hear("room:closed")["chatId"], room);
}
