//! A TCP proxy between a server and Redis, or a client and a server, that injects faults: cut connections, dropped bytes, lost publications.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// A proxy to one port of this machine.
pub struct FaultProxy {
    pub port: u16,
    faults: Arc<Faults>,
}

/// The faults that are injected at the moment.
#[derive(Default)]
struct Faults {
    drops_published: AtomicBool,
    is_cut: AtomicBool,
    drops_all: AtomicBool,
    drops_replies: AtomicBool,
    drops_requests: AtomicBool,
    /// The port that new connections lead to, and how often it has changed.
    target: AtomicU16,
    moves: AtomicUsize,
    /// How often the connections of the moment fell silent: in both directions, and on the way to the client.
    silences: [AtomicUsize; 2],
}

impl FaultProxy {
    /// A proxy to this port, without faults at first.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let proxy = Self { port: listener.local_addr().expect("its address").port(), faults: Arc::default() };
        let faults = proxy.faults.clone();
        faults.target.store(port, Ordering::Release);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if faults.is_cut.load(Ordering::Acquire) {
                    continue;
                }
                let port = faults.target.load(Ordering::Acquire);
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                forward(client, server, &faults);
            }
        });
        proxy
    }

    /// Drops publications to connections that are subscribed now. Later connections receive them.
    pub fn drop_published(&self) {
        self.faults.drops_published.store(true, Ordering::Release);
    }

    /// Closes all connections, and accepts no more until [`FaultProxy::restore`].
    pub fn cut(&self) {
        self.faults.is_cut.store(true, Ordering::Release);
    }

    /// Drops all bytes in both directions until [`FaultProxy::restore`]. Connections that exist meanwhile stay silent
    /// afterwards.
    pub fn drop_all(&self) {
        self.faults.drops_all.store(true, Ordering::Release);
    }

    /// The connections of this moment pass no more bytes, and do not end; later ones are as before. `is_one_way`: what the
    /// client sends still arrives.
    pub fn silence(&self, is_one_way: bool) {
        self.faults.silences[usize::from(is_one_way)].fetch_add(1, Ordering::AcqRel);
    }

    /// Passes requests to Redis and drops its replies until [`FaultProxy::restore`]. Connections that exist meanwhile
    /// receive no replies afterwards.
    pub fn drop_replies(&self) {
        self.faults.drops_replies.store(true, Ordering::Release);
    }

    /// Drops requests and passes what Redis sends until [`FaultProxy::restore`]. Connections that exist meanwhile send nothing
    /// afterwards.
    pub fn drop_requests(&self) {
        self.faults.drops_requests.store(true, Ordering::Release);
    }

    /// Closes all connections; later ones lead to this port.
    pub fn lead_to(&self, port: u16) {
        self.faults.target.store(port, Ordering::Release);
        self.faults.moves.fetch_add(1, Ordering::AcqRel);
    }

    /// Ends the faults for new connections.
    pub fn restore(&self) {
        self.faults.drops_replies.store(false, Ordering::Release);
        self.faults.drops_requests.store(false, Ordering::Release);
        self.faults.drops_all.store(false, Ordering::Release);
        self.faults.is_cut.store(false, Ordering::Release);
    }

    /// Ends the faults after this time, for which they are to last.
    pub fn restore_after(&self, length: Duration) {
        std::thread::sleep(length);
        self.restore();
    }

    /// The proxy's own address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Faults {
    fn silences(&self) -> [usize; 2] {
        [0, 1].map(|at| self.silences[at].load(Ordering::Acquire))
    }
}

/// The faults that one connection has met and keeps.
#[derive(Default)]
struct Met {
    is_subscribed: AtomicBool,
    drops_all: AtomicBool,
    drops_replies: AtomicBool,
    drops_requests: AtomicBool,
}

/// Copies bytes in both directions, on two threads, until either end closes.
fn forward(client: TcpStream, server: TcpStream, faults: &Arc<Faults>) {
    let met = Arc::new(Met::default());
    let is_late = faults.drops_published.load(Ordering::Acquire);
    let moves = faults.moves.load(Ordering::Acquire);
    let silences = faults.silences();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
    }
    let copies = [client.try_clone().expect("a socket"), server.try_clone().expect("a socket")];
    let [to_client, to_server] = copies;
    for (mut from, mut to, is_request) in [(client, to_server, true), (server, to_client, false)] {
        let (faults, met) = (faults.clone(), met.clone());
        thread::spawn(move || {
            let mut bytes = [0; 16 * 1024];
            loop {
                let count = match from.read(&mut bytes) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
                    Err(_) => break,
                };
                if faults.is_cut.load(Ordering::Acquire) || faults.moves.load(Ordering::Acquire) != moves {
                    break;
                }
                let silent = faults.silences();
                if silent[0] != silences[0] || !is_request && silent[1] != silences[1] {
                    continue;
                }
                let bytes = &bytes[..count];
                let is_dropped = met.drops(&faults, is_request, is_late, bytes);
                if !is_dropped && to.write_all(bytes).is_err() {
                    break;
                }
            }
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

impl Met {
    /// Takes note of the faults at this moment; whether the bytes are dropped.
    fn drops(&self, faults: &Faults, is_request: bool, is_late: bool, bytes: &[u8]) -> bool {
        if faults.drops_all.load(Ordering::Acquire) {
            self.drops_all.store(true, Ordering::Release);
        }
        if faults.drops_replies.load(Ordering::Acquire) {
            self.drops_replies.store(true, Ordering::Release);
        }
        if faults.drops_requests.load(Ordering::Acquire) {
            self.drops_requests.store(true, Ordering::Release);
        }
        if is_request {
            if bytes.windows(9).any(|word| word == b"SUBSCRIBE") {
                self.is_subscribed.store(true, Ordering::Release);
            }
            return self.drops_all.load(Ordering::Acquire) || self.drops_requests.load(Ordering::Acquire);
        }
        let is_published = self.is_subscribed.load(Ordering::Acquire) && !is_late;
        (is_published && faults.drops_published.load(Ordering::Acquire))
            || self.drops_replies.load(Ordering::Acquire)
            || self.drops_all.load(Ordering::Acquire)
    }
}
