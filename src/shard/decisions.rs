//! Questions of hooks that decide, as a shard has them: those whose answers are awaited, and answers that are good for a while.

use std::collections::BTreeMap;

use slab::Slab;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::domain::access::Identity;
use crate::domain::decision::{Decision, DecisionCall, DecisionFailure, DecisionKind, DecisionOutcome, Decisions};
use crate::domain::reject::{Code, Reject};
use crate::message::ShardNumber;

/// The use of an answer.
#[derive(Debug)]
pub(super) enum OnDecision {
    /// A client may connect to a namespace, or not. The answer is kept under this text, if it is.
    Connect { connection: ConnectionId, key: Box<str> },
    /// An event of a socket has its acknowledgement.
    Event { connection: ConnectionId, ack: Option<u64> },
    /// A socket has gone: further acts are done.
    Gone,
    /// A client may be attached to its user, or not.
    Attach { connection: ConnectionId, key: Box<str>, by: Identity, socket: Option<Name> },
    /// A request of a client is sent on, or refused.
    Request { connection: ConnectionId, key: Box<str>, kind: DecisionKind },
}

/// The questions of a shard.
pub(super) struct Questions {
    number: ShardNumber,
    pub(super) rules: Decisions,
    pending: Slab<OnDecision>,
    outgoing: Vec<DecisionCall>,
    /// Answers, with the time until which each is good.
    known: BTreeMap<Box<str>, (u64, Decision)>,
}

impl Questions {
    pub(super) fn new(number: ShardNumber, rules: Decisions) -> Self {
        Self { number, rules, pending: Slab::new(), outgoing: Vec::new(), known: BTreeMap::new() }
    }

    /// Asks a question.
    pub(super) fn ask(&mut self, kind: DecisionKind, namespace: Name, body: Vec<u8>, then: OnDecision) {
        let number = u32::try_from(self.pending.insert(then)).expect("invariant: questions are bounded by connections");
        self.outgoing.push(DecisionCall { kind, shard: self.number, number, namespace, body });
    }

    /// Takes the questions for the threads that ask them.
    pub(super) fn take_calls(&mut self) -> std::vec::Drain<'_, DecisionCall> {
        self.outgoing.drain(..)
    }

    /// The use of an answer that has come.
    pub(super) fn take(&mut self, number: u32) -> Option<OnDecision> {
        self.pending.try_remove(number as usize)
    }

    /// An earlier answer to the same question.
    pub(super) fn known(&mut self, mono: u64, key: &str) -> Option<Decision> {
        self.known.get(key).filter(|(until, _)| *until > mono).map(|(_, decision)| decision.clone())
    }

    /// The decision that follows from the outcome of a question. An answer is kept for a while, where that is configured.
    ///
    /// # Errors
    /// The application has not answered, and that refuses.
    pub(super) fn settle(
        &mut self,
        mono: u64,
        kind: DecisionKind,
        key: Box<str>,
        outcome: DecisionOutcome,
    ) -> Result<Decision, Reject> {
        if let Ok(decision) = &outcome {
            let cache_ms = self.rules.rules(kind).map_or(0, |rules| rules.cache_ms);
            self.keep(mono, key, cache_ms, decision);
        }
        self.permitted(kind, outcome)
    }

    /// The decision where the application has perhaps not answered.
    ///
    /// # Errors
    /// It has not, and that refuses.
    pub(super) fn permitted(&self, kind: DecisionKind, outcome: DecisionOutcome) -> Result<Decision, Reject> {
        outcome.map(|decision| *decision).or_else(|failure| match self.rules.rules(kind) {
            Some(rules) if rules.opens_on_failure => Ok(Decision::default()),
            _ => {
                let text = match failure {
                    DecisionFailure::Full => "Too many questions to the application are waiting",
                    DecisionFailure::Failed => "The application does not answer",
                };
                Err(Reject { retry_after_s: Some(1), ..Reject::new(Code::Overloaded, text) })
            }
        })
    }

    /// Keeps an answer for a while.
    pub(super) fn keep(&mut self, mono: u64, key: Box<str>, ms: u64, decision: &Decision) {
        if self.known.len() >= limits::DECISIONS_KEPT {
            self.known.retain(|_, (until, _)| *until > mono);
        }
        if ms != 0 && self.known.len() < limits::DECISIONS_KEPT {
            self.known.insert(key, (mono + ms, decision.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_good_until_its_time_is_over() {
        let mut questions = Questions::new(0, Decisions::default());
        let decision = Decision { user: Some("u".into()), ..Decision::default() };
        questions.keep(0, "a".into(), 100, &decision);
        questions.keep(0, "b".into(), 0, &decision);
        assert_eq!((questions.known(99, "a"), questions.known(100, "a")), (Some(decision.clone()), None));
        assert_eq!(questions.known(0, "b"), None);
        for number in 0..2 * limits::DECISIONS_KEPT {
            questions.keep(0, number.to_string().into(), 100, &decision);
        }
        assert!(questions.known.len() <= limits::DECISIONS_KEPT);
        questions.keep(200, "c".into(), 100, &decision);
        assert_eq!(questions.known.len(), 1);
    }
}
