//! Revocations: users, tokens, addresses and members of rooms that may not use the server, for a time or for good. The same list
//! has the API keys that may.
//!
//! Every shard has the whole list ([`Revocations`]), so that a check costs one lookup and needs no other thread. A change
//! goes to the owner of the list, which stores it, and from there to all shards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::Name;
use crate::base::map::{Map, map};
use crate::base::network::Network;
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::api_key::{ApiKey, ApiKeys, KeyHash};
use crate::domain::reject::{Code, Reject};

/// Separates room and user in the text of a subject; no name contains it.
const SEPARATOR: char = '\n';

/// The subject of a revocation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revoked {
    /// A user, with whatever token.
    User(Name),
    /// The token with this `jti`.
    Token(Name),
    /// Tokens of this `sub` that were issued before a moment.
    TokensOf(Name),
    /// A user in one room.
    Member {
        /// The room.
        room: Name,
        /// The user.
        user: Name,
    },
    /// An address or a network.
    Address(Network),
    /// An [API key](crate::domain::api_key) of this id. It is not revoked but in force while it is in the list.
    Key(Name),
}

/// A kind of subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokedKind {
    /// See [`Revoked::User`].
    User,
    /// See [`Revoked::Token`].
    Token,
    /// See [`Revoked::TokensOf`].
    TokensOf,
    /// See [`Revoked::Member`].
    Member,
    /// See [`Revoked::Address`].
    Address,
    /// See [`Revoked::Key`].
    Key,
}

impl RevokedKind {
    const ALL: [Self; 6] = [Self::User, Self::Token, Self::TokensOf, Self::Member, Self::Address, Self::Key];

    /// The kind as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Token => "token",
            Self::TokensOf => "tokens",
            Self::Member => "member",
            Self::Address => "address",
            Self::Key => "key",
        }
    }
}

impl Revoked {
    /// The kind of the subject.
    pub fn kind(&self) -> RevokedKind {
        match self {
            Self::User(_) => RevokedKind::User,
            Self::Token(_) => RevokedKind::Token,
            Self::TokensOf(_) => RevokedKind::TokensOf,
            Self::Member { .. } => RevokedKind::Member,
            Self::Address(_) => RevokedKind::Address,
            Self::Key(_) => RevokedKind::Key,
        }
    }

    /// The subject as one text, for storage.
    pub fn text(&self) -> String {
        format!("{}:{}", self.kind().as_str(), self.name())
    }

    /// The subject of that [text](Self::text).
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        Some(match RevokedKind::ALL.into_iter().find(|known| known.as_str() == kind)? {
            RevokedKind::User => Self::User(name.into()),
            RevokedKind::Token => Self::Token(name.into()),
            RevokedKind::TokensOf => Self::TokensOf(name.into()),
            RevokedKind::Member => {
                let (room, user) = name.split_once(SEPARATOR)?;
                Self::Member { room: room.into(), user: user.into() }
            }
            RevokedKind::Address => Self::Address(Network::parse(name)?.normalized()),
            RevokedKind::Key => Self::Key(name.into()),
        })
    }

    /// The name by which a list is ordered and its pages are found; of a ban it is the user.
    pub fn page_name(&self) -> Name {
        match self {
            Self::Member { user, .. } => user.clone(),
            other => other.name(),
        }
    }

    /// The subject without its kind.
    pub fn name(&self) -> Name {
        match self {
            Self::User(name) | Self::Token(name) | Self::TokensOf(name) | Self::Key(name) => name.clone(),
            Self::Member { room, user } => member_name(room, user),
            Self::Address(network) => network.to_string().as_str().into(),
        }
    }
}

impl fmt::Display for Revoked {
    /// The subject for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => f.write_str(name),
            Self::Token(id) => write!(f, "jti {id}"),
            Self::TokensOf(user) => write!(f, "tokens of {user}"),
            Self::Member { room, user } => write!(f, "{user} in {room}"),
            Self::Address(network) => write!(f, "{network}"),
            Self::Key(id) => write!(f, "key {id}"),
        }
    }
}

fn member_name(room: &str, user: &str) -> Name {
    format!("{room}{SEPARATOR}{user}").as_str().into()
}

/// One revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its subject.
    pub subject: Revoked,
    /// Its end in milliseconds since 1970; `None`: it stays until it is removed.
    pub until: Option<u64>,
    /// The reason that is told to those concerned; of a key its terms.
    pub reason: Option<Box<str>>,
    /// For [`Revoked::TokensOf`]: the moment, in seconds since 1970.
    pub issued_before: Option<u64>,
    /// The time it was made, in milliseconds since 1970.
    pub made_at: u64,
    /// The admin that made it.
    pub by: Name,
}

impl Revocation {
    /// The block of an address that has made too many attempts. No admin made it, and the list does not have it.
    pub fn by_attempts(address: IpAddr, until: u64) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 64 };
        Self {
            subject: Revoked::Address(Network { address, prefix }.normalized()),
            until: Some(until),
            reason: Some("too many connection attempts".into()),
            issued_before: None,
            made_at: 0,
            by: "".into(),
        }
    }

    /// Whether attempts were the cause, not an admin.
    pub fn is_by_attempts(&self) -> bool {
        self.by.is_empty()
    }

    /// Whether it is in force.
    pub fn is_in_force(&self, now: Now) -> bool {
        self.until.is_none_or(|until| until > now.wall)
    }

    fn refusal(&self) -> Reject {
        let (code, text) = match self.subject {
            Revoked::User(_) => (Code::Forbidden, "You are blocked"),
            Revoked::Token(_) | Revoked::TokensOf(_) => (Code::Unauthenticated, "The token is revoked"),
            Revoked::Member { .. } => (Code::Forbidden, "You are banned from this room"),
            Revoked::Address(_) => (Code::Forbidden, "Your address is blocked"),
            Revoked::Key(_) => return Reject::new(Code::Unauthenticated, "The key is not valid"),
        };
        match &self.reason {
            Some(reason) => Reject::new(code, format!("{text}: {reason}")),
            None => Reject::new(code, text),
        }
    }
}

/// A change of the list.
#[derive(Clone, Debug)]
pub enum RevocationChange {
    /// A revocation was added, or replaced that of the same subject.
    Added(Arc<Revocation>),
    /// A subject is no longer revoked. An address is then also free of blocks by attempts.
    Removed(Revoked),
    /// The list was read anew.
    Replaced(Arc<[Arc<Revocation>]>),
}

/// A connection that a revocation concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struck {
    /// The kind of subject.
    pub kind: RevokedKind,
    /// The refusal that the client is told.
    pub reject: Reject,
}

/// A list of revocations, by subject.
pub struct Revocations {
    users: Map<Name, Arc<Revocation>>,
    tokens: Map<Name, Arc<Revocation>>,
    tokens_of: Map<Name, Arc<Revocation>>,
    members: Map<Name, Arc<Revocation>>,
    addresses: Map<Network, Arc<Revocation>>,
    keys: ApiKeys,
    /// The number of networks by family (whether IPv6) and prefix.
    prefixes: BTreeMap<(bool, u8), u32>,
    /// Revoked tokens by mark, for connections, which do not keep their `jti`.
    marks: Map<u32, Arc<Revocation>>,
    /// Ends, each with its subject.
    ends: BTreeSet<(u64, Revoked)>,
}

impl Revocations {
    /// An empty list.
    pub fn new(seed: u64) -> Self {
        Self {
            users: map(seed),
            tokens: map(seed),
            tokens_of: map(seed),
            members: map(seed),
            addresses: map(seed),
            keys: ApiKeys::new(seed),
            prefixes: BTreeMap::new(),
            marks: map(seed),
            ends: BTreeSet::new(),
        }
    }

    /// The number of revocations.
    pub fn len(&self) -> usize {
        [&self.users, &self.tokens, &self.tokens_of, &self.members].into_iter().map(Map::len).sum::<usize>()
            + self.addresses.len()
            + self.keys.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn named(&mut self, subject: &Revoked) -> Option<&mut Map<Name, Arc<Revocation>>> {
        match subject {
            Revoked::User(_) => Some(&mut self.users),
            Revoked::Token(_) => Some(&mut self.tokens),
            Revoked::TokensOf(_) => Some(&mut self.tokens_of),
            Revoked::Member { .. } => Some(&mut self.members),
            Revoked::Address(_) | Revoked::Key(_) => None,
        }
    }

    /// Adds a revocation, in place of another one of the subject. Those whose end has passed are removed.
    pub fn insert(&mut self, now: Now, revocation: Arc<Revocation>) {
        while let Some((_, over)) = self.ends.first().filter(|(until, _)| *until <= now.wall).cloned() {
            self.remove(&over);
        }
        let subject = &revocation.subject;
        self.remove(subject);
        if matches!(subject, Revoked::Key(_)) && ApiKey::of(&revocation).is_none() {
            // A key of a later version.
            return;
        }
        if let Some(until) = revocation.until {
            self.ends.insert((until, subject.clone()));
        }
        match subject {
            Revoked::Address(network) => {
                *self.prefixes.entry((network.address.is_ipv6(), network.prefix)).or_default() += 1;
                self.addresses.insert(*network, revocation);
            }
            Revoked::Key(_) => self.keys.insert(revocation),
            other => {
                let name = other.name();
                if let Revoked::Token(id) = other {
                    self.marks.insert(token_mark(id), revocation.clone());
                }
                if let Some(list) = self.named(&revocation.subject.clone()) {
                    list.insert(name, revocation);
                }
            }
        }
    }

    /// Removes the revocation of a subject; returns whether there was one.
    pub fn remove(&mut self, subject: &Revoked) -> bool {
        let removed = match subject {
            Revoked::Address(network) => {
                let removed = self.addresses.remove(network);
                if removed.is_some() {
                    let key = (network.address.is_ipv6(), network.prefix);
                    let count = self.prefixes.get_mut(&key).expect("revocations: each network's prefix is counted");
                    *count -= 1;
                    if *count == 0 {
                        self.prefixes.remove(&key);
                    }
                }
                removed
            }
            Revoked::Key(id) => self.keys.remove(id),
            other => {
                let name = other.name();
                if let Revoked::Token(id) = other {
                    self.marks.remove(&token_mark(id));
                }
                self.named(other).and_then(|list| list.remove(&name))
            }
        };
        if let Some(until) = removed.as_ref().and_then(|removed| removed.until) {
            self.ends.remove(&(until, subject.clone()));
        }
        removed.is_some()
    }

    /// Applies a change to the list.
    pub fn apply(&mut self, now: Now, change: &RevocationChange) {
        match change {
            RevocationChange::Added(revocation) => self.insert(now, revocation.clone()),
            RevocationChange::Removed(subject) => drop(self.remove(subject)),
            RevocationChange::Replaced(all) => {
                let known =
                    [&self.users, &self.tokens, &self.tokens_of, &self.members].into_iter().flat_map(Map::values);
                let known = known.chain(self.addresses.values()).chain(self.keys.entries());
                let known: Vec<Revoked> = known.map(|revocation| revocation.subject.clone()).collect();
                for subject in known {
                    self.remove(&subject);
                }
                all.iter().for_each(|revocation| self.insert(now, revocation.clone()));
            }
        }
    }

    /// Checks a user that has no token to check, such as a guest.
    ///
    /// # Errors
    /// The user is blocked.
    pub fn check_user(&self, now: Now, user: &str) -> Result<(), Reject> {
        refuse(self.in_force(now, &self.users, user))
    }

    /// Checks a verified token.
    ///
    /// # Errors
    /// The user is blocked, or the token is revoked.
    pub fn check_token(
        &self,
        now: Now,
        user: &str,
        (id, issued_at): (Option<&str>, Option<u64>),
    ) -> Result<(), Reject> {
        self.check_user(now, user)?;
        refuse(id.and_then(|id| self.in_force(now, &self.tokens, id)))?;
        refuse(self.in_force(now, &self.tokens_of, user).filter(|revocation| is_before(issued_at, revocation)))
    }

    /// Checks a user that is about to become a member of a room.
    ///
    /// # Errors
    /// The user is banned from it.
    pub fn check_member(&self, now: Now, room: &str, user: &str) -> Result<(), Reject> {
        if self.members.is_empty() {
            return Ok(());
        }
        refuse(self.in_force(now, &self.members, &member_name(room, user)))
    }

    /// The API key of a hash, if it is in force. `is_same` compares in constant time.
    pub fn key(&self, now: Now, hash: &KeyHash, is_same: fn(&KeyHash, &KeyHash) -> bool) -> Option<&Arc<ApiKey>> {
        self.keys.find(now, hash, is_same)
    }

    /// The API key of an id, if it is in force, and its entry.
    pub fn key_of_id(&self, now: Now, id: &str) -> Option<(ApiKey, &Arc<Revocation>)> {
        self.keys.get(now, id)
    }

    /// The number of API keys.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Whether any address is in the list.
    pub fn has_addresses(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Checks an address.
    ///
    /// # Errors
    /// It is blocked.
    pub fn check_address(&self, now: Now, address: IpAddr) -> Result<(), Reject> {
        refuse(self.of_address(now, address))
    }

    /// Whether a connection may go on: that of a user, with a token, from an address.
    pub fn strikes(&self, now: Now, identity: &Identity, address: IpAddr) -> Option<Struck> {
        let token = identity.token();
        let found = self
            .in_force(now, &self.users, identity.user())
            .or_else(|| self.marks.get(&token.mark).filter(|it| token.mark != 0 && it.is_in_force(now)))
            .or_else(|| {
                let revocation = self.in_force(now, &self.tokens_of, identity.user())?;
                let issued_at = (token.issued_at != 0).then_some(u64::from(token.issued_at));
                (!identity.roles().guest && is_before(issued_at, revocation)).then_some(revocation)
            })
            .or_else(|| self.of_address(now, address))?;
        Some(Struck { kind: found.subject.kind(), reject: found.refusal() })
    }

    /// The banned users, each with their room.
    pub fn members(&self) -> impl Iterator<Item = (&Name, &Name)> {
        self.members.values().filter_map(|revocation| match &revocation.subject {
            Revoked::Member { room, user } => Some((room, user)),
            _ => None,
        })
    }

    /// A page of the revocations of a kind that are in force, ordered by name: those after `after`, at most `limit`, and
    /// whether there are more. Of bans only those from `room`.
    pub fn list(
        &self,
        now: Now,
        kind: RevokedKind,
        room: Option<&str>,
        (after, limit): (Option<&str>, usize),
    ) -> (Vec<Arc<Revocation>>, bool) {
        let all: Box<dyn Iterator<Item = &Arc<Revocation>>> = match kind {
            RevokedKind::User => Box::new(self.users.values()),
            RevokedKind::Token | RevokedKind::TokensOf => Box::new(self.tokens.values().chain(self.tokens_of.values())),
            RevokedKind::Member => Box::new(self.members.values()),
            RevokedKind::Address => Box::new(self.addresses.values()),
            RevokedKind::Key => Box::new(self.keys.entries()),
        };
        let mut found: Vec<(Name, &Arc<Revocation>)> = all
            .filter(|revocation| revocation.is_in_force(now))
            .filter(|revocation| match &revocation.subject {
                Revoked::Member { room: own, .. } => room.is_none_or(|room| **own == *room),
                _ => true,
            })
            .map(|revocation| (revocation.subject.page_name(), revocation))
            .filter(|(name, _)| after.is_none_or(|after| **name > *after))
            .collect();
        found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let is_more = found.len() > limit;
        (found.into_iter().take(limit).map(|(_, revocation)| revocation.clone()).collect(), is_more)
    }

    fn in_force<'a>(&self, now: Now, list: &'a Map<Name, Arc<Revocation>>, name: &str) -> Option<&'a Arc<Revocation>> {
        list.get(name).filter(|revocation| revocation.is_in_force(now))
    }

    fn of_address(&self, now: Now, address: IpAddr) -> Option<&Arc<Revocation>> {
        let address = address.to_canonical();
        let of_prefix = |prefix| self.addresses.get(&Network { address, prefix }.normalized());
        let prefixes = self.prefixes.keys().filter(|(is_ipv6, _)| *is_ipv6 == address.is_ipv6());
        prefixes.filter_map(|(_, prefix)| of_prefix(*prefix)).find(|revocation| revocation.is_in_force(now))
    }

    /// Panics unless the indexes match the list.
    pub fn check_invariants(&self) {
        let networks: u32 = self.prefixes.values().sum();
        assert_eq!(networks as usize, self.addresses.len(), "revocations: each network's prefix is counted");
        let named = [&self.users, &self.tokens, &self.tokens_of, &self.members].into_iter().flat_map(Map::values);
        let ending = named
            .chain(self.addresses.values())
            .chain(self.keys.entries())
            .filter(|revocation| revocation.until.is_some())
            .count();
        assert_eq!(ending, self.ends.len(), "revocations: each end is noted once");
    }
}

fn refuse(found: Option<&Arc<Revocation>>) -> Result<(), Reject> {
    found.map_or(Ok(()), |revocation| Err(revocation.refusal()))
}

/// Whether a token of that issue time is revoked. One without a time counts as old.
fn is_before(issued_at: Option<u64>, revocation: &Revocation) -> bool {
    let moment = revocation.issued_before.unwrap_or_default();
    issued_at.is_none_or(|issued_at| issued_at < moment)
}

/// A short form of a `jti` for connections, never 0. Two tokens may have the same; then a connection is closed without
/// need, and its client connects again.
pub fn token_mark(id: &str) -> u32 {
    let hash = id.bytes().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.max(1)
}

#[cfg(test)]
mod tests;
