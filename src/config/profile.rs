//! Profiles: defaults under which the clients of one protocol document work as the document shows them, on a server that has
//! nothing but them. They give up what is stricter by default, so they are for loopback addresses, unless other settings
//! replace theirs.

use std::net::SocketAddr;
use std::str::FromStr;

use toml::Value;

use super::error::SettingSource;
use super::raw::RawSettings;

/// Origins of pages on this machine, also of those that are opened from a file.
const LOCAL_PAGES: [&str; 4] = ["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*", "null"];

/// One of the five protocol documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolProfile {
    /// Connections, rooms, messages and presence at `/ws`, and their REST calls.
    Messaging,
    /// WebRTC signaling at `/ws`, and meetings by REST, without tokens.
    Meetings,
    /// Messages that a backend pushes to Socket.IO clients by REST.
    Push,
    /// Chat with the events of the dialect `colon`.
    ColonChat,
    /// Chat with the events of the dialect `camel`.
    CamelChat,
}

impl FromStr for ProtocolProfile {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Messaging, Self::Meetings, Self::Push, Self::ColonChat, Self::CamelChat];
        all.into_iter().find(|profile| profile.number() == text).ok_or("expected 000, 001, 002, 003 or 004")
    }
}

impl ProtocolProfile {
    /// Its number, as the flag has it.
    fn number(self) -> &'static str {
        match self {
            Self::Messaging => "000",
            Self::Meetings => "001",
            Self::Push => "002",
            Self::ColonChat => "003",
            Self::CamelChat => "004",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Meetings => 4000,
            Self::ColonChat => 3001,
            Self::Messaging | Self::Push | Self::CamelChat => 8090,
        }
    }

    /// The defaults of this profile besides those of all.
    fn values(self) -> Vec<(&'static str, Value)> {
        let text = |text: &str| Value::from(text);
        match self {
            Self::Messaging => vec![("websocket.events", text("all")), ("rooms.create_on_join", text("always"))],
            Self::Meetings => vec![
                ("auth.guests", Value::from(true)),
                ("rooms.list_open", Value::from(true)),
                ("turn.guests", Value::from(true)),
                ("client_url", Value::from(vec!["http://localhost:3000"])),
                ("ice.stun_urls", Value::from(vec!["stun:stun.l.google.com:19302"])),
            ],
            Self::Push => vec![("push.by_users", Value::from(true))],
            Self::ColonChat => vec![
                ("rooms.create_on_join", text("always")),
                ("presence.details", Value::from(true)),
                ("monitoring.open", Value::from(true)),
            ],
            Self::CamelChat => Vec::new(),
        }
    }

    /// Adds the defaults of this profile.
    pub(super) fn put(self, raw: &mut RawSettings) {
        let source = SettingSource::Profile(self.number());
        let listen = ["127.0.0.1", "[::1]"].map(|host| format!("{host}:{}", self.port()));
        raw.put("listen", listen.to_vec(), source.clone());
        match self {
            // That of the client alone.
            Self::Meetings => {}
            // Pages on this machine: the document has tokens in cookies, which do not count while any page may connect.
            Self::CamelChat => raw.put("cors.origins", LOCAL_PAGES.to_vec(), source.clone()),
            _ => raw.put("cors.origins", vec!["*"], source.clone()),
        }
        for (key, value) in self.values() {
            raw.put(key, value, source.clone());
        }
    }

    /// Adds what depends on other settings.
    pub(super) fn put_dependent(self, raw: &mut RawSettings) {
        let source = SettingSource::Profile(self.number());
        let keys = ["auth.secret", "auth.public_keys", "auth.jwks_file", "auth.verify"];
        match self {
            Self::Meetings if can_have_media_server(raw) => {
                raw.put("media.mode", "auto", source.clone());
                raw.put("media.udp_port", 0, source);
            }
            Self::Meetings => {}
            // Tokens as the document prints them, without checking their signature, unless there is a key to check it with.
            _ if !keys.iter().any(|key| raw.is_explicit(key)) => raw.put("auth.verify", "none", source),
            _ => {}
        }
    }
}

/// Whether the settings of a media server are left to the profile, and an address of it is known.
fn can_have_media_server(raw: &RawSettings) -> bool {
    let settings = ["media.mode", "media.server", "media.udp_port", "media.announced", "redis.url"];
    let listen = &raw.given("listen").value;
    let addresses = listen.as_array().map_or(std::slice::from_ref(listen), Vec::as_slice);
    let is_known = |address: &Value| {
        let at = address.as_str().and_then(|text| text.parse::<SocketAddr>().ok());
        at.is_some_and(|at| !at.ip().is_unspecified())
    };
    addresses.iter().any(is_known) && !settings.iter().any(|key| raw.is_explicit(key))
}
