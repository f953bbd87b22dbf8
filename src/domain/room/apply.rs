//! Dispatch of the operations on a room.

use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::call;
use crate::domain::event::{Event, LeaveCause};
use crate::domain::op::{HostClaim, OpContext, ProfileChange, Reply, RoomOp, RoomRules};
use crate::domain::record::{MadeRoom, Record};
use crate::domain::reject::Reject;
use crate::domain::room::Room;

impl Room {
    /// Applies one operation and returns its reply; its events and records are listed in `context`.
    pub fn apply(&mut self, op: RoomOp, context: &mut OpContext<'_>) -> Result<Reply, Reject> {
        self.touch(context.now);
        let concerns_call = op.concerns_call();
        let outcome = self.dispatch(op, context);
        if concerns_call {
            call::settle(self, context);
        }
        outcome
    }

    fn dispatch(&mut self, op: RoomOp, context: &mut OpContext<'_>) -> Result<Reply, Reject> {
        match op {
            RoomOp::Create { .. } => Err(Reject::room_id_in_use()),
            RoomOp::Join(join) => {
                let connection = join.connection;
                let joined = self.join(*join, context)?;
                call::tell_to(self, connection, context);
                Ok(Reply::Joined(joined))
            }
            RoomOp::Leave { connection, by, peer } => self.leave(connection, &by, peer.as_deref(), context),
            RoomOp::RemoveMember { connection } => self.remove_connection(connection, context),
            RoomOp::RelaySignal(signal) => self.relay(*signal, context),
            RoomOp::SetMedia { connection, peer, media, sfu } => {
                self.set_media(connection, peer.as_deref(), (media, sfu), context)
            }
            RoomOp::ReportFailure { connection, peer } => call::report_failure(self, connection, &peer, context),
            RoomOp::SetMode { by, wanted } => call::set_mode(self, &by, wanted, context),
            RoomOp::Send(message) => self.send(*message, context),
            RoomOp::SetTyping { connection, is_typing } => self.set_typing(connection, is_typing, context),
            RoomOp::ListTypists { connection } => self.typists(connection),
            RoomOp::MarkMessage { connection, message, kind } => self.receipt(connection, message, kind, context),
            RoomOp::Rejoin(back) => self.rejoin(*back, context).map(|returned| Reply::Returned(Box::new(returned))),
            // The owner carries these out: they need storage or a deadline.
            RoomOp::StartGrace { .. }
            | RoomOp::MarkMessages { .. }
            | RoomOp::ReadHistory { .. }
            | RoomOp::ReadSince { .. }
            | RoomOp::ReadReceipts { .. }
            | RoomOp::CountUnread { .. }
            | RoomOp::ListUsers { .. } => Ok(Reply::Done),
            RoomOp::AddParticipant { by, connections } => self.add_participant(by, &connections, context),
            RoomOp::RemoveParticipant { by, connection } => {
                self.remove_user(by.user(), connection, LeaveCause::Left, context)
            }
            RoomOp::Update { by, change, adopts } => self.update((&by, adopts), *change, context),
            RoomOp::RemoveUser { by, user } => {
                self.check_host(&by, Reject::host_only)?;
                self.remove_user(&user, None, LeaveCause::Removed, context)
            }
            RoomOp::SetLocked { by, is_locked } => self.set_locked(&by, is_locked),
            RoomOp::Describe { by } => {
                self.check_admits(&by)?;
                Ok(Reply::Room(Box::new(self.view(context.rules.announce_limit))))
            }
            RoomOp::Close { by } => self.close(&by, context),
        }
    }

    /// Notes that the room is in use.
    pub(crate) fn touch(&mut self, now: Now) {
        self.active_mono = now.mono;
        self.active_wall = now.wall;
    }

    /// The record that has to be committed before an operation runs, if it needs one. The operation is checked twice: now,
    /// and after the commit.
    pub(crate) fn before(&self, op: &RoomOp, rules: &RoomRules) -> Result<Option<Record>, Reject> {
        let (room, is_stored) = (self.id.clone(), self.log.is_stored());
        Ok(match op {
            RoomOp::Close { by } => {
                self.check_host(by, Reject::close_forbidden)?;
                self.log.is_made().then_some(Record::RoomClosed { room })
            }
            RoomOp::Update { by, change, adopts } => {
                self.check_update(by, *adopts)?;
                Some(match self.log.is_made() {
                    true => Record::RoomChanged { room, change: change.clone() },
                    false => Record::RoomMade(Box::new(adopted(self, by, change, rules))),
                })
            }
            RoomOp::AddParticipant { by, .. }
                if is_stored && self.profile.is_some() && !self.has_participant(by.user()) =>
            {
                self.check_add_participant(by)?;
                Some(Record::ParticipantAdded { room, user: by.user_name() })
            }
            RoomOp::RemoveParticipant { by, connection: None } if is_stored && self.has_participant(by.user()) => {
                Some(Record::ParticipantRemoved { room, user: by.user_name() })
            }
            RoomOp::SetLocked { by, is_locked } => {
                self.check_host(by, Reject::host_only)?;
                self.log.is_made().then_some(Record::RoomLocked { room, is_locked: *is_locked })
            }
            RoomOp::RemoveUser { by, user } => {
                self.check_host(by, Reject::host_only)?;
                let is_kept = is_stored && self.has_participant(user);
                is_kept.then(|| Record::ParticipantRemoved { room, user: user.clone() })
            }
            _ => None,
        })
    }

    /// Changes the room's settings.
    fn update(
        &mut self,
        (by, adopts): (&Identity, bool),
        change: ProfileChange,
        context: &mut OpContext<'_>,
    ) -> Result<Reply, Reject> {
        self.check_update(by, adopts)?;
        if context.rules.has_store {
            self.log.note_made();
        }
        self.log.change_retention(change.retention);
        self.is_locked = change.is_locked.unwrap_or(self.is_locked);
        change.apply_to(self.profile.get_or_insert_default());
        context.tell_members(None, Event::Updated(self.info()));
        Ok(Reply::Room(Box::new(self.view(0))))
    }

    fn check_update(&self, by: &Identity, adopts: bool) -> Result<(), Reject> {
        self.check_admits(by)?;
        if !self.is_host_user(by) {
            return Err(Reject::update_forbidden());
        }
        (adopts || self.profile.is_some()).then_some(()).ok_or_else(Reject::no_profile)
    }

    fn close(&mut self, by: &HostClaim, context: &mut OpContext<'_>) -> Result<Reply, Reject> {
        self.check_host(by, Reject::close_forbidden)?;
        let reason =
            if by.by.roles().admin && by.by.user() != self.host.user() { "closed by admin" } else { "closed by host" };
        context.tell_members(None, Event::Closed { room: self.id.clone(), reason: reason.into() });
        Ok(Reply::Done)
    }

    /// Rejects what only the host and admins may do.
    pub(in crate::domain) fn check_host(&self, by: &HostClaim, otherwise: fn() -> Reject) -> Result<(), Reject> {
        self.is_host(by).then_some(()).ok_or_else(otherwise)
    }

    fn set_locked(&mut self, by: &HostClaim, is_locked: bool) -> Result<Reply, Reject> {
        self.check_host(by, Reject::host_only)?;
        self.is_locked = is_locked;
        Ok(Reply::Done)
    }
}

/// The record of a room that storage does not have yet, with its first settings.
fn adopted(room: &Room, by: &Identity, change: &ProfileChange, rules: &RoomRules) -> MadeRoom {
    let made = room.made(rules, by.user_name());
    let mut profile = made.profile.unwrap_or_default();
    change.clone().apply_to(&mut profile);
    MadeRoom {
        profile: Some(profile),
        is_locked: change.is_locked.unwrap_or(made.is_locked),
        retention: made.retention.changed(change.retention),
        ..made
    }
}
