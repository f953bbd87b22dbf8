//! Which server answers, where it is not a cluster. Scripts are told, and those of rooms look whether that has changed: a
//! replica that became the master, or a server that began anew from its disk, may not have all that was told.

use redis::{ErrorKind, RedisResult, ServerErrorKind, cmd, from_redis_value};

use crate::mail::redis::Text;
use crate::runtime::bridge::line::Line;

/// The name that a server has given itself when it started; empty if it does not tell. It is noted there, too, which fails
/// when the server is a replica, or is not ready yet.
pub(super) async fn note_server(line: &mut Line, key: &Text) -> RedisResult<String> {
    // Not everybody is allowed to ask; then nothing is known of it.
    let answer = line.ask(cmd("INFO").arg("server")).await;
    let Ok(information) = answer.and_then(|value| Ok(from_redis_value::<String>(value)?)) else {
        return Ok(String::new());
    };
    let Some(name) = information.lines().find_map(|line| line.strip_prefix("run_id:")) else {
        return Ok(String::new());
    };
    let name = name.trim().to_owned();
    match line.ask(cmd("SET").arg(&key[..]).arg(&name)).await {
        Err(error) if is_no_master(&error.kind()) => Err(error),
        // Whatever else is in the way is in everybody's.
        _ => Ok(name),
    }
}

fn is_no_master(kind: &ErrorKind) -> bool {
    use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
    matches!(kind, ErrorKind::Io | ErrorKind::Server(ReadOnly | BusyLoading | MasterDown))
}
