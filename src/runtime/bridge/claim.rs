//! Claim of a node number at the start of a process.

use std::time::{Duration, Instant};

use redis::{RedisError, cmd, from_redis_value};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{sleep, timeout};

use crate::base::rng::Rng;
use crate::owner::redis::{KeySchema, NodeNumber};
use crate::runtime::bridge::RedisOptions;
use crate::runtime::bridge::backoff::Backoff;
use crate::runtime::bridge::connection::{REPLY_TIMEOUT, RedisConnection};
use crate::runtime::{clock, entropy};

/// Time to reach Redis before the process gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Texts of errors that another attempt does not solve.
const CERTIFICATE: &str = "invalid peer certificate";
const LOGIN: [&str; 3] = ["WRONGPASS", "NOAUTH", "authentication failed"];

/// A node number, and the parts of the bridge that starts with it.
pub struct ClaimedNode {
    /// The node number.
    pub node: u16,
    pub(super) name: Box<str>,
    pub(super) options: RedisOptions,
    pub(super) runtime: Runtime,
}

/// Claims a number for this process; waits for Redis for a limited time.
///
/// # Errors
/// Redis cannot be reached or refuses; all numbers are taken.
pub fn claim(options: RedisOptions) -> Result<ClaimedNode, String> {
    let options = trusting(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no asynchronous runtime: {error}"))?;
    let no_entropy = |error| format!("no entropy: {error}");
    let mut backoff = Backoff::new(Rng::from_entropy(entropy::seed().map_err(no_entropy)?));
    let name: Box<str> = entropy::fresh_secret().map_err(no_entropy)?.into();
    let node = runtime.block_on(async {
        let until = Instant::now() + PATIENCE;
        let mut is_first = true;
        loop {
            let error = match timeout(2 * REPLY_TIMEOUT, attempt(&options, &name)).await {
                Ok(Ok(node)) => return node,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            let shown = options.address.shown();
            if error.contains(CERTIFICATE) {
                let trusted =
                    options.ca_file.as_ref().map_or("the authorities that this system trusts".to_owned(), |path| {
                        format!("those in redis.ca_file ({})", path.display())
                    });
                return Err(format!("redis.url: Redis at {shown} is not trusted: {error}. Trusted are {trusted}"));
            }
            if LOGIN.iter().any(|word| error.contains(word)) {
                return Err(format!("redis.url: Redis at {shown} does not let this server log in: {error}"));
            }
            if Instant::now() >= until {
                return Err(format!("redis.url: Redis at {shown} cannot be used: {error}"));
            }
            if std::mem::take(&mut is_first) {
                tracing::warn!(%error, "Redis at {shown} cannot be used; trying for {} s", PATIENCE.as_secs());
            }
            sleep(backoff.next()).await;
        }
    })?;
    Ok(ClaimedNode { node, name, options, runtime })
}

/// The options with the authorities of `redis.ca_file`, and TLS made ready for this process.
pub(super) fn trusting(mut options: RedisOptions) -> Result<RedisOptions, String> {
    if let Some(path) = &options.ca_file {
        let bad = |error: String| format!("redis.ca_file: {}: {error}", path.display());
        let authorities = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
        options.address = options.address.trusting(authorities).map_err(bad)?;
    }
    // An error means that the same provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Ok(options)
}

/// The number, or the reason why there is none; an error if another attempt can succeed.
async fn attempt(options: &RedisOptions, name: &str) -> Result<Result<u16, String>, RedisError> {
    let (pushes, _pushed) = unbounded_channel();
    let mut connection = RedisConnection::open(&options.address, pushes).await?;
    let call = NodeNumber::claim(&KeySchema::new(&options.prefix), name, clock::unix_millis());
    let mut command = cmd("EVAL");
    command.arg(call.script.source).arg(call.keys.len());
    for text in call.keys.iter().chain(&call.arguments) {
        command.arg(&text[..]);
    }
    let answer: Vec<u8> = from_redis_value(connection.ask(&command).await?)?;
    Ok(NodeNumber::claimed(&answer).ok_or_else(|| "redis.url: all numbers of nodes are taken".to_owned()))
}
