//! Counters for monitoring by label, traffic and durations of one shard. All labels are of fixed sets.

use super::histogram::{Durations, LONG_US, SHORT_US};
use crate::domain::reject::Code;

/// Statuses of HTTP that are counted apart.
pub const STATUSES: [u16; 27] = [
    101, 200, 201, 202, 204, 302, 304, 400, 401, 403, 404, 405, 406, 408, 409, 411, 413, 414, 415, 417, 426, 429, 431,
    500, 501, 503, 505,
];

/// Dialects: `raw`, and those of Socket.IO by their numbers.
const DIALECT_LABELS: usize = 5;

/// How a client leaves, as a label.
pub const DEPARTURES: [&str; 5] = ["lost", "left", "broke-a-rule", "removed", "superseded"];

/// Transports of Engine.IO.
pub const TRANSPORTS: [&str; 2] = ["polling", "websocket"];

/// What a listener is for, as a label.
pub const LISTENERS: [&str; 3] = ["public", "admin", "metrics"];

/// Bytes and calls of the sockets of a shard since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that were read.
    pub received_bytes: u64,
    /// Bytes that were written.
    pub sent_bytes: u64,
    /// Reads that had bytes.
    pub reads: u64,
    /// Writes that took bytes.
    pub writes: u64,
}

/// Bytes of memory that a shard holds, by what they are for. Those of rooms and users are the structs and lists, without texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldBytes {
    /// Table of connections.
    pub connections: u64,
    /// Tables of Engine.IO sessions and Socket.IO peers.
    pub sessions: u64,
    /// Output of a turn.
    pub output: u64,
    /// Sessions of departed connections.
    pub recovery: u64,
    /// What clients have not taken yet.
    pub backlogs: u64,
    /// The shard's lists of members.
    pub memberships: u64,
    /// The rooms that the shard owns, with their members and kept messages.
    pub rooms: u64,
    /// The users that the shard owns.
    pub users: u64,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// Connections accepted, by what their listener is for ([`LISTENERS`]).
    pub accepted: [u64; LISTENERS.len()],
    /// Answers by status ([`STATUSES`]); the last are all others.
    pub answers: [u64; STATUSES.len() + 1],
    /// Refused requests by code ([`Code::ALL`]).
    pub refusals: [u64; Code::ALL.len()],
    /// Clients that connected, by dialect.
    pub arrivals: [u64; DIALECT_LABELS],
    /// Clients that left, by dialect.
    pub departures: [u64; DIALECT_LABELS],
    /// Clients that left, by the way ([`DEPARTURES`]).
    pub departed: [u64; DEPARTURES.len()],
    /// Engine.IO sessions opened, by transport ([`TRANSPORTS`]).
    pub sessions_opened: [u64; TRANSPORTS.len()],
    /// Engine.IO sessions that went on from polling to a WebSocket.
    pub engineio_upgrades: u64,
    /// See [`Traffic`].
    pub traffic: Traffic,
    /// Turns of the event loop ([`SHORT_US`]).
    pub turns: Durations,
    /// From the time a message was accepted to the end of the turn that wrote it ([`LONG_US`]), once for each shard.
    pub publications: Durations,
    /// From the acceptance of a connection to its WebSocket ([`LONG_US`]).
    pub handshakes: Durations,
    /// See [`HeldBytes`].
    pub held: HeldBytes,
}

impl Telemetry {
    /// Counts an answer by its status.
    pub fn answered(&mut self, status: u16) {
        self.answers[STATUSES.binary_search(&status).unwrap_or(STATUSES.len())] += 1;
    }

    /// Counts a turn that took `us`, and the messages it wrote, by the time since each was accepted.
    pub fn turn_ended(&mut self, traffic: Traffic, us: u64, waited_ms: impl Iterator<Item = u64>) {
        self.traffic = traffic;
        self.turns.record(&SHORT_US, us);
        waited_ms.for_each(|ms| self.publications.record(&LONG_US, ms.saturating_mul(1_000)));
    }

    /// Counts the opening of a WebSocket so many milliseconds after its connection was accepted.
    pub fn upgraded(&mut self, after_ms: u64) {
        self.answered(101);
        self.handshakes.record(&LONG_US, after_ms.saturating_mul(1_000));
    }

    /// Adds the counts of another shard.
    pub fn add(&mut self, other: &Self) {
        fn sum<const N: usize>(counts: &mut [u64; N], more: &[u64; N]) {
            counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
        }
        sum(&mut self.accepted, &other.accepted);
        sum(&mut self.answers, &other.answers);
        sum(&mut self.refusals, &other.refusals);
        sum(&mut self.arrivals, &other.arrivals);
        sum(&mut self.departures, &other.departures);
        sum(&mut self.departed, &other.departed);
        sum(&mut self.sessions_opened, &other.sessions_opened);
        self.engineio_upgrades += other.engineio_upgrades;
        self.traffic.received_bytes += other.traffic.received_bytes;
        self.traffic.sent_bytes += other.traffic.sent_bytes;
        self.traffic.reads += other.traffic.reads;
        self.traffic.writes += other.traffic.writes;
        self.turns.add(&other.turns);
        self.publications.add(&other.publications);
        self.handshakes.add(&other.handshakes);
        self.held.connections += other.held.connections;
        self.held.sessions += other.held.sessions;
        self.held.output += other.held.output;
        self.held.recovery += other.held.recovery;
        self.held.backlogs += other.held.backlogs;
        self.held.memberships += other.held.memberships;
        self.held.rooms += other.held.rooms;
        self.held.users += other.held.users;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_in_order_and_others_counted_together() {
        assert!(STATUSES.is_sorted());
        let mut telemetry = Telemetry::default();
        for status in [101, 505, 418, 599] {
            telemetry.answered(status);
        }
        let sum: u64 = telemetry.answers.iter().sum();
        assert_eq!((telemetry.answers[0], telemetry.answers[26], telemetry.answers[27], sum), (1, 1, 2, 4));
        let mut all = telemetry;
        all.add(&telemetry);
        assert_eq!(all.answers[27], 4);
    }
}
