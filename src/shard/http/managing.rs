//! Calls of an application's backend on one room, as requests to its owner. The backend acts for the server: no room is closed to
//! it.

use crate::base::ids::random_room_id;
use crate::base::rng::Rng;
use crate::dialect::rest::{ManagedRoom, NewRoom, RoomAct};
use crate::domain::access::{Identity, Roles};
use crate::domain::op::{HostClaim, Op, ProfileChange, Reply, RoomOp};
use crate::domain::reject::{Code, Reject};
use crate::shard::http::calls::CallStep;

/// How often a call that finds a room made or ended meanwhile is tried again.
const ROUNDS_MAX: u8 = 4;

/// The backend as the owner of a room sees it.
fn authority(by: &Identity) -> Identity {
    Identity::new(by.user(), None, None, Roles { admin: true, ..Roles::default() })
}

/// The first request of a call. A new room without an id gets one.
pub(super) fn first_op(rng: &mut Rng, managed: &mut ManagedRoom, by: &Identity) -> Op {
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
    };
    Op::Room(managed.room.clone(), op)
}

/// A room of a backend has no host, and the participants that it names.
fn create(new: NewRoom) -> RoomOp {
    let NewRoom { profile, log, is_locked, .. } = new;
    RoomOp::Create { by: Identity::none(), profile: Box::new(profile), log, is_locked }
}

fn update(by: Identity, change: &ProfileChange, adopts: bool) -> RoomOp {
    RoomOp::Update { by, change: Box::new(change.clone()), adopts }
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
    let code = reply.as_ref().err().map(|reject| reject.code);
    let op = match (&managed.act, code) {
        (RoomAct::Put(change), Some(Code::RoomNotFound)) if rounds < ROUNDS_MAX => {
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
