//! The inputs and outputs of an operation while an owner applies it: time, randomness and rules in, events and records
//! out.

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::domain::connection_mode::ModeRules;
use crate::domain::event::Event;
use crate::domain::hook::{HookEvent, HookKinds};
use crate::domain::record::Record;

/// An event and its audience.
#[derive(Debug)]
pub struct AddressedEvent {
    /// The receivers.
    pub audience: Audience,
    /// The event.
    pub event: Event,
}

/// The receivers of an event.
#[derive(Debug)]
pub enum Audience {
    /// The members of the operation's room.
    Members {
        /// One connection that does not receive it.
        except: Option<ConnectionId>,
    },
    /// One connection.
    Connection(ConnectionId),
    /// All connections of a user.
    User(Name),
    /// The observers of the operation's user: all users, or the members of that user's rooms ([`RoomRules::presence_scope`]).
    Observers {
        /// One connection that does not receive it.
        except: Option<ConnectionId>,
        /// Rooms of the user's connections that have ended.
        rooms: Vec<Name>,
    },
    /// The members of a room that a connection has joined, if presence is announced by room.
    Acquaintances {
        /// The connection; it does not receive the event.
        connection: ConnectionId,
        /// The room.
        room: Name,
    },
}

/// The rules of rooms and users, from the settings.
#[derive(Clone, Debug)]
pub struct RoomRules {
    /// In rooms with more members than this, joins and leaves are counted, not announced.
    pub announce_limit: usize,
    /// Members per room unless its creator set a limit; 0 is unlimited.
    pub max_participants: usize,
    /// Whether there is a store; without one no record is kept.
    pub has_store: bool,
    /// Whether records outlive the process, so that records for a restart are worth keeping.
    pub outlives_process: bool,
    /// Whether the creator of a room by joining is its host.
    pub joined_have_host: bool,
    /// Whether a room's messages are kept unless its creator decided.
    pub history: bool,
    /// How long messages are kept, in milliseconds; 0 is for ever.
    pub keep_ms: u64,
    /// Grace period: how long after the loss of their last connection a user stays online, in milliseconds.
    pub presence_grace_ms: u64,
    /// The audience of presence events.
    pub presence_scope: Scope,
    /// Connections per user; 0 is unlimited.
    pub connections_per_user: usize,
    /// Rooms that a user may have made; 0 is unlimited.
    pub rooms_per_user: usize,
    /// Bytes of signaling messages that a member may be relayed at once; 0 is unlimited.
    pub signal_bytes: usize,
    /// Bytes of direct messages that may wait for a user; 0 is unlimited.
    pub direct_bytes: usize,
    /// When rooms change their connection mode.
    pub mode: ModeRules,
    /// REST requests per user and minute; 0 is unlimited.
    pub rest_per_minute: u32,
    /// How long a stream stays open without a piece, in milliseconds.
    pub stream_idle_ms: u64,
    /// The kinds of hook events that are made; with the counterpart of each.
    pub hooks: HookKinds,
}

/// The audience of presence events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All users while there are few, else the members of shared rooms.
    Auto,
    /// All users.
    All,
    /// The members of shared rooms.
    Rooms,
    /// No user.
    None,
}

/// The inputs of an operation, and the lists for its events and records.
pub struct OpContext<'a> {
    /// The time.
    pub now: Now,
    /// Randomness.
    pub rng: &'a mut Rng,
    /// The rules.
    pub rules: &'a RoomRules,
    /// The events to deliver, in order.
    pub events: &'a mut Vec<AddressedEvent>,
    /// The records to keep, in order.
    pub records: &'a mut Vec<Record>,
    /// The hook events, in order.
    pub hooks: &'a mut Vec<HookEvent>,
}

impl OpContext<'_> {
    /// Addresses an event to the members of the room, except one connection.
    pub fn tell_members(&mut self, except: Option<ConnectionId>, event: Event) {
        self.events.push(AddressedEvent { audience: Audience::Members { except }, event });
    }

    /// Addresses an event to one connection.
    pub fn tell(&mut self, connection: ConnectionId, event: Event) {
        self.events.push(AddressedEvent { audience: Audience::Connection(connection), event });
    }

    /// Makes the id of a new message.
    pub fn message_id(&mut self) -> Uuid {
        message_id(self.rng, self.now)
    }
}

/// Makes the id of a new message (UUIDv7, RFC 9562 §5.7): the time, then randomness.
pub fn message_id(rng: &mut Rng, now: Now) -> Uuid {
    let mut random = [0; 10];
    rng.fill(&mut random);
    uuid::Builder::from_unix_timestamp_millis(now.wall, &random).into_uuid()
}
