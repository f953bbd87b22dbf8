//! Pages of a room's log.

use switchboard::domain::op::PushResult;
use switchboard::domain::record::{KeptPush, Record};
use switchboard::message::storage::{MessagePage, MessageSpan, StorageQuery, StorageReply};

use crate::fixture::{BEGINNING, ManualClock, Scratch, StorageFixture, direct, message, messages, options, room, sent};

fn numbers(page: &MessagePage) -> Vec<u64> {
    page.messages.iter().map(|message| message.seq.expect("a place")).collect()
}

#[test]
fn page_has_the_requested_span_and_completeness() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    fixture.keep([room("r"), room("other"), room("empty")]).expect("kept");
    fixture.keep(messages("r", 1, 1_000, BEGINNING)).expect("kept");
    fixture.keep(messages("other", 1, 10, BEGINNING)).expect("kept");
    for (span, limit, expected, complete) in [
        (MessageSpan::Newest, 50, 951..=1_000, false),
        (MessageSpan::After(0), 10, 1..=10, false),
        (MessageSpan::After(990), 10, 991..=1_000, true),
        (MessageSpan::After(990), 50, 991..=1_000, true),
        (MessageSpan::After(990), 9, 991..=999, false),
        (MessageSpan::Before(11), 10, 1..=10, true),
        (MessageSpan::Before(500), 3, 497..=499, false),
        (MessageSpan::Before(5_000), 2, 999..=1_000, false),
        (MessageSpan::Between(3, 7), 500, 3..=7, true),
        (MessageSpan::Between(3, 7), 4, 3..=6, false),
        (MessageSpan::Between(999, 2_000), 500, 999..=1_000, true),
        (MessageSpan::After(0), usize::MAX, 1..=500, false),
    ] {
        let page = fixture.page("r", span, limit);
        assert_eq!(numbers(&page), expected.clone().collect::<Vec<_>>(), "{span:?} {limit}");
        assert_eq!((page.complete, page.first, page.last), (complete, 1, 1_000), "{span:?} {limit}");
        assert!(page.covers(*expected.start(), *expected.end()));
        assert!(!page.covers(*expected.start(), *expected.end() + 1));
        assert_eq!(&*page.epoch, "epoch");
    }
    for span in [
        MessageSpan::After(1_000),
        MessageSpan::After(u64::MAX),
        MessageSpan::Before(1),
        MessageSpan::Before(0),
        MessageSpan::Between(9, 3),
    ] {
        let page = fixture.page("r", span, 50);
        assert_eq!((numbers(&page), page.complete), (vec![], true), "{span:?}");
    }
    let empty = fixture.page("empty", MessageSpan::Newest, 50);
    assert_eq!((numbers(&empty), empty.complete, empty.first, empty.last), (vec![], true, 1, 0));
    assert_eq!(numbers(&fixture.page("r", MessageSpan::Newest, 0)), [0u64; 0]);
}

#[test]
fn large_messages_shorten_pages() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    fixture.keep([room("r")]).expect("kept");
    for seq in 1..=200 {
        let mut large = message("r", seq, BEGINNING);
        large.content.body = format!("\"{}\"", "x".repeat(16 << 10)).into();
        fixture.keep([sent(large)]).expect("kept");
    }
    let page = fixture.page("r", MessageSpan::After(0), 500);
    assert!((12..20).contains(&page.messages.len()) && !page.complete, "{}", page.messages.len());
    let page = fixture.page("r", MessageSpan::Newest, 500);
    assert!(page.covers(190, 200) && !page.complete);
    assert_eq!(fixture.messages("r").len(), 200);
}

#[test]
fn directs_are_listed_oldest_first_and_deleted_singly() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    let keep = |n| Record::DirectKept { user: "ann".into(), direct: direct(n, BEGINNING).into() };
    fixture.keep((0..30).map(|n| keep(1_000 - n))).expect("kept");
    let mut waiting = |limit| match fixture.ask(StorageQuery::Directs { user: "ann".into(), limit }) {
        Ok(StorageReply::Directs { directs, complete }) => {
            (directs.iter().map(|direct| direct.id.as_u128()).collect::<Vec<_>>(), complete)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(waiting(30), ((971..=1_000).rev().collect(), true));
    assert_eq!(waiting(2), (vec![1_000, 999], false));
    let id = uuid::Uuid::from_u128(1_000);
    fixture.keep([Record::DirectDelivered { user: "ann".into(), id }]).expect("kept");
    assert!(matches!(
        fixture.ask(StorageQuery::Directs { user: "ann".into(), limit: 500 }),
        Ok(StorageReply::Directs { directs, complete: true }) if directs.len() == 29 && directs[0].id.as_u128() == 999
    ));
}

#[test]
fn reach_of_a_push_is_known_for_a_day() {
    const DAY_MS: u64 = 86_400_000;
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    let push = |key: &str, at, reached| {
        let result = PushResult { reached, offline: vec!["bob".into(), "a \"b\"".into()] };
        Record::PushKept(Box::new(KeptPush { sender: "desk".into(), key: key.into(), at, result }))
    };
    fixture.keep([push("k", BEGINNING, 2), push("l", BEGINNING, 3), push("k", BEGINNING, 4)]).expect("kept");
    let reached = |fixture: &mut StorageFixture, sender: &str, key: &str| match fixture
        .ask(StorageQuery::Push { sender: sender.into(), key: key.into() })
    {
        Ok(StorageReply::Push(known)) => known.map(|known| (known.reached, known.offline.len())),
        other => panic!("{other:?}"),
    };
    let known = |fixture: &mut StorageFixture| {
        [("desk", "k"), ("desk", "l"), ("desk", "m"), ("other", "k")].map(|(of, key)| reached(fixture, of, key))
    };
    assert_eq!(known(&mut fixture), [Some((4, 2)), Some((3, 2)), None, None]);
    fixture.close();
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    time.pass(DAY_MS - 1);
    assert_eq!(known(&mut fixture), [Some((4, 2)), Some((3, 2)), None, None]);
    time.pass(1);
    assert_eq!(known(&mut fixture), [None; 4]);
}
