//! What a shard goes by: checked settings, read once at start and shared by all shards.

use std::sync::Arc;

use crate::base::network::Network;
use crate::base::time::Now;
use crate::codec::http::HeadLimits;
use crate::codec::turn::{self, TurnSecret};
use crate::codec::{engineio, json, socketio, ws};
use crate::connection::credentials::Origins;
use crate::connection::session;
use crate::connection::websocket::{Heartbeat, SignalRate};
use crate::domain::monitoring::Load;
use crate::domain::op::RoomRules;
use crate::domain::quota::{AttemptRules, Rates};

/// A shard's settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node's number in the cluster.
    pub node: u16,
    /// Shards of this process.
    pub shards: usize,
    /// What a request's head may be.
    pub head: HeadLimits,
    /// Bytes a request's body may have.
    pub body_bytes: usize,
    /// What a WebSocket message may be.
    pub websocket: ws::FrameLimits,
    /// Bytes a message's content may have.
    pub content_bytes: usize,
    /// Bytes that may wait for a connection that does not read.
    pub outbound_bytes: usize,
    /// Rooms a connection may be in; 0 is any number.
    pub rooms_per_connection: usize,
    /// Connections that all shards take on together, and so the most that one may come to have; 0 is any number.
    pub connections: usize,
    /// The process's memory and its bound.
    pub memory: fn() -> Load,
    /// Signaling messages a connection may send.
    pub signals: SignalRate,
    /// WebSocket heartbeats.
    pub heartbeat: Heartbeat,
    /// How long a new connection may be silent, in milliseconds.
    pub handshake_ms: u64,
    /// How long a request's head, and then its body, may take, in milliseconds.
    pub head_ms: u64,
    /// How long a connection may be kept alive between requests, in milliseconds.
    pub idle_ms: u64,
    /// How long a client whose connection was lost may come back, in milliseconds; 0: never.
    pub recovery_window_ms: u64,
    /// How long changes of presence are gathered, in milliseconds.
    pub presence_batch_ms: u64,
    /// Whether clients without a token are guests.
    pub guests: bool,
    /// Whether joining a room that is not there makes it.
    pub create_on_join: bool,
    /// Whether it does where clients speak `camel`, which has no other way to make rooms.
    pub create_on_join_in_camel: bool,
    /// Pages that may use the server.
    pub origins: Origins,
    /// Where the application's pages are, for links; the server's own address when absent.
    pub client_url: Option<String>,
    /// What peers need to find a way to each other.
    pub ice: Ice,
    /// What rooms and users go by.
    pub rules: Arc<RoomRules>,
    /// What Engine.IO sessions and what is said in them go by.
    pub socket_io: SocketIo,
    /// How much users may say, and who may connect.
    pub allowances: Allowances,
}

/// How much users may say, and who may connect.
#[derive(Clone, Debug, Default)]
pub struct Allowances {
    /// What users may do in a minute.
    pub rates: Rates,
    /// How often an address may connect.
    pub attempts: AttemptRules,
    /// Connections an address may have; 0 is any number.
    pub connections_per_address: usize,
    /// Proxies whose word on a client's address is taken.
    pub trusted_proxies: Vec<Network>,
    /// Whether those give it by the PROXY protocol, at the start of each connection.
    pub proxy_protocol: bool,
}

/// What Engine.IO sessions and what is said in them go by.
#[derive(Clone, Debug)]
pub struct SocketIo {
    /// The sessions.
    pub sessions: session::SessionSettings,
    /// What a packet may be.
    pub packet: socketio::SocketIoLimits,
    /// How long a session may be without a namespace, in milliseconds.
    pub connect_ms: u64,
    /// Whether test suites are served, by echoes, in place of clients.
    pub is_conformance: bool,
}

impl Default for SocketIo {
    /// As the protocols' documents have it.
    fn default() -> Self {
        Self {
            sessions: session::SessionSettings {
                heartbeat: Heartbeat { interval_ms: 25_000, timeout_ms: 20_000 },
                upgrade_ms: 10_000,
                payload: engineio::PayloadLimits::default(),
                outbound_bytes: 1 << 20,
            },
            packet: socketio::SocketIoLimits::default(),
            connect_ms: 45_000,
            is_conformance: false,
        }
    }
}

impl Options {
    /// The same, for test suites.
    #[must_use]
    pub fn for_conformance(self) -> Self {
        let socket_io = SocketIo::conformance();
        // Echoes of several of the largest messages may wait for a suite that sends before it reads.
        Self { outbound_bytes: 256 << 20, socket_io, ..self }
    }
}

impl SocketIo {
    /// What the protocols' public test suites ask for.
    pub fn conformance() -> Self {
        let default = Self::default();
        let heartbeat = Heartbeat { interval_ms: 300, timeout_ms: 200 };
        let sessions = session::SessionSettings { heartbeat, ..default.sessions };
        Self { sessions, connect_ms: 1_000, is_conformance: true, ..default }
    }
}

/// STUN and TURN servers, as clients are told of them.
#[derive(Clone, Debug, Default)]
pub struct Ice {
    /// STUN servers, `stun:host:port`.
    pub stun_urls: Vec<String>,
    /// The TURN server, `turn:host:port`.
    pub turn_url: Option<String>,
    /// What opens it.
    pub turn_access: TurnAccess,
}

/// What opens a TURN server.
#[derive(Clone, Debug, Default)]
pub enum TurnAccess {
    /// Nothing is needed.
    #[default]
    Open,
    /// A name and a password, the same for everyone.
    Fixed {
        /// The name.
        username: String,
        /// The password.
        credential: String,
    },
    /// Credentials made for each user, which end by themselves.
    Timed {
        /// Shared with the TURN server.
        secret: Box<TurnSecret>,
        /// How long they hold, in seconds.
        ttl_s: u64,
    },
}

impl Ice {
    /// The list of servers for `user`, as JSON.
    pub fn servers(&self, user: &str, now: Now) -> String {
        let mut out = Vec::with_capacity(256);
        out.push(b'[');
        if !self.stun_urls.is_empty() {
            let mut object = json::Object::begin(&mut out);
            object.list("urls", &self.stun_urls, |out, url| json::string(out, url)).end();
        }
        if let Some(url) = &self.turn_url {
            if out.len() > 1 {
                out.push(b',');
            }
            let mut object = json::Object::begin(&mut out);
            object.list("urls", [url], |out, url| json::string(out, url));
            let access = match &self.turn_access {
                TurnAccess::Open => None,
                TurnAccess::Fixed { username, credential } => Some((username.clone(), credential.clone())),
                TurnAccess::Timed { secret, ttl_s } => {
                    Some(turn::credentials(secret, user, now.unix_seconds().saturating_add(*ttl_s)))
                }
            };
            if let Some((username, credential)) = access {
                object.string("username", &username).string("credential", &credential);
                object.string("credentialType", "password");
            }
            object.end();
        }
        out.push(b']');
        // It was written as JSON text just now.
        String::from_utf8(out).unwrap_or_default()
    }
}
