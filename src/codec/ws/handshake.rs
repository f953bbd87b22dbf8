//! Opening handshake (RFC 6455 section 4.2): validation of an upgrade request, and the response that accepts it.
//!
//! The input is header values. Validation of the HTTP request, `Host` included, and authorisation are done elsewhere. A
//! refusal is an ordinary HTTP response, written by the caller.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

/// The supported protocol version, sent as `Sec-WebSocket-Version` in a refusal with status 426.
pub const VERSION: &str = "13";

/// Decoder of keys. It ignores the four bits after the last byte, as Node.js and nginx do: some clients send random
/// characters there.
const KEY_BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Fields of an upgrade request. `Upgrade` and `Connection` are lists: repeated headers are one value, joined by commas.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeRequest<'a> {
    /// Method.
    pub method: &'a str,
    /// Minor version of HTTP/1.x.
    pub version: u8,
    /// `Upgrade`.
    pub upgrade: Option<&'a str>,
    /// `Connection`.
    pub connection: Option<&'a str>,
    /// `Sec-WebSocket-Version`.
    pub version_header: Option<&'a str>,
    /// `Sec-WebSocket-Key`.
    pub key: Option<&'a str>,
    /// Whether one of the other two headers is repeated.
    pub is_ambiguous: bool,
    /// Whether the request has a body.
    pub has_body: bool,
}

/// The value of `Sec-WebSocket-Accept` for a client's key: 28 characters of base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptKey(String);

impl AcceptKey {
    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why an upgrade request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// The method is not GET.
    Method,
    /// The version is older than HTTP/1.1.
    HttpVersion,
    /// `Upgrade` does not name websocket.
    Upgrade,
    /// `Connection` does not name upgrade.
    Connection,
    /// The request has a body. A proxy that relays it would have it read as frames (RFC 9110 §7.8).
    Body,
    /// `Sec-WebSocket-Key` or `Sec-WebSocket-Version` is repeated (sections 11.3.1, 11.3.5).
    Repeated,
    /// `Sec-WebSocket-Version` is missing or not [`VERSION`].
    Version,
    /// `Sec-WebSocket-Key` is missing or not the base64 of 16 bytes.
    Key,
}

impl UpgradeError {
    /// Status of the response: 426 for the version (section 4.4), else 400.
    pub fn status(self) -> u16 {
        match self {
            Self::Version => 426,
            _ => 400,
        }
    }

    /// Description for the response's body, a phrase.
    pub fn text(self) -> &'static str {
        match self {
            Self::Method => "a WebSocket handshake is a GET request",
            Self::HttpVersion => "a WebSocket handshake needs HTTP/1.1",
            Self::Upgrade => "the Upgrade header does not name websocket",
            Self::Connection => "the Connection header does not name Upgrade",
            Self::Body => "a WebSocket handshake has no body",
            Self::Repeated => "Sec-WebSocket-Key and Sec-WebSocket-Version must not be repeated",
            Self::Version => "Sec-WebSocket-Version must be 13",
            Self::Key => "Sec-WebSocket-Key must be the base64 of 16 bytes",
        }
    }
}

impl std::fmt::Display for UpgradeError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.text())
    }
}

impl std::error::Error for UpgradeError {}

impl UpgradeRequest<'_> {
    /// Validates the request (RFC 6455 section 4.2.1) and derives the accept key.
    ///
    /// # Errors
    /// The first violated requirement. The version is checked after those that make it a WebSocket request.
    pub fn check(&self) -> Result<AcceptKey, UpgradeError> {
        if self.method != "GET" {
            return Err(UpgradeError::Method);
        }
        if self.version < 1 {
            return Err(UpgradeError::HttpVersion);
        }
        if !names(self.upgrade, "websocket") {
            return Err(UpgradeError::Upgrade);
        }
        if !names(self.connection, "upgrade") {
            return Err(UpgradeError::Connection);
        }
        if self.has_body {
            return Err(UpgradeError::Body);
        }
        if self.is_ambiguous {
            return Err(UpgradeError::Repeated);
        }
        if self.version_header.map(str::trim) != Some(VERSION) {
            return Err(UpgradeError::Version);
        }
        let key = self.key.map(str::trim).filter(|key| is_sixteen_bytes(key)).ok_or(UpgradeError::Key)?;
        Ok(AcceptKey(tungstenite::handshake::derive_accept_key(key.as_bytes())))
    }
}

/// Whether a comma-separated header value contains the token, case-insensitive.
fn names(value: Option<&str>, token: &str) -> bool {
    value.is_some_and(|value| value.split(',').any(|item| item.trim().eq_ignore_ascii_case(token)))
}

fn is_sixteen_bytes(key: &str) -> bool {
    let mut decoded = [0; 18];
    key.len() == 24 && KEY_BASE64.decode_slice(key, &mut decoded) == Ok(16)
}

/// Appends the response that completes the handshake (section 4.2.2). `protocol` is one the client offered,
/// `extensions` the negotiated ones; neither contains control characters.
pub fn encode_switching_protocols(
    out: &mut Vec<u8>,
    accept: &AcceptKey,
    protocol: Option<&str>,
    extensions: Option<&str>,
) {
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    let headers = [
        ("Sec-WebSocket-Accept", Some(accept.as_str())),
        ("Sec-WebSocket-Protocol", protocol),
        ("Sec-WebSocket-Extensions", extensions),
    ];
    for (name, value) in headers {
        let Some(value) = value else { continue };
        debug_assert!(!value.contains(['\r', '\n']), "invariant: {name} has no line break");
        for part in [name, ": ", value, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: UpgradeRequest<'static> = UpgradeRequest {
        method: "GET",
        version: 1,
        upgrade: Some("websocket"),
        connection: Some("Upgrade"),
        version_header: Some("13"),
        key: Some("dGhlIHNhbXBsZSBub25jZQ=="),
        is_ambiguous: false,
        has_body: false,
    };

    #[test]
    fn example_of_section_1_3() {
        let accept = GOOD.check().unwrap();
        assert_eq!(accept.as_str(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let mut out = Vec::new();
        encode_switching_protocols(&mut out, &accept, Some("chat"), None);
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
        );
    }

    #[test]
    fn tolerates_lists_and_case() {
        let handshake = UpgradeRequest {
            upgrade: Some("h2c, WebSocket"),
            connection: Some("keep-alive, Upgrade"),
            version_header: Some(" 13 "),
            ..GOOD
        };
        assert!(handshake.check().is_ok());
    }

    #[test]
    fn key_with_stray_bits_after_its_last_byte_is_accepted() {
        for key in ["AQIDBAUGBwgJCgsMDQ4PEC==", "AQIDBAUGBwgJCgsMDQ4PEP=="] {
            let accept = UpgradeRequest { key: Some(key), ..GOOD }.check().unwrap();
            assert_eq!(accept.as_str(), tungstenite::handshake::derive_accept_key(key.as_bytes()));
        }
    }

    #[test]
    fn refuses() {
        let cases = [
            (UpgradeRequest { method: "POST", ..GOOD }, UpgradeError::Method, 400),
            (UpgradeRequest { version: 0, ..GOOD }, UpgradeError::HttpVersion, 400),
            (UpgradeRequest { upgrade: None, ..GOOD }, UpgradeError::Upgrade, 400),
            (UpgradeRequest { upgrade: Some("websockets"), ..GOOD }, UpgradeError::Upgrade, 400),
            (UpgradeRequest { connection: Some("keep-alive"), ..GOOD }, UpgradeError::Connection, 400),
            (UpgradeRequest { has_body: true, ..GOOD }, UpgradeError::Body, 400),
            (UpgradeRequest { is_ambiguous: true, ..GOOD }, UpgradeError::Repeated, 400),
            (UpgradeRequest { version_header: Some("8"), ..GOOD }, UpgradeError::Version, 426),
            (UpgradeRequest { version_header: None, ..GOOD }, UpgradeError::Version, 426),
            (UpgradeRequest { key: None, ..GOOD }, UpgradeError::Key, 400),
            (UpgradeRequest { key: Some(""), ..GOOD }, UpgradeError::Key, 400),
            (UpgradeRequest { key: Some("dGhlIHNhbXBsZSBub25jZTE="), ..GOOD }, UpgradeError::Key, 400),
            (UpgradeRequest { key: Some("dGhlIHNhbXBsZSBub25jZTEy"), ..GOOD }, UpgradeError::Key, 400),
            (UpgradeRequest { key: Some("dGhlIHNhbXBsZSBub25j*Q=="), ..GOOD }, UpgradeError::Key, 400),
        ];
        for (handshake, error, status) in cases {
            assert_eq!(handshake.check(), Err(error), "{handshake:?}");
            assert_eq!(error.status(), status);
        }
    }
}
