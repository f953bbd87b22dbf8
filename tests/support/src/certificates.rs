//! An authority of a test's own, and certificates that it signs for this machine, as PEM files.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SerialNumber};

use super::directory::Directory;

/// An authority with a directory for its files: `ca.pem`, and for 127.0.0.1 and localhost `server.pem` and `server.key`.
pub struct CertificateAuthority {
    directory: Directory,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl CertificateAuthority {
    pub fn new() -> Self {
        let mut own = CertificateParams::default();
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Of another name than its certificates, which OpenSSL would take for their own issuers.
        own.distinguished_name.push(DnType::CommonName, "authority of a test");
        let issuer = CertifiedIssuer::self_signed(own, KeyPair::generate().expect("a key")).expect("an authority");
        let directory = Directory::new();
        std::fs::create_dir_all(directory.path()).expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("a file");
        let authority = Self { directory, issuer };
        authority.issue("server", 1, &["127.0.0.1", "localhost"]);
        authority
    }

    /// Signs a certificate with this serial number for these names; `NAME.pem` and `NAME.key`, replaced if they are there.
    pub fn issue(&self, file: &str, serial: u64, names: &[&str]) {
        let key = KeyPair::generate().expect("a key");
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut certificate = CertificateParams::new(names).expect("names");
        certificate.serial_number = Some(SerialNumber::from(serial));
        let certificate = certificate.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(self.path(&format!("{file}.pem")), certificate.pem()).expect("a file");
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).expect("a file");
    }

    /// The path of a file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The path of a file as text.
    pub fn file(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// Settings of a server with the certificate `server.pem`.
    pub fn settings(&self) -> [String; 2] {
        [format!("tls.cert_file={}", self.file("server.pem")), format!("tls.key_file={}", self.file("server.key"))]
    }
}

/// TLS of a server on `localhost` with a certificate of its own, and that certificate as PEM.
pub fn self_signed() -> (Arc<rustls::ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).expect("a configuration");
    (Arc::new(config), made.cert.pem())
}
