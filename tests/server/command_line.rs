//! The command line as an operator uses it: output, error messages, exit codes.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::json;
use support::client::Client;
use support::process::{Kept, wait_until};
use support::server::{SECRET, Server, token};
use support::tcp_client::TcpClient;

/// A directory of one test's own, empty at its start.
fn scratch(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("command-line-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a directory");
    path
}

/// The program with these arguments in `directory`, in an environment of these variables alone.
fn program(directory: &PathBuf, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command.args(arguments).env_clear().envs(environment.iter().copied()).current_dir(directory);
    command.stdin(Stdio::null());
    command
}

/// What a run of the program came to.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(directory: &PathBuf, arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
    let output = program(directory, arguments, environment).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs the program, which must refuse: exit code 1, nothing on standard output, each of `said` on standard error.
fn refused(directory: &PathBuf, arguments: &[&str], environment: &[(&str, &str)], said: &[&str]) {
    let outcome = run(directory, arguments, environment);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{arguments:?}: {outcome:?}");
    for said in said {
        assert!(outcome.stderr.contains(said), "{arguments:?}: {said:?} is not in\n{}", outcome.stderr);
    }
    // Warnings about settings may come before the refusal.
    assert!(outcome.stderr.lines().any(|line| line.starts_with("switchboard: ")), "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
}

/// A server whose standard output the test reads.
struct Serving {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Serving {
    fn start(directory: &PathBuf, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = program(directory, arguments, environment).stdout(Stdio::piped()).spawn().expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("a line").expect("text")
    }

    /// The next line, which must say where it listens: the address.
    fn address(&mut self) -> String {
        let line = self.line();
        let address = line.strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}"));
        let port = address.rsplit_once(':').expect("a port").1;
        assert!(port.parse::<u16>().is_ok_and(|port| port != 0), "{line:?}");
        address.to_owned()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status and the head of the answer to a GET.
fn get(address: &str, path: &str, token: Option<&str>) -> (u16, String) {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let mut wire = TcpClient::connect(address);
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{authorization}\r\n").as_bytes());
    let (head, _) = wire.http_answer().expect("an answer");
    (head[9..12].parse().expect("a status"), head)
}

#[test]
fn unread_log_blocks_no_client_and_its_lost_lines_are_counted() {
    let mut command = support::server::command(&["--set", "log.level=debug", "--shards", "1"], &[]);
    let server = support::server::Server::spawn(command.stderr(std::process::Stdio::piped()));
    let root = support::http::bearer(&support::server::token("root", &serde_json::json!({ "role": "admin" })));
    let metric = || {
        let page = support::http::ask(&server.address, "GET", "/metrics", &[&root], None).text();
        let line = page.lines().find_map(|line| line.strip_prefix("switchboard_log_lines_dropped_total "));
        line.and_then(|count| count.parse::<u64>().ok()).expect("a count")
    };
    assert_eq!(metric(), 0);
    // Each connection is a line of the log, and a pipe holds a few hundred of them.
    while metric() == 0 {
        for _ in 0..100 {
            drop(std::net::TcpStream::connect(&server.address).expect("it accepts"));
        }
    }
}

#[test]
fn serve_without_key_is_refused_with_advice() {
    let directory = scratch("no-key");
    let ways = ["auth.secret", "JWT_SECRET", "auth.public_keys", "auth.jwks_file", "switchboard serve --dev"];
    refused(&directory, &["serve", "--listen", "127.0.0.1:0"], &[], &ways);
    refused(&directory, &["serve", "--listen", "127.0.0.1:0"], &[("JWT_SECRET", "")], &ways);
    let absent = ["serve", "--set", "auth.jwks_file=absent.json"];
    refused(&directory, &absent, &[], &["auth.jwks_file: absent.json: No such file"]);
    let absent = ["serve", "--set", "auth.public_keys=[\"absent.pem\"]"];
    refused(&directory, &absent, &[], &["auth.public_keys: absent.pem: No such file"]);
    fs::write(directory.join("no.pem"), "no key").expect("a file");
    let useless = ["serve", "--set", "auth.public_keys=no.pem"];
    refused(&directory, &useless, &[], &["auth.public_keys: no.pem: "]);
}

#[test]
fn settings_file_error_is_reported_with_its_place() {
    let directory = scratch("wrong-file");
    let environment = [("JWT_SECRET", SECRET)];
    let file = "shards = 2\n[limits]\nmesages_per_minute = 5\n  frame_bytes = \"many\"\n[colours]\n";
    fs::write(directory.join("switchboard.toml"), file).expect("a file");
    let places = [
        "switchboard.toml:3:1: unknown key limits.mesages_per_minute; did you mean limits.messages_per_minute?",
        "switchboard.toml:4:17: limits.frame_bytes: found \"many\", expected ",
        "switchboard.toml:5:2: unknown key colours",
    ];
    for command in ["serve", "config"] {
        refused(&directory, &[command], &environment, &places);
    }
    fs::write(directory.join("other.toml"), "[auth]\nsecret = \"do not tell\nshards = 1\n").expect("a file");
    refused(&directory, &["serve", "--config", "other.toml"], &[], &["other.toml:2:"]);
    let outcome = run(&directory, &["serve", "--config", "other.toml"], &[]);
    assert!(!outcome.stderr.contains("do not tell"), "{outcome:?}");
    refused(&directory, &["serve", "--config", "absent.toml"], &environment, &["absent.toml", "No such file"]);
}

#[test]
fn invalid_flags_and_variables_are_reported() {
    let directory = scratch("wrong-flags");
    let environment = [("JWT_SECRET", SECRET)];
    let cases: [(&[&str], &[&str]); 9] = [
        (&["--set", "limits.frame_bites=5"], &["--set", "limits.frame_bites", "did you mean limits.frame_bytes?"]),
        (&["--set", "limits.frame_bytes=-5"], &["--set", "limits.frame_bytes", "expected"]),
        (&["--set", "limits.frame_bytes"], &["--set", "expected key=value"]),
        (&["--set", "=5"], &["--set"]),
        (&["--set", "limits=5"], &["--set", "limits"]),
        (&["--set", "rooms.create_on_join=perhaps"], &["\"seed\"", "\"always\"", "\"never\""]),
        (&["--shards", "0"], &["--shards", "expected"]),
        (&["--listen", "nowhere"], &["--listen", "nowhere"]),
        (&["--listen", "127.0.0.1:8090", "--listen", "127.0.0.1:8090"], &["127.0.0.1:8090"]),
    ];
    for (flags, said) in cases {
        let arguments: Vec<&str> = ["serve"].iter().chain(flags).copied().collect();
        refused(&directory, &arguments, &environment, said);
    }
    let variables = [("JWT_SECRET", SECRET), ("SWITCHBOARD_LIMITS__FRAME_BITES", "5")];
    refused(&directory, &["serve"], &variables, &["SWITCHBOARD_LIMITS__FRAME_BITES: no setting has this name"]);
    let variables = [("JWT_SECRET", SECRET), ("SWITCHBOARD_DRAIN__SECONDS", "soon")];
    refused(&directory, &["serve"], &variables, &["SWITCHBOARD_DRAIN__SECONDS: drain.seconds", "expected"]);
    let mistyped: [(&[&str], &str); 4] = [
        (&["serve", "--dve"], "tip: use '--dev'"),
        (&["serve", "--port", "9000"], "tip: use '--listen ADDR:PORT'"),
        (&["serve", "--drain-seconds", "5"], "tip: use '--set drain.seconds=VALUE'"),
        (&["serve", "--lisen", "a"], "tip: a similar argument exists: '--listen'"),
    ];
    for (arguments, tip) in mistyped {
        let outcome = run(&directory, arguments, &environment);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains(tip), "{tip}: {outcome:?}");
    }
    for unknown in [&["serve", "--colour"][..], &["dance"], &["token"]] {
        let outcome = run(&directory, unknown, &[]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome:?}");
        assert!(outcome.stderr.contains("Usage:"), "{outcome:?}");
    }
}

#[test]
fn listen_address_in_use_is_reported() {
    let directory = scratch("in-use");
    let environment = [("JWT_SECRET", SECRET)];
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("its address").to_string();
    let said = format!("cannot listen on {taken}: the port is in use by another program");
    refused(&directory, &["serve", "--listen", &taken], &environment, &[&said, "--listen"]);
    // A second server does not share a port with the first, although the shards of one do.
    let server = Server::start(&["--shards", "2"]);
    let mine = ["serve", "--shards", "2", "--listen", "127.0.0.1:0", "--listen", &server.address];
    refused(&directory, &mine, &environment, &[&server.address, "in use"]);
    assert_eq!(get(&server.address, "/healthz", None).0, 200);
    refused(&directory, &["serve", "--listen", "192.0.2.1:8090"], &environment, &["192.0.2.1:8090"]);
}

#[test]
fn each_listen_address_is_printed_and_served() {
    let directory = scratch("addresses");
    let environment = [("JWT_SECRET", SECRET)];
    let listen = ["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--listen", "127.0.0.2:0"];
    let arguments: Vec<&str> = ["serve", "--shards", "2"].iter().chain(&listen).copied().collect();
    let mut serving = Serving::start(&directory, &arguments, &environment);
    for host in ["127.0.0.1:", "[::1]:", "127.0.0.2:"] {
        let address = serving.address();
        assert!(address.starts_with(host), "{address}");
        for _ in 0..8 {
            assert_eq!(get(&address, "/healthz", None).0, 200);
        }
        let client = Client::connect(&address, Some(&token("ann", &json!({}))));
        assert_eq!(client.hello["userId"], "ann");
    }
    drop(serving);
    // A host name stands for its addresses.
    let mut serving = Serving::start(&directory, &["serve", "--listen", "localhost:0"], &environment);
    let address = serving.address();
    assert!(address.starts_with("127.0.0.1:") || address.starts_with("[::1]:"), "{address}");
    assert_eq!(get(&address, "/healthz", None).0, 200);
    drop(serving);
    refused(&directory, &["serve", "--listen", "no.such.host.invalid:1"], &environment, &["no.such.host.invalid:1"]);
    // The same by the environment, and by a file that a flag overrides.
    let variables = [("JWT_SECRET", SECRET), ("SWITCHBOARD_LISTEN", "[\"127.0.0.3:0\"]")];
    assert!(Serving::start(&directory, &["serve"], &variables).address().starts_with("127.0.0.3:"));
    fs::write(directory.join("switchboard.toml"), "listen = [\"127.0.0.4:0\"]\n").expect("a file");
    assert!(Serving::start(&directory, &["serve"], &environment).address().starts_with("127.0.0.4:"));
    let flagged = ["serve", "--listen", "127.0.0.5:0"];
    assert!(Serving::start(&directory, &flagged, &variables).address().starts_with("127.0.0.5:"));
}

#[test]
fn dev_command_prints_everything_needed_to_try() {
    let directory = scratch("dev");
    let mut serving = Serving::start(&directory, &["serve", "--dev", "--listen", "127.0.0.1:0"], &[]);
    let address = serving.address();
    for page in ["/", "/call", "/console", "/dashboard"] {
        let line = serving.line();
        assert!(line.ends_with(&format!(" http://{address}{page}")), "{line:?}");
        let (status, head) = get(&address, page, None);
        assert_eq!(status, 200);
        assert!(head.to_ascii_lowercase().contains("content-type: text/html"), "{head}");
    }
    let mut tokens = Vec::new();
    for (label, user, may_list) in [("token of user alice ", "alice", 403), ("token of admin root ", "root", 200)] {
        let line = serving.line();
        let token = line.strip_prefix(label).unwrap_or_else(|| panic!("{line:?}")).trim();
        let mut client = Client::connect(&address, Some(token));
        assert_eq!(client.hello["userId"], user);
        assert_eq!(client.join("a-new-room", user)["roomId"], "a-new-room");
        assert_eq!(get(&address, "/api/rooms", Some(token)).0, may_list, "{user}");
        tokens.push(token.to_owned());
    }
    let guest = Client::connect(&address, None);
    assert!(guest.hello["userId"].as_str().expect("a user").starts_with("guest:"));
    // The secret is kept: a second server in the same directory accepts the tokens, and the next one, too.
    let start = |arguments: &[&str]| {
        let arguments: Vec<&str> =
            ["serve", "--dev", "--listen", "127.0.0.1:0"].iter().chain(arguments).copied().collect();
        let mut serving = Serving::start(&directory, &arguments, &[]);
        let address = serving.address();
        (serving, address)
    };
    let (second, second_address) = start(&[]);
    assert_eq!(Client::connect(&second_address, Some(&tokens[0])).hello["userId"], "alice");
    drop((serving, second));
    let (_third, third_address) = start(&[]);
    assert_eq!(Client::connect(&third_address, Some(&tokens[0])).hello["userId"], "alice");
    let outcome = run(&directory, &["token", "--dev", "--sub", "carol"], &[]);
    let token = outcome.stdout.trim();
    assert_eq!(Client::connect(&third_address, Some(token)).hello["userId"], "carol", "{outcome:?}");
    // Each directory has its own, and without one there is none to be kept.
    for arguments in [["--data", "elsewhere"], ["--data", ""]] {
        let (_other, other_address) = start(&arguments);
        assert!(Client::try_connect(&other_address, Some(&tokens[0])).is_err(), "{arguments:?}");
    }
    let nowhere = ["token", "--dev", "--sub", "carol", "--data", "nowhere"];
    refused(&directory, &nowhere, &[], &["no server has kept one in nowhere yet", "switchboard serve --dev"]);
}

#[test]
fn start_that_fails_leaves_no_directory_behind() {
    let directory = scratch("failed-start");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    let key = ["--set", "auth.public_keys=[\"absent.pem\"]"];
    for arguments in [&["--listen", taken.as_str()][..], &key] {
        for command in [&["serve", "--dev"][..], &["serve"]] {
            let arguments: Vec<&str> = command.iter().chain(arguments).copied().collect();
            refused(&directory, &arguments, &[("JWT_SECRET", if command.len() > 1 { "" } else { SECRET })], &[]);
            assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 0, "{arguments:?}");
        }
    }
}

#[test]
fn token_command_signs_for_the_same_settings() {
    let directory = scratch("tokens");
    let file = format!("[auth]\nsecret = \"{SECRET}\"\nissuer = \"me\"\naudience = [\"here\", \"there\"]\n");
    fs::write(directory.join("switchboard.toml"), file).expect("a file");
    let listen = ["serve", "--listen", "127.0.0.1:0"];
    let mut serving = Serving::start(&directory, &listen, &[]);
    let address = serving.address();
    let made = |arguments: &[&str], environment: &[(&str, &str)]| {
        let arguments: Vec<&str> = ["token"].iter().chain(arguments).copied().collect();
        let outcome = run(&directory, &arguments, environment);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
        assert_eq!(outcome.stdout.lines().count(), 1, "the token alone: {outcome:?}");
        outcome.stdout.trim().to_owned()
    };
    let user = made(&["--sub", "ann", "--ttl", "5m"], &[]);
    assert_eq!(Client::connect(&address, Some(&user)).hello["userId"], "ann");
    assert_eq!(get(&address, "/api/rooms", Some(&user)).0, 403);
    let admin = made(&["--sub", "ann", "--role", "admin"], &[]);
    assert_eq!(get(&address, "/api/rooms", Some(&admin)).0, 200);
    let other = made(&["--sub", "ann"], &[("JWT_SECRET", "another secret, that is long enough too")]);
    assert!(Client::try_connect(&address, Some(&other)).is_err());
    assert_eq!(get(&address, "/api/rooms", Some(&other)).0, 401);
    let elsewhere = made(&["--sub", "ann", "--set", "auth.issuer=you"], &[]);
    assert!(Client::try_connect(&address, Some(&elsewhere)).is_err());
    fs::remove_file(directory.join("switchboard.toml")).expect("it was there");
    refused(&directory, &["token", "--sub", "ann"], &[], &["no secret", "auth.secret", "JWT_SECRET"]);
}

#[test]
fn printed_settings_hide_secrets_and_can_be_read_again() {
    let directory = scratch("config");
    let environment = [
        ("JWT_SECRET", SECRET),
        ("TURN_URL", "turn:turn.example:3478"),
        ("TURN_USERNAME", "turner"),
        ("TURN_CREDENTIAL", "hush hush"),
        ("REDIS_HOST", "redis.example"),
        ("REDIS_PASSWORD", "quiet"),
        ("SWITCHBOARD_LIMITS__FRAME_BYTES", "4096"),
    ];
    let flags = ["config", "--shards", "3", "--set", "turn.secret=whisper", "--listen", "[::1]:1"];
    let outcome = run(&directory, &flags, &environment);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for secret in [SECRET, "hush hush", "quiet", "whisper"] {
        assert!(!outcome.stdout.contains(secret) && !outcome.stderr.contains(secret), "{secret}: {outcome:?}");
    }
    let lines = ["frame_bytes = 4096  # SWITCHBOARD_LIMITS__FRAME_BYTES", "shards = 3  # --shards"];
    for line in lines.iter().chain(&["secret = \"********\"  # JWT_SECRET", "username = \"turner\"  # TURN_USERNAME"]) {
        assert!(outcome.stdout.lines().any(|shown| shown == *line), "{line}\n{}", outcome.stdout);
    }
    let values = |text: &str| text.parse::<toml::Table>().expect("a settings file");
    // What stands for a secret is known to everybody, so it is refused as one; filled in, the rest is as it was.
    fs::write(directory.join("again.toml"), &outcome.stdout).expect("a file");
    let keys = ["again.toml:", "auth.secret", "turn.credential", "turn.secret"];
    refused(&directory, &["config", "--config", "again.toml"], &[], &keys);
    refused(&directory, &["serve", "--config", "again.toml", "--listen", "127.0.0.1:0"], &[], &keys);
    fs::write(
        directory.join("again.toml"),
        outcome.stdout.replace("\"********\"", "\"filled in by hand, and long enough\""),
    )
    .expect("a file");
    let again = run(&directory, &["config", "--config", "again.toml"], &[]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(values(&again.stdout), values(&outcome.stdout));
    assert!(again.stdout.contains("frame_bytes = 4096  # again.toml:"), "{}", again.stdout);
    // There is no Redis of that name.
    let arguments = ["serve", "--config", "again.toml", "--set", "redis.url=", "--listen", "127.0.0.1:0"];
    assert!(Serving::start(&directory, &arguments, &[]).address().starts_with("127.0.0.1:"));
}

#[test]
fn health_command_exits_by_server_health() {
    let directory = scratch("health");
    let mut server = Server::start(&[]);
    let base = format!("http://{}", server.address);
    for path in ["", "/", "/healthz", "/readyz"] {
        let outcome = run(&directory, &["health", &format!("{base}{path}")], &[]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{path}: {outcome:?}");
        assert!(outcome.stdout.contains("\"status\""), "{outcome:?}");
    }
    refused(&directory, &["health", &format!("{base}/nowhere")], &[], &["answered 404"]);
    refused(&directory, &["health", &format!("{base}/api/rooms")], &[], &["answered 401"]);
    refused(&directory, &["health", "https://127.0.0.1"], &[], &["http://127.0.0.1:8090/healthz"]);
    server.signal(15);
    assert!(server.wait(support::client::PATIENCE).success());
    refused(&directory, &["health", &base], &[], &["refused"]);
}

#[test]
fn unverified_tokens_outside_loopback_are_refused() {
    let directory = scratch("unchecked");
    let unchecked = ["serve", "--set", "auth.verify=none"];
    for exposed in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let arguments: Vec<&str> =
            unchecked.iter().chain(&["--listen", "127.0.0.1:0", "--listen", exposed]).copied().collect();
        refused(&directory, &arguments, &[], &["auth.verify", "loopback", exposed]);
    }
    refused(&directory, &unchecked, &[], &["auth.verify", "[::]:8090"]);
    for loopback in ["127.0.0.1:0", "[::1]:0", "127.1.2.3:0"] {
        let arguments: Vec<&str> = unchecked.iter().chain(&["--listen", loopback]).copied().collect();
        let address = Serving::start(&directory, &arguments, &[]).address();
        assert!(address.starts_with(loopback.trim_end_matches('0')), "{address}");
    }
    let mut serving =
        Serving::start(&directory, &["serve", "--set", "auth.verify=none", "--listen", "127.0.0.1:0"], &[]);
    let client = Client::connect(&serving.address(), Some(&token("ann", &json!({}))));
    assert_eq!(client.hello["userId"], "ann");
}

/// Standard output whose reader has gone, as with `| head -1`, is no reason to fail.
#[test]
fn closed_standard_output_does_not_stop_the_server() {
    let directory = scratch("unread");
    for arguments in [&["config", "--dev"][..], &["token", "--sub", "ann"], &["--help"], &[]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = program(&directory, arguments, &[("JWT_SECRET", SECRET)]);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().expect("it runs");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
    // Nobody is told which port it picks, so it is given one that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").to_string();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = program(&directory, &["serve", "--dev", "--listen", &free], &[]);
    let _server = Kept(command.stdout(writer).spawn().expect("it runs"));
    wait_until("it serves", || TcpStream::connect(&free).is_ok());
    assert_eq!(get(&free, "/healthz", None).0, 200);
}

#[test]
fn program_without_command_prints_usage() {
    let directory = scratch("help");
    for arguments in [&[][..], &["--help"], &["help"]] {
        let outcome = run(&directory, arguments, &[]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
        for word in ["serve", "token", "config", "health"] {
            assert!(outcome.stdout.contains(word), "{word} is not in\n{}", outcome.stdout);
        }
    }
    let version = run(&directory, &["--version"], &[]);
    assert_eq!(version.stdout, concat!("switchboard ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn server_for_guests_only_starts_without_key() {
    let directory = scratch("guests");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data", "", "--set", "auth.guests=true"];
    let environment = [("TURN_URL", "turn:a.example:3478,turns:b.example:5349"), ("TURN_USERNAME", "u")];
    let environment = [&environment[..], &[("TURN_CREDENTIAL", "c"), ("SWITCHBOARD_ROOMS__CREATE_ON_JOIN", "always")]];
    let environment = [&environment.concat()[..], &[("SWITCHBOARD_TURN__GUESTS", "true")]];
    let mut serving = Serving::start(&directory, &arguments, &environment.concat());
    let address = serving.address();
    let mut guest = Client::connect(&address, None);
    guest.send(&json!({ "type": "join-room", "roomId": "tea" }));
    let joined = guest.wait_for("room-joined");
    let urls = json!(["turn:a.example:3478", "turns:b.example:5349"]);
    assert_eq!(
        joined["iceServers"],
        json!([{
            "urls": urls, "username": "u", "credential": "c", "credentialType": "password"
        }])
    );
    assert!(Client::try_connect(&address, Some(&token("ann", &json!({})))).is_err(), "no token can be verified");
}
