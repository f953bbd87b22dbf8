//! Heartbeat of an Engine.IO session.
//!
//! Version 4: the server pings one interval after the last pong and waits for the next pong at most the timeout.
//! Version 3: the client pings, and the server waits at most interval and timeout together. As the protocol demands,
//! only the ping or pong counts, no other packet.

use crate::codec::engineio::Version;
use crate::connection::websocket::{Heartbeat, HeartbeatAction};

/// Rounding error of the difference between two clock readings, in milliseconds.
const READING_MS: u64 = 1;

/// A ping sent later than this, in milliseconds, does not shorten the time for its pong.
const LATE_MS: u64 = 20;

/// The next deadline and its meaning.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeartbeatTimer {
    /// Monotonic milliseconds.
    due: u64,
    /// Whether the deadline ends the session; otherwise a ping is due.
    is_last: bool,
}

impl HeartbeatTimer {
    /// Heartbeat of a session that opened, or whose client responded, at `mono`.
    pub(super) fn new(version: Version, mono: u64, heartbeat: Heartbeat) -> Self {
        match version {
            Version::V4 => Self { due: mono + heartbeat.interval_ms, is_last: false },
            Version::V3 => Self { due: mono + heartbeat.interval_ms + heartbeat.timeout_ms, is_last: true },
        }
    }

    /// Records a ping (version 3) or a pong (version 4). An unsolicited pong is ignored.
    pub(super) fn heard(&mut self, version: Version, mono: u64, heartbeat: Heartbeat) {
        if self.is_last {
            *self = Self::new(version, mono, heartbeat);
        }
    }

    /// Whether a ping may be sent ahead of its time (version 4): none is unanswered. It counts as sent.
    pub(super) fn ping(&mut self, mono: u64, heartbeat: Heartbeat) -> bool {
        let may_ping = !self.is_last;
        if may_ping {
            *self = Self { due: mono + heartbeat.timeout_ms, is_last: true };
        }
        may_ping
    }

    /// The action due at `mono`.
    pub(super) fn beat(&mut self, mono: u64, heartbeat: Heartbeat) -> HeartbeatAction {
        if self.is_last {
            return if mono + READING_MS >= self.due { HeartbeatAction::Gone } else { HeartbeatAction::Wait };
        }
        if mono < self.due {
            return HeartbeatAction::Wait;
        }
        let sent = if mono - self.due > LATE_MS { mono } else { self.due };
        *self = Self { due: sent + heartbeat.timeout_ms, is_last: true };
        HeartbeatAction::Ping
    }

    /// Monotonic milliseconds of the next check.
    pub(super) fn next_due(&self) -> u64 {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Heartbeat = Heartbeat { interval_ms: 300, timeout_ms: 200 };

    #[test]
    fn the_server_pings_in_version_4() {
        let mut pulse = HeartbeatTimer::new(Version::V4, 1_000, HEARTBEAT);
        assert_eq!((pulse.beat(1_299, HEARTBEAT), pulse.next_due()), (HeartbeatAction::Wait, 1_300));
        // A pong nobody asked for does not put off the ping.
        pulse.heard(Version::V4, 1_299, HEARTBEAT);
        assert_eq!((pulse.beat(1_308, HEARTBEAT), pulse.next_due()), (HeartbeatAction::Ping, 1_500));
        assert_eq!(pulse.beat(1_498, HEARTBEAT), HeartbeatAction::Wait);
        pulse.heard(Version::V4, 1_498, HEARTBEAT);
        assert_eq!(
            (pulse.beat(1_797, HEARTBEAT), pulse.beat(1_798, HEARTBEAT)),
            (HeartbeatAction::Wait, HeartbeatAction::Ping)
        );
        assert_eq!(pulse.beat(1_997, HEARTBEAT), HeartbeatAction::Gone);
    }

    #[test]
    fn the_client_pings_in_version_3() {
        let mut pulse = HeartbeatTimer::new(Version::V3, 0, HEARTBEAT);
        assert_eq!(pulse.beat(498, HEARTBEAT), HeartbeatAction::Wait);
        pulse.heard(Version::V3, 498, HEARTBEAT);
        assert_eq!(
            (pulse.beat(996, HEARTBEAT), pulse.beat(998, HEARTBEAT)),
            (HeartbeatAction::Wait, HeartbeatAction::Gone)
        );
    }

    #[test]
    fn a_late_ping_leaves_time_for_its_answer() {
        let mut pulse = HeartbeatTimer::new(Version::V4, 0, HEARTBEAT);
        assert_eq!(
            (pulse.beat(10_000, HEARTBEAT), pulse.beat(10_198, HEARTBEAT)),
            (HeartbeatAction::Ping, HeartbeatAction::Wait)
        );
        assert_eq!(pulse.beat(10_199, HEARTBEAT), HeartbeatAction::Gone);
    }
}
