//! Encoding of answers.

use super::{Dialect, ReplyTo, SocketIoAnswer, emit};
use crate::base::time::Now;
use crate::codec::engineio;
use crate::codec::socketio::{PacketTarget, begin_ack};
use crate::dialect::{camel, colon, notify};
use crate::domain::event::LeaveCause;

/// Appends the answer to a request; no bytes if the dialect has none.
pub fn answer(out: &mut Vec<u8>, dialect: Dialect, to: ReplyTo, answer: &SocketIoAnswer<'_>, now: Now) {
    match dialect {
        Dialect::Notify => in_notify(out, to, answer, now),
        Dialect::Colon => in_colon(out, to, answer, now),
        Dialect::Camel => in_camel(out, to, answer, now),
        // Its events have answers of their own.
        Dialect::App => {}
    }
}

fn in_notify(out: &mut Vec<u8>, to: ReplyTo, answer: &SocketIoAnswer<'_>, now: Now) {
    const DIALECT: Dialect = Dialect::Notify;
    match *answer {
        SocketIoAnswer::Pong(data) if to.event() == notify::RequestName::Ping.name() => {
            emit(out, DIALECT, |out| notify::pong(out, data, now));
            ack(out, DIALECT, to, |out| notify::ponged(out, data, now));
        }
        SocketIoAnswer::Pong(_) => {
            emit(out, DIALECT, |out| notify::heartbeat(out, now));
            ack(out, DIALECT, to, notify::granted);
        }
        SocketIoAnswer::Authenticated { user, socket, expires_at } => {
            emit(out, DIALECT, |out| notify::authenticated(out, user, socket));
            ack(out, DIALECT, to, |out| notify::renewed(out, expires_at));
        }
        SocketIoAnswer::Refused(reject) => {
            emit(out, DIALECT, |out| notify::error(out, reject));
            ack(out, DIALECT, to, |out| notify::refused(out, reject));
        }
        SocketIoAnswer::Done => ack(out, DIALECT, to, notify::granted),
        // Its clients have no such requests, and receive no event of a room that others add them to.
        SocketIoAnswer::Joined(_)
        | SocketIoAnswer::Left(_)
        | SocketIoAnswer::Sent(..)
        | SocketIoAnswer::History(_)
        | SocketIoAnswer::Receipts(_)
        | SocketIoAnswer::Unread(_)
        | SocketIoAnswer::TokenMade { .. }
        | SocketIoAnswer::Recovered { .. }
        | SocketIoAnswer::Found(_) => {}
    }
}

fn in_colon(out: &mut Vec<u8>, to: ReplyTo, answer: &SocketIoAnswer<'_>, now: Now) {
    const DIALECT: Dialect = Dialect::Colon;
    let request = colon::RequestName::parse(to.event());
    let granted = |out: &mut Vec<u8>| {
        if let Some(request) = request {
            ack(out, DIALECT, to, |out| colon::ack::granted(out, request));
        }
    };
    match *answer {
        SocketIoAnswer::Joined(joined) => {
            ack(out, DIALECT, to, |out| colon::ack::joined(out, joined, now));
            emit(out, DIALECT, |out| colon::room_joined(out, joined, now));
        }
        SocketIoAnswer::Left(room) => {
            granted(out);
            emit(out, DIALECT, |out| colon::room_left(out, room, LeaveCause::Left));
        }
        SocketIoAnswer::Sent(sent, room, said) => {
            match (said, request) {
                (Some((sender, content)), _) => {
                    ack(out, DIALECT, to, |out| colon::ack::sent(out, sent, room, sender, content));
                }
                (None, Some(request)) => ack(out, DIALECT, to, |out| colon::ack::changed(out, request, sent)),
                (None, None) => {}
            }
            emit(out, DIALECT, |out| colon::message_sent(out, sent, room));
        }
        SocketIoAnswer::Receipts(marks) => ack(out, DIALECT, to, |out| {
            colon::ack::delivery_status(out, marks.message, &marks.delivered, &marks.read);
        }),
        SocketIoAnswer::Unread(unread) => ack(out, DIALECT, to, |out| colon::ack::unread(out, unread)),
        SocketIoAnswer::Found(result) => ack(out, DIALECT, to, |out| colon::query_result(out, result)),
        SocketIoAnswer::TokenMade { token, window_ms } => {
            ack(out, DIALECT, to, |out| colon::ack::session_made(out, token));
            emit(out, DIALECT, |out| colon::recovery_token(out, token, window_ms));
        }
        SocketIoAnswer::Recovered { user, view, connected_at, token, gaps, messages } => {
            let session = colon::SessionView {
                user,
                socket: view.shown,
                connected_at,
                last_activity: view.last_seen,
                rooms: &view.rooms,
                recovery_token: Some(token),
                queued: messages,
            };
            ack(out, DIALECT, to, |out| colon::ack::recovered(out, &session));
            emit(out, DIALECT, |out| colon::recovered(out, &session, gaps.iter().copied()));
            if !messages.is_empty() {
                emit(out, DIALECT, |out| colon::queued_messages(out, messages.iter().copied()));
            }
        }
        SocketIoAnswer::Authenticated { expires_at, .. } => {
            ack(out, DIALECT, to, |out| colon::ack::renewed(out, expires_at));
        }
        SocketIoAnswer::Pong(_) => {
            granted(out);
            emit(out, DIALECT, |out| colon::heartbeat(out, now));
        }
        SocketIoAnswer::Done => granted(out),
        SocketIoAnswer::Refused(reject) if to.ack.is_some() => {
            ack(out, DIALECT, to, |out| colon::ack::refused(out, request, reject));
        }
        SocketIoAnswer::Refused(reject) => {
            emit(out, DIALECT, |out| colon::error(out, &colon::ack::shown(request, reject)))
        }
        // It has no such requests.
        SocketIoAnswer::History(_) => {}
    }
}

fn in_camel(out: &mut Vec<u8>, to: ReplyTo, answer: &SocketIoAnswer<'_>, now: Now) {
    const DIALECT: Dialect = Dialect::Camel;
    match *answer {
        SocketIoAnswer::Joined(joined) => {
            emit(out, DIALECT, |out| camel::joined_room(out, &joined.room));
            ack(out, DIALECT, to, |out| camel::ack::room(out, &joined.room));
        }
        SocketIoAnswer::Left(room) => {
            emit(out, DIALECT, |out| camel::left_room(out, room));
            ack(out, DIALECT, to, |out| camel::ack::room(out, room));
        }
        SocketIoAnswer::Sent(sent, ..) => {
            emit(out, DIALECT, |out| camel::message_sent(out, sent));
            ack(out, DIALECT, to, |out| camel::ack::sent(out, sent));
        }
        SocketIoAnswer::History(history) => {
            for message in &history.messages {
                emit(out, DIALECT, |out| camel::new_message(out, message));
            }
            emit(out, DIALECT, |out| camel::sync_complete(out, history));
            ack(out, DIALECT, to, |out| camel::ack::synced(out, history));
        }
        SocketIoAnswer::Authenticated { expires_at, .. } => {
            ack(out, DIALECT, to, |out| camel::ack::renewed(out, expires_at));
        }
        SocketIoAnswer::Pong(_) => {
            emit(out, DIALECT, |out| camel::heartbeat(out, now));
            ack(out, DIALECT, to, |out| camel::ack::heartbeat(out, now));
        }
        SocketIoAnswer::Unread(unread) => {
            emit(out, DIALECT, |out| camel::unread_count(out, unread));
            ack(out, DIALECT, to, |out| camel::ack::unread(out, unread));
        }
        SocketIoAnswer::Done => ack(out, DIALECT, to, camel::ack::granted),
        SocketIoAnswer::Refused(reject) => {
            emit(out, DIALECT, |out| camel::error(out, reject));
            ack(out, DIALECT, to, |out| camel::ack::refused(out, reject));
        }
        // It has no such requests.
        SocketIoAnswer::Receipts(_)
        | SocketIoAnswer::Found(_)
        | SocketIoAnswer::TokenMade { .. }
        | SocketIoAnswer::Recovered { .. } => {}
    }
}

/// Appends the ack that was asked for, if one was; `write` appends its one value.
fn ack(out: &mut Vec<u8>, dialect: Dialect, to: ReplyTo, write: impl FnOnce(&mut Vec<u8>)) {
    if to.ack.is_none() {
        return;
    }
    let target = PacketTarget { id: to.ack, ..PacketTarget::namespace(dialect.namespace()) };
    engineio::encode_text(out, |out| begin_ack(out, &target).value(write).end());
}
