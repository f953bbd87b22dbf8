//! Time-limited TURN credentials of coturn's REST scheme (draft-uberti-behave-turn-rest-00 §2.2): the user name
//! contains the expiry, the password is an HMAC of the user name.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Secret shared with the TURN server.
#[derive(Clone)]
pub struct TurnSecret(Arc<hmac::Key>);

impl TurnSecret {
    /// A secret from its text.
    pub fn new(secret: &str) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes())))
    }
}

impl fmt::Debug for TurnSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TurnSecret")
    }
}

/// User name and password for `user`, valid until `expires_at` (seconds since 1970).
pub fn credentials(secret: &TurnSecret, user: &str, expires_at: u64) -> (String, String) {
    let username = format!("{expires_at}:{user}");
    let signature = hmac::sign(&secret.0, username.as_bytes());
    let credential = STANDARD.encode(signature.as_ref());
    (username, credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_what_coturn_computes() {
        // printf '1433895918:alice' | openssl dgst -sha1 -hmac north -binary | base64
        let (username, credential) = credentials(&TurnSecret::new("north"), "alice", 1_433_895_918);
        assert_eq!(username, "1433895918:alice");
        assert_eq!(credential, "RqMvcGPYTJMGThVLSi4amT4zFtI=");
    }
}
