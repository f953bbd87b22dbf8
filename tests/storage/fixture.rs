//! A store in a directory of its own, and somebody who uses it as a shard does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use smallvec::SmallVec;
use switchboard::base::Name;
use switchboard::base::ids::{ConnectionId, ConnectionPlace as Slot};
use switchboard::domain::about::About;
use switchboard::domain::access::{Identity, Roles};
use switchboard::domain::event::{Content, Direct, Message, PeerName};
use switchboard::domain::op::Profile;
use switchboard::domain::record::{MadeRoom, Position, Record, Retention, SentMessage, Session, TokenHash};
use switchboard::message::Requester;
use switchboard::message::storage::{
    Batch, CommitOutcome, CommitReceipt, MessagePage, MessageSpan, Restored, StorageEvent, StorageQuery, StorageReply,
    StorageState, StoredRoom, Ticket, Unavailable,
};
use switchboard::runtime::storage::{
    Durability, MemoryBounds, OnDamage, OpenError, Opened, Report, Storage, StorageHandle, StorageHealth,
    StorageLocation, StorageOptions, open,
};
use uuid::Uuid;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// When the tests' time begins, in milliseconds since 1970.
pub(crate) const BEGINNING: u64 = 1_750_000_000_000;

/// A clock that goes when it is told to.
#[derive(Clone)]
pub(crate) struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(BEGINNING)))
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

/// A directory that is gone at the end of the test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("switchboard-storage-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("store.db")
    }

    /// The names of the files in it.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("a directory");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What most tests go by: everything is kept, and a damaged file stops the start.
pub(crate) fn options(directory: &Path, time: &ManualClock) -> StorageOptions {
    let time = time.clone();
    StorageOptions {
        location: StorageLocation::Directory(directory.to_owned()),
        durability: Durability::Process,
        keep_messages: 0,
        keep_ms: 0,
        memory: MemoryBounds::default(),
        recovery_window_ms: 120_000,
        on_damage: OnDamage::Stop,
        outbox: None,
        clock: Arc::new(move || time.now()),
    }
}

/// A store at work, and what it says.
pub(crate) struct StorageFixture {
    pub(crate) report: Report,
    pub(crate) rooms: Vec<StoredRoom>,
    storage: Option<Storage>,
    told: Receiver<StorageEvent>,
    /// What was said while something else was waited for.
    early: Vec<StorageEvent>,
    number: u64,
    /// The run that each of the senders is in.
    runs: [u32; 8],
}

impl StorageFixture {
    pub(crate) fn open(options: StorageOptions) -> Self {
        Self::try_open(options).expect("a store")
    }

    pub(crate) fn try_open(options: StorageOptions) -> Result<Self, OpenError> {
        let opened = open(options)?;
        let mut rooms = Vec::new();
        opened.restore(0, &mut |restored| {
            if let Restored::Room(room) = restored {
                rooms.push(*room);
            }
        })?;
        Ok(Self { rooms, ..Self::start(opened) })
    }

    pub(crate) fn start(opened: Opened) -> Self {
        let report = opened.report().clone();
        let (sender, told) = unbounded();
        let storage = opened.start(move |told| drop(sender.send(told))).expect("threads");
        let (early, rooms) = (Vec::new(), Vec::new());
        Self { report, rooms, storage: Some(storage), told, early, number: 0, runs: [0; 8] }
    }

    fn store(&self) -> StorageHandle {
        self.storage.as_ref().expect("it is open").handle()
    }

    pub(crate) fn health(&self) -> StorageHealth {
        self.store().health()
    }

    /// Sends a batch as sender 0; its number.
    pub(crate) fn submit(&mut self, records: impl IntoIterator<Item = Record>) -> u64 {
        self.submit_as(0, records)
    }

    pub(crate) fn submit_as(&mut self, sender: u8, records: impl IntoIterator<Item = Record>) -> u64 {
        self.number += 1;
        let ticket = Ticket { sender, run: self.runs[usize::from(sender)], number: self.number };
        let records: SmallVec<[Record; 1]> = records.into_iter().collect();
        self.store().submit(Batch { ticket, records });
        self.number
    }

    /// How many events have come that nobody has waited for yet.
    pub(crate) fn events_so_far(&self) -> usize {
        self.early.len() + self.told.len()
    }

    /// The next receipt. A sender whose batch was refused begins its next run.
    pub(crate) fn receipt(&mut self) -> CommitReceipt {
        let receipt = self.wait("a receipt", |told| match told {
            StorageEvent::Receipt(receipt) => Ok(receipt),
            other => Err(other),
        });
        let run = &mut self.runs[usize::from(receipt.ticket.sender)];
        if receipt.outcome.is_err() && receipt.ticket.run == *run {
            *run += 1;
        }
        receipt
    }

    /// Has records kept; nothing else may be under way.
    pub(crate) fn keep(&mut self, records: impl IntoIterator<Item = Record>) -> Result<CommitOutcome, Unavailable> {
        let number = self.submit(records);
        let receipt = self.receipt();
        assert_eq!(receipt.ticket.number, number);
        receipt.outcome
    }

    pub(crate) fn ask(&mut self, query: StorageQuery) -> Result<StorageReply, Unavailable> {
        self.number += 1;
        let asker = Requester { shard: 0, ask: self.number as u32 };
        self.store().query(asker, query);
        self.wait("an answer", |told| match told {
            StorageEvent::Reply { to, answer } => {
                assert_eq!(to, asker);
                Ok(answer)
            }
            other => Err(other),
        })
    }

    pub(crate) fn page(&mut self, room: &str, span: MessageSpan, limit: usize) -> MessagePage {
        match self.ask(StorageQuery::Page { room: room.into(), span, limit }) {
            Ok(StorageReply::Page(Some(page))) => page,
            other => panic!("no page: {other:?}"),
        }
    }

    /// Waits until the store says that it is in this state.
    pub(crate) fn wait_for_state(&mut self, wanted: StorageState) {
        self.wait("a state", |told| match told {
            StorageEvent::State(state) if state == wanted => Ok(()),
            other => Err(other),
        });
    }

    /// Waits until the store reports a room without messages; its name.
    pub(crate) fn expired_room(&mut self) -> Name {
        self.wait("an expired room", |told| match told {
            StorageEvent::RoomExpired(room) => Ok(room),
            other => Err(other),
        })
    }

    fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(StorageEvent) -> Result<T, StorageEvent>) -> T {
        let mut at = 0;
        while at < self.early.len() {
            match pick(self.early.remove(at)) {
                Ok(wanted) => return wanted,
                Err(other) => self.early.insert(at, other),
            }
            at += 1;
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match pick(self.told.recv_deadline(until).unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))) {
                Ok(wanted) => return wanted,
                Err(other) => self.early.push(other),
            }
        }
    }

    /// Every message of a room that is kept.
    pub(crate) fn messages(&mut self, room: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut after = 0;
        loop {
            let page = self.page(room, MessageSpan::After(after), usize::MAX);
            messages.extend(page.messages);
            if page.complete {
                return messages;
            }
            after = messages.last().and_then(|message: &Message| message.seq).expect("a page has messages");
        }
    }

    pub(crate) fn close(mut self) {
        self.storage = None;
    }
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn person(user: &str) -> Identity {
    Identity::new(user, Some(&format!("{user} the user")), None, Roles::default())
}

/// A room made by joining.
pub(crate) fn room(name: &str) -> Record {
    made(name, None, Retention::default())
}

pub(crate) fn made(name: &str, profile: Option<Profile>, retention: Retention) -> Record {
    Record::RoomMade(Box::new(MadeRoom {
        room: name.into(),
        epoch: "epoch".into(),
        host: person("host"),
        maker: "host".into(),
        created_at: BEGINNING,
        history: true,
        retention,
        profile: profile.map(Box::new),
        is_locked: false,
    }))
}

/// The message of that number in a room. Equal arguments make equal messages.
pub(crate) fn message(room: &str, seq: u64, at: u64) -> Message {
    let connection = ConnectionId::new(Slot { node: 0, shard: 1, slot: 2 }, [3; 12]);
    let mark = room.bytes().fold(seq, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let random = [mark.to_be_bytes().as_slice(), &[1, 2]].concat();
    let random: [u8; 10] = random.try_into().expect("ten bytes");
    Message {
        id: uuid::Builder::from_unix_timestamp_millis(at, &random).into_uuid(),
        seq: Some(seq),
        room: room.into(),
        sender: person(if seq.is_multiple_of(2) { "ann" } else { "bob" }),
        display_name: seq.is_multiple_of(17).then(|| "Somebody".into()),
        from: if seq.is_multiple_of(3) { PeerName::Chosen("laptop".into()) } else { PeerName::Own(connection) },
        is_published: false,
        to: None,
        content: Content {
            body: format!("\"message {seq} in {room}\"").into(),
            event: None,
            kind: seq.is_multiple_of(5).then(|| "image".into()),
            reply_to: seq.is_multiple_of(7).then(|| Uuid::from_u128(7).to_string().into()),
            attachment: seq.is_multiple_of(11).then(|| "{\"url\": \"https://a\"}".into()),
            metadata: seq.is_multiple_of(13).then(|| "{ \"a\":1}".into()),
        },
        at,
        revision: None,
    }
}

pub(crate) fn sent(message: Message) -> Record {
    let message = Arc::new(message);
    Record::MessageSent(SentMessage { message, epoch: "epoch".into(), client_message_id: None })
}

/// Messages `from` to `to` of a room, each a record.
pub(crate) fn messages(room: &str, from: u64, to: u64, at: u64) -> impl Iterator<Item = Record> {
    (from..=to).map(move |seq| sent(message(room, seq, at)))
}

/// Everything there is to say of a message.
pub(crate) fn told(message: &Message) -> String {
    format!("{} {message:?}", message.sender.username())
}

pub(crate) fn direct(number: u128, at: u64) -> Direct {
    let content = Content {
        body: format!("{{\"n\": {number}}}").into(),
        event: None,
        kind: Some("chat".into()),
        reply_to: None,
        attachment: None,
        metadata: Some("[]".into()),
    };
    Direct { is_pushed: false, except: None, id: Uuid::from_u128(number), sender: person("ann"), content, at }
}

pub(crate) fn session(token: u8, user: &str, expires_at: Option<u64>) -> Session {
    let position = |room: &str, peer: Option<Name>| Position {
        room: room.into(),
        epoch: "epoch".into(),
        seq: u64::from(token),
        since: peer.as_ref().map(|_| 1),
        about: About::new(
            peer.as_ref().map(|_| "A \"quoted\" näme"),
            token.is_multiple_of(3).then_some("{\"a\":[]}"),
            token.is_multiple_of(5),
        ),
        peer,
        media: switchboard::domain::command::MediaState {
            audio: true,
            video: false,
            screen: token.is_multiple_of(2),
            sfu: false,
        },
    };
    Session {
        token: TokenHash([token; 32]),
        user: user.into(),
        connection: ConnectionId::new(Slot { node: 1, shard: 2, slot: 3 }, [token; 12]),
        connected_at: BEGINNING,
        active_at: BEGINNING + 1,
        expires_at,
        dialect: token % 3,
        rooms: vec![position("a", None), position("b", Some("laptop".into()))],
    }
}
