//! The schema of what the nodes of a cluster share in Redis: keys, channels, and the constants that Rust and the scripts
//! have in common.
//!
//! # Keys and channels
//!
//! All names begin with the configured prefix. Everything of one room, user, session or node has one hash tag, so one server
//! of a Redis Cluster keeps it and one script can work on it. Suffixes are documented where the scripts declare them.
//!
//! | name | kind | content |
//! |---|---|---|
//! | `PREFIX:room:{ROOM}` | hash and channel | the room and its events; suffixes: `lua/room.lua` |
//! | `PREFIX:user:{USER}` | hash | the user; suffixes: `lua/user.lua` |
//! | `PREFIX:session:{CONNECTION}` | string | a recoverable session; suffixes: `lua/session.lua` |
//! | `PREFIX:nodes:{all}` | sorted set | node numbers by the end of their lease; suffixes: `lua/nodes/prelude.lua` |
//! | `PREFIX:node:{NUMBER}` | channel | messages to one node; `:rooms` and `:users` are sets of the node's rooms and users |
//! | `PREFIX:revocations:{all}` | string | number of the last change of the list of revocations; suffixes: `lua/revocations/change.lua` |
//! | `PREFIX:hooks` | stream | events for the endpoints of the application; not in a Redis Cluster |
//! | `PREFIX:hooks:lease:ENDPOINT` | string | node that delivers to an endpoint |
//! | `PREFIX:hooks:cursor:ENDPOINT` | string | id of the last event that was delivered to an endpoint |
//! | `PREFIX:hooks:dead:ENDPOINT` | list | events that were given up |
//! | `PREFIX:everyone` | channel | messages to all nodes |
//! | `PREFIX:probe:NUMBER` | channel | a node's probes of its own subscription |
//!
//! Values and messages are JSON; [`crate::owner::redis::wire`] and [`crate::owner::redis::cluster`] name their fields.

use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::domain::hook::HookKind;
use crate::domain::quota::QuotaKind;
use crate::message::redis::Bytes;

/// Marks the key and channel of a room, after the prefix.
const ROOM_MARK: &[u8] = b":room:{";

/// First bytes of a message about a user, on every channel.
pub(super) const USER_MESSAGE_START: &[u8] = b"{\"u\":";

/// First bytes of a change of the list of revocations.
pub(super) const REVOCATION_START: &[u8] = b"{\"l\":";

/// First bytes of a marker that a node publishes to a room; see [`crate::owner::redis::rooms`].
pub(super) const MARKER_START: &[u8] = b"{\"z\":";

/// First bytes of the answer of a script that did not begin because its keys are moving between servers, or because the
/// room's new server still waits for what the nodes know.
pub(super) const UNSETTLED_START: &[u8] = b"{\"x\":\"unsettled\"";

/// Name of the argument of scripts that publish to a room in a cluster with sharded channels.
pub(super) const SHARDED_PUBLISH: &str = "SPUBLISH";

/// Audience of a room event: all members, except the connection that follows the mark.
pub(super) const TO_MEMBERS: &str = "*";

/// Audience of a room event: the connection that follows the mark.
pub(super) const TO_CONNECTION: &str = "@";

/// Kinds of quota by their number in Redis.
pub(super) const QUOTA_KINDS: [QuotaKind; 3] = [QuotaKind::Messages, QuotaKind::Typing, QuotaKind::Rest];

/// Characters of a room's epoch.
pub(super) const EPOCH_CHARS: usize = 8;

/// Time without a renewal after which a node counts as dead, in milliseconds.
pub(super) const LEASE_MS: u64 = 15_000;

/// Time a session without an end is kept after its last update, in milliseconds.
pub(super) const LIVE_SESSION_MS: u64 = 24 * 3_600_000;

/// Time the room list of a user is kept after its last use, in milliseconds.
pub(super) const ROOM_LIST_MS: u64 = 30 * 24 * 3_600_000;

/// Room names in one answer about listed rooms.
pub(super) const LISTED_ROOMS_MAX: u64 = 10_000;

/// Events in the outbox of hook events; the oldest make room for others.
const HOOK_EVENTS_MAX: u64 = 250_000;

/// Rooms, and users, of a dead node that one call returns.
pub(super) const DEAD_NODE_PORTION: u64 = 256;

/// Rooms with an expired list entry that one renewal returns.
pub(super) const OVERDUE_ROOMS_MAX: u64 = 1_024;

/// Names the constants of the Lua scripts: each becomes `local NAME = VALUE` at the head of the scripts that use it.
macro_rules! lua_constants {
    ($(#[$meta:meta])* $list:ident: $($name:ident = $value:expr;)*) => {
        $(#[$meta])*
        pub(super) const $list: &[&str] = &[$("local ", stringify!($name), " = ", {
            static VALUE: Decimal = Decimal::of($value);
            VALUE.text()
        }, "\n"),*];
    };
}

lua_constants! {
    /// Constants of the scripts of rooms.
    ROOM_CONSTANTS:
    JOINED_ROOM_IDLE_MS = limits::JOINED_ROOM_IDLE_MS;
    MADE_ROOM_IDLE_MS = limits::MADE_ROOM_IDLE_MS;
    // Nodes have so long to end a room that is idle, and to tell of it.
    IDLE_MARGIN_MS = 600_000;
    CLOSED_ROOM_MS = limits::CLOSED_ROOM_MS;
    SEQ_MAX = limits::SEQ_MAX;
    SIGNALS_MS = limits::SIGNALS_MS;
    TYPISTS_PER_ROOM = limits::TYPISTS_PER_ROOM as u64;
    RECEIPTED_MESSAGES = limits::RECEIPTED_MESSAGES_PER_ROOM as u64;
    STREAMS_PER_ROOM = limits::STREAMS_PER_ROOM as u64;
    REPEAT_MS = limits::REPEAT_MS;
    REPEATED_PUBLICATION_MS = limits::REPEATED_PUBLICATION_MS;
    UNREAD_MESSAGES = limits::UNREAD_MESSAGES as u64;
    RECEIPTS_PER_REQUEST = limits::RECEIPTS_PER_REQUEST as u64;
    PAGE_BYTES = limits::PAGE_BYTES as u64;
    PARTICIPANTS_MAX = limits::PARTICIPANTS_PER_ROOM as u64;
    // Missed messages, or missed events, in one answer.
    MISSED_PORTION = 250;
    // Entries of a log that are read at once: what a script reads beyond its bound is less than so many.
    READ_STEP = 8;
    // Members listed of a room with more than twice `rooms.announce_limit`: the list costs Redis about 2 microseconds each.
    MEMBERS_SAMPLED = 250;
    MARKS_LISTED = 2 * limits::RECEIPTS_LISTED as u64;
    EVENTS_KEPT = 512;
    // The log of a room without members is copied up to this length.
    COMPACTED_MESSAGES = 64;
    RECEIPTS_MS = 30 * 24 * 3_600_000;
    // Every so many messages a log is trimmed, each time by at most TRIMMED_MAX messages.
    TRIM_EVERY = 8;
    TRIMMED_MAX = 64;
    // A room that has changed its server waits so long for what the nodes know of it; then its epoch ends.
    TAKEOVER_MS = 5_000;
    EPOCH_CHARS = EPOCH_CHARS as u64;
    // So many takeovers are kept, each with the number of the last events before it.
    TAKEOVERS_KEPT = 16;
    // Digits of a takeover that no other one has.
    TAKEOVER_DIGITS = 12;
    HOOK_EVENTS_MAX = HOOK_EVENTS_MAX;
    HOOK_ROOM_CREATED = HookKind::RoomCreated.bit();
    HOOK_ROOM_CLOSED = HookKind::RoomClosed.bit();
    HOOK_ROOM_OCCUPIED = HookKind::RoomOccupied.bit();
    HOOK_ROOM_VACATED = HookKind::RoomVacated.bit();
    HOOK_MEMBER_JOINED = HookKind::MemberJoined.bit();
    HOOK_MEMBER_LEFT = HookKind::MemberLeft.bit();
    HOOK_MESSAGE = HookKind::MessagePublished.bit();
    HOOK_MESSAGE_EDITED = HookKind::MessageEdited.bit();
    HOOK_MESSAGE_DELETED = HookKind::MessageDeleted.bit();
}

lua_constants! {
    /// Constants of the scripts of users.
    USER_CONSTANTS:
    HOOK_EVENTS_MAX = HOOK_EVENTS_MAX;
    HOOK_CONNECTION_OPENED = HookKind::ConnectionOpened.bit();
    HOOK_CONNECTION_CLOSED = HookKind::ConnectionClosed.bit();
    HOOK_USER_ONLINE = HookKind::UserOnline.bit();
    HOOK_USER_OFFLINE = HookKind::UserOffline.bit();
    HOOK_OFFLINE_MESSAGE = HookKind::MessageToOfflineUser.bit();
    PARTED_ROOMS = limits::PARTED_ROOMS as u64;
    PENDING_MS = limits::PENDING_MS;
    NAMES_MAX = limits::REGISTRATIONS_PER_USER as u64;
    ROOMS_LISTED = limits::ROOMS_LISTED as u64;
    ROOM_LIST_MS = ROOM_LIST_MS;
    // Rooms that are looked at each time a user makes one who has made many.
    MADE_CHECKED = 16;
    WAITING_MESSAGES = 500;
    WAITING_BYTES = limits::PAGE_BYTES as u64;
    GUEST_MS = 60_000;
    PUSH_MS = limits::PUSH_MS;
    REPEATED_PUBLICATION_MS = limits::REPEATED_PUBLICATION_MS;
    MINUTE_MS = 60_000;
    // A list entry this young may be of a room that is being made.
    NEW_ENTRY_MS = 60_000;
}

lua_constants! {
    /// Constants of the scripts of sessions.
    SESSION_CONSTANTS:
    LIVE_SESSION_MS = LIVE_SESSION_MS;
    SESSION_TAKEN_MS = limits::SESSION_TAKEN_MS;
}

lua_constants! {
    /// Constants of the scripts of revocations.
    REVOCATION_CONSTANTS:
    // Revocations that one call returns or removes.
    PORTION = 500;
    // A revocation is removed so long after its end.
    OVER_MS = 60_000;
}

lua_constants! {
    /// Constants of the scripts of the outbox.
    OUTBOX_CONSTANTS:
    HOOK_EVENTS_MAX = HOOK_EVENTS_MAX;
    LISTED = limits::DEAD_LETTERS_LISTED as u64;
}

lua_constants! {
    /// Constants of the scripts of the nodes.
    NODE_CONSTANTS:
    LEASE_MS = LEASE_MS;
    NODES_MAX = u16::MAX as u64;
    LISTED_ROOMS_MAX = LISTED_ROOMS_MAX;
    DEAD_NODE_PORTION = DEAD_NODE_PORTION;
    OVERDUE_ROOMS_MAX = OVERDUE_ROOMS_MAX;
    MADE_ROOM_IDLE_MS = limits::MADE_ROOM_IDLE_MS;
    JOINED_ROOM_IDLE_MS = limits::JOINED_ROOM_IDLE_MS;
    // A list entry this young may be of a room that is being made.
    NEW_ENTRY_MS = 60_000;
    // A room whose list entry has expired is looked at by another node after this time.
    OVERDUE_AGAIN_MS = 60_000;
    // Lua unpacks no more values than this at once.
    NAMES_PER_COMMAND = 1_000;
}

/// A number in decimal digits, made by the compiler.
struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    const fn of(mut value: u64) -> Self {
        let (mut digits, mut start) = ([b'0'; 20], 20);
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                return Self { digits, start };
            }
        }
    }

    const fn text(&self) -> &str {
        utf8(self.digits.split_at(self.start).1)
    }
}

pub(super) const fn utf8(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("generated texts are UTF-8"),
    }
}

pub(super) const fn length(parts: &[&str]) -> usize {
    let (mut sum, mut at) = (0, 0);
    while at < parts.len() {
        sum += parts[at].len();
        at += 1;
    }
    sum
}

/// All parts, one behind the other, by the compiler.
pub(super) const fn joined<const N: usize>(parts: &[&str]) -> [u8; N] {
    let (mut bytes, mut end, mut at) = ([0; N], 0, 0);
    while at < parts.len() {
        let part = parts[at].as_bytes();
        bytes.split_at_mut(end).1.split_at_mut(part.len()).0.copy_from_slice(part);
        end += part.len();
        at += 1;
    }
    bytes
}

/// Makes the names of keys and channels.
#[derive(Clone, Debug)]
pub struct KeySchema {
    prefix: Box<str>,
}

impl KeySchema {
    /// Names that begin with `prefix`.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// Key of a room, and channel of its events.
    pub fn room(&self, room: &str) -> Bytes {
        self.tagged("room", room)
    }

    /// Key of a user.
    pub fn user(&self, user: &str) -> Bytes {
        self.tagged("user", user)
    }

    /// Key of the recoverable session of a connection.
    pub fn session(&self, connection: ConnectionId) -> Bytes {
        self.tagged("session", connection.text().as_str())
    }

    /// Key of a node's places, and channel of messages to it.
    pub fn node(&self, node: u16) -> Bytes {
        self.tagged("node", &node.to_string())
    }

    /// Key of the set of all nodes.
    pub fn nodes(&self) -> Bytes {
        self.tagged("nodes", "all")
    }

    /// Key of the list of revocations.
    pub fn revocations(&self) -> Bytes {
        self.tagged("revocations", "all")
    }

    /// Key of the outbox of hook events. It has no hash tag: a Redis Cluster cannot have it.
    pub fn hooks(&self) -> String {
        format!("{}:hooks", self.prefix)
    }

    /// Channel of a node's probes. It has no hash tag: the bridge appends one for each server of a cluster.
    pub fn probe(&self, node: u16) -> Bytes {
        format!("{}:probe:{node}", self.prefix).into_bytes().into()
    }

    /// Channel of messages to all nodes.
    pub fn everyone(&self) -> Bytes {
        format!("{}:everyone", self.prefix).into_bytes().into()
    }

    /// The room of a key or channel, unless that belongs to another kind of thing.
    pub fn room_of(&self, key: &[u8]) -> Option<String> {
        let rest = key.strip_prefix(self.prefix.as_bytes())?.strip_prefix(ROOM_MARK)?;
        let tag = rest.split(|byte| *byte == b'}').next()?;
        untag(std::str::from_utf8(tag).ok()?)
    }

    /// Whether a channel is sharded in a cluster: published by the server that keeps the room. All other channels belong to
    /// the whole cluster, because the script of a user publishes to nodes, whose channels belong to other slots. Those
    /// messages are few, compared with the messages of rooms.
    pub fn is_sharded(channel: &[u8]) -> bool {
        channel.windows(ROOM_MARK.len()).any(|part| part == ROOM_MARK)
    }

    /// Whether a channel is a pattern of names: that of emitters, which ends with `*`. No other one does.
    pub fn is_pattern(channel: &[u8]) -> bool {
        channel.ends_with(b"*")
    }

    fn tagged(&self, kind: &str, name: &str) -> Bytes {
        let mut key = format!("{}:{kind}:{{", self.prefix);
        for part in name.split_inclusive(['{', '}', '%']) {
            let (plain, last) = part.split_at(part.len() - part.ends_with(['{', '}', '%']) as usize);
            key.push_str(plain);
            key.push_str(match last {
                "{" => "%7B",
                "}" => "%7D",
                "%" => "%25",
                _ => "",
            });
        }
        key.push('}');
        key.into_bytes().into()
    }
}

/// The name in a hash tag, without escapes.
fn untag(tag: &str) -> Option<String> {
    let mut parts = tag.split('%');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let byte = u8::from_str_radix(part.get(..2)?, 16).ok()?;
        name.push(char::from(byte));
        name.push_str(&part[2..]);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_room_is_found_by_its_key(name in "\\PC{1,20}|[{}%a]{1,9}") {
            let keys = KeySchema::new("switchboard");
            let key = keys.room(&name);
            prop_assert_eq!(keys.room_of(&key), Some(name));
            let braces = |brace| key.iter().filter(|byte| **byte == brace).count();
            prop_assert_eq!((braces(b'{'), braces(b'}')), (1, 1));
        }
    }

    #[test]
    fn other_keys_are_no_rooms() {
        let keys = KeySchema::new("a");
        assert_eq!(keys.room_of(&keys.user("r")), None);
        assert_eq!(keys.room_of(&KeySchema::new("ab").room("r")), None);
        assert_eq!(keys.room_of(&keys.everyone()), None);
    }
}
