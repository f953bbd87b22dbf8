//! A TCP connection written byte by byte, for input that no correct client sends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::client::PATIENCE;
use super::frame::parse_unmasked;
pub use super::frame::{CLOSE, TEXT, frame, text_frame};

/// One TCP connection, and input that the test has not taken yet.
pub struct TcpClient {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl TcpClient {
    /// Connects and says nothing.
    pub fn connect(address: &str) -> Self {
        Self::of(TcpStream::connect(address).expect("the server listens"))
    }

    /// Connects with so small a receive buffer that the server soon finds it full.
    pub fn connect_narrow(address: &str) -> Self {
        let address: SocketAddr = address.parse().expect("an address");
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4096).expect("an option");
        socket.connect(&address.into()).expect("the server listens");
        Self::of(socket.into())
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        stream.set_write_timeout(Some(PATIENCE)).expect("an option");
        Self { stream, unread: Vec::new() }
    }

    /// Makes it a WebSocket of the token's bearer.
    pub fn upgrade(mut self, token: &str) -> Self {
        self.send(upgrade_request(token).as_bytes());
        let head = self.http_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        self
    }

    /// Sends bytes, which must be taken.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the bytes go out");
    }

    /// Sends bytes, or finds out that the other side takes no more.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a text frame.
    pub fn send_text(&mut self, text: &str) {
        self.send(&text_frame(text));
    }

    /// Sends no more.
    pub fn half_close(&self) {
        // It may be closed from the other side by now.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The same connection once more, for a thread that reads while another writes; it starts with what comes next.
    pub fn duplicate(&self) -> Self {
        Self { stream: self.stream.try_clone().expect("a descriptor"), unread: self.unread.clone() }
    }

    /// Ends the connection by a reset, as a machine does that was switched off and on.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("an option");
    }

    /// Whether something has come that was not taken yet, be it the end.
    pub fn has_something(&self) -> bool {
        self.stream.set_nonblocking(true).expect("an option");
        let outcome = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("an option");
        !matches!(outcome, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Takes more of what came; `false` when the stream has ended.
    fn fill(&mut self) -> bool {
        let mut piece = [0; 64 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(count) => {
                self.unread.extend_from_slice(&piece[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing came in {PATIENCE:?}"),
            Err(_) => false,
        }
    }

    /// Reads a head up to its empty line; what came of it when the stream ended before.
    pub fn http_head(&mut self) -> String {
        let end = loop {
            match self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None if self.fill() => {}
                None => break self.unread.len(),
            }
        };
        String::from_utf8_lossy(&self.unread.drain(..end).collect::<Vec<u8>>()).into_owned()
    }

    /// Reads an answer with its body by its `Content-Length`; `None` when the stream ended before it was whole.
    pub fn http_answer(&mut self) -> Option<(String, Vec<u8>)> {
        let head = self.http_head();
        if !head.ends_with("\r\n\r\n") {
            return None;
        }
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let length: usize = length.unwrap_or(0);
        while self.unread.len() < length {
            if !self.fill() {
                return None;
            }
        }
        Some((head, self.unread.drain(..length).collect()))
    }

    /// Everything that comes until the stream ends.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.unread)
    }

    /// The next frame's opcode and payload; `None` when the stream has ended.
    pub fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        self.next_whole_frame().map(|(first, payload)| (first & 0x0F, payload))
    }

    /// The same with the whole first byte of the frame.
    pub fn next_whole_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((first, payload)) = parse_unmasked(&self.unread) {
                let end = payload.end;
                let payload = self.unread[payload].to_vec();
                self.unread.drain(..end);
                return Some((first, payload));
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// The next text frame as JSON; `None` when the stream has ended or a close frame came.
    pub fn next_json(&mut self) -> Option<serde_json::Value> {
        loop {
            match self.next_frame()? {
                (TEXT, payload) => return Some(serde_json::from_slice(&payload).expect("it is JSON")),
                (CLOSE, _) => return None,
                _ => {}
            }
        }
    }

    /// The text frames up to the close frame, and its code; no code when the stream ended without one.
    pub fn last_words(&mut self) -> (Vec<serde_json::Value>, Option<u16>) {
        let mut texts = Vec::new();
        while let Some((opcode, payload)) = self.next_frame() {
            match (opcode, payload.as_slice()) {
                (TEXT, payload) => texts.push(serde_json::from_slice(payload).expect("it is JSON")),
                (CLOSE, [high, low, ..]) => return (texts, Some(u16::from_be_bytes([*high, *low]))),
                _ => {}
            }
        }
        (texts, None)
    }
}

/// A request that makes a connection a WebSocket.
pub fn upgrade_request(token: &str) -> String {
    format!(
        "GET /ws?events=all&token={token} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Bytes that look random and are the same in each run.
pub fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..count).map(next).collect()
}
