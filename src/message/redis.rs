//! What a keeper of rooms in Redis and whoever speaks with Redis tell each other. The keeper knows of Redis nothing but
//! this: calls of scripts go out, each with a ticket, and an answer to each comes in; channels are followed, and what is
//! published there comes in. Behind it stands the thread with the connections, or a test's own.
//!
//! # What is promised to the keeper
//!
//! 1. **One answer per call**, in bounded time; a call whose answer was lost on the way may have been done all the same.
//! 2. **In order**: calls that name the same first key are done in the order in which they were given.
//! 3. What is published may be lost, but is not altered or told out of order by one and the same Redis.
//! 4. After [`RedisEvent::Subscribed`] nothing that is published is missed, but for what 3 says.

use smallvec::SmallVec;

/// A script, as Redis runs it.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    /// Its name: that of the op it does.
    pub name: &'static str,
    /// Its text, in Lua.
    pub source: &'static str,
}

/// A text for Redis or from it.
pub type Bytes = Box<[u8]>;

/// One call of a script.
#[derive(Clone, Debug)]
pub struct ScriptCall {
    /// What its answer will carry.
    pub ticket: u32,
    /// The script.
    pub script: &'static Script,
    /// The keys it begins with; all of one call are kept by the same server of a cluster.
    pub keys: SmallVec<[Bytes; 1]>,
    /// Its arguments. If the one at [`ScriptCall::SERVER`] is empty, whoever carries the call out puts there the name of the
    /// server that does it, if one is known.
    pub arguments: Vec<Bytes>,
}

impl ScriptCall {
    /// The place of the argument that says which server does the call, where that is not a cluster's matter.
    pub const SERVER: usize = 2;
}

/// What a keeper has for Redis, in order.
#[derive(Debug)]
pub enum RedisCommand {
    /// Have this done.
    ScriptCall(ScriptCall),
    /// Listen to a channel.
    Subscribe(Bytes),
    /// Listen to it no longer.
    Unsubscribe(Bytes),
    /// Publish something outside of a script.
    Publish {
        /// Where.
        channel: Bytes,
        /// What.
        body: Bytes,
    },
}

/// What Redis has to say.
#[derive(Debug)]
pub enum RedisEvent {
    /// The answer to a call: what its script returned, as JSON.
    Reply {
        /// The call's.
        ticket: u32,
        /// What came of it.
        outcome: Result<Bytes, CallError>,
    },
    /// Something was published.
    Published {
        /// Where.
        channel: Bytes,
        /// What.
        body: Bytes,
    },
    /// A channel is listened to from now on, perhaps again after a time when it was not.
    Subscribed(Bytes),
    /// Whether there is a connection. While there is none, what was published is missed and calls fail.
    State(RedisState),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// There is no connection, or none came in time. What was called may have been done.
    Away,
    /// Redis keeps nothing new for now, in its own words. Nothing was done.
    Full(Box<str>),
    /// Redis refused, in its own words.
    Rejected(Box<str>),
}

/// How Redis is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedisState {
    /// It answers.
    Good,
    /// It answers, but keeps nothing new: its memory or its disk is full, or too few replicas follow it.
    Full,
    /// It does not.
    #[default]
    Away,
}
