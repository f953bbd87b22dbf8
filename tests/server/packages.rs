//! The Debian package: built from the program under test, unpacked and started with its own settings.

use std::process::{Command, Stdio};

use support::directory::Directory;
use support::http::{ask, bearer};
use support::server::Server;
use support::workspace;

/// Runs a command to its end; what it prints.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn unpacked_package_serves_with_the_settings_it_brings() {
    let directory = Directory::new();
    let build = format!("{}/packaging/debian/build", env!("CARGO_MANIFEST_DIR"));
    run(Command::new(build)
        .arg(workspace::program("switchboard"))
        .arg(directory.path())
        .env("DEB_COMPRESSION", "none"));
    let name = std::fs::read_dir(directory.path()).expect("a directory").map(|entry| entry.expect("an entry").path());
    let package = name.into_iter().find(|path| path.extension().is_some_and(|end| end == "deb")).expect("a package");
    let control = run(Command::new("dpkg-deb").arg("-f").arg(&package));
    assert!(control.contains(&format!("Version: {}\n", env!("CARGO_PKG_VERSION"))), "{control}");
    let root = directory.path().join("root");
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root));
    for file in [
        "usr/lib/systemd/system/switchboard.service",
        "usr/share/man/man1/switchboard-serve.1.gz",
        "usr/share/bash-completion/completions/switchboard",
        "usr/share/switchboard/alerts.yml",
    ] {
        assert!(root.join(file).exists(), "{file}");
    }
    let unit = std::fs::read_to_string(root.join("usr/lib/systemd/system/switchboard.service")).expect("the unit");
    assert!(unit.contains("ExecStart=/usr/bin/switchboard serve") && unit.contains("\nLoadCredential=jwt:"), "{unit}");
    // As the package's script does at its installation.
    let etc = root.join("etc/switchboard");
    std::fs::write(etc.join("jwt"), "0123456789abcdef0123456789abcdef").expect("a secret");
    let program = || {
        let mut command = Command::new(root.join("usr/bin/switchboard"));
        command.current_dir(&etc).env_clear();
        command
    };
    let own = ["--config", "switchboard.toml", "--data", ""];
    let token = run(program().arg("token").args(own).args(["--sub", "ann"]));
    let mut serve = program();
    serve.arg("serve").args(own).args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let server = Server::spawn(&mut serve);
    let line = bearer(token.trim());
    assert_eq!(ask(&server.address, "GET", "/websocket/me/status", &[&line], None).status, 200);
}
