//! The names of keys and channels. Everything of one room, user or session has the same hash tag, so that one server of a
//! cluster keeps it and one script can work on it.

use crate::base::ids::ConnectionId;
use crate::message::redis::Bytes;

/// What tells the key of a room from others.
const ROOM: &[u8] = b":room:{";

/// Makes names.
#[derive(Clone, Debug)]
pub struct KeySchema {
    prefix: Box<str>,
}

impl KeySchema {
    /// Names that begin with `prefix`.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// What everything of a room begins with, and the channel of what its members learn.
    pub fn room(&self, room: &str) -> Bytes {
        self.tagged("room", room)
    }

    /// What everything of a user begins with.
    pub fn user(&self, user: &str) -> Bytes {
        self.tagged("user", user)
    }

    /// What is kept of a connection, so that its client may come back.
    pub fn session(&self, connection: ConnectionId) -> Bytes {
        self.tagged("session", connection.text().as_str())
    }

    /// What everything of a node begins with, and the channel of what is for it alone.
    pub fn node(&self, node: u16) -> Bytes {
        self.tagged("node", &node.to_string())
    }

    /// What everything about which nodes there are begins with.
    pub fn nodes(&self) -> Bytes {
        self.tagged("nodes", "all")
    }

    /// A channel of a node's own on which nothing is said. It has no tag, so that one may be added.
    pub fn probe(&self, node: u16) -> Bytes {
        format!("{}:probe:{node}", self.prefix).into_bytes().into()
    }

    /// The channel of what every node is to know.
    pub fn everyone(&self) -> Bytes {
        format!("{}:everyone", self.prefix).into_bytes().into()
    }

    /// The room that a key or channel belongs to.
    pub fn room_of(&self, key: &[u8]) -> Option<String> {
        let rest = key.strip_prefix(self.prefix.as_bytes())?.strip_prefix(ROOM)?;
        let tag = rest.split(|byte| *byte == b'}').next()?;
        untag(std::str::from_utf8(tag).ok()?)
    }

    /// Whether a channel belongs to the server of a cluster that keeps its room. All others are the whole cluster's: what is
    /// published there by the script of a user, on the server that keeps that user, is for nodes, whose channels belong to
    /// other slots. It is little beside what is said in rooms.
    pub fn is_sharded(channel: &[u8]) -> bool {
        channel.windows(ROOM.len()).any(|part| part == ROOM)
    }

    fn tagged(&self, kind: &str, name: &str) -> Bytes {
        let mut key = format!("{}:{kind}:{{", self.prefix);
        for part in name.split_inclusive(['{', '}', '%']) {
            let (plain, last) = part.split_at(part.len() - part.ends_with(['{', '}', '%']) as usize);
            key.push_str(plain);
            key.push_str(match last {
                "{" => "%7B",
                "}" => "%7D",
                "%" => "%25",
                _ => "",
            });
        }
        key.push('}');
        key.into_bytes().into()
    }
}

/// The name that was tagged so.
fn untag(tag: &str) -> Option<String> {
    let mut parts = tag.split('%');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let byte = u8::from_str_radix(part.get(..2)?, 16).ok()?;
        name.push(char::from(byte));
        name.push_str(&part[2..]);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_room_is_found_by_its_key(name in "\\PC{1,20}|[{}%a]{1,9}") {
            let keys = KeySchema::new("switchboard");
            let key = keys.room(&name);
            prop_assert_eq!(keys.room_of(&key), Some(name));
            let braces = |brace| key.iter().filter(|byte| **byte == brace).count();
            prop_assert_eq!((braces(b'{'), braces(b'}')), (1, 1));
        }
    }

    #[test]
    fn other_keys_are_no_rooms() {
        let keys = KeySchema::new("a");
        assert_eq!(keys.room_of(&keys.user("r")), None);
        assert_eq!(keys.room_of(&KeySchema::new("ab").room("r")), None);
        assert_eq!(keys.room_of(&keys.everyone()), None);
    }
}
