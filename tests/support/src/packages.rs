//! The clients that people already have: the packages from npm and PyPI that `tests/socketio_clients` locks to,
//! installed once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::workspace;

/// Where the scripts are.
pub const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../socketio_clients");

/// Installs what a file of the scripts locks to by `install`, unless that has been done.
fn install(lock: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let directory = workspace::scratch().join("socketio_clients").join(lock.split('.').next().unwrap_or_default());
    let wanted = std::fs::read(Path::new(SCRIPTS).join(lock)).expect("it is there");
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

/// The packages of npm.
pub static NODE: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = install("package-lock.json", |directory| {
        for file in ["package.json", "package-lock.json"] {
            std::fs::copy(Path::new(SCRIPTS).join(file), directory.join(file)).expect("a copy");
        }
        let arguments = ["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"];
        run(Command::new("npm").args(arguments).current_dir(directory));
    });
    // Node looks for packages beside the script.
    for script in ["clients.mjs", "dialects.mjs", "own_cases.mjs", "recovery.mjs", "rolling.mjs", "webhooks.mjs"] {
        std::fs::copy(Path::new(SCRIPTS).join(script), directory.join(script)).expect("a copy");
    }
    directory
});

/// The packages of PyPI, by the interpreter that has them.
pub static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| python("requirements.txt"));

/// Schemathesis, which generates requests from an OpenAPI document, by the interpreter that has it.
pub static SCHEMATHESIS: LazyLock<PathBuf> = LazyLock::new(|| python("schemathesis.txt"));

/// An interpreter with the packages of a file of requirements.
fn python(requirements: &str) -> PathBuf {
    let directory = install(requirements, |directory| {
        run(Command::new("python3").args(["-m", "venv"]).arg(directory));
        let file = Path::new(SCRIPTS).join(requirements);
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        run(Command::new(directory.join("bin/python")).args(pip).arg(file));
    });
    directory.join("bin/python")
}
