//! A room: who is in it, what it was made to be, and the order of what happens in it.
//!
//! [`Room::apply`] is the one door: every act on a room goes through it, one at a time, and it is a function of the room,
//! the act, the time and the randomness it is given. It tells nobody anything itself; the facts it lists are for the
//! authority to pass on in the same order.

use std::collections::VecDeque;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::random_word;
use crate::base::limits;
use crate::base::table::Named;
use crate::domain::access::Identity;
use crate::domain::event::{Event, Peer};
use crate::domain::membership::Members;
use crate::domain::op::{Context, Profile, Reply, RoomOp, RoomView};
use crate::domain::reject::{Code, Reject};
use crate::domain::typing::Typing;

/// One room.
pub struct Room {
    /// Its id.
    pub id: Name,
    /// Who is in it.
    pub members: Members,
    /// What it was made to be; `None` when it came to be by joining.
    pub(super) profile: Option<Box<Profile>>,
    /// Whose it is.
    pub(super) host: Identity,
    /// Which run of its log `seq` counts in.
    pub(super) epoch: Name,
    /// The number of the last message.
    pub(super) seq: u64,
    /// The last messages' ids and senders, oldest first.
    pub(super) recent: VecDeque<(Uuid, Identity)>,
    /// When it was made, in milliseconds since 1970.
    created_at: u64,
    /// When something last happened in it: monotonic and wall milliseconds.
    pub(super) active_mono: u64,
    pub(super) active_wall: u64,
    /// Who types.
    pub(super) typing: Typing,
    /// Members came or went without an announcement.
    pub(super) uncounted: bool,
    /// Its keeper has noted to look whether it may end.
    pub end_is_due: bool,
}

impl Named for Box<Room> {
    fn name(&self) -> &str {
        &self.id
    }
}

impl Room {
    /// A room that `by` makes, on purpose (with a profile) or by joining (without).
    pub fn new(id: Name, by: &Identity, profile: Option<Box<Profile>>, context: &mut Context<'_>) -> Self {
        Self {
            id,
            members: Members::default(),
            profile,
            host: by.clone(),
            epoch: random_word(context.rng, 8).into(),
            seq: 0,
            recent: VecDeque::new(),
            created_at: context.now.wall,
            active_mono: context.now.mono,
            active_wall: context.now.wall,
            typing: Typing::default(),
            uncounted: false,
            end_is_due: false,
        }
    }

    /// Applies one act: its answer is returned, what everyone concerned learns of it is listed in `context`.
    pub fn apply(&mut self, op: RoomOp, context: &mut Context<'_>) -> Result<Reply, Reject> {
        self.active_mono = context.now.mono;
        self.active_wall = context.now.wall;
        match op {
            RoomOp::Create { .. } => Err(Reject::new(Code::Internal, "That room id is in use")),
            RoomOp::Join(join) => self.join(*join, context),
            RoomOp::Leave { connection, by, peer } => self.leave(connection, &by, peer.as_deref(), context),
            RoomOp::Vanish { connection } => self.vanish(connection, context),
            RoomOp::Signal(signal) => self.relay(*signal, context),
            RoomOp::Media { connection, peer, media } => self.set_media(connection, peer.as_deref(), media, context),
            RoomOp::Send(message) => self.send(*message, context),
            RoomOp::Typing { connection, is_typing } => self.typing(connection, is_typing, context),
            RoomOp::Typists { connection } => self.typists(connection),
            RoomOp::Receipt { connection, message, kind } => self.receipt(connection, message, kind, context),
            RoomOp::Admit { by, connections } => self.admit(by, &connections, context),
            RoomOp::Withdraw { by, connection } => self.withdraw(&by, connection, context),
            RoomOp::Describe { by } => self.describe(&by, context),
            RoomOp::Close { by } => self.close(&by, context),
        }
    }

    /// When the room has been of no use for so long that it may end, on the monotonic clock; `None` while in use.
    pub fn ends_at(&self) -> Option<u64> {
        let idle = if self.profile.is_some() { limits::MADE_ROOM_IDLE_MS } else { limits::JOINED_ROOM_IDLE_MS };
        self.members.is_empty().then(|| self.active_mono + idle)
    }

    /// Whether members came or went without an announcement; asking clears it.
    pub fn take_uncounted(&mut self) -> bool {
        std::mem::take(&mut self.uncounted)
    }

    /// Whether the room is waiting for its count to be told.
    pub fn is_uncounted(&self) -> bool {
        self.uncounted
    }

    /// The room's count of members, as an event.
    pub fn stats(&self) -> Event {
        Event::Stats { room: self.id.clone(), participant_count: self.members.len() }
    }

    /// The room as an onlooker sees it, with at most `peers` of its members.
    pub fn view(&self, peers: usize) -> RoomView {
        RoomView {
            room: self.id.clone(),
            profile: self.profile.as_deref().cloned().unwrap_or_default(),
            host: self.host.user_name(),
            created_at: self.created_at,
            last_activity: self.active_wall,
            participant_count: self.members.len(),
            peers: self.members.iter().take(peers).map(|member| member.peer()).collect::<Vec<Peer>>(),
        }
    }

    fn describe(&self, by: &Identity, context: &Context<'_>) -> Result<Reply, Reject> {
        if !self.admits(by) {
            return Err(private());
        }
        Ok(Reply::Room(Box::new(self.view(context.rules.announce_limit))))
    }

    fn close(&mut self, by: &Identity, context: &mut Context<'_>) -> Result<Reply, Reject> {
        if !self.may_close(by) {
            return Err(Reject::new(Code::Forbidden, "Only the room's host or an admin may close it"));
        }
        let reason = if by.user() == self.host.user() { "closed by host" } else { "closed by admin" };
        let event = Event::Closed { room: self.id.clone(), reason: reason.into() };
        context.tell_members(None, event);
        Ok(Reply::Done)
    }

    /// Whether `by` is the room's host, or an admin.
    pub(super) fn is_host(&self, by: &Identity) -> bool {
        by.roles().admin || by.user() == self.host.user()
    }

    /// A guest's room has no owner who could prove it (each request without a token is another guest), so any guest may
    /// close it.
    fn may_close(&self, by: &Identity) -> bool {
        self.is_host(by) || (self.host.roles().guest && by.roles().guest)
    }

    /// Whether `by` may join.
    pub(super) fn admits(&self, by: &Identity) -> bool {
        let Some(profile) = &self.profile else { return true };
        !profile.is_private
            || self.is_host(by)
            || profile.participants.iter().any(|participant| **participant == *by.user())
    }
}

pub(super) fn private() -> Reject {
    Reject::new(Code::Forbidden, "This room is private and you are not one of its participants")
}
