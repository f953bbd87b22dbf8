//! How users are, gathered until the next tick: whoever is to hear of it is told everything at once, of each user the
//! latest only, and once, however many rooms they share.

use std::sync::Arc;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::connection::conn::HandshakeState;
use crate::connection::outbound::{NO_CONNECTION, Segment};
use crate::dialect::encoded_event::EncodedEvent;
use crate::domain::op::{Op, Scope, UserOp};
use crate::message::{PresenceUpdate, ShardMessage, UpdateReach};
use crate::shard::Shard;
use crate::shard::answers::Ask;
use crate::shard::online::Greeting;

/// Notices a bulletin keeps room for.
const KEEP_NOTICES: usize = 64;

/// What is to be told at the next tick.
pub(super) struct Bulletin {
    /// In the order of their news.
    notices: Vec<Notice>,
    by_user: Map<Name, u32>,
    /// Connections that came since the last tick, each with the number of notices that were there before it.
    newcomers: Vec<(u32, u32)>,
    /// When, in monotonic milliseconds; 0 when there is nothing.
    due: u64,
    /// Those who are to be told who is online before they are told any of it.
    pub(super) greeting: Greeting,
}

/// News of a user, and who is to hear it: nobody any more once there is later news.
pub(super) struct Notice {
    pub(super) news: Arc<PresenceUpdate>,
    pub(super) to: Listeners,
}

#[derive(Default)]
pub(super) struct Listeners {
    /// Every connection; the others below do not matter then.
    pub(super) everyone: bool,
    /// The members of these rooms.
    pub(super) rooms: Vec<Name>,
    /// These connections.
    pub(super) connections: Vec<ConnectionId>,
}

/// What everyone is to hear, in one run of bytes, and who is not to hear some of it.
pub(super) struct Run {
    start: u32,
    end: u32,
    /// In the order of keys and places.
    gaps: Vec<Gap>,
    /// Gaps of those who were handed the run, or passed over.
    passed: usize,
}

/// A stretch of the run that one connection is not told: what it caused itself, or what was before its time.
struct Gap {
    key: u32,
    start: u32,
    end: u32,
}

impl Run {
    /// Calls `push` with the stretches that the connection with this key is to hear. Keys come in order.
    pub(super) fn hand(&mut self, key: u32, mut push: impl FnMut(Segment)) {
        let mut from = self.start;
        while let Some(gap) = self.gaps.get(self.passed).filter(|gap| gap.key <= key) {
            if gap.key == key {
                push(Segment { start: from, end: gap.start.max(from), droppable: true });
                from = gap.end.max(from);
            }
            self.passed += 1;
        }
        push(Segment { start: from, end: self.end, droppable: true });
    }
}

impl Bulletin {
    pub(super) fn new(seed: u64) -> Self {
        Self { notices: Vec::new(), by_user: map(seed), newcomers: Vec::new(), due: 0, greeting: Greeting::default() }
    }

    /// When it is to be published, in monotonic milliseconds; `None` while it is empty, or while some are to be told first
    /// who is online.
    pub(super) fn due(&self) -> Option<u64> {
        (self.due != 0 && !self.greeting.is_asked()).then_some(self.due)
    }

    /// Whether a burst of news has left memory that [`Bulletin::trim`] might give back.
    pub(super) fn is_large(&self) -> bool {
        // A map has room for more than it was asked for.
        self.notices.capacity() > KEEP_NOTICES || self.by_user.capacity() > 2 * KEEP_NOTICES
    }

    /// Gives back memory that a burst of news has left.
    pub(super) fn trim(&mut self) {
        self.notices.shrink_to(KEEP_NOTICES);
        self.by_user.shrink_to(KEEP_NOTICES);
        self.newcomers.shrink_to(KEEP_NOTICES);
        self.greeting.trim();
    }

    /// A connection has come. What was to be told before concerns it no more than what was told: about its own user it may
    /// even be wrong by now.
    pub(super) fn come(&mut self, slot: u32) {
        if !self.notices.is_empty() {
            self.newcomers.push((slot, self.notices.len() as u32));
        }
    }

    /// Who is to hear these news, or later ones of the same user.
    fn listeners(&mut self, news: Arc<PresenceUpdate>) -> &mut Listeners {
        let next = self.notices.len();
        let place = self.by_user.entry(news.user.clone()).or_insert(next as u32);
        let known = self.notices.get_mut(*place as usize);
        if known.as_ref().is_none_or(|known| known.news.number < news.number) {
            let to = known.map(|known| std::mem::take(&mut known.to)).unwrap_or_default();
            *place = next as u32;
            self.notices.push(Notice { news, to });
        }
        &mut self.notices[*place as usize].to
    }
}

impl Shard {
    /// News of a user has come, to be passed on to a room's members or to be told at the next tick.
    pub(super) fn news(&mut self, now: Now, reach: UpdateReach, news: Arc<PresenceUpdate>) {
        match reach {
            UpdateReach::Room(room) => {
                let mut out = std::mem::take(&mut self.said);
                self.authority.announce(&room, news, &mut out);
                return self.post_all(out);
            }
            UpdateReach::Around(of) => {
                if let Some(slot) = self.slot_of(of) {
                    for membership in self.conns[slot as usize].rooms.clone().as_slice() {
                        let Some(room) = self.fanout.name_of(membership.room).cloned() else { continue };
                        let home = self.placement.of(&room);
                        self.post(
                            home,
                            ShardMessage::PresenceUpdate { reach: UpdateReach::Room(room), news: news.clone() },
                        );
                    }
                } else if !self.pass_on_around(of, &news) {
                    return;
                }
                let to = self.bulletin.listeners(news);
                if !to.connections.contains(&of) {
                    to.connections.push(of);
                }
            }
            UpdateReach::Members(room) => {
                let to = self.bulletin.listeners(news);
                if !to.rooms.contains(&room) {
                    to.rooms.push(room);
                }
            }
            UpdateReach::Everyone => self.bulletin.listeners(news).everyone = true,
        }
        if self.bulletin.due == 0 {
            self.bulletin.due = now.mono + self.options.presence_batch_ms;
        }
    }

    /// Has the members of a room that a connection has joined told how its user is, where they are not told anyway.
    pub(super) fn introduce(&mut self, slot: u32, room: &Name) {
        let is_told_anyway = self.is_told_anyway();
        let Some(identity) = self.conns[slot as usize].identity.as_ref().filter(|_| !is_told_anyway) else { return };
        let (user, connection) = (identity.user_name(), self.id_of(slot));
        self.ask(Ask::forgotten(), Op::User(user, UserOp::AnnounceIn { connection, room: room.clone() }));
    }

    /// Whether nobody is told how users are, or everybody is, so that there is no need to tell a room.
    pub(super) fn is_told_anyway(&self) -> bool {
        match self.options.rules.presence_scope {
            Scope::None | Scope::All => true,
            // Only the keeper knows how many users all nodes have.
            Scope::Auto if self.placement.is_cluster() => false,
            Scope::Auto | Scope::Rooms => self.authority.tells_everybody(),
        }
    }

    /// Hands everyone what they are to hear.
    pub(super) fn publish_bulletin(&mut self) {
        self.bulletin.due = 0;
        self.bulletin.by_user.clear();
        let mut notices = std::mem::take(&mut self.bulletin.notices);
        let mut newcomers = std::mem::take(&mut self.bulletin.newcomers);
        newcomers.sort_unstable();
        self.tell_everyone(&notices, &newcomers);
        self.tell_some(&notices, &newcomers);
        self.tell_peers(&notices, &newcomers);
        notices.clear();
        newcomers.clear();
        (self.bulletin.notices, self.bulletin.newcomers) = (notices, newcomers);
    }

    /// Hands every connection what everyone is to hear.
    fn tell_everyone(&mut self, notices: &[Notice], newcomers: &[(u32, u32)]) {
        let Some(mut run) = self.run_of(notices, newcomers, |packed| &packed.raw) else { return };
        for (slot, conn) in &mut self.conns {
            if conn.is_listening() && conn.standing == HandshakeState::Attached {
                run.hand(slot as u32, |segment| self.outbound.push(slot as u32, &mut conn.queue, segment));
            }
        }
    }

    /// Gathers what everyone is to hear; `None` when that is nothing. `newcomers` are in order, each with the number of
    /// notices that were there before it.
    pub(super) fn run_of<'a>(
        &mut self,
        notices: &'a [Notice],
        newcomers: &[(u32, u32)],
        frames: impl Fn(&'a EncodedEvent) -> &'a [u8],
    ) -> Option<Run> {
        let start = self.outbound.len() as u32;
        let mut gaps = Vec::new();
        // Where each notice begins.
        let mut starts = Vec::new();
        for notice in notices {
            starts.push(self.outbound.len() as u32);
            if !notice.to.everyone {
                continue;
            }
            let segment = self.outbound.encode(|out| out.extend_from_slice(frames(&notice.news.packed)));
            let key = self.key_of(notice.news.except);
            if key != NO_CONNECTION {
                gaps.push(Gap { key, start: segment.start, end: segment.end });
            }
        }
        let end = self.outbound.len() as u32;
        gaps.extend(newcomers.iter().map(|&(key, before)| {
            let until = starts.get(before as usize).copied().unwrap_or(end);
            Gap { key, start, end: until }
        }));
        gaps.sort_unstable_by_key(|gap| (gap.key, gap.start, gap.end));
        (start < end).then_some(Run { start, end, gaps, passed: 0 })
    }

    /// Hands the members of rooms, and single connections, what they are to hear beyond that.
    fn tell_some(&mut self, notices: &[Notice], newcomers: &[(u32, u32)]) {
        let mut listeners = Vec::new();
        for (number, notice) in notices.iter().enumerate() {
            if notice.to.everyone {
                continue;
            }
            listeners.clear();
            for room in &notice.to.rooms {
                listeners.extend_from_slice(self.fanout.members(room));
            }
            listeners.extend(notice.to.connections.iter().filter_map(|id| self.slot_of(*id)));
            listeners.sort_unstable();
            listeners.dedup();
            let except = notice.news.except.and_then(|id| self.slot_of(id)).unwrap_or(NO_CONNECTION);
            listeners.retain(|slot| {
                let conn = &self.conns[*slot as usize];
                let later = newcomers.partition_point(|(newcomer, _)| newcomer <= slot);
                let before = later.checked_sub(1).map(|at| newcomers[at]).filter(|(newcomer, _)| newcomer == slot);
                let is_new = before.is_some_and(|(_, before)| number < before as usize);
                *slot != except && !is_new && conn.is_listening() && conn.standing == HandshakeState::Attached
            });
            if listeners.is_empty() {
                continue;
            }
            let segment = self.encode_notice(notice);
            for &slot in &listeners {
                self.outbound.push(slot, &mut self.conns[slot as usize].queue, segment);
            }
        }
    }

    fn encode_notice(&mut self, notice: &Notice) -> Segment {
        let segment = self.outbound.encode(|out| out.extend_from_slice(&notice.news.packed.raw));
        Segment { droppable: true, ..segment }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Each of six listeners hears all of eight notices, but those that it caused and those before its time.
        #[test]
        fn who_is_not_to_hear_something_hears_the_rest(
            causes in prop::collection::vec(0..8u32, 8),
            newcomers in prop::collection::btree_map(0..8u32, 0..9u32, 0..4),
            listeners in prop::collection::btree_set(0..8u32, 0..6),
        ) {
            let mut gaps: Vec<Gap> = Vec::new();
            for (number, cause) in causes.iter().enumerate() {
                gaps.push(Gap { key: *cause, start: number as u32, end: number as u32 + 1 });
            }
            gaps.extend(newcomers.iter().map(|(key, before)| Gap { key: *key, start: 0, end: *before.min(&8) }));
            gaps.sort_unstable_by_key(|gap| (gap.key, gap.start, gap.end));
            let mut run = Run { start: 0, end: 8, gaps, passed: 0 };
            for key in listeners {
                let mut heard = Vec::new();
                run.hand(key, |segment| heard.extend(segment.start..segment.end));
                let before = newcomers.get(&key).copied().unwrap_or(0);
                let expected: Vec<u32> = (before..8).filter(|number| causes[*number as usize] != key).collect();
                prop_assert_eq!(heard, expected, "{}", key);
            }
        }
    }
}
