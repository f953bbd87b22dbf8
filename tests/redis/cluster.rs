//! A cluster of Redis servers: rooms are spread over them, channels with them.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::asked;
use support::client::Client;
use support::http;
use support::process::wait_until;
use support::redis::RedisServer;
use support::redis_cluster::RedisCluster;
use support::server::{Server, token};

const SIGKILL: i32 = 9;
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

#[test]
fn room_of_any_cluster_server_has_members_on_two_nodes() {
    let cluster = RedisCluster::start();
    let url = format!("redis.url={}", cluster.url());
    let servers = [(); 2].map(|()| Server::of_shards(2, &[&url]));
    let connect = |server: &Server, user: &str| Client::connect(&server.address, Some(&token(user, &json!({}))));
    let (mut ada, mut bob) = (connect(&servers[0], "ada"), connect(&servers[1], "bob"));
    for number in 0..12 {
        let room = format!("r{number}");
        ada.join(&room, "a");
        bob.join(&room, "b");
        assert_eq!(ada.next()["type"], "peer-joined");
        bob.send(&json!({ "type": "message", "roomId": room, "content": room }));
        let sent = bob.next();
        assert_eq!(sent["type"], "message-sent", "{sent}");
        assert_eq!(ada.next()["content"], room);
    }
    let keeps = |server: &RedisServer| !server.ask::<Vec<String>>("KEYS *:room:*").is_empty();
    assert!(cluster.servers.iter().all(keeps), "all servers keep rooms");
    ada.send(&json!({ "type": "message", "toUserId": "bob", "content": "to you" }));
    assert_eq!(bob.wait_until(|event| event["type"] == "message")["content"], "to you");
    // Scripts that all servers have forgotten are given to each again.
    for server in &cluster.servers {
        server.command(&["SCRIPT", "FLUSH"]);
    }
    for number in 0..12 {
        ada.send(&json!({ "type": "message", "roomId": format!("r{number}"), "content": "again" }));
        assert_eq!(bob.wait_until(|event| event["type"] == "message")["content"], "again");
    }
}

/// Within this a server shows that its cluster has failed, or is well again.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);

fn is_ready(server: &Server) -> bool {
    http::ask(&server.address, "GET", "/readyz", &[], None).status == 200
}

fn health(server: &Server) -> String {
    let health = http::ask(&server.address, "GET", "/healthz", &[], None).json();
    health["status"].as_str().expect("a status").to_owned()
}

/// Some masters get a signal, and are well again after `restore`.
fn fail(cluster: &mut RedisCluster, server: &Server, failed: &[usize], signal: i32) {
    for master in failed {
        cluster.servers[*master].signal(signal);
    }
    let since = Instant::now();
    wait_until("it is not ready", || !is_ready(server));
    assert!(since.elapsed() < SHOWN_WITHIN, "not ready after {:?}", since.elapsed());
    assert_eq!(health(server), "critical");
    for master in failed {
        match signal {
            SIGSTOP => cluster.servers[*master].signal(SIGCONT),
            _ => cluster.servers[*master].revive(),
        }
    }
    cluster.wait_until_whole();
    let since = Instant::now();
    wait_until("it is ready", || is_ready(server));
    assert!(since.elapsed() < SHOWN_WITHIN, "ready after {:?}", since.elapsed());
}

#[test]
fn server_of_a_failed_cluster_is_not_ready() {
    let mut cluster = RedisCluster::start();
    let server = Server::of_shards(1, &[&format!("redis.url={}", cluster.url())]);
    wait_until("it is ready", || is_ready(&server));
    for _ in 0..asked().unwrap_or(1) {
        fail(&mut cluster, &server, &[1], SIGKILL);
        fail(&mut cluster, &server, &[2], SIGSTOP);
        // The others are a minority.
        fail(&mut cluster, &server, &[0, 1], SIGSTOP);
    }
    let mut ada = Client::connect(&server.address, Some(&token("ada", &json!({}))));
    for number in 0..12 {
        ada.join(&format!("r{number}"), "a");
    }
}
