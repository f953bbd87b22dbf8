//! Switchboard: a WebSocket signaling and real-time messaging server.
//!
//! The server runs one shard per core. A shard owns its connections, rooms and users; shards share nothing but queues and
//! immutable bytes. All code between the operating system and the queues is sans-IO: bytes, time and randomness are
//! arguments, so that a simulator runs many shards in one thread and replays any run from its seed.
//!
//! `docs/architecture.md` has the glossary, the threads and queues, and the message paths function by function.
//!
//! # Layers
//!
//! A module imports only from layers below its own, and modules of one layer do not import each other; `tests/layering`
//! enforces both.
//!
//! | layer | module | contents |
//! |---|---|---|
//! | 6 | [`config`], [`command_line`] | settings from five sources, validated once; the commands |
//! | 5 | [`runtime`] | the operating system: event loops, sockets, channels, the store, clocks, entropy, key files, signals |
//! | 4 | [`shard`] | connections, rooms and requests of one thread, sans-IO |
//! | 3 | [`connection`], [`owner`], [`media`] | the protocol stack of one client; the owners of rooms and users, in memory or in Redis; the media of calls |
//! | 2½ | [`message`] | messages between threads and the choice of their receiver |
//! | 2 | [`dialect`] | mappings between wire formats and the domain: `raw` JSON over WebSocket; `notify`, `colon` and `camel` over Socket.IO; `rest` over HTTP |
//! | 1 | [`codec`], [`domain`] | wire formats without meaning; the domain without wire formats |
//! | 0 | [`base`], [`pages`] | ids, time values, seeded randomness, maps, timers, limits; pages for browsers |
//!
//! # Path of a message
//!
//! A frame that becomes a broadcast passes these steps in one turn of `runtime::event_loop`: the socket's read →
//! [`shard::Shard::received`] → [`codec::ws`] → [`dialect::raw`] → a request, which [`message::Placement`] sends to the owner
//! of the room → [`owner`] → [`domain::room::Room::apply`] → [`dialect::encoded_event`], which encodes the event once → one
//! shared copy to each shard with members → the bytes that the room has gathered in this turn → one write per member at the
//! end of the turn.

pub mod base;
pub mod codec;
pub mod command_line;
pub mod config;
pub mod connection;
pub mod dialect;
pub mod domain;
pub mod media;
pub mod message;
pub mod owner;
pub mod pages;
pub mod runtime;
pub mod shard;
