//! The kinds of calls, and the permission that each needs.

use crate::domain::policy::Action;

/// A kind of call, before its path and body are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestCallKind {
    /// `POST /api/rooms`.
    CreateMeeting,
    /// `GET /api/rooms`.
    ListMeetings,
    /// `GET /api/rooms/:roomId`.
    Meeting,
    /// `DELETE /api/rooms/:roomId`.
    CloseMeeting,
    /// `POST /rooms`.
    CreateRoom,
    /// `GET /rooms/:roomId`.
    Room,
    /// `PATCH /rooms/:roomId`.
    UpdateRoom,
    /// `POST /rooms/:roomId/join`.
    Join,
    /// `POST /rooms/:roomId/leave`.
    Leave,
    /// `POST /connections`.
    Register,
    /// `DELETE /connections/:connectionId`.
    Disconnect,
    /// `GET /connections/:userId`.
    Connections,
    /// `GET /presence/:userId`.
    Presence,
    /// `PUT /presence/:userId`.
    SetPresence,
    /// `POST /broadcast`.
    Broadcast,
    /// `POST /websocket/message/user`.
    PushToUser,
    /// `POST /websocket/message/users`.
    PushToUsers,
    /// `POST /websocket/message/broadcast`.
    PushToAll,
    /// `POST /websocket/notification`.
    Notify,
    /// `POST /api/v1/publish`.
    Publish,
    /// `POST /api/v1/batch`.
    Batch,
    /// `GET /api/v1/rooms/:roomId/messages`.
    Messages,
    /// `PATCH /api/v1/rooms/:roomId/messages/:messageId`.
    EditMessage,
    /// `DELETE /api/v1/rooms/:roomId/messages/:messageId`.
    DeleteMessage,
    /// `POST /api/v1/rooms/:roomId/messages/:messageId/append`.
    AppendMessage,
    /// `POST /api/v1/socketio/emit`.
    AppEmit,
    /// `POST /api/v1/socketio/join`.
    AppJoin,
    /// `POST /api/v1/socketio/leave`.
    AppLeave,
    /// `POST /api/v1/socketio/disconnect`.
    AppDisconnect,
    /// `POST /api/v1/rooms`.
    MakeRoom,
    /// `GET /api/v1/rooms`.
    SearchRooms,
    /// `PUT /api/v1/rooms/:roomId`.
    PutRoom,
    /// `PATCH /api/v1/rooms/:roomId`.
    PatchRoom,
    /// `GET /api/v1/rooms/:roomId`.
    ShowRoom,
    /// `DELETE /api/v1/rooms/:roomId`.
    EndRoom,
    /// `GET /api/v1/rooms/:roomId/members`.
    Members,
    /// `GET /api/v1/rooms/:roomId/messages/:messageId/receipts`.
    Receipts,
    /// `GET /api/v1/rooms/:roomId/unread/:userId`.
    Unread,
    /// `POST /api/v1/rooms/:roomId/participants`.
    AddParticipants,
    /// `DELETE /api/v1/rooms/:roomId/participants/:userId`.
    RemoveParticipant,
    /// `POST /api/v1/rooms/:roomId/join`.
    JoinUser,
    /// `POST /api/v1/rooms/:roomId/leave`.
    LeaveUser,
    /// `POST /api/v1/keys`.
    MakeKey,
    /// `GET /api/v1/keys`.
    Keys,
    /// `POST /api/v1/keys/:keyId/rotate`.
    RotateKey,
    /// `DELETE /api/v1/keys/:keyId`.
    EndKey,
    /// `GET /api/v1/webhooks/dead-letters`.
    DeadLetters,
    /// `POST /api/v1/webhooks/:endpoint/replay`.
    ReplayWebhook,
    /// `GET /api/v1/log-filters`.
    LogFilters,
    /// `POST /api/v1/log-filters`.
    SetLogFilter,
    /// `DELETE /api/v1/log-filters/:filterId`.
    RemoveLogFilter,
    /// `POST /api/v1/trace`.
    Trace,
    /// `GET /api/v1/settings`.
    Settings,
    /// `POST /dev/token`.
    DevToken,
    /// `GET /websocket/users/connected`.
    ConnectedUsers,
    /// `GET /websocket/users/:userId/status`.
    UserStatus,
    /// `GET /websocket/me/status`.
    OwnStatus,
    /// `DELETE /websocket/users/:userId/disconnect`.
    DisconnectUser,
    /// `POST /users/:userId/block`.
    BlockUser,
    /// `DELETE /users/:userId/block`.
    UnblockUser,
    /// `GET /users/blocked`.
    BlockedUsers,
    /// `POST /tokens/revoke`.
    RevokeTokens,
    /// `GET /tokens/revoked`.
    RevokedTokens,
    /// `DELETE /rooms/:roomId/participants/:userId`.
    RemoveUser,
    /// `PUT /rooms/:roomId/lock`.
    Lock,
    /// `PUT /rooms/:roomId/bans/:userId`.
    Ban,
    /// `DELETE /rooms/:roomId/bans/:userId`.
    Unban,
    /// `GET /rooms/:roomId/bans`.
    Bans,
    /// `POST /addresses/blocked`.
    BlockAddress,
    /// `DELETE /addresses/blocked/:address`.
    UnblockAddress,
    /// `GET /addresses/blocked`.
    BlockedAddresses,
}

impl RestCallKind {
    /// The action of the call, for authorization.
    pub fn action(self) -> Action {
        match self {
            Self::CreateMeeting
            | Self::Meeting
            | Self::CloseMeeting
            | Self::RemoveUser
            | Self::Lock
            | Self::DevToken => Action::UseMeetings,
            Self::ListMeetings => Action::ListRooms,
            Self::Broadcast => Action::Broadcast,
            Self::PushToUser | Self::PushToUsers | Self::PushToAll | Self::Notify | Self::ConnectedUsers => {
                Action::Push
            }
            Self::Publish
            | Self::Batch
            | Self::EditMessage
            | Self::DeleteMessage
            | Self::AppendMessage
            | Self::AppEmit => Action::Publish,
            Self::SearchRooms | Self::Messages | Self::ShowRoom | Self::Members | Self::Receipts | Self::Unread => {
                Action::ReadRooms
            }
            Self::AppJoin
            | Self::AppLeave
            | Self::AppDisconnect
            | Self::MakeRoom
            | Self::PutRoom
            | Self::PatchRoom
            | Self::EndRoom
            | Self::AddParticipants
            | Self::RemoveParticipant
            | Self::JoinUser
            | Self::LeaveUser => Action::ManageRooms,
            Self::LogFilters | Self::SetLogFilter | Self::RemoveLogFilter => Action::FilterLog,
            Self::MakeKey
            | Self::Keys
            | Self::RotateKey
            | Self::EndKey
            | Self::BlockUser
            | Self::UnblockUser
            | Self::BlockedUsers
            | Self::RevokeTokens
            | Self::RevokedTokens
            | Self::Ban
            | Self::Unban
            | Self::Bans
            | Self::BlockAddress
            | Self::UnblockAddress
            | Self::BlockedAddresses
            | Self::DeadLetters
            | Self::Trace
            | Self::Settings
            | Self::ReplayWebhook => Action::Administer,
            Self::CreateRoom
            | Self::Room
            | Self::UpdateRoom
            | Self::Join
            | Self::Leave
            | Self::Register
            | Self::Disconnect
            | Self::Connections
            | Self::Presence
            | Self::SetPresence
            | Self::UserStatus
            | Self::OwnStatus
            | Self::DisconnectUser => Action::UseServer,
        }
    }

    /// The name of the call in the audit log, if it is an action of an admin or a host.
    pub fn audited(self) -> Option<&'static str> {
        Some(match self {
            Self::CloseMeeting | Self::EndRoom => "close-room",
            Self::RemoveUser | Self::RemoveParticipant => "remove-user",
            Self::Lock => "lock-room",
            Self::UpdateRoom | Self::PutRoom | Self::PatchRoom => "update-room",
            Self::Disconnect => "disconnect-connection",
            Self::DisconnectUser => "disconnect-user",
            Self::Broadcast | Self::PushToAll => "broadcast",
            Self::MakeKey => "create-key",
            Self::RotateKey => "rotate-key",
            Self::EndKey => "revoke-key",
            Self::BlockUser => "block-user",
            Self::UnblockUser => "unblock-user",
            Self::RevokeTokens => "revoke-tokens",
            Self::Ban => "ban-user",
            Self::Unban => "unban-user",
            Self::BlockAddress => "block-address",
            Self::UnblockAddress => "unblock-address",
            Self::ReplayWebhook => "replay-webhook",
            Self::SetLogFilter => "set-log-filter",
            Self::RemoveLogFilter => "remove-log-filter",
            Self::Trace => "trace",
            _ => return None,
        })
    }

    /// Whether it lists pages, which the query selects.
    pub fn is_paged(self) -> bool {
        matches!(
            self,
            Self::ConnectedUsers
                | Self::BlockedUsers
                | Self::RevokedTokens
                | Self::Bans
                | Self::BlockedAddresses
                | Self::Keys
                | Self::Members
        )
    }
}
