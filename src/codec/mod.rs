//! Layer 1: bytes without meaning. Push parsers and encoders: incomplete input is not an error, and the result does not
//! depend on how the input is split.

pub mod api_key;
pub mod engineio;
pub mod http;
pub mod json;
pub mod jwt;
pub mod msgpack;
pub mod proxy;
pub mod recovery;
pub mod socketio;
pub mod trace;
pub mod turn;
pub mod webhook;
pub mod ws;
