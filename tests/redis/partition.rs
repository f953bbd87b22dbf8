//! A server that is cut off from Redis until the others take it for dead and remove its members: its clients return to their
//! rooms by recovery, and miss nothing.

use serde_json::{Value, json};

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
