//! Deletes what is kept no longer: messages beyond their room's count or age, closed rooms, sessions that have ended,
//! messages that waited too long for a user, users who were not heard of since.
//!
//! Once a minute everything is gone through, in steps of at most a few milliseconds, each a transaction of its own between
//! those of the batches. A step goes on where the one before stopped; after a restart it begins from the front.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use crate::runtime::storage::error::StorageFault;
use crate::runtime::storage::record_writer::{DAY_MS, RecordWriter};
use crate::runtime::storage::rows::int;
use crate::runtime::storage::statements::statements;

/// How often everything is gone through, in milliseconds.
const EVERY_MS: u64 = 60_000;

/// How long one step may take. One portion may exceed it.
const STEP: Duration = Duration::from_millis(2);

/// Under load a step is made no more often.
const UNDER_LOAD: Duration = Duration::from_millis(50);

/// Rows deleted at once, between two looks at the clock.
const PORTION: i64 = 32;

/// Sessions looked at between two looks at the clock. Most of them live on.
const SESSIONS: i64 = 256;

/// How long messages are kept where their room does not say; 0: without a bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetentionDefaults {
    pub(super) keep_messages: u64,
    pub(super) keep_ms: u64,
}

/// How far it has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SweepPosition {
    /// At the first room after this number.
    Rooms(i64),
    Closed,
    /// At the first session after this token, or at the first of all.
    Sessions(Option<[u8; 32]>),
    /// At the oldest of the messages that wait for users.
    OldDirects,
    /// At the first user after this number who has messages waiting.
    ManyDirects(i64),
    /// At the first user after this number.
    Users(i64),
    /// Through.
    Resting,
}

/// See the module.
pub(super) struct Sweep<'c> {
    statements: Statements<'c>,
    terms: RetentionDefaults,
    place: SweepPosition,
    /// When it was last at the front, in milliseconds since 1970.
    began: u64,
    last_step: Instant,
}

statements! {
    Statements {
        next_room: "SELECT number, keep_messages, keep_ms, trimmed,
            ifnull((SELECT max(seq) FROM message WHERE message.room = room.number), 0)
            FROM room WHERE number > ?1 AND name IS NOT NULL ORDER BY number LIMIT 1";
        oldest_messages: "SELECT number, seq, at FROM message WHERE room = ?1 ORDER BY seq LIMIT ?2";
        drop_receipts: "DELETE FROM receipt WHERE message = ?1
            AND user IN (SELECT user FROM receipt WHERE message = ?1 LIMIT ?2)";
        drop_message: "DELETE FROM message WHERE number = ?1";
        note_trimmed: "UPDATE room SET trimmed = ?2 WHERE number = ?1";
        closed_room: "SELECT number FROM room WHERE name IS NULL LIMIT 1";
        drop_participants: "DELETE FROM participant
            WHERE number IN (SELECT number FROM participant WHERE room = ?1 LIMIT ?2)";
        drop_room: "DELETE FROM room WHERE number = ?1";
        last_session: "SELECT max(token) FROM (SELECT token FROM session WHERE token > ifnull(?1, x'')
            ORDER BY token LIMIT ?2)";
        drop_sessions: "DELETE FROM session WHERE token > ifnull(?1, x'') AND token <= ?2 AND expires_at <= ?3";
        oldest_directs: "SELECT number, at FROM direct ORDER BY number LIMIT ?1";
        drop_direct: "DELETE FROM direct WHERE number = ?1";
        next_direct_user: "SELECT user FROM direct WHERE user > ?1 ORDER BY user LIMIT 1";
        direct_beyond: "SELECT number FROM direct WHERE user = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2";
        drop_directs: "DELETE FROM direct
            WHERE number IN (SELECT number FROM direct WHERE user = ?1 AND number <= ?2 LIMIT ?3)";
        kept_longest: "SELECT min(keep_ms), max(keep_ms) FROM room WHERE keep_ms IS NOT NULL";
        next_user: "SELECT number, name, used_day, ifnull(seen_at, 0),
            EXISTS(SELECT 1 FROM participant WHERE user = user.number)
                OR EXISTS(SELECT 1 FROM direct WHERE user = user.number)
            FROM user WHERE number > ?1 ORDER BY number LIMIT 1";
        drop_user: "DELETE FROM user WHERE number = ?1";
    }
}

impl<'c> Sweep<'c> {
    pub(super) fn new(connection: &'c Connection, terms: RetentionDefaults) -> Result<Self> {
        let statements = Statements::prepare(connection)?;
        Ok(Self { statements, terms, place: SweepPosition::Resting, began: 0, last_step: Instant::now() })
    }

    /// Whether there is something to be gone through at this time (in milliseconds since 1970).
    pub(super) fn is_due(&self, now: u64) -> bool {
        // A clock that was set back must not make the rest longer.
        self.place != SweepPosition::Resting || now < self.began || now >= self.began + EVERY_MS
    }

    /// Whether it is somewhere on its way through.
    pub(super) fn is_under_way(&self) -> bool {
        self.place != SweepPosition::Resting
    }

    /// Makes a step if it is time for one. `record_writer` begins and ends the transaction.
    pub(super) fn step(
        &mut self,
        record_writer: &mut RecordWriter<'_>,
        now: u64,
        is_quiet: bool,
    ) -> Result<(), StorageFault> {
        if !self.is_due(now) || !is_quiet && self.last_step.elapsed() < UNDER_LOAD {
            return Ok(());
        }
        if self.place == SweepPosition::Resting {
            (self.place, self.began) = (SweepPosition::Rooms(0), now);
        }
        self.last_step = Instant::now();
        record_writer.begin(now)?;
        let outcome = self.portions(record_writer, now);
        match outcome {
            Ok(()) => Ok(record_writer.commit()?),
            Err(error) => {
                record_writer.roll_back();
                Err(error.into())
            }
        }
    }

    fn portions(&mut self, record_writer: &mut RecordWriter<'_>, now: u64) -> Result<()> {
        while self.last_step.elapsed() < STEP && self.place != SweepPosition::Resting {
            self.place = match self.place {
                SweepPosition::Rooms(after) => {
                    self.trim_next(after, now)?.map_or(SweepPosition::Closed, SweepPosition::Rooms)
                }
                SweepPosition::Closed => self.clear_closed()?.unwrap_or(SweepPosition::Sessions(None)),
                SweepPosition::Sessions(after) => match self.drop_sessions(after, now)? {
                    None => SweepPosition::OldDirects,
                    last => SweepPosition::Sessions(last),
                },
                SweepPosition::OldDirects => self.drop_old_directs(now)?,
                SweepPosition::ManyDirects(after) => {
                    self.drop_many_directs(after)?.map_or(SweepPosition::Users(0), SweepPosition::ManyDirects)
                }
                SweepPosition::Users(after) => {
                    self.forget_next(after, record_writer, now)?.map_or(SweepPosition::Resting, SweepPosition::Users)
                }
                SweepPosition::Resting => SweepPosition::Resting,
            };
        }
        Ok(())
    }

    /// Trims the first room after `after` by a portion; the number to go on after, if there is a room.
    fn trim_next(&mut self, after: i64, now: u64) -> Result<Option<i64>> {
        struct Found {
            room: i64,
            keep_messages: Option<i64>,
            keep_ms: Option<i64>,
            trimmed: i64,
            last: i64,
        }
        let found = |row: &Row<'_>| {
            let (room, keep_messages, keep_ms) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Found { room, keep_messages, keep_ms, trimmed: row.get(3)?, last: row.get(4)? })
        };
        let Some(found) = self.statements.next_room.query_row([after], found).optional()? else { return Ok(None) };
        let keep_messages = found.keep_messages.unwrap_or(int(self.terms.keep_messages));
        let keep_ms = found.keep_ms.unwrap_or(int(self.terms.keep_ms));
        let is_many = |seq: i64| keep_messages > 0 && seq <= found.last.saturating_sub(keep_messages);
        let is_old = |at: i64| keep_ms > 0 && at.saturating_add(keep_ms) < int(now);
        if found.last <= found.trimmed || !is_many(found.trimmed + 1) && keep_ms == 0 {
            return Ok(Some(found.room));
        }
        let oldest = self.oldest(found.room)?;
        let mut is_more = oldest.len() as i64 == PORTION;
        let mut trimmed = None;
        for message in &oldest {
            if !is_many(message.seq) && !is_old(message.at) {
                is_more = false;
                break;
            }
            if !self.drop_message(message.number)? {
                is_more = true;
                break;
            }
            trimmed = Some(message.seq);
        }
        if let Some(seq) = trimmed {
            self.statements.note_trimmed.execute([found.room, seq])?;
        }
        // One less, so that the same room is the next one again.
        Ok(Some(if is_more { found.room - 1 } else { found.room }))
    }

    fn oldest(&mut self, room: i64) -> Result<Vec<AgedMessage>> {
        let old = |row: &Row<'_>| Ok(AgedMessage { number: row.get(0)?, seq: row.get(1)?, at: row.get(2)? });
        self.statements.oldest_messages.query_map([room, PORTION], old)?.collect()
    }

    /// Deletes a message and its receipts, if these are not too many; whether it is gone.
    fn drop_message(&mut self, message: i64) -> Result<bool> {
        if is_portion(self.statements.drop_receipts.execute([message, PORTION])?) {
            return Ok(false);
        }
        self.statements.drop_message.execute([message])?;
        Ok(true)
    }

    /// Deletes a portion of a closed room; the place to go on at, if there is such a room.
    fn clear_closed(&mut self) -> Result<Option<SweepPosition>> {
        let room = self.statements.closed_room.query_row([], |row| row.get::<_, i64>(0)).optional()?;
        let Some(room) = room else { return Ok(None) };
        let oldest = self.oldest(room)?;
        for message in &oldest {
            if !self.drop_message(message.number)? {
                return Ok(Some(SweepPosition::Closed));
            }
        }
        if oldest.is_empty() && !is_portion(self.statements.drop_participants.execute([room, PORTION])?) {
            self.statements.drop_room.execute([room])?;
        }
        Ok(Some(SweepPosition::Closed))
    }

    /// Deletes those that have ended among the sessions after `after`; whom to go on after, if there are more.
    fn drop_sessions(&mut self, after: Option<[u8; 32]>, now: u64) -> Result<Option<[u8; 32]>> {
        let last = self.statements.last_session.query_row(params![after, SESSIONS], |row| row.get(0))?;
        if let Some(last) = last {
            self.statements.drop_sessions.execute(params![after, last, int(now)])?;
        }
        Ok(last)
    }

    fn drop_old_directs(&mut self, now: u64) -> Result<SweepPosition> {
        let keep_ms = int(self.terms.keep_ms);
        if keep_ms == 0 {
            return Ok(SweepPosition::ManyDirects(0));
        }
        let direct = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let oldest: Vec<(i64, i64)> =
            self.statements.oldest_directs.query_map([PORTION], direct)?.collect::<Result<_>>()?;
        let old = oldest.iter().take_while(|(_, at)| at.saturating_add(keep_ms) < int(now));
        let mut dropped = 0;
        for (number, _) in old {
            dropped += self.statements.drop_direct.execute([number])?;
        }
        Ok(if is_portion(dropped) { SweepPosition::OldDirects } else { SweepPosition::ManyDirects(0) })
    }

    /// Deletes a portion of what is too much for the first user after `after`; whom to go on after, if there is one.
    fn drop_many_directs(&mut self, after: i64) -> Result<Option<i64>> {
        let keep = int(self.terms.keep_messages);
        if keep == 0 {
            return Ok(None);
        }
        let user = self.statements.next_direct_user.query_row([after], |row| row.get::<_, i64>(0)).optional()?;
        let Some(user) = user else { return Ok(None) };
        let beyond = self.statements.direct_beyond.query_row([user, keep], |row| row.get::<_, i64>(0)).optional()?;
        let dropped = match beyond {
            Some(number) => self.statements.drop_directs.execute([user, number, PORTION])?,
            None => 0,
        };
        Ok(Some(if is_portion(dropped) { user - 1 } else { user }))
    }

    /// Forgets the first user after `after` if nothing can refer to them any more: they are no participant, nothing waits
    /// for them, and every message and receipt of theirs is older than messages become. Whom to go on after, if there is
    /// one.
    fn forget_next(&mut self, after: i64, record_writer: &mut RecordWriter<'_>, now: u64) -> Result<Option<i64>> {
        let Some(keep_ms) = self.kept_longest()? else { return Ok(None) };
        struct Found {
            number: i64,
            name: String,
            used_day: i64,
            seen_at: i64,
            is_used: bool,
        }
        let found = |row: &Row<'_>| {
            let (number, name, used_day) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Found { number, name, used_day, seen_at: row.get(3)?, is_used: row.get(4)? })
        };
        let Some(user) = self.statements.next_user.query_row([after], found).optional()? else { return Ok(None) };
        // A day more, because days are all that is noted of a user's use.
        let since = int(now).saturating_sub(keep_ms).saturating_sub(int(DAY_MS));
        if !user.is_used && user.seen_at < since && user.used_day < since.div_euclid(int(DAY_MS)) {
            self.statements.drop_user.execute(params![user.number])?;
            record_writer.forget_user(&user.name);
        }
        Ok(Some(user.number))
    }

    /// How long the messages of any room are kept at the most, if there is a bound.
    fn kept_longest(&mut self) -> Result<Option<i64>> {
        let own = |row: &Row<'_>| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?));
        let (least, most) = self.statements.kept_longest.query_row([], own)?;
        let is_bounded = self.terms.keep_ms != 0 && least != Some(0);
        Ok(is_bounded.then(|| most.unwrap_or(0).max(int(self.terms.keep_ms))))
    }
}

/// A message as far as its age matters.
struct AgedMessage {
    number: i64,
    seq: i64,
    at: i64,
}

/// Whether as many rows were deleted as there are in a portion, so that there may be more.
fn is_portion(dropped: usize) -> bool {
    dropped as i64 >= PORTION
}
