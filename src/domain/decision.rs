//! Hooks that decide: questions to the application by HTTP, whose answers permit or refuse, and say more.

use std::sync::Arc;

use crate::base::Name;
use crate::domain::app::{AppPacket, AppRequest};
use crate::domain::grants::GrantActions;
use crate::domain::hook::matches;

/// A kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DecisionKind {
    /// Whether a client may connect.
    Connect,
    /// Whether a client may join a room.
    Join,
    /// Whether a client may publish a message.
    Publish,
    /// What becomes of an event of a socket.
    Event,
}

impl DecisionKind {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Join, Self::Publish, Self::Event];

    /// Its name in settings and requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Join => "join",
            Self::Publish => "publish",
            Self::Event => "event",
        }
    }
}

/// The rules of a hook that is configured, as a shard needs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRules {
    /// Whether a failure of the hook permits what was asked.
    pub opens_on_failure: bool,
    /// How long an answer is good for the same question, in milliseconds.
    pub cache_ms: u64,
    /// Names of namespaces, or of rooms, that it is asked about, in which `*` stands for any characters; empty: all.
    pub only: Arc<[Box<str>]>,
}

impl DecisionRules {
    /// Whether it is asked about a namespace, or a room.
    pub fn asks_about(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| matches(pattern, name))
    }
}

/// The hooks that are configured, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions([Option<DecisionRules>; DecisionKind::ALL.len()]);

impl Decisions {
    /// Sets the rules of a hook.
    #[must_use]
    pub fn with(mut self, kind: DecisionKind, rules: DecisionRules) -> Self {
        self.0[kind as usize] = Some(rules);
        self
    }

    /// The rules of a hook, if it is configured.
    pub fn rules(&self, kind: DecisionKind) -> Option<&DecisionRules> {
        self.0[kind as usize].as_ref()
    }
}

/// A question, for the threads that send it.
#[derive(Debug, PartialEq, Eq)]
pub struct DecisionCall {
    /// Its kind.
    pub kind: DecisionKind,
    /// The shard that asks.
    pub shard: u8,
    /// The number of the question there.
    pub number: u32,
    /// The namespace.
    pub namespace: Name,
    /// The request, as JSON.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The refusal, if it is one.
    pub refusal: Option<DecisionRefusal>,
    /// The user that the client is, in place of that of its token.
    pub user: Option<Name>,
    /// The name to show of that user.
    pub username: Option<Box<str>>,
    /// Rooms with actions that the client is limited to, in place of the grants of its token.
    pub grants: Option<Vec<(Box<str>, GrantActions)>>,
    /// Rooms that the socket joins.
    pub join: Vec<Name>,
    /// Rooms that it leaves.
    pub leave: Vec<Name>,
    /// A JSON value that goes with later questions about the socket.
    pub data: Option<Box<str>>,
    /// The arguments of the acknowledgement.
    pub ack: Option<AppPacket>,
    /// Further acts.
    pub emit: Vec<AppRequest>,
}

/// A refusal by the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRefusal {
    /// Its code.
    pub code: Box<str>,
    /// Its text.
    pub message: Box<str>,
}

/// The reason that a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionFailure {
    /// Too many questions wait.
    Full,
    /// The application did not answer in time, or not as it should.
    Failed,
}

/// The result of a question.
pub type DecisionOutcome = Result<Box<Decision>, DecisionFailure>;
