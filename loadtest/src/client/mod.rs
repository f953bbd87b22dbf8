//! One client's side of the protocols, without sockets: it is told what its connections do and what came on them, and
//! answers by effects. A connection of a client is a lane; a WebSocket client has one.

mod websocket;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use websocket::Frame;

/// What clients speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Dialect {
    /// JSON objects in WebSocket frames
    #[default]
    Raw,
    /// Plain text in WebSocket frames
    Echo,
}

/// What all clients of a run have in common.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub struct Settings {
    /// What clients speak
    #[arg(long, global = true, value_enum, default_value_t)]
    pub dialect: Dialect,
    /// Path of the WebSocket [default: /ws, or / for echo]
    #[arg(long, global = true)]
    pub path: Option<String>,
    /// The `Host` header: the server's address, for which the command line has another option.
    #[arg(skip)]
    pub host: String,
}

impl Settings {
    /// TCP connections of a client.
    pub fn lanes(&self) -> usize {
        1
    }
}

/// What a client has done to its connections, and says to the application.
pub trait Effects {
    /// Connects a lane.
    fn open(&mut self, lane: u8);
    /// Writes to a lane.
    fn write(&mut self, lane: u8, bytes: &[u8]);
    /// Ends a lane.
    fn close(&mut self, lane: u8);
    /// The application may send from now on.
    fn opened(&mut self);
    /// A message came.
    fn message(&mut self, text: &[u8]);
    /// The client is at its end: refused, ended by the server, or broken.
    fn closed(&mut self);
}

const LANE: u8 = 0;

/// One client.
pub struct Client {
    /// The request that opens the WebSocket; empty once it is written.
    request: Vec<u8>,
    /// Bytes that came and are not a whole frame yet.
    unread: Vec<u8>,
    is_open: bool,
}

impl Client {
    /// A client that has done nothing yet; `token` says who it is.
    pub fn new(settings: &Settings, _number: usize, token: Option<&str>) -> Self {
        let mut request = Vec::new();
        let path = settings.path.as_deref().unwrap_or(match settings.dialect {
            Dialect::Raw => "/ws",
            Dialect::Echo => "/",
        });
        let path = token.map_or(path.to_owned(), |token| format!("{path}?token={token}"));
        websocket::open(&mut request, &settings.host, &path);
        Self { request, unread: Vec::new(), is_open: false }
    }

    /// Begins.
    pub fn start(&mut self, effects: &mut impl Effects) {
        effects.open(LANE);
    }

    /// A lane is connected.
    pub fn connected(&mut self, lane: u8, effects: &mut impl Effects) {
        effects.write(lane, &std::mem::take(&mut self.request));
    }

    /// Bytes came on a lane; what is incomplete is kept.
    pub fn received(&mut self, lane: u8, bytes: &[u8], effects: &mut impl Effects) {
        let mut kept = std::mem::take(&mut self.unread);
        let bytes: &[u8] = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &kept
        };
        let mut at = 0;
        if !self.is_open {
            let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
                self.unread = bytes.to_vec();
                return;
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                return self.end(lane, effects);
            }
            self.is_open = true;
            at = end + 4;
            effects.opened();
        }
        while let Some((frame, used)) = websocket::parse(&bytes[at..]) {
            at += used;
            match frame {
                Frame::Data(text) => effects.message(text),
                Frame::Ping(payload) => {
                    let mut pong = Vec::new();
                    websocket::pong(&mut pong, payload);
                    effects.write(lane, &pong);
                }
                Frame::Close => return self.end(lane, effects),
                Frame::Other => {}
            }
        }
        self.unread.extend_from_slice(&bytes[at..]);
    }

    /// A lane's stream ended.
    pub fn ended(&mut self, _lane: u8, effects: &mut impl Effects) {
        effects.closed();
    }

    /// Sends one message.
    pub fn send(&mut self, text: &[u8], effects: &mut impl Effects) {
        let mut frame = Vec::with_capacity(text.len() + 14);
        websocket::text(&mut frame, text);
        effects.write(LANE, &frame);
    }

    fn end(&mut self, lane: u8, effects: &mut impl Effects) {
        effects.close(lane);
        effects.closed();
    }
}
