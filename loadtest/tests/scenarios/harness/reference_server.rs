//! A Socket.IO server of the reference implementation, in its own process.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/socketio_server");

/// `socketio_server/server.js` while it runs.
pub(crate) struct ReferenceServer {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl ReferenceServer {
    /// Starts it with these options.
    pub(crate) fn start(options: &str) -> Self {
        let mut command = Command::new("node");
        command.arg("server.js").arg(options).current_dir(SOURCE).env("NODE_PATH", install());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node is installed");
        let mut port = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut port).expect("the server prints its port");
        let port: u16 = port.trim().parse().expect("a port");
        Self { address: ([127, 0, 0, 1], port).into(), child }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ReferenceServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Installs the server's packages, unless those of this lock file are; where they are.
fn install() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("socketio_server");
    fs::create_dir_all(&folder).expect("the folder for tests is writable");
    // Tests run at the same time, and may run in processes of their own.
    let lock = File::create(folder.join("lock")).expect("the folder is writable");
    lock.lock().expect("files can be locked");
    let wanted = fs::read(Path::new(SOURCE).join("package-lock.json")).expect("it is part of the source");
    let installed = folder.join("installed.json");
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return folder.join("node_modules");
    }
    for file in ["package.json", "package-lock.json"] {
        fs::copy(Path::new(SOURCE).join(file), folder.join(file)).expect("the folder is writable");
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder).stdin(Stdio::null());
    let output = npm.output().expect("npm is installed");
    assert!(output.status.success(), "npm ci: {}", String::from_utf8_lossy(&output.stderr));
    fs::write(installed, wanted).expect("the folder is writable");
    folder.join("node_modules")
}
