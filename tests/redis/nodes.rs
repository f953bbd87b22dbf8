//! Servers that share a Redis: each has its number, and what one leaves behind another clears up.

use std::io::Read;
use std::time::Duration;

use serde_json::json;

use support::client::{Client, End};
use support::fault_proxy::FaultProxy;
use support::http;
use support::process::wait_until;
use support::redis::RedisServer;
use support::server::{Server, command, token};

const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

fn node(url: &str) -> Server {
    Server::of_shards(2, &[&format!("redis.url={url}")])
}

fn connect(server: &Server, user: &str) -> Client {
    Client::connect(&server.address, Some(&token(user, &json!({}))))
}

fn numbers(redis: &RedisServer) -> Vec<u32> {
    redis.ask("ZRANGE switchboard:nodes:{all} 0 -1")
}

fn is_ready(server: &Server) -> bool {
    http::ask(&server.address, "GET", "/readyz", &[], None).status == 200
}

#[test]
fn server_claims_a_number_and_releases_it() {
    let redis = RedisServer::start();
    let mut servers = [node(&redis.url()), node(&redis.url()), node(&redis.url())];
    let mut known = numbers(&redis);
    known.sort_unstable();
    assert_eq!(known, [1, 2, 3]);
    for server in &mut servers[..2] {
        server.signal(15);
        assert!(server.wait(Duration::from_secs(20)).success());
    }
    // The one that is left finds that they have gone and that there is nothing to clear up.
    wait_until("their numbers are free", || numbers(&redis) == [3]);
    let _another = node(&redis.url());
    assert_eq!(numbers(&redis).len(), 2);
}

#[test]
fn room_has_members_on_two_nodes() {
    let redis = RedisServer::start();
    let servers = [node(&redis.url()), node(&redis.url())];
    let (mut ada, mut bob) = (connect(&servers[0], "ada"), connect(&servers[1], "bob"));
    ada.join("r", "a");
    bob.join("r", "b");
    assert_eq!(ada.next()["type"], "peer-joined");
    bob.send(&json!({ "type": "message", "roomId": "r", "content": "hello" }));
    assert_eq!(bob.next()["type"], "message-sent");
    let message = ada.next();
    assert_eq!(
        (&message["type"], &message["content"], &message["seq"]),
        (&json!("message"), &json!("hello"), &json!(1))
    );
}

#[test]
fn client_returning_on_another_server_gets_no_message_twice() {
    let redis = RedisServer::start();
    let node = || {
        let url = format!("redis.url={}", redis.url());
        Server::of_shards(2, &[&url, "presence.grace_ms=60000"])
    };
    let servers = [node(), node()];
    let (mut ada, mut bob) = (connect(&servers[0], "ada"), connect(&servers[0], "bob"));
    ada.join("r", "a");
    bob.join("r", "b");
    assert_eq!(ada.next()["type"], "peer-joined");
    wait_until("their sessions are kept", || redis.ask::<Vec<String>>("KEYS *:session:*").len() == 2);
    ada.send(&json!({ "type": "message", "roomId": "r", "content": "hello" }));
    assert_eq!(ada.next()["type"], "message-sent");
    assert_eq!(bob.next()["content"], "hello");
    // The connection that he had is still there, and alone knows what it was written.
    let token = bob.hello["recoveryToken"].clone();
    let mut back = connect(&servers[1], "bob");
    back.send(&json!({ "type": "resume", "recoveryToken": token }));
    let resumed = back.next();
    let room = &resumed["rooms"]["r"];
    assert_eq!(
        (&room["recovered"], &room["seq"], &room["messages"]),
        (&json!(true), &json!(1), &json!([])),
        "{resumed}"
    );
}

#[test]
fn state_of_a_killed_server_is_cleaned_up_once() {
    let redis = RedisServer::start();
    let servers = [node(&redis.url()), node(&redis.url()), node(&redis.url())];
    let mut clients = [connect(&servers[0], "ada"), connect(&servers[1], "bob"), connect(&servers[2], "eve")];
    for (number, client) in clients.iter_mut().enumerate() {
        client.join("r", &format!("p{number}"));
    }
    let [first, second, third] = servers;
    third.kill();
    let [mut ada, mut bob, _eve] = clients;
    for _ in 0..2 {
        assert_eq!(ada.next()["type"], "peer-joined");
    }
    assert_eq!(bob.next()["type"], "peer-joined");
    for client in [&mut ada, &mut bob] {
        let left = client.next();
        assert_eq!((&left["type"], &left["peerId"]), (&json!("peer-left"), &json!("p2")));
    }
    wait_until("its number is free", || numbers(&redis).len() == 2);
    // Whatever else was said would have come before this.
    ada.send(&json!({ "type": "message", "roomId": "r", "content": "so far" }));
    assert_eq!(bob.next()["type"], "message");
    drop((first, second));
}

#[test]
fn server_without_redis_is_not_ready_until_it_returns() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::to(redis.port());
    let server = node(&proxy.url());
    wait_until("it is ready", || is_ready(&server));
    let mut ada = connect(&server, "ada");
    ada.join("r", "a");
    proxy.cut();
    wait_until("it is not ready", || !is_ready(&server));
    ada.send(&json!({ "type": "message", "roomId": "r", "content": "lost" }));
    assert_eq!(ada.next()["code"], "STORAGE_UNAVAILABLE");
    proxy.restore();
    wait_until("it is ready again", || is_ready(&server));
    ada.send(&json!({ "type": "message", "roomId": "r", "content": "kept" }));
    assert_eq!(ada.next()["seq"], 1);
}

#[test]
fn start_without_redis_fails() {
    let proxy = FaultProxy::to(1);
    let mut child = command(&["--set", &format!("redis.url={}", proxy.url())], &[]);
    let mut child = child.stderr(std::process::Stdio::piped()).spawn().expect("it starts");
    let status = child.wait().expect("it ends");
    let mut said = String::new();
    child.stderr.take().expect("its word").read_to_string(&mut said).expect("text");
    assert!(
        !status.success() && said.contains("redis.url: Redis at 127.0.0.1:") && said.contains("cannot be used"),
        "{said}"
    );
}

#[test]
fn clients_rejoin_after_redis_lost_everything() {
    let redis = RedisServer::start();
    let servers = [node(&redis.url()), node(&redis.url())];
    let mut clients = [connect(&servers[0], "ada"), connect(&servers[1], "bob")];
    for client in &mut clients {
        let id = client.id().to_owned();
        client.join("r", &id);
    }
    redis.ask::<redis::Value>("FLUSHALL");
    for client in &mut clients {
        let end = client.wait_until(|event| event["type"] == "room-closed");
        assert_eq!(end["roomId"], "r");
    }
    wait_until("both have their numbers again", || numbers(&redis).len() == 2);
    let [ada, bob] = &mut clients;
    ada.join("r", "a");
    let joined = bob.join("r", "b");
    assert_eq!(joined["participantCount"], 2);
    bob.send(&json!({ "type": "message", "roomId": "r", "content": "hello" }));
    assert_eq!(ada.wait_until(|event| event["type"] == "message")["seq"], 1);
}

#[test]
fn server_declared_dead_restores_its_state() {
    let redis = RedisServer::start();
    let servers = [node(&redis.url()), node(&redis.url())];
    let (mut ada, mut bob) = (connect(&servers[0], "ada"), connect(&servers[1], "bob"));
    ada.join("r", "a");
    bob.join("r", "b");
    assert_eq!(ada.next()["type"], "peer-joined");
    servers[1].signal(SIGSTOP);
    let left = ada.next();
    assert_eq!((&left["type"], &left["peerId"]), (&json!("peer-left"), &json!("b")));
    wait_until("it is given up", || numbers(&redis).len() == 1);
    servers[1].signal(SIGCONT);
    let told = bob.wait_for("disconnect");
    assert_eq!((&told["reason"], &told["reconnect"]), (&json!("server-isolated"), &json!(true)), "{told}");
    assert_eq!(bob.end(), End::Close(1012, "service restart".to_owned()));
    wait_until("it has its number again", || numbers(&redis).len() == 2);
    let mut bob = connect(&servers[1], "bob");
    assert_eq!(bob.join("r", "b")["participantCount"], 2);
    assert_eq!(ada.next()["type"], "peer-joined");
}

#[test]
fn servers_with_a_full_redis_are_not_ready_and_keep_their_members() {
    let redis = RedisServer::start();
    let servers = [node(&redis.url()), node(&redis.url())];
    let (mut ada, mut bob) = (connect(&servers[0], "ada"), connect(&servers[1], "bob"));
    ada.join("r", "a");
    bob.join("r", "b");
    assert_eq!(ada.next()["type"], "peer-joined");
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    ada.send(&json!({ "type": "message", "roomId": "r", "content": "lost" }));
    assert_eq!(ada.next()["code"], "STORAGE_UNAVAILABLE");
    wait_until("they say so", || {
        let ready = servers.each_ref().map(|server| http::ask(&server.address, "GET", "/readyz", &[], None));
        ready.iter().all(|ready| ready.status == 503 && ready.json()["status"] == "Redis takes no writes")
    });
    let health = http::ask(&servers[0].address, "GET", "/healthz", &[], None).json();
    assert_eq!(health["status"], "critical", "{health}");
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    // As if it had been so for longer than they are taken for alive.
    redis.command(&["ZADD", "switchboard:nodes:{all}", "XX", "1", "1", "1", "2"]);
    wait_until("they are ready", || servers.iter().all(is_ready));
    wait_until("they are alive", || {
        let ends: Vec<f64> = redis.ask("ZMSCORE switchboard:nodes:{all} 1 2");
        ends.iter().all(|ends| *ends > 1.0)
    });
    ada.send(&json!({ "type": "message", "roomId": "r", "content": "kept" }));
    assert_eq!(ada.next()["seq"], 1);
    assert_eq!(bob.next()["content"], "kept");
}

#[test]
fn drained_client_returns_on_another_node_without_leaving() {
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let settings = ["drain.seconds=1", "presence.scope=all", "presence.grace_ms=3000", &url];
    let node = || Server::of_shards(2, &settings);
    let mut servers = [node(), node()];
    let mut ada = connect(&servers[1], "ada");
    ada.join("r", "a");
    let mut movers: Vec<Client> = (0..6).map(|number| connect(&servers[0], &format!("mover-{number}"))).collect();
    let mut stayer = connect(&servers[0], "stayer");
    for (number, mover) in movers.iter_mut().enumerate() {
        mover.join("r", &format!("m{number}"));
    }
    stayer.join("r", "s");
    ada.wait_until(|message| message["type"] == "peer-joined" && message["peerId"] == "s");
    wait_until("their sessions are kept", || redis.ask::<Vec<String>>("KEYS *:session:*").len() == 8);
    servers[0].signal(15);
    for (number, mover) in movers.iter_mut().enumerate() {
        mover.end();
        let former = mover.hello["recoveryToken"].clone();
        *mover = connect(&servers[1], &format!("mover-{number}"));
        mover.send(&json!({ "type": "resume", "recoveryToken": former }));
        assert_eq!(mover.wait_for("resumed")["rooms"]["r"]["recovered"], true);
    }
    stayer.end();
    assert!(servers[0].wait(Duration::from_secs(20)).success());
    // The one who went for good is missed, after the others would have been.
    let (mut has_left, mut is_offline) = (false, false);
    while !(has_left && is_offline) {
        let message = ada.next();
        match message["type"].as_str() {
            Some("peer-left") => has_left = message["peerId"] == "s",
            Some("presence") if message["status"] == "offline" => is_offline = message["userId"] == "stayer",
            _ => {}
        }
        let is_of_a_mover = message.to_string().contains("mover") && message["status"] != "online";
        assert!(message["type"] != "peer-joined" && !is_of_a_mover, "{message}");
        assert!(message["type"] != "peer-left" || has_left, "{message}");
    }
}
