//! Paths of the workspace: sources, programs that cargo built, and the scratch directory.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Where cargo puts programs: the directory above the running test's `deps`.
fn programs() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the running test");
    let folder = test.parent().expect("its directory");
    if folder.ends_with("deps") { folder.parent().expect("cargo's directory").to_owned() } else { folder.to_owned() }
}

/// A program of this workspace that is named as its package. Cargo builds the programs of the package under test only,
/// so the program of another package is built here if it is missing.
pub fn program(package: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(format!("CARGO_BIN_EXE_{package}")) {
        return path.into();
    }
    let folder = programs();
    let program = folder.join(package);
    if !program.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--package", package, "--bin", package]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.current_dir(root()).status().expect("cargo runs").success(), "{package} does not build");
    }
    program
}

/// A directory for files that outlive a test, such as installed packages; cargo's `CARGO_TARGET_TMPDIR`.
pub fn scratch() -> PathBuf {
    let scratch = programs().parent().expect("the target directory").join("tmp");
    std::fs::create_dir_all(&scratch).expect("the target directory is writable");
    scratch
}
