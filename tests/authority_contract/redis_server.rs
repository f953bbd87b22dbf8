//! A Redis of the test's own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A server that ends with the test, and its files with it.
pub(crate) struct RedisServer {
    process: Child,
    directory: PathBuf,
    pub(crate) port: u16,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("switchboard-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
            let process = Command::new("redis-server")
                .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()])
                .arg("--dir")
                .arg(&directory)
                .stdout(Stdio::null())
                .spawn()
                .expect("redis-server (Debian: apt-get install redis-server)");
            let mut server = Self { process, directory: directory.clone(), port };
            while server.process.try_wait().expect("a process").is_none() {
                if server.client().get_connection().is_ok() {
                    return server;
                }
                assert!(Instant::now() < deadline, "Redis does not answer");
                std::thread::yield_now();
            }
            // Somebody else took the port meanwhile.
            assert!(Instant::now() < deadline, "Redis does not start");
        }
    }

    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).expect("an address")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
