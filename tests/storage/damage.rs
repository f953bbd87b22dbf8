//! Damaged files, at the start and later: nothing is overwritten, nothing is made up, and a good file is good again.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use switchboard::message::storage::{MessageSpan, StorageQuery, StorageState};
use switchboard::runtime::storage::{OnDamage, OpenError, StorageOptions, open};

use crate::fixture::{BEGINNING, ManualClock, Scratch, StorageFixture, messages, options, room, wait_until};

const MESSAGES: u64 = 3_000;

/// A store with some pages of messages, closed in order.
fn filled(scratch: &Scratch, time: &ManualClock) {
    let mut fixture = StorageFixture::open(options(&scratch.0, time));
    fixture.keep([room("r")]).expect("kept");
    fixture.keep(messages("r", 1, MESSAGES, BEGINNING)).expect("kept");
    fixture.close();
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
fn damaged_file_is_set_aside_whole() {
    for damage in WAYS {
        let (scratch, time) = (Scratch::new(), ManualClock::new());
        filled(&scratch, &time);
        damage(&scratch.database(), fs::metadata(scratch.database()).expect("a file").len());
        let damaged = fs::read(scratch.database()).expect("a file");
        let setting = StorageOptions { on_damage: OnDamage::SetAside, ..options(&scratch.0, &time) };
        let mut fixture = StorageFixture::open(setting.clone());
        let aside = fixture.report.set_aside.clone().expect("it is set aside");
        assert_eq!(aside.file_name().expect("a name"), "store.db.damaged-20250615T150640Z");
        assert!(fs::read(&aside).expect("a file") == damaged, "the damaged file was changed");
        assert_eq!(fixture.rooms, []);
        fixture.keep([room("new")]).expect("kept");
        fixture.close();
        // A second time in the same second takes nothing of the first one's place.
        damage(&scratch.database(), fs::metadata(scratch.database()).expect("a file").len());
        StorageFixture::open(setting).close();
        assert!(fs::read(&aside).expect("a file") == damaged, "the first file was overwritten");
        let files = scratch.files();
        assert!(files.contains(&"store.db.damaged-20250615T150640Z-2".to_owned()), "{files:?}");
    }
}

#[test]
fn damage_with_stop_fails_every_start() {
    for damage in WAYS {
        let (scratch, time) = (Scratch::new(), ManualClock::new());
        filled(&scratch, &time);
        let good = fs::read(scratch.database()).expect("a file");
        damage(&scratch.database(), good.len() as u64);
        let (damaged, files) = (fs::read(scratch.database()).expect("a file"), scratch.files());
        for _ in 0..2 {
            let error = StorageFixture::try_open(options(&scratch.0, &time)).err().expect("a refusal");
            assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
            let file = scratch.0.canonicalize().expect("a path").join("store.db");
            assert!(error.to_string().starts_with(&format!("{} is damaged: ", file.display())), "{error}");
        }
        assert!(fs::read(scratch.database()).expect("a file") == damaged, "the damaged file was changed");
        let companions = |name: &String| !name.ends_with("-wal") && !name.ends_with("-shm");
        assert_eq!(scratch.files().into_iter().filter(companions).collect::<Vec<_>>(), files);
        // Put right, it is served again.
        fs::write(scratch.database(), good).expect("the good file");
        assert_eq!(StorageFixture::open(options(&scratch.0, &time)).messages("r").len() as u64, MESSAGES);
    }
}

#[test]
fn log_without_database_is_set_aside() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    fs::create_dir_all(&scratch.0).expect("a directory");
    let log = scratch.0.join("store.db-wal");
    fs::write(&log, "somebody's messages").expect("a file");
    assert!(matches!(StorageFixture::try_open(options(&scratch.0, &time)), Err(OpenError::Corrupt { .. })));
    let fixture = StorageFixture::open(StorageOptions { on_damage: OnDamage::SetAside, ..options(&scratch.0, &time) });
    let aside = fixture.report.set_aside.clone().expect("it is set aside");
    let kept = fs::read_to_string(format!("{}-wal", aside.display())).expect("the log");
    assert_eq!(kept, "somebody's messages");
}

#[test]
fn damage_found_by_restore_is_set_aside() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    filled(&scratch, &time);
    let setting = StorageOptions { on_damage: OnDamage::SetAside, ..options(&scratch.0, &time) };
    let opened = open(setting).expect("a store");
    let error = OpenError::Corrupt { file: scratch.database(), detail: "it was met later".to_owned() };
    let mut fixture = StorageFixture::start(opened.set_aside(&error).expect("a new store"));
    assert!(fixture.report.set_aside.as_ref().is_some_and(|aside| aside.exists()));
    fixture.keep([room("r")]).expect("kept");
}

#[test]
fn damage_at_run_time_refuses_batches_until_repaired() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    filled(&scratch, &time);
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    fixture.keep(messages("r", MESSAGES + 1, MESSAGES + 1, BEGINNING)).expect("kept");
    let good = fs::read(scratch.database()).expect("a file");
    spoil(&scratch.database(), 3 * 4096, good.len() as u64);
    // Whatever is asked for now is either what was kept, or nothing: never something else.
    wait_until("damage is met", || {
        let page = StorageQuery::Page { room: "r".into(), span: MessageSpan::After(0), limit: 500 };
        fixture.ask(page).is_err()
    });
    fixture.wait_for_state(StorageState::Corrupt);
    wait_until("nothing is kept", || fixture.keep([room("other")]).is_err());
    assert_eq!(fixture.health().state, StorageState::Corrupt);

    let mut file = OpenOptions::new().write(true).open(scratch.database()).expect("a file");
    file.write_all(&good).expect("the good file");
    wait_until("rooms are kept again", || fixture.keep([room("good again")]).is_ok());
    wait_until("messages are found again", || {
        let page = StorageQuery::Page { room: "r".into(), span: MessageSpan::After(0), limit: 500 };
        fixture.ask(page).is_ok()
    });
    wait_until("the state is good", || fixture.health().state == StorageState::Good);
    assert_eq!(fixture.messages("r").len() as u64, MESSAGES + 1);
}

#[test]
fn moved_file_refuses_batches_until_it_is_back() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    filled(&scratch, &time);
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    let elsewhere = scratch.0.join("elsewhere");
    fs::rename(scratch.database(), &elsewhere).expect("it is moved");
    fixture.wait_for_state(StorageState::Displaced);
    assert!(fixture.keep([room("s")]).is_err());
    assert!(!scratch.database().exists(), "nothing new may take its place");
    // Another file is not what everybody believes to be kept.
    let other = Scratch::new();
    filled(&other, &time);
    fs::copy(other.database(), scratch.database()).expect("another file");
    wait_until("it is seen", || fixture.health().detail.contains("another file"));
    assert!(fixture.keep([room("s")]).is_err());
    fs::rename(&elsewhere, scratch.database()).expect("it is moved back");
    fixture.wait_for_state(StorageState::Good);
    fixture.keep([room("s")]).expect("kept");
    fixture.close();
    assert_eq!(StorageFixture::open(options(&scratch.0, &time)).rooms.len(), 2);
}
