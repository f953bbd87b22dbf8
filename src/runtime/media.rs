//! The media thread: its UDP sockets, and the participants of this server's calls ([`MediaServer`]).
//!
//! It is a thread of its own because a turn of a shard can take longer than a packet may wait. It starts with the first offer, so
//! a server without calls does not have it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::base::rng::Rng;
use crate::domain::reject::{Code, Reject};
use crate::media::{MediaOutput, MediaRequest, MediaServer};
use crate::message::ShardMessage;
use crate::runtime::channel::{ChannelReceiver, ChannelSender, request_channel};
use crate::runtime::entropy;

/// The token of the waker. The sockets follow.
const WAKER: Token = Token(0);

/// The largest datagram; media connections use smaller ones.
const DATAGRAM_BYTES: usize = 2_048;

/// Datagrams received from a socket before what they cause is sent.
const DATAGRAMS_PER_TURN: usize = 256;

/// Requests handled per turn.
const REQUESTS_PER_TURN: usize = 64;

/// Timers that are due so soon are run at once: a poll rounds up to a millisecond.
const SOON: Duration = Duration::from_micros(900);

/// Times that timers are run in one turn.
const PASSES_PER_TURN: usize = 32;

/// What the kernel keeps for a socket in each direction.
const SOCKET_BYTES: usize = 4 << 20;

/// A socket of the media server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaSocket {
    /// The address that it is bound to.
    pub bound: IpAddr,
    /// The address that clients reach it at.
    pub announced: IpAddr,
}

/// Options of the media server.
#[derive(Clone, Debug)]
pub struct MediaOptions {
    /// Its sockets: at most one of each family.
    pub sockets: Vec<MediaSocket>,
    /// Their port; 0: any free one.
    pub port: u16,
    /// Memory that it may take; 0: any amount.
    pub memory_bytes: usize,
}

impl MediaOptions {
    /// Whether only clients on this machine reach it.
    pub fn is_local(&self) -> bool {
        self.sockets.iter().all(|socket| socket.announced.is_loopback())
    }
}

/// A bound socket, and its address as clients know it.
struct BoundSocket {
    socket: UdpSocket,
    announced: SocketAddr,
}

/// The media server before its thread is started.
pub(super) struct PreparedMedia {
    sockets: Vec<BoundSocket>,
    memory_bytes: usize,
}

impl PreparedMedia {
    /// Binds the sockets.
    ///
    /// # Errors
    /// An address cannot be had; in words.
    pub(super) fn bind(options: MediaOptions) -> Result<Self, String> {
        let mut port = options.port;
        let mut sockets: Vec<BoundSocket> = Vec::new();
        for MediaSocket { bound, announced } in options.sockets {
            let at = SocketAddr::new(bound, port);
            match bind(at) {
                Ok(socket) => {
                    port = socket.local_addr().map_err(|error| error.to_string())?.port();
                    sockets.push(BoundSocket { socket, announced: SocketAddr::new(announced, port) });
                }
                Err(error) if bound.is_ipv6() && !sockets.is_empty() => {
                    tracing::info!(%at, %error, "the media server is not reached by IPv6");
                }
                Err(error) => return Err(format!("media.udp_port: cannot open UDP {at}: {error}")),
            }
        }
        for BoundSocket { announced, .. } in &sockets {
            tracing::info!(%announced, "clients reach the media server here");
        }
        Ok(Self { sockets, memory_bytes: options.memory_bytes })
    }

    /// The media server, which answers by these channels into the shards.
    pub(super) fn with(self, channels: Arc<[ChannelSender]>) -> MediaThread {
        let shared = Shared { prepared: Mutex::new(Some(self)), inbox: OnceLock::new(), channels };
        MediaThread(Arc::new(shared))
    }
}

fn bind(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The kernel gives less where it may not.
    let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// The way to the media thread.
#[derive(Clone)]
pub(super) struct MediaThread(Arc<Shared>);

struct Shared {
    prepared: Mutex<Option<PreparedMedia>>,
    /// The channel into the thread; `None` within if it could not be started.
    inbox: OnceLock<Option<ChannelSender<MediaRequest>>>,
    channels: Arc<[ChannelSender]>,
}

impl MediaThread {
    /// Sends a request. The first one starts the thread.
    pub(super) fn send(&self, request: MediaRequest) {
        match (self.0.inbox.get_or_init(|| self.start()), request) {
            (Some(inbox), request) => inbox.send(request),
            (None, MediaRequest::Offer { from, .. }) => {
                let refusal = Reject::new(Code::MediaUnavailable, "The media server could not be started");
                let (to, message) = from.reply(Err(refusal));
                self.0.channels[usize::from(to)].send(message);
            }
            (None, MediaRequest::Leave { .. }) => {}
        }
    }

    fn start(&self) -> Option<ChannelSender<MediaRequest>> {
        let prepared = self.0.prepared.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let started = MediaLoop::new(prepared, self.0.channels.clone()).and_then(|(media_loop, inbox)| {
            thread::Builder::new().name("media".into()).spawn(move || media_loop.run())?;
            Ok(inbox)
        });
        started.inspect_err(|error| tracing::error!(%error, "the media server cannot be started")).ok()
    }
}

/// What the media thread works with.
struct MediaLoop {
    poll: Poll,
    inbox: ChannelReceiver<MediaRequest>,
    channels: Arc<[ChannelSender]>,
    sockets: Vec<BoundSocket>,
    /// The sockets that may have more datagrams.
    readable: Vec<usize>,
    server: MediaServer,
    buffer: Vec<u8>,
}

impl MediaLoop {
    fn new(prepared: PreparedMedia, channels: Arc<[ChannelSender]>) -> io::Result<(Self, ChannelSender<MediaRequest>)> {
        let PreparedMedia { mut sockets, memory_bytes } = prepared;
        let poll = Poll::new()?;
        let (sender, inbox) = request_channel(&poll, WAKER)?;
        for (at, BoundSocket { socket, .. }) in sockets.iter_mut().enumerate() {
            poll.registry().register(socket, Token(1 + at), Interest::READABLE)?;
        }
        let addresses = sockets.iter().map(|socket| socket.announced).collect();
        let server = MediaServer::new(addresses, memory_bytes, Rng::from_entropy(entropy::seed()?));
        let buffer = vec![0; DATAGRAM_BYTES];
        Ok((Self { poll, inbox, channels, sockets, readable: Vec::new(), server, buffer }, sender))
    }

    /// Runs until the process ends.
    fn run(mut self) {
        let mut events = Events::with_capacity(16);
        let mut out = MediaOutput::default();
        loop {
            self.wait(&mut events);
            self.turn(&mut out);
        }
    }

    /// One iteration of the loop, from input to output.
    fn turn(&mut self, out: &mut MediaOutput) {
        for _ in 0..REQUESTS_PER_TURN {
            let Some(request) = self.inbox.take() else { break };
            self.server.handle(Instant::now(), request, out);
        }
        // The packets of a turn are written to a participant's connection before it is drained once.
        self.receive(out);
        self.server.flush(Instant::now(), out);
        for _ in 0..PASSES_PER_TURN {
            let now = Instant::now();
            if self.server.next_due().is_none_or(|due| due > now + SOON) {
                break;
            }
            self.server.pass(now + SOON, out);
            self.server.flush(now + SOON, out);
        }
        self.send(out);
    }

    fn wait(&mut self, events: &mut Events) {
        let now = Instant::now();
        let mut timeout = self.server.next_due().map(|due| due.saturating_duration_since(now));
        if !self.readable.is_empty() || !self.inbox.prepare_sleep() {
            timeout = Some(Duration::ZERO);
        }
        let outcome = self.poll.poll(events, timeout);
        self.inbox.end_sleep();
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                panic!("invariant: the kernel reports on open sockets: {error}");
            }
            _ => {}
        }
        let ready = events.iter().filter(|event| event.token() != WAKER).map(|event| event.token().0 - 1);
        for at in ready {
            if !self.readable.contains(&at) {
                self.readable.push(at);
            }
        }
    }

    fn receive(&mut self, out: &mut MediaOutput) {
        for at in std::mem::take(&mut self.readable) {
            if self.receive_from(at, out) {
                self.readable.push(at);
            }
        }
    }

    /// Receives datagrams from one socket; returns whether there may be more.
    fn receive_from(&mut self, at: usize, out: &mut MediaOutput) -> bool {
        let BoundSocket { socket, announced } = &self.sockets[at];
        for _ in 0..DATAGRAMS_PER_TURN {
            match socket.recv_from(&mut self.buffer) {
                Ok((length, source)) => {
                    self.server.receive(Instant::now(), (source, *announced), &self.buffer[..length], out);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An earlier datagram could not be delivered.
                Err(_) => {}
            }
        }
        true
    }

    fn send(&mut self, out: &mut MediaOutput) {
        for datagram in out.datagrams.drain(..) {
            let socket = self.sockets.iter().find(|socket| socket.announced == datagram.from);
            if let Some(BoundSocket { socket, .. }) = socket {
                // A datagram that the kernel does not take is lost, like one on the way.
                let _ = socket.send_to(&out.bytes[datagram.range], datagram.to);
            }
        }
        out.bytes.clear();
        for (to, event) in out.events.drain(..) {
            self.channels[usize::from(to.place().shard)].send(ShardMessage::Deliver { to, event });
        }
        for (from, reply) in out.replies.drain(..) {
            let (to, message) = from.reply(reply);
            self.channels[usize::from(to)].send(message);
        }
    }
}
