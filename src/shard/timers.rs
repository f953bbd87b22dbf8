//! What a shard does because time has passed: heartbeats, expiring tokens, slow requests, batches, the authority's own
//! business.

use crate::base::ids::SESSION;
use crate::base::limits;
use crate::base::time::Now;
use crate::base::wheel::{TICK_MS, tick};
use crate::codec::ws;
use crate::connection::conn::{CloseState, ConnStage};
use crate::connection::outbound::Segment;
use crate::connection::websocket::HeartbeatAction;
use crate::shard::Shard;

/// A ping without a payload, as a server sends it.
const PING: [u8; 2] = [0x89, 0];

impl Shard {
    /// Does what has become due by now.
    pub fn tick(&mut self, now: Now) {
        let mut pings = None;
        while let Some((at, mut due)) = self.timers.due(now.mono) {
            for slot in due.drain(..) {
                if slot & SESSION != 0 {
                    self.session_due(now, slot & !SESSION, at);
                    continue;
                }
                if self.conns.get(slot as usize).is_some_and(|conn| conn.armed == at) {
                    self.conns[slot as usize].armed = 0;
                    self.look_at(now, slot, &mut pings);
                    self.rearm(now, slot);
                }
            }
            self.timers.give_back(at, due);
        }
        if self.authority.next_due().is_some_and(|at| at <= now.mono) {
            let mut out = std::mem::take(&mut self.said);
            self.authority.tick(now, &mut out);
            self.post_all(out);
        }
        if self.bulletin.due().is_some_and(|at| at <= now.mono) {
            self.publish_bulletin();
        }
        self.ask_for_users(now);
        if !self.unsaved.is_empty() && self.unsaved_due <= now.mono {
            self.keep_sessions(now);
        }
        self.departed.tick(now);
        if self.trim_due != 0 && self.trim_due <= now.mono {
            self.trim(now);
        }
        self.tick_credit(now);
        if self.watching.due().is_some_and(|at| at <= now.mono) {
            self.tell_pulse(now);
        }
        self.open_those_due(now);
        self.continue_draining(now);
    }

    /// When [`Shard::tick`] next has something to do, in monotonic milliseconds.
    pub fn next_due(&mut self) -> Option<u64> {
        let batch = self.bulletin.due();
        let drain = self.drain.as_ref().map(|drain| drain.next);
        let unsaved = (!self.unsaved.is_empty()).then_some(self.unsaved_due);
        let trim = (self.trim_due != 0).then_some(self.trim_due);
        let late = self.sessions.late.front().map(|late| late.due);
        let (newcomers, departed) = (self.bulletin.greeting.due(), self.departed.next_due());
        let own = [batch, newcomers, unsaved, departed, trim, drain, late, self.credit.next_due(), self.watching.due()];
        own.into_iter().chain([self.timers.next_due(), self.authority.next_due()]).flatten().min()
    }

    /// A connection's time has come. All pings of a turn share the same two bytes.
    fn look_at(&mut self, now: Now, slot: u32, pings: &mut Option<Segment>) {
        let conn = &mut self.conns[slot as usize];
        if conn.deadline != 0 && tick(now.mono) >= conn.deadline {
            conn.deadline = 0;
            return self.out_of_time(now, slot);
        }
        let ConnStage::WebSocket(socket) = &mut conn.stage else { return };
        if conn.ending != CloseState::None {
            return;
        }
        if conn.expires_at != 0 && now.unix_seconds() >= u64::from(conn.expires_at) {
            return self.disconnect(now, slot, "token-expired", 4401);
        }
        match socket.beat(now.mono, conn.seen, self.options.heartbeat) {
            HeartbeatAction::Wait => {}
            HeartbeatAction::Ping => {
                let segment = *pings.get_or_insert_with(|| self.outbound.encode(|out| out.extend_from_slice(&PING)));
                let is_current = segment.len() == PING.len() && self.outbound.len() >= segment.end as usize;
                debug_assert!(is_current && ws::CONTROL_BYTES_MAX >= PING.len());
                self.outbound.push(slot, &mut conn.queue, segment);
            }
            HeartbeatAction::Gone => {
                self.stats.timed_out += 1;
                self.disconnect(now, slot, "heartbeat-timeout", 4408);
            }
        }
    }

    /// A stage took longer than it may. A client that is still taking an answer is waited for.
    fn out_of_time(&mut self, now: Now, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if let (ConnStage::Http(_), Some(backlog)) = (&conn.stage, &mut conn.queue.backlog)
            && backlog.take_progress() >= limits::TAKEN_BYTES_MIN
        {
            return self.set_deadline(now, slot, limits::CLOSING_MS);
        }
        match &self.conns[slot as usize].stage {
            ConnStage::Http(Some(http)) if http.has_begun() => self.request_timed_out(now, slot),
            ConnStage::ProxyHeader(_) | ConnStage::Http(_) | ConnStage::Draining => self.abort(slot),
            ConnStage::WebSocket(_) | ConnStage::EngineIoSocket(_) | ConnStage::Echo(_) => {}
        }
    }

    /// Has a stage end `ms` from now.
    pub(super) fn set_deadline(&mut self, now: Now, slot: u32, ms: u64) {
        if let Some(conn) = self.conns.get_mut(slot as usize) {
            conn.deadline = tick(now.mono + ms + TICK_MS - 1);
            self.rearm(now, slot);
        }
    }

    /// Puts a connection on the wheel for the next moment it is to be looked at, unless it is there already.
    pub(super) fn rearm(&mut self, now: Now, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        let mut next = match conn.deadline {
            0 => None,
            at => Some(u64::from(at) * TICK_MS),
        };
        if let ConnStage::WebSocket(socket) = &conn.stage {
            next = Some(socket.next_beat(now.mono, conn.seen, self.options.heartbeat));
            if conn.expires_at != 0 {
                let left_ms = (u64::from(conn.expires_at) * 1000).saturating_sub(now.wall);
                next = next.map(|at| at.min(now.mono + left_ms));
            }
        }
        let Some(at) = next else { return };
        if conn.armed == 0 || tick(at) < conn.armed {
            conn.armed = self.timers.arm(at, slot);
        }
    }
}
