//! The command `key`: makes, lists, rotates and revokes API keys of a running server by its REST calls, as an admin. The server, or
//! one of those that share a Redis, stores the change and tells all others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::health::exchange;
use super::token::{ServerSettings, TokenArguments, time_to_live};
use crate::config::{ConfigError, Loaded, Secret, Settings};
use crate::runtime::listener::{ListenAddress, ListenerPlan};
use crate::runtime::webhooks::ServerClient;
use crate::shard::ListenerRoles;

/// Lifetime of the token that the command signs for itself.
const TOKEN: Duration = Duration::from_secs(60);

/// Time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Arguments of `key`.
#[derive(Args, Clone, Debug)]
pub struct KeyArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// The commands on keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key, and print it: it is shown this once
    Create {
        /// What it permits: publish, rooms, read or admin; may be repeated
        #[arg(long, required = true, value_name = "ACTION")]
        action: Vec<String>,
        /// Name for people
        #[arg(long)]
        name: Option<String>,
        /// Beginning of the ids of its rooms, such as order-; may be repeated [default: all rooms]
        #[arg(long, value_name = "PREFIX")]
        room_prefix: Vec<String>,
        /// How long it is good for, such as 30days [default: until it is revoked]
        #[arg(long, value_name = "DURATION", value_parser = time_to_live)]
        ttl: Option<Duration>,
        /// The server.
        #[command(flatten)]
        server: KeyServer,
    },
    /// Print the keys, without their secrets
    List {
        /// The server.
        #[command(flatten)]
        server: KeyServer,
    },
    /// Give a key another secret, and print it
    Rotate {
        /// Id of the key
        id: String,
        /// How long the former secret stays good, such as 1h [default: not at all]
        #[arg(long, value_name = "DURATION", value_parser = time_to_live)]
        overlap: Option<Duration>,
        /// The server.
        #[command(flatten)]
        server: KeyServer,
    },
    /// Revoke a key: within a second no server accepts it
    Revoke {
        /// Id of the key
        id: String,
        /// The server.
        #[command(flatten)]
        server: KeyServer,
    },
}

/// The server that `key` asks, and the credential for it.
#[derive(Args, Clone, Debug)]
pub struct KeyServer {
    /// Address of the server [default: the one that it listens on by the same settings]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// File with a token or API key of an admin [default: a token signed with auth.secret of the same settings]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// PEM file with a certificate authority to trust besides those of the system, for an https address
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The settings of the server.
    #[command(flatten)]
    pub settings: ServerSettings,
}

impl KeyArguments {
    fn server(&self) -> &KeyServer {
        match &self.command {
            KeyCommand::Create { server, .. }
            | KeyCommand::List { server }
            | KeyCommand::Rotate { server, .. }
            | KeyCommand::Revoke { server, .. } => server,
        }
    }

    fn token_arguments(&self) -> TokenArguments {
        let settings = self.server().settings.clone();
        let (sub, role) = ("switchboard-key".to_owned(), Some("admin".to_owned()));
        TokenArguments { sub, role, scope: Vec::new(), name: None, ttl: TOKEN, settings }
    }

    /// Loads the settings.
    ///
    /// # Errors
    ///
    /// As `ServerSettings::load`.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        self.server().settings.load()
    }
}

/// Does what the arguments say at `now_s` (Unix seconds); returns the text to print. `sign` signs a token.
///
/// # Errors
///
/// There is no credential, the server does not answer, or it refuses.
pub fn key(
    arguments: &KeyArguments,
    settings: &Settings,
    now_s: u64,
    sign: impl FnOnce(&Value, &Secret) -> Result<String, String>,
) -> Result<String, String> {
    let server = arguments.server();
    let token = match &server.token_file {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            text.trim().to_owned()
        }
        None => super::token(&arguments.token_arguments(), settings, now_s, sign)?,
    };
    if token.contains(char::is_control) {
        return Err("the token has a control character".to_owned());
    }
    let base = match &server.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", own_address(settings)?),
    };
    let secure = base.starts_with("https://").then(|| secure_client(server)).transpose()?;
    let ask = |method: &str, path: &str, body: Option<Value>| {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        if let Some(client) = &secure {
            return answer(client.ask(method, &format!("{base}{path}"), &token, body)?);
        }
        let length = body.len();
        let kind = "Content-Type: application/json";
        let headers = format!("Authorization: Bearer {token}\r\n{kind}\r\nContent-Length: {length}\r\n");
        answer(exchange(method, &format!("{base}{path}"), &headers, &body)?)
    };
    match &arguments.command {
        KeyCommand::Create { action, name, room_prefix, ttl, .. } => {
            let mut body = json!({ "actions": action, "roomPrefixes": room_prefix });
            if let Some(name) = name {
                body["name"] = json!(name);
            }
            if let Some(ttl) = ttl {
                body["expiresAt"] = json!(now_s.saturating_add(ttl.as_secs()).saturating_mul(1_000));
            }
            ask("POST", "/api/v1/keys", Some(body))
        }
        KeyCommand::List { .. } => ask("GET", "/api/v1/keys", None),
        KeyCommand::Rotate { id, overlap, .. } => {
            let body = json!({ "overlapSeconds": overlap.map_or(0, |overlap| overlap.as_secs()) });
            ask("POST", &format!("/api/v1/keys/{}/rotate", segment(id)?), Some(body))
        }
        KeyCommand::Revoke { id, .. } => {
            ask("DELETE", &format!("/api/v1/keys/{}", segment(id)?), None).map(|_| format!("revoked {id}"))
        }
    }
}

/// A client for https.
fn secure_client(server: &KeyServer) -> Result<ServerClient, String> {
    let authority = match &server.ca {
        Some(file) => {
            let pem = std::fs::read(file).map_err(|error| format!("--ca: {}: {error}", file.display()))?;
            Some(pem)
        }
        None => None,
    };
    ServerClient::new(TIMEOUT, authority.as_deref()).map_err(|error| format!("https: {error}"))
}

/// The address by which this machine reaches the server: of a listener that has the calls of admins.
fn own_address(settings: &Settings) -> Result<SocketAddr, String> {
    let listeners = settings.listeners();
    let is_fit = |listener: &&ListenerPlan| listener.roles.serve(ListenerRoles::ADMIN) && !listener.is_secure;
    let all = listeners.iter().filter(is_fit).filter_map(|listener| match listener.address {
        ListenAddress::Tcp(address) => Some(address),
        ListenAddress::Unix(_) | ListenAddress::Inherited(_) => None,
    });
    let usual = all.clone().find(SocketAddr::is_ipv4).or_else(|| all.clone().next());
    let mut address =
        usual.ok_or("no listener has the calls of admins by plain HTTP: give --url the address of one, such as https://chat.example")?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address)
}

fn segment(id: &str) -> Result<&str, String> {
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_id.then_some(id).ok_or_else(|| format!("{id:?} is no id of a key: `switchboard key list` has them"))
}

fn answer((status, body): (u16, String)) -> Result<String, String> {
    if (200..300).contains(&status) {
        return Ok(body);
    }
    let error = serde_json::from_str::<Value>(&body).ok().and_then(|body| body["error"].as_str().map(str::to_owned));
    Err(format!("the server answered {status}: {}", error.unwrap_or(body)))
}
