//! Settings of servers without sockets: the simulator, the owner tests and the benches start from these.

use std::sync::Arc;

use switchboard::codec::http::HeadLimits;
use switchboard::codec::ws;
use switchboard::config::{self, Flags, SettingSources, Settings};
use switchboard::connection::credentials::TokenCarriers;
use switchboard::connection::origins::Origins;
use switchboard::connection::standing::Notices;
use switchboard::connection::websocket::{Heartbeat, SignalRate};
use switchboard::domain::connection_mode::ModeRules;
use switchboard::domain::monitoring::Load;
use switchboard::domain::op::{RoomRules, Scope};
use switchboard::domain::policy::Openness;
use switchboard::shard::{Allowances, BulkWrites, Ice, Options, SocketIo};

use super::token::SECRET;

/// Rules of rooms and users: a store, history, a short grace period, no limits.
pub fn rules() -> RoomRules {
    RoomRules {
        announce_limit: 500,
        max_participants: 0,
        joined_have_host: true,
        stream_idle_ms: 60_000,
        has_store: true,
        outlives_process: true,
        history: true,
        keep_ms: 0,
        presence_grace_ms: 3_000,
        presence_scope: Scope::Auto,
        connections_per_user: 0,
        rooms_per_user: 0,
        signal_bytes: 0,
        mode: ModeRules::OFF,
        direct_bytes: 0,
        rest_per_minute: 0,
        hooks: switchboard::domain::hook::HookKinds::NONE,
    }
}

/// Options of a simulated shard: small buffers, short timeouts, guests, no quotas.
pub fn options() -> Options {
    Options {
        memory: Load::default,
        node: 0,
        shards: 2,
        head: HeadLimits { bytes: 2048, headers: 20 },
        body_bytes: 4096,
        websocket: ws::FrameLimits { message_bytes: 8192, fragments: 64 },
        access_sample: 0,
        deflate: None,
        http_deflate: None,
        content_bytes: 1024,
        outbound_bytes: 1 << 20,
        bulk: BulkWrites::default(),
        rooms_per_connection: 0,
        connections: 0,
        signals: SignalRate { per_minute: 0, burst: 0 },
        heartbeat: Heartbeat { interval_ms: 4_000, timeout_ms: 4_000 },
        handshake_ms: 10_000,
        head_ms: 10_000,
        idle_ms: 30_000,
        recovery_window_ms: 0,
        presence_batch_ms: 100,
        guests: true,
        create_on_join: true,
        create_on_join_in_camel: true,
        requires_grant: false,
        origins: Origins::default(),
        subprotocols: Vec::new(),
        lost_log_lines: || 0,
        process: Default::default,
        has_media_server: false,
        hook_counters: std::sync::Arc::default(),
        decisions: switchboard::domain::decision::Decisions::default(),
        refused_files: String::new,
        notices: Notices::UPON_REQUEST,
        openness: Openness::default(),
        token_carriers: TokenCarriers { query: true, cookie: true },
        client_url: None,
        ice: Ice::default(),
        rules: Arc::new(rules()),
        socket_io: SocketIo::default(),
        allowances: Allowances::default(),
        operator_notices: Arc::default(),
        shown: Arc::default(),
    }
}

/// The server's default settings for one shard, without presence events, disk and quotas, and with rooms created by
/// joining; then `set`, each `key=value`.
pub fn load(set: &[&str]) -> Settings {
    let secret = format!("auth.secret={SECRET}");
    let own = [
        secret.as_str(),
        "shards=1",
        "data_dir=",
        "rooms.create_on_join=always",
        "rooms.history=false",
        "presence.scope=none",
        "limits.messages_per_minute=0",
        "limits.typing_per_minute=0",
        "limits.signals_per_minute=0",
        "limits.connections_per_ip=0",
    ];
    let sources = SettingSources {
        file: None,
        environment: Vec::new(),
        flags: Flags { set: own.iter().chain(set).map(|&set| set.to_owned()).collect(), ..Flags::default() },
        dev: false,
        profile: None,
        cores: 1,
        dev_secret: Box::new(|_| String::new()),
        read_secret: |_| Err(std::io::ErrorKind::NotFound.into()),
    };
    config::load(sources).expect("good settings").settings
}
