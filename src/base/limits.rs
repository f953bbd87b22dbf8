//! Limits that are not settings, each with its reason. Limits that an operator may change are settings.

/// Pending requests per connection; above it the shard stops reading from the connection. Enough for a pipelining
/// client, too few for one client to fill the queue of a room's owner.
pub const ASKS_PER_CONNECTION: u8 = 128;

/// Pending requests per shard; above it new ones are refused with `OVERLOADED`.
pub const ASKS_PER_SHARD: usize = 262_144;

/// Messages queued for one shard; above it senders refuse new work with `OVERLOADED`.
pub const MAIL_PER_SHARD: usize = 262_144;

/// Timeout for the peer's close frame or end of stream, in milliseconds.
pub const CLOSING_MS: u64 = 3_000;

/// Time after `limits.idle_ms` at which an idle HTTP connection is closed, in milliseconds: a client or proxy with the same
/// timeout closes first, and its last request is answered.
pub const IDLE_GRACE_MS: u64 = 1_000;

/// Bytes of an HTTP response that a client must read per [`CLOSING_MS`] to keep the connection open: about 5 KiB/s.
pub const TAKEN_BYTES_MIN: usize = 16 * 1024;

/// Tolerated difference between this server's clock and a token issuer's, in seconds.
pub const TOKEN_LEEWAY_S: u64 = 30;

/// Maximum size of a `requestId` as JSON, in bytes.
pub const REQUEST_ID_BYTES: usize = 256;

/// Maximum size of a display name, in bytes.
pub const DISPLAY_NAME_BYTES: usize = 128;

/// Maximum size of the `data` of a member, as JSON, in bytes: each member of a room is shown it.
pub const MEMBER_DATA_BYTES: usize = 1024;

/// Maximum size of a message's `metadata` and of its `attachment`, each as JSON, in bytes.
pub const EXTRA_BYTES: usize = 16 * 1024;

/// Maximum size of a message's type and of a reason, in bytes.
pub const LABEL_BYTES: usize = 64;

/// Maximum size of a room's description, in bytes: members receive it with each change of the room.
pub const DESCRIPTION_BYTES: usize = 1_024;

/// API keys that the server keeps: every shard has all of them.
pub const API_KEYS: usize = 1_000;

/// Beginnings of ids of rooms that an API key can be limited to.
pub const KEY_PREFIXES: usize = 16;

/// Grants of a connection, of its token and of subscription tokens: as many rooms as a connection is usually in.
pub const GRANTS: usize = 256;

/// Maximum size of the application's data of a room as JSON, in bytes: members receive it with each change of the room.
pub const ROOM_METADATA_BYTES: usize = 4_096;

/// Maximum size of the reason of a block, in bytes: it fits a close frame.
pub const REASON_BYTES: usize = 100;

/// Revocations in the list that every shard holds: about 30 MB.
pub const REVOCATIONS: usize = 100_000;

/// Maximum number of participants named for a room: Redis lists as many in a millisecond.
pub const PARTICIPANTS_PER_ROOM: usize = 5_000;

/// Maximum number of participants that a call names: a room costs about as much memory as the call has bytes.
pub const PARTICIPANTS_PER_CALL: usize = 500;

/// Messages per room with a sender remembered for receipts.
pub const RECEIPTED_MESSAGES_PER_ROOM: usize = 1_000;

/// Receipts per room that are remembered, so that repeated ones are not sent again.
pub const RECEIPTS_KNOWN: usize = 1_024;

/// Time after which a member that has been relayed as many bytes of signals as it takes at once takes as many again, in
/// milliseconds: 256 KiB/s by default, far more than calls need.
pub const SIGNALS_MS: u64 = 3_000;

/// Duration of a typing indicator that is not renewed, in milliseconds.
pub const TYPING_MS: u64 = 5_000;

/// Typing connections per room; indicators beyond it are dropped, as no user interface could show them.
pub const TYPISTS_PER_ROOM: usize = 250;

/// Rooms, per user, that are remembered after a connection has closed, to announce there that the user is offline: as
/// many as ten connections may join.
pub const PARTED_ROOMS: usize = 1_000;

/// The largest sequence number: all whole numbers up to it have a double of their own, which Lua and JavaScript calculate with.
pub const SEQ_MAX: u64 = (1 << 53) - 1;

/// Lifetime of an empty room that was created by joining, in milliseconds.
pub const JOINED_ROOM_IDLE_MS: u64 = 60_000;

/// Lifetime of an unused room that was created explicitly, in milliseconds.
pub const MADE_ROOM_IDLE_MS: u64 = 24 * 3_600_000;

/// Unloaded rooms, and users with waiting messages, known per shard: 18 MiB and 10 MiB at most. Beyond it the arrival of a user,
/// or at a room, that is not known asks storage.
pub const STORED_NAMES: usize = 7 << 17;

/// Users remembered by a server without a data directory, about 20 MiB; beyond it those without messages are forgotten.
pub const USERS_IN_MEMORY: u64 = 100_000;

/// How long a closed room is remembered, so that a late join is answered with the reason, in milliseconds.
pub const CLOSED_ROOM_MS: u64 = 60_000;

/// Closed rooms remembered per shard.
pub const CLOSED_ROOMS: usize = 4_096;

/// Age of the oldest record in the storage queue, in milliseconds; above it no further record is queued.
pub const STORE_LATE_MS: u64 = 2_000;

/// Lifetime of an idempotency record: a message with the same `clientMessageId` is not sent again within it, in
/// milliseconds.
pub const REPEAT_MS: u64 = 300_000;

/// Idempotency records per shard: about 100 MiB at most.
pub const REPEATS: usize = 1 << 20;

/// Lifetime of the idempotency record of a backend's message, in milliseconds.
pub const REPEATED_PUBLICATION_MS: u64 = 24 * 3_600_000;

/// Idempotency records of backends' messages per shard: about 25 MiB at most.
pub const REPEATED_PUBLICATIONS: usize = 1 << 18;

/// How long a push with an idempotency key is taken to be under way if its end is not reported, in milliseconds.
pub const PUSH_MS: u64 = 60_000;

/// Pushes with an idempotency key under way per owner.
pub const PUSHES_UNDER_WAY: usize = 4_096;

/// Pushes with an idempotency key in the store; beyond that the oldest are forgotten.
pub const KEPT_PUSHES: i64 = 1 << 17;

/// Prefix of a backend's idempotency key where it is stored as the client id of its message.
pub const PUBLICATION_KEY_PREFIX: &str = "idempotency:";

/// Maximum size of an event's name and of an idempotency key, in bytes.
pub const EVENT_BYTES: usize = 128;

/// Maximum number of messages in one call of a backend.
pub const BATCH_MESSAGES: usize = 1_000;

/// Maximum number of rooms and users that the messages of one call name in all: their replies wait in memory for the last one.
pub const BATCH_TARGETS: usize = 10_000;

/// Rooms, or users, of one published message.
pub const PUBLISHED_TARGETS: usize = 100;

/// How long a consumed session is remembered, in milliseconds: longer than messages are in transit.
pub const SESSION_TAKEN_MS: u64 = 60_000;

/// Delay before a failed load of a user's direct messages is retried, in milliseconds.
pub const DIRECTS_AGAIN_MS: u64 = 1_000;

/// Last messages that a client can have with a join.
pub const REWIND_MESSAGES: usize = 100;

/// Open streams per room: each takes some hundred bytes, and a room of agents has one for each of them.
pub const STREAMS_PER_ROOM: usize = 1_024;

/// How long the pieces of a stream are gathered before they are sent: unnoticed by a reader, and a fraction of the messages.
pub const PIECES_MS: u64 = 40;

/// Pieces that are gathered at most: what comes later waits for no more.
pub const PIECES_GATHERED: usize = 64;

/// Messages that one request marks as delivered or read.
pub const RECEIPTS_PER_REQUEST: usize = 100;

/// The last messages that are looked at to count those that a user has not read.
pub const UNREAD_MESSAGES: usize = 500;

/// Requests of a connection that wait for the last messages it joins with; another one is refused.
pub const REWIND_WAITING: usize = 128;

/// Missed messages per room sent to a recovered client; more are available through the history.
pub const MISSED_MESSAGES: usize = 2_000;

/// Content of missed messages per room, in bytes; above it none are collected.
pub const MISSED_BYTES: usize = 1 << 20;

/// Maximum size of a Socket.IO client's offset, in bytes: about a thousand rooms.
pub const OFFSET_BYTES: usize = 64 * 1024;

/// Delay between a connection's activity and its record for recovery, in milliseconds.
pub const SESSION_NOTED_MS: u64 = 100;

/// Pause between two writes of the positions of members, in milliseconds, and the number of members in one. A write is about
/// 200 bytes for each room of a member.
pub const POSITIONS_EVERY_MS: u64 = 1_000;
/// See [`POSITIONS_EVERY_MS`].
pub const POSITIONS_AT_ONCE: usize = 100;

/// Memory per shard for closed connections that may be recovered, in bytes: about a million connections.
pub const DEPARTED_BYTES: usize = 128 << 20;

/// Delay before a user's arrival is recorded, in milliseconds. If the user leaves earlier, it is recorded then.
pub const ARRIVAL_NOTED_MS: u64 = 10_000;

/// Outgoing data collected in a turn, in bytes; above it the data is written.
pub const TURN_BYTES: usize = 4 << 20;

/// Deliveries that messages to large rooms may cause in one turn, in bytes. All clients that send such messages share it.
pub const BROADCAST_BYTES: usize = 48 << 20;

/// The same while other clients send, too: they wait for the end of the turn.
pub const BROADCAST_SHARED_BYTES: usize = 4 << 20;

/// For how long the turns are short after a request of another client, in milliseconds.
pub const BROADCAST_SHARED_MS: u64 = 1_000;

/// Members of a room on one shard from which it is a large one.
pub const BROADCAST_MEMBERS: usize = 32;

/// Raw members of a room on one shard from which its messages are written to them over several turns while other clients send,
/// too.
pub const BULK_MEMBERS: usize = 256;

/// What a write costs beside its bytes, as bytes that cost the same.
pub const WRITE_BYTES: usize = 4096;

/// Connections with a backlog that may wait for a later turn.
pub const WRITABLE_LISTED: usize = 65_536;

/// What such writes of one turn, and those of backlogs, may cost together, as bytes that cost the same.
pub const BULK_TURN_BYTES: usize = 1 << 20;

/// Bytes of a delivered message beside its content, about.
pub const BROADCAST_OVERHEAD: usize = 128;

/// Responses queued on one connection, in bytes; above it the next pipelined request is not read.
pub const ANSWERS_BYTES: usize = 64 * 1024;

/// Lifetime of a registration without its connection, in milliseconds.
pub const PENDING_MS: u64 = 60_000;

/// Registrations per owner, with or without a connection.
pub const REGISTRATIONS: usize = 10_000;

/// Registrations per user: the default number of connections.
pub const REGISTRATIONS_PER_USER: usize = 20;

/// Maximum size of a client's device description as JSON, in bytes.
pub const DEVICE_BYTES: usize = 2 * 1024;

/// Bytes kept of a `User-Agent` header; those of browsers are shorter.
pub const AGENT_BYTES: usize = 256;

/// Distinct `User-Agent`s kept per shard; further ones are not recorded.
pub const AGENTS: usize = 4_096;

/// Target users of one push request.
pub const PUSHED_USERS: usize = 1_000;

/// Users in one page of connected users.
pub const USERS_LISTED: usize = 1_000;

/// Users in the list of a room's online users.
pub const ONLINE_LISTED: usize = 100;

/// Rooms in one page of rooms.
pub const ROOMS_LISTED: usize = 1_000;

/// Rooms in one page of the rooms that a backend searches. Each can have a description and metadata.
pub const ROOMS_SEARCHED: usize = 100;

/// Rooms that an owner looks at for one such page; a search by name can find few of them.
pub const ROOMS_SCANNED: usize = 10_000;

/// The same with Redis, which is asked for each.
pub const ROOMS_ASKED: usize = 250;

/// Characters of the text that rooms are searched for.
pub const SEARCH_CHARS: usize = 64;

/// Content of one page from the store, in bytes; above it no further message is added. Redis reads as much in less than a
/// millisecond, and does nothing else meanwhile.
pub const PAGE_BYTES: usize = 256 * 1024;

/// Users in the receipts of one message.
pub const RECEIPTS_LISTED: usize = 1_000;

/// Filters of the log in force: each is compared with each event.
pub const LOG_FILTERS: usize = 32;

/// Duration of a filter of the log by default, in seconds.
pub const LOG_FILTER_S: u64 = 600;

/// Longest duration of a filter of the log, in seconds.
pub const LOG_FILTER_MAX_S: u64 = 24 * 3_600;

/// Traces of a process that are watched at a time: each is compared with each frame.
pub const TRACES: usize = 8;

/// Duration of a trace by default, in seconds.
pub const TRACE_S: u64 = 600;

/// Longest duration of a trace, in seconds.
pub const TRACE_MAX_S: u64 = 3_600;

/// Frames that a shard adds to a trace in a second; further ones are counted only.
pub const TRACED_FRAMES: u32 = 1_000;

/// Bytes of a frame that a trace shows.
pub const TRACED_BYTES: usize = 2_048;

/// Milliseconds between two notices of one kind to the operator that clients can cause.
pub const NOTICE_MS: u64 = 60_000;

/// Dead letters of webhooks in one list.
pub const DEAD_LETTERS_LISTED: usize = 100;

/// Messages of a turn whose way is timed for the metrics; bounds the memory that their times take.
pub const PUBLICATIONS_TIMED: usize = 4096;

/// Answers of hooks that a shard keeps.
pub const DECISIONS_KEPT: usize = 10_000;

/// Events of a socket that wait for the answer to an earlier one.
pub const EVENTS_WAITING: usize = 64;

/// Their bytes.
pub const EVENT_BYTES_WAITING: usize = 512 << 10;

/// Namespaces of Socket.IO that belong to the application.
pub const APP_NAMESPACES: usize = 32;

/// Bytes of the events that a namespace of the application keeps for lost connections.
pub const APP_LOG_BYTES: usize = 16 << 20;

/// Lost connections to a namespace of the application that can be recovered at a time.
pub const APP_SESSIONS: usize = 50_000;

/// Rooms of a socket in a namespace of the application.
pub const APP_ROOMS: usize = 1_000;

/// Bytes of the name of a room or socket in a namespace of the application.
pub const APP_ROOM_BYTES: usize = 256;

/// Rooms and sockets that a call on a namespace of the application names.
pub const APP_TARGETS: usize = 1_000;

/// Longest time that acknowledgements are waited for, in milliseconds.
pub const ACK_WAIT_MS: u64 = 60_000;

/// Calls of a shard that wait for acknowledgements.
pub const ACK_CALLS: usize = 1_024;

/// Bytes of the acknowledgements of one event.
pub const ACKS_BYTES: usize = 4 << 20;

/// Longest time that a request for an issuer's keys takes, in milliseconds.
pub const KEY_FETCH_MS: u64 = 5_000;

/// Shortest pause before a request for keys that a token names and that are not known, in milliseconds.
pub const KEY_FETCH_PAUSE_MS: u64 = 1_000;

/// Longest such pause, which comes after several requests that brought no other keys.
pub const KEY_FETCH_PAUSE_MAX_MS: u64 = 8_000;

/// Longest time that a client may wait for keys, in milliseconds: a request that is under way, the pause and the next request.
pub const KEY_WAIT_MS: u64 = 2 * KEY_FETCH_MS + KEY_FETCH_PAUSE_MAX_MS;

/// Clients of a shard that wait for keys.
pub const KEY_WAITS: usize = 512;

/// Bytes of what a client that waits for keys has sent to a namespace.
pub const KEY_WAIT_BYTES: usize = 20 << 10;
