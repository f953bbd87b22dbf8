//! What is kept no longer goes, by itself, and nothing else does.

use std::sync::Arc;

use rusqlite::Connection;
use switchboard::domain::command::{ReceiptKind, Status};
use switchboard::domain::op::Profile;
use switchboard::domain::record::{Record, Retention, Seen};
use switchboard::message::storage::{MessageSpan, StorageQuery, StorageReply};
use switchboard::runtime::storage::{MemoryBounds, StorageLocation, StorageOptions};

use crate::fixture::{
    BEGINNING, ManualClock, Scratch, StorageFixture, direct, made, message, messages, options, person, room, session,
    wait_until,
};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

fn count(scratch: &Scratch, table: &str) -> i64 {
    let connection = Connection::open(scratch.database()).expect("a database");
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("a count")
}

/// Waits until the room's oldest message is this one.
fn wait_for_first(fixture: &mut StorageFixture, room: &str, first: u64) {
    wait_until(&format!("{room} begins at {first}"), || fixture.page(room, MessageSpan::After(0), 1).first == first);
}

#[test]
fn sweep_trims_rooms_to_their_count_and_age() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture =
        StorageFixture::open(StorageOptions { keep_messages: 500, keep_ms: 10 * DAY_MS, ..options(&scratch.0, &time) });
    let terms = |messages, age_ms| Retention { messages, age_ms };
    let rooms = [
        made("usual", None, terms(None, None)),
        made("short", None, terms(Some(100), None)),
        made("brief", None, terms(Some(0), Some(HOUR_MS))),
        made("lasting", None, terms(Some(0), Some(0))),
    ];
    fixture.keep(rooms).expect("kept");
    for room in ["usual", "short", "brief", "lasting"] {
        fixture.keep(messages(room, 1, 700, BEGINNING)).expect("kept");
        fixture.keep(messages(room, 701, 710, BEGINNING + HOUR_MS)).expect("kept");
    }
    time.pass(HOUR_MS + 1);
    wait_for_first(&mut fixture, "usual", 211);
    wait_for_first(&mut fixture, "short", 611);
    wait_for_first(&mut fixture, "brief", 701);
    assert_eq!(fixture.page("short", MessageSpan::Newest, 500).messages.len(), 100);

    time.pass(HOUR_MS);
    wait_for_first(&mut fixture, "brief", 711);
    // A room of which nothing is left goes on counting.
    fixture.keep(messages("brief", 711, 711, time.now())).expect("kept");
    time.pass(10 * DAY_MS);
    for (room, first) in [("usual", 711), ("short", 711), ("brief", 712)] {
        wait_for_first(&mut fixture, room, first);
    }
    assert_eq!(fixture.messages("lasting").len(), 710);
    fixture.close();

    let fixture = StorageFixture::open(options(&scratch.0, &time));
    let places: Vec<_> = fixture.rooms.iter().map(|room| (&*room.made.room, room.first, room.last)).collect();
    assert_eq!(places, [("usual", 711, 710), ("short", 711, 710), ("brief", 712, 711), ("lasting", 1, 710)]);
}

#[test]
fn room_without_messages_is_reported_to_its_owner() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(StorageOptions { keep_ms: DAY_MS, ..options(&scratch.0, &time) });
    let own = made("on purpose", Some(Profile::default()), Retention::default());
    fixture.keep([room("new"), room("old"), own]).expect("kept");
    for name in ["old", "on purpose"] {
        fixture.keep(messages(name, 1, 10, BEGINNING)).expect("kept");
    }
    time.pass(DAY_MS + 1);
    fixture.keep(messages("new", 1, 1, time.now())).expect("kept");
    wait_for_first(&mut fixture, "old", 11);
    wait_for_first(&mut fixture, "on purpose", 11);
    // The next sweep finds it.
    time.pass(60_001);
    assert_eq!(&*fixture.expired_room(), "old");
    fixture.keep([Record::RoomClosed { room: "old".into() }]).expect("kept");
    time.pass(60_001);
    wait_until("the room is deleted", || count(&scratch, "room") == 2);
}

#[test]
fn store_in_memory_keeps_its_bounds_under_load() {
    for memory in [
        MemoryBounds { bytes: 2_000_000, ..MemoryBounds::default() },
        MemoryBounds { messages: 5_000, ..MemoryBounds::default() },
    ] {
        let time = ManualClock::new();
        let location = StorageLocation::Memory;
        let mut fixture = StorageFixture::open(StorageOptions { location, memory, ..options("".as_ref(), &time) });
        let names: Vec<String> = (0..100).map(|number| format!("room {number}")).collect();
        for name in &names {
            fixture.keep([room(name)]).expect("kept");
            // Each of about 300 bytes with its row. The clock stands still: no sweep is due.
            fixture.keep(messages(name, 1, 500, time.now())).expect("kept");
        }
        let kept: usize = names.iter().map(|name| fixture.messages(name).len()).sum();
        assert!((4_000..=10_000).contains(&kept), "{kept} messages, {memory:?}");
        let pages: Vec<_> = names.iter().map(|name| fixture.page(name, MessageSpan::Newest, 1)).collect();
        assert!(pages.iter().all(|page| page.last == 500), "rooms go on counting");
        assert_eq!(fixture.messages("room 99").len(), 500, "the newest stay");
        // The rooms without messages are reported.
        time.pass(60_001);
        assert_eq!(&*fixture.expired_room(), "room 0");
    }
}

#[test]
fn store_in_memory_forgets_one_time_users_without_messages() {
    let time = ManualClock::new();
    let memory = MemoryBounds { users: 100, ..MemoryBounds::default() };
    let location = StorageLocation::Memory;
    let mut fixture = StorageFixture::open(StorageOptions { location, memory, ..options("".as_ref(), &time) });
    fixture.keep([room("tea")]).expect("kept");
    let seen =
        |name: String, at| Record::UserSeen(Box::new(Seen { identity: person(&name), status: Status::Online, at }));
    fixture.keep((0..500).map(|number| seen(format!("user-{number}"), time.now()))).expect("kept");
    time.pass(120_000);
    fixture.keep(messages("tea", 1, 1, time.now())).expect("kept");
    time.pass(60_001);
    fixture.keep((0..50).map(|number| seen(format!("late-{number}"), time.now()))).expect("kept");
    let mut is_known = |user: &str| match fixture.ask(StorageQuery::User { user: user.into() }) {
        Ok(StorageReply::User(user)) => user.is_some(),
        other => panic!("{other:?}"),
    };
    wait_until("the oldest users are forgotten", || !is_known("user-400") && !is_known("user-0"));
    assert!(is_known("late-0"));
    assert_eq!(fixture.messages("tea").len(), 1, "a message keeps its sender");
}

#[test]
fn sweep_deletes_dependent_rows() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(StorageOptions { keep_messages: 1, ..options(&scratch.0, &time) });
    fixture.keep([room("r"), room("closed")]).expect("kept");
    fixture.keep(messages("r", 1, 2, BEGINNING).chain(messages("closed", 1, 1, BEGINNING))).expect("kept");
    let mark = |room, seq, user: u32| Record::MessageMarked {
        message: message(room, seq, BEGINNING).id,
        user: format!("user {user}").into(),
        mark: ReceiptKind::Read,
        at: BEGINNING,
    };
    fixture.keep((0..200).flat_map(|n| [mark("r", 1, n), mark("r", 2, n), mark("closed", 1, n)])).expect("kept");
    fixture.keep([Record::RoomClosed { room: "closed".into() }]).expect("kept");
    time.pass(HOUR_MS);
    wait_for_first(&mut fixture, "r", 2);
    wait_until("the closed room is gone", || count(&scratch, "room") == 1);
    assert_eq!((count(&scratch, "message"), count(&scratch, "receipt")), (1, 200));
    let Ok(StorageReply::Message(Some(view))) =
        fixture.ask(StorageQuery::Message { id: message("r", 2, BEGINNING).id })
    else {
        panic!("the message is lost")
    };
    assert_eq!((view.read.len(), view.complete), (200, true));
}

#[test]
fn sweep_deletes_expired_sessions_directs_and_users() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture =
        StorageFixture::open(StorageOptions { keep_messages: 5, keep_ms: 10 * DAY_MS, ..options(&scratch.0, &time) });
    let keep = |user: &str, n| Record::DirectKept { user: user.into(), direct: Arc::new(direct(n, BEGINNING)) };
    fixture.keep((0..100).map(|n| keep("many", n)).chain([keep("few", 1_000)])).expect("kept");
    fixture.keep((0..100).map(|n| Record::SessionKept(Box::new(session(n, "u", Some(BEGINNING + 1)))))).expect("kept");
    fixture.keep([Record::SessionKept(Box::new(session(200, "u", None)))]).expect("kept");
    let seen = |user, at| Record::UserSeen(Box::new(Seen { identity: person(user), status: Status::Away, at }));
    fixture.keep([seen("seen once", BEGINNING), seen("seen again", BEGINNING)]).expect("kept");
    fixture.keep([room("r")].into_iter().chain(messages("r", 1, 4, BEGINNING))).expect("kept");
    time.pass(HOUR_MS);
    wait_until("sessions end", || count(&scratch, "session") == 1);
    wait_until("too many messages waited", || count(&scratch, "direct") == 6);

    time.pass(9 * DAY_MS);
    fixture.keep([seen("seen again", time.now())]).expect("kept");
    // Whoever writes now is ann.
    fixture.keep([sent_by_ann(time.now())]).expect("kept");
    time.pass(3 * DAY_MS);
    wait_until("no message waits for ever", || count(&scratch, "direct") == 0);
    wait_for_first(&mut fixture, "r", 5);
    // An hour later everybody who is still needed is still there.
    time.pass(HOUR_MS);
    wait_until("users are forgotten", || count(&scratch, "user") == 2);
    let Ok(StorageReply::User(Some(user))) = fixture.ask(StorageQuery::User { user: "seen again".into() }) else {
        panic!("lost")
    };
    assert_eq!(user.status, Status::Away);
    assert_eq!(fixture.messages("r")[0].sender.user(), "ann");
    let late = Record::DirectKept { user: "many".into(), direct: Arc::new(direct(2_000, time.now())) };
    fixture.keep([seen("seen once", time.now()), late]).expect("who was forgotten may come again");
    assert!(matches!(
        fixture.ask(StorageQuery::Directs { user: "many".into(), limit: 5 }),
        Ok(StorageReply::Directs { directs, .. }) if directs.len() == 1
    ));
}

fn sent_by_ann(at: u64) -> Record {
    let mut last = message("r", 5, at);
    last.sender = person("ann");
    crate::fixture::sent(last)
}

#[test]
fn sweep_does_not_delay_batches() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(StorageOptions { keep_messages: 100, ..options(&scratch.0, &time) });
    fixture.keep([room("old"), room("new")]).expect("kept");
    for from in (1..50_000).step_by(1_000) {
        fixture.keep(messages("old", from, from + 999, BEGINNING)).expect("kept");
    }
    time.pass(HOUR_MS);
    // Both go on at the same time: the room is trimmed in many steps, and there are receipts between any two of them.
    let mut between = 0;
    let mut seq = 0;
    loop {
        seq += 1;
        fixture.keep(messages("new", seq, seq, time.now())).expect("kept");
        match fixture.page("old", MessageSpan::After(0), 0).first {
            1 => {}
            49_901 => break,
            _ => between += 1,
        }
        assert!(seq < 1_000_000, "the room is not trimmed");
    }
    assert!(between >= 10, "only {between} batches were kept while a room was trimmed");
}
