//! What becomes of users when nodes die, Redis is away, or what was said is lost.

use switchboard::domain::command::Status;
use switchboard::domain::op::{Op, Reply, RoomRules, Scope, UserOp};
use switchboard::domain::presence::DisconnectKind;
use switchboard::domain::reject::Code;
use switchboard::message::redis::{RedisEvent, RedisState};
use switchboard::message::{OwnerMessage, Requester};
use switchboard::owner::redis::KeySchema;

use crate::world::{GRACE_MS, Heard, World, id, rules, who};

fn offline(user: &str, at: u64) -> Heard {
    Heard::PresenceUpdate(user.into(), "offline", at, None, "Everyone".into())
}

/// Others clear up after a node.
fn purge(world: &mut World, by: usize, user: &str, dead: u16) {
    world.nodes[by].authority.purge_user(world.now, user.into(), dead);
    world.settle();
}

/// A node listens again after a time when it did not.
fn listen_again(world: &mut World, at: usize) {
    let mut out = Vec::new();
    let channel = KeySchema::new("test").node(at as u16);
    world.nodes[at].authority.handle_redis_event(world.now, RedisEvent::Subscribed(channel), &mut out);
    world.note(at, out);
    world.pass(1_000);
}

fn set_state(world: &mut World, at: usize, state: RedisState) {
    let mut out = Vec::new();
    world.nodes[at].set_state(world.now, state, &mut out);
    world.note(at, out);
    world.pass(1_000);
}

fn connections(world: &mut World, at: usize, user: &str) -> usize {
    match world.user(at, user, UserOp::ListConnections) {
        Ok(Reply::Connections(connections)) => connections.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn users_of_a_dead_node_go_offline_once() {
    let mut world = World::new(3, rules());
    world.attach(2, "ann", 1).expect("they come");
    world.attach(2, "bob", 2).expect("they come");
    world.attach(1, "bob", 3).expect("they come");
    world.attach(2, "cid", 4).expect("they come");
    world.detach(2, "cid", 4, DisconnectKind::Lost).expect("they go");
    world.attach(2, "dan", 5).expect("they come");
    world.detach(2, "dan", 5, DisconnectKind::Lost).expect("they go");
    world.attach(0, "dan", 6).expect("they are back");
    world.take_heard();
    let at = world.now.wall;
    for by in [0, 1, 0] {
        for user in ["ann", "bob", "cid", "dan", "nobody"] {
            purge(&mut world, by, user, 2);
        }
    }
    let heard = world.take_heard();
    assert_eq!(heard[0], [offline("ann", at), offline("cid", at)]);
    assert_eq!(heard[0], heard[1]);
    assert_eq!((connections(&mut world, 0, "ann"), connections(&mut world, 0, "bob")), (0, 1));
}

#[test]
fn rooms_receive_the_absence_of_users_of_a_dead_node() {
    let mut world = World::new(2, RoomRules { presence_scope: Scope::Rooms, ..rules() });
    world.attach(0, "ann", 1).expect("they come");
    world.attach(1, "bob", 2).expect("they come");
    world.join(0, "ann", 1, "r");
    world.join(1, "bob", 2, "r");
    world.take_heard();
    purge(&mut world, 0, "bob", 1);
    let told = Heard::PresenceUpdate("bob".into(), "offline", world.now.wall, None, "Members(\"r\")".into());
    assert_eq!(world.take_heard()[0], [told]);
}

#[test]
fn node_declared_dead_restores_its_users() {
    let mut world = World::new(2, rules());
    world.attach(0, "ann", 1).expect("they come");
    purge(&mut world, 1, "ann", 0);
    world.take_heard();
    listen_again(&mut world, 0);
    let online = Heard::PresenceUpdate("ann".into(), "online", world.now.wall - 1_000, None, "Everyone".into());
    assert_eq!(world.take_heard(), [vec![online.clone()], vec![online]]);
    assert_eq!(connections(&mut world, 1, "ann"), 1);
    listen_again(&mut world, 0);
    assert_eq!(world.take_heard().concat(), [], "nothing was missed");
}

#[test]
fn emptied_redis_gets_all_users_again() {
    let mut world = World::new(2, rules());
    for number in 0..5 {
        world.attach(0, &format!("user {number}"), number).expect("they come");
    }
    world.attach(1, "user 0", 9).expect("they come");
    world.pass(1);
    world.server.command(&["FLUSHALL"]);
    listen_again(&mut world, 0);
    listen_again(&mut world, 1);
    for number in 0..5 {
        assert_eq!(connections(&mut world, 1, &format!("user {number}")), 1 + usize::from(number == 0));
    }
    world.take_heard();
    world.detach(0, "user 0", 0, DisconnectKind::Lost).expect("they go");
    world.pass(GRACE_MS);
    assert_eq!(world.take_heard().concat(), []);
    world.detach(1, "user 0", 9, DisconnectKind::Lost).expect("they go");
    world.pass(GRACE_MS);
    assert_eq!(world.take_heard().concat().len(), 2);
}

#[test]
fn connections_ended_while_redis_is_away_are_removed_later() {
    let mut world = World::new(2, rules());
    world.attach(0, "ann", 1).expect("they come");
    world.attach(0, "bob", 2).expect("they come");
    world.attach(0, "bob", 3).expect("they come");
    world.take_heard();
    set_state(&mut world, 0, RedisState::Unreachable);
    for (user, number) in [("ann", 1), ("bob", 2)] {
        let refused = world.detach(0, user, number, DisconnectKind::Lost).expect_err("Redis is away");
        assert_eq!(refused.code, Code::StorageUnavailable);
    }
    assert_eq!(world.attach(0, "cid", 4).expect_err("Redis is away").code, Code::StorageUnavailable);
    set_state(&mut world, 0, RedisState::Ready);
    assert_eq!((connections(&mut world, 1, "ann"), connections(&mut world, 1, "bob")), (0, 1));
    world.pass(GRACE_MS);
    let heard = world.take_heard();
    assert!(
        matches!(heard[1].as_slice(), [Heard::PresenceUpdate(user, "offline", ..)] if &**user == "ann"),
        "{heard:?}"
    );
}

#[test]
fn user_goes_offline_after_redis_returns() {
    let mut world = World::new(2, rules());
    world.attach(0, "ann", 1).expect("they come");
    world.detach(0, "ann", 1, DisconnectKind::Lost).expect("they go");
    set_state(&mut world, 0, RedisState::Unreachable);
    world.pass(10 * GRACE_MS);
    world.take_heard();
    set_state(&mut world, 0, RedisState::Ready);
    world.pass(GRACE_MS);
    assert_eq!(world.take_heard()[1].len(), 1);
    let Ok(Reply::Presence(view)) = world.user(1, "ann", UserOp::Describe { by: who("bob") }) else {
        panic!("they are known")
    };
    assert_eq!(view.status, Status::Offline);
}

/// An answer that is lost leaves open whether it was done; either way nothing is left of a connection that was refused.
#[test]
fn attach_without_an_answer_leaves_no_connection() {
    for is_done in [false, true] {
        let mut world = World::new(2, rules());
        let attach = UserOp::Attach { connection: id(0, 1), by: who("ann"), socket: None };
        let mut out = Vec::new();
        world.nodes[0].ask(world.now, Requester { shard: 0, ask: 1 }, Op::User("ann".into(), attach), &mut out);
        match is_done {
            true => world.nodes[0].lose_answers(world.now, &mut out),
            false => world.nodes[0].lose_calls(world.now, &mut out),
        }
        assert_eq!(out.len(), 1, "it is told so");
        world.pass(1_000 + GRACE_MS);
        assert_eq!(connections(&mut world, 1, "ann"), 0);
        let statuses: Vec<_> = world.take_heard().remove(1);
        assert_eq!(statuses.len(), if is_done { 2 } else { 0 }, "{statuses:?}");
    }
}

#[test]
fn missed_direct_message_is_delivered_after_resubscribing() {
    let mut world = World::new(2, rules());
    world.attach(0, "ann", 1).expect("they come");
    world.attach(0, "ann", 2).expect("they come");
    world.send(1, "ann", "heard").expect("it is kept");
    let mut out = Vec::new();
    let op =
        Op::User("ann".into(), UserOp::Send { by: who("bob"), content: Box::new(crate::world::content("missed")) });
    world.nodes[1].ask(world.now, Requester { shard: 0, ask: 1 }, op, &mut out);
    world.nodes[1].settle(world.now, &mut out);
    assert_eq!(world.nodes[0].miss_published(), 1);
    world.take_heard();
    listen_again(&mut world, 0);
    let handed = |number| Heard::Hand(id(0, number), "ann".into(), "\"missed\"".into());
    assert_eq!(world.take_heard()[0], [handed(1), handed(2)], "and what they have got is not");
    world.confirm();
    listen_again(&mut world, 0);
    assert_eq!(world.take_heard().concat(), []);
}

#[test]
fn delivery_confirmation_is_repeated_until_redis_has_it() {
    let mut world = World::new(2, rules());
    world.attach(0, "ann", 1).expect("they come");
    world.send(1, "ann", "x").expect("it is kept");
    let (at, user, id) = world.handed.pop().expect("it was handed over");
    world.nodes[at].handle(world.now, OwnerMessage::DurableDelivered { user, id }, &mut Vec::new());
    let mut out = Vec::new();
    world.nodes[at].lose_calls(world.now, &mut out);
    world.pass(1_000);
    world.take_heard();
    world.attach(1, "ann", 2).expect("they come");
    assert_eq!(world.take_heard().concat(), []);
}
