//! Namespaces: admission, events, and what ends a session.

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;

use support::engineio::{Polling, RS, Socket, connect_packet, server, suite_server};
use support::server::{Server, token};

/// The JSON behind what a packet begins with.
fn object(packet: &str, beginning: &str) -> Value {
    let rest = packet.strip_prefix(beginning).unwrap_or_else(|| panic!("{packet}"));
    serde_json::from_str(rest).expect("JSON")
}

#[test]
fn conformance_server_answers_the_suites() {
    let server = suite_server();
    let mut socket = Socket::open(&server.address, "/socket.io/");
    socket.send("40");
    let accepted = object(&socket.next(), "40");
    assert_eq!(accepted.as_object().expect("an object").len(), 1);
    assert_eq!(accepted["sid"].as_str().map(str::len), Some(24));
    assert_eq!(socket.next(), r#"42["auth",{}]"#);
    socket.send(r#"40/custom,{"token":"123"}"#);
    assert_ne!(object(&socket.next(), "40/custom,")["sid"], accepted["sid"]);
    assert_eq!(socket.next(), r#"42/custom,["auth",{"token":"123"}]"#);
    socket.send("40/random");
    assert_eq!(socket.next(), r#"44/random,{"message":"Invalid namespace"}"#);
    socket.send(r#"42["message",1,"2",{"3":[true]}]"#);
    assert_eq!(socket.next(), r#"42["message-back",1,"2",{"3":[true]}]"#);
    socket.send(r#"42456["message-with-ack",1,"2",{"3":[false]}]"#);
    assert_eq!(socket.next(), r#"43456[1,"2",{"3":[false]}]"#);
    let places = r#"{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}"#;
    socket.send(&format!(r#"452-789["message-with-ack",{places}]"#));
    socket.send_binary(&[1, 2, 3]);
    socket.send_binary(&[4, 5, 6]);
    assert_eq!(socket.next(), format!("462-789[{places}]"));
    assert_eq!((socket.next_binary(), socket.next_binary()), (vec![1, 2, 3], vec![4, 5, 6]));
    socket.send("41/custom,");
    socket.send(r#"42["message"]"#);
    assert_eq!(socket.next(), r#"42["message-back"]"#);
    socket.send(r#"42/custom,["message"]"#);
    assert_eq!(socket.end(), 1002);
}

#[test]
fn unknown_namespace_of_any_length_is_refused_and_the_others_stay() {
    let server = server(&[]);
    let mut socket = Socket::open(&server.address, "/socket.io/");
    socket.send(&connect_packet("/chat", "alice"));
    assert!(socket.next().starts_with("40/chat,"));
    for name in [
        format!("/chat?token={}", "x".repeat(300)),
        format!("/{}", "a".repeat(128)),
        format!("/{}", "é".repeat(40_000)),
    ] {
        socket.send(&format!("40{name},{{}}"));
        let refusal = std::iter::repeat_with(|| socket.next()).find(|packet| !packet.starts_with("42"));
        assert_eq!(refusal, Some(format!(r#"44{name},{{"message":"Invalid namespace"}}"#)));
    }
    socket.ask(1, "heartbeat", &json!(null));
    socket.acked(1);
}

#[test]
fn upgrade_without_a_probe_carries_the_session_on() {
    let server = server(&[]);
    let client = Polling::open(&server.address, "/socket.io/");
    let mut socket = Socket::connect(&server.address, &client.path().replace("polling", "websocket"));
    socket.send("5");
    socket.send(&connect_packet("/chat", "alice"));
    assert!(socket.next().starts_with("40/chat,"));
}

#[test]
fn attachments_by_polling_are_echoed() {
    let server = suite_server();
    let mut client = Polling::open(&server.address, "/socket.io/");
    client.send("40");
    client.wait_for(r#"42["auth""#);
    let place = r#"{"_placeholder":true,"num":0}"#;
    client.send(&format!(r#"451-["message",{place}]{RS}bAQIDBA=="#));
    assert_eq!(client.wait_for("4"), format!(r#"451-["message-back",{place}]"#));
}

#[test]
fn invalid_packet_ends_the_session() {
    let server = suite_server();
    let eleven = format!(r#"4511-["a"{}]"#, r#",{"_placeholder":true,"num":0}"#.repeat(11));
    for text in ["4abc", "4", "42{}", r#"42abc["a"]"#, r#"42["connect"]"#, "44{}", r#"42/chat,["a"]"#, &eleven] {
        let mut socket = Socket::open(&server.address, "/socket.io/");
        socket.send("40");
        socket.next();
        socket.next();
        socket.send(text);
        assert_eq!(socket.end(), 1002, "{text}");
    }
    let mut socket = Socket::open(&server.address, "/socket.io/");
    socket.send(r#"42["message"]"#);
    assert_eq!(socket.end(), 1002);
    let mut client = Polling::open(&server.address, "/socket.io/");
    assert_eq!(client.post("4abc").status, 400);
}

#[test]
fn session_without_namespace_times_out() {
    let server = server(&["limits.unauthenticated_ms=300"]);
    assert_eq!(Socket::open(&server.address, "/socket.io/").end(), 1000);
    let mut refused = Socket::open(&server.address, "/socket.io/");
    refused.send("40");
    assert_eq!(refused.end(), 1000);
    let mut client = Polling::open(&server.address, "/socket.io/");
    assert_eq!(client.packets(), ["1"]);
    // Who has connected may stay, in no namespace even.
    let (mut socket, _) = Socket::peer(&server.address, "/", "ada");
    let (mut left, _) = Socket::peer(&server.address, "/", "bob");
    left.send("41");
    assert_eq!(Socket::open(&server.address, "/socket.io/").end(), 1000);
    for socket in [&mut socket, &mut left] {
        socket.send("40/random,");
        assert!(socket.next().starts_with("44/random,"));
    }
}

#[test]
fn namespace_connect_requires_a_token() {
    let server = server(&[]);
    for (namespace, place) in [("/", ""), ("/chat", "/chat,")] {
        let mut socket = Socket::open(&server.address, "/socket.io/");
        socket.send(&format!("40{place}"));
        let refused = object(&socket.next(), &format!("44{place}"));
        assert_eq!(refused, json!({ "message": "A token is required", "data": { "code": "UNAUTHENTICATED" } }));
        socket.send(&format!(r#"40{place}{{"token":"x"}}"#));
        assert_eq!(object(&socket.next(), &format!("44{place}"))["data"]["code"], "UNAUTHENTICATED");
        let expired = token("ada", &json!({ "exp": 1_700_000_000 }));
        socket.send(&format!("40{place}{}", json!({ "token": expired })));
        assert_eq!(object(&socket.next(), &format!("44{place}"))["data"]["code"], "TOKEN_EXPIRED");
        // The transport stays, and another attempt may do better.
        socket.send(&connect_packet(namespace, "ada"));
        assert!(object(&socket.next(), &format!("40{place}"))["sid"].is_string());
    }
    let mut socket = Socket::open(&server.address, "/socket.io/");
    socket.send("40/custom");
    assert_eq!(socket.next(), r#"44/custom,{"message":"Invalid namespace"}"#);
}

#[test]
fn token_in_first_request_is_accepted() {
    let server = server(&[]);
    let path = format!("/socket.io/?EIO=4&transport=websocket&token={}", token("ada", &json!({})));
    let mut socket = Socket::connect(&server.address, &path);
    socket.next();
    for (namespace, place) in [("/chat", "/chat,"), ("", "")] {
        socket.send(&format!("40{namespace}"));
        assert!(object(&socket.next(), &format!("40{place}"))["sid"].is_string());
    }
    // Browsers, which can set no headers, have a subprotocol for it, and want it confirmed.
    let mut request = format!("ws://{}/socket.io/?EIO=4&transport=websocket", server.address)
        .into_client_request()
        .expect("a request");
    let protocols = format!("bearer, {}", token("ada", &json!({})));
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocols.parse().expect("a value"));
    let stream = std::net::TcpStream::connect(&server.address).expect("the server listens");
    let (client, answer) = tungstenite::client(request, stream).expect("a WebSocket");
    assert_eq!(answer.headers()["sec-websocket-protocol"], "bearer");
    let mut by_protocol = Socket(client);
    by_protocol.next();
    by_protocol.send("40");
    assert!(object(&by_protocol.next(), "40")["sid"].is_string());
    // One that comes with the CONNECT counts more.
    let mut socket = Socket::connect(&server.address, &path);
    socket.next();
    socket.send(r#"40{"token":"x"}"#);
    assert_eq!(object(&socket.next(), "44")["data"]["code"], "UNAUTHENTICATED");
}

#[test]
fn connections_per_user_stop_at_the_limit() {
    let server = server(&["limits.connections_per_user=2"]);
    let (socket, _) = Socket::peer(&server.address, "/", "ada");
    let (mut second, _) = Socket::peer(&server.address, "/chat", "ada");
    let mut third = Socket::open(&server.address, "/socket.io/");
    third.send(&connect_packet("/", "ada"));
    assert_eq!(object(&third.next(), "44")["data"]["code"], "RATE_LIMITED");
    drop(socket);
    support::process::wait_until("one has ended", || {
        third.send(&connect_packet("/", "ada"));
        third.next().starts_with("40")
    });
    second.send(r#"42/chat,1["heartbeat"]"#);
    assert!(second.next().starts_with("43/chat,1["));
}

#[test]
fn expired_token_ends_its_namespace() {
    let server = server(&[]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    let mut socket = Socket::open(&server.address, "/socket.io/");
    socket.send(&format!("40{}", json!({ "token": token("ada", &json!({ "exp": now + 2 })) })));
    object(&socket.next(), "40");
    assert_eq!(object(&socket.next(), "42")[0], "authenticated");
    socket.send(&connect_packet("/chat", "ada"));
    object(&socket.next(), "40/chat,");
    assert_eq!(object(&socket.next(), "42/chat,")[0], "users:online");
    assert_eq!(socket.next(), "41");
    socket.send(r#"42/chat,7["heartbeat"]"#);
    assert!(socket.next().starts_with("43/chat,7["));
}

#[test]
fn events_are_acknowledged_in_their_namespace() {
    let server = server(&[]);
    let (mut socket, _) = Socket::peer(&server.address, "/", "ada");
    socket.send(r#"42["ping"]"#);
    assert_eq!(object(&socket.next(), "42")[0], "pong");
    socket.send(r#"4213["no-such-event"]"#);
    assert_eq!(object(&socket.next(), "42")[1]["code"], "UNKNOWN_TYPE");
    assert_eq!(object(&socket.next(), "4313")[0]["code"], "UNKNOWN_TYPE");
    socket.send(r#"42["offer",{"roomId":"r","toPeerId":"p","offer":{}}]"#);
    assert_eq!(object(&socket.next(), "42")[1]["code"], "ROOM_NOT_FOUND");
}

#[test]
fn session_ids_are_unpredictable_and_name_their_shard() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let server = Server::of_shards(1, &[]);
    let (_, first) = Socket::peer(&server.address, "/", "ada");
    let (_, second) = Socket::peer(&server.address, "/chat", "ada");
    let [first, second] = [first, second].map(|sid| URL_SAFE_NO_PAD.decode(sid).expect("base64url"));
    // Node 0, shard 0, a peer's slot; then 96 bits that are never the same.
    assert_eq!((&first[..3], first[3] & 0xC0), (&[0, 0, 0][..], 0x80));
    assert_ne!(first[6..], second[6..]);
}
