//! Pages of a room's log.

use switchboard::domain::record::Record;
use switchboard::message::storage::{MessagePage, MessageSpan, StorageQuery, StorageReply};

use crate::shelf::{BEGINNING, Scratch, Shelf, Time, direct, message, messages, options, room, sent};

fn numbers(page: &MessagePage) -> Vec<u64> {
    page.messages.iter().map(|message| message.seq.expect("a place")).collect()
}

#[test]
fn a_page_is_what_was_asked_for_and_says_whether_that_is_all() {
    let (scratch, time) = (Scratch::new(), Time::new());
    let mut shelf = Shelf::open(options(&scratch.0, &time));
    shelf.keep([room("r"), room("other"), room("empty")]).expect("kept");
    shelf.keep(messages("r", 1, 1_000, BEGINNING)).expect("kept");
    shelf.keep(messages("other", 1, 10, BEGINNING)).expect("kept");
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
        let page = shelf.page("r", span, limit);
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
        let page = shelf.page("r", span, 50);
        assert_eq!((numbers(&page), page.complete), (vec![], true), "{span:?}");
    }
    let empty = shelf.page("empty", MessageSpan::Newest, 50);
    assert_eq!((numbers(&empty), empty.complete, empty.first, empty.last), (vec![], true, 1, 0));
    assert_eq!(numbers(&shelf.page("r", MessageSpan::Newest, 0)), [0u64; 0]);
}

#[test]
fn large_messages_make_short_pages() {
    let (scratch, time) = (Scratch::new(), Time::new());
    let mut shelf = Shelf::open(options(&scratch.0, &time));
    shelf.keep([room("r")]).expect("kept");
    for seq in 1..=200 {
        let mut large = message("r", seq, BEGINNING);
        large.content.body = format!("\"{}\"", "x".repeat(16 << 10)).into();
        shelf.keep([sent(large)]).expect("kept");
    }
    let page = shelf.page("r", MessageSpan::After(0), 500);
    assert!((60..80).contains(&page.messages.len()) && !page.complete, "{}", page.messages.len());
    let page = shelf.page("r", MessageSpan::Newest, 500);
    assert!(page.covers(150, 200) && !page.complete);
    assert_eq!(shelf.messages("r").len(), 200);
}

#[test]
fn messages_that_wait_come_oldest_first_and_leave_one_by_one() {
    let (scratch, time) = (Scratch::new(), Time::new());
    let mut shelf = Shelf::open(options(&scratch.0, &time));
    let keep = |n| Record::DirectKept { user: "ann".into(), direct: direct(n, BEGINNING).into() };
    shelf.keep((0..30).map(|n| keep(1_000 - n))).expect("kept");
    let mut waiting = |limit| match shelf.ask(StorageQuery::Directs { user: "ann".into(), limit }) {
        Ok(StorageReply::Directs { directs, complete }) => {
            (directs.iter().map(|direct| direct.id.as_u128()).collect::<Vec<_>>(), complete)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(waiting(30), ((971..=1_000).rev().collect(), true));
    assert_eq!(waiting(2), (vec![1_000, 999], false));
    let id = uuid::Uuid::from_u128(1_000);
    shelf.keep([Record::DirectDelivered { user: "ann".into(), id }]).expect("kept");
    assert!(matches!(
        shelf.ask(StorageQuery::Directs { user: "ann".into(), limit: 500 }),
        Ok(StorageReply::Directs { directs, complete: true }) if directs.len() == 29 && directs[0].id.as_u128() == 999
    ));
}
