//! Whatever is put in comes out again, also after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use switchboard::base::Name;
use switchboard::base::rng::Rng;
use switchboard::domain::access::{Identity, Roles};
use switchboard::domain::command::{ReceiptKind, Status};
use switchboard::domain::op::{HostKey, Profile, ProfileChange};
use switchboard::domain::record::{MadeRoom, Record, Retention, Seen, SentMessage, TokenHash};
use switchboard::domain::revocation::{Revocation, Revoked};
use switchboard::message::storage::{
    MessageSpan, RecentMessage, Restored, StorageQuery, StorageReply, StoredRoom, StoredUser,
};
use switchboard::runtime::storage::{Durability, StorageLocation, StorageOptions, open};

use crate::fixture::{
    BEGINNING, ManualClock, Scratch, StorageFixture, direct, message, messages, options, person, room, session, told,
};
use crate::model::Model;

const ROOMS: [&str; 5] = ["a", "b", "c", "Ünïcode 😀", "e"];
const USERS: [&str; 4] = ["ann", "bob", "cyd", "guest:x"];

/// A history that follows from its seed: each record is one that a shard might have left there.
struct History {
    rng: Rng,
    model: Model,
    time: ManualClock,
    made: u32,
}

impl History {
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.below(choices.len() as u64) as usize]
    }

    fn maybe<T>(&mut self, value: T) -> Option<T> {
        (self.rng.below(2) == 0).then_some(value)
    }

    fn next(&mut self) -> Record {
        self.time.pass(self.rng.below(3));
        let now = self.time.now();
        let (room, user): (Name, Name) = (self.one_of(&ROOMS).into(), self.one_of(&USERS).into());
        let record = match (self.model.rooms.get(&room), self.rng.below(43)) {
            (None, 0..20) => self.make(room, now),
            (Some(_), 0) => {
                // The next room of that name has other messages, and these have other ids.
                self.time.pass(1);
                Record::RoomClosed { room }
            }
            (Some(_), 1..4) => Record::ParticipantAdded { room, user },
            (Some(_), 4) => Record::ParticipantRemoved { room, user },
            (Some(known), 5..20) => {
                let (seq, epoch) = (known.stored.last + 1, known.stored.made.epoch.clone());
                let message = Arc::new(message(&room, seq, now));
                let client_message_id = self.maybe(format!("mine {seq}").into());
                Record::MessageSent(SentMessage { message, epoch, client_message_id })
            }
            (Some(known), 20..28) if !known.messages.is_empty() => {
                let at = self.rng.below(known.messages.len() as u64) as usize;
                let message = known.messages[at].id;
                let mark = self.one_of(&[ReceiptKind::Delivered, ReceiptKind::Read]);
                Record::MessageMarked { message, user, mark, at: now }
            }
            (Some(_), 28) => {
                let text = self.one_of(&["", "About all"]);
                let (name, description) = (self.maybe("Another".into()), self.maybe(text.into()));
                let change = ProfileChange {
                    name,
                    description,
                    kind: self.maybe("team".into()),
                    metadata: self.maybe("{ \"a\": 1 }".into()),
                    participants: self.maybe(vec!["eve".into(), "host".into()]),
                    max_participants: self.maybe(9),
                    is_private: self.maybe(true),
                    is_locked: self.maybe(true),
                    retention: Retention { messages: self.maybe(0), age_ms: self.maybe(0) },
                };
                Record::RoomChanged { room, change: Box::new(change) }
            }
            (_, 28..31) => Record::DirectKept { user, direct: Arc::new(direct(u128::from(self.rng.next_u64()), now)) },
            (_, 31..33) => {
                let waiting = self.model.directs.get(&user);
                let id = waiting.and_then(|directs| directs.first()).map_or(uuid::Uuid::nil(), |direct| direct.id);
                Record::DirectDelivered { user, id }
            }
            (_, 33..36) => {
                let token = self.rng.below(6) as u8;
                let expires_at = self.maybe(now + 1_000_000);
                Record::SessionKept(Box::new(session(token, &user, expires_at)))
            }
            (Some(known), 40) => {
                Record::RoomLocked { room: known.stored.made.room.clone(), is_locked: self.rng.below(2) == 0 }
            }
            (_, 41) => {
                let is_user = self.rng.below(2) == 0;
                let subject = if is_user { Revoked::User(user) } else { Revoked::Token("t".into()) };
                let (until, reason) = (self.maybe(now + 1_000_000), self.maybe("spam".into()));
                let issued_before = self.maybe(now / 1000);
                let by = "root".into();
                Record::RevocationKept(Arc::new(Revocation { subject, until, reason, issued_before, made_at: now, by }))
            }
            (_, 42) => Record::RevocationRemoved(Box::new(Revoked::User(user))),
            (_, 36) => {
                let token = TokenHash([self.rng.below(6) as u8; 32]);
                if self.rng.below(2) == 0 {
                    Record::SessionTaken { token, by: None }
                } else {
                    Record::SessionClaimed { token }
                }
            }
            _ => {
                let (username, email) = (self.maybe("A name"), self.maybe("a@example.com"));
                let status = self.one_of(&[Status::Online, Status::Away, Status::Busy, Status::Offline]);
                let identity = Identity::new(&user, username, email, Roles::default());
                match self.rng.below(4) {
                    0 => Record::AbsenceSet { user: identity.user_name(), status, last_seen: Some(now / 2) },
                    _ => Record::UserSeen(Box::new(Seen { identity, status, at: now })),
                }
            }
        };
        self.model.apply(&record);
        record
    }

    fn make(&mut self, room: Name, now: u64) -> Record {
        self.made += 1;
        let profile = Profile {
            name: self.maybe("A room".into()),
            kind: self.maybe("group".into()),
            description: self.maybe("About it".into()),
            is_private: self.rng.below(2) == 0,
            participants: self.maybe(vec!["host".into(), "bob".into()]).unwrap_or_default(),
            host_peer: self.maybe("host's laptop".into()),
            max_participants: self.rng.below(3) as usize,
            encryption: self.maybe("{\"a\":  1}".into()),
            metadata: self.maybe("{ }".into()),
            host_key: self.maybe(HostKey([7; 32])),
        };
        let roles = Roles { guest: self.rng.below(2) == 0, ..Roles::default() };
        Record::RoomMade(Box::new(MadeRoom {
            room,
            epoch: format!("epoch {}", self.made).into(),
            host: Identity::new("host", self.maybe("The host"), None, roles),
            maker: "host".into(),
            created_at: now,
            history: self.rng.below(4) != 0,
            retention: Retention { messages: self.maybe(0), age_ms: self.maybe(0) },
            profile: self.maybe(Box::new(profile)),
            is_locked: false,
        }))
    }
}

type Brought = (
    Vec<StoredRoom>,
    Vec<String>,
    BTreeMap<Name, StoredUser>,
    Vec<RecentMessage>,
    Vec<Name>,
    BTreeMap<Revoked, Arc<Revocation>>,
);

/// Everything that a store gives back at its start, each room with its username, which equality of hosts does not see.
fn restored(options: StorageOptions) -> Brought {
    let (mut rooms, mut users, mut repeatable) = (Vec::new(), BTreeMap::new(), Vec::new());
    let mut awaited: Vec<Name> = Vec::new();
    let mut revocations = BTreeMap::new();
    let opened = open(options).expect("a store");
    let restored = opened.restore(BEGINNING, &mut |restored| match restored {
        Restored::Room(room) => rooms.push(*room),
        Restored::DirectRecipient(user, _) => awaited.push(user),
        Restored::User(user) => drop(users.insert(user.user.clone(), *user)),
        Restored::RecentMessage(message) => repeatable.push(*message),
        Restored::Revocation(revocation) => drop(revocations.insert(revocation.subject.clone(), revocation)),
    });
    restored.expect("it can be read");
    rooms.sort_by(|a, b| a.made.room.cmp(&b.made.room));
    repeatable.sort_by_key(|message| message.id);
    let hosts = rooms.iter().map(|room| room.made.host.username().to_owned()).collect();
    awaited.sort();
    (rooms, hosts, users, repeatable, awaited, revocations)
}

fn compare_restored(options: StorageOptions, model: &Model) {
    let (rooms, hosts, users, repeatable, awaited, revocations) = restored(options);
    assert_eq!(revocations, model.revocations);
    let waiting = model.directs.iter().filter(|(_, directs)| !directs.is_empty());
    assert_eq!(awaited, waiting.map(|(user, _)| user.clone()).collect::<Vec<_>>());
    let expected: Vec<StoredRoom> = model.rooms.values().map(|room| room.stored.clone()).collect();
    assert_eq!(rooms, expected);
    assert_eq!(hosts, expected.iter().map(|room| room.made.host.username()).collect::<Vec<_>>());
    assert_eq!(users, model.users);
    let mut expected: Vec<RecentMessage> = model.rooms.values().flat_map(|room| room.repeatable.clone()).collect();
    expected.sort_by_key(|message| message.id);
    assert_eq!(repeatable, expected);
}

/// Asks for everything there is.
fn compare_answers(fixture: &mut StorageFixture, model: &Model) {
    for name in ROOMS {
        let Some(room) = model.rooms.get(name) else {
            assert!(matches!(fixture.ask(StorageQuery::Room { room: name.into() }), Ok(StorageReply::Room(None))));
            let page = StorageQuery::Page { room: name.into(), span: MessageSpan::Newest, limit: 5 };
            assert!(matches!(fixture.ask(page), Ok(StorageReply::Page(None))));
            continue;
        };
        let Ok(StorageReply::Room(Some(stored))) = fixture.ask(StorageQuery::Room { room: name.into() }) else {
            panic!("no {name}")
        };
        assert_eq!(*stored, room.stored);
        let kept: Vec<String> = fixture.messages(name).iter().map(told).collect();
        assert_eq!(kept, room.messages.iter().map(told).collect::<Vec<_>>());
        for message in &room.messages {
            let Ok(StorageReply::Message(Some(view))) = fixture.ask(StorageQuery::Message { id: message.id }) else {
                panic!("lost")
            };
            assert_eq!(told(&view.message), told(message));
            let marks = room.marks.iter().filter(|((id, _), _)| *id == message.id);
            let marks: Vec<_> = marks.map(|((_, user), times)| (user.clone(), *times)).collect();
            let delivered = marks.iter().filter_map(|(user, (delivered, _))| Some((user.clone(), (*delivered)?)));
            assert_eq!(view.delivered, delivered.collect::<Vec<_>>());
            let read = marks.iter().filter_map(|(user, (_, read))| Some((user.clone(), (*read)?)));
            assert_eq!(view.read, read.collect::<Vec<_>>());
        }
    }
    for user in USERS.map(Name::from) {
        let Ok(StorageReply::Directs { directs, complete: true }) =
            fixture.ask(StorageQuery::Directs { user: user.clone(), limit: 500 })
        else {
            panic!("no list")
        };
        let expected = model.directs.get(&user).map_or(&[][..], Vec::as_slice);
        assert_eq!(format!("{directs:?}"), format!("{expected:?}"));
        let Ok(StorageReply::User(found)) = fixture.ask(StorageQuery::User { user: user.clone() }) else {
            panic!("no answer")
        };
        assert_eq!(found.as_deref(), model.users.get(&user));
    }
    for token in (0..6).map(|token| TokenHash([token; 32])) {
        let Ok(StorageReply::Session(found)) = fixture.ask(StorageQuery::Session { token }) else {
            panic!("no answer")
        };
        assert_eq!(found.as_deref(), model.sessions.get(&token));
    }
}

fn a_history_is_kept(seed: u64, place: StorageLocation, durability: Durability) {
    let time = ManualClock::new();
    let mut history = History { rng: Rng::from_seed(seed), model: Model::default(), time: time.clone(), made: 0 };
    let restarts = place != StorageLocation::Memory;
    let options = StorageOptions { location: place, durability, ..options("".as_ref(), &time) };
    let mut fixture = StorageFixture::open(options.clone());
    for _ in 0..3 {
        for _ in 0..60 {
            let batch: Vec<Record> = (0..1 + history.rng.below(4)).map(|_| history.next()).collect();
            fixture.submit(batch);
        }
        for _ in 0..60 {
            assert!(fixture.receipt().outcome.is_ok());
        }
        compare_answers(&mut fixture, &history.model);
        if restarts {
            fixture.close();
            // The sessions of connections that lived end a window after the restart.
            for session in history.model.sessions.values_mut() {
                session.expires_at.get_or_insert(time.now() + 120_000);
            }
            compare_restored(options.clone(), &history.model);
            fixture = StorageFixture::open(options.clone());
        }
    }
}

#[test]
fn restart_restores_any_history() {
    for seed in 0..8 {
        let scratch = Scratch::new();
        a_history_is_kept(seed, StorageLocation::Directory(scratch.0.clone()), Durability::Process);
    }
}

#[test]
fn restart_restores_history_with_every_durability() {
    let [power, none] = [Scratch::new(), Scratch::new()];
    a_history_is_kept(100, StorageLocation::Directory(power.0.clone()), Durability::Power);
    a_history_is_kept(101, StorageLocation::Directory(none.0.clone()), Durability::None);
    a_history_is_kept(102, StorageLocation::Memory, Durability::Process);
}

#[test]
fn room_recreated_after_close_starts_empty() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    fixture.keep([room("r")].into_iter().chain(messages("r", 1, 3, BEGINNING))).expect("kept");
    let old = message("r", 1, BEGINNING).id;
    fixture.keep([Record::RoomClosed { room: "r".into() }, room("r")]).expect("kept");
    assert_eq!(fixture.page("r", MessageSpan::Newest, 10).last, 0);
    assert!(matches!(fixture.ask(StorageQuery::Message { id: old }), Ok(StorageReply::Message(None))));
    fixture.keep(messages("r", 1, 2, BEGINNING + 1)).expect("kept");
    assert_eq!(fixture.messages("r").len(), 2);
}

#[test]
fn session_is_taken_once_and_not_after_its_end() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    let lasting = session(1, "ann", Some(BEGINNING + 1_000));
    let keep = |token| Record::SessionKept(Box::new(session(token, "ann", Some(BEGINNING + 1_000))));
    let ann = Identity::new("ann", None, None, Roles::default());
    let take = |token| Record::SessionTaken { token: TokenHash([token; 32]), by: Some(ann.clone()) };
    fixture.keep([keep(1), keep(2)]).expect("kept");
    let eve = Identity::new("eve", None, None, Roles::default());
    let tried = Record::SessionTaken { token: TokenHash([1; 32]), by: Some(eve) };
    assert_eq!(fixture.keep([tried]).expect("kept").taken, [None], "another user's stays where it is");
    fixture.submit_as(0, [take(1)]);
    fixture.submit_as(1, [take(1), take(9)]);
    let taken = [fixture.receipt(), fixture.receipt()].map(|receipt| receipt.outcome.expect("kept").taken);
    assert_eq!(taken, [vec![Some(Box::new(lasting))], vec![None, None]]);
    let other = Some(Box::new(session(2, "ann", Some(BEGINNING + 1_000))));
    for _ in 0..2 {
        let claim = Record::SessionClaimed { token: TokenHash([2; 32]) };
        assert_eq!(
            fixture.keep([claim]).expect("kept").taken,
            std::slice::from_ref(&other),
            "who claims it leaves it there"
        );
    }
    time.pass(1_000);
    let Ok(StorageReply::Session(found)) = fixture.ask(StorageQuery::Session { token: TokenHash([2; 32]) }) else {
        panic!("failed")
    };
    assert_eq!(found, None, "it has ended");
    assert_eq!(fixture.keep([take(2)]).expect("kept").taken, [None]);
}

#[test]
fn sessions_open_at_a_crash_expire_a_window_after_restart() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    fixture.keep([Record::SessionKept(Box::new(session(1, "ann", None)))]).expect("kept");
    fixture.close();
    time.pass(1_000_000);
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    let Ok(StorageReply::Session(Some(found))) = fixture.ask(StorageQuery::Session { token: TokenHash([1; 32]) })
    else {
        panic!("it is lost")
    };
    assert_eq!(found.expires_at, Some(time.now() + 120_000));
}

#[test]
fn open_of_a_used_directory_names_its_process() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    let mut fixture = StorageFixture::open(options(&scratch.0, &time));
    let error = StorageFixture::try_open(options(&scratch.0, &time)).err().expect("a refusal").to_string();
    let directory = scratch.0.canonicalize().expect("a path");
    assert_eq!(
        error,
        format!(
            "the data directory {} is in use by process {}; stop that server, or give this one another data_dir",
            directory.display(),
            std::process::id()
        )
    );
    fixture.keep([room("r")]).expect("the first is not disturbed");
    fixture.close();
    assert_eq!(StorageFixture::open(options(&scratch.0, &time)).rooms.len(), 1);
}

#[test]
fn host_is_restored_without_email() {
    let (scratch, time) = (Scratch::new(), ManualClock::new());
    StorageFixture::open(options(&scratch.0, &time)).keep([room("r")]).expect("kept");
    let fixture = StorageFixture::open(options(&scratch.0, &time));
    assert_eq!(fixture.rooms[0].made.host, person("host"));
}
