//! What a service manager, such as systemd, is told by its socket (sd_notify(3)).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::client::PATIENCE;
use support::directory::Directory;
use support::server::{Server, command};
use support::workspace;

/// A manager that hears what its services say.
struct Manager(UnixDatagram);

impl Manager {
    fn at(directory: &Path) -> (Self, String) {
        std::fs::create_dir_all(directory).expect("a directory");
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        (Self::of(socket), path.to_string_lossy().into_owned())
    }

    fn of(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        Self(socket)
    }

    /// The next message but the signs of life.
    fn next(&self) -> Vec<String> {
        loop {
            let message = self.any();
            if message != ["WATCHDOG=1"] {
                return message;
            }
        }
    }

    fn any(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let count = self.0.recv(&mut bytes).expect("a message");
        String::from_utf8_lossy(&bytes[..count]).lines().map(str::to_owned).collect()
    }
}

#[test]
fn manager_learns_of_start_reload_life_and_end() {
    let directory = Directory::new();
    let (manager, path) = Manager::at(directory.path());
    let environment = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", "200000")];
    let mut server = Server::spawn(&mut command(&["--shards", "2", "--set", "drain.seconds=0"], &environment));
    assert_eq!(manager.next(), ["READY=1", "STATUS=Serves"]);
    for _ in 0..5 {
        assert_eq!(manager.any(), ["WATCHDOG=1"]);
    }
    server.signal(1);
    let reloading = manager.next();
    let usec = reloading[1].strip_prefix("MONOTONIC_USEC=").expect("a time").parse::<u64>().expect("a number");
    let uptime = std::fs::read_to_string("/proc/uptime").expect("it is there");
    let uptime: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).expect("a number");
    assert!((uptime - usec as f64 / 1e6).abs() < 60.0, "{usec} is not {uptime} s");
    assert_eq!(reloading[0], "RELOADING=1");
    assert_eq!(manager.next(), ["READY=1", "STATUS=Serves"]);
    server.signal(15);
    assert_eq!(manager.next(), ["STOPPING=1", "STATUS=Waits for 0 clients"]);
    assert!(server.wait(Duration::from_secs(10)).success());
}

#[test]
fn manager_with_an_abstract_socket_is_told_and_a_missing_one_is_an_error() {
    let name = format!("switchboard-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let manager = Manager::of(UnixDatagram::bind_addr(&address).expect("a socket"));
    let socket = format!("@{name}");
    let mine = [("NOTIFY_SOCKET", socket.as_str()), ("WATCHDOG_USEC", "200000"), ("WATCHDOG_PID", "1")];
    let _server = Server::spawn(&mut command(&[], &mine));
    assert_eq!(manager.any(), ["READY=1", "STATUS=Serves"]);
    manager.0.set_read_timeout(Some(Duration::from_millis(500))).expect("an option");
    assert!(manager.0.recv(&mut [0; 64]).is_err(), "another process is watched");
    let output = command(&[], &[("NOTIFY_SOCKET", "/nowhere/notify")]).stderr(std::process::Stdio::piped()).output();
    let output = output.expect("it starts");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("NOTIFY_SOCKET"));
}

#[test]
fn units_are_valid() {
    let directory = Directory::new();
    std::fs::create_dir_all(directory.path()).expect("a directory");
    for entry in std::fs::read_dir(workspace::root().join("packaging/systemd")).expect("units") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a unit");
        let own = workspace::program("switchboard").to_string_lossy().into_owned();
        let copy = directory.path().join(path.file_name().expect("a name"));
        std::fs::write(copy, text.replace("/usr/local/bin/switchboard", &own)).expect("a copy");
    }
    let mut verify = Command::new("systemd-analyze");
    verify
        .arg("verify")
        .args(std::fs::read_dir(directory.path()).expect("copies").map(|copy| copy.expect("one").path()));
    match verify.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.trim().is_empty(), "{said}");
        }
        // A machine without systemd has no use for its units.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
}
