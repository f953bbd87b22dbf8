//! Writes to the store per connection: an idle connection must cause none.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::domain::record::Record;
use crate::message::storage::{CommitOutcome, CommitReceipt, StorageEvent};

const USERS: usize = 100;

/// A shard with a store, and the clients of its users.
struct StoringShard {
    harness: Harness,
    now: Now,
    slots: Vec<ConnSlot>,
}

/// Number of records of each kind.
#[derive(Debug, Default, PartialEq, Eq)]
struct Written {
    seen: usize,
    sessions: usize,
    taken: usize,
    others: usize,
}

impl StoringShard {
    fn new(outlives_process: bool) -> Self {
        let rules = RoomRules { has_store: true, outlives_process, ..(*options().rules).clone() };
        let options = Options { recovery_window_ms: 120_000, rules: Arc::new(rules), ..options() };
        Self { harness: Harness::with(options), now: NOW, slots: Vec::new() }
    }

    /// Connects all users.
    fn come(&mut self) {
        let base64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for user in 0..USERS {
            let claims = format!(r#"{{"sub":"user-{user}","exp":{}}}"#, u32::MAX);
            let token = format!("{}.{}.{}", base64(r#"{"alg":"HS256"}"#), base64(&claims), base64("unread"));
            let head = String::from_utf8_lossy(UPGRADE).replace("/ws?", &format!("/ws?token={token}&"));
            let slot = self.harness.shard.accepted(self.now, ([127, 0, 0, 1], 1).into()).expect("there is room");
            self.harness.shard.received(self.now, slot, &mut head.into_bytes());
            self.slots.push(slot);
        }
        self.harness.shard.run(self.now);
    }

    fn all_say(&mut self, request: &[u8]) {
        for slot in self.slots.clone() {
            let mut bytes = vec![0x81, 0x80 | request.len() as u8, 0, 0, 0, 0];
            bytes.extend_from_slice(request);
            self.harness.shard.received(self.now, slot, &mut bytes);
        }
    }

    fn all_are_lost(&mut self) {
        for slot in std::mem::take(&mut self.slots) {
            self.harness.shard.ended(self.now, slot);
        }
    }

    /// Counts the records written within `ms`.
    fn written(&mut self, ms: u64) -> Written {
        let mut written = Written::default();
        for _ in 0..ms / 50 {
            self.now = self.now.plus(50);
            self.harness.shard.tick(self.now);
            self.harness.shard.run(self.now);
            let orders: Vec<StorageCommand> = self.harness.shard.storage_commands(self.now).collect();
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
                self.harness.shard.handle_message(self.now, ShardMessage::Storage(StorageEvent::Receipt(receipt)));
            }
            self.harness.shard.run(self.now);
            self.harness.shard.flush(self.now, &mut self.harness.paper);
        }
        written
    }
}

#[test]
fn idle_connection_writes_its_user_once_after_ten_seconds() {
    let mut shard = StoringShard::new(true);
    shard.come();
    assert_eq!(shard.written(9_950), Written::default());
    assert_eq!(shard.written(50), Written { seen: USERS, ..Written::default() });
    // The first heartbeat is sent after 25 s.
    assert_eq!(shard.written(10_000), Written::default());
    assert_eq!(shard.harness.shard.stats().users, USERS);
}

#[test]
fn short_connection_writes_its_user_after_it_ended() {
    let mut shard = StoringShard::new(true);
    shard.come();
    assert_eq!(shard.written(5_000), Written::default());
    shard.all_are_lost();
    assert_eq!(shard.written(60_000), Written { seen: USERS, ..Written::default() });
}

#[test]
fn member_session_is_written_on_join_and_on_loss() {
    let mut shard = StoringShard::new(true);
    shard.come();
    shard.written(50);
    shard.all_say(br#"{"type":"join-room","roomId":"r"}"#);
    assert_eq!(shard.written(1_000), Written { sessions: USERS, ..Written::default() });
    shard.all_are_lost();
    assert_eq!(shard.written(2_950), Written { sessions: USERS, ..Written::default() });
    assert_eq!(shard.written(60_000), Written { seen: USERS, ..Written::default() });
}

#[test]
fn member_leaving_all_rooms_removes_its_session() {
    let mut shard = StoringShard::new(true);
    shard.come();
    shard.written(50);
    shard.all_say(br#"{"type":"join-room","roomId":"r"}"#);
    shard.written(1_000);
    shard.all_say(br#"{"type":"leave-room","roomId":"r"}"#);
    assert_eq!(shard.written(1_000), Written { taken: USERS, ..Written::default() });
    shard.all_are_lost();
    assert_eq!(shard.written(60_000), Written { seen: USERS, ..Written::default() });
}

/// Sessions are not written if no state outlives the process.
#[test]
fn memory_only_shard_writes_departed_users_only() {
    let mut shard = StoringShard::new(false);
    shard.come();
    shard.written(50);
    shard.all_say(br#"{"type":"join-room","roomId":"r"}"#);
    assert_eq!(shard.written(20_000), Written::default());
    assert_eq!(shard.harness.shard.stats().listened_rooms, 1);
    shard.all_are_lost();
    assert_eq!(shard.written(200_000), Written { seen: USERS, ..Written::default() });
}

#[test]
fn positions_of_members_are_written_in_portions_while_there_are_messages() {
    let mut shard = StoringShard::new(true);
    shard.come();
    shard.all_say(br#"{"type":"join-room","roomId":"r"}"#);
    shard.written(5_000);
    let say = |shard: &mut StoringShard| {
        let slot = shard.slots[0];
        let request = br#"{"type":"message","roomId":"r","content":"x"}"#;
        let mut bytes = vec![0x81, 0x80 | request.len() as u8, 0, 0, 0, 0];
        bytes.extend_from_slice(request);
        shard.harness.shard.received(shard.now, slot, &mut bytes);
    };
    say(&mut shard);
    let sessions = |shard: &mut StoringShard, ms| shard.written(ms).sessions;
    assert_eq!(sessions(&mut shard, 900), 0, "they are gathered for a second");
    assert_eq!(sessions(&mut shard, 500), USERS);
    assert_eq!(sessions(&mut shard, 10_000), 0, "no message has come since");
    // However many messages come, each member is written once in a second.
    let mut written = 0;
    for _ in 0..100 {
        say(&mut shard);
        written += sessions(&mut shard, 50);
    }
    assert!((4 * USERS..=5 * USERS).contains(&written), "{written}");
}
