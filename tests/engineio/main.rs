//! Engine.IO and Socket.IO over real sockets, rule by rule and byte by byte, with correct and faulty clients.

mod cookies;
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
