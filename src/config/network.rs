//! Settings of the process and its environment: addresses, proxies, web origins, ICE servers, Redis, shutdown, logging.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use tracing::level_filters::LevelFilter;

use super::apps::namespaces;
use super::kinds::{
    Checked, Mismatch, Network, Secret, Shaped, admin_addresses, limit, list, networks, one_of, origin, path, secret,
    text, truth, urls_in, web_addresses, whole,
};
use super::listen::{ListenerSettings, listeners};
use super::raw::settings;
use crate::codec::http::is_token;
use crate::domain::app::AppRules;
use crate::runtime::bridge::{ADDRESS_FORMS, RedisAddress};

settings! {
    /// The settings without a group; [`super::Settings`] has them as its own fields.
    pub(super) struct TopSettings in "" {
        /// Addresses and ports to listen on; `--dev`: `127.0.0.1:8090` and `[::1]:8090`. `[::]` is every address, of IPv4
        /// too. Port 0 picks a free one. A host name stands for its addresses. `unix:/PATH` is a Unix socket, `fd:3` one that systemd
        /// passes on. A table (`[[listen]]`) has `address` and perhaps `roles`, a list of `"public"`, `"admin"` and `"metrics"`,
        /// `tls` and `proxy_protocol`.
        listen: Vec<ListenerSettings> = vec!["[::]:8090"], listeners;
        /// Further addresses and ports, for operators: once there is one, `/metrics` and the calls of admins are served there
        /// only. `[]`: everything is served at `listen`.
        listen_admin: Vec<SocketAddr> = Vec::<String>::new(), admin_addresses;
        /// Threads that serve clients; by default one per core.
        shards: usize = 1, whole(1, 1_024);
        /// Directory for messages and rooms; `""`: data is kept in memory only.
        data_dir: Option<PathBuf> = "./switchboard-data", path;
        /// Addresses of the web client: the first for join links, all as allowed origins.
        client_url: Vec<String> = Vec::<String>::new(), web_addresses;
        /// Proxies that are trusted to report a client's address, as addresses and ranges.
        trusted_proxies: Vec<Network> = Vec::<String>::new(), networks;
        /// Whether trusted proxies send a PROXY protocol header, version 1 or 2, at the start of each connection.
        proxy_protocol: bool = false, truth;
    }
}

settings! {
    /// The server as its clients see it.
    pub struct ServerSettings in "server." {
        /// Host names of this server, without port, in addition to those of `client_url`, the addresses of `listen` and
        /// loopback. Pages loaded from these hosts may use the server.
        names: Vec<String> = Vec::<String>::new(), list("a host name without a port, such as chat.example", host_name);
    }
}

fn host_name(text: &str) -> Option<String> {
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    (is_name || text.parse::<Ipv6Addr>().is_ok()).then(|| text.to_ascii_lowercase())
}

settings! {
    /// Socket.IO clients.
    pub struct SocketIoSettings in "socketio." {
        /// Path that Socket.IO is served at, Socket.IO's option `path`.
        path: String = "/socket.io/", session_path;
        /// Transports that are served; both: sessions begin by polling and go on by a WebSocket.
        transports: Vec<String> = vec!["polling", "websocket"], transports;
        /// Milliseconds in which a session that polls has to have changed to its WebSocket, Socket.IO's option `upgradeTimeout`.
        upgrade_timeout_ms: u64 = 10_000, whole(100, 3_600_000);
        /// Whether polls are answered as scripts (JSONP) to clients that ask for it; never if a cookie authenticates them.
        jsonp: bool = false, truth;
        /// Whether version 3 of Engine.IO is served, which clients of Socket.IO 2 use.
        eio3: bool = true, truth;
        /// Namespaces of the application, each a table `[socketio.namespaces."/game"]` with `mode = "app"` and perhaps `join` and
        /// `relay` ([socketio.md](socketio.md#namespaces-of-the-application)).
        namespaces: Vec<AppRules> = Vec::<String>::new(), namespaces;
        /// Prefix of the channels in Redis by which `@socket.io/redis-emitter` acts on namespaces of the application, its option
        /// `key`; `""`: none ([socketio.md](socketio.md#emitters)).
        emitter_key: String = "socket.io", channel;
        /// The channel in Redis by which managers of python-socketio act on them, their option `channel`; `""`: none.
        emitter_channel: String = "socketio", channel;
    }
}

settings! {
    /// Web pages that may use the server.
    pub struct CorsSettings in "cors." {
        /// Origins allowed in addition to the server's own names and `client_url`, such as `https://app.example`,
        /// `http://localhost:*` (any port), `capacitor://localhost` or `null`; `"*"`: any, as with `--dev`. Pages of `"*"` and `null` get no credentials,
        /// and their cookies do not count.
        origins: Vec<String> = Vec::<String>::new(),
            list("an origin, such as https://app.example or capacitor://localhost, null, or *", origin);
    }
}

settings! {
    /// The WebSocket endpoint `/ws`.
    pub struct WebSocketSettings in "websocket." {
        /// Subprotocols that a client of `/ws` may ask for, such as `chat`; the first one on its list that is named here is
        /// selected, `"*"`: the first one.
        subprotocols: Vec<String> = Vec::<String>::new(), list("a subprotocol, such as chat, or *", subprotocol);
        /// When a client without `?events=` gets `connect`, `presence` and `disconnect`: `"request"` (from its first request
        /// of the messaging protocol on), `"all"` (at once) or `"none"` (never).
        events: DefaultNotices = "request", one_of(NOTICES);
    }
}

fn subprotocol(text: &str) -> Option<String> {
    is_token(text).then(|| text.to_owned())
}

impl CorsSettings {
    /// Whether any origin is allowed.
    pub fn any(&self) -> bool {
        self.origins.iter().any(|origin| origin == "*")
    }
}

/// When a client of `/ws` gets notices that no request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultNotices {
    /// From its first request of the messaging protocol on.
    Request,
    /// From the beginning.
    All,
    /// Never.
    None,
}

impl Shaped for DefaultNotices {}

const NOTICES: &[(&str, DefaultNotices)] =
    &[("request", DefaultNotices::Request), ("all", DefaultNotices::All), ("none", DefaultNotices::None)];

settings! {
    /// Messages that a backend pushes.
    pub struct PushSettings in "push." {
        /// Whether every user may push messages to others, list the connected users and disconnect them, without a token
        /// with the scope `push`.
        by_users: bool = false, truth;
    }
}

settings! {
    /// What is told about connections.
    pub struct MonitoringSettings in "monitoring." {
        /// Whether every user may read the incidents and the overview of all connections, and not only admins.
        open: bool = false, truth;
    }
}

settings! {
    /// Detection of dead connections; also Engine.IO's pingInterval and pingTimeout.
    pub struct HeartbeatSettings in "heartbeat." {
        /// Milliseconds between pings to a client.
        interval_ms: u64 = 25_000, whole(1, 86_400_000);
        /// Milliseconds of silence after a ping after which the client counts as disconnected.
        timeout_ms: u64 = 20_000, whole(1, 86_400_000);
    }
}

settings! {
    /// STUN servers, from which browsers learn their public address.
    pub struct IceSettings in "ice." {
        /// STUN servers sent to clients, such as `stun:stun.example:3478`.
        stun_urls: Vec<String> = Vec::<String>::new(),
            urls_in("an address that begins with stun: or stuns:", &["stun:", "stuns:"]);
    }
}

settings! {
    /// The TURN server, for clients that cannot connect to each other directly.
    pub struct TurnSettings in "turn." {
        /// Addresses of the TURN server sent to clients, such as `turn:turn.example:3478`.
        url: Vec<String> = Vec::<String>::new(), urls_in("an address that begins with turn: or turns:", &["turn:", "turns:"]);
        /// User name for `turn.credential`.
        username: Option<String> = "", text;
        /// Static password, the same for all clients.
        credential: Option<Secret> = "", secret;
        /// Secret shared with the TURN server, from which each client gets a temporary password (coturn's REST scheme);
        /// takes precedence over `turn.credential`.
        secret: Option<Secret> = "", secret;
        /// File with `turn.secret`, looked up as `auth.secret_file` is.
        secret_file: Option<PathBuf> = "", path;
        /// Lifetime of a temporary password, in seconds.
        ttl_s: u64 = 7_200, whole(60, 31_536_000);
        /// Whether guests get the TURN server and a password for it, too.
        guests: bool = false, truth;
    }
}

settings! {
    /// The Redis that owns rooms and users of a cluster.
    pub struct RedisServerSettings in "redis." {
        /// Redis 7 or later, or Valkey, shared by the servers of a cluster, such as `redis://:password@host:6379`,
        /// `rediss://` with TLS, `redis+sentinel://host:port,host:port/master` or
        /// `redis+cluster://host:port,host:port`; `""`: none, a single server.
        url: Option<Secret> = "", redis_address;
        /// Password for Redis, instead of one in `redis.url`.
        password: Option<Secret> = "", secret;
        /// File with `redis.password`, looked up as `auth.secret_file` is.
        password_file: Option<PathBuf> = "", path;
        /// PEM file with the certificate authorities trusted to sign the certificate of a Redis with TLS; `""`: those
        /// of the system.
        ca_file: Option<PathBuf> = "", path;
        /// Prefix of every key in Redis.
        prefix: String = "switchboard", key_prefix;
        /// Rooms without members whose messages Redis keeps; those without members for longest are removed first. 0: any
        /// number. A room with a few messages takes about 1.5 KB.
        resting_rooms: u64 = 1_000_000, limit(1_000_000_000);
    }
}

/// A path with a slash at its end, unless the server itself serves it.
fn session_path(value: &toml::Value) -> Checked<String> {
    const TAKEN: [&str; 3] = ["/", "/ws/", "/api/"];
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    let path = value.as_str().map(|text| format!("{}/", text.trim_end_matches('/')));
    match path {
        Some(path)
            if path.starts_with('/')
                && path.len() <= 128
                && path.bytes().all(is_plain)
                && !TAKEN.contains(&&*path)
                && !path.starts_with("/api/") =>
        {
            Ok(path)
        }
        _ => {
            let expected = "a path of letters, digits and - _ . ~ /, such as /socket.io/, and not /, /ws or below /api";
            Err(Mismatch { part: None, expected: expected.to_owned() })
        }
    }
}

fn transports(value: &toml::Value) -> Checked<Vec<String>> {
    const WORDS: &str = "polling or websocket";
    let known = list(WORDS, |text| ["polling", "websocket"].contains(&text).then(|| text.to_owned()))(value)?;
    match known.is_empty() {
        true => Err(Mismatch { part: None, expected: format!("a list of {WORDS}, or both") }),
        false => Ok(known),
    }
}

/// A name of a channel, or the beginning of one, without the characters that patterns have.
fn channel(value: &toml::Value) -> Checked<String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"*?[]^\\".contains(&byte);
    match value.as_str() {
        Some(text) if text.len() <= 64 && text.bytes().all(is_plain) => Ok(text.to_owned()),
        _ => Err(Mismatch { part: None, expected: "at most 64 printable characters without * ? [ ] ^ \\".to_owned() }),
    }
}

fn redis_address(value: &toml::Value) -> Checked<Option<Secret>> {
    match value.as_str() {
        Some("") => Ok(None),
        Some(text) if RedisAddress::parse(text).is_some() => secret(value),
        _ => Err(Mismatch { part: None, expected: ADDRESS_FORMS.to_owned() }),
    }
}

/// Braces would change the hash tag that keeps a room's keys on one node of a Redis Cluster.
fn key_prefix(value: &toml::Value) -> Checked<String> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.:".contains(letter);
    match value.as_str() {
        Some(text) if (1..=64).contains(&text.len()) && text.chars().all(allowed) => Ok(text.to_owned()),
        _ => Err(Mismatch { part: None, expected: "1 to 64 of the characters A-Z a-z 0-9 - _ . :".to_owned() }),
    }
}

settings! {
    /// Shutdown.
    pub struct DrainSettings in "drain." {
        /// Seconds over which clients are asked to reconnect elsewhere at shutdown; 0: at once.
        seconds: u64 = 10, limit(3_600);
    }
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line, for machines.
    Json,
}

impl Shaped for LogFormat {}

const LOG_FORMAT: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

const AUDIT_FORMAT: &[(&str, Option<LogFormat>)] =
    &[("", None), ("text", Some(LogFormat::Text)), ("json", Some(LogFormat::Json))];

const LOG_LEVEL: &[(&str, LevelFilter)] = &[
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

const AUDIT_LEVEL: &[(&str, LevelFilter)] =
    &[("off", LevelFilter::OFF), ("warn", LevelFilter::WARN), ("info", LevelFilter::INFO)];

settings! {
    /// The log of what admins and hosts do, and of refused attempts.
    pub struct AuditSettings in "audit." {
        /// Level of the audit log: `"info"` has all of it, `"warn"` refused attempts only, `"off"` nothing.
        level: LevelFilter = "info", one_of(AUDIT_LEVEL);
        /// `"text"` for people, `"json"` for machines; `""`: as `log.format`.
        format: Option<LogFormat> = "", one_of(AUDIT_FORMAT);
        /// File that audit lines are appended to; `""`: standard error, with the other lines.
        file: Option<PathBuf> = "", path;
    }
}

settings! {
    /// The access log: a line for each connection that has ended and for each request by HTTP that was answered.
    pub struct AccessSettings in "access." {
        /// Whether there is an access log.
        enabled: bool = false, truth;
        /// Log one of so many connections and requests; answers with a status from 500 on are logged in any case.
        sample: usize = 1, whole(1, 1_000_000);
        /// `"text"` for people, `"json"` for machines; `""`: as `log.format`.
        format: Option<LogFormat> = "", one_of(AUDIT_FORMAT);
        /// File that lines are appended to, opened again at SIGHUP; `""`: standard error, with the other lines.
        file: Option<PathBuf> = "", path;
    }
}

settings! {
    /// Logging to standard error.
    pub struct LogSettings in "log." {
        /// Log level: `"off"`, `"error"`, `"warn"`, `"info"`, `"debug"` or `"trace"`.
        level: LevelFilter = "info", one_of(LOG_LEVEL);
        /// `"text"` for people, `"json"` for machines.
        format: LogFormat = "text", one_of(LOG_FORMAT);
    }
}
