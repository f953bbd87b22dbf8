//! Messages to users whose connections fall silent, while the server is killed and started again: each that was
//! acknowledged arrives, in the order of its sender.

use crate::{start, times};
use support::direct_campaign::{Campaign, Plan};
use support::directory::Directory;
use support::server::Server;

/// Messages of each sender, unless `SWITCHBOARD_DIRECTS` says otherwise.
const MESSAGES: usize = 600;

/// How often each receiver's connection falls silent, unless `SWITCHBOARD_CUTS` says otherwise.
const CUTS: usize = 6;

#[test]
fn acknowledged_direct_messages_arrive_in_order_though_connections_fall_silent() {
    let directory = Directory::new();
    let server = start("127.0.0.1:0", &directory, &[]);
    let messages = times("SWITCHBOARD_DIRECTS", MESSAGES);
    let plan = Plan { senders: 4, receivers: 10, messages, cuts: times("SWITCHBOARD_CUTS", CUTS) };
    let figures = Campaign::run(plan, std::slice::from_ref(&server.address), |_| {});
    println!("{figures:?}");
    assert_eq!(figures.acknowledged, plan.senders * messages, "no message was refused");
    assert!(figures.recovered > 0, "{figures:?}");
}

#[test]
fn acknowledged_direct_messages_arrive_in_order_though_the_server_is_killed() {
    let directory = Directory::new();
    let server = start("127.0.0.1:0", &directory, &[]);
    let messages = times("SWITCHBOARD_DIRECTS", MESSAGES);
    let plan = Plan { senders: 4, receivers: 10, messages, cuts: times("SWITCHBOARD_CUTS", CUTS) };
    let address = server.address.clone();
    let mut server = Some(server);
    let figures = Campaign::run(plan, std::slice::from_ref(&address), |campaign| {
        for percent in [20, 40, 60, 80] {
            campaign.wait_for(percent);
            let address = server.take().map(Server::kill).expect("it runs");
            server = Some(start(&address, &directory, &[]));
        }
    });
    println!("{figures:?}");
    assert!(figures.acknowledged > plan.senders * messages / 2, "{figures:?}");
}
