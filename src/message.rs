//! Layer 2½: the messages between the threads of a process, and the choice of the thread that receives each.
//!
//! A shard sends a request to the owner of its subject. [`Placement`] maps a room or user to its owner: a shard of this
//! process, or the bridge if Redis owns rooms and users. Messages between two threads keep their order; the messages of a
//! room from its owner to a shard are therefore in the room's order.

pub mod redis;
pub mod storage;

use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::map::home;
use crate::base::wheel::Tick;
use crate::codec::jwt::Verifier;
use crate::dialect::encoded_event::EncodedEvent;
use crate::domain::access::Identity;
use crate::domain::app::{AppMessage, AppOffset, AppSession};
use crate::domain::decision::DecisionOutcome;
use crate::domain::event::{Direct, Event};
use crate::domain::log_filter::LogFilterChange;
use crate::domain::monitoring::{Figures, Stats};
use crate::domain::op::{Op, Reply, RoomRules};
use crate::domain::quota::{Expense, QuotaGrant, QuotaRequest, Rates};
use crate::domain::reject::Reject;
use crate::domain::revocation::RevocationChange;
use crate::domain::trace::TraceChange;

/// The index of a shard in this process.
pub type ShardNumber = u8;

/// The bridge's place among the receivers of messages. No shard has this number.
pub const BRIDGE: ShardNumber = ShardNumber::MAX;

/// The return address of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requester {
    /// The shard, or [`BRIDGE`].
    pub shard: ShardNumber,
    /// The request's number among the pending requests of the requester.
    pub ask: u32,
}

impl Requester {
    /// The reply to this requester, with its receiver.
    pub fn reply(self, reply: Result<Reply, Reject>) -> Outgoing {
        (self.shard, ThreadMessage::Reply { ask: self.ask, reply })
    }
}

/// An item of the channel into a shard, or of the output of an owner.
#[derive(Debug)]
pub enum ThreadMessage {
    /// For a shard.
    Shard(ShardMessage),
    /// For an owner: a shard, or the bridge.
    Owner(OwnerMessage),
    /// The one reply to a request, for a shard or the bridge.
    Reply {
        /// The request's number at the requester.
        ask: u32,
        /// The result of the operation.
        reply: Result<Reply, Reject>,
    },
}

/// An item of the channel into the bridge.
#[derive(Debug)]
pub enum BridgeMessage {
    /// A request or notice for Redis as the owner.
    Owner(OwnerMessage),
    /// The one reply to a request of the bridge.
    Reply {
        /// The request's number.
        ask: u32,
        /// The result of the operation.
        reply: Result<Reply, Reject>,
    },
    /// Rules and quotas that have changed.
    Rules(Arc<RoomRules>, Rates),
}

impl TryFrom<ThreadMessage> for BridgeMessage {
    type Error = ShardMessage;

    fn try_from(message: ThreadMessage) -> Result<Self, ShardMessage> {
        match message {
            ThreadMessage::Owner(message) => Ok(Self::Owner(message)),
            ThreadMessage::Reply { ask, reply } => Ok(Self::Reply { ask, reply }),
            ThreadMessage::Shard(message) => Err(message),
        }
    }
}

impl From<ShardMessage> for ThreadMessage {
    fn from(message: ShardMessage) -> Self {
        Self::Shard(message)
    }
}

impl From<OwnerMessage> for ThreadMessage {
    fn from(message: OwnerMessage) -> Self {
        Self::Owner(message)
    }
}

/// A message to an owner of rooms, users, quotas or connections: a shard, or the bridge on behalf of Redis.
#[derive(Debug)]
pub enum OwnerMessage {
    /// Request: an operation for the owner of its subject.
    Request {
        /// The address of the reply.
        from: Requester,
        /// The operation.
        op: Op,
    },
    /// Event for all connections of a user.
    NotifyUser {
        /// The user.
        user: Name,
        /// The event.
        event: Event,
    },
    /// Presence update for all members of a room.
    RoomPresence {
        /// The room.
        room: Name,
        /// The update, for members on any shard.
        update: Arc<PresenceUpdate>,
    },
    /// Acknowledgement: a connection of the user has received a direct message.
    DurableDelivered {
        /// The user.
        user: Name,
        /// The direct message.
        id: Uuid,
    },
    /// Message about a namespace of the application: for its hub, the shard of this process that orders it, or for the bridge,
    /// which has all nodes get it.
    App(Arc<AppMessage>),
    /// Quota request: a shard's consumption of a user's quota, and its need for more.
    QuotaRequest {
        /// The shard that the grant goes to.
        from: ShardNumber,
        /// Consumption and need.
        request: QuotaRequest,
    },
    /// Recovery request: a client has returned on a new connection. The owner of the former connection closes it, and the
    /// reply carries its session.
    Supersede {
        /// The former connection.
        connection: ConnectionId,
        /// The connection that a Socket.IO session moves to, under the same token; `None`: a raw session is used up.
        to: Option<ConnectionId>,
        /// The recovery token that the client presents.
        token: Box<str>,
        /// The client's identity.
        by: Identity,
        /// The address of the reply.
        from: Requester,
    },
}

/// A message that only a shard receives.
///
/// Messages about client addresses are among them: a shard owns an address even if Redis owns rooms and users.
#[derive(Debug)]
pub enum ShardMessage {
    /// Event for one connection.
    Deliver {
        /// The connection.
        to: ConnectionId,
        /// The event.
        event: Event,
    },
    /// Direct message for one connection of a user; [`OwnerMessage::DurableDelivered`] acknowledges it.
    DeliverDurable {
        /// The connection.
        to: ConnectionId,
        /// The user.
        user: Name,
        /// The direct message.
        direct: Arc<Direct>,
    },
    /// Event for the members of a room on the shard.
    Publish {
        /// The room.
        room: Name,
        /// A member that does not receive the event.
        except: Option<ConnectionId>,
        /// The encoded event.
        packed: Arc<EncodedEvent>,
    },
    /// Last event for the members of a room; the room is then closed.
    Close {
        /// The room.
        room: Name,
        /// The encoded event.
        packed: Arc<EncodedEvent>,
    },
    /// Message about a namespace of the application, from its hub or for it.
    App(Box<AppShare>),
    /// A connection to be closed, so that its client returns by a new one: its rooms have gone on without this node.
    Reconnect {
        /// The connection.
        connection: ConnectionId,
    },
    /// Presence of a user, for connections on the shard.
    PresenceUpdate {
        /// The connections that receive the update.
        reach: UpdateReach,
        /// The update, shared by all shards.
        update: Arc<PresenceUpdate>,
    },
    /// Presence list of a room, to be published: the shard that owns the room queries the owners of its users first.
    OnlineUsers {
        /// The room.
        room: Name,
        /// Its users.
        users: Arc<[Name]>,
    },
    /// Admission request to the shard that owns the client's address.
    AdmissionRequest {
        /// The connection to be admitted.
        connection: ConnectionId,
        /// The client's address.
        address: IpAddr,
    },
    /// Reply to an admission request.
    AdmissionVerdict {
        /// The connection.
        connection: ConnectionId,
        /// The client's address.
        address: IpAddr,
        /// Admitted, or the reason for the refusal.
        verdict: Result<(), Reject>,
    },
    /// An attempt was refused; for the shard that owns the client's address.
    AttemptRefused {
        /// The client's address.
        address: IpAddr,
    },
    /// An address is blocked, from its owner to all shards.
    AddressBlocked {
        /// The address.
        address: IpAddr,
        /// The refusal of its attempts, with the time that it is blocked for.
        block: Reject,
    },
    /// An admitted connection has ended; for the shard that owns the client's address.
    AddressReleased {
        /// The client's address.
        address: IpAddr,
    },
    /// A socket has been accepted; for the shard that owns the client's address.
    SocketOpened {
        /// The connection.
        connection: ConnectionId,
        /// The client's address.
        address: IpAddr,
        /// Whether it may be refused: it has not moved from another shard.
        is_new: bool,
    },
    /// The address of a socket has too many of them; from its owner.
    SocketRefused {
        /// The connection.
        connection: ConnectionId,
    },
    /// A socket is closed; for the shard that owns the client's address.
    SocketClosed {
        /// The client's address.
        address: IpAddr,
    },
    /// A user has made as many rooms as they may, or fewer again; from the shard that has found out.
    AllRoomsMade {
        /// The user.
        user: Name,
        /// Whether no more can be made.
        is_full: bool,
    },
    /// Another shard needs room for a connection: one that nobody has authenticated is to be closed.
    MakeRoom {
        /// The tick before which the connection must have been idle.
        idle_before: Tick,
    },
    /// What a spender has spent on another shard.
    Expense(Expense),
    /// Quota lease for the shard, from the user's owner.
    QuotaGrant(QuotaGrant),
    /// The application's answer to a question of the shard.
    Decided {
        /// The number of the question.
        number: u32,
        /// The answer.
        outcome: DecisionOutcome,
    },
    /// Receipt, reply or state of the storage threads.
    Storage(storage::StorageEvent),
    /// Counters of another shard.
    ShardReport {
        /// The shard that sends the report.
        from: ShardNumber,
        /// Its counters.
        report: Box<ShardReport>,
    },
    /// Change of the state of Redis, in cluster mode.
    RedisState(redis::RedisState),
    /// Change of the keys that verify tokens.
    Keys(Arc<Verifier>),
    /// A request to the issuer of this index has ended that began then (monotonic milliseconds), and so have those before it;
    /// its keys came before. `None`: other issuers are in force.
    KeysFetched(Option<(usize, u64)>),
    /// Change of the filters of the log.
    LogFilter(LogFilterChange),
    /// Beginning or end of a trace, or frames for one.
    Trace(TraceChange),
    /// Change of the list of revocations; every shard has all of it.
    Revocation(RevocationChange),
    /// Start of an orderly shutdown.
    Drain {
        /// Time until all connections are closed, in milliseconds.
        window_ms: u64,
    },
}

/// A message between the hub of a namespace of the application and a shard with sockets in it.
#[derive(Debug)]
pub enum AppShare {
    /// An act on sockets, in the order of the namespace; or acknowledgements for the shard.
    Apply(Arc<AppMessage>),
    /// A client has come back, and asks the hub for its session.
    Claim {
        /// Its new connection.
        connection: ConnectionId,
        /// The namespace.
        namespace: Name,
        /// The secret that it shows.
        secret: Box<str>,
        /// The last event that it has; without one, the session tells where it began.
        offset: Option<AppOffset>,
        /// Its user.
        user: Name,
        /// The payload of its CONNECT, for a question to the application.
        auth: Option<Box<str>>,
    },
    /// The hub's reply: the session, and the events since, each for some sockets.
    Claimed {
        /// The new connection.
        connection: ConnectionId,
        /// The session; `None` where it is not known, or an event may be missing.
        found: Option<(AppSession, Vec<Arc<AppMessage>>)>,
        /// The payload of its CONNECT.
        auth: Option<Box<str>>,
    },
    /// Messages from other nodes may have been lost: no lost connection can be recovered that has not been yet.
    Gap,
}

/// Counters of one shard, reported to the other shards.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShardReport {
    /// Counters of its connections.
    pub figures: Figures,
    /// All other counters.
    pub stats: Stats,
    /// Age of the oldest record without a receipt, in milliseconds.
    pub storage_lag_ms: u64,
}

/// A change of a user's presence, encoded.
#[derive(Debug)]
pub struct PresenceUpdate {
    /// The user.
    pub user: Name,
    /// Order among the updates of this user; later updates have larger numbers.
    pub number: u64,
    /// A connection that does not receive the update.
    pub except: Option<ConnectionId>,
    /// The encoded event.
    pub packed: EncodedEvent,
}

/// The connections on a shard that receive a presence update.
#[derive(Clone, Debug)]
pub enum UpdateReach {
    /// Every connection on the shard.
    Everyone,
    /// The members of a room on the shard.
    Members(Name),
    /// One connection. The shard also sends the update to the owners of the connection's rooms.
    Around(ConnectionId),
}

/// The owners of rooms and users.
#[derive(Clone, Copy, Debug)]
pub enum Placement {
    /// Each shard of this process owns a part.
    Embedded {
        /// Number of shards.
        shards: usize,
    },
    /// Redis is the owner, for all nodes that share it.
    Cluster {
        /// Number of shards of this process.
        shards: usize,
    },
}

impl Placement {
    /// The placement for a node number. A process without Redis has node number 0.
    pub fn for_node(node: u16, shards: usize) -> Self {
        if node == 0 { Self::Embedded { shards } } else { Self::Cluster { shards } }
    }

    /// The owner of a room or user.
    pub fn of(&self, name: &str) -> ShardNumber {
        match self {
            Self::Embedded { shards: 1 } => 0,
            Self::Embedded { shards } => home(name, *shards) as ShardNumber,
            Self::Cluster { .. } => BRIDGE,
        }
    }

    /// The shard that owns state which each process keeps for itself, such as the counters of an address.
    pub fn local(&self, name: &str) -> ShardNumber {
        home(name, self.shards()) as ShardNumber
    }

    /// The owner of the list of revocations.
    pub fn of_revocations(&self) -> ShardNumber {
        self.of("")
    }

    /// Number of shards of this process.
    pub fn shards(&self) -> usize {
        match self {
            Self::Embedded { shards } | Self::Cluster { shards } => *shards,
        }
    }

    /// The other shards of this process.
    pub fn other_shards(&self, shard: ShardNumber) -> impl Iterator<Item = ShardNumber> + use<> {
        let shards = self.shards() as ShardNumber;
        (0..shards).filter(move |other| *other != shard)
    }

    /// Number of channels of this process. In cluster mode the last one leads to the bridge.
    pub fn channels(&self) -> usize {
        self.shards() + usize::from(self.is_cluster())
    }

    /// Index of the channel to a shard or to [`BRIDGE`] among `channels`.
    pub fn channel_index(to: ShardNumber, channels: usize) -> usize {
        usize::from(to).min(channels - 1)
    }

    /// Whether Redis owns rooms and users.
    pub fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster { .. })
    }

    /// The receiver of messages about a namespace of the application: its hub, or the bridge.
    pub fn of_app(&self, namespace: &str) -> ShardNumber {
        if self.is_cluster() { BRIDGE } else { self.local(namespace) }
    }

    /// The receiver of `shard`'s requests that no single owner can answer: the bridge, or the shard itself.
    pub fn coordinator(&self, shard: ShardNumber) -> ShardNumber {
        if self.is_cluster() { BRIDGE } else { shard }
    }

    /// The other shards that own a part of the rooms and users.
    pub fn other_owners(&self, shard: ShardNumber) -> impl Iterator<Item = ShardNumber> + use<> {
        let has_owners = !self.is_cluster();
        self.other_shards(shard).filter(move |_| has_owners)
    }
}

/// A message and its receiver: a shard, or [`BRIDGE`].
pub type Outgoing = (ShardNumber, ThreadMessage);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_between_threads_are_small() {
        // Larger ones than 128 bytes are moved by calls, which a message pays for several times.
        assert!(size_of::<ThreadMessage>() <= 96, "{} bytes", size_of::<ThreadMessage>());
    }
}
