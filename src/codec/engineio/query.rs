//! Query parameters of an Engine.IO request.

use std::borrow::Cow;

use super::Version;
use crate::codec::http::query_value;

/// Digits of `j` that are significant.
const JSONP_DIGITS_MAX: usize = 9;

/// Transport of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP long polling.
    Polling,
    /// WebSocket.
    WebSocket,
}

/// The parameters. `t`, which defeats caches, is ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandshakeQuery<'a> {
    /// `EIO`, if it is exactly 3 or 4.
    pub version: Option<Version>,
    /// `transport`, if it is known.
    pub transport: Option<Transport>,
    /// `sid`; absent in a handshake.
    pub sid: Option<Cow<'a, str>>,
    /// `j`, its digits only: the response is JSONP for the callback with this number.
    pub jsonp: Option<u32>,
    /// `b64`: the client receives base64 only.
    pub takes_base64_only: bool,
}

impl<'a> HandshakeQuery<'a> {
    /// Parses a query. Unknown or malformed parameters are not an error here.
    pub fn parse(query: Option<&'a str>) -> Self {
        let Some(query) = query else { return Self::default() };
        let value = |name| query_value(query, name);
        Self {
            version: value("EIO").and_then(|text| match &*text {
                "3" => Some(Version::V3),
                "4" => Some(Version::V4),
                _ => None,
            }),
            transport: value("transport").and_then(|text| match &*text {
                "polling" => Some(Transport::Polling),
                "websocket" => Some(Transport::WebSocket),
                _ => None,
            }),
            sid: value("sid"),
            jsonp: value("j").map(|text| {
                let digits = text.bytes().filter(u8::is_ascii_digit).take(JSONP_DIGITS_MAX);
                digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
            }),
            takes_base64_only: value("b64").is_some_and(|text| !matches!(&*text, "" | "0" | "false")),
        }
    }
}
