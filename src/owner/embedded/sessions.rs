//! What it takes to bring lost connections back. Sessions are kept by the store alone; whoever keeps a connection's session
//! is found by the connection's id, so that what is said of one session stays in order.

use std::collections::VecDeque;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::domain::op::Reply;
use crate::domain::record::{Record, Session, TokenHash};
use crate::domain::recovery::SessionOp;
use crate::message::{Outgoing, Requester};
use crate::owner::embedded::EmbeddedOwner;
use crate::owner::embedded::commit_barrier::Held;
use crate::owner::embedded::rooms::Outcome;

/// Sessions that were used up or passed on a moment ago. The connections that had them may not know yet, and what they
/// still have noted of themselves must not open them again.
pub(super) struct Taken {
    known: Map<TokenHash, Standing>,
    ends: VecDeque<(u64, TokenHash)>,
}

/// What has become of a session.
enum Standing {
    /// It is used up.
    Over,
    /// It is this connection's.
    Of(ConnectionId),
    /// It is being passed on; what was to be kept of it meanwhile.
    Passing(Option<Box<Session>>),
}

/// What a connection claims.
pub(super) struct Claim {
    token: TokenHash,
    by: Name,
    from: ConnectionId,
    to: ConnectionId,
}

impl Taken {
    pub(super) fn new(seed: u64) -> Self {
        Self { known: map(seed), ends: VecDeque::new() }
    }

    fn note(&mut self, now: Now, token: TokenHash, standing: Standing) {
        while let Some((_, over)) = self.ends.pop_front_if(|(until, _)| *until <= now.mono) {
            // What is still being passed on is looked at when it is done.
            if !matches!(self.known.get(&over), Some(Standing::Passing(_))) {
                self.known.remove(&over);
            }
        }
        self.known.insert(token, standing);
        self.ends.push_back((now.mono + limits::SESSION_TAKEN_MS, token));
    }
}

impl EmbeddedOwner {
    pub(super) fn session_op(&mut self, now: Now, op: SessionOp, to: Requester) -> Outcome {
        if !self.rules.has_store {
            return Ok(Some(Reply::Session(None)));
        }
        match op {
            SessionOp::Save(session) => {
                match self.taken.known.get_mut(&session.token) {
                    Some(Standing::Over) => {}
                    Some(Standing::Of(connection)) if *connection != session.connection => {}
                    Some(Standing::Passing(latest)) => *latest = Some(session),
                    _ => self.gate.keep([Record::SessionKept(session)]),
                }
                Ok(Some(Reply::Done))
            }
            SessionOp::Take { token } => {
                self.check_store(now)?;
                self.taken.note(now, token, Standing::Over);
                self.gate.hold_alone(now, Record::SessionTaken { token }, Held::Session { to: Some(to) });
                Ok(None)
            }
            SessionOp::Transfer { token, by, from, to: successor } => {
                self.check_store(now)?;
                let claim = Claim { token, by, from, to: successor };
                match self.taken.known.get(&token) {
                    Some(Standing::Over) => return Ok(Some(Reply::Session(None))),
                    // Another claim of it is on its way to the store.
                    Some(Standing::Passing(_)) => self.gate.hold([], Held::ClaimAgain { to, claim }),
                    _ => {
                        self.taken.note(now, token, Standing::Passing(None));
                        self.gate.hold_alone(now, Record::SessionClaimed { token }, Held::Claim { to, claim });
                    }
                }
                Ok(None)
            }
            SessionOp::Clear { token } => {
                self.gate.hold_alone(now, Record::SessionTaken { token }, Held::Session { to: None });
                Ok(Some(Reply::Done))
            }
            SessionOp::Delete { token } => {
                self.taken.note(now, token, Standing::Over);
                self.gate.hold_alone(now, Record::SessionTaken { token }, Held::Session { to: None });
                Ok(Some(Reply::Done))
            }
        }
    }

    /// A session that is claimed was found in the store, if it was there: it is kept as its next connection's from now on,
    /// or stays what it was.
    pub(super) fn pass_on(
        &mut self,
        now: Now,
        to: Requester,
        claim: Claim,
        found: Option<Box<Session>>,
        out: &mut Vec<Outgoing>,
    ) {
        let latest = match self.taken.known.remove(&claim.token) {
            Some(Standing::Passing(latest)) => latest,
            // It was given up meanwhile.
            Some(over) => {
                self.taken.known.insert(claim.token, over);
                return self.answer(to, Ok(Reply::Session(None)), out);
            }
            None => None,
        };
        let is_newer = latest.is_some();
        let Some(session) = latest.or(found) else { return self.answer(to, Ok(Reply::Session(None)), out) };
        if session.user != claim.by {
            self.gate.keep(is_newer.then_some(Record::SessionKept(session)));
            return self.answer(to, Ok(Reply::Session(None)), out);
        }
        if session.connection == claim.from {
            self.taken.note(now, claim.token, Standing::Of(claim.to));
            self.gate.keep([Record::SessionKept(Box::new(session.passed_to(claim.to, None)))]);
        } else {
            self.gate.keep(is_newer.then(|| Record::SessionKept(session.clone())));
        }
        self.answer(to, Ok(Reply::Session(Some(session))), out);
    }

    /// The store could not say what is claimed; what was to be kept of it meanwhile is kept.
    pub(super) fn keep_unclaimed(&mut self, claim: &Claim) {
        if let Some(Standing::Passing(latest)) = self.taken.known.remove(&claim.token) {
            self.gate.keep(latest.map(Record::SessionKept));
        }
    }

    /// A claim that waited for another one.
    pub(super) fn claim_again(&mut self, now: Now, to: Requester, claim: Claim, out: &mut Vec<Outgoing>) {
        let Claim { token, by, from, to: successor } = claim;
        let op = SessionOp::Transfer { token, by, from, to: successor };
        if let Some(reply) = self.session_op(now, op, to).transpose() {
            self.answer(to, reply, out);
        }
    }
}
