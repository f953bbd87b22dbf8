//! Work of a shard that is due because time has passed: heartbeats, expired tokens, slow requests, batches, the owner's own
//! work.

use crate::base::handle::{ConnSlot, Slot, TimerSlot};
use crate::base::limits;
use crate::base::time::Now;
use crate::base::wheel::tick;
use crate::codec::ws;
use crate::connection::conn::{CloseState, ConnStage};
use crate::connection::outbound::Segment;
use crate::connection::websocket::HeartbeatAction;
use crate::domain::access::Identity;
use crate::shard::apps::sockets::AppSockets;
use crate::shard::conformance::Conformance;
use crate::shard::core::Core;
use crate::shard::drain::Draining;
use crate::shard::grants::Granting;
use crate::shard::http::answer::RestAnswers;
use crate::shard::metrics::Metering;
use crate::shard::presence::PresenceFeed;
use crate::shard::presence::online::OnlineUsers;
use crate::shard::raw_sockets::RawSockets;
use crate::shard::recovery::positions;
use crate::shard::recovery::proofs::Proving;
use crate::shard::recovery::sessions::KeptSessions;
use crate::shard::revocation::Revoking;
use crate::shard::sessions::EngineIo;
use crate::shard::streams::Streaming;
use crate::shard::trimming::Trimming;

/// A ping frame without a payload, as a server sends it (RFC 6455 §5.5.2).
const PING: [u8; 2] = [0x89, 0];

/// Does work that is due.
pub(super) struct Timers<'a> {
    core: &'a mut Core,
}

impl<'a> Timers<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Does the work that is due now.
    pub(super) fn tick(&mut self, now: Now) {
        // All pings of a turn share the same two bytes.
        let mut ping = None;
        while let Some((at, mut due)) = self.core.net.timers.due(now.mono) {
            for key in due.drain(..) {
                match key.slot() {
                    TimerSlot::Session(session) => EngineIo::on(self.core).due(now, session, at),
                    TimerSlot::Conn(slot) => {
                        let conn = self.core.net.conns.get_mut(slot).filter(|conn| conn.armed == at);
                        // Other entries of the wheel are stale.
                        if let Some(conn) = conn {
                            conn.armed = 0;
                            self.connection_due(now, slot, &mut ping);
                            self.core.net.rearm(now, slot);
                        }
                    }
                }
            }
            self.core.net.timers.give_back(at, due);
        }
        if self.core.owner.next_due().is_some_and(|at| at <= now.mono) {
            let Core { owner, channels, .. } = &mut *self.core;
            owner.tick(now, &mut channels.owner_output);
            channels.post_owner_output();
        }
        PresenceFeed::on(self.core).send_if_due(now);
        OnlineUsers::on(self.core).request_if_due(now);
        positions::note_if_due(self.core, now);
        KeptSessions::on(self.core).write_if_due(now);
        Proving::on(self.core).look_again(now);
        self.core.recovery.expire(now);
        Trimming::on(self.core).trim_if_due(now);
        self.core.quota.tick(now, &mut self.core.channels);
        if self.core.metrics.next_due().is_some_and(|at| at <= now.mono) {
            Metering::on(self.core).send_report(now);
        }
        Streaming::on(self.core).flush_due(now);
        AppSockets::on(self.core).answer_due(now);
        Revoking::on(self.core).sweep_if_due(now);
        self.core.audit.log_if_due(now);
        Conformance::on(self.core).open_due_sessions(now);
        Draining::on(self.core).step(now);
    }

    /// When [`Timers::tick`] has work next, in monotonic milliseconds.
    pub(super) fn next_due(&mut self) -> Option<u64> {
        let Core {
            net,
            rooms,
            owner,
            presence,
            recovery,
            trim,
            drain,
            quota,
            metrics,
            revocations,
            audit,
            apps,
            pieces,
            ..
        } = &mut *self.core;
        let components = [
            net.timers.next_due(),
            net.sessions.late.front().map(|late| late.due),
            owner.next_due(),
            presence.next_due(),
            recovery.next_due(),
            recovery.next_end(),
            recovery.positions.next_due(rooms),
            recovery.proofs.next_due(),
            trim.next_due(),
            drain.as_ref().map(|drain| drain.next_due()),
            quota.next_due(),
            metrics.next_due(),
            revocations.next_due(),
            audit.next_due(),
            apps.next_due(),
            pieces.next_due(),
        ];
        components.into_iter().flatten().min()
    }

    /// A connection's timer has come up.
    fn connection_due(&mut self, now: Now, slot: ConnSlot, ping: &mut Option<Segment>) {
        let conn = &mut self.core.net.conns[slot];
        if conn.deadline != 0 && tick(now.mono) >= conn.deadline {
            conn.deadline = 0;
            return self.stage_timed_out(now, slot);
        }
        let is_expired = conn.expires_at != 0 && now.unix_seconds() >= u64::from(conn.expires_at);
        if let ConnStage::WebSocket(socket) = &mut conn.stage
            && conn.ending == CloseState::None
        {
            if is_expired {
                return RawSockets::on(self.core).disconnect(now, slot, "token-expired", 4401);
            }
            let has_subscriptions = conn.identity.as_ref().is_some_and(Identity::has_subscriptions);
            match socket.beat(now.mono, conn.seen, self.core.options.heartbeat) {
                HeartbeatAction::Wait => {}
                HeartbeatAction::Ping => {
                    let net = &mut self.core.net;
                    let segment = *ping.get_or_insert_with(|| net.outbound.encode(|out| out.extend_from_slice(&PING)));
                    let is_current = segment.len() == PING.len() && net.outbound.len() >= segment.end as usize;
                    debug_assert!(is_current, "invariant: the ping of a turn stays in the turn's bytes");
                    debug_assert!(PING.len() <= ws::CONTROL_BYTES_MAX, "invariant: a ping is a control frame");
                    net.outbound.push(slot.raw(), &mut net.conns[slot].queue, segment);
                }
                HeartbeatAction::Gone => {
                    self.core.stats.timed_out += 1;
                    return RawSockets::on(self.core).disconnect(now, slot, "heartbeat-timeout", 4408);
                }
            }
            if has_subscriptions {
                Granting::on(self.core).end_expired(now, slot.into());
            }
        }
    }

    /// A stage took longer than it may. A client that is still taking an answer is waited for.
    fn stage_timed_out(&mut self, now: Now, slot: ConnSlot) {
        let conn = &mut self.core.net.conns[slot];
        if let (ConnStage::Http(_), Some(backlog)) = (&conn.stage, &mut conn.queue.backlog)
            && backlog.take_progress() >= limits::TAKEN_BYTES_MIN
        {
            return self.core.net.set_deadline(now, slot, limits::CLOSING_MS);
        }
        match &conn.stage {
            ConnStage::Http(Some(http)) if http.has_begun() => {
                RestAnswers::on(self.core).request_timed_out(now, slot);
            }
            ConnStage::Http(_) => self.core.net.close_idle(slot),
            ConnStage::ProxyHeader(_) | ConnStage::Draining => self.core.net.abort(slot),
            ConnStage::Trace => self.core.net.half_close(now, slot),
            ConnStage::WebSocket(_) | ConnStage::EngineIoSocket(_) | ConnStage::Echo(_) => {}
        }
    }
}
