//! Checks of settings against each other, after each has passed its own check.

use jsonwebtoken::AlgorithmFamily;

use super::ListenerSettings;
use super::Settings;
use super::auth::Verify;
use super::error::{ConfigError, Problem, SettingSource};
use super::raw::RawSettings;
use crate::runtime::bridge::RedisAddress;
use crate::runtime::key_files::{IssuerPlan, KeySetPlace};
use crate::runtime::listener::ListenAddress;
use crate::shard::ListenerRoles;

/// Shorter secrets can be guessed: RFC 7518 §3.2 requires the size of the hash.
const SECRET_BYTES_MIN: usize = 32;

/// Contradictions that prevent the start.
pub(super) fn problems(settings: &Settings, raw: &RawSettings) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let (Verify::None, Some(address)) = (settings.auth.verify, exposed(settings)) {
        let message = format!(
            "auth.verify: \"none\" lets anybody be anybody, so every listener must be on loopback, \
             such as 127.0.0.1:8090; {address} is not"
        );
        problems.push(Problem::other(Some(raw.source("auth.verify")), message));
    }
    let address = settings.redis.url.as_ref().and_then(|url| RedisAddress::parse(url.expose()));
    if settings.redis.password.is_some() && address.is_some_and(|address| address.has_password()) {
        let message = "redis.password: redis.url has a password, too; give one of them";
        problems.push(Problem::other(Some(raw.source("redis.password")), message));
    }
    let address = settings.redis.url.as_ref().and_then(|url| RedisAddress::parse(url.expose()));
    if !settings.webhooks.endpoints.is_empty() && address.is_some_and(|address| address.is_sharded()) {
        let message = "webhooks.endpoints: webhooks cannot be used with a Redis Cluster (redis.url)";
        problems.push(Problem::other(Some(raw.source("webhooks.endpoints")), message));
    }
    let auth = &settings.auth;
    let has_real_key = auth.has_secret() || auth.has_public_key() || !auth.issuers.is_empty();
    if has_real_key && auth.accepted_algorithms().is_empty() {
        let message = "auth.algorithms: none of them fits the keys given: HS algorithms need \
                       auth.secret, all others auth.public_keys, auth.jwks_file or auth.issuers";
        problems.push(Problem::other(Some(raw.source("auth.algorithms")), message));
    }
    if settings.media_options().is_some_and(|media| media.sockets.is_empty()) {
        let message = "media.announced: clients are told an address of the media server, and listen names none; give the \
                       address at which clients reach this server (or media.server = \"external\")";
        problems.push(Problem::other(Some(raw.source("media.announced")), message));
    }
    if settings.media.is_embedded() && settings.redis.url.is_some() {
        let message = "media.server: with redis.url only \"external\" is possible: the embedded media server serves the \
                       calls of one server";
        problems.push(Problem::other(Some(raw.source("media.server")), message));
    }
    if !auth.jwks_allow_private && plain_urls(settings).is_some() {
        let message = "auth.issuers: jwks_url must begin with https:// (or auth.jwks_allow_private be true, for an issuer in \
                       a private network)";
        problems.push(Problem::other(Some(raw.source("auth.issuers")), message));
    }
    let turn = &settings.turn;
    let has_password = turn.username.is_some() && turn.credential.is_some();
    if !turn.url.is_empty() && turn.secret.is_none() && !has_password {
        // Browsers reject a TURN server without both: every call would fail.
        let message = "turn.url: a TURN server needs turn.secret, or turn.username and \
                       turn.credential";
        problems.push(Problem::other(Some(raw.source("turn.url")), message));
    }
    let has_header = |listener: &ListenerSettings| listener.proxy_protocol == Some(true);
    let key = if settings.listen.iter().any(has_header) { "listen" } else { "proxy_protocol" };
    if (settings.proxy_protocol || key == "listen") && settings.trusted_proxies.is_empty() {
        let message = "proxy_protocol: only those in trusted_proxies are listened to, and it is empty";
        problems.push(Problem::other(Some(raw.source(key)), message));
    }
    if settings.tls.options().is_none() && settings.listen.iter().any(|listener| listener.tls == Some(true)) {
        let message = "listen: tls = true needs tls.cert_file and tls.key_file";
        problems.push(Problem::other(Some(raw.source("listen")), message));
    }
    if !settings.listeners().iter().any(|listener| listener.roles.serve(ListenerRoles::PUBLIC)) {
        let message = "listen: none of the listeners has the role public, so no client could connect";
        problems.push(Problem::other(Some(raw.source("listen")), message));
    }
    if let Some((key, message)) = settings.tls.problem() {
        problems.push(Problem::other(Some(raw.source(key)), message));
    }
    problems
}

/// A listener that other machines can reach, if there is one.
fn exposed(settings: &Settings) -> Option<ListenAddress> {
    let operators = settings.listen_admin.iter().copied().map(ListenAddress::Tcp);
    let all = settings.listen.iter().map(|listener| listener.address.clone()).chain(operators);
    all.into_iter().find(|address| match address {
        ListenAddress::Tcp(address) => !address.ip().to_canonical().is_loopback(),
        ListenAddress::Unix(_) => false,
        // Nobody knows before the start.
        ListenAddress::Inherited(_) => true,
    })
}

fn issuer_warnings(settings: &Settings) -> Vec<String> {
    let open = settings.auth.issuers.iter().filter(|issuer| issuer.options.audience.is_empty());
    let text = |issuer: &IssuerPlan| {
        let name = &issuer.options.issuer;
        format!("without audience, tokens that {name} has made for other services are accepted here")
    };
    open.map(text).chain(plain_urls(settings)).collect()
}

/// A warning about keys that are fetched by `http`.
fn plain_urls(settings: &Settings) -> Option<String> {
    let is_plain =
        |issuer: &&IssuerPlan| matches!(&issuer.set, Some(KeySetPlace::Url(url)) if !url.starts_with("https:"));
    let issuer = settings.auth.issuers.iter().find(is_plain)?;
    Some(format!("the keys of {} are fetched by http: others on the way can replace them", issuer.options.issuer))
}

/// The size of the shortest secret that verifies tokens, and its key.
fn shortest_secret(settings: &Settings) -> Option<(usize, &'static str)> {
    let auth = &settings.auth;
    let all = auth.secret.iter().map(|secret| (secret, "auth.secret"));
    let all = all.chain(auth.secrets.iter().map(|secret| (secret, "auth.secrets")));
    all.map(|(secret, key)| (secret.expose().len(), key)).min()
}

/// Warnings about settings that do not prevent the start.
pub(super) fn warnings(settings: &Settings, raw: &RawSettings) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |key: &str, message: String| {
        let source = raw.source(key);
        warnings.push(format!("{source}: {key}: {message}"));
    };
    let auth = &settings.auth;
    if let Some((bytes, key)) = shortest_secret(settings).filter(|(bytes, _)| *bytes < SECRET_BYTES_MIN) {
        warn(key, format!("{bytes} bytes can be guessed, use at least {SECRET_BYTES_MIN}"));
    }
    if auth.has_public_key() && auth.audience.is_empty() {
        let text = "without it, tokens that the issuer has made for other services are accepted here, those of their \
                    admins, too";
        warn("auth.audience", text.to_owned());
    }
    issuer_warnings(settings).into_iter().for_each(|text| warn("auth.issuers", text));
    if let Some(address) = exposed(settings).filter(|_| settings.dev) {
        let text = format!("{address} can be reached by others, and --dev admits guests and pages of any origin");
        warn("listen", text);
    }
    if settings.media_options().is_some_and(|media| media.is_local()) && !settings.dev {
        warn("media.announced", "without it only clients on this machine reach the media server".to_owned());
    }
    if settings.cors.origins.iter().any(|origin| origin == "null") {
        warn("cors.origins", "null is the origin of frames that any page can make".to_owned());
    }
    let uses_secret =
        auth.accepted_algorithms().iter().any(|algorithm| AlgorithmFamily::Hmac.algorithms().contains(algorithm));
    if auth.has_secret() && !uses_secret {
        warn("auth.secret", "not used, since auth.algorithms names no HS algorithm".to_owned());
    }
    if auth.verify == Verify::None {
        warn("auth.verify", "tokens are taken without checking their signature".to_owned());
    }
    if settings.turn.secret.is_some() && settings.turn.credential.is_some() {
        warn("turn.credential", "not used, since turn.secret wins over it".to_owned());
    }
    if auth.guests && !settings.turn.url.is_empty() && !settings.turn.guests && !raw.is_explicit("turn.guests") {
        warn("turn.guests", "guests get no TURN server unless it is true".to_owned());
    }
    if settings.redis.ca_file.is_some() && !settings.redis_options().is_some_and(|redis| redis.address.is_secure()) {
        warn("redis.ca_file", "not used, since redis.url does not begin with rediss".to_owned());
    }
    let limits = &settings.limits;
    let (message, frame) = (limits.message_bytes, limits.frame_bytes);
    if frame > 0 && message > frame {
        let text = format!("{message} is more than a frame holds (limits.frame_bytes = {frame})");
        warn("limits.message_bytes", text);
    }
    for (key, bytes) in [
        ("limits.frame_bytes", limits.frame_bytes),
        ("limits.outbound_bytes", limits.outbound_bytes),
        ("limits.body_bytes", limits.body_bytes),
    ] {
        if bytes == 0 {
            warn(key, "0 lets a single client take all the memory".to_owned());
        }
    }
    for (key, ms) in [
        ("limits.handshake_ms", limits.handshake_ms),
        ("limits.head_ms", limits.head_ms),
        ("limits.idle_ms", limits.idle_ms),
        ("limits.unauthenticated_ms", limits.unauthenticated_ms),
    ] {
        if ms == 0 {
            warn(key, "0 lets silent clients hold their connections for a day".to_owned());
        }
    }
    warnings
}

/// Whether the settings suffice to serve: tokens must be verifiable.
///
/// # Errors
///
/// No key is configured; the text lists the ways to give one.
pub(super) fn check_serve(settings: &Settings) -> Result<(), ConfigError> {
    let short = shortest_secret(settings).filter(|(bytes, _)| *bytes < SECRET_BYTES_MIN);
    if let (Some((bytes, key)), Some(address)) = (short, exposed(settings)) {
        let message = format!(
            "{key}: {bytes} bytes can be guessed by others, who can reach {address}; use at least {SECRET_BYTES_MIN}, such \
             as those of: head -c 32 /dev/urandom | base64"
        );
        return Err(Problem::other(None::<SettingSource>, message).into());
    }
    if settings.auth.has_key() || settings.auth.guests {
        return Ok(());
    }
    let message = "no key to verify tokens with. Give one of:\n  \
        auth.secret       a secret shared with whoever signs the tokens, also as JWT_SECRET or \
        SWITCHBOARD_AUTH__SECRET\n  \
        auth.public_keys  PEM files with public keys\n  \
        auth.jwks_file    a JWKS file with public keys\n  \
        auth.issuers      issuers, such as Keycloak, with the address of their keys\n  \
        auth.guests       true: clients of /ws and /api/rooms need no token\n\
        or, to try things out on this machine alone: switchboard serve --dev";
    Err(Problem::other(None::<SettingSource>, message).into())
}
