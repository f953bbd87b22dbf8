//! How a dialect says what scenarios have to say, and what its answers look like. Incoming text is searched, not parsed.

use memchr::memmem::Finder;

use crate::client::Dialect;

/// What precedes a message's content, its first character included; content of a run begins with `#`.
const CONTENT: &[u8] = b"\"content\":\"#";

/// The words of one dialect.
pub struct Vocabulary {
    dialect: Dialect,
    content: Finder<'static>,
}

impl Vocabulary {
    /// The words of `dialect`.
    pub fn of(dialect: Dialect) -> Self {
        Self { dialect, content: Finder::new(CONTENT) }
    }

    /// Asks to join a room.
    pub fn join(&self, room: usize) -> Vec<u8> {
        match self.dialect {
            Dialect::Raw => format!(r#"{{"type":"join-room","roomId":"room-{room}"}}"#).into_bytes(),
            Dialect::Echo => Vec::new(),
        }
    }

    /// Appends a message to a room.
    pub fn publish(&self, out: &mut Vec<u8>, room: usize, content: &[u8]) {
        match self.dialect {
            Dialect::Raw => {
                out.extend_from_slice(format!(r#"{{"type":"message","roomId":"room-{room}","content":""#).as_bytes());
                out.extend_from_slice(content);
                out.extend_from_slice(b"\"}");
            }
            Dialect::Echo => out.extend_from_slice(content),
        }
    }

    /// Whether this is the answer to a join that succeeded.
    pub fn is_joined(&self, text: &[u8]) -> bool {
        match self.dialect {
            Dialect::Raw => text.starts_with(br#"{"type":"room-joined""#),
            Dialect::Echo => false,
        }
    }

    /// The content, if this is a message of the run.
    pub fn delivery<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        match self.dialect {
            Dialect::Raw => {
                let content = &text[self.content.find(text)? + CONTENT.len() - 1..];
                content.get(..memchr::memchr(b'"', content)?)
            }
            Dialect::Echo => Some(text),
        }
    }

    /// Whether a member of a room gets its own messages too.
    pub fn hears_itself(&self) -> bool {
        match self.dialect {
            Dialect::Raw => false,
            Dialect::Echo => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_found_with_its_content_and_nothing_else() {
        let words = Vocabulary::of(Dialect::Raw);
        let text = br##"{"type":"message","id":"1","content":"#1@a","seq":1}"##;
        assert_eq!(words.delivery(text), Some(b"#1@a".as_slice()));
        assert_eq!(words.delivery(br#"{"type":"message","content":"hello"}"#), None);
        assert_eq!(words.delivery(br##"{"type":"message","content":"#1"##), None);
        assert!(words.is_joined(br#"{"type":"room-joined","roomId":"room-1"}"#));
        let mut out = Vec::new();
        words.publish(&mut out, 3, b"#x");
        assert_eq!(out, br##"{"type":"message","roomId":"room-3","content":"#x"}"##);
    }
}
