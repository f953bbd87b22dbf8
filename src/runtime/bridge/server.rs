//! Name of the server, except in a cluster. Scripts receive it, and those of rooms check whether it has changed: a replica that
//! became the master, or a server that restarted from its disk, can lack events that were published.

use redis::{ErrorKind, RedisResult, ServerErrorKind, cmd, from_redis_value};

use crate::runtime::bridge::connection::RedisConnection;

/// The name that the server chose at its start (`run_id` of `INFO`); empty if the login does not allow to ask.
///
/// # Errors
/// The server does not answer, or is a replica.
pub(super) async fn name_of_server(connection: &mut RedisConnection) -> RedisResult<String> {
    let information: String = match connection.ask(cmd("INFO").arg("server").arg("replication")).await {
        Ok(value) => from_redis_value(value)?,
        Err(error) if matches!(error.code(), Some("NOPERM" | "ERR")) => return Ok(String::new()),
        // An empty name instead of the known one would look like another server.
        Err(error) => return Err(error),
    };
    let field = |name: &str| information.lines().find_map(|connection| connection.strip_prefix(name));
    if field("role:").is_some_and(|role| role.trim() == "slave") {
        return Err((ErrorKind::Server(ServerErrorKind::ReadOnly), "it is a replica").into());
    }
    Ok(field("run_id:").unwrap_or_default().trim().to_owned())
}
