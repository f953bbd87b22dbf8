//! Who somebody is, and what that lets them do.

use crate::base::Name;

/// A user as a verified token (or a guest's arrival) describes them; fixed for the life of that token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's id: the token's `sub`, or `guest:` and a random word.
    pub user: Name,
    /// The profile's name, when it is another than the id.
    pub username: Option<Box<str>>,
    /// The profile's e-mail address.
    pub email: Option<Box<str>>,
    /// What the user may do beyond their own affairs.
    pub roles: Roles,
}

/// The roles a token grants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// May do everything.
    pub admin: bool,
    /// May push messages to others by REST.
    pub push: bool,
    /// Came without a token.
    pub guest: bool,
}

impl Identity {
    /// A guest with a random word for a name.
    pub fn guest(word: &str) -> Self {
        Self {
            user: format!("guest:{word}").into(),
            username: None,
            email: None,
            roles: Roles { guest: true, ..Roles::default() },
        }
    }

    /// The name to show: the profile's, or else the user's id.
    pub fn username(&self) -> &str {
        self.username.as_deref().unwrap_or(&self.user)
    }
}
