//! Signing of tokens with the shared secret, for the command line and tests. Times are arguments.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;

/// Claims of a new token.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct NewToken<'a> {
    /// `sub`: user id.
    #[serde(rename = "sub")]
    pub user: &'a str,
    /// `name`: user name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// `role`, such as `admin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'a str>,
    /// `scope`: words separated by spaces, such as `push`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'a str>,
    /// `iat` in Unix seconds.
    #[serde(rename = "iat")]
    pub issued_at: u64,
    /// `exp` in Unix seconds; `None`: the token does not expire.
    #[serde(rename = "exp", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

/// Signs a token with HS256. The claims are not validated.
pub fn sign_hs256(secret: &str, token: &NewToken<'_>) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(Algorithm::HS256), token, &key).expect("texts and numbers are JSON, and HMAC takes any key")
}
