//! The settings: read once at start, checked, and handed to each layer as its own options.
//!
//! [`load`] is pure: it turns [`Sources`] (the file's text, the environment, the flags) into
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

pub use auth::{Auth, Verify};
pub use error::{ConfigError, Problem, Source};
pub use kinds::{Network, Secret};
pub use limits::Limits;
pub use network::{Cors, Deflate, Drain, Heartbeat, Ice, Log, LogFormat, Redis, Turn};
pub use print::{print, reference};
pub use rooms::{CreateOnJoin, Durability, OnDamage, Presence, PresenceScope, Recovery, Rooms, Storage};
pub use sources::{FILE, Flags, Sources};

use mask::masked;
use network::Top;
use print::InForce;
use raw::{Key, Raw};

/// Settings that are accepted and checked, but change nothing yet. Setting one is worth a
/// warning, and `switchboard config` and the reference mark them.
pub const NOT_YET_IN_FORCE: &[&str] = &["deflate.enabled", "deflate.min_bytes"];

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
    pub auth: Auth,
    /// What rooms are like when their maker does not say.
    pub rooms: Rooms,
    /// How safely messages are kept.
    pub storage: Storage,
    /// Who hears of users coming and going.
    pub presence: Presence,
    /// When a silent client counts as gone.
    pub heartbeat: Heartbeat,
    /// How long a client may be away and still get what it missed.
    pub recovery: Recovery,
    /// What one client, user or address may do or take.
    pub limits: Limits,
    /// Which web pages may talk to the server.
    pub cors: Cors,
    /// STUN servers told to clients.
    pub ice: Ice,
    /// TURN server told to clients.
    pub turn: Turn,
    /// The Redis of a cluster.
    pub redis: Redis,
    /// How the server leaves.
    pub drain: Drain,
    /// Compression of WebSocket messages.
    pub deflate: Deflate,
    /// What is logged, and how.
    pub log: Log,
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
pub fn load(sources: Sources) -> Result<Loaded, ConfigError> {
    let keys: Vec<&'static Key> = keys().collect();
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
            let is_explicit = |key: &&&'static Key| raw.is_explicit(key.name);
            let explicit = keys.iter().filter(is_explicit).map(|key| key.name.to_owned()).collect();
            let in_force = keys.iter().filter_map(|key| shown(&raw, key)).collect();
            Ok(Loaded { settings, warnings, explicit, in_force })
        }
        _ => Err(ConfigError { problems }),
    }
}

fn shown(raw: &Raw, key: &'static Key) -> Option<InForce> {
    let given = raw.given(key.name)?;
    let value = masked(key.name, &given.value);
    Some(InForce { key: key.name, value, source: given.source.clone() })
}

/// Every key there is, in the order they are printed: first those outside any group.
fn keys() -> impl Iterator<Item = &'static Key> {
    [
        Top::KEYS,
        Auth::KEYS,
        Rooms::KEYS,
        Storage::KEYS,
        Presence::KEYS,
        Heartbeat::KEYS,
        Recovery::KEYS,
        Limits::KEYS,
        Cors::KEYS,
        Ice::KEYS,
        Turn::KEYS,
        Redis::KEYS,
        Drain::KEYS,
        Deflate::KEYS,
        Log::KEYS,
    ]
    .into_iter()
    .flatten()
}

/// The settings in force; none if any value was refused. Reads every group before it gives up, so
/// that all problems are told.
fn read(raw: &mut Raw, dev: bool) -> Option<Settings> {
    let top = Top::read(raw);
    let auth = Auth::read(raw);
    let rooms = Rooms::read(raw);
    let storage = Storage::read(raw);
    let presence = Presence::read(raw);
    let heartbeat = Heartbeat::read(raw);
    let recovery = Recovery::read(raw);
    let limits = Limits::read(raw);
    let cors = Cors::read(raw);
    let ice = Ice::read(raw);
    let turn = Turn::read(raw);
    let redis = Redis::read(raw);
    let drain = Drain::read(raw);
    let deflate = Deflate::read(raw);
    let log = Log::read(raw);
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
        deflate: deflate?,
        log: log?,
        dev,
    })
}
