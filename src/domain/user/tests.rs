//! What observers are told of a user, against what they should be.

use proptest::prelude::*;

use super::*;
use crate::base::ids::ConnectionPlace;
use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::domain::access::Roles;
use crate::domain::connection_mode::ModeRules;
use crate::domain::op::{RoomRules, Scope};

const GRACE_MS: u64 = 3_000;
const BEGINNING: Now = Now { mono: 1_000, wall: 1_750_000_000_000 };

fn id(connection: u32) -> ConnectionId {
    ConnectionId::new(
        ConnectionPlace { node: 0, shard: (connection % 3) as u8, slot: connection },
        [connection as u8; 12],
    )
}

fn identity() -> Identity {
    Identity::new("ann", None, None, Roles::default())
}

/// A user, the time, and what was told of them: how they are, since when, whom not, and in which rooms besides.
struct UserFixture {
    /// As their keeper has them: nobody before their first connection, and after they are offline.
    user: Option<User>,
    now: Now,
    rng: Rng,
    told: Vec<(Status, u64, Option<ConnectionId>, Vec<Name>)>,
    introduced: Vec<(ConnectionId, Name, Status)>,
    records: Vec<Record>,
}

impl UserFixture {
    fn new() -> Self {
        Self {
            user: None,
            now: BEGINNING,
            rng: Rng::from_seed(1),
            told: Vec::new(),
            introduced: Vec::new(),
            records: Vec::new(),
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut User, &mut OpContext<'_>) -> T) -> Option<T> {
        let rules = RoomRules {
            announce_limit: 500,
            max_participants: 0,
            joined_have_host: true,
            has_store: true,
            outlives_process: true,
            history: false,
            keep_ms: 0,
            stream_idle_ms: 60_000,
            presence_grace_ms: GRACE_MS,
            presence_scope: Scope::All,
            connections_per_user: 3,
            rooms_per_user: 0,
            signal_bytes: 0,
            mode: ModeRules::OFF,
            direct_bytes: 0,
            rest_per_minute: 0,
            hooks: crate::domain::hook::HookKinds::NONE,
        };
        let mut events = Vec::new();
        let (now, rng, records) = (self.now, &mut self.rng, &mut self.records);
        let mut context = OpContext { now, rng, rules: &rules, events: &mut events, records, hooks: &mut Vec::new() };
        let outcome = act(self.user.as_mut()?, &mut context);
        for fact in events {
            let Event::Presence { by, status, last_seen } = fact.event else { panic!("{fact:?}") };
            assert_eq!(by.user(), "ann");
            match fact.audience {
                Audience::Observers { except, rooms } => self.told.push((status, last_seen, except, rooms)),
                Audience::Acquaintances { connection, room } => self.introduced.push((connection, room, status)),
                other => panic!("{other:?}"),
            }
        }
        Some(outcome)
    }

    fn apply(&mut self, op: UserOp) {
        if matches!(op, UserOp::Attach { .. }) {
            self.user.get_or_insert_with(|| User::new(identity()));
        }
        let _ = self.with(|user, context| user.apply(op, context));
        self.pass(0);
    }

    /// Time passes, and the user's keeper looks whether it is time.
    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        if self.user.as_ref().and_then(User::offline_at).is_some_and(|at| at <= self.now.mono) {
            self.with(|user, context| user.go_offline(context));
            self.user = None;
        }
    }

    fn attach(&mut self, connection: u32) {
        self.apply(UserOp::Attach { connection: id(connection), by: identity(), socket: None });
    }

    fn detach(&mut self, connection: u32, parting: DisconnectKind, rooms: &[&str]) {
        let rooms = rooms.iter().map(|room| Name::from(*room)).collect();
        self.apply(UserOp::Detach { connection: id(connection), parting, rooms });
    }

    fn say(&mut self, status: Status) {
        self.apply(UserOp::SetStatus { status, last_seen: None, by: None });
    }

    fn introduce(&mut self, connection: u32, room: &str) {
        self.apply(UserOp::AnnounceIn { connection: id(connection), room: room.into() });
    }

    fn statuses(&self) -> Vec<Status> {
        self.told.iter().map(|told| told.0).collect()
    }
}

#[test]
fn there_is_one_online_and_one_offline_however_many_connections() {
    let mut ann = UserFixture::new();
    (0..3).for_each(|connection| ann.attach(connection));
    assert_eq!(ann.told, [(Status::Online, BEGINNING.wall, Some(id(0)), Vec::new())]);
    for connection in 0..3 {
        ann.pass(1_000);
        ann.detach(connection, DisconnectKind::Lost, &[]);
    }
    ann.pass(GRACE_MS - 1);
    assert_eq!(ann.told.len(), 1, "the grace period is not over");
    ann.pass(1);
    assert_eq!(ann.told[1..], [(Status::Offline, BEGINNING.wall + 3_000, None, Vec::new())]);
    assert!(ann.user.is_none());
}

#[test]
fn when_a_user_was_last_seen_is_kept() {
    let mut ann = UserFixture::new();
    ann.attach(0);
    ann.attach(1);
    ann.pass(5_000);
    ann.detach(0, DisconnectKind::Clean, &[]);
    ann.detach(1, DisconnectKind::Clean, &[]);
    let seen = |record: &Record| match record {
        Record::UserSeen(seen) => (seen.identity.user().to_owned(), seen.at),
        other => panic!("{other:?}"),
    };
    let seen: Vec<_> = ann.records.iter().map(seen).collect();
    assert_eq!(seen, [("ann".to_owned(), BEGINNING.wall + 5_000)], "once, when they have gone");
}

#[test]
fn a_goodbye_ends_it_at_once_and_a_return_in_time_is_silent() {
    let mut ann = UserFixture::new();
    ann.attach(0);
    ann.detach(0, DisconnectKind::Lost, &["r"]);
    ann.pass(GRACE_MS - 1);
    ann.attach(1);
    ann.pass(10 * GRACE_MS);
    assert_eq!(ann.statuses(), [Status::Online]);
    ann.detach(1, DisconnectKind::Clean, &["s"]);
    assert_eq!(ann.statuses(), [Status::Online, Status::Offline]);
    let rooms: Vec<Name> = ["r", "s"].map(Name::from).to_vec();
    assert_eq!(ann.told[1].3, rooms, "the room of the first connection hears of it, too");
}

#[test]
fn who_seems_offline_stays_so_until_they_say_otherwise_or_are_gone() {
    let mut ann = UserFixture::new();
    ann.attach(0);
    ann.say(Status::Offline);
    ann.attach(1);
    ann.detach(0, DisconnectKind::Lost, &[]);
    ann.detach(1, DisconnectKind::Lost, &[]);
    ann.attach(2);
    assert_eq!(ann.statuses(), [Status::Online, Status::Offline]);
    ann.detach(2, DisconnectKind::Clean, &[]);
    assert_eq!(ann.told.len(), 2, "that they are gone is no news");
    ann.attach(0);
    assert_eq!(ann.statuses()[2..], [Status::Online]);
}

#[test]
fn who_is_away_was_seen_when_they_went() {
    let mut ann = UserFixture::new();
    ann.attach(0);
    ann.pass(5_000);
    ann.say(Status::Away);
    ann.pass(5_000);
    ann.say(Status::Away);
    assert_eq!(ann.told[1..], [(Status::Away, BEGINNING.wall + 5_000, None, Vec::new())]);
    ann.say(Status::Online);
    assert_eq!(ann.told[2].1, BEGINNING.wall + 10_000);
    let later = Some(u64::MAX);
    ann.apply(UserOp::SetStatus { status: Status::Busy, last_seen: later, by: Some(id(0)) });
    assert_eq!(ann.told[3], (Status::Busy, BEGINNING.wall + 10_000, Some(id(0)), Vec::new()));
    ann.apply(UserOp::SetStatus { status: Status::Away, last_seen: Some(7), by: None });
    assert_eq!(ann.told[4].1, 7);
    ann.detach(0, DisconnectKind::Clean, &[]);
    assert_eq!(ann.told[5].1, 7, "they were not active since");
}

#[test]
fn rooms_are_told_of_whoever_joins_but_not_of_who_is_back() {
    let mut ann = UserFixture::new();
    ann.attach(0);
    ann.introduce(0, "r");
    assert_eq!(ann.introduced, [(id(0), "r".into(), Status::Online)]);
    ann.detach(0, DisconnectKind::Lost, &["r", "s"]);
    ann.attach(1);
    ann.introduce(1, "r");
    assert_eq!(ann.introduced.len(), 1, "it is known there");
    ann.say(Status::Busy);
    assert_eq!(ann.told[1].3, [Name::from("s")], "where they are not back yet, they are not forgotten");
    ann.introduce(1, "t");
    assert_eq!(ann.introduced[1], (id(1), "t".into(), Status::Busy));
    ann.say(Status::Offline);
    ann.introduce(1, "u");
    assert_eq!(ann.introduced.len(), 2, "who seems offline is not introduced");
}

#[test]
fn rooms_are_remembered_within_a_bound() {
    let mut ann = UserFixture::new();
    ann.attach(0);
    let rooms: Vec<String> = (0..2 * crate::base::limits::PARTED_ROOMS).map(|number| number.to_string()).collect();
    let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
    ann.detach(0, DisconnectKind::Lost, &rooms);
    ann.pass(GRACE_MS);
    assert_eq!(ann.told[1].3.len(), crate::base::limits::PARTED_ROOMS);
}

/// One thing that happens to a user.
#[derive(Clone, Debug)]
enum UserAction {
    Attach(u32),
    Detach(u32, bool),
    Say(Status),
    Pass(u64),
}

fn act() -> impl Strategy<Value = UserAction> {
    prop_oneof![
        3 => (0..5u32).prop_map(UserAction::Attach),
        3 => (0..5u32, any::<bool>()).prop_map(|(connection, is_lost)| UserAction::Detach(connection, is_lost)),
        1 => (0..4usize).prop_map(|at| UserAction::Say([Status::Online, Status::Away, Status::Busy, Status::Offline][at])),
        2 => (0..2 * GRACE_MS).prop_map(UserAction::Pass),
    ]
}

proptest! {
    #[test]
    fn observers_hear_of_changes_only_and_know_the_truth_in_the_end(acts in prop::collection::vec(act(), 0..60)) {
        let mut ann = UserFixture::new();
        let mut attached: Vec<u32> = Vec::new();
        for act in acts {
            match act {
                UserAction::Attach(connection) if attached.len() < 3 && !attached.contains(&connection) => {
                    attached.push(connection);
                    ann.attach(connection);
                }
                UserAction::Attach(_) => {}
                UserAction::Detach(connection, is_lost) => {
                    attached.retain(|known| *known != connection);
                    ann.detach(connection, if is_lost { DisconnectKind::Lost } else { DisconnectKind::Clean }, &[]);
                }
                UserAction::Say(status) => ann.say(status),
                UserAction::Pass(ms) => ann.pass(ms),
            }
            let told = ann.statuses();
            prop_assert!(told.first().is_none_or(|first| *first == Status::Online));
            prop_assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "{told:?}");
            prop_assert_eq!(ann.user.as_ref().map_or(0, |user| user.connections.len()), attached.len());
            if let Some(user) = &ann.user {
                prop_assert_eq!(told.last().copied(), Some(user.presence.status()));
            }
        }
        for connection in attached {
            ann.detach(connection, DisconnectKind::Lost, &[]);
        }
        ann.pass(GRACE_MS);
        prop_assert!(ann.user.is_none());
        prop_assert!(ann.told.last().is_none_or(|last| last.0 == Status::Offline));
    }
}

#[test]
fn a_user_who_is_here_and_online_takes_little() {
    // Identity, connections, since when, and one pointer for whatever is unusual.
    assert_eq!(size_of::<User>(), 48);
}
