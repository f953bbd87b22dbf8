//! The whole process: shards are started, signals waited for, everyone told before the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use mio::Poll;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::base::limits;
use crate::base::rng::Rng;
use crate::codec::jwt::Verifier;
use crate::domain::op::Rules;
use crate::message::storage::StorageEvent;
use crate::message::{Placement, ShardMessage, ShardNumber};
use crate::runtime::allocator;
use crate::runtime::bridge::{self, Bridge};
use crate::runtime::channel::{ChannelSender, mailbox, task_mailbox};
use crate::runtime::clock::Clock;
use crate::runtime::event_loop::{Common, EventLoop, WAKER};
use crate::runtime::keys::Keys;
use crate::runtime::memory_trim::MemoryTrim;
use crate::runtime::places::Places;
use crate::runtime::storage::{self, OpenError, Opened, Place, Storage, Store};
use crate::runtime::{entropy, listener, memory};
use crate::shard::{Options, Shard};

/// What a server is started with.
pub struct Plan {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// What each shard goes by.
    pub options: Options,
    /// What tokens are verified by.
    pub keys: Keys,
    /// How long leaving may take.
    pub drain: Duration,
    /// Where things are kept, and how.
    pub storage: storage::Options,
    /// Whether the server may keep things in memory when it cannot have its data directory.
    pub may_forget: bool,
    /// The Redis that keeps rooms and users for several servers, in place of the store.
    pub redis: Option<bridge::Options>,
}

/// A running server.
pub struct Server {
    /// The addresses it listens on.
    pub addresses: Vec<SocketAddr>,
    keys: Keys,
    drain: Duration,
    mailboxes: Arc<[ChannelSender]>,
    shards: Vec<JoinHandle<io::Result<()>>>,
    signals: Receiver<i32>,
    keeper: Keeper,
    /// Connections of each shard.
    connections: Arc<[AtomicUsize]>,
}

/// What a process keeps things by.
enum Keeper {
    /// Its own store.
    Store(Storage),
    /// Redis.
    Redis(Bridge),
}

/// How often it is looked at the JWKS file, whether the store keeps pace, and how many clients are there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long threads may take beyond the drain window before the process ends without them.
const GRACE: Duration = Duration::from_millis(250);

/// Starts the server; its shards run on threads of their own.
///
/// # Errors
/// What cannot be had: an address, a descriptor, a thread, a usable key.
pub fn start(plan: Plan) -> Result<Server, String> {
    allocator::set_up();
    let signals = catch_signals().map_err(|error| format!("cannot catch signals: {error}"))?;
    let verifier = plan.keys.verifier()?;
    let shards = plan.options.shards;
    let home = match plan.redis {
        Some(redis) => Home::Redis(bridge::claim(redis)?),
        None => Home::Store(open_store(plan.storage, plan.may_forget).map_err(|error| error.to_string())?),
    };
    let mut addresses = Vec::new();
    let mut listeners: Vec<Vec<_>> = (0..shards).map(|_| Vec::new()).collect();
    for address in plan.listen {
        let (bound, sockets) = listener::bind(address, shards).map_err(|error| format!("{address}: {error}"))?;
        addresses.push(bound);
        for (own, socket) in listeners.iter_mut().zip(sockets) {
            own.push(socket);
        }
    }
    let mut ends = Vec::new();
    let mut mailboxes = Vec::new();
    for listeners in listeners {
        let poll = Poll::new().map_err(|error| error.to_string())?;
        let (writing, reading) = mailbox(&poll, WAKER).map_err(|error| error.to_string())?;
        mailboxes.push(writing);
        ends.push((poll, reading, listeners));
    }
    // It may have come to another place than it was to have.
    let rules = Rules { outlives_process: home.outlives_process(), ..(*plan.options.rules).clone() };
    let options = Options { memory: memory::load, node: home.node(), rules: Arc::new(rules), ..plan.options };
    let options = Arc::new(options);
    let clock = Clock::start();
    let occupied = Arc::new(AtomicUsize::new(shards));
    let (mailboxes, keeper, shards) = home.open(mailboxes, &options, &verifier, clock)?;
    let connections: Arc<[AtomicUsize]> = (0..options.shards).map(|_| AtomicUsize::new(0)).collect();
    let common = Common { clock, mailboxes: mailboxes.clone(), places: Places::new(options.connections) };
    let mut handles = Vec::new();
    for (number, ((poll, inbox, listeners), shard)) in ends.into_iter().zip(shards).enumerate() {
        let occupied = occupied.clone();
        let event_loop = EventLoop::new(poll, listeners, inbox, keeper.store(), shard, common.clone())
            .map_err(|error| error.to_string())?;
        let thread = thread::Builder::new().name(format!("shard-{number}"));
        let counts = connections.clone();
        let run = move || event_loop.run(&occupied, &counts[number]);
        handles.push(thread.spawn(run).map_err(|error| error.to_string())?);
    }
    let (keys, drain) = (plan.keys, plan.drain);
    Ok(Server { addresses, keys, drain, mailboxes, shards: handles, signals, keeper, connections })
}

/// Where things are kept, before the shards are there.
enum Home {
    Store(Opened),
    Redis(bridge::Claimed),
}

/// What a server is made of: mailboxes, what things are kept by, and shards.
type Parts = (Arc<[ChannelSender]>, Keeper, Vec<Shard>);

impl Home {
    /// This process's number among those that share a Redis.
    fn node(&self) -> u16 {
        match self {
            Self::Store(_) => 0,
            Self::Redis(claimed) => claimed.node,
        }
    }

    /// Whether what is kept is there after this process.
    fn outlives_process(&self) -> bool {
        match self {
            Self::Store(opened) => opened.outlives_process(),
            Self::Redis(_) => true,
        }
    }

    /// Starts what keeps things, and makes the shards, which get back what was kept.
    fn open(
        self,
        mut mailboxes: Vec<ChannelSender>,
        options: &Arc<Options>,
        verifier: &Arc<Verifier>,
        clock: Clock,
    ) -> Result<Parts, String> {
        match self {
            Self::Store(opened) => {
                let mailboxes: Arc<[ChannelSender]> = mailboxes.into();
                let (opened, shards) = restore(opened, || make_shards(options, verifier, clock), clock)?;
                let tellers = mailboxes.clone();
                let storage = opened.start(move |told| tell(&tellers, told)).map_err(|error| error.to_string())?;
                Ok((mailboxes, Keeper::Store(storage), shards))
            }
            Self::Redis(claimed) => {
                let (mailbox, inbox) = task_mailbox();
                mailboxes.push(mailbox);
                let mailboxes: Arc<[ChannelSender]> = mailboxes.into();
                let shards = make_shards(options, verifier, clock)?;
                let bridge =
                    claimed.start(inbox, mailboxes.clone(), (options.rules.clone(), options.allowances.rates), clock);
                Ok((mailboxes, Keeper::Redis(bridge.map_err(|error| error.to_string())?), shards))
            }
        }
    }
}

impl Keeper {
    fn store(&self) -> Option<Store> {
        match self {
            Self::Store(storage) => Some(storage.store()),
            Self::Redis(_) => None,
        }
    }

    /// Looks whether it is well; if the server cannot go on, why.
    fn look(&mut self) -> Result<(), String> {
        match self {
            Self::Store(storage) => storage.look(),
            Self::Redis(bridge) if bridge.is_finished() => {
                return Err("another server has taken this one's place among those that share the Redis".to_owned());
            }
            Self::Redis(_) => {}
        }
        Ok(())
    }

    /// Nothing more is to be kept.
    fn close(self) {
        match self {
            Self::Store(storage) => storage.close(),
            Self::Redis(bridge) => bridge.close(),
        }
    }
}

fn open_store(options: storage::Options, may_forget: bool) -> Result<Opened, OpenError> {
    match storage::open(options.clone()) {
        Err(error @ (OpenError::InUse { .. } | OpenError::Directory { .. })) if may_forget => {
            tracing::warn!("{error}; this server keeps everything in memory only (--data DIR gives it a directory)");
            storage::open(storage::Options { place: Place::Memory, ..options })
        }
        outcome => outcome,
    }
}

/// All shards, without clients.
fn make_shards(options: &Arc<Options>, verifier: &Arc<Verifier>, clock: Clock) -> Result<Vec<Shard>, String> {
    let shard = |number| shard(number as ShardNumber, options, verifier, clock).map_err(|error| error.to_string());
    (0..options.shards).map(shard).collect()
}

/// Gives what was kept back to the shards that `make` makes. A file that turns out to be damaged is set aside, and the
/// shards begin anew.
fn restore(
    mut opened: Opened,
    make: impl Fn() -> Result<Vec<Shard>, String>,
    clock: Clock,
) -> Result<(Opened, Vec<Shard>), String> {
    let mut shards = make()?;
    let placement = Placement::Embedded { shards: shards.len() };
    let now = clock.now();
    let since = now.wall.saturating_sub(limits::REPEAT_MS);
    let outcome = opened.restore(since, &mut |restored| {
        let home = placement.of(restored.name());
        shards[usize::from(home)].restore(now, restored);
    });
    if let Err(damage) = outcome {
        opened = opened.set_aside(&damage).map_err(|error| error.to_string())?;
        shards = make()?;
    }
    let report = opened.report();
    if report.is_tail_lost {
        tracing::warn!(
            "the last server's end may have cost the newest messages: clients from before are told that they cannot \
             recover"
        );
    }
    if let Some(version) = report.migrated_from {
        tracing::info!(version, "the store was of an earlier version and is of this one now");
    }
    Ok((opened, shards))
}

/// Brings what the store has to say to whom it concerns.
fn tell(mailboxes: &[ChannelSender], told: StorageEvent) {
    let to = match &told {
        StorageEvent::Receipt(receipt) => receipt.ticket.sender,
        StorageEvent::Reply { to, .. } => to.shard,
        StorageEvent::State(state) => {
            mailboxes.iter().for_each(|mailbox| mailbox.send(ShardMessage::Storage(StorageEvent::State(*state))));
            return;
        }
    };
    mailboxes[usize::from(to)].send(ShardMessage::Storage(told));
}

fn shard(number: ShardNumber, options: &Arc<Options>, verifier: &Arc<Verifier>, clock: Clock) -> io::Result<Shard> {
    let rng = Rng::from_entropy(entropy::seed()?);
    Ok(Shard::new(number, options.clone(), verifier.clone(), rng, clock.now()))
}

/// SIGTERM and SIGINT as messages.
fn catch_signals() -> io::Result<Receiver<i32>> {
    // A file that may not grow is the store's trouble, which it tells; without a handler it would end the process.
    signal_hook::flag::register(libc::SIGXFSZ, Arc::default())?;
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = unbounded();
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

impl Server {
    /// Serves until a signal says to stop, then sees everyone out. A second signal ends the process at once.
    ///
    /// # Errors
    /// A shard failed.
    pub fn wait(mut self) -> Result<(), String> {
        let mut ebb = MemoryTrim::default();
        loop {
            match self.signals.recv_timeout(LOOK_EVERY) {
                Ok(signal) => {
                    tracing::info!(signal, "leaving");
                    return self.leave();
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.keeper.look()?;
                    if ebb.look(self.connections.iter().map(|count| count.load(Ordering::Relaxed)).sum()) {
                        allocator::give_back();
                    }
                    if let Some(verifier) = self.keys.reread() {
                        self.tell_all(|| ShardMessage::Keys(verifier.clone()));
                    }
                    if self.shards.iter().any(JoinHandle::is_finished) {
                        return self.join();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return self.leave(),
            }
        }
    }

    fn leave(self) -> Result<(), String> {
        let window_ms = self.drain.as_millis() as u64;
        self.tell_all(|| ShardMessage::Drain { window_ms });
        let until = Instant::now() + self.drain + GRACE;
        while !self.shards.iter().all(JoinHandle::is_finished) {
            if self.signals.recv_timeout(Duration::from_millis(10)).is_ok() {
                tracing::warn!("a second signal: ending at once");
                std::process::exit(130);
            }
            if Instant::now() >= until {
                tracing::warn!("the drain window is over; what is left is cut off");
                if let Keeper::Redis(bridge) = self.keeper {
                    // Whoever shares the Redis need not wait for this server's lease to end.
                    bridge.close();
                }
                return Ok(());
            }
        }
        self.join()
    }

    /// What became of the shards that have ended. After a failure the others are not waited for: they would serve on.
    fn join(self) -> Result<(), String> {
        for shard in self.shards.into_iter().filter(JoinHandle::is_finished) {
            match shard.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(format!("a shard failed: {error}")),
                Err(_) => return Err("a shard panicked".to_owned()),
            }
        }
        // The last shard has said everything; it is written down, and that is all.
        self.keeper.close();
        Ok(())
    }

    fn tell_all(&self, mail: impl Fn() -> ShardMessage) {
        for mailbox in &*self.mailboxes {
            mailbox.send(mail());
        }
    }
}
