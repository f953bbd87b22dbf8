//! The settings: read once at start, checked, and handed to each layer as its own options.
//!
//! [`load`] is pure: it turns [`SettingSources`] (the file's text, the environment, the flags) into
//! [`Settings`], or into every problem there is with them. Each setting is declared in one place,
//! in the file of its group, with its meaning, type, default and check. A value is checked
//! wherever it was written, even where another overrides it. Nothing here opens a key file or a
//! directory that a setting names; who uses it does.

mod auth;
mod error;
mod kinds;
mod limits;
mod mask;
mod network;
mod options;
mod print;
mod raw;
mod rooms;
mod sources;
mod together;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use auth::{AuthSettings, Verify};
pub use error::{ConfigError, Problem, SettingSource};
pub use kinds::{Network, Secret};
pub use limits::LimitSettings;
pub use network::{
    CorsSettings, DrainSettings, HeartbeatSettings, IceSettings, LogFormat, LogSettings, RedisSettings, TurnSettings,
};
pub use print::{print, reference};
pub use rooms::{CreateOnJoin, PresenceScope, PresenceSettings, RecoverySettings, RoomSettings, StorageSettings};
pub use sources::{FILE, Flags, SettingSources};

use mask::masked;
use network::TopSettings;
use print::InForce;
use raw::{RawSettings, SettingKey};

/// Settings reserved for features that this version lacks. Setting one is an error, because it would have no effect.
pub const UNSUPPORTED: &[&str] = &["deflate.enabled", "deflate.min_bytes"];

/// Everything that can be set, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses to listen on; at least one, none twice unless its port is 0.
    pub listen: Vec<SocketAddr>,
    /// Threads that serve clients, 1 to 1,024.
    pub shards: usize,
    /// Directory for what is kept; none: nothing is kept on disk.
    pub data_dir: Option<PathBuf>,
    /// Address of the web client, without a slash at its end.
    pub client_url: Option<String>,
    /// Proxies whose word on the client's address is taken.
    pub trusted_proxies: Vec<Network>,
    /// Whether those proxies begin each connection with a PROXY protocol header, version 1 or 2.
    pub proxy_protocol: bool,
    /// How tokens are verified.
    pub auth: AuthSettings,
    /// What rooms are like when their maker does not say.
    pub rooms: RoomSettings,
    /// How safely messages are kept.
    pub storage: StorageSettings,
    /// Who hears of users coming and going.
    pub presence: PresenceSettings,
    /// When a silent client counts as gone.
    pub heartbeat: HeartbeatSettings,
    /// How long a client may be away and still get what it missed.
    pub recovery: RecoverySettings,
    /// What one client, user or address may do or take.
    pub limits: LimitSettings,
    /// Which web pages may talk to the server.
    pub cors: CorsSettings,
    /// STUN servers told to clients.
    pub ice: IceSettings,
    /// TURN server told to clients.
    pub turn: TurnSettings,
    /// The Redis of a cluster.
    pub redis: RedisSettings,
    /// How the server leaves.
    pub drain: DrainSettings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// Whether the server runs for its developer alone.
    pub dev: bool,
}

/// The settings, and what else there is to say about them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is in force.
    pub settings: Settings,
    /// What the operator should know, each one line that names its source.
    pub warnings: Vec<String>,
    /// Keys that somebody set, be it to their default.
    pub explicit: BTreeSet<String>,
    /// Every key as it may be shown, in the order of declaration.
    in_force: Vec<InForce>,
}

impl Loaded {
    /// Whether the server may serve with these settings: it needs a way to tell a good token from
    /// a bad one.
    ///
    /// # Errors
    ///
    /// No key at all, with the ways to give one.
    pub fn check_serve(&self) -> Result<(), ConfigError> {
        together::check_serve(&self.settings)
    }
}

/// Makes the settings from their sources.
///
/// # Errors
///
/// Every wrong key or value, and every contradiction between values, each with its source.
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
    let value = masked(key.name, &given.value);
    InForce { key: key.name, value, source: given.source.clone() }
}

/// Every key there is, in the order they are printed: first those outside any group.
fn keys() -> impl Iterator<Item = &'static SettingKey> {
    [
        TopSettings::KEYS,
        AuthSettings::KEYS,
        RoomSettings::KEYS,
        StorageSettings::KEYS,
        PresenceSettings::KEYS,
        HeartbeatSettings::KEYS,
        RecoverySettings::KEYS,
        LimitSettings::KEYS,
        CorsSettings::KEYS,
        IceSettings::KEYS,
        TurnSettings::KEYS,
        RedisSettings::KEYS,
        DrainSettings::KEYS,
        LogSettings::KEYS,
    ]
    .into_iter()
    .flatten()
}

/// The settings in force; none if any value was refused. Reads every group before it gives up, so
/// that all problems are told.
fn read(raw: &mut RawSettings, dev: bool) -> Option<Settings> {
    let top = TopSettings::read(raw);
    let auth = AuthSettings::read(raw);
    let rooms = RoomSettings::read(raw);
    let storage = StorageSettings::read(raw);
    let presence = PresenceSettings::read(raw);
    let heartbeat = HeartbeatSettings::read(raw);
    let recovery = RecoverySettings::read(raw);
    let limits = LimitSettings::read(raw);
    let cors = CorsSettings::read(raw);
    let ice = IceSettings::read(raw);
    let turn = TurnSettings::read(raw);
    let redis = RedisSettings::read(raw);
    let drain = DrainSettings::read(raw);
    let log = LogSettings::read(raw);
    let top = top?;
    Some(Settings {
        listen: top.listen,
        shards: top.shards,
        data_dir: top.data_dir,
        client_url: top.client_url,
        trusted_proxies: top.trusted_proxies,
        proxy_protocol: top.proxy_protocol,
        auth: auth?,
        rooms: rooms?,
        storage: storage?,
        presence: presence?,
        heartbeat: heartbeat?,
        recovery: recovery?,
        limits: limits?,
        cors: cors?,
        ice: ice?,
        turn: turn?,
        redis: redis?,
        drain: drain?,
        log: log?,
        dev,
    })
}
