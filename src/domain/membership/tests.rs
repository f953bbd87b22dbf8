//! A room's members against a list that knows no index, no shards and no shortcuts.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::base::ids::ConnectionPlace;
use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::domain::about::About;
use crate::domain::access::Roles;
use crate::domain::connection_mode::ModeRules;
use crate::domain::op::{AddressedEvent, Audience, LogTerms, RoomOp, RoomRules, Scope};
use crate::domain::reject::Code;

const CONNECTIONS: usize = 64;
const USERS: usize = 4;
const NAMES: usize = 48;

/// One act, its connections and names by number.
#[derive(Clone, Debug)]
enum RoomAction {
    Join {
        connection: usize,
        name: Naming,
    },
    Leave {
        connection: usize,
        name: Option<Naming>,
    },
    Vanish {
        connection: usize,
    },
    /// So many connections vanish, from this one on.
    VanishMany {
        connection: usize,
        count: usize,
    },
    Admit {
        user: usize,
    },
    Withdraw {
        user: usize,
        connection: Option<usize>,
    },
}

/// A name that a client gives.
#[derive(Clone, Copy, Debug)]
enum Naming {
    None,
    Chosen(usize),
    /// The id of a connection.
    Id(usize),
}

fn id(connection: usize) -> ConnectionId {
    let place = ConnectionPlace { node: 0, shard: (connection % 3) as u8, slot: connection as u32 };
    ConnectionId::new(place, [connection as u8; 12])
}

fn identity(user: usize) -> Identity {
    Identity::new(&format!("user {user}"), None, None, Roles::default())
}

fn user_of(connection: usize) -> usize {
    connection % USERS
}

impl Naming {
    fn name(self) -> Option<Name> {
        match self {
            Self::None => None,
            Self::Chosen(name) => Some(format!("name {name}").into()),
            Self::Id(connection) => Some(id(connection).text().as_str().into()),
        }
    }
}

/// A member, as a list without shortcuts has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    name: String,
    connection: usize,
}

/// The room as its rules say it in plain words.
#[derive(Default)]
struct Plain(Vec<Entry>);

impl Plain {
    fn of(&self, connection: usize) -> Option<usize> {
        self.0.iter().position(|entry| entry.connection == connection)
    }

    fn named(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|entry| entry.name == name)
    }

    fn join(&mut self, connection: usize, name: Naming) -> Result<(), Code> {
        let name = name.name().map_or_else(|| id(connection).to_string(), |name| name.to_string());
        let holder = self.named(&name).map(|at| self.0[at].connection);
        if holder.is_some_and(|holder| user_of(holder) != user_of(connection)) {
            return Err(Code::PeerIdTaken);
        }
        self.0.retain(|entry| entry.connection != connection && entry.name != name);
        self.0.push(Entry { name, connection });
        Ok(())
    }

    fn leave(&mut self, connection: usize, name: Option<Naming>) -> Result<(), Code> {
        let own = self.of(connection);
        let Some(name) = name.and_then(Naming::name) else {
            return own.map(|at| drop(self.0.remove(at))).ok_or(Code::NotInRoom);
        };
        match (own, self.named(&name)) {
            // The first user made the room.
            (own, Some(named)) if own == Some(named) || user_of(connection) == 0 => {
                self.0.remove(named);
                Ok(())
            }
            (None, _) => Err(Code::NotInRoom),
            (Some(_), None) => Err(Code::PeerNotFound),
            (Some(_), Some(_)) => Err(Code::PeerMismatch),
        }
    }

    fn apply(&mut self, act: &RoomAction) -> Result<(), Code> {
        match *act {
            RoomAction::Join { connection, name } => self.join(connection, name),
            RoomAction::Leave { connection, name } => self.leave(connection, name),
            RoomAction::Vanish { connection } => {
                self.0.retain(|entry| entry.connection != connection);
                Ok(())
            }
            RoomAction::VanishMany { connection, count } => {
                self.0.retain(|entry| !(connection..connection + count).contains(&entry.connection));
                Ok(())
            }
            RoomAction::Admit { user } => {
                for connection in connections_of(user) {
                    if self.of(connection).is_none() {
                        self.join(connection, Naming::None)?;
                    }
                }
                Ok(())
            }
            RoomAction::Withdraw { user, connection } => {
                let before = self.0.len();
                let is_meant = |entry: &Entry| connection.is_none_or(|connection| entry.connection == connection);
                self.0.retain(|entry| user_of(entry.connection) != user || !is_meant(entry));
                if self.0.len() < before { Ok(()) } else { Err(Code::NotInRoom) }
            }
        }
    }
}

fn connections_of(user: usize) -> impl Iterator<Item = usize> {
    (0..CONNECTIONS).filter(move |connection| user_of(*connection) == user)
}

/// A room, and what an onlooker who is told everything makes of it.
struct RoomFixture {
    room: Room,
    rng: Rng,
    rules: RoomRules,
    hooks: Vec<crate::domain::hook::HookEvent>,
    events: Vec<AddressedEvent>,
    /// The names the onlooker believes are there.
    seen: BTreeSet<String>,
}

impl RoomFixture {
    fn new() -> Self {
        let mut rng = Rng::from_seed(1);
        let rules = RoomRules {
            announce_limit: usize::MAX,
            max_participants: 0,
            joined_have_host: true,
            has_store: false,
            outlives_process: false,
            history: false,
            keep_ms: 0,
            stream_idle_ms: 60_000,
            presence_grace_ms: 0,
            presence_scope: Scope::None,
            connections_per_user: 0,
            rooms_per_user: 0,
            signal_bytes: 0,
            mode: ModeRules::OFF,
            direct_bytes: 0,
            rest_per_minute: 0,
            hooks: crate::domain::hook::HookKinds::NONE,
        };
        let (mut events, mut records) = (Vec::new(), Vec::new());
        let mut context = OpContext {
            now: Now::default(),
            rng: &mut rng,
            rules: &rules,
            events: &mut events,
            records: &mut records,
            hooks: &mut Vec::new(),
        };
        let room = Room::new("r".into(), &identity(0), None, LogTerms::default(), &mut context);
        Self { room, rng, rules, hooks: Vec::new(), events, seen: BTreeSet::new() }
    }

    fn op(&mut self, op: RoomOp) -> Result<(), Code> {
        let mut context = OpContext {
            now: Now::default(),
            rng: &mut self.rng,
            rules: &self.rules,
            events: &mut self.events,
            records: &mut Vec::new(),
            hooks: &mut self.hooks,
        };
        self.room.apply(op, &mut context).map(drop).map_err(|reject| reject.code)
    }

    fn apply(&mut self, act: &RoomAction) -> Result<(), Code> {
        let by = |connection| identity(user_of(connection));
        match *act {
            RoomAction::Join { connection, name } => self.op(RoomOp::Join(Box::new(JoinRoom {
                connection: id(connection),
                by: by(connection),
                peer: name.name(),
                about: About::default(),
                media: MediaState::default(),
                create: false,
                rewind: 0,
            }))),
            RoomAction::Leave { connection, name } => {
                let peer = name.and_then(Naming::name);
                self.op(RoomOp::Leave { connection: id(connection), by: by(connection).into(), peer })
            }
            RoomAction::Vanish { connection } => self.op(RoomOp::RemoveMember { connection: id(connection) }),
            RoomAction::VanishMany { connection, count } => (connection..connection + count)
                .try_for_each(|connection| self.op(RoomOp::RemoveMember { connection: id(connection) })),
            RoomAction::Admit { user } => {
                let connections = connections_of(user).map(id).collect();
                self.op(RoomOp::AddParticipant { by: identity(user), connections })
            }
            RoomAction::Withdraw { user, connection } => {
                self.op(RoomOp::RemoveParticipant { by: identity(user), connection: connection.map(id) })
            }
        }
    }

    /// What the members are told is news to them: nobody comes who is there, nobody goes who is not.
    fn watch(&mut self) {
        for fact in self.events.drain(..) {
            match (fact.audience, fact.event) {
                (Audience::Members { .. }, Event::PeerJoined { peer, .. }) => {
                    assert!(self.seen.insert(peer.name.with(str::to_owned)), "{:?} was there", peer.name);
                }
                (Audience::Members { .. }, Event::PeerLeft { peer, .. }) => {
                    assert!(self.seen.remove(&peer.with(str::to_owned)), "{peer:?} was not there");
                }
                _ => {}
            }
        }
    }

    fn check(&self, plain: &Plain) {
        let members = &self.room.members;
        assert_eq!(members.len(), plain.0.len());
        for connection in 0..CONNECTIONS {
            let name = members.of(id(connection)).map(|member| member.peer_name().with(str::to_owned));
            assert_eq!(name, plain.of(connection).map(|at| plain.0[at].name.clone()), "connection {connection}");
        }
        let ids = (0..CONNECTIONS).map(Naming::Id);
        for name in (0..NAMES).map(Naming::Chosen).chain(ids).filter_map(Naming::name) {
            let connection = members.named(&name).map(|member| member.connection);
            assert_eq!(connection, plain.named(&name).map(|at| id(plain.0[at].connection)), "{name}");
        }
        let shards: BTreeSet<u8> = plain.0.iter().map(|entry| (entry.connection % 3) as u8).collect();
        assert_eq!(members.shards().collect::<BTreeSet<u8>>(), shards);
        let names: BTreeSet<String> = plain.0.iter().map(|entry| entry.name.clone()).collect();
        assert_eq!(self.seen, names, "who is told everything knows who is there");
    }
}

fn naming() -> impl Strategy<Value = Naming> {
    prop_oneof![
        3 => Just(Naming::None),
        6 => (0..NAMES).prop_map(Naming::Chosen),
        2 => (0..CONNECTIONS).prop_map(Naming::Id),
    ]
}

fn act() -> impl Strategy<Value = RoomAction> {
    let connection = || 0..CONNECTIONS;
    prop_oneof![
        24 => (connection(), naming()).prop_map(|(connection, name)| RoomAction::Join { connection, name }),
        4 => (connection(), prop::option::of(naming())).prop_map(|(connection, name)| RoomAction::Leave { connection, name }),
        4 => connection().prop_map(|connection| RoomAction::Vanish { connection }),
        1 => (connection(), 20..CONNECTIONS).prop_map(|(connection, count)| RoomAction::VanishMany {
            connection: connection / 2,
            count: count.min(CONNECTIONS - connection / 2),
        }),
        1 => (0..USERS).prop_map(|user| RoomAction::Admit { user }),
        1 => (0..USERS, prop::option::of(connection())).prop_map(|(user, connection)| RoomAction::Withdraw { user, connection }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn members_are_who_the_rules_say(acts in prop::collection::vec(act(), 1..160)) {
        let (mut room, mut plain) = (RoomFixture::new(), Plain::default());
        for act in &acts {
            let expected = plain.apply(act);
            let granted = room.apply(act);
            prop_assert_eq!(granted, expected, "{:?}", act);
            room.watch();
            room.check(&plain);
        }
    }
}

#[test]
fn the_index_comes_and_goes_with_the_size() {
    let mut room = RoomFixture::new();
    let mut plain = Plain::default();
    let mut is_indexed = false;
    let mut step = |act: RoomAction| {
        assert_eq!(room.apply(&act), plain.apply(&act));
        room.watch();
        room.check(&plain);
        is_indexed = match plain.0.len() {
            length if length > INDEXED_FROM => true,
            length if length <= INDEXED_FROM / 2 => false,
            _ => is_indexed,
        };
        assert_eq!(room.room.members.index.is_some(), is_indexed, "after {act:?}");
        is_indexed
    };
    for connection in 0..=INDEXED_FROM {
        let name = if connection.is_multiple_of(2) { Naming::Chosen(connection) } else { Naming::None };
        step(RoomAction::Join { connection, name });
    }
    // A take-over and a new name while there is an index.
    assert!(step(RoomAction::Join { connection: 40, name: Naming::Chosen(0) }));
    assert!(step(RoomAction::Join { connection: 41, name: Naming::Id(1) }));
    assert!(step(RoomAction::Join { connection: 2, name: Naming::Chosen(47) }));
    let indexed = (0..=INDEXED_FROM).filter(|connection| step(RoomAction::Vanish { connection: *connection })).count();
    assert!((1..INDEXED_FROM).contains(&indexed), "it went at some point");
}

#[test]
fn observers_are_members_that_the_others_neither_see_nor_count() {
    let mut room = RoomFixture::new();
    let mut join = |connection: usize, is_observer: bool| {
        let (by, about) = (identity(connection % USERS), About::new(None, None, is_observer));
        let (connection, media) = (id(connection), MediaState::default());
        let join = JoinRoom { connection, by, peer: None, about, media, create: false, rewind: 0 };
        room.op(RoomOp::Join(Box::new(join))).expect("it joins");
        room.watch();
        room.room.check_invariants();
        (room.room.members.len(), room.room.members.connections(), room.seen.len())
    };
    // Without an index and with one.
    for connection in 0..CONNECTIONS {
        let visible = connection / 2;
        let expected = if connection.is_multiple_of(2) { visible } else { visible + 1 };
        assert_eq!(join(connection, connection.is_multiple_of(2)), (expected, connection + 1, expected));
    }
    let half = CONNECTIONS / 2;
    assert_eq!(join(0, false), (half + 1, CONNECTIONS, half + 1), "an observer arrives");
    assert_eq!(join(0, true), (half, CONNECTIONS, half), "and leaves");
    for connection in 0..CONNECTIONS {
        room.op(RoomOp::RemoveMember { connection: id(connection) }).expect("it is removed");
        room.watch();
        room.room.check_invariants();
        assert_eq!(room.room.members.len(), (CONNECTIONS - connection - 1).div_ceil(2));
    }
    assert!(room.seen.is_empty() && room.room.members.is_empty());
}
