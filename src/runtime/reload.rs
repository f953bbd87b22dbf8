//! What can be replaced while the server runs, and whether the last attempt to do so was refused.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::runtime::key_files::KeyFiles;
use crate::runtime::tls::TlsOptions;
use crate::shard::Options;

/// Settings that were read again.
pub struct Reloaded {
    /// The options of each shard.
    pub options: Options,
    /// The keys that verify tokens.
    pub keys: KeyFiles,
    /// The files of TLS; `None` if and only if the server was started without.
    pub tls: Option<TlsOptions>,
    /// The time in which clients are asked to move elsewhere at shutdown.
    pub drain: Duration,
}

/// The source of the settings.
pub trait SettingsReader {
    /// Reads the settings again.
    ///
    /// # Errors
    /// They are not valid, with the reason.
    fn read(&mut self) -> Result<Reloaded, String>;

    /// The settings that were read last are valid, and about to be in force.
    fn adopted(&mut self);
}

/// Files that can be refused while the server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum RefusedFiles {
    /// The settings, and the files they name.
    Settings = 1,
    /// Certificates and their keys.
    Tls = 2,
    /// The JWKS files.
    Keys = 4,
    /// Keys that are fetched from an issuer.
    FetchedKeys = 8,
}

static REFUSED: AtomicU8 = AtomicU8::new(0);

/// Notes whether files are refused, so that the former ones are in force.
pub(in crate::runtime) fn note(files: RefusedFiles, is_refused: bool) {
    let bit = files as u8;
    if is_refused {
        REFUSED.fetch_or(bit, Ordering::Relaxed);
    } else {
        REFUSED.fetch_and(!bit, Ordering::Relaxed);
    }
}

/// Files that are refused at present, by name; empty if there are none.
pub(in crate::runtime) fn refused() -> String {
    const NAMES: [(RefusedFiles, &str); 4] = [
        (RefusedFiles::Settings, "the settings"),
        (RefusedFiles::Tls, "the files of TLS"),
        (RefusedFiles::Keys, "the JWKS file"),
        (RefusedFiles::FetchedKeys, "the keys at a jwks_url (auth.issuers)"),
    ];
    let refused = REFUSED.load(Ordering::Relaxed);
    let names: Vec<&str> =
        NAMES.iter().filter(|(files, _)| refused & *files as u8 != 0).map(|(_, name)| *name).collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => names.concat(),
    }
}
