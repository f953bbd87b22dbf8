//! A process that writes as fast as it can is killed at any moment, again and again: every message whose receipt it had is
//! there, in order, none twice.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use smallvec::smallvec;
use switchboard::base::rng::Rng;
use switchboard::domain::record::{Record, SentMessage};
use switchboard::message::storage::{Batch, Restored, StorageEvent, StoredRoom, Ticket};
use switchboard::runtime::storage::{Durability, StorageOptions, open};

use crate::child::{MARK, command, say};
use crate::shelf::{Scratch, Shelf, Time, message, options, room};

const KILLS: usize = 20;
const ROOMS: usize = 40;

/// Batches under way at once.
const UNDER_WAY: usize = 256;

/// The durability goes to the child by the name of its directory.
fn durability(directory: &Path) -> Durability {
    match directory.file_name().and_then(|name| name.to_str()) {
        Some("power") => Durability::Power,
        Some("none") => Durability::None,
        _ => Durability::Process,
    }
}

fn options_of(directory: &Path) -> StorageOptions {
    StorageOptions { durability: durability(directory), ..options(directory, &Time::new()) }
}

/// The child: goes on where the file ends, and says each receipt.
pub(crate) fn write(directory: &Path) {
    let opened = open(options_of(directory)).expect("a store");
    let mut rooms: Vec<StoredRoom> = Vec::new();
    let read = opened.restore(0, &mut |restored| {
        if let Restored::Room(room) = restored {
            rooms.push(*room);
        }
    });
    read.expect("it can be read");
    let (sender, receipts) = crossbeam_channel::unbounded();
    let storage = opened
        .start(move |told| {
            if let StorageEvent::Receipt(receipt) = told {
                drop(sender.send(receipt));
            }
        })
        .expect("threads");
    let store = storage.handle();
    let mut number = 0;
    let mut submit = |records| {
        number += 1;
        store.submit(Batch { ticket: Ticket { sender: 0, run: 0, number }, records });
        number
    };
    if rooms.is_empty() {
        submit((0..ROOMS).map(|n| room(&format!("room {n}"))).collect());
        receipts.recv().expect("a receipt").outcome.expect("kept");
        say("rooms");
    }
    let mut last: BTreeMap<String, u64> = (0..ROOMS).map(|n| (format!("room {n}"), 0)).collect();
    last.extend(rooms.iter().map(|room| (room.made.room.to_string(), room.last)));
    let epochs: BTreeMap<_, _> = rooms.iter().map(|room| (room.made.room.to_string(), &room.made.epoch)).collect();
    let mut rng = Rng::from_seed(u64::from(std::process::id()));
    let mut under_way = BTreeMap::new();
    loop {
        while under_way.len() < UNDER_WAY {
            let name = format!("room {}", rng.below(ROOMS as u64));
            let seq = last.get_mut(&name).expect("a room");
            *seq += 1;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() as u64;
            let epoch = epochs.get(&name).map_or("epoch".into(), |epoch| (*epoch).clone());
            let message = Arc::new(message(&name, *seq, now));
            let sent = SentMessage { message, epoch, client_message_id: None };
            let line = format!("{seq} {} {name}", sent.message.id);
            under_way.insert(submit(smallvec![Record::MessageSent(sent)]), line);
        }
        let receipt = receipts.recv().expect("a receipt");
        receipt.outcome.expect("kept");
        say(&under_way.remove(&receipt.ticket.number).expect("one that is under way"));
    }
}

/// Starts the child, kills it at some moment after its first word (or perhaps before that, in the middle of its start),
/// and gives back every receipt that it has said.
fn run_and_kill(directory: &Path, rng: &mut Rng, waits_for_a_word: bool) -> Vec<(u64, String, String)> {
    let mut child = command("write until killed", directory).spawn().expect("a child");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let (sender, said) = crossbeam_channel::unbounded();
    let listener = thread::spawn(move || {
        for line in lines {
            // The last line may be cut off anywhere, even within a character.
            let Ok(line) = line else { break };
            drop(sender.send(line));
        }
    });
    let mut lines = Vec::new();
    while waits_for_a_word && !lines.last().is_some_and(|line: &String| line.starts_with(MARK)) {
        lines.push(said.recv_timeout(Duration::from_secs(60)).expect("the child begins"));
    }
    let wait = Duration::from_micros(rng.below(200_000));
    thread::sleep(wait); // the moment of the kill, not a condition to wait for
    child.kill().expect("it was running");
    assert!(!child.wait().expect("its end").success());
    listener.join().expect("it listened to the end");
    lines.extend(said.try_iter());
    let receipt = |line: String| {
        let mut parts = line.strip_prefix(MARK)?.splitn(3, ' ').map(str::to_owned);
        let seq = parts.next()?.parse().ok()?;
        // A line that was cut off before its end is no receipt that anybody had.
        let (id, room) = (parts.next()?, parts.next().filter(|room| room.len() >= "room 0".len())?);
        (id.len() == 36).then_some((seq, id, room))
    };
    lines.into_iter().filter_map(receipt).collect()
}

/// Every room's log, by room; each must be whole.
fn logs(directory: &Path) -> BTreeMap<String, Vec<String>> {
    let mut shelf = Shelf::open(options_of(directory));
    assert!(!shelf.report.is_tail_lost, "a killed process loses nothing");
    let names: Vec<String> = shelf.rooms.iter().map(|room| room.made.room.to_string()).collect();
    let mut ids = HashSet::new();
    let mut log = |name: String| {
        let messages = shelf.messages(&name);
        let log = (1..).zip(&messages).map(|(seq, message)| {
            assert_eq!(message.seq, Some(seq), "{name} has a gap");
            assert!(ids.insert(message.id), "{name} has message {seq} twice");
            message.id.to_string()
        });
        let log = log.collect();
        (name, log)
    };
    names.into_iter().map(&mut log).collect()
}

fn nothing_told_is_lost(directory: &Path, kills: usize) {
    let mut rng = Rng::from_seed(kills as u64);
    let mut told: Vec<(u64, String, String)> = Vec::new();
    let mut rounds_with_receipts = 0;
    for _ in 0..kills {
        let waits_for_a_word = rng.below(5) > 0;
        let receipts = run_and_kill(directory, &mut rng, waits_for_a_word);
        rounds_with_receipts += usize::from(!receipts.is_empty());
        told.extend(receipts);
        let logs = logs(directory);
        for (seq, id, room) in &told {
            // The name may have been cut off at the end of the pipe; the id was not.
            let found = logs.iter().filter(|(name, _)| name.starts_with(room.as_str()));
            let mut found = found.filter_map(|(_, log)| log.get(*seq as usize - 1));
            assert!(found.any(|kept| kept == id), "message {seq} of {room} was acknowledged and is lost");
        }
    }
    assert!(rounds_with_receipts > kills / 2, "only {rounds_with_receipts} rounds got as far as a receipt");
}

#[test]
fn nothing_told_is_lost_when_the_process_is_killed() {
    let scratch = Scratch::new();
    nothing_told_is_lost(&scratch.0.join("process"), KILLS);
}

#[test]
fn nor_is_it_when_each_commit_is_synced() {
    let scratch = Scratch::new();
    nothing_told_is_lost(&scratch.0.join("power"), 4);
}

#[test]
fn rooms_begin_a_new_epoch_when_their_last_messages_may_be_lost() {
    let scratch = Scratch::new();
    let directory = scratch.0.join("none");
    run_and_kill(&directory, &mut Rng::from_seed(1), true);
    let shelf = Shelf::open(options_of(&directory));
    assert!(shelf.report.is_tail_lost);
    assert_eq!(shelf.rooms.len(), ROOMS);
    let epochs: HashSet<_> = shelf.rooms.iter().map(|room| room.made.epoch.clone()).collect();
    assert!(!epochs.contains("epoch") && epochs.len() == ROOMS, "{epochs:?}");
    shelf.close();
    let shelf = Shelf::open(options_of(&directory));
    assert!(!shelf.report.is_tail_lost, "one that was closed in order has lost nothing");
    assert_eq!(shelf.rooms.iter().map(|room| room.made.epoch.clone()).collect::<HashSet<_>>(), epochs);
}

#[test]
fn the_same_goes_for_a_machine_that_was_restarted_but_not_if_all_was_synced() {
    for (name, is_lost) in [("process", true), ("power", false)] {
        let scratch = Scratch::new();
        let directory = scratch.0.join(name);
        run_and_kill(&directory, &mut Rng::from_seed(2), true);
        let connection = Connection::open(directory.join("store.db")).expect("a database");
        connection.execute("UPDATE state SET value = 'another' WHERE name = 'boot'", []).expect("an update");
        drop(connection);
        assert_eq!(Shelf::open(options_of(&directory)).report.is_tail_lost, is_lost, "{name}");
    }
}
