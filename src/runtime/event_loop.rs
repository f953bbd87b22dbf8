//! One shard's thread: wait, read the clock, read mail, read sockets, run, flush, look at timers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::base::limits;
use crate::base::time::Now;
use crate::message::storage::StorageCommand;
use crate::message::{Placement, ShardNumber};
use crate::runtime::channel::{ChannelSender, Inbox, Moving, Parcel};
use crate::runtime::clock::Clock;
use crate::runtime::places::Places;
use crate::runtime::sockets::{FIRST_SLOT, Sockets, Taken, turn_away};
use crate::runtime::storage::Store;
use crate::shard::{Departure, Shard, Wire};

/// The token of the waker; listeners have those from 1 on.
pub const WAKER: Token = Token(0);

/// Bytes read at once, into the buffer all of a shard's connections share.
const READ_BYTES: usize = 64 * 1024;

/// Reads of one connection in one turn, so that a firehose starves nobody.
const READS_PER_TURN: usize = 4;

/// A flush to this many connections or more is worth another look for what has come meanwhile: it costs them a write
/// each, the look a single call.
const GATHER_FROM: usize = 256;

/// Such looks in one turn, so that nobody is kept waiting.
const GATHERS_PER_TURN: usize = 16;

/// Connections accepted in one turn.
const ACCEPTS_PER_TURN: usize = 256;

/// After the kernel had no descriptor left, accepting is tried again after this many milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Mail read in one turn, so that sockets are not kept waiting.
const MAIL_PER_TURN: usize = 4096;

/// What the loops of all shards have in common.
#[derive(Clone)]
pub struct Common {
    /// The time.
    pub clock: Clock,
    /// Where each shard's mail goes.
    pub mailboxes: Arc<[ChannelSender]>,
    /// Places for connections.
    pub places: Places,
}

/// One shard with everything the operating system gives it.
pub struct EventLoop {
    poll: Poll,
    clock: Clock,
    listeners: Vec<TcpListener>,
    /// Listeners that may have more connections waiting.
    acceptable: Vec<usize>,
    /// No connection is accepted before this moment, in monotonic milliseconds.
    accept_after: u64,
    sockets: Sockets,
    /// Connections with more to read than one turn allowed.
    still_ready: Vec<u32>,
    buffer: Vec<u8>,
    inbox: Inbox,
    mailboxes: Arc<[ChannelSender]>,
    store: Option<Store>,
    shard: Shard,
}

impl EventLoop {
    /// A loop for `shard`, which listens on `listeners` and has `store` keep things, if there is one.
    ///
    /// # Errors
    /// The kernel refuses to report on a listener.
    pub fn new(
        poll: Poll,
        mut listeners: Vec<TcpListener>,
        inbox: Inbox,
        store: Option<Store>,
        shard: Shard,
        Common { clock, mailboxes, places }: Common,
    ) -> io::Result<Self> {
        for (at, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(listener, Token(1 + at), Interest::READABLE)?;
        }
        Ok(Self {
            poll,
            clock,
            acceptable: Vec::new(),
            accept_after: 0,
            listeners,
            sockets: Sockets::new(places),
            still_ready: Vec::new(),
            buffer: vec![0; READ_BYTES],
            inbox,
            mailboxes,
            store,
            shard,
        })
    }

    /// Runs until all shards have drained: one without clients may still be home to rooms and users of the others'.
    /// `occupied` counts the shards that have not drained, `connections` this one's connections.
    ///
    /// # Errors
    /// The kernel no longer reports events.
    pub fn run(mut self, occupied: &AtomicUsize, connections: &AtomicUsize) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut is_counted = true;
        while is_counted || occupied.load(Ordering::Acquire) > 0 {
            self.wait(&mut events)?;
            let now = self.clock.now();
            self.read_events(now, &events);
            self.gather(now, &mut events)?;
            self.finish(now);
            connections.store(self.shard.connections(), Ordering::Relaxed);
            if is_counted && self.shard.is_drained() {
                is_counted = false;
                if occupied.fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.mailboxes.iter().for_each(ChannelSender::rouse);
                }
            }
        }
        Ok(())
    }

    /// Sleeps until something happens or is due; not at all when there is something left to do.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let now = self.clock.now();
        let mut timeout = self.shard.next_due().map(|at| Duration::from_millis(at.saturating_sub(now.mono)));
        if !self.acceptable.is_empty() {
            let pause = Duration::from_millis(self.accept_after.saturating_sub(now.mono));
            timeout = Some(timeout.map_or(pause, |timeout| timeout.min(pause)));
        }
        let has_more_to_read = !self.still_ready.is_empty() || self.shard.has_resumed();
        let is_busy = has_more_to_read || self.shard.has_mail() || self.shard.has_output();
        if is_busy || !self.inbox.fall_asleep() {
            timeout = Some(Duration::ZERO);
        }
        let outcome = self.poll.poll(events, timeout);
        self.inbox.wake_up();
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            outcome => outcome,
        }
    }

    /// One turn. Mail comes before sockets, so that what was decided reaches a connection before what it asks next is
    /// read; timers come after both, so that who was heard from just now is not taken for dead; the flush comes last,
    /// so that each connection is written once, whatever it got.
    fn read_events(&mut self, now: Now, events: &Events) {
        self.watch_queues();
        self.read_mail(now);
        for event in events {
            self.event(now, event);
        }
        self.accept(now);
        self.read_more(now);
        self.shard.run(now);
    }

    /// Reads what has come meanwhile, too, when the flush would write to many: messages to the same rooms then go out by
    /// the same writes, and looking once more costs next to nothing beside them.
    fn gather(&mut self, now: Now, events: &mut Events) -> io::Result<()> {
        for _ in 0..GATHERS_PER_TURN {
            if self.shard.waiting_members() < GATHER_FROM || self.shard.wants_flush() {
                return Ok(());
            }
            match self.poll.poll(events, Some(Duration::ZERO)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                outcome => outcome?,
            }
            if events.is_empty() && self.inbox.is_empty() {
                return Ok(());
            }
            self.read_events(now, events);
        }
        Ok(())
    }

    fn finish(&mut self, now: Now) {
        self.shard.tick(now);
        self.shard.run(now);
        self.flush(now);
        if self.shard.is_draining() {
            self.stop_listening();
        }
    }

    /// Tells the shard which others have more mail waiting than they should.
    fn watch_queues(&mut self) {
        if self.mailboxes.len() > 1 {
            let mut longest = 0;
            for (number, mailbox) in self.mailboxes.iter().enumerate() {
                let waiting = mailbox.len();
                longest = longest.max(waiting);
                self.shard.set_congested(number as ShardNumber, waiting > limits::MAIL_PER_SHARD);
            }
            self.shard.set_longest_queue(longest);
        }
    }

    fn read_mail(&mut self, now: Now) {
        for _ in 0..MAIL_PER_TURN {
            match self.inbox.take() {
                Some(Parcel::ShardMessage(mail)) => self.shard.mail(now, mail),
                Some(Parcel::Connection(moving)) => self.take_over(now, *moving),
                None => return,
            }
            self.flush_if_full(now);
        }
    }

    fn event(&mut self, now: Now, event: &Event) {
        let token = event.token();
        if token.0 < FIRST_SLOT {
            if token != WAKER {
                self.acceptable.push(token.0 - 1);
            }
            return;
        }
        let slot = (token.0 - FIRST_SLOT) as u32;
        if event.is_writable() {
            self.shard.writable(slot, &mut self.sockets);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.sockets.set_readable(slot, true);
            self.read(now, slot, event.is_read_closed() || event.is_error());
        }
    }

    /// Reads a connection that has something to read. `to_the_end`: its end has come, and is to be found.
    fn read(&mut self, now: Now, slot: u32, to_the_end: bool) {
        for _ in 0..READS_PER_TURN {
            if !self.shard.wants_read(slot) {
                return;
            }
            match self.sockets.read(slot, &mut self.buffer) {
                Taken::Bytes(count) => self.shard.received(now, slot, &mut self.buffer[..count]),
                Taken::Last(count) => {
                    self.shard.received(now, slot, &mut self.buffer[..count]);
                    if !to_the_end && !self.shard.has_departures() {
                        self.sockets.set_readable(slot, false);
                        return self.flush_if_full(now);
                    }
                }
                Taken::Nothing => return self.sockets.set_readable(slot, false),
                Taken::End => {
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

    /// Sends the connections on their way that go to other shards. At once, since their slots are others' soon.
    fn send_connections(&mut self) {
        while let Some(Departure { slot, to, from, unread }) = self.shard.departure() {
            if let Some(stream) = self.sockets.take(self.poll.registry(), slot) {
                let moving = Box::new(Moving { stream, from, unread });
                self.mailbox(to).send_parcel(Parcel::Connection(moving));
            }
        }
    }

    /// Takes a connection over from another shard, and reads on from where that one left off.
    fn take_over(&mut self, now: Now, moving: Moving) {
        let Moving { stream, from, mut unread } = moving;
        let Some(slot) = self.shard.arrived(now, from) else { return self.sockets.places().give_back() };
        if !self.watch(now, slot, stream) {
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

    /// Accepts what waits at a listener, within bounds; whether more may be waiting.
    fn accept_from(&mut self, now: Now, at: usize) -> bool {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listeners.get(at) else { return false };
            let (stream, remote) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    self.accept_after = now.mono + ACCEPT_PAUSE_MS;
                    return true;
                }
            };
            // Without it small messages would wait for acknowledgements of earlier ones (RFC 896).
            let _ = stream.set_nodelay(true);
            if !self.sockets.places().take() {
                self.shard.turned_down(now, remote);
                turn_away(stream);
                continue;
            }
            match self.shard.accepted(now, remote) {
                Some(slot) => drop(self.watch(now, slot, stream)),
                None => {
                    self.sockets.places().give_back();
                    turn_away(stream);
                }
            }
        }
        true
    }

    /// Has the kernel report on a connection; whether it does. If not, the connection is over.
    fn watch(&mut self, now: Now, slot: u32, stream: TcpStream) -> bool {
        let outcome = self.sockets.add(self.poll.registry(), slot, stream);
        if let Err(error) = &outcome {
            tracing::warn!(%error, "cannot watch a connection");
            self.sockets.places().give_back();
            self.shard.ended(now, slot);
        }
        outcome.is_ok()
    }

    fn flush_if_full(&mut self, now: Now) {
        if self.shard.wants_flush() {
            self.flush(now);
        }
    }

    /// Mail and orders go first, so that the other shards and the store write while this one does.
    fn flush(&mut self, now: Now) {
        self.send_mail(now);
        self.shard.flush(now, &mut self.sockets);
        self.send_connections();
        self.send_mail(now);
    }

    fn send_mail(&mut self, now: Now) {
        if let Some(store) = &self.store {
            for order in self.shard.orders(now) {
                match order {
                    StorageCommand::Commit(batch) => store.submit(batch),
                    StorageCommand::Query { from, query } => store.ask(from, query),
                }
            }
        }
        for (to, mail) in self.shard.outgoing() {
            self.mailboxes[Placement::mailbox(to, self.mailboxes.len())].send(mail);
        }
    }

    fn mailbox(&self, to: ShardNumber) -> &ChannelSender {
        &self.mailboxes[Placement::mailbox(to, self.mailboxes.len())]
    }

    fn stop_listening(&mut self) {
        for mut listener in self.listeners.drain(..) {
            let _ = self.poll.registry().deregister(&mut listener);
        }
        self.acceptable.clear();
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        // Whatever is left of a drain that ran out of time.
        for slot in 0..self.shard.connections() as u32 {
            self.sockets.close(slot);
        }
    }
}
