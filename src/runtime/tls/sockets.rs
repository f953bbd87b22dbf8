//! TLS between the sockets of a shard and the shard: the sessions by slot, and the buffers that they share.

use mio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::net::Shutdown;

use super::session::{RECORD_BYTES, TlsSession};
use crate::runtime::sockets::ReadOutcome;
use crate::shard::Gone;

/// Reads of a socket in one call while they bring no plaintext.
const READS_MAX: usize = 4;

/// The TLS sessions of a shard's connections.
#[derive(Default)]
pub(in crate::runtime) struct TlsSockets {
    /// Sessions by slot, up to the last connection with TLS: a server without TLS has no entry here.
    sessions: Vec<Option<Box<TlsSession>>>,
    /// Ciphertext that has just been read.
    input: Vec<u8>,
    /// Ciphertext that is about to be sent.
    output: Vec<u8>,
}

impl TlsSockets {
    /// The session at a slot, if its connection uses TLS.
    pub(in crate::runtime) fn of(&mut self, slot: usize) -> Option<TlsSocket<'_>> {
        let session = self.sessions.get_mut(slot)?.as_mut()?;
        Some(TlsSocket { session, input: &mut self.input, output: &mut self.output })
    }

    pub(in crate::runtime) fn insert(&mut self, slot: usize, session: Box<TlsSession>) {
        if self.sessions.len() <= slot {
            self.sessions.resize_with(slot + 1, || None);
        }
        let before = self.sessions[slot].replace(session);
        debug_assert!(before.is_none(), "invariant: a session ends with its connection");
    }

    pub(in crate::runtime) fn remove(&mut self, slot: usize) -> Option<Box<TlsSession>> {
        let session = self.sessions.get_mut(slot)?.take();
        while let Some(None) = self.sessions.last() {
            self.sessions.pop();
        }
        if self.sessions.capacity() > 1024 && self.sessions.capacity() > 4 * self.sessions.len() {
            self.sessions.shrink_to(2 * self.sessions.len());
        }
        session
    }
}

/// One session, with the buffers to work with.
pub(in crate::runtime) struct TlsSocket<'t> {
    session: &'t mut TlsSession,
    input: &'t mut Vec<u8>,
    output: &'t mut Vec<u8>,
}

impl TlsSocket<'_> {
    /// As [`Sockets::read`](crate::runtime::sockets::Sockets::read), decrypted.
    pub(in crate::runtime) fn read(&mut self, stream: &TcpStream, plain: &mut [u8]) -> ReadOutcome {
        for _ in 0..READS_MAX {
            if self.session.is_over() {
                return ReadOutcome::End;
            }
            let kept = self.session.unread().len();
            debug_assert!(kept < plain.len(), "invariant: a session keeps less than one read");
            self.input.resize(plain.len(), 0);
            let count = match receive(stream, &mut self.input[kept..]) {
                Ok(0) => return ReadOutcome::End,
                Ok(count) => count,
                Err(Errno::AGAIN) => return ReadOutcome::Nothing,
                Err(_) => return ReadOutcome::End,
            };
            let is_last = kept + count < plain.len();
            self.input[..kept].copy_from_slice(self.session.unread());
            self.output.clear();
            let written = self.session.receive(&mut self.input[..kept + count], plain, self.output);
            self.session.keep(self.output, 0);
            if self.flush(stream).is_err() {
                return ReadOutcome::End;
            }
            match (written, is_last) {
                // The end is found by the next read, which is due at once.
                (1.., _) if self.session.is_over() => return ReadOutcome::Bytes(written),
                (1.., true) => return ReadOutcome::Last(written),
                (1.., false) => return ReadOutcome::Bytes(written),
                (0, true) if !self.session.is_over() => return ReadOutcome::Nothing,
                (0, _) => {}
            }
        }
        ReadOutcome::Again
    }

    /// As [`Wire::write`](crate::shard::Wire::write), encrypted. A record counts as written once the socket has taken all of
    /// it; the shard then offers the same bytes again.
    pub(in crate::runtime) fn write(&mut self, stream: &TcpStream, bytes: &[u8]) -> Result<usize, Gone> {
        if !self.flush(stream)? {
            return Ok(0);
        }
        let mut written = self.session.take_owed();
        debug_assert!(written <= bytes.len(), "invariant: bytes that were not written are offered again");
        while written < bytes.len() {
            let record = &bytes[written..bytes.len().min(written + RECORD_BYTES)];
            self.output.clear();
            self.session.encrypt(record, self.output)?;
            let sent = transmit(stream, self.output)?;
            if sent < self.output.len() {
                self.session.keep(&self.output[sent..], record.len());
                break;
            }
            written += record.len();
        }
        Ok(written)
    }

    /// Sends ciphertext that waits. Returns whether all is sent.
    pub(in crate::runtime) fn flush(&mut self, stream: &TcpStream) -> Result<bool, Gone> {
        if !self.session.unsent().is_empty() {
            let sent = transmit(stream, self.session.unsent())?;
            self.session.sent(sent);
        }
        if self.session.is_to_close() {
            // Fails only if the connection is already gone; the next read finds that out.
            let _ = stream.shutdown(Shutdown::Write);
        }
        Ok(self.session.unsent().is_empty())
    }

    /// Ends our side: with the alert that says so, then with the end of the stream.
    pub(in crate::runtime) fn half_close(&mut self, stream: &TcpStream) {
        self.output.clear();
        self.session.end(self.output);
        self.session.keep(self.output, 0);
        self.session.close();
        // Fails only if the connection is already gone.
        let _ = self.flush(stream);
    }

    /// Tells the peer that the connection ends here, unless it waits for more.
    pub(in crate::runtime) fn close(&mut self, stream: &TcpStream) {
        if self.session.unsent().is_empty() {
            self.output.clear();
            self.session.end(self.output);
            let _ = transmit(stream, self.output);
        }
    }
}

fn receive(stream: &TcpStream, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match recv(stream, &mut *buffer, RecvFlags::empty()) {
            Ok((count, _)) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends as much as the socket takes.
pub(in crate::runtime) fn transmit(stream: &TcpStream, bytes: &[u8]) -> Result<usize, Gone> {
    let mut written = 0;
    while written < bytes.len() {
        match send(stream, &bytes[written..], SendFlags::NOSIGNAL) {
            Ok(0) => return Err(Gone),
            Ok(count) => written += count,
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(_) => return Err(Gone),
        }
    }
    debug_assert!(written <= bytes.len(), "invariant: the kernel takes no more bytes than it is given");
    Ok(written)
}
