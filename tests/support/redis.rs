//! A Redis of a test's own, and nodes that ask it: [`switchboard::owner::redis`] with a driver that does one call at a
//! time, so that a test knows when everything that was said has been heard.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use redis::{Client, Cmd, Connection, Value};
use switchboard::base::rng::Rng;
use switchboard::base::time::Now;
use switchboard::domain::op::{Op, RoomRules};
use switchboard::message::redis::{Bytes, CallError, RedisCommand, RedisEvent, RedisState, ScriptCall};
use switchboard::message::{BRIDGE, Outgoing, Requester};
use switchboard::owner::redis::{RedisOwner, RedisSettings};

use super::directory::Directory;
use super::process::wait_until;

/// A `redis-server` that keeps nothing on disk.
pub(crate) struct RedisServer {
    child: Child,
    port: u16,
    directory: Option<Directory>,
    options: Vec<String>,
}

/// Options of a server that keeps what it has been told, as most do.
const KEEPING: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];

impl RedisServer {
    /// One on a free port.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The one server of a cluster.
    pub(crate) fn start_cluster() -> Self {
        let bus = free_port().to_string();
        let server = Self::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
        server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        let is_ok = |info: Value| redis::from_redis_value::<String>(info).expect("text").contains("cluster_state:ok");
        wait_until("the cluster is whole", || is_ok(server.command(&["CLUSTER", "INFO"])));
        server
    }

    /// One on a free port that keeps what it has been told in its directory.
    pub(crate) fn start_keeping() -> Self {
        Self::start_with(&KEEPING)
    }

    /// One on a free port with these options.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        // Whoever else takes the port before the server does makes it end, and another one is tried.
        let server = (0..8).find_map(|_| Self::start_at(free_port(), options));
        server.expect("no Redis came up")
    }

    fn start_at(port: u16, options: &[&str]) -> Option<Self> {
        Self::start_in(Directory::new(), port, options)
    }

    fn start_in(directory: Directory, port: u16, options: &[&str]) -> Option<Self> {
        std::fs::create_dir_all(directory.path()).expect("a directory");
        // What it is told later is written there, and Sentinels insist on one.
        let configuration = directory.path().join("redis.conf");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&configuration);
        drop(file.expect("a file"));
        let child = program()
            .arg(configuration)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--dir", &directory.text()])
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { child, port, directory: Some(directory), options };
        let mut is_over = false;
        wait_until("Redis answers", || {
            is_over = server.child.try_wait().expect("its state").is_some();
            is_over || Client::open(server.url()).and_then(|client| client.get_connection()).is_ok()
        });
        (!is_over).then_some(server)
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What an option was set to.
    pub(crate) fn option(&self, name: &str) -> String {
        let at = self.options.iter().position(|option| option == name).expect("it was set");
        self.options[at + 1].clone()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> Connection {
        Client::open(self.url()).and_then(|client| client.get_connection()).expect("Redis is there")
    }

    /// Has it do one thing.
    pub(crate) fn command(&self, words: &[&str]) -> Value {
        let mut command = Cmd::new();
        command.arg(words);
        command.query(&mut self.connect()).expect("Redis does it")
    }

    /// The answer to a command as text, unless the server is not there or ends the connection.
    pub(crate) fn try_ask(&self, command: &str) -> Option<String> {
        let mut connection = Client::open(self.url()).and_then(|client| client.get_connection()).ok()?;
        Cmd::new().arg(command.split(' ').collect::<Vec<_>>()).query(&mut connection).ok()
    }

    /// The answer to a command, its words with spaces between them.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &str) -> T {
        let words: Vec<&str> = command.split(' ').collect();
        redis::from_redis_value(self.command(&words)).expect("an answer of this kind")
    }

    /// Ends it, and with it all it knew, and starts another one in its place.
    pub(crate) fn restart(&mut self) {
        self.stop();
        *self = Self::start_at(self.port, &[]).expect("its port is free");
    }

    /// Ends it by a signal and starts one in its place that knows all it has kept.
    pub(crate) fn restart_keeping(&mut self, signal: i32) {
        self.signal(signal);
        self.revive();
    }

    /// Waits for its end and starts one in its place, of the same directory and options.
    pub(crate) fn revive(&mut self) {
        self.child.wait().expect("its end");
        let directory = self.directory.take().expect("it has one");
        let options = std::mem::take(&mut self.options);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        *self = Self::start_in(directory, self.port, &options).expect("its port is free");
    }

    /// Sends a signal by its number.
    pub(crate) fn signal(&self, signal: i32) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// Ends it, and with it all it knew, until [`RedisServer::restart`].
    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The server's program: Redis's own, or what `SWITCHBOARD_REDIS_SERVER` names, which has to speak as that does.
pub(crate) fn program() -> Command {
    Command::new(std::env::var_os("SWITCHBOARD_REDIS_SERVER").unwrap_or_else(|| "redis-server".into()))
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}

/// A node: its half of the authority, and the connections that it has to Redis.
pub(crate) struct Node {
    pub(crate) authority: RedisOwner,
    calls: Connection,
    channels: Connection,
    scripts: BTreeMap<&'static str, redis::Script>,
    sharded: bool,
    /// Calls to Redis so far.
    pub(crate) called: usize,
}

impl Node {
    /// One that Redis answers.
    pub(crate) fn new(server: &RedisServer, settings: RedisSettings, rules: Arc<RoomRules>, seed: u64) -> Self {
        let sharded = settings.sharded;
        let authority = RedisOwner::new(settings, rules, Rng::from_seed(seed));
        let (calls, channels) = (server.connect(), server.connect());
        Self { authority, calls, channels, scripts: BTreeMap::new(), sharded, called: 0 }
    }

    /// Tells it how Redis is.
    pub(crate) fn set_state(&mut self, now: Now, state: RedisState, out: &mut Vec<Outgoing>) {
        self.authority.told(now, RedisEvent::State(state), out);
    }

    /// Asks something, without waiting for what comes of it.
    pub(crate) fn ask(&mut self, now: Now, from: Requester, op: Op, out: &mut Vec<Outgoing>) {
        self.authority.ask(now, from, op, out);
    }

    /// Does what the node has for Redis, and tells it what Redis says, until there is no more; whether there was something.
    pub(crate) fn settle(&mut self, now: Now, out: &mut Vec<Outgoing>) -> bool {
        let mut was_busy = false;
        loop {
            let demands: Vec<RedisCommand> = self.authority.orders(now).collect();
            let mut heard: Vec<RedisEvent> = demands.into_iter().filter_map(|demand| self.carry_out(demand)).collect();
            heard.extend(self.published());
            if heard.is_empty() && !self.authority.has_orders() {
                self.authority.check_invariants();
                return was_busy;
            }
            was_busy = true;
            for heard in heard {
                self.authority.told(now, heard, out);
            }
            // What it has for itself is mail, too.
            loop {
                let own: Vec<Outgoing> = out.extract_if(.., |(to, _)| *to == BRIDGE).collect();
                if own.is_empty() {
                    break;
                }
                own.into_iter().for_each(|(_, mail)| self.authority.handle(now, mail, out));
            }
        }
    }

    /// Loses what it has for Redis: each call is answered by there being no answer.
    pub(crate) fn lose_calls(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        let demands: Vec<RedisCommand> = self.authority.orders(now).collect();
        for demand in demands {
            if let RedisCommand::ScriptCall(ScriptCall { ticket, .. }) = demand {
                self.authority.told(now, RedisEvent::Reply { ticket, outcome: Err(CallError::Away) }, out);
            }
        }
    }

    /// Does what it has for Redis, but does not hear the answers.
    pub(crate) fn lose_answers(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        let demands: Vec<RedisCommand> = self.authority.orders(now).collect();
        for demand in demands {
            if let Some(RedisEvent::Reply { ticket, .. }) = self.carry_out(demand) {
                self.authority.told(now, RedisEvent::Reply { ticket, outcome: Err(CallError::Away) }, out);
            }
        }
    }

    /// Does what it has for Redis and tells it the answers, but does not listen to its channels yet.
    pub(crate) fn hear_answers(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        let demands: Vec<RedisCommand> = self.authority.orders(now).collect();
        for demand in demands {
            if let Some(heard) = self.carry_out(demand) {
                self.authority.told(now, heard, out);
            }
        }
    }

    /// Drops what was published to its channels.
    pub(crate) fn miss_published(&mut self) -> usize {
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
                let outcome = call.invoke::<Vec<u8>>(&mut self.calls).map(Bytes::from);
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
    pub(crate) fn follow(&mut self, now: Now, channel: &[u8], out: &mut Vec<Outgoing>) {
        self.say("SUBSCRIBE", channel);
        self.authority.told(now, RedisEvent::Subscribed(channel.into()), out);
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
