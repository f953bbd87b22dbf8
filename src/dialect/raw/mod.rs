//! The `raw` dialect: one JSON object per WebSocket text frame, `{type, timestamp, …}`.
//!
//! [`decode`] reads requests; [`encode`] and its companions write events and answers. SDPs, candidates and message
//! contents pass through as the JSON text they were received as.

mod decode;
mod encode;

pub use decode::{RawFault, RawRequest, decode, decode_as};
pub use encode::{
    authenticated, connect, disconnect, encode, error, history, host_action, joined, left, message, mode_changed, pong,
    receipts, relayed, resumed, sent, unread, unread_fields,
};
