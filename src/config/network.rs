//! Settings of the process and of its surroundings: what it listens on, who stands before it,
//! what it leans on, and how it leaves.

use std::net::SocketAddr;
use std::path::PathBuf;

use tracing::level_filters::LevelFilter;

use super::kinds::{
    Checked, Mismatch, Network, Secret, Shaped, address_in, addresses, has_host, limit, list, networks, one_of, origin,
    path, secret, text, truth, web_address, whole,
};
use super::raw::settings;
use crate::runtime::bridge::{Address, FORMS};

settings! {
    /// The settings that stand before any group; [`super::Settings`] carries them itself.
    pub(super) struct TopSettings in "" {
        /// Addresses and ports to listen on; `--dev`: `127.0.0.1:8090`. Port 0 picks a free one.
        listen: Vec<SocketAddr> = vec!["0.0.0.0:8090"], addresses;
        /// Threads that serve clients; by default as many as there are cores.
        shards: usize = 1, whole(1, 1_024);
        /// Directory for messages and rooms; `""`: nothing is kept on disk.
        data_dir: Option<PathBuf> = "./switchboard-data", path;
        /// Address of the web client, for join links and as an allowed origin; `""`: none.
        client_url: Option<String> = "", web_address;
        /// Proxies whose word on the client's address is taken, as addresses and ranges.
        trusted_proxies: Vec<Network> = Vec::<String>::new(), networks;
        /// Whether those proxies begin each connection with a PROXY protocol header, version 1 or 2.
        proxy_protocol: bool = false, truth;
    }
}

settings! {
    /// Which web pages may talk to the server.
    pub struct CorsSettings in "cors." {
        /// Origins allowed besides the server's own host and `client_url`; `"*"`: any, as with
        /// `--dev`.
        origins: Vec<String> = Vec::<String>::new(),
            list("an origin, such as https://app.example, or *", origin);
    }
}

impl CorsSettings {
    /// Whether any origin is allowed.
    pub fn any(&self) -> bool {
        self.origins.iter().any(|origin| origin == "*")
    }
}

settings! {
    /// When a silent client counts as gone. Also Engine.IO's pingInterval and pingTimeout.
    pub struct HeartbeatSettings in "heartbeat." {
        /// Milliseconds between pings to a client.
        interval_ms: u64 = 25_000, whole(1, 86_400_000);
        /// Milliseconds of silence after a ping until the client counts as gone.
        timeout_ms: u64 = 20_000, whole(1, 86_400_000);
    }
}

settings! {
    /// How browsers learn their own address.
    pub struct IceSettings in "ice." {
        /// STUN servers told to clients, such as `stun:stun.example:3478`.
        stun_urls: Vec<String> = Vec::<String>::new(),
            list("an address that begins with stun: or stuns:", stun_url);
    }
}

fn stun_url(text: &str) -> Option<String> {
    has_host(text, &["stun:", "stuns:"]).then(|| text.to_owned())
}

settings! {
    /// The TURN server told to clients that cannot reach each other.
    pub struct TurnSettings in "turn." {
        /// TURN server told to clients, such as `turn:turn.example:3478`; `""`: none.
        url: Option<String> = "", address_in(&["turn:", "turns:"]);
        /// User name that goes with `turn.credential`.
        username: Option<String> = "", text;
        /// Lasting password, the same for all clients.
        credential: Option<Secret> = "", secret;
        /// Secret shared with the TURN server, from which each client gets a password of its own
        /// (coturn's REST scheme); wins over `turn.credential`.
        secret: Option<Secret> = "", secret;
        /// Seconds such a password is good for.
        ttl_s: u64 = 86_400, whole(60, 31_536_000);
    }
}

settings! {
    /// The Redis that keeps the truth for a cluster of servers.
    pub struct RedisSettings in "redis." {
        /// Redis of at least version 7, or Valkey, that keeps rooms and users for several servers, such as
        /// `redis://:password@host:6379`, `rediss://` with TLS, `redis+sentinel://host:port,host:port/master` or
        /// `redis+cluster://host:port,host:port`; `""`: none, one server alone.
        url: Option<Secret> = "", redis_address;
        /// PEM file with the certificates of the authorities that are trusted to vouch for a Redis with TLS; `""`: those
        /// that the system trusts.
        ca_file: Option<PathBuf> = "", path;
        /// What every key in Redis begins with.
        prefix: String = "switchboard", key_prefix;
    }
}

fn redis_address(value: &toml::Value) -> Checked<Option<Secret>> {
    match value.as_str() {
        Some("") => Ok(None),
        Some(text) if Address::parse(text).is_some() => secret(value),
        _ => Err(Mismatch { part: None, expected: FORMS.to_owned() }),
    }
}

/// Braces would move the hash tag that keeps a room's keys on one node of a Redis Cluster.
fn key_prefix(value: &toml::Value) -> Checked<String> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.:".contains(letter);
    match value.as_str() {
        Some(text) if (1..=64).contains(&text.len()) && text.chars().all(allowed) => Ok(text.to_owned()),
        _ => Err(Mismatch { part: None, expected: "1 to 64 of the characters A-Z a-z 0-9 - _ . :".to_owned() }),
    }
}

settings! {
    /// How the server leaves.
    pub struct DrainSettings in "drain." {
        /// Seconds over which clients are asked to move elsewhere at shutdown; 0: at once.
        seconds: u64 = 10, limit(3_600);
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line, for machines.
    Json,
}

impl Shaped for LogFormat {}

const LOG_FORMAT: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

const LOG_LEVEL: &[(&str, LevelFilter)] = &[
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

settings! {
    /// What is logged to standard error, and how.
    pub struct LogSettings in "log." {
        /// How much is logged: `"off"`, `"error"`, `"warn"`, `"info"`, `"debug"` or `"trace"`.
        level: LevelFilter = "info", one_of(LOG_LEVEL);
        /// `"text"` for people, `"json"` for machines.
        format: LogFormat = "text", one_of(LOG_FORMAT);
    }
}
