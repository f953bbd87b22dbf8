//! Budgets: the cost of all requests of a user, and of an address, in a minute. They limit what a client can make the server do
//! and send, where quotas limit how often it may do one thing.
//!
//! A budget is a token bucket that holds the cost of one minute. The shards share the budgets of a server without asking each
//! other: each counts for itself, and tells the others when a spender has spent a noticeable part. So all shards refuse a
//! spender at about the same time, and a client that spends little causes no message.

use std::net::IpAddr;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::domain::client_query::ClientQuery;
use crate::domain::command::{Command, Receipted};
use crate::domain::quota::{WINDOW_MS, source};
use crate::domain::reject::{Code, Reject};

/// Spenders that are remembered, of each kind. Beyond it, those are forgotten that have not spent anything lately.
const SPENDERS_KEPT: usize = 65_536;

/// Part of a budget that is spent before the other shards are told.
const TOLD_PART: u64 = 16;

/// Bytes of an answer that cost one unit.
pub const UNIT_BYTES: usize = 4_096;

/// Cost of a connection to a namespace: its answer can list up to a thousand users.
pub const CONNECT_COST: u32 = 50;

/// Cost of a room that a REST call creates: it stays for a day.
pub const CREATE_COST: u32 = 200;

/// Cost of a room that is created by joining.
pub const NEW_ROOM_COST: u32 = 10;

/// Cost of any other REST call.
pub const CALL_COST: u32 = 2;

/// Cost of a short answer, or of an event for the members of a room.
const SMALL: u32 = 2;

/// Cost of an event for all users, or of counts of all shards.
const WIDE: u32 = 20;

/// The cost of a command, without that of a long answer. Commands with a rate of their own cost no budget.
pub fn cost_of(command: &Command<'_>) -> u32 {
    match command {
        Command::Send { .. }
        | Command::Revise { .. }
        | Command::Append(_)
        | Command::Typing { .. }
        | Command::Signal(_)
        | Command::Media { .. } => 0,
        Command::Ping | Command::Echo(_) => 0,
        Command::SetStatus(_) | Command::Resume { .. } => WIDE,
        Command::Ask(query) => cost_of_query(query),
        Command::Receipt { messages: Receipted::These(messages), .. } => SMALL + messages.len() as u32 / 5,
        Command::Receipt { messages: Receipted::UpTo(_), .. } | Command::Unread { .. } => 5,
        _ => SMALL,
    }
}

fn cost_of_query(query: &ClientQuery<'_>) -> u32 {
    match query {
        ClientQuery::Room { .. } | ClientQuery::Typing { .. } | ClientQuery::Presence { .. } | ClientQuery::Session => {
            SMALL
        }
        ClientQuery::Message { .. } => 5,
        ClientQuery::Members { page, .. } => 1 + (page.limit.unwrap_or(100) as u32).min(100) / 20,
        ClientQuery::Users { page } => SMALL + (page.limit.unwrap_or(1_000) as u32).min(1_000) / 20,
        // Each room of the user is looked up.
        ClientQuery::Rooms => CONNECT_COST,
        _ => WIDE,
    }
}

/// The source of a cost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Spender {
    /// A user, on all connections.
    User(Name),
    /// An API key, by the user that stands for it.
    Key(Name),
    /// An address, or the network that counts as one.
    Address(IpAddr),
    /// A connection that sends large signaling messages to this peer; the unit is a KiB.
    Pair(ConnectionId, Name),
}

impl Spender {
    /// The spender that an address counts as.
    pub fn of_address(address: IpAddr) -> Self {
        Self::Address(source(address))
    }
}

/// The cost that a spender may cause in a minute; 0: any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetRules {
    /// Units per user.
    pub per_user: u32,
    /// Units per API key.
    pub per_key: u32,
    /// Units per address.
    pub per_address: u32,
    /// KiB per sender and receiver of large signaling messages.
    pub per_pair: u32,
}

/// A cost that a shard tells the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expense {
    /// The spender.
    pub spender: Spender,
    /// Units.
    pub cost: u32,
}

/// The budgets of a shard's spenders.
pub struct Budgets {
    rules: BudgetRules,
    /// Spenders that have spent since the last change of generation, and those before.
    recent: Map<Spender, Spent>,
    older: Map<Spender, Spent>,
    /// When the generation changes, in monotonic milliseconds. After two of them a bucket is full again.
    next_change: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    /// When the bucket is full again, in monotonic microseconds.
    until: u64,
    /// Units that the other shards have not been told.
    untold: u32,
}

impl Budgets {
    /// Full budgets.
    pub fn new(rules: BudgetRules, seed: u64) -> Self {
        Self { rules, recent: map(seed), older: map(seed), next_change: 0 }
    }

    /// Replaces the rules. What has been spent stays spent.
    pub fn set_rules(&mut self, rules: BudgetRules) {
        self.rules = rules;
    }

    /// Whether any budget is limited.
    pub fn is_limited(&self) -> bool {
        self.rules.per_user != 0 || self.rules.per_key != 0 || self.rules.per_address != 0
    }

    fn rate(&self, spender: &Spender) -> u64 {
        u64::from(match spender {
            Spender::User(_) => self.rules.per_user,
            Spender::Key(_) => self.rules.per_key,
            Spender::Address(_) => self.rules.per_address,
            Spender::Pair(..) => self.rules.per_pair,
        })
    }

    /// Spends a cost, if the spender has that much left. An expense is to be told to the other shards.
    ///
    /// # Errors
    /// The budget is used up. The refusal says when to try again.
    pub fn spend(&mut self, now: Now, spender: &Spender, cost: u32) -> Result<Option<Expense>, Reject> {
        self.check(now, spender, cost)?;
        Ok(self.charge(now, spender, cost))
    }

    /// Checks that the spender has that much left.
    ///
    /// # Errors
    /// The budget is used up. The refusal says when to try again.
    pub fn check(&mut self, now: Now, spender: &Spender, cost: u32) -> Result<(), Reject> {
        let rate = self.rate(spender);
        if rate == 0 || cost == 0 {
            return Ok(());
        }
        let (now_us, capacity_us) = (now.mono * 1000, WINDOW_MS * 1000);
        let level = self.entry(now, spender).until.saturating_sub(now_us);
        let needed = level + duration_us(cost, rate).min(capacity_us);
        if needed > capacity_us {
            let wait_s = (needed - capacity_us).div_ceil(1_000_000);
            let text = format!("Requests that cost this much are limited; go on in {wait_s} s");
            return Err(Reject { retry_after_s: Some(wait_s), ..Reject::new(Code::RateLimited, text) });
        }
        Ok(())
    }

    /// Charges a cost that is known afterwards: the budget can fall below zero, by one minute.
    pub fn charge(&mut self, now: Now, spender: &Spender, cost: u32) -> Option<Expense> {
        let rate = self.rate(spender);
        if rate == 0 || cost == 0 {
            return None;
        }
        self.add(now, spender, cost);
        let spent = self.entry(now, spender);
        spent.untold = spent.untold.saturating_add(cost);
        if u64::from(spent.untold) * TOLD_PART < rate || matches!(spender, Spender::Pair(..)) {
            return None;
        }
        let cost = std::mem::take(&mut spent.untold);
        Some(Expense { spender: spender.clone(), cost })
    }

    /// Adds a cost, of this shard or of another one.
    pub fn add(&mut self, now: Now, spender: &Spender, cost: u32) {
        let rate = self.rate(spender);
        if rate != 0 {
            let now_us = now.mono * 1000;
            let spent = self.entry(now, spender);
            let until = spent.until.max(now_us) + duration_us(cost, rate);
            spent.until = until.min(now_us + 2 * WINDOW_MS * 1000);
        }
    }

    fn entry(&mut self, now: Now, spender: &Spender) -> &mut Spent {
        if now.mono >= self.next_change || self.recent.len() >= SPENDERS_KEPT {
            self.next_change = now.mono + 2 * WINDOW_MS;
            std::mem::swap(&mut self.older, &mut self.recent);
            self.recent.clear();
        }
        let older = &mut self.older;
        self.recent.entry(spender.clone()).or_insert_with(|| older.remove(spender).unwrap_or_default())
    }

    /// The number of spenders remembered.
    pub fn len(&self) -> usize {
        self.recent.len() + self.older.len()
    }

    /// Whether no spender is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Time in which a bucket of this rate regains a cost, in microseconds.
fn duration_us(cost: u32, rate: u64) -> u64 {
    (u64::from(cost) * WINDOW_MS * 1000).div_ceil(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Now = Now { mono: 1_000, wall: 0 };

    fn ann() -> Spender {
        Spender::User("ann".into())
    }

    fn wait(budgets: &mut Budgets, now: Now, spender: &Spender, cost: u32) -> Option<u64> {
        budgets.spend(now, spender, cost).err().and_then(|reject| reject.retry_after_s)
    }

    #[test]
    fn spender_beyond_its_minute_waits_until_enough_is_back() {
        let mut budgets = Budgets::new(BudgetRules { per_user: 600, ..BudgetRules::default() }, 1);
        for _ in 0..6 {
            assert_eq!(wait(&mut budgets, START, &ann(), 100), None);
        }
        assert_eq!(wait(&mut budgets, START, &ann(), 20), Some(2));
        assert_eq!(wait(&mut budgets, START, &Spender::User("bob".into()), 100), None);
        assert_eq!(wait(&mut budgets, START.plus(1_900), &ann(), 20), Some(1));
        assert_eq!(wait(&mut budgets, START.plus(2_000), &ann(), 20), None);
        assert_eq!(wait(&mut budgets, START.plus(62_000), &ann(), 600), None);
        // A cost beyond a whole minute is possible with a full budget.
        assert_eq!(wait(&mut budgets, START.plus(200_000), &ann(), 9_000), None);
    }

    #[test]
    fn cost_on_other_shards_counts_and_is_told_in_portions() {
        let rules = BudgetRules { per_user: 160, per_address: 160, ..BudgetRules::default() };
        let [mut one, mut other] = [1, 2].map(|seed| Budgets::new(rules, seed));
        let address = Spender::of_address("192.0.2.1".parse().expect("an address"));
        let mut spent = 0;
        while let Ok(told) = one.spend(START, &address, 3) {
            spent += 3;
            if let Some(expense) = told {
                assert!((10..13).contains(&expense.cost), "{expense:?}");
                other.add(START, &expense.spender, expense.cost);
            }
        }
        assert!((157..=160).contains(&spent), "{spent}");
        assert_eq!(wait(&mut other, START, &address, 20).map(|wait| wait > 0), Some(true));
        assert_eq!(other.charge(START, &address, 5), None);
    }

    #[test]
    fn spenders_are_forgotten_when_their_budget_is_full_again() {
        let mut budgets = Budgets::new(BudgetRules { per_user: 1, per_address: 1, ..BudgetRules::default() }, 1);
        for n in 0..2_u32 * SPENDERS_KEPT as u32 + 10 {
            budgets.charge(START, &Spender::Address(std::net::Ipv4Addr::from_bits(n).into()), 1);
        }
        assert!(budgets.len() <= 2 * SPENDERS_KEPT, "{}", budgets.len());
        for minutes in [3, 6] {
            budgets.charge(START.plus(minutes * WINDOW_MS), &ann(), 1);
        }
        assert_eq!(budgets.len(), 1);
    }
}
