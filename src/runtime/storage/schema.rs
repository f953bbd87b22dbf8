//! The tables, and the migration of files with an older schema.
//!
//! Inside the file, rooms and users have numbers, so that the rows that refer to them are short. Messages of all rooms
//! are stored in the order of arrival: new ones fill the last pages of the table instead of one page per room. One
//! index finds them by room and seq, one by id. Ids begin with the time, so that index grows at its end too.

use rusqlite::{Connection, Result};

/// `PRAGMA application_id` of the file: "SwBd".
pub(super) const APPLICATION_ID: i32 = 0x5377_4264;

/// The schema's version (`PRAGMA user_version`) after all steps.
pub(super) const VERSION: i32 = STEPS.len() as i32;

/// Step n migrates version n to n + 1. A released step never changes.
const STEPS: [&str; 14] = [
    ROOMS_AND_MESSAGES,
    DIRECTS_SESSIONS_AND_PRESENCE,
    DIALECTS_OF_SESSIONS,
    SESSIONS_BY_TOKEN,
    NAMES_OF_SENDERS,
    EVENTS_OF_MESSAGES,
    DESCRIPTIONS_OF_ROOMS,
    ROOMS_BY_MAKER,
    REVOCATIONS_AND_HOSTS,
    HOOK_EVENTS,
    METADATA_OF_ROOMS,
    REVISIONS_OF_MESSAGES,
    STREAMS,
    PUSHES_AND_ANSWERS,
];

const ROOMS_AND_MESSAGES: &str = "
    -- What the file's last user left to the next one: durability, boot, clean.
    CREATE TABLE state(
        name TEXT NOT NULL PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE user(
        number INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        used_day INTEGER NOT NULL     -- days since 1970: no row is younger that refers to the user
    );

    CREATE TABLE room(
        number INTEGER PRIMARY KEY,
        name TEXT UNIQUE,             -- NULL: closed, its rows still to be deleted
        epoch TEXT NOT NULL,
        host TEXT NOT NULL,
        host_username TEXT,
        host_roles INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        history INTEGER NOT NULL,
        keep_messages INTEGER,        -- NULL: as the settings say; 0: without a bound
        keep_ms INTEGER,              -- likewise
        trimmed INTEGER NOT NULL,     -- messages up to this number are no longer kept
        has_profile INTEGER NOT NULL,
        title TEXT,
        kind TEXT,
        is_private INTEGER NOT NULL,
        host_peer TEXT,
        max_participants INTEGER NOT NULL,
        encryption TEXT
    );
    CREATE INDEX room_closed ON room(number) WHERE name IS NULL;
    CREATE INDEX room_keep_ms ON room(keep_ms) WHERE keep_ms IS NOT NULL;

    CREATE TABLE participant(
        number INTEGER PRIMARY KEY,   -- the order they were added in
        room INTEGER NOT NULL,
        user INTEGER NOT NULL,
        UNIQUE(room, user)
    );
    CREATE INDEX participant_user ON participant(user);

    CREATE TABLE message(
        number INTEGER PRIMARY KEY,
        room INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        id BLOB NOT NULL,
        at INTEGER NOT NULL,
        sender INTEGER NOT NULL,
        username TEXT,                -- NULL: the user's name
        peer NOT NULL,                -- TEXT: a chosen name; BLOB: a connection's id
        body TEXT NOT NULL,
        kind TEXT,
        reply_to TEXT,
        attachment TEXT,
        metadata TEXT,
        client_id TEXT
    );
    CREATE UNIQUE INDEX message_place ON message(room, seq);
    CREATE UNIQUE INDEX message_id ON message(id);

    CREATE TABLE receipt(
        message INTEGER NOT NULL,
        user INTEGER NOT NULL,
        delivered_at INTEGER,
        read_at INTEGER,
        PRIMARY KEY(message, user)
    ) WITHOUT ROWID;
";

const DIRECTS_SESSIONS_AND_PRESENCE: &str = "
    ALTER TABLE user ADD COLUMN username TEXT;
    ALTER TABLE user ADD COLUMN email TEXT;
    ALTER TABLE user ADD COLUMN status INTEGER;    -- NULL: never seen
    ALTER TABLE user ADD COLUMN seen_at INTEGER;   -- likewise

    CREATE TABLE direct(
        number INTEGER PRIMARY KEY,   -- the order they came in
        user INTEGER NOT NULL,
        id BLOB NOT NULL,
        at INTEGER NOT NULL,
        sender TEXT NOT NULL,
        username TEXT,
        body TEXT NOT NULL,
        kind TEXT,
        reply_to TEXT,
        attachment TEXT,
        metadata TEXT
    );
    CREATE INDEX direct_user ON direct(user);

    CREATE TABLE session(
        number INTEGER PRIMARY KEY,
        token BLOB NOT NULL UNIQUE,
        user TEXT NOT NULL,
        connection BLOB NOT NULL,
        connected_at INTEGER NOT NULL,
        active_at INTEGER NOT NULL,
        expires_at INTEGER,           -- NULL: its connection lives
        rooms TEXT NOT NULL           -- JSON
    );
    CREATE INDEX session_expires ON session(expires_at) WHERE expires_at IS NOT NULL;
";

const DIALECTS_OF_SESSIONS: &str = "
    ALTER TABLE session ADD COLUMN dialect INTEGER NOT NULL DEFAULT 0;
";

const SESSIONS_BY_TOKEN: &str = "
    DROP INDEX session_expires;
    ALTER TABLE session RENAME TO session_by_number;
    -- One tree instead of three. Tokens begin with the place of their connection, so that those of connections that come
    -- or go together share pages.
    CREATE TABLE session(
        token BLOB NOT NULL PRIMARY KEY,
        user TEXT NOT NULL,
        connection BLOB NOT NULL,
        connected_at INTEGER NOT NULL,
        active_at INTEGER NOT NULL,
        expires_at INTEGER,           -- NULL: its connection lives
        rooms TEXT NOT NULL,          -- JSON
        dialect INTEGER NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO session
        SELECT CAST(substr(connection, 1, 6) || substr(token, 1, 26) AS BLOB), user, connection, connected_at, active_at,
            expires_at, rooms, dialect
        FROM session_by_number;
    DROP TABLE session_by_number;
";

const NAMES_OF_SENDERS: &str = "
    ALTER TABLE message ADD COLUMN display_name TEXT;    -- NULL: the username
";

const EVENTS_OF_MESSAGES: &str = "
    ALTER TABLE message ADD COLUMN event TEXT;     -- NULL: message
    ALTER TABLE direct ADD COLUMN event TEXT;      -- likewise
    -- Messages with the idempotency key of a backend.
    CREATE INDEX message_publication ON message(at) WHERE client_id >= 'idempotency:' AND client_id < 'idempotency;';
";

const DESCRIPTIONS_OF_ROOMS: &str = "
    ALTER TABLE room ADD COLUMN description TEXT;
";

const ROOMS_BY_MAKER: &str = "
    ALTER TABLE room ADD COLUMN maker TEXT;      -- NULL: an earlier version made it
    CREATE INDEX room_maker ON room(maker);
";

const REVOCATIONS_AND_HOSTS: &str = "
    CREATE TABLE revocation(
        subject TEXT NOT NULL PRIMARY KEY,
        until INTEGER,                -- NULL: until it is removed
        reason TEXT,
        issued_before INTEGER,
        made_at INTEGER NOT NULL,
        made_by TEXT NOT NULL
    ) WITHOUT ROWID;

    ALTER TABLE room ADD COLUMN host_key BLOB;   -- SHA-256 of the host secret; NULL: none
    ALTER TABLE room ADD COLUMN is_locked INTEGER NOT NULL DEFAULT 0;
";

const HOOK_EVENTS: &str = "
    -- The outbox: events for the endpoints of the application. Numbers are never used again.
    CREATE TABLE hook_event(
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        endpoint TEXT NOT NULL,
        at INTEGER NOT NULL,
        dead_at INTEGER,              -- NULL: waits for delivery
        body TEXT NOT NULL            -- JSON
    );
    CREATE INDEX hook_event_waiting ON hook_event(endpoint, number) WHERE dead_at IS NULL;
    CREATE INDEX hook_event_dead ON hook_event(endpoint, number) WHERE dead_at IS NOT NULL;
    -- States whose beginning was reported and whose end was not.
    CREATE TABLE hook_state(
        kind TEXT NOT NULL,           -- of the event that ends it
        name TEXT NOT NULL,
        room TEXT,
        data TEXT NOT NULL,           -- JSON, of the event that began it
        PRIMARY KEY(kind, name)
    ) WITHOUT ROWID;
";

const METADATA_OF_ROOMS: &str = "
    ALTER TABLE room ADD COLUMN metadata TEXT;   -- JSON; NULL or empty: none
";

const REVISIONS_OF_MESSAGES: &str = "
    -- NULL: an unchanged message; 1: an edit, 2: a deletion; 3: edited, 4: deleted
    ALTER TABLE message ADD COLUMN revision INTEGER;
    -- Of a change, the id of the changed message; of a changed message, the time.
    ALTER TABLE message ADD COLUMN revised;
";

const STREAMS: &str = "
    -- Of `revision`, 5: a piece of a stream; 6: an open stream, 7: a complete one, 8: a cancelled one. Of a piece, `revised` is the
    -- id of its stream, the offset in the text (4 bytes), and the status of the stream with it (1 byte).
    CREATE INDEX message_piece ON message(revised) WHERE revision = 5;
    CREATE INDEX message_stream ON message(room) WHERE revision = 6;
";

const PUSHES_AND_ANSWERS: &str = "
    ALTER TABLE direct ADD COLUMN is_pushed INTEGER NOT NULL DEFAULT 0;  -- whether a backend has sent it

    -- Whom the messages of backends with an idempotency key have reached. Numbers are in the order of time.
    CREATE TABLE push(
        number INTEGER PRIMARY KEY,
        sender TEXT NOT NULL,
        key TEXT NOT NULL,
        at INTEGER NOT NULL,
        reached INTEGER NOT NULL,
        offline TEXT NOT NULL,        -- JSON
        UNIQUE(sender, key)
    );
";

/// The identifying fields of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) application: i32,
    pub(super) version: i32,
    /// Whether the file has no tables.
    pub(super) is_empty: bool,
}

pub(super) fn header(connection: &Connection) -> Result<FileHeader> {
    let number = |pragma| connection.query_row(pragma, [], |row| row.get(0));
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(FileHeader {
        application: number("PRAGMA application_id")?,
        version: number("PRAGMA user_version")?,
        is_empty: tables == 0,
    })
}

/// Executes the missing steps, all or none.
pub(super) fn migrate(connection: &Connection, from: i32) -> Result<()> {
    let transaction = connection.unchecked_transaction()?;
    for step in STEPS.iter().skip(usize::try_from(from).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migration_from_every_version_gives_the_same_tables() {
        let tables = |from: usize| {
            let connection = Connection::open_in_memory().expect("a database");
            for step in &STEPS[..from] {
                connection.execute_batch(step).expect("a step");
            }
            migrate(&connection, from as i32).expect("the other steps");
            let mut statement = connection.prepare("SELECT sql FROM sqlite_schema ORDER BY name").expect("a query");
            let rows = statement.query_map([], |row| row.get::<_, Option<String>>(0)).expect("rows");
            rows.map(|row| row.expect("a row")).collect::<Vec<_>>()
        };
        assert_eq!(tables(0), tables(1));
        assert_eq!(tables(0), tables(2));
        assert_eq!(tables(0), tables(3));
        assert_eq!(tables(0), tables(4));
        assert_eq!(tables(0), tables(5));
        assert_eq!(tables(0), tables(6));
        assert_eq!(tables(0), tables(7));
        assert_eq!(tables(0), tables(8));
        assert_eq!(tables(0), tables(9));
        assert_eq!(tables(0), tables(10));
        assert_eq!(tables(0), tables(11));
        assert_eq!(tables(0), tables(12));
        assert_eq!(tables(0), tables(13));
    }

    #[test]
    fn migrated_session_is_found_by_its_new_token() {
        let connection = Connection::open_in_memory().expect("a database");
        for step in &STEPS[..3] {
            connection.execute_batch(step).expect("a step");
        }
        let (id, hash): ([u8; 18], [u8; 32]) =
            (std::array::from_fn(|n| n as u8), std::array::from_fn(|n| 255 - n as u8));
        let session = "INSERT INTO session(token, user, connection, connected_at, active_at, rooms)
            VALUES(?1, 'u', ?2, 1, 2, '[]')";
        connection.execute(session, (hash, id)).expect("a session");
        migrate(&connection, 3).expect("the last step");
        let token: [u8; 32] =
            connection.query_row("SELECT token FROM session", [], |row| row.get(0)).expect("it is there");
        assert_eq!((&token[..6], &token[6..]), (&id[..6], &hash[..26]));
    }
}
