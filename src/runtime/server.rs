//! The whole process: starts the backend and the shards, waits for signals, and drains the shards at the end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use mio::Poll;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::base::limits;
use crate::base::map;
use crate::base::rng::Rng;
use crate::codec::jwt::Verifier;
use crate::domain::op::RoomRules;
use crate::message::storage::StorageEvent;
use crate::message::{BridgeMessage, Placement, ShardMessage, ShardNumber};
use crate::runtime::allocator;
use crate::runtime::bridge::{self, Bridge, HookStream};
use crate::runtime::channel::{ChannelReceiver, ChannelSender, channel, task_channel};
use crate::runtime::clock::Clock;
use crate::runtime::connection_permits::ConnectionPermits;
use crate::runtime::decisions::DecisionThreads;
use crate::runtime::event_loop::{EventLoop, LoopResources, RoleListener, WAKER};
use crate::runtime::fetched_keys::KeyService;
use crate::runtime::key_files::KeyFiles;
use crate::runtime::listener::ListenerPlan;
use crate::runtime::media::{MediaOptions, PreparedMedia};
use crate::runtime::memory_trim::MemoryTrim;
use crate::runtime::reload::{self, RefusedFiles, Reloaded, SettingsReader};
use crate::runtime::service_manager::ServiceManager;
use crate::runtime::storage::{self, OpenError, Opened, OutboxOptions, Storage, StorageHandle, StorageLocation};
use crate::runtime::tls::{TlsAcceptor, TlsFiles};
use crate::runtime::webhooks::{PreparedWebhooks, WebhookOptions, Webhooks};
use crate::runtime::{entropy, listener, log_writer, memory, timings};
use crate::shard::{Options, Shard};

/// Everything a server is started with.
pub struct Plan {
    /// The listeners.
    pub listen: Vec<ListenerPlan>,
    /// The options of each shard.
    pub options: Options,
    /// The keys that verify tokens.
    pub keys: KeyFiles,
    /// The files of TLS, if the listeners use it.
    pub tls: Option<TlsFiles>,
    /// The time in which clients are asked to move elsewhere at shutdown.
    pub drain: Duration,
    /// Options of the storage threads.
    pub storage: storage::StorageOptions,
    /// Whether the server may keep its data in memory if it cannot use the data directory.
    pub may_forget: bool,
    /// The Redis that owns rooms and users in a cluster, instead of this process.
    pub redis: Option<bridge::RedisOptions>,
    /// The endpoints of the application.
    pub webhooks: WebhookOptions,
    /// The media server, if this server is one.
    pub media: Option<MediaOptions>,
    /// Where the settings are read again.
    pub settings: Option<Box<dyn SettingsReader>>,
}

/// A running server.
pub struct Server {
    /// The listeners, with the addresses they have got.
    pub listeners: Vec<ListenerPlan>,
    keys: KeyService,
    tls: Option<TlsFiles>,
    settings: Option<Box<dyn SettingsReader>>,
    options: Arc<Options>,
    permits: ConnectionPermits,
    bridge: Option<ChannelSender<BridgeMessage>>,
    drain: Duration,
    channels: Arc<[ChannelSender]>,
    shards: Vec<JoinHandle<io::Result<()>>>,
    signals: Receiver<i32>,
    manager: ServiceManager,
    backend: RunningBackend,
    webhooks: Webhooks,
    /// Number of connections of each shard.
    connections: Arc<[AtomicUsize]>,
}

/// The threads that keep the data of rooms and users.
enum RunningBackend {
    /// The storage threads of this process.
    Storage(Storage),
    /// The bridge to Redis.
    Redis(Bridge),
}

/// Interval of the periodic checks: storage lag, memory trim, the JWKS file, ended shards.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What the service manager is told.
const SERVING: &str = "Serves";
const REFUSED: &str = "Serves with its former settings: those that were read last are refused";

/// Time that threads may take beyond the drain window before the process ends without them.
const GRACE: Duration = Duration::from_millis(250);

/// Time in which the last events of webhooks are sent at the end; those that remain are sent after the next start.
const WEBHOOK_GRACE: Duration = Duration::from_secs(1);

/// Starts the server; each shard runs on a thread of its own.
///
/// # Errors
/// An address, a descriptor, a thread or a usable key could not be had.
pub fn start(plan: Plan) -> Result<Server, String> {
    allocator::set_up();
    map::randomize(entropy::numbers().map_err(|error| format!("no entropy: {error}"))?);
    let signals = catch_signals().map_err(|error| format!("cannot catch signals: {error}"))?;
    let manager = ServiceManager::from_environment(Instant::now())
        .map_err(|error| format!("NOTIFY_SOCKET: the service manager cannot be reached: {error}"))?;
    let verifier = plan.keys.verifier()?;
    let count = plan.options.shards;
    // First, so that a server whose port is taken leaves no data directory behind.
    let (bound, listeners) = listen(&plan.listen, plan.tls.as_ref().map(TlsFiles::acceptor).as_ref(), count)?;
    let media = plan.media.map(PreparedMedia::bind).transpose()?;
    let outbox_bytes = plan.webhooks.outbox_bytes;
    let decisions = plan.webhooks.decisions.clone();
    let webhooks = PreparedWebhooks::new(plan.webhooks);
    let outbox = OutboxOptions { endpoints: webhooks.outbox_endpoints(), bytes_max: outbox_bytes };
    let outbox = (!outbox.endpoints.is_empty()).then(|| Arc::new(outbox));
    let backend = match plan.redis {
        Some(redis) => PreparedBackend::Redis(bridge::claim(redis)?),
        None => {
            let options = storage::StorageOptions { outbox, ..plan.storage };
            let opened = open_storage(options, plan.may_forget).map_err(|error| error.to_string())?;
            PreparedBackend::Storage(opened)
        }
    };
    let (channels, inputs) = loop_inputs(listeners).map_err(|error| error.to_string())?;
    // The storage may have fallen back to memory.
    let rules = RoomRules { outlives_process: backend.outlives_process(), ..(*plan.options.rules).clone() };
    let options = Arc::new(Options {
        memory: memory::load,
        lost_log_lines: log_writer::dropped_lines,
        process: timings::read,
        hook_counters: webhooks.counters().into(),
        refused_files: reload::refused,
        node: backend.node(),
        rules: Arc::new(rules),
        ..plan.options
    });
    let clock = Clock::start();
    let channels: Arc<[ChannelSender]> = channels.into();
    let stream = backend.hook_stream(&webhooks);
    let StartedBackend { bridge, backend, shards } = backend.start(channels.clone(), &options, &verifier, clock)?;
    assert_eq!(shards.len(), inputs.len(), "invariant: each event loop has one shard");
    let webhooks = backend.start_webhooks(webhooks, stream, clock)?;
    let undrained = Arc::new(AtomicUsize::new(count));
    let connections: Arc<[AtomicUsize]> = (0..count).map(|_| AtomicUsize::new(0)).collect();
    let permits = ConnectionPermits::new(options.connections);
    let media = media.map(|media| media.with(channels.clone()));
    let hooks = DecisionThreads::start(&decisions, clock, &channels)?;
    let keys = KeyService::start(plan.keys, clock, channels.clone())?;
    let resources = LoopResources::new(clock, (&channels, &bridge, &permits), media, hooks, &keys);
    let counts = (&undrained, &connections);
    let handles = spawn_shards(inputs, shards, &backend, &resources, counts).map_err(|error| error.to_string())?;
    Ok(Server {
        listeners: bound,
        keys,
        tls: plan.tls,
        settings: plan.settings,
        options,
        permits,
        bridge,
        drain: plan.drain,
        channels,
        shards: handles,
        signals,
        manager,
        backend,
        webhooks,
        connections,
    })
}

/// What an event loop is made of beside its shard.
type LoopInput = (Poll, ChannelReceiver, Vec<RoleListener>);

/// What the event loops are made of, by shard, and the channels into them.
fn loop_inputs(listeners: Vec<Vec<RoleListener>>) -> io::Result<(Vec<ChannelSender>, Vec<LoopInput>)> {
    let input = |listeners| {
        let poll = Poll::new()?;
        let (sender, inbox) = channel(&poll, WAKER)?;
        Ok((sender, (poll, inbox, listeners)))
    };
    let inputs: io::Result<Vec<_>> = listeners.into_iter().map(input).collect();
    Ok(inputs?.into_iter().unzip())
}

/// Starts the threads of the shards, with the counts of those that have not drained and of each one's connections.
fn spawn_shards(
    inputs: Vec<LoopInput>,
    shards: Vec<Shard>,
    backend: &RunningBackend,
    resources: &LoopResources,
    (undrained, connections): (&Arc<AtomicUsize>, &Arc<[AtomicUsize]>),
) -> io::Result<Vec<JoinHandle<io::Result<()>>>> {
    let spawn = |(number, ((poll, inbox, listeners), shard))| {
        let event_loop = EventLoop::new(poll, listeners, inbox, backend.storage(), shard, resources.clone())?;
        let (undrained, counts) = (undrained.clone(), connections.clone());
        let run = move || event_loop.run(&undrained, &counts[number]);
        thread::Builder::new().name(format!("shard-{number}")).spawn(run)
    };
    inputs.into_iter().zip(shards).enumerate().map(spawn).collect()
}

/// The listeners as they are bound, and those of each shard.
type ShardListeners = (Vec<ListenerPlan>, Vec<Vec<RoleListener>>);

/// Binds a listener per shard to each address; returns the bound addresses and the listeners of each shard.
fn listen(plans: &[ListenerPlan], tls: Option<&Arc<TlsAcceptor>>, shards: usize) -> Result<ShardListeners, String> {
    let mut bound = Vec::new();
    let mut listeners: Vec<Vec<RoleListener>> = (0..shards).map(|_| Vec::new()).collect();
    for plan in plans {
        let Some((address, sockets)) = listener::bind(&plan.address, shards, plans.len() > 1)? else { continue };
        assert_eq!(sockets.len(), shards, "invariant: each shard has a listener per address");
        let ListenerPlan { roles, has_proxy_header, is_secure, .. } = *plan;
        for (own, socket) in listeners.iter_mut().zip(sockets) {
            own.push(RoleListener { socket, roles, has_proxy_header, tls: tls.filter(|_| is_secure).cloned() });
        }
        bound.push(ListenerPlan { address, roles, has_proxy_header, is_secure });
    }
    Ok((bound, listeners))
}

/// The backend before its threads are started: the data directory is claimed, or the place in the cluster.
enum PreparedBackend {
    Storage(Opened),
    Redis(bridge::ClaimedNode),
}

/// The backend at work, and the shards with the data of the last run.
struct StartedBackend {
    /// The channel into the bridge.
    bridge: Option<ChannelSender<BridgeMessage>>,
    backend: RunningBackend,
    shards: Vec<Shard>,
}

impl PreparedBackend {
    /// This process's number in the cluster.
    fn node(&self) -> u16 {
        match self {
            Self::Storage(_) => 0,
            Self::Redis(claimed) => claimed.node,
        }
    }

    /// Whether the data survives this process.
    fn outlives_process(&self) -> bool {
        match self {
            Self::Storage(opened) => opened.outlives_process(),
            Self::Redis(_) => true,
        }
    }

    /// The outbox of webhooks in Redis, if there are any.
    fn hook_stream(&self, webhooks: &PreparedWebhooks) -> Option<HookStream> {
        match self {
            Self::Redis(claimed) if !webhooks.counters().is_empty() => {
                Some(claimed.hook_stream(webhooks.counters().iter().map(|counters| counters.endpoint.clone())))
            }
            _ => None,
        }
    }

    /// Makes the shards, restores their data and starts the backend's threads.
    fn start(
        self,
        channels: Arc<[ChannelSender]>,
        options: &Arc<Options>,
        verifier: &Arc<Verifier>,
        clock: Clock,
    ) -> Result<StartedBackend, String> {
        match self {
            Self::Storage(opened) => {
                let (opened, shards) = restore(opened, || make_shards(options, verifier, clock), clock)?;
                let storage = opened.start(move |event| send_storage_event(&channels, event));
                let backend = RunningBackend::Storage(storage.map_err(|error| error.to_string())?);
                Ok(StartedBackend { bridge: None, backend, shards })
            }
            Self::Redis(claimed) => {
                let (sender, inbox) = task_channel();
                let shards = make_shards(options, verifier, clock)?;
                let settings = (options.rules.clone(), options.allowances.rates);
                let bridge = claimed.start((sender.clone(), inbox), channels, settings, clock);
                let backend = RunningBackend::Redis(bridge.map_err(|error| error.to_string())?);
                Ok(StartedBackend { bridge: Some(sender), backend, shards })
            }
        }
    }
}

impl RunningBackend {
    fn storage(&self) -> Option<StorageHandle> {
        match self {
            Self::Storage(storage) => Some(storage.handle()),
            Self::Redis(_) => None,
        }
    }

    /// Starts the delivery of what is in the outbox, which is `stream` with Redis.
    fn start_webhooks(
        &self,
        webhooks: PreparedWebhooks,
        stream: Option<HookStream>,
        clock: Clock,
    ) -> Result<Webhooks, String> {
        match (self, stream) {
            (Self::Storage(storage), _) => webhooks.start(|endpoint, _| Ok(storage.outbox(&endpoint.name)), clock),
            (Self::Redis(_), Some(stream)) => {
                webhooks.start(|endpoint, counters| stream.outbox(counters, endpoint), clock)
            }
            (Self::Redis(_), None) => Ok(Webhooks::default()),
        }
    }

    /// Periodic check; fails with the reason if the server cannot go on.
    fn check(&self) -> Result<(), String> {
        match self {
            Self::Storage(storage) => storage.check_lag(),
            Self::Redis(bridge) if bridge.is_finished() => {
                return Err("another server has taken this one's place among those that share the Redis".to_owned());
            }
            Self::Redis(_) => {}
        }
        Ok(())
    }

    /// Completes pending writes and ends the threads.
    fn close(self) {
        match self {
            Self::Storage(storage) => storage.close(),
            Self::Redis(bridge) => bridge.close(),
        }
    }
}

fn open_storage(options: storage::StorageOptions, may_forget: bool) -> Result<Opened, OpenError> {
    match storage::open(options.clone()) {
        Err(error @ (OpenError::InUse { .. } | OpenError::Directory { .. })) if may_forget => {
            tracing::warn!("{error}; this server keeps everything in memory only (--data DIR gives it a directory)");
            storage::open(storage::StorageOptions { location: StorageLocation::Memory, ..options })
        }
        outcome => outcome,
    }
}

/// All shards, without clients.
fn make_shards(options: &Arc<Options>, verifier: &Arc<Verifier>, clock: Clock) -> Result<Vec<Shard>, String> {
    let shard = |number| make_shard(number as ShardNumber, options, verifier, clock).map_err(|error| error.to_string());
    (0..options.shards).map(shard).collect()
}

fn make_shard(
    number: ShardNumber,
    options: &Arc<Options>,
    verifier: &Arc<Verifier>,
    clock: Clock,
) -> io::Result<Shard> {
    let rng = Rng::from_entropy(entropy::seed()?);
    Ok(Shard::new(number, options.clone(), verifier.clone(), rng, clock.now()))
}

/// Restores the stored data into the shards that `make` makes. A file that turns out to be damaged is set aside, and the
/// shards begin empty.
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
        let Some(owner) = restored.name().map(|name| usize::from(placement.of(name))) else {
            return shards.iter_mut().for_each(|shard| shard.restore(now, restored.clone()));
        };
        assert!(owner < shards.len(), "invariant: each room and user is owned by an existing shard");
        shards[owner].restore(now, restored);
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

/// Sends an event of the storage threads to the shard it concerns, or to all shards.
fn send_storage_event(channels: &[ChannelSender], event: StorageEvent) {
    let to = match &event {
        StorageEvent::Receipt(receipt) => usize::from(receipt.ticket.sender),
        StorageEvent::Reply { to, .. } => usize::from(to.shard),
        StorageEvent::RoomExpired(room) => usize::from(Placement::Embedded { shards: channels.len() }.of(room)),
        StorageEvent::State(state) => {
            channels.iter().for_each(|channel| channel.send(ShardMessage::Storage(StorageEvent::State(*state))));
            return;
        }
    };
    debug_assert!(to < channels.len(), "invariant: a receipt or reply goes to the shard that asked for it");
    channels[to].send(ShardMessage::Storage(event));
}

/// Delivers SIGTERM, SIGINT and SIGHUP through a queue.
fn catch_signals() -> io::Result<Receiver<i32>> {
    // A write beyond the file-size limit must fail with an error, which the storage reports, instead of ending the process.
    signal_hook::flag::register(libc::SIGXFSZ, Arc::default())?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
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
    /// Serves until SIGTERM or SIGINT arrives, then drains the shards. A second one ends the process at once. SIGHUP has the
    /// settings read again.
    ///
    /// # Errors
    /// A shard failed.
    pub fn wait(mut self) -> Result<(), String> {
        let mut memory_trim = MemoryTrim::default();
        let mut next_check = Instant::now() + CHECK_INTERVAL;
        self.manager.ready(SERVING);
        loop {
            let now = Instant::now();
            let channels = &self.channels;
            self.manager.beat(now, channels.len(), |answers| {
                channels.iter().for_each(|channel| channel.send(answers.clone()));
            });
            let left = next_check.saturating_duration_since(now);
            match self.signals.recv_timeout(self.manager.wait_at_most(now, left)) {
                Ok(SIGHUP) => self.reload(),
                Ok(signal) => {
                    tracing::info!(signal, "leaving");
                    return self.shut_down();
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < next_check => {}
                Err(RecvTimeoutError::Timeout) => {
                    next_check = Instant::now() + CHECK_INTERVAL;
                    self.backend.check()?;
                    let connections = self.connections.iter().map(|count| count.load(Ordering::Relaxed)).sum();
                    if memory_trim.is_due(connections) {
                        allocator::trim();
                    }
                    self.keys.reread();
                    self.tls.iter_mut().for_each(TlsFiles::reread_changed);
                    log_writer::report_dropped_lines();
                    if self.shards.iter().any(JoinHandle::is_finished) {
                        return self.join();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return self.shut_down(),
            }
        }
    }

    /// Reads the settings again. If they, or the files they name, are not valid, the former ones stay in force.
    fn reload(&mut self) {
        log_writer::reopen_files();
        let Some(mut reader) = self.settings.take() else {
            tracing::info!("this server has no settings to read again");
            return;
        };
        self.manager.reloading();
        let outcome = reader.read().and_then(|reloaded| self.adopt(reloaded, &mut *reader));
        reload::note(RefusedFiles::Settings, outcome.is_err());
        let status = match outcome {
            Ok(()) => SERVING,
            Err(error) => {
                tracing::error!(%error, "the settings are refused; the former ones stay in force");
                REFUSED
            }
        };
        self.manager.ready(status);
        self.settings = Some(reader);
    }

    /// Puts settings in force that were read again: all of them or, if a file is of no use, none.
    fn adopt(
        &mut self,
        Reloaded { options, keys, tls, drain }: Reloaded,
        reader: &mut dyn SettingsReader,
    ) -> Result<(), String> {
        keys.verifier()?;
        if let (Some(files), Some(options)) = (&mut self.tls, tls) {
            files.replace(options)?;
        }
        // Before the shards get their options: they look at the level of the log then.
        reader.adopted();
        let Options { node, memory, lost_log_lines, process, refused_files, .. } = *self.options;
        let Options { operator_notices, hook_counters, .. } = &*self.options;
        let outlives_process = self.options.rules.outlives_process;
        let rules = Arc::new(RoomRules { outlives_process, ..(*options.rules).clone() });
        let (operator_notices, hook_counters) = (operator_notices.clone(), hook_counters.clone());
        let options = Arc::new(Options {
            node,
            memory,
            lost_log_lines,
            process,
            refused_files,
            operator_notices,
            hook_counters,
            rules,
            ..options
        });
        for channel in &*self.channels {
            channel.send(options.clone());
        }
        if let Some(bridge) = &self.bridge {
            bridge.send(BridgeMessage::Rules(options.rules.clone(), options.allowances.rates));
        }
        self.permits.set_max(options.connections);
        (self.options, self.drain) = (options, drain);
        self.keys.replace(keys)
    }

    fn shut_down(self) -> Result<(), String> {
        let window_ms = self.drain.as_millis() as u64;
        self.listeners.iter().for_each(ListenerPlan::leave);
        self.send_to_shards(|| ShardMessage::Drain { window_ms });
        let clients: usize = self.connections.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        self.manager.stopping(&format!("Waits for {clients} clients"));
        if clients > 0 && !self.drain.is_zero() {
            tracing::info!("waiting for {clients} clients; press Ctrl-C again to stop now");
        }
        let until = Instant::now() + self.drain + GRACE;
        while !self.shards.iter().all(JoinHandle::is_finished) {
            if self.signals.recv_timeout(Duration::from_millis(10)).is_ok_and(|signal| signal != SIGHUP) {
                tracing::warn!("a second signal: ending at once");
                std::process::exit(130);
            }
            if Instant::now() >= until {
                tracing::warn!("the drain window is over; what is left is cut off");
                self.webhooks.close(self.backend.storage(), WEBHOOK_GRACE);
                if let RunningBackend::Redis(bridge) = self.backend {
                    // Releases the lease of this node, so that the other nodes need not wait until it expires.
                    bridge.close();
                }
                return Ok(());
            }
        }
        self.join()
    }

    /// The outcome of the shards that have ended. After a failure the others are not waited for: they would serve on.
    fn join(self) -> Result<(), String> {
        for shard in self.shards.into_iter().filter(JoinHandle::is_finished) {
            match shard.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(format!("a shard failed: {error}")),
                Err(_) => return Err("a shard panicked".to_owned()),
            }
        }
        // After all shards: their last records are committed before the process ends, and their last events are sent.
        self.webhooks.close(self.backend.storage(), WEBHOOK_GRACE);
        self.backend.close();
        Ok(())
    }

    fn send_to_shards(&self, message: impl Fn() -> ShardMessage) {
        for channel in &*self.channels {
            channel.send(message());
        }
    }
}
