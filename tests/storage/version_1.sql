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

PRAGMA application_id = 0x53774264;
PRAGMA user_version = 1;
INSERT INTO state VALUES('clean', 'yes'), ('durability', 'process'), ('boot', 'some'), ('life', '0');
INSERT INTO user VALUES(1, 'ada', 20000), (2, 'bob', 20000);
INSERT INTO room VALUES(1, 'attic', 'old-epoch', 'ada', 'Ada Lovelace', 0, 1700000000000, 1, NULL, 0, 2, 1, 'The attic',
    'group', 1, NULL, 0, NULL);
INSERT INTO participant VALUES(1, 1, 1), (2, 1, 2);
INSERT INTO message VALUES
    (7, 1, 3, x'018bcfe568007000800000000000000a', 1700000000001, 1, 'Ada Lovelace', 'laptop', '"third"', NULL, NULL,
        NULL, NULL, NULL),
    (8, 1, 4, x'018bcfe568007000800000000000000b', 1700000000002, 2, NULL, 'phone', '"fourth"', NULL, NULL, NULL, NULL,
        'mine');
INSERT INTO receipt VALUES(7, 2, 1700000000003, 1700000000004);
