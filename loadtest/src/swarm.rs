//! Many clients on one thread: nonblocking sockets and one read buffer. Each client has one lane.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use loadtest::client::{Client, Effects, Settings};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

/// Clients whose connection or handshake is under way at once.
const OPENING_MAX: usize = 512;

/// Clients per source address: each has 28,000 ports or so.
const PER_ADDRESS: usize = 20_000;

/// The first source address; the machine's other programs use that of localhost itself.
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

/// One client's lane.
#[derive(Default)]
struct Lane {
    stream: Option<TcpStream>,
    is_connected: bool,
    /// Bytes that could not be sent yet.
    unsent: Vec<u8>,
}

/// Many clients of one server.
pub struct Swarm {
    poll: Poll,
    server: SocketAddr,
    settings: Settings,
    clients: Vec<Client>,
    lanes: Vec<Lane>,
    outgoing: Outgoing,
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
        Ok(Self {
            poll: Poll::new()?,
            server,
            settings: Settings { host: server.to_string(), ..Settings::default() },
            clients: Vec::new(),
            lanes: Vec::new(),
            outgoing: Outgoing::default(),
            buffer: vec![0; 1 << 20],
            closed: 0,
        })
    }

    /// Opens one client for each token; `on` hears of everything that happens meanwhile.
    pub fn open(
        &mut self,
        tokens: impl ExactSizeIterator<Item = Option<String>>,
        mut on: impl FnMut(&mut Outgoing, usize, Happening<'_>),
    ) -> io::Result<()> {
        let total = tokens.len();
        let (mut opened, mut failed) = (0, 0);
        for (started, token) in (1..).zip(tokens) {
            let number = self.clients.len();
            self.clients.push(Client::new(&self.settings, number, token.as_deref()));
            self.lanes.push(Lane::default());
            self.with(number, &mut on, |client, wire| client.start(wire));
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
            let reason = self.clients.iter().find_map(|client| client.reason());
            let reason = reason.map(ToString::to_string).unwrap_or_default();
            return Err(io::Error::other(format!("{failed} of {total} clients could not connect: {reason}")));
        }
        Ok(())
    }

    /// Waits at most `timeout` for something to happen, and hands on everything that did; whether anything did.
    pub fn turn(
        &mut self,
        timeout: Duration,
        mut on: impl FnMut(&mut Outgoing, usize, Happening<'_>),
    ) -> io::Result<bool> {
        let mut events = Events::with_capacity(4096);
        match self.poll.poll(&mut events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            outcome => outcome?,
        }
        for event in &events {
            let number = event.token().0;
            if event.is_writable() {
                self.writable(number, &mut on);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.read(number, &mut on);
            }
        }
        Ok(!events.is_empty())
    }

    /// Goes on until `is_done`, or says that nothing happened for `patience`.
    pub fn until(
        &mut self,
        patience: Duration,
        mut is_done: impl FnMut() -> bool,
        mut on: impl FnMut(&mut Outgoing, usize, Happening<'_>),
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
        self.with(number, &mut |_, _, _| {}, |client, wire| client.send(text, wire));
    }

    fn writable(&mut self, number: usize, on: &mut impl FnMut(&mut Outgoing, usize, Happening<'_>)) {
        let lane = &mut self.lanes[number];
        if lane.is_connected {
            return lane.send_rest();
        }
        lane.is_connected = lane.stream.as_ref().is_some_and(|stream| stream.peer_addr().is_ok());
        if lane.is_connected {
            self.with(number, on, |client, wire| client.connected(0, wire));
        }
    }

    fn read(&mut self, number: usize, on: &mut impl FnMut(&mut Outgoing, usize, Happening<'_>)) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(stream) = &mut self.lanes[number].stream {
            match stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    self.lanes[number] = Lane::default();
                    self.with(number, on, |client, wire| client.ended(0, wire));
                }
                Ok(count) => {
                    self.with(number, on, |client, wire| client.received(0, &buffer[..count], wire));
                    if count < buffer.len() {
                        break;
                    }
                }
            }
        }
        self.buffer = buffer;
    }

    /// Tells one client something, does what it asks for, then sends what was asked to be sent meanwhile.
    fn with<F: FnMut(&mut Outgoing, usize, Happening<'_>)>(
        &mut self,
        number: usize,
        on: &mut F,
        tell: impl FnOnce(&mut Client, &mut Wire<'_, F>),
    ) {
        let Self { poll, server, clients, lanes, outgoing, closed, .. } = self;
        let (registry, server) = (poll.registry(), *server);
        let lane = &mut lanes[number];
        tell(&mut clients[number], &mut Wire { registry, server, number, lane, outgoing, closed, on });
        for (number, text) in std::mem::take(&mut self.outgoing.texts) {
            self.send(number, &text);
        }
    }
}

/// One client's lane while the client is told something.
struct Wire<'a, F> {
    registry: &'a Registry,
    server: SocketAddr,
    number: usize,
    lane: &'a mut Lane,
    outgoing: &'a mut Outgoing,
    closed: &'a mut usize,
    on: &'a mut F,
}

impl<F: FnMut(&mut Outgoing, usize, Happening<'_>)> Wire<'_, F> {
    fn connect(&self) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.server), Type::STREAM, Some(Protocol::TCP))?;
        if let IpAddr::V4(ip) = self.server.ip()
            && ip.is_loopback()
        {
            let source = Ipv4Addr::from(u32::from(FIRST_SOURCE) + (self.number / PER_ADDRESS) as u32);
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
        self.registry.register(&mut stream, Token(self.number), Interest::READABLE | Interest::WRITABLE)?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

impl<F: FnMut(&mut Outgoing, usize, Happening<'_>)> Effects for Wire<'_, F> {
    fn open(&mut self, _lane: u8) {
        match self.connect() {
            Ok(stream) => self.lane.stream = Some(stream),
            Err(error) => {
                eprintln!("loadtest: client {}: {error}", self.number);
                self.closed();
            }
        }
    }

    fn write(&mut self, _lane: u8, bytes: &[u8]) {
        self.lane.write(bytes);
    }

    fn close(&mut self, _lane: u8) {
        *self.lane = Lane::default();
    }

    fn opened(&mut self) {
        (self.on)(self.outgoing, self.number, Happening::Opened);
    }

    fn message(&mut self, text: &[u8]) {
        (self.on)(self.outgoing, self.number, Happening::Message(text));
    }

    fn closed(&mut self) {
        *self.closed += 1;
        (self.on)(self.outgoing, self.number, Happening::Closed);
    }
}

impl Lane {
    fn write(&mut self, bytes: &[u8]) {
        let Some(stream) = &mut self.stream else { return };
        let count = if self.unsent.is_empty() { stream.write(bytes).unwrap_or(0) } else { 0 };
        self.unsent.extend_from_slice(&bytes[count..]);
    }

    fn send_rest(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        while !self.unsent.is_empty() {
            match stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(_) => return,
            }
        }
        self.unsent = Vec::new();
    }
}

/// What is to be sent once the client that something came for has been told all of it.
#[derive(Default)]
pub struct Outgoing {
    texts: Vec<(usize, Vec<u8>)>,
}

impl Outgoing {
    /// Sends text from one client.
    pub fn send(&mut self, number: usize, text: Vec<u8>) {
        self.texts.push((number, text));
    }
}
