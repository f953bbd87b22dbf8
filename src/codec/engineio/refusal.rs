//! Refusals of requests, with the codes and messages of the reference implementation.

/// Reason for refusing a request; the discriminant is the protocol's error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineIoRefusal {
    /// The transport is missing or unknown.
    UnknownTransport = 0,
    /// The session id is unknown.
    UnknownSession = 1,
    /// A handshake with a method other than GET.
    HandshakeMethod = 2,
    /// The request does not fit the state of the session.
    BadRequest = 3,
    /// Not allowed: `Origin`, or a limit.
    Forbidden = 4,
    /// The protocol version is not supported.
    UnsupportedVersion = 5,
}

impl EngineIoRefusal {
    /// Status code of the response.
    pub fn status(self) -> u16 {
        if self == Self::Forbidden { 403 } else { 400 }
    }

    /// Message of the error.
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

    /// Body of the response, JSON. The refusal of a WebSocket upgrade contains the [`message`](Self::message) alone, as
    /// `text/html`.
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
