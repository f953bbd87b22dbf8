//! What `packaging/` has: the Debian package, built from the program under test and started with its own settings; the script that
//! installs a release; the chart, rendered by Helm.

use std::process::{Command, Stdio};

use support::directory::Directory;
use support::http::{ask, bearer};
use support::packages::HELM;
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

/// Runs the script that installs, with further arguments; what it says, and whether it went well.
fn install(arguments: &[&str]) -> (bool, String) {
    let script = format!("{}/packaging/install.sh", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("sh").arg(script).args(arguments).output().expect("it runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), said)
}

#[test]
fn release_is_installed_only_if_its_checksum_fits() {
    let directory = Directory::new();
    let (from, to) = (directory.path().join("release"), directory.path().join("bin"));
    std::fs::create_dir_all(&from).expect("a directory");
    // A small program in place of the server.
    std::fs::write(from.join("switchboard"), "#!/bin/sh\necho switchboard of the test\n").expect("a file");
    let archive = format!("switchboard-{}-linux.tar.gz", std::env::consts::ARCH);
    run(Command::new("tar").args(["-czf", &archive, "switchboard"]).current_dir(&from));
    let sums = run(Command::new("sha256sum").arg(&archive).current_dir(&from));
    std::fs::write(from.join("SHA256SUMS"), &sums).expect("a file");
    let paths = [&from, &to].map(|path| path.to_str().expect("text"));
    let arguments = ["--from", paths[0], "--to", paths[1]];
    assert_eq!(install(&arguments), (true, "switchboard of the test\n".to_owned()));

    let of_list = run(Command::new("sha256sum").arg("SHA256SUMS").current_dir(&from));
    let hash = of_list.split(' ').next().expect("a hash");
    assert!(install(&[&arguments[..], &["--sums", hash]].concat()).0);
    let (is_good, said) = install(&[&arguments[..], &["--sums", &hash.replace(&hash[..1], "x")]].concat());
    assert!(!is_good && said.contains("SHA256SUMS is not the list"), "{said}");

    std::fs::write(from.join("switchboard"), "#!/bin/sh\necho another one\n").expect("a file");
    run(Command::new("tar").args(["-czf", &archive, "switchboard"]).current_dir(&from));
    let (is_good, said) = install(&arguments);
    assert!(!is_good && said.contains("its checksum is another one"), "{said}");
    std::fs::write(from.join("SHA256SUMS"), "").expect("a file");
    let (is_good, said) = install(&arguments);
    assert!(!is_good && said.contains("does not name"), "{said}");
    assert_eq!(run(&mut Command::new(to.join("switchboard"))), "switchboard of the test\n");
}

/// The objects of the chart with these values, each as `helm template` prints it.
fn chart(values: &[&str]) -> Vec<String> {
    let chart = format!("{}/packaging/helm/switchboard", env!("CARGO_MANIFEST_DIR"));
    let mut helm = Command::new(&*HELM);
    helm.args(["template", "chat", &chart]);
    for value in values {
        helm.args(["--set", value]);
    }
    run(&mut helm).split("---\n").filter(|text| !text.trim().is_empty()).map(str::to_owned).collect()
}

/// The object of a kind among them, if there is one.
fn of_kind<'a>(objects: &'a [String], kind: &str) -> Option<&'a str> {
    objects.iter().find(|object| object.contains(&format!("\nkind: {kind}\n"))).map(String::as_str)
}

#[test]
fn chart_is_of_one_server_with_a_volume_or_of_several_with_redis() {
    let chart_folder = format!("{}/packaging/helm/switchboard", env!("CARGO_MANIFEST_DIR"));
    run(Command::new(&*HELM).args(["lint", "--strict", &chart_folder]));
    let alone = chart(&[]);
    let set = of_kind(&alone, "StatefulSet").expect("a server");
    assert!(set.contains("replicas: 1\n") && set.contains("mountPath: /data") && !set.contains("REDIS"), "{set}");
    assert!(set.contains("preStop:") && of_kind(&alone, "PodDisruptionBudget").is_some());
    assert!(of_kind(&alone, "Deployment").is_none() && of_kind(&alone, "HorizontalPodAutoscaler").is_none());

    let several = chart(&["redis.existingSecret=r", "autoscaling.enabled=true", "autoscaling.targetConnections=5000"]);
    let servers = of_kind(&several, "Deployment").expect("servers");
    assert!(servers.contains("SWITCHBOARD_REDIS__URL") && !servers.contains("/data"), "{servers}");
    assert!(!servers.contains("replicas:"), "the autoscaler sets their number");
    let scaler = of_kind(&several, "HorizontalPodAutoscaler").expect("an autoscaler");
    assert!(scaler.contains("averageValue: \"5000\""), "{scaler}");
}

#[test]
fn chart_starts_the_server_with_settings_that_are_valid() {
    for (values, expected) in [(&[][..], "\"/data\""), (&["redis.url=redis://r:6379"][..], "\"\"")] {
        let objects = chart(values);
        let servers = of_kind(&objects, "StatefulSet").or_else(|| of_kind(&objects, "Deployment")).expect("servers");
        let mut config = Command::new(workspace::program("switchboard"));
        config.arg("config").env_clear().env("SWITCHBOARD_AUTH__SECRET", "0123456789abcdef0123456789abcdef");
        let lines: Vec<&str> = servers.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            if let [name, value] = pair
                && let (Some(name), Some(value)) =
                    (name.strip_prefix("- name: SWITCHBOARD_"), value.strip_prefix("value: "))
            {
                config.env(format!("SWITCHBOARD_{name}"), value.trim_matches(['\'', '"']));
            }
        }
        let said = run(&mut config);
        assert!(said.contains(&format!("data_dir = {expected}")) && said.contains("\"[::]:9090\""), "{said}");
    }
}
