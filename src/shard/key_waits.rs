//! Clients that wait for keys: their tokens name keys of an issuer that are not known yet, and the issuer is asked for them.
//!
//! The wait ends with a request to the issuer that began after it, whatever came of that. So a token signed by a key that the
//! issuer has just begun to use is not refused, and one with an invented key is, after a bounded time.

use std::collections::BTreeMap;

use crate::base::handle::{ConnSlot, PeerKey, SessionSlot};
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::codec::http::RequestHead;
use crate::connection::credentials;
use crate::connection::engineio_socket::SessionLink;
use crate::connection::namespace::{NamespaceEvent, NamespaceIndex};
use crate::dialect::rest::{self, RestRoute};
use crate::shard::commands::Commands;
use crate::shard::core::Core;
use crate::shard::http::HttpRequests;
use crate::shard::namespaces::Namespacing;
use crate::shard::peers::Peers;
use crate::shard::requests::RequestId;

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KeyWaiter {
    /// A request, which is read again.
    Request(ConnSlot),
    /// A client's wish to connect to a namespace.
    Connect(SessionSlot, NamespaceIndex),
    /// A peer's new token.
    Renewal(ConnectionId),
}

/// What is done again when the wait ends.
pub(super) enum KeyResume {
    /// The request of a connection is read.
    Request,
    /// The client connects to the namespace.
    Connect { link: SessionLink, payload: Option<Box<str>>, query: Option<Box<str>> },
    /// The peer's token is renewed.
    Renewal { id: RequestId, token: Box<str> },
}

struct KeyWait {
    issuer: usize,
    /// When it began, in monotonic milliseconds.
    since: u64,
    resume: KeyResume,
}

/// The waits of a shard.
#[derive(Default)]
pub(super) struct KeyWaits {
    waits: BTreeMap<KeyWaiter, KeyWait>,
    /// When the last request that has ended began, by issuer.
    fetched: BTreeMap<usize, u64>,
    /// Issuers that are to be asked.
    wishes: Vec<usize>,
}

impl KeyWaits {
    /// Has an issuer asked for its keys.
    pub(super) fn wish(&mut self, issuer: usize) {
        if !self.wishes.contains(&issuer) {
            self.wishes.push(issuer);
        }
    }

    /// Takes the issuers that are to be asked.
    pub(super) fn take_wishes(&mut self) -> std::vec::Drain<'_, usize> {
        self.wishes.drain(..)
    }

    /// Has a client wait for an issuer's keys. False: it has waited, or too many do.
    fn wait(&mut self, now: Now, issuer: usize, waiter: KeyWaiter, resume: KeyResume) -> bool {
        let known = self.waits.get(&waiter).filter(|wait| wait.issuer == issuer);
        let since = known.map_or(now.mono, |wait| wait.since);
        let is_over = known.is_some() && self.fetched.get(&issuer).is_some_and(|began| *began >= since);
        if is_over || (known.is_none() && self.waits.len() >= limits::KEY_WAITS) {
            self.waits.remove(&waiter);
            return false;
        }
        self.waits.insert(waiter, KeyWait { issuer, since, resume });
        self.wish(issuer);
        true
    }

    /// A connection has ended.
    pub(super) fn forget(&mut self, slot: ConnSlot) {
        if !self.waits.is_empty() {
            self.waits.remove(&KeyWaiter::Request(slot));
        }
    }

    /// A request to an issuer has ended that began then; or other settings are in force, with other issuers.
    fn note_fetched(&mut self, fetched: Option<(usize, u64)>) {
        match fetched {
            Some((issuer, began)) => drop(self.fetched.insert(issuer, began)),
            None => self.fetched.clear(),
        }
    }

    fn waiters(&self) -> Vec<KeyWaiter> {
        self.waits.keys().copied().collect()
    }

    /// What a client waits with. The wait itself is kept, so that the next one of the same client is its continuation.
    fn resume_of(&mut self, waiter: KeyWaiter) -> Option<KeyResume> {
        self.waits.get_mut(&waiter).map(|wait| std::mem::replace(&mut wait.resume, KeyResume::Request))
    }

    fn end(&mut self, waiter: KeyWaiter) {
        self.waits.remove(&waiter);
    }
}

/// Has clients wait, and go on.
pub(super) struct KeyWaiting<'a> {
    core: &'a mut Core,
}

impl<'a> KeyWaiting<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Whether the client with this token has to wait for keys; if so, it is called again when there are other ones.
    pub(super) fn must_wait(
        &mut self,
        now: Now,
        token: &str,
        waiter: KeyWaiter,
        resume: impl FnOnce() -> KeyResume,
    ) -> bool {
        if !self.core.verifier.fetches_keys() {
            return false;
        }
        match self.core.verifier.missing_key(credentials::without_scheme(token)) {
            Some(issuer) => self.core.key_waits.wait(now, issuer, waiter, resume()),
            None => {
                self.core.key_waits.end(waiter);
                false
            }
        }
    }

    /// Has the issuer of a token asked for its keys, if it names one that is not known.
    pub(super) fn ask_for_key(&mut self, token: &str) {
        if self.core.verifier.fetches_keys()
            && let Some(issuer) = self.core.verifier.missing_key(credentials::without_scheme(token))
        {
            self.core.key_waits.wish(issuer);
        }
    }

    /// The same for a request, which is read again.
    pub(super) fn request_must_wait(&mut self, now: Now, slot: ConnSlot, head: &RequestHead<'_>) -> bool {
        if !self.core.verifier.fetches_keys() || !reads_token(head) {
            return false;
        }
        let sender = self.core.net.sender(slot, head);
        let Some((token, _)) = self.core.net.token(head, sender).filter(|_| sender.is_allowed()) else { return false };
        let address = self.core.client_address(now, slot, head);
        // The tokens of a blocked address are not looked at.
        if self.core.admission.check(now, address).is_err() {
            return false;
        }
        let waits = self.must_wait(now, &token, KeyWaiter::Request(slot), || KeyResume::Request);
        if waits {
            self.core.net.set_deadline(now, slot, 2 * limits::KEY_WAIT_MS);
        }
        waits
    }

    /// A request to an issuer has ended that began then: looks again at the tokens that wait.
    pub(super) fn fetched(&mut self, now: Now, fetched: Option<(usize, u64)>) {
        self.core.key_waits.note_fetched(fetched);
        for waiter in self.core.key_waits.waiters() {
            let Some(resume) = self.core.key_waits.resume_of(waiter) else {
                // What another one has caused has ended it.
                continue;
            };
            self.resume(now, waiter, resume);
        }
    }

    fn resume(&mut self, now: Now, waiter: KeyWaiter, resume: KeyResume) {
        match (waiter, resume) {
            (KeyWaiter::Request(slot), _) if self.core.net.conns.get(slot).is_some() => {
                HttpRequests::on(self.core).received(now, slot, &mut []);
                self.core.net.resumed.push(slot);
            }
            (KeyWaiter::Connect(_, space), KeyResume::Connect { link, payload, query }) => {
                let session = self.core.net.sessions.named(link);
                match session.filter(|at| self.core.net.sessions.list[*at].namespaces.is_pending(space)) {
                    Some(at) => {
                        let (payload, query) = (payload.as_deref(), query.as_deref());
                        Namespacing::on(self.core).handle(now, at, NamespaceEvent::Connect { space, payload, query });
                    }
                    // The client has left meanwhile.
                    None => self.core.key_waits.end(waiter),
                }
            }
            (KeyWaiter::Renewal(connection), KeyResume::Renewal { id, token }) => {
                match self.core.net.find_peer(connection) {
                    Some(peer) => self.renew(now, peer, &id, &token),
                    None => self.core.key_waits.end(waiter),
                }
            }
            (waiter, _) => self.core.key_waits.end(waiter),
        }
    }

    fn renew(&mut self, now: Now, peer: PeerKey, id: &RequestId, token: &str) {
        if let Err(reject) = Commands::on(self.core).renew_token(now, peer, id.as_ref(), token) {
            Peers::on(self.core).refuse(now, peer, id.as_ref(), &reject);
        }
    }
}

/// Whether the token of a request is of any account.
fn reads_token(head: &RequestHead<'_>) -> bool {
    head.path() == "/ws" || matches!(rest::route(head.method, head.path()), Ok(RestRoute::Call(_) | RestRoute::Metrics))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::handle::Slot;

    fn at(mono: u64) -> Now {
        Now { mono, wall: mono }
    }

    #[test]
    fn wait_ends_with_a_request_that_began_after_it() {
        let mut waits = KeyWaits::default();
        let waiter = KeyWaiter::Request(ConnSlot::from_raw(1));
        let wait = |waits: &mut KeyWaits, mono| waits.wait(at(mono), 0, waiter, KeyResume::Request);
        assert!(wait(&mut waits, 100));
        assert_eq!(waits.take_wishes().collect::<Vec<_>>(), [0]);
        waits.note_fetched(Some((0, 50)));
        assert!(wait(&mut waits, 200), "the request was under way when the wait began");
        assert_eq!(waits.take_wishes().collect::<Vec<_>>(), [0]);
        waits.note_fetched(Some((1, 300)));
        assert!(wait(&mut waits, 300), "another issuer");
        waits.note_fetched(Some((0, 250)));
        assert!(!wait(&mut waits, 400));
        assert!(waits.waiters().is_empty());
    }

    #[test]
    fn waits_are_bounded() {
        let mut waits = KeyWaits::default();
        let slot = |n: usize| KeyWaiter::Request(ConnSlot::from_raw(n as u32));
        let max = limits::KEY_WAITS;
        for n in 0..max {
            assert!(waits.wait(at(0), 0, slot(n), KeyResume::Request));
        }
        assert!(!waits.wait(at(0), 0, slot(max), KeyResume::Request));
        assert!(waits.wait(at(0), 0, slot(0), KeyResume::Request), "one that waits goes on to do so");
        waits.forget(ConnSlot::from_raw(0));
        assert!(waits.wait(at(0), 0, slot(max), KeyResume::Request));
    }
}
