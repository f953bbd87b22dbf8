//! The process that `floor` measures. Each worker of the load test has a control and sockets here, and a thread that serves
//! them: for each byte on the control it makes one round. The thread knows beforehand which socket is next, so that it asks
//! the kernel for nothing but to read and to write.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use clap::Args;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Socket, Type};

/// Has the server make a round.
pub const TRIGGER: [u8; 1] = [1];

/// Answers the control when all sockets are there.
const READY: [u8; 1] = [2];

/// Options of the process.
#[derive(Args, Debug)]
pub struct Server {
    /// Bytes of a message
    #[arg(long)]
    bytes: usize,
    /// Messages in one send
    #[arg(long)]
    batch: usize,
    /// Whether to relay within pairs
    #[arg(long)]
    pairs: bool,
}

/// What each connection says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallSign {
    /// The same for all connections of a worker.
    pub band: u32,
    /// The connection's number; 0 is the control.
    pub number: u32,
    /// Sockets of the worker.
    pub sockets: u32,
}

impl CallSign {
    const BYTES: usize = 12;

    /// The sign as bytes.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (place, value) in bytes.chunks_exact_mut(4).zip([self.band, self.number, self.sockets]) {
            place.copy_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    fn read(mut stream: impl Read) -> io::Result<Self> {
        let mut next = || {
            let mut word = [0; 4];
            stream.read_exact(&mut word).map(|()| u32::from_be_bytes(word))
        };
        Ok(Self { band: next()?, number: next()?, sockets: next()? })
    }
}

/// Serves until standard input ends.
pub fn serve(options: &Server) -> Result<(), String> {
    let (bytes, batch, is_relay) = (options.bytes, options.batch, options.pairs);
    thread::spawn(move || accept(bytes, batch, is_relay).map_err(|error| eprintln!("loadtest: the floor: {error}")));
    io::copy(&mut io::stdin().lock(), &mut io::sink()).map(|_| ()).map_err(|error| error.to_string())
}

fn accept(bytes: usize, batch: usize, is_relay: bool) -> io::Result<()> {
    let listener = listen()?;
    println!("listening on {}", listener.local_addr()?);
    let mut bands: BTreeMap<u32, BTreeMap<u32, TcpStream>> = BTreeMap::new();
    loop {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let sign = CallSign::read(&stream)?;
        let band = bands.entry(sign.band).or_default();
        band.insert(sign.number, stream);
        // Half a pair may be among them, with the highest number.
        if (0..=sign.sockets).all(|number| band.contains_key(&number)) {
            let band = bands.remove(&sign.band).unwrap_or_default();
            let mut streams = band.into_values();
            let Some(control) = streams.next() else { continue };
            let sockets: Vec<_> = streams.take(sign.sockets as usize).collect();
            thread::spawn(move || {
                if is_relay { relay(control, &sockets, bytes) } else { send(control, &sockets, bytes * batch) }
            });
        }
    }
}

/// With a backlog for all that the workers open at once; the standard library's is 128.
fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

fn send(mut control: TcpStream, sockets: &[TcpStream], bytes: usize) -> io::Result<()> {
    let bytes = vec![b'x'; bytes];
    control.write_all(&READY)?;
    loop {
        control.read_exact(&mut [0])?;
        for socket in sockets {
            send_all(socket, &bytes)?;
        }
    }
}

fn relay(mut control: TcpStream, sockets: &[TcpStream], bytes: usize) -> io::Result<()> {
    let mut message = vec![0; bytes];
    control.write_all(&READY)?;
    loop {
        control.read_exact(&mut [0])?;
        for pair in sockets.chunks_exact(2) {
            recv_all(&pair[0], &mut message)?;
            send_all(&pair[1], &message)?;
        }
    }
}

/// Without the C library, which in a process of several threads does more than the kernel asks for.
fn send_all(socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            sent => bytes = &bytes[sent?..],
        }
    }
    Ok(())
}

fn recv_all(socket: &TcpStream, bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::net::recv(socket, &mut bytes[filled..], RecvFlags::empty()) {
            Err(Errno::INTR) => {}
            received => match received?.0 {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_sign_is_read_as_it_was_written() {
        let sign = CallSign { band: 18_000, number: 7, sockets: 1 << 20 };
        assert_eq!(CallSign::read(sign.encode().as_slice()).ok(), Some(sign));
    }
}
