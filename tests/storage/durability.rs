//! Receipts: when they come, what a refusal entails, and what becomes of too much at once.

use std::time::Duration;

use rusqlite::Connection;
use switchboard::message::storage::{MessageSpan, StorageQuery, StorageState};
use switchboard::runtime::storage::{Durability, StorageOptions};

use crate::shelf::{BEGINNING, Scratch, Shelf, Time, message, messages, options, room, sent, wait_until};

/// Keeps others from writing until it is dropped.
fn lock(scratch: &Scratch) -> Connection {
    let connection = Connection::open(scratch.database()).expect("a database");
    connection.busy_timeout(Duration::from_secs(60)).expect("patience");
    connection.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    connection
}

#[test]
fn a_slow_disk_makes_late_receipts_and_shows_in_the_lag() {
    let (scratch, time) = (Scratch::new(), Time::new());
    let mut shelf = Shelf::open(options(&scratch.0, &time));
    shelf.keep([room("r")]).expect("kept");
    let locked = lock(&scratch);
    for seq in 1..=100 {
        shelf.submit(messages("r", seq, seq, BEGINNING));
    }
    wait_until("the lag shows", || shelf.health().lag_ms >= 50);
    assert!(shelf.health().waiting_bytes > 0);
    assert_eq!(shelf.page("r", MessageSpan::Newest, 500).last, 0, "reading goes on");
    drop(locked);
    for _ in 0..100 {
        assert!(shelf.receipt().outcome.is_ok());
    }
    let health = shelf.health();
    assert_eq!((health.state, health.lag_ms, health.waiting_bytes), (StorageState::Good, 0, 0));
    assert_eq!(shelf.messages("r").len(), 100);
}

#[test]
fn a_disk_that_is_stuck_for_too_long_counts_as_failing() {
    let (scratch, time) = (Scratch::new(), Time::new());
    let mut shelf = Shelf::open(options(&scratch.0, &time));
    shelf.keep([room("r")]).expect("kept");
    let locked = lock(&scratch);
    assert!(shelf.keep(messages("r", 1, 1, BEGINNING)).is_err());
    shelf.wait_for_state(StorageState::Failing);
    drop(locked);
    shelf.wait_for_state(StorageState::Good);
    shelf.keep(messages("r", 1, 1, BEGINNING)).expect("kept");
}

#[test]
fn a_refusal_ends_its_senders_run_and_nobody_elses() {
    let (scratch, time) = (Scratch::new(), Time::new());
    let mut shelf = Shelf::open(options(&scratch.0, &time));
    shelf.keep([room("a"), room("b")]).expect("kept");
    let locked = lock(&scratch);
    shelf.submit_as(1, messages("a", 1, 2, BEGINNING));
    shelf.submit_as(2, messages("b", 1, 1, BEGINNING));
    // There is no third message, so this does not follow; what comes after would, but was sent in the same belief.
    shelf.submit_as(1, [room("unseen"), sent(message("a", 4, BEGINNING))]);
    shelf.submit_as(1, messages("a", 3, 3, BEGINNING));
    shelf.submit_as(2, messages("b", 2, 2, BEGINNING));
    drop(locked);
    let receipts: Vec<_> = (0..5).map(|_| shelf.receipt()).collect();
    assert_eq!(receipts.iter().map(|it| it.ticket.number).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    assert_eq!(receipts.iter().map(|it| it.outcome.is_ok()).collect::<Vec<_>>(), [true, true, false, false, true]);
    assert!(matches!(
        shelf.ask(StorageQuery::Room { room: "unseen".into() }),
        Ok(switchboard::message::storage::StorageReply::Room(None))
    ));
    assert_eq!((shelf.messages("a").len(), shelf.messages("b").len()), (2, 2));
    shelf.submit_as(1, messages("a", 3, 3, BEGINNING));
    assert!(shelf.receipt().outcome.is_ok(), "in its next run the sender is heard again");
    assert_eq!(shelf.health().state, StorageState::Good, "a sender's mistake is no fault of the disk");
}

#[test]
fn what_contradicts_the_log_is_refused() {
    let (scratch, time) = (Scratch::new(), Time::new());
    let mut shelf = Shelf::open(options(&scratch.0, &time));
    shelf.keep([room("r")].into_iter().chain(messages("r", 1, 3, BEGINNING))).expect("kept");
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
        assert!(shelf.keep([wrong.clone()]).is_err(), "{wrong:?}");
    }
    shelf.keep(messages("r", 4, 4, BEGINNING)).expect("kept");
    assert_eq!(shelf.messages("r").len(), 4);
}

#[test]
fn more_than_may_wait_is_refused_at_once_and_in_order() {
    for durability in [Durability::Process, Durability::None] {
        let (scratch, time) = (Scratch::new(), Time::new());
        let mut shelf = Shelf::open(StorageOptions { durability, ..options(&scratch.0, &time) });
        shelf.keep([room("r")]).expect("kept");
        wait_until("all is written", || shelf.health().waiting_bytes == 0);
        let locked = lock(&scratch);
        let large = |seq| {
            let mut large = message("r", seq, BEGINNING);
            large.content.body = format!("\"{}\"", "x".repeat(100_000)).into();
            sent(large)
        };
        let batches = 900;
        for seq in 1..=batches {
            shelf.submit([large(seq)]);
        }
        assert!(shelf.health().waiting_bytes <= 64 << 20);
        drop(locked);
        let outcomes: Vec<bool> = (0..batches).map(|_| shelf.receipt().outcome.is_ok()).collect();
        let kept = outcomes.iter().take_while(|is_kept| **is_kept).count();
        assert!((500..800).contains(&kept), "{kept}");
        assert!(outcomes[kept..].iter().all(|is_kept| !is_kept), "what came after the first refusal was kept");
        shelf.keep(messages("r", kept as u64 + 1, kept as u64 + 1, BEGINNING)).expect("kept");
        assert_eq!(shelf.messages("r").len(), kept + 1);
    }
}

#[test]
fn with_none_receipts_do_not_wait_and_answers_know_what_they_promised() {
    let (scratch, time) = (Scratch::new(), Time::new());
    let mut shelf = Shelf::open(StorageOptions { durability: Durability::None, ..options(&scratch.0, &time) });
    let locked = lock(&scratch);
    shelf.keep([room("r")]).expect("acknowledged");
    for seq in 1..=100 {
        shelf.keep(messages("r", seq, seq, BEGINNING)).expect("acknowledged");
    }
    drop(locked);
    assert_eq!(shelf.page("r", MessageSpan::Newest, 500).messages.len(), 100);
    shelf.close();
    assert_eq!(Shelf::open(options(&scratch.0, &time)).messages("r").len(), 100);
}
