//! The values of acks: one object each, in the shape of its request.

use std::borrow::Cow;

use uuid::Uuid;

use super::decode::RequestName;
use super::encode::{entered, here, how, or_null, room_info, said, session_fields, who};
use super::views::{OnlineUserView, SessionView, TypistView, UserStatusView};
use crate::base::Name;
use crate::base::time::Now;
use crate::codec::json::{self, Object};
use crate::dialect::events::{id, instant, object_of};
use crate::dialect::raw;
use crate::domain::access::Identity;
use crate::domain::event::{Content, Joined, RoomInfo};
use crate::domain::history::Unread;
use crate::domain::monitoring::{HealthReport, Incident, MessageStats, Metrics, Overview, PresenceStats, SessionStats};
use crate::domain::op::{RoomView, Sent};
use crate::domain::reject::{Code, Reject};

pub use crate::dialect::events::renewed;

/// The request was granted and has no result.
pub fn granted(out: &mut Vec<u8>, request: RequestName) {
    let message = match request {
        RequestName::LeaveChat => Some("Left chat successfully"),
        RequestName::MessageTyping => Some("Typing status updated"),
        RequestName::MessageDelivered => Some("Delivery confirmed"),
        RequestName::MessageRead => Some("Read confirmation recorded"),
        RequestName::PresenceUpdateStatus => Some("Status updated successfully"),
        _ => None,
    };
    success(out, |object| {
        object.optional("message", message);
    });
}

/// The request was refused. If the seed has a text for this kind of refusal, that is the `message`, and the particular
/// text is the `detail`.
pub fn refused(out: &mut Vec<u8>, request: Option<RequestName>, reject: &Reject) {
    let reject = &*shown(request, reject);
    let message = match reject.code {
        Code::Unauthenticated | Code::TokenExpired => "User not authenticated",
        Code::RateLimited if request == Some(RequestName::MessageSend) => {
            "Message rate limit exceeded. Please slow down."
        }
        Code::InvalidMessage | Code::BadJson => "Invalid request data",
        Code::RoomNotFound | Code::RoomClosed | Code::NotInRoom => "Chat not found or access denied",
        _ => &reject.text,
    };
    object_of(out, |object| {
        object.bool("success", false).string("message", message).plain("code", reject.code.as_str());
        if message != reject.text {
            object.string("detail", &reject.text);
        }
        if let Some(wait_s) = reject.retry_after_s {
            object.number("retryAfter", wait_s);
        }
    });
}

/// A refusal as the client receives it: a private chat is refused as one that does not exist.
pub fn shown(request: Option<RequestName>, reject: &Reject) -> Cow<'_, Reject> {
    match reject.code {
        Code::Forbidden if request.is_some_and(is_about_chat) => Cow::Owned(Reject::room_not_found()),
        _ => Cow::Borrowed(reject),
    }
}

/// `join:chat`.
pub fn joined(out: &mut Vec<u8>, joined: &Joined, now: Now) {
    success(out, |object| {
        object.plain("message", "Joined chat successfully");
        object.value("roomInfo", |out| entered(out, joined, now));
    });
}

/// `room:info`.
pub fn room(out: &mut Vec<u8>, view: &RoomView, online_count: u64) {
    success(out, |object| {
        let info = RoomInfo {
            room: view.room.clone(),
            name: view.profile.name.clone(),
            description: view.profile.description.clone(),
            metadata: view.profile.metadata.clone(),
            is_private: view.profile.is_private,
            max_participants: view.profile.max_participants,
            is_locked: view.is_locked,
            participant_count: view.participant_count,
            online_count: online_count as usize,
            last_activity: view.last_activity,
        };
        object.value("roomInfo", |out| object_of(out, |object| room_info(object, &info)));
    });
}

/// `room:list`.
pub fn rooms<'a>(out: &mut Vec<u8>, rooms: impl IntoIterator<Item = &'a RoomView>) {
    success(out, |object| {
        object.list("rooms", rooms, |out, view| {
            object_of(out, |object| {
                object.string("chatId", &view.room).string("name", view.profile.name.as_deref().unwrap_or(&view.room));
                object.number("participantCount", view.participant_count as u64);
                instant(object, "lastActivity", view.last_activity);
            });
        });
    });
}

/// `room:online`. `next` is the last user of the page if there are more.
pub fn room_online<'a>(out: &mut Vec<u8>, users: impl IntoIterator<Item = OnlineUserView<'a>>, next: Option<&str>) {
    success(out, |object| {
        object.list("onlineUsers", users, here).optional("next", next);
    });
}

/// `message:send`: the message as the room receives it.
pub fn sent(out: &mut Vec<u8>, sent: &Sent, room: &str, sender: &Identity, content: &Content) {
    success(out, |object| {
        object.plain("message", "Message sent successfully");
        object.value("sentMessage", |out| object_of(out, |object| said(object, sent, room, sender, content)));
    });
}

/// `message:edit`, `message:delete`, `message:append` and `message:cancel`: the receipt of the change.
pub fn changed(out: &mut Vec<u8>, request: RequestName, sent: &Sent) {
    let message = match request {
        RequestName::MessageDelete => "Message deleted",
        RequestName::MessageAppend => "Piece appended",
        RequestName::MessageCancel => "Stream cancelled",
        _ => "Message edited",
    };
    success(out, |object| {
        object.plain("message", message);
        id(object, "id", sent.id);
        if let Some(seq) = sent.seq {
            object.number("seq", seq);
        }
        instant(object, "timestamp", sent.at);
    });
}

/// `message:unread`.
pub fn unread(out: &mut Vec<u8>, unread: &Unread) {
    success(out, |object| {
        object.string("chatId", &unread.room);
        raw::unread_fields(object, unread);
    });
}

/// `message:typing-users`.
pub fn typing_users<'a>(out: &mut Vec<u8>, room: &str, users: impl IntoIterator<Item = TypistView<'a>>) {
    success(out, |object| {
        object.list("typingUsers", users, |out, typist| {
            object_of(out, |object| {
                object.string("userId", typist.user).string("username", typist.username).string("chatId", room);
                instant(object, "startedAt", typist.started_at);
            });
        });
    });
}

/// `message:delivery-status`: the receipts of a message.
pub fn delivery_status(out: &mut Vec<u8>, message: Uuid, delivered: &[(Name, u64)], read: &[(Name, u64)]) {
    // A UUIDv7 begins with the time it was made, here the time the message was accepted (RFC 9562 §5.7).
    let sent_at = (message.as_u128() >> 80) as u64;
    let last_update = delivered.iter().chain(read).map(|(_, at)| *at).fold(sent_at, u64::max);
    success(out, |object| {
        object.value("status", |out| {
            object_of(out, |object| {
                id(object, "messageId", message);
                object.list("deliveredTo", delivered, |out, (user, _)| json::string(out, user));
                object.list("readBy", read, |out, (user, _)| json::string(out, user));
                instant(object, "sentAt", sent_at);
                instant(object, "lastUpdate", last_update);
            });
        });
    });
}

/// `message:stats`.
pub fn message_stats(out: &mut Vec<u8>, stats: &MessageStats) {
    stats_of(out, |object| {
        object.number("activeTypingUsers", stats.typing).number("trackedMessages", stats.tracked);
        object.number("totalDelivered", stats.delivered).number("totalRead", stats.read);
    });
}

/// `presence:online-users`. `next` is the last user of the page if there are more.
pub fn online_users<'a>(out: &mut Vec<u8>, users: impl IntoIterator<Item = OnlineUserView<'a>>, next: Option<&str>) {
    success(out, |object| {
        object.list("users", users, here).optional("next", next);
    });
}

/// `presence:user-status`.
pub fn presence(out: &mut Vec<u8>, user: &UserStatusView<'_>) {
    success(out, |object| {
        object.value("presence", |out| {
            object_of(out, |object| {
                who(object, &user.here);
                if let Some(private) = &user.private {
                    or_null(object, "email", private.email);
                }
                how(object, &user.here);
                if let Some(private) = &user.private {
                    or_null(
                        object,
                        "socketId",
                        private.socket.map(|socket| socket.text()).as_ref().map(|id| id.as_str()),
                    );
                    or_null(object, "userAgent", private.user_agent);
                    or_null(object, "ipAddress", private.address.map(|address| address.to_string()).as_deref());
                }
            });
        });
    });
}

/// `presence:stats`.
pub fn presence_stats(out: &mut Vec<u8>, stats: &PresenceStats) {
    stats_of(out, |object| {
        object.number("totalUsers", stats.total()).number("onlineUsers", stats.online);
        object.number("awayUsers", stats.away).number("busyUsers", stats.busy).number("offlineUsers", stats.offline);
    });
}

/// `connection:create-session`.
pub fn session_made(out: &mut Vec<u8>, recovery_token: &str) {
    success(out, |object| {
        object.string("recoveryToken", recovery_token);
    });
}

/// `connection:recover`.
pub fn recovered(out: &mut Vec<u8>, session: &SessionView<'_>) {
    success(out, |object| {
        object.plain("message", "Connection recovered successfully");
        object.value("session", |out| object_of(out, |object| session_fields(object, session)));
    });
}

/// `connection:session-info`.
pub fn session(out: &mut Vec<u8>, session: &SessionView<'_>) {
    success(out, |object| {
        object.value("sessionInfo", |out| object_of(out, |object| session_fields(object, session)));
    });
}

/// `connection:stats`.
pub fn session_stats(out: &mut Vec<u8>, stats: &SessionStats) {
    stats_of(out, |object| {
        object.number("activeSessions", stats.sessions).number("recoveryTokens", stats.tokens);
        object.number("queuedMessages", stats.queued).number("averageSessionAge", stats.average_minutes());
    });
}

/// `monitoring:metrics`.
pub fn metrics(out: &mut Vec<u8>, metrics: &Metrics) {
    success(out, |object| {
        object.value("metrics", |out| metrics_object(out, metrics));
    });
}

/// `monitoring:events`.
pub fn incidents<'a>(out: &mut Vec<u8>, incidents: impl IntoIterator<Item = &'a Incident>) {
    success(out, |object| {
        object.list("events", incidents, incident);
    });
}

/// `monitoring:stats`.
pub fn overview(out: &mut Vec<u8>, overview: &Overview) {
    stats_of(out, |object| {
        object.value("metrics", |out| metrics_object(out, &overview.metrics));
        object.list("recentEvents", &overview.recent, incident);
        object.list("topIPs", &overview.addresses, |out, (address, count)| {
            object_of(out, |object| {
                object.plain("ip", &address.to_string()).number("count", *count);
            });
        });
        object.list("topUserAgents", &overview.user_agents, |out, (user_agent, count)| {
            object_of(out, |object| {
                object.string("userAgent", user_agent).number("count", *count);
            });
        });
        object.value("errorRate", |out| share(out, overview.metrics.error_rate));
    });
}

/// `monitoring:health`.
pub fn health(out: &mut Vec<u8>, health: &HealthReport) {
    success(out, |object| {
        object.value("health", |out| {
            object_of(out, |object| {
                object.plain("status", health.level.as_str());
                object.list("issues", &health.issues, |out, issue| json::string(out, issue));
                object.list("recommendations", &health.recommendations, |out, advice| json::string(out, advice));
            });
        });
    });
}

fn success(out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    object_of(out, |object| {
        object.bool("success", true);
        write(object);
    });
}

fn stats_of(out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    success(out, |object| {
        object.value("stats", |out| object_of(out, write));
    });
}

/// Whether a refusal of this request is about a chat, not about the user's role.
fn is_about_chat(request: RequestName) -> bool {
    matches!(
        request,
        RequestName::JoinChat
            | RequestName::LeaveChat
            | RequestName::RoomInfo
            | RequestName::RoomOnline
            | RequestName::MessageSend
            | RequestName::MessageTyping
            | RequestName::MessageTypingUsers
            | RequestName::MessageDelivered
            | RequestName::MessageRead
            | RequestName::MessageDeliveryStatus
    )
}

fn metrics_object(out: &mut Vec<u8>, metrics: &Metrics) {
    object_of(out, |object| {
        object.number("totalConnections", metrics.total).number("activeConnections", metrics.active);
        object.number("failedConnections", metrics.failed).number("averageConnectionDuration", metrics.average_ms);
        object.number("peakConnections", metrics.peak).number("connectionsPerMinute", metrics.per_minute);
        instant(object, "lastReset", metrics.since);
    });
}

fn incident(out: &mut Vec<u8>, incident: &Incident) {
    object_of(out, |object| {
        object.plain("type", incident.kind.as_str());
        or_null(object, "socketId", incident.connection.map(|id| id.text()).as_ref().map(|id| id.as_str()));
        or_null(object, "userId", incident.user.as_deref());
        object.plain("ipAddress", &incident.address.to_string());
        or_null(object, "userAgent", incident.user_agent.as_deref());
        instant(object, "timestamp", incident.at);
        object.value("details", |out| {
            object_of(out, |object| {
                object.optional("reason", incident.reason.as_deref());
            });
        });
    });
}

/// A fraction of 1, with four decimal places.
fn share(out: &mut Vec<u8>, part: f64) {
    let _ = serde_json::to_writer(out, &((part * 10_000.0).round() / 10_000.0));
}
