//! Grants: the rooms that a token limits its bearer to, and what the bearer may do in them.
//!
//! They are a part of the identity, one line of text each, so that a user without grants has none of their cost. A grant of
//! a subscription token is for one room and ends with that token; the others end with the bearer's own token.

use std::fmt::Write;

use crate::base::limits;
use crate::domain::access::Identity;
use crate::domain::reject::{Code, Reject};

/// What a grant permits in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantAction {
    /// Become a member, and receive what members receive.
    Join,
    /// Send messages and typing indicators.
    Publish,
    /// Read earlier messages and their receipts.
    History,
    /// List who is in the room, and who types.
    Presence,
    /// Send WebRTC signaling and media states.
    Signal,
    /// Do what the room's host may do.
    Moderate,
}

impl GrantAction {
    /// All actions.
    pub const ALL: [Self; 6] = [Self::Join, Self::Publish, Self::History, Self::Presence, Self::Signal, Self::Moderate];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Publish => "publish",
            Self::History => "history",
            Self::Presence => "presence",
            Self::Signal => "signal",
            Self::Moderate => "moderate",
        }
    }
}

/// A set of actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrantActions(u8);

impl GrantActions {
    /// All but moderation: the actions of a subscription token that lists none.
    pub fn usual() -> Self {
        let usual = GrantAction::ALL.into_iter().filter(|action| *action != GrantAction::Moderate);
        Self(usual.fold(0, |bits, action| bits | 1 << action as u8))
    }

    /// The actions of these names.
    ///
    /// # Errors
    /// There is no action of one of the names.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, Reject> {
        let mut actions = Self::default();
        for name in names {
            let action = GrantAction::ALL.into_iter().find(|action| action.as_str() == name).ok_or_else(|| {
                let shown: String = name.chars().take(limits::LABEL_BYTES).collect();
                Reject::new(Code::Unauthenticated, format!("The token grants an unknown action {shown:?}"))
            })?;
            actions.0 |= 1 << action as u8;
        }
        Ok(actions)
    }

    fn has(self, action: GrantAction) -> bool {
        self.0 & 1 << action as u8 != 0
    }
}

/// A grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The rooms: an id, in a pattern with `*` for any text.
    pub rooms: &'a str,
    /// Whether `*` in it stands for any text.
    pub is_pattern: bool,
    /// What it permits.
    pub actions: GrantActions,
    /// When it ends, in seconds since 1970; 0: with the bearer's token.
    pub until: u64,
}

impl<'a> Grant<'a> {
    /// Appends it as a line.
    pub(super) fn write(&self, text: &mut String) {
        let mark = if self.is_pattern { '~' } else { '=' };
        let _ = write!(text, "\n{} {} {mark}{}", self.actions.0, self.until, self.rooms);
    }

    pub(super) fn parse(line: &'a str) -> Option<Self> {
        let (actions, rest) = line.split_once(' ')?;
        let (until, rest) = rest.split_once(' ')?;
        let rooms = rest.get(1..)?;
        let actions = GrantActions(actions.parse().ok()?);
        Some(Self { rooms, is_pattern: rest.starts_with('~'), actions, until: until.parse().ok()? })
    }

    fn matches(&self, room: &str) -> bool {
        if self.is_pattern { matches_pattern(self.rooms, room) } else { self.rooms == room }
    }
}

/// Whether a room's id has the form of a pattern. Each `*` takes as little as it can, so the time is bounded by the product
/// of the lengths.
fn matches_pattern(pattern: &str, room: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = room.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

impl Identity {
    /// Checks that an action in a room is granted. `is_required`: users without grants may do nothing in rooms, except
    /// admins and API keys.
    ///
    /// # Errors
    /// It is not granted, or no longer.
    pub fn check_grant(&self, room: &str, action: GrantAction, is_required: bool, now_s: u64) -> Result<(), Reject> {
        let is_exempt = self.roles().admin || !self.key_actions().is_empty();
        if !self.is_limited() && (!is_required || is_exempt) {
            return Ok(());
        }
        let mut granted = self.grants().filter(|grant| grant.actions.has(action) && grant.matches(room)).peekable();
        let was_granted = granted.peek().is_some();
        match granted.any(|grant| grant.until == 0 || now_s < grant.until) {
            true => Ok(()),
            false if was_granted => {
                let text = format!("The grant to {} in this room has expired", action.as_str());
                Err(Reject::new(Code::TokenExpired, text))
            }
            false => {
                let text = format!("The token does not grant {} in this room", action.as_str());
                Err(Reject::new(Code::Forbidden, text))
            }
        }
    }

    /// Checks that a token with grants is not used for what concerns other than the rooms they name.
    ///
    /// # Errors
    /// The token has grants.
    pub fn check_unlimited(&self) -> Result<(), Reject> {
        match self.is_limited() {
            true => {
                Err(Reject::new(Code::Forbidden, "The token's grants are for rooms, and this concerns more than those"))
            }
            false => Ok(()),
        }
    }

    /// Whether a grant names this action in the room. Not so for a user without grants.
    pub fn has_grant(&self, room: &str, action: GrantAction, now_s: u64) -> bool {
        let is_open = |grant: &Grant<'_>| grant.until == 0 || now_s < grant.until;
        self.grants().any(|grant| grant.actions.has(action) && grant.matches(room) && is_open(&grant))
    }

    /// The same user with the grant of a subscription token, in place of an earlier one for the room. Those that have
    /// ended are left out.
    ///
    /// # Errors
    /// There are too many.
    #[must_use = "the identity is a new one"]
    pub fn with_subscription(&self, new: Grant<'_>, now_s: u64) -> Result<Self, Reject> {
        let stays = |grant: &Grant<'_>| grant.until == 0 || now_s < grant.until && grant.rooms != new.rooms;
        let kept: Vec<Grant<'_>> = self.grants().filter(stays).chain([new]).collect();
        if kept.len() > limits::GRANTS {
            let text = format!("A connection has at most {} grants", limits::GRANTS);
            return Err(Reject::new(Code::RateLimited, text));
        }
        Ok(self.with_grants(kept, self.is_limited()))
    }

    /// This user, of a renewed token, with the subscriptions that the former identity has.
    #[must_use]
    pub fn with_subscriptions_of(self, former: &Self, now_s: u64) -> Self {
        let mut kept: Vec<Grant<'_>> = self.grants().collect();
        let own = kept.len();
        kept.extend(former.grants().filter(|grant| now_s < grant.until));
        kept.truncate(own.max(limits::GRANTS));
        if kept.len() == own { self.clone() } else { self.with_grants(kept, self.is_limited()) }
    }

    /// When the next subscription ends, in seconds since 1970.
    pub fn next_end(&self, now_s: u64) -> Option<u64> {
        match self.has_subscriptions() {
            true => self.grants().map(|grant| grant.until).filter(|until| *until > now_s).min(),
            false => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::{Roles, TokenMark};

    fn limited(grants: &[(&str, &str)]) -> Identity {
        let grants = grants.iter().map(|(rooms, names)| {
            let actions = GrantActions::parse(names.split(' ')).expect("known actions");
            Grant { rooms, is_pattern: true, actions, until: 0 }
        });
        let identity = Identity::of_token("ann", None, None, Roles::default(), TokenMark::default());
        identity.with_grants(grants.collect(), true)
    }

    #[test]
    fn pattern_is_the_whole_id_with_any_text_for_a_star() {
        let table = [
            ("order-*", "order-", true),
            ("order-*", "order-7", true),
            ("order-*", "orders", false),
            ("order-*", "my-order-7", false),
            ("order-1", "order-1", true),
            ("order-1", "order-12", false),
            ("*", "", true),
            ("*", "tea", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*-x", "tea-x", true),
            ("*-x", "tea-xy", false),
            ("**", "tea", true),
        ];
        for (pattern, room, expected) in table {
            assert_eq!(matches_pattern(pattern, room), expected, "{pattern} {room}");
        }
    }

    #[test]
    fn grants_permit_what_they_name_and_nothing_else() {
        let ann = limited(&[("order-*", "join history"), ("order-1", "publish"), ("tea", "moderate")]);
        let may = |room, action| ann.check_grant(room, action, false, 1).is_ok();
        assert!(may("order-2", GrantAction::Join) && may("order-1", GrantAction::Publish));
        assert!(!may("order-2", GrantAction::Publish) && !may("tea", GrantAction::Join));
        assert!(ann.has_grant("tea", GrantAction::Moderate, 1) && !ann.has_grant("order-1", GrantAction::Moderate, 1));
        assert_eq!((ann.user(), ann.username(), ann.email()), ("ann", "ann", None));
        let none = limited(&[]);
        assert!(none.is_limited() && none.check_grant("tea", GrantAction::Join, false, 1).is_err());
    }

    #[test]
    fn without_grants_all_is_open_unless_they_are_required() {
        let plain = |roles| Identity::new("ann", Some("Ann"), Some("a@b"), roles);
        let admin = plain(Roles { admin: true, ..Roles::default() });
        for (by, open, required) in [(plain(Roles::default()), true, false), (admin, true, true)] {
            assert_eq!(by.check_grant("tea", GrantAction::Join, false, 1).is_ok(), open);
            assert_eq!(by.check_grant("tea", GrantAction::Join, true, 1).is_ok(), required);
        }
    }

    #[test]
    fn subscription_is_for_its_room_until_its_end() {
        let plain = Identity::new("ann", Some("Ann"), Some("a@b"), Roles::default());
        let new = Grant { rooms: "tea*", is_pattern: false, actions: GrantActions::usual(), until: 100 };
        let ann = plain.with_subscription(new, 1).expect("few");
        assert_eq!((ann.username(), ann.email(), ann.is_limited()), ("Ann", Some("a@b"), false));
        assert_eq!(ann, plain, "grants are no part of the identity");
        let code = |room, action, now_s| ann.check_grant(room, action, true, now_s).map_err(|reject| reject.code);
        assert_eq!(code("tea*", GrantAction::Join, 99), Ok(()));
        assert_eq!(code("teas", GrantAction::Join, 99), Err(Code::Forbidden));
        assert_eq!(code("tea*", GrantAction::Moderate, 99), Err(Code::Forbidden));
        assert_eq!(code("tea*", GrantAction::Join, 100), Err(Code::TokenExpired));
        assert_eq!((ann.next_end(1), ann.next_end(100), plain.next_end(1)), (Some(100), None, None));
        let renewed = limited(&[("x", "join")]).with_subscriptions_of(&ann, 50);
        assert!(renewed.is_limited() && renewed.has_grant("tea*", GrantAction::Join, 50));
        assert!(!limited(&[]).with_subscriptions_of(&ann, 100).has_grant("tea*", GrantAction::Join, 100));
    }

    #[test]
    fn subscriptions_of_a_connection_are_bounded() {
        let mut ann = Identity::new("ann", None, None, Roles::default());
        let mut number = 0;
        let refused = loop {
            let room = format!("room-{number}");
            let new = Grant { rooms: &room, is_pattern: false, actions: GrantActions::usual(), until: 100 };
            match ann.with_subscription(new, 1) {
                Ok(more) => ann = more,
                Err(reject) => break reject,
            }
            number += 1;
        };
        assert_eq!((number, refused.code), (limits::GRANTS, Code::RateLimited));
        let again = Grant { rooms: "room-0", is_pattern: false, actions: GrantActions::usual(), until: 100 };
        assert!(ann.with_subscription(again, 1).is_ok(), "a repeated one takes the place of the first");
        let later = Grant { until: 200, ..again };
        assert!(ann.with_subscription(later, 100).is_ok(), "those that have ended give way");
    }
}
