//! The whole process: shards are started, signals waited for, everyone told before the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use mio::Poll;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::base::rng::Rng;
use crate::codec::jwt::Verifier;
use crate::mail::{Mail, ShardNumber};
use crate::runtime::allocator;
use crate::runtime::clock::Clock;
use crate::runtime::event_loop::{EventLoop, WAKER};
use crate::runtime::keys::Keys;
use crate::runtime::mailbox::{Mailbox, mailbox};
use crate::runtime::{entropy, listener};
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
}

/// A running server.
pub struct Server {
    /// The addresses it listens on.
    pub addresses: Vec<SocketAddr>,
    keys: Keys,
    drain: Duration,
    mailboxes: Arc<[Mailbox]>,
    shards: Vec<JoinHandle<io::Result<()>>>,
    signals: Receiver<i32>,
}

/// How often the JWKS file is looked at.
const KEYS_EVERY: Duration = Duration::from_secs(1);

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
    let mailboxes: Arc<[Mailbox]> = mailboxes.into();
    let (options, clock) = (Arc::new(plan.options), Clock::start());
    let occupied = Arc::new(AtomicUsize::new(shards));
    let mut handles = Vec::new();
    for (number, (poll, inbox, listeners)) in ends.into_iter().enumerate() {
        let shard = shard(number as ShardNumber, &options, &verifier, clock).map_err(|error| error.to_string())?;
        let (mailboxes, occupied) = (mailboxes.clone(), occupied.clone());
        let event_loop =
            EventLoop::new(poll, clock, listeners, inbox, mailboxes, shard).map_err(|error| error.to_string())?;
        let thread = thread::Builder::new().name(format!("shard-{number}"));
        handles.push(thread.spawn(move || event_loop.run(&occupied)).map_err(|error| error.to_string())?);
    }
    Ok(Server { addresses, keys: plan.keys, drain: plan.drain, mailboxes, shards: handles, signals })
}

fn shard(number: ShardNumber, options: &Arc<Options>, verifier: &Arc<Verifier>, clock: Clock) -> io::Result<Shard> {
    let rng = Rng::from_entropy(entropy::seed()?);
    Ok(Shard::new(number, options.clone(), verifier.clone(), rng, clock.now()))
}

/// SIGTERM and SIGINT as messages.
fn catch_signals() -> io::Result<Receiver<i32>> {
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
        loop {
            match self.signals.recv_timeout(KEYS_EVERY) {
                Ok(signal) => {
                    tracing::info!(signal, "leaving");
                    return self.leave();
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(verifier) = self.keys.reread() {
                        self.tell_all(|| Mail::Keys(verifier.clone()));
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
        self.tell_all(|| Mail::Drain { window_ms });
        let until = Instant::now() + self.drain + GRACE;
        while !self.shards.iter().all(JoinHandle::is_finished) {
            if self.signals.recv_timeout(Duration::from_millis(10)).is_ok() {
                tracing::warn!("a second signal: ending at once");
                std::process::exit(130);
            }
            if Instant::now() >= until {
                tracing::warn!("the drain window is over; what is left is cut off");
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
        Ok(())
    }

    fn tell_all(&self, mail: impl Fn() -> Mail) {
        for mailbox in &*self.mailboxes {
            mailbox.send(mail());
        }
    }
}
