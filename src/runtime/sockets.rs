//! The TCP sockets of one shard, by connection slot, and their TLS.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::base::handle::{ConnSlot, Slot};
use crate::domain::monitoring::Traffic;
use crate::runtime::connection_permits::ConnectionPermits;
use crate::runtime::tls::{self, TlsSession, TlsSockets, transmit};
use crate::shard::{Gone, TurnedAway, Wire};

/// The poll token of the socket at slot 0. Lower tokens belong to the waker and the listeners.
pub(super) const FIRST_SLOT: usize = 256;

/// The poll token of the socket at `slot`.
fn token(slot: ConnSlot) -> Token {
    Token(FIRST_SLOT + slot.raw() as usize)
}

/// The answer to a client beyond the connection limit.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\n\
    Retry-After: 1\r\nConnection: close\r\nContent-Length: 95\r\n\r\n\
    {\"error\":\"The server has as many connections as it takes\",\"code\":\"OVERLOADED\",\"success\":false}\n";

/// The answer to a client whose address has too many sockets.
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json; charset=utf-8\r\n\
    Retry-After: 1\r\nConnection: close\r\nContent-Length: 117\r\n\r\n\
    {\"error\":\"This address has as many sockets as it may (limits.sockets_per_ip)\",\"code\":\"RATE_LIMITED\",\"success\":false}\n";

/// Refuses a connection with status 503 or 429, or an alert of TLS, and closes it, without blocking. A client that has not sent its request yet finds
/// the answer when it does.
pub(super) fn turn_away(mut stream: TcpStream, why: TurnedAway, is_secure: bool) {
    // Unread input would make the kernel reset the connection on close, before the client has read the answer.
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write(match why {
        _ if is_secure => tls::TURNED_AWAY,
        TurnedAway::Full => FULL,
        TurnedAway::Address => TOO_MANY,
    });
    let _ = stream.shutdown(Shutdown::Write);
}

/// The sockets of one shard. Each holds a connection permit, which is released when the socket is closed.
pub(super) struct Sockets {
    permits: ConnectionPermits,
    by_slot: Vec<Option<TcpStream>>,
    /// Whether the kernel has reported input that has not been read to its end, by slot.
    readable: Vec<bool>,
    tls: TlsSockets,
    traffic: Traffic,
}

/// A socket, and the TLS on it.
pub(super) type SecuredStream = (TcpStream, Option<Box<TlsSession>>);

/// Outcome of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// This many bytes; there may be more.
    Bytes(usize),
    /// This many bytes; the socket is empty for now.
    Last(usize),
    /// No bytes for now.
    Nothing,
    /// No bytes yet, but the socket has more for the next read.
    Again,
    /// End of stream, or a failure.
    End,
}

impl Sockets {
    pub(super) fn new(permits: ConnectionPermits) -> Self {
        let traffic = Traffic::default();
        Self { permits, by_slot: Vec::new(), readable: Vec::new(), tls: TlsSockets::default(), traffic }
    }

    /// Bytes and calls since the start.
    pub(super) fn traffic(&self) -> Traffic {
        self.traffic
    }

    pub(super) fn permits(&self) -> &ConnectionPermits {
        &self.permits
    }

    /// Adds a socket at `slot` and registers it with the kernel.
    pub(super) fn add(
        &mut self,
        registry: &Registry,
        slot: ConnSlot,
        (mut stream, session): SecuredStream,
    ) -> io::Result<()> {
        registry.register(&mut stream, token(slot), Interest::READABLE | Interest::WRITABLE)?;
        if self.by_slot.len() <= slot.raw() as usize {
            self.by_slot.resize_with(slot.raw() as usize + 1, || None);
            self.readable.resize(slot.raw() as usize + 1, false);
        }
        let before = self.by_slot[slot.raw() as usize].replace(stream);
        debug_assert!(before.is_none(), "invariant: a slot is free before a socket is added to it");
        self.readable[slot.raw() as usize] = false;
        if let Some(session) = session {
            self.tls.insert(slot.raw() as usize, session);
        }
        Ok(())
    }

    /// Removes the socket at `slot`, which keeps its permit, and deregisters it from this shard's poll.
    pub(super) fn take(&mut self, registry: &Registry, slot: ConnSlot) -> Option<SecuredStream> {
        let mut stream = self.by_slot.get_mut(slot.raw() as usize)?.take()?;
        self.readable[slot.raw() as usize] = false;
        // Fails only if the socket is not registered, which is the desired state.
        let _ = registry.deregister(&mut stream);
        Some((stream, self.tls.remove(slot.raw() as usize)))
    }

    /// The kernel takes bytes again: sends what TLS has kept.
    pub(super) fn flush(&mut self, slot: ConnSlot) {
        let Self { by_slot, tls, .. } = self;
        if let Some(mut session) = tls.of(slot.raw() as usize)
            && let Some(stream) = stream_at(by_slot, slot)
        {
            // A failed socket shows when it is read.
            let _ = session.flush(stream);
        }
    }

    pub(super) fn set_readable(&mut self, slot: ConnSlot, is_readable: bool) {
        if let Some(known) = self.readable.get_mut(slot.raw() as usize) {
            *known = is_readable;
        }
    }

    pub(super) fn is_readable(&self, slot: ConnSlot) -> bool {
        self.readable.get(slot.raw() as usize).is_some_and(|is_readable| *is_readable)
    }

    /// Reads once into `buffer`. A read that does not fill the buffer has emptied the socket: the kernel reports the next
    /// input (epoll(7), question 9), so no second call is needed to find that out.
    pub(super) fn read(&mut self, slot: ConnSlot, buffer: &mut [u8]) -> ReadOutcome {
        let outcome = self.read_once(slot, buffer);
        if let ReadOutcome::Bytes(count) | ReadOutcome::Last(count) = outcome {
            self.traffic.reads += 1;
            self.traffic.received_bytes += count as u64;
        }
        outcome
    }

    fn read_once(&mut self, slot: ConnSlot, buffer: &mut [u8]) -> ReadOutcome {
        let Self { by_slot, tls, .. } = self;
        let Some(stream) = stream_at(by_slot, slot) else { return ReadOutcome::Nothing };
        if let Some(mut session) = tls.of(slot.raw() as usize) {
            return session.read(stream, buffer);
        }
        loop {
            return match recv(stream, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => ReadOutcome::End,
                Ok((count, _)) if count < buffer.len() => ReadOutcome::Last(count),
                Ok((count, _)) => ReadOutcome::Bytes(count),
                Err(Errno::AGAIN) => ReadOutcome::Nothing,
                Err(Errno::INTR) => continue,
                Err(_) => ReadOutcome::End,
            };
        }
    }
}

fn stream_at(by_slot: &[Option<TcpStream>], slot: ConnSlot) -> Option<&TcpStream> {
    by_slot.get(slot.raw() as usize)?.as_ref()
}

impl Wire for Sockets {
    fn write(&mut self, slot: ConnSlot, bytes: &[u8]) -> Result<usize, Gone> {
        let Self { by_slot, tls, traffic, .. } = self;
        let stream = stream_at(by_slot, slot).ok_or(Gone)?;
        let written = match tls.of(slot.raw() as usize) {
            None => transmit(stream, bytes),
            Some(mut session) => session.write(stream, bytes),
        }?;
        traffic.writes += u64::from(written > 0);
        traffic.sent_bytes += written as u64;
        Ok(written)
    }

    fn half_close(&mut self, slot: ConnSlot) {
        let Self { by_slot, tls, .. } = self;
        let Some(stream) = stream_at(by_slot, slot) else {
            debug_assert!(false, "invariant: a connection has a socket until it is closed");
            return;
        };
        if let Some(mut session) = tls.of(slot.raw() as usize) {
            session.half_close(stream);
        } else {
            // Fails only if the connection is already gone; the next read finds that out.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    fn has_input(&mut self, slot: ConnSlot) -> bool {
        let peeked = stream_at(&self.by_slot, slot).map(|stream| recv(stream, &mut [0_u8][..], RecvFlags::PEEK));
        matches!(peeked, Some(Ok((count, _))) if count > 0)
    }

    fn close(&mut self, slot: ConnSlot) {
        if let Some(stream) = self.by_slot.get_mut(slot.raw() as usize) {
            if let Some(stream) = stream.take() {
                if let Some(mut session) = self.tls.of(slot.raw() as usize) {
                    session.close(&stream);
                    self.tls.remove(slot.raw() as usize);
                }
                self.permits.release();
            }
            self.readable[slot.raw() as usize] = false;
        }
        debug_assert_eq!(self.by_slot.len(), self.readable.len(), "invariant: both lists have an entry per slot");
        while let Some(None) = self.by_slot.last() {
            self.by_slot.pop();
            self.readable.pop();
        }
        if self.by_slot.capacity() > 1024 && self.by_slot.capacity() > 4 * self.by_slot.len() {
            self.by_slot.shrink_to(2 * self.by_slot.len());
            self.readable.shrink_to(2 * self.by_slot.len());
        }
    }
}
