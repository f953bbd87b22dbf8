//! Processes that a test may kill, or take the disk from: this test program once more, told by a variable what to do.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fixture::Scratch;
use crate::{crash, disk};

/// What a child is to do, and where.
const ROLE: &str = "SWITCHBOARD_STORAGE_ROLE";
const DIRECTORY: &str = "SWITCHBOARD_STORAGE_DIRECTORY";

/// Begins every line that a child has to say; the test harness says more.
pub(crate) const MARK: &str = "child: ";

/// The command for a child that plays `role` in `directory`.
pub(crate) fn command(role: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["child::runs_as_child", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(DIRECTORY, directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// Says a line to the parent. The harness captures what `println!` prints.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{MARK}{line}").and_then(|()| out.flush()).expect("somebody listens");
}

#[test]
fn runs_as_child() {
    let (Some(role), Some(directory)) = (std::env::var_os(ROLE), std::env::var_os(DIRECTORY)) else {
        // Nobody's child: then a second child shows that the way there works.
        let scratch = Scratch::new();
        let output = command("speak", &scratch.0).output().expect("a child");
        assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("\n{MARK}here\n")));
        return;
    };
    let directory = PathBuf::from(directory);
    match role.to_str() {
        Some("speak") => say("here"),
        Some("write until killed") => crash::write(&directory),
        Some("limited files") => disk::with_limited_files(&directory),
        Some("small disk") => disk::with_a_small_disk(&directory),
        other => panic!("no such role: {other:?}"),
    }
}
