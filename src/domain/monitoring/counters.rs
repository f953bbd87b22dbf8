//! Connections counted: by each shard for itself, and all shards together.

use super::recent::RecentCounts;
use crate::base::time::Now;

/// What one shard counts of its connections.
#[derive(Clone, Debug)]
pub struct Counters {
    figures: Figures,
    /// Connections that came, by the second.
    opened: RecentCounts<60>,
    /// Attempts to connect and requests, by five seconds.
    attempts: RecentCounts<60>,
    /// Those of them that failed.
    failures: RecentCounts<60>,
}

/// The counters of one shard, or of several, at one time. Those of several add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Connections that came since the start.
    pub opened: u64,
    /// Attempts to connect that were turned away since the start.
    pub failed: u64,
    /// Connections that ended since the start.
    pub ended: u64,
    /// How long those lasted, all together, in milliseconds.
    pub ended_ms: u64,
    /// Connections there are.
    pub active: u64,
    /// The most connections there were at one time since figures were last taken.
    pub most_active: u64,
    /// Connections that came within the last minute.
    pub opened_lately: u64,
    /// Attempts to connect and requests within the last five minutes.
    pub attempts: u64,
    /// Those of them that failed: a client was turned away, or the server could not do what it was asked.
    pub failures: u64,
}

impl Default for Counters {
    fn default() -> Self {
        let (opened, attempts) = (RecentCounts::new(1_000), RecentCounts::new(5_000));
        Self { figures: Figures::default(), opened, failures: attempts.clone(), attempts }
    }
}

impl Counters {
    /// A client connected.
    pub fn connected(&mut self, now: Now) {
        self.figures.opened += 1;
        self.figures.active += 1;
        self.figures.most_active = self.figures.most_active.max(self.figures.active);
        self.opened.add(now.mono);
        self.attempts.add(now.mono);
    }

    /// A connection ended that had lasted so many milliseconds.
    pub fn disconnected(&mut self, lasted_ms: u64) {
        self.figures.active = self.figures.active.saturating_sub(1);
        self.figures.ended += 1;
        self.figures.ended_ms = self.figures.ended_ms.saturating_add(lasted_ms);
    }

    /// A client was turned away before it was connected.
    pub fn turned_away(&mut self, now: Now) {
        self.figures.failed += 1;
        self.attempts.add(now.mono);
        self.failures.add(now.mono);
    }

    /// A request was answered. It failed when the server is to blame, not when its asker is.
    pub fn answered(&mut self, is_failure: bool, now: Now) {
        self.attempts.add(now.mono);
        if is_failure {
            self.failures.add(now.mono);
        }
    }

    /// The figures as of now. From here on the most connections at one time are counted anew.
    pub fn take_figures(&mut self, now: Now) -> Figures {
        let most_active = std::mem::replace(&mut self.figures.most_active, self.figures.active);
        Figures {
            most_active,
            opened_lately: self.opened.sum(now.mono),
            attempts: self.attempts.sum(now.mono),
            failures: self.failures.sum(now.mono),
            ..self.figures
        }
    }
}

impl Figures {
    /// Adds those of another shard.
    pub fn merge(&mut self, other: &Self) {
        self.opened += other.opened;
        self.failed += other.failed;
        self.ended += other.ended;
        self.ended_ms = self.ended_ms.saturating_add(other.ended_ms);
        self.active += other.active;
        self.most_active += other.most_active;
        self.opened_lately += other.opened_lately;
        self.attempts += other.attempts;
        self.failures += other.failures;
    }

    /// The part of attempts and requests that failed, from 0 to 1; 0 when there were none.
    pub fn error_rate(&self) -> f64 {
        if self.attempts == 0 { 0.0 } else { self.failures as f64 / self.attempts as f64 }
    }
}

/// What all shards count, as far as they have told.
///
/// Its peak is right to within the time between two figures of a shard: connections that followed each other on
/// different shards within that time count as one beside the other.
#[derive(Clone, Debug)]
pub struct ShardFigures {
    shards: Vec<Figures>,
    peak: u64,
    since: u64,
}

/// What a server counts, all its shards together. Those of several servers add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// What its shards count.
    pub figures: Figures,
    /// The most connections there were at one time since `since`. That of several servers is what their peaks add up to:
    /// there were at no time more.
    pub peak: u64,
    /// When counting began, in milliseconds since 1970; of several servers, that of the first.
    pub since: u64,
}

/// Connections in numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metrics {
    /// Connections that came since `since`.
    pub total: u64,
    /// Connections there are.
    pub active: u64,
    /// Attempts that were turned away since `since`.
    pub failed: u64,
    /// How long a connection lasted on average, of those that have ended, in milliseconds.
    pub average_ms: u64,
    /// The most connections there were at one time since `since`.
    pub peak: u64,
    /// Connections that came within the last minute.
    pub per_minute: u64,
    /// When counting began, in milliseconds since 1970.
    pub since: u64,
    /// The part of attempts and requests within the last five minutes that failed, from 0 to 1.
    pub error_rate: f64,
}

impl ShardFigures {
    /// Of so many shards, counting from now.
    pub fn new(shards: usize, now: Now) -> Self {
        Self { shards: vec![Figures::default(); shards], peak: 0, since: now.wall }
    }

    /// A shard's figures came; they take the place of those it told before.
    pub fn hear(&mut self, shard: usize, figures: Figures) {
        let Some(known) = self.shards.get_mut(shard) else { return };
        *known = figures;
        self.peak = self.peak.max(self.total().most_active);
        // The next shard's figures are for a later time, when this one had what it has now.
        self.shards[shard].most_active = figures.active;
    }

    /// All shards' figures together.
    pub fn total(&self) -> Figures {
        let mut total = Figures::default();
        self.shards.iter().for_each(|figures| total.merge(figures));
        total
    }

    /// The same with what they have come to so far.
    pub fn totals(&self) -> Totals {
        Totals { figures: self.total(), peak: self.peak, since: self.since }
    }
}

impl Totals {
    /// Adds what another shard of the same server counts; the peak is that of all shards as either has seen it.
    pub fn join(&mut self, other: &Self) {
        self.figures.merge(&other.figures);
        self.peak = self.peak.max(other.peak).max(self.figures.active);
        self.since = self.since.min(other.since);
    }

    /// Adds what another server counts.
    pub fn merge(&mut self, other: &Self) {
        self.figures.merge(&other.figures);
        self.peak += other.peak;
        self.since = self.since.min(other.since);
    }

    /// The same in numbers to show.
    pub fn metrics(&self) -> Metrics {
        let Self { figures, peak, since } = *self;
        Metrics {
            total: figures.opened,
            active: figures.active,
            failed: figures.failed,
            average_ms: figures.ended_ms.checked_div(figures.ended).unwrap_or(0),
            peak,
            per_minute: figures.opened_lately,
            since,
            error_rate: figures.error_rate(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Now = Now { mono: 1_000, wall: 1_736_458_200_000 };

    #[test]
    fn what_shards_count_adds_up() {
        let (mut a, mut b) = (Counters::default(), Counters::default());
        for n in 0..10 {
            a.connected(START.plus(n * 100));
        }
        for _ in 0..4 {
            a.disconnected(30_000);
        }
        b.connected(START.plus(100));
        b.turned_away(START.plus(200));
        b.answered(true, START.plus(300));
        b.answered(false, START.plus(300));
        let mut census = ShardFigures::new(2, START);
        census.hear(0, a.take_figures(START.plus(1_000)));
        census.hear(1, b.take_figures(START.plus(1_000)));
        let expected = Metrics {
            total: 11,
            active: 7,
            failed: 1,
            average_ms: 30_000,
            peak: 10,
            per_minute: 11,
            since: START.wall,
            error_rate: 2.0 / 14.0,
        };
        assert_eq!(census.totals().metrics(), expected);
        let mut sum = a.take_figures(START.plus(1_000));
        sum.merge(&b.take_figures(START.plus(1_000)));
        assert_eq!((sum.opened, sum.active, sum.failures), (11, 7, 2));
    }

    #[test]
    fn what_servers_count_adds_up() {
        let figures = Figures { opened: 7, ended: 2, ended_ms: 100, active: 5, opened_lately: 1, ..Figures::default() };
        let mut all = Totals { figures: Figures { opened: 3, active: 2, ..Figures::default() }, peak: 6, since: 2_000 };
        all.join(&Totals { figures: Figures { opened: 4, active: 3, ..figures }, peak: 4, since: 2_000 });
        all.merge(&Totals { figures: Figures { ended: 1, ended_ms: 200, ..figures }, peak: 5, since: 1_000 });
        let metrics = all.metrics();
        assert_eq!((metrics.total, metrics.active, metrics.peak, metrics.since), (14, 10, 11, 1_000));
        assert_eq!((metrics.average_ms, metrics.per_minute), (100, 2));
    }

    #[test]
    fn the_peak_stays_and_the_rates_pass() {
        let mut counters = Counters::default();
        let mut census = ShardFigures::new(1, START);
        for _ in 0..5 {
            counters.connected(START);
        }
        for _ in 0..5 {
            counters.disconnected(10);
        }
        census.hear(0, counters.take_figures(START));
        assert_eq!(
            (census.totals().metrics().peak, census.totals().metrics().active, census.totals().metrics().per_minute),
            (5, 0, 5)
        );
        counters.connected(START.plus(400_000));
        census.hear(0, counters.take_figures(START.plus(400_000)));
        let metrics = census.totals().metrics();
        assert_eq!((metrics.peak, metrics.active, metrics.per_minute), (5, 1, 1));
        census.hear(7, Figures::default());
        assert_eq!(census.totals().metrics(), metrics, "there is no such shard");
    }

    #[test]
    fn shards_that_tell_in_turn_do_not_make_a_peak_out_of_what_is_past() {
        let (mut a, mut b) = (Counters::default(), Counters::default());
        let mut census = ShardFigures::new(2, START);
        for round in 0..10 {
            let now = START.plus(round * 1_000);
            let (from, to) = if round % 2 == 0 { (&mut b, &mut a) } else { (&mut a, &mut b) };
            if round > 0 {
                from.disconnected(1_000);
            }
            census.hear((round as usize + 1) % 2, from.take_figures(now));
            to.connected(now);
            census.hear(round as usize % 2, to.take_figures(now));
        }
        // Up to two, since what moved within the time between two figures is seen on both.
        assert!(
            census.totals().metrics().peak <= 2 && census.totals().metrics().active == 1,
            "{:?}",
            census.totals().metrics()
        );
    }
}
