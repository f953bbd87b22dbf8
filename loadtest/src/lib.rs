//! What the load generator's clients speak, without a socket: [`client`] is one client's protocols, [`vocabulary`] how an
//! application says join and publish with them, and [`mark`] is what tells each message from all others.

pub mod client;
pub mod mark;
pub mod vocabulary;
