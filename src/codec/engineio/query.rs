//! The parameters of a request's query that the protocol reserves.

use std::borrow::Cow;

use super::Version;
use crate::codec::http::query_value;

/// Digits of `j` that are read.
const JSONP_DIGITS_MAX: usize = 9;

/// How packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// GETs that wait and POSTs that do not.
    Polling,
    /// A WebSocket.
    WebSocket,
}

/// What a request says of its session. `t`, which keeps caches out, is not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandshakeQuery<'a> {
    /// `EIO`, when it is exactly 3 or 4.
    pub version: Option<Version>,
    /// `transport`, when it is one of those there are.
    pub transport: Option<Transport>,
    /// `sid`; `None` asks for a new session.
    pub sid: Option<Cow<'a, str>>,
    /// `j`, by its digits: the answer is to be JSONP, for the callback of this number.
    pub jsonp: Option<u32>,
    /// `b64`: bytes are to go as base64.
    pub takes_base64_only: bool,
}

impl<'a> HandshakeQuery<'a> {
    /// Reads a request's query; nothing in it is an error by itself.
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
