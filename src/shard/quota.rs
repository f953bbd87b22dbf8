//! Per-minute quotas of users ([`crate::domain::quota`]), applied between a client and the owner of a room or user.
//!
//! A shard spends credits from its cache of leases. A request without a credit is held until the owner of the user's pool
//! has replied; later requests of the same client wait behind it. The shard also owns the pools of the users placed on it.

use std::collections::{BTreeMap, VecDeque};

use crate::base::Name;
use crate::base::handle::{PeerKey, PeerSlot};
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::op::{Op, RoomOp, UserOp};
use crate::domain::quota::{QuotaCache, QuotaGrant, QuotaKind, QuotaPool, QuotaRequest, Rates, Verdict};
use crate::domain::reject::{Code, Reject};
use crate::message::{OwnerMessage, ShardMessage, ShardNumber};
use crate::shard::channels::Channels;
use crate::shard::core::Core;
use crate::shard::net::Net;
use crate::shard::peers::Peers;
use crate::shard::requests::{OnReply, PendingRequest, RequestRef};
use crate::shard::sessions::EngineIo;

/// Quota leases, quota pools and held requests of a shard.
pub(super) struct Quota {
    rates: Rates,
    cache: QuotaCache,
    pool: QuotaPool,
    /// Held requests by user, in order of arrival.
    held: BTreeMap<Name, VecDeque<HeldRequest>>,
    /// Number of held requests by peer; never 0.
    holding: BTreeMap<PeerKey, u32>,
    /// Output of the cache; empty between calls.
    requests: Vec<QuotaRequest>,
    /// Output of the pool; empty between calls.
    grants: Vec<(ShardNumber, QuotaGrant)>,
}

/// A request without a credit.
struct HeldRequest {
    peer: PeerKey,
    request: PendingRequest,
    op: Op,
}

/// A request that is no longer held.
struct ReleasedRequest {
    peer: PeerKey,
    request: PendingRequest,
    /// The request to send, or its refusal.
    outcome: Result<Op, Reject>,
    /// Whether the client has no other request held.
    is_last: bool,
}

impl Quota {
    pub(super) fn new(rates: Rates, seed: u64) -> Self {
        Self {
            rates,
            cache: QuotaCache::new(rates, seed),
            pool: QuotaPool::new(rates, seed),
            held: BTreeMap::new(),
            holding: BTreeMap::new(),
            requests: Vec::new(),
            grants: Vec::new(),
        }
    }

    /// Replaces the rates, for the minutes that begin from now on.
    pub(super) fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
        self.cache.set_rates(rates);
        self.pool.set_rates(rates);
    }

    /// Whether a request of this client is held, so that its input is not read further.
    pub(super) fn holds(&self, peer: PeerKey) -> bool {
        !self.holding.is_empty() && self.holding.contains_key(&peer)
    }

    /// When [`Quota::tick`] has work, in monotonic milliseconds.
    pub(super) fn next_due(&self) -> Option<u64> {
        [self.cache.next_due(), self.pool.next_due()].into_iter().flatten().min()
    }

    /// Returns unused credits and forgets minutes that are over.
    pub(super) fn tick(&mut self, now: Now, channels: &mut Channels) {
        if self.next_due().is_some_and(|at| at <= now.mono) {
            self.cache.tick(now, &mut self.requests);
            self.pool.tick(now, &mut self.grants);
            self.send_requests(channels);
            self.send_grants(channels);
            debug_assert!(
                self.next_due().is_none_or(|at| at > now.mono),
                "invariant: a tick does all work that is due"
            );
        }
    }

    /// The quota that an operation is counted against, if any.
    fn kind_of(&self, op: &Op) -> Option<QuotaKind> {
        let kind = match op {
            // The opening of a stream counts, not its pieces, whose text is bounded as that of one message.
            Op::Room(_, RoomOp::Send(message)) if message.revises.is_some() && message.stream.is_some() => return None,
            Op::Room(_, RoomOp::Send(_)) | Op::User(_, UserOp::Send { .. }) => QuotaKind::Messages,
            Op::Room(_, RoomOp::SetTyping { .. }) => QuotaKind::Typing,
            _ => return None,
        };
        (self.rates.of(kind) != 0).then_some(kind)
    }

    fn spend(&mut self, now: Now, user: &str, kind: QuotaKind, channels: &mut Channels) -> Verdict {
        let verdict = self.cache.spend(now, user, kind, &mut self.requests);
        self.send_requests(channels);
        verdict
    }

    /// Holds a request of `user`. Returns whether it is the client's first.
    fn hold(&mut self, user: Name, request: HeldRequest) -> bool {
        let count = self.holding.entry(request.peer).or_default();
        *count += 1;
        self.held.entry(user).or_default().push_back(request);
        *count == 1
    }

    /// Answers a request for credits from the pool of a user that this shard owns.
    pub(super) fn lend(&mut self, now: Now, from: ShardNumber, request: &QuotaRequest, channels: &mut Channels) {
        debug_assert!(channels.placement.of(&request.user) == channels.number, "invariant: the owner grants credits");
        self.pool.handle_request(now, from, request, &mut self.grants);
        self.send_grants(channels);
    }

    /// Applies the reply of a pool's owner. Returns the requests that are sent or refused now, in order.
    fn apply_grant(&mut self, now: Now, grant: &QuotaGrant, channels: &mut Channels) -> Vec<ReleasedRequest> {
        let may_go_on = self.cache.apply_grant(now, grant, &mut self.requests);
        self.send_requests(channels);
        let mut queue = if may_go_on { self.held.remove(&grant.user).unwrap_or_default() } else { VecDeque::new() };
        let (mut released, mut still) = (Vec::new(), VecDeque::new());
        while let Some(held) = queue.pop_front() {
            // Requests of one client keep their order.
            let is_behind = still.iter().any(|other: &HeldRequest| other.peer == held.peer);
            let verdict = match self.kind_of(&held.op) {
                _ if is_behind => Verdict::Wait,
                None => Verdict::Granted,
                Some(kind) => self.spend(now, &grant.user, kind, channels),
            };
            let HeldRequest { peer, request, op } = held;
            let outcome = match verdict {
                Verdict::Wait => {
                    still.push_back(HeldRequest { peer, request, op });
                    continue;
                }
                Verdict::Granted => Ok(op),
                Verdict::Refused(reject) => Err(reject),
            };
            let count = self.holding.get_mut(&peer).expect("invariant: each held request is counted for its client");
            *count -= 1;
            let is_last = *count == 0;
            if is_last {
                self.holding.remove(&peer);
            }
            released.push(ReleasedRequest { peer, request, outcome, is_last });
        }
        if !still.is_empty() {
            self.held.insert(grant.user.clone(), still);
        }
        released
    }

    /// Drops the held requests of a client that leaves. Returns whether there were any.
    pub(super) fn drop_held(&mut self, peer: PeerKey) -> bool {
        let count = self.holding.remove(&peer).unwrap_or_default();
        if count != 0 {
            let mut dropped = 0;
            self.held.retain(|_, queue| {
                let before = queue.len();
                queue.retain(|held| held.peer != peer);
                dropped += (before - queue.len()) as u32;
                !queue.is_empty()
            });
            debug_assert_eq!(count, dropped, "invariant: the counts of held requests match the queues");
        }
        count != 0
    }

    fn send_requests(&mut self, channels: &mut Channels) {
        for request in self.requests.drain(..) {
            let (owner, from) = (channels.placement.of(&request.user), channels.number);
            channels.post(owner, OwnerMessage::QuotaRequest { from, request });
        }
    }

    fn send_grants(&mut self, channels: &mut Channels) {
        for (to, grant) in self.grants.drain(..) {
            channels.post(to, ShardMessage::QuotaGrant(grant));
        }
    }

    /// Panics unless the counts of held requests match the queues.
    pub(super) fn check_invariants(&self) {
        let mut counts: BTreeMap<PeerKey, u32> = BTreeMap::new();
        for (user, queue) in &self.held {
            assert!(!queue.is_empty(), "invariant: a queue of held requests is not empty: {user}");
            queue.iter().for_each(|held| *counts.entry(held.peer).or_default() += 1);
        }
        assert_eq!(counts, self.holding, "invariant: the counts of held requests match the queues");
        assert!(self.requests.is_empty() && self.grants.is_empty(), "invariant: no quota message is left unsent");
    }
}

/// Sends requests of clients once their quota allows it.
pub(in crate::shard) struct QuotaFlow<'a> {
    core: &'a mut Core,
}

impl<'a> QuotaFlow<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Sends a request of a peer, at once or as soon as it is granted.
    ///
    /// # Errors
    /// The owner's channel is congested, or the quota of this minute is used up.
    pub(super) fn send(
        &mut self,
        now: Now,
        peer: PeerKey,
        id: RequestRef<'_>,
        then: OnReply,
        op: Op,
    ) -> Result<(), Reject> {
        if !self.core.takes(&op) {
            return Err(Reject::overloaded());
        }
        let request = PendingRequest::new(self.core.net.id_of(peer), id.to_owned(), then);
        let Core { quota, net, channels, .. } = &mut *self.core;
        let verdict = match quota.kind_of(&op) {
            _ if quota.holds(peer) => Verdict::Wait,
            None => Verdict::Granted,
            Some(kind) => quota.spend(now, identity(net, peer)?.user(), kind, channels),
        };
        match verdict {
            Verdict::Granted => {
                let owner = channels.owner_of(&op);
                let from = self.core.expect(request);
                self.core.channels.post(owner, OwnerMessage::Request { from, op });
            }
            Verdict::Wait => {
                let is_first = quota.hold(identity(net, peer)?.user_name(), HeldRequest { peer, request, op });
                if let Some(slot) = peer.socketio().filter(|_| is_first) {
                    EngineIo::on(self.core).halt(slot);
                }
            }
            Verdict::Refused(reject) => return Err(reject),
        }
        Ok(())
    }

    /// The owner of a user's pool has replied: sends or refuses the requests that waited for it.
    pub(super) fn granted(&mut self, now: Now, grant: &QuotaGrant) {
        let released = self.core.quota.apply_grant(now, grant, &mut self.core.channels);
        for ReleasedRequest { peer, request, outcome, is_last } in released {
            match outcome {
                Ok(op) => self.core.send(request, op),
                Err(reject) => Peers::on(self.core).refuse(now, peer, request.id.as_ref(), &reject),
            }
            if is_last {
                match peer.slot() {
                    PeerSlot::Raw(slot) => self.core.net.read_again(slot),
                    PeerSlot::SocketIo(slot) => EngineIo::on(self.core).release(now, slot),
                }
            }
        }
    }
}

fn identity(net: &Net, peer: PeerKey) -> Result<&Identity, Reject> {
    net.identity_of(peer).ok_or_else(|| Reject::new(Code::Unauthenticated, "Not authenticated"))
}
