//! Changes of messages: a message is edited or deleted by a later one, which has its own place in the room's log. So the change
//! reaches each member in order, and a client that was away gets it with the messages that it has missed. The store has the
//! changed message and the change.

use crate::domain::access::Identity;
use crate::domain::event::{Revision, RevisionKind};
use crate::domain::op::{OpContext, Revise, StreamText};
use crate::domain::reject::Reject;
use crate::domain::room::Room;
use crate::domain::streams;

/// Checks a change of a message: its sender, the room's host and admins may do it, and backends. A message that is deleted stays
/// so.
pub(crate) fn revise(
    room: &mut Room,
    (change, text): (&Revise, Option<StreamText>),
    (by, is_backend): (&Identity, bool),
    context: &mut OpContext<'_>,
) -> Result<Box<Revision>, Reject> {
    if let RevisionKind::Append(status) = change.kind {
        let text = text.ok_or_else(Reject::stream_ended)?;
        return streams::append(room, change, (status, text), (by, is_backend), context);
    }
    let sender = room.log.sender_of(change.message).or(change.sender.as_ref()).ok_or_else(Reject::message_not_found)?;
    if !is_backend && sender.user() != by.user() && !change.rights.includes_others(room.is_host_user(by)) {
        return Err(Reject::change_forbidden());
    }
    match change.kind {
        RevisionKind::Delete => {
            room.log.forget_sender(change.message);
            streams::close(room, change.message);
        }
        RevisionKind::Edit | RevisionKind::Append(_) => streams::check_closed(room, change.message)?,
    }
    Ok(Box::new(Revision::Of { message: change.message, kind: change.kind }))
}
