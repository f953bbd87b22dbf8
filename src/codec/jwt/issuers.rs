//! Issuers with keys and rules of their own. A token that names one of them as its issuer (`iss`) is verified with that one's
//! keys only, and its claims by that one's rules and names.

use super::VerifierOptions;
use super::claims::{AdminRule, ClaimNames, ClaimRules};
use super::error::{KeyError, KeyProblem, TokenError};
use super::jwks::KeySet;
use super::keys::{Allowed, KEYS_MAX, VerifyingKey};
use super::loose;

/// Maximum of issuers: the keys of each are fetched by a thread.
pub const ISSUERS_MAX: usize = 16;

/// Options of one issuer.
#[derive(Clone, Debug, Default)]
pub struct IssuerOptions {
    /// `iss` of its tokens.
    pub issuer: String,
    /// Accepted audiences; empty: `aud` is ignored.
    pub audience: Vec<String>,
    /// Names of its own for claims.
    pub claims: ClaimNames,
    /// Contents of PEM files, each with a name for errors.
    pub public_keys_pem: Vec<(String, Vec<u8>)>,
    /// Contents of a JWKS; `None` while it has not been fetched.
    pub jwks: Option<Vec<u8>>,
    /// Whether the JWKS is fetched from the issuer.
    pub is_fetched: bool,
}

/// One issuer.
#[derive(Debug)]
pub(super) struct Issuer {
    issuer: String,
    pub(super) keys: Vec<VerifyingKey>,
    pub(super) rules: ClaimRules,
    pub(super) is_fetched: bool,
}

impl Issuer {
    pub(super) fn new(own: &IssuerOptions, all: &VerifierOptions, allowed: &Allowed) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for (name, pem) in &own.public_keys_pem {
            keys.push(VerifyingKey::from_pem(pem, allowed).map_err(|problem| KeyError::new(name, problem))?);
        }
        if let Some(json) = &own.jwks {
            // Keys for other uses are usual in the set of an issuer.
            let named = |error: KeyError| KeyError { key: format!("{} of {}", error.key, own.issuer), ..error };
            keys.extend(KeySet::read(json, allowed, true).map_err(named)?.keys);
        }
        let of_issuer = |problem| Err(KeyError::new(format!("issuer {}", own.issuer), problem));
        if keys.len() > KEYS_MAX {
            return of_issuer(KeyProblem::TooManyKeys);
        }
        if keys.is_empty() && !own.is_fetched && all.verify_signature {
            return of_issuer(KeyProblem::NoKeys);
        }
        let claim = own.claims.roles.clone().or_else(|| all.admin.claim.clone());
        let rules = ClaimRules {
            admin: AdminRule { claim, ..all.admin.clone() },
            names: (own.claims != ClaimNames::default()).then(|| Box::new(own.claims.clone())),
            audience: own.audience.clone(),
            issuer: Vec::new(),
            require_exp: all.require_exp,
            leeway_s: all.leeway_s,
        };
        Ok(Self { issuer: own.issuer.clone(), keys, rules, is_fetched: own.is_fetched })
    }

    /// The issuer that a payload names, if it is one of these.
    pub(super) fn named<'i>(issuers: &'i [Self], payload: &str) -> Result<Option<&'i Self>, TokenError> {
        let claim = loose::member(payload, "iss").map_err(|_| TokenError::Malformed)?;
        let Some(claim) = claim else { return Ok(None) };
        let claim: loose::Loose<'_> = serde_json::from_str(claim.get()).map_err(|_| TokenError::Malformed)?;
        Ok(claim.text().and_then(|text| issuers.iter().find(|issuer| issuer.issuer == text)))
    }

    /// Whether a token with this `kid` cannot be verified before the keys are fetched again.
    pub(super) fn lacks_key(&self, key_id: Option<&str>) -> bool {
        let is_known = match key_id {
            Some(_) => self.keys.iter().any(|key| key.id() == key_id),
            None => !self.keys.is_empty(),
        };
        self.is_fetched && !is_known
    }
}
