//! Engine.IO and Socket.IO over real sockets, rule by rule: what the wire carries, byte for byte, and what becomes of a
//! session when its client does what it should not.

mod client;
mod dialects;
mod limits;
mod malformed;
mod namespaces;
mod offender;
mod older;
mod online;
mod questions;
mod recovery;
mod requests;
mod rooms;
mod sessions;
mod shards;
