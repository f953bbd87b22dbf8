//! TLS for clients: the library's state machines, fed by the event loops. No thread and no buffer belongs to one connection.

mod files;
mod session;
mod sockets;

pub use files::{CertificateFiles, TlsFiles, TlsOptions};

pub(super) use files::TlsAcceptor;
pub(super) use session::{TURNED_AWAY, TlsSession};
pub(super) use sockets::{TlsSockets, transmit};
