//! What a Redis tells of itself, for the command `doctor`.

use redis::{cmd, from_redis_value};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

use crate::runtime::bridge::RedisOptions;
use crate::runtime::bridge::claim::trusting;
use crate::runtime::bridge::connection::{REPLY_TIMEOUT, RedisConnection};

/// The answer to `INFO`, of one server if it is a cluster.
///
/// # Errors
/// Redis cannot be reached, refuses, or does not answer in time.
pub fn information(options: RedisOptions) -> Result<String, String> {
    let options = trusting(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ask = async {
        let (pushes, _pushed) = unbounded_channel();
        let mut connection = RedisConnection::open(&options.address, pushes).await?;
        let answer = connection.ask(&cmd("INFO")).await?;
        let answer = match answer {
            // Of a cluster, each server answers.
            redis::Value::Map(answers) => answers.into_iter().next().map_or(redis::Value::Nil, |(_, answer)| answer),
            answer => answer,
        };
        Ok::<String, redis::RedisError>(from_redis_value(answer)?)
    };
    let runtime = runtime.map_err(|error| format!("no asynchronous runtime: {error}"))?;
    match runtime.block_on(async { timeout(2 * REPLY_TIMEOUT, ask).await }) {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}
