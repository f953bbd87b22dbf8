//! What it takes to bring lost connections back, on whichever node they come.
//!
//! A session without an end is that of a connection that lives, or whose node is no more: nobody gives it an end then. So
//! it is kept for a day from when it was last noted, and opens for whoever has its token. There are as many as connections
//! that are in rooms, and for a day those of nodes that ended without a word.
//!
//! That of a connection that was in no room is not kept here: the node that had the connection remembers it for the window
//! and [hands it over](crate::authority::redis::nodes) to another one. It is lost with the node, as it is with a process
//! alone; there is nothing to come back to then but a name.

use serde::{Deserialize, Serialize};

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::op::Reply;
use crate::domain::record::{Position, Session, TokenHash};
use crate::domain::recovery::SessionOp;
use crate::domain::reject::Reject;
use crate::message::redis::{Bytes, CallError};
use crate::message::{Outgoing, Requester};
use crate::owner::redis::wire::{self, Id, media_bits};
use crate::owner::redis::{Outcome, RedisOwner, scripts};

/// How long a session without an end is kept, in milliseconds.
const LIVE_MS: u64 = 24 * 3_600_000;

/// What a call was for.
pub(super) enum Purpose {
    /// Nothing but its being done.
    Done,
    Take(TokenHash),
}

/// A session, without what opens it.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    u: Name,
    c: Id,
    /// When its connection came, when it last did something, and when the session ends; 0: its connection lives.
    at: (u64, u64, u64),
    /// What its client speaks.
    #[serde(default)]
    l: u8,
    r: Vec<Place>,
}

/// A place in a room.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    r: Name,
    e: Name,
    s: u64,
    /// The last message before those that its client counts by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    b: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<Box<str>>,
    v: u8,
}

/// What a script says.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    s: Option<Kept>,
}

impl From<Session> for Kept {
    fn from(session: Session) -> Self {
        let place = |at: Position| {
            let Position { room, epoch, seq, peer, display_name, media, since } = at;
            Place { r: room, e: epoch, s: seq, b: since, p: peer, d: display_name, v: media_bits(media) }
        };
        Self {
            u: session.user,
            l: session.dialect,
            c: Id(session.connection),
            at: (session.connected_at, session.active_at, session.expires_at.unwrap_or_default()),
            r: session.rooms.into_iter().map(place).collect(),
        }
    }
}

impl Kept {
    fn session(self, token: TokenHash) -> Session {
        let position = |at: Place| Position {
            room: at.r,
            epoch: at.e,
            seq: at.s,
            since: at.b,
            peer: at.p,
            display_name: at.d,
            media: wire::media(at.v),
        };
        let (connected_at, active_at, ends) = self.at;
        Session {
            token,
            user: self.u,
            connection: self.c.0,
            connected_at,
            active_at,
            expires_at: (ends != 0).then_some(ends),
            dialect: self.l,
            rooms: self.r.into_iter().map(position).collect(),
        }
    }
}

impl RedisOwner {
    pub(super) fn session_op(&mut self, now: Now, of: ConnectionId, op: SessionOp, to: Requester) -> Outcome {
        if !self.rules.has_store {
            return Ok(Some(Reply::Session(None)));
        }
        let taken = || wire::number(limits::SESSION_TAKEN_MS);
        let (script, purpose, arguments) = match op {
            SessionOp::Save(session) => {
                let (token, ends) = (session.token, session.expires_at.unwrap_or_default());
                let kept_ms = session.expires_at.map_or(LIVE_MS, |at| at.saturating_sub(now.wall).max(1));
                let connection = wire::text(session.connection.text().as_str());
                let session = wire::json(&Kept::from(*session));
                let arguments = vec![hex(token), wire::number(ends), session, wire::number(kept_ms), connection];
                (&scripts::KEEP, Purpose::Done, arguments)
            }
            SessionOp::Transfer { token, by, from, to } => {
                let connection = |id: ConnectionId| wire::text(id.text().as_str());
                let (from, to) = (connection(from), connection(to));
                let arguments = vec![hex(token), wire::text(&*by), from, to, wire::number(LIVE_MS), taken()];
                (&scripts::CLAIM, Purpose::Take(token), arguments)
            }
            SessionOp::Clear { token } => (&scripts::CLEAR, Purpose::Done, vec![hex(token)]),
            SessionOp::Take { token } => (&scripts::TAKE, Purpose::Take(token), vec![hex(token), taken()]),
            SessionOp::Delete { token } => (&scripts::DROP, Purpose::Done, vec![hex(token), taken()]),
        };
        let key = self.keys.session(of);
        self.call(now, script, key, Some(to), super::Purpose::Session(purpose), arguments);
        Ok(None)
    }

    pub(super) fn session_answered(
        &mut self,
        _now: Now,
        to: Option<Requester>,
        purpose: Purpose,
        outcome: Result<Bytes, CallError>,
        out: &mut Vec<Outgoing>,
    ) {
        let said = outcome.ok().and_then(|text| serde_json::from_slice::<Said>(&text).ok());
        let reply = match (purpose, said) {
            (_, None) => Err(Reject::storage_unavailable()),
            (Purpose::Done, Some(_)) => Ok(Reply::Done),
            (Purpose::Take(token), Some(said)) => Ok(Reply::Session(said.s.map(|kept| Box::new(kept.session(token))))),
        };
        Self::answer(to, reply, out);
    }
}

/// The hash of a token, spelled out.
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
            display_name: shown.map(Into::into),
            media: wire::media(bits),
        })
    }

    proptest! {
        #[test]
        fn a_session_comes_back_as_it_was(
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
            let text = wire::json(&Kept::from(session.clone()));
            let kept: Kept = serde_json::from_slice(&text).expect("it is what was written");
            prop_assert_eq!(kept.session(session.token), session);
        }
    }
}
