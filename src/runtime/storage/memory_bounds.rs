//! Bounds of a database in memory. A file grows with the disk; in memory the oldest messages make room for new ones.
//!
//! Triggers count what the database holds, within the transaction that changes it. Only a database in memory has them.

use rusqlite::{Connection, Result};

use crate::runtime::storage::rows::int;

/// The most that a database in memory holds; 0: no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryBounds {
    /// Bytes of messages and direct messages, with 256 for the row of each.
    pub bytes: u64,
    /// Messages and direct messages.
    pub messages: u64,
    /// Users. Beyond it those that no message refers to are deleted once a minute.
    pub users: u64,
}

/// Bytes of a message besides its texts: columns, indices and free space of their pages.
const ROW_BYTES: u32 = 256;

/// The present contents of the database.
pub(super) struct Held {
    bytes: i64,
    messages: i64,
    users: i64,
}

/// Reads [`Held`].
pub(super) const HELD: &str = "SELECT bytes, messages, users FROM held";

impl Held {
    pub(super) fn read(row: &rusqlite::Row<'_>) -> Result<Self> {
        Ok(Self { bytes: row.get(0)?, messages: row.get(1)?, users: row.get(2)? })
    }

    /// Whether there are too many messages, or too large ones.
    pub(super) fn has_excess_messages(&self, bounds: &MemoryBounds) -> bool {
        let exceeds = |held: i64, bound: u64| bound != 0 && held > int(bound);
        exceeds(self.bytes, bounds.bytes) || exceeds(self.messages, bounds.messages)
    }

    pub(super) fn has_excess_users(&self, bounds: &MemoryBounds) -> bool {
        bounds.users != 0 && self.users > int(bounds.users)
    }
}

/// Has a new database count its contents.
pub(super) fn install(connection: &Connection) -> Result<()> {
    let bytes = |row: &str| {
        let text = |column: &str| format!("ifnull(octet_length({row}.{column}), 0)");
        let texts = ["body", "attachment", "metadata", "kind", "reply_to", "username"].map(text);
        format!("{ROW_BYTES} + {}", texts.join(" + "))
    };
    let count = |table: &str| {
        let (new, old) = (bytes("new"), bytes("old"));
        format!(
            "CREATE TRIGGER {table}_added AFTER INSERT ON {table} BEGIN
                 UPDATE held SET bytes = bytes + {new}, messages = messages + 1;
             END;
             CREATE TRIGGER {table}_dropped AFTER DELETE ON {table} BEGIN
                 UPDATE held SET bytes = bytes - ({old}), messages = messages - 1;
             END;"
        )
    };
    connection.execute_batch(&format!(
        "CREATE TABLE held(bytes INTEGER NOT NULL, messages INTEGER NOT NULL, users INTEGER NOT NULL);
         INSERT INTO held VALUES(0, 0, 0);
         {} {}
         CREATE TRIGGER user_added AFTER INSERT ON user BEGIN UPDATE held SET users = users + 1; END;
         CREATE TRIGGER user_dropped AFTER DELETE ON user BEGIN UPDATE held SET users = users - 1; END;",
        count("message"),
        count("direct")
    ))
}
