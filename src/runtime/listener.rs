//! Listening sockets: one per shard and address, among which the kernel spreads new connections (`SO_REUSEPORT`).

use std::io;
use std::net::SocketAddr;

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections the kernel keeps for us until they are accepted; it cuts this to its own maximum.
const BACKLOG: i32 = 4096;

/// Sockets for `shards` shards that listen on `address`, and the address they got (port 0 picks one).
///
/// # Errors
/// The address is in use, not this machine's, or not permitted.
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

/// With `SO_REUSEPORT` two servers could share a port without noticing; a socket without it finds out.
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
