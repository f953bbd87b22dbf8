//! Identifiers of connections, rooms and users.
//!
//! A connection's id contains the node, shard and slot that hold the connection, so routing to it needs no table. Its
//! 96 random bits make it unguessable and distinguish successive connections in one slot.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::base::rng::Rng;

/// Characters of a [`ConnectionId`] as text.
pub const CONNECTION_ID_CHARS: usize = 24;

/// Random bytes in a [`ConnectionId`].
pub const NONCE_BYTES: usize = 12;

/// The random part of a connection's id.
pub type Nonce = [u8; NONCE_BYTES];

/// Upper bound of slot numbers: of connections, of Engine.IO sessions and of Socket.IO peers, each.
pub const SLOTS_MAX: u32 = 1 << 22;

/// Tag bit of the slot of an Engine.IO session.
pub const SESSION: u32 = 1 << 22;

/// Tag bit of the slot of a Socket.IO peer (one namespace of a session).
pub const PEER: u32 = 1 << 23;

/// Cluster-wide id of a connection: node (16 bits), shard (8), slot (24), random part (96). A connection is a `raw`
/// WebSocket, an HTTP request, or a Socket.IO client's connection to a namespace. Engine.IO sessions have ids of the
/// same form.
///
/// As text: 24 characters of base64url (RFC 4648 §5), sent as `connectionId`, `socketId` and Socket.IO's `sid`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId([u8; 18]);

/// Location of a connection: node, shard and slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionPlace {
    /// Number of the node in the cluster; 0 without a cluster.
    pub node: u16,
    /// Number of the shard in its node.
    pub shard: u8,
    /// Slot in the shard, below [`SLOTS_MAX`]; with the tag bit [`SESSION`] or [`PEER`] where it is one.
    pub slot: u32,
}

impl ConnectionId {
    /// The id of the connection at `place` with the random part `nonce`.
    pub fn new(place: ConnectionPlace, nonce: Nonce) -> Self {
        debug_assert!(place.slot < 1 << 24, "invariant: a slot with its tag bit has 24 bits");
        let mut bytes = [0; 18];
        bytes[0..2].copy_from_slice(&place.node.to_be_bytes());
        bytes[2] = place.shard;
        bytes[3..6].copy_from_slice(&place.slot.to_be_bytes()[1..4]);
        bytes[6..].copy_from_slice(&nonce);
        Self(bytes)
    }

    /// Parses the text form; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 18];
        if text.len() != CONNECTION_ID_CHARS {
            return None;
        }
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(18) => Some(Self(bytes)),
            _ => None,
        }
    }

    /// The id with these bytes, as [`ConnectionId::bytes`] returns them.
    pub fn from_bytes(bytes: [u8; 18]) -> Self {
        Self(bytes)
    }

    /// The binary form: place, then random part.
    pub fn bytes(&self) -> [u8; 18] {
        self.0
    }

    /// The location of the connection.
    pub fn place(&self) -> ConnectionPlace {
        let b = &self.0;
        ConnectionPlace {
            node: u16::from_be_bytes([b[0], b[1]]),
            shard: b[2],
            slot: u32::from_be_bytes([0, b[3], b[4], b[5]]),
        }
    }

    /// Whether the id is that of a Socket.IO peer.
    pub fn is_peer(&self) -> bool {
        self.0[3] & (PEER >> 16) as u8 != 0
    }

    /// The random part of the id.
    pub fn nonce(&self) -> Nonce {
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&self.0[6..]);
        nonce
    }

    /// The text form, on the stack.
    pub fn text(&self) -> IdText {
        let mut text = [b'A'; CONNECTION_ID_CHARS];
        URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).expect("invariant: 18 bytes are 24 characters of base64");
        IdText(text)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        write!(f, "{}/{}/{}", place.node, place.shard, place.slot)
    }
}

/// The text form of a [`ConnectionId`].
#[derive(Clone, Copy)]
pub struct IdText([u8; CONNECTION_ID_CHARS]);

impl IdText {
    /// The characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("invariant: base64 is ASCII")
    }
}

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// `chars` random characters of lower-case base32, 5 bits each.
pub fn random_word(rng: &mut Rng, chars: usize) -> String {
    (0..chars).map(|_| char::from(BASE32[(rng.next_u32() & 31) as usize])).collect()
}

/// A room id chosen by the server: 12 characters of lower-case base32, 60 random bits.
pub fn random_room_id(rng: &mut Rng) -> String {
    random_word(rng, 12)
}

/// Whether `name` is valid as a room, user or peer name: 1–128 bytes, no control characters.
pub fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_where_its_connection_lives() {
        let mut rng = Rng::from_seed(1);
        let place = ConnectionPlace { node: 0xBEEF, shard: 7, slot: 0x00AB_CDEF };
        let id = ConnectionId::new(place, rng.nonce());
        assert_eq!(id.place(), place);
        assert_eq!(ConnectionId::parse(&id.to_string()), Some(id));
        assert_eq!(id.to_string().len(), CONNECTION_ID_CHARS);
    }

    #[test]
    fn an_id_says_what_it_is_of() {
        let id = |slot| ConnectionId::new(ConnectionPlace { node: 1, shard: 2, slot }, [7; NONCE_BYTES]);
        assert!(id(PEER | 5).is_peer() && id(PEER | (SLOTS_MAX - 1)).is_peer());
        assert!(!id(5).is_peer() && !id(SESSION | 5).is_peer() && !id(SLOTS_MAX - 1).is_peer());
        assert_eq!(id(SESSION | 5).place().slot, SESSION | 5);
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in ["", "abc", "????????????????????????", "AAAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(ConnectionId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_have_bounds() {
        assert!(is_name("r") && is_name(&"r".repeat(128)) && is_name("räume & möbel"));
        assert!(!is_name("") && !is_name(&"r".repeat(129)) && !is_name("a\nb") && !is_name("a\u{7f}"));
    }

    #[test]
    fn made_room_ids_are_twelve_characters_of_base32() {
        let id = random_room_id(&mut Rng::from_seed(3));
        assert_eq!(id.len(), 12);
        assert!(id.bytes().all(|b| BASE32.contains(&b)));
    }
}
