//! What the head of a request tells before its body is read.

use crate::codec::http::RequestHead;
use crate::connection::http::ListPart;
use crate::dialect::rest::{self, RestCallKind, RestRefusal};
use crate::domain::quota::{CALL_COST, CREATE_COST};
use crate::domain::reject::Reject;

/// Refuses requests without an upgrade to `/ws`, and those with one to other paths.
pub(super) fn check_protocol(head: &RequestHead<'_>) -> Result<(), RestRefusal> {
    if head.path() == "/ws" {
        return Err(RestRefusal::of_status(426, "This is a WebSocket endpoint: send Upgrade: websocket"));
    }
    if head.list_contains("upgrade", "websocket") {
        let text = "No WebSocket is served here: connect to /ws, or with a Socket.IO client, which uses /socket.io/";
        return Err(RestRefusal::of_status(404, text));
    }
    Ok(())
}

/// The part of a list that a call's query names.
pub(super) fn list_part(call: RestCallKind, query: Option<&str>) -> Result<Option<ListPart>, Reject> {
    Ok(match call {
        kind if kind.is_paged() => Some(ListPart::Users(rest::page(query)?)),
        RestCallKind::SearchRooms => Some(ListPart::Rooms(rest::rooms_page(query)?)),
        RestCallKind::Messages => Some(ListPart::Messages(rest::messages_range(query)?)),
        _ => None,
    })
}

/// The cost of a call to its caller's budget.
pub(super) fn cost_of(call: RestCallKind) -> u32 {
    match call {
        RestCallKind::CreateMeeting | RestCallKind::CreateRoom | RestCallKind::MakeRoom | RestCallKind::PutRoom => {
            CREATE_COST
        }
        _ => CALL_COST,
    }
}
