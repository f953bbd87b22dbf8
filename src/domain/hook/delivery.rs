//! Delivery to one endpoint, as a state machine without input and output: when the next request is due, how many events it
//! has, and when events are given up.
//!
//! Events are delivered in the order of the outbox, one request at a time, so the events of a room keep their order. A failed
//! request is repeated with the same events after a pause that doubles from 1 s to 1 h, with jitter. After
//! [`FAILURES_TO_OPEN`] failures in a row the *breaker* opens: until an attempt succeeds, requests carry one event.

/// Most events of one request.
pub const BATCH_EVENTS: usize = 100;

/// How long the first event of a request waits for others, in milliseconds.
pub const BATCH_MS: u64 = 500;

/// The first pause after a failure, in milliseconds.
const PAUSE_MIN_MS: u64 = 1_000;

/// The longest pause, in milliseconds.
const PAUSE_MAX_MS: u64 = 3_600_000;

/// Failures in a row after which the breaker opens.
pub const FAILURES_TO_OPEN: u32 = 5;

/// The age at which an undelivered event is given up, in milliseconds.
pub const DEAD_AFTER_MS: u64 = 24 * 3_600_000;

/// The outbox as delivery sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Events that wait; more than [`BATCH_EVENTS`] count as that many.
    pub events: usize,
    /// Time at which the oldest of them came, in milliseconds since 1970.
    pub oldest_at: u64,
}

/// The next step of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStep {
    /// Send the first so many events that wait.
    Send(usize),
    /// Wait for so many milliseconds, or until an event comes.
    Wait(u64),
    /// Wait until an event comes.
    Idle,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The endpoint has answered with a status of success.
    Accepted,
    /// Any other answer, or none.
    Failed {
        /// The pause that the endpoint asked for, in milliseconds.
        retry_after_ms: Option<u64>,
    },
}

/// The state of delivery to one endpoint. Times are monotonic milliseconds unless said otherwise.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Shortest time between the starts of two requests.
    interval_ms: u64,
    failures: u32,
    /// The end of the present pause.
    not_before: u64,
    /// The number of events of the request that is to be repeated.
    repeated: Option<usize>,
}

impl Delivery {
    /// An endpoint that gets at most so many requests a second; 0 is unlimited.
    pub fn new(requests_per_second: u64) -> Self {
        let interval_ms = 1_000u64.checked_div(requests_per_second).unwrap_or(0);
        Self { interval_ms, failures: 0, not_before: 0, repeated: None }
    }

    /// Whether the breaker is open.
    pub fn is_open(&self) -> bool {
        self.failures >= FAILURES_TO_OPEN
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The next step. `wall` is the time in milliseconds since 1970.
    pub fn step(&self, now: u64, wall: u64, pending: Pending) -> DeliveryStep {
        if pending.events == 0 {
            return DeliveryStep::Idle;
        }
        if now < self.not_before {
            return DeliveryStep::Wait(self.not_before - now);
        }
        if self.is_open() {
            return DeliveryStep::Send(1);
        }
        if let Some(events) = self.repeated {
            return DeliveryStep::Send(events.min(pending.events));
        }
        // A clock that was set back must not delay the batch.
        let age = wall.checked_sub(pending.oldest_at).unwrap_or(BATCH_MS);
        match pending.events >= BATCH_EVENTS || age >= BATCH_MS {
            true => DeliveryStep::Send(pending.events.min(BATCH_EVENTS)),
            false => DeliveryStep::Wait(BATCH_MS - age),
        }
    }

    /// Notes the outcome of a request of `events` that began at `began` and ended at `now`. `random` chooses the jitter.
    pub fn attempted(&mut self, (began, now): (u64, u64), events: usize, outcome: Attempt, random: u64) {
        match outcome {
            Attempt::Accepted => {
                self.failures = 0;
                self.repeated = None;
                self.not_before = began + self.interval_ms;
            }
            Attempt::Failed { retry_after_ms } => {
                let doubled = PAUSE_MIN_MS.saturating_mul(1 << self.failures.min(20));
                let pause = doubled.min(PAUSE_MAX_MS);
                // Between half of the pause and all of it.
                let pause = (pause / 2 + random % (pause / 2 + 1)).max(PAUSE_MIN_MS);
                let asked = retry_after_ms.unwrap_or(0).min(PAUSE_MAX_MS);
                self.failures = self.failures.saturating_add(1);
                self.repeated = Some(events);
                self.not_before = now + pause.max(asked).max(self.interval_ms);
            }
        }
    }

    /// Whether an event that came at `at` is given up after a failure, both in milliseconds since 1970.
    pub fn is_dead(wall: u64, at: u64) -> bool {
        wall.saturating_sub(at) >= DEAD_AFTER_MS
    }

    /// The first so many events that wait were given up: the next request is another one.
    pub fn gave_up(&mut self) {
        self.repeated = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Attempt = Attempt::Failed { retry_after_ms: None };

    fn pending(events: usize, oldest_at: u64) -> Pending {
        Pending { events, oldest_at }
    }

    #[test]
    fn batch_waits_until_it_is_full_or_old() {
        let delivery = Delivery::new(0);
        assert_eq!(delivery.step(0, 1_000, pending(0, 0)), DeliveryStep::Idle);
        assert_eq!(delivery.step(0, 1_000, pending(1, 1_000)), DeliveryStep::Wait(500));
        assert_eq!(delivery.step(0, 1_100, pending(99, 1_000)), DeliveryStep::Wait(400));
        assert_eq!(delivery.step(0, 1_100, pending(100, 1_000)), DeliveryStep::Send(100));
        assert_eq!(delivery.step(0, 1_100, pending(250, 1_000)), DeliveryStep::Send(100));
        assert_eq!(delivery.step(0, 1_500, pending(3, 1_000)), DeliveryStep::Send(3));
        assert_eq!(delivery.step(0, 900, pending(3, 1_000)), DeliveryStep::Send(3), "a clock that was set back");
    }

    #[test]
    fn failed_request_is_repeated_with_the_same_events_after_doubling_pauses() {
        let mut delivery = Delivery::new(0);
        let mut now = 0;
        for (failure, most) in [1_000, 2_000, 4_000, 8_000].into_iter().enumerate() {
            delivery.attempted((now, now), 7, FAILED, u64::MAX - failure as u64);
            let DeliveryStep::Wait(pause) = delivery.step(now, 0, pending(9, 0)) else { panic!("it pauses") };
            assert!((most / 2).max(1_000) <= pause && pause <= most, "{pause} of {most}");
            now += pause;
            assert_eq!(delivery.step(now, 0, pending(9, 0)), DeliveryStep::Send(7));
        }
        for _ in 0..60 {
            delivery.attempted((now, now), 7, FAILED, u64::MAX);
            let DeliveryStep::Wait(pause) = delivery.step(now, 0, pending(9, 0)) else { panic!("it pauses") };
            assert!(pause <= 3_600_000);
            now += pause;
        }
    }

    #[test]
    fn open_breaker_probes_with_one_event_until_a_success() {
        let mut delivery = Delivery::new(0);
        for _ in 0..FAILURES_TO_OPEN {
            assert!(!delivery.is_open());
            delivery.attempted((0, 0), 100, FAILED, 0);
        }
        assert!(delivery.is_open());
        assert_eq!(delivery.step(1 << 40, 0, pending(100, 0)), DeliveryStep::Send(1));
        delivery.attempted((0, 0), 1, Attempt::Accepted, 0);
        assert!(!delivery.is_open());
        assert_eq!(delivery.step(1 << 40, 600, pending(100, 0)), DeliveryStep::Send(100));
    }

    #[test]
    fn rate_and_retry_after_delay_the_next_request() {
        let mut delivery = Delivery::new(4);
        delivery.attempted((1_000, 1_100), 1, Attempt::Accepted, 0);
        assert_eq!(delivery.step(1_100, 5_000, pending(1, 0)), DeliveryStep::Wait(150));
        delivery.attempted((2_000, 2_000), 1, Attempt::Failed { retry_after_ms: Some(30_000) }, 0);
        assert_eq!(delivery.step(2_000, 5_000, pending(1, 0)), DeliveryStep::Wait(30_000));
        delivery.attempted((2_000, 2_000), 1, Attempt::Failed { retry_after_ms: Some(u64::MAX) }, 0);
        assert_eq!(delivery.step(2_000, 5_000, pending(1, 0)), DeliveryStep::Wait(3_600_000));
    }

    #[test]
    fn event_is_given_up_after_a_day() {
        assert!(!Delivery::is_dead(DEAD_AFTER_MS + 4, 5) && Delivery::is_dead(DEAD_AFTER_MS + 5, 5));
        assert!(!Delivery::is_dead(0, 5));
        let mut delivery = Delivery::new(0);
        delivery.attempted((0, 0), 9, FAILED, 0);
        delivery.gave_up();
        assert_eq!(delivery.step(1 << 40, 600, pending(20, 0)), DeliveryStep::Send(20));
    }
}
