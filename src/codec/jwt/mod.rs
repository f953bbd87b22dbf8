//! JSON Web Tokens (RFC 7519) signed with JWS (RFC 7515): verification of a token's text at a given time, with its
//! claims or the reason for its refusal as the result.
//!
//! A [`Verifier`] is created from the configured keys and shared by all threads; when a key file changes, a new one
//! replaces it. It reads no clock and no file. The keys determine the accepted algorithms; the token's `alg` and `kid`
//! only select among them. Where a request carries its token, and the rights of its bearer, are determined elsewhere.

mod claims;
mod error;
#[cfg(test)]
mod fixtures;
mod issuers;
mod jwks;
mod keys;
mod loose;
mod parts;
mod sign;
#[cfg(test)]
mod tests;

pub use claims::{
    AdminRule, ClaimNames, Claims, EMAIL_BYTES_MAX, GUEST_PREFIX, GrantClaim, SUBJECT_BYTES_MAX, USERNAME_BYTES_MAX,
};
pub use error::{KeyError, KeyProblem, TokenError};
pub use issuers::{ISSUERS_MAX, IssuerOptions};
pub use keys::KEYS_MAX;
pub use parts::TOKEN_BYTES_MAX;
pub use sign::{NewToken, sign_hs256};

use jsonwebtoken::AlgorithmFamily;

use claims::ClaimRules;
use issuers::Issuer;
use jwks::KeySet;
use keys::{Allowed, KEYS_TRIED_MAX, VerifyingKey};
use parts::{Scratch, TokenHeader, TokenParts, decode_object};

/// Options of a [`Verifier`]. Not `Debug`, as they contain the secret.
#[derive(Clone)]
pub struct VerifierOptions {
    /// Shared secret of HS256, HS384 and HS512.
    pub secret: Option<String>,
    /// Other shared secrets that verify, while tokens of a former or a future one are in use.
    pub more_secrets: Vec<String>,
    /// Contents of PEM files, each with a name for errors.
    pub public_keys_pem: Vec<(String, Vec<u8>)>,
    /// Contents of a JWKS file.
    pub jwks: Option<Vec<u8>>,
    /// Accepted algorithms by their names in RFC 7518 §3.1 and RFC 8037 §3.1; empty: all that the keys allow.
    pub algorithms: Vec<String>,
    /// Accepted audiences; empty: `aud` is ignored.
    pub audience: Vec<String>,
    /// Accepted issuers; empty: `iss` is ignored.
    pub issuer: Vec<String>,
    /// Issuers with keys and rules of their own, which no other tokens of theirs pass.
    pub issuers: Vec<IssuerOptions>,
    /// The tokens that make an admin.
    pub admin: AdminRule,
    /// Whether a token without `exp` is refused.
    pub require_exp: bool,
    /// False accepts any signature, for development. Claims are still checked.
    pub verify_signature: bool,
    /// Whether there may be no key at all, so that every token is refused: a server for guests only.
    pub may_lack_keys: bool,
    /// Tolerated difference of clocks, in seconds, in favour of the token.
    pub leeway_s: u64,
}

impl Default for VerifierOptions {
    fn default() -> Self {
        VerifierOptions {
            secret: None,
            more_secrets: Vec::new(),
            public_keys_pem: Vec::new(),
            jwks: None,
            algorithms: Vec::new(),
            audience: Vec::new(),
            issuer: Vec::new(),
            issuers: Vec::new(),
            admin: AdminRule::default(),
            require_exp: true,
            verify_signature: true,
            may_lack_keys: false,
            leeway_s: 30,
        }
    }
}

/// Verifier of tokens, with keys and rules that do not change.
#[derive(Debug)]
pub struct Verifier {
    keys: Vec<VerifyingKey>,
    left_out: Vec<KeyError>,
    rules: ClaimRules,
    /// Issuers with keys and rules of their own; few, so they are searched one by one.
    issuers: Vec<Issuer>,
    verify_signature: bool,
}

impl Verifier {
    /// Parses the keys.
    ///
    /// # Errors
    /// The first unusable key, or that there is none though signatures are verified. Unusable keys of a JWKS are [left
    /// out](Verifier::left_out), unless all are.
    pub fn new(options: VerifierOptions) -> Result<Self, KeyError> {
        let allowed = Allowed::from_names(&options.algorithms)?;
        let mut keys = Vec::new();
        let mut left_out = Vec::new();
        if let Some(secret) = &options.secret {
            let key = VerifyingKey::from_secret(secret.as_bytes(), &allowed);
            keys.push(key.map_err(|problem| KeyError::new("secret", problem))?);
        }
        for (number, secret) in options.more_secrets.iter().enumerate() {
            let key = VerifyingKey::from_secret(secret.as_bytes(), &allowed);
            keys.push(key.map_err(|problem| KeyError::new(format!("secrets, number {}", number + 1), problem))?);
        }
        for (name, pem) in &options.public_keys_pem {
            keys.push(VerifyingKey::from_pem(pem, &allowed).map_err(|problem| KeyError::new(name, problem))?);
        }
        if let Some(json) = &options.jwks {
            let set = KeySet::read(json, &allowed, false)?;
            keys.extend(set.keys);
            left_out = set.left_out;
        }
        let issuers = options.issuers.iter().map(|issuer| Issuer::new(issuer, &options, &allowed));
        let issuers = issuers.collect::<Result<Vec<_>, _>>()?;
        let has_none = keys.is_empty() && issuers.is_empty();
        if has_none && options.verify_signature && !options.may_lack_keys {
            return Err(KeyError::new("keys", KeyProblem::NoKeys));
        }
        if keys.len() > KEYS_MAX {
            return Err(KeyError::new("keys", KeyProblem::TooManyKeys));
        }
        let rules = ClaimRules {
            admin: options.admin,
            names: None,
            audience: options.audience,
            issuer: options.issuer,
            require_exp: options.require_exp,
            leeway_s: options.leeway_s,
        };
        Ok(Verifier { keys, left_out, rules, issuers, verify_signature: options.verify_signature })
    }

    /// The unusable keys of the JWKS, each with the reason.
    pub fn left_out(&self) -> &[KeyError] {
        &self.left_out
    }

    /// Verifies a token at a time in Unix seconds.
    ///
    /// # Errors
    /// The first violated rule, in the order of [`TokenError`].
    pub fn verify(&self, token: &str, now_unix_s: u64) -> Result<Claims, TokenError> {
        let parts = TokenParts::split(token)?;
        let mut scratch = Scratch::new();
        let header = TokenHeader::parse(decode_object(parts.header, &mut scratch)?)?;
        let mut own_scratch = Scratch::new();
        let (keys, rules) = match self.issuer_of(&parts, &mut own_scratch)? {
            Some(issuer) => (issuer.keys.as_slice(), &issuer.rules),
            None if self.keys.is_empty() && !self.issuers.is_empty() && self.verify_signature => {
                return Err(TokenError::WrongIssuer);
            }
            None => (self.keys.as_slice(), &self.rules),
        };
        if self.verify_signature {
            check_signature(keys, &header, &parts)?;
        } else {
            parts.check_signature_form()?;
        }
        rules.check(decode_object(parts.payload, &mut scratch)?, now_unix_s)
    }

    /// The issuer with keys of its own that a token claims to be by. Its signature is not verified yet.
    fn issuer_of(&self, parts: &TokenParts<'_>, scratch: &mut Scratch) -> Result<Option<&Issuer>, TokenError> {
        if self.issuers.is_empty() {
            return Ok(None);
        }
        Issuer::named(&self.issuers, decode_object(parts.payload, scratch)?)
    }

    /// Whether there are issuers whose keys are fetched.
    pub fn fetches_keys(&self) -> bool {
        self.issuers.iter().any(|issuer| issuer.is_fetched)
    }

    /// The index of the issuer whose keys are to be fetched before this token can be verified: it names a key that is not
    /// known, or none is known yet.
    pub fn missing_key(&self, token: &str) -> Option<usize> {
        let parts = TokenParts::split(token).ok()?;
        let mut scratch = Scratch::new();
        let named = self.issuer_of(&parts, &mut scratch).ok()??;
        let at = self.issuers.iter().position(|issuer| std::ptr::eq(issuer, named))?;
        let mut scratch = Scratch::new();
        let header = TokenHeader::parse(decode_object(parts.header, &mut scratch).ok()?).ok()?;
        (self.verify_signature && named.lacks_key(header.key_id.text())).then_some(at)
    }
}

/// Verifies the signature. A known `kid` restricts the keys to those with this id. An unknown one may be an
/// issuer's id for the secret or the PEM keys, configured without an id, so these are tried. Of public keys, no more
/// than [`KEYS_TRIED_MAX`] are tried.
fn check_signature(keys: &[VerifyingKey], header: &TokenHeader<'_>, parts: &TokenParts<'_>) -> Result<(), TokenError> {
    let algorithm = header.algorithm.ok_or(TokenError::AlgorithmNotAccepted)?;
    let key_id = header.key_id.text();
    let is_known = key_id.is_some() && keys.iter().any(|key| key.id() == key_id);
    let mut refusal = TokenError::AlgorithmNotAccepted;
    let mut tried = 0;
    for key in keys.iter().filter(|key| key.accepts(algorithm)) {
        let is_selected = match key_id {
            None => true,
            Some(_) if is_known => key.id() == key_id,
            Some(_) => key.id().is_none(),
        };
        if is_selected {
            if tried == KEYS_TRIED_MAX {
                return Err(TokenError::KeyIdRequired);
            }
            tried += usize::from(algorithm.family() != AlgorithmFamily::Hmac);
            if key.verifies(parts, algorithm)? {
                return Ok(());
            }
            refusal = TokenError::BadSignature;
        } else if !is_known && refusal != TokenError::BadSignature {
            refusal = TokenError::UnknownKey;
        }
    }
    Err(refusal)
}
