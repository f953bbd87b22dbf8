//! TLS of one connection, sans-IO: ciphertext in, plaintext out, and the other way round.
//!
//! An idle session holds its keys only. Ciphertext is kept between two calls where a record has arrived in part, or where the
//! socket has not taken all of it.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};

use crate::codec::proxy;
use crate::shard::Gone;

/// Plaintext of one record at most. Also the most that is encrypted before the socket has taken what was encrypted before.
pub(super) const RECORD_BYTES: usize = 16 * 1024;

/// Bytes that encryption adds to a record at most, and room for a key update.
const RECORD_OVERHEAD: usize = 512;

/// Ciphertext of the peer that may wait for more, and ciphertext for the peer that may wait for the socket.
const WAITING_BYTES_MAX: usize = 48 * 1024;

/// The answer to a client that speaks plain HTTP.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json; charset=utf-8\r\n\
    Connection: close\r\nContent-Length: 118\r\n\r\n\
    {\"error\":\"This port speaks TLS: the address begins with https:// or wss://\",\"code\":\"INVALID_MESSAGE\",\"success\":false}\n";

/// A fatal alert of TLS, `internal_error`, for a client that is turned away before its handshake.
pub(in crate::runtime) const TURNED_AWAY: &[u8] = &[21, 3, 3, 0, 2, 2, 80];

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// A header of the PROXY protocol comes first, without TLS.
    ProxyHeader,
    /// No byte of the peer has arrived.
    New,
    /// The handshake has begun, and may be over.
    Begun,
    /// The peer has ended its side.
    Ended,
    /// The peer broke the rules of TLS, or speaks none.
    Failed,
}

/// TLS of one connection.
pub(in crate::runtime) struct TlsSession {
    connection: UnbufferedServerConnection,
    progress: Progress,
    /// Whether our side is to end once everything is sent.
    is_closing: bool,
    /// Ciphertext of the peer: the beginning of a record, or of a message in several records.
    unread: Vec<u8>,
    /// Ciphertext for the peer.
    unsent: Vec<u8>,
    /// Plaintext bytes of `unsent` that have not been reported as written. The next write begins with them.
    owed: usize,
}

impl TlsSession {
    /// A session that waits for its client. `has_proxy_header`: a header of the PROXY protocol comes first.
    ///
    /// # Errors
    /// The configuration does not suit the library.
    pub(in crate::runtime) fn new(
        config: Arc<ServerConfig>,
        has_proxy_header: bool,
    ) -> Result<Box<Self>, rustls::Error> {
        Ok(Box::new(Self {
            connection: UnbufferedServerConnection::new(config)?,
            progress: if has_proxy_header { Progress::ProxyHeader } else { Progress::New },
            is_closing: false,
            unread: Vec::new(),
            unsent: Vec::new(),
            owed: 0,
        }))
    }

    /// Whether no more plaintext will come.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.progress, Progress::Ended | Progress::Failed)
    }

    /// Ciphertext that has to come before what is received next.
    pub(super) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Ciphertext that has not been sent.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// The first `count` bytes of the unsent ciphertext have been sent.
    pub(super) fn sent(&mut self, count: usize) {
        if count == self.unsent.len() {
            self.unsent = Vec::new();
        } else {
            self.unsent.drain(..count);
        }
    }

    /// Keeps ciphertext of which the socket has taken nothing, for `owed` bytes of plaintext.
    pub(super) fn keep(&mut self, ciphertext: &[u8], owed: usize) {
        self.unsent.extend_from_slice(ciphertext);
        self.owed += owed;
        if self.unsent.len() > WAITING_BYTES_MAX {
            // A peer that has us answer without reading the answers.
            self.progress = Progress::Failed;
        }
    }

    /// Plaintext at the beginning of the next write that has been sent meanwhile.
    pub(super) fn take_owed(&mut self) -> usize {
        debug_assert!(self.unsent.is_empty(), "invariant: bytes count as written once their ciphertext is sent");
        std::mem::take(&mut self.owed)
    }

    /// Ends our side once everything is sent.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
    }

    /// Whether our side is to end now.
    pub(super) fn is_to_close(&self) -> bool {
        self.is_closing && self.unsent.is_empty()
    }

    /// Handles `input`, which begins with [`TlsSession::unread`]. Writes plaintext to `plain`, which has room for as many
    /// bytes, and returns its length; appends ciphertext for the peer to `out`.
    pub(super) fn receive(&mut self, input: &mut [u8], plain: &mut [u8], out: &mut Vec<u8>) -> usize {
        debug_assert!(plain.len() >= input.len(), "invariant: plaintext is no longer than its ciphertext");
        let mut count = 0;
        let mut used = 0;
        if self.progress == Progress::ProxyHeader {
            match proxy::read(&input[..input.len().min(proxy::HEADER_BYTES_MAX)]) {
                Ok(None) => {}
                Ok(Some(header)) => {
                    used = header.used;
                    self.progress = Progress::New;
                }
                // The shard reads and refuses it.
                Err(_) => {
                    used = input.len();
                    self.progress = Progress::Failed;
                }
            }
            plain[..used].copy_from_slice(&input[..used]);
            count = used;
        }
        if self.progress == Progress::New && used < input.len() {
            self.progress = Progress::Begun;
            // A record of TLS begins with its type, a number below 32; a request of HTTP with a method in capital letters.
            if input[used].is_ascii_uppercase() {
                out.extend_from_slice(PLAIN_HTTP);
                self.progress = Progress::Failed;
            }
        }
        if self.progress == Progress::Begun {
            let (processed, written) = self.process(&mut input[used..], &mut plain[count..], out);
            used += processed;
            count += written;
        }
        let rest = if self.is_over() { &[] } else { &input[used..] };
        if rest.len() > WAITING_BYTES_MAX {
            self.progress = Progress::Failed;
        }
        self.unread = rest.to_vec();
        count
    }

    /// Handles the records in `input`; returns the number of bytes used, and that of plaintext bytes.
    fn process(&mut self, input: &mut [u8], plain: &mut [u8], out: &mut Vec<u8>) -> (usize, usize) {
        let mut used = 0;
        let mut written = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(&mut input[used..]);
            let mut is_done = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        discard += record.discard;
                        plain[written..written + record.payload.len()].copy_from_slice(record.payload);
                        written += record.payload.len();
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.progress = Progress::Ended,
                Err(error) => {
                    tracing::debug!(target: "switchboard::connection", %error, "TLS failed");
                    self.progress = Progress::Failed;
                }
                // Early data is not accepted, and other states wait for more input.
                Ok(_) => is_done = true,
            }
            used += discard;
            // After a failure only the alert is left to be sent: the library must not read on.
            is_done |= self.progress == Progress::Failed && !self.connection.wants_write();
            if is_done {
                return (used, written);
            }
        }
    }

    /// Appends the ciphertext of at most [`RECORD_BYTES`] to `out`.
    ///
    /// # Errors
    /// [`Gone`] if the handshake is not over, or nothing more can be sent.
    pub(super) fn encrypt(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Gone> {
        debug_assert!(bytes.len() <= RECORD_BYTES, "invariant: one record at a time");
        self.write(out, bytes.len() + RECORD_OVERHEAD, |traffic, room| traffic.encrypt(bytes, room))
    }

    /// Appends the alert that ends our side, if the handshake is over.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        // Without a handshake there is no side to end.
        let _ = self.write(out, RECORD_OVERHEAD, |traffic, room| traffic.queue_close_notify(room));
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        mut room: usize,
        encrypt: impl Fn(&mut WriteTraffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), Gone> {
        if self.progress == Progress::Failed {
            return Err(Gone);
        }
        loop {
            // With what is unread, to which the library's own account of a message in parts refers.
            match self.connection.process_tls_records(&mut self.unread).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let start = out.len();
                    out.resize(start + room, 0);
                    let written = encrypt(&mut traffic, &mut out[start..]);
                    out.truncate(start + *written.as_ref().unwrap_or(&0));
                    match written {
                        Ok(_) => return Ok(()),
                        Err(EncryptError::InsufficientSize(needed)) if needed.required_size > room => {
                            room = needed.required_size;
                        }
                        Err(_) => return Err(Gone),
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.progress = Progress::Ended,
                _ => return Err(Gone),
            }
        }
    }
}

type WriteTraffic<'c> = rustls::unbuffered::WriteTraffic<'c, rustls::server::ServerConnectionData>;

/// Appends a message of the handshake.
fn encode(mut data: EncodeTlsData<'_, rustls::server::ServerConnectionData>, out: &mut Vec<u8>) {
    let start = out.len();
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        out.resize(start + needed.required_size, 0);
        let written = data.encode(&mut out[start..]).unwrap_or_default();
        out.truncate(start + written);
    }
}
