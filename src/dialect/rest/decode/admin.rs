//! Bodies of the calls of admins: blocks, bans and revoked tokens.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::users::{moment, name, required};
use super::{Name, Reject, RestCall, limits, read};
use crate::base::network::Network;
use crate::domain::revocation::{Revocation, Revoked};

/// Networks larger than these, by prefix of IPv4 and of IPv6, are taken for mistakes.
const PREFIX_MIN: (u8, u8) = (8, 16);

/// Numbers below are seconds since 1970 (until the year 5138), others milliseconds (from 1973 on).
const SECONDS_BELOW: u64 = 100_000_000_000;

/// The body of the calls that block, ban or revoke, unread. An unknown field is refused: a mistyped `until` would block for ever.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RevocationBody<'a> {
    #[serde(borrow)]
    until: Option<&'a RawValue>,
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
    #[serde(borrow)]
    address: Option<&'a RawValue>,
    #[serde(borrow)]
    jti: Option<&'a RawValue>,
    #[serde(borrow)]
    sub: Option<&'a RawValue>,
    #[serde(borrow)]
    issued_before: Option<&'a RawValue>,
}

/// The body of `PUT /rooms/:roomId/lock`, unread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LockBody<'a> {
    #[serde(borrow)]
    is_locked: Option<&'a RawValue>,
}

/// Locks or unlocks a room.
pub(super) fn lock(room: Name, body: &LockBody<'_>) -> Result<RestCall, Reject> {
    let is_locked = required("isLocked", read("isLocked", body.is_locked, "true or false", |_| true)?)?;
    Ok(RestCall::Lock { room, is_locked })
}

/// Revokes a subject that the path names.
pub(super) fn revoke(subject: Revoked, body: &RevocationBody<'_>) -> Result<RestCall, Reject> {
    check_fields(body, &[])?;
    revocation(subject, None, body)
}

/// Refuses fields of the other calls with this body.
fn check_fields(body: &RevocationBody<'_>, own: &[&str]) -> Result<(), Reject> {
    let given = [("address", body.address), ("jti", body.jti), ("sub", body.sub), ("issuedBefore", body.issued_before)];
    match given.iter().find(|(field, value)| value.is_some() && !own.contains(field)) {
        Some((field, _)) => Err(Reject::invalid(format!("{field} is no field of this call"))),
        None => Ok(()),
    }
}

/// Revokes the tokens that the body names.
pub(super) fn revoke_tokens(body: &RevocationBody<'_>) -> Result<RestCall, Reject> {
    check_fields(body, &["jti", "sub", "issuedBefore"])?;
    let (id, user) = (name("jti", body.jti)?, name("sub", body.sub)?);
    let issued_before = instant("issuedBefore", body.issued_before)?.map(|ms| ms.div_ceil(1000));
    match (id, user) {
        (Some(_), None) if issued_before.is_some() => Err(Reject::invalid("issuedBefore goes with sub, not with jti")),
        (Some(id), None) => revocation(Revoked::Token(id), None, body),
        (None, Some(user)) => revocation(Revoked::TokensOf(user), issued_before, body),
        _ => Err(Reject::invalid("One of jti and sub is needed")),
    }
}

/// Blocks the address that the body names.
pub(super) fn block_address(body: &RevocationBody<'_>) -> Result<RestCall, Reject> {
    check_fields(body, &["address"])?;
    let text = required("address", name("address", body.address)?)?;
    revocation(Revoked::Address(network(&text)?), None, body)
}

/// Reads an address or a network.
pub(super) fn network(text: &str) -> Result<Network, Reject> {
    let wanted = || Reject::invalid("address must be an IP address, or a network such as 192.0.2.0/24");
    let mut network = Network::parse(text).ok_or_else(wanted)?;
    // Clients of an address in IPv6 form are known by the IPv4 address in it.
    let canonical = network.address.to_canonical();
    if canonical != network.address {
        let prefix = network.prefix.checked_sub(96).ok_or_else(wanted)?;
        network = Network { address: canonical, prefix };
    }
    let least = if network.address.is_ipv4() { PREFIX_MIN.0 } else { PREFIX_MIN.1 };
    if network.prefix < least {
        return Err(Reject::invalid(format!("address must not be larger than a /{least} network")));
    }
    Ok(network.normalized())
}

/// A moment, in milliseconds since 1970. Smaller numbers are seconds, as tokens have them.
pub(super) fn instant(field: &str, value: Option<&RawValue>) -> Result<Option<u64>, Reject> {
    let is_date = value.is_some_and(|value| value.get().starts_with('"'));
    let moment = moment(field, value)?;
    Ok(moment.map(|number| if !is_date && number < SECONDS_BELOW { number * 1_000 } else { number }))
}

fn revocation(subject: Revoked, issued_before: Option<u64>, body: &RevocationBody<'_>) -> Result<RestCall, Reject> {
    let wanted = format!("a string of 1 to {} bytes without control characters", limits::REASON_BYTES);
    let reason = read::<Box<str>>("reason", body.reason, &wanted, |text| {
        (1..=limits::REASON_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
    })?;
    let until = instant("until", body.until)?;
    let by = Name::from("");
    Ok(RestCall::Revoke(Box::new(Revocation { subject, until, reason, issued_before, made_at: 0, by })))
}

#[cfg(test)]
mod tests {
    use super::super::{RestCallRoute, decode};
    use crate::dialect::rest::RestCallKind;

    #[test]
    fn unknown_and_foreign_fields_are_refused_by_name() {
        let table = [
            (RestCallKind::BlockUser, r#"{"untill":"2125-01-09T21:30:00.000Z"}"#, "untill"),
            (RestCallKind::BlockUser, r#"{"jti":"t"}"#, "jti is no field of this call"),
            (RestCallKind::RevokeTokens, r#"{"sub":"u","address":"192.0.2.1"}"#, "address is no field of this call"),
            (RestCallKind::BlockAddress, r#"{"address":"192.0.2.1","sub":"u"}"#, "sub is no field of this call"),
            (RestCallKind::Lock, r#"{"isLocked":true,"locked":true}"#, "locked"),
        ];
        for (kind, body, expected) in table {
            let route = RestCallRoute { kind, parameter: "u".into(), second: "".into() };
            let refusal = decode(&route, None, body.as_bytes()).expect_err(body);
            assert!(refusal.status == 422 && refusal.reject.text.contains(expected), "{body}: {refusal:?}");
        }
    }
}
