//! Tokens that say who a client is.

use jsonwebtoken::{EncodingKey, Header};

/// A token of `user`, signed with `secret` (HS256), that holds for decades.
pub fn sign(secret: &str, user: &str) -> String {
    let claims = serde_json::json!({ "sub": user, "exp": 4_000_000_000u64 });
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap_or_default()
}
