//! Layer 3: one client's protocol stack, without its socket.
//!
//! - [`conn::Conn`]: the state of a TCP connection: protocol stage, identity, rooms, unsent bytes.
//! - [`session::EngineIoSession`]: an Engine.IO client, carried by one TCP connection or several.
//! - [`namespace::Namespaces`]: the Socket.IO namespaces of a session; the client is a [`peer::SocketIoPeer`] in each.
//!
//! The owners of rooms and users are not known here.

pub mod access;
pub mod conn;
pub mod credentials;
pub mod deflation;
pub mod engineio_socket;
pub mod forwarded;
pub mod http;
pub mod namespace;
pub mod origins;
pub mod outbound;
pub mod peer;
pub mod session;
pub mod standing;
pub mod websocket;
