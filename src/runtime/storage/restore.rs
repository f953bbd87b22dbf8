//! Reads rooms, users and recent messages, at start and later room by room.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row, Statement, params};
use uuid::Uuid;

use crate::base::Name;
use crate::base::limits;
use crate::domain::streams::OpenStream;
use crate::message::storage::{RecentMessage, Restored, StoredRoom};
use crate::runtime::storage::rows::{self, int};
use crate::runtime::storage::statements::statements;

/// The columns that [`RoomReader`] reads after [`rows::ROOM`]: number, trimmed messages, newest message.
const EXTRA: &str = "room.number, room.trimmed, \
    (SELECT max(seq) FROM message WHERE message.room = room.number), \
    (SELECT at FROM message WHERE message.room = room.number ORDER BY seq DESC LIMIT 1)";

/// Number of columns of [`rows::ROOM`].
const EXTRA_AT: usize = 21;

statements! {
    RoomStatements {
        all: format!("SELECT {}, {EXTRA} FROM room WHERE name IS NOT NULL ORDER BY number", rows::ROOM);
        one: format!("SELECT {}, {EXTRA} FROM room WHERE name = ?1", rows::ROOM);
        participants: "SELECT user.name FROM participant JOIN user ON user.number = participant.user
            WHERE room = ?1 ORDER BY participant.number";
        streams: "SELECT message.id, user.name, message.username, message.body FROM message
            LEFT JOIN user ON user.number = message.sender WHERE room = ?1 AND revision = 6";
        pieces: rows::PIECES;
    }
}

/// Reads stored rooms.
pub(super) struct RoomReader<'c>(RoomStatements<'c>);

impl<'c> RoomReader<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self> {
        debug_assert_eq!(rows::ROOM.split(',').count(), EXTRA_AT, "invariant: EXTRA follows the columns of ROOM");
        RoomStatements::prepare(connection).map(Self)
    }

    pub(super) fn find(&mut self, name: &str) -> Result<Option<StoredRoom>> {
        let Some((number, mut room)) = self.0.one.query_row([name], stored_room).optional()? else { return Ok(None) };
        add_participants(&mut self.0.participants, number, &mut room)?;
        add_streams(&mut self.0.streams, &mut self.0.pieces, number, &mut room)?;
        Ok(Some(room))
    }

    fn each(&mut self, emit: &mut dyn FnMut(Restored)) -> Result<()> {
        let mut rows = self.0.all.query([])?;
        while let Some(row) = rows.next()? {
            let (number, mut room) = stored_room(row)?;
            add_participants(&mut self.0.participants, number, &mut room)?;
            add_streams(&mut self.0.streams, &mut self.0.pieces, number, &mut room)?;
            emit(Restored::Room(Box::new(room)));
        }
        Ok(())
    }
}

fn stored_room(row: &Row<'_>) -> Result<(i64, StoredRoom)> {
    let made = rows::made_room(row)?;
    let number = |at: usize| row.get::<_, Option<i64>>(EXTRA_AT + at).map(|number| number.map(|n| n as u64));
    let trimmed = number(1)?.unwrap_or(0);
    let last = number(2)?.unwrap_or(0).max(trimmed);
    let last_at = number(3)?.unwrap_or(made.created_at);
    Ok((row.get(EXTRA_AT)?, StoredRoom { made, first: trimmed + 1, last, last_at, streams: Vec::new() }))
}

fn add_participants(participants: &mut Statement<'_>, number: i64, room: &mut StoredRoom) -> Result<()> {
    let Some(profile) = &mut room.made.profile else { return Ok(()) };
    let names = participants.query_map([number], |row| row.get_ref(0)?.as_str().map(Name::from).map_err(Into::into))?;
    profile.participants = names.collect::<Result<_>>()?;
    Ok(())
}

/// Adds the open streams of a room.
fn add_streams(
    streams: &mut Statement<'_>,
    pieces: &mut Statement<'_>,
    number: i64,
    room: &mut StoredRoom,
) -> Result<()> {
    let mut rows = streams.query([number])?;
    while let Some(row) = rows.next()? {
        let (message, sender) = (rows::uuid(row, 0)?, rows::sender(row, 1)?);
        let mut text: String = row.get(3)?;
        rows::add_pieces(pieces, &message, &mut text)?;
        // A stored text that is none has no length.
        let text: String = serde_json::from_str(&text).unwrap_or_default();
        let (units, bytes) = (text.encode_utf16().count() as u64, text.len() as u64);
        room.streams.push(OpenStream { message, sender, units, bytes });
    }
    Ok(())
}

/// Messages with the idempotency key of a backend: the condition of the index that finds them.
const PUBLISHED: &str = "(client_id >= 'idempotency:' AND client_id < 'idempotency;')";

/// How much longer the keys of backends are kept than those of other clients, in milliseconds.
const LONGER_MS: u64 = limits::REPEATED_PUBLICATION_MS - limits::REPEAT_MS;

pub(super) fn restore(connection: &Connection, since: u64, emit: &mut dyn FnMut(Restored)) -> Result<()> {
    let transaction = connection.unchecked_transaction()?;
    RoomReader::new(&transaction)?.each(emit)?;
    let mut users =
        transaction.prepare(&format!("SELECT {} FROM user WHERE seen_at IS NOT NULL ORDER BY number", rows::USER))?;
    let mut users = users.query([])?;
    while let Some(row) = users.next()? {
        emit(Restored::User(Box::new(rows::user(row)?)));
    }
    let mut awaited = transaction.prepare(&format!(
        "SELECT name, sum({}) FROM direct JOIN user ON user.number = direct.user
            GROUP BY direct.user ORDER BY direct.user",
        rows::DIRECT_BYTES
    ))?;
    let mut awaited = awaited.query([])?;
    while let Some(row) = awaited.next()? {
        emit(Restored::DirectRecipient(row.get_ref(0)?.as_str()?.into(), row.get::<_, i64>(1)? as u64));
    }
    let mut revocations = transaction.prepare(&format!("SELECT {} FROM revocation", rows::REVOCATION))?;
    let mut revocations = revocations.query([])?;
    while let Some(row) = revocations.next()? {
        // A subject of a later version is left out.
        if let Some(revocation) = rows::revocation(row)? {
            emit(Restored::Revocation(Arc::new(revocation)));
        }
    }
    // Ids begin with the time, so recent messages are at the end of the index.
    let columns = "SELECT room.name, user.name, client_id, id, seq, at, room.epoch FROM message
            JOIN room ON room.number = message.room JOIN user ON user.number = message.sender
            WHERE room.name IS NOT NULL AND";
    let mut recent = transaction.prepare(&format!(
        "{columns} id >= ?1 AND client_id IS NOT NULL AND at >= ?2 AND NOT {PUBLISHED} ORDER BY id"
    ))?;
    let first = uuid::Builder::from_unix_timestamp_millis(since, &[0; 10]).into_uuid();
    let mut recent = recent.query(params![first.as_bytes(), int(since)])?;
    while let Some(row) = recent.next()? {
        emit(Restored::RecentMessage(Box::new(recent_message(row)?)));
    }
    let mut published = transaction.prepare(&format!(
        "{columns} client_id >= 'idempotency:' AND client_id < 'idempotency;' AND at >= ?1 ORDER BY at"
    ))?;
    let mut published = published.query(params![int(since.saturating_sub(LONGER_MS))])?;
    while let Some(row) = published.next()? {
        emit(Restored::RecentMessage(Box::new(recent_message(row)?)));
    }
    Ok(())
}

fn recent_message(row: &Row<'_>) -> Result<RecentMessage> {
    let text = |at| Ok::<_, rusqlite::Error>(row.get_ref(at)?.as_str()?);
    Ok(RecentMessage {
        room: text(0)?.into(),
        epoch: text(6)?.into(),
        user: text(1)?.into(),
        client_message_id: text(2)?.into(),
        id: row.get(3).map(Uuid::from_bytes)?,
        seq: row.get::<_, i64>(4)? as u64,
        at: row.get::<_, i64>(5)? as u64,
    })
}
