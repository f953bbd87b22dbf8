//! The scripts, one for each op, and the table of them.

use crate::message::redis::Script;

macro_rules! scripts {
    ($($(#[$meta:meta])* $id:ident = $kind:ident $name:literal;)*) => {
        $(
            $(#[$meta])*
            pub static $id: Script = Script {
                name: $name,
                source: concat!(prelude!($kind), include_str!(concat!("lua/", $name, ".lua"))),
            };
        )*

        /// All of them.
        pub static ALL: &[&Script] = &[$(&$id),*];
    };
}

/// What scripts of a kind begin with.
macro_rules! prelude {
    (send) => {
        concat!(include_str!("lua/prelude.lua"), include_str!("lua/usual_send.lua"), include_str!("lua/room.lua"))
    };
    (room) => {
        concat!(include_str!("lua/prelude.lua"), include_str!("lua/room.lua"))
    };
    (user) => {
        concat!(include_str!("lua/prelude.lua"), include_str!("lua/user.lua"))
    };
    (session) => {
        include_str!("lua/prelude.lua")
    };
}

scripts! {
    /// [`crate::domain::op::RoomOp::Create`].
    CREATE = room "create";
    /// [`crate::domain::op::RoomOp::Join`].
    JOIN = room "join";
    /// [`crate::domain::op::RoomOp::Leave`].
    LEAVE = room "leave";
    /// [`crate::domain::op::RoomOp::Rejoin`].
    RETURN = room "return";
    /// [`crate::domain::op::RoomOp::StartGrace`].
    LOSE = room "lose";
    /// [`crate::domain::op::RoomOp::RemoveMember`].
    VANISH = room "vanish";
    /// [`crate::domain::op::RoomOp::RelaySignal`].
    SIGNAL = room "signal";
    /// [`crate::domain::op::RoomOp::SetMedia`].
    MEDIA = room "media";
    /// [`crate::domain::op::RoomOp::Send`].
    SEND = send "send";
    /// [`crate::domain::op::RoomOp::SetTyping`].
    TYPING = room "typing";
    /// [`crate::domain::op::RoomOp::ListTypists`].
    TYPISTS = room "typists";
    /// [`crate::domain::op::RoomOp::MarkMessage`].
    RECEIPT = room "receipt";
    /// [`crate::domain::op::RoomOp::ReadHistory`].
    HISTORY = room "history";
    /// [`crate::domain::op::RoomOp::ReadSince`].
    SYNC = room "sync";
    /// [`crate::domain::op::RoomOp::ReadReceipts`].
    MARKS = room "marks";
    /// [`crate::domain::op::RoomOp::AddParticipant`].
    ADMIT = room "admit";
    /// [`crate::domain::op::RoomOp::RemoveParticipant`].
    WITHDRAW = room "withdraw";
    /// [`crate::domain::op::RoomOp::Describe`].
    DESCRIBE = room "describe";
    /// [`crate::domain::op::RoomOp::ListUsers`].
    ROSTER = room "roster";
    /// [`crate::domain::op::RoomOp::Close`].
    CLOSE = room "close";
    /// How a user is, for a room's members.
    ANNOUNCE = room "announce";
    /// How many members or users a room has, told to all at most once in a while.
    COUNT = room "count";
    /// What a node has missed of a room.
    SINCE = room "since";
    /// The members of a node that is no more have left.
    PURGE = room "purge";
    /// [`crate::domain::op::UserOp::Attach`].
    ATTACH = user "attach";
    /// [`crate::domain::op::UserOp::Detach`].
    DETACH = user "detach";
    /// [`crate::domain::op::UserOp::AnnounceIn`].
    INTRODUCE = user "introduce";
    /// [`crate::domain::op::UserOp::SetStatus`].
    SET_STATUS = user "set_status";
    /// [`crate::domain::op::UserOp::Send`].
    SEND_DIRECT = user "send_direct";
    /// [`crate::domain::op::UserOp::Push`].
    PUSH = user "push";
    /// [`crate::domain::op::UserOp::ListConnections`].
    CONNECTIONS = user "connections";
    /// [`crate::domain::op::UserOp::Describe`].
    LOOK = user "look";
    /// [`crate::domain::op::UserOp::RegisterSocket`].
    REGISTER = user "register";
    /// [`crate::domain::op::UserOp::UnregisterSocket`].
    WITHDRAW_REGISTRATION = user "withdraw_registration";
    /// [`crate::domain::op::UserOp::SpendRestQuota`].
    SPEND_REST = user "spend_rest";
    /// Credits of a user's allowance are drawn, or given back.
    LEASE = user "lease";
    /// A user takes part in rooms, or does no longer.
    ENROLL = user "enroll";
    /// The rooms that a user takes part in.
    ROOMS_OF = user "rooms_of";
    /// A connection of a user has a message that was sent to them.
    STRIKE = user "strike";
    /// A user did not come back in time.
    GO_OFFLINE = user "go_offline";
    /// What a user has on one node is said anew.
    RESTORE_USER = user "restore_user";
    /// A node is no more.
    PURGE_USER = user "purge_user";
    /// [`crate::domain::recovery::SessionOp::Save`].
    KEEP = session "keep";
    /// [`crate::domain::recovery::SessionOp::Take`].
    TAKE = session "take";
    /// [`crate::domain::recovery::SessionOp::Transfer`].
    CLAIM = session "claim";
    /// [`crate::domain::recovery::SessionOp::Clear`].
    CLEAR = session "clear";
    /// [`crate::domain::recovery::SessionOp::Delete`].
    DROP = session "drop";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_says_what_it_mirrors() {
        for script in ALL {
            let head = format!("\n-- {}: mirrors domain/", script.name);
            assert!(script.source.contains(&head), "{}", script.name);
        }
    }
}
