//! Listening sockets: one per shard and address. The kernel distributes new connections among them (`SO_REUSEPORT`).

use std::io;
use std::net::SocketAddr;

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel queues until they are accepted; the kernel lowers this to its own maximum.
const BACKLOG: i32 = 4096;

/// Listeners for `shards` shards on `address`, and the bound address (port 0 picks a free port).
///
/// # Errors
/// The address is in use, not local, or not permitted.
pub fn bind(address: SocketAddr, shards: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    refuse_if_taken(address)?;
    let mut listeners = Vec::with_capacity(shards);
    let mut bound = address;
    for _ in 0..shards {
        let socket = open(bound)?;
        socket.set_reuse_port(true)?;
        socket.bind(&bound.into())?;
        socket.listen(BACKLOG)?;
        let listener: std::net::TcpListener = socket.into();
        bound = listener.local_addr()?;
        listeners.push(TcpListener::from_std(listener));
    }
    Ok((bound, listeners))
}

/// With `SO_REUSEPORT` two servers could share a port unnoticed. A socket without the option detects this.
fn refuse_if_taken(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let probe = open(address)?;
    probe.bind(&address.into())
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}
