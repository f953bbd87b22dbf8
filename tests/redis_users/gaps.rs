//! What is published in a room and comes late, or never.

use switchboard::domain::op::{Op, Reply, RoomOp, SendMessage};
use switchboard::message::redis::RedisState;
use switchboard::message::{Outgoing, Requester, ShardMessage, ThreadMessage};

use crate::world::{World, content, id, rules};

/// Messages of the other node; a room keeps a thousand when nobody asks for more.
const MANY: usize = 2_500;

/// Longer than answers wait for what was published before them.
const LATE_MS: u64 = 250;

/// Two nodes with a member each in one room. What the second is told of the first's messages is held back.
fn behind(messages: usize) -> World {
    let mut world = World::new(2, rules());
    world.join(0, "ann", 1, "r");
    world.join(1, "bob", 2, "r");
    for _ in 0..messages {
        send(&mut world, 0, 1);
    }
    let mut out = Vec::new();
    world.nodes[0].settle(world.now, &mut out);
    assert_eq!(answers(&out), messages);
    world
}

/// A connection says something; nothing is waited for.
fn send(world: &mut World, at: usize, number: u32) {
    let connection = id(at as u16, number);
    let message = SendMessage {
        connection,
        publisher: None,
        to: None,
        content: content("x"),
        client_message_id: None,
        revises: None,
        stream: None,
    };
    let op = Op::Room("r".into(), RoomOp::Send(Box::new(message)));
    world.nodes[at].ask(world.now, Requester { shard: 0, ask: 7 }, op, &mut Vec::new());
}

/// The second node's member speaks, too, and the answer is there before all that was said before; some time passes.
fn speak_and_wait(world: &mut World) {
    send(world, 1, 2);
    let mut out = Vec::new();
    world.nodes[1].hear_answers(world.now, &mut out);
    assert_eq!(answers(&out), 0, "it waits for what came before");
    world.now = world.now.plus(LATE_MS);
    world.nodes[1].authority.tick(world.now, &mut out);
}

fn answers(out: &[Outgoing]) -> usize {
    let is_sent = |message: &ThreadMessage| matches!(message, ThreadMessage::Reply { reply: Ok(Reply::Sent(_)), .. });
    out.iter().filter(|(_, message)| is_sent(message)).count()
}

/// The numbers of the messages that members were told.
fn told(out: &[Outgoing]) -> Vec<u64> {
    let number = |message: &ThreadMessage| match message {
        ThreadMessage::Shard(ShardMessage::Publish { packed, .. }) => Some(packed.seq).filter(|seq| *seq > 0),
        ThreadMessage::Reply { .. } => None,
        other => panic!("nobody should be told {other:?}"),
    };
    out.iter().filter_map(|(_, message)| number(message)).collect()
}

#[test]
fn late_events_are_awaited() {
    let mut world = behind(MANY);
    speak_and_wait(&mut world);
    let called = world.nodes[1].called;
    let mut out = Vec::new();
    world.nodes[1].settle(world.now, &mut out);
    assert!(told(&out).into_iter().eq(1..=MANY as u64), "all, in order");
    assert_eq!((answers(&out), world.nodes[1].called), (1, called), "Redis is asked nothing");
}

#[test]
fn reply_does_not_wait_for_events_while_redis_is_away() {
    let messages = 5;
    let mut world = behind(messages);
    speak_and_wait(&mut world);
    let mut out = Vec::new();
    world.nodes[1].set_state(world.now, RedisState::Unreachable, &mut out);
    assert_eq!((answers(&out), told(&out).len()), (1, 0));
    out.clear();
    world.nodes[1].set_state(world.now, RedisState::Ready, &mut out);
    world.nodes[1].settle(world.now, &mut out);
    assert!(told(&out).into_iter().eq(1..=messages as u64), "all, in order");
    assert_eq!(answers(&out), 0, "once");
}

#[test]
fn lost_events_are_requested() {
    let messages = 900;
    let mut world = behind(messages);
    assert_eq!(world.nodes[1].miss_published(), messages);
    speak_and_wait(&mut world);
    let mut out = Vec::new();
    world.nodes[1].settle(world.now, &mut out);
    assert!(told(&out).into_iter().eq(1..=messages as u64), "all, in order");
    assert_eq!(answers(&out), 1);
}

#[test]
fn members_return_when_lost_events_are_not_kept() {
    let mut world = behind(MANY);
    assert_eq!(world.nodes[1].miss_published(), MANY);
    speak_and_wait(&mut world);
    let mut out = Vec::new();
    world.nodes[1].settle(world.now, &mut out);
    assert_eq!(answers(&out), 1, "it was sent all the same");
    let back = |message: &ThreadMessage| match message {
        ThreadMessage::Shard(ShardMessage::Reconnect { connection }) => Some(*connection),
        _ => None,
    };
    assert!(out.iter().filter_map(|(_, message)| back(message)).eq([id(1, 2)]), "the room has not ended");
}
