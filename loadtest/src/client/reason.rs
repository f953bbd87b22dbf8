//! Why a client closed.

use std::fmt;

/// Longest part of a server's own words that is kept.
const WORDS_BYTES_MAX: usize = 200;

/// Why a client closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A connection could not be made, or ended while it was needed.
    Ended,
    /// An HTTP request was answered with this status.
    Status(u16),
    /// The server refused the namespace, in these words.
    Refused(Box<str>),
    /// The server said goodbye.
    Left,
    /// The client itself did.
    Gone,
    /// The server broke the protocol.
    Fault(&'static str),
}

impl Reason {
    /// The namespace was refused with this JSON.
    pub(super) fn refused(json: &[u8]) -> Self {
        Self::Refused(String::from_utf8_lossy(&json[..json.len().min(WORDS_BYTES_MAX)]).into())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => write!(out, "the connection ended"),
            Self::Status(status) => write!(out, "the server answered with HTTP status {status}"),
            Self::Refused(words) => write!(out, "the server refused the namespace: {words}"),
            Self::Left => write!(out, "the server closed the conversation"),
            Self::Gone => write!(out, "the client left"),
            Self::Fault(what) => write!(out, "the server broke the protocol: {what}"),
        }
    }
}
