//! The key files: read at start; the JWKS file is read again when it changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use std::{fs, io};

use crate::codec::jwt::{KeyError, Verifier, VerifierOptions};
use crate::runtime::reload::{self, RefusedFiles};

/// The key files and the verifier options that go with them.
pub struct KeyFiles {
    options: VerifierOptions,
    jwks_file: Option<PathBuf>,
    changed: Option<SystemTime>,
}

impl KeyFiles {
    /// Reads all key files. `options` has everything but their contents.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(
        mut options: VerifierOptions,
        public_keys: &[PathBuf],
        jwks_file: Option<PathBuf>,
    ) -> Result<Self, String> {
        for path in public_keys {
            let name = format!("auth.public_keys: {}", path.display());
            let pem = fs::read(path).map_err(|error| format!("{name}: {error}"))?;
            options.public_keys_pem.push((name, pem));
        }
        let mut keys = Self { options, jwks_file, changed: None };
        keys.read_jwks()?;
        Ok(keys)
    }

    /// A verifier with the present keys.
    ///
    /// # Errors
    /// A key is unusable, with the reason.
    pub fn verifier(&self) -> Result<Arc<Verifier>, String> {
        let verifier = Verifier::new(self.options.clone()).map_err(|error| named(&error))?;
        for error in verifier.left_out() {
            tracing::warn!(%error, "a key of the JWKS file is not used");
        }
        Ok(Arc::new(verifier))
    }

    /// A new verifier if the JWKS file has changed. If the new file is unusable, the old verifier stays in force.
    pub fn reread(&mut self) -> Option<Arc<Verifier>> {
        let path = self.jwks_file.as_deref()?;
        if modified(path).ok() == self.changed {
            return None;
        }
        let verifier = self.read_jwks().and_then(|()| self.verifier());
        match verifier {
            Ok(verifier) => {
                reload::note(RefusedFiles::Keys, false);
                tracing::info!("the JWKS file has changed and is in force");
                Some(verifier)
            }
            Err(error) => {
                reload::note(RefusedFiles::Keys, true);
                tracing::warn!(%error, "the JWKS file has changed but is of no use; the former keys stay in force");
                None
            }
        }
    }

    fn read_jwks(&mut self) -> Result<(), String> {
        let Some(path) = &self.jwks_file else { return Ok(()) };
        self.changed = modified(path).ok();
        let unreadable = |error: io::Error| format!("auth.jwks_file: {}: {error}", path.display());
        self.options.jwks = Some(fs::read(path).map_err(unreadable)?);
        Ok(())
    }
}

fn modified(path: &std::path::Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

/// An error of a key with the name of its setting.
fn named(error: &KeyError) -> String {
    match error.key.as_str() {
        "secret" | "algorithms" => format!("auth.{error}"),
        key if key.starts_with("jwks") => format!("auth.jwks_file: {error}"),
        _ => error.to_string(),
    }
}
