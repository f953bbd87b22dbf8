//! Layer 3: whoever holds the truth about rooms and users, and applies ops to it.
//!
//! What every authority owes its callers:
//!
//! 1. exactly one answer per question, in bounded time;
//! 2. one order per room, its facts told in that order;
//! 3. nothing is answered or told before its record is as durable as the setting says;
//! 4. a fact may be lost on the way, never reordered or altered.

pub mod embedded;
pub mod redis;

use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::time::Now;
use crate::domain::event::Event;
use crate::domain::op::Op;
use crate::message::{Outgoing, PresenceUpdate, Requester};

/// A keeper of rooms and users. What it has to say to shards it appends to `out`, in order.
pub trait OwnerContract {
    /// What whoever keeps things for it has to say.
    type Told;

    /// What it has for whoever does.
    type Order;

    /// Applies `op` and answers `from`.
    fn ask(&mut self, now: Now, from: Requester, op: Op, out: &mut Vec<Outgoing>);

    /// Passes `event` on to every connection of `user`.
    fn notify(&mut self, now: Now, user: &Name, event: Event, out: &mut Vec<Outgoing>);

    /// Passes news on to every member of `room`.
    fn announce(&mut self, room: &Name, news: Arc<PresenceUpdate>, out: &mut Vec<Outgoing>);

    /// Takes note that a connection of `user` has a message that was handed to it.
    fn handed(&mut self, user: &Name, message: Uuid);

    /// Takes note of what the store has to say.
    fn told(&mut self, now: Now, told: Self::Told, out: &mut Vec<Outgoing>);

    /// What the store is to do, in order.
    fn orders(&mut self, now: Now) -> std::vec::Drain<'_, Self::Order>;

    /// Whether there is something for the store to do.
    fn has_orders(&self) -> bool;

    /// Does what has become due by now.
    fn tick(&mut self, now: Now, out: &mut Vec<Outgoing>);

    /// When [`OwnerContract::tick`] next has something to do, in monotonic milliseconds.
    fn next_due(&self) -> Option<u64>;
}
