//! Typing indicators of a room. The other members receive an event when a user starts and when the user stops: by a
//! request, by leaving, or by a timeout. A repeated start renews the timeout without an event, and a user that types on two
//! connections counts once.

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::event::Event;
use crate::domain::membership::Member;
use crate::domain::op::{OpContext, Reply, Typist};
use crate::domain::reject::Reject;
use crate::domain::room::Room;

/// The typing connections of a room.
#[derive(Default)]
pub(super) struct Typing {
    connections: Vec<TypingConnection>,
    /// The deadline that the owner knows of, in monotonic milliseconds.
    noted: Option<u64>,
}

struct TypingConnection {
    connection: ConnectionId,
    identity: Identity,
    /// The name to show, if it is not the username.
    display_name: Option<Name>,
    /// In milliseconds since 1970.
    started_at: u64,
    /// The timeout, in monotonic milliseconds.
    until: u64,
}

impl Typing {
    /// Whether no connection types.
    pub(super) fn is_idle(&self) -> bool {
        self.connections.is_empty()
    }

    fn has_user(&self, user: &str) -> bool {
        self.connections.iter().any(|typing| typing.identity.user() == user)
    }

    /// The first connection of each typing user.
    fn firsts(&self) -> impl Iterator<Item = &TypingConnection> {
        let is_first = |at: usize, typing: &TypingConnection| {
            !self.connections[..at].iter().any(|known| known.identity.user() == typing.identity.user())
        };
        self.connections.iter().enumerate().filter(move |(at, typing)| is_first(*at, typing)).map(|(_, typing)| typing)
    }

    /// The number of typing users.
    pub(super) fn users(&self) -> usize {
        self.firsts().count()
    }

    /// Starts or renews typing; whether the user has just started. Beyond the limit nothing is noted.
    fn start(&mut self, member: &Member, now: Now) -> bool {
        let Member { connection, identity, about, .. } = member;
        let is_new = !self.has_user(identity.user());
        let until = now.mono + limits::TYPING_MS;
        let connections = &mut self.connections;
        if let Some(typing) = connections.iter_mut().find(|typing| typing.connection == *connection) {
            typing.until = until;
            return false;
        }
        if connections.len() >= limits::TYPISTS_PER_ROOM {
            return false;
        }
        let (connection, identity, display_name) = (*connection, identity.clone(), about.shared_name());
        connections.push(TypingConnection { connection, identity, display_name, started_at: now.wall, until });
        is_new
    }

    /// Stops a connection; what it had, if none of the user's connections types any more.
    fn stop(&mut self, connection: ConnectionId) -> Option<TypingConnection> {
        let at = self.connections.iter().position(|typing| typing.connection == connection)?;
        let stopped = self.connections.remove(at);
        if self.connections.is_empty() {
            self.noted = None;
        }
        (!self.has_user(stopped.identity.user())).then_some(stopped)
    }

    /// The first connection whose timeout has passed.
    fn expired(&self, now: Now) -> Option<ConnectionId> {
        self.connections.iter().find(|typing| typing.until <= now.mono).map(|typing| typing.connection)
    }

    /// Forgets a noted deadline that has passed.
    fn pass(&mut self, now: Now) {
        if self.noted.is_some_and(|at| at <= now.mono) {
            self.noted = None;
        }
    }

    /// The next deadline, if the owner does not know it yet.
    fn take_due(&mut self) -> Option<u64> {
        if self.noted.is_some() {
            return None;
        }
        self.noted = self.connections.iter().map(|typing| typing.until).min();
        self.noted
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.connections.len() <= limits::TYPISTS_PER_ROOM, "typing: connections are within their limit");
        let first = self.connections.iter().map(|typing| typing.until).min();
        assert!(
            self.noted.is_some() == first.is_some() && self.noted <= first,
            "typing: the owner knows of the first deadline"
        );
        for (at, typing) in self.connections.iter().enumerate() {
            let is_same = |other: &TypingConnection| other.connection == typing.connection;
            assert!(!self.connections[..at].iter().any(is_same), "typing: each typing connection is listed once");
        }
    }
}

impl Room {
    /// A member types or stops typing.
    pub(super) fn set_typing(
        &mut self,
        connection: ConnectionId,
        is_typing: bool,
        context: &mut OpContext<'_>,
    ) -> Result<Reply, Reject> {
        self.identify(connection, None, "peerId")?;
        let member = self.members.identify(connection, None, "peerId")?.check_sends()?;
        if !is_typing {
            self.stop_typing(connection, connection, context);
        } else if self.momentary.change(|state| state.typing.start(member, context.now)) {
            let (by, display_name) = (member.identity.clone(), member.about.shared_name());
            let event = Event::Typing { room: self.id.clone(), by, display_name, is_typing };
            context.tell_members(Some(connection), event);
        }
        Ok(Reply::Done)
    }

    /// Stops the typing of a connection, with an event for all members but `except`.
    pub(super) fn stop_typing(&mut self, connection: ConnectionId, except: ConnectionId, context: &mut OpContext<'_>) {
        if self.momentary.get().is_none_or(|state| state.typing.is_idle()) {
            return;
        }
        let stopped = self.momentary.change(|state| state.typing.stop(connection));
        if let Some(TypingConnection { identity: by, display_name, .. }) = stopped {
            let event = Event::Typing { room: self.id.clone(), by, display_name, is_typing: false };
            context.tell_members(Some(except), event);
        }
    }

    /// Stops the typing of connections whose timeout has passed.
    pub(crate) fn end_typing(&mut self, context: &mut OpContext<'_>) {
        if let Some(state) = self.momentary.get_mut() {
            state.typing.pass(context.now);
        }
        while let Some(connection) = self.momentary.get().and_then(|state| state.typing.expired(context.now)) {
            self.stop_typing(connection, connection, context);
        }
    }

    /// When the owner has to call [`Room::end_typing`], in monotonic milliseconds, if it does not know yet.
    pub(crate) fn typing_due(&mut self) -> Option<u64> {
        self.momentary.get_mut().and_then(|state| state.typing.take_due())
    }

    /// The typing users, for a member.
    pub(super) fn typists(&self, connection: ConnectionId) -> Result<Reply, Reject> {
        self.identify(connection, None, "peerId")?;
        let typist =
            |typing: &TypingConnection| Typist { identity: typing.identity.clone(), started_at: typing.started_at };
        let typing = self.momentary.get().map(|state| &state.typing);
        Ok(Reply::Typists(typing.into_iter().flat_map(Typing::firsts).map(typist).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ConnectionPlace;
    use crate::base::rng::Rng;
    use crate::base::time::Now;
    use crate::domain::about::About;
    use crate::domain::access::Roles;
    use crate::domain::command::MediaState;
    use crate::domain::connection_mode::ModeRules;
    use crate::domain::op::{Audience, JoinRoom, LogTerms, RoomOp, RoomRules, Scope};
    use crate::domain::reject::Code;

    const BEGINNING: Now = Now { mono: 10_000, wall: 1_750_000_000_000 };

    fn id(connection: u32) -> ConnectionId {
        ConnectionId::new(ConnectionPlace { node: 0, shard: 0, slot: connection }, [connection as u8; 12])
    }

    fn identity(user: &str) -> Identity {
        Identity::new(user, None, None, Roles::default())
    }

    /// A room, the time, and what was told of typing: who, whether, and whom not.
    struct TypingFixture {
        room: Option<Room>,
        now: Now,
        rng: Rng,
        told: Vec<(String, bool, Option<ConnectionId>)>,
    }

    impl TypingFixture {
        /// A room with two users, the first of them on two connections.
        fn new() -> Self {
            let mut fixture = Self { room: None, now: BEGINNING, rng: Rng::from_seed(1), told: Vec::new() };
            let room =
                fixture.with(|_, context| Room::new("r".into(), &identity("ann"), None, LogTerms::default(), context));
            fixture.room = Some(room);
            for (connection, user) in [(0, "ann"), (1, "ann"), (2, "bob")] {
                fixture.join(connection, user, None);
            }
            fixture
        }

        fn with<T>(&mut self, act: impl FnOnce(&mut Option<Room>, &mut OpContext<'_>) -> T) -> T {
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
                mode: ModeRules::OFF,
                direct_bytes: 0,
                rest_per_minute: 0,
                hooks: crate::domain::hook::HookKinds::NONE,
            };
            let mut events = Vec::new();
            let mut context = OpContext {
                now: self.now,
                rng: &mut self.rng,
                rules: &rules,
                events: &mut events,
                records: &mut Vec::new(),
                hooks: &mut Vec::new(),
            };
            let outcome = act(&mut self.room, &mut context);
            for fact in events {
                if let (Audience::Members { except }, Event::Typing { by, is_typing, .. }) = (fact.audience, fact.event)
                {
                    self.told.push((by.user().to_owned(), is_typing, except));
                }
            }
            outcome
        }

        fn apply(&mut self, op: RoomOp) -> Result<Reply, Reject> {
            self.with(|room, context| room.as_mut().expect("a room").apply(op, context))
        }

        fn join(&mut self, connection: u32, user: &str, peer: Option<&str>) {
            let join = JoinRoom {
                connection: id(connection),
                by: identity(user),
                peer: peer.map(Into::into),
                about: About::default(),
                media: MediaState::default(),
                create: true,
                rewind: 0,
            };
            self.apply(RoomOp::Join(Box::new(join))).expect("it may join");
        }

        fn types(&mut self, connection: u32, is_typing: bool) {
            self.apply(RoomOp::SetTyping { connection: id(connection), is_typing }).expect("it is a member");
        }

        /// What was told since the last time.
        fn told(&mut self) -> Vec<(String, bool, Option<ConnectionId>)> {
            std::mem::take(&mut self.told)
        }

        fn due(&mut self) -> Option<u64> {
            self.room.as_mut().and_then(Room::typing_due)
        }

        fn pass(&mut self, ms: u64) {
            self.now = self.now.plus(ms);
            self.with(|room, context| room.as_mut().expect("a room").end_typing(context));
        }

        fn typists(&mut self, connection: u32) -> Vec<(String, u64)> {
            match self.apply(RoomOp::ListTypists { connection: id(connection) }) {
                Ok(Reply::Typists(list)) => {
                    list.iter().map(|typist| (typist.identity.user().to_owned(), typist.started_at)).collect()
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn news(user: &str, is_typing: bool, except: u32) -> (String, bool, Option<ConnectionId>) {
        (user.to_owned(), is_typing, Some(id(except)))
    }

    #[test]
    fn it_ends_by_itself_unless_it_is_renewed() {
        let mut room = TypingFixture::new();
        room.types(0, true);
        assert_eq!(room.told(), [news("ann", true, 0)]);
        assert_eq!((room.due(), room.due()), (Some(15_000), None), "its keeper notes it once");
        room.pass(3_000);
        room.types(0, true);
        assert_eq!((room.told(), room.due()), (Vec::new(), None));
        room.pass(2_000);
        assert_eq!((room.told(), room.due()), (Vec::new(), Some(18_000)));
        room.pass(3_000);
        assert_eq!((room.told(), room.due()), (vec![news("ann", false, 0)], None));
        assert!(room.room.as_ref().is_some_and(|room| room.momentary.get().is_none()), "nothing is kept");
    }

    #[test]
    fn whoever_did_not_type_does_not_stop() {
        let mut room = TypingFixture::new();
        room.types(0, false);
        room.types(2, true);
        room.types(2, false);
        room.types(2, false);
        assert_eq!(room.told(), [news("bob", true, 2), news("bob", false, 2)]);
    }

    #[test]
    fn a_user_types_as_long_as_one_connection_does() {
        let mut room = TypingFixture::new();
        room.types(0, true);
        room.pass(1_000);
        room.types(1, true);
        assert_eq!(room.typists(2), [("ann".to_owned(), BEGINNING.wall)]);
        room.types(0, false);
        assert_eq!(room.told(), [news("ann", true, 0)]);
        room.pass(5_000);
        assert_eq!(room.told(), [news("ann", false, 1)]);
    }

    #[test]
    fn it_ends_with_the_membership() {
        let mut room = TypingFixture::new();
        room.types(0, true);
        room.types(2, true);
        room.told();
        room.apply(RoomOp::RemoveMember { connection: id(2) }).expect("it is granted");
        let leave = RoomOp::Leave { connection: id(0), by: identity("ann").into(), peer: None };
        room.apply(leave).expect("it is granted");
        assert_eq!(room.told(), [news("bob", false, 2), news("ann", false, 0)]);
        assert_eq!(room.typists(1), []);
        // Another connection that takes the place over does not type because the former did.
        room.join(3, "bob", Some("b"));
        room.types(3, true);
        room.join(4, "bob", Some("b"));
        assert_eq!(room.told(), [news("bob", true, 3), news("bob", false, 4)]);
    }

    #[test]
    fn only_members_type_and_look() {
        let mut room = TypingFixture::new();
        for op in [RoomOp::SetTyping { connection: id(9), is_typing: true }, RoomOp::ListTypists { connection: id(9) }]
        {
            assert_eq!(room.apply(op).expect_err("it is no member").code, Code::NotInRoom);
        }
    }

    #[test]
    fn an_older_note_does_not_end_what_is_newer() {
        let mut room = TypingFixture::new();
        room.types(0, true);
        assert_eq!(room.due(), Some(15_000));
        room.types(0, false);
        room.pass(4_000);
        room.types(0, true);
        assert_eq!(room.due(), Some(19_000));
        room.told();
        // The note of the first time.
        room.pass(1_000);
        assert_eq!((room.told(), room.due()), (Vec::new(), None));
        room.pass(4_000);
        assert_eq!(room.told(), [news("ann", false, 0)]);
    }

    #[test]
    fn typists_have_a_bound() {
        let mut room = TypingFixture::new();
        for connection in 10..11 + limits::TYPISTS_PER_ROOM as u32 {
            room.join(connection, &format!("u{connection}"), Some(&format!("p{connection}")));
            room.types(connection, true);
        }
        assert_eq!(room.told().len(), limits::TYPISTS_PER_ROOM);
        assert_eq!(room.typists(0).len(), limits::TYPISTS_PER_ROOM);
    }
}
