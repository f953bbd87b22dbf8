//! The reader thread: answers queries on its own connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rusqlite::{Connection, OptionalExtension, Result, Row, Rows, params};
use uuid::Uuid;

use crate::base::{Name, limits};
use crate::domain::event::{Content, Direct, Message, Revision, StreamStatus};
use crate::domain::op::PushResult;
use crate::domain::record::{Session, TokenHash};
use crate::message::storage::{
    MessagePage, MessageSpan, MessageView, PAGE_MESSAGES, StorageEvent, StorageQuery, StorageReply, StorageState,
    StoredUser, Unavailable,
};
use crate::runtime::storage::WallClock;
use crate::runtime::storage::connection::{DatabaseSource, release_memory};
use crate::runtime::storage::error::StorageFault;
use crate::runtime::storage::outbox::dead_letters;
use crate::runtime::storage::restore::RoomReader;
use crate::runtime::storage::rows::{self, int};
use crate::runtime::storage::shared::{PendingQuery, Shared, Side};
use crate::runtime::storage::statements::statements;

/// Time without queries after which memory is released.
const TRIM_AFTER: Duration = Duration::from_secs(2);

/// Number of columns of [`rows::MESSAGE`].
const MESSAGE_COLUMNS: usize = 15;

/// See the module description.
pub(super) struct StorageReader {
    shared: Arc<Shared>,
    pending_queries: Receiver<Option<PendingQuery>>,
    source: DatabaseSource,
    clock: WallClock,
}

impl StorageReader {
    pub(super) fn new(
        shared: Arc<Shared>,
        pending_queries: Receiver<Option<PendingQuery>>,
        source: DatabaseSource,
        clock: WallClock,
    ) -> Self {
        Self { shared, pending_queries, source, clock }
    }

    /// Answers queries until it is closed. The connection is opened for the first query, and again for the first one
    /// after a failure.
    pub(super) fn run(self) {
        let mut is_failing = false;
        while let Ok(Some(pending)) = self.pending_queries.recv() {
            let outcome = match self.source.read() {
                Ok(connection) => self.serve(&connection, pending, &mut is_failing),
                Err(error) => self.refuse(pending, error.into()),
            };
            match outcome {
                Ok(()) => break,
                Err((state, detail)) => self.report_failure(state, &detail),
            }
            is_failing = true;
        }
    }

    fn report_failure(&self, state: StorageState, detail: &str) {
        tracing::error!(detail, "the store could not be read");
        self.shared.set_state(Side::Reader, state, detail);
        if state == StorageState::Corrupt {
            self.shared.is_suspect.store(true, Ordering::Relaxed);
        }
    }

    /// Answers queries until it is closed (`Ok`) or the files fail.
    fn serve(
        &self,
        connection: &Connection,
        first: PendingQuery,
        is_failing: &mut bool,
    ) -> Result<(), (StorageState, String)> {
        let mut queries = match Queries::new(connection) {
            Ok(queries) => queries,
            Err(error) => return self.refuse(first, error.into()),
        };
        let mut next = Some(first);
        while let Some(PendingQuery { to, query }) = next {
            match answer(connection, &mut queries, &query, (self.clock)()) {
                Ok(answer) => {
                    if std::mem::take(is_failing) {
                        self.shared.set_state(Side::Reader, StorageState::Good, "");
                    }
                    self.shared.send_event(StorageEvent::Reply { to, answer: Ok(answer) });
                }
                Err(fault) => return self.refuse(PendingQuery { to, query }, fault),
            }
            next = match self.pending_queries.recv_timeout(TRIM_AFTER) {
                Err(RecvTimeoutError::Timeout) => {
                    // The next query reports a failure.
                    let _ = release_memory(connection);
                    self.pending_queries.recv().unwrap_or(None)
                }
                pending => pending.unwrap_or(None),
            };
        }
        Ok(())
    }

    fn refuse(&self, pending: PendingQuery, fault: StorageFault) -> Result<(), (StorageState, String)> {
        self.shared.send_event(StorageEvent::Reply { to: pending.to, answer: Err(Unavailable) });
        Err(match fault {
            StorageFault::Refused(why) => (StorageState::Corrupt, why),
            StorageFault::Failed(state, detail) => (state, detail),
        })
    }
}

/// Answers a query from one snapshot of the database.
fn answer(
    connection: &Connection,
    queries: &mut Queries<'_>,
    query: &StorageQuery,
    now: u64,
) -> Result<StorageReply, StorageFault> {
    let transaction = connection.unchecked_transaction()?;
    let answer = match query {
        StorageQuery::Page { room, span, limit } => StorageReply::Page(queries.page(room, *span, *limit)?),
        StorageQuery::Message { id } => StorageReply::Message(queries.message(id)?.map(Box::new)),
        StorageQuery::Room { room } => StorageReply::Room(queries.rooms.find(room)?.map(Box::new)),
        StorageQuery::User { user } => StorageReply::User(queries.user(user)?.map(Box::new)),
        StorageQuery::UserCount { is_all, named } => queries.user_count(*is_all, named)?,
        StorageQuery::Directs { user, limit } => queries.directs(user, *limit)?,
        StorageQuery::Unread { room, user } => queries.unread(room, user)?,
        StorageQuery::MadeRooms { user } => StorageReply::MadeRooms(queries.made_rooms(user)?),
        StorageQuery::DirectBytes { user } => StorageReply::DirectBytes(queries.direct_bytes(user)?),
        StorageQuery::Push { sender, key } => StorageReply::Push(queries.push(sender, key, now)?),
        StorageQuery::DeadLetters { limit } => StorageReply::DeadLetters(dead_letters(connection, *limit)?),
        StorageQuery::Session { token } => StorageReply::Session(queries.session(token, now)?.map(Box::new)),
    };
    transaction.commit()?;
    Ok(answer)
}

statements! {
    Statements {
        room: "SELECT number, epoch, trimmed,
            max(trimmed, ifnull((SELECT max(seq) FROM message WHERE message.room = room.number), 0))
            FROM room WHERE name = ?1";
        upward: format!("SELECT {} FROM message LEFT JOIN user ON user.number = message.sender
            WHERE room = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq LIMIT ?4", rows::MESSAGE);
        downward: format!("SELECT {} FROM message LEFT JOIN user ON user.number = message.sender
            WHERE room = ?1 AND seq BETWEEN ?2 AND ?3 AND revision IS NOT 5 ORDER BY seq DESC LIMIT ?4", rows::MESSAGE);
        pieces: rows::PIECES;
        piece_count: "SELECT count(*) FROM message WHERE room = ?1 AND seq BETWEEN ?2 AND ?3 AND revision = 5";
        message: format!("SELECT {}, room.name, message.number FROM message
            JOIN room ON room.number = message.room LEFT JOIN user ON user.number = message.sender
            WHERE id = ?1 AND room.name IS NOT NULL", rows::MESSAGE);
        receipts: "SELECT user.name, delivered_at, read_at FROM receipt JOIN user ON user.number = receipt.user
            WHERE message = ?1 ORDER BY user.name LIMIT ?2";
        unread: "SELECT seq, ifnull(sender = reader.number, 0) OR revision IN (1, 2, 4, 5),
                EXISTS(SELECT 1 FROM receipt
                    WHERE receipt.message = message.number AND receipt.user = reader.number AND read_at IS NOT NULL)
            FROM message LEFT JOIN user AS reader ON reader.name = ?2
            WHERE room = ?1 AND seq >= ?3 ORDER BY seq DESC LIMIT ?4";
        user: format!("SELECT {} FROM user WHERE name = ?1 AND seen_at IS NOT NULL", rows::USER);
        users: "SELECT count(*) FROM user WHERE seen_at IS NOT NULL";
        directs: format!("SELECT {} FROM direct WHERE user = (SELECT number FROM user WHERE name = ?1)
            ORDER BY number LIMIT ?2", rows::DIRECT);
        made_rooms: "SELECT count(*) FROM room WHERE maker = ?1 AND name IS NOT NULL";
        direct_bytes: format!("SELECT ifnull(sum({}), 0) FROM direct
            WHERE user = (SELECT number FROM user WHERE name = ?1)", rows::DIRECT_BYTES);
        push: "SELECT reached, offline FROM push WHERE sender = ?1 AND key = ?2 AND at > ?3";
        session: format!("SELECT {} FROM session WHERE token = ?1", rows::SESSION);
    }
}

/// The prepared queries.
struct Queries<'c> {
    statements: Statements<'c>,
    rooms: RoomReader<'c>,
    /// The last count of all users.
    counted: Option<CountedUsers>,
}

/// A count of all users, when it was made, and how long that took.
struct CountedUsers {
    count: u64,
    at: Instant,
    took: Duration,
}

/// A count stands for this many times as long as it took, so that counts take a small part of the thread's time.
const COUNT_STANDS: u32 = 50;

impl<'c> Queries<'c> {
    fn new(connection: &'c Connection) -> Result<Self> {
        debug_assert_eq!(rows::MESSAGE.split(',').count(), MESSAGE_COLUMNS, "invariant: MESSAGE has these columns");
        let (statements, rooms) = (Statements::prepare(connection)?, RoomReader::new(connection)?);
        Ok(Self { statements, rooms, counted: None })
    }

    fn page(&mut self, name: &Name, span: MessageSpan, limit: usize) -> Result<Option<MessagePage>, StorageFault> {
        let room = |row: &Row<'_>| {
            let number = |at| row.get::<_, i64>(at);
            Ok((number(0)?, Name::from(row.get_ref(1)?.as_str()?), number(2)? as u64 + 1, number(3)? as u64))
        };
        let found = self.statements.room.query_row([&**name], room).optional()?;
        let Some((room, epoch, first, last)) = found else { return Ok(None) };
        let (from, to) = match span {
            MessageSpan::Newest => (first, last),
            MessageSpan::After(seq) => (seq.saturating_add(1).max(first), last),
            MessageSpan::Before(seq) => (first, seq.saturating_sub(1).min(last)),
            MessageSpan::Between(from, to) => (from.max(first), to.min(last)),
        };
        let is_upward = matches!(span, MessageSpan::After(_) | MessageSpan::Between(..));
        let statement = if is_upward { &mut self.statements.upward } else { &mut self.statements.downward };
        let limit = limit.min(PAGE_MESSAGES);
        let rows = statement.query(params![room, int(from), int(to), limit as i64])?;
        let (mut messages, is_cut) = limited(rows, |row| rows::message(name, row), |message| &message.content)?;
        if !is_upward {
            messages.reverse();
        }
        debug_assert!(messages.len() <= PAGE_MESSAGES, "invariant: a page is bounded");
        // The newest messages are wanted without the pieces of streams, which their texts have.
        let is_all = !is_cut && messages.len() < limit;
        let (begins, ends) = match (is_upward, is_all) {
            (true, _) => (from, from + messages.len() as u64),
            (false, true) => (from, to + 1),
            (false, false) => (messages.first().and_then(|message| message.seq).unwrap_or(to + 1), to + 1),
        };
        let mut count = messages.len() as u64;
        if !is_upward && count < ends.saturating_sub(begins) {
            let pieces = params![room, int(begins), int(ends - 1)];
            count += self.statements.piece_count.query_row(pieces, |row| row.get::<_, i64>(0))? as u64;
        }
        let asked = (to + 1).saturating_sub(from);
        let is_whole =
            if is_upward { is_cut || count == asked.min(limit as u64) } else { count == ends.saturating_sub(begins) };
        let is_in_order = |(message, seq): (&Message, u64)| message.seq == Some(seq);
        if !is_whole || is_upward && !messages.iter().zip(begins..).all(is_in_order) {
            return Err(StorageFault::Failed(
                StorageState::Corrupt,
                format!("messages of the room {name} are missing"),
            ));
        }
        self.add_pieces(&mut messages)?;
        let complete = if is_upward { count == asked } else { begins <= from };
        Ok(Some(MessagePage { epoch, first, last, complete, messages }))
    }

    /// Gives open streams the texts of their pieces.
    fn add_pieces(&mut self, messages: &mut [Message]) -> Result<()> {
        for message in messages {
            if message.revision.as_deref() == Some(&Revision::Stream(StreamStatus::Streaming)) {
                let mut text = String::from(std::mem::take(&mut message.content.body));
                rows::add_pieces(&mut self.statements.pieces, &message.id, &mut text)?;
                message.content.body = text.into();
            }
        }
        Ok(())
    }

    fn message(&mut self, id: &Uuid) -> Result<Option<MessageView>> {
        let found = self.statements.message.query_row([id.as_bytes()], |row| {
            let room = Name::from(row.get_ref(MESSAGE_COLUMNS)?.as_str()?);
            Ok((rows::message(&room, row)?, row.get::<_, i64>(MESSAGE_COLUMNS + 1)?))
        });
        let Some((mut message, number)) = found.optional()? else { return Ok(None) };
        self.add_pieces(std::slice::from_mut(&mut message))?;
        let mut view = MessageView { message, delivered: Vec::new(), read: Vec::new(), complete: true };
        let limit = limits::RECEIPTS_LISTED;
        let mut rows = self.statements.receipts.query(params![number, limit as i64 + 1])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            count += 1;
            if count > limit {
                view.complete = false;
                break;
            }
            let user = Name::from(row.get_ref(0)?.as_str()?);
            for (at, list) in [(1, &mut view.delivered), (2, &mut view.read)] {
                if let Some(time) = row.get::<_, Option<i64>>(at)? {
                    list.push((user.clone(), time as u64));
                }
            }
        }
        Ok(Some(view))
    }

    /// Looks at the last messages until one that the user has read.
    fn unread(&mut self, room: &Name, user: &Name) -> Result<StorageReply> {
        let numbers = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(2)?));
        let found = self.statements.room.query_row([&**room], numbers).optional()?;
        let Some((room, trimmed)) = found else {
            return Ok(StorageReply::Unread { count: 0, read: None, complete: true });
        };
        let limit = limits::UNREAD_MESSAGES;
        let mut rows = self.statements.unread.query(params![room, &**user, trimmed + 1, limit as i64])?;
        let (mut count, mut looked) = (0, 0);
        while let Some(row) = rows.next()? {
            if row.get(2)? {
                let read = u64::try_from(row.get::<_, i64>(0)?).ok();
                return Ok(StorageReply::Unread { count, read, complete: true });
            }
            count += u64::from(!row.get::<_, Option<bool>>(1)?.unwrap_or_default());
            looked += 1;
        }
        Ok(StorageReply::Unread { count, read: None, complete: looked < limit })
    }

    fn user(&mut self, user: &Name) -> Result<Option<StoredUser>> {
        self.statements.user.query_row([&**user], rows::user).optional()
    }

    fn user_count(&mut self, is_all: bool, users: &[Name]) -> Result<StorageReply> {
        let all = match &self.counted {
            _ if !is_all => 0,
            Some(counted) if counted.at.elapsed() < counted.took * COUNT_STANDS => counted.count,
            _ => {
                let begun = Instant::now();
                let count: i64 = self.statements.users.query_row([], |row| row.get(0))?;
                let (count, at) = (count as u64, Instant::now());
                self.counted = Some(CountedUsers { count, at, took: at - begun });
                count
            }
        };
        let mut named = 0;
        for user in users {
            named += u64::from(self.statements.user.exists([&**user])?);
        }
        Ok(StorageReply::UserCount { all, named })
    }

    fn directs(&mut self, user: &Name, limit: usize) -> Result<StorageReply> {
        let limit = limit.min(PAGE_MESSAGES);
        // One row more than the limit shows whether more exist.
        let rows = self.statements.directs.query(params![&**user, limit as i64 + 1])?;
        let (mut directs, is_cut) = limited(rows, rows::direct, |direct: &Direct| &direct.content)?;
        let complete = directs.len() <= limit && !is_cut;
        directs.truncate(limit);
        Ok(StorageReply::Directs { directs, complete })
    }

    fn made_rooms(&mut self, user: &Name) -> Result<u64> {
        let count: i64 = self.statements.made_rooms.query_row([&**user], |row| row.get(0))?;
        Ok(count as u64)
    }

    fn direct_bytes(&mut self, user: &Name) -> Result<u64> {
        let bytes: i64 = self.statements.direct_bytes.query_row([&**user], |row| row.get(0))?;
        Ok(bytes as u64)
    }

    fn push(&mut self, sender: &str, key: &str, now: u64) -> Result<Option<PushResult>> {
        let since = int(now.saturating_sub(limits::REPEATED_PUBLICATION_MS));
        self.statements.push.query_row(params![sender, key, since], rows::push).optional()
    }

    fn session(&mut self, token: &TokenHash, now: u64) -> Result<Option<Session>> {
        let found = self.statements.session.query_row([token.0], rows::session).optional()?;
        Ok(found.filter(|session| session.expires_at.is_none_or(|at| at > now)))
    }
}

/// Reads rows up to the size limit of a reply; returns whether the limit cut them off.
fn limited<T>(
    mut rows: Rows<'_>,
    read: impl Fn(&Row<'_>) -> Result<T>,
    content: impl Fn(&T) -> &Content,
) -> Result<(Vec<T>, bool)> {
    let (mut list, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let item = read(row)?;
        bytes += content(&item).bytes();
        list.push(item);
        if bytes > limits::PAGE_BYTES {
            return Ok((list, true));
        }
    }
    Ok((list, false))
}
