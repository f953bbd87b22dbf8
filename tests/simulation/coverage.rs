//! Counts of the situations that a run reached, to show that the simulation tests something.

use std::collections::BTreeMap;

/// How often what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coverage(BTreeMap<String, u64>);

/// What a few dozen seeds of a server without a store must lead to.
pub(crate) const WANTED: [&str; 59] = [
    "connect",
    "room-joined",
    "room-left",
    "room-closed",
    "room-stats",
    "peer-joined",
    "peer-left",
    "message",
    "message to a peer",
    "message to a user",
    "message-sent",
    "offer",
    "answer",
    "ice-candidate",
    "media-state-changed",
    "typing",
    "delivered",
    "read-receipt",
    "presence",
    "pong",
    "authenticated",
    "joined by REST",
    "left by REST",
    "replaced",
    "removed",
    "renamed",
    "server-shutdown",
    "heartbeat-timeout",
    "token-expired",
    "slow-consumer",
    "too-many-connections",
    "BAD_JSON",
    "INVALID_MESSAGE",
    "UNKNOWN_TYPE",
    "UNSUPPORTED_DATA",
    "UNAUTHENTICATED",
    "FORBIDDEN",
    "ROOM_NOT_FOUND",
    "ROOM_FULL",
    "NOT_IN_ROOM",
    "PEER_NOT_FOUND",
    "PEER_ID_TAKEN",
    "PEER_MISMATCH",
    "USER_NOT_FOUND",
    "MESSAGE_NOT_FOUND",
    "MESSAGE_TOO_LARGE",
    "RATE_LIMITED",
    "OVERLOADED",
    "RECOVERY_FAILED",
    "closed 1000",
    "closed 1003",
    "closed 1007",
    "closed 1012",
    "closed 4401",
    "closed 4408",
    "closed 4413",
    "status 201",
    "status 204",
    "two peers compared",
];

/// The same for one with a store.
pub(crate) const WANTED_OF_STORE: [&str; 26] = [
    "message",
    "message-sent",
    "history",
    "receipts",
    "delivered",
    "read-receipt",
    "resumed",
    "recovered",
    "not recovered",
    "missed messages",
    "repeated",
    "trimmed",
    "crash",
    "power lost",
    "tail lost",
    "store slow",
    "store failed",
    "store failed to sync",
    "store back",
    "signal while Good",
    "signal while Full",
    "signal while Failing",
    "STORAGE_UNAVAILABLE",
    "RECOVERY_FAILED",
    "NOT_IN_ROOM",
    "judged",
];

/// The same for one whose clients speak all dialects.
pub(crate) const WANTED_OF_DIALECTS: [&str; 39] = [
    "message",
    "message:new",
    "newMessage",
    "message-sent",
    "message:sent",
    "messageSent",
    "direct in raw",
    "direct in /chat",
    "direct in /",
    "peer-joined",
    "user:joined",
    "userJoinedRoom",
    "peer-left",
    "user:left",
    "userLeftRoom",
    "typing",
    "user:typing",
    "userTyping",
    "NOT_IN_ROOM",
    "OVERLOADED",
    "Colon says goodbye",
    "Camel says goodbye",
    "Colon is reset",
    "Camel is reset",
    "Colon ends its side",
    "Camel ends its side",
    "Colon leaves /chat",
    "Camel leaves /chat",
    "Colon falls silent",
    "Camel falls silent",
    "on a WebSocket",
    "moved to another shard",
    "Closed(None)",
    "Closed(Some(1000))",
    "Closed(Some(1002))",
    "Closed(Some(4408))",
    "Refused",
    "drained",
    "two dialects compared",
];

/// What a few dozen seeds of a cluster must lead to.
pub(crate) const WANTED_OF_CLUSTER: [&str; 10] = [
    "acknowledged",
    "not acknowledged",
    "cut off",
    "missed publications",
    "failover",
    "failover that undoes calls",
    "epoch ended",
    "told to connect again",
    "returned",
    "refused to enter",
];

impl Coverage {
    pub(crate) fn count(&mut self, what: &str) {
        match self.0.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(what.to_owned(), 1)),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what.clone()).or_default() += count;
        }
    }

    /// What should have happened and did not.
    pub(crate) fn missing<'a>(&self, wanted: &[&'a str]) -> Vec<&'a str> {
        wanted.iter().copied().filter(|what| !self.0.contains_key(*what)).collect()
    }
}
