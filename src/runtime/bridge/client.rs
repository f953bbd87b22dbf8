//! Client of Redis: takes commands of the owner, and returns events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use crate::base::rng::Rng;
use crate::message::redis::{Bytes, RedisCommand, RedisEvent, Script};
use crate::runtime::bridge::address::RedisAddress;
use crate::runtime::bridge::backoff::Backoff;
use crate::runtime::bridge::calls::{CallCommand, CallLoop, LoadedScripts};
use crate::runtime::bridge::channels::{SubscriptionCommand, SubscriptionLoop};
use crate::runtime::bridge::probes::Probes;

/// One connection for calls and one for changes; each reconnects when it is lost.
///
/// [`crate::message::redis`] states its guarantees. When it is dropped, the connections are closed after the commands under
/// way.
pub struct RedisClient {
    tasks: UnboundedSender<CallCommand>,
    changes: UnboundedSender<SubscriptionCommand>,
    /// Events, in the order in which they happened.
    pub events: UnboundedReceiver<RedisEvent>,
    waiting: Arc<AtomicUsize>,
}

impl RedisClient {
    /// Begins to connect. `scripts`: all scripts that are called; `probe`: a channel of this client alone. Requires an
    /// asynchronous runtime with one thread.
    pub fn start(address: &RedisAddress, scripts: Vec<&'static Script>, probe: Bytes, seeds: [u64; 2]) -> Self {
        let (tasks, new_tasks) = unbounded_channel();
        let (changes, new_changes) = unbounded_channel();
        let (event_sender, events) = unbounded_channel();
        let waiting: Arc<AtomicUsize> = Arc::default();
        let (is_connected, has_calls) = watch::channel(false);
        let calls = CallLoop {
            address: address.clone(),
            scripts: LoadedScripts::new(scripts),
            commands: new_tasks,
            events: event_sender.clone(),
            waiting: waiting.clone(),
            is_connected,
            backoff: Backoff::new(Rng::from_seed(seeds[0])),
        };
        let channels = SubscriptionLoop {
            address: address.clone(),
            changes: new_changes,
            events: event_sender,
            tasks: tasks.downgrade(),
            has_calls,
            backoff: Backoff::new(Rng::from_seed(seeds[1])),
            probes: Probes::new(probe),
            subscribed: BTreeSet::new(),
        };
        tokio::spawn(calls.run());
        tokio::spawn(channels.run());
        Self { tasks, changes, events, waiting }
    }

    /// Carries out a command.
    pub fn send(&self, command: RedisCommand) {
        // The loops that receive these exist as long as their senders.
        match command {
            RedisCommand::ScriptCall(call) => {
                self.waiting.fetch_add(1, Ordering::AcqRel);
                let _ = self.tasks.send(CallCommand::ScriptCall(call));
            }
            RedisCommand::Publish { channel, body } => drop(self.tasks.send(CallCommand::Publish { channel, body })),
            RedisCommand::Subscribe(channel) => drop(self.changes.send(SubscriptionCommand::Subscribe(channel))),
            RedisCommand::Unsubscribe(channel) => drop(self.changes.send(SubscriptionCommand::Unsubscribe(channel))),
        }
    }

    /// Number of calls without a reply.
    pub fn pending_calls(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }
}
