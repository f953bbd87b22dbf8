//! Settings of authentication: how tokens are verified, and whether guests need a token.

use std::path::PathBuf;

use jsonwebtoken::{Algorithm, AlgorithmFamily};

use super::issuers::issuers;
use super::kinds::{Secret, Shaped, algorithms, list, one_of, path, secret, text, truth, whole};
use super::raw::settings;
use crate::runtime::key_files::IssuerPlan;

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
        /// File with `auth.secret` in its first line; further lines are as `auth.secrets`. A relative path is looked up in
        /// `$CREDENTIALS_DIRECTORY` of systemd first.
        secret_file: Option<PathBuf> = "", path;
        /// Further secrets that verify tokens but sign none: the former and the next one while the secret is changed.
        secrets: Vec<Secret> = Vec::<String>::new(), list("the secret itself, not empty", further_secret);
        /// PEM files with public keys for RS, PS, ES and EdDSA tokens.
        public_keys: Vec<PathBuf> = Vec::<String>::new(), list("the path of a PEM file", pem_file);
        /// JWKS file with public keys; read again when it changes.
        jwks_file: Option<PathBuf> = "", path;
        /// Issuers with keys, audience and names of claims of their own, each a table `[[auth.issuers]]` with `issuer`, one of
        /// `jwks_url`, `jwks_file` and `public_keys`, and perhaps `audience` and `claims` ([guide.md](guide.md#issuers)).
        issuers: Vec<IssuerPlan> = Vec::<String>::new(), issuers;
        /// Time after that the keys at a `jwks_url` are fetched again, in seconds.
        jwks_refresh_seconds: u64 = 300, whole(10, 86_400);
        /// Whether keys may be fetched from addresses of this machine and of private networks, there also by `http`.
        jwks_allow_private: bool = false, truth;
        /// Accepted signature algorithms; empty: all that fit the keys.
        algorithms: Vec<Algorithm> = Vec::<String>::new(), algorithms;
        /// Accepted values of `aud`, of which a token must have one (as a text or in a list); empty: not checked.
        audience: Vec<String> = Vec::<String>::new(), list("a text that is not empty", not_empty);
        /// Required value of `iss`; empty: not checked.
        issuer: Option<String> = "", text;
        /// The claim that makes an admin; `""`: `role`, `roles`, `scope` and `scp`.
        admin_claim: Option<String> = "", text;
        /// Values of that claim, or words in it, that make an admin; empty: no token does.
        admin_values: Vec<String> = vec!["admin"], list("a text that is not empty", not_empty);
        /// Whether a token must have `exp`; `--dev` and `auth.verify = "none"` turn this off.
        require_exp: bool = true, truth;
        /// Whether the cookie `token` is accepted, from pages of allowed origins (not of `"*"`) and this server's own only.
        cookie: bool = true, truth;
        /// Whether `?token=` is accepted; proxies may log it.
        query_token: bool = true, truth;
        /// Whether `/ws` and `/api/rooms` admit clients without a token; `--dev` turns it on.
        guests: bool = false, truth;
        /// `"none"` accepts tokens without checking their signature, on loopback listeners only.
        verify: Verify = "signature", one_of(VERIFY);
    }
}

fn pem_file(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

fn further_secret(text: &str) -> Option<Secret> {
    let text = toml::Value::from(text);
    secret(&text).ok().flatten()
}

fn not_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl AuthSettings {
    /// Whether tokens can be verified, or need not be.
    pub fn has_key(&self) -> bool {
        self.has_secret() || self.has_public_key() || !self.issuers.is_empty() || self.verify == Verify::None
    }

    /// Whether a shared secret is configured.
    pub fn has_secret(&self) -> bool {
        self.secret.is_some() || !self.secrets.is_empty()
    }

    /// Whether public keys are configured, by PEM or JWKS file.
    pub fn has_public_key(&self) -> bool {
        !self.public_keys.is_empty() || self.jwks_file.is_some()
    }

    /// The accepted algorithms: those configured, or all that fit the keys. HS algorithms need the secret, all others a
    /// public key.
    pub fn accepted_algorithms(&self) -> Vec<Algorithm> {
        let has_public_key = self.has_public_key() || !self.issuers.is_empty();
        let families = [
            (AlgorithmFamily::Hmac, self.has_secret()),
            (AlgorithmFamily::Rsa, has_public_key),
            (AlgorithmFamily::Ec, has_public_key),
            (AlgorithmFamily::Ed, has_public_key),
        ];
        let fitting = families.iter().filter(|(_, has_key)| *has_key);
        fitting
            .flat_map(|(family, _)| family.algorithms().iter().copied())
            .filter(|algorithm| self.algorithms.is_empty() || self.algorithms.contains(algorithm))
            .collect()
    }
}
