//! Connections that a client registers under a name of its own, its `socketId`: before it connects, so that the connection
//! finds what was said of it, or after.
//!
//! A registration waits for its connection for [`limits::PENDING_MS`]. One that has come is known by its name until it
//! ends. There is a bound to both, for each user and for each keeper.

use std::collections::VecDeque;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::domain::connection::connection_not_found;
use crate::domain::reject::{Code, Reject};

/// The registrations of one keeper's users.
pub struct Registrations {
    by_user: Map<Name, Vec<Registration>>,
    count: usize,
    /// Users with a registration that may have waited long enough, and when, in monotonic milliseconds; the first first.
    due: VecDeque<(u64, Name)>,
}

struct Registration {
    socket: Name,
    state: State,
}

enum State {
    /// Its connection has not come.
    Pending {
        /// What it will be told of the device behind it, as JSON.
        device: Option<Box<str>>,
        /// Until when it waits, in monotonic milliseconds.
        until: u64,
    },
    /// This is the connection.
    Live(ConnectionId),
}

impl Registrations {
    /// None yet.
    pub fn new(seed: u64) -> Self {
        Self { by_user: map(seed), count: 0, due: VecDeque::new() }
    }

    /// Registers what is known of a connection that calls itself `socket`: the connection if it is there, or else nothing,
    /// and the registration waits for it.
    ///
    /// # Errors
    /// There are too many registrations.
    pub fn register(
        &mut self,
        user: &Name,
        socket: Name,
        device: Option<Box<str>>,
        now: Now,
    ) -> Result<Option<ConnectionId>, Reject> {
        // Each registration and each renewal leaves a note until its time is over.
        if self.due.len() >= limits::REGISTRATIONS {
            return Err(Reject::overloaded());
        }
        let own = self.by_user.get_mut(user);
        let until = now.mono + limits::PENDING_MS;
        let pending = State::Pending { device, until };
        if let Some(known) = own.and_then(|own| own.iter_mut().find(|known| known.socket == socket)) {
            if let State::Live(connection) = known.state {
                return Ok(Some(connection));
            }
            known.state = pending;
        } else {
            self.add(user, Registration { socket, state: pending })?;
        }
        self.due.push_back((until, user.clone()));
        Ok(None)
    }

    /// A connection has come that calls itself `socket`; what was registered for it. Where there is no room for its name it
    /// does without.
    pub fn claim(&mut self, user: &Name, socket: Name, connection: ConnectionId) -> Option<Box<str>> {
        let own = self.by_user.get_mut(user);
        match own.and_then(|own| own.iter_mut().find(|known| known.socket == socket)) {
            Some(known) => match std::mem::replace(&mut known.state, State::Live(connection)) {
                State::Pending { device, .. } => device,
                State::Live(_) => None,
            },
            None => {
                let _ = self.add(user, Registration { socket, state: State::Live(connection) });
                None
            }
        }
    }

    /// Withdraws a registration that still waits.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn withdraw(&mut self, user: &Name, socket: &str) -> Result<(), Reject> {
        let is_it = |known: &Registration| *known.socket == *socket && matches!(known.state, State::Pending { .. });
        if self.retain(user, |known| !is_it(known)) { Ok(()) } else { Err(connection_not_found()) }
    }

    /// A connection has ended, and its name with it.
    pub fn end(&mut self, user: &Name, connection: ConnectionId) {
        if self.count > 0 {
            self.retain(user, |known| !matches!(known.state, State::Live(live) if live == connection));
        }
    }

    /// Forgets those that have waited long enough.
    pub fn expire(&mut self, now: Now) {
        while let Some((_, user)) = self.due.pop_front_if(|(until, _)| *until <= now.mono) {
            self.retain(&user, |known| !matches!(known.state, State::Pending { until, .. } if until <= now.mono));
        }
    }

    /// When [`Registrations::expire`] next has something to do, in monotonic milliseconds.
    pub fn next_due(&self) -> Option<u64> {
        self.due.front().map(|(at, _)| *at)
    }

    fn add(&mut self, user: &Name, registration: Registration) -> Result<(), Reject> {
        if self.count >= limits::REGISTRATIONS {
            return Err(Reject::overloaded());
        }
        let own = self.by_user.entry(user.clone()).or_default();
        if own.len() >= limits::REGISTRATIONS_PER_USER {
            return Err(too_many_names());
        }
        own.push(registration);
        self.count += 1;
        Ok(())
    }

    /// Keeps those of a user's registrations that `keep`; whether there were others.
    fn retain(&mut self, user: &Name, keep: impl FnMut(&Registration) -> bool) -> bool {
        let Some(own) = self.by_user.get_mut(user) else { return false };
        let before = own.len();
        own.retain(keep);
        let removed = before - own.len();
        if own.is_empty() {
            self.by_user.remove(user);
        }
        self.count -= removed;
        if self.count == 0 {
            self.by_user.shrink_to_fit();
        }
        removed > 0
    }
}

/// The user has registered as many names as they may.
pub fn too_many_names() -> Reject {
    Reject::new(Code::RateLimited, "Too many registered connections of this user")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ConnectionPlace;

    const NOW: Now = Now { mono: 1_000, wall: 0 };

    fn id(slot: u32) -> ConnectionId {
        ConnectionId::new(ConnectionPlace { node: 0, shard: 0, slot }, [0; 12])
    }

    fn device(text: &str) -> Option<Box<str>> {
        Some(text.into())
    }

    #[test]
    fn a_connection_finds_what_was_said_of_it_in_time() {
        let mut all = Registrations::new(1);
        let (ann, bob) = (Name::from("ann"), Name::from("bob"));
        assert_eq!(all.register(&ann, "tab".into(), device("1"), NOW), Ok(None));
        assert_eq!(all.register(&ann, "phone".into(), device("2"), NOW.plus(10)), Ok(None));
        assert_eq!(all.claim(&bob, "tab".into(), id(1)), None, "another user's is another");
        assert_eq!(all.claim(&ann, "tab".into(), id(2)), device("1"));
        assert_eq!(all.claim(&ann, "tab".into(), id(2)), None, "once");
        all.expire(NOW.plus(limits::PENDING_MS));
        assert_eq!(all.claim(&ann, "phone".into(), id(3)), device("2"));
        assert_eq!(all.register(&ann, "late".into(), device("3"), NOW.plus(20)), Ok(None));
        all.expire(NOW.plus(limits::PENDING_MS + 20));
        assert_eq!(all.claim(&ann, "late".into(), id(4)), None);
    }

    #[test]
    fn who_came_first_is_known_by_its_name_until_it_ends() {
        let mut all = Registrations::new(1);
        let ann = Name::from("ann");
        assert_eq!(all.claim(&ann, "tab".into(), id(1)), None);
        assert_eq!(all.register(&ann, "tab".into(), device("1"), NOW), Ok(Some(id(1))));
        all.end(&ann, id(2));
        assert_eq!(all.register(&ann, "tab".into(), device("1"), NOW), Ok(Some(id(1))));
        all.end(&ann, id(1));
        assert_eq!(all.register(&ann, "tab".into(), device("1"), NOW), Ok(None));
        assert_eq!((all.count, all.by_user.len()), (1, 1));
    }

    #[test]
    fn what_waits_can_be_renewed_and_withdrawn() {
        let mut all = Registrations::new(1);
        let ann = Name::from("ann");
        assert_eq!(all.register(&ann, "tab".into(), device("1"), NOW), Ok(None));
        assert_eq!(all.register(&ann, "tab".into(), device("2"), NOW.plus(50_000)), Ok(None));
        all.expire(NOW.plus(limits::PENDING_MS));
        assert_eq!(all.withdraw(&ann, "other"), Err(connection_not_found()));
        assert_eq!(all.withdraw(&ann, "tab"), Ok(()));
        assert_eq!(all.withdraw(&ann, "tab"), Err(connection_not_found()));
        all.claim(&ann, "tab".into(), id(1));
        assert_eq!(all.withdraw(&ann, "tab"), Err(connection_not_found()), "it is there; it can be closed");
    }

    #[test]
    fn there_are_bounds_and_nothing_is_left_in_the_end() {
        let mut all = Registrations::new(1);
        let ann = Name::from("ann");
        for number in 0..limits::REGISTRATIONS_PER_USER {
            assert_eq!(all.register(&ann, number.to_string().into(), None, NOW), Ok(None));
        }
        let refused = all.register(&ann, "one more".into(), None, NOW).expect_err("it is too much");
        assert_eq!(refused.code, Code::RateLimited);
        assert_eq!(all.claim(&ann, "one more".into(), id(1)), None, "it connects all the same");
        let mut users = 0;
        let refused = loop {
            match all.register(&format!("user {users}").into(), "tab".into(), None, NOW) {
                Ok(_) => users += 1,
                Err(reject) => break reject,
            }
        };
        assert_eq!((refused.code, all.count), (Code::Overloaded, limits::REGISTRATIONS));
        all.expire(NOW.plus(limits::PENDING_MS));
        assert_eq!((all.count, all.by_user.len(), all.next_due()), (0, 0, None));
    }
}
