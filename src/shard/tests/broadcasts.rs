//! Clients that send to a large room and never wait, beside a client of a small one.

use super::*;
use crate::base::handle::Slot;
use crate::base::limits;

const MEMBERS: usize = 400;
const SENDERS: usize = 40;
/// Messages that each of them sends at once.
const MESSAGES: usize = 20;
const CONTENT_BYTES: usize = 4_000;

/// A frame, masked with zeros, with a payload of any size.
fn long(payload: &str) -> Vec<u8> {
    let mut bytes = vec![0x81, 0x80 | 126];
    bytes.extend_from_slice(&u16::try_from(payload.len()).expect("a short payload").to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload.as_bytes());
    bytes
}

impl Harness {
    /// A member of another room.
    fn member_of(&mut self, room: &str) -> ConnSlot {
        let slot = self.connect();
        self.receive(slot, UPGRADE);
        self.turn();
        let join = format!(r#"{{"type":"join-room","roomId":"{room}"}}"#);
        self.frame(slot, 0x81, join.as_bytes());
        self.turn();
        self.paper.written.clear();
        slot
    }

    fn written_bytes(&self) -> usize {
        self.paper.written.iter().map(|(_, bytes)| bytes.len()).sum()
    }
}

/// All senders' messages, numbered.
fn flood(harness: &mut Harness, senders: &[ConnSlot]) {
    let filling = "x".repeat(CONTENT_BYTES);
    for slot in senders {
        let frames: Vec<u8> = (0..MESSAGES)
            .flat_map(|number| {
                long(&format!(r#"{{"type":"message","roomId":"r","content":"<{}-{number}>{filling}"}}"#, slot.raw()))
            })
            .collect();
        harness.receive(*slot, &frames);
    }
}

#[test]
fn message_to_a_small_room_is_written_within_a_bounded_share_of_a_flood() {
    let mut harness = Harness::new();
    let crowd: Vec<ConnSlot> = (0..MEMBERS).map(|_| harness.member()).collect();
    let (ann, bob) = (harness.member_of("small"), harness.member_of("small"));
    flood(&mut harness, &crowd[..SENDERS]);
    harness.frame(ann, 0x81, br#"{"type":"message","roomId":"small","content":"urgent"}"#);
    harness.turn();
    let written = harness.written_bytes();
    assert!(harness.paper.take(bob).contains("urgent"), "it is part of the first turn");
    let message = MEMBERS * (CONTENT_BYTES + 400);
    assert!(written <= limits::BROADCAST_BYTES + 2 * SENDERS * message, "{written} bytes");
    assert!(written < MESSAGES * SENDERS * message / 4, "{written} bytes are not most of the flood");
}

#[test]
fn flood_is_delivered_whole_and_in_order_over_several_turns() {
    let mut harness = Harness::new();
    let crowd: Vec<ConnSlot> = (0..MEMBERS).map(|_| harness.member()).collect();
    flood(&mut harness, &crowd[..SENDERS]);
    let reader = crowd[MEMBERS - 1];
    let mut told = String::new();
    let mut turns = 0;
    while told.matches("<").count() < SENDERS * MESSAGES {
        harness.turn();
        let new = harness.paper.take(reader);
        assert!(!new.is_empty(), "each turn brings messages");
        told.push_str(&new);
        harness.paper.written.clear();
        turns += 1;
    }
    assert!(turns > 4, "{turns} turns");
    for slot in &crowd[..SENDERS] {
        let positions: Vec<usize> = (0..MESSAGES)
            .map(|number| told.find(&format!("<{}-{number}>", slot.raw())).expect("each message arrives"))
            .collect();
        assert!(positions.is_sorted(), "the order of a sender is kept");
    }
    harness.turn();
    assert!(crowd.iter().all(|slot| harness.shard.wants_read(*slot)), "no client is held for ever");
}

#[test]
fn only_sender_may_fill_a_turn() {
    let mut harness = Harness::new();
    let crowd: Vec<ConnSlot> = (0..MEMBERS).map(|_| harness.member()).collect();
    flood(&mut harness, &crowd[..1]);
    harness.turn();
    let told = harness.paper.take(crowd[1]);
    let together = limits::BROADCAST_BYTES / (MEMBERS * (CONTENT_BYTES + 400));
    assert!(told.matches("<").count() >= together.min(MESSAGES), "messages share their writes");
}

#[test]
fn sender_that_leaves_in_a_flood_holds_no_other() {
    let mut harness = Harness::new();
    let crowd: Vec<ConnSlot> = (0..MEMBERS).map(|_| harness.member()).collect();
    flood(&mut harness, &crowd[..SENDERS]);
    for slot in &crowd[..SENDERS] {
        harness.shard.ended(NOW, *slot);
    }
    (0..3).for_each(|_| harness.turn());
    let next = harness.member_of("r");
    assert!(harness.shard.wants_read(next));
    harness.frame(next, 0x81, MESSAGE);
    harness.turn();
    assert!(harness.paper.take(crowd[MEMBERS - 1]).contains("hello"));
}
