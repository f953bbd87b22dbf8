//! Recoverable sessions: state that lets a client continue on another connection, on any node.
//!
//! A session without an end is that of a live connection, or of a connection whose node died: then no node sets an end. It
//! is kept for a day after its last update, for the holder of its token. So there are as many as connections in rooms, plus
//! for a day those of nodes that died.
//!
//! The session of a connection that was in no room is not stored: the connection's node remembers it for the recovery window
//! and [hands it over](crate::owner::redis::cluster) to another node. It is lost with the node, as in a single process.

use serde::{Deserialize, Serialize};

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::about::About;
use crate::domain::command::MediaState;
use crate::domain::op::Reply;
use crate::domain::record::{Position, Session, TokenHash};
use crate::domain::recovery::SessionOp;
use crate::domain::reject::Reject;
use crate::message::Requester;
use crate::message::redis::Bytes;
use crate::owner::redis::calls::{CallPurpose, CallResult};
use crate::owner::redis::schema::LIVE_SESSION_MS;
use crate::owner::redis::scripts;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::{self, WireConnectionId};

/// The operation that a call on a session does.
pub(super) enum SessionCall {
    /// An operation without a result.
    Done,
    Take(TokenHash),
}

/// A session without its token.
#[derive(Debug, Serialize, Deserialize)]
struct WireSession {
    #[serde(rename = "u")]
    user: Name,
    #[serde(rename = "c")]
    connection: WireConnectionId,
    /// Start of the connection, its last activity, and the session's end; 0: the connection lives.
    at: (u64, u64, u64),
    /// The client's dialect.
    #[serde(rename = "l", default)]
    dialect: u8,
    #[serde(rename = "r")]
    positions: Vec<WirePosition>,
}

/// A position in a room.
#[derive(Debug, Serialize, Deserialize)]
struct WirePosition {
    #[serde(rename = "r")]
    room: Name,
    #[serde(rename = "e")]
    epoch: Name,
    #[serde(rename = "s")]
    seq: u64,
    /// The last message before those that the client counts itself.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    peer: Option<Name>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    about: Option<Name>,
    #[serde(rename = "v")]
    media: u8,
}

/// The answer of a session script.
#[derive(Deserialize)]
struct SessionReply {
    #[serde(rename = "s", default)]
    session: Option<WireSession>,
}

impl From<Session> for WireSession {
    fn from(session: Session) -> Self {
        let position = |at: Position| {
            let Position { room, epoch, seq, peer, about, media, since } = at;
            let about = about.packed().cloned();
            WirePosition { room, epoch, seq, since, peer, about, media: media.bits() }
        };
        Self {
            user: session.user,
            dialect: session.dialect,
            connection: WireConnectionId(session.connection),
            at: (session.connected_at, session.active_at, session.expires_at.unwrap_or_default()),
            positions: session.rooms.into_iter().map(position).collect(),
        }
    }
}

impl WireSession {
    fn into_session(self, token: TokenHash) -> Session {
        let position = |at: WirePosition| {
            let WirePosition { room, epoch, seq, since, peer, about, media } = at;
            let about = About::from_packed(about);
            Position { room, epoch, seq, since, peer, about, media: MediaState::from_bits(media) }
        };
        let (connected_at, active_at, ends) = self.at;
        Session {
            token,
            user: self.user,
            connection: self.connection.0,
            connected_at,
            active_at,
            expires_at: (ends != 0).then_some(ends),
            dialect: self.dialect,
            rooms: self.positions.into_iter().map(position).collect(),
        }
    }
}

/// Calls the script of an operation on a session.
pub(super) fn request(turn: &mut OwnerTurn<'_>, of: ConnectionId, op: SessionOp, to: Requester) {
    if !turn.node.rules.has_store {
        return turn.reply(Some(to), Ok(Reply::Session(None)));
    }
    let (script, purpose, arguments) = match op {
        SessionOp::Save(session) => {
            let (token, ends) = (session.token, session.expires_at.unwrap_or_default());
            let kept_ms = session.expires_at.map_or(LIVE_SESSION_MS, |at| at.saturating_sub(turn.now.wall).max(1));
            let connection = wire::connection(session.connection);
            let session = wire::json(&WireSession::from(*session));
            let arguments = vec![hex(token), wire::number(ends), session, wire::number(kept_ms), connection];
            (&scripts::SAVE, SessionCall::Done, arguments)
        }
        SessionOp::Transfer { token, by, from, to } => {
            let arguments = vec![hex(token), wire::text(&*by), wire::connection(from), wire::connection(to)];
            (&scripts::TRANSFER, SessionCall::Take(token), arguments)
        }
        SessionOp::Clear { token } => (&scripts::CLEAR, SessionCall::Done, vec![hex(token)]),
        SessionOp::Take { token, by } => {
            let arguments = vec![hex(token), wire::flag(by.roles().guest), wire::text(by.user())];
            (&scripts::TAKE, SessionCall::Take(token), arguments)
        }
        SessionOp::Delete { token } => (&scripts::DELETE, SessionCall::Done, vec![hex(token)]),
    };
    let key = turn.node.keys.session(of);
    turn.call(script, key, Some(to), CallPurpose::Session(purpose), arguments);
}

/// Handles the result of a call on a session.
pub(super) fn replied(turn: &mut OwnerTurn<'_>, to: Option<Requester>, purpose: SessionCall, result: CallResult) {
    let answer = result.ok().and_then(|text| serde_json::from_slice::<SessionReply>(&text).ok());
    let reply = match (purpose, answer) {
        (_, None) => Err(Reject::storage_unavailable()),
        (SessionCall::Done, Some(_)) => Ok(Reply::Done),
        (SessionCall::Take(token), Some(SessionReply { session })) => {
            Ok(Reply::Session(session.map(|session| Box::new(session.into_session(token)))))
        }
    };
    turn.reply(to, reply);
}

/// The hash of a token in hexadecimal digits.
fn hex(token: TokenHash) -> Bytes {
    let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
    token.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position() -> impl Strategy<Value = Position> {
        let name = "\\PC{1,12}";
        let seq = (any::<u64>(), prop::option::of(any::<u64>()));
        let parts = (name, "[a-z]{8}", seq, prop::option::of(name), prop::option::of(name), 0..8u8);
        parts.prop_map(|(room, epoch, (seq, since), peer, shown, bits)| Position {
            room: room.into(),
            epoch: epoch.into(),
            seq,
            since,
            peer: peer.map(Into::into),
            about: About::from_packed(shown.map(Into::into)),
            media: MediaState::from_bits(bits),
        })
    }

    proptest! {
        #[test]
        fn session_written_and_read_is_unchanged(
            user in "\\PC{1,12}",
            id in any::<[u8; 18]>(),
            at in (any::<u64>(), any::<u64>(), prop::option::of(1..u64::MAX)),
            rooms in prop::collection::vec(position(), 0..4),
        ) {
            let session = Session {
                token: TokenHash([7; 32]),
                user: user.into(),
                connection: ConnectionId::from_bytes(id),
                connected_at: at.0,
                active_at: at.1,
                expires_at: at.2,
                dialect: 2,
                rooms,
            };
            let text = wire::json(&WireSession::from(session.clone()));
            let kept: WireSession = serde_json::from_slice(&text).expect("the written session");
            prop_assert_eq!(kept.into_session(session.token), session);
        }
    }
}
