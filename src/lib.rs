//! Switchboard: a WebSocket signaling and real-time messaging server.
//!
//! One thread per core, each with everything it needs; between them nothing but queues and immutable bytes. Everything
//! between the operating system and the queues is sans-IO: bytes, time and randomness come in as arguments, so a
//! simulator can run many shards in one thread and replay any run from its seed.
//!
//! `docs/architecture.md` has the glossary, the threads and queues, and the paths of a message.
//!
//! # The map
//!
//! A module imports only from rows below its own, and two modules in one row are blind to each other; a test holds the
//! source to that.
//!
//! | layer | module | what it is |
//! |---|---|---|
//! | 6 | [`config`], [`command_line`] | settings from five sources, checked once; the commands |
//! | 5 | [`runtime`] | the operating system: event loops, sockets, channels, the store, clocks, entropy, key files, signals |
//! | 4 | [`shard`] | the clients and the domain of one thread, sans-IO |
//! | 3 | [`connection`], [`owner`] | one client's protocol stack; the truth about rooms and users |
//! | 2½ | [`message`] | what crosses threads, and who gets it; what shards and the store tell each other |
//! | 2 | [`dialect`] | translators between wires and domain: `raw` JSON over WebSocket; `notify`, `colon` and `camel` over Socket.IO; `rest` over HTTP |
//! | 1 | [`codec`], [`domain`] | bytes without meaning; meaning without bytes |
//! | 0 | [`base`], [`pages`] | ids, time values, seeded randomness, maps, timers, limits; what a browser gets |
//!
//! # The line of a message
//!
//! A frame that becomes a broadcast goes, within one turn of `runtime::event_loop`: socket → the shard's read buffer →
//! [`shard::Shard::received`] → [`codec::ws`] → [`dialect::raw`] → the peer's half of the command → [`message::Placement`]
//! says who keeps the room → [`owner`] → [`domain::room::Room::apply`] → [`dialect::encoded_event`], encoded once → one
//! shared copy to each shard with members → the room's run of bytes for this turn → one write per member at the end.

pub mod base;
pub mod codec;
pub mod command_line;
pub mod config;
pub mod connection;
pub mod dialect;
pub mod domain;
pub mod message;
pub mod owner;
pub mod pages;
pub mod runtime;
pub mod shard;
