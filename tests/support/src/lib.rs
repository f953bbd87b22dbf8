//! Shared by the tests and benches of this workspace.
//!
//! - Processes: [`server`] (the real binary), [`redis`], [`redis_cluster`], [`redis_sentinel`], [`chromium`], and
//!   [`process`] to observe them.
//! - Clients: [`client`] (raw dialect over WebSocket), [`lossy_client`] (the server may be gone at any moment),
//!   [`tcp_client`] (byte by byte), [`http`], [`engineio`] (polling and WebSocket), [`packages`] (Socket.IO clients
//!   from npm and PyPI).
//! - Checks: [`room_log`] compares a room's history with what clients received.
//! - Fault injection: [`fault_proxy`] between a server and Redis or its clients. [`direct_campaign`] sends messages to users
//!   whose connections fail. [`control_pair`] detects a fault that affects
//!   uninvolved clients.
//! - Without sockets: [`settings`], [`redis_node`] (one node of a cluster, driven call by call), [`mod@bench`].
//! - The application: [`webhook_receiver`].
//! - TLS: [`certificates`] of a test's own, and [`tls`] for the other clients.
//! - [`token`], [`frame`], [`directory`], [`workspace`].
//!
//! Unit tests of `switchboard` must not use this crate: it links the library without `cfg(test)`, so the types differ.

pub mod bench;
pub mod certificates;
pub mod chromium;
pub mod client;
pub mod control_pair;
pub mod direct_campaign;
pub mod directory;
pub mod engineio;
pub mod fault_proxy;
pub mod frame;
pub mod http;
pub mod key_issuer;
pub mod lossy_client;
pub mod packages;
pub mod process;
pub mod redis;
pub mod redis_cluster;
pub mod redis_node;
pub mod redis_sentinel;
pub mod room_log;
pub mod server;
pub mod settings;
pub mod tcp_client;
pub mod tls;
pub mod token;
pub mod webhook_receiver;
pub mod workspace;
