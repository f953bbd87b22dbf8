//! Refusals of requests, with the codes and messages of the reference implementation.

/// Reason for refusing a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineIoRefusal {
    /// The transport is missing or unknown.
    UnknownTransport,
    /// The session id is unknown.
    UnknownSession,
    /// A handshake with a method other than GET.
    HandshakeMethod,
    /// The request does not fit the state of the session.
    BadRequest,
    /// Not allowed: `Origin`, or a limit.
    Forbidden,
    /// The protocol version is not supported.
    UnsupportedVersion,
    /// JSONP is off, or not available to the session.
    Jsonp,
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
            Self::Jsonp => "JSONP is not available",
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
            Self::Jsonp => r#"{"code":3,"message":"JSONP is not available"}"#,
        }
    }
}
