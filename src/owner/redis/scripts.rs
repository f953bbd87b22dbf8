//! The Lua scripts: one for each operation that reads or changes state in Redis. `schema` generates their constants.

use crate::message::redis::Script;
use crate::owner::redis::schema::{self, utf8};

/// Defines a script of the name's file. It begins with the constants and the preludes of its kind.
macro_rules! scripts {
    ($list:ident: $($(#[$meta:meta])* $id:ident = $kind:ident $name:literal;)*) => {
        $(
            $(#[$meta])*
            pub static $id: Script = Script {
                name: $name,
                source: {
                    const PRELUDE: &str = prelude!($kind);
                    const OWN: &str = include_str!(concat!("lua/", $name, ".lua"));
                    const CONSTANTS: [u8; schema::length(constants!($kind))] = schema::joined(constants!($kind));
                    const LENGTH: usize = CONSTANTS.len() + PRELUDE.len() + OWN.len();
                    const CONSTANTS_TEXT: &str = utf8(&CONSTANTS);
                    static SOURCE: [u8; LENGTH] = schema::joined(&[CONSTANTS_TEXT, PRELUDE, OWN]);
                    utf8(&SOURCE)
                },
            };
        )*

        /// The scripts of this list.
        pub static $list: &[&Script] = &[$(&$id),*];
    };
}

/// Constants of a kind of script.
macro_rules! constants {
    (send) => {
        schema::ROOM_CONSTANTS
    };
    (room) => {
        schema::ROOM_CONSTANTS
    };
    (user) => {
        schema::USER_CONSTANTS
    };
    (session) => {
        schema::SESSION_CONSTANTS
    };
    (node) => {
        schema::NODE_CONSTANTS
    };
}

/// Functions that all scripts of a kind share.
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
        concat!(include_str!("lua/prelude.lua"), include_str!("lua/session.lua"))
    };
    (node) => {
        concat!(include_str!("lua/prelude.lua"), include_str!("lua/nodes/prelude.lua"))
    };
}

scripts! { ALL:
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
    /// Publishes a message to the members of a room, outside the room's order.
    ANNOUNCE = room "announce";
    /// Publishes the number of members or users of a room, or returns the users.
    COUNT = room "count";
    /// Events that a node has missed.
    SINCE = room "since";
    /// Removes the members of a dead node.
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
    /// Draws credits of a user's quota, or gives them back.
    LEASE = user "lease";
    /// Adds rooms to a user's room list, or removes them.
    ENROLL = user "enroll";
    /// Returns a user's room list.
    ROOMS_OF = user "rooms_of";
    /// Removes a direct message that a connection has received.
    STRIKE = user "strike";
    /// Sets a user offline after the grace period.
    GO_OFFLINE = user "go_offline";
    /// Replaces the connections of a user on one node.
    RESTORE_USER = user "restore_user";
    /// Removes the connections of a user on a dead node.
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

scripts! { OF_NODES:
    /// Gives a number to a new node.
    CLAIM_NODE = node "nodes/claim";
    /// Renews the lease of a node.
    RENEW = node "nodes/renew";
    /// Shortens the lease of a node that stops.
    PART = node "nodes/part";
    /// Makes a node the collector of a dead one.
    REAP = node "nodes/reap";
    /// Frees the number of a dead node.
    BURY = node "nodes/bury";
    /// Adds and removes the places of a node.
    NOTE = node "nodes/note";
    /// Adds rooms to the room list, or removes them.
    ENLIST = node "nodes/enlist";
    /// Returns the room list.
    LISTED = node "nodes/listed";
    /// Returns places of a dead node.
    LEFT = node "nodes/left";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_of_a_domain_operation_names_the_file_it_mirrors() {
        for script in ALL {
            let head = format!("\n-- {}: mirrors domain/", script.name);
            assert!(script.source.contains(&head), "{}", script.name);
        }
    }

    #[test]
    fn constants_are_those_of_the_limits() {
        let constants = schema::ROOM_CONSTANTS.concat();
        assert!(constants.starts_with("local JOINED_ROOM_IDLE_MS = 60000\nlocal MADE_ROOM_IDLE_MS = 86400000\n"));
        assert!(JOIN.source.starts_with(&constants) && JOIN.source.contains("\n-- join: mirrors"));
    }
}
