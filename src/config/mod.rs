//! The settings: read and checked once at start, then converted to the options of each layer.
//!
//! [`load`] is pure: it turns [`SettingSources`] (the file's text, the environment, the flags) into [`Settings`], or
//! into a list of all problems. Each setting is declared in one place, in the file of its group, with its description,
//! type, default and check. A value is checked in every source, even if another source overrides it. Key files and
//! directories named by a setting are opened elsewhere.

mod apps;
mod auth;
mod deflate;
mod error;
mod hooks;
mod issuers;
mod kinds;
mod limits;
mod listen;
mod live;
mod mask;
mod media;
mod network;
mod options;
mod print;
mod profile;
mod raw;
mod rooms;
mod sources;
mod tls;
mod together;
mod webhooks;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Value;

pub use auth::{AuthSettings, Verify};
pub use deflate::CompressionSettings;
pub use error::{ConfigError, nearest};
pub use hooks::HookSettings;
pub use kinds::{Network, Secret};
pub use limits::LimitSettings;
pub use listen::ListenerSettings;
pub use live::SettingChange;
pub use media::{MediaMode, MediaServerKind, MediaSettings};
pub use network::{
    AccessSettings, AuditSettings, CorsSettings, DefaultNotices, DrainSettings, HeartbeatSettings, IceSettings,
    LogFormat, LogSettings, MonitoringSettings, PushSettings, RedisServerSettings, ServerSettings, SocketIoSettings,
    TurnSettings, WebSocketSettings,
};
pub use print::{defaults, print, reference, schema, to_json};
pub use profile::ProtocolProfile;
pub use rooms::{CreateOnJoin, PresenceSettings, RecoverySettings, RoomSettings, StorageSettings};
pub use sources::{DevSecret, FILE, Flags, SecretReader, SettingSources};
pub use tls::{CertificatePair, ClientCertificates, TlsSettings, TlsVersion};
pub use webhooks::WebhookSettings;

use error::SettingSource;
use live::Hidden;
use mask::masked;
use network::TopSettings;
use print::InForce;
use raw::{RawSettings, SettingKey};

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses to listen on; at least one, none twice unless its port is 0.
    pub listen: Vec<ListenerSettings>,
    /// Addresses for operators; if there is one, `/metrics` and the calls of admins are served there only.
    pub listen_admin: Vec<SocketAddr>,
    /// Threads that serve clients, 1 to 1,024.
    pub shards: usize,
    /// Directory for messages and rooms; `None`: data is kept in memory only.
    pub data_dir: Option<PathBuf>,
    /// Addresses of the web client, without a slash at their end.
    pub client_url: Vec<String>,
    /// Proxies that are trusted to report a client's address.
    pub trusted_proxies: Vec<Network>,
    /// Whether those proxies send a PROXY protocol header, version 1 or 2.
    pub proxy_protocol: bool,
    /// The server as its clients see it.
    pub server: ServerSettings,
    /// TLS for clients.
    pub tls: TlsSettings,
    /// Token verification.
    pub auth: AuthSettings,
    /// Defaults of rooms.
    pub rooms: RoomSettings,
    /// Durability of messages.
    pub storage: StorageSettings,
    /// The connection mode of calls.
    pub media: MediaSettings,
    /// Recipients of presence.
    pub presence: PresenceSettings,
    /// The endpoint `/ws`.
    pub websocket: WebSocketSettings,
    /// Compression.
    pub deflate: CompressionSettings,
    /// Messages that a backend pushes.
    pub push: PushSettings,
    /// What is told about connections.
    pub monitoring: MonitoringSettings,
    /// Detection of dead connections.
    pub heartbeat: HeartbeatSettings,
    /// Recovery of sessions.
    pub recovery: RecoverySettings,
    /// Limits of clients, users and addresses.
    pub limits: LimitSettings,
    /// Socket.IO clients.
    pub socketio: SocketIoSettings,
    /// Web pages that may use the server.
    pub cors: CorsSettings,
    /// STUN servers for clients.
    pub ice: IceSettings,
    /// The TURN server for clients.
    pub turn: TurnSettings,
    /// The Redis of a cluster.
    pub redis: RedisServerSettings,
    /// Shutdown.
    pub drain: DrainSettings,
    /// Logging.
    pub log: LogSettings,
    /// See [`AuditSettings`].
    pub audit: AuditSettings,
    /// See [`AccessSettings`].
    pub access: AccessSettings,
    /// Events that the application receives by HTTP.
    pub webhooks: WebhookSettings,
    /// Questions to the application by HTTP.
    pub hooks: HookSettings,
    /// Whether `--dev` was given.
    pub dev: bool,
}

/// The settings with their sources and warnings.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings in force.
    pub settings: Settings,
    /// Warnings for the operator, each one line that names its source.
    pub warnings: Vec<String>,
    /// Keys that a source other than the defaults has set.
    pub explicit: BTreeSet<String>,
    /// Every key with its displayable value, in the order of declaration.
    in_force: Vec<InForce>,
}

impl Loaded {
    /// Whether these settings suffice to serve: tokens must be verifiable.
    ///
    /// # Errors
    ///
    /// No key is configured; the text lists the ways to give one.
    pub fn check_serve(&self) -> Result<(), ConfigError> {
        together::check_serve(&self.settings)
    }
}

/// Loads the settings from their sources.
///
/// # Errors
///
/// All unknown keys, invalid values and contradictions, each with its source.
pub fn load(sources: SettingSources) -> Result<Loaded, ConfigError> {
    let keys: Vec<&'static SettingKey> = keys().collect();
    let dev = sources.dev;
    let mut raw = sources.into_raw(&keys);
    let settings = read(&mut raw, dev);
    let mut problems = std::mem::take(&mut raw.problems);
    if let Some(settings) = &settings {
        problems.extend(together::problems(settings, &raw));
    }
    match settings {
        Some(settings) if problems.is_empty() => {
            let warnings = together::warnings(&settings, &raw);
            let is_explicit = |key: &&&'static SettingKey| raw.is_explicit(key.name);
            let explicit = keys.iter().filter(is_explicit).map(|key| key.name.to_owned()).collect();
            let in_force = keys.iter().map(|key| shown(&raw, key)).collect();
            Ok(Loaded { settings, warnings, explicit, in_force })
        }
        _ => {
            assert!(!problems.is_empty(), "invariant: refused settings name a problem");
            Err(ConfigError { problems })
        }
    }
}

fn shown(raw: &RawSettings, key: &'static SettingKey) -> InForce {
    let given = raw.given(key.name);
    // The text is a settings file again, where a secret in a file is not given twice.
    let value = match (&given.source, &given.value) {
        (SettingSource::SecretFile(_), Value::Array(_)) => Value::Array(Vec::new()),
        (SettingSource::SecretFile(_), _) => Value::from(""),
        (_, value) => masked(key.name, value),
    };
    InForce { key: key.name, value, source: given.source.clone(), given: Hidden(given.value.clone()) }
}

/// The key most similar to `written`, if one is similar enough.
pub fn nearest_key(written: &str) -> Option<&'static str> {
    nearest(written, keys().map(|key| key.name))
}

/// All keys in the order of printing; those without a group come first.
fn keys() -> impl Iterator<Item = &'static SettingKey> {
    [
        TopSettings::KEYS,
        ServerSettings::KEYS,
        TlsSettings::KEYS,
        AuthSettings::KEYS,
        RoomSettings::KEYS,
        StorageSettings::KEYS,
        MediaSettings::KEYS,
        PresenceSettings::KEYS,
        WebSocketSettings::KEYS,
        CompressionSettings::KEYS,
        PushSettings::KEYS,
        MonitoringSettings::KEYS,
        HeartbeatSettings::KEYS,
        RecoverySettings::KEYS,
        LimitSettings::KEYS,
        SocketIoSettings::KEYS,
        CorsSettings::KEYS,
        IceSettings::KEYS,
        TurnSettings::KEYS,
        RedisServerSettings::KEYS,
        DrainSettings::KEYS,
        LogSettings::KEYS,
        AuditSettings::KEYS,
        AccessSettings::KEYS,
        WebhookSettings::KEYS,
        HookSettings::KEYS,
    ]
    .into_iter()
    .flatten()
}

/// The settings in force; `None` if a value was rejected. Reads all groups first, so that all problems are reported.
fn read(raw: &mut RawSettings, dev: bool) -> Option<Settings> {
    let top = TopSettings::read(raw);
    let server = ServerSettings::read(raw);
    let tls = TlsSettings::read(raw);
    let auth = AuthSettings::read(raw);
    let rooms = RoomSettings::read(raw);
    let storage = StorageSettings::read(raw);
    let media = MediaSettings::read(raw);
    let presence = PresenceSettings::read(raw);
    let websocket = WebSocketSettings::read(raw);
    let deflate = CompressionSettings::read(raw);
    let push = PushSettings::read(raw);
    let monitoring = MonitoringSettings::read(raw);
    let heartbeat = HeartbeatSettings::read(raw);
    let recovery = RecoverySettings::read(raw);
    let limits = LimitSettings::read(raw);
    let socketio = SocketIoSettings::read(raw);
    let cors = CorsSettings::read(raw);
    let ice = IceSettings::read(raw);
    let turn = TurnSettings::read(raw);
    let redis = RedisServerSettings::read(raw);
    let drain = DrainSettings::read(raw);
    let log = LogSettings::read(raw);
    let audit = AuditSettings::read(raw);
    let access = AccessSettings::read(raw);
    let webhooks = WebhookSettings::read(raw);
    let hooks = HookSettings::read(raw);
    let top = top?;
    Some(Settings {
        listen: top.listen,
        listen_admin: top.listen_admin,
        shards: top.shards,
        data_dir: top.data_dir,
        client_url: top.client_url,
        trusted_proxies: top.trusted_proxies,
        proxy_protocol: top.proxy_protocol,
        server: server?,
        tls: tls?,
        auth: auth?,
        rooms: rooms?,
        storage: storage?,
        media: media?,
        presence: presence?,
        websocket: websocket?,
        deflate: deflate?,
        push: push?,
        monitoring: monitoring?,
        heartbeat: heartbeat?,
        recovery: recovery?,
        limits: limits?,
        socketio: socketio?,
        cors: cors?,
        ice: ice?,
        turn: turn?,
        redis: redis?,
        drain: drain?,
        log: log?,
        audit: audit?,
        access: access?,
        webhooks: webhooks?,
        hooks: hooks?,
        dev,
    })
}
