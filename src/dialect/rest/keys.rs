//! Calls that make and list API keys.

use std::sync::Arc;

use crate::base::Name;
use crate::base::time::rfc3339;
use crate::codec::json::{self, Object};
use crate::domain::api_key::{ApiKey, KeyActions};
use crate::domain::revocation::Revocation;

/// A key that is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewKey {
    /// The key that gets another secret, and how long the former one is good, in milliseconds. The rest stays.
    pub rotated: Option<(Name, u64)>,
    /// A name for people.
    pub label: Option<Box<str>>,
    /// What it permits.
    pub actions: KeyActions,
    /// How the ids of its rooms begin; empty: all rooms.
    pub rooms: Vec<Box<str>>,
    /// Its end in milliseconds since 1970; `None`: it is good until it is revoked.
    pub until: Option<u64>,
    /// The key, once it is made.
    pub made: Option<MadeKey>,
}

/// A key that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeKey {
    /// The key itself, which is shown once.
    pub secret: Box<str>,
    /// Its entry.
    pub entry: Arc<Revocation>,
}

impl NewKey {
    /// The key in the audit log.
    pub(super) fn subject(&self) -> String {
        match (&self.made, &self.rotated) {
            (Some(made), _) => made.entry.subject.to_string(),
            (None, Some((id, _))) => format!("key {id}"),
            (None, None) => String::new(),
        }
    }
}

/// Writes a new key. Returns its status, or `None` if it was not made.
pub(super) fn made(out: &mut Vec<u8>, new: &NewKey) -> Option<u16> {
    let made = new.made.as_ref()?;
    entry(out, &made.entry, Some(&made.secret));
    Some(if new.rotated.is_some() { 200 } else { 201 })
}

/// Writes a key, with its secret if it is new.
pub(super) fn entry(out: &mut Vec<u8>, entry: &Revocation, secret: Option<&str>) {
    let Some(key) = ApiKey::of(entry) else {
        debug_assert!(false, "invariant: the list has no entries of keys that are not understood");
        return;
    };
    let mut object = Object::begin(out);
    object.string("id", &key.id).optional("key", secret).optional("name", key.label.as_deref());
    object.list("actions", key.actions.list(), |out, action| json::string(out, action.as_str()));
    object.list("roomPrefixes", &key.rooms, |out, prefix| json::string(out, prefix));
    match entry.until {
        Some(until) => object.string("expiresAt", &rfc3339(until)),
        None => object.raw("expiresAt", "null"),
    };
    object.string("createdAt", &rfc3339(entry.made_at)).string("createdBy", &entry.by).end();
}
