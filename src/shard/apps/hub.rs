//! The hub of a namespace of the application: one shard of each process, which passes on all acts on the namespace's sockets in
//! one order, keeps the events of the last moments, and the sessions of lost connections.
//!
//! A client that comes back is recovered only if the last event that it has is among those that are kept: none was missed then.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::base::Name;
use crate::base::limits;
use crate::domain::access::is_guest_name;
use crate::domain::app::{AppAct, AppMessage, AppOffset, AppOrder, AppSession, AppTarget};

/// The hub of one namespace.
#[derive(Default)]
pub(super) struct AppHub {
    /// Whether the first events are no longer among those that are kept.
    has_forgotten: bool,
    /// Events, with the time until which each is kept, in monotonic milliseconds.
    log: VecDeque<KeptEvent>,
    /// Their bytes.
    bytes: usize,
    /// Sessions of lost connections by secret, with the time until which each is kept.
    sessions: BTreeMap<Box<str>, (u64, AppSession)>,
}

struct KeptEvent {
    until: u64,
    bytes: usize,
    offset: AppOffset,
    message: Arc<AppMessage>,
}

impl AppHub {
    /// A hub without events. `may_miss`: there may have been some that it has not got.
    pub(super) fn new(may_miss: bool) -> Self {
        Self { has_forgotten: may_miss, ..Self::default() }
    }

    /// Notes an act on sockets, which all shards are about to get.
    pub(super) fn note(&mut self, mono: u64, window_ms: u64, message: &Arc<AppMessage>) {
        self.expire(mono);
        let AppMessage::Order(AppOrder { target, act, .. }) = &**message else {
            debug_assert!(false, "invariant: only acts on sockets are noted");
            return;
        };
        match act {
            AppAct::Emit { packet, offset: Some(offset), .. } if window_ms > 0 => {
                let bytes = packet.bytes() + size_of::<KeptEvent>() + size_of::<AppMessage>();
                self.bytes += bytes;
                self.log.push_back(KeptEvent {
                    until: mono + window_ms,
                    bytes,
                    offset: *offset,
                    message: message.clone(),
                });
                while self.bytes > limits::APP_LOG_BYTES {
                    self.forget_first();
                }
            }
            AppAct::Emit { .. } => {}
            AppAct::Join(rooms) => self.sessions_in(target, |session| {
                let new = rooms.iter().filter(|room| !session.rooms.contains(room)).cloned().collect::<Vec<_>>();
                session.rooms.extend(new);
            }),
            AppAct::Leave(rooms) => {
                self.sessions_in(target, |session| session.rooms.retain(|room| !rooms.contains(room)));
            }
            AppAct::Disconnect { .. } => {
                self.sessions.retain(|_, (_, session)| !target.includes(&rooms_of(session)));
            }
        }
    }

    /// Keeps the session of a lost connection.
    pub(super) fn keep(&mut self, mono: u64, window_ms: u64, session: AppSession) {
        self.expire(mono);
        if self.sessions.len() < limits::APP_SESSIONS {
            self.sessions.insert(session.secret.clone(), (mono + window_ms, session));
        }
    }

    /// Forgets a session.
    pub(super) fn forget(&mut self, secret: &str) {
        self.sessions.remove(secret);
    }

    /// Takes a session for a user who has the events up to an offset; with the events since then that are for its socket.
    pub(super) fn claim(
        &mut self,
        mono: u64,
        (secret, user): (&str, &str),
        offset: Option<AppOffset>,
    ) -> Option<(AppSession, Vec<Arc<AppMessage>>)> {
        self.expire(mono);
        let (_, session) = self.sessions.get(secret)?;
        // Each connection of a guest has another name.
        if *session.user != *user && !(is_guest_name(&session.user) && is_guest_name(user)) {
            return None;
        }
        let first = match offset.or(session.since) {
            Some(since) => self.log.iter().rposition(|kept| kept.offset == since)? + 1,
            // There had been no event when it connected.
            None if !self.has_forgotten => 0,
            None => return None,
        };
        let rooms = rooms_of(session);
        let is_for_it = |kept: &&KeptEvent| match &*kept.message {
            AppMessage::Order(order) => order.target.includes(&rooms),
            _ => false,
        };
        let missed = self.log.range(first..).filter(is_for_it).map(|kept| kept.message.clone()).collect();
        let (_, session) = self.sessions.remove(secret)?;
        Some((session, missed))
    }

    /// Forgets everything: events may have been missed.
    pub(super) fn clear(&mut self) {
        *self = Self::new(true);
    }

    fn sessions_in(&mut self, target: &AppTarget, act: impl Fn(&mut AppSession)) {
        for (_, session) in self.sessions.values_mut() {
            if target.includes(&rooms_of(session)) {
                act(session);
            }
        }
    }

    fn expire(&mut self, mono: u64) {
        // The last event is the position of those who have all: it stays until another one comes.
        while self.log.len() > 1 && self.log.front().is_some_and(|first| first.until <= mono) {
            self.forget_first();
        }
        self.sessions.retain(|_, (until, _)| *until > mono);
    }

    fn forget_first(&mut self) {
        if let Some(first) = self.log.pop_front() {
            self.bytes -= first.bytes;
            self.has_forgotten = true;
        }
    }
}

/// The rooms of a session, with that of its own id.
fn rooms_of(session: &AppSession) -> Vec<Name> {
    std::iter::once(session.id.clone()).chain(session.rooms.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::app::{AppGiven, AppPacket};

    fn offset(number: u64) -> AppOffset {
        AppOffset { node: 0, shard: 0, start: 1, number, chain: 0 }
    }

    fn order(rooms: &[&str], act: AppAct) -> Arc<AppMessage> {
        let rooms = rooms.iter().map(|room| Name::from(*room)).collect();
        let target = AppTarget { rooms, except: Vec::new() };
        Arc::new(AppMessage::Order(AppOrder { namespace: "/a".into(), target, act }))
    }

    fn event(rooms: &[&str], number: u64, bytes: usize) -> Arc<AppMessage> {
        let packet = AppPacket { values: "x".repeat(bytes).into(), attachments: Vec::new() };
        order(rooms, AppAct::Emit { packet, offset: Some(offset(number)), is_volatile: false, ack: None })
    }

    fn session(user: &str, since: Option<u64>) -> AppSession {
        AppSession {
            namespace: "/a".into(),
            secret: "secret".into(),
            id: "id".into(),
            user: user.into(),
            rooms: vec!["r".into()],
            since: since.map(offset),
            given: AppGiven::default(),
        }
    }

    #[test]
    fn client_that_returns_gets_the_events_that_it_missed() {
        let mut hub = AppHub::default();
        for (number, room) in [(1, "r"), (2, "other"), (3, "r"), (4, "id")] {
            hub.note(0, 1_000, &event(&[room], number, 1));
        }
        hub.keep(0, 1_000, session("u", None));
        assert!(hub.claim(1, ("secret", "v"), Some(offset(1))).is_none(), "another user");
        assert!(hub.claim(1, ("secret", "u"), Some(offset(9))).is_none(), "an unknown position");
        let (found, missed) = hub.claim(1, ("secret", "u"), Some(offset(1))).expect("a session");
        assert_eq!((&*found.id, missed.len()), ("id", 2));
        assert!(hub.claim(1, ("secret", "u"), Some(offset(1))).is_none(), "once");
    }

    #[test]
    fn position_at_the_connect_serves_a_client_without_an_event() {
        let mut hub = AppHub::default();
        hub.note(0, 10, &event(&[], 1, 1));
        hub.keep(5, 1_000, session("guest:a", Some(1)));
        hub.note(5, 1_000, &event(&[], 2, 1));
        // The time of the first event is over.
        hub.note(20, 1_000, &event(&[], 3, 1));
        assert!(hub.claim(20, ("secret", "guest:b"), None).is_none());
        let (_, missed) = hub.claim(20, ("secret", "guest:b"), Some(offset(2))).expect("a session");
        assert_eq!(missed.len(), 1);
    }

    #[test]
    fn acts_reach_the_sessions_of_lost_connections() {
        let mut hub = AppHub::default();
        hub.note(0, 1_000, &event(&[], 1, 1));
        hub.keep(0, 1_000, session("u", Some(1)));
        hub.note(0, 1_000, &order(&["r"], AppAct::Join(vec!["s".into(), "r".into()])));
        hub.note(0, 1_000, &order(&["s"], AppAct::Leave(vec!["r".into()])));
        hub.note(0, 1_000, &event(&["s"], 2, 1));
        hub.note(0, 1_000, &event(&["r"], 3, 1));
        let (found, missed) = hub.claim(0, ("secret", "u"), None).expect("a session");
        assert_eq!((found.rooms, missed.len()), (vec![Name::from("s")], 1));
        hub.keep(0, 1_000, session("u", Some(1)));
        hub.note(0, 1_000, &order(&["id"], AppAct::Disconnect { closes: false }));
        assert!(hub.claim(0, ("secret", "u"), None).is_none(), "disconnected while it was away");
    }

    #[test]
    fn memory_of_a_hub_is_bounded() {
        let mut hub = AppHub::default();
        for number in 0..64 {
            hub.note(0, 1_000, &event(&[], number, limits::APP_LOG_BYTES / 8));
        }
        assert!(hub.bytes <= limits::APP_LOG_BYTES && hub.log.len() <= 8);
        assert_eq!(hub.log.iter().map(|kept| kept.bytes).sum::<usize>(), hub.bytes);
        hub.keep(0, 1_000, session("u", Some(1)));
        assert!(hub.claim(0, ("secret", "u"), None).is_none(), "its position is forgotten");
        assert!(hub.claim(0, ("secret", "u"), Some(offset(63))).is_some());
    }
}
