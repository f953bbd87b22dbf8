//! Settings of a shard: checked once at start and shared by all shards.

use std::fmt;
use std::sync::Arc;

use crate::base::limits;
use crate::base::network::Network;
use crate::base::time::Now;
use crate::codec::engineio::Transport;
use crate::codec::http::HeadLimits;
use crate::codec::turn::{self, TurnSecret};
use crate::codec::{engineio, json, socketio, ws};
use crate::connection::credentials::TokenCarriers;
use crate::connection::deflation::DeflateSettings;
use crate::connection::namespace::NamespaceIndex;
use crate::connection::origins::Origins;
use crate::connection::session;
use crate::connection::standing::Notices;
use crate::connection::websocket::{Heartbeat, SignalRate};
use crate::dialect::socketio::NAMESPACES;
use crate::domain::access::Identity;
use crate::domain::app::AppRules;
use crate::domain::decision::Decisions;
use crate::domain::hook::counters::HookCounters;
use crate::domain::monitoring::Load;
use crate::domain::monitoring::ProcessFigures;
use crate::domain::op::RoomRules;
use crate::domain::policy::Openness;
use crate::domain::quota::{AttemptRules, BudgetRules, Rates};
use crate::shard::notices::OperatorNotices;

/// Settings of a shard.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node's number in the cluster.
    pub node: u16,
    /// Number of shards of this process.
    pub shards: usize,
    /// Limits of a request's head.
    pub head: HeadLimits,
    /// Bytes a request's body may have.
    pub body_bytes: usize,
    /// Limits of a WebSocket message.
    pub websocket: ws::FrameLimits,
    /// One of so many connections and requests has a line in the access log; 0: none.
    pub access_sample: u32,
    /// Compression of WebSocket messages, if clients may have it.
    pub deflate: Option<DeflateSettings>,
    /// Compression of answers by HTTP, if clients may have it.
    pub http_deflate: Option<DeflateSettings>,
    /// Bytes a message's content may have.
    pub content_bytes: usize,
    /// Bytes that may be queued for a connection that does not read.
    pub outbound_bytes: usize,
    /// Writes to large rooms while other clients send, too.
    pub bulk: BulkWrites,
    /// Rooms that a connection may join; 0: no limit.
    pub rooms_per_connection: usize,
    /// Connections of all shards together, and so also the limit of each; 0: no limit.
    pub connections: usize,
    /// Measures the memory of the process and its limit.
    pub memory: fn() -> Load,
    /// Number of log lines that were dropped.
    pub lost_log_lines: fn() -> u64,
    /// What belongs to the process and to none of its shards.
    pub process: fn() -> ProcessFigures,
    /// Figures of the endpoints of webhooks.
    pub hook_counters: Arc<[Arc<HookCounters>]>,
    /// Hooks that decide.
    pub decisions: Decisions,
    /// Files that were changed and are refused, by name; empty if there are none.
    pub refused_files: fn() -> String,
    /// Rate limit of a connection's signaling messages.
    pub signals: SignalRate,
    /// WebSocket heartbeats.
    pub heartbeat: Heartbeat,
    /// Timeout of a new connection's first request, in milliseconds.
    pub handshake_ms: u64,
    /// Timeout of a request's head, and again of its body, in milliseconds.
    pub head_ms: u64,
    /// Timeout of a kept-alive connection between requests, in milliseconds.
    pub idle_ms: u64,
    /// How long a lost connection's session can be recovered, in milliseconds; 0: not at all.
    pub recovery_window_ms: u64,
    /// Interval at which changes of presence are delivered, in milliseconds.
    pub presence_batch_ms: u64,
    /// Whether clients may connect without a token, as guests.
    pub guests: bool,
    /// The notices of a raw client that does not choose.
    pub notices: Notices,
    /// What every user may do.
    pub openness: Openness,
    /// Whether joining a room creates it.
    pub create_on_join: bool,
    /// The same for the dialect `camel`, where rooms cannot be created otherwise.
    pub create_on_join_in_camel: bool,
    /// Whether users without grants may do nothing in rooms.
    pub requires_grant: bool,
    /// Web origins that may use the server.
    pub origins: Origins,
    /// Subprotocols that clients of `/ws` may ask for; `*`: any.
    pub subprotocols: Vec<String>,
    /// Places where a token is accepted.
    pub token_carriers: TokenCarriers,
    /// Base URL of links to the application; by default the server's own.
    pub client_url: Option<String>,
    /// Whether the server forwards media of calls itself.
    pub has_media_server: bool,
    /// STUN and TURN servers.
    pub ice: Ice,
    /// Rules of rooms and users.
    pub rules: Arc<RoomRules>,
    /// Settings of Engine.IO and Socket.IO.
    pub socket_io: SocketIo,
    /// Quotas of users and limits on connecting.
    pub allowances: Allowances,
    /// Notices to the operator, of all shards.
    pub operator_notices: Arc<OperatorNotices>,
    /// What operators and developers are shown of the settings.
    pub shown: Arc<ShownSettings>,
}

/// What operators and developers are shown of the settings.
#[derive(Clone)]
pub struct ShownSettings {
    /// The settings in force with their sources, and what the last reload changed, as JSON.
    pub settings: String,
    /// The secret that signs tokens for a server with `--dev`; `None` for others.
    dev_secret: Option<Box<str>>,
}

impl ShownSettings {
    /// The settings as JSON, and the secret of a server with `--dev`.
    pub fn new(settings: String, dev_secret: Option<&str>) -> Self {
        Self { settings, dev_secret: dev_secret.map(Into::into) }
    }

    /// The secret that signs tokens of developers.
    pub(in crate::shard) fn dev_secret(&self) -> Option<&str> {
        self.dev_secret.as_deref()
    }
}

impl Default for ShownSettings {
    fn default() -> Self {
        Self::new(r#"{"settings":[],"changes":[]}"#.to_owned(), None)
    }
}

impl fmt::Debug for ShownSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShownSettings(…)")
    }
}

/// Quotas of users and limits on connecting.
#[derive(Clone, Debug, Default)]
pub struct Allowances {
    /// Quotas of a user per minute.
    pub rates: Rates,
    /// Cost of a user's and of an address's requests per minute.
    pub budgets: BudgetRules,
    /// REST calls of an API key per minute; 0: no limit.
    pub key_rest_per_minute: u32,
    /// Limit of an address's connection attempts.
    pub attempts: AttemptRules,
    /// Connections that an address may have; 0: no limit.
    pub connections_per_address: usize,
    /// Sockets that an address may have; 0: no limit.
    pub sockets_per_address: usize,
    /// Proxies that are trusted to report a client's address.
    pub trusted_proxies: Vec<Network>,
    /// Whether these proxies report it by the PROXY protocol, at the start of each connection.
    pub proxy_protocol: bool,
}

/// Settings of Engine.IO and Socket.IO.
#[derive(Clone, Debug)]
pub struct SocketIo {
    /// Settings of Engine.IO sessions.
    pub sessions: session::SessionSettings,
    /// Limits of a Socket.IO packet.
    pub packet: socketio::SocketIoLimits,
    /// How long a session may stay without a namespace, in milliseconds.
    pub connect_ms: u64,
    /// The path that sessions are served at, with a slash at its end.
    pub path: Box<str>,
    /// Whether sessions may poll.
    pub serves_polling: bool,
    /// Whether sessions may use a WebSocket.
    pub serves_websocket: bool,
    /// Whether answers to polls may be scripts (JSONP).
    pub jsonp: bool,
    /// Whether version 3 of Engine.IO is served, which clients of Socket.IO 2 use.
    pub version_3: bool,
    /// The namespaces that clients may connect to. Their names live as long as the process.
    pub spaces: &'static [&'static str],
    /// The rules of those that belong to the application, in the same order.
    pub apps: Arc<[Option<AppRules>]>,
    /// Whether the server echoes messages for the protocols' test suites.
    pub is_conformance: bool,
    /// Whether these are the own tests of the clients, which are greeted.
    pub is_client_suite: bool,
}

/// Writes to the raw members of large rooms, which take several turns while other clients send, too.
#[derive(Clone, Copy, Debug)]
pub struct BulkWrites {
    /// Members on one shard from which a room is large.
    pub members: usize,
    /// What the writes of one turn may cost together, as bytes that cost the same.
    pub turn_bytes: usize,
}

impl Default for BulkWrites {
    fn default() -> Self {
        Self { members: limits::BULK_MEMBERS, turn_bytes: limits::BULK_TURN_BYTES }
    }
}

impl Default for SocketIo {
    /// Defaults of the protocols' documents.
    fn default() -> Self {
        Self {
            sessions: session::SessionSettings {
                heartbeat: Heartbeat { interval_ms: 25_000, timeout_ms: 20_000 },
                upgrade_ms: 10_000,
                upgrades: true,
                payload: engineio::PayloadLimits::default(),
                outbound_bytes: 1 << 20,
            },
            packet: socketio::SocketIoLimits::default(),
            connect_ms: 45_000,
            path: "/socket.io/".into(),
            serves_polling: true,
            serves_websocket: true,
            jsonp: false,
            version_3: true,
            spaces: &NAMESPACES,
            apps: Arc::default(),
            is_conformance: false,
            is_client_suite: false,
        }
    }
}

impl Options {
    /// Changes the settings for the protocols' test suites, or for the clients' own tests, which expect a largest payload.
    #[must_use]
    pub fn for_conformance(self, payload_bytes: Option<usize>) -> Self {
        let mut socket_io = SocketIo { is_client_suite: payload_bytes.is_some(), ..SocketIo::conformance() };
        let payload = &mut socket_io.sessions.payload.payload_bytes;
        *payload = payload_bytes.unwrap_or(*payload);
        if socket_io.is_client_suite {
            // As those tests set up their own servers.
            socket_io.sessions.heartbeat = Heartbeat { interval_ms: 500, timeout_ms: 20_000 };
        }
        // A suite sends several of the largest messages before it reads their echoes.
        Self { outbound_bytes: 256 << 20, socket_io, ..self }
    }
}

impl SocketIo {
    /// Adds namespaces of the application. One may take the place of a namespace of the server.
    #[must_use]
    pub fn with_apps(self, apps: &[AppRules]) -> Self {
        if apps.is_empty() {
            return self;
        }
        let mut spaces = NAMESPACES.to_vec();
        for rules in apps {
            if !spaces.contains(&&*rules.namespace) {
                spaces.push(Box::leak(Box::<str>::from(&*rules.namespace)));
            }
        }
        let of = |space: &&str| apps.iter().find(|rules| *rules.namespace == **space).cloned();
        Self { apps: spaces.iter().map(of).collect(), spaces: spaces.leak(), ..self }
    }

    /// Whether a transport is served.
    pub fn serves(&self, transport: Transport) -> bool {
        match transport {
            Transport::Polling => self.serves_polling,
            Transport::WebSocket => self.serves_websocket,
        }
    }

    /// The rules of a namespace, if it belongs to the application.
    pub fn app(&self, space: NamespaceIndex) -> Option<&AppRules> {
        self.apps.get(usize::from(space))?.as_ref()
    }

    /// The index of a namespace of the application.
    pub fn app_index(&self, namespace: &str) -> Option<NamespaceIndex> {
        let of = |rules: &Option<AppRules>| rules.as_ref().is_some_and(|rules| *rules.namespace == *namespace);
        self.apps.iter().position(of).map(|at| at as NamespaceIndex)
    }

    /// Settings that the protocols' public test suites require.
    pub fn conformance() -> Self {
        let default = Self::default();
        let heartbeat = Heartbeat { interval_ms: 300, timeout_ms: 200 };
        let sessions = session::SessionSettings { heartbeat, ..default.sessions };
        Self { sessions, connect_ms: 1_000, jsonp: true, is_conformance: true, ..default }
    }
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerRoles(u8);

impl ListenerRoles {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Clients: pages, WebSockets, sessions and the calls of users.
    pub const PUBLIC: Self = Self(1);
    /// Operators: the calls of admins and of users, and `/metrics` with the token of an admin.
    pub const ADMIN: Self = Self(2);
    /// Monitoring: `/metrics`, without a token.
    pub const METRICS: Self = Self(4);
    /// All of it.
    pub const ALL: Self = Self(7);

    /// The role that the settings call so.
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "public" => Some(Self::PUBLIC),
            "admin" => Some(Self::ADMIN),
            "metrics" => Some(Self::METRICS),
            _ => None,
        }
    }

    /// These roles and others.
    #[must_use]
    pub fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether a role is among them.
    pub fn serve(self, role: Self) -> bool {
        self.0 & role.0 != 0
    }

    /// The place of the first of them among [`crate::domain::monitoring::LISTENERS`].
    pub(super) fn label(self) -> usize {
        if self.serve(Self::PUBLIC) { 0 } else { 2 - usize::from(self.serve(Self::ADMIN)) }
    }

    /// Those roles that are not among them, as three bits.
    pub(super) fn missing(self) -> u32 {
        u32::from(!self.0 & Self::ALL.0)
    }

    /// The roles of which those are missing.
    pub(super) fn all_but(missing: u32) -> Self {
        Self(!(missing as u8) & Self::ALL.0)
    }
}

/// STUN and TURN servers, as sent to clients.
#[derive(Clone, Debug, Default)]
pub struct Ice {
    /// STUN servers, `stun:host:port`.
    pub stun_urls: Vec<String>,
    /// Addresses of the TURN server, `turn:host:port`.
    pub turn_urls: Vec<String>,
    /// Credentials of the TURN server.
    pub turn_access: TurnAccess,
    /// Whether guests get the TURN server, too.
    pub turn_for_guests: bool,
}

/// Credentials of a TURN server.
#[derive(Clone, Debug, Default)]
pub enum TurnAccess {
    /// None are needed.
    #[default]
    Open,
    /// A name and a password, the same for all users.
    Fixed {
        /// The name.
        username: String,
        /// The password.
        credential: String,
    },
    /// Credentials generated for each user, with an expiry.
    Timed {
        /// Secret shared with the TURN server.
        secret: Box<TurnSecret>,
        /// Lifetime of the credentials, in seconds.
        ttl_s: u64,
    },
}

impl Ice {
    /// The list of servers for a user, as JSON.
    pub fn servers(&self, user: &Identity, now: Now) -> String {
        let mut out = Vec::with_capacity(256);
        out.push(b'[');
        if !self.stun_urls.is_empty() {
            let mut object = json::Object::begin(&mut out);
            object.list("urls", &self.stun_urls, |out, url| json::string(out, url)).end();
        }
        if !self.turn_urls.is_empty() && (self.turn_for_guests || !user.roles().guest) {
            if out.len() > 1 {
                out.push(b',');
            }
            let mut object = json::Object::begin(&mut out);
            object.list("urls", &self.turn_urls, |out, url| json::string(out, url));
            let access = match &self.turn_access {
                TurnAccess::Open => None,
                TurnAccess::Fixed { username, credential } => Some((username.clone(), credential.clone())),
                TurnAccess::Timed { secret, ttl_s } => {
                    Some(turn::credentials(secret, user.user(), now.unix_seconds().saturating_add(*ttl_s)))
                }
            };
            if let Some((username, credential)) = access {
                object.string("username", &username).string("credential", &credential);
                object.string("credentialType", "password");
            }
            object.end();
        }
        out.push(b']');
        String::from_utf8(out).expect("invariant: the JSON writer emits UTF-8")
    }
}
