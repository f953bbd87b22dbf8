//! The `raw` dialect: one JSON object per WebSocket text frame, `{type, timestamp, …}`.
//!
//! [`decode`] reads what clients send; [`encode`] and its companions write what they are told. SDPs, candidates and
//! message contents pass through as the JSON text they came as.

mod decode;
mod encode;

pub use decode::{RawFault, RawRequest, decode, decode_as};
pub use encode::{
    authenticated, connect, disconnect, encode, error, history, joined, left, pong, receipts, resumed, sent,
};
