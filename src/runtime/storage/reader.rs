//! The reading thread: answers questions on a connection of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rusqlite::{Connection, OptionalExtension, Result, Row, Rows, params};
use uuid::Uuid;

use crate::base::{Name, limits};
use crate::domain::event::{Content, Direct};
use crate::domain::record::{Session, TokenHash};
use crate::message::storage::{
    MessagePage, MessageView, PAGE_MESSAGES, Span, StorageEvent, StorageQuery, StorageReply, StorageState, StoredUser,
    Unavailable,
};
use crate::runtime::storage::WallClock;
use crate::runtime::storage::connection::{Source, give_back};
use crate::runtime::storage::error::Fault;
use crate::runtime::storage::restore::Rooms;
use crate::runtime::storage::rows::{self, int};
use crate::runtime::storage::shared::{Question, Shared, Side};
use crate::runtime::storage::statements::statements;

/// How long no question comes until the memory that was taken for the last ones is given back.
const REST_AFTER: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Reader {
    shared: Arc<Shared>,
    questions: Receiver<Option<Question>>,
    source: Source,
    clock: WallClock,
}

impl Reader {
    pub(super) fn new(
        shared: Arc<Shared>,
        questions: Receiver<Option<Question>>,
        source: Source,
        clock: WallClock,
    ) -> Self {
        Self { shared, questions, source, clock }
    }

    /// Answers until it is told to end. The connection is opened for the first question, and anew for the next one after
    /// a failure.
    pub(super) fn run(self) {
        let mut is_failing = false;
        while let Ok(Some(question)) = self.questions.recv() {
            let failed = match self.source.read() {
                Ok(connection) => self.serve(&connection, question, &mut is_failing),
                Err(error) => self.refuse(question, error.into()),
            };
            let Err((state, detail)) = failed else { return };
            is_failing = true;
            tracing::error!(detail, "the store could not be read");
            self.shared.set_state(Side::Reader, state, &detail);
            if state == StorageState::Corrupt {
                self.shared.is_suspect.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Answers until it is told to end (`Ok`) or the files fail.
    fn serve(
        &self,
        connection: &Connection,
        first: Question,
        is_failing: &mut bool,
    ) -> Result<(), (StorageState, String)> {
        let mut queries = match Queries::new(connection) {
            Ok(queries) => queries,
            Err(error) => return self.refuse(first, error.into()),
        };
        let mut next = Some(first);
        while let Some(Question { to, query }) = next {
            match answer(connection, &mut queries, &query, (self.clock)()) {
                Ok(answer) => {
                    if std::mem::take(is_failing) {
                        self.shared.set_state(Side::Reader, StorageState::Good, "");
                    }
                    self.shared.tell(StorageEvent::Reply { to, answer: Ok(answer) });
                }
                Err(fault) => return self.refuse(Question { to, query }, fault),
            }
            next = match self.questions.recv_timeout(REST_AFTER) {
                Err(RecvTimeoutError::Timeout) => {
                    // A failure of this will show when the next question is put.
                    let _ = give_back(connection);
                    self.questions.recv().unwrap_or(None)
                }
                question => question.unwrap_or(None),
            };
        }
        Ok(())
    }

    fn refuse(&self, question: Question, fault: Fault) -> Result<(), (StorageState, String)> {
        self.shared.tell(StorageEvent::Reply { to: question.to, answer: Err(Unavailable) });
        Err(match fault {
            Fault::Refused(why) => (StorageState::Corrupt, why),
            Fault::Failed(state, detail) => (state, detail),
        })
    }
}

/// Answers one question from one state of the database.
fn answer(
    connection: &Connection,
    queries: &mut Queries<'_>,
    query: &StorageQuery,
    now: u64,
) -> Result<StorageReply, Fault> {
    let transaction = connection.unchecked_transaction()?;
    let answer = match query {
        StorageQuery::Page { room, span, limit } => StorageReply::Page(queries.page(room, *span, *limit)?),
        StorageQuery::Message { id } => StorageReply::Message(queries.message(id)?.map(Box::new)),
        StorageQuery::Room { room } => StorageReply::Room(queries.rooms.find(room)?.map(Box::new)),
        StorageQuery::User { user } => StorageReply::User(queries.user(user)?.map(Box::new)),
        StorageQuery::Directs { user, limit } => queries.directs(user, *limit)?,
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
            WHERE room = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq DESC LIMIT ?4", rows::MESSAGE);
        message: format!("SELECT {}, room.name, message.number FROM message
            JOIN room ON room.number = message.room LEFT JOIN user ON user.number = message.sender
            WHERE id = ?1 AND room.name IS NOT NULL", rows::MESSAGE);
        receipts: "SELECT user.name, delivered_at, read_at FROM receipt JOIN user ON user.number = receipt.user
            WHERE message = ?1 ORDER BY user.name LIMIT ?2";
        user: format!("SELECT {} FROM user WHERE name = ?1 AND seen_at IS NOT NULL", rows::USER);
        directs: format!("SELECT {} FROM direct WHERE user = (SELECT number FROM user WHERE name = ?1)
            ORDER BY number LIMIT ?2", rows::DIRECT);
        session: format!("SELECT {} FROM session WHERE token = ?1", rows::SESSION);
    }
}

/// The questions, as the database is asked them.
struct Queries<'c> {
    statements: Statements<'c>,
    rooms: Rooms<'c>,
}

impl<'c> Queries<'c> {
    fn new(connection: &'c Connection) -> Result<Self> {
        Ok(Self { statements: Statements::prepare(connection)?, rooms: Rooms::new(connection)? })
    }

    fn page(&mut self, name: &Name, span: Span, limit: usize) -> Result<Option<MessagePage>, Fault> {
        let room = |row: &Row<'_>| {
            let number = |at| row.get::<_, i64>(at);
            Ok((number(0)?, Name::from(row.get_ref(1)?.as_str()?), number(2)? as u64 + 1, number(3)? as u64))
        };
        let found = self.statements.room.query_row([&**name], room).optional()?;
        let Some((room, epoch, first, last)) = found else { return Ok(None) };
        let (from, to) = match span {
            Span::Newest => (first, last),
            Span::After(seq) => (seq.saturating_add(1).max(first), last),
            Span::Before(seq) => (first, seq.saturating_sub(1).min(last)),
            Span::Between(from, to) => (from.max(first), to.min(last)),
        };
        let is_upward = matches!(span, Span::After(_) | Span::Between(..));
        let statement = if is_upward { &mut self.statements.upward } else { &mut self.statements.downward };
        let limit = limit.min(PAGE_MESSAGES);
        let rows = statement.query(params![room, int(from), int(to), limit as i64])?;
        let (mut messages, is_cut) = limited(rows, |row| rows::message(name, row), |message| &message.content)?;
        if !is_upward {
            messages.reverse();
        }
        let asked = (to + 1).saturating_sub(from);
        let begins = if is_upward { from } else { (to + 1).saturating_sub(messages.len() as u64) };
        let is_whole = is_cut || messages.len() as u64 == asked.min(limit as u64);
        if !is_whole || !messages.iter().zip(begins..).all(|(message, seq)| message.seq == Some(seq)) {
            return Err(Fault::Failed(StorageState::Corrupt, format!("messages of the room {name} are missing")));
        }
        Ok(Some(MessagePage { epoch, first, last, complete: messages.len() as u64 == asked, messages }))
    }

    fn message(&mut self, id: &Uuid) -> Result<Option<MessageView>> {
        let found = self.statements.message.query_row([id.as_bytes()], |row| {
            let room = Name::from(row.get_ref(11)?.as_str()?);
            Ok((rows::message(&room, row)?, row.get::<_, i64>(12)?))
        });
        let Some((message, number)) = found.optional()? else { return Ok(None) };
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

    fn user(&mut self, user: &Name) -> Result<Option<StoredUser>> {
        self.statements.user.query_row([&**user], rows::user).optional()
    }

    fn directs(&mut self, user: &Name, limit: usize) -> Result<StorageReply> {
        let limit = limit.min(PAGE_MESSAGES);
        // One more than may be given tells whether there are more.
        let rows = self.statements.directs.query(params![&**user, limit as i64 + 1])?;
        let (mut directs, is_cut) = limited(rows, rows::direct, |direct: &Direct| &direct.content)?;
        let complete = directs.len() <= limit && !is_cut;
        directs.truncate(limit);
        Ok(StorageReply::Directs { directs, complete })
    }

    fn session(&mut self, token: &TokenHash, now: u64) -> Result<Option<Session>> {
        let found = self.statements.session.query_row([token.0], rows::session).optional()?;
        Ok(found.filter(|session| session.expires_at.is_none_or(|at| at > now)))
    }
}

/// Reads rows until there are no more, or what was read has become large; whether it has.
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
