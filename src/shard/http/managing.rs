//! Calls of an application's backend on one room, as requests to its owner. The backend acts for the server: no room is closed to
//! it.

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::{ConnectionId, random_room_id};
use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::dialect::rest::{AppendedPiece, ManagedRoom, NewRoom, RoomAct, UserJoin};
use crate::domain::access::{Identity, Roles};
use crate::domain::event::{Content, RevisionKind};
use crate::domain::op::{
    ChangeRights, HostClaim, Op, ProfileChange, Publisher, Reply, Revise, RoomOp, SendMessage, UnreadOf, UserOp,
};
use crate::domain::reject::{Code, Reject};
use crate::shard::commands::deleted;
use crate::shard::core::Core;
use crate::shard::http::calls::CallStep;
use crate::shard::streams::text_of;

/// How often a call that finds a room made or ended meanwhile is tried again.
const ROUNDS_MAX: u8 = 4;

/// The backend as the owner of a room sees it.
fn authority(by: &Identity) -> Identity {
    Identity::new(by.user(), None, None, Roles { admin: true, ..Roles::default() })
}

impl Core {
    /// The first request of a call.
    ///
    /// # Errors
    /// The user that is to join is banned from the room.
    pub(super) fn managed_op(
        &mut self,
        now: Now,
        managed: &mut ManagedRoom,
        by: &Identity,
        caller: ConnectionId,
    ) -> Result<Op, Reject> {
        if let RoomAct::Revise { message, content } = &managed.act {
            return Ok(Op::Room(managed.room.clone(), revise(by, *message, content.clone(), caller)));
        }
        if let RoomAct::Append { message, piece } = &managed.act {
            let bytes_max = self.options.content_bytes;
            return Ok(Op::Room(managed.room.clone(), append(by, *message, piece, caller, bytes_max)));
        }
        if let RoomAct::Join(join) = &managed.act {
            self.revocations.list().check_member(now, &managed.room, &join.user)?;
        }
        Ok(first_op(&mut self.rng, managed, by))
    }
}

/// The first request of a call. A new room without an id gets one.
fn first_op(rng: &mut Rng, managed: &mut ManagedRoom, by: &Identity) -> Op {
    if let RoomAct::Make(new) = &mut managed.act
        && new.id.is_none()
    {
        managed.room = random_room_id(rng).into();
    }
    let by = authority(by);
    let op = match &mut managed.act {
        RoomAct::Make(new) => create(std::mem::take(&mut **new)),
        RoomAct::Put(change) => update(by, change, true),
        RoomAct::Change(change) => update(by, change, false),
        RoomAct::Show => RoomOp::Describe { by },
        RoomAct::Close => RoomOp::Close { by: HostClaim::from(by) },
        RoomAct::Members(page) => RoomOp::ListUsers { by, page: page.clone() },
        RoomAct::Receipts(message) => RoomOp::ReadReceipts { connection: None, message: *message },
        RoomAct::Unread(user) => RoomOp::CountUnread { of: UnreadOf::User(user.clone()) },
        RoomAct::AddParticipants { waiting } => admit(&waiting.pop().expect("invariant: the call names a user")),
        RoomAct::Remove(user) => RoomOp::RemoveUser { by: HostClaim::from(by), user: user.clone() },
        RoomAct::Join(join) => return Op::User(join.user.clone(), UserOp::ListConnections),
        RoomAct::Revise { .. } | RoomAct::Append { .. } => RoomOp::Describe { by },
        RoomAct::Leave(user) => RoomOp::RemoveParticipant { by: plain(user), connection: None },
    };
    Op::Room(managed.room.clone(), op)
}

/// A change of a message, as a message of the backend.
fn revise(by: &Identity, message: Uuid, content: Option<Content>, caller: ConnectionId) -> RoomOp {
    let kind = if content.is_some() { RevisionKind::Edit } else { RevisionKind::Delete };
    RoomOp::Send(Box::new(SendMessage {
        connection: caller,
        publisher: Some(Publisher { identity: by.clone(), part: 0, is_momentary: false }),
        to: None,
        content: content.unwrap_or_else(deleted),
        client_message_id: None,
        stream: None,
        revises: Some(Box::new(Revise { message, kind, sender: None, rights: ChangeRights::Any })),
    }))
}

/// A piece of a stream, as a message of the backend.
fn append(by: &Identity, message: Uuid, piece: &AppendedPiece, caller: ConnectionId, bytes_max: usize) -> RoomOp {
    let kind = RevisionKind::Append(piece.status);
    RoomOp::Send(Box::new(SendMessage {
        connection: caller,
        publisher: Some(Publisher { identity: by.clone(), part: 0, is_momentary: false }),
        to: None,
        content: Content::of_piece(&piece.body),
        client_message_id: None,
        stream: Some(text_of(&piece.body, piece.offset, bytes_max)),
        revises: Some(Box::new(Revise { message, kind, sender: None, rights: ChangeRights::Any })),
    }))
}

fn plain(user: &Name) -> Identity {
    Identity::new(user, None, None, Roles::default())
}

/// Makes a user a participant, also of a room that the user may not see.
fn admit(user: &Name) -> RoomOp {
    let by = Identity::new(user, None, None, Roles { admin: true, ..Roles::default() });
    RoomOp::AddParticipant { by, connections: Vec::new() }
}

/// A room of a backend has no host, and the participants that it names.
fn create(new: NewRoom) -> RoomOp {
    let NewRoom { profile, log, is_locked, .. } = new;
    RoomOp::Create { by: Identity::none(), profile: Box::new(profile), log, is_locked }
}

fn update(by: Identity, change: &ProfileChange, adopts: bool) -> RoomOp {
    RoomOp::Update { by, change: Box::new(change.clone()), adopts }
}

/// The request after a reply: the user becomes a participant, then the connections become members, under the name that they have.
fn join_step(join: &mut UserJoin, room: &Name, by: &Identity, reply: Reply) -> Option<Op> {
    match reply {
        Reply::Connections(list) => {
            join.connections = list;
            Some(Op::Room(room.clone(), admit(&join.user)))
        }
        Reply::Done if !join.is_admitted => {
            join.is_admitted = true;
            let describe = UserOp::Describe { by: authority(by) };
            (!join.connections.is_empty()).then(|| Op::User(join.user.clone(), describe))
        }
        Reply::Presence(view) => {
            let by = view.identity.unwrap_or_else(|| plain(&join.user));
            let op = RoomOp::AddParticipant { by, connections: join.connections.clone() };
            Some(Op::Room(room.clone(), op))
        }
        _ => None,
    }
}

/// The step after a reply.
///
/// # Errors
/// The call is refused.
pub(super) fn next_step(
    managed: &mut ManagedRoom,
    by: &Identity,
    rounds: u8,
    reply: Result<Reply, Reject>,
) -> Result<CallStep, Reject> {
    if let (RoomAct::Revise { .. } | RoomAct::Append { .. }, Ok(Reply::Published(outcomes))) = (&managed.act, &reply)
        && let Some(Err(reject)) = outcomes.first().map(|one| &one.outcome)
    {
        return Err(reject.clone());
    }
    let code = reply.as_ref().err().map(|reject| reject.code);
    let op = match (&mut managed.act, code) {
        (RoomAct::AddParticipants { waiting }, None) => match waiting.pop() {
            Some(user) => admit(&user),
            None => return reply.map(CallStep::Answer),
        },
        (RoomAct::Join(join), None) => {
            return Ok(match join_step(join, &managed.room, by, reply?) {
                Some(op) => CallStep::Request((vec![op], None)),
                None => CallStep::Answer(Reply::Done),
            });
        }
        (RoomAct::Put(change), Some(Code::RoomNotFound | Code::RoomClosed)) if rounds < ROUNDS_MAX => {
            managed.is_new = true;
            create(NewRoom::from((**change).clone()))
        }
        // Another call has made it meanwhile.
        (RoomAct::Put(change), Some(Code::RoomExists)) if rounds < ROUNDS_MAX => {
            managed.is_new = false;
            update(authority(by), change, true)
        }
        _ => return reply.map(CallStep::Answer),
    };
    Ok(CallStep::Request((vec![Op::Room(managed.room.clone(), op)], None)))
}
