//! What is counted, and what it says of the server's health.
//!
//! Each shard keeps a [`ConnectionMonitor`]: [`Counters`], two [`Frequent`] sketches (of addresses and of user agents) and a
//! [`Journal`]. All of them have a fixed bound, and those of several shards add up. The shard that answers questions hears
//! the others' [`Figures`] and keeps a [`ShardFigures`]. Nothing here is estimated but what says so, and nothing is read from a
//! clock.

mod counters;
mod frequent;
mod health;
mod journal;
mod recent;
mod shard_stats;
mod stats;
mod watch;

pub use counters::{Counters, Figures, Metrics, ShardFigures, Totals};
pub use frequent::{FREQUENT_KEPT, Frequent};
pub use health::{BackendState, HealthReport, Level, Load, Vitals, assess};
pub use journal::{INCIDENTS_KEPT, Incident, Journal, USER_AGENT_BYTES, newest, shortened};
pub use shard_stats::Stats;
pub use stats::{MessageStats, PresenceStats, SessionStats};
pub use watch::{ConnectionMonitor, Counted, OverviewParts, Visitor};

use std::net::IpAddr;

use crate::base::Name;

/// All that is counted of connections.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Of connections as such.
    pub metrics: Metrics,
    /// What happened last, newest first.
    pub recent: Vec<Incident>,
    /// The addresses most connections came from, and at least how many.
    pub addresses: Vec<(IpAddr, u64)>,
    /// The user agents most connections came with, and at least how many.
    pub user_agents: Vec<(Name, u64)>,
}
