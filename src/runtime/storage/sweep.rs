//! Deletes expired rows: messages beyond the count or age of their room, closed rooms, ended sessions, direct messages
//! that waited too long, and users without recent activity.
//!
//! Once a minute the sweep visits all tables, in steps of a few milliseconds, each a transaction between two groups of
//! batches. A step continues at the position of the last one; after a restart the sweep begins at the first table.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use crate::base::limits;
use crate::runtime::storage::error::StorageFault;
use crate::runtime::storage::memory_bounds::{self, Held, MemoryBounds};
use crate::runtime::storage::record_writer::RecordWriter;
use crate::runtime::storage::rows::int;
use crate::runtime::storage::statements::statements;

const DAY_MS: u64 = 86_400_000;

const MINUTE_MS: u64 = 60_000;

/// Interval between two sweeps, in milliseconds.
const EVERY_MS: u64 = 60_000;

/// Time limit of one step. One portion may exceed it.
const STEP: Duration = Duration::from_millis(2);

/// Minimum interval between two steps under load.
const UNDER_LOAD: Duration = Duration::from_millis(50);

/// Rows deleted by one statement, between two checks of the clock.
const PORTION: i64 = 32;

/// Sessions visited by one statement. Most of them have not ended.
const SESSIONS: i64 = 256;

/// Retention of rooms without their own; 0: no bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetentionDefaults {
    pub(super) keep_messages: u64,
    pub(super) keep_ms: u64,
    /// The bounds of a database in memory.
    pub(super) memory: Option<MemoryBounds>,
}

impl RetentionDefaults {
    /// The unit in which the use of a user is recorded, in milliseconds. In memory a day would be too many users.
    pub(super) fn use_unit_ms(&self) -> u64 {
        if self.memory.is_some() { MINUTE_MS } else { DAY_MS }
    }
}

/// The position of the sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SweepPosition {
    /// The first room after this number.
    Rooms(i64),
    Closed,
    /// The first session after this token, or the first of all.
    Sessions(Option<[u8; 32]>),
    /// The oldest direct messages.
    OldDirects,
    /// The first user after this number with waiting direct messages.
    ManyDirects(i64),
    /// The first user after this number.
    Users(i64),
    /// The oldest pushes with an idempotency key.
    Pushes,
    /// All revocations; there are few.
    Revocations,
    /// The sweep is complete.
    Idle,
}

/// See the module description.
pub(super) struct Sweep<'c> {
    statements: Statements<'c>,
    defaults: RetentionDefaults,
    position: SweepPosition,
    /// Start of the last sweep, in milliseconds since 1970.
    began: u64,
    last_step: Instant,
    /// Rooms that were created by joining and have no messages any more, found since the last step.
    expired: Vec<String>,
    /// The statements for a database in memory.
    memory: Option<(MemoryBounds, MemoryStatements<'c>)>,
}

statements! {
    Statements {
        next_room: "SELECT number, keep_messages, keep_ms, trimmed,
            ifnull((SELECT max(seq) FROM message WHERE message.room = room.number), 0), has_profile, name
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
        drop_pushes: "DELETE FROM push
            WHERE at <= ?1 AND number IN (SELECT number FROM push ORDER BY number LIMIT ?2)";
        drop_revocations: "DELETE FROM revocation WHERE until <= ?1";
    }
}

statements! {
    MemoryStatements {
        held: memory_bounds::HELD;
        oldest_message: "SELECT number, room, seq, at FROM message ORDER BY number LIMIT 1";
        oldest_direct: "SELECT number, at FROM direct ORDER BY number LIMIT 1";
    }
}

impl<'c> Sweep<'c> {
    pub(super) fn new(connection: &'c Connection, defaults: RetentionDefaults) -> Result<Self> {
        let statements = Statements::prepare(connection)?;
        let (position, last_step) = (SweepPosition::Idle, Instant::now());
        let of_memory = |bounds| MemoryStatements::prepare(connection).map(|statements| (bounds, statements));
        let memory = defaults.memory.map(of_memory).transpose()?;
        Ok(Self { statements, defaults, position, began: 0, last_step, expired: Vec::new(), memory })
    }

    /// Whether a step is due at the time `now` (milliseconds since 1970).
    pub(super) fn is_due(&self, now: u64) -> bool {
        // Without the second condition a clock that was set back would delay the next sweep.
        self.position != SweepPosition::Idle || now < self.began || now >= self.began + EVERY_MS
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.position != SweepPosition::Idle
    }

    /// Executes a step if one is due, in a transaction of `record_writer`.
    pub(super) fn step(
        &mut self,
        record_writer: &mut RecordWriter<'_>,
        now: u64,
        is_quiet: bool,
    ) -> Result<(), StorageFault> {
        self.keep_memory_bounds(record_writer, now)?;
        if !self.is_due(now) || !is_quiet && self.last_step.elapsed() < UNDER_LOAD {
            return Ok(());
        }
        if self.position == SweepPosition::Idle {
            (self.position, self.began) = (SweepPosition::Rooms(0), now);
        }
        debug_assert_ne!(self.position, SweepPosition::Idle, "invariant: a step begins at a table");
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
        while self.last_step.elapsed() < STEP && self.position != SweepPosition::Idle {
            self.position = match self.position {
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
                    self.forget_next(after, record_writer, now)?.map_or(SweepPosition::Pushes, SweepPosition::Users)
                }
                SweepPosition::Pushes => {
                    let before = int(now.saturating_sub(limits::REPEATED_PUBLICATION_MS));
                    match is_full_portion(self.statements.drop_pushes.execute([before, PORTION])?) {
                        true => SweepPosition::Pushes,
                        false => SweepPosition::Revocations,
                    }
                }
                SweepPosition::Revocations => {
                    self.statements.drop_revocations.execute([int(now)])?;
                    SweepPosition::Idle
                }
                SweepPosition::Idle => SweepPosition::Idle,
            };
        }
        Ok(())
    }

    /// The rooms that have been found without messages since the last call.
    pub(super) fn take_expired(&mut self) -> Vec<String> {
        std::mem::take(&mut self.expired)
    }

    /// Deletes the oldest messages of a database in memory while there are too many. Only the last group of batches can have
    /// added any, so this takes about as long as that group took.
    fn keep_memory_bounds(&mut self, record_writer: &mut RecordWriter<'_>, now: u64) -> Result<(), StorageFault> {
        if !self.has_excess_messages()? {
            return Ok(());
        }
        record_writer.begin(now)?;
        while self.has_excess_messages()? {
            if let Err(error) = self.drop_oldest() {
                record_writer.roll_back();
                return Err(error.into());
            }
        }
        Ok(record_writer.commit()?)
    }

    fn has_excess_messages(&mut self) -> Result<bool> {
        let Some((bounds, statements)) = &mut self.memory else { return Ok(false) };
        Ok(statements.held.query_row([], Held::read)?.has_excess_messages(bounds))
    }

    /// Deletes the oldest message of a room or to a user.
    fn drop_oldest(&mut self) -> Result<()> {
        let Some((_, statements)) = &mut self.memory else { return Ok(()) };
        let message = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let message: Option<(i64, i64, i64, i64)> = statements.oldest_message.query_row([], message).optional()?;
        let direct = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let direct: Option<(i64, i64)> = statements.oldest_direct.query_row([], direct).optional()?;
        match (message, direct) {
            (Some((number, room, seq, at)), direct) if direct.is_none_or(|(_, sent_at)| at <= sent_at) => {
                while !self.drop_message(number)? {}
                self.statements.note_trimmed.execute([room, seq])?;
            }
            (_, Some((number, _))) => drop(self.statements.drop_direct.execute([number])?),
            (_, None) => debug_assert!(false, "invariant: a database that holds too many messages has one"),
        }
        Ok(())
    }

    /// Deletes a portion of the first room after `after`; returns the number to continue after, or `None` without such
    /// a room.
    fn trim_next(&mut self, after: i64, now: u64) -> Result<Option<i64>> {
        struct RoomBounds {
            room: i64,
            keep_messages: Option<i64>,
            keep_ms: Option<i64>,
            trimmed: i64,
            last: i64,
            has_profile: bool,
            name: String,
        }
        let found = |row: &Row<'_>| {
            let (room, keep_messages, keep_ms) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (trimmed, last, has_profile, name) = (row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?);
            Ok(RoomBounds { room, keep_messages, keep_ms, trimmed, last, has_profile, name })
        };
        let Some(found) = self.statements.next_room.query_row([after], found).optional()? else { return Ok(None) };
        if found.last == 0 && found.trimmed > 0 && !found.has_profile {
            self.expired.push(found.name);
            return Ok(Some(found.room));
        }
        let keep_messages = found.keep_messages.unwrap_or(int(self.defaults.keep_messages));
        let keep_ms = found.keep_ms.unwrap_or(int(self.defaults.keep_ms));
        let is_many = |seq: i64| keep_messages > 0 && seq <= found.last.saturating_sub(keep_messages);
        let is_old = |at: i64| keep_ms > 0 && at.saturating_add(keep_ms) < int(now);
        if found.last <= found.trimmed || !is_many(found.trimmed + 1) && keep_ms == 0 {
            return Ok(Some(found.room));
        }
        let oldest = self.oldest(found.room)?;
        debug_assert!(oldest.len() as i64 <= PORTION, "invariant: a step visits at most one portion");
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
        // One less, so that the next step visits this room again.
        Ok(Some(if is_more { found.room - 1 } else { found.room }))
    }

    fn oldest(&mut self, room: i64) -> Result<Vec<AgedMessage>> {
        let old = |row: &Row<'_>| Ok(AgedMessage { number: row.get(0)?, seq: row.get(1)?, at: row.get(2)? });
        self.statements.oldest_messages.query_map([room, PORTION], old)?.collect()
    }

    /// Deletes a portion of a message's receipts, and the message after the last of them; returns whether it is
    /// deleted.
    fn drop_message(&mut self, message: i64) -> Result<bool> {
        if is_full_portion(self.statements.drop_receipts.execute([message, PORTION])?) {
            return Ok(false);
        }
        self.statements.drop_message.execute([message])?;
        Ok(true)
    }

    /// Deletes a portion of a closed room; returns the position to continue at, or `None` without such a room.
    fn clear_closed(&mut self) -> Result<Option<SweepPosition>> {
        let room = self.statements.closed_room.query_row([], |row| row.get::<_, i64>(0)).optional()?;
        let Some(room) = room else { return Ok(None) };
        let oldest = self.oldest(room)?;
        for message in &oldest {
            if !self.drop_message(message.number)? {
                return Ok(Some(SweepPosition::Closed));
            }
        }
        if oldest.is_empty() && !is_full_portion(self.statements.drop_participants.execute([room, PORTION])?) {
            self.statements.drop_room.execute([room])?;
        }
        Ok(Some(SweepPosition::Closed))
    }

    /// Deletes the ended ones among the next sessions; returns the token to continue after, or `None` at the end.
    fn drop_sessions(&mut self, after: Option<[u8; 32]>, now: u64) -> Result<Option<[u8; 32]>> {
        let last = self.statements.last_session.query_row(params![after, SESSIONS], |row| row.get(0))?;
        if let Some(last) = last {
            self.statements.drop_sessions.execute(params![after, last, int(now)])?;
        }
        Ok(last)
    }

    fn drop_old_directs(&mut self, now: u64) -> Result<SweepPosition> {
        let keep_ms = int(self.defaults.keep_ms);
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
        Ok(if is_full_portion(dropped) { SweepPosition::OldDirects } else { SweepPosition::ManyDirects(0) })
    }

    /// Deletes a portion of the direct messages beyond the bound of the first user after `after`; returns the number to
    /// continue after, or `None` at the end.
    fn drop_many_directs(&mut self, after: i64) -> Result<Option<i64>> {
        let keep = int(self.defaults.keep_messages);
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
        Ok(Some(if is_full_portion(dropped) { user - 1 } else { user }))
    }

    /// Deletes the first user after `after` if no row can refer to them: they are no participant, no direct message
    /// waits for them, and all their messages and receipts have expired. Returns the number to continue after, or
    /// `None` at the end.
    fn forget_next(&mut self, after: i64, record_writer: &mut RecordWriter<'_>, now: u64) -> Result<Option<i64>> {
        let Some(since) = self.users_since(now)? else { return Ok(None) };
        struct UserActivity {
            number: i64,
            name: String,
            used_day: i64,
            seen_at: i64,
            is_used: bool,
        }
        let found = |row: &Row<'_>| {
            let (number, name, used_day) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(UserActivity { number, name, used_day, seen_at: row.get(3)?, is_used: row.get(4)? })
        };
        let Some(user) = self.statements.next_user.query_row([after], found).optional()? else { return Ok(None) };
        // One unit more, because the use of a user is recorded in that unit.
        let unit = int(self.defaults.use_unit_ms());
        let since = since.saturating_sub(unit);
        if !user.is_used && user.seen_at < since && user.used_day < since.div_euclid(unit) {
            self.statements.drop_user.execute(params![user.number])?;
            record_writer.uncache_user(&user.name);
        }
        Ok(Some(user.number))
    }

    /// The time of the oldest message that there may be, in milliseconds since 1970; `None` if messages are kept for ever.
    fn users_since(&mut self, now: u64) -> Result<Option<i64>> {
        if let Some((bounds, statements)) = &mut self.memory
            && statements.held.query_row([], Held::read)?.has_excess_users(bounds)
        {
            let oldest = statements.oldest_message.query_row([], |row| row.get(3)).optional()?;
            return Ok(Some(oldest.unwrap_or(int(now)).min(int(now))));
        }
        Ok(self.kept_longest()?.map(|keep_ms| int(now).saturating_sub(keep_ms)))
    }

    /// The longest retention of any room, if all are bounded.
    fn kept_longest(&mut self) -> Result<Option<i64>> {
        let own = |row: &Row<'_>| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?));
        let (least, most) = self.statements.kept_longest.query_row([], own)?;
        let is_bounded = self.defaults.keep_ms != 0 && least != Some(0);
        Ok(is_bounded.then(|| most.unwrap_or(0).max(int(self.defaults.keep_ms))))
    }
}

/// The columns that decide whether a message has expired.
struct AgedMessage {
    number: i64,
    seq: i64,
    at: i64,
}

/// Whether a full portion was deleted, so that more rows may remain.
fn is_full_portion(dropped: usize) -> bool {
    let dropped = dropped as i64;
    debug_assert!(dropped <= PORTION, "invariant: a statement deletes at most one portion");
    dropped == PORTION
}
