//! Messages to users, on their way to whichever connection is there.

use switchboard::base::ids::ConnectionId;
use switchboard::domain::op::{Reply, RoomRules};
use switchboard::domain::presence::DisconnectKind;
use switchboard::domain::reject::Code;

use crate::world::{Heard, World, id, rules};

fn sent(world: &mut World, at: usize, user: &str, text: &str) {
    let reply = world.send(at, user, text);
    assert!(matches!(reply, Ok(Reply::Sent(sent)) if sent.at == world.now.wall && sent.seq.is_none()), "{reply:?}");
}

/// What was handed over, at which node, in which order.
fn handed(world: &mut World) -> Vec<(usize, ConnectionId, String)> {
    let mut handed = Vec::new();
    for (node, heard) in world.take_heard().into_iter().enumerate() {
        for heard in heard {
            if let Heard::Hand(to, _, text) = heard {
                handed.push((node, to, text));
            }
        }
    }
    handed
}

fn text(node: u16, number: u32, text: &str) -> (usize, ConnectionId, String) {
    (usize::from(node), id(node, number), format!("\"{text}\""))
}

#[test]
fn direct_message_waits_for_a_known_user() {
    let mut world = World::new(3, rules());
    assert_eq!(world.send(0, "ann", "x").expect_err("nobody knows them").code, Code::UserNotFound);
    world.attach(0, "ann", 1).expect("they come");
    world.detach(0, "ann", 1, DisconnectKind::Clean).expect("they go");
    for number in 0..3 {
        sent(&mut world, number, "ann", &number.to_string());
    }
    assert_eq!(handed(&mut world), []);
    world.attach(2, "ann", 2).expect("they come");
    assert_eq!(handed(&mut world), [text(2, 2, "0"), text(2, 2, "1"), text(2, 2, "2")]);
    world.confirm();
    world.attach(1, "ann", 3).expect("they come");
    assert_eq!(handed(&mut world), []);
}

#[test]
fn direct_message_is_delivered_until_one_connection_confirms() {
    let mut world = World::new(2, rules());
    world.attach(0, "ann", 1).expect("they come");
    world.attach(1, "ann", 2).expect("they come");
    sent(&mut world, 0, "ann", "a");
    assert_eq!(handed(&mut world), [text(0, 1, "a"), text(1, 2, "a")]);
    world.attach(1, "ann", 3).expect("they come");
    assert_eq!(handed(&mut world), [text(1, 3, "a")], "none has said that it has it");
    for (node, number) in [(0, 1), (1, 2), (1, 3)] {
        world.detach(node, "ann", number, DisconnectKind::Lost).expect("they go");
    }
    world.handed.clear();
    world.attach(0, "ann", 4).expect("they come");
    assert_eq!(handed(&mut world), [text(0, 4, "a")], "it was lost with them");
    world.confirm();
    world.detach(0, "ann", 4, DisconnectKind::Lost).expect("they go");
    world.attach(1, "ann", 5).expect("they come");
    assert_eq!(handed(&mut world), []);
}

#[test]
fn old_or_excess_direct_messages_are_dropped() {
    let mut world = World::new(1, RoomRules { keep_ms: 1_000_000, ..rules() });
    world.attach(0, "ann", 1).expect("they come");
    world.detach(0, "ann", 1, DisconnectKind::Clean).expect("they go");
    sent(&mut world, 0, "ann", "old");
    world.pass(600_000);
    sent(&mut world, 0, "ann", "new");
    world.pass(600_000);
    world.attach(0, "ann", 2).expect("they come");
    assert_eq!(handed(&mut world), [text(0, 2, "new")]);
}

#[test]
fn thousands_of_waiting_messages_are_delivered_in_order() {
    let mut world = World::new(2, rules());
    world.attach(0, "ann", 1).expect("they come");
    world.detach(0, "ann", 1, DisconnectKind::Clean).expect("they go");
    for number in 0..1_201 {
        sent(&mut world, 0, "ann", &number.to_string());
    }
    world.attach(1, "ann", 2).expect("they come");
    assert_eq!(world.handed.len(), 500);
    world.confirm();
    let expected: Vec<_> = (0..1_201).map(|number| text(1, 2, &number.to_string())).collect();
    assert_eq!(handed(&mut world), expected);
}
