//! Registrations: a client names a connection (`socketId`) before or after it connects, and describes its device.
//!
//! A registration waits [`limits::PENDING_MS`] for its connection. The name of a live connection is known until the
//! connection ends. The number of registrations is limited per user and per owner.

use std::collections::VecDeque;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::domain::connection::connection_not_found;
use crate::domain::reject::{Code, Reject};

/// The registrations of one owner's users.
pub(crate) struct Registrations {
    by_user: Map<Name, Vec<Registration>>,
    count: usize,
    /// Users with a registration that may expire, by monotonic milliseconds.
    due: VecDeque<(u64, Name)>,
}

struct Registration {
    socket: Name,
    state: RegistrationState,
}

enum RegistrationState {
    /// The connection has not come.
    Pending {
        /// The description of its device, as JSON.
        device: Option<Box<str>>,
        /// The expiry in monotonic milliseconds.
        until: u64,
    },
    Live(ConnectionId),
}

impl Registrations {
    pub(crate) fn new(seed: u64) -> Self {
        Self { by_user: map(seed), count: 0, due: VecDeque::new() }
    }

    /// Registers the connection named `socket`: the connection if it is live; otherwise the registration waits for it.
    pub(crate) fn register(
        &mut self,
        user: &Name,
        socket: Name,
        device: Option<Box<str>>,
        now: Now,
    ) -> Result<Option<ConnectionId>, Reject> {
        // Each registration and each renewal has an entry until it expires.
        if self.due.len() >= limits::REGISTRATIONS {
            return Err(Reject::overloaded());
        }
        let own = self.by_user.get_mut(user);
        let until = now.mono + limits::PENDING_MS;
        let pending = RegistrationState::Pending { device, until };
        if let Some(known) = own.and_then(|own| own.iter_mut().find(|known| known.socket == socket)) {
            if let RegistrationState::Live(connection) = known.state {
                return Ok(Some(connection));
            }
            known.state = pending;
        } else {
            self.add(user, Registration { socket, state: pending })?;
        }
        self.due.push_back((until, user.clone()));
        Ok(None)
    }

    /// A connection named `socket` has come: its registered device. At the limit the connection gets no name.
    pub(crate) fn connected(&mut self, user: &Name, socket: Name, connection: ConnectionId) -> Option<Box<str>> {
        let own = self.by_user.get_mut(user);
        match own.and_then(|own| own.iter_mut().find(|known| known.socket == socket)) {
            Some(known) => match std::mem::replace(&mut known.state, RegistrationState::Live(connection)) {
                RegistrationState::Pending { device, .. } => device,
                RegistrationState::Live(_) => None,
            },
            None => {
                let _ = self.add(user, Registration { socket, state: RegistrationState::Live(connection) });
                None
            }
        }
    }

    /// Withdraws a registration that still waits.
    pub(crate) fn unregister(&mut self, user: &Name, socket: &str) -> Result<(), Reject> {
        let is_it =
            |known: &Registration| *known.socket == *socket && matches!(known.state, RegistrationState::Pending { .. });
        if self.retain(user, |known| !is_it(known)) { Ok(()) } else { Err(connection_not_found()) }
    }

    /// Removes the name of a connection that has ended.
    pub(crate) fn disconnected(&mut self, user: &Name, connection: ConnectionId) {
        if self.count > 0 {
            self.retain(user, |known| !matches!(known.state, RegistrationState::Live(live) if live == connection));
        }
    }

    pub(crate) fn expire(&mut self, now: Now) {
        while let Some((_, user)) = self.due.pop_front_if(|(until, _)| *until <= now.mono) {
            self.retain(
                &user,
                |known| !matches!(known.state, RegistrationState::Pending { until, .. } if until <= now.mono),
            );
        }
    }

    /// When [`Registrations::expire`] has work, in monotonic milliseconds.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.due.front().map(|(at, _)| *at)
    }

    pub(crate) fn check_invariants(&self) {
        let count: usize = self.by_user.values().map(Vec::len).sum();
        assert_eq!(count, self.count, "registrations: registrations match their count");
        assert!(self.count <= limits::REGISTRATIONS, "registrations: all are within the limit");
        assert!(self.due.iter().is_sorted_by_key(|(at, _)| at), "registrations: expiries are in order");
        for (user, own) in &self.by_user {
            let is_within = (1..=limits::REGISTRATIONS_PER_USER).contains(&own.len());
            assert!(is_within, "registrations: those of a user are within the limit, and a user without any is absent");
            for registration in own {
                if let RegistrationState::Pending { until, .. } = registration.state {
                    let has_expiry = self.due.iter().any(|(at, known)| *at == until && known == user);
                    assert!(has_expiry, "registrations: each pending registration has an expiry");
                }
            }
        }
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

    /// Keeps the registrations of a user that `keep` selects; whether it removed any.
    fn retain(&mut self, user: &Name, keep: impl FnMut(&Registration) -> bool) -> bool {
        let mut none = Vec::new();
        let own = self.by_user.get_mut(user).unwrap_or(&mut none);
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

/// The user has the maximum number of registered names.
pub(crate) fn too_many_names() -> Reject {
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
        assert_eq!(all.connected(&bob, "tab".into(), id(1)), None, "another user's is another");
        assert_eq!(all.connected(&ann, "tab".into(), id(2)), device("1"));
        assert_eq!(all.connected(&ann, "tab".into(), id(2)), None, "once");
        all.expire(NOW.plus(limits::PENDING_MS));
        assert_eq!(all.connected(&ann, "phone".into(), id(3)), device("2"));
        assert_eq!(all.register(&ann, "late".into(), device("3"), NOW.plus(20)), Ok(None));
        all.expire(NOW.plus(limits::PENDING_MS + 20));
        assert_eq!(all.connected(&ann, "late".into(), id(4)), None);
    }

    #[test]
    fn who_came_first_is_known_by_its_name_until_it_ends() {
        let mut all = Registrations::new(1);
        let ann = Name::from("ann");
        assert_eq!(all.connected(&ann, "tab".into(), id(1)), None);
        assert_eq!(all.register(&ann, "tab".into(), device("1"), NOW), Ok(Some(id(1))));
        all.disconnected(&ann, id(2));
        assert_eq!(all.register(&ann, "tab".into(), device("1"), NOW), Ok(Some(id(1))));
        all.disconnected(&ann, id(1));
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
        assert_eq!(all.unregister(&ann, "other"), Err(connection_not_found()));
        assert_eq!(all.unregister(&ann, "tab"), Ok(()));
        assert_eq!(all.unregister(&ann, "tab"), Err(connection_not_found()));
        all.connected(&ann, "tab".into(), id(1));
        assert_eq!(all.unregister(&ann, "tab"), Err(connection_not_found()), "it is there; it can be closed");
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
        assert_eq!(all.connected(&ann, "one more".into(), id(1)), None, "it connects all the same");
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
