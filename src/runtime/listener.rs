//! Listening sockets: one per shard and address. The kernel distributes new connections among them (`SO_REUSEPORT`).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel queues until they are accepted; the kernel lowers this to its own maximum.
const BACKLOG: i32 = 4096;

/// A bound address with its listeners, one per shard.
type BoundListeners = (SocketAddr, Vec<TcpListener>);

/// Listeners for `shards` shards on each address, by address, with the bound addresses. On a machine without IPv6, `[::]`
/// means `0.0.0.0`, and `[::1]` is left out if there are others.
///
/// # Errors
/// An address is in use, not local, or not permitted; the text names it.
pub(super) fn bind_all(addresses: &[SocketAddr], shards: usize) -> Result<Vec<BoundListeners>, String> {
    let refused = |address: &SocketAddr, error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "cannot listen on {address}: the port is in use by another program; end that one, or give another address \
             with --listen"
        ),
        _ => format!("cannot listen on {address}: {error}"),
    };
    let mut bound = Vec::with_capacity(addresses.len());
    for address in addresses {
        let is_left_out =
            |error: &io::Error| addresses.len() > 1 && address.ip() == Ipv6Addr::LOCALHOST && lacks_ipv6(error);
        match bind(*address, shards) {
            Ok(listeners) => bound.push(listeners),
            Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && lacks_ipv6(&error) => {
                let plain = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
                bound.push(bind(plain, shards).map_err(|error| refused(&plain, error))?);
            }
            Err(error) if is_left_out(&error) => tracing::info!(%address, "this machine has no IPv6"),
            Err(error) => return Err(refused(address, error)),
        }
    }
    Ok(bound)
}

/// Whether an error is that of a machine without IPv6.
fn lacks_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Listeners for `shards` shards on `address`, and the bound address (port 0 picks a free port).
fn bind(address: SocketAddr, shards: usize) -> io::Result<BoundListeners> {
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
