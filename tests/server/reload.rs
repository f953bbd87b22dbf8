//! Settings that are read again while clients are served: by SIGHUP and by the command `reload`.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use support::certificates::CertificateAuthority;
use support::client::{Client, End};
use support::directory::Directory;
use support::http::{self, bearer};
use support::process::{LineLog, wait_until};
use support::redis::RedisServer;
use support::server::{Server, command, token};
use support::tls::TlsClient;
use support::workspace;

const FIRST: &str = "a first secret of more than thirty-two bytes";
const SECOND: &str = "a second secret of more than thirty-two bytes";

/// A token by a secret of the test's own.
fn token_by(secret: &str, user: &str, role: &str) -> String {
    let claims = json!({ "sub": user, "role": role, "exp": 4_000_000_000_u64 });
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).expect("a token")
}

/// A server with a settings file of its own, and the lines it logs.
struct Configured {
    server: Server,
    file: PathBuf,
    log: LineLog,
    directory: Directory,
}

impl Configured {
    fn start(settings: &str, arguments: &[&str]) -> Self {
        let directory = Directory::new();
        std::fs::create_dir_all(directory.path()).expect("a directory");
        let file = directory.path().join("switchboard.toml");
        std::fs::write(&file, settings).expect("a file");
        let path = file.to_string_lossy().into_owned();
        let arguments = [&["--config", path.as_str()], arguments].concat();
        let mut command = command(&arguments, &[]);
        command.env_remove("JWT_SECRET").stderr(Stdio::piped());
        let mut server = Server::spawn(&mut command);
        let log = LineLog::of(server.stderr().expect("a pipe"));
        Self { server, file, log, directory }
    }

    /// Writes other settings and has the server read them.
    fn change(&self, settings: &str) {
        std::fs::write(&self.file, settings).expect("a file");
        self.server.signal(1);
    }

    fn has_said(&self, text: &str) {
        wait_until(text, || self.log.contains(text));
    }

    fn issues(&self) -> Value {
        http::ask(&self.server.address, "GET", "/healthz", &[], None).json()["issues"].clone()
    }
}

fn by_secret(secret: &str, more: &str) -> String {
    format!("{more}\n[auth]\nsecret = '{secret}'\n")
}

fn status(server: &Server, secret: &str) -> u16 {
    let own = bearer(&token_by(secret, "ann", "user"));
    http::ask(&server.address, "GET", "/connections/ann", &[&own], None).status
}

#[test]
fn keys_limits_origins_and_log_level_change_while_clients_stay() {
    let limits = "rooms.create_on_join = 'always'\ncors.origins = ['https://old.example']\nlimits.message_bytes = 100";
    let it = Configured::start(&by_secret(FIRST, limits), &["--shards", "2"]);
    let address = it.server.address.clone();
    let mut ann = Client::connect(&address, Some(&token_by(FIRST, "ann", "user")));
    ann.join("r", "a");
    let long = json!({ "type": "message", "roomId": "r", "content": "x".repeat(200), "requestId": "long" });
    ann.send(&long);
    assert_eq!(ann.wait_until(|event| event["requestId"] == "long")["code"], "MESSAGE_TOO_LARGE");
    let allowed = |origin: &str| {
        let origin = format!("Origin: {origin}");
        http::ask(&address, "GET", "/healthz", &[&origin], None).header("access-control-allow-origin").is_some()
    };
    assert!(allowed("https://old.example") && !allowed("https://new.example"));
    assert_eq!((status(&it.server, FIRST), status(&it.server, SECOND)), (200, 401));

    let limits = "rooms.create_on_join = 'always'\ncors.origins = ['https://new.example']\nlimits.message_bytes = 300\n\
                  log.level = 'debug'\nice.stun_urls = ['stun:stun.example:1']\nheartbeat.interval_ms = 30000";
    it.change(&by_secret(SECOND, limits));
    it.has_said("settings read again");
    wait_until("the new key", || status(&it.server, SECOND) == 200);
    assert_eq!(status(&it.server, FIRST), 401);
    assert!(allowed("https://new.example") && !allowed("https://old.example"));
    ann.send(&long);
    assert_eq!(ann.wait_until(|event| event["requestId"] == "long")["type"], "message-sent");
    ann.send(&json!({ "type": "ping" }));
    it.has_said("request");
    for line in [
        "auth.secret is another one",
        "limits.message_bytes = 300, before 100",
        "cors.origins = [\"https://new.example\"], before [\"https://old.example\"]",
        "heartbeat.interval_ms = 30000, before 25000: this needs a restart",
        "changed=5 waiting=1",
    ] {
        it.has_said(line);
    }
    assert!(!it.log.contains(FIRST) && !it.log.contains(SECOND));
}

#[test]
fn invalid_settings_keep_the_former_ones_and_are_reported() {
    let it = Configured::start(&by_secret(FIRST, ""), &[]);
    for (wrong, said) in [
        (by_secret(SECOND, "limits.message_byte = 3"), "limits.message_byte"),
        (by_secret(SECOND, "no toml at all"), "switchboard.toml:1"),
        (by_secret(SECOND, "tls.cert_file = '/nowhere.pem'"), "tls.key_file is missing"),
        (by_secret(SECOND, "") + "public_keys = ['/nowhere.pem']", "auth.public_keys: /nowhere.pem"),
        (by_secret(SECOND, "") + "jwks_file = '/nowhere.json'", "auth.jwks_file: /nowhere.json"),
        ("listen = []".to_owned(), "at least one address"),
        (String::new(), "no key to verify tokens with"),
    ] {
        it.change(&wrong);
        it.has_said(said);
        let told = it.issues().to_string();
        assert!(told.contains("Refused: the settings"), "{said}: {told}");
        assert_eq!((status(&it.server, FIRST), status(&it.server, SECOND)), (200, 401), "{said}");
    }
    it.change(&by_secret(SECOND, ""));
    wait_until("the new key", || status(&it.server, SECOND) == 200);
    assert_eq!(it.issues(), json!([]));
}

#[test]
fn settings_that_cannot_change_stay_as_they_are() {
    let it = Configured::start(&by_secret(FIRST, "limits.exempt = []\nlimits.connections_per_ip = 2"), &[]);
    let more = "limits.exempt = ['127.0.0.0/8']\nlimits.connections_per_ip = 0\nshards = 7\npresence.scope = 'none'\n\
                redis.url = 'redis://127.0.0.1:1'\nlimits.sockets_per_ip = 500";
    it.change(&by_secret(FIRST, more));
    it.has_said("changed=1 waiting=5");
    let connect = || Client::try_connect(&it.server.address, Some(&token_by(FIRST, "ann", "user")));
    let clients = [connect().expect("a client"), connect().expect("a client")];
    assert!(connect().is_err());
    // Read once more, the difference is the same.
    it.server.signal(1);
    it.has_said("changed=0 waiting=5");
    drop(clients);
    it.change(&by_secret(FIRST, "limits.exempt = []\nlimits.connections_per_ip = 3"));
    it.has_said("limits.connections_per_ip = 3, before 2");
    let mut clients = Vec::new();
    wait_until("three clients", || {
        clients.extend(connect().ok());
        clients.len() == 3
    });
    assert!(connect().is_err());
}

#[test]
fn limits_of_users_change_at_their_owner() {
    let redis = RedisServer::start();
    for cluster in [String::new(), format!("redis.url = '{}'\n", redis.url())] {
        let settings = |most: usize| by_secret(FIRST, &format!("{cluster}limits.connections_per_user = {most}"));
        let it = Configured::start(&settings(1), &["--shards", "2"]);
        let own = token_by(FIRST, "ann", "user");
        let second = || {
            let mut client = Client::connect(&it.server.address, Some(&own));
            client.send(&json!({ "type": "ping" }));
            (client.next()["type"] == "pong").then_some(client)
        };
        let _first = second().expect("a connection");
        assert!(second().is_none());
        it.change(&settings(2));
        it.has_said("settings read again");
        let mut clients = Vec::new();
        wait_until("a second connection", || {
            clients.extend(second());
            !clients.is_empty()
        });
        assert!(second().is_none());
    }
}

fn reload(arguments: &[&str]) -> Output {
    let mut command = Command::new(workspace::program("switchboard"));
    command.arg("reload").args(arguments).env_clear();
    command.output().expect("it runs")
}

#[test]
fn command_checks_the_settings_and_finds_the_server() {
    let data = Directory::new();
    let data_dir = data.path().to_string_lossy().into_owned();
    let it = Configured::start(&by_secret(FIRST, ""), &["--data", &data_dir]);
    let config = it.file.to_string_lossy().into_owned();
    let arguments = ["--config", config.as_str(), "--data", &data_dir];
    let text = |output: &Output| String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    std::fs::write(&it.file, by_secret("short", "limits.message_byte = 3")).expect("a file");
    let refused = reload(&arguments);
    assert!(!refused.status.success() && text(&refused).contains("limits.message_byte"), "{}", text(&refused));
    std::fs::write(&it.file, by_secret(SECOND, "")).expect("a file");
    let done = reload(&arguments);
    assert!(done.status.success() && text(&done).contains(&it.server.pid().to_string()), "{}", text(&done));
    wait_until("the new key", || status(&it.server, SECOND) == 200);
    let elsewhere = it.directory.path().to_string_lossy().into_owned();
    let none = reload(&["--config", &config, "--data", &elsewhere]);
    assert!(!none.status.success() && text(&none).contains("no server uses the data directory"), "{}", text(&none));
    let unnamed = reload(&["--config", &config, "--data", ""]);
    assert!(!unnamed.status.success() && text(&unnamed).contains("--pid"), "{}", text(&unnamed));
    std::fs::write(&it.file, by_secret(FIRST, "")).expect("a file");
    assert!(reload(&["--config", &config, "--data", "", "--pid", &it.server.pid().to_string()]).status.success());
    wait_until("the first key", || status(&it.server, FIRST) == 200);
    let gone = reload(&["--config", &config, "--data", "", "--pid", "4194304"]);
    assert!(!gone.status.success() && text(&gone).contains("process 4194304"), "{}", text(&gone));
}

#[test]
fn generated_secret_outlives_a_reload() {
    let mut command = command(&["--dev"], &[]);
    command.env_remove("JWT_SECRET").stderr(Stdio::piped());
    let mut server = Server::spawn(&mut command);
    let log = LineLog::of(server.stderr().expect("a pipe"));
    server.signal(1);
    wait_until("a reading", || log.contains("changed=0 waiting=0"));
    drop(token("ann", &json!({})));
}

/// Clients of a busy room, and how many have lost their connection.
fn busy(address: &str, clients: usize, secret: &str, check: impl Fn(&AtomicU64)) {
    let (is_over, heard, lost) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let joined = AtomicU64::new(0);
    thread::scope(|scope| {
        for n in 0..clients {
            let (is_over, heard, lost, joined) = (&is_over, &heard, &lost, &joined);
            scope.spawn(move || {
                let own = token_by(secret, &format!("user{n}"), "user");
                let mut client = Client::connect(address, Some(&own));
                let room = format!("room{}", n / 10);
                client.join(&room, &format!("peer{n}"));
                joined.fetch_add(1, Ordering::Relaxed);
                let mut sent = 0;
                while !is_over.load(Ordering::Relaxed) {
                    sent += 1;
                    let number = &sent.to_string();
                    let message = json!({ "type": "message", "roomId": room, "content": "busy", "requestId": number });
                    client.send(&message);
                    loop {
                        match client.next_or_end() {
                            Ok(event) if event["requestId"] == *number => {
                                assert_eq!(event["type"], "message-sent", "{event}");
                                break;
                            }
                            Ok(_) => drop(heard.fetch_add(1, Ordering::Relaxed)),
                            Err(End::Close(..) | End::Cut) => {
                                lost.fetch_add(1, Ordering::Relaxed);
                                return;
                            }
                        }
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        wait_until("all clients", || joined.load(Ordering::Relaxed) == clients as u64);
        check(&heard);
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(lost.load(Ordering::Relaxed), 0, "connections lost");
}

#[test]
fn certificate_keys_limits_and_level_rotate_under_busy_clients_without_loss() {
    const CLIENTS: usize = 150;
    const ROTATIONS: u64 = 5;
    let authority = CertificateAuthority::new();
    let settings = |n: u64| {
        let [cert, key] = ["server.pem", "server.key"].map(|name| authority.file(name));
        let more = format!(
            "rooms.create_on_join = 'always'\npresence.scope = 'none'\nlimits.connections_per_ip = {}\n\
             limits.message_bytes = {}\nlog.level = '{}'\ntls.cert_file = '{cert}'\ntls.key_file = '{key}'",
            10_000 + n,
            16_384 + n,
            ["info", "warn"][n as usize % 2],
        );
        by_secret(if n.is_multiple_of(2) { FIRST } else { SECOND }, &more)
    };
    let it = Configured::start(&settings(0), &["--shards", "2"]);
    let address = it.server.address.clone();
    let client = TlsClient::new(&authority);
    let tunnel = client.tunnel(&address);
    busy(&tunnel.address, CLIENTS, FIRST, |heard| {
        let some_time = || {
            let before = heard.load(Ordering::Relaxed);
            wait_until("messages", || heard.load(Ordering::Relaxed) > before + 1_000);
        };
        some_time();
        let mut shown = vec![TlsClient::new(&authority).handshake(&address, "localhost").expect("it").certificate];
        for n in 1..=ROTATIONS {
            authority.issue("server", 100 + n, &["127.0.0.1", "localhost"]);
            it.change(&settings(n));
            let before = shown.last().expect("one").clone();
            wait_until("the new certificate", || {
                let served = TlsClient::new(&authority).handshake(&address, "localhost").expect("it").certificate;
                let is_new = served != before;
                if is_new {
                    shown.push(served);
                }
                is_new
            });
            let secret = if n.is_multiple_of(2) { FIRST } else { SECOND };
            wait_until("the new key", || {
                let own = token_by(secret, "late", "user");
                Client::try_connect(&tunnel.address, Some(&own)).is_ok()
            });
            some_time();
        }
        assert_eq!(shown.len() as u64, ROTATIONS + 1);
    });
    assert_eq!(tunnel.faults(), Vec::<String>::new());
}
