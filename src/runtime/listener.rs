//! Listening sockets: one per shard and address. The kernel distributes new connections of TCP among them (`SO_REUSEPORT`); a
//! Unix socket, or one that the service manager has opened, is shared by all shards.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;

use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::shard::ListenerRoles;

/// Connections that the kernel queues until they are accepted; the kernel lowers this to its own maximum.
const BACKLOG: i32 = 4096;

/// The first descriptor that a service manager passes on (sd_listen_fds(3)).
const FIRST_INHERITED: i32 = 3;

/// Permissions of a Unix socket: as a port of loopback, for all users of the machine. Those of its directory bound this.
const SOCKET_MODE: u32 = 0o666;

/// The address of clients of a Unix socket: they are on this machine.
const LOCAL_CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// By TCP.
    Tcp(SocketAddr),
    /// At a path of the file system.
    Unix(PathBuf),
    /// At a socket that the service manager has opened and passed on: the number of its descriptor, or its name.
    Inherited(String),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Inherited(name) => write!(formatter, "fd:{name}"),
        }
    }
}

/// A listener to be opened.
#[derive(Clone, Debug)]
pub struct ListenerPlan {
    /// Where it listens.
    pub address: ListenAddress,
    /// What it serves.
    pub roles: ListenerRoles,
    /// Whether it speaks TLS.
    pub is_secure: bool,
    /// Whether trusted proxies send a header of the PROXY protocol.
    pub has_proxy_header: bool,
}

impl ListenerPlan {
    /// Removes what the listener would leave in the file system, as the server ends.
    pub(super) fn leave(&self) {
        if let ListenAddress::Unix(path) = &self.address {
            // A later server replaces it otherwise.
            let _ = fs::remove_file(path);
        }
    }

    /// The address as clients use it.
    pub fn url(&self) -> String {
        match (&self.address, self.is_secure) {
            (ListenAddress::Tcp(address), true) => format!("https://{address}"),
            (ListenAddress::Tcp(address), false) => format!("http://{address}"),
            (address, _) => address.to_string(),
        }
    }
}

/// A socket that accepts connections.
pub(super) enum ListenSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ListenSocket {
    /// Has the kernel report connections.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            Self::Unix(listener) => registry.register(&mut SourceFd(&listener.as_raw_fd()), token, Interest::READABLE),
        }
    }

    pub(super) fn deregister(&mut self, registry: &Registry) {
        // Fails only if it is not registered, which is the desired state.
        let _ = match self {
            Self::Tcp(listener) => registry.deregister(listener),
            Self::Unix(listener) => registry.deregister(&mut SourceFd(&listener.as_raw_fd())),
        };
    }

    /// A new connection and the address of its client.
    pub(super) fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => listener.accept(),
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                // A stream is a stream: what is done with it holds for both families.
                let stream = std::net::TcpStream::from(OwnedFd::from(stream));
                Ok((TcpStream::from_std(stream), LOCAL_CLIENT))
            }
        }
    }
}

/// A bound address with its listeners, one per shard.
pub(super) type BoundListeners = (ListenAddress, Vec<ListenSocket>);

/// Listeners for `shards` shards on an address; with the bound address. On a machine without IPv6, `[::]` means `0.0.0.0`, and
/// `[::1]` is left out if there are others.
///
/// # Errors
/// The address is in use, not local, or not permitted; the text names it.
pub(super) fn bind(address: &ListenAddress, shards: usize, has_others: bool) -> Result<Option<BoundListeners>, String> {
    let bound = match address {
        ListenAddress::Tcp(address) => return bind_tcp(*address, shards, has_others),
        ListenAddress::Unix(path) => bind_unix(path, shards),
        ListenAddress::Inherited(name) => inherit(name, shards),
    };
    bound.map(Some).map_err(|error| format!("cannot listen on {address}: {error}"))
}

fn bind_tcp(address: SocketAddr, shards: usize, has_others: bool) -> Result<Option<BoundListeners>, String> {
    let refused = |address: SocketAddr, error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "cannot listen on {address}: the port is in use by another program; end that one, or give another address \
             with --listen"
        ),
        _ => format!("cannot listen on {address}: {error}"),
    };
    match open_all(address, shards) {
        Ok(listeners) => Ok(Some(listeners)),
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && lacks_ipv6(&error) => {
            let plain = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            open_all(plain, shards).map(Some).map_err(|error| refused(plain, error))
        }
        Err(error) if has_others && address.ip() == Ipv6Addr::LOCALHOST && lacks_ipv6(&error) => {
            tracing::info!(%address, "this machine has no IPv6");
            Ok(None)
        }
        Err(error) => Err(refused(address, error)),
    }
}

/// Whether an error is that of a machine without IPv6.
fn lacks_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Listeners for `shards` shards on `address`, and the bound address (port 0 picks a free port).
fn open_all(address: SocketAddr, shards: usize) -> io::Result<BoundListeners> {
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
        listeners.push(ListenSocket::Tcp(TcpListener::from_std(listener)));
    }
    Ok((ListenAddress::Tcp(bound), listeners))
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

/// A Unix socket. The one that an ended server has left behind is replaced.
fn bind_unix(path: &Path, shards: usize) -> io::Result<BoundListeners> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => match UnixStream::connect(path) {
            Ok(_) => return Err(io::Error::other("another program listens there")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(error) => return Err(error),
        },
        Ok(_) => return Err(io::Error::other("there is a file that is no socket")),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok((ListenAddress::Unix(path.to_owned()), share(listener, shards, ListenSocket::Unix)?))
}

/// A socket that the service manager has passed on.
fn inherit(name: &str, shards: usize) -> io::Result<BoundListeners> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let is_own = variable("LISTEN_PID").parse() == Ok(process::id());
    let passed = variable("LISTEN_FDS").parse::<i32>().ok().filter(|_| is_own).unwrap_or_default();
    let Some(descriptor) = descriptor_of(name, passed, &variable("LISTEN_FDNAMES")) else {
        let text = format!("the service manager has passed on {passed} sockets, none of them as fd:{name}");
        return Err(io::Error::other(text));
    };
    // SAFETY: the service manager has opened this descriptor for this process, which has not used it before: a duplicate
    // is made, and the original stays open.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned().map(Socket::from)?;
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Err(io::Error::other("this descriptor is no socket that accepts streams"));
    }
    // The path of a Unix socket belongs to the service manager, which goes on listening there.
    match socket.local_addr()?.as_socket() {
        Some(address) => {
            let listener = |listener| ListenSocket::Tcp(TcpListener::from_std(listener));
            let listeners = share(std::net::TcpListener::from(socket), shards, listener)?;
            Ok((ListenAddress::Tcp(address), listeners))
        }
        None => {
            let listeners = share(UnixListener::from(OwnedFd::from(socket)), shards, ListenSocket::Unix)?;
            Ok((ListenAddress::Inherited(name.to_owned()), listeners))
        }
    }
}

/// The descriptor that is called so, by its number or by its place in the list of `names`, of those passed on.
fn descriptor_of(name: &str, passed: i32, names: &str) -> Option<i32> {
    let number = name.parse().ok();
    let place = || names.split(':').position(|known| known == name && !name.is_empty());
    let descriptor = number.or_else(|| Some(FIRST_INHERITED + i32::try_from(place()?).ok()?))?;
    (FIRST_INHERITED..FIRST_INHERITED.saturating_add(passed)).contains(&descriptor).then_some(descriptor)
}

/// The same socket for each shard. A connection is reported to all of them, and one accepts it.
fn share<L: Into<OwnedFd> + From<OwnedFd>>(
    listener: L,
    shards: usize,
    made: impl Fn(L) -> ListenSocket,
) -> io::Result<Vec<ListenSocket>> {
    let socket = Socket::from(listener.into());
    socket.set_nonblocking(true)?;
    let copy = |_| Ok(made(L::from(OwnedFd::from(socket.try_clone()?))));
    (0..shards).map(copy).collect()
}

#[cfg(test)]
mod tests {
    use super::descriptor_of;

    #[test]
    fn descriptor_is_found_by_number_or_name_among_those_passed_on() {
        assert_eq!(descriptor_of("3", 2, ""), Some(3));
        assert_eq!(descriptor_of("4", 2, "http:admin"), Some(4));
        assert_eq!(descriptor_of("admin", 2, "http:admin"), Some(4));
        for (name, passed, names) in
            [("5", 2, ""), ("2", 2, ""), ("-1", 2, ""), ("other", 2, "http"), ("", 2, ":"), ("3", 0, ""), ("3", -1, "")]
        {
            assert_eq!(descriptor_of(name, passed, names), None, "{name:?} {passed} {names:?}");
        }
    }
}
