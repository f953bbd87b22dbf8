//! State of a WebSocket between frames: decoder, heartbeat, rate limit of signaling messages.
//!
//! The server pings once per interval. A client that sends no byte within the timeout after a ping is considered gone.
//! No second ping is sent while one is unanswered.

use crate::base::wheel::{TICK_MS, Tick, tick};
use crate::codec::ws::FrameDecoder;

/// A WebSocket.
pub struct WebSocket {
    /// Incomplete frame or message.
    pub decoder: FrameDecoder,
    /// Tick of the last ping; of the opening before the first ping.
    pinged: Tick,
    /// Rate limit of signaling messages.
    signals: SignalAllowance,
}

/// State of a rate limit of signaling messages.
#[derive(Clone, Copy, Debug)]
pub struct SignalAllowance {
    /// End of the spent allowance, in wrapping monotonic milliseconds.
    until: u32,
}

/// Heartbeat settings.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    /// Time between two pings, in milliseconds.
    pub interval_ms: u64,
    /// Time limit for a response to a ping, in milliseconds.
    pub timeout_ms: u64,
}

/// Action required by the heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatAction {
    /// None.
    Wait,
    /// Send a ping.
    Ping,
    /// Close: the client has timed out.
    Gone,
}

/// Rate limit of signaling messages per connection.
#[derive(Clone, Copy, Debug)]
pub struct SignalRate {
    /// Messages per minute; 0: unlimited.
    pub per_minute: u32,
    /// Messages in a burst.
    pub burst: u32,
}

impl WebSocket {
    /// State of a WebSocket opened at `mono` milliseconds.
    pub fn new(mono: u64) -> Self {
        Self { decoder: FrameDecoder::default(), pinged: tick(mono), signals: SignalAllowance::new(mono) }
    }

    /// Checks the heartbeat at `mono` milliseconds; `seen` is the tick at which bytes last arrived.
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

    /// Monotonic milliseconds of the next check after `mono`. While a ping is unanswered, the time of the next ping
    /// counts, too: if the client has responded by then, that ping is due, however long the timeout.
    pub fn next_beat(&self, mono: u64, seen: Tick, heartbeat: Heartbeat) -> u64 {
        let ping = self.pinged.saturating_add(ticks(heartbeat.interval_ms));
        let end = self.pinged.saturating_add(ticks(heartbeat.timeout_ms));
        let next = if seen >= self.pinged || (ping < end && tick(mono) < ping) { ping } else { end };
        u64::from(next) * TICK_MS
    }

    /// Counts a signaling message of so many bytes.
    ///
    /// # Errors
    /// The rate limit is exceeded, for so many milliseconds.
    pub fn spend_signal(&mut self, mono: u64, rate: SignalRate, bytes: usize) -> Result<(), u64> {
        self.signals.spend(mono, rate, bytes)
    }
}

/// Bytes of a signaling message that count as one: descriptions of sessions are smaller.
const SIGNAL_BYTES: usize = 16 * 1024;

impl SignalAllowance {
    /// An unused allowance at `mono` milliseconds.
    pub fn new(mono: u64) -> Self {
        Self { until: mono as u32 }
    }

    /// Counts a signaling message of so many bytes, a large one as several. Generic cell rate algorithm: the state is the time
    /// until which the allowance is spent.
    ///
    /// # Errors
    /// The rate limit is exceeded, for so many milliseconds.
    pub fn spend(&mut self, mono: u64, rate: SignalRate, bytes: usize) -> Result<(), u64> {
        if rate.per_minute == 0 {
            return Ok(());
        }
        let each_ms = (60_000 / rate.per_minute).max(1);
        let count = u32::try_from(bytes / SIGNAL_BYTES).unwrap_or(u32::MAX).saturating_add(1).min(rate.burst.max(1));
        let burst_ms = each_ms.saturating_mul(rate.burst.max(1));
        let current = mono as u32;
        // The clock wraps after 49 days; a distant time counts as passed.
        let ahead = match self.until.wrapping_sub(current) {
            ahead if ahead <= burst_ms => ahead,
            _ => 0,
        };
        let until = ahead.saturating_add(each_ms.saturating_mul(count));
        if until > burst_ms {
            return Err(u64::from(until - burst_ms));
        }
        self.until = current.wrapping_add(until);
        Ok(())
    }
}

/// A duration in ticks, rounded up.
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
            assert_eq!((0..10).filter(|_| socket.spend_signal(start, rate, 0).is_ok()).count(), 5);
            assert_eq!(socket.spend_signal(start + 99, rate, 0), Err(1));
            assert_eq!(socket.spend_signal(start + 100, rate, 0), Ok(()));
            let later = (0..600).filter(|n| socket.spend_signal(start + 200 + n * 10, rate, 0).is_ok()).count();
            assert!((59..=61).contains(&later), "{later} in six seconds");
        }
    }

    #[test]
    fn large_signal_counts_as_several() {
        let rate = SignalRate { per_minute: 600, burst: 5 };
        let mut socket = WebSocket::new(0);
        assert_eq!(socket.spend_signal(0, rate, 3 * SIGNAL_BYTES), Ok(()));
        assert_eq!(socket.spend_signal(0, rate, SIGNAL_BYTES), Err(100));
        assert_eq!(socket.spend_signal(0, rate, SIGNAL_BYTES - 1), Ok(()));
        // However large it is, it is possible with an unused allowance.
        assert_eq!(WebSocket::new(0).spend_signal(0, rate, usize::MAX), Ok(()));
    }
}
