//! A real Redis of a test's own, on a free port, which keeps nothing on disk and ends with the test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Connection, FromRedisValue};

use super::client::PATIENCE;
use super::directory::Directory;

/// See the module.
pub(crate) struct RedisServer {
    child: Option<Child>,
    pub(crate) port: u16,
    directory: Directory,
}

impl RedisServer {
    /// Starts one and waits until it answers.
    pub(crate) fn start() -> Self {
        let port = free_port();
        let directory = Directory::new();
        std::fs::create_dir_all(directory.path()).expect("a directory");
        let mut server = Self { child: None, port, directory };
        server.begin();
        server
    }

    /// Starts it again after [`RedisServer::kill`], empty, on the same port.
    pub(crate) fn begin(&mut self) {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--dir", &self.directory.text(), "--loglevel", "warning"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed; on Debian: apt-get install redis-server");
        self.child = Some(child);
        let until = Instant::now() + PATIENCE;
        while self.try_connection().is_none() {
            assert!(Instant::now() < until, "Redis does not answer");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection to it.
    pub(crate) fn connection(&self) -> Connection {
        self.try_connection().expect("Redis answers")
    }

    /// Has it do a command, its words with spaces between them.
    pub(crate) fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut question = redis::cmd(words.next().unwrap_or_default());
        words.for_each(|word| {
            question.arg(word);
        });
        question.query(&mut self.connection()).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// As [`RedisServer::ask`], when the answer does not matter.
    pub(crate) fn tell(&self, command: &str) {
        self.ask::<redis::Value>(command);
    }

    fn try_connection(&self) -> Option<Connection> {
        let client = redis::Client::open(self.url()).expect("an address");
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
        redis::cmd("PING").query::<String>(&mut connection).ok()?;
        Some(connection)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A way to Redis that can be cut, or let nothing through to those who listen to channels.
pub(crate) struct Way {
    pub(crate) port: u16,
    is_starving: Arc<AtomicBool>,
    is_cut: Arc<AtomicBool>,
}

impl Way {
    /// A way to this port of this machine.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let way = Self {
            port: listener.local_addr().expect("it").port(),
            is_starving: Arc::default(),
            is_cut: Arc::default(),
        };
        let (is_starving, is_cut) = (way.is_starving.clone(), way.is_cut.clone());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_cut.load(Ordering::Acquire) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                lead(client, server, &is_starving, &is_cut);
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

    /// Takes connections again.
    pub(crate) fn mend(&self) {
        self.is_cut.store(false, Ordering::Release);
    }

    /// The address at this end.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// Leads bytes both ways until either end closes.
fn lead(client: TcpStream, server: TcpStream, is_starving: &Arc<AtomicBool>, is_cut: &Arc<AtomicBool>) {
    let listens: Arc<AtomicBool> = Arc::default();
    let is_old = is_starving.load(Ordering::Acquire);
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
    }
    let copies = [client.try_clone().expect("a socket"), server.try_clone().expect("a socket")];
    let ways = [
        (client, copies[1].try_clone().expect("a socket"), true),
        (server, copies[0].try_clone().expect("a socket"), false),
    ];
    for (mut from, mut to, is_upward) in ways {
        let (listens, is_starving, is_cut) = (listens.clone(), is_starving.clone(), is_cut.clone());
        thread::spawn(move || {
            let mut bytes = [0; 16 * 1024];
            loop {
                let count = match from.read(&mut bytes) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error)
                        if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
                    {
                        0
                    }
                    Err(_) => break,
                };
                if is_cut.load(Ordering::Acquire) {
                    break;
                }
                let text = &bytes[..count];
                if is_upward && text.windows(9).any(|word| word == b"SUBSCRIBE") {
                    listens.store(true, Ordering::Release);
                }
                let is_lost =
                    !is_upward && !is_old && listens.load(Ordering::Acquire) && is_starving.load(Ordering::Acquire);
                if !is_lost && to.write_all(text).is_err() {
                    break;
                }
            }
            let _ = from.shutdown(std::net::Shutdown::Both);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}
