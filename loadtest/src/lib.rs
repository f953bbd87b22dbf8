//! What the load generator's clients speak, without a socket: `client` is one client's protocols, `vocabulary` how an
//! application says join and publish with them.

pub mod client;
pub mod vocabulary;
