//! Users whose connections are on several servers, one of which may be killed.

use serde_json::json;

use support::client::Client;
use support::process::wait_until;
use support::redis::RedisServer;
use support::server::{Server, token};

fn node(redis: &RedisServer) -> Server {
    let url = format!("redis.url={}", redis.url());
    Server::of_shards(2, &[&url, "presence.scope=all", "presence.grace_ms=200", "presence.batch_ms=10"])
}

fn connect(server: &Server, user: &str) -> Client {
    Client::connect(&server.address, Some(&token(user, &json!({}))))
}

fn send(client: &mut Client, content: &str) {
    client.send(&json!({ "type": "message", "toUserId": "ada", "content": content }));
    let sent = client.next_event();
    assert_eq!((&sent["type"], &sent["toUserId"]), (&json!("message-sent"), &json!("ada")), "{sent}");
}

/// The next message that a client gets, and nothing twice: whatever else was on its way is there by the answer to a ping.
fn messages(client: &mut Client) -> Vec<String> {
    client.send(&json!({ "type": "ping" }));
    let mut messages = Vec::new();
    loop {
        let next = client.next_event();
        match next["type"].as_str() {
            Some("message") => messages.push(next["content"].as_str().expect("a text").to_owned()),
            Some("pong") => return messages,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn direct_message_waits_for_a_user_of_a_killed_server() {
    let redis = RedisServer::start();
    let [first, second, third] = [(); 3].map(|()| node(&redis));
    let (mut ada, mut bob) = (connect(&first, "ada"), connect(&second, "bob"));
    send(&mut bob, "while she is here");
    assert_eq!(ada.next_event()["content"], "while she is here");
    let waiting = || redis.command(&["EXISTS", "switchboard:user:{ada}:q"]);
    // A client proves receipt as it answers pings, which takes one that reads.
    wait_until("it is struck off", || messages(&mut ada).is_empty() && waiting() == redis::Value::Int(0));
    first.kill();
    send(&mut bob, "to a server that is no more");
    send(&mut bob, "once more");
    let mut ada = connect(&third, "ada");
    let mut got = Vec::new();
    while got.len() < 2 {
        got.extend(messages(&mut ada));
    }
    assert_eq!(got, ["to a server that is no more", "once more"]);
    wait_until("they are struck off", || messages(&mut ada).is_empty() && waiting() == redis::Value::Int(0));
    let mut other = connect(&second, "ada");
    assert_eq!(messages(&mut other), [""; 0]);
    assert_eq!(messages(&mut ada), [""; 0]);
}

#[test]
fn users_of_a_killed_server_go_offline_once() {
    let redis = RedisServer::start();
    let [first, second, third] = [(); 3].map(|()| node(&redis));
    let mut watchers = [connect(&second, "bob"), connect(&third, "eve")];
    let _both = [connect(&first, "both"), connect(&second, "both")];
    let _ada = connect(&first, "ada");
    for watcher in &mut watchers {
        watcher.wait_until(|told| told["userId"] == "ada" && told["status"] == "online");
    }
    first.kill();
    for watcher in &mut watchers {
        let told = watcher.wait_until(|told| told["type"] == "presence" && told["userId"] != "eve");
        assert_eq!((&told["userId"], &told["status"]), (&json!("ada"), &json!("offline")), "{told}");
    }
    // Whatever else is told of the dead server's users is told by then.
    let at_rest = || redis.command(&["ZCARD", "switchboard:nodes:{all}"]) == redis::Value::Int(2);
    wait_until("the server is cleared up after", at_rest);
    for watcher in &mut watchers {
        watcher.send(&json!({ "type": "ping" }));
        assert_eq!(watcher.next()["type"], "pong", "nothing is told twice");
    }
}
