//! Many clients on one thread: nonblocking sockets, one read buffer, bytes kept only for frames that are incomplete.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::client::{self, Frame};

/// Clients whose connection or handshake is under way at once.
const OPENING_MAX: usize = 512;

/// Clients per source address: each has 28,000 ports or so.
const PER_ADDRESS: usize = 20_000;

/// The first source address; the machine's other programs use that of localhost itself.
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

/// One client.
struct Client {
    stream: TcpStream,
    /// Bytes that came and are not a whole frame yet.
    unread: Vec<u8>,
    /// Bytes that could not be sent yet.
    unsent: Vec<u8>,
    is_open: bool,
}

/// Many clients of one server.
pub struct Swarm {
    poll: Poll,
    server: SocketAddr,
    clients: Vec<Option<Client>>,
    buffer: Vec<u8>,
    /// Clients the server or the network closed.
    pub closed: usize,
}

/// What happened to a client.
pub enum Happening<'a> {
    /// Its handshake is done.
    Opened,
    /// Text came.
    Message(&'a [u8]),
    /// It is closed.
    Closed,
}

impl Swarm {
    /// No clients yet.
    pub fn new(server: SocketAddr) -> io::Result<Self> {
        Ok(Self { poll: Poll::new()?, server, clients: Vec::new(), buffer: vec![0; 1 << 20], closed: 0 })
    }

    /// Opens one client for each path; `on_opened` hears of each with its number, `on_message` of everything that comes.
    pub fn open(
        &mut self,
        paths: impl ExactSizeIterator<Item = String>,
        mut on: impl FnMut(&mut Outgoing<'_>, usize, Happening<'_>),
    ) -> io::Result<()> {
        let first = self.clients.len();
        let total = paths.len();
        let (mut opened, mut failed) = (0, 0);
        let mut started = 0;
        for path in paths {
            let number = self.start(&path)?;
            debug_assert_eq!(number, first + started);
            started += 1;
            while started - opened - failed >= OPENING_MAX || (started == total && opened + failed < total) {
                self.turn(Duration::from_secs(10), |out, number, happening| {
                    match happening {
                        Happening::Opened => opened += 1,
                        Happening::Closed => failed += 1,
                        Happening::Message(_) => {}
                    }
                    on(out, number, happening);
                })?;
            }
        }
        if failed > 0 {
            return Err(io::Error::other(format!("{failed} of {total} clients could not connect")));
        }
        Ok(())
    }

    fn start(&mut self, path: &str) -> io::Result<usize> {
        let number = self.clients.len();
        let socket = Socket::new(Domain::for_address(self.server), Type::STREAM, Some(Protocol::TCP))?;
        if let IpAddr::V4(ip) = self.server.ip()
            && ip.is_loopback()
        {
            let source = Ipv4Addr::from(u32::from(FIRST_SOURCE) + (number / PER_ADDRESS) as u32);
            socket.bind(&SocketAddr::new(source.into(), 0).into())?;
            // Thousands of connections that linger after their end would take the ports of the next run.
            socket.set_linger(Some(Duration::ZERO))?;
        }
        socket.set_nonblocking(true)?;
        match socket.connect(&self.server.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(115) => {}
            Err(error) => return Err(error),
        }
        let mut stream = TcpStream::from_std(socket.into());
        self.poll.registry().register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        let _ = stream.set_nodelay(true);
        let mut unsent = Vec::new();
        client::open(&mut unsent, &self.server.to_string(), path);
        self.clients.push(Some(Client { stream, unread: Vec::new(), unsent, is_open: false }));
        Ok(number)
    }

    /// Waits at most `timeout` for something to happen, and hands on everything that did; whether anything did.
    pub fn turn(
        &mut self,
        timeout: Duration,
        mut on: impl FnMut(&mut Outgoing<'_>, usize, Happening<'_>),
    ) -> io::Result<bool> {
        let mut events = Events::with_capacity(4096);
        match self.poll.poll(&mut events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            outcome => outcome?,
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        for event in &events {
            let number = event.token().0;
            if event.is_writable() {
                self.send_rest(number);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.read(number, &mut buffer, &mut on);
            }
        }
        self.buffer = buffer;
        Ok(!events.is_empty())
    }

    /// Goes on until `is_done`, or says that nothing happened for `patience`.
    pub fn until(
        &mut self,
        patience: Duration,
        mut is_done: impl FnMut() -> bool,
        mut on: impl FnMut(&mut Outgoing<'_>, usize, Happening<'_>),
    ) -> io::Result<()> {
        let mut last = Instant::now();
        while !is_done() {
            if self.turn(Duration::from_millis(100), &mut on)? {
                last = Instant::now();
            } else if last.elapsed() > patience {
                return Err(io::Error::other(format!("nothing came for {patience:?}")));
            }
        }
        Ok(())
    }

    /// Sends text from one client.
    pub fn send(&mut self, number: usize, text: &[u8]) {
        Outgoing { clients: &mut self.clients }.send(number, text);
    }

    fn send_rest(&mut self, number: usize) {
        if let Some(Some(client)) = self.clients.get_mut(number) {
            client.send_rest();
        }
    }

    fn read(&mut self, number: usize, buffer: &mut [u8], on: &mut impl FnMut(&mut Outgoing<'_>, usize, Happening<'_>)) {
        loop {
            let Some(Some(client)) = self.clients.get_mut(number) else { return };
            match client.stream.read(buffer) {
                Ok(0) => return self.close(number, on),
                Ok(count) => {
                    let is_all = count < buffer.len();
                    self.received(number, &mut buffer[..count], on);
                    if is_all {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.close(number, on),
            }
        }
    }

    fn received(
        &mut self,
        number: usize,
        bytes: &mut [u8],
        on: &mut impl FnMut(&mut Outgoing<'_>, usize, Happening<'_>),
    ) {
        let Some(Some(client)) = self.clients.get_mut(number) else { return };
        let mut kept = std::mem::take(&mut client.unread);
        let bytes: &[u8] = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &kept
        };
        let mut at = 0;
        if !client.is_open {
            let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
                client.unread = bytes.to_vec();
                return;
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                return self.close(number, on);
            }
            client.is_open = true;
            at = end + 4;
            on(&mut Outgoing { clients: &mut self.clients }, number, Happening::Opened);
        }
        while let Some((frame, used)) = client::parse(&bytes[at..]) {
            at += used;
            let mut out = Outgoing { clients: &mut self.clients };
            match frame {
                Frame::Data(text) => on(&mut out, number, Happening::Message(text)),
                Frame::Ping(payload) => out.pong(number, payload),
                Frame::Close => return self.close(number, on),
                Frame::Other => {}
            }
        }
        if at < bytes.len()
            && let Some(Some(client)) = self.clients.get_mut(number)
        {
            client.unread = bytes[at..].to_vec();
        }
    }

    fn close(&mut self, number: usize, on: &mut impl FnMut(&mut Outgoing<'_>, usize, Happening<'_>)) {
        self.clients[number] = None;
        self.closed += 1;
        on(&mut Outgoing { clients: &mut self.clients }, number, Happening::Closed);
    }
}

impl Client {
    fn write(&mut self, bytes: &[u8]) {
        if self.unsent.is_empty() {
            let count = self.stream.write(bytes).unwrap_or(0);
            self.unsent.extend_from_slice(&bytes[count..]);
        } else {
            self.unsent.extend_from_slice(bytes);
        }
    }

    fn send_rest(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(_) => return,
            }
        }
        self.unsent = Vec::new();
    }
}

/// The sending side of all clients, for use while something that came is looked at.
pub struct Outgoing<'a> {
    clients: &'a mut [Option<Client>],
}

impl Outgoing<'_> {
    /// Sends text from one client.
    pub fn send(&mut self, number: usize, text: &[u8]) {
        self.write(number, |out| client::text(out, text));
    }

    fn pong(&mut self, number: usize, payload: &[u8]) {
        self.write(number, |out| client::pong(out, payload));
    }

    fn write(&mut self, number: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(Some(client)) = self.clients.get_mut(number) {
            let mut frame = Vec::with_capacity(512);
            write(&mut frame);
            client.write(&frame);
        }
    }
}
