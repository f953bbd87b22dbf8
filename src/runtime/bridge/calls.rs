//! Calls of scripts, in batches: the commands that arrive while one batch is under way form the next one, with one write.
//!
//! Calls with the same key are done in order: a server handles the commands of one connection in their order, and before a new
//! connection is used, the server ends the former one, so that no command waits there. When a connection fails, the server can
//! have done any part of the batch: nothing is repeated. Only a call that the server refused, because it does not have the
//! script or because another server of the cluster has the key, is repeated once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use redis::aio::ConnectionLike;
use redis::{
    Cmd, ErrorKind, Pipeline, PushInfo, PushKind, RedisError, RedisResult, ServerErrorKind, Value, cmd,
    from_redis_value,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::message::redis::{Bytes, CallError, RedisEvent, RedisState, Script, ScriptCall};
use crate::owner::redis::KeySchema;
use crate::runtime::bridge::address::{AddressKind, RedisAddress};
use crate::runtime::bridge::backoff::Backoff;
use crate::runtime::bridge::cluster_state::ClusterWatch;
use crate::runtime::bridge::connection::{REPLY_TIMEOUT, RedisConnection};
use crate::runtime::bridge::server::name_of_server;
use crate::runtime::timings::REDIS_EXCHANGES;

/// Commands in one batch; a bound on the time that the first one waits for the others.
const BATCH_MAX: usize = 1_024;

/// Error of a cluster: another server has the key.
const MOVED: ErrorKind = ErrorKind::Server(ServerErrorKind::Moved);

/// Codes of a server that rejects writes: its disk or memory is full, or it has too few replicas.
const NO_WRITES: [&str; 3] = ["MISCONF", "OOM", "NOREPLICAS"];

/// A command of the call connection.
#[derive(Debug)]
pub(super) enum CallCommand {
    ScriptCall(ScriptCall),
    Publish { channel: Bytes, body: Bytes },
}

impl CallCommand {
    /// The key whose commands are done in order.
    fn key(&self) -> &[u8] {
        match self {
            Self::ScriptCall(call) => call.keys.first().map_or(&[], |key| key),
            Self::Publish { channel, .. } => channel,
        }
    }
}

/// Outcome of a command.
#[derive(Debug)]
enum CommandResult {
    Done(Bytes),
    /// The server did not do it: it does not have the script, or another server of the cluster has the key.
    NotDone,
    Failed(CallError),
}

/// The loop of the call connection.
pub(super) struct CallLoop {
    pub(super) address: RedisAddress,
    pub(super) scripts: LoadedScripts,
    pub(super) commands: UnboundedReceiver<CallCommand>,
    pub(super) events: UnboundedSender<RedisEvent>,
    /// Number of calls without a reply.
    pub(super) waiting: Arc<AtomicUsize>,
    /// Whether the loop has a connection.
    pub(super) is_connected: watch::Sender<bool>,
    pub(super) backoff: Backoff,
}

/// All scripts with their hashes, and the server that has loaded them.
pub(super) struct LoadedScripts {
    all: Vec<&'static Script>,
    hashes: BTreeMap<&'static str, String>,
    /// Name of the server; empty if it is unknown, and for a cluster.
    server: String,
}

/// A connection that calls can use.
struct ReadyConnection {
    connection: RedisConnection,
    identity: ConnectionIdentity,
    /// The server's name.
    server: String,
    state: RedisState,
    /// The watch over a cluster.
    watch: Option<ClusterWatch>,
}

/// A connection's identity at the server: its number, and its address, because a restarted server numbers from the start.
type ConnectionIdentity = Option<(String, String)>;

impl LoadedScripts {
    pub(super) fn new(all: Vec<&'static Script>) -> Self {
        let hash = |script: &&'static Script| (script.name, redis::Script::new(script.source).get_hash().to_owned());
        Self { hashes: all.iter().map(hash).collect(), all, server: String::new() }
    }

    async fn load(&self, connection: &mut RedisConnection) -> RedisResult<()> {
        match connection {
            RedisConnection::Single(_) => {
                let mut pipeline = Pipeline::with_capacity(self.all.len());
                for script in &self.all {
                    pipeline.cmd("SCRIPT").arg("LOAD").arg(script.source);
                }
                for answer in connection.perform(&pipeline).await? {
                    answer.extract_error()?;
                }
            }
            RedisConnection::Cluster(_) => {
                for script in &self.all {
                    connection.ask(cmd("SCRIPT").arg("LOAD").arg(script.source)).await?;
                }
            }
        }
        Ok(())
    }
}

impl CallLoop {
    /// Connects, repeatedly if necessary, and carries out commands. Ends when their queue is closed.
    pub(super) async fn run(mut self) {
        let mut former: ConnectionIdentity = None;
        loop {
            let (pushes, mut pushed) = unbounded_channel();
            let ready = self.connect(&pushes, former.take()).await;
            let Some(ReadyConnection { mut connection, identity, server, state, watch }) = ready else { break };
            former = identity;
            self.scripts.server = server;
            self.backoff.reset();
            self.is_connected.send_replace(true);
            tracing::info!(address = self.address.shown(), "Redis answers");
            let _ = self.events.send(RedisEvent::State(RedisState::Ready));
            let (states, mut changed) = unbounded_channel();
            if state != RedisState::Ready {
                let _ = states.send(state);
            }
            if let Some(watch) = watch {
                tokio::spawn(watch.run(states));
            }
            let reason = self.serve(&mut connection, &mut pushed, &mut changed).await;
            self.is_connected.send_replace(false);
            let Some(reason) = reason else { break };
            tracing::warn!(%reason, "no connection with Redis any more");
            let _ = self.events.send(RedisEvent::State(RedisState::Unreachable));
        }
    }

    /// A new connection to a server with all scripts. Calls fail meanwhile. `None` when the queue is closed.
    async fn connect(
        &mut self,
        pushes: &UnboundedSender<PushInfo>,
        former: ConnectionIdentity,
    ) -> Option<ReadyConnection> {
        let mut is_first = true;
        loop {
            let attempt = timeout(2 * REPLY_TIMEOUT, prepare(&self.address, &self.scripts, pushes, &former));
            tokio::pin!(attempt);
            let outcome = loop {
                tokio::select! {
                    outcome = &mut attempt => break outcome,
                    command = self.commands.recv() => answer(&self.events, &self.waiting, command?, Err(CallError::Away)),
                }
            };
            match outcome {
                Ok(Ok(ready)) => return Some(ready),
                Ok(Err(error)) if is_first => tracing::warn!(%error, "Redis cannot be reached"),
                Ok(Err(error)) => tracing::debug!(%error, "Redis cannot be reached"),
                Err(_) => tracing::debug!("Redis does not answer"),
            }
            is_first = false;
            let pause = tokio::time::sleep(self.backoff.next());
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    command = self.commands.recv() => answer(&self.events, &self.waiting, command?, Err(CallError::Away)),
                }
            }
        }
    }

    /// Carries out commands until the connection fails, for the returned reason; `None` when the queue is closed.
    async fn serve(
        &mut self,
        connection: &mut RedisConnection,
        pushed: &mut UnboundedReceiver<PushInfo>,
        changed: &mut UnboundedReceiver<RedisState>,
    ) -> Option<String> {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                count = self.commands.recv_many(&mut batch, BATCH_MAX) => if count == 0 { return None },
                push = pushed.recv() => match push {
                    Some(push) if push.kind == PushKind::Disconnection && matches!(connection, RedisConnection::Single(_)) => {
                        return Some("it was ended".to_owned());
                    }
                    Some(_) => continue,
                    None => return Some("it has ended".to_owned()),
                },
                Some(state) = changed.recv() => match state {
                    RedisState::Unreachable => return Some("the cluster does not serve".to_owned()),
                    state => {
                        tracing::warn!(?state, "the state of the cluster has changed");
                        let _ = self.events.send(RedisEvent::State(state));
                        continue;
                    }
                },
            }
            if let Err(reason) = self.perform_batch(connection, std::mem::take(&mut batch)).await {
                return Some(reason);
            }
        }
    }

    /// Carries out a batch, and sends the replies. Commands that were not done are repeated once, with the scripts loaded.
    async fn perform_batch(&mut self, connection: &mut RedisConnection, batch: Vec<CallCommand>) -> Result<(), String> {
        let (mut trouble, mut left, mut is_repeated) = (None, batch, false);
        while !left.is_empty() {
            let batch = std::mem::take(&mut left);
            let began = Instant::now();
            let outcomes = perform(connection, &self.scripts, &batch, &mut trouble).await;
            REDIS_EXCHANGES.record_since(began);
            let again = if is_repeated { BTreeSet::new() } else { to_repeat(&batch, &outcomes) };
            for ((at, command), outcome) in batch.into_iter().enumerate().zip(outcomes) {
                let outcome = match outcome {
                    CommandResult::NotDone if again.contains(&at) => {
                        left.push(command);
                        continue;
                    }
                    // A later command of the same key was done: a repetition would break the order.
                    CommandResult::NotDone => Err(CallError::Away),
                    CommandResult::Done(text) => Ok(text),
                    CommandResult::Failed(fault) => Err(fault),
                };
                answer(&self.events, &self.waiting, command, outcome);
            }
            if !left.is_empty() {
                is_repeated = true;
                tracing::info!("Redis is given the scripts again");
                if let Err(error) = self.scripts.load(connection).await {
                    trouble = Some(error.to_string());
                }
            }
        }
        trouble.map_or(Ok(()), Err)
    }
}

/// Sends the reply to a command.
fn answer(
    events: &UnboundedSender<RedisEvent>,
    waiting: &AtomicUsize,
    command: CallCommand,
    outcome: Result<Bytes, CallError>,
) {
    if let CallCommand::ScriptCall(call) = command {
        let before = waiting.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "invariant: a call has one reply");
        let _ = events.send(RedisEvent::Reply { ticket: call.ticket, outcome });
    }
}

/// Connects, ends the former connection, and loads the scripts.
async fn prepare(
    address: &RedisAddress,
    scripts: &LoadedScripts,
    pushes: &UnboundedSender<PushInfo>,
    former: &ConnectionIdentity,
) -> RedisResult<ReadyConnection> {
    let mut connection = RedisConnection::open(address, pushes.clone()).await?;
    let (mut identity, mut server) = (None, String::new());
    let (mut state, mut watch) = (RedisState::Ready, None);
    if let AddressKind::Cluster(servers) = address.kind() {
        let mut cluster = ClusterWatch::new(servers.clone(), address.certificates());
        state = cluster.ask().await;
        if state == RedisState::Unreachable {
            return Err((ErrorKind::Server(ServerErrorKind::ClusterDown), "the cluster does not serve").into());
        }
        watch = Some(cluster);
    } else {
        if let Some((id, address)) = former {
            // An error is ignored: the former connection is gone, or the login does not allow this command.
            let _ = connection.ask(cmd("CLIENT").arg("KILL").arg("ID").arg(id).arg("ADDR").arg(address)).await;
        }
        let information =
            connection.ask(cmd("CLIENT").arg("INFO")).await.and_then(|value| Ok(from_redis_value::<String>(value)?));
        identity = information.ok().as_deref().and_then(identity_in);
        server = name_of_server(&mut connection).await?;
    }
    scripts.load(&mut connection).await?;
    Ok(ReadyConnection { connection, identity, server, state, watch })
}

/// Number and address of a connection, from the answer of `CLIENT INFO`.
fn identity_in(information: &str) -> Option<(String, String)> {
    let word = |name: &str| information.split_whitespace().find_map(|word| word.strip_prefix(name)).map(str::to_owned);
    Some((word("id=")?, word("addr=")?))
}

/// Sends a batch to the server, or to each server of a cluster its part. Sets `trouble` to the reason if the connection has
/// failed.
async fn perform(
    connection: &mut RedisConnection,
    scripts: &LoadedScripts,
    batch: &[CallCommand],
    trouble: &mut Option<String>,
) -> Vec<CommandResult> {
    let mut outcomes = Vec::new();
    if let RedisConnection::Single(connection) = connection {
        let mut pipeline = Pipeline::with_capacity(batch.len());
        for command in batch {
            pipeline.add_command(encode(command, scripts, false));
        }
        match connection.req_packed_commands(&pipeline, 0, batch.len()).await {
            Ok(values) => outcomes.extend(values.into_iter().map(|value| outcome_of(value, trouble))),
            Err(error) => *trouble = Some(error.to_string()),
        }
        outcomes.resize_with(batch.len(), || CommandResult::Failed(CallError::Away));
        return outcomes;
    }
    let mut parts: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
    for (at, command) in batch.iter().enumerate() {
        parts.entry(command.key()).or_default().push(at);
    }
    let mut answers = JoinSet::new();
    for places in parts.into_values() {
        let mut pipeline = Pipeline::with_capacity(places.len());
        for at in &places {
            pipeline.add_command(encode(&batch[*at], scripts, true));
        }
        let mut connection = connection.clone();
        answers.spawn(async move { (places, connection.perform(&pipeline).await) });
    }
    outcomes.resize_with(batch.len(), || CommandResult::Failed(CallError::Away));
    while let Some(answer) = answers.join_next().await {
        match answer {
            Ok((places, Ok(values))) => {
                for (at, value) in places.into_iter().zip(values) {
                    // The cluster replaces a server that is away; the other connections stay.
                    outcomes[at] = outcome_of(value, &mut None);
                }
            }
            // Of several commands, some can have been done before the key moved.
            Ok((places, Err(error))) if places.len() == 1 && error.kind() == MOVED => {
                outcomes[places[0]] = CommandResult::NotDone
            }
            Ok((_, Err(error))) => tracing::debug!(%error, "a server of the cluster does not do what it should"),
            Err(_) => {}
        }
    }
    outcomes
}

fn encode(command: &CallCommand, scripts: &LoadedScripts, is_cluster: bool) -> Cmd {
    match command {
        CallCommand::ScriptCall(call) => {
            let mut command = cmd("EVALSHA");
            command.arg(scripts.hashes.get(call.script.name).map_or("", |hash| hash)).arg(call.keys.len());
            debug_assert!(scripts.hashes.contains_key(call.script.name), "invariant: a called script is loaded");
            for key in &call.keys {
                command.arg(&key[..]);
            }
            for (at, argument) in call.arguments.iter().enumerate() {
                let is_server = at == ScriptCall::SERVER && argument.is_empty();
                command.arg(if is_server { scripts.server.as_bytes() } else { &argument[..] });
            }
            command
        }
        CallCommand::Publish { channel, body } => {
            let is_sharded = is_cluster && KeySchema::is_sharded(channel);
            let mut command = cmd(if is_sharded { "SPUBLISH" } else { "PUBLISH" });
            command.arg(&channel[..]).arg(&body[..]);
            command
        }
    }
}

fn outcome_of(value: Value, trouble: &mut Option<String>) -> CommandResult {
    match value {
        value @ (Value::BulkString(_) | Value::Array(_)) => text_of(value).map_or_else(unreadable, CommandResult::Done),
        Value::SimpleString(text) => CommandResult::Done(text.into_bytes().into()),
        Value::Int(number) => CommandResult::Done(number.to_string().into_bytes().into()),
        Value::Okay | Value::Nil => CommandResult::Done((*b"null").into()),
        Value::ServerError(error) => match error.kind() {
            Some(ServerErrorKind::NoScript) => CommandResult::NotDone,
            // Another server has to be found, or this one is still starting.
            Some(ServerErrorKind::BusyLoading | ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => {
                *trouble = Some(RedisError::from(error).to_string());
                CommandResult::Failed(CallError::Away)
            }
            Some(
                ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask,
            ) => CommandResult::Failed(CallError::Away),
            _ if error.code() == "BUSY" => CommandResult::Failed(CallError::Away),
            _ if NO_WRITES.contains(&error.code()) => {
                CommandResult::Failed(CallError::Full(RedisError::from(error).to_string().into()))
            }
            _ => CommandResult::Failed(CallError::Rejected(RedisError::from(error).to_string().into())),
        },
        _ => unreadable(),
    }
}

fn unreadable() -> CommandResult {
    CommandResult::Failed(CallError::Rejected("a script answered with something else than text".into()))
}

/// The text of a script's answer. It can be in pieces, and a piece can be a list, whose texts are separated by commas. `None` if it
/// is no text.
pub fn text_of(answer: Value) -> Option<Bytes> {
    if let Value::BulkString(bytes) = answer {
        return Some(bytes.into());
    }
    let Value::Array(pieces) = answer else { return None };
    let mut text = Vec::new();
    for piece in &pieces {
        match piece {
            Value::BulkString(bytes) => text.extend_from_slice(bytes),
            Value::Array(list) => {
                for (at, item) in list.iter().enumerate() {
                    let Value::BulkString(bytes) = item else { return None };
                    if at > 0 {
                        text.push(b',');
                    }
                    text.extend_from_slice(bytes);
                }
            }
            _ => return None,
        }
    }
    Some(text.into())
}

/// The commands to repeat: those that were not done, and after which no other command of the same key was done.
fn to_repeat(batch: &[CallCommand], outcomes: &[CommandResult]) -> BTreeSet<usize> {
    debug_assert_eq!(batch.len(), outcomes.len(), "invariant: each command of a batch has an outcome");
    let mut overtaken: BTreeSet<&[u8]> = BTreeSet::new();
    let mut again = BTreeSet::new();
    for (at, (command, outcome)) in batch.iter().zip(outcomes).enumerate().rev() {
        match outcome {
            CommandResult::NotDone if !overtaken.contains(command.key()) => drop(again.insert(at)),
            CommandResult::NotDone => {}
            _ => drop(overtaken.insert(command.key())),
        }
    }
    again
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_not_repeated_after_a_later_one() {
        let command = |key: &str| CallCommand::Publish { channel: key.as_bytes().into(), body: (*b"").into() };
        let batch = [command("a"), command("a"), command("b"), command("a"), command("c"), command("c")];
        let done = || CommandResult::Done((*b"1").into());
        let outcomes = [
            CommandResult::NotDone,
            done(),
            CommandResult::NotDone,
            CommandResult::NotDone,
            CommandResult::NotDone,
            CommandResult::Failed(CallError::Away),
        ];
        assert_eq!(to_repeat(&batch, &outcomes), BTreeSet::from([2, 3]));
    }

    #[test]
    fn identity_is_number_and_address() {
        let information = "id=7 addr=127.0.0.1:50120 laddr=127.0.0.1:6379 fd=8 name= age=0";
        assert_eq!(identity_in(information), Some(("7".to_owned(), "127.0.0.1:50120".to_owned())));
        assert_eq!(identity_in("id=7"), None);
    }
}
