//! The bridge: the thread that talks to Redis in a cluster.
//!
//! It runs this node's part of the owner ([`crate::owner::redis`]): it receives messages as a shard does, carries out the
//! owner's commands, and passes events of Redis to it. It makes no decisions about rooms or users. It is the only thread with
//! an asynchronous runtime, because the Redis library requires one.
//!
//! # Parts
//!
//! - `bridge_loop`: the loop of the thread;
//! - `client`: the connections, one for `calls` of scripts in batches, one for the subscriptions of `channels`. Both reconnect
//!   after a pause (`backoff`) that grows and differs between nodes;
//! - `claim`: the node number, at the start of the process;
//! - `cluster_state`: whether a cluster serves;
//! - `probes`: messages that show whether publications still arrive;
//! - `sentinels`: the master that Sentinels watch over;
//! - `outbox`: the hook events, for the threads that deliver them;
//! - `server`: name of the server, so that a failover is noticed.

mod address;
mod backoff;
mod bridge_loop;
mod calls;
mod channels;
mod claim;
mod client;
mod cluster_state;
mod connection;
mod information;
mod outbox;
mod probes;
mod sentinels;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::bounded;

pub use address::{ADDRESS_FORMS, RedisAddress};
pub use calls::text_of;
pub use claim::{ClaimedNode, claim};
pub use client::RedisClient;
pub use information::information;
pub use outbox::{HookStream, RedisOutbox};

use crate::base::rng::Rng;
use crate::domain::op::RoomRules;
use crate::domain::quota::Rates;
use crate::message::BridgeMessage;
use crate::owner::redis::{EmitterChannels, RedisOwner, RedisSettings};
use crate::runtime::bridge::bridge_loop::BridgeLoop;
use crate::runtime::channel::{ChannelReceiver, ChannelSender};
use crate::runtime::clock::Clock;
use crate::runtime::entropy;

/// Time to wait at the start for Redis, which has answered just before.
const FIRST_REPLY: Duration = Duration::from_secs(5);

/// A process's use of Redis.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Address of Redis.
    pub address: RedisAddress,
    /// File with the certificates of trusted authorities; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Prefix of all keys and channels.
    pub prefix: String,
    /// Messages that a room keeps if its maker did not choose; 0: all.
    pub keep_messages: u64,
    /// Rooms without members whose messages Redis keeps; 0: any number.
    pub resting_rooms: u64,
    /// Channels by which other programs act on namespaces of the application.
    pub emitters: Box<EmitterChannels>,
}

/// A running bridge.
pub struct Bridge {
    thread: JoinHandle<()>,
    is_over: Arc<AtomicBool>,
    channel: ChannelSender<BridgeMessage>,
}

impl ClaimedNode {
    /// Starts the thread. It receives messages by `inbox`, the other end of `channel`, and sends to the shards by `channels`.
    /// Returns when Redis has answered, or after a limited time.
    ///
    /// # Errors
    /// Entropy or a thread is not available.
    pub fn start(
        self,
        (channel, inbox): (ChannelSender<BridgeMessage>, ChannelReceiver<BridgeMessage>),
        channels: Arc<[ChannelSender]>,
        (rules, rates): (Arc<RoomRules>, Rates),
        clock: Clock,
    ) -> std::io::Result<Bridge> {
        let settings = RedisSettings {
            node: self.node,
            name: self.name,
            shards: channels.len(),
            prefix: self.options.prefix.as_str().into(),
            sharded: self.options.address.is_sharded(),
            rates,
            keep_messages: self.options.keep_messages,
            resting_rooms: self.options.resting_rooms,
            emitters: *self.options.emitters,
        };
        let mut rng = Rng::from_entropy(entropy::seed()?);
        let seeds = [rng.next_u64(), rng.next_u64()];
        let owner = RedisOwner::new(settings, rules, rng);
        let is_over: Arc<AtomicBool> = Arc::default();
        let (runtime, address, ends) = (self.runtime, self.options.address, is_over.clone());
        let (begun, has_begun) = bounded(1);
        let thread = thread::Builder::new().name("bridge".into()).spawn(move || {
            runtime.block_on(async move {
                let client = RedisClient::start(&address, RedisOwner::scripts(), owner.probe(), seeds);
                BridgeLoop::new(owner, client, inbox, channels, clock, ends, begun).run().await;
            });
        })?;
        let _ = has_begun.recv_timeout(FIRST_REPLY);
        Ok(Bridge { thread, is_over, channel })
    }
}

impl Bridge {
    /// Whether the thread has ended. It ends by itself only when another process has this node's number.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Completes the calls under way, releases the node number, and ends the thread. No shard may use it any more.
    pub fn close(self) {
        self.is_over.store(true, Ordering::Release);
        self.channel.wake();
        let _ = self.thread.join();
    }
}
