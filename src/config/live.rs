//! Settings that take effect while the server runs, and the difference between two readings.

use std::fmt;

use toml::Value;

use super::error::SettingSource;
use super::kinds::Secret;
use super::mask::is_secret;
use super::print::InForce;
use super::{LimitSettings, Loaded, LogSettings, RoomSettings, Settings, SocketIoSettings};

/// Groups and settings that take effect at once. All others need a restart.
const LIVE: [&str; 16] = [
    "client_url",
    "server.",
    "tls.",
    "auth.",
    "rooms.list_open",
    "presence.details",
    "websocket.",
    "push.",
    "monitoring.",
    "limits.",
    "socketio.",
    "cors.",
    "ice.",
    "turn.",
    "drain.",
    "log.level",
];

/// Settings of those groups that need a restart: what has been counted depends on them, or connections are in them.
const COUNTED: [&str; 2] = ["limits.exempt", "socketio.namespaces"];

/// Limits that can be changed, but neither turned on nor off, because nothing is counted while they are off.
const KEPT_ON_OR_OFF: [&str; 3] =
    ["limits.connections_per_ip", "limits.sockets_per_ip", "limits.direct_bytes_per_user"];

/// A value as it was given, which is not shown.
#[derive(Clone, PartialEq)]
pub(super) struct Hidden(pub(super) Value);

impl fmt::Debug for Hidden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Hidden(…)")
    }
}

/// A setting with another value than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// The key in full.
    pub key: &'static str,
    /// The values before and now, as they may be shown; `None` for a secret.
    pub values: Option<(String, String)>,
    /// Whether it takes effect without a restart.
    pub is_live: bool,
}

impl Loaded {
    /// The settings that `new` has other values of, in the order of declaration.
    pub fn changes(&self, new: &Loaded) -> Vec<SettingChange> {
        let is_other = |(before, now): &(&InForce, &InForce)| before.given != now.given;
        let pairs = self.in_force.iter().zip(&new.in_force).filter(is_other);
        pairs.map(|(before, now)| self.change(new, before, now)).collect()
    }

    /// These settings after `settings`, the part of `read` that takes effect at once, has been put in force.
    #[must_use]
    pub fn with_live(&self, read: Loaded, settings: Settings) -> Loaded {
        let pairs = self.in_force.iter().zip(&read.in_force);
        let in_force = pairs.map(|(before, now)| match self.change(&read, before, now).is_live {
            true => now.clone(),
            false => before.clone(),
        });
        let in_force = in_force.collect();
        Loaded { settings, in_force, ..read }
    }

    fn change(&self, new: &Loaded, before: &InForce, now: &InForce) -> SettingChange {
        let is_switched = self.settings.tls.options().is_some() != new.settings.tls.options().is_some();
        let change = change(before, now);
        SettingChange { is_live: change.is_live && !(is_switched && change.key.starts_with("tls.")), ..change }
    }
}

fn change(before: &InForce, now: &InForce) -> SettingChange {
    let key = before.key;
    let comes_from_file = [before, now].iter().any(|given| matches!(given.source, SettingSource::SecretFile(_)));
    let is_hidden = comes_from_file || is_secret(key);
    let values = (!is_hidden).then(|| (before.value.to_string(), now.value.to_string()));
    let is_off = |given: &InForce| given.given.0.as_integer() == Some(0);
    let is_switched = KEPT_ON_OR_OFF.contains(&key) && is_off(before) != is_off(now);
    SettingChange { key, values, is_live: is_live(key) && !is_switched }
}

/// Whether another value of a setting takes effect while the server runs.
pub(super) fn is_live(key: &str) -> bool {
    let is_listed = LIVE.iter().any(|live| key == *live || live.ends_with('.') && key.starts_with(live));
    is_listed && !COUNTED.contains(&key)
}

impl fmt::Display for SettingChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.values {
            Some((before, now)) => write!(formatter, "{} = {now}, before {before}", self.key),
            None => write!(formatter, "{} is another one", self.key),
        }
    }
}

impl Settings {
    /// These settings with all of `new` that takes effect at once.
    #[must_use]
    pub fn adopt(&self, new: &Settings) -> Settings {
        let new = new.clone();
        let kept = |before: usize, now: usize| if (before == 0) == (now == 0) { now } else { before };
        let limits = LimitSettings {
            exempt: self.limits.exempt.clone(),
            connections_per_ip: kept(self.limits.connections_per_ip, new.limits.connections_per_ip),
            sockets_per_ip: kept(self.limits.sockets_per_ip, new.limits.sockets_per_ip),
            direct_bytes_per_user: kept(self.limits.direct_bytes_per_user, new.limits.direct_bytes_per_user),
            ..new.limits
        };
        // Listeners speak TLS from their beginning or not at all.
        let tls = if self.tls.options().is_some() == new.tls.options().is_some() { new.tls } else { self.tls.clone() };
        let mut presence = self.presence.clone();
        presence.details = new.presence.details;
        Settings {
            client_url: new.client_url,
            server: new.server,
            tls,
            auth: new.auth,
            rooms: RoomSettings { list_open: new.rooms.list_open, ..self.rooms.clone() },
            presence,
            websocket: new.websocket,
            push: new.push,
            monitoring: new.monitoring,
            limits,
            socketio: SocketIoSettings { namespaces: self.socketio.namespaces.clone(), ..new.socketio },
            cors: new.cors,
            ice: new.ice,
            turn: new.turn,
            drain: new.drain,
            log: LogSettings { level: new.log.level, ..self.log.clone() },
            ..self.clone()
        }
    }

    /// The secret that signs tokens, for another reading of the settings with `--dev`.
    pub fn signing_secret(&self) -> String {
        self.auth.secret.as_ref().map_or_else(String::new, |secret: &Secret| secret.expose().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TABLE, load_set};

    /// Another value than the default of a setting, if one is valid without other settings.
    fn other(key: &str, default: &str) -> Option<String> {
        let text = match key {
            "listen" | "listen_admin" => "192.0.2.1:5",
            "client_url" | "cors.origins" => "https://a.example",
            "trusted_proxies" => "192.0.2.1",
            "auth.algorithms" => "HS256",
            "auth.verify" | "turn.url" | "proxy_protocol" | "tls.key_file" | "tls.cert_file" => return None,
            "ice.stun_urls" => "stun:a",
            "redis.url" => "redis://a:1",
            "limits.exempt" => "192.0.2.0/24",
            "rooms.create_on_join" | "storage.durability" => "never",
            "storage.on_damage" => "refuse",
            "presence.scope" | "websocket.events" => "none",
            "tls.client_certificates" => "optional",
            "tls.min_version" => "1.3",
            "log.level" | "audit.level" => "off",
            "log.format" | "audit.format" | "access.format" => "json",
            _ if key.ends_with("_file") || key.starts_with("tls.") => return None,
            _ => match default.parse::<u64>() {
                Ok(number) => return Some((number + 1).to_string()),
                Err(_) => match default {
                    "true" => "false",
                    "false" => "true",
                    _ => "other",
                },
            },
        };
        Some(text.to_owned())
    }

    #[test]
    fn settings_that_are_said_to_be_live_are_adopted_and_no_others() {
        let before = load_set(&[]).expect("defaults");
        let mut seen = 0;
        for (key, default) in TABLE.trim().lines().filter_map(|line| line.split_once(" = ")) {
            let Some(value) = other(key, default) else { continue };
            // One of a few words, of which the above is none.
            let Ok(now) = load_set(&[&format!("{key}={value}")]) else { continue };
            let changes = before.changes(&now);
            assert_eq!(changes.iter().map(|change| change.key).collect::<Vec<_>>(), [key]);
            let adopted = before.settings.adopt(&now.settings);
            let is_adopted = format!("{adopted:?}") != format!("{:?}", before.settings);
            assert_eq!(is_adopted, changes[0].is_live, "{key}");
            let after = before.with_live(now.clone(), adopted);
            assert_eq!(after.changes(&now).is_empty(), changes[0].is_live, "{key}");
            seen += 1;
        }
        assert!(seen > 75, "{seen}");
    }

    #[test]
    fn secret_is_changed_without_being_shown() {
        let load = |secret: &str| load_set(&[&format!("auth.secret={secret}")]).expect("settings");
        let [change] = load("first").changes(&load("second")).try_into().expect("one change");
        assert_eq!((change.to_string(), change.is_live), ("auth.secret is another one".to_owned(), true));
        assert!(load("first").changes(&load("first")).is_empty());
        assert!(!format!("{:?}", load("first")).contains("first"));
    }

    #[test]
    fn limit_that_counts_is_changed_but_not_switched_off() {
        let before = load_set(&[]).expect("defaults");
        for (value, is_live, kept) in [("7", true, 7), ("0", false, 10_000)] {
            let now = load_set(&[&format!("limits.connections_per_ip={value}")]).expect("settings");
            assert_eq!(before.changes(&now)[0].is_live, is_live);
            assert_eq!(before.settings.adopt(&now.settings).limits.connections_per_ip, kept);
        }
    }
}
