//! A way to a server that a test can cut, or let nothing through.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A way to Redis that can be cut, or let nothing through to those who listen to channels.
pub(crate) struct Way {
    pub(crate) port: u16,
    is_starving: Arc<AtomicBool>,
    is_cut: Arc<AtomicBool>,
    is_silent: Arc<AtomicBool>,
    is_deaf: Arc<AtomicBool>,
}

impl Way {
    /// A way to this port of this machine.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let way = Self {
            port: listener.local_addr().expect("it").port(),
            is_starving: Arc::default(),
            is_cut: Arc::default(),
            is_silent: Arc::default(),
            is_deaf: Arc::default(),
        };
        let flags = [&way.is_starving, &way.is_cut, &way.is_silent, &way.is_deaf].map(Arc::clone);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if flags[1].load(Ordering::Acquire) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                lead(client, server, &flags);
            }
        });
        way
    }

    /// Nothing that is published reaches those who listen now. Whoever connects from now on listens well.
    pub(crate) fn starve(&self) {
        self.is_starving.store(true, Ordering::Release);
    }

    /// Ends all connections, and takes no more until [`Way::mend`].
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
    }

    /// Swallows whatever comes, both ways, without a word, until [`Way::mend`]. Connections that are there in that time
    /// stay silent after it.
    pub(crate) fn swallow(&self) {
        self.is_silent.store(true, Ordering::Release);
    }

    /// Lets everything through to Redis and nothing of what it answers, until [`Way::mend`]. Connections that are there in
    /// that time stay so after it.
    pub(crate) fn deafen(&self) {
        self.is_deaf.store(true, Ordering::Release);
    }

    /// Takes connections again.
    pub(crate) fn mend(&self) {
        self.is_deaf.store(false, Ordering::Release);
        self.is_silent.store(false, Ordering::Release);
        self.is_cut.store(false, Ordering::Release);
    }

    /// The address at this end.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// Leads bytes both ways until either end closes.
fn lead(client: TcpStream, server: TcpStream, flags: &[Arc<AtomicBool>; 4]) {
    let [listens, is_mute, hears_nothing]: [Arc<AtomicBool>; 3] = Default::default();
    let is_old = flags[0].load(Ordering::Acquire);
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
    }
    let copies = [client.try_clone().expect("a socket"), server.try_clone().expect("a socket")];
    let ways = [
        (client, copies[1].try_clone().expect("a socket"), true),
        (server, copies[0].try_clone().expect("a socket"), false),
    ];
    for (mut from, mut to, is_upward) in ways {
        let (listens, is_mute, hears_nothing) = (listens.clone(), is_mute.clone(), hears_nothing.clone());
        let [is_starving, is_cut, is_silent, is_deaf] = flags.clone();
        thread::spawn(move || {
            let mut bytes = [0; 16 * 1024];
            loop {
                let count = match from.read(&mut bytes) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
                    Err(_) => break,
                };
                if is_cut.load(Ordering::Acquire) {
                    break;
                }
                if is_silent.load(Ordering::Acquire) {
                    is_mute.store(true, Ordering::Release);
                }
                if is_deaf.load(Ordering::Acquire) {
                    hears_nothing.store(true, Ordering::Release);
                }
                let text = &bytes[..count];
                if is_upward && text.windows(9).any(|word| word == b"SUBSCRIBE") {
                    listens.store(true, Ordering::Release);
                }
                let is_lost =
                    !is_upward && !is_old && listens.load(Ordering::Acquire) && is_starving.load(Ordering::Acquire);
                let is_unheard = !is_upward && hears_nothing.load(Ordering::Acquire);
                let is_lost = is_lost || is_unheard || is_mute.load(Ordering::Acquire);
                if !is_lost && to.write_all(text).is_err() {
                    break;
                }
            }
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}
