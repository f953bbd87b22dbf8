//! Monitoring: counters, frequent sources, incidents, and the server's health.
//!
//! Each shard has a [`ConnectionMonitor`]: [`Counters`], two [`FrequencySketch`] sketches (of addresses and user agents) and a
//! [`IncidentJournal`]. All have a fixed bound, and those of several shards are merged. A shard that answers queries receives the
//! [`Figures`] of the others and collects them in [`ShardFigures`]. Counts are exact unless documented as estimates.

mod connection_monitor;
mod counters;
mod frequency_sketch;
mod health;
mod histogram;
mod journal;
mod recent_counts;
mod shard_stats;
mod stats;
mod telemetry;

pub use connection_monitor::{ConnectionMonitor, Counted, MonitoredClient, OverviewParts};
pub use counters::{Counters, Figures, Metrics, ShardFigures, Totals};
pub use frequency_sketch::{FREQUENT_KEPT, FrequencySketch};
pub use health::{BackendState, HealthReport, Level, Load, Vitals, assess};
pub use histogram::{AllocatorBytes, Durations, LONG_US, ProcessFigures, SHORT_US};
pub use journal::{INCIDENTS_KEPT, Incident, IncidentJournal, USER_AGENT_BYTES, newest, shortened};
pub use shard_stats::Stats;
pub use stats::{MessageStats, PresenceStats, SessionStats};
pub use telemetry::{DEPARTURES, HeldBytes, LISTENERS, STATUSES, TRANSPORTS, Telemetry, Traffic};

use std::net::IpAddr;

use crate::base::Name;

/// The overview of connections.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Counts.
    pub metrics: Metrics,
    /// The last incidents, newest first.
    pub recent: Vec<Incident>,
    /// The addresses most connections came from, and at least how many.
    pub addresses: Vec<(IpAddr, u64)>,
    /// The user agents most connections came with, and at least how many.
    pub user_agents: Vec<(Name, u64)>,
}
