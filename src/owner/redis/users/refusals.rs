//! Refusals of the scripts of users.

use crate::domain::connection::connection_not_found;
use crate::domain::op::RoomRules;
use crate::domain::registration::too_many_names;
use crate::domain::reject::Reject;
use crate::domain::user::{push_under_way, too_many_connections, too_much_waits, user_not_found};

/// The refusal that a script gives a word for.
pub(super) fn refusal(why: &str, rules: &RoomRules) -> Reject {
    match why {
        "connections" => too_many_connections(),
        "user" => user_not_found(),
        "connection" => connection_not_found(),
        "names" => too_many_names(),
        "push" => push_under_way(),
        "directs" => too_much_waits(rules.direct_bytes),
        _ => Reject::storage_unavailable(),
    }
}
