//! Answers to the calls of admins: blocks, bans and revoked tokens.

use super::{Object, Reply, RestCall, message, rfc3339};
use crate::dialect::rest::keys;
use crate::domain::hook::DeadLetter;
use crate::domain::revocation::{Revocation, Revoked, RevokedKind};

/// Writes the answer to a call of an admin. Returns its status, or `None` for all other calls.
pub(super) fn encode(out: &mut Vec<u8>, call: &RestCall, reply: &Reply) -> Option<u16> {
    match (call, reply) {
        (RestCall::Revoke(revocation), Reply::Done) => entry(out, revocation),
        (RestCall::Unrevoke(_) | RestCall::ReplayWebhook(_), Reply::Done) => return Some(204),
        (RestCall::DeadLetters, Reply::DeadLetters(letters)) => dead_letters(out, letters),
        (RestCall::MakeKey(new), Reply::Done) => return keys::made(out, new),
        (RestCall::RemoveUser { .. }, Reply::Done) => message(out, "Removed from room"),
        (RestCall::Lock { room, is_locked }, Reply::Done) => {
            Object::begin(out).string("roomId", room).bool("isLocked", *is_locked).end();
        }
        (RestCall::Revocations { kind, .. }, Reply::Revocations(list, is_more)) => {
            let field = match kind {
                RevokedKind::User | RevokedKind::Address => "blocked",
                RevokedKind::Token | RevokedKind::TokensOf => "revoked",
                RevokedKind::Member => "bans",
                RevokedKind::Key => "keys",
            };
            let mut object = Object::begin(out);
            object.list(field, list, |out, revocation| entry(out, revocation));
            // Where the next page begins.
            if let Some(last) = list.last().filter(|_| *is_more) {
                object.string("next", &last.subject.page_name());
            }
            object.end();
        }
        _ => return None,
    }
    Some(200)
}

/// The list of events that were given up.
fn dead_letters(out: &mut Vec<u8>, letters: &[DeadLetter]) {
    Object::begin(out)
        .list("deadLetters", letters, |out, letter| {
            Object::begin(out)
                .string("endpoint", &letter.endpoint)
                .string("deadSince", &rfc3339(letter.dead_at))
                .raw("event", &letter.body)
                .end();
        })
        .end();
}

fn entry(out: &mut Vec<u8>, revocation: &Revocation) {
    if revocation.subject.kind() == RevokedKind::Key {
        return keys::entry(out, revocation, None);
    }
    let mut object = Object::begin(out);
    match &revocation.subject {
        Revoked::User(user) => object.string("userId", user),
        Revoked::Token(id) => object.string("jti", id),
        Revoked::TokensOf(user) => object.string("sub", user),
        Revoked::Member { room, user } => object.string("roomId", room).string("userId", user),
        Revoked::Address(network) => object.string("address", &network.to_string()),
        Revoked::Key(id) => object.string("id", id),
    };
    if let Some(moment) = revocation.issued_before {
        object.string("issuedBefore", &rfc3339(moment.saturating_mul(1000)));
    }
    match revocation.until {
        Some(until) => object.string("until", &rfc3339(until)),
        None => object.raw("until", "null"),
    };
    match &revocation.reason {
        Some(reason) => object.string("reason", reason),
        None => object.raw("reason", "null"),
    };
    if revocation.is_by_attempts() {
        object.raw("createdAt", "null").raw("createdBy", "null");
    } else {
        object.string("createdAt", &rfc3339(revocation.made_at)).string("createdBy", &revocation.by);
    }
    object.end();
}
