//! Budgets of users and addresses ([`crate::domain::quota::Budgets`]), charged for the requests of this shard's clients.

use std::net::IpAddr;

use crate::base::handle::{PeerKey, PeerSlot};
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::quota::{Expense, Spender, UNIT_BYTES};
use crate::domain::reject::Reject;
use crate::message::ShardMessage;
use crate::shard::core::Core;

impl Core {
    /// Spends the cost of a peer's request.
    ///
    /// # Errors
    /// The budget of its user, or of its address, is used up.
    pub(super) fn spend(&mut self, now: Now, peer: PeerKey, cost: u32) -> Result<(), Reject> {
        if cost == 0 || !self.budgets.is_limited() {
            return Ok(());
        }
        let Some((by, address)) = self.payer(peer) else { return Ok(()) };
        self.spend_of(now, &by, address, cost)
    }

    /// The same, of a user at an address.
    ///
    /// # Errors
    /// One of the budgets is used up.
    pub(super) fn spend_of(&mut self, now: Now, by: &Identity, address: IpAddr, cost: u32) -> Result<(), Reject> {
        let told = self.budgets.spend(now, &spender(by), cost)?;
        self.tell_expense(told);
        if is_key(by) || self.admission.is_exempt(address) {
            return Ok(());
        }
        let told = self.budgets.spend(now, &Spender::of_address(address), cost)?;
        self.tell_expense(told);
        Ok(())
    }

    /// Charges a long answer to a peer, which has been sent.
    pub(super) fn charge_answer(&mut self, now: Now, peer: PeerKey, bytes: usize) {
        if bytes >= UNIT_BYTES
            && self.budgets.is_limited()
            && let Some((by, address)) = self.payer(peer)
        {
            self.charge_answer_to(now, &by, address, bytes);
        }
    }

    /// The same, to a user at an address.
    pub(super) fn charge_answer_to(&mut self, now: Now, by: &Identity, address: IpAddr, bytes: usize) {
        let cost = (bytes / UNIT_BYTES) as u32;
        if cost == 0 || !self.budgets.is_limited() {
            return;
        }
        let told = self.budgets.charge(now, &spender(by), cost);
        self.tell_expense(told);
        if !is_key(by) && !self.admission.is_exempt(address) {
            let told = self.budgets.charge(now, &Spender::of_address(address), cost);
            self.tell_expense(told);
        }
    }

    fn payer(&self, peer: PeerKey) -> Option<(Identity, IpAddr)> {
        let by = self.net.identity_of(peer)?.clone();
        let address = match peer.slot() {
            PeerSlot::Raw(slot) => self.net.remotes.address(slot),
            PeerSlot::SocketIo(slot) => self.net.sessions.remotes.address(self.net.session_of(slot)?),
        };
        Some((by, address))
    }

    /// Tells the other shards what a spender has spent here.
    fn tell_expense(&mut self, told: Option<Expense>) {
        if let Some(expense) = told {
            for shard in self.channels.placement.other_shards(self.number) {
                self.channels.post(shard, ShardMessage::Expense(expense.clone()));
            }
        }
    }
}

/// An API key has a budget of its own, and spends none of its address: many backends share one.
fn is_key(by: &Identity) -> bool {
    !by.key_actions().is_empty()
}

fn spender(by: &Identity) -> Spender {
    let user = by.user_name();
    if is_key(by) { Spender::Key(user) } else { Spender::User(user) }
}
