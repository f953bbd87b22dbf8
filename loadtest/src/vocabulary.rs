//! How an application says join and publish, and what it calls their outcomes: by default Switchboard's `raw` and
//! `camel`, by templates any other.
//!
//! What is published has content that begins with a [`mark`], by which deliveries are accounted for. The mark
//! is looked for in the text of a delivery wherever it stands, and content ends where its padding does, so a delivery is
//! never parsed. Rooms and content are of an alphabet that JSON need not escape; rooms have no `#`.

use std::io::Write as _;

use clap::Args;
use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::client::Dialect;
use crate::mark;

/// What an application calls things; what is not given is as Switchboard has it.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
pub struct Words {
    /// How a client asks to join, such as '["joinRoom","{room}"]'; empty if there are no rooms
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

impl Words {
    /// What is wrong with them, if anything is. A vocabulary takes them as they are.
    pub fn check(&self, dialect: Dialect) -> Result<(), String> {
        let given = [&self.join, &self.publish, &self.joined, &self.delivered];
        if dialect == Dialect::Echo && given.iter().any(|word| word.is_some()) {
            return Err("--join, --publish, --joined and --delivered are not for --dialect echo".to_owned());
        }
        match self.publish.as_deref() {
            Some(publish) if !publish.contains("{content}") => Err(format!("--publish {publish} has no {{content}}")),
            _ => Ok(()),
        }
    }
}

/// An application's words, ready for use.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    dialect: Dialect,
    /// Empty where there are no rooms.
    join: Template,
    publish: Template,
    joined: Sign,
    delivered: Sign,
    hears_itself: bool,
}

impl Vocabulary {
    /// The words of a dialect.
    pub fn of(dialect: Dialect) -> Self {
        Self::new(dialect, &Words::default())
    }

    /// The words of a dialect, but for those that are given.
    pub fn new(dialect: Dialect, words: &Words) -> Self {
        let [join, publish, joined, delivered] = match dialect {
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
            // Each message comes back to its sender; there are no rooms and no words.
            Dialect::Echo => ["", "{content}", "", ""],
        };
        Self {
            dialect,
            join: Template::new(words.join.as_deref().unwrap_or(join)),
            publish: Template::new(words.publish.as_deref().unwrap_or(publish)),
            joined: Sign::new(dialect, words.joined.as_deref().unwrap_or(joined)),
            delivered: Sign::new(dialect, words.delivered.as_deref().unwrap_or(delivered)),
            hears_itself: words.hears_own.unwrap_or(dialect != Dialect::Raw),
        }
    }

    /// The dialect that they are of.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether there are rooms to join.
    pub fn has_rooms(&self) -> bool {
        !self.join.pieces.is_empty()
    }

    /// Whether a member of a room gets its own messages too.
    pub fn hears_itself(&self) -> bool {
        self.hears_itself
    }

    /// Asks to join a room; empty where there are none.
    pub fn join(&self, room: usize) -> Vec<u8> {
        let mut out = Vec::new();
        self.join.append(&mut out, room, &[]);
        out
    }

    /// Appends a message to a room.
    #[inline]
    pub fn publish(&self, out: &mut Vec<u8>, room: usize, content: &[u8]) {
        self.publish.append(out, room, content);
    }

    /// Whether this is the answer to a join that succeeded.
    #[inline]
    pub fn is_joined(&self, text: &[u8]) -> bool {
        self.has_rooms() && self.joined.is_on(text)
    }

    /// The content, if this is a message of the run.
    #[inline]
    pub fn delivery<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        if self.dialect != Dialect::Echo && !self.delivered.is_on(text) {
            return None;
        }
        mark::content(text)
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
    fn append(&self, out: &mut Vec<u8>, room: usize, content: &[u8]) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                // A vector takes whatever is written.
                Piece::Room => drop(write!(out, "room-{room}")),
                Piece::Content => out.extend_from_slice(content),
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
    Field { start: Box<[u8]>, field: Box<memmem::Finder<'static>> },
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Settings;

    const CONTENT: &str = "#000000000042@00000000deadbeefxx";

    fn published(words: &Vocabulary, room: usize) -> String {
        let mut out = Vec::new();
        words.publish(&mut out, room, CONTENT.as_bytes());
        text(out)
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("what is said is text")
    }

    /// Content of the text that `{}` in a template stands for.
    fn delivered(words: &Vocabulary, template: &str) -> bool {
        let text = template.replace("{}", CONTENT);
        let content = words.delivery(text.as_bytes());
        assert!(content.is_none_or(|content| content == CONTENT.as_bytes()), "{text}");
        content.is_some()
    }

    #[test]
    fn raw_says_it_as_switchboard_has_it() {
        let raw = Vocabulary::of(Dialect::Raw);
        assert_eq!(text(raw.join(1)), r#"{"type":"join-room","roomId":"room-1"}"#);
        let expected = r#"{"type":"message","roomId":"room-1","content":"{}"}"#.replace("{}", CONTENT);
        assert_eq!(published(&raw, 1), expected);
        assert!(raw.is_joined(br#"{"type":"room-joined","roomId":"a"}"#));
        assert!(delivered(&raw, r#"{"type":"message","id":"1","content":"{}","seq":1}"#));
        assert!(delivered(&raw, r#"{"type":"message","id":"a#b","content":"{}"}"#));
        assert!(delivered(&raw, r#"{"content":"{}","type":"message"}"#));
        assert!(!delivered(&raw, r#"{"type":"message-sent","content":"{}"}"#));
        assert!(!delivered(&raw, r#"{"type":"message","content":"hello"}"#));
        assert!(raw.has_rooms() && !raw.hears_itself());
    }

    #[test]
    fn socketio_says_it_in_events() {
        let socketio = Vocabulary::of(Dialect::SocketIo);
        assert_eq!(text(socketio.join(2)), r#"["joinRoom","room-2"]"#);
        let expected = r#"["sendMessage",{"roomId":"room-3","content":"{}"}]"#.replace("{}", CONTENT);
        assert_eq!(published(&socketio, 3), expected);
        assert!(socketio.is_joined(br#"["joinedRoom","a"]"#));
        assert!(delivered(&socketio, r#"["newMessage",{"content":"{}"}]"#));
        assert!(!delivered(&socketio, r#"["newMessages",{"content":"{}"}]"#));
        assert!(socketio.has_rooms() && socketio.hears_itself());
    }

    #[test]
    fn an_echo_is_what_was_sent() {
        let echo = Vocabulary::of(Dialect::Echo);
        assert_eq!(published(&echo, 1), CONTENT);
        assert!(delivered(&echo, "{}"));
        assert_eq!(echo.delivery(b"welcome"), None);
        assert!(!echo.has_rooms() && echo.hears_itself() && echo.join(1).is_empty() && !echo.is_joined(b"[\"\""));
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
        assert_eq!(words.check(Dialect::SocketIo), Ok(()));
        let other = Vocabulary::new(Dialect::SocketIo, &words);
        assert_eq!(text(other.join(1)), r#"7["enter",{"room":"room-1","as":"room-1"}]"#);
        assert_eq!(published(&other, 1), r#"["say","{}","room-1"]"#.replace("{}", CONTENT));
        assert!(other.is_joined(br#"[{"ok":true}]"#));
        assert!(delivered(&other, r#"["said","<{}>"]"#));
        assert!(!other.hears_itself());
        let words = Words { join: Some(String::new()), ..words };
        let roomless = Vocabulary::new(Dialect::SocketIo, &words);
        assert!(!roomless.has_rooms() && !roomless.is_joined(br#"[{"ok":true}]"#));
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
        let json = serde_json::to_string(&words).expect("it is JSON");
        let read: Words = serde_json::from_str(&json).expect("it is what was written");
        let vocabulary = Vocabulary::new(settings.dialect, &read);
        assert_eq!((text(vocabulary.join(1)).as_str(), vocabulary.dialect()), ("[\"in\"]", Dialect::SocketIo));
        assert!(!vocabulary.hears_itself());
    }

    #[test]
    fn words_that_cannot_be_are_refused() {
        let publish = Words { publish: Some(r#"["say","{room}"]"#.to_owned()), ..Words::default() };
        let refused = |dialect| publish.check(dialect).expect_err("there is no content");
        assert!(refused(Dialect::SocketIo).contains("{content}"));
        assert!(refused(Dialect::Echo).contains("--dialect echo"));
    }

    #[test]
    fn a_publish_is_written_into_the_room_there_is() {
        for dialect in [Dialect::Raw, Dialect::SocketIo, Dialect::Echo] {
            let mut out = Vec::with_capacity(256);
            let before = out.as_ptr();
            Vocabulary::of(dialect).publish(&mut out, 1, CONTENT.as_bytes());
            assert!(out.capacity() == 256 && std::ptr::eq(before, out.as_ptr()));
        }
    }
}
