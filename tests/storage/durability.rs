//! Receipts: when they come, what a refusal entails, and what becomes of too much at once.

use std::time::Duration;

use rusqlite::Connection;
use switchboard::message::storage::{MessageSpan, StorageQuery, StorageState};
use switchboard::runtime::storage::{Durability, StorageOptions};

use crate::fixture::{
    BEGINNING, ManualClock, Scratch, StorageFixture, message, messages, options, room, sent, wait_until,
};

/// Keeps others from writing until it is dropped.
fn lock(scratch: &Scratch) -> Connection {
    let connection = Connection::open(scratch.database()).expect("a database");
    connection.busy_timeout(Duration::from_secs(60)).expect("patience");
    connection.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    connection
}

#[test]
fn slow_disk_delays_receipts_and_shows_in_lag() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    fixture.keep([room("r")]).expect("kept");
    let locked = lock(&scratch);
    for seq in 1..=100 {
        fixture.submit(messages("r", seq, seq, BEGINNING));
    }
    wait_until("the lag shows", || fixture.health().lag_ms >= 50);
    assert!(fixture.health().waiting_bytes > 0);
    assert_eq!(fixture.page("r", MessageSpan::Newest, 500).last, 0, "reading goes on");
    drop(locked);
    for _ in 0..100 {
        assert!(fixture.receipt().outcome.is_ok());
    }
    wait_until("nothing waits", || {
        let health = fixture.health();
        (health.state, health.lag_ms, health.waiting_bytes) == (StorageState::Good, 0, 0)
    });
    assert_eq!(fixture.messages("r").len(), 100);
}

#[test]
fn stuck_disk_counts_as_failing() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    fixture.keep([room("r")]).expect("kept");
    let locked = lock(&scratch);
    assert!(fixture.keep(messages("r", 1, 1, BEGINNING)).is_err());
    fixture.wait_for_state(StorageState::Failing);
    drop(locked);
    fixture.wait_for_state(StorageState::Good);
    fixture.keep(messages("r", 1, 1, BEGINNING)).expect("kept");
}

#[test]
fn refusal_ends_the_run_of_its_sender_only() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    fixture.keep([room("a"), room("b")]).expect("kept");
    let locked = lock(&scratch);
    fixture.submit_as(1, messages("a", 1, 2, BEGINNING));
    fixture.submit_as(2, messages("b", 1, 1, BEGINNING));
    // There is no third message, so this does not follow; what comes after would, but was sent in the same belief.
    fixture.submit_as(1, [room("unseen"), sent(message("a", 4, BEGINNING))]);
    fixture.submit_as(1, messages("a", 3, 3, BEGINNING));
    fixture.submit_as(2, messages("b", 2, 2, BEGINNING));
    drop(locked);
    let receipts: Vec<_> = (0..5).map(|_| fixture.receipt()).collect();
    assert_eq!(receipts.iter().map(|it| it.ticket.number).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    assert_eq!(receipts.iter().map(|it| it.outcome.is_ok()).collect::<Vec<_>>(), [true, true, false, false, true]);
    assert!(matches!(
        fixture.ask(StorageQuery::Room { room: "unseen".into() }),
        Ok(switchboard::message::storage::StorageReply::Room(None))
    ));
    assert_eq!((fixture.messages("a").len(), fixture.messages("b").len()), (2, 2));
    fixture.submit_as(1, messages("a", 3, 3, BEGINNING));
    assert!(fixture.receipt().outcome.is_ok(), "in its next run the sender is heard again");
    assert_eq!(fixture.health().state, StorageState::Good, "a sender's mistake is no fault of the disk");
}

#[test]
fn contradicting_batch_is_refused() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    fixture.keep([room("r")].into_iter().chain(messages("r", 1, 3, BEGINNING))).expect("kept");
    let mut nameless = message("r", 4, BEGINNING);
    nameless.seq = None;
    let mut twice = message("r", 4, BEGINNING);
    twice.id = message("r", 3, BEGINNING).id;
    for wrong in [
        room("r"),
        sent(message("r", 3, BEGINNING)),
        sent(message("r", 5, BEGINNING)),
        sent(message("nowhere", 1, BEGINNING)),
        sent(nameless),
        sent(twice),
    ] {
        assert!(fixture.keep([wrong.clone()]).is_err(), "{wrong:?}");
    }
    fixture.keep(messages("r", 4, 4, BEGINNING)).expect("kept");
    assert_eq!(fixture.messages("r").len(), 4);
}

#[test]
fn batches_beyond_the_queue_limit_are_refused_in_order() {
    for durability in [Durability::Process, Durability::None] {
        let (scratch, time) = (Scratch::new(), ManualClock::new());
        let mut fixture = StorageFixture::open(StorageOptions { durability, ..options(&scratch.0, &time) });
        fixture.keep([room("r")]).expect("kept");
        wait_until("all is written", || fixture.health().waiting_bytes == 0);
        let locked = lock(&scratch);
        let large = |seq| {
            let mut large = message("r", seq, BEGINNING);
            large.content.body = format!("\"{}\"", "x".repeat(100_000)).into();
            sent(large)
        };
        let batches = 900;
        for seq in 1..=batches {
            fixture.submit([large(seq)]);
        }
        assert!(fixture.health().waiting_bytes <= 64 << 20);
        drop(locked);
        let mut receipts: Vec<_> = (0..batches).map(|_| fixture.receipt()).collect();
        // With `none` a refusal does not wait for the batches before it.
        receipts.sort_by_key(|receipt| receipt.ticket.number);
        let outcomes: Vec<bool> = receipts.iter().map(|receipt| receipt.outcome.is_ok()).collect();
        let kept = outcomes.iter().take_while(|is_kept| **is_kept).count();
        assert!((500..800).contains(&kept), "{kept}");
        assert!(outcomes[kept..].iter().all(|is_kept| !is_kept), "what came after the first refusal was kept");
        fixture.keep(messages("r", kept as u64 + 1, kept as u64 + 1, BEGINNING)).expect("kept");
        assert_eq!(fixture.messages("r").len(), kept + 1);
    }
}

#[test]
fn durability_none_beyond_its_memory_acknowledges_in_order_after_the_commit() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture =
        StorageFixture::open(StorageOptions { durability: Durability::None, ..options(&scratch.0, &time) });
    fixture.keep([room("r")]).expect("kept");
    wait_until("all is written", || fixture.health().waiting_bytes == 0);
    let locked = lock(&scratch);
    let batches = 300;
    for seq in 1..=batches {
        let mut large = message("r", seq, BEGINNING);
        large.content.body = format!("\"{}\"", "x".repeat(100_000)).into();
        fixture.submit([sent(large)]);
    }
    // Those that come at once are there when `submit` returns.
    let at_once = fixture.events_so_far();
    assert!((140..200).contains(&at_once), "{at_once} receipts before any commit");
    drop(locked);
    let receipts: Vec<_> = (0..batches).map(|_| fixture.receipt()).collect();
    assert!(receipts.iter().all(|receipt| receipt.outcome.is_ok()));
    assert!(receipts.is_sorted_by_key(|receipt| receipt.ticket.number), "receipts do not overtake each other");
    let locked = lock(&scratch);
    fixture.keep(messages("r", batches + 1, batches + 1, BEGINNING)).expect("acknowledged at once again");
    drop(locked);
}

#[test]
fn durability_none_acknowledges_at_once_and_queries_see_it() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture =
        StorageFixture::open(StorageOptions { durability: Durability::None, ..options(&scratch.0, &time) });
    let locked = lock(&scratch);
    fixture.keep([room("r")]).expect("acknowledged");
    for seq in 1..=100 {
        fixture.keep(messages("r", seq, seq, BEGINNING)).expect("acknowledged");
    }
    drop(locked);
    assert_eq!(fixture.page("r", MessageSpan::Newest, 500).messages.len(), 100);
    fixture.close();
    assert_eq!(StorageFixture::open(options(&scratch.0, &time)).messages("r").len(), 100);
}
