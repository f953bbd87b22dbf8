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

/// When no client has sent anything else for a while.
const LATER: Now = NOW.plus(limits::BROADCAST_SHARED_MS);

impl Harness {
    fn turn_at(&mut self, now: Now) {
        self.shard.run(now);
        self.shard.flush(now, &mut self.paper);
        self.shard.check_invariants();
    }

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

    /// A client alone in its room sends a message.
    fn send_elsewhere(&mut self) {
        let slot = self.member_of("elsewhere");
        self.frame(slot, 0x81, br#"{"type":"message","roomId":"elsewhere","content":"x"}"#);
        self.turn();
    }

    fn written_bytes(&self) -> usize {
        self.paper.written.iter().map(|(_, bytes)| bytes.len()).sum()
    }
}

/// All senders' messages, numbered.
fn flood(harness: &mut Harness, now: Now, senders: &[ConnSlot]) {
    let filling = "x".repeat(CONTENT_BYTES);
    for slot in senders {
        let mut frames: Vec<u8> = (0..MESSAGES)
            .flat_map(|number| {
                long(&format!(r#"{{"type":"message","roomId":"r","content":"<{}-{number}>{filling}"}}"#, slot.raw()))
            })
            .collect();
        harness.shard.received(now, *slot, &mut frames);
    }
}

/// Reads what a client gets until nothing is left to be written; what each turn has written to all is given to `each_turn`.
fn read_all(harness: &mut Harness, now: Now, reader: ConnSlot, mut each_turn: impl FnMut(usize)) -> String {
    let mut told = String::new();
    while harness.shard.has_output() {
        harness.turn_at(now);
        each_turn(harness.written_bytes());
        told.push_str(&harness.paper.take(reader));
        harness.paper.written.clear();
    }
    told
}

fn assert_whole_and_in_order(told: &str, senders: &[ConnSlot]) {
    assert_eq!(told.matches('<').count(), senders.len() * MESSAGES);
    for slot in senders {
        let positions: Vec<usize> = (0..MESSAGES)
            .map(|number| told.find(&format!("<{}-{number}>", slot.raw())).expect("each message arrives"))
            .collect();
        assert!(positions.is_sorted(), "the order of a sender is kept");
    }
}

#[test]
fn message_to_a_small_room_is_written_within_a_small_part_of_a_flood() {
    let mut harness = Harness::new();
    let crowd: Vec<ConnSlot> = (0..MEMBERS).map(|_| harness.member()).collect();
    let (ann, bob) = (harness.member_of("small"), harness.member_of("small"));
    flood(&mut harness, NOW, &crowd[..SENDERS]);
    // In the midst of it another message comes.
    for turn in 0..5 {
        harness.frame(ann, 0x81, format!(r#"{{"type":"message","roomId":"small","content":"{turn}"}}"#).as_bytes());
        harness.turn_at(NOW);
        assert!(harness.paper.take(bob).contains(&format!(r#""content":"{turn}""#)), "it is part of the turn");
        let written = harness.written_bytes();
        harness.paper.written.clear();
        // The last member may get all that the flood has brought so far.
        let most = limits::BULK_TURN_BYTES + SENDERS * (CONTENT_BYTES + 400);
        assert!(written <= most, "{written} bytes in turn {turn}");
    }
}

#[test]
fn flood_is_delivered_whole_and_in_order_beside_other_clients() {
    let mut harness = Harness::new();
    let crowd: Vec<ConnSlot> = (0..MEMBERS).map(|_| harness.member()).collect();
    harness.send_elsewhere();
    flood(&mut harness, NOW, &crowd[..SENDERS]);
    let mut turns = 0;
    let told = read_all(&mut harness, NOW, crowd[MEMBERS - 1], |_| turns += 1);
    assert!(turns > 100, "{turns} turns");
    assert_whole_and_in_order(&told, &crowd[..SENDERS]);
    assert!(crowd.iter().all(|slot| harness.shard.wants_read(*slot)), "no client is held for ever");
}

#[test]
fn flood_is_delivered_whole_and_in_order_over_several_turns() {
    let mut harness = Harness::new();
    let crowd: Vec<ConnSlot> = (0..MEMBERS).map(|_| harness.member()).collect();
    flood(&mut harness, LATER, &crowd[..SENDERS]);
    let mut turns = 0;
    let message = MEMBERS * (CONTENT_BYTES + 400);
    let told = read_all(&mut harness, LATER, crowd[MEMBERS - 1], |written| {
        turns += 1;
        assert!(written <= limits::BROADCAST_BYTES + 2 * SENDERS * message, "{written} bytes");
    });
    assert!(turns > 4, "{turns} turns");
    assert_whole_and_in_order(&told, &crowd[..SENDERS]);
    assert!(crowd.iter().all(|slot| harness.shard.wants_read(*slot)), "no client is held for ever");
}

#[test]
fn member_that_leaves_gets_what_was_deferred_first() {
    let mut harness = Harness::new();
    let crowd: Vec<ConnSlot> = (0..MEMBERS).map(|_| harness.member()).collect();
    let last = crowd[MEMBERS - 1];
    harness.send_elsewhere();
    harness.shard.received(
        NOW,
        crowd[0],
        &mut long(&format!(r#"{{"type":"message","roomId":"r","content":"<{}"}}"#, "x".repeat(CONTENT_BYTES))),
    );
    harness.turn_at(NOW);
    assert!(harness.shard.has_output(), "a part of the room waits");
    // A close frame.
    harness.frame(last, 0x88, &[3, 232]);
    let told = read_all(&mut harness, NOW, last, |_| {});
    assert!(told.contains('<'), "{told}");
    assert!(harness.paper.ended.contains(&last));
}

#[test]
fn only_sender_may_fill_a_turn() {
    let mut harness = Harness::new();
    let crowd: Vec<ConnSlot> = (0..MEMBERS).map(|_| harness.member()).collect();
    flood(&mut harness, LATER, &crowd[..1]);
    harness.turn_at(LATER);
    let told = harness.paper.take(crowd[1]);
    let together = limits::BROADCAST_BYTES / (MEMBERS * (CONTENT_BYTES + 400));
    assert!(told.matches('<').count() >= together.min(MESSAGES), "messages share their writes");
}

#[test]
fn sender_that_leaves_in_a_flood_holds_no_other() {
    let mut harness = Harness::new();
    let crowd: Vec<ConnSlot> = (0..MEMBERS).map(|_| harness.member()).collect();
    flood(&mut harness, NOW, &crowd[..SENDERS]);
    for slot in &crowd[..SENDERS] {
        harness.shard.ended(NOW, *slot);
    }
    (0..3).for_each(|_| harness.turn_at(NOW));
    let next = harness.member_of("r");
    assert!(harness.shard.wants_read(next));
    harness.frame(next, 0x81, MESSAGE);
    assert!(read_all(&mut harness, NOW, crowd[MEMBERS - 1], |_| {}).contains("hello"));
}
