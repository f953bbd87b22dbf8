//! Questions, which only `colon` has: read from its events, and answered through their acks.

use super::{Answer, Dialect, Reference, Request};
use crate::codec::engineio;
use crate::codec::socketio::{Event, Target, begin_ack};
use crate::dialect::colon;
use crate::domain::command::Command;
use crate::domain::reject::Reject;

/// Reads a question; `None` when it is none.
pub(super) fn read<'a>(
    dialect: Dialect,
    name: &str,
    event: &Event<'a>,
    content_bytes: usize,
) -> Option<Result<Request<'a>, Reject>> {
    if dialect == Dialect::Notify || !is_question(name) {
        return None;
    }
    match colon::decode(name, event.arguments, content_bytes) {
        Ok(asked) if matches!(asked.command, Command::Ask(_)) => {
            Some(Ok(Request { dialect: Some(Dialect::Colon), command: asked.command }))
        }
        Ok(_) => None,
        Err(fault) => Some(Err(fault.reject)),
    }
}

/// Writes the answer to a question, granted or not; whether it was that.
pub(super) fn write(out: &mut Vec<u8>, dialect: Dialect, to: &Reference<'_>, answer: &Answer<'_>) -> bool {
    let Some(request) = colon::Request::parse(to.name).filter(|_| is_question(to.name)) else { return false };
    let mut object = Vec::new();
    match answer {
        Answer::Found(finding) => colon::found(&mut object, finding),
        // Without an ack a refusal is an event like any other.
        Answer::Refused(reject) if to.ack.is_some() => colon::ack::refused(&mut object, Some(request), reject),
        _ => return false,
    }
    if to.ack.is_some() {
        let text = std::str::from_utf8(&object).unwrap_or_default();
        let target = Target { id: to.ack, ..Target::namespace(dialect.namespace()) };
        engineio::encode_text(out, |out| begin_ack(out, &target).raw(text).end());
    }
    true
}

fn is_question(name: &str) -> bool {
    use colon::Request::{
        ConnectionSessionInfo, ConnectionStats, MessageDeliveryStatus, MessageStats, MessageTypingUsers,
        MonitoringEvents, MonitoringHealth, MonitoringMetrics, MonitoringStats, PresenceOnlineUsers, PresenceStats,
        PresenceUserStatus, RoomInfo, RoomList, RoomOnline,
    };
    let questions = [
        RoomInfo,
        RoomList,
        RoomOnline,
        MessageTypingUsers,
        MessageDeliveryStatus,
        MessageStats,
        PresenceOnlineUsers,
        PresenceUserStatus,
        PresenceStats,
        ConnectionSessionInfo,
        ConnectionStats,
        MonitoringMetrics,
        MonitoringEvents,
        MonitoringStats,
        MonitoringHealth,
    ];
    colon::Request::parse(name).is_some_and(|request| questions.contains(&request))
}
