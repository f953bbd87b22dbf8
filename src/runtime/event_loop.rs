//! The thread of one shard: waits for events, feeds them to the shard, and writes the shard's output.
//!
//! [`EventLoop::run`] is the loop, [`EventLoop::turn`] one iteration with the order of its steps. The shard decides; this
//! module only moves bytes, messages and sockets between the shard and the operating system, and never blocks outside
//! [`EventLoop::wait`].

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Poll, Token};

use crate::base::handle::{ConnSlot, Slot};
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::decision::DecisionFailure;
use crate::message::storage::StorageCommand;
use crate::message::{BRIDGE, BridgeMessage, ShardMessage, ShardNumber, ThreadMessage};
use crate::runtime::channel::{ChannelItem, ChannelReceiver, ChannelSender, ConnectionTransfer};
use crate::runtime::clock::Clock;
use crate::runtime::connection_permits::ConnectionPermits;
use crate::runtime::decisions::DecisionThreads;
use crate::runtime::fetched_keys::KeyService;
use crate::runtime::listener::ListenSocket;
use crate::runtime::media::MediaThread;
use crate::runtime::sockets::{FIRST_SLOT, ReadOutcome, SecuredStream, Sockets, turn_away};
use crate::runtime::storage::StorageHandle;
use crate::runtime::tls::{TlsAcceptor, TlsSession};
use crate::shard::{Departure, ListenerRoles, Shard, TurnedAway, Vacancy};

/// The token of the waker. Listeners follow, from token 1 on.
pub(super) const WAKER: Token = Token(0);

/// Size of the read buffer that all connections of a shard share.
const READ_BYTES: usize = 64 * 1024;

/// Reads of one connection per turn, so that one sender cannot starve the others.
const READS_PER_TURN: usize = 4;

/// Number of connections to write from which it pays to poll for more input first: a flush costs one system call per
/// connection, the poll one in all.
const COALESCE_FROM: usize = 256;

/// Such polls per turn; bounds the added latency.
const COALESCED_POLLS_PER_TURN: usize = 16;

/// Connections accepted per turn and listener.
const ACCEPTS_PER_TURN: usize = 256;

/// Pause after a failed `accept`, for example when no descriptor was left, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Messages received per turn, so that sockets are not kept waiting.
const MESSAGES_PER_TURN: usize = 4096;

/// Resources that the event loops of all shards share.
#[derive(Clone)]
pub(super) struct LoopResources {
    pub(super) clock: Clock,
    /// The channel into each shard, by shard number.
    pub(super) channels: Arc<[ChannelSender]>,
    /// The channel into the bridge, in a cluster.
    pub(super) bridge: Option<ChannelSender<BridgeMessage>>,
    pub(super) permits: ConnectionPermits,
    /// The media server, if this server is one.
    pub(super) media: Option<MediaThread>,
    /// The threads that ask the application, if there are any.
    pub(super) hooks: Option<DecisionThreads>,
    /// The keys that verify tokens.
    pub(super) keys: KeyService,
}

impl LoopResources {
    /// The resources, with ends of the channels and of the permits of their own.
    pub(super) fn new(
        clock: Clock,
        (channels, bridge, permits): (&Arc<[ChannelSender]>, &Option<ChannelSender<BridgeMessage>>, &ConnectionPermits),
        media: Option<MediaThread>,
        hooks: Option<DecisionThreads>,
        keys: &KeyService,
    ) -> Self {
        let (channels, bridge, permits) = (channels.clone(), bridge.clone(), permits.clone());
        Self { clock, channels, bridge, permits, media, hooks, keys: keys.clone() }
    }
}

/// A listener and its purpose.
pub(super) struct RoleListener {
    pub(super) socket: ListenSocket,
    pub(super) roles: ListenerRoles,
    /// Whether trusted proxies send a header of the PROXY protocol.
    pub(super) has_proxy_header: bool,
    /// TLS of its connections, if they use it.
    pub(super) tls: Option<Arc<TlsAcceptor>>,
}

/// One shard and its operating-system resources.
pub(super) struct EventLoop {
    poll: Poll,
    clock: Clock,
    listeners: Vec<RoleListener>,
    /// Indexes of listeners that may have more connections waiting.
    acceptable: Vec<usize>,
    /// No connection is accepted before this time (monotonic ms).
    accept_after: u64,
    /// A connection that was accepted and waits for another one to be closed, by the index of its listener.
    held: Option<(usize, TcpStream, SocketAddr)>,
    sockets: Sockets,
    /// Connections with more data than one turn may read.
    still_ready: Vec<ConnSlot>,
    /// Connections whose sockets take bytes again, beyond those that one turn may write.
    writable: VecDeque<ConnSlot>,
    buffer: Vec<u8>,
    inbox: ChannelReceiver,
    channels: Arc<[ChannelSender]>,
    bridge: Option<ChannelSender<BridgeMessage>>,
    media: Option<MediaThread>,
    storage: Option<StorageHandle>,
    hooks: Option<DecisionThreads>,
    keys: KeyService,
    shard: Shard,
}

impl EventLoop {
    /// An event loop for `shard`, which accepts connections from `listeners` and commits records to `storage`.
    ///
    /// # Errors
    /// The kernel refuses to report on a listener.
    pub(super) fn new(
        poll: Poll,
        mut listeners: Vec<RoleListener>,
        inbox: ChannelReceiver,
        storage: Option<StorageHandle>,
        shard: Shard,
        LoopResources { clock, channels, bridge, permits, media, hooks, keys }: LoopResources,
    ) -> io::Result<Self> {
        if listeners.len() >= FIRST_SLOT {
            return Err(io::Error::other(format!("{} addresses to listen on are too many", listeners.len())));
        }
        for (at, listener) in listeners.iter_mut().enumerate() {
            listener.socket.register(poll.registry(), Token(1 + at))?;
        }
        Ok(Self {
            poll,
            clock,
            acceptable: Vec::new(),
            accept_after: 0,
            held: None,
            listeners,
            sockets: Sockets::new(permits),
            still_ready: Vec::new(),
            writable: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
            inbox,
            channels,
            bridge,
            media,
            storage,
            hooks,
            keys,
            shard,
        })
    }

    /// Runs until every shard has drained, because a shard without clients may still own rooms and users of the others.
    /// `undrained` counts the shards that have not drained; `connections` publishes the number of this shard's connections.
    ///
    /// # Errors
    /// The kernel no longer reports events.
    pub(super) fn run(mut self, undrained: &AtomicUsize, connections: &AtomicUsize) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut is_counted = true;
        while is_counted || undrained.load(Ordering::Acquire) > 0 {
            self.wait(&mut events)?;
            // After the wait: all decisions of a turn use the same time, and none is older than its input.
            let (now, began) = (self.clock.now(), self.clock.micros());
            self.turn(now, &mut events)?;
            let us = self.clock.micros().saturating_sub(began);
            self.shard.turn_ended(self.sockets.traffic(), us, now.wall + us / 1_000);
            connections.store(self.shard.connections(), Ordering::Relaxed);
            if is_counted && self.shard.is_drained() {
                is_counted = false;
                let before = undrained.fetch_sub(1, Ordering::AcqRel);
                debug_assert!(before > 0, "invariant: each shard counts as undrained until it has drained");
                if before == 1 {
                    self.channels.iter().for_each(ChannelSender::wake);
                }
            }
        }
        Ok(())
    }

    /// One iteration of the loop, from input to output.
    fn turn(&mut self, now: Now, events: &mut Events) -> io::Result<()> {
        // Before the timers: a client that was heard from in this turn must not time out in it.
        self.handle_input(now, events);
        // Before the flush: messages to the same rooms then share their writes.
        self.coalesce_input(now, events)?;
        // Before `run`, which carries out the work that is due.
        self.shard.tick(now);
        // Before the flush, which sends the output of that work.
        self.shard.run(now);
        // After all input and all work, so that each connection is written once per turn.
        self.flush(now);
        debug_assert!(!self.shard.has_departures(), "invariant: departing connections leave within the turn");
        // Last: the listeners stay open until the turn in which the drain began has been flushed.
        if self.shard.is_draining() {
            self.stop_listening();
        }
        Ok(())
    }

    /// Feeds the shard one batch of input.
    fn handle_input(&mut self, now: Now, events: &Events) {
        // Before any request: a request for an owner with a full queue is refused.
        self.measure_queues();
        // Before the sockets: replies and events reach a connection before its next request is read.
        self.receive_messages(now);
        // Before `accept`, which needs to know the ready listeners, and before `read_more`.
        for event in events {
            self.handle_event(now, event);
        }
        // Before more is read: what slow clients take now need not wait for the flush.
        self.write_backlogs(now);
        self.accept(now);
        // After every ready connection has been read once: only then do the busy ones get another share.
        self.read_more(now);
        // Last: carries out the work that this input caused.
        self.shard.run(now);
    }

    /// Before a flush to many connections, also handles input that has arrived meanwhile: messages to the same rooms then
    /// share their writes, and the extra poll is cheap in comparison.
    fn coalesce_input(&mut self, now: Now, events: &mut Events) -> io::Result<()> {
        for _ in 0..COALESCED_POLLS_PER_TURN {
            if self.shard.waiting_members() < COALESCE_FROM || self.shard.wants_flush() {
                break;
            }
            self.poll(events, Some(Duration::ZERO))?;
            if events.is_empty() && self.inbox.is_empty() {
                break;
            }
            self.handle_input(now, events);
        }
        Ok(())
    }

    /// Sleeps until an event arrives or a timer is due; returns at once while work is left over.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let now = self.clock.now();
        let mut timeout = self.shard.next_due().map(|at| Duration::from_millis(at.saturating_sub(now.mono)));
        if !self.acceptable.is_empty() {
            let pause = Duration::from_millis(self.accept_after.saturating_sub(now.mono));
            timeout = Some(timeout.map_or(pause, |timeout| timeout.min(pause)));
        }
        let has_more_to_read = !self.still_ready.is_empty() || self.shard.has_resumed();
        let is_busy =
            has_more_to_read || !self.writable.is_empty() || self.shard.has_messages() || self.shard.has_output();
        if is_busy || !self.inbox.prepare_sleep() {
            timeout = Some(Duration::ZERO);
        }
        let outcome = self.poll(events, timeout);
        self.inbox.end_sleep();
        outcome
    }

    /// Collects events from the kernel. A signal may interrupt the wait; then there are none.
    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            outcome => outcome,
        }
    }

    /// Reports the lengths of all shards' queues to this shard, which refuses requests for congested owners.
    fn measure_queues(&mut self) {
        if self.channels.len() > 1 || self.bridge.is_some() {
            let shards =
                self.channels.iter().enumerate().map(|(number, channel)| (number as ShardNumber, channel.len()));
            let mut longest = 0;
            for (number, waiting) in shards.chain(self.bridge.iter().map(|bridge| (BRIDGE, bridge.len()))) {
                longest = longest.max(waiting);
                self.shard.set_congested(number, waiting > limits::MAIL_PER_SHARD);
            }
            self.shard.set_longest_queue(longest);
        }
    }

    /// Has issuers asked for keys, and the threads of the hooks ask the shard's questions; those for which there is no room fail in the next turn.
    fn ask_application(&mut self) {
        self.shard.key_wishes().for_each(|issuer| self.keys.wish(issuer));
        let Some(hooks) = &self.hooks else { return };
        let refused: Vec<_> = self.shard.questions().filter_map(|call| hooks.submit(call).err()).collect();
        for call in refused {
            let outcome = Err(DecisionFailure::Full);
            self.channels[usize::from(call.shard)]
                .send(ThreadMessage::from(ShardMessage::Decided { number: call.number, outcome }));
        }
    }

    fn receive_messages(&mut self, now: Now) {
        for _ in 0..MESSAGES_PER_TURN {
            match self.inbox.take() {
                Some(ChannelItem::Message(message)) => self.shard.handle_message(now, message),
                Some(ChannelItem::Connection(transfer)) => self.take_over(now, *transfer),
                Some(ChannelItem::Options(options)) => self.shard.set_options(options),
                Some(ChannelItem::Beat(answers)) => drop(answers.fetch_add(1, Ordering::Relaxed)),
                None => return,
            }
            self.flush_if_full(now);
        }
    }

    fn handle_event(&mut self, now: Now, event: &Event) {
        let token = event.token();
        if token.0 < FIRST_SLOT {
            if token != WAKER {
                self.acceptable.push(token.0 - 1);
            }
            return;
        }
        let slot = ConnSlot::from_raw((token.0 - FIRST_SLOT) as u32);
        if event.is_writable() {
            self.sockets.flush(slot);
            if self.shard.has_backlog(slot) {
                self.writable.push_back(slot);
            }
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.sockets.set_readable(slot, true);
            self.read(now, slot, event.is_read_closed() || event.is_error());
        }
    }

    /// Writes what waits for sockets that take bytes again; while other clients send, too, a part of it in each turn.
    fn write_backlogs(&mut self, now: Now) {
        let mut budget = self.shard.write_budget(now).unwrap_or(usize::MAX);
        // A connection is listed again with each event, so the list has a bound of its own.
        while (budget > 0 || self.writable.len() > limits::WRITABLE_LISTED)
            && let Some(slot) = self.writable.pop_front()
        {
            if self.shard.has_backlog(slot) {
                let bytes = self.shard.writable(slot, &mut self.sockets);
                budget = budget.saturating_sub(bytes + limits::WRITE_BYTES);
            }
        }
    }

    /// Reads a connection, within the bounds of one turn. `to_the_end`: its peer has closed it, so reading must go on until
    /// the end of the stream is found.
    fn read(&mut self, now: Now, slot: ConnSlot, to_the_end: bool) {
        for _ in 0..READS_PER_TURN {
            if !self.shard.wants_read(slot) {
                return;
            }
            match self.sockets.read(slot, &mut self.buffer) {
                ReadOutcome::Bytes(count) => self.shard.received(now, slot, &mut self.buffer[..count]),
                ReadOutcome::Last(count) => {
                    self.shard.received(now, slot, &mut self.buffer[..count]);
                    if !to_the_end && !self.shard.has_departures() {
                        self.sockets.set_readable(slot, false);
                        return self.flush_if_full(now);
                    }
                }
                ReadOutcome::Again => continue,
                ReadOutcome::Nothing => return self.sockets.set_readable(slot, false),
                ReadOutcome::End => {
                    self.sockets.set_readable(slot, false);
                    return self.shard.ended(now, slot);
                }
            }
            if self.shard.has_departures() {
                return self.send_connections();
            }
            self.flush_if_full(now);
        }
        self.still_ready.push(slot);
    }

    /// Moves departing connections to their new shards. At once, because the slots are free for reuse from now on.
    fn send_connections(&mut self) {
        while let Some(Departure { slot, to, from, roles, unread }) = self.shard.departure() {
            if let Some((stream, tls)) = self.sockets.take(self.poll.registry(), slot) {
                let transfer = Box::new(ConnectionTransfer { stream, tls, from, roles, unread });
                self.channels[usize::from(to)].send(transfer);
            }
        }
    }

    /// Takes a connection over from another shard, beginning with the bytes that shard left unread.
    fn take_over(&mut self, now: Now, transfer: ConnectionTransfer) {
        let ConnectionTransfer { stream, tls, from, roles, mut unread } = transfer;
        let Some(slot) = self.shard.arrived(now, from) else { return self.sockets.permits().release() };
        self.shard.set_listener(slot, roles, tls.is_some());
        if !self.watch(now, slot, (stream, tls)) {
            return;
        }
        self.shard.received(now, slot, &mut unread);
        self.send_connections();
    }

    fn read_more(&mut self, now: Now) {
        while let Some(slot) = self.shard.resumed() {
            if self.sockets.is_readable(slot) {
                self.still_ready.push(slot);
            }
        }
        for slot in std::mem::take(&mut self.still_ready) {
            self.read(now, slot, true);
        }
    }

    fn accept(&mut self, now: Now) {
        if now.mono < self.accept_after {
            return;
        }
        for at in std::mem::take(&mut self.acceptable) {
            if self.accept_from(now, at) {
                self.acceptable.push(at);
            }
        }
    }

    /// Accepts waiting connections of one listener, within the bounds of one turn; returns whether more may be waiting.
    fn accept_from(&mut self, now: Now, at: usize) -> bool {
        for _ in 0..ACCEPTS_PER_TURN {
            let listener = self.listeners.get(at).expect("invariant: only open listeners are acceptable");
            let held = self.held.take_if(|(of, ..)| *of == at).map(|(_, stream, remote)| (stream, remote));
            let (stream, remote) = match held.map_or_else(|| listener.socket.accept(), Ok) {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // A descriptor may be missing.
                    self.shard.make_room(now);
                    self.accept_after = now.mono + ACCEPT_PAUSE_MS;
                    return true;
                }
            };
            if self.sockets.permits().acquire() {
                self.take_on(now, stream, remote, at);
                continue;
            }
            match self.shard.make_room(now) {
                Vacancy::None => {
                    self.shard.turned_down(now, remote);
                    turn_away(stream, TurnedAway::Full, self.listeners[at].tls.is_some());
                    continue;
                }
                Vacancy::Made => {}
                Vacancy::Asked(pause_ms) => self.accept_after = now.mono + pause_ms,
            }
            if self.held.is_some() {
                // One is held for another listener already.
                turn_away(stream, TurnedAway::Full, self.listeners[at].tls.is_some());
                return true;
            }
            self.held = Some((at, stream, remote));
            return true;
        }
        true
    }

    /// Gives the shard a new connection, for which there is a permit.
    fn take_on(&mut self, now: Now, stream: TcpStream, remote: SocketAddr, at: usize) {
        let RoleListener { roles, has_proxy_header, tls, .. } = &self.listeners[at];
        let (roles, has_proxy_header, is_secure) = (*roles, *has_proxy_header, tls.is_some());
        let config = tls.as_ref().map(|tls| tls.config());
        // Otherwise small messages would wait for the acknowledgement of earlier ones (RFC 896).
        let _ = stream.set_nodelay(true);
        match self.shard.accepted_by(now, remote, roles, has_proxy_header) {
            Ok(slot) => {
                self.shard.set_listener(slot, roles, is_secure);
                let session = config.map(|config| TlsSession::new(config, self.shard.expects_proxy_header(slot)));
                match session.transpose() {
                    Ok(session) => drop(self.watch(now, slot, (stream, session))),
                    Err(error) => self.give_up(now, slot, &error),
                }
            }
            Err(why) => {
                self.sockets.permits().release();
                turn_away(stream, why, is_secure);
            }
        }
    }

    /// Registers a connection's socket with the kernel. On failure the connection ends; returns whether it lives.
    fn watch(&mut self, now: Now, slot: ConnSlot, stream: SecuredStream) -> bool {
        let outcome = self.sockets.add(self.poll.registry(), slot, stream);
        if let Err(error) = &outcome {
            self.give_up(now, slot, error);
        }
        outcome.is_ok()
    }

    /// Ends a connection for which there is no socket.
    fn give_up(&mut self, now: Now, slot: ConnSlot, error: &dyn std::error::Error) {
        tracing::warn!(%error, "cannot watch a connection");
        self.sockets.permits().release();
        self.shard.ended(now, slot);
    }

    fn flush_if_full(&mut self, now: Now) {
        if self.shard.wants_flush() {
            self.flush(now);
        }
    }

    /// Writes the turn's output.
    fn flush(&mut self, now: Now) {
        // Before the sockets: other shards and the storage threads work while this thread writes.
        self.send_messages(now);
        self.shard.flush(now, &mut self.sockets);
        // After the flush, which may decide that a connection moves and ask others on behalf of those it closed.
        self.send_connections();
        self.send_messages(now);
    }

    /// Sends the shard's commands to the storage threads and its messages to other shards and the bridge.
    fn send_messages(&mut self, now: Now) {
        if let Some(storage) = &self.storage {
            for command in self.shard.storage_commands(now) {
                match command {
                    StorageCommand::Commit(batch) => storage.submit(batch),
                    StorageCommand::Query { from, query } => storage.query(from, query),
                }
            }
        }
        self.send_media_requests();
        self.ask_application();
        for (to, message) in self.shard.outgoing() {
            match (to, &self.bridge) {
                (BRIDGE, Some(bridge)) => match BridgeMessage::try_from(message) {
                    Ok(message) => bridge.send(message),
                    Err(message) => debug_assert!(false, "invariant: {message:?} goes to shards only"),
                },
                _ => self.channels[usize::from(to)].send(message),
            }
        }
    }

    /// Sends the shard's requests to the media server.
    fn send_media_requests(&mut self) {
        if let Some(media) = &self.media {
            self.shard.media_requests().for_each(|request| media.send(request));
        }
    }

    fn stop_listening(&mut self) {
        self.held = None;
        for mut listener in self.listeners.drain(..) {
            listener.socket.deregister(self.poll.registry());
        }
        self.acceptable.clear();
    }
}
