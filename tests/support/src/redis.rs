//! The Redis starter: a `redis-server` for one test, or what `SWITCHBOARD_REDIS_SERVER` names.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use redis::{Client, Cmd, Connection, Value};

use super::directory::Directory;
use super::process::wait_until;

/// A `redis-server` that keeps nothing on disk.
pub struct RedisServer {
    child: Child,
    port: u16,
    directory: Option<Directory>,
    options: Vec<String>,
}

/// Options of a server that keeps what it has been told, as most do.
const KEEPING: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];

impl RedisServer {
    /// One on a free port.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The one server of a cluster.
    pub fn start_cluster() -> Self {
        let bus = free_port().to_string();
        let server = Self::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
        server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        let is_ok = |info: Value| redis::from_redis_value::<String>(info).expect("text").contains("cluster_state:ok");
        wait_until("the cluster is whole", || is_ok(server.command(&["CLUSTER", "INFO"])));
        server
    }

    /// One on a free port that keeps what it has been told in its directory.
    pub fn start_keeping() -> Self {
        Self::start_with(&KEEPING)
    }

    /// One on a free port with these options.
    pub fn start_with(options: &[&str]) -> Self {
        // Whoever else takes the port before the server does makes it end, and another one is tried.
        let server = (0..8).find_map(|_| Self::start_at(free_port(), options));
        server.expect("no Redis came up")
    }

    fn start_at(port: u16, options: &[&str]) -> Option<Self> {
        Self::start_in(Directory::new(), port, options)
    }

    fn start_in(directory: Directory, port: u16, options: &[&str]) -> Option<Self> {
        std::fs::create_dir_all(directory.path()).expect("a directory");
        // What it is told later is written there, and Sentinels insist on one.
        let configuration = directory.path().join("redis.conf");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&configuration);
        drop(file.expect("a file"));
        let child = program()
            .arg(configuration)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--dir", &directory.text()])
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { child, port, directory: Some(directory), options };
        let mut is_over = false;
        wait_until("Redis answers", || {
            is_over = server.child.try_wait().expect("its state").is_some();
            is_over || Client::open(server.url()).and_then(|client| client.get_connection()).is_ok()
        });
        (!is_over).then_some(server)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What an option was set to.
    pub fn option(&self, name: &str) -> String {
        let at = self.options.iter().position(|option| option == name).expect("it was set");
        self.options[at + 1].clone()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection to it.
    pub fn connect(&self) -> Connection {
        Client::open(self.url()).and_then(|client| client.get_connection()).expect("Redis is there")
    }

    /// Has it do one thing.
    pub fn command(&self, words: &[&str]) -> Value {
        let mut command = Cmd::new();
        command.arg(words);
        command.query(&mut self.connect()).expect("Redis does it")
    }

    /// The answer to a command as text, unless the server is not there or ends the connection.
    pub fn try_ask(&self, command: &str) -> Option<String> {
        let mut connection = Client::open(self.url()).and_then(|client| client.get_connection()).ok()?;
        Cmd::new().arg(command.split(' ').collect::<Vec<_>>()).query(&mut connection).ok()
    }

    /// The answer to a command, its words with spaces between them.
    pub fn ask<T: redis::FromRedisValue>(&self, command: &str) -> T {
        let words: Vec<&str> = command.split(' ').collect();
        redis::from_redis_value(self.command(&words)).expect("an answer of this kind")
    }

    /// Ends it, and with it all it knew, and starts another one in its place.
    pub fn restart(&mut self) {
        self.stop();
        *self = Self::start_at(self.port, &[]).expect("its port is free");
    }

    /// Ends it by a signal and starts one in its place that knows all it has kept.
    pub fn restart_keeping(&mut self, signal: i32) {
        self.signal(signal);
        self.revive();
    }

    /// Waits for its end and starts one in its place, of the same directory and options.
    pub fn revive(&mut self) {
        self.child.wait().expect("its end");
        let directory = self.directory.take().expect("it has one");
        let options = std::mem::take(&mut self.options);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        *self = Self::start_in(directory, self.port, &options).expect("its port is free");
    }

    /// Sends a signal by its number.
    pub fn signal(&self, signal: i32) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// Ends it, and with it all it knew, until [`RedisServer::restart`].
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The server's program: Redis's own, or what `SWITCHBOARD_REDIS_SERVER` names, which has to speak as that does.
pub fn program() -> Command {
    Command::new(std::env::var_os("SWITCHBOARD_REDIS_SERVER").unwrap_or_else(|| "redis-server".into()))
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}
