//! The outbox: hook events that wait for delivery, written in the transaction of the change that they report.
//!
//! The writer adds the events ([`OutboxWriter`]) and carries out the changes that the delivering threads submit
//! ([`OutboxChange`]); these threads read on connections of their own ([`Outbox`]). So an event is lost only with the change
//! that it reports, and an event whose delivery was not recorded is delivered again.
//!
//! For states (a room is occupied, a user is online) the table `hook_state` has those whose beginning was reported. A second
//! beginning, or an end without one, is not stored, so the two alternate strictly. States that a server leaves behind are
//! ended by the next start ([`end_states`]).

use std::sync::Arc;

use crossbeam_channel::Sender;
use rusqlite::{Connection, Result, params};
use uuid::Uuid;

use crate::dialect::webhook;
use crate::domain::hook::counters::HookCounters;
use crate::domain::hook::{DeadLetter, HookEvent, HookFilter, HookKind};
use crate::runtime::entropy;
use crate::runtime::storage::connection::DatabaseSource;
use crate::runtime::storage::rows::int;
use crate::runtime::storage::shared::Shared;
use crate::runtime::storage::statements::statements;

/// Dead letters that are kept of one endpoint; the oldest are deleted first.
const DEAD_LETTERS_MAX: i64 = 10_000;

/// Options of the outbox.
#[derive(Debug)]
pub struct OutboxOptions {
    /// The endpoints.
    pub endpoints: Vec<OutboxEndpoint>,
    /// The most bytes of events that wait for one endpoint; further ones are dropped.
    pub bytes_max: u64,
}

/// An endpoint as the outbox sees it.
#[derive(Debug)]
pub struct OutboxEndpoint {
    /// The events that it wants.
    pub filter: HookFilter,
    /// Its name and figures.
    pub counters: Arc<HookCounters>,
    /// Wakes the thread that delivers to it.
    pub wake: Sender<()>,
}

/// A change of the outbox, by the thread that delivers to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboxChange {
    /// The waiting events up to a number were delivered.
    Delivered {
        /// The endpoint.
        endpoint: Box<str>,
        /// The last number.
        up_to: u64,
    },
    /// The waiting events up to a number are given up.
    GivenUp {
        /// The endpoint.
        endpoint: Box<str>,
        /// The last number.
        up_to: u64,
    },
}

/// An event that waits for delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingEvent {
    /// Its number.
    pub number: u64,
    /// When it began to wait, in milliseconds since 1970.
    pub at: u64,
    /// The event, as JSON.
    pub body: Box<str>,
}

/// What waits for an endpoint.
#[derive(Clone, Copy, Default)]
struct Fill {
    events: u64,
    bytes: u64,
    dead: u64,
}

/// Writes to the outbox within the writer's open transaction.
pub(super) struct OutboxWriter<'c> {
    statements: Statements<'c>,
    options: Arc<OutboxOptions>,
    /// What waits for each endpoint; unknown at the start and after a failed transaction.
    fills: Option<Vec<Fill>>,
    /// The endpoints that the transaction has events for.
    added: Vec<usize>,
}

statements! {
    Statements {
        add: "INSERT INTO hook_event(endpoint, at, body) VALUES(?1, ?2, ?3)";
        fill: "SELECT count(*), ifnull(sum(octet_length(body)), 0),
            (SELECT count(*) FROM hook_event WHERE endpoint = ?1 AND dead_at IS NOT NULL)
            FROM hook_event WHERE endpoint = ?1 AND dead_at IS NULL";
        begin_state: "INSERT OR IGNORE INTO hook_state(kind, name, room, data) VALUES(?1, ?2, ?3, ?4)";
        end_state: "DELETE FROM hook_state WHERE kind = ?1 AND name = ?2";
        delivered: "DELETE FROM hook_event WHERE endpoint = ?1 AND dead_at IS NULL AND number <= ?2
            RETURNING octet_length(body)";
        give_up: "UPDATE hook_event SET dead_at = ?3 WHERE endpoint = ?1 AND dead_at IS NULL AND number <= ?2
            RETURNING octet_length(body)";
        trim_dead: "DELETE FROM hook_event WHERE number IN (SELECT number FROM hook_event
            WHERE endpoint = ?1 AND dead_at IS NOT NULL ORDER BY number DESC LIMIT -1 OFFSET ?2)";
        revive: "INSERT INTO hook_event(endpoint, at, body) SELECT endpoint, ?2, body FROM hook_event
            WHERE endpoint = ?1 AND dead_at IS NOT NULL ORDER BY number";
        drop_dead: "DELETE FROM hook_event WHERE endpoint = ?1 AND dead_at IS NOT NULL";
    }
}

impl<'c> OutboxWriter<'c> {
    pub(super) fn new(connection: &'c Connection, options: Arc<OutboxOptions>) -> Result<Self> {
        Ok(Self { statements: Statements::prepare(connection)?, options, fills: None, added: Vec::new() })
    }

    /// Adds an event for each endpoint that wants it, unless its state has been reported already.
    pub(super) fn add(&mut self, event: &HookEvent, now: u64) -> Result<()> {
        let kind = event.change.kind();
        let room = event.change.room().map(|room| &**room);
        if let Some(state) = event.change.state() {
            let is_news = match kind.end() {
                Some(end) => {
                    let data = text(webhook::data(&event.change));
                    self.statements.begin_state.execute(params![end.name(), state, room, data])?
                }
                None => self.statements.end_state.execute(params![kind.name(), state])?,
            };
            if is_news == 0 {
                return Ok(());
            }
        }
        self.add_body(kind, room, now, || text(webhook::encode(event)))
    }

    fn add_body(&mut self, kind: HookKind, room: Option<&str>, now: u64, body: impl FnOnce() -> String) -> Result<()> {
        let options = self.options.clone();
        let mut wanting = options.endpoints.iter().enumerate().filter(|(_, it)| it.filter.wants(kind, room)).peekable();
        if wanting.peek().is_none() {
            return Ok(());
        }
        let body = body();
        self.count_fills()?;
        for (at, endpoint) in wanting {
            let fill = &mut self.fills.as_mut().expect("invariant: what waits was counted")[at];
            if fill.bytes + body.len() as u64 > options.bytes_max {
                if endpoint.counters.add_dropped().is_multiple_of(1_000) {
                    let endpoint = &*endpoint.counters.endpoint;
                    tracing::error!(
                        endpoint,
                        "too much waits for a webhook (webhooks.outbox_bytes): events are dropped"
                    );
                }
                continue;
            }
            self.statements.add.execute(params![endpoint.counters.endpoint, int(now), body])?;
            *fill = Fill { events: fill.events + 1, bytes: fill.bytes + body.len() as u64, ..*fill };
            if !self.added.contains(&at) {
                self.added.push(at);
            }
        }
        Ok(())
    }

    fn count_fills(&mut self) -> Result<()> {
        if self.fills.is_none() {
            let mut fills = Vec::new();
            for endpoint in &self.options.endpoints {
                let count = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(|count| count as u64);
                let fill = |row: &rusqlite::Row<'_>| {
                    Ok(Fill { events: count(row, 0)?, bytes: count(row, 1)?, dead: count(row, 2)? })
                };
                fills.push(self.statements.fill.query_row([&*endpoint.counters.endpoint], fill)?);
            }
            self.fills = Some(fills);
        }
        Ok(())
    }

    /// Carries out a change.
    pub(super) fn change(&mut self, change: &OutboxChange, now: u64) -> Result<()> {
        self.count_fills()?;
        match change {
            OutboxChange::Delivered { endpoint, up_to } => {
                let rows = self.statements.delivered.query_map(params![endpoint, int(*up_to)], |row| row.get(0))?;
                let sizes = rows.collect::<Result<Vec<i64>>>()?;
                self.subtract(endpoint, &sizes);
            }
            OutboxChange::GivenUp { endpoint, up_to } => {
                let values = params![endpoint, int(*up_to), int(now)];
                let rows = self.statements.give_up.query_map(values, |row| row.get(0))?;
                let sizes = rows.collect::<Result<Vec<i64>>>()?;
                let trimmed = self.statements.trim_dead.execute(params![endpoint, DEAD_LETTERS_MAX])?;
                if let Some(fill) = self.subtract(endpoint, &sizes) {
                    fill.dead = (fill.dead + sizes.len() as u64).saturating_sub(trimmed as u64);
                }
            }
        }
        Ok(())
    }

    /// Has the dead letters of an endpoint wait for delivery again, with new numbers.
    pub(super) fn replay(&mut self, endpoint: &str, now: u64) -> Result<()> {
        self.statements.revive.execute(params![endpoint, int(now)])?;
        self.statements.drop_dead.execute([endpoint])?;
        let at = self.options.endpoints.iter().position(|known| &*known.counters.endpoint == endpoint);
        self.added.extend(at);
        self.fills = None;
        self.count_fills()
    }

    fn subtract(&mut self, endpoint: &str, sizes: &[i64]) -> Option<&mut Fill> {
        let at = self.options.endpoints.iter().position(|known| &*known.counters.endpoint == endpoint)?;
        let fill = &mut self.fills.as_mut()?[at];
        let bytes: u64 = sizes.iter().map(|size| *size as u64).sum();
        fill.events = fill.events.saturating_sub(sizes.len() as u64);
        fill.bytes = fill.bytes.saturating_sub(bytes);
        Some(fill)
    }

    /// The transaction is committed.
    pub(super) fn committed(&mut self) {
        if let Some(fills) = &self.fills {
            for (endpoint, fill) in self.options.endpoints.iter().zip(fills) {
                endpoint.counters.set_stored(fill.events, fill.bytes, fill.dead);
            }
        }
        for at in self.added.drain(..) {
            // A full queue means that the thread is to wake up already.
            let _ = self.options.endpoints[at].wake.try_send(());
        }
    }

    /// The transaction is undone.
    pub(super) fn rolled_back(&mut self) {
        self.fills = None;
        self.added.clear();
    }
}

fn text(json: Vec<u8>) -> String {
    String::from_utf8(json).expect("invariant: encoded events are UTF-8")
}

/// Ends the states that the last server left behind, all but that of rooms which still exist.
pub(super) fn end_states(connection: &Connection, options: &Arc<OutboxOptions>, now: u64) -> Result<()> {
    // An end precedes those of what it is a part of.
    const ENDS: [HookKind; 5] = [
        HookKind::MemberLeft,
        HookKind::RoomVacated,
        HookKind::RoomClosed,
        HookKind::ConnectionClosed,
        HookKind::UserOffline,
    ];
    let transaction = connection.unchecked_transaction()?;
    let mut writer = OutboxWriter::new(connection, options.clone())?;
    let mut left = connection.prepare(
        "SELECT room, data FROM hook_state WHERE kind = ?1
            AND (?1 <> 'room.closed' OR name NOT IN (SELECT name FROM room WHERE name IS NOT NULL))",
    )?;
    for kind in ENDS {
        let mut rows = left.query([kind.name()])?;
        while let Some(row) = rows.next()? {
            let (room, data): (Option<String>, String) = (row.get(0)?, row.get(1)?);
            let body = || text(webhook::ended(&fresh_id(now), kind, now, &data));
            writer.add_body(kind, room.as_deref(), now, body)?;
        }
    }
    connection.execute(
        "DELETE FROM hook_state WHERE kind <> 'room.closed'
            OR name NOT IN (SELECT name FROM room WHERE name IS NOT NULL)",
        [],
    )?;
    transaction.commit()?;
    writer.committed();
    Ok(())
}

/// The oldest dead letters.
pub(super) fn dead_letters(connection: &Connection, limit: usize) -> Result<Vec<DeadLetter>> {
    let mut statement = connection.prepare(
        "SELECT endpoint, dead_at, body FROM hook_event WHERE dead_at IS NOT NULL ORDER BY endpoint, number LIMIT ?1",
    )?;
    let letter = |row: &rusqlite::Row<'_>| {
        let dead_at: i64 = row.get(1)?;
        let text = |at| Ok::<_, rusqlite::Error>(row.get_ref(at)?.as_str()?.into());
        Ok(DeadLetter { endpoint: text(0)?, dead_at: dead_at as u64, body: text(2)? })
    };
    statement.query_map([limit as i64], letter)?.collect()
}

/// The id of an event that no owner has made.
fn fresh_id(now: u64) -> String {
    let random = entropy::seed().unwrap_or_default();
    let random = random.first_chunk().expect("a seed has more than ten bytes");
    uuid_text(uuid::Builder::from_unix_timestamp_millis(now, random).into_uuid())
}

fn uuid_text(id: Uuid) -> String {
    id.hyphenated().to_string()
}

/// The outbox of one endpoint, for the thread that delivers to it.
pub struct Outbox {
    source: DatabaseSource,
    shared: Arc<Shared>,
    endpoint: Box<str>,
    connection: Option<Connection>,
}

impl Outbox {
    pub(super) fn new(source: DatabaseSource, shared: Arc<Shared>, endpoint: &str) -> Self {
        Self { source, shared, endpoint: endpoint.into(), connection: None }
    }

    /// The first events with numbers after `after`, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn waiting(&mut self, after: u64, limit: usize) -> std::result::Result<Vec<WaitingEvent>, String> {
        let outcome = self.read(after, limit);
        if outcome.is_err() {
            self.connection = None;
        }
        outcome.map_err(|error| error.to_string())
    }

    fn read(&mut self, after: u64, limit: usize) -> Result<Vec<WaitingEvent>> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.source.read()?,
        };
        let connection = self.connection.insert(connection);
        let mut statement = connection.prepare(
            "SELECT number, at, body FROM hook_event
                WHERE endpoint = ?1 AND dead_at IS NULL AND number > ?2 ORDER BY number LIMIT ?3",
        )?;
        let event = |row: &rusqlite::Row<'_>| {
            let (number, at): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(WaitingEvent { number: number as u64, at: at as u64, body: row.get_ref(2)?.as_str()?.into() })
        };
        statement.query_map(params![self.endpoint, int(after), limit as i64], event)?.collect()
    }

    /// Records that events up to a number were delivered.
    pub fn delivered(&self, up_to: u64) {
        self.shared.change_outbox(OutboxChange::Delivered { endpoint: self.endpoint.clone(), up_to });
    }

    /// Gives up the events up to a number.
    pub fn give_up(&self, up_to: u64) {
        self.shared.change_outbox(OutboxChange::GivenUp { endpoint: self.endpoint.clone(), up_to });
    }
}
