//! The server is killed repeatedly under load: every acknowledged message is there afterwards, in order and once,
//! however often its sender repeated it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use switchboard::base::rng::Rng;

use crate::{start, times};
use support::directory::Directory;
use support::lossy_client::{ConnectionLost, LossyClient};
use support::process::wait_until;
use support::room_log::{ReceivedMessage, RoomLog, number, room_name, text};
use support::server::Server;

const ROOMS: usize = 4;

/// Messages that one publisher has under way.
const UNDER_WAY: usize = 4;

/// A message that waits for its receipt.
struct Pending {
    room: usize,
    content: String,
}

/// Somebody who connects after each start, and remembers everything they were told.
struct PersistentClient {
    user: String,
    rooms: Vec<usize>,
    publishes: bool,
    /// Names each message, and repeats those that got no answer.
    names: bool,
    /// Messages made up so far.
    made: u64,
    pending: VecDeque<Pending>,
    receipts: Vec<ReceivedMessage>,
    seen: Vec<ReceivedMessage>,
    /// Numbers that were passed over, which must be those of messages of their own.
    skipped: Vec<(usize, u64)>,
}

impl PersistentClient {
    fn new(user: String, rooms: Vec<usize>, publishes: bool, names: bool) -> Self {
        let (pending, receipts, seen, skipped) = Default::default();
        Self { user, rooms, publishes, names, made: 0, pending, receipts, seen, skipped }
    }

    /// Two rooms each; one of three listens only, and of the others every second one names what they say.
    fn all() -> Vec<Self> {
        let person = |n: usize| {
            let rooms = vec![n % ROOMS, (n / 2 + 1) % ROOMS].into_iter().fold(Vec::new(), |mut rooms, room| {
                if !rooms.contains(&room) {
                    rooms.push(room);
                }
                rooms
            });
            Self::new(format!("user-{n}"), rooms, !n.is_multiple_of(3), n.is_multiple_of(2))
        };
        (0..9).map(person).collect()
    }

    /// Talks until the connection is lost, or, where `is_last`, until everything that was named has a receipt.
    fn talk(&mut self, address: &str, told: &AtomicU64, is_last: bool) -> Result<(), ConnectionLost> {
        if !self.names {
            // Nobody knows what became of them, so they are not said again.
            self.pending.clear();
        }
        let mut line = LossyClient::connect(address, &self.user)?;
        let mut next = HashMap::new();
        for &room in &self.rooms.clone() {
            line.send(&json!({ "type": "join-room", "roomId": room_name(room), "peerId": self.user }))?;
            let joined = line.wait_for("room-joined", |other| self.hear(&other, &mut next))?;
            next.insert(room, number(&joined, "seq") + 1);
        }
        self.repeat_one_that_was_answered(&mut line, &mut next)?;
        for pending in &self.pending {
            self.say(&mut line, pending)?;
        }
        loop {
            while self.publishes && !is_last && self.pending.len() < UNDER_WAY {
                self.made += 1;
                let room = self.rooms[self.made as usize % self.rooms.len()];
                self.pending.push_back(Pending { room, content: format!("{} says {}", self.user, self.made) });
                self.say(&mut line, &self.pending[self.pending.len() - 1])?;
            }
            if is_last && self.pending.is_empty() {
                return Ok(());
            }
            let message = line.next()?;
            match message["type"].as_str() {
                Some("message-sent") => {
                    self.receive_receipt(&message);
                    told.fetch_add(1, Ordering::Relaxed);
                }
                _ => self.hear(&message, &mut next),
            }
        }
    }

    fn say(&self, line: &mut LossyClient, pending: &Pending) -> Result<(), ConnectionLost> {
        let Pending { room, content } = pending;
        let mut message =
            json!({ "type": "message", "roomId": room_name(*room), "content": content, "requestId": content });
        if self.names {
            message["clientMessageId"] = content.as_str().into();
        }
        line.send(&message)
    }

    /// Whoever cannot know that their receipt arrived repeats even what was answered, and gets the same answer.
    fn repeat_one_that_was_answered(
        &mut self,
        line: &mut LossyClient,
        next: &mut HashMap<usize, u64>,
    ) -> Result<(), ConnectionLost> {
        let Some(first) = self.receipts.last().filter(|_| self.names).cloned() else { return Ok(()) };
        self.say(line, &Pending { room: first.room, content: first.content.clone() })?;
        let again = line.wait_for("message-sent", |other| self.hear(&other, next))?;
        assert_eq!((text(&again, "id"), number(&again, "seq")), (first.id, first.seq), "{}", self.user);
        Ok(())
    }

    fn receive_receipt(&mut self, receipt: &Value) {
        let content = text(receipt, "requestId");
        let at = self.pending.iter().position(|pending| pending.content == content).expect("one that was sent");
        let Pending { room, content } = self.pending.remove(at).expect("it is there");
        assert_eq!(text(receipt, "roomId"), room_name(room));
        self.receipts.push(ReceivedMessage { room, seq: number(receipt, "seq"), id: text(receipt, "id"), content });
    }

    fn hear(&mut self, message: &Value, next: &mut HashMap<usize, u64>) {
        match message["type"].as_str() {
            Some("message") => {}
            Some("peer-joined" | "peer-left" | "disconnect") => return,
            _ => panic!("{} did not expect {message}", self.user),
        }
        let name = text(message, "roomId");
        let room = (0..ROOMS).find(|room| room_name(*room) == name).expect("a room");
        let (seq, next) = (number(message, "seq"), next.get_mut(&room).expect("a member hears"));
        assert!(seq >= *next, "{} heard {seq} of {name} after {}", self.user, *next - 1);
        self.skipped.extend((*next..seq).map(|seq| (room, seq)));
        *next = seq + 1;
        self.seen.push(ReceivedMessage { room, seq, id: text(message, "id"), content: text(message, "content") });
    }

    /// Holds everything this person was ever told against what is kept.
    fn check(&self, logs: &[RoomLog]) {
        for told in self.receipts.iter().chain(&self.seen) {
            logs[told.room].check(&self.user, told);
        }
        for (room, seq) in &self.skipped {
            let kept = logs[*room].at(*seq);
            let is_own = kept.is_some_and(|kept| kept.sender == self.user);
            assert!(is_own, "{} did not hear {seq} of {room}, which is {kept:?}", self.user);
        }
    }
}

struct KillTest {
    directory: Directory,
    durability: &'static str,
    address: String,
    people: Vec<PersistentClient>,
    rng: Rng,
    epochs: Vec<String>,
}

impl KillTest {
    fn start(&self) -> Server {
        let durability = format!("storage.durability={}", self.durability);
        start(&self.address, &self.directory, &[&durability, "rooms.retention_messages=0"])
    }

    /// Everyone talks, and at some moment the server is no more.
    fn round(&mut self) {
        let server = self.start();
        self.address.clone_from(&server.address);
        let (address, told) = (self.address.clone(), AtomicU64::new(0));
        let waits_for_receipts = self.rng.below(5) > 0;
        let wait = Duration::from_micros(self.rng.below(200_000));
        thread::scope(|scope| {
            let (address, told) = (&address, &told);
            for person in &mut self.people {
                scope.spawn(move || person.talk(address, told, false).expect_err("it talks on until the end"));
            }
            if waits_for_receipts {
                wait_until("they talk", || told.load(Ordering::Relaxed) > 10);
            }
            thread::sleep(wait); // the moment of the kill, not a condition to wait for
            server.kill();
        });
    }

    /// Everything that anybody was ever told is there.
    fn check(&mut self) -> Vec<RoomLog> {
        let server = self.start();
        let mut line = LossyClient::connect(&server.address, "clerk").expect("it lives");
        let logs: Vec<RoomLog> = (0..ROOMS).map(|room| RoomLog::read(&mut line, room)).collect();
        for (room, log) in logs.iter().enumerate().filter(|(_, log)| !log.messages.is_empty()) {
            if let Some(epoch) = self.epochs.get(room) {
                assert_eq!(&log.epoch, epoch, "the log of {room} began anew");
            }
        }
        if logs.iter().all(|log| !log.messages.is_empty()) {
            self.epochs = logs.iter().map(|log| log.epoch.clone()).collect();
        }
        self.people.iter().for_each(|person| person.check(&logs));
        server.kill();
        logs
    }
}

fn nothing_told_is_lost(durability: &'static str, kills: usize) {
    let mut scene = KillTest {
        directory: Directory::new(),
        durability,
        address: "127.0.0.1:0".to_owned(),
        people: PersistentClient::all(),
        rng: Rng::from_seed(kills as u64),
        epochs: Vec::new(),
    };
    for _ in 0..kills {
        scene.round();
        scene.check();
    }
    // What was named and is still without an answer gets one, and then all that was named is there.
    let server = scene.start();
    let (address, told) = (&scene.address, &AtomicU64::new(0));
    thread::scope(|scope| {
        for person in scene.people.iter_mut().filter(|person| person.names) {
            scope.spawn(move || person.talk(address, told, true).expect("it lives"));
        }
    });
    server.kill();
    let logs = scene.check();
    for person in scene.people.iter().filter(|person| person.names) {
        let own = logs.iter().flat_map(|log| &log.messages).filter(|entry| entry.sender == person.user);
        assert_eq!(own.count() as u64, person.made, "{}: all that was repeated until it was answered", person.user);
    }
    let count = |told: fn(&PersistentClient) -> usize| scene.people.iter().map(told).sum::<usize>();
    let (receipts, seen) = (count(|person| person.receipts.len()), count(|person| person.seen.len()));
    eprintln!("{durability}: {kills} kills, {receipts} receipts and {seen} messages heard, none lost");
    assert!(receipts > 10 * kills && seen > 10 * kills, "too little was said: {receipts}, {seen}");
}

#[test]
fn acknowledged_messages_after_kill_survive() {
    nothing_told_is_lost("process", times("SWITCHBOARD_KILLS", 20));
}

#[test]
fn acknowledged_messages_after_kill_with_power_durability_survive() {
    nothing_told_is_lost("power", times("SWITCHBOARD_KILLS", 20).div_ceil(4));
}
