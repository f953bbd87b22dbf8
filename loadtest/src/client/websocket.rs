//! A client whose one lane is a WebSocket: plain messages, or Socket.IO packets in text frames.

use super::frame::{self, Frame, Opcode, Parsed};
use super::settings::Filled;
use super::socketio::{Answer, Session};
use super::{Effects, MESSAGE_BYTES_MAX, Reason, engineio, http};

const LANE: u8 = 0;

/// The key of the sample in RFC 6455 section 1.3, and what a server must answer to it. A key is there to tell servers
/// from caches, not clients from each other.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Largest buffer that is kept for the next incomplete frame.
const KEPT_CAPACITY_MAX: usize = 2048;

pub(super) struct WebSocket {
    stage: Stage,
    /// Above the WebSocket, when it carries Socket.IO.
    session: Option<Session>,
    /// An incomplete head or frame.
    kept: Vec<u8>,
    /// An incomplete message: the fragments that came.
    message: Option<Box<Message>>,
}

enum Stage {
    /// Not connected; the request to be sent then.
    Connecting(Box<str>),
    /// The answer to the request has yet to come.
    Upgrading,
    Open,
    /// The client has said goodbye. The end of the stream is the server's to bring about (RFC 6455 section 7.1.1).
    Leaving,
    /// The stream ended.
    Ended,
}

struct Message {
    is_text: bool,
    bytes: Vec<u8>,
}

impl WebSocket {
    pub(super) fn new(filled: &Filled) -> Self {
        let Filled { host, target, .. } = filled;
        let offer = filled.subprotocol.as_deref().map(|names| format!("Sec-WebSocket-Protocol: {names}\r\n"));
        let offer = offer.unwrap_or_default();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{offer}\r\n"
        );
        Self {
            stage: Stage::Connecting(request.into()),
            session: filled.namespace.as_deref().map(|namespace| Session::new(namespace, filled)),
            kept: Vec::new(),
            message: None,
        }
    }

    pub(super) fn start(&mut self, effects: &mut impl Effects) {
        effects.open(LANE);
    }

    pub(super) fn connected(&mut self, effects: &mut impl Effects) {
        if let Stage::Connecting(request) = &self.stage {
            effects.write(LANE, request.as_bytes());
            self.stage = Stage::Upgrading;
        }
    }

    #[inline]
    pub(super) fn received(&mut self, mut bytes: &[u8], effects: &mut impl Effects) -> Result<(), Reason> {
        if !matches!(self.stage, Stage::Open) && !self.upgrade(&mut bytes, effects)? {
            return Ok(());
        }
        if !self.kept.is_empty() {
            self.finish_kept(&mut bytes, effects)?;
        }
        while let Parsed::Whole(frame, used) = frame::parse(bytes)? {
            bytes = &bytes[used..];
            self.frame(&frame, effects)?;
        }
        self.kept.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn ended(&mut self) -> Result<(), Reason> {
        self.stage = Stage::Ended;
        Err(Reason::Ended)
    }

    #[inline]
    pub(super) fn send(&mut self, text: &[u8], effects: &mut impl Effects) {
        let prefix = match &self.session {
            None => matches!(self.stage, Stage::Open).then_some(&[][..]),
            Some(session) => session.event(),
        };
        if let Some(prefix) = prefix {
            effects.write(LANE, &frame::encode(Opcode::Text, &[prefix, text]));
        }
    }

    pub(super) fn leave(&mut self, effects: &mut impl Effects) -> Result<(), Reason> {
        if !matches!(self.stage, Stage::Open) {
            return Err(Reason::Gone);
        }
        effects.write(LANE, &frame::encode(Opcode::Close, &[&frame::NORMAL_CLOSURE]));
        self.stage = Stage::Leaving;
        (self.kept, self.message) = (Vec::new(), None);
        Ok(())
    }

    pub(super) fn close(&mut self, effects: &mut impl Effects) {
        if !matches!(self.stage, Stage::Ended) {
            effects.close(LANE);
        }
        (self.kept, self.message) = (Vec::new(), None);
    }

    /// Reads the answer to the request; whether the WebSocket is open.
    #[cold]
    fn upgrade(&mut self, bytes: &mut &[u8], effects: &mut impl Effects) -> Result<bool, Reason> {
        match self.stage {
            Stage::Connecting(_) => return Err(Reason::Fault("an answer without a request")),
            Stage::Leaving => return Ok(false),
            Stage::Upgrading | Stage::Open | Stage::Ended => {}
        }
        let Some(head) = http::take_head(&mut self.kept, bytes)? else { return Ok(false) };
        if head.status != 101 {
            return Err(Reason::Status(head.status));
        }
        if head.accept.as_deref() != Some(ACCEPT) {
            return Err(Reason::Fault("the upgrade's answer is to another request"));
        }
        self.stage = Stage::Open;
        if self.session.is_none() {
            effects.opened();
        }
        Ok(true)
    }

    /// Takes from `bytes` what the incomplete frame lacks, and no more, so that what follows is read where it lies.
    #[inline(never)]
    fn finish_kept(&mut self, bytes: &mut &[u8], effects: &mut impl Effects) -> Result<(), Reason> {
        let mut kept = std::mem::take(&mut self.kept);
        loop {
            match frame::parse(&kept)? {
                Parsed::Whole(frame, _) => {
                    self.frame(&frame, effects)?;
                    kept.clear();
                    break;
                }
                Parsed::Short(_) if bytes.is_empty() => break,
                Parsed::Short(needed) => {
                    let (more, rest) = bytes.split_at((needed - kept.len()).min(bytes.len()));
                    kept.extend_from_slice(more);
                    *bytes = rest;
                }
            }
        }
        if !kept.is_empty() || kept.capacity() <= KEPT_CAPACITY_MAX {
            self.kept = kept;
        }
        Ok(())
    }

    #[inline]
    fn frame(&mut self, frame: &Frame<'_>, effects: &mut impl Effects) -> Result<(), Reason> {
        if frame.is_final && self.message.is_none() && matches!(frame.opcode, Opcode::Text | Opcode::Binary) {
            return self.message(frame.payload, frame.opcode == Opcode::Text, effects);
        }
        self.other_frame(frame, effects)
    }

    #[cold]
    fn other_frame(&mut self, frame: &Frame<'_>, effects: &mut impl Effects) -> Result<(), Reason> {
        match frame.opcode {
            Opcode::Text | Opcode::Binary | Opcode::Continuation => self.fragment(frame, effects),
            Opcode::Ping => {
                effects.write(LANE, &frame::encode(Opcode::Pong, &[frame.payload]));
                Ok(())
            }
            Opcode::Pong => Ok(()),
            Opcode::Close => {
                // The answer carries the code that came (RFC 6455 section 5.5.1).
                let code = frame.payload.get(..2).unwrap_or_default();
                effects.write(LANE, &frame::encode(Opcode::Close, &[code]));
                Err(Reason::Left)
            }
        }
    }

    fn fragment(&mut self, frame: &Frame<'_>, effects: &mut impl Effects) -> Result<(), Reason> {
        let mut message = match (self.message.take(), frame.opcode) {
            (Some(message), Opcode::Continuation) => message,
            (None, Opcode::Text | Opcode::Binary) => {
                Box::new(Message { is_text: frame.opcode == Opcode::Text, bytes: Vec::new() })
            }
            _ => return Err(Reason::Fault("a fragment out of place")),
        };
        if frame.payload.len() > MESSAGE_BYTES_MAX - message.bytes.len() {
            return Err(Reason::Fault("a message is too large"));
        }
        message.bytes.extend_from_slice(frame.payload);
        if frame.is_final {
            return self.message(&message.bytes, message.is_text, effects);
        }
        self.message = Some(message);
        Ok(())
    }

    #[inline]
    fn message(&mut self, payload: &[u8], is_text: bool, effects: &mut impl Effects) -> Result<(), Reason> {
        let Some(session) = &mut self.session else {
            effects.message(payload);
            return Ok(());
        };
        // A binary frame is the attachment of an event.
        if !is_text {
            return Ok(());
        }
        let answer = match session.received(payload, effects)? {
            Answer::Nothing => return Ok(()),
            Answer::Connect(_) => frame::encode(Opcode::Text, &[&session.connect()]),
            Answer::Pong => frame::encode(Opcode::Text, &[engineio::PONG]),
        };
        effects.write(LANE, &answer);
        Ok(())
    }
}
