//! The call that makes a token for whoever tries a server with `--dev` out: its body and its answer.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::decode::{read, whole};
use crate::base::Name;
use crate::base::ids::is_name;
use crate::base::time::rfc3339;
use crate::codec::json::Object;
use crate::domain::reject::Reject;

/// Longest life of such a token, and that of one that says nothing of it, in seconds.
const SECONDS_MAX: u64 = 86_400;
const SECONDS: u64 = 3_600;

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedToken {
    /// The user.
    pub user: Name,
    /// The name that others see.
    pub name: Option<Name>,
    /// The role, such as `admin`.
    pub role: Option<Name>,
    /// Scopes, separated by spaces.
    pub scope: Option<Name>,
    /// Its life.
    pub seconds: u64,
}

/// The body of `POST /dev/token`, unread.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedTokenBody<'a> {
    #[serde(borrow)]
    sub: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    scope: Option<&'a RawValue>,
    #[serde(borrow)]
    seconds: Option<&'a RawValue>,
}

pub(super) fn wanted(body: WantedTokenBody<'_>) -> Result<WantedToken, Reject> {
    let text = |field, value| read::<Name>(field, value, "a text of 1 to 128 bytes", |name| is_name(name));
    let wanted = format!("a whole number from 1 to {SECONDS_MAX}");
    Ok(WantedToken {
        user: text("sub", body.sub)?.ok_or_else(|| Reject::invalid("sub is needed"))?,
        name: text("name", body.name)?,
        role: text("role", body.role)?,
        scope: text("scope", body.scope)?,
        seconds: whole("seconds", body.seconds, &wanted, 1..=SECONDS_MAX)?.unwrap_or(SECONDS),
    })
}

/// The answer with a token; the time of its end is in seconds since 1970.
pub fn dev_token(token: &str, expires_at: u64) -> Vec<u8> {
    let mut body = Vec::new();
    Object::begin(&mut body).string("token", token).string("expiresAt", &rfc3339(expires_at * 1_000)).end();
    body
}
