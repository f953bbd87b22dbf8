//! The `colon` dialect, of Socket.IO's namespace `/chat`: `join:chat`, `message:send` and the like, each answered through
//! its ack.
//!
//! [`decode`] reads the events that clients send. [`encode`] and its companions write events as the JSON array of name and
//! payload; what is in [`ack`] writes the one object that an ack carries.

pub mod ack;
mod decode;
mod encode;
mod query_results;
mod views;

#[cfg(test)]
mod tests;

pub use decode::{Asked, Fault, Request, decode};
pub use encode::{
    encode, error, heartbeat, message_sent, queued_messages, recovered, recovery_token, room_joined, room_left,
    room_online, users_online,
};
pub use query_results::found;
pub use views::{Here, Private, Session, Typist, User};
