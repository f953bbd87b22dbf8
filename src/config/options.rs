//! Conversion of the checked settings to the options of each layer.

use std::sync::Arc;
use std::time::Duration;

use super::{CreateOnJoin, DefaultNotices, ListenerSettings, MediaMode, Settings, Verify};
use crate::base::limits;
use crate::codec::http::HeadLimits;
use crate::codec::jwt::{AdminRule, VerifierOptions};
use crate::codec::turn::TurnSecret;
use crate::codec::{engineio, socketio, ws};
use crate::connection::credentials::TokenCarriers;
use crate::connection::origins::{Origins, host_name};
use crate::connection::session;
use crate::connection::standing::Notices;
use crate::connection::websocket::{Heartbeat, SignalRate};
use crate::domain::connection_mode::ModeRules;
use crate::domain::monitoring::Load;
use crate::domain::op::RoomRules;
use crate::domain::policy::Openness;
use crate::domain::quota::{AttemptRules, BudgetRules, Rates};
use crate::owner::redis::EmitterChannels;
use crate::runtime::bridge;
use crate::runtime::key_files::{KeyFetching, KeyPlan};
use crate::runtime::listener::{ListenAddress, ListenerPlan};
use crate::runtime::media::MediaOptions;
use crate::runtime::storage::{self, StorageLocation};
use crate::shard::{Allowances, BulkWrites, Ice, ListenerRoles, Options, SocketIo, TurnAccess};

/// Maximum number of frames of one WebSocket message.
const FRAGMENTS: u32 = 65_536;

/// A checked limit as a 32-bit number.
fn count(limit: u64) -> u32 {
    u32::try_from(limit).expect("invariant: the check of a limit keeps it within 32 bits")
}

impl Settings {
    /// All listeners. Those without roles are for clients, and for operators if no other one is.
    pub fn listeners(&self) -> Vec<ListenerPlan> {
        let (admin, metrics) = (ListenerRoles::ADMIN, ListenerRoles::METRICS);
        let is_elsewhere = |role| {
            let has_role = |listener: &ListenerSettings| listener.roles.is_some_and(|roles| roles.serve(role));
            !self.listen_admin.is_empty() || self.listen.iter().any(has_role)
        };
        let admin_here = if is_elsewhere(admin) { ListenerRoles::NONE } else { admin };
        // By the other role, admins read them with their token.
        let metrics_here = if self.dev && !is_elsewhere(metrics) { metrics } else { ListenerRoles::NONE };
        let rest = ListenerRoles::PUBLIC.with(admin_here).with(metrics_here);
        let has_tls = self.tls.options().is_some();
        let listen = self.listen.iter().map(|listener| ListenerPlan {
            address: listener.address.clone(),
            roles: listener.roles.unwrap_or(rest),
            is_secure: listener.tls.unwrap_or(has_tls),
            has_proxy_header: listener.proxy_protocol.unwrap_or(self.proxy_protocol),
        });
        let admin = self.listen_admin.iter().map(|address| ListenerPlan {
            address: ListenAddress::Tcp(*address),
            roles: admin.with(metrics),
            is_secure: has_tls,
            has_proxy_header: self.proxy_protocol,
        });
        listen.chain(admin).collect()
    }

    /// Options of the shards. `connections` is the number that the process can hold.
    pub fn shard_options(&self, connections: usize) -> Options {
        let unless_off = |value: usize| if value == 0 { usize::MAX } else { value };
        let forever_if_off = |ms: u64| if ms == 0 { 86_400_000 } else { ms };
        Options {
            node: 0,
            shards: self.shards,
            head: HeadLimits { bytes: self.limits.http_head_bytes, headers: self.limits.http_headers },
            body_bytes: unless_off(self.limits.body_bytes),
            websocket: ws::FrameLimits { message_bytes: unless_off(self.limits.frame_bytes), fragments: FRAGMENTS },
            access_sample: if self.access.enabled { self.access.sample as u32 } else { 0 },
            deflate: self.deflate.of_messages(),
            http_deflate: self.deflate.of_answers(),
            content_bytes: unless_off(self.limits.message_bytes),
            outbound_bytes: unless_off(self.limits.outbound_bytes),
            bulk: BulkWrites::default(),
            rooms_per_connection: self.limits.rooms_per_connection,
            connections: match self.limits.connections {
                0 => connections,
                limit => limit.min(connections),
            },
            memory: Load::default,
            signals: SignalRate {
                per_minute: count(self.limits.signals_per_minute),
                burst: count(self.limits.signals_burst),
            },
            heartbeat: Heartbeat { interval_ms: self.heartbeat.interval_ms, timeout_ms: self.heartbeat.timeout_ms },
            handshake_ms: forever_if_off(self.limits.handshake_ms),
            head_ms: forever_if_off(self.limits.head_ms),
            idle_ms: forever_if_off(self.limits.idle_ms),
            recovery_window_ms: self.recovery.window_ms,
            presence_batch_ms: self.presence.batch_ms,
            guests: self.auth.guests,
            notices: match self.websocket.events {
                DefaultNotices::Request => Notices::UPON_REQUEST,
                DefaultNotices::All => Notices::ALL,
                DefaultNotices::None => Notices::NONE,
            },
            openness: Openness {
                push: self.push.by_users,
                monitoring: self.monitoring.open,
                presence_details: self.presence.details,
                room_list: self.rooms.list_open,
            },
            create_on_join: self.rooms.create_on_join == CreateOnJoin::Always,
            requires_grant: self.rooms.require_grant,
            create_on_join_in_camel: self.rooms.create_on_join != CreateOnJoin::Never,
            origins: self.origins(),
            subprotocols: self.websocket.subprotocols.clone(),
            lost_log_lines: || 0,
            process: Default::default,
            refused_files: String::new,
            client_url: self.client_url.first().cloned(),
            token_carriers: TokenCarriers { query: self.auth.query_token, cookie: self.auth.cookie },
            has_media_server: self.media.is_embedded(),
            ice: self.ice_servers(),
            rules: Arc::new(self.rules()),
            socket_io: self.socket_io(),
            allowances: self.allowances(),
            operator_notices: Arc::default(),
            shown: Arc::default(),
            hook_counters: Arc::default(),
            decisions: self.hooks.decisions(),
        }
    }

    fn allowances(&self) -> Allowances {
        Allowances {
            rates: Rates {
                messages: count(self.limits.messages_per_minute),
                typing: count(self.limits.typing_per_minute),
                rest: 0,
            },
            budgets: BudgetRules {
                per_user: count(self.limits.cost_per_user),
                per_key: count(self.limits.key_cost),
                per_address: count(self.limits.cost_per_ip),
                // Half of what may wait for a receiver; what all senders may relay to it at once is more.
                per_pair: u32::try_from(self.limits.outbound_bytes / 2048).unwrap_or(0),
            },
            attempts: AttemptRules {
                attempts: count(self.limits.connection_attempts),
                window_ms: self.limits.connection_window_s * 1_000,
                block_ms: self.limits.connection_block_s * 1_000,
                exempt: self.limits.exempt.clone(),
            },
            key_rest_per_minute: count(self.limits.key_rest_per_minute),
            connections_per_address: self.limits.connections_per_ip,
            sockets_per_address: self.limits.sockets_per_ip,
            trusted_proxies: self.trusted_proxies.clone(),
            proxy_protocol: self.proxy_protocol,
        }
    }

    fn socket_io(&self) -> SocketIo {
        let default = SocketIo::default();
        let unless_off = |value: usize, otherwise: usize| if value == 0 { otherwise } else { value.min(otherwise) };
        // Clients learn or know the default as the maximum, so the limits may only lower it.
        let payload_bytes = unless_off(self.limits.body_bytes, default.sessions.payload.payload_bytes);
        let has = |transport: &str| self.socketio.transports.iter().any(|served| served == transport);
        SocketIo {
            sessions: session::SessionSettings {
                heartbeat: Heartbeat { interval_ms: self.heartbeat.interval_ms, timeout_ms: self.heartbeat.timeout_ms },
                payload: engineio::PayloadLimits { payload_bytes, ..default.sessions.payload },
                outbound_bytes: unless_off(self.limits.outbound_bytes, usize::MAX),
                upgrade_ms: self.socketio.upgrade_timeout_ms,
                upgrades: has("polling") && has("websocket"),
            },
            packet: socketio::SocketIoLimits { packet_bytes: unless_off(self.limits.frame_bytes, payload_bytes) },
            path: self.socketio.path.as_str().into(),
            serves_polling: has("polling"),
            serves_websocket: has("websocket"),
            jsonp: self.socketio.jsonp,
            version_3: self.socketio.eio3,
            connect_ms: if self.limits.unauthenticated_ms == 0 { 86_400_000 } else { self.limits.unauthenticated_ms },
            ..default
        }
        .with_apps(&self.socketio.namespaces)
    }

    /// Options of the storage; `clock` returns the time in milliseconds since 1970.
    pub fn storage_options(&self, clock: storage::WallClock) -> storage::StorageOptions {
        storage::StorageOptions {
            location: self.data_dir.clone().map_or(StorageLocation::Memory, StorageLocation::Directory),
            durability: self.storage.durability,
            keep_messages: self.rooms.retention_messages,
            keep_ms: self.rooms.retention_hours.saturating_mul(3_600_000),
            memory: storage::MemoryBounds {
                bytes: self.storage.memory_bytes,
                messages: self.storage.memory_messages,
                users: limits::USERS_IN_MEMORY,
            },
            recovery_window_ms: self.recovery.window_ms,
            on_damage: self.storage.on_damage,
            clock,
            outbox: None,
        }
    }

    /// Options of the bridge to Redis, if one is configured.
    pub fn redis_options(&self) -> Option<bridge::RedisOptions> {
        let url = self.redis.url.as_ref()?;
        let address =
            bridge::RedisAddress::parse(url.expose()).expect("invariant: redis.url was checked as it was read");
        Some(bridge::RedisOptions {
            address: match &self.redis.password {
                Some(password) => address.with_password(password.expose()),
                None => address,
            },
            ca_file: self.redis.ca_file.clone(),
            prefix: self.redis.prefix.clone(),
            keep_messages: self.rooms.retention_messages,
            resting_rooms: self.redis.resting_rooms,
            emitters: Box::new(EmitterChannels {
                key: self.socketio.emitter_key.as_str().into(),
                python: self.socketio.emitter_channel.as_str().into(),
                namespaces: self.socketio.namespaces.iter().map(|rules| rules.namespace.clone()).collect(),
            }),
        })
    }

    /// Options of the media server, if this server is one.
    pub fn media_options(&self) -> Option<MediaOptions> {
        let addresses = self.listen.iter().filter_map(ListenerSettings::tcp);
        self.media.options(addresses.map(|address| address.ip().to_canonical()))
    }

    /// Options of token verification, without the contents of key files.
    pub fn verifier_options(&self) -> VerifierOptions {
        VerifierOptions {
            secret: self.auth.secret.as_ref().map(|secret| secret.expose().to_owned()),
            more_secrets: self.auth.secrets.iter().map(|secret| secret.expose().to_owned()).collect(),
            admin: AdminRule { claim: self.auth.admin_claim.clone(), values: self.auth.admin_values.clone() },
            algorithms: self.auth.algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect(),
            audience: self.auth.audience.clone(),
            issuer: self.auth.issuer.iter().cloned().collect(),
            require_exp: self.auth.require_exp,
            verify_signature: self.auth.verify != Verify::None,
            may_lack_keys: self.auth.guests && !self.auth.has_key(),
            leeway_s: limits::TOKEN_LEEWAY_S,
            ..VerifierOptions::default()
        }
    }

    /// Where the keys are that verify tokens.
    pub fn key_plan(&self) -> KeyPlan {
        KeyPlan {
            options: self.verifier_options(),
            public_keys: self.auth.public_keys.clone(),
            jwks_file: self.auth.jwks_file.clone(),
            issuers: self.auth.issuers.clone(),
            fetching: KeyFetching {
                refresh: Duration::from_secs(self.auth.jwks_refresh_seconds),
                allow_private: self.auth.jwks_allow_private,
            },
        }
    }

    fn rules(&self) -> RoomRules {
        RoomRules {
            announce_limit: match self.rooms.announce_limit {
                0 => usize::MAX,
                limit => limit,
            },
            max_participants: 0,
            has_store: true,
            outlives_process: self.data_dir.is_some(),
            joined_have_host: self.rooms.joined_have_host,
            stream_idle_ms: self.rooms.stream_idle_ms,
            history: self.rooms.history,
            keep_ms: self.rooms.retention_hours.saturating_mul(3_600_000),
            presence_grace_ms: self.presence.grace_ms,
            presence_scope: self.presence.scope,
            connections_per_user: self.limits.connections_per_user,
            rooms_per_user: self.limits.rooms_per_user,
            signal_bytes: if self.limits.signals_per_minute == 0 { 0 } else { self.limits.outbound_bytes / 4 * 3 },
            mode: ModeRules {
                is_on: self.media.mode == MediaMode::Auto,
                p2p_max: count(self.media.p2p_max),
                return_ms: self.media.p2p_return_ms,
            },
            direct_bytes: self.limits.direct_bytes_per_user,
            rest_per_minute: count(self.limits.rest_per_minute),
            hooks: self.webhooks.options().kinds(),
        }
    }

    fn origins(&self) -> Origins {
        let pages = self.client_url.iter().filter_map(|url| {
            let (scheme, rest) = url.split_once("://")?;
            Some((scheme, rest.split(['/', '?', '#']).next().unwrap_or(rest)))
        });
        let mut allowed = self.cors.origins.clone();
        allowed.extend(pages.clone().map(|(scheme, authority)| format!("{scheme}://{authority}")));
        let mut names = self.server.names.clone();
        names.extend(pages.map(|(_, authority)| host_name(authority).trim_matches(['[', ']']).to_owned()));
        let addresses = self.listen.iter().filter_map(ListenerSettings::tcp).map(|address| address.ip().to_canonical());
        names.extend(addresses.clone().filter(|address| !address.is_unspecified()).map(|address| address.to_string()));
        let has_any_address = addresses.into_iter().any(|address| address.is_unspecified());
        Origins { any: self.cors.any(), allowed, names, has_any_address }
    }

    fn ice_servers(&self) -> Ice {
        let turn_access = match (&self.turn.secret, &self.turn.username, &self.turn.credential) {
            (Some(secret), ..) => {
                TurnAccess::Timed { secret: Box::new(TurnSecret::new(secret.expose())), ttl_s: self.turn.ttl_s }
            }
            (None, Some(username), Some(credential)) => {
                TurnAccess::Fixed { username: username.clone(), credential: credential.expose().to_owned() }
            }
            _ => TurnAccess::Open,
        };
        Ice {
            stun_urls: self.ice.stun_urls.clone(),
            turn_urls: self.turn.url.clone(),
            turn_access,
            turn_for_guests: self.turn.guests,
        }
    }
}
