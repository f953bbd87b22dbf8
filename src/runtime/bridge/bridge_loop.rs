//! The loop of the bridge thread: messages of shards, events of Redis, deferred work; then the messages and commands that these
//! lead to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::base::time::Now;
use crate::message::redis::RedisEvent;
use crate::message::{BRIDGE, BridgeMessage, Outgoing, ShardMessage};
use crate::owner::redis::RedisOwner;
use crate::runtime::bridge::client::RedisClient;
use crate::runtime::channel::{ChannelReceiver, ChannelSender};
use crate::runtime::clock::Clock;

/// Messages, and events, in one turn.
const PER_TURN: usize = 1_024;

/// Calls under way above which no messages are read: they wait in the channel, whose length makes shards refuse new work.
const CALLS_MAX: usize = 16 * 1_024;

/// Time for calls under way at the end, in milliseconds.
const LAST_MS: u64 = 1_500;

/// The state of the bridge thread.
pub(super) struct BridgeLoop {
    owner: RedisOwner,
    client: RedisClient,
    inbox: ChannelReceiver<BridgeMessage>,
    /// Channels to the shards.
    channels: Arc<[ChannelSender]>,
    clock: Clock,
    is_over: Arc<AtomicBool>,
    /// Signals the first answer of Redis.
    begun: Sender<()>,
    /// Messages of the owner; empty between turns.
    output: Vec<Outgoing>,
    events: Vec<RedisEvent>,
}

impl BridgeLoop {
    pub(super) fn new(
        owner: RedisOwner,
        client: RedisClient,
        inbox: ChannelReceiver<BridgeMessage>,
        channels: Arc<[ChannelSender]>,
        clock: Clock,
        is_over: Arc<AtomicBool>,
        begun: Sender<()>,
    ) -> Self {
        let (output, events) = (Vec::new(), Vec::new());
        Self { owner, client, inbox, channels, clock, is_over, begun, output, events }
    }

    /// Runs until the server stops, or until another process has this node's number.
    pub(super) async fn run(mut self) {
        let mut last: Option<u64> = None;
        loop {
            let now = self.clock.now();
            let mut taken = 0;
            while taken < PER_TURN
                && self.client.pending_calls() < CALLS_MAX
                && let Some(message) = self.inbox.take()
            {
                self.owner.handle_message(now, message, &mut self.output);
                taken += 1;
            }
            if self.owner.next_due().is_some_and(|at| at <= now.mono) {
                self.owner.tick(now, &mut self.output);
            }
            if last.is_none() && self.is_over.load(Ordering::Acquire) && self.inbox.is_empty() {
                last = Some(now.mono + LAST_MS);
                self.owner.leave(now);
            }
            self.send_output(now);
            let is_done = last.is_some_and(|at| at <= now.mono || self.client.pending_calls() == 0);
            if is_done || self.owner.is_replaced() {
                return;
            }
            let due = [self.owner.next_due(), last].into_iter().flatten().min();
            let pause = due.map_or(Duration::from_secs(3_600), |at| Duration::from_millis(at.saturating_sub(now.mono)));
            let reads_messages = self.client.pending_calls() < CALLS_MAX;
            tokio::select! {
                _ = self.client.events.recv_many(&mut self.events, PER_TURN) => {}
                () = self.inbox.wait(), if reads_messages => {}
                () = tokio::time::sleep(pause) => {}
            }
            self.inbox.end_sleep();
            let now = self.clock.now();
            for event in self.events.drain(..) {
                if let RedisEvent::State(state) = event {
                    let _ = self.begun.try_send(());
                    self.channels.iter().for_each(|channel| channel.send(ShardMessage::RedisState(state)));
                }
                self.owner.handle_redis_event(now, event, &mut self.output);
            }
        }
    }

    /// Sends the owner's messages to the shards, or to itself, and its commands to Redis.
    fn send_output(&mut self, now: Now) {
        while !self.output.is_empty() {
            let mut output = std::mem::take(&mut self.output);
            for (to, message) in output.drain(..) {
                match to {
                    BRIDGE => match BridgeMessage::try_from(message) {
                        Ok(message) => self.owner.handle_message(now, message, &mut self.output),
                        Err(message) => debug_assert!(false, "invariant: {message:?} goes to shards only"),
                    },
                    shard => match self.channels.get(usize::from(shard)) {
                        Some(channel) => channel.send(message),
                        None => tracing::error!(shard, "there is no such shard"),
                    },
                }
            }
            if self.output.is_empty() {
                self.output = output;
                break;
            }
        }
        debug_assert!(self.output.is_empty(), "invariant: a turn sends all its messages");
        for command in self.owner.commands(now) {
            self.client.send(command);
        }
    }
}
