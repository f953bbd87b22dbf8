//! Socket.IO 5 in one namespace, above Engine.IO: what each packet from the server means, and what is said back.
//!
//! Binary attachments are passed over; of a binary event the application hears the JSON, placeholders included.

use super::engineio::{self, Open};
use super::settings::Filled;
use super::{Effects, Reason};

const CONNECT: u8 = b'0';
const DISCONNECT: u8 = b'1';
const EVENT: u8 = b'2';
const ACK: u8 = b'3';
const CONNECT_ERROR: u8 = b'4';
const BINARY_EVENT: u8 = b'5';
const BINARY_ACK: u8 = b'6';

/// One Engine.IO session with one namespace in it.
pub(super) struct Session {
    /// What an event begins with: `42/chat,`, or `42` in the main namespace.
    event: Box<[u8]>,
    /// What `CONNECT` shows; empty once it is sent.
    auth: Box<str>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The open packet has yet to come.
    Opening,
    /// The answer to `CONNECT` has yet to come.
    Connecting,
    Open,
}

/// What a packet asks of the transport that brought it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Nothing,
    /// The session is open; the transport sends [`Session::connect`].
    Connect(Open),
    /// The transport sends [`engineio::PONG`].
    Pong,
}

impl Session {
    /// A session that waits for its open packet.
    pub(super) fn new(namespace: &str, filled: &Filled) -> Self {
        let auth = filled.auth.as_deref().unwrap_or_default();
        Self { event: event_prefix(namespace).into_bytes().into(), auth: auth.into(), stage: Stage::Opening }
    }

    /// Reads one Engine.IO text packet.
    #[inline]
    pub(super) fn received(&mut self, packet: &[u8], effects: &mut impl Effects) -> Result<Answer, Reason> {
        if let Some(array) = packet.strip_prefix(&*self.event)
            && array.first() == Some(&b'[')
        {
            effects.message(array);
            return Ok(Answer::Nothing);
        }
        self.received_other(packet, effects)
    }

    #[inline(never)]
    fn received_other(&mut self, packet: &[u8], effects: &mut impl Effects) -> Result<Answer, Reason> {
        let Some((&id, data)) = packet.split_first() else { return Err(Reason::Fault("an empty packet")) };
        match (self.stage, id) {
            (Stage::Opening, engineio::OPEN) => {
                let open = Open::parse(data)?;
                self.stage = Stage::Connecting;
                Ok(Answer::Connect(open))
            }
            (_, engineio::CLOSE) => Err(Reason::Left),
            (Stage::Opening, _) => Err(Reason::Fault("a packet before the open packet")),
            (_, engineio::PING) => Ok(Answer::Pong),
            (_, engineio::MESSAGE) => self.message(data, effects).map(|()| Answer::Nothing),
            (_, engineio::NOOP | engineio::BASE64) => Ok(Answer::Nothing),
            _ => Err(Reason::Fault("an Engine.IO packet of unknown kind")),
        }
    }

    /// Reads one Socket.IO packet: `<type>[<attachments>-][<namespace>,][<ack id>][JSON]`.
    fn message(&mut self, packet: &[u8], effects: &mut impl Effects) -> Result<(), Reason> {
        let Some((&kind, mut rest)) = packet.split_first() else { return Err(Reason::Fault("an empty message")) };
        if matches!(kind, BINARY_EVENT | BINARY_ACK) {
            rest = without_digits(rest).strip_prefix(b"-").ok_or(Reason::Fault("no number of attachments"))?;
        }
        let Some(rest) = self.in_namespace(rest) else { return Ok(()) };
        match kind {
            CONNECT if self.stage == Stage::Connecting => {
                self.stage = Stage::Open;
                effects.opened();
                Ok(())
            }
            CONNECT => Err(Reason::Fault("a second answer to CONNECT")),
            DISCONNECT => Err(Reason::Left),
            CONNECT_ERROR => Err(Reason::refused(rest)),
            EVENT | ACK | BINARY_EVENT | BINARY_ACK => {
                let array = without_digits(rest);
                if array.first() != Some(&b'[') {
                    return Err(Reason::Fault("an event that is no array"));
                }
                effects.message(array);
                Ok(())
            }
            _ => Err(Reason::Fault("a Socket.IO packet of unknown kind")),
        }
    }

    /// What follows this session's namespace; `None` if it is another's.
    fn in_namespace<'a>(&self, rest: &'a [u8]) -> Option<&'a [u8]> {
        match (&self.event[2..], rest.first()) {
            // The main namespace has no name on the wire.
            ([], Some(b'/')) => None,
            // A server may leave out the comma where nothing follows.
            ([name @ .., b','], _) if rest == name => Some(&[]),
            (name, _) => rest.strip_prefix(name),
        }
    }

    /// The packet that asks for the namespace.
    pub(super) fn connect(&mut self) -> Vec<u8> {
        let auth = std::mem::take(&mut self.auth);
        [b"40", &self.event[2..], auth.as_bytes()].concat()
    }

    /// What goes before an event's JSON array; `None` until the namespace is there.
    #[inline]
    pub(super) fn event(&self) -> Option<&[u8]> {
        (self.stage == Stage::Open).then_some(&*self.event)
    }
}

/// What an event in this namespace begins with, before its JSON array.
pub(super) fn event_prefix(namespace: &str) -> String {
    if namespace == "/" { "42".to_owned() } else { format!("42{namespace},") }
}

fn without_digits(bytes: &[u8]) -> &[u8] {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    &bytes[digits..]
}
