//! Switchboard: a WebSocket signaling and real-time messaging server.
//!
//! The map of the modules comes with each of them.

pub mod authority;
pub mod base;
pub mod client;
pub mod codec;
pub mod command_line;
pub mod config;
pub mod dialect;
pub mod domain;
pub mod mail;
pub mod pages;
pub mod runtime;
pub mod shard;
