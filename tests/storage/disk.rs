//! A disk without space: what comes is refused, and kept again once there is space, without a restart.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rlimit::Resource;
use switchboard::message::storage::StorageState;
use switchboard::runtime::storage::{Durability, StorageOptions};

use crate::child::command;
use crate::shelf::{BEGINNING, Scratch, Shelf, Time, messages, options, room, wait_until};

/// A child that may write to no file beyond its first page.
pub(crate) fn with_limited_files(directory: &Path) {
    // Without a handler the signal for a file that is too large ends the process.
    signal_hook::flag::register(25, Arc::new(AtomicBool::new(false))).expect("a handler");
    let unlimited = Resource::FSIZE.get().expect("a limit");
    fails_and_comes_back(
        directory,
        || Resource::FSIZE.set(4096, unlimited.1).expect("a lower limit"),
        || Resource::FSIZE.set(unlimited.0, unlimited.1).expect("the limit as before"),
    );
}

/// A child whose directory is a disk of a few megabytes.
pub(crate) fn with_a_small_disk(directory: &Path) {
    let filler = directory.join("filler");
    let fill = || {
        let mut file = File::create(&filler).expect("a file");
        while file.write_all(&[1; 4096]).is_ok() {}
    };
    fails_and_comes_back(directory, fill, || fs::remove_file(&filler).expect("it is removed"));
}

fn fails_and_comes_back(directory: &Path, take_space: impl Fn(), give_space: impl Fn()) {
    let time = Time::new();
    let mut shelf = Shelf::open(options(directory, &time));
    shelf.keep([room("r")]).expect("kept");
    shelf.keep(messages("r", 1, 10, BEGINNING)).expect("kept");
    let mut last = 10;
    for _ in 0..3 {
        // What still fits is kept as told, and the store finds some more room by making its log shorter. In the end nothing
        // is kept any more, and it is said so.
        while {
            take_space();
            while shelf.keep(messages("r", last + 1, last + 10, BEGINNING)).is_ok() {
                last += 10;
                assert!(last < 100_000, "the disk is never full");
            }
            is_good_again_within(&shelf, Duration::from_secs(1))
        } {}
        assert!(!shelf.health().detail.is_empty());
        assert_eq!(shelf.messages("r").len() as u64, last, "what is kept can be read");
        assert!(shelf.keep(messages("r", last + 1, last + 1, BEGINNING)).is_err());
        give_space();
        shelf.wait_for_state(StorageState::Good);
        shelf.keep(messages("r", last + 1, last + 10, BEGINNING)).expect("kept again");
        last += 10;
        assert_eq!(shelf.messages("r").len() as u64, last);
    }
    shelf.close();
    let mut shelf = Shelf::open(options(directory, &time));
    assert_eq!(shelf.messages("r").len() as u64, last);
    shelf.close();
    nothing_acknowledged_early_is_lost(directory, &time, take_space, give_space, last);
}

fn is_good_again_within(shelf: &Shelf, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        if shelf.health().state == StorageState::Good {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// With durability `none`, what was acknowledged before the disk was full is written when it no longer is.
fn nothing_acknowledged_early_is_lost(
    directory: &Path,
    time: &Time,
    take_space: impl Fn(),
    give_space: impl Fn(),
    last: u64,
) {
    let mut shelf = Shelf::open(StorageOptions { durability: Durability::None, ..options(directory, time) });
    take_space();
    let more = 1_000;
    for seq in last + 1..=last + more {
        shelf.keep(messages("r", seq, seq, BEGINNING)).expect("acknowledged at once");
    }
    wait_until("the state is bad", || shelf.health().state != StorageState::Good);
    assert!(shelf.health().waiting_bytes > 0);
    give_space();
    shelf.wait_for_state(StorageState::Good);
    assert_eq!(shelf.messages("r").len() as u64, last + more);
    assert_eq!(shelf.health().lag_ms, 0);
}

fn run(mut command: Command) {
    let output = command.output().expect("a child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn files_that_may_not_grow() {
    let scratch = Scratch::new();
    run(command("limited files", &scratch.0));
}

/// The disk is a file system in memory that only the child sees, so that nothing of it stays. Where the machine permits
/// no such thing, the child with limited files has to do.
#[test]
fn a_disk_without_space() {
    let scratch = Scratch::new();
    fs::create_dir_all(&scratch.0).expect("a directory");
    let mount = |then: &str| {
        let mut unshare = Command::new("unshare");
        let script = format!("mount -t tmpfs -o size=6m none \"$0\" && {then}");
        unshare.args(["--map-root-user", "--mount", "sh", "-c", &script]).arg(&scratch.0);
        unshare
    };
    if !mount("true").status().is_ok_and(|status| status.success()) {
        return run(command("limited files", &scratch.0));
    }
    let child = command("small disk", &scratch.0);
    let mut small = mount("exec \"$@\"");
    small.arg(child.get_program()).args(child.get_args());
    small.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run(small);
}
