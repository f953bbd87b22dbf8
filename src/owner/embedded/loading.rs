//! Loading of unloaded rooms. The first operation that needs one asks storage for it, and all later operations on the room
//! wait for it, in their order.

use crate::base::Name;
use crate::domain::op::{LogTerms, Profile, Publication, Reply, RoomOp};
use crate::domain::reject::Reject;
use crate::domain::room::{Room, UnloadedRoom};
use crate::domain::streams::{self, OpenStream};
use crate::message::Requester;
use crate::message::storage::{StorageQuery, StorageReply, StoredRoom, Unavailable};
use crate::owner::embedded::rooms::{RoomStore, room_at};
use crate::owner::embedded::storage_requests::{StorageRequest, StorageResult};
use crate::owner::embedded::turn::{OpOutcome, Turn};

/// Operations that wait for a room, each with its requester.
pub(super) type WaitingOps = Vec<(Option<Requester>, RoomOp)>;

/// The outcome of a refused operation. A backend learns the outcome of each of its messages; `part` is the message's number.
pub(super) fn refused(part: Option<u16>, reject: Reject) -> OpOutcome {
    match part {
        Some(part) => Ok(Some(Reply::Published(vec![Publication { part, outcome: Err(reject) }]))),
        None => Err(reject),
    }
}

impl RoomStore {
    /// Has `op` wait for its room, if that is being loaded or `op` may load it; otherwise returns it.
    pub(super) fn wait_for_room(&mut self, turn: &mut Turn<'_>, name: &Name, op: RoomOp) -> Option<RoomOp> {
        let waiting = self.loading.get_mut(name).or_else(|| self.creating.get_mut(name));
        if let Some(waiting) = waiting {
            waiting.push((turn.to, op));
            return None;
        }
        if !op.may_load() || !turn.rules().has_store || !self.may_be_unloaded(name) {
            return Some(op);
        }
        self.request_room(turn, name.clone(), vec![(turn.to, op)]);
        None
    }

    fn may_be_unloaded(&self, name: &str) -> bool {
        self.unloaded.is_partial() || self.unloaded.get(name).is_some()
    }

    fn request_room(&mut self, turn: &mut Turn<'_>, name: Name, waiting: WaitingOps) {
        turn.to = None;
        turn.request(StorageRequest::Load { room: name.clone() }, StorageQuery::Room { room: name.clone() });
        self.loading.insert(name, waiting);
    }

    /// The result of [`StorageRequest::Load`]: applies the operations that have waited.
    pub(super) fn room_found(&mut self, turn: &mut Turn<'_>, name: Name, result: StorageResult) {
        let waiting = self.loading.remove(&name).expect("rooms: operations wait for a requested room");
        let is_available = result.is_ok();
        match result {
            Ok(StorageReply::Room(Some(stored))) => {
                let is_expired = waiting.is_empty() && stored.first > stored.last;
                if is_expired && turn.check_store().is_ok() {
                    self.load(turn, *stored);
                    self.delete(turn, name.clone());
                } else if waiting.is_empty() {
                    self.unloaded.insert(&name, stored.last);
                } else {
                    self.load(turn, *stored);
                }
            }
            Ok(_) => drop(self.unloaded.remove(&name)),
            Err(Unavailable) => {}
        }
        self.apply_waiting(turn, &name, waiting, is_available);
    }

    /// Applies the operations that have waited for a room. Without storage those that need it are refused.
    fn apply_waiting(&mut self, turn: &mut Turn<'_>, name: &Name, waiting: WaitingOps, is_available: bool) {
        for (to, op) in waiting {
            turn.to = to;
            let is_refused = !is_available && op.may_load();
            self.publish_departures(turn, name, &op);
            let at = turn.out.len();
            let outcome = match is_refused {
                true => refused(op.publication(), Reject::storage_unavailable()),
                false => self.apply_here(turn, name.clone(), op),
            };
            turn.reply_at(at, outcome);
        }
    }

    /// The creation of a room is committed, or was refused: applies the operations that have waited. The reply to the creation
    /// is still to come, or was sent.
    pub(super) fn creation_settled(&mut self, turn: &mut Turn<'_>, name: &Name) {
        let waiting = self.creating.remove(name).unwrap_or_default();
        let to = turn.to.take();
        self.apply_waiting(turn, name, waiting, true);
        turn.to = to;
    }

    /// Loads a stored room, and schedules its end.
    fn load(&mut self, turn: &mut Turn<'_>, stored: StoredRoom) {
        self.unloaded.remove(&stored.made.room);
        tracing::debug!(target: "switchboard::room", room = &*stored.made.room, "room loaded");
        let (room, profile, open) = split(stored);
        let mut room = Room::from_unloaded(room, profile, &mut turn.context());
        streams::restore(&mut room, open, turn.now, turn.rules().stream_idle_ms);
        let place = self.rooms.insert(Box::new(room));
        turn.defer_room(room_at(&mut self.rooms, place));
    }

    /// Restores a room: one that was created on purpose is loaded, another stays unloaded until it is needed.
    pub(super) fn restore(&mut self, turn: &mut Turn<'_>, stored: StoredRoom) {
        match stored.made.profile {
            None => self.unloaded.insert(&stored.made.room, stored.last),
            Some(_) => self.load(turn, stored),
        }
    }

    /// Storage has no messages of a room any more. It is read again, as the notice may be late, and deleted if it is not
    /// in use.
    pub(super) fn expire_unloaded(&mut self, turn: &mut Turn<'_>, name: Name) {
        let is_idle =
            !self.rooms.contains(&name) && !self.loading.contains_key(&name) && !self.creating.contains_key(&name);
        if is_idle && self.may_be_unloaded(&name) {
            self.request_room(turn, name, Vec::new());
        }
    }
}

/// A stored room as an unloaded one, with its profile and open streams.
fn split(stored: StoredRoom) -> (UnloadedRoom, Option<Box<Profile>>, Vec<OpenStream>) {
    let made = stored.made;
    let room = UnloadedRoom {
        room: made.room,
        epoch: made.epoch,
        host: made.host,
        created_at: made.created_at,
        terms: LogTerms { history: Some(made.history), retention: made.retention },
        last: stored.last,
        last_at: stored.last_at,
        is_locked: made.is_locked,
    };
    (room, made.profile, stored.streams)
}
