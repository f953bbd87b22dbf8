//! The access log: one line for each connection that has ended and each request that was answered, as events of the target
//! `access`. It never has a token, a query or the content of a message.

use std::net::IpAddr;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::codec::trace::TraceParent;
use crate::connection::access::AccessEntry;

/// The status from which every answer is logged, whatever the sampling.
const SERVER_ERROR: u16 = 500;

/// The access log of a shard.
pub(super) struct AccessLog {
    /// One of so many connections and requests has a line; 0: none.
    sample: u32,
    /// Connections and requests until the next line.
    left: u32,
}

/// A connection that has ended.
pub(super) struct EndedConnection<'a> {
    pub(super) connection: Option<ConnectionId>,
    pub(super) user: Option<&'a Name>,
    pub(super) address: IpAddr,
    pub(super) dialect: &'static str,
    pub(super) transport: &'static str,
    /// The close code, if one was sent or received.
    pub(super) code: Option<u16>,
    pub(super) reason: &'a str,
    pub(super) agent: Option<&'a str>,
    pub(super) lasted_ms: u64,
}

impl AccessLog {
    pub(super) fn new(sample: u32) -> Self {
        Self { sample, left: 1 }
    }

    /// Whether there are lines.
    pub(super) fn is_on(&self) -> bool {
        self.sample != 0
    }

    /// Whether the next one has a line.
    fn takes(&mut self) -> bool {
        self.left -= 1;
        let is_taken = self.left == 0;
        if is_taken {
            self.left = self.sample;
        }
        is_taken
    }

    /// Logs a connection that has ended.
    pub(super) fn ended(&mut self, ended: &EndedConnection<'_>) {
        if self.is_on() && self.takes() {
            let EndedConnection { connection, user, address, dialect, transport, code, reason, agent, lasted_ms } =
                *ended;
            tracing::info!(
                target: "access",
                kind = "connection",
                connection = connection.map(tracing::field::display),
                user = user.map(|user| &**user),
                %address,
                dialect,
                transport,
                code,
                reason,
                agent,
                lasted_ms
            );
        }
    }

    /// Logs a request that is answered with a body of `bytes`.
    pub(super) fn answered(&mut self, now: Now, entry: &AccessEntry, status: u16, bytes: usize) {
        // Counted in any case, so that errors do not change which others are logged.
        let is_taken = self.takes();
        if is_taken || status >= SERVER_ERROR {
            let AccessEntry { method, path, address, user, began, trace } = entry;
            let (user, lasted_ms) = (user.as_deref(), now.mono.saturating_sub(*began));
            let trace = trace.as_ref().map(TraceParent::as_str);
            tracing::info!(
                target: "access", kind = "request", %method, %path, user, %address, status, bytes, lasted_ms, trace
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_so_many_is_taken_beginning_with_the_first() {
        let mut log = AccessLog::new(3);
        let taken: Vec<bool> = (0..7).map(|_| log.takes()).collect();
        assert_eq!(taken, [true, false, false, true, false, false, true]);
        assert!(AccessLog::new(1).takes() && !AccessLog::new(0).is_on());
    }
}
