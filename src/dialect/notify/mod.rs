//! The `notify` dialect, of the main namespace of Socket.IO: messages to users come in it, pushed by REST; its clients say
//! little.
//!
//! [`decode`] reads the events that clients send. [`encode`] and its companions write events as the JSON array of name and
//! payload; those that [`RequestName`]'s acks take write one object.

mod decode;
mod encode;

pub use decode::{DecodedRequest, RequestFault, RequestName, decode};
pub use encode::{authenticated, encode, error, granted, heartbeat, pong, ponged, refused, renewed};
