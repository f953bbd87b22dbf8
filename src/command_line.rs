//! The command line and its small commands.
//!
//! `serve` is only parsed here; `main` starts the server. `token`, `config` and `health` are functions from their
//! arguments to a text for standard output or an error message, so that tests need no process. The clock, entropy and
//! the signing of tokens are arguments.

mod configuration;
mod dev_secret;
mod doctor;
mod health;
mod key;
mod logging;
mod manual;
mod reload;
mod store;
mod suggest;
mod token;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{self, ConfigError, Flags, Loaded, ProtocolProfile, Secret, SettingSources, Settings};
use crate::shard::{Options, ShownSettings};

pub use configuration::{ConfigArguments, configuration};
pub use dev_secret::{CreatedSecret, keep_secret, kept_secret};
pub use doctor::{DoctorArguments, doctor};
pub use health::health;
pub use key::{KeyArguments, KeyCommand, KeyServer, key};
pub use logging::{LogLevel, start_logging};
pub use manual::{CompletionArguments, ManualArguments, completions, manual};
pub use reload::{ReloadArguments, RunningSettings, reload};
pub use store::{BackupArguments, CheckArguments, ExportArguments, RestoreArguments, backup, check, export, restore};
pub use suggest::with_suggestion;
pub use token::{TokenArguments, TokenClaims, token};

const OVERVIEW: &str = "\
Settings come from switchboard.toml, overridden by SWITCHBOARD_* variables, overridden by flags.
`switchboard config` prints what is in force and where each value came from.

Examples:
  switchboard serve --dev
  switchboard serve --listen 0.0.0.0:8090 --set auth.jwks_file=keys.json
  switchboard token --sub alice --ttl 8h
  switchboard health";

const SERVE_EXAMPLES: &str = "\
Examples:
  switchboard serve --dev
  switchboard serve --profile 002
  JWT_SECRET=… switchboard serve
  switchboard serve --config /etc/switchboard.toml --listen [::]:8090 --shards 4
  switchboard serve --set auth.public_keys='[\"key.pem\"]' --set limits.messages_per_minute=0
  SWITCHBOARD_LIMITS__MESSAGES_PER_MINUTE=0 switchboard serve

Without --dev the server needs a key to verify tokens with: auth.secret, auth.public_keys or
auth.jwks_file.";

const TOKEN_EXAMPLES: &str = "\
The token is signed with auth.secret (or JWT_SECRET) from the same settings as the server's, with
--dev with the secret that `switchboard serve --dev` keeps in its data directory, and names
auth.issuer and auth.audience if they are set.

Examples:
  switchboard token --sub alice
  switchboard token --sub operator --role admin --ttl 15m
  switchboard token --dev --sub alice
  switchboard token --sub billing --scope push --ttl 30days
  curl -H \"Authorization: Bearer $(switchboard token --sub alice)\" http://127.0.0.1:8090/rooms/abc123";

const KEY_EXAMPLES: &str = "\
The command asks a running server, which tells all others that share its Redis.

Examples:
  switchboard key create --name billing --action publish --action rooms --room-prefix order-
  switchboard key list
  switchboard key rotate ID --overlap 1h
  switchboard key revoke ID --url http://10.0.0.7:8090";

const CONFIG_EXAMPLES: &str = "\
The output is itself a settings file, with secrets masked.

Examples:
  switchboard config
  switchboard config --dev
  switchboard config --check /etc/switchboard/switchboard.toml
  switchboard config --default > switchboard.toml
  switchboard config --config /etc/switchboard.toml --set log.level=debug";

const HEALTH_EXAMPLES: &str = "\
Exits with 0 when the answer is 200, else with 1 and what was wrong.

Examples:
  switchboard health
  switchboard health http://10.0.0.7:8090/readyz";

const RELOAD_EXAMPLES: &str = "\
Takes the settings as the server does, checks them and the files they name, and sends the server
SIGHUP. Exits with 1 and what is wrong if they are not valid; the server then goes on as before.

Examples:
  switchboard reload --config /etc/switchboard/switchboard.toml
  switchboard reload --config /etc/switchboard/switchboard.toml --pid 4711";

const DOCTOR_EXAMPLES: &str = "\
Exits with 1 if anything does not work. Opens a few connections, and one session without a token.

Examples:
  switchboard doctor https://chat.example --origin https://app.example
  switchboard doctor https://chat.example --token $(switchboard token --sub alice) --idle 70
  switchboard doctor --config /etc/switchboard/switchboard.toml";

const BACKUP_EXAMPLES: &str = "\
The file must not be there yet. `switchboard restore` puts it back.

Examples:
  switchboard backup --config /etc/switchboard/switchboard.toml /backup/$(date +%F).db
  switchboard backup --data ./switchboard-data monday.db
  switchboard check monday.db";

/// A WebSocket signaling and real-time messaging server.
#[derive(Debug, Parser)]
#[command(name = "switchboard", version, after_help = OVERVIEW)]
pub struct CommandLine {
    /// The command; without one the help is printed.
    #[command(subcommand)]
    pub command: Option<ProgramCommand>,
}

/// The commands of the program.
#[derive(Debug, Subcommand)]
pub enum ProgramCommand {
    /// Run the server
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArguments),
    /// Print a signed token for a user
    #[command(after_help = TOKEN_EXAMPLES)]
    Token(TokenArguments),
    /// Make, list, rotate and revoke API keys of backends
    #[command(after_help = KEY_EXAMPLES)]
    Key(KeyArguments),
    /// Print the settings in force and where each came from
    #[command(after_help = CONFIG_EXAMPLES)]
    Config(ConfigArguments),
    /// Ask a running server how it is
    #[command(after_help = HEALTH_EXAMPLES)]
    Health(HealthArguments),
    /// Have a running server read its settings again
    #[command(after_help = RELOAD_EXAMPLES)]
    Reload(ReloadArguments),
    /// Look at a server as its clients do, at this machine and at Redis, with advice
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(DoctorArguments),
    /// Copy the store to a file, also while a server uses it
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(BackupArguments),
    /// Put a backup in the data directory of a server that does not run
    Restore(RestoreArguments),
    /// Check the whole store, or a backup
    Check(CheckArguments),
    /// Print rooms and messages, one JSON object a line
    Export(ExportArguments),
    /// Print the completions of the command line for a shell
    Completions(CompletionArguments),
    /// Write manual pages
    Man(ManualArguments),
}

/// Arguments of `serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArguments {
    /// The settings.
    #[command(flatten)]
    pub settings: SettingsArguments,
    /// Serve third-party test suites in place of clients, on loopback addresses only: /echo, /engine.io/ and /socket.io/
    /// as the suites expect them
    #[arg(long, value_name = "SUITES", num_args = 0..=1, require_equals = true, default_missing_value = "protocols")]
    pub conformance: Option<ConformanceSuites>,
}

/// Test suites that `serve --conformance` serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConformanceSuites {
    /// Those of WebSocket, Engine.IO and Socket.IO
    Protocols,
    /// The own tests of socket.io-client
    SocketioClient,
    /// The own tests of engine.io-client
    EngineioClient,
}

impl ConformanceSuites {
    /// The largest payload that the own tests of a client expect, in bytes.
    pub fn payload_bytes(self) -> Option<usize> {
        match self {
            Self::Protocols => None,
            Self::SocketioClient => Some(1_000_000),
            Self::EngineioClient => Some(100),
        }
    }
}

impl ServeArguments {
    /// Options of the shards with these settings, for as many connections as the process can hold.
    pub fn options(&self, settings: &Settings, connections: usize, shown: String) -> Options {
        let secret = settings.auth.secret.as_ref().filter(|_| settings.dev && self.conformance.is_none());
        let shown = Arc::new(ShownSettings::new(shown, secret.map(Secret::expose)));
        let options = Options { shown, ..settings.shard_options(connections) };
        match self.conformance {
            Some(suites) => options.for_conformance(suites.payload_bytes()),
            None => options,
        }
    }

    /// Loads the settings as [`SettingsArguments::load`]. The test suites use the settings of `--dev` and store no
    /// data, nor the secret.
    ///
    /// # Errors
    ///
    /// As [`SettingsArguments::load`], or if the suites would be served on an address that others can reach.
    pub fn load(&self, dev_secret: impl FnOnce(Option<&Path>) -> String + 'static) -> Result<Loaded, String> {
        let keeps = self.conformance.is_none();
        let dev = self.settings.dev || !keeps;
        let dev_secret = move |directory: Option<&Path>| dev_secret(directory.filter(|_| keeps));
        let arguments = SettingsArguments { dev, ..self.settings.clone() };
        let mut loaded = arguments.load(dev_secret).map_err(|error| error.to_string())?;
        if !keeps {
            if let Some(open) = loaded
                .settings
                .listen
                .iter()
                .find(|listener| !listener.tcp().is_some_and(|address| address.ip().is_loopback()))
            {
                let open = &open.address;
                return Err(format!("--conformance serves loopback addresses only, and {open} is none"));
            }
            loaded.settings.data_dir = None;
        }
        Ok(loaded)
    }
}

/// The flags that change settings.
#[derive(Args, Clone, Debug, Default)]
pub struct SettingsArguments {
    /// Try things out on this machine: guests, rooms made by joining, any origin, a generated secret, no wait for
    /// clients at the end, 127.0.0.1:8090
    #[arg(long)]
    pub dev: bool,
    /// Defaults for the clients of one protocol document on this machine: 000 messaging and 001 meetings at /ws, 002 push,
    /// 003 and 004 chat by Socket.IO
    #[arg(long, value_name = "NUMBER")]
    pub profile: Option<ProtocolProfile>,
    /// Settings file [default: switchboard.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on, such as 0.0.0.0:8090, an IPv6 address in brackets; may be repeated
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Vec<String>,
    /// Threads that serve clients [default: number of cores]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub shards: Option<String>,
    /// Directory for messages and rooms; "" keeps nothing on disk
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Any setting, the value as in the settings file or as plain text; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl SettingsArguments {
    /// Loads the settings from these arguments, the settings file and the environment. `dev_secret` returns a random
    /// text of at least 32 bytes, which may be kept in the data directory; it is called at most once.
    ///
    /// # Errors
    ///
    /// As [`SettingSources::gather`] and [`config::load`].
    pub fn load(&self, dev_secret: impl FnOnce(Option<&Path>) -> String + 'static) -> Result<Loaded, ConfigError> {
        let flags = Flags {
            listen: self.listen.clone(),
            shards: self.shards.clone(),
            data: self.data.clone(),
            set: self.set.clone(),
        };
        let dev_secret = Box::new(dev_secret);
        config::load(SettingSources::gather(self.config.as_deref(), flags, (self.dev, self.profile), dev_secret)?)
    }
}

/// Arguments of `health`.
#[derive(Args, Clone, Debug)]
pub struct HealthArguments {
    /// Address to ask; without a path, /healthz is asked for
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8090/healthz")]
    pub url: String,
}

/// The text of `--help`, printed if no command was given.
pub fn help() -> String {
    CommandLine::command().render_help().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<CommandLine, clap::Error> {
        CommandLine::try_parse_from(words.split(' '))
    }

    #[test]
    fn command_line_definition_is_valid() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn serve_takes_every_flag() {
        let words = "switchboard serve --dev --config a.toml --listen 1.2.3.4:5 --listen [::1]:6 \
                     --shards 3 --data d --set a=b --set c=d=e";
        let Some(ProgramCommand::Serve(arguments)) = parse(words).unwrap().command else {
            panic!("not serve");
        };
        assert!(arguments.conformance.is_none());
        let arguments = arguments.settings;
        assert!(arguments.dev);
        assert_eq!(arguments.config.unwrap(), PathBuf::from("a.toml"));
        assert_eq!(arguments.listen, ["1.2.3.4:5", "[::1]:6"]);
        assert_eq!(arguments.shards.unwrap(), "3");
        assert_eq!(arguments.data.unwrap(), "d");
        assert_eq!(arguments.set, ["a=b", "c=d=e"]);
    }

    #[test]
    fn conformance_needs_loopback() {
        let load = |words| match parse(words).unwrap().command {
            Some(ProgramCommand::Serve(arguments)) => arguments.load(|_| String::new()),
            _ => panic!("not serve"),
        };
        let loaded = load("switchboard serve --conformance --listen [::1]:0 --listen 127.0.0.2:0").unwrap();
        assert!(loaded.settings.dev && loaded.settings.data_dir.is_none());
        let error = load("switchboard serve --conformance --listen 127.0.0.1:0 --listen 0.0.0.0:8090").unwrap_err();
        assert_eq!(error, "--conformance serves loopback addresses only, and 0.0.0.0:8090 is none");
    }

    #[test]
    fn other_commands_parse_their_arguments() {
        assert!(parse("switchboard").unwrap().command.is_none());
        assert!(matches!(parse("switchboard config --dev").unwrap().command, Some(ProgramCommand::Config(_))));
        let Some(ProgramCommand::Health(arguments)) = parse("switchboard health").unwrap().command else {
            panic!("not health");
        };
        assert_eq!(arguments.url, "http://127.0.0.1:8090/healthz");
        assert!(parse("switchboard token").is_err(), "a token needs a user");
        let version = parse("switchboard --version").unwrap_err().to_string();
        assert_eq!(version.trim(), concat!("switchboard ", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn the_help_names_every_command() {
        for word in [
            "serve",
            "token",
            "key",
            "config",
            "health",
            "reload",
            "doctor",
            "backup",
            "restore",
            "check",
            "export",
            "Examples:",
        ] {
            assert!(help().contains(word), "{word}");
        }
    }

    #[test]
    fn a_named_settings_file_must_exist() {
        let arguments = SettingsArguments { config: Some("/nowhere/s.toml".into()), ..Default::default() };
        let error = arguments.load(|_| String::new()).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the settings file /nowhere/s.toml: "), "{error}");
    }
}
