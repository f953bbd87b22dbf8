//! Layer 1: bytes without meaning. Push parsers and encoders: "not enough bytes yet" is not an error, and any split of
//! the input gives the same output.

pub mod engineio;
pub mod http;
pub mod json;
pub mod jwt;
pub mod proxy;
pub mod recovery;
pub mod socketio;
pub mod turn;
pub mod ws;
