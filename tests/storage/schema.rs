//! Files of other versions, and of other programs.

use std::fs;

use rusqlite::Connection;
use switchboard::domain::record::{Record, TokenHash};
use switchboard::message::storage::{StorageQuery, StorageReply};
use switchboard::runtime::storage::OnDamage;
use switchboard::runtime::storage::StorageOptions;

use crate::fixture::{BEGINNING, ManualClock, Scratch, StorageFixture, direct, messages, options, room, session, told};

/// A database of version 1 as a server of that time left it, with a room, two messages and a receipt.
const VERSION_1: &str = include_str!("version_1.sql");

#[test]
fn open_of_an_older_version_migrates_it() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    fs::create_dir_all(&scratch.0).expect("a directory");
    Connection::open(scratch.database()).expect("a database").execute_batch(VERSION_1).expect("the old tables");
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    assert_eq!(fixture.report.migrated_from, Some(1));
    assert!(!fixture.report.is_new);
    let room = &fixture.rooms[0];
    assert_eq!((&*room.made.room, &*room.made.epoch, room.first, room.last), ("attic", "old-epoch", 3, 4));
    let profile = room.made.profile.as_deref().expect("a profile");
    assert_eq!((profile.name.as_deref(), profile.is_private), (Some("The attic"), true));
    assert_eq!(profile.participants, ["ada", "bob"].map(std::sync::Arc::<str>::from));
    let log: Vec<_> = fixture.messages("attic").iter().map(|it| (it.seq, it.content.body.clone())).collect();
    assert_eq!(log, [(Some(3), "\"third\"".into()), (Some(4), "\"fourth\"".into())]);
    let id = fixture.messages("attic")[0].id;
    let Ok(StorageReply::Message(Some(view))) = fixture.ask(StorageQuery::Message { id }) else { panic!("it is lost") };
    assert_eq!((view.message.sender.username(), view.read.len()), ("Ada Lovelace", 1));
    assert_eq!(view.message.display_name, None, "version 1 stored no name to show");

    // What version 1 had no tables for is kept now.
    let waiting = Record::DirectKept { user: "bob".into(), direct: direct(1, BEGINNING).into() };
    fixture.keep([waiting, Record::SessionKept(Box::new(session(1, "bob", None)))]).expect("kept");
    let token = TokenHash([1; 32]);
    assert!(matches!(fixture.ask(StorageQuery::Session { token }), Ok(StorageReply::Session(Some(_)))));
    fixture.close();
    assert_eq!(StorageFixture::open(options(&scratch.0, &time)).report.migrated_from, None);
}

#[test]
fn open_of_the_present_version_changes_no_table() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    assert!(fixture.report.is_new);
    fixture.keep([room("r")].into_iter().chain(messages("r", 1, 3, BEGINNING))).expect("kept");
    let before: Vec<String> = fixture.messages("r").iter().map(told).collect();
    fixture.close();
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    assert_eq!(fixture.report, switchboard::runtime::storage::Report::default());
    assert_eq!(fixture.messages("r").iter().map(told).collect::<Vec<_>>(), before);
}

#[test]
fn open_refuses_later_versions_and_foreign_files() {
    let newer = "has version 99, this program knows versions up to 14: it was written by a later version of Switchboard; \
                 run that one, or give this one another data_dir";
    for (pragma, expected) in [
        ("PRAGMA user_version = 99", newer),
        ("PRAGMA application_id = 77", "is a database of another program; give another data_dir"),
    ] {
        // Not even with leave to begin anew: neither file is damaged.
        for on_damage in [OnDamage::Stop, OnDamage::SetAside] {
            let (scratch, time) = (Scratch::new(), ManualClock::new());
            StorageFixture::open(options(&scratch.0, &time)).close();
            Connection::open(scratch.database()).expect("a database").execute_batch(pragma).expect("the mark");
            let before = fs::read(scratch.database()).expect("a file");
            let error = StorageFixture::try_open(StorageOptions { on_damage, ..options(&scratch.0, &time) })
                .err()
                .expect("a refusal");
            let file = scratch.0.canonicalize().expect("a path").join("store.db");
            assert_eq!(error.to_string(), format!("{} {expected}", file.display()));
            assert!(fs::read(scratch.database()).expect("a file") == before, "the file was changed");
        }
    }
}
