//! Who types in a room. The others are told when a user begins and when the user stops: by saying so, by leaving, or by
//! not having said again in time that they type. Saying it again in time is no news, and a user who types on two
//! connections is told once.

use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::domain::access::Identity;
use crate::domain::event::Event;
use crate::domain::op::{OpContext, Reply, Typist};
use crate::domain::reject::Reject;
use crate::domain::room::Room;

/// A room's typists. Where nobody types, which is nearly always, they take no memory but this.
#[derive(Default)]
pub(super) struct Typing(Option<Box<Typists>>);

#[derive(Default)]
struct Typists {
    list: Vec<Typed>,
    /// When the room's keeper has noted to look who has stopped, in monotonic milliseconds.
    noted: Option<u64>,
}

/// One connection that types.
struct Typed {
    connection: ConnectionId,
    identity: Identity,
    /// Since when, in milliseconds since 1970.
    started_at: u64,
    /// Until when, unless it says so again, in monotonic milliseconds.
    until: u64,
}

impl Typing {
    fn list(&self) -> &[Typed] {
        self.0.as_deref().map_or(&[], |typists| &typists.list)
    }

    fn has(&self, user: &str) -> bool {
        self.list().iter().any(|typed| typed.identity.user() == user)
    }

    /// How many users type.
    pub(super) fn users(&self) -> usize {
        let is_first = |at: usize, typed: &Typed| {
            !self.list()[..at].iter().any(|known| known.identity.user() == typed.identity.user())
        };
        self.list().iter().enumerate().filter(|(at, typed)| is_first(*at, typed)).count()
    }

    /// Takes out a connection that types, and whether its user does so no longer.
    fn remove(&mut self, which: impl Fn(&Typed) -> bool) -> Option<(Typed, bool)> {
        let typists = self.0.as_deref_mut()?;
        let at = typists.list.iter().position(which)?;
        let typed = typists.list.remove(at);
        if typists.list.is_empty() {
            self.0 = None;
        }
        let is_last = !self.has(typed.identity.user());
        Some((typed, is_last))
    }
}

impl Room {
    /// A member types, or stopped.
    pub(super) fn typing(
        &mut self,
        connection: ConnectionId,
        is_typing: bool,
        context: &mut OpContext<'_>,
    ) -> Result<Reply, Reject> {
        let identity = self.member(connection, None, "peerId")?.identity.clone();
        if !is_typing {
            self.stop_typing(connection, connection, context);
            return Ok(Reply::Done);
        }
        let is_news = !self.typing.has(identity.user());
        let until = context.now.mono + limits::TYPING_MS;
        let list = &mut self.typing.0.get_or_insert_default().list;
        if let Some(typed) = list.iter_mut().find(|typed| typed.connection == connection) {
            typed.until = until;
        } else if list.len() < limits::TYPISTS_PER_ROOM {
            list.push(Typed { connection, identity: identity.clone(), started_at: context.now.wall, until });
            if is_news {
                let event = Event::Typing { room: self.id.clone(), by: identity, is_typing };
                context.tell_members(Some(connection), event);
            }
        }
        Ok(Reply::Done)
    }

    /// A connection types no longer, if it did; `except` is not told.
    pub(super) fn stop_typing(&mut self, connection: ConnectionId, except: ConnectionId, context: &mut OpContext<'_>) {
        if let Some((typed, true)) = self.typing.remove(|typed| typed.connection == connection) {
            let event = Event::Typing { room: self.id.clone(), by: typed.identity, is_typing: false };
            context.tell_members(Some(except), event);
        }
    }

    /// Ends the typing of those who have not said again that they type.
    pub fn end_typing(&mut self, context: &mut OpContext<'_>) {
        let now = context.now.mono;
        if let Some(typists) = &mut self.typing.0
            && typists.noted.is_some_and(|at| at <= now)
        {
            typists.noted = None;
        }
        while let Some(typed) = self.typing.list().iter().find(|typed| typed.until <= now) {
            let connection = typed.connection;
            self.stop_typing(connection, connection, context);
        }
    }

    /// When the room's keeper is to look who has stopped typing, in monotonic milliseconds, if it has not noted that yet.
    pub fn typing_due(&mut self) -> Option<u64> {
        let typists = self.typing.0.as_deref_mut().filter(|typists| typists.noted.is_none())?;
        typists.noted = typists.list.iter().map(|typed| typed.until).min();
        typists.noted
    }

    /// Who types, for a member.
    pub(super) fn typists(&self, connection: ConnectionId) -> Result<Reply, Reject> {
        self.member(connection, None, "peerId")?;
        let mut typists: Vec<Typist> = Vec::new();
        for typed in self.typing.list() {
            if !typists.iter().any(|known| known.identity.user() == typed.identity.user()) {
                typists.push(Typist { identity: typed.identity.clone(), started_at: typed.started_at });
            }
        }
        Ok(Reply::Typists(typists))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ConnectionPlace;
    use crate::base::rng::Rng;
    use crate::base::time::Now;
    use crate::domain::access::Roles;
    use crate::domain::command::MediaState;
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
    struct Watched {
        room: Option<Room>,
        now: Now,
        rng: Rng,
        told: Vec<(String, bool, Option<ConnectionId>)>,
    }

    impl Watched {
        /// A room with two users, the first of them on two connections.
        fn new() -> Self {
            let mut watched = Self { room: None, now: BEGINNING, rng: Rng::from_seed(1), told: Vec::new() };
            let room =
                watched.with(|_, context| Room::new("r".into(), &identity("ann"), None, LogTerms::default(), context));
            watched.room = Some(room);
            for (connection, user) in [(0, "ann"), (1, "ann"), (2, "bob")] {
                watched.join(connection, user, None);
            }
            watched
        }

        fn with<T>(&mut self, act: impl FnOnce(&mut Option<Room>, &mut OpContext<'_>) -> T) -> T {
            let rules = RoomRules {
                announce_limit: 500,
                max_participants: 0,
                has_store: false,
                outlives_process: false,
                history: false,
                keep_ms: 0,
                presence_grace_ms: 0,
                presence_scope: Scope::None,
                connections_per_user: 0,
                rest_per_minute: 0,
            };
            let mut events = Vec::new();
            let mut context = OpContext {
                now: self.now,
                rng: &mut self.rng,
                rules: &rules,
                events: &mut events,
                records: &mut Vec::new(),
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
                display_name: None,
                media: MediaState::default(),
                create: true,
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
        let mut room = Watched::new();
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
        assert!(room.room.as_ref().is_some_and(|room| room.typing.0.is_none()), "nothing is kept");
    }

    #[test]
    fn whoever_did_not_type_does_not_stop() {
        let mut room = Watched::new();
        room.types(0, false);
        room.types(2, true);
        room.types(2, false);
        room.types(2, false);
        assert_eq!(room.told(), [news("bob", true, 2), news("bob", false, 2)]);
    }

    #[test]
    fn a_user_types_as_long_as_one_connection_does() {
        let mut room = Watched::new();
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
        let mut room = Watched::new();
        room.types(0, true);
        room.types(2, true);
        room.told();
        room.apply(RoomOp::RemoveMember { connection: id(2) }).expect("it is granted");
        let leave = RoomOp::Leave { connection: id(0), by: identity("ann"), peer: None };
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
        let mut room = Watched::new();
        for op in [RoomOp::SetTyping { connection: id(9), is_typing: true }, RoomOp::ListTypists { connection: id(9) }]
        {
            assert_eq!(room.apply(op).expect_err("it is no member").code, Code::NotInRoom);
        }
    }

    #[test]
    fn an_older_note_does_not_end_what_is_newer() {
        let mut room = Watched::new();
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
        let mut room = Watched::new();
        for connection in 10..11 + limits::TYPISTS_PER_ROOM as u32 {
            room.join(connection, &format!("u{connection}"), Some(&format!("p{connection}")));
            room.types(connection, true);
        }
        assert_eq!(room.told().len(), limits::TYPISTS_PER_ROOM);
        assert_eq!(room.typists(0).len(), limits::TYPISTS_PER_ROOM);
    }
}
