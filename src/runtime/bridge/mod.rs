//! The thread that speaks with Redis, where that keeps rooms and users for several processes.
//!
//! It owns this node's half of the truth ([`crate::owner::redis`]), takes mail as a shard does, carries out what that
//! half demands, and brings back what it has to say. It decides nothing about rooms or users itself. It is the only thread
//! with an asynchronous runtime, because the library that speaks with Redis wants one.
//!
//! # The parts
//!
//! - **carrier**: the connections. One for **calls** of scripts, batch after batch; one for **channels**. Both are made
//!   anew when they are lost, after a **pause** that grows and is never the same for two nodes.
//! - **claim**: at the start, the number that this process has among the nodes that share the Redis.
//! - **probes**: what is published to see whether anything still arrives.
//! - **server**: which server answers, so that whatever it keeps is known to have another keeper than before.
//! - **desk**: the turn of the thread: mail, what Redis said, what has become due.

mod address;
mod calls;
mod carrier;
mod channels;
mod claim;
mod desk;
mod line;
mod pause;
mod probes;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::bounded;

pub use address::{ADDRESS_FORMS, RedisAddress};
pub use carrier::RedisClient;
pub use claim::{ClaimedNode, claim};

use crate::base::rng::Rng;
use crate::domain::op::RoomRules;
use crate::domain::quota::Rates;
use crate::owner::redis::{RedisOwner, RedisSettings};
use crate::runtime::bridge::desk::Desk;
use crate::runtime::channel::{ChannelReceiver, ChannelSender};
use crate::runtime::clock::Clock;
use crate::runtime::entropy;

/// How long clients are kept waiting at the start for Redis, which has answered just before.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// How a process uses Redis.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Where it is.
    pub address: RedisAddress,
    /// The certificates of the authorities that are trusted to vouch for it; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// What all keys and channels begin with.
    pub prefix: String,
    /// How many messages of a room are kept when its maker did not say; 0: all.
    pub keep_messages: u64,
}

/// A running bridge.
pub struct Bridge {
    thread: JoinHandle<()>,
    is_over: Arc<AtomicBool>,
    mailbox: ChannelSender,
}

impl ClaimedNode {
    /// Starts the thread. Its mail comes by `inbox`; it writes to the shards by all but the last of `mailboxes`, which is
    /// its own. Returns once Redis has answered it, or did not for a while.
    ///
    /// # Errors
    /// There is no entropy or no thread to be had.
    pub fn start(
        self,
        inbox: ChannelReceiver,
        mailboxes: Arc<[ChannelSender]>,
        (rules, rates): (Arc<RoomRules>, Rates),
        clock: Clock,
    ) -> std::io::Result<Bridge> {
        let Some(mailbox) = mailboxes.last().cloned() else { return Err(std::io::Error::other("no mailbox")) };
        let settings = RedisSettings {
            node: self.node,
            name: self.name,
            shards: mailboxes.len() - 1,
            prefix: self.options.prefix.as_str().into(),
            sharded: self.options.address.is_sharded(),
            rates,
            keep_messages: self.options.keep_messages,
        };
        let mut rng = Rng::from_entropy(entropy::seed()?);
        let seeds = [rng.next_u64(), rng.next_u64()];
        let authority = RedisOwner::new(settings, rules, rng);
        let is_over: Arc<AtomicBool> = Arc::default();
        let (runtime, address, ends) = (self.runtime, self.options.address, is_over.clone());
        let (begun, has_begun) = bounded(1);
        let thread = thread::Builder::new().name("bridge".into()).spawn(move || {
            runtime.block_on(async move {
                let carrier = RedisClient::start(&address, RedisOwner::scripts(), authority.probe(), seeds);
                Desk::new(authority, carrier, inbox, mailboxes, clock, ends, begun).run().await;
            });
        })?;
        let _ = has_begun.recv_timeout(FIRST_ANSWER);
        Ok(Bridge { thread, is_over, mailbox })
    }
}

impl Bridge {
    /// Whether it has ended, which it does by itself only when another process has taken this one's number.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Has what is under way done, gives the number back, and ends. No shard may need it any more.
    pub fn close(self) {
        self.is_over.store(true, Ordering::Release);
        self.mailbox.wake();
        let _ = self.thread.join();
    }
}
