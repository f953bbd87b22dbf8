//! The connections with Redis, as whoever keeps rooms there uses them: demands go in, what is heard comes out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::base::rng::Rng;
use crate::message::redis::{Bytes, RedisCommand, RedisEvent, Script};
use crate::runtime::bridge::address::RedisAddress;
use crate::runtime::bridge::calls::{Calls, Scripts, Task};
use crate::runtime::bridge::channels::{Channels, Wish};
use crate::runtime::bridge::pause::Pause;
use crate::runtime::bridge::probes::Probes;

/// One connection for calls and one for channels, each made anew whenever it is lost.
///
/// What it owes its user is said in [`crate::message::redis`]. When it is dropped, the connections are closed after what is
/// under way.
pub struct RedisClient {
    tasks: UnboundedSender<Task>,
    wishes: UnboundedSender<Wish>,
    heard: UnboundedReceiver<RedisEvent>,
    waiting: Arc<AtomicUsize>,
}

impl RedisClient {
    /// Begins to connect. `scripts` are all that are going to be called; `probe` is a channel that nobody else uses. To be
    /// called within an asynchronous runtime of one thread.
    pub fn start(address: &RedisAddress, scripts: Vec<&'static Script>, probe: Bytes, seeds: [u64; 2]) -> Self {
        let (tasks, new_tasks) = unbounded_channel();
        let (wishes, new_wishes) = unbounded_channel();
        let (hear, heard) = unbounded_channel();
        let waiting: Arc<AtomicUsize> = Arc::default();
        let is_connected: Arc<AtomicBool> = Arc::default();
        let calls = Calls {
            address: address.clone(),
            scripts: Scripts::new(scripts),
            tasks: new_tasks,
            heard: hear.clone(),
            waiting: waiting.clone(),
            is_connected: is_connected.clone(),
            pause: Pause::new(Rng::from_seed(seeds[0])),
        };
        let channels = Channels {
            address: address.clone(),
            wishes: new_wishes,
            heard: hear,
            tasks: tasks.downgrade(),
            is_connected,
            pause: Pause::new(Rng::from_seed(seeds[1])),
            probes: Probes::new(probe),
            followed: BTreeSet::new(),
        };
        tokio::spawn(calls.run());
        tokio::spawn(channels.run());
        Self { tasks, wishes, heard, waiting }
    }

    /// Has something done.
    pub fn carry(&self, demand: RedisCommand) {
        // The other ends are there as long as this one is.
        match demand {
            RedisCommand::ScriptCall(call) => {
                self.waiting.fetch_add(1, Ordering::AcqRel);
                let _ = self.tasks.send(Task::ScriptCall(call));
            }
            RedisCommand::Publish { channel, body } => drop(self.tasks.send(Task::Publish { channel, body })),
            RedisCommand::Subscribe(channel) => drop(self.wishes.send(Wish::Follow(channel))),
            RedisCommand::Unsubscribe(channel) => drop(self.wishes.send(Wish::Leave(channel))),
        }
    }

    /// How many calls are not answered yet.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Waits for something to hear, and adds it to `heard`, with whatever else has come, up to `most`.
    pub async fn hear(&mut self, heard: &mut Vec<RedisEvent>, most: usize) {
        self.heard.recv_many(heard, most).await;
    }
}
