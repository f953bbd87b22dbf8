//! What it takes to bring lost connections back. Sessions are kept by the store alone; whoever keeps a connection's session
//! is found by the connection's id, so that what is said of one session stays in order.

use std::collections::VecDeque;

use crate::authority::embedded::Embedded;
use crate::authority::embedded::gate::Held;
use crate::authority::embedded::rooms::Outcome;
use crate::base::limits;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::domain::op::Reply;
use crate::domain::record::{Record, TokenHash};
use crate::domain::recovery::SessionOp;
use crate::mail::Asker;

/// Sessions that were used up a moment ago. Their connections may not know yet, and what they still have noted of
/// themselves must not open them again.
pub(super) struct Taken {
    known: Map<TokenHash, ()>,
    ends: VecDeque<(u64, TokenHash)>,
}

impl Taken {
    pub(super) fn new(seed: u64) -> Self {
        Self { known: map(seed), ends: VecDeque::new() }
    }

    fn note(&mut self, now: Now, token: TokenHash) {
        while let Some((_, over)) = self.ends.pop_front_if(|(until, _)| *until <= now.mono) {
            self.known.remove(&over);
        }
        self.known.insert(token, ());
        self.ends.push_back((now.mono + limits::SESSION_TAKEN_MS, token));
    }
}

impl Embedded {
    pub(super) fn session_op(&mut self, now: Now, op: SessionOp, to: Asker) -> Outcome {
        if !self.rules.has_store {
            return Ok(Some(Reply::Session(None)));
        }
        match op {
            SessionOp::Keep(session) => {
                if !self.taken.known.contains_key(&session.token) {
                    self.gate.keep([Record::SessionKept(session)]);
                }
                Ok(Some(Reply::Done))
            }
            SessionOp::Take { token } => {
                self.check_store(now)?;
                self.taken.note(now, token);
                self.gate.hold_alone(now, Record::SessionTaken { token }, Held::Session { to: Some(to) });
                Ok(None)
            }
            SessionOp::Clear { token } => {
                self.gate.hold_alone(now, Record::SessionTaken { token }, Held::Session { to: None });
                Ok(Some(Reply::Done))
            }
            SessionOp::Drop { token } => {
                self.taken.note(now, token);
                self.gate.hold_alone(now, Record::SessionTaken { token }, Held::Session { to: None });
                Ok(Some(Reply::Done))
            }
        }
    }
}
