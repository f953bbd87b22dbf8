//! The token signer: HS256 by `jsonwebtoken`, independent of the server's own code.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

/// The secret of every server that tests and benches start.
pub const SECRET: &str = "a secret that only these tests know, long enough";

/// A token of exactly these claims.
pub fn sign(claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("claims are JSON")
}

/// A token of `user` that is valid for an hour from now, with further claims.
pub fn token(user: &str, claims: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let mut all = json!({ "sub": user, "iat": now, "exp": now + 3600 });
    if let (Some(all), Some(more)) = (all.as_object_mut(), claims.as_object()) {
        all.extend(more.clone());
    }
    sign(&all)
}
