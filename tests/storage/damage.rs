//! Damaged files, at the start and later: nothing is overwritten, nothing is made up, and a good file is good again.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use switchboard::message::storage::{MessageSpan, StorageQuery, StorageState};
use switchboard::runtime::storage::{OnDamage, OpenError, StorageOptions, open};

use crate::shelf::{BEGINNING, Scratch, Shelf, Time, messages, options, room, wait_until};

const MESSAGES: u64 = 3_000;

/// A store with some pages of messages, closed in order.
fn filled(scratch: &Scratch, time: &Time) {
    let mut shelf = Shelf::open(options(&scratch.0, time));
    shelf.keep([room("r")]).expect("kept");
    shelf.keep(messages("r", 1, MESSAGES, BEGINNING)).expect("kept");
    shelf.close();
}

/// Writes noise over the file from `from` to `to`, in bytes.
fn spoil(path: &Path, from: u64, to: u64) {
    let mut file = OpenOptions::new().write(true).open(path).expect("a file");
    file.seek(SeekFrom::Start(from)).expect("a place");
    let noise: Vec<u8> = (from..to).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    file.write_all(&noise).expect("noise");
}

/// Ways to damage a file; each is given its length.
const WAYS: [fn(&Path, u64); 5] = [
    |path, _| spoil(path, 0, 100),
    |path, length| spoil(path, 4096, length / 2),
    |path, length| spoil(path, length / 2, length),
    |path, length| File::options().write(true).open(path).expect("a file").set_len(length / 2).expect("cut short"),
    |path, _| fs::write(path, "To be, or not to be, that is the question.\n".repeat(1_000)).expect("another file"),
];

#[test]
fn a_damaged_file_is_set_aside_whole_and_a_new_one_begins() {
    for damage in WAYS {
        let (scratch, time) = (Scratch::new(), Time::new());
        filled(&scratch, &time);
        damage(&scratch.database(), fs::metadata(scratch.database()).expect("a file").len());
        let damaged = fs::read(scratch.database()).expect("a file");
        let setting = StorageOptions { on_damage: OnDamage::SetAside, ..options(&scratch.0, &time) };
        let mut shelf = Shelf::open(setting.clone());
        let aside = shelf.report.set_aside.clone().expect("it is set aside");
        assert_eq!(aside.file_name().expect("a name"), "store.db.damaged-20250615T150640Z");
        assert!(fs::read(&aside).expect("a file") == damaged, "the damaged file was changed");
        assert_eq!(shelf.rooms, []);
        shelf.keep([room("new")]).expect("kept");
        shelf.close();
        // A second time in the same second takes nothing of the first one's place.
        damage(&scratch.database(), fs::metadata(scratch.database()).expect("a file").len());
        Shelf::open(setting).close();
        assert!(fs::read(&aside).expect("a file") == damaged, "the first file was overwritten");
        let files = scratch.files();
        assert!(files.contains(&"store.db.damaged-20250615T150640Z-2".to_owned()), "{files:?}");
    }
}

#[test]
fn whoever_wants_the_server_to_stay_down_is_told_what_is_wrong_at_every_start() {
    for damage in WAYS {
        let (scratch, time) = (Scratch::new(), Time::new());
        filled(&scratch, &time);
        let good = fs::read(scratch.database()).expect("a file");
        damage(&scratch.database(), good.len() as u64);
        let (damaged, files) = (fs::read(scratch.database()).expect("a file"), scratch.files());
        for _ in 0..2 {
            let error = Shelf::try_open(options(&scratch.0, &time)).err().expect("a refusal");
            assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
            let file = scratch.0.canonicalize().expect("a path").join("store.db");
            assert!(error.to_string().starts_with(&format!("{} is damaged: ", file.display())), "{error}");
        }
        assert!(fs::read(scratch.database()).expect("a file") == damaged, "the damaged file was changed");
        let companions = |name: &String| !name.ends_with("-wal") && !name.ends_with("-shm");
        assert_eq!(scratch.files().into_iter().filter(companions).collect::<Vec<_>>(), files);
        // Put right, it is served again.
        fs::write(scratch.database(), good).expect("the good file");
        assert_eq!(Shelf::open(options(&scratch.0, &time)).messages("r").len() as u64, MESSAGES);
    }
}

#[test]
fn a_log_without_its_database_is_kept_too() {
    let (scratch, time) = (Scratch::new(), Time::new());
    fs::create_dir_all(&scratch.0).expect("a directory");
    let log = scratch.0.join("store.db-wal");
    fs::write(&log, "somebody's messages").expect("a file");
    assert!(matches!(Shelf::try_open(options(&scratch.0, &time)), Err(OpenError::Corrupt { .. })));
    let shelf = Shelf::open(StorageOptions { on_damage: OnDamage::SetAside, ..options(&scratch.0, &time) });
    let aside = shelf.report.set_aside.clone().expect("it is set aside");
    let kept = fs::read_to_string(format!("{}-wal", aside.display())).expect("the log");
    assert_eq!(kept, "somebody's messages");
}

#[test]
fn damage_that_is_met_only_while_reading_back_can_still_be_set_aside() {
    let (scratch, time) = (Scratch::new(), Time::new());
    filled(&scratch, &time);
    let setting = StorageOptions { on_damage: OnDamage::SetAside, ..options(&scratch.0, &time) };
    let opened = open(setting).expect("a store");
    let error = OpenError::Corrupt { file: scratch.database(), detail: "it was met later".to_owned() };
    let mut shelf = Shelf::start(opened.set_aside(&error).expect("a new store"));
    assert!(shelf.report.set_aside.as_ref().is_some_and(|aside| aside.exists()));
    shelf.keep([room("r")]).expect("kept");
}

#[test]
fn damage_at_run_time_refuses_until_the_file_is_good_again() {
    let (scratch, time) = (Scratch::new(), Time::new());
    filled(&scratch, &time);
    let mut shelf = Shelf::open(options(&scratch.0, &time));
    shelf.keep(messages("r", MESSAGES + 1, MESSAGES + 1, BEGINNING)).expect("kept");
    let good = fs::read(scratch.database()).expect("a file");
    spoil(&scratch.database(), 3 * 4096, good.len() as u64);
    // Whatever is asked for now is either what was kept, or nothing: never something else.
    wait_until("damage is met", || {
        let page = StorageQuery::Page { room: "r".into(), span: MessageSpan::After(0), limit: 500 };
        shelf.ask(page).is_err()
    });
    shelf.wait_for_state(StorageState::Corrupt);
    wait_until("nothing is kept", || shelf.keep([room("other")]).is_err());
    assert_eq!(shelf.health().state, StorageState::Corrupt);

    let mut file = OpenOptions::new().write(true).open(scratch.database()).expect("a file");
    file.write_all(&good).expect("the good file");
    wait_until("rooms are kept again", || shelf.keep([room("good again")]).is_ok());
    wait_until("messages are found again", || {
        let page = StorageQuery::Page { room: "r".into(), span: MessageSpan::After(0), limit: 500 };
        shelf.ask(page).is_ok()
    });
    wait_until("the state is good", || shelf.health().state == StorageState::Good);
    assert_eq!(shelf.messages("r").len() as u64, MESSAGES + 1);
}

#[test]
fn a_file_that_is_moved_away_takes_nothing_until_it_is_back() {
    let (scratch, time) = (Scratch::new(), Time::new());
    filled(&scratch, &time);
    let mut shelf = Shelf::open(options(&scratch.0, &time));
    let elsewhere = scratch.0.join("elsewhere");
    fs::rename(scratch.database(), &elsewhere).expect("it is moved");
    shelf.wait_for_state(StorageState::Failing);
    assert!(shelf.keep([room("s")]).is_err());
    assert!(!scratch.database().exists(), "nothing new may take its place");
    // Another file is not what everybody believes to be kept.
    let other = Scratch::new();
    filled(&other, &time);
    fs::copy(other.database(), scratch.database()).expect("another file");
    wait_until("it is seen", || shelf.health().detail.contains("another file"));
    assert!(shelf.keep([room("s")]).is_err());
    fs::rename(&elsewhere, scratch.database()).expect("it is moved back");
    shelf.wait_for_state(StorageState::Good);
    shelf.keep([room("s")]).expect("kept");
    shelf.close();
    assert_eq!(Shelf::open(options(&scratch.0, &time)).rooms.len(), 2);
}
