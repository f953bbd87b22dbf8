//! A cluster of Redis servers: rooms are spread over them, channels with them.

use serde_json::json;

use support::client::Client;
use support::redis::RedisServer;
use support::redis_cluster::RedisCluster;
use support::server::{Server, token};

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
    assert_eq!(bob.wait_until(|event| event["type"] == "message")["data"], "to you");
    // Scripts that all servers have forgotten are given to each again.
    for server in &cluster.servers {
        server.command(&["SCRIPT", "FLUSH"]);
    }
    for number in 0..12 {
        ada.send(&json!({ "type": "message", "roomId": format!("r{number}"), "content": "again" }));
        assert_eq!(bob.wait_until(|event| event["type"] == "message")["content"], "again");
    }
}
