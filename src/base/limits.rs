//! Every bound that is not a setting, with its reason. Those an operator may change are in the settings.

/// Asks one connection may have under way before the shard stops reading from it: enough to keep a pipelining client
/// busy, few enough that one client cannot fill a room's home with its questions.
pub const ASKS_PER_CONNECTION: u8 = 128;

/// Asks a shard may have under way in all before new ones are refused with `OVERLOADED`.
pub const ASKS_PER_SHARD: usize = 262_144;

/// Mail waiting for one shard beyond which its senders refuse new work with `OVERLOADED` rather than queue it.
pub const MAIL_PER_SHARD: usize = 262_144;

/// How long the server waits for the other side's close frame or for the end of the stream, in milliseconds.
pub const CLOSING_MS: u64 = 3_000;

/// Bytes of an HTTP answer that a client must take in each such time for the server to wait longer: 5 KiB a second.
pub const TAKEN_BYTES_MIN: usize = 16 * 1024;

/// How far this server's clock and a token issuer's may be apart, in seconds.
pub const TOKEN_LEEWAY_S: u64 = 30;

/// Bytes a `requestId` may have, as JSON.
pub const REQUEST_ID_BYTES: usize = 256;

/// Bytes a display name may have.
pub const DISPLAY_NAME_BYTES: usize = 128;

/// Bytes of a message's `metadata` and `attachment`, each, as JSON.
pub const EXTRA_BYTES: usize = 16 * 1024;

/// Bytes of a message's type and of a reason.
pub const LABEL_BYTES: usize = 64;

/// People a room may name as its participants.
pub const PARTICIPANTS_PER_ROOM: usize = 10_000;

/// Messages of a room whose sender is remembered so that a receipt finds its way.
pub const RECEIPTED_MESSAGES_PER_ROOM: usize = 1_000;

/// How long somebody types who does not say so again, in milliseconds.
pub const TYPING_MS: u64 = 5_000;

/// Connections that may type in a room at once; what more of them say is not passed on. Nobody could read so many names.
pub const TYPISTS_PER_ROOM: usize = 1_000;

/// Rooms that a user's ended connections were in whose members are told when the user goes offline: as many as ten
/// connections may be in.
pub const PARTED_ROOMS: usize = 1_000;

/// An empty room that came to be by joining is kept this long, in milliseconds.
pub const JOINED_ROOM_IDLE_MS: u64 = 60_000;

/// A room that was made on purpose is kept this long after it was last used, in milliseconds.
pub const MADE_ROOM_IDLE_MS: u64 = 24 * 3_600_000;

/// A closed room is remembered this long, in milliseconds, so that who comes late is told that it was closed.
pub const CLOSED_ROOM_MS: u64 = 60_000;

/// Closed rooms a shard remembers at once.
pub const CLOSED_ROOMS: usize = 4_096;

/// How long a record may wait for the store before nothing more is given to it, in milliseconds.
pub const STORE_LATE_MS: u64 = 2_000;

/// How long a sender may repeat a message under the same `clientMessageId` without its being sent again, in milliseconds.
pub const REPEAT_MS: u64 = 300_000;

/// Messages that a shard remembers for that at once: some 100 MiB at the most.
pub const REPEATS: usize = 1 << 20;

/// How long it is remembered that a session was used up, in milliseconds: until all that was on its way is there.
pub const SESSION_TAKEN_MS: u64 = 60_000;

/// How long until the store is asked again for what waits for a user, when it could not say, in milliseconds.
pub const DIRECTS_AGAIN_MS: u64 = 1_000;

/// Messages that a client which comes back gets for one room; who missed more pages through the history.
pub const MISSED_MESSAGES: usize = 2_000;

/// Bytes of content of those messages, beyond which they are not gathered either.
pub const MISSED_BYTES: usize = 1 << 20;

/// Bytes of an offset that a Socket.IO client shows: some thousand rooms'.
pub const OFFSET_BYTES: usize = 64 * 1024;

/// Between what a connection does and its being noted for recovery, in milliseconds.
pub const SESSION_NOTED_MS: u64 = 100;

/// Bytes that a shard remembers of connections that have gone, so that their clients may come back: some million of them.
pub const DEPARTED_BYTES: usize = 128 << 20;

/// Between a user's coming and its being noted that they were here, in milliseconds. Who leaves before is noted then.
pub const ARRIVAL_NOTED_MS: u64 = 10_000;

/// Bytes of outgoing data a turn may gather before it is written.
pub const TURN_BYTES: usize = 4 << 20;

/// Bytes of answers to pipelined requests that one connection may have waiting before its next request is read.
pub const ANSWERS_BYTES: usize = 64 * 1024;

/// A registration waits this long for its connection, in milliseconds.
pub const PENDING_MS: u64 = 60_000;

/// Registrations one keeper has at once, with or without their connections.
pub const REGISTRATIONS: usize = 10_000;

/// Registrations of one user: as many as connections, by default.
pub const REGISTRATIONS_PER_USER: usize = 20;

/// Bytes of what a client says of its device, as JSON: enough for a browser's own words and a few fields.
pub const DEVICE_BYTES: usize = 2 * 1024;

/// Bytes that are kept of a `User-Agent`; those of browsers have less.
pub const AGENT_BYTES: usize = 256;

/// Different `User-Agent`s a shard keeps at once; whoever comes with yet another one has none.
pub const AGENTS: usize = 4_096;

/// Users that one call may push a message to.
pub const PUSHED_USERS: usize = 1_000;

/// Users in one answer to a question for connected users.
pub const USERS_LISTED: usize = 1_000;

/// Users in a list of a room's users who are online.
pub const ONLINE_LISTED: usize = 100;

/// Rooms in one answer to a question for all rooms.
pub const ROOMS_LISTED: usize = 1_000;

/// Bytes of content in one answer of the store, beyond which it holds no further message.
pub const PAGE_BYTES: usize = 1 << 20;

/// Users whose receipts one answer about a message lists.
pub const RECEIPTS_LISTED: usize = 10_000;
