//! Sentinels that do not agree: a server uses the master that most of them name.

use std::time::{Duration, Instant};

use serde_json::json;

use support::client::Client;
use support::redis::RedisServer;
use support::redis_sentinel::RedisGroup;
use support::server::{Server, token};

/// Several times the pause between two looks at the Sentinels.
const OFTEN_ENOUGH: Duration = Duration::from_secs(4);

fn rooms(redis: &RedisServer) -> usize {
    redis.ask::<Vec<String>>("KEYS switchboard:room:*").len()
}

fn join(group: &RedisGroup) -> (Server, Client) {
    let server = Server::of_shards(1, &[&format!("redis.url={}", group.url())]);
    let mut client = Client::connect(&server.address, Some(&token("ada", &json!({}))));
    client.join("r", "a");
    (server, client)
}

#[test]
fn servers_do_not_follow_a_single_sentinel() {
    let (group, other) = (RedisGroup::start(), RedisServer::start());
    let (_server, mut client) = join(&group);
    group.mislead(0, other.port());
    let since = Instant::now();
    for seq in 1.. {
        client.send(&json!({ "type": "message", "roomId": "r", "content": "x", "requestId": seq }));
        let answer = client.next();
        assert_eq!((&answer["type"], &answer["seq"]), (&json!("message-sent"), &json!(seq)), "{answer}");
        if since.elapsed() > OFTEN_ENOUGH {
            break;
        }
    }
    let _later = join(&group);
    assert!(rooms(&other) == 0 && rooms(&group.servers[0]) > 0, "they use the master of the others");
}
