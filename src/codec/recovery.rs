//! Recovery tokens: credentials by which a client resumes a lost connection.
//!
//! A token is the connection's id and a keyed hash of it, as base64url. So no state is needed for an open connection,
//! the token tells where its session is, and the id, which other clients see, is not sufficient to forge one. The store
//! identifies a token by the connection's place and 208 bits of its SHA-256: sessions of connections opened together
//! are adjacent there, and many of them are written to few pages.

use std::fmt;

use aws_lc_rs::{constant_time, digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::base::ids::ConnectionId;

/// Bytes of a connection id.
const ID_BYTES: usize = 18;

/// Bytes of an id before its random part: the place.
const PLACE_BYTES: usize = 6;

/// Characters of a token that encode [`PLACE_BYTES`].
const PLACE_CHARS: usize = 8;

/// Bytes of a token: id and 144 bits of hash.
const TOKEN_BYTES: usize = 2 * ID_BYTES;

/// A shard's key for recovery tokens, new after each start.
pub struct RecoveryKey(hmac::Key);

impl RecoveryKey {
    /// A key from random bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The token of a connection. The result is always the same.
    pub fn token(&self, connection: ConnectionId) -> String {
        let mut bytes = [0; TOKEN_BYTES];
        bytes[..ID_BYTES].copy_from_slice(&connection.bytes());
        let hash = hmac::sign(&self.0, &connection.bytes());
        bytes[ID_BYTES..].copy_from_slice(&hash.as_ref()[..ID_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey")
    }
}

/// The connection of a token, not verified; `None` when the text is no token.
pub fn connection_of(token: &str) -> Option<ConnectionId> {
    let mut bytes = [0; TOKEN_BYTES];
    if URL_SAFE_NO_PAD.decode_slice(token, &mut bytes) != Ok(TOKEN_BYTES) {
        return None;
    }
    bytes.first_chunk().copied().map(ConnectionId::from_bytes)
}

/// Whether two tokens are the same, compared in a time that does not depend on where they differ.
pub fn is_same(token: &str, other: &str) -> bool {
    constant_time::verify_slices_are_equal(token.as_bytes(), other.as_bytes()).is_ok()
}

/// The hash that identifies a token in the store.
pub fn hash(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    let (place, rest) = hash.split_at_mut(PLACE_BYTES);
    let text = token.as_bytes().get(..PLACE_CHARS).unwrap_or_default();
    // A malformed token yields the place zero; no session is stored under its hash.
    let _ = URL_SAFE_NO_PAD.decode_slice(text, place);
    rest.copy_from_slice(&digest::digest(&digest::SHA256, token.as_bytes()).as_ref()[..32 - PLACE_BYTES]);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ConnectionPlace;
    use crate::base::rng::Rng;

    #[test]
    fn a_token_names_its_connection_and_cannot_be_made_without_the_key() {
        let id = ConnectionId::new(ConnectionPlace { node: 1, shard: 2, slot: 3 }, Rng::from_seed(1).nonce());
        let token = RecoveryKey::new(&[1; 32]).token(id);
        assert_eq!((token.len(), connection_of(&token)), (48, Some(id)));
        assert_eq!(token, RecoveryKey::new(&[1; 32]).token(id));
        assert_ne!(token, RecoveryKey::new(&[2; 32]).token(id));
        assert_ne!(hash(&token), hash(&token[1..]));
        assert!(is_same(&token, &token) && !is_same(&token, &token[1..]) && !is_same(&token, &token.to_lowercase()));
        assert_eq!(hash(&token)[..6], id.bytes()[..6], "neighbours lie together");
        for wrong in ["", "x", &token[1..], &format!("{token}A"), &"é".repeat(24)] {
            assert_eq!(connection_of(wrong), None, "{wrong:?}");
        }
    }
}
