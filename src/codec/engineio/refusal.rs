//! Why a request is refused, in the protocol's own words.

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineIoRefusal {
    /// No transport, or one that there is not.
    UnknownTransport = 0,
    /// No session of this id, any more or ever.
    UnknownSession = 1,
    /// A session begins with GET.
    HandshakeMethod = 2,
    /// The request does not fit the session's state.
    BadRequest = 3,
    /// Not from this page, or not now.
    Forbidden = 4,
    /// A protocol version that is not spoken here.
    UnsupportedVersion = 5,
}

impl EngineIoRefusal {
    /// The answer's status.
    pub fn status(self) -> u16 {
        if self == Self::Forbidden { 403 } else { 400 }
    }

    /// What it says.
    pub fn message(self) -> &'static str {
        match self {
            Self::UnknownTransport => "Transport unknown",
            Self::UnknownSession => "Session ID unknown",
            Self::HandshakeMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::Forbidden => "Forbidden",
            Self::UnsupportedVersion => "Unsupported protocol version",
        }
    }

    /// The answer's body, JSON. To a request for a WebSocket it is the [`message`](Self::message) alone, as `text/html`.
    pub fn body(self) -> &'static str {
        match self {
            Self::UnknownTransport => r#"{"code":0,"message":"Transport unknown"}"#,
            Self::UnknownSession => r#"{"code":1,"message":"Session ID unknown"}"#,
            Self::HandshakeMethod => r#"{"code":2,"message":"Bad handshake method"}"#,
            Self::BadRequest => r#"{"code":3,"message":"Bad request"}"#,
            Self::Forbidden => r#"{"code":4,"message":"Forbidden"}"#,
            Self::UnsupportedVersion => r#"{"code":5,"message":"Unsupported protocol version"}"#,
        }
    }
}
