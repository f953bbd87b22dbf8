//! The refusals of room scripts, by the word that the script returns.

use crate::domain::reject::{Code, Reject};
use crate::domain::signaling::signals_full;

/// The refusal of this word; `field` is the field of the request with the requester's own peer id.
pub(super) fn of(why: &str, field: &str) -> Reject {
    match why {
        "room_not_found" | "hidden" => Reject::room_not_found(),
        "room_closed" => Reject::room_closed(),
        "room_full" => Reject::room_full(),
        "in_use" | "in_use_by_another" => Reject::room_id_in_use(),
        "private" => Reject::private(),
        "participants_full" => Reject::participants_full(),
        "close_forbidden" => Reject::close_forbidden(),
        "update_forbidden" => Reject::update_forbidden(),
        "no_profile" => Reject::no_profile(),
        "change_forbidden" => Reject::change_forbidden(),
        "host_only" => Reject::host_only(),
        "locked" => Reject::room_locked(),
        "observer" => Reject::observer(),
        "not_in_room" => Reject::not_in_room(),
        "peer_not_found" => Reject::peer_not_found(),
        "peer_id_taken" => Reject::peer_id_taken(),
        "peer_mismatch" => Reject::peer_mismatch(field),
        "message_not_found" => Reject::message_not_found(),
        "streams_full" => Reject::streams_full(),
        "stream_ended" => Reject::stream_ended(),
        "stream_open" => Reject::stream_open(),
        "stream_forbidden" => Reject::stream_forbidden(),
        why if let Some(units) = why.strip_prefix("stream_offset:") => {
            Reject::stream_offset(units.parse().unwrap_or_default())
        }
        why if let Some(bytes) = why.strip_prefix("stream_too_long:") => {
            Reject::stream_too_long(bytes.parse().unwrap_or_default())
        }
        why if let Some(wait_ms) = why.strip_prefix("signals_full:") => {
            signals_full(wait_ms.parse().unwrap_or_default())
        }
        _ => Reject::new(Code::Internal, format!("The store refuses: {why}")),
    }
}
