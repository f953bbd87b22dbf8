//! Many clients on one thread: nonblocking sockets, one read buffer, and a [`Play`] that hears what happens and says what
//! is done. A client has up to two connections, its lanes.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use rustix::fd::OwnedFd;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use socket2::{Domain, Protocol, Socket, Type};

use crate::client::{Client, Effects, Reason};
use crate::mark;
use crate::play::{Act, Play, Stage};
use crate::token;
use crate::words::Setup;

/// Connections per source address: each has 28,000 ports or so.
const PER_ADDRESS: usize = 20_000;

/// The first source address; the machine's other programs use that of localhost itself.
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

const LANES: usize = 2;
const BUFFER_BYTES: usize = 1 << 20;
const EVENTS: usize = 4096;
const WAKE: Token = Token(usize::MAX - 1);
const TIMER: Token = Token(usize::MAX - 2);

/// Connecting is under way.
const EINPROGRESS: i32 = 115;

/// One client's place.
#[derive(Default)]
struct Member {
    speech: Speech,
    lanes: [Lane; LANES],
    is_opening: bool,
    is_paused: bool,
}

/// What a client speaks.
#[derive(Default)]
enum Speech {
    /// It is not there.
    #[default]
    Absent,
    /// Bytes as they come.
    Bare,
    Client(Client),
}

/// A connection.
#[derive(Default)]
struct Lane {
    stream: Option<TcpStream>,
    is_connected: bool,
    /// Bytes that could not be sent yet.
    unsent: Vec<u8>,
    /// Whether what is written waits for more.
    is_corked: bool,
}

/// Many clients of one server.
pub struct Swarm {
    poll: Poll,
    timer: OwnedFd,
    setup: Setup,
    members: Vec<Member>,
    buffer: Vec<u8>,
    events: Option<Events>,
    /// Clients to be opened when others are.
    waiting: VecDeque<usize>,
    opening: usize,
    /// Clients that are open.
    pub open: usize,
    /// Clients that could not be opened.
    pub refused: u64,
    /// Clients that the server or the network closed.
    pub closed: u64,
    /// Why the first of those was closed that were refused or closed.
    pub why_closed: Option<String>,
}

impl Swarm {
    /// No client is open yet.
    pub fn new(setup: Setup) -> io::Result<Self> {
        let poll = Poll::new()?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self {
            poll,
            timer,
            members: (0..setup.share.clients).map(|_| Member::default()).collect(),
            setup,
            buffer: vec![0; BUFFER_BYTES],
            events: Some(Events::with_capacity(EVENTS)),
            waiting: VecDeque::new(),
            opening: 0,
            open: 0,
            refused: 0,
            closed: 0,
            why_closed: None,
        })
    }

    /// Ends a wait from another thread.
    pub fn waker(&self) -> io::Result<Arc<Waker>> {
        Waker::new(self.poll.registry(), WAKE).map(Arc::new)
    }

    /// Clients there can be.
    pub fn places(&self) -> usize {
        self.members.len()
    }

    /// Clients that are being opened or wait for it.
    pub fn opening(&self) -> usize {
        self.opening + self.waiting.len()
    }

    /// Opens all clients, not too many at once.
    pub fn open_all(&mut self) {
        self.waiting = (0..self.members.len()).collect();
    }

    /// Closes all clients.
    pub fn close_all(&mut self, stage: &mut Stage) {
        self.waiting.clear();
        for number in 0..self.members.len() {
            self.leave(number, stage);
        }
    }

    /// Waits at most `timeout` or until a time (in nanoseconds since 1970) for something to happen, and hands on what
    /// did; whether anything did.
    pub fn turn(
        &mut self,
        timeout: Duration,
        until_ns: Option<u64>,
        play: &mut dyn Play,
        stage: &mut Stage,
    ) -> io::Result<bool> {
        self.act(play, stage)?;
        let timeout = if self.set_timer(until_ns)? { timeout } else { Duration::ZERO };
        let mut events = self.events.take().unwrap_or_else(|| Events::with_capacity(EVENTS));
        let outcome = self.poll.poll(&mut events, Some(timeout));
        let mut has_happened = false;
        for event in events.iter().filter(|event| event.token() != WAKE && event.token() != TIMER) {
            has_happened = true;
            self.happened(event, play, stage)?;
            self.act(play, stage)?;
        }
        self.events = Some(events);
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(has_happened),
        }
    }

    /// Sets the timer; false when that time is past.
    fn set_timer(&self, until_ns: Option<u64>) -> io::Result<bool> {
        let Some(until) = until_ns else { return Ok(true) };
        let left = Duration::from_nanos(until.saturating_sub(mark::now_ns()));
        if left.is_zero() {
            return Ok(false);
        }
        let it_value = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(true)
    }

    /// Carries out what was noted, and what that leads to.
    fn act(&mut self, play: &mut dyn Play, stage: &mut Stage) -> io::Result<()> {
        while let Some((acts, texts)) = stage.take() {
            let are_one_write =
                |one: &Act, next: &Act| matches!((one, next), (Act::Send(a, _), Act::Send(b, _)) if a == b);
            for act in acts.chunk_by(are_one_write) {
                match &act[0] {
                    Act::Send(number, _) => self.send(*number, act, &texts, play, stage)?,
                    Act::Open(number) => self.waiting.push_back(*number),
                    Act::Close(number) => {
                        self.waiting.retain(|waiting| waiting != number);
                        self.leave(*number, stage);
                    }
                    Act::Leave(number) => self.with(*number, play, stage, |speech, hand| speech.leave(hand))?,
                    Act::Pause(number) => self.members[*number].is_paused = true,
                    Act::Resume(number) => {
                        self.members[*number].is_paused = false;
                        for lane in 0..LANES as u8 {
                            self.read(*number, lane, true, play, stage)?;
                        }
                    }
                }
            }
            stage.give_back(acts, texts);
        }
        while self.opening < self.setup.share.opening_max
            && let Some(number) = self.waiting.pop_front()
        {
            self.start(number, play, stage)?;
        }
        Ok(())
    }

    fn start(&mut self, number: usize, play: &mut dyn Play, stage: &mut Stage) -> io::Result<()> {
        self.leave(number, stage);
        let global = self.setup.share.first + number;
        let speech = if self.setup.is_bare {
            Speech::Bare
        } else {
            let token = self.setup.secret.as_deref().map(|secret| token::sign(secret, &format!("user-{global}")));
            Speech::Client(Client::new(&self.setup.client, global, token.as_deref()))
        };
        self.members[number] = Member { speech, is_opening: true, ..Member::default() };
        self.opening += 1;
        self.with(number, play, stage, |speech, hand| speech.start(hand))
    }

    /// Sends what a client says at once by one write, as programs do that say several things.
    fn send(
        &mut self,
        number: usize,
        acts: &[Act],
        texts: &[u8],
        play: &mut dyn Play,
        stage: &mut Stage,
    ) -> io::Result<()> {
        self.members[number].lanes.iter_mut().for_each(|lane| lane.is_corked = acts.len() > 1);
        for act in acts {
            let Act::Send(_, range) = act else { continue };
            self.with(number, play, stage, |speech, hand| speech.send(&texts[range.clone()], hand))?;
        }
        for lane in self.members[number].lanes.iter_mut().filter(|lane| lane.is_corked) {
            lane.is_corked = false;
            lane.send_rest(stage);
        }
        Ok(())
    }

    /// Lets a client's protocol do something, and keeps count of what became of the client.
    fn with(
        &mut self,
        number: usize,
        play: &mut dyn Play,
        stage: &mut Stage,
        run: impl FnOnce(&mut Speech, &mut Hand<'_>),
    ) -> io::Result<()> {
        let Member { speech, lanes, .. } = &mut self.members[number];
        if matches!(speech, Speech::Absent) {
            return Ok(());
        }
        let (registry, setup) = (self.poll.registry(), &self.setup);
        let mut hand =
            Hand { registry, setup, number, lanes, play, stage, is_opened: false, is_closed: false, error: None };
        let waited = speech.waiting_bytes();
        run(speech, &mut hand);
        let Hand { is_opened, is_closed, error, .. } = hand;
        stage.unsent_bytes = stage.unsent_bytes + speech.waiting_bytes() - waited;
        let member = &mut self.members[number];
        if is_opened && member.is_opening {
            member.is_opening = false;
            self.opening -= 1;
            self.open += 1;
        }
        if is_closed {
            let reason = member.speech.reason();
            if reason != Some(&Reason::Gone) {
                let counter = if member.is_opening { &mut self.refused } else { &mut self.closed };
                *counter += 1;
                if self.why_closed.is_none() {
                    // Some of it may be the server's own words.
                    self.why_closed = reason.map(|reason| reason.to_string().replace(char::is_control, "\u{fffd}"));
                }
            }
            self.leave(number, stage);
        }
        error.map_or(Ok(()), Err)
    }

    /// Takes a client away; its connections are closed.
    fn leave(&mut self, number: usize, stage: &mut Stage) {
        let member = std::mem::take(&mut self.members[number]);
        let unsent = member.lanes.iter().map(|lane| lane.unsent.len()).sum::<usize>();
        stage.unsent_bytes -= unsent + member.speech.waiting_bytes();
        match member.speech {
            Speech::Absent => {}
            _ if member.is_opening => self.opening -= 1,
            _ => self.open -= 1,
        }
    }

    fn happened(&mut self, event: &Event, play: &mut dyn Play, stage: &mut Stage) -> io::Result<()> {
        let (number, index) = (event.token().0 / LANES, event.token().0 % LANES);
        if event.is_writable() {
            let lane = &mut self.members[number].lanes[index];
            if lane.has_connected() {
                self.with(number, play, stage, |speech, hand| speech.connected(index as u8, hand))?;
            }
            self.members[number].lanes[index].send_rest(stage);
        }
        let has_ended = event.is_read_closed() || event.is_error();
        if event.is_readable() || has_ended {
            self.read(number, index as u8, has_ended, play, stage)?;
        }
        Ok(())
    }

    /// Reads what has come. A read that does not fill the buffer has emptied the socket, and the kernel says when there is
    /// more; but an end that it has told of already is to be found now.
    fn read(
        &mut self,
        number: usize,
        lane: u8,
        to_the_end: bool,
        play: &mut dyn Play,
        stage: &mut Stage,
    ) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = loop {
            let Member { lanes, is_paused, .. } = &mut self.members[number];
            let Some(stream) = lanes[lane as usize].stream.as_mut().filter(|_| !*is_paused) else { break Ok(()) };
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    stage.received();
                    let bytes = &buffer[..count];
                    let outcome = self.with(number, play, stage, |speech, hand| speech.received(lane, bytes, hand));
                    if outcome.is_err() || !to_the_end && count < buffer.len() {
                        break outcome;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    lanes[lane as usize].end(stage);
                    break self.with(number, play, stage, |speech, hand| speech.ended(lane, hand));
                }
            }
        };
        self.buffer = buffer;
        outcome
    }
}

impl Speech {
    fn start(&mut self, hand: &mut Hand<'_>) {
        match self {
            Self::Absent => {}
            Self::Bare => hand.open(0),
            Self::Client(client) => client.start(hand),
        }
    }

    fn connected(&mut self, lane: u8, hand: &mut Hand<'_>) {
        match self {
            Self::Absent => {}
            Self::Bare => hand.opened(),
            Self::Client(client) => client.connected(lane, hand),
        }
    }

    fn received(&mut self, lane: u8, bytes: &[u8], hand: &mut Hand<'_>) {
        match self {
            Self::Absent => {}
            Self::Bare => hand.message(bytes),
            Self::Client(client) => client.received(lane, bytes, hand),
        }
    }

    fn ended(&mut self, lane: u8, hand: &mut Hand<'_>) {
        match self {
            Self::Absent => {}
            Self::Bare => hand.closed(),
            Self::Client(client) => client.ended(lane, hand),
        }
    }

    fn send(&mut self, text: &[u8], hand: &mut Hand<'_>) {
        match self {
            Self::Absent => {}
            Self::Bare => hand.write(0, text),
            Self::Client(client) => client.send(text, hand),
        }
    }

    fn leave(&mut self, hand: &mut Hand<'_>) {
        match self {
            Self::Absent => {}
            Self::Bare => {
                hand.close(0);
                hand.closed();
            }
            Self::Client(client) => client.leave(hand),
        }
    }

    /// Bytes that are sent and that no connection has been asked to carry yet.
    fn waiting_bytes(&self) -> usize {
        match self {
            Self::Absent | Self::Bare => 0,
            Self::Client(client) => client.waiting_bytes(),
        }
    }

    /// Why it is closed, once it is, and if it is known.
    fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Absent | Self::Bare => None,
            Self::Client(client) => client.reason(),
        }
    }
}

impl Lane {
    /// Whether the connection has just come to be. An event may be that of a connection which had this place before.
    fn has_connected(&mut self) -> bool {
        let Some(stream) = self.stream.as_ref().filter(|_| !self.is_connected) else { return false };
        self.is_connected = stream.peer_addr().is_ok();
        self.is_connected
    }

    /// What the kernel does not take waits. An error is left to the reading side, which sees it too.
    fn write(&mut self, bytes: &[u8], stage: &mut Stage) {
        let Some(stream) = &mut self.stream else { return };
        let count = if self.unsent.is_empty() && !self.is_corked { stream.write(bytes).unwrap_or(0) } else { 0 };
        self.unsent.extend_from_slice(&bytes[count..]);
        stage.unsent_bytes += bytes.len() - count;
    }

    fn send_rest(&mut self, stage: &mut Stage) {
        let Some(stream) = self.stream.as_mut().filter(|_| self.is_connected) else { return };
        while !self.unsent.is_empty() {
            let Ok(count) = stream.write(&self.unsent) else { return };
            self.unsent.drain(..count);
            stage.unsent_bytes -= count;
        }
        self.unsent = Vec::new();
    }

    fn end(&mut self, stage: &mut Stage) {
        stage.unsent_bytes -= self.unsent.len();
        *self = Self::default();
    }
}

/// What a client's protocol may do, carried out at once.
struct Hand<'a> {
    registry: &'a Registry,
    setup: &'a Setup,
    number: usize,
    lanes: &'a mut [Lane; LANES],
    play: &'a mut dyn Play,
    stage: &'a mut Stage,
    is_opened: bool,
    is_closed: bool,
    error: Option<io::Error>,
}

impl Hand<'_> {
    fn connect(&self, lane: u8) -> io::Result<TcpStream> {
        let server = self.setup.server_of(self.setup.share.first + self.number);
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
        let number = self.setup.share.first + self.number;
        if server.ip().is_loopback() {
            // Thousands of connections that linger after their end would take the ports of the next run.
            socket.set_linger(Some(Duration::ZERO))?;
        }
        if let Some(bytes) = self.play.receive_bytes(self.number) {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(source) = source(server, number * LANES + lane as usize) {
            socket.bind(&source.into())?;
        }
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error),
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        let token = Token(self.number * LANES + lane as usize);
        self.registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(stream)
    }
}

/// Where the connection with this number comes from: so many share an address.
fn source(server: SocketAddr, connection: usize) -> Option<SocketAddr> {
    if !matches!(server.ip(), IpAddr::V4(ip) if ip.is_loopback()) {
        return None;
    }
    let address = Ipv4Addr::from(u32::from(FIRST_SOURCE) + (connection / PER_ADDRESS) as u32);
    Some(SocketAddr::new(address.into(), 0))
}

impl Effects for Hand<'_> {
    fn open(&mut self, lane: u8) {
        self.close(lane);
        match self.connect(lane) {
            Ok(stream) => self.lanes[lane as usize].stream = Some(stream),
            Err(error) => {
                self.error = Some(io::Error::new(error.kind(), format!("cannot connect: {error}")));
            }
        }
    }

    fn write(&mut self, lane: u8, bytes: &[u8]) {
        self.lanes[lane as usize].write(bytes, self.stage);
    }

    fn close(&mut self, lane: u8) {
        self.lanes[lane as usize].end(self.stage);
    }

    fn opened(&mut self) {
        self.is_opened = true;
        self.play.opened(self.number, self.stage);
    }

    fn message(&mut self, text: &[u8]) {
        self.play.message(self.number, text, self.stage);
    }

    fn closed(&mut self) {
        self.is_closed = true;
        self.play.closed(self.number, self.stage);
    }
}

#[cfg(test)]
mod tests;
