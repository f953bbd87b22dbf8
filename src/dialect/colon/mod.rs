//! The `colon` dialect, of Socket.IO's namespace `/chat`: `join:chat`, `message:send` and the like, each answered through
//! its ack.
//!
//! [`decode`] reads the events that clients send. [`encode`] and its companions write events as the JSON array of name
//! and payload; the functions of [`ack`] write the one object that an ack carries.

pub mod ack;
mod decode;
mod encode;
mod query_results;
mod views;

#[cfg(test)]
mod tests;

pub use decode::{DecodedRequest, RequestFault, RequestName, decode};
pub use encode::{
    encode, error, heartbeat, message_new, message_sent, queued_messages, recovered, recovery_token, room_joined,
    room_left, room_online, users_online,
};
pub use query_results::query_result;
pub use views::{OnlineUserView, PrivateUserView, SessionView, TypistView, UserStatusView};
