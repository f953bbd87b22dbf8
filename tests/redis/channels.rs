//! Channels: who listens hears what is published, is told from when on, and does not starve unnoticed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::redis_client::{TestClient, with_client};
use support::client::PATIENCE;
use support::fault_proxy::FaultProxy;
use support::process::wait_until;
use support::redis::RedisServer;
use support::redis_cluster::RedisCluster;

fn bodies(client: &TestClient, channel: &str) -> Vec<String> {
    client.published.iter().filter(|(of, _)| of == channel).map(|(_, body)| body.clone()).collect()
}

#[test]
fn subscriber_receives_publications_in_order() {
    let redis = RedisServer::start();
    with_client(&redis.url(), async |mut client| {
        client.follow("a");
        client.follow("b");
        client.until("both", |client| client.following.len() == 2).await;
        for number in 0..500 {
            client.publish(if number % 2 == 0 { "a" } else { "b" }, &number.to_string());
        }
        client.publish("c", "nobody listens");
        client.until("all", |client| client.published.len() == 500).await;
        let even: Vec<String> = (0..500).step_by(2).map(|number| number.to_string()).collect();
        assert_eq!(bodies(&client, "a"), even);
        client.leave("a");
        client.leave("b");
        client.follow("b");
        client.until("b again", |client| client.following["b"] == 2).await;
        client.publish("a", "unheard");
        client.publish("b", "heard");
        client.until("the last", |client| bodies(client, "b").last().is_some_and(|last| last == "heard")).await;
        assert!(!bodies(&client, "a").contains(&"unheard".to_owned()));
    });
}

#[test]
fn ended_subscription_is_renewed_with_all_channels() {
    let redis = RedisServer::start();
    with_client(&redis.url(), async |mut client| {
        for number in 0..1_500 {
            client.follow(&format!("c{number}"));
        }
        client.until("all", |client| client.following.len() == 1_500).await;
        assert_eq!(redis.ask::<u32>("CLIENT KILL TYPE pubsub"), 1);
        client.until("all again", |client| client.following.values().all(|times| *times == 2)).await;
        client.publish("c1499", "here");
        client.until("it", |client| !client.published.is_empty()).await;
        assert!(client.is_good() && client.states.len() == 1, "calls had nothing to do with it");
    });
}

#[test]
fn dead_subscription_is_renewed_by_probes() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::to(redis.port());
    with_client(&proxy.url(), async |mut client| {
        client.follow("a");
        client.until("the channel", |client| client.following.contains_key("a")).await;
        proxy.drop_published();
        let since = std::time::Instant::now();
        client.until("the channel again", |client| client.following["a"] == 2).await;
        assert!(since.elapsed().as_secs() < 8, "it took {:?}", since.elapsed());
        client.publish("a", "here");
        client.until("it", |client| !client.published.is_empty()).await;
        assert_eq!(client.states.len(), 1, "calls were done all the while");
    });
}

#[test]
fn channels_are_subscribed_again_after_a_restart() {
    let mut redis = RedisServer::start();
    let url = redis.url();
    with_client(&url, async |mut client| {
        client.follow("a");
        client.until("the channel", |client| client.following.contains_key("a")).await;
        redis.stop();
        client.until("word of it", |client| !client.is_good()).await;
        // What is wished meanwhile counts, too.
        client.follow("b");
        redis.restart();
        client
            .until("both", |client| client.following.get("a") == Some(&2) && client.following.contains_key("b"))
            .await;
        let channels: BTreeSet<String> = redis.ask::<Vec<String>>("PUBSUB CHANNELS").into_iter().collect();
        assert_eq!(channels, ["a", "b", "probe"].map(str::to_owned).into());
    });
}

/// Of a cluster, the proxy of one server drops what is published. The others' subscriptions do not show that.
#[test]
fn dead_subscription_at_one_cluster_server_is_renewed() {
    let cluster = RedisCluster::start();
    let proxies: Vec<FaultProxy> = cluster.servers.iter().map(|server| FaultProxy::to(server.port())).collect();
    for (server, proxy) in cluster.servers.iter().zip(&proxies) {
        server.command(&["CONFIG", "SET", "cluster-announce-port", &proxy.port.to_string()]);
    }
    let knows_proxies = |server: &RedisServer| {
        let known: String = server.ask("CLUSTER NODES");
        proxies.iter().all(|proxy| known.contains(&format!(":{}@", proxy.port)))
    };
    wait_until("all servers know the proxies", || cluster.servers.iter().all(knows_proxies));
    let hosts: Vec<String> = proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.port)).collect();
    with_client(&format!("redis+cluster://{}", hosts.join(",")), async |mut client| {
        let rooms: Vec<String> = (0..12).map(|room| format!("x:room:{{r{room}}}")).collect();
        rooms.iter().for_each(|room| client.follow(room));
        client.until("all rooms", |client| client.following.len() == rooms.len()).await;
        let until = Instant::now() + PATIENCE;
        let at = loop {
            assert!(Instant::now() < until, "no server but that of the common probe has one");
            tokio::time::sleep(Duration::from_millis(20)).await; // the pause of a wait that has an end
            let listens = |at: &usize, command: &str| !cluster.servers[*at].ask::<Vec<String>>(command).is_empty();
            let is_other =
                |at: &usize| !listens(at, "PUBSUB CHANNELS probe") && listens(at, "PUBSUB SHARDCHANNELS probe:*");
            if let Some(at) = (0..proxies.len()).find(is_other) {
                break at;
            }
        };
        let before = client.following.clone();
        proxies[at].drop_published();
        let since = Instant::now();
        client.until("all rooms again", |client| rooms.iter().all(|room| client.following[room] > before[room])).await;
        assert!(since.elapsed().as_secs() < 8, "it took {:?}", since.elapsed());
        rooms.iter().for_each(|room| client.publish(room, "here"));
        client.until("all", |client| rooms.iter().all(|room| !bodies(client, room).is_empty())).await;
        assert_eq!(client.states.len(), 1, "calls were done all the while");
    });
}
