//! API keys: the credentials of an application's backends for REST calls.
//!
//! A key permits some actions, in all rooms or in those whose id begins with one of its prefixes, until it expires or is
//! revoked. All shards have all keys: they are part of the list of revocations, because they are stored and spread the same
//! way. The server knows a key by its hash only.

use std::fmt::Write;
use std::sync::Arc;

use crate::base::Name;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::domain::access::{Identity, Roles};
use crate::domain::reject::{Code, Reject};
use crate::domain::revocation::{Revocation, Revoked};

/// The beginning of the user id that stands for a key, as the sender of its messages and in the audit log.
const USER_PREFIX: &str = "key:";

/// The hash of a key.
pub type KeyHash = [u8; 32];

/// An action that a key can permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAction {
    /// Send messages to rooms and users.
    Publish,
    /// Make, change and close rooms, and choose their members.
    Rooms,
    /// Read rooms, their messages and members.
    Read,
    /// All of these, and what admins may do.
    Admin,
}

impl KeyAction {
    /// All actions.
    pub const ALL: [Self; 4] = [Self::Publish, Self::Rooms, Self::Read, Self::Admin];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Rooms => "rooms",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    /// The action of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }
}

/// The actions that a key permits; none for a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyActions(u8);

impl KeyActions {
    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether an action is permitted.
    pub fn permit(self, action: KeyAction) -> bool {
        self.has(action) || self.has(KeyAction::Admin)
    }

    fn has(self, action: KeyAction) -> bool {
        self.0 & 1 << action as u8 != 0
    }

    /// The actions, in a fixed order.
    pub fn list(self) -> impl Iterator<Item = KeyAction> {
        KeyAction::ALL.into_iter().filter(move |action| self.has(*action))
    }
}

impl FromIterator<KeyAction> for KeyActions {
    fn from_iter<I: IntoIterator<Item = KeyAction>>(actions: I) -> Self {
        Self(actions.into_iter().fold(0, |bits, action| bits | 1 << action as u8))
    }
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id, which is no secret.
    pub id: Name,
    /// Its hash.
    pub hash: KeyHash,
    /// The hash before it was rotated, and when that expires, in milliseconds since 1970.
    pub former: Option<(KeyHash, u64)>,
    /// A name for people.
    pub label: Option<Box<str>>,
    /// What it permits.
    pub actions: KeyActions,
    /// How the ids of its rooms begin; empty: all rooms.
    pub rooms: Vec<Box<str>>,
}

impl ApiKey {
    /// All but the id as one text, which is stored as the reason of its entry.
    pub fn terms(&self) -> Box<str> {
        let mut text = hex(&self.hash);
        let label = self.label.as_deref().unwrap_or_default();
        let former = self.former.map(|(hash, until)| format!("{} {until}", hex(&hash))).unwrap_or_default();
        let _ = write!(text, "\n{former}\n{}\n{label}", self.actions.0);
        for prefix in &self.rooms {
            text.push('\n');
            text.push_str(prefix);
        }
        text.into()
    }

    /// The key of an entry; `None` if the entry is of something else, or of a later version.
    pub fn of(entry: &Revocation) -> Option<Self> {
        let Revoked::Key(id) = &entry.subject else { return None };
        let mut lines = entry.reason.as_deref()?.split('\n');
        let hash = from_hex(lines.next()?)?;
        let former = lines.next()?;
        let former = match former.split_once(' ') {
            Some((hash, until)) => Some((from_hex(hash)?, until.parse().ok()?)),
            None => None,
        };
        let actions = KeyActions(lines.next()?.parse().ok()?);
        let label = lines.next().filter(|label| !label.is_empty()).map(Into::into);
        Some(Self { id: id.clone(), hash, former, label, actions, rooms: lines.map(Into::into).collect() })
    }

    /// The user that stands for the key.
    pub fn identity(&self) -> Identity {
        let admin = self.actions.permit(KeyAction::Admin);
        let roles = Roles { admin, push: self.actions.permit(KeyAction::Publish), guest: false };
        Identity::of_key(&format!("{USER_PREFIX}{}", self.id), self.label.as_deref(), roles, self.actions)
    }

    /// Checks that the key is for all rooms of a call. A call that names no room is for keys of all rooms only.
    ///
    /// # Errors
    /// It is not.
    pub fn check_rooms<'a>(&self, named: impl IntoIterator<Item = &'a Name>) -> Result<(), Reject> {
        if self.rooms.is_empty() {
            return Ok(());
        }
        let is_own = |room: &Name| self.rooms.iter().any(|prefix| room.starts_with(&**prefix));
        let mut named = named.into_iter().peekable();
        match named.peek().is_some() && named.all(is_own) {
            true => Ok(()),
            false => {
                let text = format!("The key is for rooms whose id begins with {} only", self.rooms.join(" or "));
                Err(Reject::new(Code::Forbidden, text))
            }
        }
    }
}

/// The id of the key that a user stands for.
pub fn key_id(by: &Identity) -> Option<&str> {
    if by.key_actions().is_empty() { None } else { by.user().strip_prefix(USER_PREFIX) }
}

fn hex(hash: &KeyHash) -> String {
    hash.iter().fold(String::with_capacity(160), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<KeyHash> {
    let mut hash = KeyHash::default();
    if text.len() != 2 * hash.len() || !text.is_ascii() {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

/// Keys by hash, and their entries by id.
pub(super) struct ApiKeys {
    entries: Map<Name, Arc<Revocation>>,
    by_hash: Map<KeyHash, Arc<ApiKey>>,
}

impl ApiKeys {
    pub(super) fn new(seed: u64) -> Self {
        Self { entries: map(seed), by_hash: map(seed) }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Arc<Revocation>> {
        self.entries.values()
    }

    pub(super) fn insert(&mut self, entry: Arc<Revocation>) {
        if let (Some(key), Revoked::Key(id)) = (ApiKey::of(&entry), &entry.subject) {
            let key = Arc::new(key);
            if let Some((former, _)) = key.former {
                self.by_hash.insert(former, key.clone());
            }
            self.by_hash.insert(key.hash, key);
            self.entries.insert(id.clone(), entry.clone());
        }
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Arc<Revocation>> {
        let entry = self.entries.remove(id)?;
        if let Some(key) = ApiKey::of(&entry) {
            self.by_hash.remove(&key.hash);
            key.former.map(|(former, _)| self.by_hash.remove(&former));
        }
        Some(entry)
    }

    /// The key of an id that is in force, and its entry.
    pub(super) fn get(&self, now: Now, id: &str) -> Option<(ApiKey, &Arc<Revocation>)> {
        let entry = self.entries.get(id).filter(|entry| entry.is_in_force(now))?;
        Some((ApiKey::of(entry)?, entry))
    }

    /// The key of a hash that is in force. `is_same` compares in constant time.
    pub(super) fn find(
        &self,
        now: Now,
        hash: &KeyHash,
        is_same: fn(&KeyHash, &KeyHash) -> bool,
    ) -> Option<&Arc<ApiKey>> {
        let key = self.by_hash.get(hash)?;
        let is_present = is_same(&key.hash, hash)
            || key.former.is_some_and(|(former, until)| is_same(&former, hash) && until > now.wall);
        let is_in_force = self.entries.get(&key.id).is_some_and(|entry| entry.is_in_force(now));
        (is_present && is_in_force).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { mono: 1_000, wall: 1_750_000_000_000 };

    fn key(id: &str, hash: u8, rooms: &[&str]) -> ApiKey {
        ApiKey {
            id: id.into(),
            hash: [hash; 32],
            former: None,
            label: Some("billing".into()),
            actions: [KeyAction::Publish, KeyAction::Read].into_iter().collect(),
            rooms: rooms.iter().map(|prefix| (*prefix).into()).collect(),
        }
    }

    fn entry(key: &ApiKey, until: Option<u64>) -> Arc<Revocation> {
        let (subject, reason) = (Revoked::Key(key.id.clone()), Some(key.terms()));
        Arc::new(Revocation { subject, until, reason, issued_before: None, made_at: NOW.wall, by: "root".into() })
    }

    #[test]
    fn key_of_an_entry_is_the_one_that_was_stored() {
        let mut stored = key("k", 7, &["order-", "tea"]);
        assert_eq!(ApiKey::of(&entry(&stored, None)).as_ref(), Some(&stored));
        stored.former = Some(([9; 32], 5));
        stored.label = None;
        stored.rooms = Vec::new();
        assert_eq!(ApiKey::of(&entry(&stored, None)).as_ref(), Some(&stored));
        for text in ["", "x", "00\n\n1\n", &"g".repeat(64)] {
            let bad = Revocation { reason: Some(text.into()), ..(*entry(&stored, None)).clone() };
            assert_eq!(ApiKey::of(&bad), None, "{text}");
        }
    }

    #[test]
    fn key_is_found_while_it_is_in_force() {
        let mut keys = ApiKeys::new(1);
        let found = |keys: &ApiKeys, at: u64, hash: u8| {
            let now = Now { wall: at, ..NOW };
            keys.find(now, &[hash; 32], |one, other| one == other).map(|key| key.id.to_string())
        };
        keys.insert(entry(&key("k", 7, &[]), Some(NOW.wall + 10)));
        assert_eq!(found(&keys, NOW.wall, 7).as_deref(), Some("k"));
        assert_eq!([found(&keys, NOW.wall, 8), found(&keys, NOW.wall + 10, 7)], [None, None]);
        // Rotated: the former one is good for a while.
        keys.remove("k");
        let rotated = ApiKey { former: Some(([7; 32], NOW.wall + 5)), ..key("k", 8, &[]) };
        keys.insert(entry(&rotated, None));
        assert_eq!(found(&keys, NOW.wall, 8).as_deref(), Some("k"));
        assert_eq!(
            [found(&keys, NOW.wall + 4, 7).as_deref(), found(&keys, NOW.wall + 5, 7).as_deref()],
            [Some("k"), None]
        );
        keys.remove("k");
        assert_eq!([found(&keys, NOW.wall, 8), found(&keys, NOW.wall, 7)], [None, None]);
        assert_eq!(keys.len(), 0);
    }

    #[test]
    fn key_of_some_rooms_is_for_no_others() {
        let names = |list: &[&str]| list.iter().map(|name| Name::from(*name)).collect::<Vec<_>>();
        let some = key("k", 7, &["order-", "tea"]);
        let table = [
            (names(&["order-1", "tea"]), true),
            (names(&["order-1", "orde"]), false),
            (names(&["Order-1"]), false),
            (names(&[]), false),
        ];
        for (rooms, is_allowed) in table {
            assert_eq!(some.check_rooms(&rooms).is_ok(), is_allowed, "{rooms:?}");
            assert!(key("k", 7, &[]).check_rooms(&rooms).is_ok());
        }
    }

    #[test]
    fn admin_key_permits_all_actions() {
        let admin: KeyActions = [KeyAction::Admin].into_iter().collect();
        assert!(KeyAction::ALL.into_iter().all(|action| admin.permit(action)));
        let some = key("k", 7, &[]).actions;
        assert_eq!(KeyAction::ALL.map(|action| some.permit(action)), [true, false, true, false]);
        assert_eq!(some.list().map(KeyAction::as_str).collect::<Vec<_>>(), ["publish", "read"]);
        assert_eq!(key_id(&key("k", 7, &[]).identity()), Some("k"));
        assert_eq!(key_id(&Identity::new("key:k", None, None, Roles::default())), None);
    }
}
