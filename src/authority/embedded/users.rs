//! The users a shard keeps: who is connected, how they are, and who learns of it.

use crate::authority::embedded::rooms::Outcome;
use crate::authority::embedded::{Due, Embedded, TELL_ALL_UP_TO, tell_everyone};
use crate::base::Name;
use crate::base::time::Now;
use crate::domain::allowance::{Allowance, WINDOW_MS};
use crate::domain::op::{Audience, Context, Fact, Reply, Scope, UserOp};
use crate::domain::reject::Reject;
use crate::domain::user::{User, user_not_found};
use crate::mail::{Asker, Mail, Outgoing};

impl Embedded {
    pub(super) fn user_op(&mut self, now: Now, name: Name, op: UserOp, to: Asker, out: &mut Vec<Outgoing>) -> Outcome {
        let arrival = match op {
            UserOp::SpendRest => return self.spend_rest(now, name).map(Some),
            UserOp::Send { by, content } => return self.send_to_user(now, name, by, content, to, out),
            UserOp::Attach { connection, .. } => Some(connection),
            _ => None,
        };
        if !self.users.contains(&name) {
            match &op {
                UserOp::Attach { by, .. } => drop(self.users.insert(User::new(by.clone()))),
                UserOp::Connections => return Ok(Some(Reply::Connections(Vec::new()))),
                _ => return Err(user_not_found()),
            }
        }
        let Some(user) = self.users.get_mut(&name) else { return Err(user_not_found()) };
        let mut context = context!(self, now);
        let reply = user.apply(op, &mut context);
        if let Some(at) = user.offline_at(self.rules.presence_grace_ms) {
            self.due.entry(at).or_default().insert(Due::GoOffline(name.clone()));
        }
        self.gate.keep(self.records.drain(..));
        self.tell_user_facts(now, &name, out);
        if let (Some(connection), Ok(_)) = (arrival, &reply) {
            self.ask_directs(&name, connection);
        }
        reply.map(Some)
    }

    /// Counts a request against a user's allowance, whether or not they are connected.
    pub(super) fn spend_rest(&mut self, now: Now, user: Name) -> Result<Reply, Reject> {
        if !self.allowances.contains(&user) {
            self.spent.push_back((now.mono + WINDOW_MS, user.clone()));
            self.allowances.insert(Allowance::new(user.clone(), now));
        }
        match self.allowances.get_mut(&user) {
            Some(allowance) => allowance.spend(self.rules.rest_per_minute, now).map(|()| Reply::Done),
            None => Ok(Reply::Done),
        }
    }

    /// Forgets the allowances whose minute is over; one that was begun anew stays for another.
    pub(super) fn forget_allowances(&mut self, now: Now) {
        while let Some((_, user)) = self.spent.pop_front_if(|(until, _)| *until <= now.mono) {
            match self.allowances.get(&user).map(Allowance::ends_at) {
                Some(at) if at > now.mono => self.spent.push_back((at, user)),
                _ => drop(self.allowances.remove(&user)),
            }
        }
    }

    pub(super) fn tell_user_facts(&mut self, now: Now, name: &Name, out: &mut Vec<Outgoing>) {
        // Names hash evenly, so this shard's share of the users tells how many there are.
        let users = self.users.len() * self.placement.shards();
        let connections = self.users.get(name).map_or(&[][..], |user| user.connections.as_slice());
        for Fact { audience, event } in self.facts.drain(..) {
            match (audience, self.rules.presence_scope) {
                (Audience::Connection(to), _) => out.push((to.place().shard, Mail::Tell { to, event })),
                (Audience::Everyone, Scope::All) => tell_everyone(self.placement, &event, now, &mut self.draft, out),
                (Audience::Everyone, Scope::Auto) if users <= TELL_ALL_UP_TO => {
                    tell_everyone(self.placement, &event, now, &mut self.draft, out);
                }
                (Audience::Everyone, Scope::Auto | Scope::Rooms) => {
                    for &of in connections {
                        out.push((of.place().shard, Mail::Announce { of, event: event.clone() }));
                    }
                }
                (Audience::Everyone, Scope::None) | (Audience::Members { .. } | Audience::User(_), _) => {}
            }
        }
    }
}
