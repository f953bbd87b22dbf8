//! How an application says join and publish, and what it calls their outcomes: by default Switchboard's `raw` and
//! `camel`, by templates any other.
//!
//! What is published carries a [`Mark`]: its number in the room, by which deliveries are accounted for, and when it was
//! sent. The mark is looked for in the text of a delivery wherever it stands, so a delivery is never parsed. Rooms and
//! content are of an alphabet that JSON need not escape, and that has no `#`.

use clap::Args;
use memchr::{memchr_iter, memmem};
use serde::{Deserialize, Serialize};

use crate::client::Dialect;

/// What an application calls things; what is not given is as Switchboard has it.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
pub struct Words {
    /// How a client asks to join, such as '["joinRoom","{room}"]'
    #[arg(long, global = true, value_name = "TEMPLATE")]
    pub join: Option<String>,
    /// How a client publishes, such as '["sendMessage",{"roomId":"{room}","content":"{content}"}]'
    #[arg(long, global = true, value_name = "TEMPLATE")]
    pub publish: Option<String>,
    /// The event (raw: the type) that answers a join; or how the answer's text begins, if that is with [ or {
    #[arg(long, global = true, value_name = "EVENT")]
    pub joined: Option<String>,
    /// The event (raw: the type) that delivers a message; or how its text begins, if that is with [ or {
    #[arg(long, global = true, value_name = "EVENT")]
    pub delivered: Option<String>,
    /// Whether a sender hears its own messages [default: true, but false for raw]
    #[arg(long, global = true, value_name = "BOOL")]
    pub hears_own: Option<bool>,
}

/// An application's words, ready for use.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    join: Option<Template>,
    publish: Template,
    joined: Sign,
    delivered: Sign,
    hears_own: bool,
}

/// What a message from the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The answer to a join.
    Joined,
    /// A published message.
    Delivery(Mark),
    /// Anything else.
    Other,
}

impl Vocabulary {
    /// The words of a dialect, but for those that are given.
    pub fn new(dialect: Dialect, words: &Words) -> Result<Self, String> {
        let default = match dialect {
            Dialect::Raw => [
                r#"{"type":"join-room","roomId":"{room}"}"#,
                r#"{"type":"message","roomId":"{room}","content":"{content}"}"#,
                "room-joined",
                "message",
            ],
            Dialect::SocketIo => [
                r#"["joinRoom","{room}"]"#,
                r#"["sendMessage",{"roomId":"{room}","content":"{content}"}]"#,
                "joinedRoom",
                "newMessage",
            ],
            Dialect::Echo => return Self::echo(words),
        };
        let [join, publish, joined, delivered] = default;
        let join = words.join.as_deref().unwrap_or(join);
        let publish = words.publish.as_deref().unwrap_or(publish);
        if !publish.contains("{content}") {
            return Err(format!("--publish {publish} has no {{content}}"));
        }
        Ok(Self {
            join: Some(Template::new(join)),
            publish: Template::new(publish),
            joined: Sign::new(dialect, words.joined.as_deref().unwrap_or(joined)),
            delivered: Sign::new(dialect, words.delivered.as_deref().unwrap_or(delivered)),
            hears_own: words.hears_own.unwrap_or(dialect != Dialect::Raw),
        })
    }

    /// Each message comes back to its sender; there are no rooms and no words.
    fn echo(words: &Words) -> Result<Self, String> {
        if [&words.join, &words.publish, &words.joined, &words.delivered].iter().any(|word| word.is_some()) {
            return Err("--join, --publish, --joined and --delivered are not for --dialect echo".to_owned());
        }
        Ok(Self {
            join: None,
            publish: Template::new("{content}"),
            joined: Sign::Never,
            delivered: Sign::Always,
            hears_own: words.hears_own.unwrap_or(true),
        })
    }

    /// Whether there are rooms to join.
    pub fn has_rooms(&self) -> bool {
        self.join.is_some()
    }

    /// Whether a sender hears its own messages.
    pub fn hears_own(&self) -> bool {
        self.hears_own
    }

    /// Appends the request to join a room; nothing where there are none.
    pub fn join(&self, room: &str, out: &mut Vec<u8>) {
        if let Some(join) = &self.join {
            join.append(room, |_| {}, out);
        }
    }

    /// Appends a message to a room. Its content is the mark, padded to so many bytes.
    #[inline]
    pub fn publish(&self, room: &str, mark: Mark, content_bytes: usize, out: &mut Vec<u8>) {
        self.publish.append(room, |out| mark.append(content_bytes, out), out);
    }

    /// Recognises what came from the server.
    #[inline]
    pub fn recognise(&self, text: &[u8]) -> Heard {
        if self.delivered.is_on(text)
            && let Some(mark) = Mark::find(text)
        {
            return Heard::Delivery(mark);
        }
        if self.joined.is_on(text) { Heard::Joined } else { Heard::Other }
    }
}

/// What marks a published message: `#<seq, 12 digits>@<sent_ns, 16 hexadecimal digits>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its number in the room.
    pub seq: u64,
    /// When it was sent, in nanoseconds by the generator's clock.
    pub sent_ns: u64,
}

impl Mark {
    /// Bytes of a mark, and so the least that content has.
    pub const BYTES: usize = 30;

    const SEQ_DIGITS: usize = 12;
    const PADDING: u8 = b'x';

    /// Appends the mark, padded to `content_bytes`.
    #[inline]
    pub fn append(self, content_bytes: usize, out: &mut Vec<u8>) {
        let mut bytes = [b'#'; Self::BYTES];
        let (seq, sent_ns) = bytes[1..].split_at_mut(Self::SEQ_DIGITS);
        let mut left = self.seq;
        for digit in seq.iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
        sent_ns[0] = b'@';
        for (at, digit) in sent_ns[1..].iter_mut().rev().enumerate() {
            *digit = b"0123456789abcdef"[(self.sent_ns >> (4 * at)) as usize & 0xF];
        }
        out.extend_from_slice(&bytes);
        out.resize(out.len() + content_bytes.saturating_sub(Self::BYTES), Self::PADDING);
    }

    /// The first mark in `text`.
    #[inline]
    pub fn find(text: &[u8]) -> Option<Self> {
        memchr_iter(b'#', text).find_map(|at| Self::parse(text[at + 1..].first_chunk()?))
    }

    fn parse(bytes: &[u8; Self::BYTES - 1]) -> Option<Self> {
        let (seq, sent_ns) = bytes.split_at(Self::SEQ_DIGITS);
        let (seq, mut is_mark) = seq.iter().fold((0, sent_ns[0] == b'@'), |(seq, is_mark), byte| {
            let digit = byte.wrapping_sub(b'0');
            (seq * 10 + u64::from(digit), is_mark & (digit < 10))
        });
        let sent_ns = sent_ns[1..].iter().fold(0, |sent_ns, byte| {
            // In ASCII a letter's low four bits are 9 less than its value, and its bit 6 is set; a digit's is not.
            is_mark &= byte.is_ascii_hexdigit();
            sent_ns << 4 | u64::from((byte & 0xF) + 9 * (byte >> 6))
        });
        is_mark.then_some(Self { seq, sent_ns })
    }
}

/// A text with places for a room and content.
#[derive(Clone, Debug)]
struct Template {
    pieces: Box<[Piece]>,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(Box<[u8]>),
    Room,
    Content,
}

impl Template {
    fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let place = [("{room}", Piece::Room), ("{content}", Piece::Content)];
            let found = place.into_iter().filter_map(|(name, piece)| Some((rest.find(name)?, name, piece)));
            let (at, name, piece) = match found.min_by_key(|(at, ..)| *at) {
                Some((at, name, piece)) => (at, name, Some(piece)),
                None => (rest.len(), "", None),
            };
            if at > 0 {
                pieces.push(Piece::Text(rest.as_bytes()[..at].into()));
            }
            pieces.extend(piece);
            rest = &rest[at + name.len()..];
        }
        Self { pieces: pieces.into() }
    }

    #[inline]
    fn append(&self, room: &str, content: impl Fn(&mut Vec<u8>), out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Room => out.extend_from_slice(room.as_bytes()),
                Piece::Content => content(out),
            }
        }
    }
}

/// By what a message is recognised.
#[derive(Clone, Debug)]
enum Sign {
    /// How its text begins.
    Start(Box<[u8]>),
    /// A field of a JSON object, which mostly begins with it.
    Field {
        start: Box<[u8]>,
        field: Box<memmem::Finder<'static>>,
    },
    Always,
    Never,
}

impl Sign {
    fn new(dialect: Dialect, word: &str) -> Self {
        if word.starts_with(['[', '{']) {
            return Self::Start(word.as_bytes().into());
        }
        if dialect != Dialect::Raw {
            return Self::Start(format!(r#"["{word}""#).into_bytes().into());
        }
        let field = format!(r#""type":"{word}""#);
        Self::Field {
            start: format!("{{{field}").into_bytes().into(),
            field: Box::new(memmem::Finder::new(field.as_bytes()).into_owned()),
        }
    }

    #[inline]
    fn is_on(&self, text: &[u8]) -> bool {
        match self {
            Self::Start(start) => text.starts_with(start),
            Self::Field { start, field } => text.starts_with(start) || field.find(text).is_some(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Settings;

    const MARK: Mark = Mark { seq: 42, sent_ns: 0xDEAD_BEEF };

    fn vocabulary(dialect: Dialect) -> Vocabulary {
        Vocabulary::new(dialect, &Words::default()).expect("there is nothing to refuse")
    }

    fn said(say: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        say(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn raw_says_it_as_switchboard_has_it() {
        let raw = vocabulary(Dialect::Raw);
        assert_eq!(said(|out| raw.join("room-1", out)), r#"{"type":"join-room","roomId":"room-1"}"#);
        assert_eq!(
            said(|out| raw.publish("room-1", MARK, 32, out)),
            r##"{"type":"message","roomId":"room-1","content":"#000000000042@00000000deadbeefxx"}"##
        );
        assert_eq!(raw.recognise(br#"{"type":"room-joined","roomId":"a"}"#), Heard::Joined);
        let delivery = br##"{"type":"message","id":"a#b","content":"#000000000042@00000000deadbeefxx"}"##;
        assert_eq!(raw.recognise(delivery), Heard::Delivery(MARK));
        let delivery = br##"{"content":"#000000000042@00000000deadbeefxx","type":"message"}"##;
        assert_eq!(raw.recognise(delivery), Heard::Delivery(MARK));
        let receipt = br##"{"type":"message-sent","content":"#000000000042@00000000deadbeef"}"##;
        assert_eq!(raw.recognise(receipt), Heard::Other);
        assert_eq!(raw.recognise(br#"{"type":"message","content":"hello"}"#), Heard::Other);
        assert!(raw.has_rooms() && !raw.hears_own());
    }

    #[test]
    fn socketio_says_it_in_events() {
        let socketio = vocabulary(Dialect::SocketIo);
        assert_eq!(said(|out| socketio.join("a", out)), r#"["joinRoom","a"]"#);
        assert_eq!(
            said(|out| socketio.publish("a", MARK, 0, out)),
            r##"["sendMessage",{"roomId":"a","content":"#000000000042@00000000deadbeef"}]"##
        );
        assert_eq!(socketio.recognise(br#"["joinedRoom","a"]"#), Heard::Joined);
        let delivery = br##"["newMessage",{"content":"#000000000042@00000000deadbeef"}]"##;
        assert_eq!(socketio.recognise(delivery), Heard::Delivery(MARK));
        let other = br##"["newMessages",{"content":"#000000000042@00000000deadbeef"}]"##;
        assert_eq!(socketio.recognise(other), Heard::Other);
        assert!(socketio.has_rooms() && socketio.hears_own());
    }

    #[test]
    fn an_echo_is_what_was_sent() {
        let echo = vocabulary(Dialect::Echo);
        let text = said(|out| echo.publish("a", MARK, 40, out));
        assert_eq!(text, "#000000000042@00000000deadbeefxxxxxxxxxx");
        assert_eq!(echo.recognise(text.as_bytes()), Heard::Delivery(MARK));
        assert_eq!(echo.recognise(b"welcome"), Heard::Other);
        assert!(!echo.has_rooms() && echo.hears_own());
        assert_eq!(said(|out| echo.join("a", out)), "");
    }

    #[test]
    fn any_other_server_is_spoken_to_by_templates() {
        let words = Words {
            join: Some(r#"7["enter",{"room":"{room}","as":"{room}"}]"#.to_owned()),
            publish: Some(r#"["say","{content}","{room}"]"#.to_owned()),
            joined: Some(r#"[{"ok":true"#.to_owned()),
            delivered: Some("said".to_owned()),
            hears_own: Some(false),
        };
        let other = Vocabulary::new(Dialect::SocketIo, &words).unwrap();
        assert_eq!(said(|out| other.join("a", out)), r#"7["enter",{"room":"a","as":"a"}]"#);
        assert_eq!(said(|out| other.publish("a", MARK, 30, out)), r##"["say","#000000000042@00000000deadbeef","a"]"##);
        assert_eq!(other.recognise(br#"[{"ok":true}]"#), Heard::Joined);
        assert_eq!(other.recognise(br##"["said","#000000000042@00000000deadbeef"]"##), Heard::Delivery(MARK));
        assert!(!other.hears_own());
    }

    #[test]
    fn words_are_options_beside_the_clients() {
        #[derive(clap::Parser)]
        struct CommandLine {
            #[command(flatten)]
            settings: Settings,
            #[command(flatten)]
            words: Words,
        }
        let arguments = ["loadtest", "--dialect", "socketio", "--join", "[\"in\"]", "--hears-own", "false"];
        let CommandLine { settings, words } = clap::Parser::parse_from(arguments);
        let read: Words = serde_json::from_str(&serde_json::to_string(&words).unwrap()).unwrap();
        let vocabulary = Vocabulary::new(settings.dialect, &read).unwrap();
        assert_eq!(said(|out| vocabulary.join("a", out)), "[\"in\"]");
        assert!(!vocabulary.hears_own());
    }

    #[test]
    fn words_that_cannot_be_are_refused() {
        let publish = Words { publish: Some(r#"["say","{room}"]"#.to_owned()), ..Words::default() };
        assert!(Vocabulary::new(Dialect::SocketIo, &publish).unwrap_err().contains("{content}"));
        assert!(Vocabulary::new(Dialect::Echo, &publish).unwrap_err().contains("--dialect echo"));
    }

    #[test]
    fn a_mark_is_found_whole_or_not_at_all() {
        for mark in [MARK, Mark { seq: 0, sent_ns: 0 }, Mark { seq: 999_999_999_999, sent_ns: u64::MAX }] {
            let text = said(|out| mark.append(0, out));
            assert_eq!(text.len(), Mark::BYTES);
            assert_eq!(Mark::find(format!("#1 #{text}\"").as_bytes()), Some(mark));
            assert_eq!(Mark::find(text.to_uppercase().as_bytes()), Some(mark));
            for end in 0..text.len() {
                assert_eq!(Mark::find(&text.as_bytes()[..end]), None);
            }
            for at in 0..text.len() {
                for wrong in [b'g', b'/', b':', b'`', b'F' + 1, b'\0', 0xFF] {
                    let mut text = text.clone().into_bytes();
                    text[at] = wrong;
                    assert_eq!(Mark::find(&text), None, "{}", text.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn a_publish_is_written_into_the_room_there_is() {
        for dialect in [Dialect::Raw, Dialect::SocketIo, Dialect::Echo] {
            let mut out = Vec::with_capacity(256);
            let before = out.as_ptr();
            vocabulary(dialect).publish("room-1", MARK, 128, &mut out);
            assert!(out.capacity() == 256 && std::ptr::eq(before, out.as_ptr()));
        }
    }
}
