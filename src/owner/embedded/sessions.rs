//! Recoverable sessions. Storage alone holds them. The owner of a session follows from the id of its connection, so all
//! operations on one session are in order.

use std::collections::VecDeque;

use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::op::Reply;
use crate::domain::record::{Record, Session, TokenHash};
use crate::domain::recovery::SessionOp;
use crate::owner::embedded::commit_barrier::{CommitBarrier, PendingEffect, SessionClaim};
use crate::owner::embedded::turn::{OpOutcome, Turn};

/// The sessions that ended or were claimed in the last [`limits::SESSION_TAKEN_MS`]. Their former connections may not know
/// yet, and must not store these sessions again.
pub(super) struct SessionStore {
    recent: Map<TokenHash, RecentSession>,
    /// Deadlines in monotonic milliseconds, in order. A session that was noted again has several, of which the last counts.
    expiries: VecDeque<(u64, TokenHash)>,
}

struct RecentSession {
    /// When this is forgotten, in monotonic milliseconds.
    until: u64,
    fate: SessionFate,
}

/// The fate of a session.
enum SessionFate {
    /// It has ended or, if a user has taken it, would have if it is one that the user may recover.
    Ended(Option<Identity>),
    /// It belongs to this connection.
    OwnedBy(ConnectionId),
    /// A claim waits for storage; the session as its connection stored it since.
    Claimed(Option<Box<Session>>),
}

impl SessionStore {
    pub(super) fn new(seed: u64) -> Self {
        Self { recent: map(seed), expiries: VecDeque::new() }
    }

    fn note(&mut self, now: Now, token: TokenHash, fate: SessionFate) {
        while let Some((_, expired)) = self.expiries.pop_front_if(|(until, _)| *until <= now.mono) {
            // A claim that waits for storage stays until its receipt.
            let is_over =
                |known: &RecentSession| known.until <= now.mono && !matches!(known.fate, SessionFate::Claimed(_));
            if self.recent.get(&expired).is_some_and(is_over) {
                self.recent.remove(&expired);
            }
        }
        let until = now.mono + limits::SESSION_TAKEN_MS;
        self.recent.insert(token, RecentSession { until, fate });
        self.expiries.push_back((until, token));
    }

    pub(super) fn apply(&mut self, turn: &mut Turn<'_>, op: SessionOp) -> OpOutcome {
        if !turn.rules().has_store {
            return Ok(Some(Reply::Session(None)));
        }
        match op {
            SessionOp::Save(session) => {
                match self.recent.get_mut(&session.token).map(|known| &mut known.fate) {
                    Some(SessionFate::Ended(by)) if by.as_ref().is_none_or(|by| by.may_recover(&session.user)) => {}
                    Some(SessionFate::OwnedBy(connection)) if *connection != session.connection => {}
                    Some(SessionFate::Claimed(latest)) => *latest = Some(session),
                    _ => turn.core.barrier.keep([Record::SessionKept(session)]),
                }
                Ok(Some(Reply::Done))
            }
            SessionOp::Take { token, by } => {
                turn.check_store()?;
                if !self.has_ended(token) {
                    self.note(turn.now, token, SessionFate::Ended(Some(by.clone())));
                }
                turn.hold_alone(Record::SessionTaken { token, by: Some(by) }, PendingEffect::SessionEnd { token });
                Ok(None)
            }
            SessionOp::Transfer { token, by: user, from, to: successor } => {
                turn.check_store()?;
                self.claim(turn, SessionClaim { token, user, from, to: successor })
            }
            SessionOp::Clear { token } => {
                turn.hold_alone(Record::SessionTaken { token, by: None }, PendingEffect::SessionDeletion);
                Ok(Some(Reply::Done))
            }
            SessionOp::Delete { token } => {
                self.note(turn.now, token, SessionFate::Ended(None));
                turn.hold_alone(Record::SessionTaken { token, by: None }, PendingEffect::SessionDeletion);
                Ok(Some(Reply::Done))
            }
        }
    }

    /// Whether a session has ended for all users.
    fn has_ended(&self, token: TokenHash) -> bool {
        self.recent.get(&token).is_some_and(|known| matches!(known.fate, SessionFate::Ended(None)))
    }

    /// Returns a session that storage has given up. It has ended for all users now.
    pub(super) fn complete_take(&mut self, turn: &mut Turn<'_>, token: TokenHash, found: Option<Box<Session>>) {
        if found.is_some() {
            self.note(turn.now, token, SessionFate::Ended(None));
        }
        turn.reply(Ok(Reply::Session(found)));
    }

    fn claim(&mut self, turn: &mut Turn<'_>, claim: SessionClaim) -> OpOutcome {
        let token = claim.token;
        match self.recent.get(&token).map(|known| &known.fate) {
            Some(SessionFate::Ended(_)) => return Ok(Some(Reply::Session(None))),
            Some(SessionFate::Claimed(_)) => turn.hold([], PendingEffect::RetriedClaim(claim)),
            _ => {
                self.note(turn.now, token, SessionFate::Claimed(None));
                turn.hold_alone(Record::SessionClaimed { token }, PendingEffect::SessionClaim(claim));
            }
        }
        Ok(None)
    }

    /// Runs a claim that waited for another claim.
    pub(super) fn retry_claim(&mut self, turn: &mut Turn<'_>, claim: SessionClaim) {
        let outcome = turn.check_store().and_then(|()| self.claim(turn, claim));
        turn.reply_unless_later(outcome);
    }

    /// Completes a claim. `found` is the session in storage. If its user and connection are those of the claim, it is
    /// stored as the session of the new connection; otherwise it stays as it is.
    pub(super) fn complete_claim(&mut self, turn: &mut Turn<'_>, claim: SessionClaim, found: Option<Box<Session>>) {
        let latest = match self.recent.remove(&claim.token) {
            Some(RecentSession { fate: SessionFate::Claimed(latest), .. }) => latest,
            // The session has ended meanwhile.
            Some(known) => {
                self.recent.insert(claim.token, known);
                return turn.reply(Ok(Reply::Session(None)));
            }
            None => None,
        };
        let is_newer = latest.is_some();
        let session = latest.or(found);
        let reply = match session {
            Some(session) if session.user != claim.user => {
                turn.core.barrier.keep(is_newer.then_some(Record::SessionKept(session)));
                None
            }
            Some(session) if session.connection == claim.from => {
                self.note(turn.now, claim.token, SessionFate::OwnedBy(claim.to));
                turn.core.barrier.keep([Record::SessionKept(Box::new(session.passed_to(claim.to, None)))]);
                Some(session)
            }
            Some(session) => {
                turn.core.barrier.keep(is_newer.then(|| Record::SessionKept(session.clone())));
                Some(session)
            }
            None => None,
        };
        turn.reply(Ok(Reply::Session(reply)));
    }

    /// Undoes a claim that storage refused. The session is stored if its connection stored it since.
    pub(super) fn undo_claim(&mut self, turn: &mut Turn<'_>, claim: &SessionClaim) {
        if let Some(RecentSession { fate: SessionFate::Claimed(latest), .. }) = self.recent.remove(&claim.token) {
            turn.core.barrier.keep(latest.map(Record::SessionKept));
        }
    }

    pub(super) fn check_invariants(&self, barrier: &CommitBarrier) {
        assert!(self.expiries.iter().is_sorted_by_key(|(at, _)| at), "sessions: expiries are in order");
        for (token, known) in &self.recent {
            match &known.fate {
                SessionFate::Claimed(_) => {
                    assert!(barrier.holds_claim(token), "sessions: each claimed session has a pending claim");
                }
                SessionFate::Ended(_) | SessionFate::OwnedBy(_) => {
                    assert!(
                        self.expiries.contains(&(known.until, *token)),
                        "sessions: each recent session has an expiry"
                    );
                }
            }
        }
    }
}
