//! Subscriptions, by a connection of their own, so that publications do not wait behind replies.
//!
//! A subscription can be dead although the server looks well: the network dropped it silently, or a failover left it with a
//! server without publications. So the node publishes [probes](Probes) to itself, and reconnects when one does not arrive.
//! When calls have a connection again after an outage, operations wait for subscriptions: a connection that was made before
//! then has to answer at once, and a pause before the next attempt ends.

use std::collections::BTreeSet;
use std::time::Duration;

use redis::{PushInfo, PushKind, RedisError, RedisResult, Value, cmd};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::message::redis::{Bytes, RedisEvent};
use crate::runtime::bridge::address::RedisAddress;
use crate::runtime::bridge::backoff::Backoff;
use crate::runtime::bridge::calls::CallCommand;
use crate::runtime::bridge::connection::{REPLY_TIMEOUT, RedisConnection};
use crate::runtime::bridge::probes::Probes;

/// Channels in one command.
const CHANNELS_PER_COMMAND: usize = 512;

/// Time between probes.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// Time for an answer when the other loop has just got one.
const PROMPT_REPLY: Duration = Duration::from_millis(300);

/// Attempts to subscribe to a channel whose slot has moved, and the pause between them.
const MOVED_TIMES: u32 = 10;
const MOVED_PAUSE: Duration = Duration::from_millis(50);

/// A change of the changes.
#[derive(Debug)]
pub(super) enum SubscriptionCommand {
    Subscribe(Bytes),
    Unsubscribe(Bytes),
}

/// The loop of the subscription connection.
pub(super) struct SubscriptionLoop {
    pub(super) address: RedisAddress,
    pub(super) changes: UnboundedReceiver<SubscriptionCommand>,
    pub(super) events: UnboundedSender<RedisEvent>,
    /// Queue of the loop that publishes probes.
    pub(super) tasks: WeakUnboundedSender<CallCommand>,
    /// Whether that loop has a connection.
    pub(super) has_calls: watch::Receiver<bool>,
    pub(super) backoff: Backoff,
    pub(super) probes: Probes,
    pub(super) subscribed: BTreeSet<Bytes>,
}

impl SubscriptionLoop {
    /// Connects, repeatedly if necessary, and receives publications. Ends when the queue of changes is closed.
    pub(super) async fn run(mut self) {
        loop {
            let (pushes, mut pushed) = unbounded_channel();
            match self.open(pushes).await {
                Ok(Ok(mut connection)) => match self.listen(&mut connection, &mut pushed).await {
                    Some(reason) => tracing::warn!(%reason, "the subscription at Redis is made anew"),
                    None => return,
                },
                Ok(Err(error)) => tracing::debug!(%error, "no subscription at Redis"),
                Err(_) => tracing::debug!("no subscription at Redis: no answer"),
            }
            let pause = tokio::time::sleep(self.backoff.next());
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    () = connected(&mut self.has_calls) => {
                        self.backoff.reset();
                        break;
                    }
                    change = self.changes.recv() => match change {
                        Some(change) => drop(self.note(change)),
                        None => return,
                    },
                }
            }
        }
    }

    /// Connects. The time for it is shortened when the other loop has a connection.
    async fn open(&mut self, pushes: UnboundedSender<PushInfo>) -> Result<RedisResult<RedisConnection>, Elapsed> {
        let attempt = RedisConnection::open(&self.address, pushes);
        tokio::pin!(attempt);
        tokio::select! {
            biased;
            outcome = timeout(REPLY_TIMEOUT, &mut attempt) => return outcome,
            () = connected(&mut self.has_calls) => {}
        }
        self.backoff.reset();
        timeout(PROMPT_REPLY, attempt).await
    }

    /// Receives publications until the connection fails, for the returned reason; `None` when the queue is closed.
    async fn listen(
        &mut self,
        connection: &mut RedisConnection,
        pushed: &mut UnboundedReceiver<PushInfo>,
    ) -> Option<String> {
        let mut all: Vec<Bytes> = self.subscribed.iter().cloned().collect();
        all.insert(0, self.probes.begin());
        for some in all.chunks(CHANNELS_PER_COMMAND) {
            if let Err(error) = connection.subscribe(some).await {
                return Some(error.to_string());
            }
        }
        self.backoff.reset();
        let mut probes = interval(PROBE_EVERY);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = Vec::new();
        let mut pushes = Vec::new();
        loop {
            let overdue = self.probes.deadline();
            let deadline = overdue.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                count = pushed.recv_many(&mut pushes, CHANNELS_PER_COMMAND) => {
                    if count == 0 {
                        return Some("it has ended".to_owned());
                    }
                    let mut lost = Vec::new();
                    for push in pushes.drain(..) {
                        match self.handle_push(push) {
                            PushEffect::Fine => {}
                            PushEffect::Lost(channel) => lost.push(channel),
                            PushEffect::End => return Some("it was ended".to_owned()),
                        }
                    }
                    if let Err(error) = resubscribe(connection, &lost).await {
                        return Some(error.to_string());
                    }
                }
                count = self.changes.recv_many(&mut changes, CHANNELS_PER_COMMAND) => {
                    if count == 0 {
                        return None;
                    }
                    if let Err(error) = self.apply(connection, &mut changes).await {
                        return Some(error);
                    }
                }
                () = tokio::time::sleep_until(deadline), if overdue.is_some() => {
                    return Some("what is published does not arrive".to_owned());
                }
                () = connected(&mut self.has_calls) => {
                    if let Err(reason) = ask_promptly(connection).await {
                        return Some(reason);
                    }
                }
                _ = probes.tick() => {
                    if let Err(error) = self.probe(connection).await {
                        return Some(error.to_string());
                    }
                }
            }
        }
    }

    /// Publishes the probes, if the other loop has a connection.
    async fn probe(&mut self, connection: &mut RedisConnection) -> RedisResult<()> {
        let Some(tasks) = self.tasks.upgrade().filter(|_| *self.has_calls.borrow()) else {
            return Ok(());
        };
        if let Some(slot_owners) = connection.slot_owners().await? {
            let [added, removed] = self.probes.spread(&slot_owners, &self.subscribed);
            connection.unsubscribe(&removed).await?;
            connection.subscribe(&added).await?;
        }
        for channel in self.probes.publish() {
            let _ = tasks.send(CallCommand::Publish { channel, body: (*b"?").into() });
        }
        Ok(())
    }

    /// Carries out queued changes with as few commands as their order allows.
    async fn apply(
        &mut self,
        connection: &mut RedisConnection,
        changes: &mut Vec<SubscriptionCommand>,
    ) -> Result<(), String> {
        let (mut added, mut removed) = (BTreeSet::new(), BTreeSet::new());
        for change in changes.drain(..) {
            match self.note(change) {
                None => {}
                // A channel that is left and subscribed again needs a new confirmation.
                Some(SubscriptionCommand::Subscribe(channel)) => drop(added.insert(channel)),
                Some(SubscriptionCommand::Unsubscribe(channel)) => {
                    added.remove(&channel);
                    removed.insert(channel);
                }
            }
        }
        let removed: Vec<Bytes> = removed.into_iter().filter(|channel| !added.contains(channel)).collect();
        let added: Vec<Bytes> = added.into_iter().collect();
        if !removed.is_empty() {
            connection.unsubscribe(&removed).await.map_err(|error| error.to_string())?;
        }
        if !added.is_empty() {
            connection.subscribe(&added).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Remembers a change for later connections; `None` if there is no subscription to end.
    fn note(&mut self, change: SubscriptionCommand) -> Option<SubscriptionCommand> {
        let is_effective = match &change {
            // A repeated subscription is confirmed again.
            SubscriptionCommand::Subscribe(channel) => {
                self.subscribed.insert(channel.clone());
                true
            }
            SubscriptionCommand::Unsubscribe(channel) => self.subscribed.remove(channel),
        };
        is_effective.then_some(change)
    }

    fn handle_push(&mut self, push: PushInfo) -> PushEffect {
        let mut data = push.data.into_iter();
        let channel = match data.next() {
            Some(Value::BulkString(channel)) => Bytes::from(channel),
            _ if push.kind == PushKind::Disconnection => return PushEffect::End,
            _ => return PushEffect::Fine,
        };
        match (push.kind, data.next()) {
            (PushKind::Message | PushKind::SMessage, _) if self.probes.are_on(&channel) => {
                self.probes.arrived(&channel)
            }
            (PushKind::Message | PushKind::SMessage, Some(Value::BulkString(body))) => {
                let _ = self.events.send(RedisEvent::Published { channel, body: body.into() });
            }
            // The pattern, the channel and the message.
            (PushKind::PMessage, Some(Value::BulkString(channel))) => {
                if let Some(Value::BulkString(body)) = data.next() {
                    let _ = self.events.send(RedisEvent::Published { channel: channel.into(), body: body.into() });
                }
            }
            (PushKind::Subscribe | PushKind::SSubscribe | PushKind::PSubscribe, _) if !self.probes.are_on(&channel) => {
                let _ = self.events.send(RedisEvent::Subscribed(channel));
            }
            // The slot has moved to another server of the cluster.
            (PushKind::SUnsubscribe, _) if self.probes.are_on(&channel) || self.subscribed.contains(&channel) => {
                return PushEffect::Lost(channel);
            }
            _ => {}
        }
        PushEffect::Fine
    }
}

/// Waits until the other loop has made a connection.
async fn connected(has_calls: &mut watch::Receiver<bool>) {
    while has_calls.changed().await.is_ok() {
        if *has_calls.borrow_and_update() {
            return;
        }
    }
    // That loop has ended, and this one is about to.
    std::future::pending().await
}

/// Has the server of a connection answer in a short time. Those of a cluster are probed one by one later.
async fn ask_promptly(connection: &mut RedisConnection) -> Result<(), String> {
    match connection {
        RedisConnection::Cluster(_) => Ok(()),
        RedisConnection::Single(_) => match timeout(PROMPT_REPLY, connection.ask(&cmd("PING"))).await {
            Ok(answer) => answer.map(drop).map_err(|error: RedisError| error.to_string()),
            Err(_) => Err("it does not answer".to_owned()),
        },
    }
}

/// Subscribes again to channels whose slots have moved. The new server is known after a short time.
async fn resubscribe(connection: &mut RedisConnection, lost: &[Bytes]) -> RedisResult<()> {
    let mut times = 0;
    while let Err(error) = connection.subscribe(lost).await {
        times += 1;
        if times == MOVED_TIMES {
            return Err(error);
        }
        sleep(MOVED_PAUSE).await;
    }
    Ok(())
}

/// The effect of a push message.
enum PushEffect {
    /// None.
    Fine,
    /// The subscription of this channel has ended.
    Lost(Bytes),
    /// The connection has ended.
    End,
}
