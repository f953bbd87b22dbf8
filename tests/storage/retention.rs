//! What is kept no longer goes, by itself, and nothing else does.

use std::sync::Arc;

use rusqlite::Connection;
use switchboard::domain::command::{ReceiptKind, Status};
use switchboard::domain::record::{Record, Retention, Seen};
use switchboard::message::storage::{MessageSpan, StorageQuery, StorageReply};
use switchboard::runtime::storage::StorageOptions;

use crate::shelf::{
    BEGINNING, Scratch, Shelf, Time, direct, made, message, messages, options, person, room, session, wait_until,
};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

fn count(scratch: &Scratch, table: &str) -> i64 {
    let connection = Connection::open(scratch.database()).expect("a database");
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("a count")
}

/// Waits until the room's oldest message is this one.
fn wait_for_first(shelf: &mut Shelf, room: &str, first: u64) {
    wait_until(&format!("{room} begins at {first}"), || shelf.page(room, MessageSpan::After(0), 1).first == first);
}

#[test]
fn a_room_keeps_so_many_messages_and_no_longer_than_it_says() {
    let (scratch, time) = (Scratch::new(), Time::new());
    let mut shelf =
        Shelf::open(StorageOptions { keep_messages: 500, keep_ms: 10 * DAY_MS, ..options(&scratch.0, &time) });
    let terms = |messages, age_ms| Retention { messages, age_ms };
    let rooms = [
        made("usual", None, terms(None, None)),
        made("short", None, terms(Some(100), None)),
        made("brief", None, terms(Some(0), Some(HOUR_MS))),
        made("lasting", None, terms(Some(0), Some(0))),
    ];
    shelf.keep(rooms).expect("kept");
    for room in ["usual", "short", "brief", "lasting"] {
        shelf.keep(messages(room, 1, 700, BEGINNING)).expect("kept");
        shelf.keep(messages(room, 701, 710, BEGINNING + HOUR_MS)).expect("kept");
    }
    time.pass(HOUR_MS + 1);
    wait_for_first(&mut shelf, "usual", 211);
    wait_for_first(&mut shelf, "short", 611);
    wait_for_first(&mut shelf, "brief", 701);
    assert_eq!(shelf.page("short", MessageSpan::Newest, 500).messages.len(), 100);

    time.pass(HOUR_MS);
    wait_for_first(&mut shelf, "brief", 711);
    // A room of which nothing is left goes on counting.
    shelf.keep(messages("brief", 711, 711, time.now())).expect("kept");
    time.pass(10 * DAY_MS);
    for (room, first) in [("usual", 711), ("short", 711), ("brief", 712)] {
        wait_for_first(&mut shelf, room, first);
    }
    assert_eq!(shelf.messages("lasting").len(), 710);
    shelf.close();

    let shelf = Shelf::open(options(&scratch.0, &time));
    let places: Vec<_> = shelf.rooms.iter().map(|room| (&*room.made.room, room.first, room.last)).collect();
    assert_eq!(places, [("usual", 711, 710), ("short", 711, 710), ("brief", 712, 711), ("lasting", 1, 710)]);
}

#[test]
fn what_belongs_to_a_message_or_a_room_goes_with_it() {
    let (scratch, time) = (Scratch::new(), Time::new());
    let mut shelf = Shelf::open(StorageOptions { keep_messages: 1, ..options(&scratch.0, &time) });
    shelf.keep([room("r"), room("closed")]).expect("kept");
    shelf.keep(messages("r", 1, 2, BEGINNING).chain(messages("closed", 1, 1, BEGINNING))).expect("kept");
    let mark = |room, seq, user: u32| Record::MessageMarked {
        message: message(room, seq, BEGINNING).id,
        user: format!("user {user}").into(),
        mark: ReceiptKind::Read,
        at: BEGINNING,
    };
    shelf.keep((0..200).flat_map(|n| [mark("r", 1, n), mark("r", 2, n), mark("closed", 1, n)])).expect("kept");
    shelf.keep([Record::RoomClosed { room: "closed".into() }]).expect("kept");
    time.pass(HOUR_MS);
    wait_for_first(&mut shelf, "r", 2);
    wait_until("the closed room is gone", || count(&scratch, "room") == 1);
    assert_eq!((count(&scratch, "message"), count(&scratch, "receipt")), (1, 200));
    let Ok(StorageReply::Message(Some(view))) = shelf.ask(StorageQuery::Message { id: message("r", 2, BEGINNING).id })
    else {
        panic!("the message is lost")
    };
    assert_eq!((view.read.len(), view.complete), (200, true));
}

#[test]
fn sessions_messages_that_wait_and_users_go_when_their_time_is_over() {
    let (scratch, time) = (Scratch::new(), Time::new());
    let mut shelf =
        Shelf::open(StorageOptions { keep_messages: 5, keep_ms: 10 * DAY_MS, ..options(&scratch.0, &time) });
    let keep = |user: &str, n| Record::DirectKept { user: user.into(), direct: Arc::new(direct(n, BEGINNING)) };
    shelf.keep((0..100).map(|n| keep("many", n)).chain([keep("few", 1_000)])).expect("kept");
    shelf.keep((0..100).map(|n| Record::SessionKept(Box::new(session(n, "u", Some(BEGINNING + 1)))))).expect("kept");
    shelf.keep([Record::SessionKept(Box::new(session(200, "u", None)))]).expect("kept");
    let seen = |user, at| Record::UserSeen(Box::new(Seen { identity: person(user), status: Status::Away, at }));
    shelf.keep([seen("seen once", BEGINNING), seen("seen again", BEGINNING)]).expect("kept");
    shelf.keep([room("r")].into_iter().chain(messages("r", 1, 4, BEGINNING))).expect("kept");
    time.pass(HOUR_MS);
    wait_until("sessions end", || count(&scratch, "session") == 1);
    wait_until("too many messages waited", || count(&scratch, "direct") == 6);

    time.pass(9 * DAY_MS);
    shelf.keep([seen("seen again", time.now())]).expect("kept");
    // Whoever writes now is ann.
    shelf.keep([sent_by_ann(time.now())]).expect("kept");
    time.pass(3 * DAY_MS);
    wait_until("no message waits for ever", || count(&scratch, "direct") == 0);
    wait_for_first(&mut shelf, "r", 5);
    // An hour later everybody who is still needed is still there.
    time.pass(HOUR_MS);
    wait_until("users are forgotten", || count(&scratch, "user") == 2);
    let Ok(StorageReply::User(Some(user))) = shelf.ask(StorageQuery::User { user: "seen again".into() }) else {
        panic!("lost")
    };
    assert_eq!(user.status, Status::Away);
    assert_eq!(shelf.messages("r")[0].sender.user(), "ann");
    let late = Record::DirectKept { user: "many".into(), direct: Arc::new(direct(2_000, time.now())) };
    shelf.keep([seen("seen once", time.now()), late]).expect("who was forgotten may come again");
    assert!(matches!(
        shelf.ask(StorageQuery::Directs { user: "many".into(), limit: 5 }),
        Ok(StorageReply::Directs { directs, .. }) if directs.len() == 1
    ));
}

fn sent_by_ann(at: u64) -> Record {
    let mut last = message("r", 5, at);
    last.sender = person("ann");
    crate::shelf::sent(last)
}

#[test]
fn batches_are_not_kept_waiting_by_what_is_deleted() {
    let (scratch, time) = (Scratch::new(), Time::new());
    let mut shelf = Shelf::open(StorageOptions { keep_messages: 100, ..options(&scratch.0, &time) });
    shelf.keep([room("old"), room("new")]).expect("kept");
    for from in (1..50_000).step_by(1_000) {
        shelf.keep(messages("old", from, from + 999, BEGINNING)).expect("kept");
    }
    time.pass(HOUR_MS);
    // Both go on at the same time: the room is trimmed in many steps, and there are receipts between any two of them.
    let mut between = 0;
    let mut seq = 0;
    loop {
        seq += 1;
        shelf.keep(messages("new", seq, seq, time.now())).expect("kept");
        match shelf.page("old", MessageSpan::After(0), 0).first {
            1 => {}
            49_901 => break,
            _ => between += 1,
        }
        assert!(seq < 1_000_000, "the room is not trimmed");
    }
    assert!(between >= 10, "only {between} batches were kept while a room was trimmed");
}
