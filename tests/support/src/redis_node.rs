//! One node of a cluster without threads and sockets of its own: [`switchboard::owner::redis`] with a driver that makes
//! one call at a time, so a test knows when all replies and published messages have been handled.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::{Cmd, Connection, Value};
use switchboard::base::rng::Rng;
use switchboard::base::time::Now;
use switchboard::domain::op::{Op, RoomRules};
use switchboard::message::redis::{CallError, RedisCommand, RedisEvent, RedisState, ScriptCall};
use switchboard::message::{BRIDGE, BridgeMessage, Outgoing, OwnerMessage, Requester};
use switchboard::owner::redis::{RedisOwner, RedisSettings};
use switchboard::runtime::bridge;

use super::redis::RedisServer;

/// A node: its half of the authority, and the connections that it has to Redis.
pub struct Node {
    pub authority: RedisOwner,
    calls: Connection,
    channels: Connection,
    scripts: BTreeMap<&'static str, redis::Script>,
    sharded: bool,
    /// Calls to Redis so far.
    pub called: usize,
}

impl Node {
    /// One that Redis answers.
    pub fn new(server: &RedisServer, settings: RedisSettings, rules: Arc<RoomRules>, seed: u64) -> Self {
        let sharded = settings.sharded;
        let authority = RedisOwner::new(settings, rules, Rng::from_seed(seed));
        let (calls, channels) = (server.connect(), server.connect());
        Self { authority, calls, channels, scripts: BTreeMap::new(), sharded, called: 0 }
    }

    /// Tells it how Redis is.
    pub fn set_state(&mut self, now: Now, state: RedisState, out: &mut Vec<Outgoing>) {
        self.authority.handle_redis_event(now, RedisEvent::State(state), out);
    }

    /// Asks something, without waiting for what comes of it.
    pub fn ask(&mut self, now: Now, from: Requester, op: Op, out: &mut Vec<Outgoing>) {
        self.authority.request(now, from, op, out);
    }

    /// Handles a message of a shard.
    pub fn handle(&mut self, now: Now, message: OwnerMessage, out: &mut Vec<Outgoing>) {
        self.authority.handle_message(now, BridgeMessage::Owner(message), out);
    }

    /// Does what the node has for Redis, and tells it what Redis says, until there is no more; whether there was something.
    pub fn settle(&mut self, now: Now, out: &mut Vec<Outgoing>) -> bool {
        let mut was_busy = false;
        loop {
            let demands: Vec<RedisCommand> = self.authority.commands(now).collect();
            let mut heard: Vec<RedisEvent> = demands.into_iter().filter_map(|demand| self.carry_out(demand)).collect();
            heard.extend(self.published());
            if heard.is_empty() && !self.authority.has_commands() {
                return was_busy;
            }
            was_busy = true;
            for heard in heard {
                self.authority.handle_redis_event(now, heard, out);
            }
            // The owner sends messages to itself, too.
            loop {
                let own: Vec<Outgoing> = out.extract_if(.., |(to, _)| *to == BRIDGE).collect();
                if own.is_empty() {
                    break;
                }
                for (_, message) in own {
                    let message = BridgeMessage::try_from(message).expect("a message for the owner");
                    self.authority.handle_message(now, message, out);
                }
            }
        }
    }

    /// Loses what it has for Redis: each call is answered by there being no answer.
    pub fn lose_calls(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        let demands: Vec<RedisCommand> = self.authority.commands(now).collect();
        for demand in demands {
            if let RedisCommand::ScriptCall(ScriptCall { ticket, .. }) = demand {
                self.authority.handle_redis_event(
                    now,
                    RedisEvent::Reply { ticket, outcome: Err(CallError::Away) },
                    out,
                );
            }
        }
    }

    /// Does what it has for Redis, but does not hear the answers.
    pub fn lose_answers(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        let demands: Vec<RedisCommand> = self.authority.commands(now).collect();
        for demand in demands {
            if let Some(RedisEvent::Reply { ticket, .. }) = self.carry_out(demand) {
                self.authority.handle_redis_event(
                    now,
                    RedisEvent::Reply { ticket, outcome: Err(CallError::Away) },
                    out,
                );
            }
        }
    }

    /// Does what it has for Redis and tells it the answers, but does not listen to its channels yet.
    pub fn hear_answers(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        let demands: Vec<RedisCommand> = self.authority.commands(now).collect();
        for demand in demands {
            if let Some(heard) = self.carry_out(demand) {
                self.authority.handle_redis_event(now, heard, out);
            }
        }
    }

    /// Drops what was published to its channels.
    pub fn miss_published(&mut self) -> usize {
        self.published().len()
    }

    fn carry_out(&mut self, demand: RedisCommand) -> Option<RedisEvent> {
        match demand {
            RedisCommand::ScriptCall(ScriptCall { ticket, script, keys, arguments }) => {
                self.called += 1;
                let known = self.scripts.entry(script.name).or_insert_with(|| redis::Script::new(script.source));
                let mut call = known.prepare_invoke();
                for key in &keys {
                    call.key(&**key);
                }
                for argument in &arguments {
                    call.arg(&**argument);
                }
                let outcome = call.invoke::<redis::Value>(&mut self.calls);
                let outcome = outcome.map(|answer| bridge::text_of(answer).expect("an answer is text"));
                let refused =
                    |error: redis::RedisError| CallError::Rejected(format!("{}: {error}", script.name).into());
                let outcome = outcome.map_err(refused);
                if let Err(why) = &outcome {
                    panic!("a script that fails: {why:?}");
                }
                Some(RedisEvent::Reply { ticket, outcome })
            }
            RedisCommand::Subscribe(channel) => {
                let command = if self.is_sharded(&channel) { "SSUBSCRIBE" } else { "SUBSCRIBE" };
                self.say(command, &channel);
                Some(RedisEvent::Subscribed(channel))
            }
            RedisCommand::Unsubscribe(channel) => {
                let command = if self.is_sharded(&channel) { "SUNSUBSCRIBE" } else { "UNSUBSCRIBE" };
                self.say(command, &channel);
                None
            }
            RedisCommand::Publish { channel, body } => {
                let command = if self.is_sharded(&channel) { "SPUBLISH" } else { "PUBLISH" };
                let published = Cmd::new().arg(command).arg(&*channel).arg(&*body).query::<u64>(&mut self.calls);
                published.expect("Redis publishes");
                None
            }
        }
    }

    /// Listens to a channel.
    pub fn follow(&mut self, now: Now, channel: &[u8], out: &mut Vec<Outgoing>) {
        self.say("SUBSCRIBE", channel);
        self.authority.handle_redis_event(now, RedisEvent::Subscribed(channel.into()), out);
    }

    /// Whether a channel is that of a room, and those are kept apart.
    fn is_sharded(&self, channel: &[u8]) -> bool {
        self.sharded && channel.windows(7).any(|part| part == b":room:{")
    }

    fn say(&mut self, command: &str, text: &[u8]) {
        let packed = Cmd::new().arg(command).arg(text).get_packed_command();
        self.channels.send_packed_command(&packed).expect("Redis listens");
    }

    /// What was published to the channels it listens to: all that was before now.
    fn published(&mut self) -> Vec<RedisEvent> {
        let mut heard = Vec::new();
        self.say("PING", b"so far");
        loop {
            let Value::Array(parts) = self.channels.recv_response().expect("Redis answers") else { return heard };
            match parts.as_slice() {
                [Value::BulkString(kind), Value::BulkString(channel), Value::BulkString(body)]
                    if matches!(kind.as_slice(), b"message" | b"smessage") =>
                {
                    heard.push(RedisEvent::Published { channel: channel[..].into(), body: body[..].into() });
                }
                [Value::BulkString(kind), ..] if kind == b"pong" => return heard,
                _ => {}
            }
        }
    }
}
