//! A node is killed.

use std::time::Instant;

use serde_json::json;

use crate::harness::{CONVERGENCE, ClientPool, ClusterTest, NODES, rooms_of};
use crate::times;
use support::lossy_client::LossyClient;
use support::room_log::room_name;

/// Members of the killed node who do not come back.
const MORTALS: usize = 5;

#[test]
fn peers_of_killed_node_leave_once_and_clients_lose_nothing() {
    ClusterTest::start("kill -9 of a node", false, &[]).play(|harness, pool| {
        for round in 0..times(2) {
            kill(harness, pool, round);
        }
        assert_eq!(pool.total(|shown| shown.anew), 0, "somebody found no way back");
    });
}

fn kill(harness: &mut ClusterTest, pool: &ClientPool<'_>, round: usize) {
    let node = round % NODES;
    let mortals: Vec<(LossyClient, String, String)> = (0..MORTALS)
        .map(|room| {
            let peer = format!("mortal-{round}-{room}");
            let mut line = LossyClient::connect(harness.address(node), &peer).expect("the node is there");
            line.send(&json!({ "type": "join-room", "roomId": room_name(room), "peerId": peer })).expect("it lives");
            line.wait_for("room-joined", drop).expect("it lives");
            (line, room_name(room), peer)
        })
        .collect();
    let hears = |person: usize, kind: &str, room: &str, peer: &str| {
        let is_it =
            |noise: &&crate::client::MembershipNotice| noise.kind == kind && noise.room == room && noise.peer == peer;
        pool.shown(person).noise.iter().filter(is_it).count()
    };
    let listeners: Vec<(usize, &String, &String)> = pool
        .all()
        .flat_map(|person| mortals.iter().map(move |(_, room, peer)| (person, room, peer)))
        .filter(|(person, room, _)| rooms_of(*person).iter().any(|own| room_name(*own) == **room))
        .collect();
    pool.wait("they are seen", CONVERGENCE, || {
        listeners.iter().all(|(person, room, peer)| hears(*person, "peer-joined", room, peer) == 1)
    });
    let survivors: Vec<_> = pool.all().filter(|person| pool.shown(*person).node != Some(node)).collect();
    let since = Instant::now();
    let address = harness.nodes[node].take().expect("it is there").kill();
    pool.wait_for_talk();
    harness.start_node(node, &address);
    let gone = pool.wait("those who died with it have left", CONVERGENCE - since.elapsed(), || {
        listeners
            .iter()
            .filter(|(person, ..)| survivors.contains(person))
            .all(|(person, room, peer)| hears(*person, "peer-left", room, peer) > 0)
    });
    eprintln!("killed node {node}: its dead left after {:.1?}", since.elapsed().max(gone));
    harness.recover(pool, since);
    // What else is said of them would have been by the time of a few more messages.
    pool.wait_for_talk();
    for (person, room, peer) in &listeners {
        let times = hears(*person, "peer-left", room, peer);
        let is_survivor = survivors.contains(person);
        assert!(
            times == 1 || times == 0 && !is_survivor,
            "person-{person} heard {times} times that {peer} left {room}"
        );
    }
    let others = pool.total(|shown| {
        shown.noise.iter().filter(|noise| noise.peer.starts_with("person") && noise.kind == "peer-left").count()
    });
    assert_eq!(others, 0, "somebody who came back has left for others");
}
