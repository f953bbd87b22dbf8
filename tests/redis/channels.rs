//! Channels: who listens hears what is published, is told from when on, and does not starve unnoticed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::desk::{Desk, with_desk};
use support::client::PATIENCE;
use support::fault_proxy::FaultProxy;
use support::process::wait_until;
use support::redis::RedisServer;
use support::redis_cluster::RedisCluster;

fn bodies(desk: &Desk, channel: &str) -> Vec<String> {
    desk.published.iter().filter(|(of, _)| of == channel).map(|(_, body)| body.clone()).collect()
}

#[test]
fn who_listens_hears_what_is_published_in_order() {
    let redis = RedisServer::start();
    with_desk(&redis.url(), async |mut desk| {
        desk.follow("a");
        desk.follow("b");
        desk.until("both", |desk| desk.following.len() == 2).await;
        for number in 0..500 {
            desk.publish(if number % 2 == 0 { "a" } else { "b" }, &number.to_string());
        }
        desk.publish("c", "nobody listens");
        desk.until("all", |desk| desk.published.len() == 500).await;
        let even: Vec<String> = (0..500).step_by(2).map(|number| number.to_string()).collect();
        assert_eq!(bodies(&desk, "a"), even);
        desk.leave("a");
        desk.leave("b");
        desk.follow("b");
        desk.until("b again", |desk| desk.following["b"] == 2).await;
        desk.publish("a", "unheard");
        desk.publish("b", "heard");
        desk.until("the last", |desk| bodies(desk, "b").last().is_some_and(|last| last == "heard")).await;
        assert!(!bodies(&desk, "a").contains(&"unheard".to_owned()));
    });
}

#[test]
fn a_subscription_that_is_ended_is_made_anew_with_all_its_channels() {
    let redis = RedisServer::start();
    with_desk(&redis.url(), async |mut desk| {
        for number in 0..1_500 {
            desk.follow(&format!("c{number}"));
        }
        desk.until("all", |desk| desk.following.len() == 1_500).await;
        assert_eq!(redis.ask::<u32>("CLIENT KILL TYPE pubsub"), 1);
        desk.until("all again", |desk| desk.following.values().all(|times| *times == 2)).await;
        desk.publish("c1499", "here");
        desk.until("it", |desk| !desk.published.is_empty()).await;
        assert!(desk.is_good() && desk.states.len() == 1, "calls had nothing to do with it");
    });
}

#[test]
fn a_subscription_that_starves_is_noticed_while_redis_looks_well() {
    let redis = RedisServer::start();
    let way = FaultProxy::to(redis.port());
    with_desk(&way.url(), async |mut desk| {
        desk.follow("a");
        desk.until("the channel", |desk| desk.following.contains_key("a")).await;
        way.drop_published();
        let since = std::time::Instant::now();
        desk.until("the channel again", |desk| desk.following["a"] == 2).await;
        assert!(since.elapsed().as_secs() < 8, "it took {:?}", since.elapsed());
        desk.publish("a", "here");
        desk.until("it", |desk| !desk.published.is_empty()).await;
        assert_eq!(desk.states.len(), 1, "calls were done all the while");
    });
}

#[test]
fn channels_are_listened_to_again_after_a_restart() {
    let mut redis = RedisServer::start();
    let url = redis.url();
    with_desk(&url, async |mut desk| {
        desk.follow("a");
        desk.until("the channel", |desk| desk.following.contains_key("a")).await;
        redis.stop();
        desk.until("word of it", |desk| !desk.is_good()).await;
        // What is wished meanwhile counts, too.
        desk.follow("b");
        redis.restart();
        desk.until("both", |desk| desk.following.get("a") == Some(&2) && desk.following.contains_key("b")).await;
        let channels: BTreeSet<String> = redis.ask::<Vec<String>>("PUBSUB CHANNELS").into_iter().collect();
        assert_eq!(channels, ["a", "b", "probe"].map(str::to_owned).into());
    });
}

/// Of a cluster, the way from one server only starves. The others' subscriptions do not show that.
#[test]
fn a_subscription_that_starves_at_one_server_of_a_cluster_is_noticed() {
    let cluster = RedisCluster::start();
    let ways: Vec<FaultProxy> = cluster.servers.iter().map(|server| FaultProxy::to(server.port())).collect();
    for (server, way) in cluster.servers.iter().zip(&ways) {
        server.command(&["CONFIG", "SET", "cluster-announce-port", &way.port.to_string()]);
    }
    let knows_ways = |server: &RedisServer| {
        let known: String = server.ask("CLUSTER NODES");
        ways.iter().all(|way| known.contains(&format!(":{}@", way.port)))
    };
    wait_until("all servers know the ways", || cluster.servers.iter().all(knows_ways));
    let hosts: Vec<String> = ways.iter().map(|way| format!("127.0.0.1:{}", way.port)).collect();
    with_desk(&format!("redis+cluster://{}", hosts.join(",")), async |mut desk| {
        let rooms: Vec<String> = (0..12).map(|room| format!("x:room:{{r{room}}}")).collect();
        rooms.iter().for_each(|room| desk.follow(room));
        desk.until("all rooms", |desk| desk.following.len() == rooms.len()).await;
        let until = Instant::now() + PATIENCE;
        let at = loop {
            assert!(Instant::now() < until, "no server but that of the common probe has one");
            tokio::time::sleep(Duration::from_millis(20)).await; // the pause of a wait that has an end
            let listens = |at: &usize, command: &str| !cluster.servers[*at].ask::<Vec<String>>(command).is_empty();
            let is_other =
                |at: &usize| !listens(at, "PUBSUB CHANNELS probe") && listens(at, "PUBSUB SHARDCHANNELS probe:*");
            if let Some(at) = (0..ways.len()).find(is_other) {
                break at;
            }
        };
        let before = desk.following.clone();
        ways[at].drop_published();
        let since = Instant::now();
        desk.until("all rooms again", |desk| rooms.iter().all(|room| desk.following[room] > before[room])).await;
        assert!(since.elapsed().as_secs() < 8, "it took {:?}", since.elapsed());
        rooms.iter().for_each(|room| desk.publish(room, "here"));
        desk.until("all", |desk| rooms.iter().all(|room| !bodies(desk, room).is_empty())).await;
        assert_eq!(desk.states.len(), 1, "calls were done all the while");
    });
}
