//! The dialects of Socket.IO, and the one place where they meet the rest: what the shard asks of a dialect it asks here.
//!
//! A dialect reads events of its clients ([`decode`]) and writes what they are told ([`encode`]), what they are answered
//! ([`answer`]) and how they are greeted ([`greet`]). All that is written is whole Engine.IO messages as WebSocket frames, the
//! namespace included, so that one copy serves every listener of that dialect, whatever carries its session.
//!
//! Where a dialect has no word of its own it uses that of `raw`: an event of `raw`'s `type` whose one argument is `raw`'s
//! object. WebRTC signaling is spelled so in all of them.

mod questions;

use crate::base::time::Now;
use crate::codec::engineio;
use crate::codec::socketio::{self, Target, begin_ack, begin_event};
use crate::dialect::raw;
use crate::domain::command::Command;
use crate::domain::event::{Event, Joined};
use crate::domain::finding::Finding;
use crate::domain::history::{History, Marks};
use crate::domain::op::Sent;
use crate::domain::reject::{Code, Reject};

/// A way of spelling commands and events in Socket.IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Dialect {
    /// Of the main namespace.
    Notify,
    /// Of `/chat`, with names such as `message:send`.
    Colon,
    /// Of `/chat`, with names such as `sendMessage`.
    Camel,
}

/// The namespaces there are.
pub const NAMESPACES: [&str; 2] = [socketio::MAIN, "/chat"];

/// How many dialects there are.
pub const DIALECTS: usize = 3;

impl Dialect {
    /// All of them, each at its own number.
    pub const ALL: [Self; DIALECTS] = [Self::Notify, Self::Colon, Self::Camel];

    /// The namespace that it is spoken in.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Notify => NAMESPACES[0],
            Self::Colon | Self::Camel => NAMESPACES[1],
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Colon => "colon",
            Self::Camel => "camel",
        }
    }

    /// The one of this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "notify" => Some(Self::Notify),
            "colon" => Some(Self::Colon),
            "camel" => Some(Self::Camel),
            _ => None,
        }
    }

    /// What is spoken in a namespace until a client's first event tells: clients of `colon` send their token as they
    /// connect.
    pub fn expected_in(namespace: &str, sends_token: bool) -> Self {
        match (namespace == socketio::MAIN, sends_token) {
            (true, _) => Self::Notify,
            (false, true) => Self::Colon,
            (false, false) => Self::Camel,
        }
    }

    /// Whether who sends a message to a room is told it like the others.
    pub fn hears_itself(self) -> bool {
        matches!(self, Self::Colon | Self::Camel)
    }
}

/// What a client's event asks.
#[derive(Debug, PartialEq)]
pub struct Request<'a> {
    /// The dialect it is of, if it is of only one.
    pub dialect: Option<Dialect>,
    /// The wish.
    pub command: Command<'a>,
}

/// Which request an answer is to. As text it goes with the question, wherever that goes, and comes back with the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The number under which the client wants the answer, if it does.
    pub ack: Option<u64>,
    /// The event that the request was; empty when nothing was asked.
    pub name: &'a str,
}

impl<'a> Reference<'a> {
    /// As text.
    pub fn text(&self) -> String {
        match self.ack {
            Some(ack) => format!("{ack} {}", self.name),
            None => format!(" {}", self.name),
        }
    }

    /// What such a text says.
    pub fn parse(text: &'a str) -> Self {
        let (ack, name) = text.split_once(' ').unwrap_or(("", text));
        Self { ack: ack.parse().ok(), name }
    }
}

/// What the answer to a request says.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// You are a member, and these are the ICE servers, as a JSON list.
    Joined(&'a Joined, &'a str),
    /// You are no longer a member of this room.
    Left(&'a str),
    /// Your message was accepted; it went to what this field, of this value, names.
    Sent(&'a Sent, (&'a str, &'a str)),
    /// These are the messages that were sent before.
    History(&'a History),
    /// These received and read the message.
    Receipts(&'a Marks),
    /// Your new token, that of this user, holds until then, in seconds since 1970.
    Authenticated(&'a str, Option<u64>),
    /// I am here.
    Pong,
    /// This is the answer to the question.
    Found(&'a Finding),
    /// It is done.
    Done,
    /// It is not granted.
    Refused(&'a Reject),
}

/// Commands that all dialects spell as `raw` does.
const AS_RAW: [&str; 5] = ["offer", "answer", "ice-candidate", "media-state-changed", "ping"];

/// Reads a client's event. `content_bytes` bounds a message's content; what has to be put together is put into `scratch`.
///
/// # Errors
/// What is wrong with it.
pub fn decode<'a>(
    dialect: Dialect,
    event: &socketio::Event<'a>,
    content_bytes: usize,
    scratch: &'a mut String,
) -> Result<Request<'a>, Reject> {
    let unknown = || Reject::new(Code::UnknownType, "There is no such event here");
    let name = event.plain_name().ok_or_else(unknown)?;
    if let Some(asked) = questions::read(dialect, name, event, content_bytes) {
        return asked;
    }
    if !AS_RAW.contains(&name) {
        return Err(unknown());
    }
    let fields = event.arguments.clone().next().and_then(|first| first.strip_prefix('{'));
    let rest = fields.unwrap_or("}");
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    *scratch = format!("{{\"type\":\"{name}\"{comma}{rest}");
    let request = raw::decode(scratch, content_bytes).map_err(|fault| fault.reject)?;
    Ok(Request { dialect: None, command: request.command })
}

/// Appends what is told of an event; nothing when the dialect has no word for it.
pub fn encode(out: &mut Vec<u8>, dialect: Dialect, event: &Event, now: Now) {
    as_raw(out, dialect, None, |out| raw::encode(out, event, now));
}

/// Appends the first thing that a peer is told, once it is connected; nothing when the dialect has no greeting.
pub fn greet(_out: &mut Vec<u8>, _dialect: Dialect, _user: &str, _socket: &str, _now: Now) {}

/// Appends the answer to a request; nothing when the dialect has none.
pub fn answer(out: &mut Vec<u8>, dialect: Dialect, to: &Reference<'_>, answer: &Answer<'_>, now: Now) {
    if questions::write(out, dialect, to, answer) {
        return;
    }
    as_raw(out, dialect, to.ack, |out| match answer {
        Answer::Joined(joined, ice) => raw::joined(out, joined, ice, None, now),
        Answer::Left(room) => raw::left(out, room, None, now),
        Answer::Sent(sent, to) => raw::sent(out, sent, *to, None),
        Answer::History(history) => raw::history(out, history, None, now),
        Answer::Receipts(marks) => raw::receipts(out, marks, None, now),
        Answer::Authenticated(user, expires_at) => raw::authenticated(out, user, *expires_at, None, now),
        Answer::Pong => raw::pong(out, None, now),
        Answer::Done | Answer::Found(_) => {}
        Answer::Refused(reject) => raw::error(out, reject, None, now),
    });
}

/// Appends what `write` writes in `raw`, as an ack or as an event of its type; nothing when it writes nothing.
fn as_raw(out: &mut Vec<u8>, dialect: Dialect, ack: Option<u64>, write: impl FnOnce(&mut Vec<u8>)) {
    const TYPE: &[u8] = b"{\"type\":\"";
    let mut object = Vec::new();
    write(&mut object);
    let text = std::str::from_utf8(&object).unwrap_or_default();
    let kind = object.strip_prefix(TYPE).and_then(|rest| rest.split(|byte| *byte == b'"').next());
    let Some(kind) = kind.and_then(|kind| std::str::from_utf8(kind).ok()) else { return };
    let target = Target { id: ack, ..Target::namespace(dialect.namespace()) };
    engineio::encode_text(out, |out| {
        let mut packet = match ack {
            Some(_) => begin_ack(out, &target),
            None => begin_event(out, &target, kind),
        };
        packet.raw(text).end();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::engineio::Version;
    use crate::codec::socketio::{Content, Decoder, Limits};
    use crate::codec::ws;
    use crate::domain::command::Signal;

    const NOW: Now = Now { mono: 5, wall: 1_750_000_000_000 };

    fn decoded(text: &str) -> Result<String, Reject> {
        let mut decoder = Decoder::default();
        let packet = decoder.text(Version::V4, text, &Limits::default()).expect("a packet").expect("whole");
        let Content::Event(event) = packet.content else { panic!("no event") };
        decode(Dialect::Camel, &event, 1_000, &mut String::new()).map(|request| format!("{:?}", request.command))
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<String> {
        let mut out = Vec::new();
        write(&mut out);
        ws::frames(&out).map(|(_, text)| String::from_utf8_lossy(text).into_owned()).collect()
    }

    #[test]
    fn signaling_is_spelled_as_in_raw() {
        let offer = decoded(r#"2/chat,["offer",{"roomId":"r","toPeerId":"p","offer":{"sdp":"x"}}]"#).expect("good");
        assert!(offer.contains(&format!("{:?}", Signal::Offer)) && offer.contains("sdp"), "{offer}");
        assert_eq!(decoded(r#"2["ping"]"#), Ok("Ping".to_owned()));
        assert_eq!(decoded(r#"2["ping",{}]"#), Ok("Ping".to_owned()));
        assert_eq!(decoded(r#"2["offer",{}]"#).map_err(|reject| reject.code), Err(Code::InvalidMessage));
        assert_eq!(decoded(r#"2["join-room",{"roomId":"r"}]"#).map_err(|reject| reject.code), Err(Code::UnknownType));
        assert_eq!(decoded("2[7]").map_err(|reject| reject.code), Err(Code::UnknownType));
    }

    #[test]
    fn references_come_back_as_they_went() {
        for reference in [
            Reference::default(),
            Reference { ack: Some(0), name: "message:send" },
            Reference { ack: None, name: "joinRoom" },
            Reference { ack: Some(u64::MAX), name: "with spaces in it" },
        ] {
            assert_eq!(Reference::parse(&reference.text()), reference);
        }
    }

    #[test]
    fn what_is_told_is_an_event_of_the_namespace_and_what_is_answered_an_ack() {
        let event = Event::Stats { room: "r".into(), participant_count: 7 };
        let told = written(|out| encode(out, Dialect::Colon, &event, NOW));
        let object = r#"{"type":"room-stats","roomId":"r","participantCount":7,"timestamp":1750000000000}"#;
        assert_eq!(told, [format!(r#"42/chat,["room-stats",{object}]"#)]);
        let told = written(|out| encode(out, Dialect::Notify, &event, NOW));
        assert_eq!(told, [format!(r#"42["room-stats",{object}]"#)]);
        let left = Reference { ack: Some(3), name: "leave" };
        let told = written(|out| answer(out, Dialect::Camel, &left, &Answer::Left("r"), NOW));
        assert_eq!(told, [r#"43/chat,3[{"type":"room-left","roomId":"r","timestamp":1750000000000}]"#]);
        assert_eq!(written(|out| answer(out, Dialect::Camel, &left, &Answer::Done, NOW)), [""; 0]);
    }
}
