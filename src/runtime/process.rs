//! Other processes of this machine.

use std::io;

use rustix::process::{Pid, Signal, kill_process};

/// Sends SIGHUP, which has a server read its settings again.
///
/// # Errors
/// There is no such process, or it belongs to another user.
pub fn hang_up(pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("not the id of a process"))?;
    Ok(kill_process(pid, Signal::HUP)?)
}
