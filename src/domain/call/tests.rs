use proptest::prelude::*;

use super::*;
use crate::base::Name;
use crate::base::ids::ConnectionPlace;
use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::domain::about::About;
use crate::domain::access::{Identity, Roles};
use crate::domain::command::Signal;
use crate::domain::connection_mode::ModeRules;
use crate::domain::hook::HookKinds;
use crate::domain::op::{AddressedEvent, Audience, JoinRoom, LogTerms, RelaySignal, RoomOp, RoomRules, Scope};
use crate::domain::reject::Code;

const RETURN_MS: u64 = 20_000;

const PEOPLE: u32 = 6;

fn id(number: u32) -> ConnectionId {
    ConnectionId::new(ConnectionPlace { node: 0, shard: 0, slot: number }, [number as u8 + 1; 12])
}

fn name(number: u32) -> Name {
    format!("p{number}").as_str().into()
}

fn identity(number: u32) -> Identity {
    Identity::new(&format!("user-{number}"), None, None, Roles::default())
}

fn media(audio: bool, sfu: bool) -> MediaState {
    MediaState { audio, sfu, ..MediaState::default() }
}

/// A room whose host is person 0, the time, and the changes that its members have been told.
struct Fixture {
    room: Room,
    now: Now,
    rng: Rng,
    rules: RoomRules,
    told: Vec<ModeChange>,
}

impl Fixture {
    fn new(mode: ModeRules) -> Self {
        let rules = RoomRules {
            announce_limit: 500,
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
            mode,
            direct_bytes: 0,
            rest_per_minute: 0,
            hooks: HookKinds::NONE,
        };
        let now = Now { mono: 10_000, wall: 1_750_000_000_000 };
        let (mut rng, mut events, mut records) = (Rng::from_seed(1), Vec::new(), Vec::new());
        let mut context = OpContext {
            now,
            rng: &mut rng,
            rules: &rules,
            events: &mut events,
            records: &mut records,
            hooks: &mut Vec::new(),
        };
        let room = Room::new("r".into(), &identity(0), None, LogTerms::default(), &mut context);
        Self { room, now, rng, rules, told: Vec::new() }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Room, &mut OpContext<'_>) -> T) -> T {
        let mut events: Vec<AddressedEvent> = Vec::new();
        let Self { room, now, rng, rules, told } = self;
        let mut context =
            OpContext { now: *now, rng, rules, events: &mut events, records: &mut Vec::new(), hooks: &mut Vec::new() };
        let outcome = act(room, &mut context);
        for event in events {
            if let (Audience::Members { except: None }, Event::Mode { change, .. }) = (event.audience, event.event) {
                told.push(change);
            }
        }
        outcome
    }

    /// Applies an operation and notes the deadline, as owners do.
    fn apply(&mut self, op: RoomOp) -> Result<Reply, Code> {
        let reply = self.with(|room, context| room.apply(op, context)).map_err(|reject| reject.code);
        due(&mut self.room);
        self.room.check_invariants();
        reply
    }

    fn join(&mut self, number: u32, media: MediaState) -> Result<Reply, Code> {
        let (connection, by, peer) = (id(number), identity(number), Some(name(number)));
        let join = JoinRoom { connection, by, peer, about: About::default(), media, create: true, rewind: 0 };
        self.apply(RoomOp::Join(Box::new(join)))
    }

    fn leave(&mut self, number: u32) {
        self.apply(RoomOp::RemoveMember { connection: id(number) }).expect("it is done");
    }

    fn fail(&mut self, number: u32, peer: &str) -> Result<Reply, Code> {
        self.apply(RoomOp::ReportFailure { connection: id(number), peer: peer.into() })
    }

    fn ask(&mut self, number: u32, wanted: WantedMode) -> Result<Reply, Code> {
        self.apply(RoomOp::SetMode { by: identity(number).into(), wanted })
    }

    fn signal(&mut self, from: u32, to: u32) -> Result<Reply, Code> {
        let (signal, body) = (Signal::Offer, "{}".into());
        let relay = RelaySignal { connection: id(from), from: None, to: name(to), signal, body };
        self.apply(RoomOp::RelaySignal(Box::new(relay)))
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        self.with(return_to_p2p);
        due(&mut self.room);
        self.room.check_invariants();
    }

    /// The changes since the last time: the new mode and the reason.
    fn told(&mut self) -> Vec<(&'static str, &'static str)> {
        self.told.drain(..).map(|change| (change.mode.as_str(), change.reason.as_str())).collect()
    }
}

fn rules(p2p_max: u32) -> ModeRules {
    ModeRules { is_on: true, p2p_max, return_ms: RETURN_MS }
}

#[test]
fn third_caller_changes_the_mode_and_its_leaving_changes_it_back_after_a_while() {
    let mut call = Fixture::new(rules(2));
    for number in 0..2 {
        call.join(number, media(true, true)).expect("it joins");
    }
    assert_eq!(call.told(), []);
    let Ok(Reply::Joined(joined)) = call.join(2, media(true, true)) else { panic!("it joins") };
    assert_eq!(joined.mode, ConnectionMode::P2p, "the change is told after the join");
    assert_eq!(call.told(), [("sfu", "participants")]);
    call.leave(2);
    call.pass(RETURN_MS - 1);
    assert_eq!(call.told(), []);
    call.pass(1);
    assert_eq!(call.told(), [("p2p", "participants")]);
    assert!(call.room.momentary.get().is_none(), "nothing is kept");
}

#[test]
fn reload_of_the_third_caller_changes_nothing() {
    let mut call = Fixture::new(rules(2));
    for number in 0..3 {
        call.join(number, media(true, true)).expect("it joins");
    }
    call.told();
    for _ in 0..20 {
        call.leave(2);
        call.pass(RETURN_MS - 1);
        call.join(2, media(true, true)).expect("it joins");
        call.pass(RETURN_MS);
    }
    assert_eq!(call.told(), []);
}

#[test]
fn members_who_only_write_are_no_callers() {
    let mut call = Fixture::new(rules(2));
    for number in 0..2 {
        call.join(number, media(true, true)).expect("it joins");
    }
    for number in 2..PEOPLE {
        call.join(number, MediaState::default()).expect("it joins");
    }
    assert_eq!(call.told(), []);
    call.signal(3, 0).expect("it is relayed");
    assert_eq!(call.told(), [("sfu", "participants")], "a member that signals is a caller");
}

#[test]
fn callers_of_the_first_version_stay_in_the_mesh() {
    let mut call = Fixture::new(rules(2));
    call.join(0, media(true, true)).expect("it joins");
    for number in 1..PEOPLE {
        call.join(number, media(true, false)).expect("it joins");
    }
    call.fail(0, "p1").expect("it is noted");
    assert_eq!(call.told(), [], "one caller alone has no use for a media server");
    assert!(call.room.momentary.get().is_none());
}

#[test]
fn failed_pair_changes_the_mode_until_a_caller_leaves() {
    let mut call = Fixture::new(rules(2));
    for number in 0..2 {
        call.join(number, media(true, true)).expect("it joins");
    }
    call.join(2, MediaState::default()).expect("it joins");
    assert_eq!(call.fail(0, "nobody").err(), Some(Code::PeerNotFound));
    call.fail(0, "p1").expect("it is noted");
    call.fail(1, "p0").expect("it is noted");
    assert_eq!(call.told(), [("sfu", "p2p-failed")]);
    call.pass(10 * RETURN_MS);
    call.leave(2);
    call.pass(10 * RETURN_MS);
    assert_eq!(call.told(), [], "a member that is no caller does not matter");
    call.leave(1);
    call.pass(RETURN_MS);
    assert_eq!(call.told(), [("p2p", "participants")]);
}

#[test]
fn caller_without_way_to_the_media_server_is_one_that_cannot_use_it() {
    let mut call = Fixture::new(rules(2));
    for number in 0..3 {
        call.join(number, media(true, true)).expect("it joins");
    }
    call.told();
    call.fail(0, SFU).expect("it is noted");
    call.pass(RETURN_MS);
    assert_eq!(call.told(), [], "two can still use it");
    assert_eq!(call.room.members.capable(), 2);
    call.fail(1, SFU).expect("it is noted");
    call.pass(RETURN_MS);
    assert_eq!(call.told(), [("p2p", "participants")]);
}

#[test]
fn host_alone_asks_for_a_mode_and_it_stays() {
    let mut call = Fixture::new(rules(2));
    for number in 0..2 {
        call.join(number, media(true, true)).expect("it joins");
    }
    let (p2p, sfu) = (WantedMode::Always(ConnectionMode::P2p), WantedMode::Always(ConnectionMode::Sfu));
    assert_eq!(call.ask(1, sfu).err(), Some(Code::Forbidden));
    call.ask(0, sfu).expect("it is done");
    call.pass(10 * RETURN_MS);
    assert_eq!(call.told(), [("sfu", "requested")]);
    call.ask(0, p2p).expect("it is done");
    call.join(2, media(true, true)).expect("it joins");
    call.fail(0, "p1").expect("it is noted");
    assert_eq!(call.told(), [("p2p", "requested")]);
    call.ask(0, WantedMode::Auto).expect("it is done");
    assert_eq!(call.told(), [("sfu", "participants")]);
}

#[test]
fn media_server_cannot_be_joined_as_a_peer() {
    let mut call = Fixture::new(ModeRules::OFF);
    let (connection, by, peer) = (id(0), identity(0), Some(SFU.into()));
    let media = MediaState::default();
    let join = JoinRoom { connection, by, peer, about: About::default(), media, create: true, rewind: 0 };
    assert_eq!(call.apply(RoomOp::Join(Box::new(join))).err(), Some(Code::PeerIdTaken));
}

/// One step of a random call.
#[derive(Clone, Debug)]
enum Step {
    Join(u32, bool, bool),
    Leave(u32),
    Media(u32, bool, Option<bool>),
    Signal(u32, u32),
    Fail(u32, u32),
    Ask(WantedMode),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let modes = [ConnectionMode::P2p, ConnectionMode::Sfu].map(WantedMode::Always);
    let wanted = prop::sample::select(vec![WantedMode::Auto, WantedMode::Auto, modes[0], modes[1]]);
    let step = prop_oneof![
        4 => (0..PEOPLE, any::<bool>(), prop::bool::weighted(0.7)).prop_map(|(who, on, sfu)| Step::Join(who, on, sfu)),
        3 => (0..PEOPLE).prop_map(Step::Leave),
        2 => (0..PEOPLE, any::<bool>(), any::<Option<bool>>()).prop_map(|(who, on, sfu)| Step::Media(who, on, sfu)),
        1 => (0..PEOPLE, 0..PEOPLE).prop_map(|(from, to)| Step::Signal(from, to)),
        1 => (0..PEOPLE, 0..PEOPLE).prop_map(|(from, to)| Step::Fail(from, to)),
        1 => wanted.prop_map(Step::Ask),
        4 => (1_u64..30_000).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..80)
}

/// The rules of the mode as a plain list of people, evaluated millisecond for millisecond only where they change.
#[derive(Default)]
struct Plain {
    /// Of each person in the room: sends audio, can use a media server, has signaled.
    people: std::collections::BTreeMap<u32, (bool, bool, bool)>,
    is_sfu: bool,
    wanted: WantedMode,
    failed_among: Option<usize>,
    low_since: Option<u64>,
}

impl Plain {
    fn callers(&self) -> usize {
        self.people.values().filter(|(audio, sfu, signaled)| *audio || *sfu || *signaled).count()
    }

    fn capable(&self) -> usize {
        self.people.values().filter(|(_, sfu, _)| *sfu).count()
    }

    fn settle(&mut self, at: u64, p2p_max: usize) {
        if self.people.is_empty() {
            *self = Self::default();
            return;
        }
        let callers = if self.capable() < 2 { 0 } else { self.callers() };
        self.failed_among = self.failed_among.filter(|known| *known == callers);
        let is_wanted = match self.wanted {
            WantedMode::Always(mode) => mode == ConnectionMode::Sfu,
            WantedMode::Auto => callers > p2p_max || self.failed_among.is_some(),
        };
        if is_wanted && self.capable() >= 2 {
            (self.is_sfu, self.low_since) = (true, None);
        } else if self.is_sfu && self.wanted == WantedMode::Always(ConnectionMode::P2p) {
            (self.is_sfu, self.low_since) = (false, None);
        } else if self.is_sfu {
            self.low_since = self.low_since.or(Some(at));
        }
    }

    fn pass(&mut self, at: u64) {
        if self.low_since.is_some_and(|since| since + RETURN_MS <= at) {
            (self.is_sfu, self.low_since) = (false, None);
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Join(who, audio, sfu) => {
                let signaled = self.people.get(&who).is_some_and(|known| known.2);
                self.people.insert(who, (audio, sfu, signaled));
            }
            Step::Leave(who) => drop(self.people.remove(&who)),
            Step::Media(who, audio, sfu) => {
                if let Some(known) = self.people.get_mut(&who) {
                    (known.0, known.1) = (audio, sfu.unwrap_or(known.1));
                }
            }
            Step::Signal(from, to) if self.people.contains_key(&to) => {
                if let Some(known) = self.people.get_mut(&from) {
                    known.2 = true;
                }
            }
            Step::Fail(from, to) if from != to => {
                let can = |who| self.people.get(&who).is_some_and(|known: &(bool, bool, bool)| known.1);
                if can(from) && can(to) {
                    self.failed_among = Some(self.callers());
                }
            }
            Step::Ask(wanted) => self.wanted = wanted,
            Step::Signal(..) | Step::Fail(..) | Step::Pass(_) => {}
        }
    }
}

proptest! {
    #[test]
    fn mode_of_any_call_is_that_of_the_plain_rules(steps in steps(), p2p_max in 1_u32..4) {
        let mut call = Fixture::new(rules(p2p_max));
        let mut plain = Plain::default();
        let mut told = ConnectionMode::P2p;
        for step in steps {
            match step.clone() {
                Step::Join(who, audio, sfu) => drop(call.join(who, media(audio, sfu))),
                Step::Leave(who) => call.leave(who),
                Step::Media(who, audio, sfu) => {
                    let media = media(audio, false);
                    drop(call.apply(RoomOp::SetMedia { connection: id(who), peer: None, media, sfu }));
                }
                Step::Signal(from, to) => drop(call.signal(from, to)),
                Step::Fail(from, to) => drop(call.fail(from, &name(to))),
                Step::Ask(wanted) => drop(call.ask(0, wanted)),
                Step::Pass(ms) => call.pass(ms),
            }
            plain.pass(call.now.mono);
            plain.apply(&step);
            if !matches!(step, Step::Pass(_)) {
                plain.settle(call.now.mono, p2p_max as usize);
            }
            prop_assert_eq!(mode(&call.room) == ConnectionMode::Sfu, plain.is_sfu, "after {:?}", step);
            // Each change is told once, and an empty room has no members to tell.
            for change in call.told.drain(..) {
                prop_assert_eq!((change.previous, change.mode), (told, told.other()));
                told = change.mode;
            }
            if call.room.members.is_empty() {
                told = ConnectionMode::P2p;
            }
            prop_assert_eq!(told, mode(&call.room));
        }
    }
}
