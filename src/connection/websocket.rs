//! A WebSocket's state between frames: its decoder, its heartbeat, its allowance of signaling messages.
//!
//! The server pings at each interval. A client from which nothing at all has come within the timeout after a ping is
//! gone, whatever its TCP connection seems to say; while a ping is unanswered, no further one is sent.

use crate::base::wheel::{TICK_MS, Tick, tick};
use crate::codec::ws::FrameDecoder;

/// One WebSocket.
pub struct WebSocket {
    /// What has come of a frame or message that is incomplete.
    pub decoder: FrameDecoder,
    /// When it was last pinged; when it opened, before the first ping.
    pinged: Tick,
    /// Its allowance of signaling messages.
    signals: SignalAllowance,
}

/// An allowance of signaling messages.
#[derive(Clone, Copy, Debug)]
pub struct SignalAllowance {
    /// Until when it is spent: milliseconds on the monotonic clock, wrapping.
    until: u32,
}

/// How a server sees that clients are there.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    /// Between two pings, in milliseconds.
    pub interval_ms: u64,
    /// How long after a ping something must come, in milliseconds.
    pub timeout_ms: u64,
}

/// What a heartbeat asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatAction {
    /// Nothing now.
    Wait,
    /// A ping.
    Ping,
    /// The client is gone.
    Gone,
}

/// How many signaling messages a connection may send.
#[derive(Clone, Copy, Debug)]
pub struct SignalRate {
    /// In a minute; 0 is any number.
    pub per_minute: u32,
    /// At once.
    pub burst: u32,
}

impl WebSocket {
    /// One that opened at `mono` milliseconds.
    pub fn new(mono: u64) -> Self {
        Self { decoder: FrameDecoder::default(), pinged: tick(mono), signals: SignalAllowance::new(mono) }
    }

    /// Looks at the heartbeat at `mono` milliseconds; `seen` is when bytes last came.
    pub fn beat(&mut self, mono: u64, seen: Tick, heartbeat: Heartbeat) -> HeartbeatAction {
        let current = tick(mono);
        if seen < self.pinged {
            let is_over = current >= self.pinged.saturating_add(ticks(heartbeat.timeout_ms));
            return if is_over { HeartbeatAction::Gone } else { HeartbeatAction::Wait };
        }
        if current >= self.pinged.saturating_add(ticks(heartbeat.interval_ms)) {
            self.pinged = current;
            return HeartbeatAction::Ping;
        }
        HeartbeatAction::Wait
    }

    /// When to look next after `mono` milliseconds, on the same clock. While an answer is awaited, the next ping's time is
    /// looked at, too: should the answer have come by then, the ping is due, however long the timeout.
    pub fn next_beat(&self, mono: u64, seen: Tick, heartbeat: Heartbeat) -> u64 {
        let ping = self.pinged.saturating_add(ticks(heartbeat.interval_ms));
        let end = self.pinged.saturating_add(ticks(heartbeat.timeout_ms));
        let next = if seen >= self.pinged || (ping < end && tick(mono) < ping) { ping } else { end };
        u64::from(next) * TICK_MS
    }

    /// Counts a signaling message against the allowance; whether it is within it.
    pub fn spend_signal(&mut self, mono: u64, rate: SignalRate) -> bool {
        self.signals.spend(mono, rate)
    }
}

impl SignalAllowance {
    /// An allowance of which nothing is spent at `mono` milliseconds.
    pub fn new(mono: u64) -> Self {
        Self { until: mono as u32 }
    }

    /// Counts a signaling message; whether it is within the allowance. This is the generic cell rate algorithm: one
    /// number says until when the allowance is spent.
    pub fn spend(&mut self, mono: u64, rate: SignalRate) -> bool {
        if rate.per_minute == 0 {
            return true;
        }
        let each_ms = (60_000 / rate.per_minute).max(1);
        let ahead_max = each_ms.saturating_mul(rate.burst.saturating_sub(1));
        let current = mono as u32;
        // The clock wraps after 49 days; a number from before counts as long past.
        let ahead = match self.until.wrapping_sub(current) {
            ahead if ahead <= ahead_max.saturating_add(each_ms) => ahead,
            _ => 0,
        };
        if ahead > ahead_max {
            return false;
        }
        self.until = current.wrapping_add(ahead).wrapping_add(each_ms);
        true
    }
}

/// A span in ticks, rounded up.
fn ticks(ms: u64) -> Tick {
    Tick::try_from(ms.div_ceil(TICK_MS)).unwrap_or(Tick::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Heartbeat = Heartbeat { interval_ms: 25_000, timeout_ms: 20_000 };

    /// Runs a heartbeat from 0 with a client that is last heard at `seen` milliseconds; the times of pings and the end.
    fn run(seen_until: u64, heartbeat: Heartbeat, until: u64) -> (Vec<u64>, Option<u64>) {
        let mut socket = WebSocket::new(0);
        let mut pings = Vec::new();
        let mut now = 0;
        while now <= until {
            let seen = tick(now.min(seen_until));
            match socket.beat(now, seen, heartbeat) {
                HeartbeatAction::Ping => pings.push(now),
                HeartbeatAction::Gone => return (pings, Some(now)),
                HeartbeatAction::Wait => now = socket.next_beat(now, seen, heartbeat),
            }
        }
        (pings, None)
    }

    #[test]
    fn a_client_that_is_heard_is_pinged_at_each_interval() {
        assert_eq!(run(u64::MAX, HEARTBEAT, 100_000), (vec![25_000, 50_000, 75_000, 100_000], None));
    }

    #[test]
    fn a_client_that_falls_silent_is_gone_after_the_timeout() {
        assert_eq!(run(60_000, HEARTBEAT, 200_000), (vec![25_000, 50_000, 75_000], Some(95_000)));
    }

    #[test]
    fn a_timeout_may_be_longer_than_the_interval() {
        let heartbeat = Heartbeat { interval_ms: 1_000, timeout_ms: 3_200 };
        assert_eq!(run(1_500, heartbeat, 20_000), (vec![1_000, 2_000], Some(5_200)));
        // An answer that comes after its ping does not put off the next one.
        let mut socket = WebSocket::new(0);
        assert_eq!(socket.beat(1_000, tick(0), heartbeat), HeartbeatAction::Ping);
        assert_eq!(socket.next_beat(1_000, tick(0), heartbeat), 2_000);
        assert_eq!(socket.beat(2_000, tick(1_100), heartbeat), HeartbeatAction::Ping);
    }

    #[test]
    fn signals_come_in_bursts_and_then_at_their_rate() {
        let rate = SignalRate { per_minute: 600, burst: 5 };
        for start in [1_000, u64::from(u32::MAX) - 200] {
            let mut socket = WebSocket::new(start);
            assert_eq!((0..10).filter(|_| socket.spend_signal(start, rate)).count(), 5);
            assert!(!socket.spend_signal(start + 99, rate) && socket.spend_signal(start + 100, rate));
            let later = (0..600).filter(|n| socket.spend_signal(start + 200 + n * 10, rate)).count();
            assert!((59..=61).contains(&later), "{later} in six seconds");
        }
    }
}
