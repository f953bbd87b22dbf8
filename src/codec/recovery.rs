//! Recovery tokens: what a client shows to go on where an earlier connection was lost.
//!
//! A token is the connection's id and a keyed hash of it, as base64url. So nothing has to be kept for a connection that
//! lives, whoever finds the session is found from the token, and nobody can make one of an id, which others see as well.
//! The store knows a token by its connection's place and 208 bits of its SHA-256: sessions of connections that came together
//! lie together there, and many are written into few pages.

use std::fmt;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::base::ids::ConnectionId;

/// Bytes of a connection's id.
const ID_BYTES: usize = 18;

/// Bytes of an id that say where its connection is, and characters of a token that these are.
const PLACE_BYTES: usize = 6;

/// See [`PLACE_BYTES`].
const PLACE_CHARS: usize = 8;

/// Bytes of a token: the id, and 144 bits of hash.
const TOKEN_BYTES: usize = 2 * ID_BYTES;

/// What a shard makes its connections' tokens with; another after each start.
pub struct RecoveryKey(hmac::Key);

impl RecoveryKey {
    /// From random bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The token of a connection; always the same one.
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

/// The connection that a token is of; `None` when it is no token.
pub fn connection_of(token: &str) -> Option<ConnectionId> {
    let mut bytes = [0; TOKEN_BYTES];
    if URL_SAFE_NO_PAD.decode_slice(token, &mut bytes) != Ok(TOKEN_BYTES) {
        return None;
    }
    bytes.first_chunk().copied().map(ConnectionId::from_bytes)
}

/// What the store knows a token by.
pub fn hash(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    let (place, rest) = hash.split_at_mut(PLACE_BYTES);
    let text = token.as_bytes().get(..PLACE_CHARS).unwrap_or_default();
    // What is no token has no place, and opens nothing either.
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
        assert_eq!(hash(&token)[..6], id.bytes()[..6], "neighbours lie together");
        for wrong in ["", "x", &token[1..], &format!("{token}A"), &"é".repeat(24)] {
            assert_eq!(connection_of(wrong), None, "{wrong:?}");
        }
    }
}
