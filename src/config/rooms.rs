//! Settings of rooms, storage, presence and recovery.

use super::kinds::{Shaped, limit, one_of, truth, whole};
use super::raw::settings;
use crate::domain::op::Scope;
use crate::runtime::storage::{Durability, OnDamage};

/// The effect of joining an unknown room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateOnJoin {
    /// As in the dialect's source document: `camel` creates the room, the others refuse.
    Seed,
    /// Creates a public room.
    Always,
    /// Refuses.
    Never,
}

impl Shaped for CreateOnJoin {}

const CREATE_ON_JOIN: &[(&str, CreateOnJoin)] =
    &[("seed", CreateOnJoin::Seed), ("always", CreateOnJoin::Always), ("never", CreateOnJoin::Never)];

settings! {
    /// Defaults of rooms.
    pub struct RoomSettings in "rooms." {
        /// Whether joining an unknown room creates it: `"seed"` (only in the `camel` dialect), `"always"` (the default
        /// with `--dev`) or `"never"`.
        create_on_join: CreateOnJoin = "seed", one_of(CREATE_ON_JOIN);
        /// Whether the first user in a room that was created by joining is its host, who may remove others and close it.
        joined_have_host: bool = false, truth;
        /// Whether the messages of a room are stored if its creator does not choose.
        history: bool = true, truth;
        /// Whether everyone may list all rooms with `GET /api/rooms`, and not only admins.
        list_open: bool = false, truth;
        /// Whether clients may do in rooms only what the `grants` of their tokens name, or a token for the room; without any
        /// they may do nothing there. Admins, API keys and the calls of backends need none.
        require_grant: bool = false, truth;
        /// Members above which joins and leaves are announced as a count, once a second; 0: never.
        announce_limit: usize = 500, limit(10_000_000);
        /// Milliseconds after which a stream ends as cancelled if its publisher has sent no piece.
        stream_idle_ms: u64 = 60_000, whole(1_000, 86_400_000);
        /// Messages stored per room; 0: no bound.
        retention_messages: u64 = 10_000, limit(1_000_000_000);
        /// Hours for which a message is stored; 0: for ever.
        retention_hours: u64 = 720, limit(1_000_000);
    }
}

impl Shaped for Durability {}

const DURABILITY: &[(&str, Durability)] =
    &[("process", Durability::Process), ("power", Durability::Power), ("none", Durability::None)];

impl Shaped for OnDamage {}

const ON_DAMAGE: &[(&str, OnDamage)] = &[("set-aside", OnDamage::SetAside), ("stop", OnDamage::Stop)];

settings! {
    /// Durability of messages.
    pub struct StorageSettings in "storage." {
        /// What a stored message survives: `"process"`: a crash of the server, `"power"`: also a power failure,
        /// `"none"`: neither.
        durability: Durability = "process", one_of(DURABILITY);
        /// How a damaged file is treated at start: `"set-aside"` renames it and begins a new one, `"stop"` leaves it
        /// and does not start.
        on_damage: OnDamage = "set-aside", one_of(ON_DAMAGE);
        /// Bytes of messages stored without a data directory; the oldest are deleted beyond it. 0: no bound.
        memory_bytes: u64 = 67_108_864, limit(1 << 40);
        /// Messages stored without a data directory; the oldest are deleted beyond it. 0: no bound.
        memory_messages: u64 = 100_000, limit(1_000_000_000);
    }
}

impl Shaped for Scope {}

const PRESENCE_SCOPE: &[(&str, Scope)] =
    &[("auto", Scope::Auto), ("all", Scope::All), ("rooms", Scope::Rooms), ("none", Scope::None)];

settings! {
    /// Recipients and delays of presence.
    pub struct PresenceSettings in "presence." {
        /// Recipients of a user's presence: `"all"`, `"rooms"` (users that share a room), `"none"`, or `"auto"` (all up
        /// to 5,000 connected users, then rooms).
        scope: Scope = "auto", one_of(PRESENCE_SCOPE);
        /// Whether `presence:user-status` shows everyone a user's e-mail address, socket, user agent and IP address, and not
        /// only the user and admins.
        details: bool = false, truth;
        /// Milliseconds after a user's last connection has closed until the user counts as offline.
        grace_ms: u64 = 3_000, whole(0, 3_600_000);
        /// Milliseconds over which changes are collected into one write.
        batch_ms: u64 = 100, whole(1, 60_000);
    }
}

settings! {
    /// Recovery of sessions.
    pub struct RecoverySettings in "recovery." {
        /// Milliseconds within which a client can recover its session with its token; 0: no recovery.
        window_ms: u64 = 120_000, limit(86_400_000);
    }
}
