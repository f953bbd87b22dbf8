//! The list of revocations of a cluster: Redis keeps it, and every node has a copy for its shards.
//!
//! A script changes the list, numbers the change and publishes it to all nodes. A node passes changes on in their order; when
//! one is missing, or after its subscription was interrupted, it reads the list anew. The reply to a change waits until this
//! node has passed the change on, so that a later request of the requester finds it done.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::Name;
use crate::domain::op::Reply;
use crate::domain::reject::Reject;
use crate::domain::revocation::{Revocation, RevocationChange, Revoked};
use crate::message::redis::{Bytes, RedisState};
use crate::message::{Requester, ShardMessage};
use crate::owner::redis::calls::{CallPurpose, CallResult, REPLY_MS};
use crate::owner::redis::deadlines::Deadline;
use crate::owner::redis::scripts;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::{json, number, text};

/// Pause after a failed read of the list, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// The purpose of a call on the list.
pub(super) enum RevocationCall {
    Change,
    List,
}

/// A revocation as JSON: subject, end, reason, moment of issue, time, admin.
#[derive(Debug, Serialize, Deserialize)]
struct WireRevocation {
    #[serde(rename = "s")]
    subject: Box<str>,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    reason: Option<Box<str>>,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    issued_before: Option<u64>,
    #[serde(rename = "t")]
    made_at: u64,
    #[serde(rename = "b")]
    by: Name,
}

impl From<&Revocation> for WireRevocation {
    fn from(revocation: &Revocation) -> Self {
        Self {
            subject: revocation.subject.text().into(),
            until: revocation.until,
            reason: revocation.reason.clone(),
            issued_before: revocation.issued_before,
            made_at: revocation.made_at,
            by: revocation.by.clone(),
        }
    }
}

impl WireRevocation {
    /// The revocation; `None` if its subject is of a later version.
    fn revocation(self) -> Option<Arc<Revocation>> {
        let Self { subject, until, reason, issued_before, made_at, by } = self;
        let subject = Revoked::parse(&subject)?;
        Some(Arc::new(Revocation { subject, until, reason, issued_before, made_at, by }))
    }
}

/// A published change: number, subject, and the revocation unless it was removed.
#[derive(Deserialize)]
struct PublishedChange {
    #[serde(rename = "l")]
    change: (u64, Box<str>, Option<WireRevocation>),
}

/// The answer of the script that changes the list.
#[derive(Deserialize)]
struct ChangeReply {
    #[serde(rename = "n")]
    number: u64,
}

/// The answer of the script that reads the list: number of the last change, number up to which the part goes, the part.
#[derive(Deserialize)]
struct ListReply {
    #[serde(rename = "n")]
    last: u64,
    #[serde(rename = "a")]
    until: u64,
    #[serde(rename = "l")]
    list: Vec<(u64, WireRevocation)>,
}

/// A list that is being read.
#[derive(Default)]
struct ListReading {
    /// The parts so far, by subject.
    found: BTreeMap<Box<str>, (u64, Option<Arc<Revocation>>)>,
    /// The last change so far.
    last: u64,
}

impl ListReading {
    /// Notes a change, unless a later one of the subject is known.
    fn note(&mut self, subject: Box<str>, at: u64, revocation: Option<Arc<Revocation>>) {
        let known = self.found.get(&subject).map_or(0, |(known, _)| *known);
        if at > known {
            self.found.insert(subject, (at, revocation));
        }
        self.last = self.last.max(at);
    }
}

/// This node's view of the list.
#[derive(Default)]
pub(super) struct ClusterRevocations {
    /// The last change that was passed on.
    last: u64,
    reading: Option<ListReading>,
    /// Whether a call to read is under way.
    is_called: bool,
    /// Whether that call was for an earlier reading.
    is_outdated: bool,
    /// Requesters of changes that were not passed on yet, by number of the change, and since when.
    waiting: Vec<(u64, Requester, u64)>,
}

impl ClusterRevocations {
    /// Calls the script of a change.
    pub(super) fn request(&mut self, turn: &mut OwnerTurn<'_>, change: RevocationChange, from: Requester) {
        let (subject, entry, ends) = match &change {
            RevocationChange::Added(revocation) => {
                let entry = json(&WireRevocation::from(&**revocation));
                (revocation.subject.text(), entry, revocation.until.unwrap_or_default())
            }
            RevocationChange::Removed(subject) => (subject.text(), text(""), 0),
            RevocationChange::Replaced(_) => {
                debug_assert!(false, "invariant: no request replaces the list");
                return turn.reply(Some(from), Ok(Reply::Done));
            }
        };
        let arguments: [Bytes; 4] = [turn.node.keys.everyone(), text(subject), entry, number(ends)];
        let key = turn.node.keys.revocations();
        let purpose = CallPurpose::Revocation(RevocationCall::Change);
        turn.call(&scripts::CHANGE_REVOCATION, key, Some(from), purpose, arguments);
    }

    /// The subscription to changes has begun: the list is read, since changes may have been missed.
    pub(super) fn subscribed(&mut self, turn: &mut OwnerTurn<'_>) {
        self.reading = Some(ListReading::default());
        match self.is_called {
            true => self.is_outdated = true,
            false => self.read(turn, 0),
        }
    }

    fn read(&mut self, turn: &mut OwnerTurn<'_>, after: u64) {
        self.is_called = true;
        let key = turn.node.keys.revocations();
        let purpose = CallPurpose::Revocation(RevocationCall::List);
        turn.call(&scripts::LIST_REVOCATIONS, key, None, purpose, [number(after)]);
    }

    /// Begins to read the list again after a failure.
    pub(super) fn read_again(&mut self, turn: &mut OwnerTurn<'_>) {
        if self.reading.is_some() && !self.is_called && turn.node.redis != RedisState::Unreachable {
            self.subscribed(turn);
        }
    }

    /// Handles the result of a call.
    pub(super) fn replied(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        to: Option<Requester>,
        purpose: &RevocationCall,
        result: CallResult,
    ) {
        match purpose {
            RevocationCall::Change => match result.ok().and_then(|text| serde_json::from_slice(&text).ok()) {
                Some(ChangeReply { number }) => self.changed(turn, to, number),
                None => turn.reply(to, Err(Reject::storage_unavailable())),
            },
            RevocationCall::List => {
                self.is_called = false;
                if std::mem::take(&mut self.is_outdated) {
                    return self.read(turn, 0);
                }
                match result.ok().and_then(|text| serde_json::from_slice::<ListReply>(&text).ok()) {
                    Some(part) => self.take(turn, part),
                    None => turn.after(RETRY_MS, Deadline::Revocations),
                }
            }
        }
    }

    fn changed(&mut self, turn: &mut OwnerTurn<'_>, to: Option<Requester>, number: u64) {
        match to {
            Some(to) if number > self.last => {
                self.waiting.push((number, to, turn.now.mono));
                turn.after(REPLY_MS, Deadline::Revocations);
            }
            to => turn.reply(to, Ok(Reply::Done)),
        }
    }

    /// Takes a part of the list.
    fn take(&mut self, turn: &mut OwnerTurn<'_>, part: ListReply) {
        let Some(reading) = &mut self.reading else {
            debug_assert!(false, "invariant: a part comes while the list is read");
            return;
        };
        let is_end = part.list.is_empty();
        for (at, entry) in part.list {
            reading.note(entry.subject.clone(), at, entry.revocation());
        }
        if !is_end {
            return self.read(turn, part.until);
        }
        let ListReading { found, last } = self.reading.take().unwrap_or_default();
        self.last = last.max(part.last);
        let all: Arc<[Arc<Revocation>]> = found.into_values().filter_map(|(_, revocation)| revocation).collect();
        tell_shards(turn, &RevocationChange::Replaced(all));
        self.release(turn);
    }

    /// Handles a published change.
    pub(super) fn published(&mut self, turn: &mut OwnerTurn<'_>, body: &[u8]) {
        let Ok(PublishedChange { change: (at, subject, entry) }) = serde_json::from_slice(body) else {
            tracing::warn!("a published change of the revocations is not understood");
            return;
        };
        if self.reading.is_none() && at <= self.last {
            // The list was read after this change.
            return;
        }
        let revocation = entry.and_then(WireRevocation::revocation);
        let change = match (&revocation, Revoked::parse(&subject)) {
            (Some(revocation), _) => Some(RevocationChange::Added(revocation.clone())),
            (None, subject) => subject.map(RevocationChange::Removed),
        };
        if let Some(change) = &change {
            tell_shards(turn, change);
        }
        match &mut self.reading {
            Some(reading) => reading.note(subject, at, revocation),
            None if at == self.last + 1 => {
                self.last = at;
                self.release(turn);
            }
            // A change was missed.
            None => self.subscribed(turn),
        }
    }

    /// Replies to the requesters whose changes were passed on.
    fn release(&mut self, turn: &mut OwnerTurn<'_>) {
        let last = self.last;
        for (_, to, _) in self.waiting.extract_if(.., |(number, ..)| *number <= last) {
            turn.reply(Some(to), Ok(Reply::Done));
        }
    }

    /// Work that is due: replies that have waited for long, another try to read the list.
    pub(super) fn due(&mut self, turn: &mut OwnerTurn<'_>) {
        let now = turn.now.mono;
        // Redis has the change; the subscription lags behind.
        for (_, to, _) in self.waiting.extract_if(.., |(.., since)| now.saturating_sub(*since) >= REPLY_MS) {
            turn.reply(Some(to), Ok(Reply::Done));
        }
        self.read_again(turn);
    }
}

fn tell_shards(turn: &mut OwnerTurn<'_>, change: &RevocationChange) {
    for shard in turn.shards() {
        turn.send(shard, ShardMessage::Revocation(change.clone()));
    }
}
