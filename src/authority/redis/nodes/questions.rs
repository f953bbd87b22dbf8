//! Questions to other nodes.

use crate::authority::Authority;
use crate::authority::redis::{Outcome, Redis};
use crate::base::time::Now;
use crate::domain::op::Op;
use crate::domain::reject::Reject;
use crate::mail::Reach;
use crate::mail::{Asker, Mail, Outgoing};

/// Questions under way.
#[derive(Default)]
pub(super) struct Questions {}

impl Redis {
    /// Mail has come from a shard of this node.
    pub fn mail(&mut self, now: Now, mail: Mail, out: &mut Vec<Outgoing>) {
        match mail {
            Mail::Ask { from, op } => self.ask(now, from, op, out),
            Mail::Notify { user, event } => self.notify(now, &user, event, out),
            Mail::News { reach: Reach::Room(room), news } => self.announce(&room, news, out),
            Mail::Handed { user, id } => self.handed(&user, id),
            Mail::Claim { from, claim } => self.claimed(now, from, &claim, out),
            _ => {}
        }
    }

    /// Puts a question to whichever nodes can answer it.
    pub(in crate::authority::redis) fn ask_nodes(
        &mut self,
        _now: Now,
        _from: Asker,
        _op: Op,
        _out: &mut Vec<Outgoing>,
    ) -> Outcome {
        Err(Reject::storage_unavailable())
    }

    pub(super) fn hear(&mut self, _now: Now, _body: &[u8], _out: &mut Vec<Outgoing>) {}

    pub(in crate::authority::redis) fn give_up_questions(&mut self, _now: Now, _out: &mut Vec<Outgoing>) {}
}
