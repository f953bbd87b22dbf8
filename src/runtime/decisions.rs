//! Questions of hooks that decide: threads that ask the application by HTTP and tell the shards its answers. They may block; a
//! shard does not wait for them. Questions wait in one queue of limited length; one that finds it full fails at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::codec::webhook::WebhookSecret;
use crate::dialect::decision;
use crate::domain::decision::{DecisionCall, DecisionFailure, DecisionKind, DecisionOutcome};
use crate::message::ShardMessage;
use crate::runtime::channel::ChannelSender;
use crate::runtime::clock::Clock;
use crate::runtime::webhooks::HookClient;

/// The target of log lines about hooks.
const HOOK_LOG: &str = "switchboard::hook";

/// Questions that wait for each thread.
const WAITING_PER_THREAD: usize = 64;

/// A hook as configured.
#[derive(Clone, Debug)]
pub struct DecisionEndpoint {
    /// The questions that it answers.
    pub kind: DecisionKind,
    /// Where requests go.
    pub url: String,
    /// The secrets that sign them.
    pub secrets: Vec<WebhookSecret>,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// The hooks and what they have in common.
#[derive(Clone, Debug, Default)]
pub struct DecisionOptions {
    /// The hooks.
    pub endpoints: Vec<DecisionEndpoint>,
    /// Whether requests may go to addresses that are not public.
    pub allow_private: bool,
    /// Questions that are asked at a time.
    pub concurrency: usize,
}

/// The way to the threads.
#[derive(Clone)]
pub(super) struct DecisionThreads {
    queue: Sender<(DecisionCall, Instant)>,
}

/// One hook with its client.
struct Asked {
    endpoint: DecisionEndpoint,
    client: HookClient,
}

impl DecisionThreads {
    /// Starts the threads, if there is a hook.
    ///
    /// # Errors
    /// The operating system gives no threads, or TLS cannot be set up.
    pub(super) fn start(
        options: &DecisionOptions,
        clock: Clock,
        channels: &Arc<[ChannelSender]>,
    ) -> Result<Option<Self>, String> {
        if options.endpoints.is_empty() {
            return Ok(None);
        }
        let asked = options.endpoints.iter().map(|endpoint| {
            let client = HookClient::new(&endpoint.url, endpoint.timeout, options.allow_private, options.concurrency)?;
            Ok(Asked { endpoint: endpoint.clone(), client })
        });
        let asked: Arc<[Asked]> = asked.collect::<Result<Vec<_>, String>>()?.into();
        let (queue, calls) = bounded(options.concurrency * WAITING_PER_THREAD);
        let ids = Arc::new(AtomicU64::new(0));
        for number in 0..options.concurrency {
            let asker = Asker {
                asked: asked.clone(),
                calls: calls.clone(),
                channels: channels.clone(),
                clock,
                ids: ids.clone(),
            };
            let thread = thread::Builder::new().name(format!("hook-{number}"));
            thread.spawn(move || asker.run()).map_err(|error| error.to_string())?;
        }
        Ok(Some(Self { queue }))
    }

    /// Has a question asked; gives it back if too many wait.
    pub(super) fn submit(&self, call: DecisionCall) -> Result<(), DecisionCall> {
        self.queue.try_send((call, Instant::now())).map_err(|error| error.into_inner().0)
    }
}

/// Asks questions, one after the other.
struct Asker {
    asked: Arc<[Asked]>,
    calls: Receiver<(DecisionCall, Instant)>,
    channels: Arc<[ChannelSender]>,
    clock: Clock,
    ids: Arc<AtomicU64>,
}

impl Asker {
    /// Ends with the last shard, which has the other end of the queue.
    fn run(self) {
        while let Ok((call, since)) = self.calls.recv() {
            let outcome = self.ask(&call, since);
            let message = ShardMessage::Decided { number: call.number, outcome };
            if let Some(channel) = self.channels.get(usize::from(call.shard)) {
                channel.send(crate::message::ThreadMessage::from(message));
            }
        }
    }

    fn ask(&self, call: &DecisionCall, since: Instant) -> DecisionOutcome {
        let Some(asked) = self.asked.iter().find(|asked| asked.endpoint.kind == call.kind) else {
            return Err(DecisionFailure::Failed);
        };
        // The client has waited for that long already.
        if since.elapsed() > asked.endpoint.timeout {
            return Err(DecisionFailure::Full);
        }
        let now = self.clock.now();
        let id = format!("ask_{:x}_{}", now.wall, self.ids.fetch_add(1, Ordering::Relaxed));
        let answer = asked.client.post(&id, now.unix_seconds(), &asked.endpoint.secrets, &call.body);
        let decision = answer.and_then(|body| decision::answer(&call.namespace, &body));
        decision.map(Box::new).map_err(|error| {
            let hook = call.kind.name();
            tracing::warn!(target: HOOK_LOG, hook, error, "a hook has not answered as it should");
            DecisionFailure::Failed
        })
    }
}
