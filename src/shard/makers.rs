//! Users that have made as many rooms as they may. What a user has made is counted by the owner of the user, before a REST
//! call makes a room; a join does not wait for that, and the count follows: then all shards are told.

use std::collections::BTreeMap;

use crate::base::Name;
use crate::base::handle::PeerKey;
use crate::base::time::Now;
use crate::domain::op::{Op, Reply, UserOp};
use crate::domain::reject::Reject;
use crate::domain::user::too_many_rooms;
use crate::message::ShardMessage;
use crate::shard::core::Core;
use crate::shard::requests::{OnReply, PendingRequest};

/// Users that are remembered; beyond it the first ones are forgotten.
const USERS_KEPT: usize = 65_536;

/// Pause between counts for a user that is refused, in milliseconds.
const COUNT_AGAIN_MS: u64 = 1_000;

/// Users that have made as many rooms as they may, each with the time of the next count.
#[derive(Default)]
pub(super) struct Makers {
    full: BTreeMap<Name, u64>,
}

impl Makers {
    pub(super) fn set(&mut self, now: Now, user: Name, is_full: bool) {
        if !is_full {
            self.full.remove(&user);
            return;
        }
        if self.full.len() >= USERS_KEPT {
            self.full.pop_first();
        }
        self.full.insert(user, now.mono + COUNT_AGAIN_MS);
    }
}

impl Core {
    /// Whether a peer's user may make a room by joining it. If not, that is looked at again once in a while.
    pub(super) fn may_make_room(&mut self, now: Now, peer: PeerKey) -> bool {
        if self.makers.full.is_empty() {
            return true;
        }
        let Some(user) = self.net.identity_of(peer).map(|by| by.user_name()) else { return true };
        let Some(next_count) = self.makers.full.get_mut(&user) else { return true };
        if now.mono >= *next_count {
            *next_count = now.mono + COUNT_AGAIN_MS;
            self.count_rooms(user, None);
        }
        false
    }

    /// The refusal of a room that a peer's join would have made, if that is why the room was not found.
    pub(super) fn refusal_of_room(&self, peer: PeerKey) -> Option<Reject> {
        let by = self.net.identity_of(peer)?;
        let is_full = self.makers.full.contains_key(by.user());
        is_full.then(|| too_many_rooms(self.options.rules.rooms_per_user))
    }

    /// A peer has made a room by joining, or has sent the first message of one.
    pub(super) fn note_room_of(&mut self, peer: PeerKey, room: Option<Name>) {
        if self.options.rules.rooms_per_user != 0
            && let Some(user) = self.net.identity_of(peer).map(|by| by.user_name())
        {
            self.count_rooms(user, room);
        }
    }

    fn count_rooms(&mut self, user: Name, room: Option<Name>) {
        let request = PendingRequest::internal(OnReply::RoomsCounted(user.clone()));
        self.send(request, Op::User(user, UserOp::CountRoom { room, is_made: true }));
    }

    /// The owner of a user has counted the rooms that the user has made.
    pub(super) fn rooms_counted(&mut self, now: Now, user: Name, reply: &Result<Reply, Reject>) {
        let is_full = match reply {
            Ok(_) => false,
            Err(reject) => *reject == too_many_rooms(self.options.rules.rooms_per_user),
        };
        if is_full != self.makers.full.contains_key(&user) {
            self.makers.set(now, user.clone(), is_full);
            for shard in self.channels.placement.other_shards(self.number) {
                self.channels.post(shard, ShardMessage::AllRoomsMade { user: user.clone(), is_full });
            }
        }
    }
}
