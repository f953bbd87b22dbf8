//! The opening handshake's WebSocket half (RFC 6455 section 4.2): is this request an upgrade, and the answer that says
//! yes.
//!
//! It sees header values, not a request: what makes a request well formed, the `Host` header included, is HTTP's to
//! say, and who may come in is decided elsewhere. A refusal is an ordinary HTTP response that the caller writes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// The one protocol version spoken; a refusal with status 426 carries it as `Sec-WebSocket-Version`.
pub const VERSION: &str = "13";

/// What a request says about an upgrade; a header that came more than once is given as one value, joined by commas.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeRequest<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The minor of HTTP/1.x.
    pub version: u8,
    /// `Upgrade`.
    pub upgrade: Option<&'a str>,
    /// `Connection`.
    pub connection: Option<&'a str>,
    /// `Sec-WebSocket-Version`.
    pub version_header: Option<&'a str>,
    /// `Sec-WebSocket-Key`.
    pub key: Option<&'a str>,
}

/// The proof for the client that its key was understood: 28 characters of base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptKey(String);

impl AcceptKey {
    /// The value of `Sec-WebSocket-Accept`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The client's fault: why a request is no upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// Not GET.
    Method,
    /// Older than HTTP/1.1.
    HttpVersion,
    /// `Upgrade` does not name websocket.
    Upgrade,
    /// `Connection` does not name upgrade.
    Connection,
    /// `Sec-WebSocket-Version` is missing or not [`VERSION`].
    Version,
    /// `Sec-WebSocket-Key` is missing or not the base64 of 16 bytes.
    Key,
}

impl UpgradeError {
    /// The response's status: 426 asks for [`VERSION`] (section 4.4), all else is 400.
    pub fn status(self) -> u16 {
        match self {
            Self::Version => 426,
            _ => 400,
        }
    }

    /// One short phrase for the response's body.
    pub fn text(self) -> &'static str {
        match self {
            Self::Method => "a WebSocket handshake is a GET request",
            Self::HttpVersion => "a WebSocket handshake needs HTTP/1.1",
            Self::Upgrade => "the Upgrade header does not name websocket",
            Self::Connection => "the Connection header does not name Upgrade",
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
    /// Checks the request against RFC 6455 section 4.2.1 and derives the key that accepts it.
    ///
    /// # Errors
    /// The first requirement that is not met. The version comes after those that make it a WebSocket request at all.
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
        if self.version_header.map(str::trim) != Some(VERSION) {
            return Err(UpgradeError::Version);
        }
        let key = self.key.map(str::trim).filter(|key| is_sixteen_bytes(key)).ok_or(UpgradeError::Key)?;
        Ok(AcceptKey(tungstenite::handshake::derive_accept_key(key.as_bytes())))
    }
}

/// Whether a comma-separated header value holds the token, in any case.
fn names(value: Option<&str>, token: &str) -> bool {
    value.is_some_and(|value| value.split(',').any(|item| item.trim().eq_ignore_ascii_case(token)))
}

fn is_sixteen_bytes(key: &str) -> bool {
    let mut decoded = [0; 18];
    key.len() == 24 && BASE64_STANDARD.decode_slice(key, &mut decoded) == Ok(16)
}

/// Appends the response that completes the handshake (section 4.2.2). `protocol` is one that the client offered,
/// `extensions` what has been negotiated; both are header values already checked for control characters.
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
        debug_assert!(!value.contains(['\r', '\n']), "{name} would split the response");
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
    fn refuses() {
        let cases = [
            (UpgradeRequest { method: "POST", ..GOOD }, UpgradeError::Method, 400),
            (UpgradeRequest { version: 0, ..GOOD }, UpgradeError::HttpVersion, 400),
            (UpgradeRequest { upgrade: None, ..GOOD }, UpgradeError::Upgrade, 400),
            (UpgradeRequest { upgrade: Some("websockets"), ..GOOD }, UpgradeError::Upgrade, 400),
            (UpgradeRequest { connection: Some("keep-alive"), ..GOOD }, UpgradeError::Connection, 400),
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
