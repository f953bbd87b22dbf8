//! Switchboard: a WebSocket signaling and real-time messaging server.
//!
//! The map of the modules comes with each of them.

pub mod base;
pub mod codec;
pub mod command_line;
pub mod config;
pub mod dialect;
pub mod domain;
