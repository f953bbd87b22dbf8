//! The `notify` dialect, of the main namespace of Socket.IO: its clients receive messages that are pushed by REST, and
//! have few requests.
//!
//! [`decode`] reads the events that clients send. [`encode`] and its companions write events as the JSON array of name
//! and payload; the functions for acks write one object.

mod decode;
mod encode;

pub use decode::{DecodedRequest, RequestFault, RequestName, decode};
pub use encode::{authenticated, encode, error, granted, heartbeat, pong, ponged, refused, renewed};
