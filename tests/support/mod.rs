//! What the integration tests share: the real binary as a server, and clients to talk to it.

#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod chromium;
pub(crate) mod client;
pub(crate) mod directory;
pub(crate) mod http;
pub(crate) mod packages;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod redis_cluster;
pub(crate) mod redis_group;
pub(crate) mod server;
pub(crate) mod way;
pub(crate) mod wire;
pub(crate) mod witness;
