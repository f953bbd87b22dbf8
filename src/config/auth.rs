//! Settings of authentication: how tokens are verified, and whether guests need a token.

use std::path::PathBuf;

use jsonwebtoken::{Algorithm, AlgorithmFamily};

use super::kinds::{Secret, Shaped, algorithms, list, one_of, path, secret, text, truth};
use super::raw::settings;

/// Whether a token's signature is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Checked against the configured keys.
    Signature,
    /// Not checked: every client can claim any identity. Only while every listener is on loopback.
    None,
}

impl Shaped for Verify {}

const VERIFY: &[(&str, Verify)] = &[("signature", Verify::Signature), ("none", Verify::None)];

settings! {
    /// Token verification.
    pub struct AuthSettings in "auth." {
        /// Secret that signs and verifies HS256, HS384 and HS512 tokens; at least 32 bytes.
        secret: Option<Secret> = "", secret;
        /// PEM files with public keys for RS, PS, ES and EdDSA tokens.
        public_keys: Vec<PathBuf> = Vec::<String>::new(), list("the path of a PEM file", pem_file);
        /// JWKS file with public keys; read again when it changes.
        jwks_file: Option<PathBuf> = "", path;
        /// Accepted signature algorithms; empty: all that fit the keys.
        algorithms: Vec<Algorithm> = Vec::<String>::new(), algorithms;
        /// Accepted values of `aud`, of which a token must have one (as a text or in a list); empty: not checked.
        audience: Vec<String> = Vec::<String>::new(), list("a text that is not empty", not_empty);
        /// Required value of `iss`; empty: not checked.
        issuer: Option<String> = "", text;
        /// Whether a token must have `exp`; `--dev` and `auth.verify = "none"` turn this off.
        require_exp: bool = true, truth;
        /// Whether `/ws` and `/api/rooms` admit clients without a token; `--dev` turns it on.
        guests: bool = false, truth;
        /// `"none"` accepts tokens without checking their signature, on loopback listeners only.
        verify: Verify = "signature", one_of(VERIFY);
    }
}

fn pem_file(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

fn not_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl AuthSettings {
    /// Whether tokens can be verified, or need not be.
    pub fn has_key(&self) -> bool {
        self.secret.is_some() || self.has_public_key() || self.verify == Verify::None
    }

    /// Whether public keys are configured, by PEM or JWKS file.
    pub fn has_public_key(&self) -> bool {
        !self.public_keys.is_empty() || self.jwks_file.is_some()
    }

    /// The accepted algorithms: those configured, or all that fit the keys. HS algorithms need the secret, all others a
    /// public key.
    pub fn accepted_algorithms(&self) -> Vec<Algorithm> {
        let families = [
            (AlgorithmFamily::Hmac, self.secret.is_some()),
            (AlgorithmFamily::Rsa, self.has_public_key()),
            (AlgorithmFamily::Ec, self.has_public_key()),
            (AlgorithmFamily::Ed, self.has_public_key()),
        ];
        let fitting = families.iter().filter(|(_, has_key)| *has_key);
        fitting
            .flat_map(|(family, _)| family.algorithms().iter().copied())
            .filter(|algorithm| self.algorithms.is_empty() || self.algorithms.contains(algorithm))
            .collect()
    }
}
