//! A WebSocket's state between frames: its decoder and its heartbeat.
//!
//! The server pings at each interval. A client from which nothing at all has come within the timeout after a ping is
//! gone, whatever its TCP connection seems to say.

use crate::base::wheel::{TICK_MS, Tick, tick};
use crate::codec::ws::Decoder;

/// One WebSocket.
pub struct WebSocket {
    /// What has come of a frame or message that is incomplete.
    pub decoder: Decoder,
    /// When it was last pinged.
    pinged: Tick,
    /// The earliest ping that nothing has come after; 0 when there is none.
    unanswered: Tick,
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
pub enum Beat {
    /// Nothing now.
    Wait,
    /// A ping.
    Ping,
    /// The client is gone.
    Gone,
}

impl WebSocket {
    /// One that opened at `mono` milliseconds.
    pub fn new(mono: u64) -> Self {
        Self { decoder: Decoder::default(), pinged: tick(mono), unanswered: 0 }
    }

    /// Looks at the heartbeat at `mono` milliseconds; `seen` is when bytes last came.
    pub fn beat(&mut self, mono: u64, seen: Tick, heartbeat: Heartbeat) -> Beat {
        let current = tick(mono);
        if self.unanswered != 0 && seen >= self.unanswered {
            self.unanswered = 0;
        }
        if self.unanswered != 0 && current >= self.unanswered.saturating_add(ticks(heartbeat.timeout_ms)) {
            return Beat::Gone;
        }
        if current >= self.pinged.saturating_add(ticks(heartbeat.interval_ms)) {
            self.pinged = current;
            if self.unanswered == 0 {
                self.unanswered = current;
            }
            return Beat::Ping;
        }
        Beat::Wait
    }

    /// When to look next, in milliseconds on the monotonic clock.
    pub fn next_beat(&self, heartbeat: Heartbeat) -> u64 {
        let ping = self.pinged.saturating_add(ticks(heartbeat.interval_ms));
        let next = match self.unanswered {
            0 => ping,
            since => ping.min(since.saturating_add(ticks(heartbeat.timeout_ms))),
        };
        u64::from(next) * TICK_MS
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
            match socket.beat(now, tick(now.min(seen_until)), heartbeat) {
                Beat::Ping => pings.push(now),
                Beat::Gone => return (pings, Some(now)),
                Beat::Wait => now = socket.next_beat(heartbeat),
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
        assert_eq!(run(1_500, heartbeat, 20_000), (vec![1_000, 2_000, 3_000, 4_000, 5_000], Some(5_200)));
    }
}
