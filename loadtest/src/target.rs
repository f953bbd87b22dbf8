//! The server under load: one that runs already, or one started for the run, or several that share a Redis.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::process::{self, Reading};

/// The secret that tokens are signed with when the server is started for the run.
const SECRET: &str = "loadtest signs with this secret, and so verifies";

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(20);

/// A server.
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it verifies tokens by; without it, clients are guests.
    pub secret: Option<String>,
    pid: Option<u32>,
    child: Option<Child>,
    /// Where it keeps things, if they are to be removed.
    data: Option<Data>,
    /// Servers that share a Redis with it, and the load.
    others: Vec<Target>,
}

impl Target {
    /// A server that runs already; `pid` is its process when its cost is to be read.
    pub fn running(address: SocketAddr, pid: Option<u32>, secret: Option<String>) -> Self {
        Self { address, secret, pid, child: None, data: None, others: Vec::new() }
    }

    /// Starts so many servers, which share what their settings say. See [`Target::start`].
    pub fn start_all(
        servers: usize,
        binary: &Path,
        shards: usize,
        settings: &[String],
        data: Option<&Path>,
    ) -> Result<Self, String> {
        let is_shared = settings.iter().any(|setting| setting.starts_with("redis.url="));
        if servers == 0 || (servers > 1 && !is_shared) {
            return Err(
                "--servers: several servers need --set redis.url=URL, or nothing of one is known to another".to_owned()
            );
        }
        let mut first = Self::start(binary, shards, settings, data)?;
        for _ in 1..servers {
            first.others.push(Self::start(binary, shards, settings, None)?);
        }
        Ok(first)
    }

    /// Where all of them listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        [self.address].into_iter().chain(self.others.iter().map(|other| other.address)).collect()
    }

    /// Starts `binary serve` on a free port of loopback, with every limit off that a load run would meet. It keeps things
    /// in `data`, which must not be there yet and is removed in the end, or else in memory.
    pub fn start(binary: &Path, shards: usize, settings: &[String], data: Option<&Path>) -> Result<Self, String> {
        let own = data.map(Data::make).transpose()?;
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--shards", &shards.to_string()]);
        let per_minute = ["signals_per_minute", "messages_per_minute", "typing_per_minute"];
        for off in per_minute.into_iter().chain(["connections_per_user", "connections_per_ip"]) {
            command.args(["--set", &format!("limits.{off}=0")]);
        }
        command.args(["--set", "rooms.create_on_join=always", "--set", "presence.scope=none"]);
        command.arg("--data").arg(data.unwrap_or(Path::new("")));
        command.args(["--set", "log.level=error"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        command.env("JWT_SECRET", SECRET).stdin(Stdio::null());
        let target = Self::spawn(&mut command, Some(SECRET.to_owned()));
        target.map(|mut target| {
            target.data = own;
            target
        })
    }

    /// Starts a process that says in its first line where it listens.
    pub fn spawn(command: &mut Command, secret: Option<String>) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("{name}: {error}"))?;
        let first = child.stdout.take().map_or(String::new(), first_line);
        let address = first.trim().strip_prefix("listening on ").map(|address| address.trim_start_matches("http://"));
        match address.and_then(|address| address.parse().ok()) {
            Some(address) => {
                Ok(Self { address, secret, pid: Some(child.id()), child: Some(child), data: None, others: Vec::new() })
            }
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("{name} did not start: {first:?}"))
            }
        }
    }

    /// What the server has cost so far, or all of them.
    pub fn reading(&self) -> Option<Reading> {
        let own = self.pid.and_then(|pid| process::read(pid).ok())?;
        self.others.iter().try_fold(own, |sum, other| {
            let Reading { cpu_ns, private_bytes, resident_bytes } = other.reading()?;
            Some(Reading {
                cpu_ns: sum.cpu_ns + cpu_ns,
                private_bytes: sum.private_bytes + private_bytes,
                resident_bytes: sum.resident_bytes + resident_bytes,
            })
        })
    }

    /// Its CPU time so far, in nanoseconds, or that of all of them.
    pub fn cpu_ns(&self) -> Option<u64> {
        let own = self.pid.and_then(|pid| process::cpu_ns(pid).ok())?;
        self.others.iter().try_fold(own, |sum, other| Some(sum + other.cpu_ns()?))
    }
}

/// The first line of a process, if it comes in time.
fn first_line(output: ChildStdout) -> String {
    let (sender, line) = mpsc::channel();
    thread::spawn(move || {
        let mut first = String::new();
        let _ = BufReader::new(output).read_line(&mut first);
        let _ = sender.send(first);
    });
    line.recv_timeout(START).unwrap_or_default()
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A directory of one run.
struct Data(PathBuf);

impl Data {
    fn make(path: &Path) -> Result<Self, String> {
        fs::create_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
