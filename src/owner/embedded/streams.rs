//! Streams that get no pieces: they end as cancelled, in the name of their publishers.

use crate::base::limits;
use crate::domain::streams;
use crate::owner::embedded::rooms::RoomStore;
use crate::owner::embedded::turn::{DeferredTask, Turn};

/// [`DeferredTask::EndStreams`]: ends the streams of a room that got no piece in time.
pub(super) fn end(rooms: &mut RoomStore, turn: &mut Turn<'_>, name: &str) {
    let Some(room) = rooms.rooms.get_mut(name) else {
        // It has ended. Storage has its streams.
        return;
    };
    let (name, ends) = (room.id.clone(), streams::ends(room, turn.now, limits::JOINED_ROOM_IDLE_MS));
    turn.without_reply(|turn| {
        for op in ends {
            // A refusal is one of the store: the next task tries again.
            let _ = rooms.apply(turn, name.clone(), op);
        }
    });
    if let Some(room) = rooms.rooms.get_mut(&name)
        && let Some(at) = streams::take_due(room)
    {
        turn.defer(at, DeferredTask::EndStreams(name));
    }
}
