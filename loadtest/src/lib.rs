//! What the load generator's clients speak, without a socket: `client` is one client's protocols.

pub mod client;
