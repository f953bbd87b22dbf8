//! The secret of `--dev`: kept in the data directory, so that tokens survive a restart, and a second server with the same
//! directory accepts those of the first.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The name of the file in the data directory.
const FILE: &str = "dev-secret";

/// The least size of a secret in the file; a shorter one is a file that another program has cut.
const SECRET_BYTES_MIN: usize = 32;

/// A file, and possibly its directory, that this start has created.
#[derive(Debug)]
pub struct CreatedSecret {
    file: PathBuf,
    directory: Option<PathBuf>,
}

impl CreatedSecret {
    /// Removes them again: the server did not start. A directory that is in use by now stays.
    pub fn remove(self) {
        let _ = fs::remove_file(&self.file);
        if let Some(directory) = self.directory {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// The secret that is kept in `directory`, if there is one.
///
/// # Errors
/// The file cannot be read, or has no secret.
pub fn kept_secret(directory: &Path) -> Result<Option<String>, String> {
    let path = directory.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() >= SECRET_BYTES_MIN => Ok(Some(text.trim().to_owned())),
        Ok(_) => Err(format!("{}: no secret of at least {SECRET_BYTES_MIN} bytes; delete the file", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// The secret that is kept in `directory`; if there is none, `fresh` is put there, accessible to this user only.
///
/// # Errors
/// The file can be neither read nor written.
pub fn keep_secret(directory: &Path, fresh: &str) -> Result<(String, Option<CreatedSecret>), String> {
    if let Some(kept) = kept_secret(directory)? {
        return Ok((kept, None));
    }
    match create(directory, fresh) {
        Ok(created) => Ok((fresh.to_owned(), Some(created))),
        // Another server was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let kept = kept_secret(directory)?.ok_or_else(|| format!("{}: {error}", directory.display()))?;
            Ok((kept, None))
        }
        Err(error) => Err(format!("{}: {error}", directory.display())),
    }
}

/// Creates the file with all of its content at once: a server that starts at the same time reads the whole secret or none.
fn create(directory: &Path, secret: &str) -> io::Result<CreatedSecret> {
    let is_new = !directory.exists();
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let (file, draft) = (directory.join(FILE), directory.join(format!("{FILE}.{}", std::process::id())));
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft);
    let linked = written.and_then(|mut draft| writeln!(draft, "{secret}")).and_then(|()| fs::hard_link(&draft, &file));
    let _ = fs::remove_file(&draft);
    linked.map(|()| CreatedSecret { file, directory: is_new.then(|| directory.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "a secret of more than thirty-two bytes";
    const OTHER: &str = "another secret of as many bytes as that";

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("switchboard-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn secret_is_kept_until_it_is_removed() {
        let directory = scratch("dev-secret");
        assert_eq!(kept_secret(&directory).unwrap(), None);
        let (secret, created) = keep_secret(&directory, ONE).unwrap();
        assert_eq!((secret.as_str(), kept_secret(&directory).unwrap().as_deref()), (ONE, Some(ONE)));
        let (secret, again) = keep_secret(&directory, OTHER).unwrap();
        assert!(secret == ONE && again.is_none());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "no draft is left");
        created.unwrap().remove();
        assert!(!directory.exists());
    }

    #[test]
    fn damaged_secret_is_an_error_that_names_the_file() {
        let directory = scratch("dev-secret-damaged");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(FILE), "short\n").unwrap();
        let error = keep_secret(&directory, ONE).unwrap_err();
        assert!(error.contains("dev-secret: no secret of at least 32 bytes"), "{error}");
        fs::remove_dir_all(&directory).unwrap();
    }
}
