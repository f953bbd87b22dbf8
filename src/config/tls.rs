//! Settings of TLS for clients.

use std::path::PathBuf;

use toml::Value;

use super::kinds::{Checked, Mismatch, Shaped, one_of, path};
use super::raw::settings;
use crate::runtime::tls::{CertificateFiles, TlsOptions};

/// Whether clients have certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Each must show one.
    Required,
    /// Those that show one must show a valid one.
    Optional,
}

impl Shaped for ClientCertificates {}

const CLIENT_CERTIFICATES: &[(&str, ClientCertificates)] =
    &[("required", ClientCertificates::Required), ("optional", ClientCertificates::Optional)];

/// The lowest version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Shaped for TlsVersion {}

const TLS_VERSION: &[(&str, TlsVersion)] = &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];

settings! {
    /// TLS for clients.
    pub struct TlsSettings in "tls." {
        /// PEM file with the server's certificate and those that lead to its authority; `""`: the server speaks plain HTTP. With
        /// a certificate, listeners speak TLS. The files of TLS are read again when they change, for new connections.
        cert_file: Option<PathBuf> = "", path;
        /// PEM file with the private key of `tls.cert_file`.
        key_file: Option<PathBuf> = "", path;
        /// Further certificates, as tables with `cert_file` and `key_file`. A client gets the first one for the name that it asks
        /// for (SNI), else `tls.cert_file`.
        certificates: Vec<CertificatePair> = Vec::<String>::new(), certificates;
        /// PEM file with the authorities that sign the certificates of clients; `""`: clients are not asked for one.
        client_ca_file: Option<PathBuf> = "", path;
        /// With `tls.client_ca_file`: `"required"` refuses clients without a certificate, `"optional"` those with a wrong one.
        client_certificates: ClientCertificates = "required", one_of(CLIENT_CERTIFICATES);
        /// Lowest version of TLS: `"1.2"` or `"1.3"`.
        min_version: TlsVersion = "1.2", one_of(TLS_VERSION);
    }
}

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePair {
    /// The certificate and those that lead to its authority.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

fn certificates(value: &Value) -> Checked<Vec<CertificatePair>> {
    const WORDS: &str = "a list of tables, each with cert_file and key_file";
    let wrong = |part: &Value| Mismatch { part: Some(part.clone()), expected: WORDS.to_owned() };
    let elements = value.as_array().ok_or_else(|| wrong(value))?;
    let pair = |element: &Value| {
        let table = element.as_table().filter(|table| table.len() == 2)?;
        let file = |name| table.get(name)?.as_str().filter(|path| !path.is_empty()).map(PathBuf::from);
        Some(CertificatePair { cert_file: file("cert_file")?, key_file: file("key_file")? })
    };
    elements.iter().map(|element| pair(element).ok_or_else(|| wrong(element))).collect()
}

impl TlsSettings {
    /// Options of TLS, if there is a certificate.
    pub fn options(&self) -> Option<TlsOptions> {
        let first = self.cert_file.clone().zip(self.key_file.clone()).map(|(cert_file, key_file)| CertificateFiles {
            cert_setting: "tls.cert_file".to_owned(),
            cert_file,
            key_setting: "tls.key_file".to_owned(),
            key_file,
        });
        let further = self.certificates.iter().enumerate().map(|(at, pair)| CertificateFiles {
            cert_setting: format!("tls.certificates[{at}].cert_file"),
            cert_file: pair.cert_file.clone(),
            key_setting: format!("tls.certificates[{at}].key_file"),
            key_file: pair.key_file.clone(),
        });
        let certificates: Vec<_> = first.into_iter().chain(further).collect();
        (!certificates.is_empty()).then(|| TlsOptions {
            certificates,
            client_ca_file: self.client_ca_file.clone(),
            are_clients_certified: self.client_certificates == ClientCertificates::Required,
            is_1_3_only: self.min_version == TlsVersion::Tls13,
        })
    }

    /// A contradiction in the settings, and its key.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => Some(("tls.cert_file", "tls.cert_file: tls.key_file is missing")),
            (None, Some(_)) => Some(("tls.key_file", "tls.key_file: tls.cert_file is missing")),
            _ if self.client_ca_file.is_some() && self.options().is_none() => {
                Some(("tls.client_ca_file", "tls.client_ca_file: without tls.cert_file there is no TLS"))
            }
            _ => None,
        }
    }
}
