//! A shard's TCP sockets, by slot.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::runtime::connection_permits::ConnectionPermits;
use crate::shard::{Gone, Wire};

/// Tokens below this are the loop's own.
pub const FIRST_SLOT: usize = 256;

/// The token of the socket at `slot`.
pub fn token(slot: u32) -> Token {
    Token(FIRST_SLOT + slot as usize)
}

/// What a client is told whom the server has no place for.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\n\
    Retry-After: 1\r\nConnection: close\r\nContent-Length: 95\r\n\r\n\
    {\"error\":\"The server has as many connections as it takes\",\"code\":\"OVERLOADED\",\"success\":false}\n";

/// Tells a client that there is no place for it, and closes its connection. Neither waits: a client that has not asked yet
/// finds the answer when it does.
pub fn turn_away(mut stream: TcpStream) {
    // What has come already is taken, lest the kernel reset the connection for it before the answer is read.
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write(FULL);
    let _ = stream.shutdown(Shutdown::Write);
}

/// The sockets of one shard. Each has a place, which is free again when it is closed.
pub struct Sockets {
    permits: ConnectionPermits,
    by_slot: Vec<Option<TcpStream>>,
    /// The kernel said there is something to read, and it has not all been read.
    readable: Vec<bool>,
}

/// What one read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// So many bytes, and there may be more.
    Bytes(usize),
    /// So many bytes, and that was all for now.
    Last(usize),
    /// Nothing for now.
    Nothing,
    /// The stream has ended or failed.
    End,
}

impl Sockets {
    /// None yet; `permits` are for those of all shards.
    pub fn new(permits: ConnectionPermits) -> Self {
        Self { permits, by_slot: Vec::new(), readable: Vec::new() }
    }

    /// Where places come from.
    pub fn permits(&self) -> &ConnectionPermits {
        &self.permits
    }

    /// Takes a socket on at `slot` and has the kernel report on it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add(&mut self, registry: &Registry, slot: u32, mut stream: TcpStream) -> io::Result<()> {
        registry.register(&mut stream, token(slot), Interest::READABLE | Interest::WRITABLE)?;
        if self.by_slot.len() <= slot as usize {
            self.by_slot.resize_with(slot as usize + 1, || None);
            self.readable.resize(slot as usize + 1, false);
        }
        self.by_slot[slot as usize] = Some(stream);
        self.readable[slot as usize] = false;
        Ok(())
    }

    /// Gives the socket at `slot` away, and its place with it; the kernel no longer reports on it here.
    pub fn take(&mut self, registry: &Registry, slot: u32) -> Option<TcpStream> {
        let mut stream = self.by_slot.get_mut(slot as usize)?.take()?;
        self.readable[slot as usize] = false;
        // It fails only when the kernel knows nothing of it, which is what is wanted.
        let _ = registry.deregister(&mut stream);
        Some(stream)
    }

    /// Notes whether there is something to read at `slot`.
    pub fn set_readable(&mut self, slot: u32, is_readable: bool) {
        if let Some(known) = self.readable.get_mut(slot as usize) {
            *known = is_readable;
        }
    }

    /// Whether there is something to read at `slot`.
    pub fn is_readable(&self, slot: u32) -> bool {
        self.readable.get(slot as usize).is_some_and(|is_readable| *is_readable)
    }

    /// Reads once into `buffer`. A read that does not fill it has emptied the socket: the kernel reports anew when more
    /// comes (epoll(7), question 9), so another call to find that out is saved.
    pub fn read(&mut self, slot: u32, buffer: &mut [u8]) -> ReadOutcome {
        let Some(stream) = self.get(slot) else { return ReadOutcome::Nothing };
        loop {
            return match recv(&*stream, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => ReadOutcome::End,
                Ok((count, _)) if count < buffer.len() => ReadOutcome::Last(count),
                Ok((count, _)) => ReadOutcome::Bytes(count),
                Err(Errno::AGAIN) => ReadOutcome::Nothing,
                Err(Errno::INTR) => continue,
                Err(_) => ReadOutcome::End,
            };
        }
    }

    fn get(&mut self, slot: u32) -> Option<&mut TcpStream> {
        self.by_slot.get_mut(slot as usize)?.as_mut()
    }
}

impl Wire for Sockets {
    fn write(&mut self, slot: u32, bytes: &[u8]) -> Result<usize, Gone> {
        let stream = self.get(slot).ok_or(Gone)?;
        let mut written = 0;
        while written < bytes.len() {
            match send(&*stream, &bytes[written..], SendFlags::NOSIGNAL) {
                Ok(0) => return Err(Gone),
                Ok(count) => written += count,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => return Err(Gone),
            }
        }
        Ok(written)
    }

    fn half_close(&mut self, slot: u32) {
        if let Some(stream) = self.get(slot) {
            // It fails only when the connection is gone already, which reading will find out.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self, slot: u32) {
        if let Some(stream) = self.by_slot.get_mut(slot as usize) {
            if stream.take().is_some() {
                self.permits.give_back();
            }
            self.readable[slot as usize] = false;
        }
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
