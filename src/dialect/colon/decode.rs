//! From events to commands.

use std::net::IpAddr;

use std::borrow::Cow;

use crate::codec::socketio::Arguments;
use crate::dialect::events::{self, requests};
use crate::dialect::fields::{
    body, display_name, extra, fields, flag, label, media, member_data, name, present, receipted, required, rewind,
    status, text, whole,
};
use crate::dialect::stream::{self, PieceFields};
use crate::domain::client_query::{ClientQuery, IncidentFilter, IncidentKind, PageRequest};
use crate::domain::command::{Command, Draft, Join, MessageTarget, ReceiptKind};
use crate::domain::reject::Reject;

requests! {
    /// `join:chat`.
    JoinChat = "join:chat",
    /// `leave:chat`.
    LeaveChat = "leave:chat",
    /// `room:info`.
    RoomInfo = "room:info",
    /// `room:list`.
    RoomList = "room:list",
    /// `room:online`.
    RoomOnline = "room:online",
    /// `message:send`.
    MessageSend = "message:send",
    /// `message:edit`.
    MessageEdit = "message:edit",
    /// `message:delete`.
    MessageDelete = "message:delete",
    /// `message:append`.
    MessageAppend = "message:append",
    /// `message:cancel`.
    MessageCancel = "message:cancel",
    /// `message:typing`.
    MessageTyping = "message:typing",
    /// `message:typing-users`.
    MessageTypingUsers = "message:typing-users",
    /// `message:delivered`.
    MessageDelivered = "message:delivered",
    /// `message:read`.
    MessageRead = "message:read",
    /// `message:delivery-status`.
    MessageDeliveryStatus = "message:delivery-status",
    /// `message:unread`.
    MessageUnread = "message:unread",
    /// `message:stats`.
    MessageStats = "message:stats",
    /// `presence:update-status`.
    PresenceUpdateStatus = "presence:update-status",
    /// `presence:online-users`.
    PresenceOnlineUsers = "presence:online-users",
    /// `presence:user-status`.
    PresenceUserStatus = "presence:user-status",
    /// `presence:stats`.
    PresenceStats = "presence:stats",
    /// `connection:create-session`.
    ConnectionCreateSession = "connection:create-session",
    /// `connection:recover`.
    ConnectionRecover = "connection:recover",
    /// `connection:session-info`.
    ConnectionSessionInfo = "connection:session-info",
    /// `connection:stats`.
    ConnectionStats = "connection:stats",
    /// `monitoring:metrics`.
    MonitoringMetrics = "monitoring:metrics",
    /// `monitoring:events`.
    MonitoringEvents = "monitoring:events",
    /// `monitoring:stats`.
    MonitoringStats = "monitoring:stats",
    /// `monitoring:health`.
    MonitoringHealth = "monitoring:health",
}

fields! {
    chat_id = "chatId",
    content = "content",
    event = "event",
    data = "data",
    kind = "type",
    reply_to_id = "replyToId",
    attachment = "attachment",
    metadata = "metadata",
    client_message_id = "clientMessageId",
    peer_id = "peerId",
    display_name = "displayName",
    media_state = "mediaState",
    token = "token",
    is_typing = "isTyping",
    message_id = "messageId",
    message_ids = "messageIds",
    up_to = "upTo",
    rewind = "rewind",
    observe = "observe",
    status = "status",
    offset = "offset",
    user_id = "userId",
    recovery_token = "recoveryToken",
    limit = "limit",
    after = "after",
    ip = "ip",
}

fn command<'a>(
    request: RequestName,
    mut arguments: Arguments<'a>,
    content_bytes: usize,
) -> Result<Command<'a>, Reject> {
    match request {
        RequestName::Heartbeat => return Ok(Command::Ping),
        RequestName::Authenticate
        | RequestName::Offer
        | RequestName::Answer
        | RequestName::IceCandidate
        | RequestName::MediaStateChanged
        | RequestName::ConnectionFailed => return events::shared(request.name(), arguments, content_bytes),
        _ => {}
    }
    let fields: Fields<'_> = events::fields_of(request.name(), &mut arguments)?;
    let room = || name("chatId", fields.chat_id).and_then(|room| required("chatId", room));
    let receipt = |kind| {
        let messages = receipted(fields.message_id, fields.message_ids, fields.up_to)?;
        Ok(Command::Receipt { room: room()?, messages, kind })
    };
    match request {
        RequestName::JoinChat => join(&fields, room()?),
        RequestName::LeaveChat => Ok(Command::Leave { room: room()?, peer: None, secret: None }),
        RequestName::MessageSend => {
            Ok(Command::Send { target: MessageTarget::Room(room()?), draft: draft(&fields, content_bytes)? })
        }
        RequestName::MessageEdit | RequestName::MessageDelete => Ok(Command::Revise {
            room: room()?,
            message: required("messageId", text("messageId", fields.message_id)?)?,
            draft: (request == RequestName::MessageEdit).then(|| draft(&fields, content_bytes)).transpose()?,
        }),
        RequestName::MessageAppend => {
            let piece = PieceFields {
                message_id: fields.message_id,
                content: fields.content,
                data: fields.data,
                status: fields.status,
                offset: fields.offset,
                client_message_id: fields.client_message_id,
            };
            stream::append(room()?, piece, (content_bytes, fields.is_portable))
        }
        RequestName::MessageCancel => stream::cancel(room()?, fields.message_id),
        RequestName::MessageTyping => {
            Ok(Command::Typing { room: room()?, is_typing: required("isTyping", flag("isTyping", fields.is_typing)?)? })
        }
        RequestName::MessageUnread => Ok(Command::Unread { room: room()? }),
        RequestName::MessageDelivered => receipt(ReceiptKind::Delivered),
        RequestName::MessageRead => receipt(ReceiptKind::Read),
        RequestName::PresenceUpdateStatus => status(fields.status).map(Command::SetStatus),
        RequestName::ConnectionCreateSession => Ok(Command::MakeRecoveryToken),
        RequestName::ConnectionRecover => {
            let token = required("recoveryToken", text("recoveryToken", fields.recovery_token)?)?;
            Ok(Command::Resume { token, has: Vec::new(), own_messages: true })
        }
        RequestName::MessageDeliveryStatus if present(fields.chat_id).is_some() => {
            let message = required("messageId", text("messageId", fields.message_id)?)?;
            Ok(Command::Receipts { room: room()?, message })
        }
        _ => question(request, &fields).map(Command::Ask),
    }
}

fn join<'a>(fields: &Fields<'a>, room: Cow<'a, str>) -> Result<Command<'a>, Reject> {
    Ok(Command::Join(Join {
        room,
        peer: name("peerId", fields.peer_id)?,
        display_name: display_name(fields.display_name)?,
        media: media(fields.media_state)?.unwrap_or_default(),
        rewind: rewind(fields.rewind)?,
        data: member_data(fields.data, fields.is_portable)?,
        is_observer: flag("observe", fields.observe)?.unwrap_or_default(),
        token: text("token", fields.token)?,
    }))
}

fn question<'a>(request: RequestName, fields: &Fields<'a>) -> Result<ClientQuery<'a>, Reject> {
    let room = || name("chatId", fields.chat_id).and_then(|room| required("chatId", room));
    Ok(match request {
        RequestName::RoomInfo => ClientQuery::Room { room: room()? },
        RequestName::RoomList => ClientQuery::Rooms,
        RequestName::RoomOnline => ClientQuery::Members { room: room()?, page: page(fields)? },
        RequestName::MessageTypingUsers => ClientQuery::Typing { room: room()? },
        RequestName::MessageDeliveryStatus => {
            ClientQuery::Message { message: required("messageId", text("messageId", fields.message_id)?)? }
        }
        RequestName::MessageStats => ClientQuery::MessageStats,
        RequestName::PresenceOnlineUsers => ClientQuery::Users { page: page(fields)? },
        RequestName::PresenceUserStatus => {
            ClientQuery::Presence { user: required("userId", name("userId", fields.user_id)?)? }
        }
        RequestName::PresenceStats => ClientQuery::PresenceStats,
        RequestName::ConnectionSessionInfo => ClientQuery::Session,
        RequestName::ConnectionStats => ClientQuery::SessionStats,
        RequestName::MonitoringMetrics => ClientQuery::Connections,
        RequestName::MonitoringEvents => ClientQuery::Events(filter(fields)?),
        RequestName::MonitoringStats => ClientQuery::Monitoring,
        RequestName::MonitoringHealth => ClientQuery::Health,
        other => return Err(events::unknown(other.name())),
    })
}

fn draft<'a>(fields: &Fields<'a>, content_bytes: usize) -> Result<Draft<'a>, Reject> {
    let (content, event) = body(fields.event, fields.data, fields.content, (content_bytes, fields.is_portable))?;
    Ok(Draft {
        content,
        event,
        kind: label("type", fields.kind)?,
        reply_to: label("replyToId", fields.reply_to_id)?,
        attachment: extra("attachment", fields.attachment, fields.is_portable)?,
        metadata: extra("metadata", fields.metadata, fields.is_portable)?,
        client_message_id: label("clientMessageId", fields.client_message_id)?,
        is_stream: stream::opens(fields.status, content)?,
    })
}

fn page<'a>(fields: &Fields<'a>) -> Result<PageRequest<'a>, Reject> {
    Ok(PageRequest { after: name("after", fields.after)?, limit: count(fields.limit)? })
}

fn filter<'a>(fields: &Fields<'a>) -> Result<IncidentFilter<'a>, Reject> {
    let kind = match text("type", fields.kind)? {
        Some(kind) => Some(IncidentKind::parse(&kind).ok_or_else(|| {
            Reject::invalid("type must be one of connect, disconnect, error, rate_limit, auth_failure")
        })?),
        None => None,
    };
    let address = match text("ip", fields.ip)? {
        Some(ip) => Some(ip.parse::<IpAddr>().map_err(|_| Reject::invalid("ip must be an IP address"))?),
        None => None,
    };
    Ok(IncidentFilter { limit: count(fields.limit)?, kind, user: name("userId", fields.user_id)?, address })
}

/// The most entries of a list that a client wants. The bound of an answer applies later.
fn count(value: Option<&str>) -> Result<Option<usize>, Reject> {
    let count = whole("limit", value)?;
    Ok(count.map(|count| usize::try_from(count).unwrap_or(usize::MAX)))
}
