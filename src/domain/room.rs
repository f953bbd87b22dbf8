//! A room: who is in it, what it was made to be, and the order of what happens in it.
//!
//! [`Room::apply`] is the one door: every act on a room goes through it, one at a time, and it is a function of the room,
//! the act, the time and the randomness it is given. It tells nobody anything itself; the facts it lists are for the
//! authority to pass on in the same order.

use std::collections::{BTreeSet, VecDeque};

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::random_word;
use crate::base::limits;
use crate::base::table::HasName;
use crate::domain::access::Identity;
use crate::domain::event::{Event, PeerView};
use crate::domain::membership::Members;
use crate::domain::op::{LogTerms, OpContext, PresenceView, Profile, Reply, RoomOp, RoomRules, RoomView};
use crate::domain::receipt_counts::ReceiptCounts;
use crate::domain::record::{MadeRoom, Record};
use crate::domain::reject::Reject;
use crate::domain::typing::Typing;

/// Whether the store knows a room. One that came to be by joining is written down with its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    No,
    /// Its record is on the way.
    Asked,
    Yes,
}

/// What is left of an empty room whose messages are kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its id.
    pub room: Name,
    /// Which run of its log the numbers count in.
    pub epoch: Name,
    /// Whose it is.
    pub host: Identity,
    /// When it was made, in milliseconds since 1970.
    pub created_at: u64,
    /// What is kept of its messages.
    pub terms: LogTerms,
    /// The number of its last message.
    pub last: u64,
    /// When that was sent, in milliseconds since 1970.
    pub last_at: u64,
}

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
    /// The number of the last message that is kept, or need not be, so that members may know of it.
    pub(super) committed: u64,
    /// What is kept of its messages.
    terms: LogTerms,
    /// Whether the store knows the room.
    pub(super) is_made: Made,
    /// Its end is being written down: nothing more happens in it.
    pub is_closing: bool,
    /// The last messages' ids and senders, oldest first.
    pub(super) recent: VecDeque<(Uuid, Identity)>,
    /// Which of them reached somebody; nothing before the first did.
    pub(super) tally: Option<Box<ReceiptCounts>>,
    /// When it was made, in milliseconds since 1970.
    created_at: u64,
    /// When something last happened in it: monotonic and wall milliseconds.
    pub(super) active_mono: u64,
    pub(super) active_wall: u64,
    /// Who types.
    pub(super) typing: Typing,
    /// Members came or went without an announcement.
    pub(super) uncounted: bool,
    /// Whether somebody came or went whom those are to hear of who are told how many users there are.
    pub(super) is_online_news: bool,
    /// Whether its users' keepers are being asked how they are.
    is_online_asked: bool,
    /// Its keeper has noted to look whether it may end.
    pub end_is_due: bool,
}

impl HasName for Box<Room> {
    fn name(&self) -> &str {
        &self.id
    }
}

impl Room {
    /// A room that `by` makes, on purpose (with a profile) or by joining (without).
    pub fn new(
        id: Name,
        by: &Identity,
        profile: Option<Box<Profile>>,
        terms: LogTerms,
        context: &mut OpContext<'_>,
    ) -> Self {
        Self {
            id,
            members: Members::default(),
            profile,
            host: by.clone(),
            epoch: random_word(context.rng, 8).into(),
            seq: 0,
            committed: 0,
            terms,
            is_made: Made::No,
            is_closing: false,
            recent: VecDeque::new(),
            tally: None,
            created_at: context.now.wall,
            active_mono: context.now.mono,
            active_wall: context.now.wall,
            typing: Typing::default(),
            uncounted: false,
            is_online_news: false,
            is_online_asked: false,
            end_is_due: false,
        }
    }

    /// A room that goes on with its log after a restart or a rest.
    pub fn from_kept(kept: Kept, profile: Option<Box<Profile>>, context: &mut OpContext<'_>) -> Self {
        Self {
            epoch: kept.epoch,
            seq: kept.last,
            committed: kept.last,
            created_at: kept.created_at,
            active_wall: kept.last_at,
            is_made: Made::Yes,
            ..Self::new(kept.room, &kept.host, profile, kept.terms, context)
        }
    }

    /// What is to be remembered of the room while it is empty; `None` when nothing of it is kept.
    pub fn rest(&self, context: &OpContext<'_>) -> Option<Kept> {
        let is_worth_it = self.is_made == Made::Yes && self.profile.is_none() && self.is_kept(context);
        is_worth_it.then(|| Kept {
            room: self.id.clone(),
            epoch: self.epoch.clone(),
            host: self.host.clone(),
            created_at: self.created_at,
            terms: self.terms,
            last: self.committed,
            last_at: self.active_wall,
        })
    }

    /// Applies one act: its answer is returned, what everyone concerned learns of it is listed in `context`.
    pub fn apply(&mut self, op: RoomOp, context: &mut OpContext<'_>) -> Result<Reply, Reject> {
        self.active_mono = context.now.mono;
        self.active_wall = context.now.wall;
        match op {
            RoomOp::Create { .. } => Err(Reject::room_id_in_use()),
            RoomOp::Join(join) => self.join(*join, context),
            RoomOp::Leave { connection, by, peer } => self.leave(connection, &by, peer.as_deref(), context),
            RoomOp::RemoveMember { connection } => self.vanish(connection, context),
            RoomOp::RelaySignal(signal) => self.relay(*signal, context),
            RoomOp::SetMedia { connection, peer, media } => self.set_media(connection, peer.as_deref(), media, context),
            RoomOp::Send(message) => self.send(*message, context),
            RoomOp::SetTyping { connection, is_typing } => self.typing(connection, is_typing, context),
            RoomOp::ListTypists { connection } => self.typists(connection),
            RoomOp::MarkMessage { connection, message, kind } => self.receipt(connection, message, kind, context),
            RoomOp::Rejoin(back) => self.come_back(*back, context).map(|returned| Reply::Returned(Box::new(returned))),
            // Whoever keeps the room sees to its end, and asks the store what the room itself does not know.
            RoomOp::StartGrace { .. }
            | RoomOp::ReadHistory { .. }
            | RoomOp::ReadSince { .. }
            | RoomOp::ReadReceipts { .. }
            | RoomOp::ListUsers { .. } => Ok(Reply::Done),
            RoomOp::AddParticipant { by, connections } => self.admit(by, &connections, context),
            RoomOp::RemoveParticipant { by, connection } => self.withdraw(&by, connection, context),
            RoomOp::Describe { by } => self.describe(&by, context),
            RoomOp::Close { by } => self.close(&by, context),
        }
    }

    /// When the room has been of no use for so long that it may end, on the monotonic clock; `None` while in use.
    pub fn ends_at(&self) -> Option<u64> {
        let idle = if self.profile.is_some() { limits::MADE_ROOM_IDLE_MS } else { limits::JOINED_ROOM_IDLE_MS };
        let is_idle = self.members.is_empty() && self.seq == self.committed && !self.is_closing;
        is_idle.then(|| self.active_mono + idle)
    }

    /// What has to be kept before an act may be done, if it asks for anything of the kind. Whether it may be done at all
    /// is looked at twice: now, and when the record is kept.
    pub fn before(&self, op: &RoomOp) -> Result<Option<Record>, Reject> {
        let (room, is_made) = (self.id.clone(), self.is_made == Made::Yes);
        let is_participant = |user: &str| {
            let profile = self.profile.as_deref();
            profile.is_none_or(|profile| profile.participants.iter().any(|known| **known == *user))
        };
        Ok(match op {
            RoomOp::Close { by } => {
                self.check_close(by)?;
                (self.is_made != Made::No).then_some(Record::RoomClosed { room })
            }
            RoomOp::AddParticipant { by, .. } if is_made && !is_participant(by.user()) => {
                self.check_admit(by)?;
                Some(Record::ParticipantAdded { room, user: by.user_name() })
            }
            RoomOp::RemoveParticipant { by, connection: None }
                if is_made && self.profile.is_some() && is_participant(by.user()) =>
            {
                Some(Record::ParticipantRemoved { room, user: by.user_name() })
            }
            _ => None,
        })
    }

    /// The room as the store is to keep it.
    pub fn made(&self, rules: &RoomRules) -> MadeRoom {
        MadeRoom {
            room: self.id.clone(),
            epoch: self.epoch.clone(),
            host: self.host.clone(),
            created_at: self.created_at,
            history: self.terms.history.unwrap_or(rules.history),
            retention: self.terms.retention,
            profile: self.profile.clone(),
        }
    }

    /// The store knows the room from now on.
    pub fn note_made(&mut self) {
        self.is_made = Made::Yes;
    }

    /// Whether the store knows the room, or is about to.
    pub fn is_made(&self) -> bool {
        self.is_made != Made::No
    }

    /// Which run of its log its numbers count in.
    pub fn epoch(&self) -> &Name {
        &self.epoch
    }

    /// The number of its last message.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The number of the last message that members may know of.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Whether messages of the room are kept.
    pub fn is_kept(&self, context: &OpContext<'_>) -> bool {
        context.rules.has_store && self.terms.history.unwrap_or(context.rules.history)
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

    /// Whether users came or went of which some members are told how many there are.
    pub fn is_online_news(&self) -> bool {
        self.is_online_news
    }

    /// The room's users, where it is news who they are and they are not being asked for already; asking makes it none.
    /// Whoever asks tells by [`Room::online`] what came of it.
    pub fn take_online(&mut self) -> Option<Vec<Name>> {
        if self.is_online_asked || !std::mem::take(&mut self.is_online_news) || !self.members.has_peers() {
            return None;
        }
        self.is_online_asked = true;
        Some(self.users().into_iter().map(Into::into).collect())
    }

    /// How many users there are; where it is known how they are, how many of them are online, and who.
    pub fn online(&mut self, users: Option<Vec<PresenceView>>) -> Event {
        self.is_online_asked = false;
        let here = self.users();
        let mut online_count = here.len();
        let users = users.map(|mut users| {
            users.retain(|view| here.contains(&*view.user));
            online_count = users.len();
            users.truncate(limits::ONLINE_LISTED);
            users.into()
        });
        Event::Online { room: self.id.clone(), online_count, users }
    }

    /// The room's users, each once.
    pub(super) fn users(&self) -> BTreeSet<&str> {
        self.members.iter().map(|member| member.identity.user()).collect()
    }

    /// The room as an onlooker sees it, with at most `peers` of its members.
    pub fn view(&self, peers: usize) -> RoomView {
        RoomView {
            room: self.id.clone(),
            is_made: self.profile.is_some(),
            profile: self.profile.as_deref().cloned().unwrap_or_default(),
            host: self.host.user_name(),
            created_at: self.created_at,
            last_activity: self.active_wall,
            participant_count: self.members.len(),
            peers: self.members.iter().take(peers).map(|member| member.peer()).collect::<Vec<PeerView>>(),
        }
    }

    fn describe(&self, by: &Identity, context: &OpContext<'_>) -> Result<Reply, Reject> {
        self.check_admits(by)?;
        Ok(Reply::Room(Box::new(self.view(context.rules.announce_limit))))
    }

    fn close(&mut self, by: &Identity, context: &mut OpContext<'_>) -> Result<Reply, Reject> {
        self.check_close(by)?;
        let reason = if by.user() == self.host.user() { "closed by host" } else { "closed by admin" };
        let event = Event::Closed { room: self.id.clone(), reason: reason.into() };
        context.tell_members(None, event);
        Ok(Reply::Done)
    }

    fn check_close(&self, by: &Identity) -> Result<(), Reject> {
        self.may_close(by).then_some(()).ok_or_else(Reject::close_forbidden)
    }

    /// Refuses whoever may not join.
    pub(super) fn check_admits(&self, by: &Identity) -> Result<(), Reject> {
        self.admits(by).then_some(()).ok_or_else(Reject::private)
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
    fn admits(&self, by: &Identity) -> bool {
        let Some(profile) = &self.profile else { return true };
        !profile.is_private
            || self.is_host(by)
            || profile.participants.iter().any(|participant| **participant == *by.user())
    }
}
