//! Carries calls out: whatever has come while one batch was under way makes the next, by one write.
//!
//! Calls of one first key are done in the order in which they came: a server does what comes by one connection in its
//! order, and before a new connection is used, the former one is ended at the server's side, so that nothing that still
//! waits there is done later. What of a batch was done is unknown when its connection fails: nothing of it is repeated.
//! Only a call that the server refused because it did not know the script, or because another server of its cluster keeps
//! the key by now, is made again, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redis::{
    Cmd, ErrorKind, Pipeline, PushInfo, PushKind, RedisError, RedisResult, ServerErrorKind, Value, cmd,
    from_redis_value,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::message::redis::{Bytes, CallError, RedisEvent, RedisState, Script, ScriptCall};
use crate::owner::redis::KeySchema;
use crate::runtime::bridge::address::RedisAddress;
use crate::runtime::bridge::line::{ANSWER, Line};
use crate::runtime::bridge::pause::Pause;
use crate::runtime::bridge::server::name_of_server;

/// Calls in one batch, so that the first of them does not wait for too many others.
const BATCH_MAX: usize = 1_024;

/// Another server of the cluster keeps the key.
const MOVED: ErrorKind = ErrorKind::Server(ServerErrorKind::Moved);

/// What a server says that keeps nothing new for now: its disk or its memory is full, or too few replicas follow it.
const NO_WRITES: [&str; 3] = ["MISCONF", "OOM", "NOREPLICAS"];

/// Something for Redis.
#[derive(Debug)]
pub(super) enum Task {
    ScriptCall(ScriptCall),
    Publish { channel: Bytes, body: Bytes },
}

impl Task {
    /// What it is done in one order with.
    fn key(&self) -> &[u8] {
        match self {
            Self::ScriptCall(call) => call.keys.first().map_or(&[], |key| key),
            Self::Publish { channel, .. } => channel,
        }
    }
}

/// What came of a task.
#[derive(Debug)]
enum Outcome {
    Done(Bytes),
    /// Nothing was done: the server does not know the script, or another one of its cluster keeps the key.
    Not,
    Failed(CallError),
}

/// See the module.
pub(super) struct Calls {
    pub(super) address: RedisAddress,
    pub(super) scripts: Scripts,
    pub(super) tasks: UnboundedReceiver<Task>,
    pub(super) heard: UnboundedSender<RedisEvent>,
    /// Calls that are not answered yet.
    pub(super) waiting: Arc<AtomicUsize>,
    /// Whether there is a connection.
    pub(super) is_connected: Arc<AtomicBool>,
    pub(super) pause: Pause,
}

/// The scripts there are, each with the hash that a server knows it by, and which server that is.
pub(super) struct Scripts {
    all: Vec<&'static Script>,
    hashes: BTreeMap<&'static str, String>,
    /// Its name; empty where none is known, and for a cluster.
    server: String,
}

/// A connection, how the server knows it, and what that one is called.
type Ready = (Line, Identity, String);

/// How a server knows a connection: by number, and by its own address, since a server that was restarted counts anew.
type Identity = Option<(String, String)>;

impl Scripts {
    pub(super) fn new(all: Vec<&'static Script>) -> Self {
        let hash = |script: &&'static Script| (script.name, redis::Script::new(script.source).get_hash().to_owned());
        Self { hashes: all.iter().map(hash).collect(), all, server: String::new() }
    }

    /// Gives a server all of them.
    async fn load(&self, line: &mut Line) -> RedisResult<()> {
        match line {
            Line::Single(_) => {
                let mut pipeline = Pipeline::with_capacity(self.all.len());
                for script in &self.all {
                    pipeline.cmd("SCRIPT").arg("LOAD").arg(script.source);
                }
                for answer in line.perform(&pipeline).await? {
                    answer.extract_error()?;
                }
            }
            Line::Cluster(_) => {
                for script in &self.all {
                    line.ask(cmd("SCRIPT").arg("LOAD").arg(script.source)).await?;
                }
            }
        }
        Ok(())
    }
}

impl Calls {
    /// Connects, again and again if need be, and does what comes. Ends when nobody can give it anything any more.
    pub(super) async fn run(mut self) {
        let mut former: Identity = None;
        loop {
            let (pushes, mut pushed) = unbounded_channel();
            let Some((mut line, identity, server)) = self.connect(&pushes, former.take()).await else { return };
            former = identity;
            self.scripts.server = server;
            self.pause.reset();
            self.is_connected.store(true, Ordering::Release);
            tracing::info!(address = self.address.shown(), "Redis answers");
            let _ = self.heard.send(RedisEvent::State(RedisState::Good));
            let reason = self.serve(&mut line, &mut pushed).await;
            self.is_connected.store(false, Ordering::Release);
            let Some(reason) = reason else { return };
            tracing::warn!(%reason, "no connection with Redis any more");
            let _ = self.heard.send(RedisEvent::State(RedisState::Away));
        }
    }

    /// A new connection, to a server that knows all scripts. Calls that come meanwhile are answered at once.
    async fn connect(&mut self, pushes: &UnboundedSender<PushInfo>, former: Identity) -> Option<Ready> {
        let mut is_first = true;
        loop {
            let attempt = timeout(2 * ANSWER, prepare(&self.address, &self.scripts, pushes, &former));
            tokio::pin!(attempt);
            let outcome = loop {
                tokio::select! {
                    outcome = &mut attempt => break outcome,
                    task = self.tasks.recv() => refuse(&self.heard, &self.waiting, task?),
                }
            };
            match outcome {
                Ok(Ok(ready)) => return Some(ready),
                Ok(Err(error)) if is_first => tracing::warn!(%error, "Redis cannot be reached"),
                Ok(Err(error)) => tracing::debug!(%error, "Redis cannot be reached"),
                Err(_) => tracing::debug!("Redis does not answer"),
            }
            is_first = false;
            let pause = tokio::time::sleep(self.pause.next());
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    task = self.tasks.recv() => refuse(&self.heard, &self.waiting, task?),
                }
            }
        }
    }

    /// Does what comes until the connection is of no use any more, for this reason; `None` when nothing can come.
    async fn serve(&mut self, line: &mut Line, pushed: &mut UnboundedReceiver<PushInfo>) -> Option<String> {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                count = self.tasks.recv_many(&mut batch, BATCH_MAX) => if count == 0 { return None },
                push = pushed.recv() => match push {
                    Some(push) if push.kind == PushKind::Disconnection && matches!(line, Line::Single(_)) => {
                        return Some("it was ended".to_owned());
                    }
                    Some(_) => continue,
                    None => return Some("it has ended".to_owned()),
                },
            }
            if let Err(reason) = self.carry_out(line, std::mem::take(&mut batch)).await {
                return Some(reason);
            }
        }
    }

    /// Does a batch and says what came of it.
    async fn carry_out(&mut self, line: &mut Line, batch: Vec<Task>) -> Result<(), String> {
        let mut trouble = None;
        let mut outcomes = perform(line, &self.scripts, &batch, &mut trouble).await;
        let again = repeatable(&batch, &outcomes);
        let mut rest = Vec::new();
        for (at, task) in batch.into_iter().enumerate() {
            match std::mem::replace(&mut outcomes[at], Outcome::Not) {
                Outcome::Not if again.contains(&at) => rest.push(task),
                // What came after it was done, so that now it would be done in the wrong order.
                Outcome::Not => self.answer(task, Err(CallError::Away)),
                Outcome::Done(text) => self.answer(task, Ok(text)),
                Outcome::Failed(fault) => self.answer(task, Err(fault)),
            }
        }
        if !rest.is_empty() {
            tracing::info!("Redis is given the scripts again");
            if let Err(error) = self.scripts.load(line).await {
                trouble = Some(error.to_string());
            }
            let outcomes = perform(line, &self.scripts, &rest, &mut trouble).await;
            for (task, outcome) in rest.into_iter().zip(outcomes) {
                self.answer(
                    task,
                    match outcome {
                        Outcome::Done(text) => Ok(text),
                        Outcome::Not => Err(CallError::Away),
                        Outcome::Failed(fault) => Err(fault),
                    },
                );
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    fn answer(&self, task: Task, outcome: Result<Bytes, CallError>) {
        if let Task::ScriptCall(call) = task {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            let _ = self.heard.send(RedisEvent::Reply { ticket: call.ticket, outcome });
        }
    }
}

/// Answers that there is no connection.
fn refuse(heard: &UnboundedSender<RedisEvent>, waiting: &AtomicUsize, task: Task) {
    if let Task::ScriptCall(call) = task {
        waiting.fetch_sub(1, Ordering::AcqRel);
        let _ = heard.send(RedisEvent::Reply { ticket: call.ticket, outcome: Err(CallError::Away) });
    }
}

/// Connects, ends the connection that was used before, and gives the server the scripts.
async fn prepare(
    address: &RedisAddress,
    scripts: &Scripts,
    pushes: &UnboundedSender<PushInfo>,
    former: &Identity,
) -> RedisResult<Ready> {
    let mut line = Line::open(address, pushes.clone()).await?;
    let (mut identity, mut name) = (None, String::new());
    if matches!(line, Line::Single(_)) {
        if let Some((id, address)) = former {
            // It may be gone, or nobody may be allowed to do this: nothing to be done about either.
            let _ = line.ask(cmd("CLIENT").arg("KILL").arg("ID").arg(id).arg("ADDR").arg(address)).await;
        }
        let information =
            line.ask(cmd("CLIENT").arg("INFO")).await.and_then(|value| Ok(from_redis_value::<String>(value)?));
        identity = information.ok().as_deref().and_then(identity_in);
        name = name_of_server(&mut line).await?;
    }
    scripts.load(&mut line).await?;
    Ok((line, identity, name))
}

/// Number and address of a connection, of what `CLIENT INFO` says.
fn identity_in(information: &str) -> Option<(String, String)> {
    let word = |name: &str| information.split_whitespace().find_map(|word| word.strip_prefix(name)).map(str::to_owned);
    Some((word("id=")?, word("addr=")?))
}

/// Has a server do a batch, or each server of a cluster its part. `trouble` says why the connection is of no use any more,
/// if it is not.
async fn perform(line: &mut Line, scripts: &Scripts, batch: &[Task], trouble: &mut Option<String>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    if let Line::Single(_) = line {
        let mut pipeline = Pipeline::with_capacity(batch.len());
        for task in batch {
            pipeline.add_command(command(task, scripts, false));
        }
        match line.perform(&pipeline).await {
            Ok(values) => outcomes.extend(values.into_iter().map(|value| outcome_of(value, trouble))),
            Err(error) => *trouble = Some(error.to_string()),
        }
        outcomes.resize_with(batch.len(), || Outcome::Failed(CallError::Away));
        return outcomes;
    }
    let mut parts: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
    for (at, task) in batch.iter().enumerate() {
        parts.entry(task.key()).or_default().push(at);
    }
    let mut answers = JoinSet::new();
    for places in parts.into_values() {
        let mut pipeline = Pipeline::with_capacity(places.len());
        for at in &places {
            pipeline.add_command(command(&batch[*at], scripts, true));
        }
        let mut line = line.clone();
        answers.spawn(async move { (places, line.perform(&pipeline).await) });
    }
    outcomes.resize_with(batch.len(), || Outcome::Failed(CallError::Away));
    while let Some(answer) = answers.join_next().await {
        match answer {
            Ok((places, Ok(values))) => {
                for (at, value) in places.into_iter().zip(values) {
                    // A server of a cluster that is away is the others' to replace; the connections stay.
                    outcomes[at] = outcome_of(value, &mut None);
                }
            }
            // Of several, some may have been done before the key moved.
            Ok((places, Err(error))) if places.len() == 1 && error.kind() == MOVED => {
                outcomes[places[0]] = Outcome::Not
            }
            Ok((_, Err(error))) => tracing::debug!(%error, "a server of the cluster does not do what it should"),
            Err(_) => {}
        }
    }
    outcomes
}

fn command(task: &Task, scripts: &Scripts, is_cluster: bool) -> Cmd {
    match task {
        Task::ScriptCall(call) => {
            let mut command = cmd("EVALSHA");
            command.arg(scripts.hashes.get(call.script.name).map_or("", |hash| hash)).arg(call.keys.len());
            for key in &call.keys {
                command.arg(&key[..]);
            }
            for (at, argument) in call.arguments.iter().enumerate() {
                let is_server = at == ScriptCall::SERVER && argument.is_empty();
                command.arg(if is_server { scripts.server.as_bytes() } else { &argument[..] });
            }
            command
        }
        Task::Publish { channel, body } => {
            let is_sharded = is_cluster && KeySchema::is_sharded(channel);
            let mut command = cmd(if is_sharded { "SPUBLISH" } else { "PUBLISH" });
            command.arg(&channel[..]).arg(&body[..]);
            command
        }
    }
}

fn outcome_of(value: Value, trouble: &mut Option<String>) -> Outcome {
    match value {
        Value::BulkString(bytes) => Outcome::Done(bytes.into()),
        Value::SimpleString(text) => Outcome::Done(text.into_bytes().into()),
        Value::Int(number) => Outcome::Done(number.to_string().into_bytes().into()),
        Value::Okay | Value::Nil => Outcome::Done((*b"null").into()),
        Value::ServerError(error) => match error.kind() {
            Some(ServerErrorKind::NoScript) => Outcome::Not,
            // Another server is to be looked for, or this one is not yet there.
            Some(ServerErrorKind::BusyLoading | ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => {
                *trouble = Some(RedisError::from(error).to_string());
                Outcome::Failed(CallError::Away)
            }
            Some(
                ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask,
            ) => Outcome::Failed(CallError::Away),
            _ if error.code() == "BUSY" => Outcome::Failed(CallError::Away),
            _ if NO_WRITES.contains(&error.code()) => {
                Outcome::Failed(CallError::Full(RedisError::from(error).to_string().into()))
            }
            _ => Outcome::Failed(CallError::Rejected(RedisError::from(error).to_string().into())),
        },
        _ => Outcome::Failed(CallError::Rejected("a script answered with something else than text".into())),
    }
}

/// Which of the calls whose script was not known may be made again: those after which nothing was done for the same key.
fn repeatable(batch: &[Task], outcomes: &[Outcome]) -> BTreeSet<usize> {
    let mut overtaken: BTreeSet<&[u8]> = BTreeSet::new();
    let mut again = BTreeSet::new();
    for (at, (task, outcome)) in batch.iter().zip(outcomes).enumerate().rev() {
        match outcome {
            Outcome::Not if !overtaken.contains(task.key()) => drop(again.insert(at)),
            Outcome::Not => {}
            _ => drop(overtaken.insert(task.key())),
        }
    }
    again
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_repeated_after_what_came_later() {
        let task = |key: &str| Task::Publish { channel: key.as_bytes().into(), body: (*b"").into() };
        let batch = [task("a"), task("a"), task("b"), task("a"), task("c"), task("c")];
        let done = || Outcome::Done((*b"1").into());
        let outcomes =
            [Outcome::Not, done(), Outcome::Not, Outcome::Not, Outcome::Not, Outcome::Failed(CallError::Away)];
        assert_eq!(repeatable(&batch, &outcomes), BTreeSet::from([2, 3]));
    }

    #[test]
    fn a_connection_is_known_by_number_and_address() {
        let information = "id=7 addr=127.0.0.1:50120 laddr=127.0.0.1:6379 fd=8 name= age=0";
        assert_eq!(identity_in(information), Some(("7".to_owned(), "127.0.0.1:50120".to_owned())));
        assert_eq!(identity_in("id=7"), None);
    }
}
