//! What users may say and type in a minute ([`crate::domain::quota`]), on the way from a connection to a keeper: a
//! question that costs something is put once it is granted. While that is not known it is held, and what its connection
//! asks after it stays behind it. A shard lends out what the users that it is home to have left, by the same mail.

use std::collections::{BTreeMap, VecDeque};

use crate::base::Name;
use crate::base::ids::{ConnectionId, PEER};
use crate::base::time::Now;
use crate::dialect::socketio::{ReplyTo, SocketIoAnswer};
use crate::domain::op::{Op, RoomOp, UserOp};
use crate::domain::quota::{QuotaCache, QuotaGrant, QuotaKind, QuotaPool, QuotaRequest, Rates, Verdict};
use crate::domain::reject::{Code, Reject};
use crate::message::{ShardMessage, ShardNumber};
use crate::shard::Shard;
use crate::shard::answers::Ask;

/// What a shard was lent of its users' allowances, what it has lent of those that it keeps, and the questions that wait.
pub(super) struct Credit {
    rates: Rates,
    purses: QuotaCache,
    keeper: QuotaPool,
    /// Questions that wait, by their askers' users.
    held: BTreeMap<Name, VecDeque<Held>>,
    /// How many of them are whose, by the slots of connections and the marked slots of peers.
    holding: BTreeMap<u32, u32>,
    /// What keepers are to be told; empty but for its memory.
    claims: Vec<QuotaRequest>,
    /// What shards are to be told; empty but for its memory.
    notices: Vec<(ShardNumber, QuotaGrant)>,
}

/// A question that waits.
struct Held {
    by: ConnectionId,
    ask: Ask,
    op: Op,
}

impl Credit {
    pub(super) fn new(rates: Rates, seed: u64) -> Self {
        Self {
            rates,
            purses: QuotaCache::new(rates, seed),
            keeper: QuotaPool::new(rates, seed),
            held: BTreeMap::new(),
            holding: BTreeMap::new(),
            claims: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Whether a question of the connection, or the peer, at `slot` waits, so that no more of it is to be read.
    pub(super) fn holds(&self, slot: u32) -> bool {
        !self.holding.is_empty() && self.holding.contains_key(&slot)
    }

    /// When [`Shard::tick_credit`] has something to do, in monotonic milliseconds.
    pub(super) fn next_due(&self) -> Option<u64> {
        [self.purses.next_due(), self.keeper.next_due()].into_iter().flatten().min()
    }

    /// What a question is counted as, if it is.
    fn kind_of(&self, op: &Op) -> Option<QuotaKind> {
        let kind = match op {
            Op::Room(_, RoomOp::Send(_)) | Op::User(_, UserOp::Send { .. }) => QuotaKind::Messages,
            Op::Room(_, RoomOp::SetTyping { .. }) => QuotaKind::Typing,
            _ => return None,
        };
        (self.rates.of(kind) != 0).then_some(kind)
    }
}

impl Shard {
    /// Puts a question of the connection or peer at `slot`, at once or as soon as it is granted.
    ///
    /// # Errors
    /// It is one too many in this minute.
    pub(super) fn put(&mut self, now: Now, slot: u32, ask: Ask, op: Op) -> Result<(), Reject> {
        let verdict = match self.credit.kind_of(&op) {
            _ if self.credit.holds(slot) => Verdict::Wait,
            None => Verdict::Granted,
            Some(kind) => self.spend(now, slot, kind)?,
        };
        match verdict {
            Verdict::Granted => drop(self.ask(ask, op)),
            Verdict::Wait => self.hold(slot, ask, op)?,
            Verdict::Refused(reject) => return Err(reject),
        }
        Ok(())
    }

    fn spend(&mut self, now: Now, slot: u32, kind: QuotaKind) -> Result<Verdict, Reject> {
        let identity = match slot & PEER {
            0 => self.conns.get(slot as usize).and_then(|conn| conn.identity.as_ref()),
            _ => self.sessions.peers.get((slot & !PEER) as usize).and_then(|peer| peer.identity.as_ref()),
        };
        let identity = identity.ok_or_else(|| Reject::new(Code::Unauthenticated, "Not authenticated"))?;
        let Credit { purses, claims, .. } = &mut self.credit;
        let verdict = purses.spend(now, identity.user(), kind, claims);
        if !claims.is_empty() {
            self.post_claims();
        }
        Ok(verdict)
    }

    fn hold(&mut self, slot: u32, ask: Ask, op: Op) -> Result<(), Reject> {
        let user = self.identity(slot)?.user_name();
        let held = Held { by: self.id_of(slot), ask, op };
        self.credit.held.entry(user).or_default().push_back(held);
        let count = self.credit.holding.entry(slot).or_default();
        *count += 1;
        if *count == 1 && slot & PEER != 0 {
            self.halt_peer(slot & !PEER);
        }
        Ok(())
    }

    /// A shard tells what it has spent of what it was lent, or asks for more.
    pub(super) fn claimed(&mut self, now: Now, from: ShardNumber, claim: &QuotaRequest) {
        self.credit.keeper.claim(now, from, claim, &mut self.credit.notices);
        self.post_notices();
    }

    /// A user's keeper has said what may be spent; the questions that waited for it are put, or refused.
    pub(super) fn noticed(&mut self, now: Now, notice: &QuotaGrant) {
        let Credit { purses, claims, .. } = &mut self.credit;
        let may_go_on = purses.hear(now, notice, claims);
        self.post_claims();
        if may_go_on {
            self.put_held(now, &notice.user);
        }
    }

    /// Gives back what lies unused, and forgets minutes that are over.
    pub(super) fn tick_credit(&mut self, now: Now) {
        if self.credit.next_due().is_some_and(|at| at <= now.mono) {
            self.credit.purses.tick(now, &mut self.credit.claims);
            self.credit.keeper.tick(now, &mut self.credit.notices);
            self.post_claims();
            self.post_notices();
        }
    }

    fn put_held(&mut self, now: Now, user: &Name) {
        let Some(queue) = self.credit.held.remove(user) else { return };
        let mut still = VecDeque::new();
        for Held { by, ask, op } in queue {
            let slot = self.key_of(Some(by));
            if !self.credit.holds(slot) {
                continue;
            }
            // Nothing of a connection overtakes what it said before.
            let is_behind = still.iter().any(|held: &Held| held.by == by);
            let verdict = match self.credit.kind_of(&op) {
                _ if is_behind => Ok(Verdict::Wait),
                None => Ok(Verdict::Granted),
                Some(kind) => self.spend(now, slot, kind),
            };
            match verdict {
                Ok(Verdict::Wait) => still.push_back(Held { by, ask, op }),
                Ok(Verdict::Granted) => {
                    self.ask(ask, op);
                    self.release(now, slot);
                }
                Ok(Verdict::Refused(reject)) | Err(reject) => {
                    self.refuse_held(now, slot, &ask, &reject);
                    self.release(now, slot);
                }
            }
        }
        if !still.is_empty() {
            self.credit.held.insert(user.clone(), still);
        }
    }

    fn refuse_held(&mut self, now: Now, slot: u32, ask: &Ask, reject: &Reject) {
        if slot & PEER == 0 {
            return self.refuse(now, slot, ask.request.as_deref(), reject);
        }
        self.stats.refusals += 1;
        let to = ReplyTo::parse(ask.request.as_deref().unwrap_or_default());
        self.answer_in_dialect(now, slot & !PEER, to, &SocketIoAnswer::Refused(reject));
    }

    /// One question fewer of a connection waits; after the last it is read on.
    fn release(&mut self, now: Now, slot: u32) {
        let Some(count) = self.credit.holding.get_mut(&slot) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.credit.holding.remove(&slot);
        if slot & PEER != 0 {
            return self.release_peer(now, slot & !PEER);
        }
        self.resumed.push(slot);
        self.waiting.look_again(slot);
    }

    /// The connection or peer at `slot` goes; what it asked and was not granted is dropped.
    pub(super) fn drop_held(&mut self, slot: u32) {
        if !self.credit.holds(slot) {
            return;
        }
        self.credit.holding.remove(&slot);
        let by = self.id_of(slot);
        self.credit.held.retain(|_, queue| {
            queue.retain(|held| held.by != by);
            !queue.is_empty()
        });
    }

    fn post_claims(&mut self) {
        let mut claims = std::mem::take(&mut self.credit.claims);
        for claim in claims.drain(..) {
            self.post(self.placement.of(&claim.user), ShardMessage::QuotaRequest { from: self.number, claim });
        }
        self.credit.claims = claims;
    }

    fn post_notices(&mut self) {
        let mut notices = std::mem::take(&mut self.credit.notices);
        for (to, notice) in notices.drain(..) {
            self.post(to, ShardMessage::QuotaGrant(notice));
        }
        self.credit.notices = notices;
    }
}
