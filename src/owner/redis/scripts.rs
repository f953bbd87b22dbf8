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
    (revocation) => {
        schema::REVOCATION_CONSTANTS
    };
    (outbox) => {
        schema::OUTBOX_CONSTANTS
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
    (revocation) => {
        include_str!("lua/prelude.lua")
    };
    (outbox) => {
        include_str!("lua/prelude.lua")
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
    REJOIN = room "rejoin";
    /// [`crate::domain::op::RoomOp::StartGrace`].
    START_GRACE = room "start_grace";
    /// [`crate::domain::op::RoomOp::RemoveMember`].
    REMOVE_MEMBER = room "remove_member";
    /// [`crate::domain::op::RoomOp::RelaySignal`].
    RELAY_SIGNAL = room "relay_signal";
    /// [`crate::domain::op::RoomOp::SetMedia`].
    SET_MEDIA = room "set_media";
    /// [`crate::domain::op::RoomOp::Send`].
    SEND = send "send";
    /// As [`SEND`], of messages that the application is told of: none takes the usual way.
    SEND_HOOKED = room "send";
    /// [`crate::domain::op::RoomOp::SetTyping`].
    SET_TYPING = room "set_typing";
    /// [`crate::domain::op::RoomOp::ListTypists`].
    LIST_TYPISTS = room "list_typists";
    /// [`crate::domain::op::RoomOp::MarkMessage`].
    MARK_MESSAGE = room "mark_message";
    /// [`crate::domain::op::RoomOp::MarkMessages`].
    MARK_MESSAGES = room "mark_messages";
    /// [`crate::domain::op::RoomOp::ReadHistory`].
    READ_HISTORY = room "read_history";
    /// [`crate::domain::op::RoomOp::ReadSince`].
    READ_SINCE = room "read_since";
    /// [`crate::domain::op::RoomOp::ReadReceipts`].
    READ_RECEIPTS = room "read_receipts";
    /// [`crate::domain::op::RoomOp::CountUnread`].
    COUNT_UNREAD = room "count_unread";
    /// [`crate::domain::op::RoomOp::AddParticipant`].
    ADD_PARTICIPANT = room "add_participant";
    /// [`crate::domain::op::RoomOp::RemoveParticipant`].
    REMOVE_PARTICIPANT = room "remove_participant";
    /// [`crate::domain::op::RoomOp::Update`].
    UPDATE = room "update";
    /// [`crate::domain::op::RoomOp::RemoveUser`].
    REMOVE_USER = room "remove_user";
    /// [`crate::domain::op::RoomOp::SetLocked`].
    SET_LOCKED = room "set_locked";
    /// [`crate::domain::op::RoomOp::ReportFailure`].
    REPORT_FAILURE = room "report_failure";
    /// [`crate::domain::op::RoomOp::SetMode`].
    SET_MODE = room "set_mode";
    /// Has media go from peer to peer again, if that is due.
    RETURN_MODE = room "return_mode";
    /// Ends a stream that gets no pieces.
    END_STREAMS = room "end_streams";
    /// [`crate::domain::op::RoomOp::Describe`].
    DESCRIBE = room "describe";
    /// [`crate::domain::op::RoomOp::ListUsers`].
    LIST_USERS = room "list_users";
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
    /// Removes a room without members.
    DISCARD = room "discard";
    /// Ends a room that was left, if it is idle.
    END_IDLE = room "end_idle";
    /// [`crate::domain::op::UserOp::Attach`].
    ATTACH = user "attach";
    /// [`crate::domain::op::UserOp::Detach`].
    DETACH = user "detach";
    /// [`crate::domain::op::UserOp::AnnounceIn`].
    ANNOUNCE_IN = user "announce_in";
    /// [`crate::domain::op::UserOp::SetStatus`].
    SET_STATUS = user "set_status";
    /// [`crate::domain::op::UserOp::Send`].
    SEND_DIRECT = user "send_direct";
    /// [`crate::domain::op::UserOp::Push`].
    PUSH = user "push";
    /// [`crate::domain::op::UserOp::BeginPush`].
    BEGIN_PUSH = user "begin_push";
    /// [`crate::domain::op::UserOp::EndPush`].
    END_PUSH = user "end_push";
    /// [`crate::domain::op::UserOp::ListConnections`].
    LIST_CONNECTIONS = user "list_connections";
    /// [`crate::domain::op::UserOp::Describe`].
    DESCRIBE_USER = user "describe_user";
    /// [`crate::domain::op::UserOp::RegisterSocket`].
    REGISTER_SOCKET = user "register_socket";
    /// [`crate::domain::op::UserOp::UnregisterSocket`].
    UNREGISTER_SOCKET = user "unregister_socket";
    /// [`crate::domain::op::UserOp::SpendRestQuota`].
    SPEND_REST_QUOTA = user "spend_rest_quota";
    /// [`crate::domain::op::UserOp::CountRoom`].
    COUNT_ROOM = user "count_room";
    /// Draws credits of a user's quota, or gives them back.
    LEASE = user "lease";
    /// Adds rooms to a user's room list, or removes them.
    ENROLL = user "enroll";
    /// Returns a user's room list.
    ROOMS_OF = user "rooms_of";
    /// Removes a direct message that a connection has received.
    ACK_DIRECT = user "ack_direct";
    /// Sets a user offline after the grace period.
    GO_OFFLINE = user "go_offline";
    /// Replaces the connections of a user on one node.
    RESTORE_USER = user "restore_user";
    /// Removes the connections of a user on a dead node.
    PURGE_USER = user "purge_user";
    /// [`crate::domain::recovery::SessionOp::Save`].
    SAVE = session "save";
    /// [`crate::domain::recovery::SessionOp::Take`].
    TAKE = session "take";
    /// [`crate::domain::recovery::SessionOp::Transfer`].
    TRANSFER = session "transfer";
    /// [`crate::domain::recovery::SessionOp::Clear`].
    CLEAR = session "clear";
    /// [`crate::domain::recovery::SessionOp::Delete`].
    DELETE = session "delete";
    /// [`crate::domain::op::Op::Revocation`].
    CHANGE_REVOCATION = revocation "revocations/change";
    /// Returns the list of revocations.
    LIST_REVOCATIONS = revocation "revocations/list";
    /// [`crate::domain::hook::OutboxOp::ListDeadLetters`].
    LIST_DEAD_LETTERS = outbox "hooks/dead_letters";
    /// [`crate::domain::hook::OutboxOp::Replay`].
    REPLAY = outbox "hooks/replay";
}

scripts! { OF_NODES:
    /// Gives a number to a new node.
    CLAIM_NODE = node "nodes/claim";
    /// Renews the lease of a node.
    RENEW = node "nodes/renew";
    /// Shortens the lease of a node that stops.
    LEAVE_NODE = node "nodes/leave";
    /// Makes a node the collector of a dead one.
    CLAIM_CLEANUP = node "nodes/claim_cleanup";
    /// Frees the number of a dead node.
    END_CLEANUP = node "nodes/end_cleanup";
    /// Adds and removes the places of a node.
    RECORD = node "nodes/record";
    /// Adds rooms to the room list, or removes them.
    ENLIST = node "nodes/enlist";
    /// Returns a page of the room list.
    LIST_ROOM_PAGE = node "nodes/list_room_page";
    /// Returns the room list.
    LIST_ROOMS = node "nodes/list_rooms";
    /// Notes users, and counts the known ones.
    SEE = node "nodes/see";
    /// Returns places of a dead node.
    LIST_PLACES = node "nodes/list_places";
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
