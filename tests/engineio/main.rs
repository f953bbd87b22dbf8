//! Engine.IO and Socket.IO over real sockets, rule by rule: what the wire carries, byte for byte, and what becomes of a
//! session when its client does what it should not.

mod dialects;
mod engineio3;
mod faulty_client;
mod limits;
mod malformed;
mod namespaces;
mod online_lists;
mod queries;
mod recovery;
mod requests;
mod rooms;
mod sessions;
mod shards;
