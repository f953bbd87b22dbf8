//! The dialects of Socket.IO over real sockets: events, their receivers, and errors.

use serde_json::{Value, json};

use support::client::Client;
use support::engineio::{Socket, connect_packet, event, server};
use support::http::{ask, bearer};
use support::server::{Server, token};

/// A room with its host, who speaks `raw`.
fn raw_in(server: &Server, room: &str) -> Client {
    let mut raw = Client::connect(&server.address, Some(&token("ada", &json!({}))));
    raw.join(room, "ada");
    raw
}

/// A member that speaks `colon`.
fn colon_in(server: &Server, user: &str, room: &str) -> Socket {
    let (mut socket, _) = Socket::chat(&server.address, "colon", user);
    socket.ask(0, "join:chat", &json!({ "chatId": room }));
    assert_eq!(socket.acked(0)["success"], true);
    socket.hear("room:joined");
    socket
}

/// A member that speaks `camel`.
fn camel_in(server: &Server, user: &str, room: &str) -> Socket {
    let (mut socket, _) = Socket::chat(&server.address, "camel", user);
    socket.send(&format!("42/chat,{}", json!(["joinRoom", room])));
    assert_eq!(socket.hear("joinedRoom"), room);
    socket
}

#[test]
fn members_of_each_dialect_receive_joins_typing_and_receipts() {
    let server = server(&[]);
    let mut raw = raw_in(&server, "tea");
    let mut colon = colon_in(&server, "bob", "tea");
    raw.wait_for("peer-joined");
    let mut camel = camel_in(&server, "cyd", "tea");
    raw.wait_for("peer-joined");
    let joined = colon.hear("user:joined");
    assert_eq!(
        (&joined["userId"], &joined["username"], &joined["chatId"]),
        (&json!("cyd"), &json!("cyd"), &json!("tea"))
    );
    let mut count = json!(0);
    while count != 3 {
        let update = colon.hear("room:online-update");
        assert_eq!(update["chatId"], "tea");
        count = update["onlineCount"].clone();
    }

    colon.ask(1, "message:typing", &json!({ "chatId": "tea", "isTyping": true }));
    assert_eq!(colon.acked(1), json!({ "success": true, "message": "Typing status updated" }));
    assert_eq!(camel.hear("userTyping"), json!({ "roomId": "tea", "userId": "bob", "isTyping": true }));
    assert_eq!(raw.wait_for("typing")["userId"], "bob");
    camel.send(r#"42/chat,["typingIndicator",{"roomId":"tea","isTyping":true}]"#);
    let typing = json!({ "chatId": "tea", "userId": "cyd", "username": "cyd", "isTyping": true });
    assert_eq!(colon.hear("user:typing"), typing);

    raw.send(&json!({ "type": "message", "roomId": "tea", "content": "hi" }));
    let id = raw.wait_for("message-sent")["id"].clone();
    let heard = camel.hear("newMessage");
    assert_eq!((&heard["id"], &heard["sender"], &heard["content"]), (&id, &json!("ada"), &json!("hi")));
    camel.send(&format!("42/chat,{}", json!(["readReceipt", { "roomId": "tea", "messageId": id }])));
    let read = raw.wait_for("read-receipt");
    assert_eq!((&read["messageId"], &read["userId"]), (&id, &json!("cyd")));
    // The room hears of it in `colon`, whosever the message was.
    let read = colon.hear("message:read");
    assert_eq!((&read["messageId"], &read["chatId"], &read["userId"]), (&id, &json!("tea"), &json!("cyd")));
    colon.ask(2, "message:delivered", &json!({ "chatId": "tea", "messageId": id }));
    assert_eq!(raw.wait_for("delivered")["userId"], "bob");
    assert_eq!(colon.hear("message:delivered")["userId"], "bob");

    colon.ask(3, "leave:chat", &json!({ "chatId": "tea" }));
    assert_eq!(colon.acked(3), json!({ "success": true, "message": "Left chat successfully" }));
    assert_eq!(colon.hear("room:left"), json!({ "chatId": "tea" }));
    let left = camel.hear("userLeftRoom");
    assert_eq!((&left["userId"], &left["roomId"]), (&json!("bob"), &json!("tea")));
    raw.wait_for("peer-left");
}

#[test]
fn sender_receives_ack_and_own_message() {
    let server = server(&[]);
    raw_in(&server, "tea");
    let mut colon = colon_in(&server, "bob", "tea");
    colon.ask(1, "message:send", &json!({ "chatId": "tea", "content": "Hello, world!", "type": "text" }));
    let answer = colon.acked(1);
    let sent = &answer["sentMessage"];
    assert_eq!((&answer["success"], &answer["message"]), (&json!(true), &json!("Message sent successfully")));
    assert_eq!(
        (&sent["content"], &sent["type"], &sent["chatId"]),
        (&json!("Hello, world!"), &json!("text"), &json!("tea"))
    );
    assert_eq!((&sent["userId"], &sent["user"]), (&json!("bob"), &json!({ "id": "bob", "username": "bob" })));
    let told = colon.hear("message:sent");
    assert_eq!((&told["messageId"], &told["seq"]), (&sent["id"], &json!(1)));
    assert_eq!(colon.hear("message:new"), *sent);
    let mut camel = camel_in(&server, "cyd", "tea");
    camel.send(r#"42/chat,5["sendMessage",{"roomId":"tea","content":"hi","metadata":{"customField":"value"}}]"#);
    let told = camel.hear("messageSent");
    assert_eq!((&told["seq"], &told["status"]), (&json!(2), &json!("sent")));
    let acked = camel.acked(5);
    assert_eq!((&acked["success"], &acked["id"]), (&json!(true), &told["id"]));
    let heard = camel.hear("newMessage");
    assert_eq!((&heard["id"], &heard["metadata"]), (&told["id"], &json!({ "customField": "value" })));
}

#[test]
fn missed_messages_are_returned_on_request() {
    for settings in [&[][..], &["storage.durability=none"]] {
        let server = server(settings);
        let mut camel = camel_in(&server, "cyd", "tea");
        let mut ids = Vec::new();
        for number in 0..5 {
            camel.send(&format!(
                "42/chat,{}",
                json!(["sendMessage", { "roomId": "tea", "content": number.to_string() }])
            ));
            ids.push(camel.hear("newMessage")["id"].clone());
        }
        let wanted = json!(["syncMessages", { "roomId": "tea", "lastMessageId": ids[1], "limit": 2 }]);
        camel.send(&format!("42/chat,{wanted}"));
        for number in [2, 3] {
            assert_eq!(camel.hear("newMessage")["content"], number.to_string());
        }
        assert_eq!(camel.hear("syncComplete"), json!({ "roomId": "tea", "syncedMessageCount": 2, "hasMore": true }));
        camel.send(r#"42/chat,3["syncMessages",{"roomId":"tea"}]"#);
        for id in &ids {
            assert_eq!(camel.hear("newMessage")["id"], *id);
        }
        assert_eq!(
            camel.acked(3),
            json!({ "success": true, "roomId": "tea", "syncedMessageCount": 5, "hasMore": false })
        );
        let unknown =
            json!(["syncMessages", { "roomId": "tea", "lastMessageId": "01944cf9-63c0-7c21-9b57-3f0d1e2a4c68" }]);
        camel.send(&format!("42/chat,{unknown}"));
        // The newest messages come in place of those after an unknown one.
        assert_eq!(camel.hear("syncComplete")["lastMessageFound"], false);
    }
}

#[test]
fn join_creates_rooms_by_dialect_and_setting() {
    let start = |create: &str| Server::start(&["--shards", "1", "--set", &format!("rooms.create_on_join={create}")]);
    let colon = |server: &Server| {
        let (mut socket, _) = Socket::chat(&server.address, "colon", "bob");
        socket.ask(1, "join:chat", &json!({ "chatId": "tea" }));
        socket.acked(1)
    };
    let camel = |server: &Server| {
        let (mut socket, _) = Socket::chat(&server.address, "camel", "cyd");
        socket.ask(1, "joinRoom", &json!("coffee"));
        socket.acked(1)
    };
    let server = start("seed");
    let refused = colon(&server);
    assert_eq!((&refused["success"], &refused["message"]), (&json!(false), &json!("Chat not found or access denied")));
    assert_eq!(refused["code"], "ROOM_NOT_FOUND");
    assert_eq!(camel(&server), json!({ "success": true, "roomId": "coffee" }));
    let mut raw = Client::connect(&server.address, Some(&token("ada", &json!({}))));
    raw.send(&json!({ "type": "join-room", "roomId": "cocoa", "peerId": "ada" }));
    assert_eq!(raw.wait_for("error")["code"], "ROOM_NOT_FOUND");
    let server = start("never");
    assert_eq!(
        (&colon(&server)["code"], &camel(&server)["code"]),
        (&json!("ROOM_NOT_FOUND"), &json!("ROOM_NOT_FOUND"))
    );
    let server = start("always");
    assert_eq!((&colon(&server)["success"], &camel(&server)["success"]), (&json!(true), &json!(true)));
}

#[test]
fn first_event_selects_the_dialect() {
    let server = server(&[]);
    let _raw = raw_in(&server, "tea");
    // It sent its token with the CONNECT and yet speaks `camel`.
    let (mut socket, _) = Socket::peer(&server.address, "/chat", "bob");
    socket.send(r#"42/chat,1["heartbeat"]"#);
    assert_eq!(socket.acked(1), json!({ "success": true }));
    socket.send(r#"42/chat,["joinRoom"]"#);
    assert_eq!(socket.hear("error")["code"], "INVALID_MESSAGE");
    socket.send(r#"42/chat,["joinRoom","tea"]"#);
    assert_eq!(socket.hear("joinedRoom"), "tea");
    socket.send(r#"42/chat,2["join:chat",{"chatId":"tea"}]"#);
    assert_eq!(socket.acked(2)["code"], "UNKNOWN_TYPE");
    // And one that sent it with the first request speaks `colon`.
    let path = format!("/socket.io/?EIO=4&transport=websocket&token={}", token("cyd", &json!({})));
    let mut socket = Socket::connect(&server.address, &path);
    socket.next();
    socket.send("40/chat,");
    socket.next();
    socket.ask(1, "join:chat", &json!({ "chatId": "tea" }));
    let info = socket.acked(1)["roomInfo"].clone();
    assert_eq!(
        (&info["chatId"], &info["participantCount"], &info["isActive"]),
        (&json!("tea"), &json!(3), &json!(true))
    );
    socket.send(r#"42/chat,["message:send",{"chatId":"nowhere","content":"x"}]"#);
    assert_eq!(socket.hear("error")["code"], "ROOM_NOT_FOUND");
}

#[test]
fn event_with_attachment_is_refused() {
    let server = server(&[]);
    let (mut socket, _) = Socket::chat(&server.address, "colon", "bob");
    let place = r#"{"_placeholder":true,"num":0}"#;
    socket.send(&format!(r#"451-/chat,1["message:send",{{"chatId":"tea","content":{place}}}]"#));
    socket.send_binary(&[1, 2, 3]);
    assert_eq!(socket.acked(1)["code"], "UNSUPPORTED_DATA");
    socket.send(r#"42/chat,2["heartbeat"]"#);
    assert_eq!(socket.acked(2), json!({ "success": true }));
}

#[test]
fn token_is_renewed_in_each_dialect() {
    let server = server(&[]);
    let own = json!({ "token": token("bob", &json!({})) });
    let other = json!({ "token": token("eve", &json!({})) });
    for dialect in ["colon", "camel"] {
        let (mut socket, _) = Socket::chat(&server.address, dialect, "bob");
        socket.ask(1, "authenticate", &own);
        assert_eq!(socket.acked(1)["success"], true);
        socket.ask(2, "authenticate", &other);
        assert_eq!(socket.acked(2)["code"], "FORBIDDEN");
    }
    let (mut socket, id) = Socket::peer(&server.address, "/", "bob");
    socket.send(&format!("42{}", json!(["authenticate", own])));
    assert_eq!(socket.hear("authenticated"), json!({ "userId": "bob", "socketId": id }));
}

/// The eight calls of the first seed and the broadcast, to listeners of each dialect.
#[test]
fn rest_push_reaches_each_dialect() {
    let server = server(&[]);
    let admin = bearer(&token("root", &json!({ "role": "admin" })));
    let call = |method: &str, path: &str, body: Option<Value>| {
        let body = body.map(|body| body.to_string());
        ask(&server.address, method, path, &[&admin], body.as_deref())
    };
    let mut raw = Client::connect(&server.address, Some(&token("bob", &json!({}))));
    let (notify, _) = Socket::peer(&server.address, "/", "bob");
    let (colon, _) = Socket::chat(&server.address, "colon", "bob");
    let (camel, _) = Socket::chat(&server.address, "camel", "bob");
    let mut sockets = [notify, colon, camel];
    let data = json!({ "message": "Hello!", "sender": "system" });
    let calls = [
        ("/websocket/message/user", json!({ "userId": "bob", "type": "chat", "data": data }), "chat"),
        (
            "/websocket/message/users",
            json!({ "userIds": ["bob", "x"], "type": "announcement", "data": data }),
            "announcement",
        ),
        ("/websocket/message/broadcast", json!({ "type": "system", "data": data }), "system"),
        (
            "/websocket/notification",
            json!({ "userId": "bob", "title": "T", "body": "B", "data": data }),
            "notification",
        ),
        ("/broadcast", json!({ "message": data, "type": "update" }), "update"),
    ];
    for (path, body, kind) in calls {
        let answer = call("POST", path, Some(body));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(raw.wait_for("message")["messageType"], kind);
        for socket in &mut sockets {
            let heard = socket.hear("message");
            assert_eq!(heard["type"], kind, "{path}");
            assert!(heard["timestamp"].is_string(), "{path}");
            if kind == "notification" {
                assert_eq!((&heard["data"]["title"], &heard["data"]["body"]), (&json!("T"), &json!("B")));
            } else {
                assert_eq!(heard["data"], data, "{path}");
            }
        }
    }
    assert_eq!(call("GET", "/websocket/users/connected", None).status, 200);
    assert_eq!(call("GET", "/websocket/users/bob/status", None).status, 200);
    assert_eq!(call("GET", "/websocket/me/status", None).status, 200);
    assert_eq!(call("DELETE", "/websocket/users/bob/disconnect", None).status, 200);
    let [mut notify, mut colon, mut camel] = sockets;
    assert_eq!(notify.next(), "41");
    assert_eq!((colon.next(), camel.next()), ("41/chat,".to_owned(), "41/chat,".to_owned()));
}

#[test]
fn notify_client_is_greeted_and_pings_are_answered() {
    let server = server(&[]);
    let mut socket = Socket::open(&server.address, "/socket.io/");
    socket.send(&connect_packet("/", "bob"));
    let accepted: Value = serde_json::from_str(&socket.next()["40".len()..]).expect("JSON");
    let (name, greeting) = event(&socket.next());
    assert_eq!((name.as_str(), greeting), ("authenticated", json!({ "userId": "bob", "socketId": accepted["sid"] })));
    socket.send(r#"42["ping"]"#);
    let pong = socket.hear("pong");
    assert!(pong["timestamp"].is_string() && pong.get("data").is_none(), "{pong}");
    socket.send(r#"42["ping",{"a":1}]"#);
    assert_eq!(socket.hear("pong")["data"], json!({ "a": 1 }));
}
