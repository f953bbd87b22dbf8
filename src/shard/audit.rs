//! The audit log: what admins and hosts do, and attempts that are refused, as events of the target `audit`. It never has a
//! token or the content of a message.
//!
//! Actions are logged one by one. Refused attempts are gathered for a second: anyone can cause any number of them.

use std::net::IpAddr;

use crate::base::time::Now;
use crate::domain::reject::{Code, Reject};

/// Time over which refused attempts are gathered, in milliseconds.
const GATHER_MS: u64 = 1_000;

/// Addresses that one line names.
const ADDRESSES_NAMED: usize = 8;

/// Bytes of a name in a line.
const NAME_BYTES: usize = 256;

/// The cause of a refused attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalCause {
    /// A token that is missing, not valid, expired or revoked.
    Token,
    /// An address with too many attempts or connections.
    Rate,
    /// A page of an origin that may not use the server.
    Origin,
    /// A blocked user or address.
    Blocked,
    /// Another cause, such as a full server.
    Other,
}

impl RefusalCause {
    const ALL: [Self; 5] = [Self::Token, Self::Rate, Self::Origin, Self::Blocked, Self::Other];

    /// The cause of a refusal, unless the origin is.
    pub(super) fn of(reject: &Reject) -> Self {
        match reject.code {
            Code::Unauthenticated | Code::TokenExpired => Self::Token,
            Code::RateLimited => Self::Rate,
            Code::Forbidden => Self::Blocked,
            _ => Self::Other,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Token => "tokens-refused",
            Self::Rate => "addresses-limited",
            Self::Origin => "origins-refused",
            Self::Blocked => "blocked-refused",
            Self::Other => "connections-refused",
        }
    }
}

/// An action of an admin or a host.
pub(super) struct AuditedAction<'a> {
    /// Such as `block-user`.
    pub(super) action: &'a str,
    /// The user.
    pub(super) by: &'a str,
    /// The user's address.
    pub(super) from: IpAddr,
    /// The user, room, address or connection that it concerns.
    pub(super) on: &'a str,
    /// `done`, or the code of the refusal.
    pub(super) outcome: &'a str,
}

/// Refused attempts of one cause.
#[derive(Default)]
struct RefusalTally {
    count: u64,
    /// The first addresses, each once.
    addresses: Vec<IpAddr>,
    /// The reason of the last one.
    reason: String,
}

/// Refused attempts that are not logged yet.
#[derive(Default)]
pub(super) struct AuditLog {
    tallies: [RefusalTally; RefusalCause::ALL.len()],
    /// When they are logged, in monotonic milliseconds; 0: there are none.
    due: u64,
}

impl AuditLog {
    /// Logs an action.
    pub(super) fn action(&self, it: &AuditedAction<'_>) {
        let AuditedAction { action, by, from, on, outcome } = *it;
        let (by, on) = (shown(by), shown(on));
        tracing::info!(target: "audit", action, by, %from, on, outcome);
    }

    /// Notes a refused attempt.
    pub(super) fn refused(&mut self, now: Now, cause: RefusalCause, address: IpAddr, reject: &Reject) {
        let tally = &mut self.tallies[cause as usize];
        tally.count += 1;
        if tally.addresses.len() < ADDRESSES_NAMED && !tally.addresses.contains(&address) {
            tally.addresses.push(address);
        }
        tally.reason.clear();
        tally.reason.push_str(&reject.text);
        if self.due == 0 {
            self.due = now.mono + GATHER_MS;
        }
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        (self.due != 0).then_some(self.due)
    }

    /// Logs the attempts of the last second, one line for each cause.
    pub(super) fn log_if_due(&mut self, now: Now) {
        if self.due == 0 || now.mono < self.due {
            return;
        }
        self.due = 0;
        for cause in RefusalCause::ALL {
            let RefusalTally { count, addresses, reason } = std::mem::take(&mut self.tallies[cause as usize]);
            if count > 0 {
                tracing::warn!(target: "audit", action = cause.as_str(), count, ?addresses, reason);
            }
        }
    }
}

/// A name as a line shows it.
fn shown(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES)]
}
