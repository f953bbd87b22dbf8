//! Traces: a copy of the frames of one connection, user, room or address, for an admin who watches.

use std::fmt;
use std::net::IpAddr;

use crate::base::ids::ConnectionId;
use crate::domain::log_filter::LogSubject;

/// The subject of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceSubject {
    /// A connection, a user, or a room: frames that name it.
    Of(LogSubject),
    /// The clients at an address.
    Address(IpAddr),
}

impl fmt::Display for TraceSubject {
    /// The subject for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(subject) => subject.fmt(f),
            Self::Address(address) => write!(f, "address {address}"),
        }
    }
}

/// A trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The connection that gets the frames.
    pub to: ConnectionId,
    /// What is traced.
    pub subject: TraceSubject,
}

/// A message about a trace between threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceChange {
    /// A trace begins.
    Begin(Trace),
    /// The trace of this connection ends.
    End(ConnectionId),
    /// Frames for the trace of a connection, as lines.
    Frames {
        /// The connection.
        to: ConnectionId,
        /// The lines.
        lines: Box<[u8]>,
    },
}

/// The way of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameDirection {
    /// From a client.
    In,
    /// To a client.
    Out,
}

/// A frame of a trace.
#[derive(Clone, Copy, Debug)]
pub struct TracedFrame<'a> {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Its way.
    pub direction: FrameDirection,
    /// `text`, `binary`, `ping`, `pong`, `close`, or `poll` for what a polling client gets or sends at once.
    pub kind: &'static str,
    /// Bytes of the frame.
    pub size: usize,
    /// The connection.
    pub connection: ConnectionId,
    /// Its user, if it has authenticated.
    pub user: Option<&'a str>,
    /// The client's address.
    pub address: IpAddr,
    /// The text, secrets masked; `None` where it is binary or compressed.
    pub text: Option<&'a str>,
    /// Whether the text is only its beginning.
    pub is_cut: bool,
}
