//! The keys that verify tokens, as they are kept outside the program: files, which are read at start, and JWKS files again when
//! they change; and the sets that issuers publish, which `runtime::fetched_keys` fetches.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, io};

use crate::codec::jwt::{IssuerOptions, KeyError, Verifier, VerifierOptions};
use crate::runtime::reload::{self, RefusedFiles};

/// Where the keys are.
pub struct KeyPlan {
    /// The options of the verifier, without the contents of files.
    pub options: VerifierOptions,
    /// PEM files with public keys.
    pub public_keys: Vec<PathBuf>,
    /// A file with a JWKS.
    pub jwks_file: Option<PathBuf>,
    /// The issuers with keys of their own.
    pub issuers: Vec<IssuerPlan>,
    /// How keys are fetched.
    pub fetching: KeyFetching,
}

/// Where the keys of one issuer are.
#[derive(Clone, Debug)]
pub struct IssuerPlan {
    /// Its options, without keys.
    pub options: IssuerOptions,
    /// PEM files with public keys.
    pub public_keys: Vec<PathBuf>,
    /// Its set of keys.
    pub set: Option<KeySetPlace>,
}

/// The place of a JWKS.
#[derive(Clone, Debug)]
pub enum KeySetPlace {
    /// A file.
    File(PathBuf),
    /// A document that is fetched.
    Url(String),
}

/// How keys are fetched.
#[derive(Clone, Copy, Debug)]
pub struct KeyFetching {
    /// The time after that a set is fetched again.
    pub refresh: Duration,
    /// Whether sets may be fetched from addresses that are not public.
    pub allow_private: bool,
}

/// The key files and the verifier options that go with them.
pub struct KeyFiles {
    options: VerifierOptions,
    jwks_files: Vec<JwksFile>,
    /// The address of each issuer's set that is fetched.
    urls: Vec<Option<String>>,
    fetching: KeyFetching,
}

/// A JWKS file: of all tokens, or of an issuer.
struct JwksFile {
    path: PathBuf,
    issuer: Option<usize>,
    changed: Option<SystemTime>,
}

impl KeyFiles {
    /// Reads all key files.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(plan: KeyPlan) -> Result<Self, String> {
        let KeyPlan { mut options, public_keys, jwks_file, issuers, fetching } = plan;
        options.public_keys_pem = pem_files("auth.public_keys", &public_keys)?;
        let file = |path, issuer| JwksFile { path, issuer, changed: None };
        let mut jwks_files: Vec<JwksFile> = jwks_file.into_iter().map(|path| file(path, None)).collect();
        let mut urls = Vec::new();
        for (at, issuer) in issuers.into_iter().enumerate() {
            let mut own = issuer.options;
            own.public_keys_pem = pem_files("auth.issuers", &issuer.public_keys)?;
            urls.push(None);
            match issuer.set {
                Some(KeySetPlace::File(path)) => jwks_files.push(file(path, Some(at))),
                Some(KeySetPlace::Url(url)) => {
                    own.is_fetched = true;
                    urls[at] = Some(url);
                }
                None => {}
            }
            options.issuers.push(own);
        }
        let mut keys = Self { options, jwks_files, urls, fetching };
        for at in 0..keys.jwks_files.len() {
            keys.read_jwks(at)?;
        }
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

    /// A new verifier if a JWKS file has changed. If the new file is unusable, the old verifier stays in force.
    pub(in crate::runtime) fn reread(&mut self) -> Option<Arc<Verifier>> {
        let is_new = |file: &JwksFile| modified(&file.path).ok() != file.changed;
        let changed: Vec<usize> = (0..self.jwks_files.len()).filter(|at| is_new(&self.jwks_files[*at])).collect();
        if changed.is_empty() {
            return None;
        }
        let verifier = changed.into_iter().try_for_each(|at| self.read_jwks(at)).and_then(|()| self.verifier());
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

    /// The sets that are to be fetched, each with the index of its issuer.
    pub(in crate::runtime) fn urls(&self) -> impl Iterator<Item = (usize, &str)> {
        self.urls.iter().enumerate().filter_map(|(at, url)| Some((at, url.as_deref()?)))
    }

    /// How they are fetched.
    pub(in crate::runtime) fn fetching(&self) -> KeyFetching {
        self.fetching
    }

    /// Takes over the sets that were fetched for the settings that were in force before.
    pub(in crate::runtime) fn keep_fetched(&mut self, former: &Self) {
        for (at, url) in former.urls() {
            let same = self.urls.iter().position(|own| own.as_deref() == Some(url));
            if let Some(own) = same {
                self.options.issuers[own].jwks.clone_from(&former.options.issuers[at].jwks);
            }
        }
    }

    /// Replaces an issuer's set by one that was fetched. Returns a new verifier if it is another one.
    ///
    /// # Errors
    /// It is unusable; the former set stays in force.
    pub(in crate::runtime) fn replace_fetched(
        &mut self,
        issuer: usize,
        set: Vec<u8>,
    ) -> Result<Option<Arc<Verifier>>, String> {
        let own = &mut self.options.issuers[issuer];
        if own.jwks.as_ref() == Some(&set) {
            return Ok(None);
        }
        let former = own.jwks.replace(set);
        match Verifier::new(self.options.clone()) {
            Ok(verifier) => Ok(Some(Arc::new(verifier))),
            Err(error) => {
                self.options.issuers[issuer].jwks = former;
                Err(error.to_string())
            }
        }
    }

    fn read_jwks(&mut self, at: usize) -> Result<(), String> {
        let file = &mut self.jwks_files[at];
        file.changed = modified(&file.path).ok();
        let setting = if file.issuer.is_some() { "auth.issuers" } else { "auth.jwks_file" };
        let unreadable = |error: io::Error| format!("{setting}: {}: {error}", file.path.display());
        let set = Some(fs::read(&file.path).map_err(unreadable)?);
        match file.issuer {
            Some(issuer) => self.options.issuers[issuer].jwks = set,
            None => self.options.jwks = set,
        }
        Ok(())
    }
}

fn pem_files(setting: &str, paths: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let read = |path: &PathBuf| {
        let name = format!("{setting}: {}", path.display());
        let pem = fs::read(path).map_err(|error| format!("{name}: {error}"))?;
        Ok((name, pem))
    };
    paths.iter().map(read).collect()
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

/// An error of a key with the name of its setting.
fn named(error: &KeyError) -> String {
    match error.key.as_str() {
        "secret" | "algorithms" => format!("auth.{error}"),
        key if key.starts_with("issuer ") || (key.starts_with("jwks") && key.contains(" of ")) => {
            format!("auth.issuers: {error}")
        }
        key if key.starts_with("jwks") => format!("auth.jwks_file: {error}"),
        _ => error.to_string(),
    }
}
