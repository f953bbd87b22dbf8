//! The `camel` dialect, of Socket.IO's namespace `/chat`: `joinRoom`, `sendMessage` and the like, answered by events of
//! their own and, if a client wants one, by an ack in addition.
//!
//! [`decode`] reads the events that clients send. [`encode`] and its companions write events as the JSON array of name
//! and payload; the functions of [`ack`] write the one object that an ack carries.

pub mod ack;
mod decode;
mod encode;

pub use decode::{DecodedRequest, RequestFault, RequestName, decode};
pub use encode::{
    encode, error, heartbeat, joined_room, left_room, message_sent, new_message, sync_complete, unread_count,
};
