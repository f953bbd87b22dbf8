//! Layer 3: one client's protocol stack, without its socket.
//!
//! A [`conn::Conn`] is what a shard keeps for each TCP connection: at which [`conn::ConnStage`] it is, who is behind it, the
//! rooms it is in, and what could not be sent yet. A [`session::Session`] is an Engine.IO client, whichever connections carry
//! it, and [`namespace::Namespaces`] what it does in Socket.IO, where it is a [`peer::Peer`] in each namespace. Nothing here knows who keeps rooms and users.

pub mod conn;
pub mod credentials;
pub mod engineio_socket;
pub mod forwarded;
pub mod http;
pub mod namespace;
pub mod outbound;
pub mod peer;
pub mod session;
pub mod websocket;
