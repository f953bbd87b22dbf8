//! What connecting costs the store: next to nothing. An idle connection must not have it write, lest the price of keeping
//! things be paid by everybody who is merely there.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::domain::record::Record;
use crate::message::storage::{CommitOutcome, CommitReceipt, StorageEvent};

const USERS: usize = 100;

/// A shard that keeps things, and what it has the store write.
struct QuotaPool {
    desk: Desk,
    now: Now,
    slots: Vec<u32>,
}

/// How many records of each kind there are.
#[derive(Debug, Default, PartialEq, Eq)]
struct Written {
    seen: usize,
    sessions: usize,
    taken: usize,
    others: usize,
}

impl QuotaPool {
    fn new(outlives_process: bool) -> Self {
        let rules = RoomRules { has_store: true, outlives_process, ..(*options().rules).clone() };
        let options = Options { recovery_window_ms: 120_000, rules: Arc::new(rules), ..options() };
        Self { desk: Desk::with(options), now: NOW, slots: Vec::new() }
    }

    /// All users come.
    fn come(&mut self) {
        let base64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for user in 0..USERS {
            let claims = format!(r#"{{"sub":"user-{user}","exp":{}}}"#, u32::MAX);
            let token = format!("{}.{}.{}", base64(r#"{"alg":"HS256"}"#), base64(&claims), base64("unread"));
            let head = String::from_utf8_lossy(UPGRADE).replace("/ws", &format!("/ws?token={token}"));
            let slot = self.desk.shard.accepted(self.now, ([127, 0, 0, 1], 1).into()).expect("there is room");
            self.desk.shard.received(self.now, slot, &mut head.into_bytes());
            self.slots.push(slot);
        }
        self.desk.shard.run(self.now);
    }

    fn all_say(&mut self, request: &[u8]) {
        for slot in self.slots.clone() {
            let mut bytes = vec![0x81, 0x80 | request.len() as u8, 0, 0, 0, 0];
            bytes.extend_from_slice(request);
            self.desk.shard.received(self.now, slot, &mut bytes);
        }
    }

    fn all_are_lost(&mut self) {
        for slot in std::mem::take(&mut self.slots) {
            self.desk.shard.ended(self.now, slot);
        }
    }

    /// What is written within so many milliseconds.
    fn written(&mut self, ms: u64) -> Written {
        let mut written = Written::default();
        for _ in 0..ms / 50 {
            self.now = self.now.plus(50);
            self.desk.shard.tick(self.now);
            self.desk.shard.run(self.now);
            let orders: Vec<StorageCommand> = self.desk.shard.orders(self.now).collect();
            for order in orders {
                let StorageCommand::Commit(batch) = order else { continue };
                let mut kept = CommitOutcome::default();
                for record in &batch.records {
                    match record {
                        Record::UserSeen(_) => written.seen += 1,
                        Record::SessionKept(_) => written.sessions += 1,
                        Record::SessionTaken { .. } | Record::SessionClaimed { .. } => {
                            written.taken += 1;
                            kept.taken.push(None);
                        }
                        _ => written.others += 1,
                    }
                }
                let receipt = CommitReceipt { ticket: batch.ticket, outcome: Ok(kept) };
                self.desk.shard.mail(self.now, ShardMessage::Storage(StorageEvent::Receipt(receipt)));
            }
            self.desk.shard.run(self.now);
            self.desk.shard.flush(self.now, &mut self.desk.paper);
        }
        written
    }
}

#[test]
fn who_is_merely_there_is_written_down_once_and_after_a_while() {
    let mut keeper = QuotaPool::new(true);
    keeper.come();
    assert_eq!(keeper.written(9_950), Written::default());
    assert_eq!(keeper.written(50), Written { seen: USERS, ..Written::default() });
    // They are not asked whether they live before 25 s.
    assert_eq!(keeper.written(10_000), Written::default());
    assert_eq!(keeper.desk.shard.stats().users, USERS);
}

#[test]
fn who_comes_for_a_moment_is_written_down_when_they_have_gone() {
    let mut keeper = QuotaPool::new(true);
    keeper.come();
    assert_eq!(keeper.written(5_000), Written::default());
    keeper.all_are_lost();
    assert_eq!(keeper.written(60_000), Written { seen: USERS, ..Written::default() });
}

#[test]
fn who_is_in_a_room_has_a_session_written_as_they_join_and_as_they_are_lost() {
    let mut keeper = QuotaPool::new(true);
    keeper.come();
    keeper.written(50);
    keeper.all_say(br#"{"type":"join-room","roomId":"r"}"#);
    assert_eq!(keeper.written(1_000), Written { sessions: USERS, ..Written::default() });
    keeper.all_are_lost();
    assert_eq!(keeper.written(2_950), Written { sessions: USERS, ..Written::default() });
    assert_eq!(keeper.written(60_000), Written { seen: USERS, ..Written::default() });
}

#[test]
fn who_has_left_all_rooms_has_no_session_any_more() {
    let mut keeper = QuotaPool::new(true);
    keeper.come();
    keeper.written(50);
    keeper.all_say(br#"{"type":"join-room","roomId":"r"}"#);
    keeper.written(1_000);
    keeper.all_say(br#"{"type":"leave-room","roomId":"r"}"#);
    assert_eq!(keeper.written(1_000), Written { taken: USERS, ..Written::default() });
    keeper.all_are_lost();
    assert_eq!(keeper.written(60_000), Written { seen: USERS, ..Written::default() });
}

/// Where nothing outlives the process there is nothing to write for its sake.
#[test]
fn in_memory_only_the_users_who_have_gone_are_written_down() {
    let mut keeper = QuotaPool::new(false);
    keeper.come();
    keeper.written(50);
    keeper.all_say(br#"{"type":"join-room","roomId":"r"}"#);
    assert_eq!(keeper.written(20_000), Written::default());
    assert_eq!(keeper.desk.shard.stats().listened_rooms, 1);
    keeper.all_are_lost();
    assert_eq!(keeper.written(200_000), Written { seen: USERS, ..Written::default() });
}
