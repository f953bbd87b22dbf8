//! The real binary, started on a port of its own and stopped at the end of the test.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::http::{ask, bearer};
pub use super::token::{SECRET, token};
use super::workspace;

/// A running server.
pub struct Server {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Server {
    /// Starts `switchboard serve` with these arguments on a free port, and waits until it listens. Tokens are those of
    /// [`token`]; all settings come from the arguments, none from the environment.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// A server of so many shards with these settings, where joining makes rooms, nobody is told of presence, and
    /// whoever is lost has left at once.
    pub fn of_shards(shards: usize, settings: &[&str]) -> Self {
        let shards = shards.to_string();
        let mut arguments =
            vec!["--shards", &shards, "--set", "rooms.create_on_join=always", "--set", "presence.scope=none"];
        arguments.extend(["--set", "presence.grace_ms=0"]);
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        Self::start(&arguments)
    }

    /// As [`Server::start`], with these environment variables.
    pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::spawn(&mut command(arguments, environment))
    }

    /// As [`Server::start`], on this address.
    pub fn start_at(address: &str, arguments: &[&str]) -> Self {
        Self::spawn(&mut command_at(address, arguments, &[]))
    }

    /// Starts what [`command`] made, as [`Server::start`] does.
    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_and_read(command, 0).0
    }

    /// Starts a server with a listener for operators; gives back the address of that listener, too.
    pub fn start_with_operators(arguments: &[&str]) -> (Self, String) {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--set", "listen_admin=127.0.0.1:0"]);
        let (server, lines) = Self::spawn_and_read(&mut command(&arguments, &[]), 1);
        let second = &lines[0];
        let plain = second.strip_prefix("for operators: http://");
        let operators = plain.or_else(|| second.strip_prefix("for operators: https://"));
        let operators = operators.unwrap_or_else(|| panic!("no listener for operators: {second:?}")).to_owned();
        (server, operators)
    }

    /// Starts what [`command`] made, as [`Server::start`] does, with as many further lines of its standard output.
    pub fn spawn_and_read(command: &mut Command, count: usize) -> (Self, Vec<String>) {
        let mut child = command.spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        let plain = first.strip_prefix("listening on http://");
        let Some(address) = plain.or_else(|| first.strip_prefix("listening on https://")) else {
            let _ = child.kill();
            panic!("the server did not start: {first:?}");
        };
        let server = Self { child, address: address.to_owned() };
        let further = lines.by_ref().map_while(Result::ok).take(count).collect();
        // The rest is read on, so that the server never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        (server, further)
    }

    /// The page of metrics, as an admin gets it.
    pub fn metrics(&self) -> String {
        let admin = bearer(&token("root", &json!({ "role": "admin" })));
        ask(&self.address, "GET", "/metrics", &[&admin], None).text()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// Ends the process at once, without a word to its clients; gives back the address it had.
    pub fn kill(mut self) -> String {
        self.child.kill().expect("it was running");
        self.child.wait().expect("its end");
        self.address.clone()
    }

    /// Stops it; what it has written to its standard error, which must be a pipe.
    pub fn log(mut self) -> String {
        let stderr = self.stderr().expect("a pipe");
        self.signal(15);
        std::io::read_to_string(stderr).expect("text")
    }

    /// Sends a signal by its number.
    pub fn signal(&self, signal: i32) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self, timeout: Duration) -> ExitStatus {
        let until = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status;
            }
            assert!(Instant::now() < until, "the server is still there after {timeout:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes what the server logs.
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command that runs the server in an empty environment on a free port.
pub fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    command_at("127.0.0.1:0", arguments, environment)
}

/// As [`command`], on this address.
pub fn command_at(address: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(workspace::program("switchboard"));
    command.arg("serve").args(["--listen", address]);
    let has_data = arguments.iter().any(|argument| *argument == "--data" || argument.starts_with("data_dir="));
    if !has_data {
        command.args(["--data", ""]);
    }
    // How much a user may say in a minute is of interest to few tests.
    for limit in ["limits.messages_per_minute", "limits.typing_per_minute", "limits.cost_per_user"] {
        if !arguments.iter().any(|argument| argument.contains(limit)) {
            command.args(["--set", &format!("{limit}=0")]);
        }
    }
    command.args(arguments);
    command.env_clear().env("JWT_SECRET", SECRET).envs(environment.iter().copied());
    command.current_dir(std::env::temp_dir());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}
