//! Certificates and keys from PEM files: read at start, again when a file changes, and when the settings are read again.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs as cryptography};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};

use crate::runtime::reload::{self, RefusedFiles};

/// The files of TLS, and rules for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The certificates, at least one. The first is for clients that name none of the others.
    pub certificates: Vec<CertificateFiles>,
    /// PEM file with the authorities that sign the certificates of clients.
    pub client_ca_file: Option<PathBuf>,
    /// Whether a client must show such a certificate.
    pub are_clients_certified: bool,
    /// Whether TLS 1.2 is refused.
    pub is_1_3_only: bool,
}

/// The files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The setting with the chain, for errors.
    pub cert_setting: String,
    /// PEM file with the certificate and those that lead to its authority.
    pub cert_file: PathBuf,
    /// The setting with the key, for errors.
    pub key_setting: String,
    /// PEM file with the private key.
    pub key_file: PathBuf,
}

/// The configuration of TLS that new connections get, shared by all shards.
pub(in crate::runtime) struct TlsAcceptor {
    config: RwLock<Arc<ServerConfig>>,
}

impl TlsAcceptor {
    /// The configuration for a new connection.
    pub(in crate::runtime) fn config(&self) -> Arc<ServerConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The files of TLS, and the configuration made of them.
pub struct TlsFiles {
    options: TlsOptions,
    seen: Vec<Option<FileVersion>>,
    tickets: Arc<dyn ProducesTickets>,
    acceptor: Arc<TlsAcceptor>,
}

/// A version of a file: time of change, size and place.
type FileVersion = (i64, i64, u64, u64);

impl TlsFiles {
    /// Reads all files.
    ///
    /// # Errors
    /// A file cannot be read or is of no use; the text names its setting.
    pub fn read(options: TlsOptions) -> Result<Self, String> {
        let tickets = tickets()?;
        let seen = versions(&options);
        let acceptor = TlsAcceptor { config: RwLock::new(Arc::new(configuration(&options, &tickets)?)) };
        Ok(Self { options, seen, tickets, acceptor: Arc::new(acceptor) })
    }

    pub(in crate::runtime) fn acceptor(&self) -> Arc<TlsAcceptor> {
        self.acceptor.clone()
    }

    /// Reads the files again if one has changed. If they are of no use, the former certificates stay in force.
    pub(in crate::runtime) fn reread_changed(&mut self) {
        let versions = versions(&self.options);
        if versions == self.seen {
            return;
        }
        self.seen = versions;
        let outcome = self.replace(self.options.clone());
        reload::note(RefusedFiles::Tls, outcome.is_err());
        match outcome {
            Ok(()) => tracing::info!("the files of TLS have changed and are in force"),
            Err(error) => {
                tracing::warn!(%error, "the files of TLS have changed but are of no use; the former ones stay in force");
            }
        }
    }

    /// Reads all files of `options` and puts them in force for new connections.
    ///
    /// # Errors
    /// As for [`TlsFiles::read`]; then the former ones stay in force.
    pub(in crate::runtime) fn replace(&mut self, options: TlsOptions) -> Result<(), String> {
        let seen = versions(&options);
        let has_other_clients = options.client_ca_file.is_some() || self.options.client_ca_file.is_some();
        // A ticket resumes a session without another look at the client's certificate.
        let tickets = if has_other_clients { tickets()? } else { self.tickets.clone() };
        let config = Arc::new(configuration(&options, &tickets)?);
        (self.options, self.seen, self.tickets) = (options, seen, tickets);
        reload::note(RefusedFiles::Tls, false);
        *self.acceptor.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }
}

fn tickets() -> Result<Arc<dyn ProducesTickets>, String> {
    cryptography::Ticketer::new().map_err(|error| format!("tls: {error}"))
}

fn versions(options: &TlsOptions) -> Vec<Option<FileVersion>> {
    let pairs = options.certificates.iter().flat_map(|files| [&files.cert_file, &files.key_file]);
    let version = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some((found.mtime(), found.mtime_nsec(), found.size(), found.ino()))
    };
    pairs.chain(&options.client_ca_file).map(version).collect()
}

fn configuration(options: &TlsOptions, tickets: &Arc<dyn ProducesTickets>) -> Result<ServerConfig, String> {
    let provider = Arc::new(cryptography::default_provider());
    let versions: &[_] = match options.is_1_3_only {
        true => &[&rustls::version::TLS13],
        false => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let certificates: Result<Vec<_>, String> =
        options.certificates.iter().map(|files| certificate(files, &provider).map(Arc::new)).collect();
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
    let builder = builder.map_err(|error| format!("tls: {error}"))?;
    let builder = match &options.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = if options.are_clients_certified { verifier } else { verifier.allow_unauthenticated() };
            let verifier =
                verifier.build().map_err(|error| unusable("tls.client_ca_file", path, &error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Certificates(certificates?)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Sessions are resumed by tickets, which the clients keep.
    config.ticketer = tickets.clone();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    const SETTING: &str = "tls.client_ca_file";
    let mut roots = RootCertStore::empty();
    for authority in chain(SETTING, path)? {
        roots.add(authority).map_err(|error| unusable(SETTING, path, &error.to_string()))?;
    }
    Ok(roots)
}

fn unusable(setting: &str, path: &Path, reason: &str) -> String {
    format!("{setting}: {}: {reason}", path.display())
}

/// The certificates in a file; at least one.
fn chain(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = fs::read(path).map_err(|error: io::Error| unusable(setting, path, &error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(unusable(setting, path, "there is no certificate in it")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(unusable(setting, path, &format!("not a PEM file: {error}"))),
    }
}

fn certificate(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let CertificateFiles { cert_setting, cert_file, key_setting, key_file } = files;
    let chain = chain(cert_setting, cert_file)?;
    if let Err(error) = ParsedCertificate::try_from(&chain[0]) {
        return Err(unusable(cert_setting, cert_file, &format!("not a usable certificate: {error}")));
    }
    let bytes = fs::read(key_file).map_err(|error| unusable(key_setting, key_file, &error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let reason = match error {
            rustls::pki_types::pem::Error::NoItemsFound => "there is no private key in it".to_owned(),
            error => format!("not a PEM file: {error}"),
        };
        unusable(key_setting, key_file, &reason)
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let reason = format!("not the key of the certificate in {}", cert_file.display());
            unusable(key_setting, key_file, &reason)
        }
        error => unusable(key_setting, key_file, &format!("not a usable key: {error}")),
    })
}

/// The certificates, of which a client gets the first that is for the name it asks for.
#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let usable = || self.0.iter().filter(|certificate| certificate.key.choose_scheme(schemes).is_some());
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| usable().find(|certificate| is_for(certificate, &name)));
        named.or_else(|| usable().next()).cloned()
    }
}

fn is_for(certificate: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = certificate.end_entity_cert().and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, name).is_ok())
}
