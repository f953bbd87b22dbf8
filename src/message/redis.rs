//! Commands and events between the owner of rooms and users in Redis and the thread with the connections to Redis. The owner
//! knows no more of Redis than this: it calls scripts, each call with a ticket, and gets one reply to each; it subscribes to
//! channels, and gets their publications. A test can take the place of the thread.
//!
//! # Guarantees for the owner
//!
//! 1. **One reply per call**, in bounded time; a call without an answer of Redis can have been done all the same.
//! 2. **Order**: calls with the same first key are done in the order in which they were given.
//! 3. Publications can be lost, but they are not altered, and those of one Redis server are not reordered.
//! 4. After [`RedisEvent::Subscribed`] all publications come, except for what 3 says.

use smallvec::SmallVec;

/// A Lua script.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    /// Name of the operation that it does.
    pub name: &'static str,
    /// Source text.
    pub source: &'static str,
}

/// A text for Redis or from it.
pub type Bytes = Box<[u8]>;

/// A call of a script.
#[derive(Clone, Debug)]
pub struct ScriptCall {
    /// Number that the reply carries.
    pub ticket: u32,
    /// The script.
    pub script: &'static Script,
    /// Its keys; one server of a cluster keeps all of them.
    pub keys: SmallVec<[Bytes; 1]>,
    /// Its arguments. The bridge replaces an empty argument at [`ScriptCall::SERVER`] by the name of the server, if it is
    /// known.
    pub arguments: Vec<Bytes>,
}

impl ScriptCall {
    /// Position of the argument with the name of the server.
    pub const SERVER: usize = 2;
}

/// A command for Redis.
#[derive(Debug)]
pub enum RedisCommand {
    /// Call a script.
    ScriptCall(ScriptCall),
    /// Subscribe to a channel.
    Subscribe(Bytes),
    /// Unsubscribe from a channel.
    Unsubscribe(Bytes),
    /// Publish a message outside of a script.
    Publish {
        /// The channel.
        channel: Bytes,
        /// The message.
        body: Bytes,
    },
}

/// An event of Redis.
#[derive(Debug)]
pub enum RedisEvent {
    /// The reply to a call.
    Reply {
        /// Ticket of the call.
        ticket: u32,
        /// The script's answer as JSON, or the reason why there is none.
        outcome: Result<Bytes, CallError>,
    },
    /// A publication.
    Published {
        /// The channel.
        channel: Bytes,
        /// The message.
        body: Bytes,
    },
    /// A subscription is confirmed; again after an interruption, in which publications were lost.
    Subscribed(Bytes),
    /// The connection has begun or ended. Without it, publications are lost and calls fail.
    State(RedisState),
}

/// The reason why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// No connection, or no answer in time. Redis can have done the call.
    Away,
    /// Redis rejects writes, with its error text. The call was not done.
    Full(Box<str>),
    /// Redis has refused the call, with its error text.
    Rejected(Box<str>),
}

/// State of Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedisState {
    /// Redis answers.
    Ready,
    /// Redis answers, but rejects writes: its memory or disk is full, or it has too few replicas.
    ReadOnly,
    /// Some servers of a cluster do not answer, or some slots have no server: calls with their keys fail.
    Partial,
    /// Redis does not answer.
    #[default]
    Unreachable,
}
