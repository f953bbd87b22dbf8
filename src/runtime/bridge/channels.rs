//! Listens to channels, by a connection of its own, so that what is published does not wait behind answers.
//!
//! A subscription may starve while the server looks well: it was dropped on the way and nobody said so, or a failover left
//! it with a server that nobody publishes to. So [something](Probes) is published to the node itself again and again; when
//! that does not come back, the connection is made anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{PushInfo, PushKind, RedisResult, Value};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::message::redis::{Bytes, RedisEvent};
use crate::runtime::bridge::address::RedisAddress;
use crate::runtime::bridge::calls::Task;
use crate::runtime::bridge::line::{ANSWER, Line};
use crate::runtime::bridge::pause::Pause;
use crate::runtime::bridge::probes::Probes;

/// Channels that are asked for at once.
const CHANNELS_PER_COMMAND: usize = 512;

/// How often something is published to the node itself.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// How often a channel whose slot has moved is asked for, and how long apart.
const MOVED_TIMES: u32 = 10;
const MOVED_PAUSE: Duration = Duration::from_millis(50);

/// What is to be listened to.
#[derive(Debug)]
pub(super) enum Wish {
    Follow(Bytes),
    Leave(Bytes),
}

/// See the module.
pub(super) struct Channels {
    pub(super) address: RedisAddress,
    pub(super) wishes: UnboundedReceiver<Wish>,
    pub(super) heard: UnboundedSender<RedisEvent>,
    /// Where probes are published.
    pub(super) tasks: WeakUnboundedSender<Task>,
    /// Whether they can be.
    pub(super) is_connected: Arc<AtomicBool>,
    pub(super) pause: Pause,
    pub(super) probes: Probes,
    pub(super) followed: BTreeSet<Bytes>,
}

impl Channels {
    /// Connects, again and again if need be, and listens. Ends when nobody can wish for anything any more.
    pub(super) async fn run(mut self) {
        loop {
            let (pushes, mut pushed) = unbounded_channel();
            match timeout(ANSWER, Line::open(&self.address, pushes)).await {
                Ok(Ok(mut line)) => match self.listen(&mut line, &mut pushed).await {
                    Some(reason) => tracing::warn!(%reason, "the subscription at Redis is made anew"),
                    None => return,
                },
                Ok(Err(error)) => tracing::debug!(%error, "no subscription at Redis"),
                Err(_) => tracing::debug!("no subscription at Redis: no answer"),
            }
            let pause = tokio::time::sleep(self.pause.next());
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    wish = self.wishes.recv() => match wish {
                        Some(wish) => drop(self.note(wish)),
                        None => return,
                    },
                }
            }
        }
    }

    /// Listens until the connection is of no use any more, for this reason; `None` when it is not wanted any more.
    async fn listen(&mut self, line: &mut Line, pushed: &mut UnboundedReceiver<PushInfo>) -> Option<String> {
        let mut all: Vec<Bytes> = self.followed.iter().cloned().collect();
        all.insert(0, self.probes.begin());
        for some in all.chunks(CHANNELS_PER_COMMAND) {
            if let Err(error) = line.follow(some).await {
                return Some(error.to_string());
            }
        }
        self.pause.reset();
        let mut probes = interval(PROBE_EVERY);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut wishes = Vec::new();
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
                        match self.pushed(push) {
                            Pushed::Fine => {}
                            Pushed::Lost(channel) => lost.push(channel),
                            Pushed::End => return Some("it was ended".to_owned()),
                        }
                    }
                    if let Err(error) = follow_again(line, &lost).await {
                        return Some(error.to_string());
                    }
                }
                count = self.wishes.recv_many(&mut wishes, CHANNELS_PER_COMMAND) => {
                    if count == 0 {
                        return None;
                    }
                    if let Err(error) = self.grant(line, &mut wishes).await {
                        return Some(error);
                    }
                }
                () = tokio::time::sleep_until(deadline), if overdue.is_some() => {
                    return Some("what is published does not arrive".to_owned());
                }
                _ = probes.tick() => {
                    if let Err(error) = self.probe(line).await {
                        return Some(error.to_string());
                    }
                }
            }
        }
    }

    /// Publishes something for this node itself, if anything can be published now.
    async fn probe(&mut self, line: &mut Line) -> RedisResult<()> {
        let Some(tasks) = self.tasks.upgrade().filter(|_| self.is_connected.load(Ordering::Acquire)) else {
            return Ok(());
        };
        if let Some(keepers) = line.keepers().await? {
            let [follow, leave] = self.probes.spread(&keepers, &self.followed);
            line.leave(&leave).await?;
            line.follow(&follow).await?;
        }
        for channel in self.probes.publish() {
            let _ = tasks.send(Task::Publish { channel, body: (*b"?").into() });
        }
        Ok(())
    }

    /// Does as is wished, all that was wished at once by as few commands as the order allows.
    async fn grant(&mut self, line: &mut Line, wishes: &mut Vec<Wish>) -> Result<(), String> {
        let (mut follow, mut leave) = (BTreeSet::new(), BTreeSet::new());
        for wish in wishes.drain(..) {
            let Some(wish) = self.note(wish) else { continue };
            match wish {
                // Whoever leaves and comes back at once wants to hear that it is listened to again.
                Wish::Follow(channel) => drop(follow.insert(channel)),
                Wish::Leave(channel) => {
                    follow.remove(&channel);
                    leave.insert(channel);
                }
            }
        }
        let leave: Vec<Bytes> = leave.into_iter().filter(|channel| !follow.contains(channel)).collect();
        let follow: Vec<Bytes> = follow.into_iter().collect();
        if !leave.is_empty() {
            line.leave(&leave).await.map_err(|error| error.to_string())?;
        }
        if !follow.is_empty() {
            line.follow(&follow).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Remembers a wish for later connections.
    fn note(&mut self, wish: Wish) -> Option<Wish> {
        match &wish {
            Wish::Follow(channel) => drop(self.followed.insert(channel.clone())),
            Wish::Leave(channel) => {
                if !self.followed.remove(channel) {
                    return None;
                }
            }
        }
        Some(wish)
    }

    /// Something has come.
    fn pushed(&mut self, push: PushInfo) -> Pushed {
        let mut data = push.data.into_iter();
        let channel = match data.next() {
            Some(Value::BulkString(channel)) => Bytes::from(channel),
            _ if push.kind == PushKind::Disconnection => return Pushed::End,
            _ => return Pushed::Fine,
        };
        match (push.kind, data.next()) {
            (PushKind::Message | PushKind::SMessage, _) if self.probes.are_on(&channel) => {
                self.probes.arrived(&channel)
            }
            (PushKind::Message | PushKind::SMessage, Some(Value::BulkString(body))) => {
                let _ = self.heard.send(RedisEvent::Published { channel, body: body.into() });
            }
            (PushKind::Subscribe | PushKind::SSubscribe, _) if !self.probes.are_on(&channel) => {
                let _ = self.heard.send(RedisEvent::Subscribed(channel));
            }
            // The slot has moved to another server of the cluster.
            (PushKind::SUnsubscribe, _) if self.probes.are_on(&channel) || self.followed.contains(&channel) => {
                return Pushed::Lost(channel);
            }
            _ => {}
        }
        Pushed::Fine
    }
}

/// Listens again to channels whose slots have moved. Where to is known after a moment.
async fn follow_again(line: &mut Line, lost: &[Bytes]) -> RedisResult<()> {
    let mut times = 0;
    while let Err(error) = line.follow(lost).await {
        times += 1;
        if times == MOVED_TIMES {
            return Err(error);
        }
        sleep(MOVED_PAUSE).await;
    }
    Ok(())
}

/// What came.
enum Pushed {
    /// Nothing to be done about it here.
    Fine,
    /// This channel is not listened to any more.
    Lost(Bytes),
    /// The connection's end.
    End,
}
