//! Checks of settings against each other, after each has passed its own check.

use jsonwebtoken::AlgorithmFamily;

use super::Settings;
use super::auth::Verify;
use super::error::{ConfigError, Problem, SettingSource};
use super::raw::RawSettings;

/// Shorter secrets can be guessed: RFC 7518 §3.2 requires the size of the hash.
const SECRET_BYTES_MIN: usize = 32;

/// Contradictions that prevent the start.
pub(super) fn problems(settings: &Settings, raw: &RawSettings) -> Vec<Problem> {
    let mut problems = Vec::new();
    let exposed = settings.listen.iter().find(|address| !address.ip().to_canonical().is_loopback());
    if let (Verify::None, Some(address)) = (settings.auth.verify, exposed) {
        let message = format!(
            "auth.verify: \"none\" lets anybody be anybody, so every listener must be on loopback, \
             such as 127.0.0.1:8090; {address} is not"
        );
        problems.push(Problem::other(Some(raw.source("auth.verify")), message));
    }
    let auth = &settings.auth;
    let has_real_key = auth.secret.is_some() || auth.has_public_key();
    if has_real_key && auth.accepted_algorithms().is_empty() {
        let message = "auth.algorithms: none of them fits the keys given: HS algorithms need \
                       auth.secret, all others auth.public_keys or auth.jwks_file";
        problems.push(Problem::other(Some(raw.source("auth.algorithms")), message));
    }
    let turn = &settings.turn;
    let has_password = turn.username.is_some() && turn.credential.is_some();
    if !turn.url.is_empty() && turn.secret.is_none() && !has_password {
        // Browsers reject a TURN server without both: every call would fail.
        let message = "turn.url: a TURN server needs turn.secret, or turn.username and \
                       turn.credential";
        problems.push(Problem::other(Some(raw.source("turn.url")), message));
    }
    if settings.proxy_protocol && settings.trusted_proxies.is_empty() {
        let message = "proxy_protocol: only those in trusted_proxies are listened to, and it is empty";
        problems.push(Problem::other(Some(raw.source("proxy_protocol")), message));
    }
    problems
}

/// Warnings about settings that do not prevent the start.
pub(super) fn warnings(settings: &Settings, raw: &RawSettings) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |key: &str, message: String| {
        let source = raw.source(key);
        warnings.push(format!("{source}: {key}: {message}"));
    };
    let auth = &settings.auth;
    let secret_bytes = auth.secret.as_ref().map_or(0, |secret| secret.expose().len());
    if (1..SECRET_BYTES_MIN).contains(&secret_bytes) {
        let least = SECRET_BYTES_MIN;
        warn("auth.secret", format!("{secret_bytes} bytes can be guessed, use at least {least}"));
    }
    let uses_secret =
        auth.accepted_algorithms().iter().any(|algorithm| AlgorithmFamily::Hmac.algorithms().contains(algorithm));
    if secret_bytes > 0 && !uses_secret {
        warn("auth.secret", "not used, since auth.algorithms names no HS algorithm".to_owned());
    }
    if auth.verify == Verify::None {
        warn("auth.verify", "tokens are taken without checking their signature".to_owned());
    }
    if settings.turn.secret.is_some() && settings.turn.credential.is_some() {
        warn("turn.credential", "not used, since turn.secret wins over it".to_owned());
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
    warnings
}

/// Whether the settings suffice to serve: tokens must be verifiable.
///
/// # Errors
///
/// No key is configured; the text lists the ways to give one.
pub(super) fn check_serve(settings: &Settings) -> Result<(), ConfigError> {
    if settings.auth.has_key() || settings.auth.guests {
        return Ok(());
    }
    let message = "no key to verify tokens with. Give one of:\n  \
        auth.secret       a secret shared with whoever signs the tokens, also as JWT_SECRET or \
        SWITCHBOARD_AUTH__SECRET\n  \
        auth.public_keys  PEM files with public keys\n  \
        auth.jwks_file    a JWKS file with public keys\n  \
        auth.guests       true: clients of /ws and /api/rooms need no token\n\
        or, to try things out on this machine alone: switchboard serve --dev";
    Err(Problem::other(None::<SettingSource>, message).into())
}
