//! Which server answers, where it is not a cluster. Scripts are told, and those of rooms look whether that has changed: a
//! replica that became the master, or a server that began anew from its disk, may not have all that was told.

use redis::{ErrorKind, RedisResult, ServerErrorKind, cmd, from_redis_value};

use crate::runtime::bridge::line::Line;

/// The name that a server has given itself when it started (`run_id` of `INFO`); empty where nobody is allowed to ask.
///
/// # Errors
/// It does not answer, or it is a replica.
pub(super) async fn name_of_server(line: &mut Line) -> RedisResult<String> {
    let information: String = match line.ask(cmd("INFO").arg("server").arg("replication")).await {
        Ok(value) => from_redis_value(value)?,
        Err(error) if matches!(error.code(), Some("NOPERM" | "ERR")) => return Ok(String::new()),
        // Without a name that is known otherwise, rooms would seem to have gone to another server.
        Err(error) => return Err(error),
    };
    let field = |name: &str| information.lines().find_map(|line| line.strip_prefix(name));
    if field("role:").is_some_and(|role| role.trim() == "slave") {
        return Err((ErrorKind::Server(ServerErrorKind::ReadOnly), "it is a replica").into());
    }
    Ok(field("run_id:").unwrap_or_default().trim().to_owned())
}
