//! Users and their roles.

use std::fmt;

use triomphe::ThinArc;

use crate::base::Name;
use crate::domain::api_key::KeyActions;
use crate::domain::grants::Grant;

/// A user as a verified token (or a guest's arrival) describes them; fixed for the life of that token.
///
/// One thin allocation, shared by all state of the user: the id, then the username, the e-mail address and the grants if
/// needed, each after a line end, as none contains one.
#[derive(Clone)]
pub struct Identity(ThinArc<IdentityHeader, u8>);

#[derive(Clone, Copy)]
struct IdentityHeader {
    roles: Roles,
    /// Of an API key: what it permits.
    key: KeyActions,
    grants: GrantMark,
    token: TokenMark,
}

/// Whether a token has grants, in the padding of the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct GrantMark {
    /// Whether they are all that the user may do in rooms.
    is_limited: bool,
    /// Whether some are of subscription tokens, and end before the token.
    has_ends: bool,
}

/// The roles a token grants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// May do every action.
    pub admin: bool,
    /// May push messages to other users by REST.
    pub push: bool,
    /// Has no token.
    pub guest: bool,
}

/// The part of a token that tells later whether it was revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenMark {
    /// The [mark](crate::domain::revocation::token_mark) of its `jti`; 0 without one.
    pub mark: u32,
    /// Its `iat` in seconds since 1970; 0 without one.
    pub issued_at: u32,
}

impl Identity {
    /// A user with these names and roles. Names have no control characters.
    pub fn new(user: &str, username: Option<&str>, email: Option<&str>, roles: Roles) -> Self {
        Self::of_token(user, username, email, roles, TokenMark::default())
    }

    /// The same, with the token that it is from.
    pub fn of_token(user: &str, username: Option<&str>, email: Option<&str>, roles: Roles, token: TokenMark) -> Self {
        let header = IdentityHeader { roles, key: KeyActions::default(), grants: GrantMark::default(), token };
        Self::with_header(header, user, username, email)
    }

    /// The user that stands for an API key.
    pub fn of_key(user: &str, label: Option<&str>, roles: Roles, key: KeyActions) -> Self {
        let header = IdentityHeader { roles, key, grants: GrantMark::default(), token: TokenMark::default() };
        Self::with_header(header, user, label, None)
    }

    /// The same user with these grants in place of others. `is_limited`: in rooms, the user may do nothing else.
    #[must_use]
    pub fn with_grants(&self, grants: Vec<Grant<'_>>, is_limited: bool) -> Self {
        let mut text = [self.user(), self.part(1).unwrap_or_default(), self.email().unwrap_or_default()].join("\n");
        let has_ends = grants.iter().any(|grant| grant.until != 0);
        grants.iter().for_each(|grant| grant.write(&mut text));
        let header = IdentityHeader { grants: GrantMark { is_limited, has_ends }, ..self.0.header.header };
        Self(ThinArc::from_header_and_slice(header, text.as_bytes()))
    }

    /// The same user as one that may do what admins may, for an operation on one room.
    #[must_use]
    pub fn as_moderator(&self) -> Self {
        let header = self.0.header.header;
        let roles = Roles { admin: true, ..header.roles };
        Self(ThinArc::from_header_and_slice(IdentityHeader { roles, ..header }, &self.0.slice))
    }

    fn with_header(header: IdentityHeader, user: &str, username: Option<&str>, email: Option<&str>) -> Self {
        let username = username.filter(|username| *username != user).unwrap_or_default();
        let text = match email {
            Some(email) => format!("{user}\n{username}\n{email}"),
            None if username.is_empty() => user.to_owned(),
            None => format!("{user}\n{username}"),
        };
        Self(ThinArc::from_header_and_slice(header, text.as_bytes()))
    }

    /// The host of a room that has none. No user has this id.
    pub fn none() -> Self {
        Self::new("", None, None, Roles::default())
    }

    /// Whether it is that of no user.
    pub fn is_none(&self) -> bool {
        self.user().is_empty()
    }

    /// A guest, named after a random word.
    pub fn guest(word: &str) -> Self {
        Self::new(&format!("guest:{word}"), None, None, Roles { guest: true, ..Roles::default() })
    }

    fn part(&self, number: usize) -> Option<&str> {
        let part = self.0.slice.split(|byte| *byte == b'\n').nth(number)?;
        Some(std::str::from_utf8(part).expect("invariant: an identity holds text"))
    }

    /// The user's id: the token's `sub`, or `guest:` and a random word.
    pub fn user(&self) -> &str {
        self.part(0).expect("invariant: an identity begins with the user's id")
    }

    /// The user's id, shared.
    pub fn user_name(&self) -> Name {
        self.user().into()
    }

    /// The name to show: the profile's, or else the user's id.
    pub fn username(&self) -> &str {
        self.part(1).filter(|username| !username.is_empty()).unwrap_or(self.user())
    }

    /// The profile's e-mail address.
    pub fn email(&self) -> Option<&str> {
        self.part(2).filter(|email| !email.is_empty())
    }

    /// The grants of the token and of subscription tokens.
    pub fn grants(&self) -> impl Iterator<Item = Grant<'_>> {
        let text = std::str::from_utf8(&self.0.slice).expect("invariant: an identity holds text");
        let lines = text.split('\n').skip(3);
        lines.map(|line| Grant::parse(line).expect("invariant: an identity holds whole grants"))
    }

    /// Whether grants are all that the user may do in rooms.
    pub fn is_limited(&self) -> bool {
        self.0.header.header.grants.is_limited
    }

    /// Whether there are grants of subscription tokens.
    pub fn has_subscriptions(&self) -> bool {
        self.0.header.header.grants.has_ends
    }

    /// The part that tells one user from another.
    fn names(&self) -> (&str, &str, Option<&str>) {
        (self.user(), self.username(), self.email())
    }

    /// The user's roles.
    pub fn roles(&self) -> Roles {
        self.0.header.header.roles
    }

    /// What the API key permits that the user stands for; no actions of any other user.
    pub fn key_actions(&self) -> KeyActions {
        self.0.header.header.key
    }

    /// The token that it is from.
    pub fn token(&self) -> TokenMark {
        self.0.header.header.token
    }
}

/// Whether a user id is that of a guest. Nothing is kept of guests that are gone.
pub fn is_guest_name(user: &str) -> bool {
    user.starts_with("guest:")
}

impl PartialEq for Identity {
    /// A renewed token is of the same identity.
    fn eq(&self, other: &Self) -> bool {
        self.roles() == other.roles() && self.names() == other.names()
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?}, {:?})", self.user(), self.roles())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_grants_cost_no_memory() {
        assert_eq!(size_of::<IdentityHeader>(), 16);
    }

    #[test]
    fn what_goes_in_comes_out() {
        for roles in [Roles::default(), Roles { admin: true, push: true, guest: false }] {
            for (username, email) in
                [(None, None), (Some("Ann"), None), (None, Some("a@b")), (Some("Ann"), Some("a@b"))]
            {
                let identity = Identity::new("u1", username, email, roles);
                assert_eq!((identity.user(), identity.username()), ("u1", username.unwrap_or("u1")));
                assert_eq!((identity.email(), identity.roles()), (email, roles));
            }
        }
        let guest = Identity::guest("word");
        assert_eq!((guest.user(), guest.roles().guest), ("guest:word", true));
    }
}
