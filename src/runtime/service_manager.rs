//! The service manager (sd_notify(3)): it learns when the server is ready, reads its settings again and ends, and, if it
//! watches the server, that all threads of the shards are at work.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The connection to the service manager, if there is one.
#[derive(Default)]
pub(super) struct ServiceManager {
    socket: Option<UnixDatagram>,
    watch: Option<Watch>,
}

/// The watch of the service manager.
struct Watch {
    every: Duration,
    due: Instant,
    /// Shards that have answered the last beat.
    answers: Arc<AtomicUsize>,
    /// Shards that were asked.
    asked: usize,
}

impl ServiceManager {
    /// The service manager named by the environment.
    ///
    /// # Errors
    /// Its socket cannot be reached.
    pub(super) fn from_environment(now: Instant) -> io::Result<Self> {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A manager that does not read must not stop the server.
        socket.set_nonblocking(true)?;
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let is_watched = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let every = number("WATCHDOG_USEC").filter(|usec| is_watched && *usec > 0).map(|usec| {
            // Twice in the time after which the server would be ended.
            Duration::from_micros(usec / 2)
        });
        let watch = every.map(|every| Watch { every, due: now, answers: Arc::default(), asked: 0 });
        Ok(Self { socket: Some(socket), watch })
    }

    fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::debug!(%error, "the service manager does not listen");
        }
    }

    /// The server serves, for the first time or after its settings were read again.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The server reads its settings again; [`ServiceManager::ready`] follows.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={usec}\nSTATUS=Reads its settings again"));
    }

    /// The server ends.
    pub(super) fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// How long to wait for the next beat at most.
    pub(super) fn wait_at_most(&self, now: Instant, otherwise: Duration) -> Duration {
        self.watch.as_ref().map_or(otherwise, |watch| watch.due.saturating_duration_since(now).min(otherwise))
    }

    /// Says that the server is alive if all shards have answered the last beat, and asks them again by `ask`.
    pub(super) fn beat(&mut self, now: Instant, shards: usize, ask: impl FnOnce(&Arc<AtomicUsize>)) {
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.due <= now) else { return };
        watch.due = now + watch.every;
        if watch.answers.load(Ordering::Relaxed) == watch.asked {
            // A count of its own for each beat, so that a late answer to an earlier one is none.
            watch.answers = Arc::default();
            watch.asked = shards;
            ask(&watch.answers);
            self.tell("WATCHDOG=1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_with_a_shard_that_does_not_answer_is_not_alive() {
        let (own, manager) = UnixDatagram::pair().expect("sockets");
        manager.set_nonblocking(true).expect("an option");
        let (start, every) = (Instant::now(), Duration::from_millis(100));
        let watch = Some(Watch { every, due: start, answers: Arc::default(), asked: 0 });
        let mut it = ServiceManager { socket: Some(own), watch };
        let is_told = || manager.recv(&mut [0; 64]).is_ok();
        let mut asked = Vec::new();
        let mut beat = |asked: &mut Vec<Arc<AtomicUsize>>, at: Duration| {
            it.beat(start + at, 2, |answers| asked.push(answers.clone()));
            it.wait_at_most(start + at, Duration::from_secs(1))
        };
        assert_eq!(beat(&mut asked, Duration::ZERO), every);
        assert!(is_told(), "the first beat");
        assert_eq!(beat(&mut asked, every / 2), every / 2);
        assert!(!is_told() && asked.len() == 1, "not due");
        asked[0].fetch_add(1, Ordering::Relaxed);
        beat(&mut asked, every);
        assert!(!is_told() && asked.len() == 1, "one of two has answered");
        asked[0].fetch_add(1, Ordering::Relaxed);
        beat(&mut asked, 2 * every);
        assert!(is_told() && asked.len() == 2);
        asked[0].fetch_add(2, Ordering::Relaxed);
        beat(&mut asked, 3 * every);
        assert!(!is_told(), "answers to another beat");
    }
}
