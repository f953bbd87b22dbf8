//! Settings of rooms, of what is kept of them, and of who is told about whom.

use super::kinds::{Shaped, limit, one_of, truth, whole};
use super::raw::settings;
use crate::runtime::storage::{Durability, OnDamage};

/// What joining a room that does not exist does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateOnJoin {
    /// What the dialect's source document shows: `camel` creates it, the others refuse.
    Seed,
    /// Creates a public room.
    Always,
    /// Is refused.
    Never,
}

impl Shaped for CreateOnJoin {}

const CREATE_ON_JOIN: &[(&str, CreateOnJoin)] =
    &[("seed", CreateOnJoin::Seed), ("always", CreateOnJoin::Always), ("never", CreateOnJoin::Never)];

settings! {
    /// What rooms are like when their maker does not say.
    pub struct RoomSettings in "rooms." {
        /// Whether joining an unknown room creates it: `"seed"` (as each dialect's source shows),
        /// `"always"` (the default with `--dev`) or `"never"`.
        create_on_join: CreateOnJoin = "seed", one_of(CREATE_ON_JOIN);
        /// Whether messages of a room are kept when its maker does not say.
        history: bool = true, truth;
        /// Members above which joins and leaves are told as a count, once a second; 0: never.
        announce_limit: usize = 500, limit(10_000_000);
        /// Messages kept per room; 0: no bound.
        retention_messages: u64 = 10_000, limit(1_000_000_000);
        /// Hours a message is kept; 0: for ever.
        retention_hours: u64 = 720, limit(1_000_000);
    }
}

impl Shaped for Durability {}

const DURABILITY: &[(&str, Durability)] =
    &[("process", Durability::Process), ("power", Durability::Power), ("none", Durability::None)];

impl Shaped for OnDamage {}

const ON_DAMAGE: &[(&str, OnDamage)] = &[("set-aside", OnDamage::SetAside), ("stop", OnDamage::Stop)];

settings! {
    /// How safely messages are kept.
    pub struct StorageSettings in "storage." {
        /// What a stored message survives: `"process"` a crash of the server, `"power"` loss of
        /// power too, `"none"` nothing.
        durability: Durability = "process", one_of(DURABILITY);
        /// What becomes of a damaged file at the start: `"set-aside"` renames it and begins a new
        /// one, `"stop"` leaves it and does not start.
        on_damage: OnDamage = "set-aside", one_of(ON_DAMAGE);
    }
}

/// Who is told that a user came, went or changed status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceScope {
    /// Everybody up to 5,000 connected users, above that as `RoomSettings`.
    Auto,
    /// Everybody.
    All,
    /// Those who share a room with the user.
    Rooms,
    /// Nobody.
    None,
}

impl Shaped for PresenceScope {}

const PRESENCE_SCOPE: &[(&str, PresenceScope)] = &[
    ("auto", PresenceScope::Auto),
    ("all", PresenceScope::All),
    ("rooms", PresenceScope::Rooms),
    ("none", PresenceScope::None),
];

settings! {
    /// Who hears of users coming and going, and how soon.
    pub struct PresenceSettings in "presence." {
        /// Who hears of a user: `"all"`, `"rooms"` (who shares a room), `"none"`, or `"auto"`
        /// (all up to 5,000 connected users, then rooms).
        scope: PresenceScope = "auto", one_of(PRESENCE_SCOPE);
        /// Milliseconds after a user's last connection ended until the user counts as offline.
        grace_ms: u64 = 3_000, whole(0, 3_600_000);
        /// Milliseconds over which changes are gathered into one write.
        batch_ms: u64 = 100, whole(1, 60_000);
    }
}

settings! {
    /// How long a client may be away and still get what it missed.
    pub struct RecoverySettings in "recovery." {
        /// Milliseconds within which a client may come back with its token; 0: no recovery.
        window_ms: u64 = 120_000, limit(86_400_000);
    }
}
