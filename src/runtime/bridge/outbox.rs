//! The outbox of hook events in Redis, for the thread that delivers to one endpoint.
//!
//! The events are a stream that all nodes add to, in the scripts of the changes. One node delivers to an endpoint: the one that
//! holds its *lease*. It reads from the *cursor*, which is the id of the last event that was delivered; so another node goes on
//! where it has ended. Events that are behind the cursors of all endpoints are deleted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use redis::{FromRedisValue, RedisError, Value, cmd, from_redis_value};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::unbounded_channel;

use crate::dialect::webhook;
use crate::domain::hook::HookFilter;
use crate::domain::hook::counters::HookCounters;
use crate::owner::redis::{KeySchema, decode_hook};
use crate::runtime::bridge::address::RedisAddress;
use crate::runtime::bridge::claim::ClaimedNode;
use crate::runtime::bridge::connection::RedisConnection;
use crate::runtime::clock;
use crate::runtime::storage::WaitingEvent;
use crate::runtime::webhooks::{EventSource, Readiness, WebhookEndpoint};

/// How often the stream is looked at while no event waits.
const POLL: Duration = Duration::from_millis(250);

/// How long a lease outlasts the longest request, in milliseconds.
const LEASE_SPARE_MS: u64 = 10_000;

/// Events that are read from the stream at once.
const READ_EVENTS: usize = 500;

/// Dead letters that are kept of one endpoint.
const DEAD_LETTERS_MAX: isize = 10_000;

/// Takes the lease or renews it. Returns 1: renewed, 2: taken, 0: another node has it.
const LEASE: &str = "
    local own = redis.call('GET', KEYS[1])
    if own == ARGV[1] then
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
        return 1
    end
    if own then return 0 end
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return 2";

/// Gives the lease back, if it is this node's.
const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1";

impl ClaimedNode {
    /// The stream of hook events of this node's Redis, which is no Redis Cluster: there a script could not add to the stream.
    pub fn hook_stream(&self, endpoints: impl Iterator<Item = Box<str>>) -> HookStream {
        HookStream {
            address: self.options.address.clone(),
            prefix: self.options.prefix.as_str().into(),
            holder: (*self.name).into(),
            endpoints: endpoints.collect(),
        }
    }
}

/// What the outboxes of all endpoints have in common.
#[derive(Clone)]
pub struct HookStream {
    address: RedisAddress,
    prefix: Arc<str>,
    /// A name that no other process has.
    holder: Arc<str>,
    endpoints: Arc<[Box<str>]>,
}

impl HookStream {
    /// The outbox of an endpoint.
    ///
    /// # Errors
    /// The operating system gives no asynchronous runtime.
    pub fn outbox(&self, counters: Arc<HookCounters>, endpoint: &WebhookEndpoint) -> Result<RedisOutbox, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(RedisOutbox {
            runtime: runtime.map_err(|error| format!("no asynchronous runtime: {error}"))?,
            connection: None,
            keys: KeySchema::new(&self.prefix),
            stream: self.clone(),
            counters,
            filter: endpoint.filter.clone(),
            lease_ms: endpoint.timeout.as_millis() as u64 + LEASE_SPARE_MS,
            handed: VecDeque::new(),
            read_to: "0-0".to_owned(),
            cursor: "0-0".to_owned(),
            next_number: 1,
        })
    }
}

/// See the module description.
pub struct RedisOutbox {
    runtime: Runtime,
    connection: Option<RedisConnection>,
    keys: KeySchema,
    stream: HookStream,
    counters: Arc<HookCounters>,
    filter: HookFilter,
    lease_ms: u64,
    /// The events that were read and not yet delivered: number, id in the stream, and body.
    handed: VecDeque<(u64, String, Box<str>)>,
    /// The id of the last entry that was read.
    read_to: String,
    /// The id up to which events were delivered, as Redis knows it.
    cursor: String,
    next_number: u64,
}

impl RedisOutbox {
    fn key(&self, kind: &str) -> String {
        self.key_of(kind, &self.counters.endpoint)
    }

    fn key_of(&self, kind: &str, endpoint: &str) -> String {
        format!("{}:{kind}:{endpoint}", self.keys.hooks())
    }

    /// Carries out a command; an error closes the connection.
    fn ask<T: FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<T, String> {
        let Self { runtime, connection, stream, .. } = self;
        let outcome: Result<Value, RedisError> = runtime.block_on(async {
            if connection.is_none() {
                let (pushes, _pushed) = unbounded_channel();
                *connection = Some(RedisConnection::open(&stream.address, pushes).await?);
            }
            let connection = connection.as_mut().expect("invariant: the connection is open");
            connection.ask(command).await
        });
        let outcome = outcome.map_err(|error| error.to_string());
        if outcome.is_err() {
            self.connection = None;
        }
        from_redis_value(outcome?).map_err(|error| error.to_string())
    }

    /// Moves the cursor, and deletes entries that are behind all cursors.
    fn move_cursor(&mut self, to: String) -> Result<(), String> {
        let key = self.key("cursor");
        self.ask::<Value>(cmd("SET").arg(key).arg(&to))?;
        self.cursor = to;
        let mut get = cmd("MGET");
        for endpoint in self.stream.endpoints.clone().iter() {
            get.arg(self.key_of("cursor", endpoint));
        }
        let cursors: Vec<Option<String>> = self.ask(&get)?;
        let least = cursors.iter().map(|cursor| cursor.as_deref().map_or((0, 0), position)).min().unwrap_or((0, 0));
        if least > (0, 0) {
            let after = format!("{}-{}", least.0, least.1 + 1);
            let stream = self.keys.hooks();
            self.ask::<Value>(cmd("XTRIM").arg(stream).arg("MINID").arg("~").arg(after))?;
        }
        self.count()
    }

    fn count(&mut self) -> Result<(), String> {
        let (stream, dead) = (self.keys.hooks(), self.key("dead"));
        let waiting: u64 = self.ask(cmd("XLEN").arg(stream))?;
        let dead: u64 = self.ask(cmd("LLEN").arg(dead))?;
        self.counters.set_stored(waiting, 0, dead);
        Ok(())
    }

    /// Removes the events up to a number; the id of the last of them.
    fn take(&mut self, up_to: u64) -> (Option<String>, Vec<Box<str>>) {
        let (mut last, mut bodies) = (None, Vec::new());
        while let Some((_, id, body)) = self.handed.pop_front_if(|(number, ..)| *number <= up_to) {
            last = Some(id);
            bodies.push(body);
        }
        // What no endpoint filter lets pass needs no delivery.
        let last = if self.handed.is_empty() { Some(self.read_to.clone()) } else { last };
        (last, bodies)
    }

    /// The time and body of an entry of the stream, if it is for this endpoint: `e` and the event, or, of a replayed dead
    /// letter, `b` and the body, `o` and the endpoint.
    fn wanted(&self, id: &str, fields: &[Vec<u8>]) -> Option<(u64, Box<str>)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok().map(String::into_boxed_str);
        match fields {
            [_, body, _, endpoint] => {
                let is_own = **endpoint == *self.counters.endpoint.as_bytes();
                Some((position(id).0, text(body.clone()).filter(|_| is_own)?))
            }
            [_, event] => {
                let event = decode_hook(&self.keys, id, event)?;
                let room = event.change.room().map(|room| &**room);
                let is_wanted = self.filter.wants(event.change.kind(), room);
                Some((event.at, text(webhook::encode(&event)).filter(|_| is_wanted)?))
            }
            _ => None,
        }
    }

    fn forward(&mut self, up_to: u64) {
        if let (Some(id), _) = self.take(up_to)
            && let Err(error) = self.move_cursor(id)
        {
            tracing::warn!(target: "switchboard::webhook", error, "a delivery was not recorded: it can be repeated");
        }
    }
}

/// An id of the stream as numbers.
fn position(id: &str) -> (u64, u64) {
    let (ms, number) = id.split_once('-').unwrap_or((id, "0"));
    (ms.parse().unwrap_or(0), number.parse().unwrap_or(0))
}

impl EventSource for RedisOutbox {
    fn ready(&mut self) -> Result<Readiness, String> {
        let (key, lease_ms) = (self.key("lease"), self.lease_ms);
        let holder = self.stream.holder.clone();
        let lease = cmd("EVAL").arg(LEASE).arg(1).arg(key).arg(&*holder).arg(lease_ms).clone();
        match self.ask::<u8>(&lease)? {
            0 => {
                self.handed.clear();
                Ok(Readiness::Elsewhere)
            }
            1 => Ok(Readiness::Ready),
            _ => {
                let key = self.key("cursor");
                let cursor: Option<String> = self.ask(cmd("GET").arg(key))?;
                self.cursor = cursor.unwrap_or_else(|| "0-0".to_owned());
                self.read_to.clone_from(&self.cursor);
                self.handed.clear();
                Ok(Readiness::Fresh)
            }
        }
    }

    fn waiting(&mut self, _: u64, limit: usize) -> Result<Vec<WaitingEvent>, String> {
        let mut found = Vec::new();
        while found.len() < limit {
            let after = format!("({}", self.read_to);
            let stream = self.keys.hooks();
            let wanted = (limit - found.len()).min(READ_EVENTS);
            let range = cmd("XRANGE").arg(stream).arg(after).arg("+").arg("COUNT").arg(wanted).clone();
            let entries: Vec<(String, Vec<Vec<u8>>)> = self.ask(&range)?;
            let is_end = entries.len() < wanted;
            for (id, fields) in entries {
                self.read_to.clone_from(&id);
                if let Some((at, body)) = self.wanted(&id, &fields) {
                    let number = self.next_number;
                    self.next_number += 1;
                    self.handed.push_back((number, id, body.clone()));
                    found.push(WaitingEvent { number, at, body });
                }
            }
            if is_end {
                break;
            }
        }
        if self.handed.is_empty() && self.read_to != self.cursor {
            self.move_cursor(self.read_to.clone())?;
        }
        Ok(found)
    }

    fn delivered(&mut self, up_to: u64) {
        self.forward(up_to);
    }

    fn give_up(&mut self, up_to: u64) {
        let dead: Vec<Box<str>> =
            self.handed.iter().filter(|(number, ..)| *number <= up_to).map(|(_, _, body)| body.clone()).collect();
        let key = self.key("dead");
        let mut push = cmd("LPUSH");
        push.arg(&key);
        let now = clock::unix_millis();
        for body in &dead {
            push.arg(format!("{now} {body}"));
        }
        let endpoints = format!("{}:endpoints", self.keys.hooks());
        let name = self.counters.endpoint.clone();
        let kept = self.ask::<Value>(cmd("SADD").arg(endpoints).arg(&*name)).and_then(|_| self.ask::<Value>(&push));
        let kept = kept.and_then(|_| self.ask::<Value>(cmd("LTRIM").arg(&key).arg(0).arg(DEAD_LETTERS_MAX - 1)));
        if let Err(error) = kept {
            tracing::error!(target: "switchboard::webhook", error, "dead letters of a webhook could not be kept");
        }
        self.forward(up_to);
    }

    fn poll(&self) -> Duration {
        POLL
    }

    fn release(&mut self) {
        let (key, holder) = (self.key("lease"), self.stream.holder.clone());
        let _ = self.ask::<Value>(cmd("EVAL").arg(RELEASE).arg(1).arg(key).arg(&*holder));
    }
}
