//! Keys that issuers publish, fetched by a thread for each issuer, which may block; shards do not wait for it.
//!
//! A set is fetched at the start, then at an interval, and when a shard has met a key that is not known. However many tokens
//! name unknown keys, there is one request at a time, and the pauses between requests become longer while they bring no other
//! keys. A set that cannot be fetched or used changes no key.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::base::limits;
use crate::codec::jwt::Verifier;
use crate::message::{ShardMessage, ThreadMessage};
use crate::runtime::channel::ChannelSender;
use crate::runtime::clock::Clock;
use crate::runtime::key_files::{KeyFetching, KeyFiles};
use crate::runtime::reload::{self, RefusedFiles};
use crate::runtime::webhooks::DocumentClient;

/// The target of log lines about keys.
const KEY_LOG: &str = "switchboard::keys";

/// Bytes of a set at most.
const SET_BYTES_MAX: u64 = 256 << 10;

/// The time after which a set is fetched again that could not be fetched.
const RETRY: Duration = Duration::from_secs(10);

/// The keys in force, and the threads that fetch some of them.
#[derive(Clone)]
pub(super) struct KeyService {
    shared: Arc<KeyShared>,
}

struct KeyShared {
    clock: Clock,
    channels: Arc<[ChannelSender]>,
    state: Mutex<KeyState>,
    /// The issuers, a bit each, whose keys could not be fetched the last time.
    failing: AtomicU32,
}

struct KeyState {
    files: KeyFiles,
    /// The wishes of shards, by issuer.
    wishes: Vec<(usize, Sender<()>)>,
    /// The number of the settings that the files belong to: threads of former ones end.
    generation: u64,
}

impl KeyService {
    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system gives no threads, or TLS cannot be set up.
    pub(super) fn start(files: KeyFiles, clock: Clock, channels: Arc<[ChannelSender]>) -> Result<Self, String> {
        let state = Mutex::new(KeyState { files, wishes: Vec::new(), generation: 0 });
        let shared = Arc::new(KeyShared { clock, channels, state, failing: AtomicU32::new(0) });
        let wishes = shared.spawn(&shared.lock().files, 0)?;
        shared.lock().wishes = wishes;
        Ok(Self { shared })
    }

    /// Puts the keys of other settings in force. Returns their verifier.
    ///
    /// # Errors
    /// As for [`KeyService::start`], or a key is unusable; the former keys stay in force.
    pub(super) fn replace(&self, mut files: KeyFiles) -> Result<(), String> {
        let mut state = self.shared.lock();
        files.keep_fetched(&state.files);
        let verifier = files.verifier()?;
        let generation = state.generation + 1;
        let wishes = self.shared.spawn(&files, generation)?;
        *state = KeyState { files, wishes, generation };
        self.shared.failing.store(0, Ordering::Relaxed);
        reload::note(RefusedFiles::Keys, false);
        reload::note(RefusedFiles::FetchedKeys, false);
        self.shared.send_keys(&verifier);
        self.shared.send(|| ShardMessage::KeysFetched(None));
        Ok(())
    }

    /// Gives the shards the keys of the JWKS files, if one has changed.
    pub(super) fn reread(&self) {
        let mut state = self.shared.lock();
        if let Some(verifier) = state.files.reread() {
            self.shared.send_keys(&verifier);
        }
    }

    /// Has an issuer's keys fetched.
    pub(super) fn wish(&self, issuer: usize) {
        let state = self.shared.lock();
        if let Some((_, wishes)) = state.wishes.iter().find(|(at, _)| *at == issuer) {
            // Where there is a wish already, it is for this one, too.
            let _ = wishes.try_send(());
        }
    }
}

impl KeyShared {
    fn lock(&self) -> MutexGuard<'_, KeyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(self: &Arc<Self>, files: &KeyFiles, generation: u64) -> Result<Vec<(usize, Sender<()>)>, String> {
        let fetching = files.fetching();
        let all = files.urls().map(|(issuer, url)| {
            let setting = (fetching.allow_private, "auth.jwks_allow_private");
            let client = DocumentClient::new(url, Duration::from_millis(limits::KEY_FETCH_MS), setting)?;
            Ok((issuer, url.to_owned(), client))
        });
        let all = all.collect::<Result<Vec<_>, String>>()?;
        let spawn = |(issuer, url, client)| {
            let (sender, wishes) = bounded(1);
            let fetcher = Fetcher { shared: self.clone(), issuer, url, client, wishes, generation, fetching };
            let thread = thread::Builder::new().name(format!("keys-{issuer}"));
            thread.spawn(move || fetcher.run()).map_err(|error| error.to_string())?;
            Ok((issuer, sender))
        };
        all.into_iter().map(spawn).collect()
    }

    fn send(&self, message: impl Fn() -> ShardMessage) {
        self.channels.iter().for_each(|channel| channel.send(ThreadMessage::from(message())));
    }

    fn send_keys(&self, verifier: &Arc<Verifier>) {
        self.send(|| ShardMessage::Keys(verifier.clone()));
    }

    /// Notes whether an issuer's keys can be fetched; returns whether that is another outcome than before.
    fn note(&self, issuer: usize, is_failing: bool) -> bool {
        let bit = 1 << issuer;
        let before = match is_failing {
            true => self.failing.fetch_or(bit, Ordering::Relaxed),
            false => self.failing.fetch_and(!bit, Ordering::Relaxed),
        };
        reload::note(RefusedFiles::FetchedKeys, self.failing.load(Ordering::Relaxed) != 0);
        (before & bit != 0) != is_failing
    }
}

/// Fetches the keys of one issuer.
struct Fetcher {
    shared: Arc<KeyShared>,
    issuer: usize,
    url: String,
    client: DocumentClient,
    wishes: Receiver<()>,
    generation: u64,
    fetching: KeyFetching,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FetchOutcome {
    Changed,
    Unchanged,
    Failed,
    /// Other settings are in force.
    Obsolete,
}

impl Fetcher {
    fn run(self) {
        let mut pause = Pause::default();
        loop {
            let outcome = self.fetch();
            let ended = Instant::now();
            if outcome == FetchOutcome::Obsolete {
                return;
            }
            let until_refresh = if outcome == FetchOutcome::Failed { RETRY } else { self.fetching.refresh };
            match self.wishes.recv_timeout(until_refresh) {
                Ok(()) => thread::sleep(pause.after_wish(outcome).saturating_sub(ended.elapsed())),
                Err(RecvTimeoutError::Timeout) => pause = Pause::default(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Wishes that have come in the pause are met by the request that begins now.
            while self.wishes.try_recv().is_ok() {}
        }
    }

    fn fetch(&self) -> FetchOutcome {
        let began = self.shared.clock.now().mono;
        let fetched = self.client.get(SET_BYTES_MAX);
        let mut state = self.shared.lock();
        if state.generation != self.generation {
            return FetchOutcome::Obsolete;
        }
        let url = &self.url;
        let outcome = match fetched.and_then(|set| state.files.replace_fetched(self.issuer, set)) {
            Ok(verifier) => {
                let is_again = self.shared.note(self.issuer, false);
                match verifier {
                    Some(verifier) => {
                        tracing::info!(target: KEY_LOG, url, "the keys of an issuer have changed and are in force");
                        self.shared.send_keys(&verifier);
                        FetchOutcome::Changed
                    }
                    None => {
                        if is_again {
                            tracing::info!(target: KEY_LOG, url, "the keys of an issuer can be fetched again");
                        }
                        FetchOutcome::Unchanged
                    }
                }
            }
            Err(error) => {
                if self.shared.note(self.issuer, true) {
                    let text = "the keys of an issuer cannot be fetched or used; those of before stay in force";
                    tracing::warn!(target: KEY_LOG, url, error, "{text}");
                } else {
                    tracing::debug!(target: KEY_LOG, url, error, "the keys of an issuer still cannot be fetched");
                }
                FetchOutcome::Failed
            }
        };
        // After the keys: a shard looks again at the tokens that wait for them.
        self.shared.send(|| ShardMessage::KeysFetched(Some((self.issuer, began))));
        outcome
    }
}

/// The pause before a request for unknown keys.
#[derive(Debug)]
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(limits::KEY_FETCH_PAUSE_MS))
    }
}

impl Pause {
    /// The pause after a request with this outcome; the next one is longer, unless the keys have changed.
    fn after_wish(&mut self, outcome: FetchOutcome) -> Duration {
        if outcome == FetchOutcome::Changed {
            *self = Self::default();
        }
        let pause = self.0;
        self.0 = (pause * 2).min(Duration::from_millis(limits::KEY_FETCH_PAUSE_MAX_MS));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_requests_bring_no_other_keys() {
        let mut pause = Pause::default();
        let mut next = |outcome| pause.after_wish(outcome).as_millis();
        assert_eq!([(); 5].map(|()| next(FetchOutcome::Unchanged)), [1_000, 2_000, 4_000, 8_000, 8_000]);
        assert_eq!(next(FetchOutcome::Failed), 8_000);
        assert_eq!(next(FetchOutcome::Changed), 1_000);
        assert_eq!(next(FetchOutcome::Unchanged), 2_000);
    }
}
