//! Webhooks: one thread per endpoint, which reads the outbox and sends its events. It may block; no other thread waits for it.
//!
//! [`crate::domain::hook::delivery`] decides when and how much to send; an [`EventSource`] has the events.

mod client;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::base::rng::Rng;
use crate::codec::webhook::WebhookSecret;
use crate::domain::hook::counters::HookCounters;
use crate::domain::hook::delivery::{Attempt, BATCH_EVENTS, Delivery, DeliveryStep, FAILURES_TO_OPEN, Pending};
use crate::domain::hook::{HookFilter, HookKinds};
use crate::runtime::clock::Clock;
use crate::runtime::decisions::DecisionOptions;
use crate::runtime::entropy;
use crate::runtime::storage::{Outbox, OutboxEndpoint, StorageHandle, WaitingEvent};

pub use client::ServerClient;
pub(super) use client::{DocumentClient, HookClient};
use client::{PreparedRequest, WebhookClient};

/// The target of log lines about webhooks.
const WEBHOOK_LOG: &str = "switchboard::webhook";

/// How long an idle thread sleeps at most.
const IDLE: Duration = Duration::from_secs(60);

/// Bytes of the events of one request; a single event may be larger. Many receivers refuse bodies of more than 1 MB.
const REQUEST_BYTES: usize = 512 << 10;

/// Pause after the outbox could not be read.
const UNREADABLE: Duration = Duration::from_secs(1);

/// An endpoint of the application, as configured.
#[derive(Clone, Debug)]
pub struct WebhookEndpoint {
    /// Its name in the outbox, the log and metrics.
    pub name: String,
    /// Where requests go.
    pub url: String,
    /// The secrets that sign them.
    pub secrets: Vec<WebhookSecret>,
    /// The events that it wants.
    pub filter: HookFilter,
    /// Requests a second at most; 0 is unlimited.
    pub rate: u64,
    /// How long a request may take.
    pub timeout: Duration,
}

/// The endpoints and what they have in common.
#[derive(Clone, Debug, Default)]
pub struct WebhookOptions {
    /// The endpoints.
    pub endpoints: Vec<WebhookEndpoint>,
    /// Whether requests may go to addresses that are not public.
    pub allow_private: bool,
    /// The most bytes of events that wait for one endpoint.
    pub outbox_bytes: u64,
    /// The hooks that decide.
    pub decisions: DecisionOptions,
}

impl WebhookOptions {
    /// The kinds of events that are to be made.
    pub fn kinds(&self) -> HookKinds {
        let of = |kinds: HookKinds, endpoint: &WebhookEndpoint| kinds.union(endpoint.filter.kinds);
        self.endpoints.iter().fold(HookKinds::NONE, of).paired()
    }
}

/// Whether a thread may deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It may go on.
    Ready,
    /// It may begin: the events that it has read before are void.
    Fresh,
    /// Another process delivers to the endpoint.
    Elsewhere,
}

/// Where a thread takes the events of its endpoint from.
pub trait EventSource: Send {
    /// Whether the thread may deliver.
    ///
    /// # Errors
    /// That is not known.
    fn ready(&mut self) -> Result<Readiness, String> {
        Ok(Readiness::Ready)
    }

    /// How long the thread may sleep until it looks for events, even if it is not woken.
    fn poll(&self) -> Duration {
        IDLE
    }

    /// The thread delivers no more.
    fn release(&mut self) {}

    /// The first events with numbers after `after`, at most `limit`.
    ///
    /// # Errors
    /// They cannot be read.
    fn waiting(&mut self, after: u64, limit: usize) -> Result<Vec<WaitingEvent>, String>;

    /// Records that events up to a number were delivered.
    fn delivered(&mut self, up_to: u64);

    /// Gives up the events up to a number.
    fn give_up(&mut self, up_to: u64);
}

impl EventSource for Outbox {
    fn waiting(&mut self, after: u64, limit: usize) -> Result<Vec<WaitingEvent>, String> {
        Self::waiting(self, after, limit)
    }

    fn delivered(&mut self, up_to: u64) {
        Self::delivered(self, up_to);
    }

    fn give_up(&mut self, up_to: u64) {
        Self::give_up(self, up_to);
    }
}

/// The endpoints before their threads are started.
pub struct PreparedWebhooks {
    options: WebhookOptions,
    wakes: Vec<(Sender<()>, Receiver<()>)>,
    counters: Vec<Arc<HookCounters>>,
}

impl PreparedWebhooks {
    /// The counters and queues of the endpoints.
    pub fn new(options: WebhookOptions) -> Self {
        let wakes = options.endpoints.iter().map(|_| bounded(1)).collect();
        let counters = options.endpoints.iter().map(|endpoint| Arc::new(HookCounters::new(&endpoint.name))).collect();
        Self { options, wakes, counters }
    }

    /// The figures of the endpoints.
    pub fn counters(&self) -> &[Arc<HookCounters>] {
        &self.counters
    }

    /// The endpoints as the outbox sees them.
    pub fn outbox_endpoints(&self) -> Vec<OutboxEndpoint> {
        let all = self.options.endpoints.iter().zip(&self.counters).zip(&self.wakes);
        all.map(|((endpoint, counters), (wake, _))| OutboxEndpoint {
            filter: endpoint.filter.clone(),
            counters: counters.clone(),
            wake: wake.clone(),
        })
        .collect()
    }

    /// Starts a thread for each endpoint, with the source of its events.
    ///
    /// # Errors
    /// The operating system gives no threads or no entropy, or TLS cannot be set up.
    pub fn start<S: EventSource + 'static>(
        self,
        source: impl Fn(&WebhookEndpoint, Arc<HookCounters>) -> Result<S, String>,
        clock: Clock,
    ) -> Result<Webhooks, String> {
        let is_closing = Arc::new(AtomicBool::new(false));
        let (mut threads, mut wakes) = (Vec::new(), Vec::new());
        let all = self.options.endpoints.iter().zip(self.counters).zip(self.wakes);
        for (number, ((endpoint, counters), (wake, woken))) in all.enumerate() {
            let seed = entropy::seed().map_err(|error| format!("no entropy: {error}"))?;
            let deliverer = Deliverer {
                client: WebhookClient::new(endpoint, self.options.allow_private)?,
                source: source(endpoint, counters.clone())?,
                delivery: Delivery::new(endpoint.rate),
                batch: Vec::new(),
                taken: 0,
                counters,
                rng: Rng::from_entropy(seed),
                is_unreadable: false,
                woken,
                clock,
                is_closing: is_closing.clone(),
            };
            let thread = thread::Builder::new().name(format!("webhook-{number}"));
            threads.push(thread.spawn(move || deliverer.run()).map_err(|error| error.to_string())?);
            wakes.push(wake);
        }
        Ok(Webhooks { threads, wakes, is_closing })
    }
}

/// The running threads.
#[derive(Default)]
pub struct Webhooks {
    threads: Vec<JoinHandle<()>>,
    wakes: Vec<Sender<()>>,
    is_closing: Arc<AtomicBool>,
}

impl Webhooks {
    /// Has the threads send once more what waits, after `storage` has committed what it was given; waits at most so long for
    /// each. A failure keeps events for the next start.
    pub fn close(self, storage: Option<StorageHandle>, patience: Duration) {
        let until = Instant::now() + patience;
        while storage.as_ref().is_some_and(|it| it.health().waiting_bytes != 0) && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        self.is_closing.store(true, Ordering::Release);
        for wake in &self.wakes {
            let _ = wake.try_send(());
        }
        let until = Instant::now() + patience;
        while !self.threads.iter().all(JoinHandle::is_finished) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Delivers to one endpoint.
struct Deliverer<S> {
    client: WebhookClient,
    source: S,
    delivery: Delivery,
    /// The first events that wait.
    batch: Vec<WaitingEvent>,
    /// The number of the last event that was delivered or given up.
    taken: u64,
    counters: Arc<HookCounters>,
    rng: Rng,
    /// Whether the outbox could not be read, as the log has it.
    is_unreadable: bool,
    woken: Receiver<()>,
    clock: Clock,
    is_closing: Arc<AtomicBool>,
}

impl<S: EventSource> Deliverer<S> {
    fn run(mut self) {
        self.deliver();
        self.source.release();
    }

    fn deliver(&mut self) {
        loop {
            let is_closing = self.is_closing.load(Ordering::Acquire);
            let pause = match self.prepare() {
                Ok(true) => {
                    self.is_unreadable = false;
                    None
                }
                Ok(false) => Some(self.source.poll()),
                Err(error) => {
                    if !std::mem::replace(&mut self.is_unreadable, true) {
                        let endpoint = &*self.counters.endpoint;
                        tracing::error!(target: WEBHOOK_LOG, endpoint, error, "the outbox of a webhook could not be read");
                    }
                    Some(UNREADABLE)
                }
            };
            if let Some(pause) = pause {
                if is_closing || !self.sleep(pause) {
                    return;
                }
                continue;
            }
            let now = self.clock.now();
            let pending = Pending {
                events: self.batch.len(),
                // The last events before the end wait for no others.
                oldest_at: self.batch.first().map_or(0, |event| if is_closing { 0 } else { event.at }),
            };
            match self.delivery.step(now.mono, now.wall, pending) {
                DeliveryStep::Send(events) => self.send(events),
                DeliveryStep::Idle | DeliveryStep::Wait(_) if is_closing => return,
                DeliveryStep::Idle => {
                    if !self.sleep(self.source.poll()) {
                        return;
                    }
                }
                DeliveryStep::Wait(ms) => {
                    if !self.sleep(Duration::from_millis(ms).min(self.source.poll())) {
                        return;
                    }
                }
            }
        }
    }

    /// Waits until an event comes; `false` if none will come any more.
    fn sleep(&self, at_most: Duration) -> bool {
        !matches!(self.woken.recv_timeout(at_most), Err(RecvTimeoutError::Disconnected))
    }

    /// Reads the events that wait, up to a full request, if this process delivers to the endpoint; whether it does.
    fn prepare(&mut self) -> Result<bool, String> {
        match self.source.ready()? {
            Readiness::Ready => {}
            Readiness::Fresh => self.forget(),
            Readiness::Elsewhere => {
                self.forget();
                return Ok(false);
            }
        }
        let after = self.batch.last().map_or(self.taken, |event| event.number);
        let missing = BATCH_EVENTS - self.batch.len();
        if missing != 0 {
            self.batch.extend(self.source.waiting(after, missing)?);
        }
        Ok(true)
    }

    /// Another process has delivered meanwhile: what was read is void.
    fn forget(&mut self) {
        self.batch.clear();
        self.delivery.gave_up();
    }

    fn send(&mut self, events: usize) {
        let events = self.within_bytes(events);
        let began = self.clock.now();
        let request = PreparedRequest::new(&self.batch[..events], &self.client.secrets, began);
        let outcome = self.client.send(&request);
        let now = self.clock.now();
        let attempt = match &outcome {
            Ok(()) => Attempt::Accepted,
            Err(failure) => Attempt::Failed { retry_after_ms: failure.retry_after_ms },
        };
        let former = self.delivery.failures();
        self.delivery.attempted((began.mono, now.mono), events, attempt, self.rng.next_u64());
        self.counters.set_open(self.delivery.is_open());
        let endpoint = &*self.counters.endpoint;
        match outcome {
            Ok(()) => {
                self.counters.add_accepted(events as u64);
                if former != 0 {
                    tracing::info!(target: WEBHOOK_LOG, endpoint, failures = former, "a webhook is delivered again");
                }
                let up_to = self.take(events);
                self.source.delivered(up_to);
            }
            Err(failure) => {
                self.counters.add_failed();
                let failures = self.delivery.failures();
                tracing::warn!(target: WEBHOOK_LOG, endpoint, error = failure.reason, failures, "a webhook was not delivered");
                if failures == FAILURES_TO_OPEN {
                    tracing::error!(target: WEBHOOK_LOG, endpoint, "the breaker of a webhook is open: single events are tried");
                }
                self.give_up_dead(now.wall);
            }
        }
    }

    /// How many of the first events fit one request, at least one.
    fn within_bytes(&self, events: usize) -> usize {
        let mut bytes = 0;
        let fitting = self.batch[..events].iter().take_while(|event| {
            bytes += event.body.len();
            bytes <= REQUEST_BYTES
        });
        fitting.count().max(1)
    }

    fn give_up_dead(&mut self, wall: u64) {
        let dead = self.batch.iter().take_while(|event| Delivery::is_dead(wall, event.at)).count();
        if dead != 0 {
            let up_to = self.take(dead);
            self.source.give_up(up_to);
            self.delivery.gave_up();
            self.counters.add_dead(dead as u64);
            let endpoint = &*self.counters.endpoint;
            tracing::error!(target: WEBHOOK_LOG, endpoint, events = dead, "events of a webhook were given up after a day");
        }
    }

    /// Removes the first events; the number of the last of them.
    fn take(&mut self, events: usize) -> u64 {
        let last = self.batch.drain(..events).next_back();
        self.taken = last.map_or(self.taken, |event| event.number);
        self.taken
    }
}
