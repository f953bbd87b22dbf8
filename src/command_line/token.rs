//! The command `token`: generates a token that this server accepts, for experiments and scripts. This module chooses
//! the claims; the caller signs them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{SettingsArguments, kept_secret};
use crate::config::{ConfigError, Loaded, Secret, Settings};

/// Maximum size of a user id, in bytes.
const USER_ID_BYTES_MAX: usize = 128;

/// The claims of a token.
pub type TokenClaims = Value;

/// Arguments of `token`.
#[derive(Args, Clone, Debug)]
pub struct TokenArguments {
    /// User id, the claim `sub`: 1 to 128 bytes
    #[arg(long, value_name = "USER", value_parser = user_id)]
    pub sub: String,
    /// Role, such as admin
    #[arg(long)]
    pub role: Option<String>,
    /// Scope, such as push; may be repeated
    #[arg(long)]
    pub scope: Vec<String>,
    /// Name shown to others [default: the user id]
    #[arg(long)]
    pub name: Option<String>,
    /// How long the token is good for, such as 15m, 8h or 30days
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = time_to_live)]
    pub ttl: Duration,
    /// The settings of the server.
    #[command(flatten)]
    pub settings: ServerSettings,
}

/// The flags that name the settings of a server, and so the secret that signs tokens for it.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerSettings {
    /// For a server with --dev: its secret is in the data directory
    #[arg(long)]
    pub dev: bool,
    /// Data directory of that server, if it was started with --data
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Settings file [default: switchboard.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Any setting, the value as in the settings file or as plain text; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ServerSettings {
    /// Loads the settings.
    ///
    /// # Errors
    ///
    /// As [`SettingsArguments::load`].
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let Self { dev, config, data, set } = self.clone();
        let arguments = SettingsArguments { dev, config, data, set, ..SettingsArguments::default() };
        arguments.load(|directory| directory.and_then(|path| kept_secret(path).ok().flatten()).unwrap_or_default())
    }
}

impl TokenArguments {
    /// The claims of the token at `now_s` (Unix seconds), with the configured `iss` and `aud`, because the server would
    /// reject a token without them.
    fn claims(&self, settings: &Settings, now_s: u64) -> Value {
        let mut claims = json!({
            "sub": self.sub,
            "iat": now_s,
            "exp": now_s.saturating_add(self.ttl.as_secs()),
        });
        if let Some(role) = &self.role {
            claims["role"] = json!(role);
        }
        if !self.scope.is_empty() {
            claims["scope"] = json!(self.scope.join(" "));
        }
        if let Some(name) = &self.name {
            claims["name"] = json!(name);
        }
        if let Some(issuer) = &settings.auth.issuer {
            claims["iss"] = json!(issuer);
        }
        if let Some(audience) = settings.auth.audience.first() {
            claims["aud"] = json!(audience);
        }
        claims
    }
}

/// A token for a user, signed with HS256 by `sign` (claims, secret) at `now_s` (Unix seconds).
///
/// # Errors
///
/// There is no secret, the server does not accept HS256, or `sign` fails.
pub fn token(
    arguments: &TokenArguments,
    settings: &Settings,
    now_s: u64,
    sign: impl FnOnce(&Value, &Secret) -> Result<String, String>,
) -> Result<String, String> {
    let Some(secret) = &settings.auth.secret else {
        if let (true, Some(directory)) = (settings.dev, &settings.data_dir) {
            return Err(format!(
                "no secret to sign the token with: no server has kept one in {} yet; start `switchboard serve --dev` first, \
                 with the same --data",
                directory.display()
            ));
        }
        return Err("no secret to sign the token with: set auth.secret in switchboard.toml, \
                    or JWT_SECRET or SWITCHBOARD_AUTH__SECRET in the environment, \
                    to what the server has"
            .to_owned());
    };
    if !settings.auth.accepted_algorithms().contains(&Algorithm::HS256) {
        return Err("the server would refuse the token: auth.algorithms does not name HS256".into());
    }
    sign(&arguments.claims(settings, now_s), secret)
}

fn user_id(text: &str) -> Result<String, String> {
    let fits = (1..=USER_ID_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    match fits {
        true => Ok(text.to_owned()),
        false => Err(format!("expected 1 to {USER_ID_BYTES_MAX} bytes, no control characters")),
    }
}

pub(super) fn time_to_live(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.as_secs() > 0 => Ok(duration),
        _ => Err("expected a duration of at least a second, such as 15m, 8h or 30days".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::{CommandLine, ProgramCommand};
    use crate::config::{self, Flags, SettingSources};
    use clap::Parser;

    fn arguments(words: &str) -> TokenArguments {
        let words = ["switchboard", "token"].into_iter().chain(words.split(' '));
        match CommandLine::try_parse_from(words).unwrap().command {
            Some(ProgramCommand::Token(arguments)) => arguments,
            other => panic!("not token: {other:?}"),
        }
    }

    fn settings(set: &[&str]) -> Settings {
        let flags = Flags { set: set.iter().map(ToString::to_string).collect(), ..Flags::default() };
        let sources = SettingSources {
            file: None,
            environment: Vec::new(),
            flags,
            dev: false,
            profile: None,
            cores: 1,
            dev_secret: Box::new(|_| String::new()),
            read_secret: |_| Err(std::io::ErrorKind::NotFound.into()),
        };
        config::load(sources).unwrap().settings
    }

    fn made(words: &str, set: &[&str]) -> Result<String, String> {
        token(&arguments(words), &settings(set), 1_000, |claims, secret| Ok(format!("{claims} by {}", secret.expose())))
    }

    #[test]
    fn token_has_the_requested_claims() {
        let words = "--sub alice --role admin --scope push --scope read --name Al --ttl 2m";
        assert_eq!(
            made(words, &["auth.secret=hush"]).unwrap(),
            r#"{"exp":1120,"iat":1000,"name":"Al","role":"admin","scope":"push read","sub":"alice"} by hush"#
        );
        assert_eq!(
            made("--sub alice", &["auth.secret=hush", "auth.issuer=me", "auth.audience=a,b"]).unwrap(),
            r#"{"aud":"a","exp":4600,"iat":1000,"iss":"me","sub":"alice"} by hush"#
        );
    }

    #[test]
    fn token_needs_a_secret_and_an_accepted_algorithm() {
        assert!(made("--sub alice", &[]).unwrap_err().starts_with("no secret to sign the token with"));
        let error = made("--sub alice", &["auth.secret=hush", "auth.algorithms=HS512"]).unwrap_err();
        assert_eq!(error, "the server would refuse the token: auth.algorithms does not name HS256");
    }

    #[test]
    fn invalid_token_arguments_are_rejected() {
        for words in ["--sub ", "--sub a\u{7}", "--sub a --ttl 0s", "--sub a --ttl soon"] {
            let words = ["switchboard", "token"].into_iter().chain(words.split(' '));
            assert!(CommandLine::try_parse_from(words).is_err());
        }
    }
}
