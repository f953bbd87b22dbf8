//! Making tokens by the shared secret, for the command line and for tests. Times are arguments.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;

/// What a new token is to say.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct NewToken<'a> {
    /// `sub`: the user.
    #[serde(rename = "sub")]
    pub user: &'a str,
    /// `name`: the user name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// `role`, such as `admin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'a str>,
    /// `scope`: words with spaces between them, such as `push`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'a str>,
    /// `iat` in Unix seconds.
    #[serde(rename = "iat")]
    pub issued_at: u64,
    /// `exp` in Unix seconds; without it the token is good forever, where that is allowed.
    #[serde(rename = "exp", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

/// Signs a token with HS256. It says what it is told to: whether a verifier will accept that is the verifier's rule.
pub fn sign_hs256(secret: &str, token: &NewToken<'_>) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(Algorithm::HS256), token, &key).expect("texts and numbers are JSON, and HMAC takes any key")
}
