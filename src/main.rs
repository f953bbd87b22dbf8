//! The `switchboard` command.

use std::cell::Cell;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use switchboard::codec::jwt::{NewToken, sign_hs256};
use switchboard::command_line::{
    self, CommandLine, ConfigArguments, CreatedSecret, KeyArguments, LogLevel, ProgramCommand, RunningSettings,
    ServeArguments, TokenArguments, TokenClaims,
};
use switchboard::config::{self, Loaded, Secret, Settings};
use switchboard::runtime::key_files::KeyFiles;
use switchboard::runtime::listener::ListenerPlan;
use switchboard::runtime::tls::TlsFiles;
use switchboard::runtime::webhooks::WebhookOptions;
use switchboard::runtime::{clock, entropy, server};
use switchboard::shard::ListenerRoles;

/// Descriptors that a server needs in addition to those of its clients.
const OWN_DESCRIPTORS: u64 = 64;

/// Lifetime of the tokens that `--dev` prints, in seconds.
const DEV_TOKEN_S: u64 = 30 * 86_400;

fn main() -> ExitCode {
    let arguments = CommandLine::try_parse().unwrap_or_else(|error| command_line::with_suggestion(error).exit());
    let outcome = match arguments.command {
        Some(ProgramCommand::Serve(arguments)) => serve(&arguments),
        Some(ProgramCommand::Token(arguments)) => token(&arguments),
        Some(ProgramCommand::Key(arguments)) => key(&arguments),
        Some(ProgramCommand::Config(arguments)) => show_config(&arguments),
        Some(ProgramCommand::Doctor(arguments)) => command_line::doctor(&arguments, clock::unix_seconds(), print_line),
        Some(ProgramCommand::Backup(arguments)) => command_line::backup(&arguments).map(|outcome| print_line(&outcome)),
        Some(ProgramCommand::Restore(arguments)) => {
            command_line::restore(&arguments, clock::unix_millis()).map(|outcome| print_line(&outcome))
        }
        Some(ProgramCommand::Check(arguments)) => command_line::check(&arguments).map(|outcome| print_line(&outcome)),
        Some(ProgramCommand::Export(arguments)) => command_line::export(&arguments, &mut std::io::stdout().lock()),
        Some(ProgramCommand::Completions(arguments)) => {
            print_line(&command_line::completions(&arguments));
            Ok(())
        }
        Some(ProgramCommand::Man(arguments)) => command_line::manual(&arguments).map(|outcome| print_line(&outcome)),
        Some(ProgramCommand::Reload(arguments)) => command_line::reload(&arguments).map(|outcome| print_line(&outcome)),
        Some(ProgramCommand::Health(arguments)) => command_line::health(&arguments.url).map(|body| print_line(&body)),
        None => {
            print_line(&command_line::help());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("switchboard: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &ServeArguments) -> Result<(), String> {
    let created = Rc::new(Cell::new(None));
    let keeper = created.clone();
    let loaded = arguments.load(move |directory| dev_secret(directory, &keeper));
    let outcome = loaded.and_then(|loaded| {
        let (log_guard, level) = command_line::start_logging(&loaded.settings)?;
        Ok((start(arguments, loaded, level)?, log_guard))
    });
    if let (Err(_), Some(secret)) = (&outcome, created.take()) {
        secret.remove();
    }
    let (server, _log_guard) = outcome?;
    server.wait()
}

/// Starts the server and prints where it listens.
fn start(arguments: &ServeArguments, loaded: Loaded, level: LogLevel) -> Result<server::Server, String> {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    loaded.check_serve().map_err(|error| error.to_string())?;
    abort_on_panic();
    let settings = &loaded.settings;
    let keys = KeyFiles::read(settings.key_plan())?;
    let tls = settings.tls.options().map(TlsFiles::read).transpose()?;
    let connections = connections_allowed();
    let server = server::start(server::Plan {
        listen: settings.listeners(),
        options: arguments.options(settings, connections, config::to_json(&loaded, &[], None)),
        keys,
        tls,
        drain: Duration::from_secs(settings.drain.seconds),
        storage: settings.storage_options(Arc::new(clock::unix_millis)),
        redis: settings.redis_options(),
        media: settings.media_options(),
        webhooks: WebhookOptions { decisions: settings.hooks.options(), ..settings.webhooks.options() },
        may_forget: settings.dev && !loaded.explicit.contains("data_dir"),
        settings: Some(Box::new(RunningSettings::new(arguments.clone(), loaded.clone(), level, connections))),
    })?;
    let is_public = |listener: &&ListenerPlan| listener.roles.serve(ListenerRoles::PUBLIC);
    for listener in &server.listeners {
        match is_public(&listener) {
            true => print_line(&format!("listening on {}", listener.url())),
            false => print_line(&format!("for operators: {}", listener.url())),
        }
    }
    if settings.dev
        && arguments.conformance.is_none()
        && let Some(first) = server.listeners.iter().find(is_public)
    {
        print_developer_links(settings, &first.url(), server.listeners.iter().all(|listener| is_public(&listener)));
    }
    let (addresses, operators): (Vec<_>, Vec<_>) = server.listeners.iter().partition(is_public);
    let shown = |listeners: &[&ListenerPlan]| listeners.iter().map(|listener| listener.url()).collect::<Vec<_>>();
    let (addresses, operators) = (shown(&addresses), shown(&operators));
    tracing::info!(?addresses, ?operators, shards = settings.shards, "serving");
    Ok(server)
}

/// The secret of `--dev`: kept in the data directory, else a fresh one.
fn dev_secret(directory: Option<&Path>, created: &Cell<Option<CreatedSecret>>) -> String {
    match directory.map(|directory| command_line::keep_secret(directory, &fresh_secret())) {
        Some(Ok((secret, new))) => {
            created.set(new);
            secret
        }
        Some(Err(error)) => {
            eprintln!("switchboard: {error}; tokens of this server end with it");
            fresh_secret()
        }
        None => fresh_secret(),
    }
}

/// Prints addresses and tokens for a developer.
fn print_developer_links(settings: &Settings, base: &str, has_dashboard: bool) {
    print_line(&format!("landing page          {base}/"));
    print_line(&format!("make a call           {base}/call"));
    print_line(&format!("try requests out      {base}/console"));
    if has_dashboard {
        print_line(&format!("watch the server      {base}/dashboard"));
    }
    let secret = settings.auth.secret.as_ref().expect("invariant: --dev generates a secret if none is set");
    let now = clock::unix_seconds();
    let sign = |user: &str, role: Option<&str>| {
        let token = NewToken { user, role, issued_at: now, expires_at: Some(now + DEV_TOKEN_S), ..NewToken::default() };
        sign_hs256(secret.expose(), &token)
    };
    print_line(&format!("token of user alice   {}", sign("alice", None)));
    print_line(&format!("token of admin root   {}", sign("root", Some("admin"))));
}

fn token(arguments: &TokenArguments) -> Result<(), String> {
    let loaded = arguments.settings.load().map_err(|error| error.to_string())?;
    let token = command_line::token(arguments, &loaded.settings, clock::unix_seconds(), sign)?;
    print_line(&token);
    Ok(())
}

fn key(arguments: &KeyArguments) -> Result<(), String> {
    let loaded = arguments.load().map_err(|error| error.to_string())?;
    print_line(&command_line::key(arguments, &loaded.settings, clock::unix_seconds(), sign)?);
    Ok(())
}

fn sign(claims: &TokenClaims, secret: &Secret) -> Result<String, String> {
    let key = jsonwebtoken::EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).map_err(|error| error.to_string())
}

fn show_config(arguments: &ConfigArguments) -> Result<(), String> {
    let kept = |path: &Path| command_line::kept_secret(path).ok().flatten();
    let secret = move |directory: Option<&Path>| directory.and_then(kept).unwrap_or_else(fresh_secret);
    print_line(command_line::configuration(arguments, secret)?.trim_end());
    Ok(())
}

/// Prints a line. The reader of standard output may close it at any time, as `head` does; this is no failure.
fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn fresh_secret() -> String {
    match entropy::fresh_secret() {
        Ok(secret) => secret,
        Err(error) => {
            eprintln!("switchboard: no entropy: {error}");
            std::process::exit(1);
        }
    }
}

/// Connections within the descriptor limit, after it has been raised as far as possible.
fn connections_allowed() -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    usize::try_from(limit.saturating_sub(OWN_DESCRIPTORS)).unwrap_or(usize::MAX)
}

/// A panic of one thread ends the process: without that shard its rooms would have no owner. One that is contained ends a media
/// connection only.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        if !switchboard::media::is_contained() {
            std::process::abort();
        }
    }));
}
