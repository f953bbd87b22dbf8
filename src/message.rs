//! Layer 2½: what crosses threads, and who gets it.
//!
//! A shard never knows whether it runs alone or with others: it asks about a room or a user, and [`Placement`] says who
//! answers. Mail between two shards keeps its order; between a room's home and a shard that order is the room's.

pub mod redis;
pub mod storage;

use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::map::home;
use crate::codec::jwt::Verifier;
use crate::dialect::encoded_event::EncodedEvent;
use crate::domain::access::Identity;
use crate::domain::event::{Direct, Event};
use crate::domain::monitoring::{Figures, Stats};
use crate::domain::op::{Op, Reply};
use crate::domain::quota::{QuotaGrant, QuotaRequest};
use crate::domain::reject::Reject;

/// A shard of this process, by number.
pub type ShardNumber = u8;

/// Takes mail as shards do, where Redis keeps rooms and users: whoever speaks with it.
pub const BRIDGE: ShardNumber = ShardNumber::MAX;

/// Who put a question, so that the answer finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requester {
    /// The shard that asks.
    pub shard: ShardNumber,
    /// The question's number among those the shard has under way.
    pub ask: u32,
}

/// Anything that one thread tells another.
#[derive(Debug)]
pub enum ShardMessage {
    /// A question to whoever keeps the room or the user.
    Request {
        /// Who asks.
        from: Requester,
        /// What.
        op: Op,
    },
    /// The one answer to a question.
    Reply {
        /// The question's number at the asker.
        ask: u32,
        /// The answer.
        reply: Result<Reply, Reject>,
    },
    /// Something one connection is told.
    Deliver {
        /// The connection.
        to: ConnectionId,
        /// What.
        event: Event,
    },
    /// A message that is kept for a user, for one of their connections.
    DeliverDurable {
        /// The connection.
        to: ConnectionId,
        /// The user.
        user: Name,
        /// The message.
        direct: Arc<Direct>,
    },
    /// A connection of a user has the message that was handed to it.
    DurableDelivered {
        /// The user.
        user: Name,
        /// The message.
        id: Uuid,
    },
    /// Something a room's members on this shard are told.
    Publish {
        /// The room.
        room: Name,
        /// The member that is not told.
        except: Option<ConnectionId>,
        /// What, encoded.
        packed: Arc<EncodedEvent>,
    },
    /// A room is no more; what its members are told of it.
    Close {
        /// The room.
        room: Name,
        /// What, encoded.
        packed: Arc<EncodedEvent>,
    },
    /// How a user is, on its way to those who are to know.
    PresenceUpdate {
        /// Who they are.
        reach: UpdateReach,
        /// What they are told.
        news: Arc<PresenceUpdate>,
    },
    /// The members of a room are to be told which of its users are online; for the room's home, which asks the users'.
    OnlineUsers {
        /// The room.
        room: Name,
        /// Its users.
        users: Arc<[Name]>,
    },
    /// Something all connections of a user are told, on its way to the user's home.
    NotifyUser {
        /// The user.
        user: Name,
        /// What.
        event: Event,
    },
    /// A connection wants to stay; for the home of its client's address.
    AdmissionRequest {
        /// The connection.
        connection: ConnectionId,
        /// Its client's address.
        address: IpAddr,
    },
    /// Whether it may.
    AdmissionVerdict {
        /// The connection.
        connection: ConnectionId,
        /// Its client's address.
        address: IpAddr,
        /// If not, why.
        verdict: Result<(), Reject>,
    },
    /// A connection that stayed is no more; for the home of its client's address.
    AddressReleased {
        /// The address.
        address: IpAddr,
    },
    /// A shard tells a user's home what it has spent of the user's allowance, or asks for more.
    QuotaRequest {
        /// The shard.
        from: ShardNumber,
        /// What.
        claim: QuotaRequest,
    },
    /// A user's home tells a shard what it may spend of the user's allowance.
    QuotaGrant(QuotaGrant),
    /// The store has something to say.
    Storage(storage::StorageEvent),
    /// A client has come back on another connection, and wants to go on where this one was: it ends if it is still there,
    /// and what is noted of it is used up, or passed on.
    Supersede {
        /// The connection.
        connection: ConnectionId,
        /// The connection that what is noted is passed on to, under the same token; `None`: it is used up.
        to: Option<ConnectionId>,
        /// What the client shows for it.
        token: Box<str>,
        /// Who the client is.
        by: Identity,
        /// Who asks for what is noted.
        from: Requester,
    },
    /// What another shard counts.
    ShardReport {
        /// The shard.
        from: ShardNumber,
        /// What it counts.
        pulse: Box<ShardReport>,
    },
    /// How Redis is, where that keeps rooms and users.
    RedisState(redis::RedisState),
    /// The keys that tokens are verified by have changed.
    Keys(Arc<Verifier>),
    /// The server is to stop: tell everyone, and close all connections within the time.
    Drain {
        /// How long that may take, in milliseconds.
        window_ms: u64,
    },
}

/// What a shard counts, as it tells the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShardReport {
    /// Of its connections.
    pub figures: Figures,
    /// Of everything else.
    pub stats: Stats,
    /// The age of the oldest record that the store has not kept yet, in milliseconds.
    pub storage_lag_ms: u64,
}

/// How a user is.
#[derive(Debug)]
pub struct PresenceUpdate {
    /// The user.
    pub user: Name,
    /// Which news of the user it is; later ones have larger numbers.
    pub number: u64,
    /// The connection that is not told.
    pub except: Option<ConnectionId>,
    /// What, encoded.
    pub packed: EncodedEvent,
}

/// Who is told some news.
#[derive(Clone, Debug)]
pub enum UpdateReach {
    /// Every connection on this shard.
    Everyone,
    /// The members of a room on this shard.
    Members(Name),
    /// All members of a room; for the room's home.
    Room(Name),
    /// A connection on this shard, and all members of the rooms it is in.
    Around(ConnectionId),
}

/// Who keeps rooms and users.
#[derive(Clone, Copy, Debug)]
pub enum Placement {
    /// The shards of this process, each its part.
    Embedded {
        /// How many there are.
        shards: usize,
    },
    /// Redis, for all nodes that share it.
    Cluster {
        /// Shards of this process.
        shards: usize,
    },
}

impl Placement {
    /// Who keeps rooms and users for a node of this number: 0 is the number of one that is alone.
    pub fn for_node(node: u16, shards: usize) -> Self {
        if node == 0 { Self::Embedded { shards } } else { Self::Cluster { shards } }
    }

    /// The shard that answers for the room or user called `name`.
    pub fn of(&self, name: &str) -> ShardNumber {
        match self {
            Self::Embedded { shards: 1 } => 0,
            Self::Embedded { shards } => home(name, *shards) as ShardNumber,
            Self::Cluster { .. } => BRIDGE,
        }
    }

    /// The shard that keeps what every process counts for itself of whatever is called `name`.
    pub fn local(&self, name: &str) -> ShardNumber {
        home(name, self.shards()) as ShardNumber
    }

    /// How many shards this process has.
    pub fn shards(&self) -> usize {
        match self {
            Self::Embedded { shards } | Self::Cluster { shards } => *shards,
        }
    }

    /// How many mailboxes this process has: that of [`BRIDGE`], if there is one, is the last.
    pub fn mailboxes(&self) -> usize {
        self.shards() + usize::from(self.is_cluster())
    }

    /// Which of so many mailboxes is `to`'s.
    pub fn mailbox(to: ShardNumber, mailboxes: usize) -> usize {
        usize::from(to).min(mailboxes - 1)
    }

    /// Whether Redis keeps rooms and users.
    pub fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster { .. })
    }

    /// Whom `shard` asks what no single keeper can answer.
    pub fn whoever(&self, shard: ShardNumber) -> ShardNumber {
        if self.is_cluster() { BRIDGE } else { shard }
    }

    /// The keepers besides that one that `shard` has to ask the same.
    pub fn others(&self, shard: ShardNumber) -> impl Iterator<Item = ShardNumber> + use<> {
        let shards = if self.is_cluster() { 0 } else { self.shards() };
        (0..shards as ShardNumber).filter(move |other| *other != shard)
    }
}

/// A piece of mail and the shard it goes to.
pub type Outgoing = (ShardNumber, ShardMessage);
