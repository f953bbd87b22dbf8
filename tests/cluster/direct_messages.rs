//! Messages to users whose connections fall silent and come back to any node, while a node is killed and started again: each
//! that was acknowledged arrives, in the order of its sender.

use crate::asked;
use support::direct_campaign::{Campaign, Plan};
use support::redis::RedisServer;
use support::server::{Server, command_at};

const NODES: usize = 2;

/// Messages of each sender, times `SWITCHBOARD_FAULTS`.
const MESSAGES: usize = 300;

/// How often each receiver's connection falls silent, times `SWITCHBOARD_FAULTS`.
const CUTS: usize = 3;

fn start(redis: &RedisServer, address: &str) -> Server {
    let url = format!("redis.url={}", redis.url());
    let mut arguments = vec!["--shards", "2"];
    for setting in ["presence.scope=none", "limits.messages_per_minute=0", "log.level=error", &url] {
        arguments.extend(["--set", setting]);
    }
    Server::spawn(&mut command_at(address, &arguments, &[]))
}

#[test]
fn acknowledged_direct_messages_arrive_in_order_at_any_node() {
    let redis = RedisServer::start_keeping();
    let mut nodes: Vec<_> = (0..NODES).map(|_| Some(start(&redis, "127.0.0.1:0"))).collect();
    let addresses: Vec<_> = nodes.iter().flatten().map(|node| node.address.clone()).collect();
    let factor = asked().unwrap_or(1);
    let plan = Plan { senders: 4, receivers: 10, messages: MESSAGES * factor, cuts: CUTS * factor };
    let figures = Campaign::run(plan, &addresses, |campaign| {
        for (node, percent) in (0..NODES).cycle().zip([25, 50, 75]) {
            campaign.wait_for(percent);
            let address = nodes[node].take().map(Server::kill).expect("it runs");
            nodes[node] = Some(start(&redis, &address));
        }
    });
    println!("{figures:?}");
    assert!(figures.acknowledged > plan.senders * plan.messages / 2, "{figures:?}");
    assert!(figures.recovered > 0, "{figures:?}");
}
