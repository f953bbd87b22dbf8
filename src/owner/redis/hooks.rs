//! Hook events as the scripts write them to the outbox.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::base::Name;
use crate::domain::hook::{DeadLetter, HookChange, HookEvent, HookKind, OutboxOp};
use crate::domain::op::Reply;
use crate::domain::reject::Reject;
use crate::message::Requester;
use crate::owner::redis::calls::{CallPurpose, CallResult};
use crate::owner::redis::schema::KeySchema;
use crate::owner::redis::scripts;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::{WireConnectionId, WireDirect, WireMember, WireMessage, text};

/// The answer of the script that lists dead letters: endpoint, time and event of each.
#[derive(Deserialize)]
struct DeadLettersReply {
    #[serde(rename = "l")]
    list: Vec<(Box<str>, u64, Box<RawValue>)>,
}

/// Calls the script of an operation on the outbox.
pub(super) fn request(turn: &mut OwnerTurn<'_>, op: OutboxOp, from: Requester) {
    let key = turn.node.keys.hooks().into_bytes().into();
    let (script, arguments) = match &op {
        OutboxOp::ListDeadLetters => (&scripts::LIST_DEAD_LETTERS, Vec::new()),
        OutboxOp::Replay { endpoint } => (&scripts::REPLAY, vec![text(&**endpoint)]),
    };
    turn.call(script, key, Some(from), CallPurpose::Outbox(op), arguments);
}

/// Handles the result of such a call.
pub(super) fn replied(turn: &mut OwnerTurn<'_>, to: Option<Requester>, op: &OutboxOp, result: CallResult) {
    let reply = match (op, result) {
        (OutboxOp::Replay { .. }, Ok(_)) => Ok(Reply::Done),
        (OutboxOp::ListDeadLetters, Ok(answer)) => match serde_json::from_slice::<DeadLettersReply>(&answer) {
            Ok(DeadLettersReply { list }) => Ok(Reply::DeadLetters(list.into_iter().map(letter).collect())),
            Err(_) => Err(Reject::storage_unavailable()),
        },
        (_, Err(_)) => Err(Reject::storage_unavailable()),
    };
    turn.reply(to, reply);
}

fn letter((endpoint, dead_at, event): (Box<str>, u64, Box<RawValue>)) -> DeadLetter {
    DeadLetter { endpoint, dead_at, body: event.get().into() }
}

/// An event in the outbox.
#[derive(Deserialize)]
struct WireHook {
    /// The bit of its kind.
    #[serde(rename = "k")]
    kind: u64,
    #[serde(rename = "t")]
    at: u64,
    /// Key of the room.
    #[serde(rename = "r", default)]
    room_key: Option<Box<str>>,
    /// The user, or the creator of the room.
    #[serde(rename = "u", default)]
    user: Option<Name>,
    /// The connection; 1 for a room that was closed.
    #[serde(rename = "c", default)]
    closed: Option<WireCause>,
    #[serde(rename = "m", default)]
    member: Option<Box<WireMember>>,
    #[serde(rename = "e", default)]
    message: Option<Box<WireMessage>>,
    #[serde(rename = "d", default)]
    direct: Option<Box<WireDirect>>,
}

/// The field `c`.
#[derive(Deserialize)]
#[serde(untagged)]
enum WireCause {
    Closed(u8),
    Connection(WireConnectionId),
}

/// Decodes an event of the outbox with the id `stream_id` there; `None` for one that this version does not know.
pub fn decode_hook(keys: &KeySchema, stream_id: &str, event: &[u8]) -> Option<HookEvent> {
    let wire: WireHook = serde_json::from_slice(event).ok()?;
    let kind = HookKind::ALL.into_iter().find(|kind| kind.bit() == wire.kind)?;
    let room = || wire.room_key.as_ref().and_then(|key| keys.room_of(key.as_bytes())).map(Name::from);
    let connection = match wire.closed {
        Some(WireCause::Connection(id)) => Some(id.0),
        _ => None,
    };
    let is_closed = matches!(wire.closed, Some(WireCause::Closed(1)));
    let change = match kind {
        HookKind::ConnectionOpened | HookKind::ConnectionClosed => HookChange::Connection {
            connection: connection?,
            user: wire.user?,
            is_open: kind == HookKind::ConnectionOpened,
        },
        HookKind::UserOnline | HookKind::UserOffline => {
            HookChange::User { user: wire.user?, is_online: kind == HookKind::UserOnline }
        }
        HookKind::RoomCreated => HookChange::RoomCreated { room: room()?, by: wire.user? },
        HookKind::RoomClosed => {
            HookChange::RoomClosed { room: room()?, reason: if is_closed { "closed" } else { "idle" } }
        }
        HookKind::RoomOccupied | HookKind::RoomVacated => {
            HookChange::RoomOccupied { room: room()?, is_occupied: kind == HookKind::RoomOccupied }
        }
        HookKind::MemberJoined | HookKind::MemberLeft => {
            let (room, member) = (room()?, wire.member?);
            let is_member = kind == HookKind::MemberJoined;
            HookChange::Member { room, peer: member.name(), user: member.user(), is_member }
        }
        HookKind::MessagePublished | HookKind::MessageEdited | HookKind::MessageDeleted => {
            let room = room()?;
            HookChange::Message(Arc::new(wire.message?.into_message(&room)))
        }
        HookKind::MessageToOfflineUser => {
            HookChange::OfflineMessage { user: wire.user?, direct: Arc::new((*wire.direct?).into()) }
        }
    };
    let id = match &change {
        HookChange::Message(message) => message.id,
        _ => event_id(stream_id)?,
    };
    Some(HookEvent { id, at: wire.at, change })
}

/// The id of an event, from its id in the stream: the time, and a number.
fn event_id(stream_id: &str) -> Option<Uuid> {
    let (ms, number) = stream_id.split_once('-')?;
    let mut rest = [0; 10];
    rest[2..].copy_from_slice(&number.parse::<u64>().ok()?.to_be_bytes());
    Some(uuid::Builder::from_unix_timestamp_millis(ms.parse().ok()?, &rest).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_of_a_script_is_decoded() {
        let keys = KeySchema::new("p");
        let vacated = decode_hook(&keys, "17-3", br#"{"k":64,"t":17,"r":"p:room:{a%7Db}"}"#).expect("an event");
        assert_eq!(vacated.change.kind(), HookKind::RoomVacated);
        assert_eq!((vacated.change.room().map(|room| &**room), vacated.at), (Some("a}b"), 17));
        let other = decode_hook(&keys, "17-4", br#"{"k":128,"t":17,"r":"p:room:{a}","c":1}"#).expect("an event");
        assert!(matches!(other.change, HookChange::RoomClosed { reason: "closed", .. }));
        assert!(vacated.id < other.id, "ids are in the order of the stream");
    }

    #[test]
    fn unknown_event_is_none() {
        let keys = KeySchema::new("p");
        for event in [&b"{}"[..], b"x", br#"{"k":3,"t":1}"#, br#"{"k":64,"t":1,"r":"q:room:{a}"}"#, br#"{"k":4,"t":1}"#]
        {
            assert!(decode_hook(&keys, "1-0", event).is_none());
        }
        assert!(decode_hook(&keys, "x", br#"{"k":4,"t":1,"u":"ann"}"#).is_none());
    }
}
