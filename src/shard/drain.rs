//! Leaving without a stampede: everyone has a moment of the window for their own, is told it at once where their dialect has
//! a word for that, and is closed when it has come. They are served until then, and need not wait before they come back.
//!
//! The moments are spread evenly and given out by chance, so that even a few clients do not come back together.

use crate::base::ids::SESSION;
use crate::base::time::Now;
use crate::connection::conn::{Conn, ConnStage};
use crate::connection::session::{Reason, SessionRoute};
use crate::dialect::raw;
use crate::shard::Shard;
use crate::shard::sessions::Client;

/// Between two looks at who is to go, in milliseconds, at the least.
const LOOK_EVERY_MS: u64 = 10;

/// The same, once the window is over and everyone goes.
const SWEEP_EVERY_MS: u64 = 100;

/// A shard on its way out.
pub(super) struct Drain {
    began: u64,
    /// When the last are to be closed, in monotonic milliseconds.
    until: u64,
    /// When somebody is to be closed next.
    pub(super) next: u64,
    /// Slots of connections, and marked ones of sessions, with their moments in milliseconds from the beginning; the last
    /// come first.
    moments: Vec<(u32, u32)>,
}

impl Drain {
    /// Takes whoever's moment has come.
    fn take(&mut self, now: Now) -> Vec<u32> {
        let is_due = |&(moment, _): &(u32, u32)| self.began + u64::from(moment) <= now.mono;
        let left = self.moments.len() - self.moments.iter().rev().take_while(|entry| is_due(entry)).count();
        let due = self.moments.split_off(left).into_iter().rev().map(|(_, key)| key).collect();
        let next = self.moments.last().map_or(self.until, |(moment, _)| self.began + u64::from(*moment));
        self.next = next.max(now.mono + LOOK_EVERY_MS).min(self.until);
        due
    }
}

impl Shard {
    /// Whether the shard is leaving and has nobody left.
    pub fn is_drained(&self) -> bool {
        self.drain.is_some() && self.conns.is_empty()
    }

    /// Whether the shard is leaving.
    pub fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    pub(super) fn start_draining(&mut self, now: Now, window_ms: u64) {
        if self.drain.is_some() {
            return;
        }
        self.authority.leave(window_ms);
        // The last tenth of the window is for closing handshakes.
        let span = window_ms * 9 / 10;
        let moments = self.moments(span);
        let polls = |(_, client): (usize, &Client)| {
            !client.session.is_over() && !matches!(client.session.route(), SessionRoute::Socket(_))
        };
        // A client that polls needs its connections.
        if !self.sessions.list.iter().any(polls) {
            self.close_idle(now, |conn| matches!(conn.stage, ConnStage::Http(None)));
        }
        let until = now.mono + span;
        let next = moments.last().map_or(until, |(moment, _)| now.mono + u64::from(*moment));
        for &(moment, key) in moments.iter().filter(|(_, key)| key & SESSION == 0) {
            self.greet(now, key);
            self.send_raw(key, |out| raw::disconnect(out, "server-shutdown", Some(moment.into()), now));
        }
        self.drain = Some(Box::new(Drain { began: now.mono, until, next, moments }));
    }

    /// Gives everyone a moment of so many milliseconds; the last come first.
    fn moments(&mut self, span: u64) -> Vec<(u32, u32)> {
        let mut leaving: Vec<u32> = self.listening();
        leaving.extend(self.open_sessions().into_iter().map(|at| at | SESSION));
        for at in (1..leaving.len()).rev() {
            leaving.swap(at, self.rng.below(at as u64 + 1) as usize);
        }
        let count = leaving.len() as u64;
        let mut moment = |at: usize| (at as u64 * span + self.rng.below(span)) / count;
        let leaving = leaving.into_iter().enumerate().rev();
        leaving.map(|(at, key)| (u32::try_from(moment(at)).unwrap_or(u32::MAX), key)).collect()
    }

    fn listening(&self) -> Vec<u32> {
        self.conns.iter().filter_map(|(slot, conn)| conn.is_listening().then_some(slot as u32)).collect()
    }

    fn open_sessions(&self) -> Vec<u32> {
        let is_open = |(at, client): (usize, &Client)| (!client.session.is_over()).then_some(at as u32);
        self.sessions.list.iter().filter_map(is_open).collect()
    }

    fn close_idle(&mut self, now: Now, is_idle: impl Fn(&Conn) -> bool) {
        let idle = self.conns.iter().filter_map(|(slot, conn)| is_idle(conn).then_some(slot as u32));
        for slot in idle.collect::<Vec<u32>>() {
            self.half_close(now, slot);
        }
    }

    pub(super) fn continue_draining(&mut self, now: Now) {
        let Some(drain) = &mut self.drain else { return };
        if now.mono < drain.next {
            return;
        }
        if now.mono < drain.until {
            for key in drain.take(now) {
                self.let_go(now, key, 1012, "service restart");
            }
            return;
        }
        drain.next = now.mono + SWEEP_EVERY_MS;
        for key in self.listening() {
            self.let_go(now, key, 1001, "going away");
        }
        for at in self.open_sessions() {
            self.let_go(now, at | SESSION, 1001, "going away");
        }
        self.close_idle(now, |conn| conn.asks == 0 && matches!(conn.stage, ConnStage::Http(_)));
    }

    /// Closes a session. Its client comes back by itself.
    pub(super) fn close_session(&mut self, now: Now, at: u32) {
        self.feed(now, at, |session, context| session.close(Reason::ServerClose, context));
    }

    /// Closes a connection or a session, unless it has ended meanwhile.
    fn let_go(&mut self, now: Now, key: u32, code: u16, reason: &str) {
        if key & SESSION != 0 {
            self.close_session(now, key & !SESSION);
        } else if self.conns.get(key as usize).is_some_and(Conn::is_listening) {
            self.close_websocket(now, key, code, reason);
        }
    }
}
