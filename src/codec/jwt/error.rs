//! Errors of tokens (the bearer's fault) and of keys (the operator's). They never contain the token or the key.

use std::fmt;

/// Why a token is refused: the first violated rule in the order form, algorithm, key, signature, times, audience,
/// issuer, subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Not three base64url parts of that the first two are JSON objects, or a registered claim of the wrong type.
    Malformed,
    /// The header has `crit`; no extension is supported (RFC 7515 §4.1.11).
    UnknownExtension,
    /// No configured key accepts the algorithm `alg`.
    AlgorithmNotAccepted,
    /// No configured key has the id `kid`.
    UnknownKey,
    /// The signature does not match the keys tried, and there are more: the token must name its key by `kid`.
    KeyIdRequired,
    /// The signature does not match the key.
    BadSignature,
    /// `exp` is missing and required.
    NoExpiry,
    /// `exp` has passed, including the leeway.
    Expired,
    /// `nbf` is in the future, including the leeway.
    NotYetValid,
    /// `aud` contains no configured audience.
    WrongAudience,
    /// `iss` is not a configured issuer.
    WrongIssuer,
    /// `sub` is missing, not a string, not 1–128 bytes, or contains control or hidden characters.
    BadSubject,
    /// `sub` starts with `guest:` or what looks like it, reserved for clients without a token.
    ReservedSubject,
    /// `grants` or `can` is not of the documented form.
    BadGrants,
}

impl TokenError {
    /// Error code in the protocols: clients renew the token on `TOKEN_EXPIRED`, and give up on `UNAUTHENTICATED`.
    pub fn code(self) -> &'static str {
        match self {
            TokenError::Expired => "TOKEN_EXPIRED",
            _ => "UNAUTHENTICATED",
        }
    }

    /// Description for the bearer of the token, a sentence.
    pub fn text(self) -> &'static str {
        match self {
            TokenError::Malformed => "The token is not a well-formed JWT.",
            TokenError::UnknownExtension => "The token demands an extension (crit) that is not supported.",
            TokenError::AlgorithmNotAccepted => "The token's algorithm is not accepted.",
            TokenError::UnknownKey => "The token names a key (kid) that is not known.",
            TokenError::KeyIdRequired => "The token must name its key (kid), as too many keys fit.",
            TokenError::BadSignature => "The token's signature is not valid.",
            TokenError::NoExpiry => "The token has no expiry (exp), and one is required.",
            TokenError::Expired => "The token has expired.",
            TokenError::NotYetValid => "The token is not valid yet.",
            TokenError::WrongAudience => "The token is for another audience (aud).",
            TokenError::WrongIssuer => "The token is by another issuer (iss).",
            TokenError::BadSubject => {
                "The token's subject (sub) must be a string of 1 to 128 bytes without control and invisible characters."
            }
            TokenError::ReservedSubject => "The token's subject (sub) starts with guest:, which is reserved.",
            TokenError::BadGrants => {
                "The token's grants must be a list of {rooms, can}, with a text as rooms and a list of texts as can."
            }
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}

impl std::error::Error for TokenError {}

/// An unusable key (or list of keys), with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// `secret`, `algorithms`, `jwks`, `jwks key 2 (its kid)`, or the name given with a PEM key.
    pub key: String,
    /// Reason.
    pub problem: KeyProblem,
}

impl KeyError {
    pub(super) fn new(key: impl Into<String>, problem: KeyProblem) -> Self {
        KeyError { key: key.into(), problem }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.key, self.problem.text())
    }
}

impl std::error::Error for KeyError {}

/// Why a key is unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyProblem {
    /// No key is configured and signatures are to be verified.
    NoKeys,
    /// More than [`KEYS_MAX`](super::KEYS_MAX) keys.
    TooManyKeys,
    /// Unknown name of an algorithm.
    UnknownAlgorithm,
    /// None of the configured algorithms fits the key.
    AlgorithmsExclude,
    /// Empty secret.
    EmptySecret,
    /// A PEM key as the secret: with a public key as secret, its holders could sign.
    PemAsSecret,
    /// No PEM block with the tag `PUBLIC KEY` or `RSA PUBLIC KEY`.
    NotPem,
    /// A private key instead of a public one.
    PrivateKey,
    /// A certificate instead of a public key.
    Certificate,
    /// Several PEM blocks.
    SeveralKeys,
    /// Key type other than RSA, EC, Ed25519 and, in a JWKS, `oct`.
    UnsupportedType,
    /// Curve other than P-256, P-384 and Ed25519.
    UnsupportedCurve,
    /// Key material that is missing, not base64url, or of the wrong length.
    Broken,
    /// RSA modulus outside 2048–8192 bits.
    RsaSize,
    /// RSA exponent that is even, below 3 or above 33 bits.
    RsaExponent,
    /// JWK with a `use` or `key_ops` that excludes verification.
    NotForVerifying,
    /// Secret in a set that is published.
    PublishedSecret,
    /// JWK with an `alg` that does not fit its type or curve.
    AlgorithmMismatch,
    /// Not a JSON object with an array `keys` (RFC 7517 §5).
    NotJwks,
    /// JWKS without a usable key.
    NoUsableKey,
}

impl KeyProblem {
    /// Description for the operator, with the remedy where it is not obvious.
    pub fn text(self) -> &'static str {
        match self {
            KeyProblem::NoKeys => "no secret, no public key and no JWKS is configured to verify tokens by",
            KeyProblem::TooManyKeys => "more than 32 keys are configured",
            KeyProblem::UnknownAlgorithm => {
                "not an algorithm of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
            }
            KeyProblem::AlgorithmsExclude => "none of the configured algorithms can be used with this key",
            KeyProblem::EmptySecret => "the secret is empty",
            KeyProblem::PemAsSecret => "a PEM key cannot be the secret; configure it as a public key",
            KeyProblem::NotPem => "not a PEM file with a PUBLIC KEY block",
            KeyProblem::PrivateKey => "a private key; the server needs, and should hold, only the public one",
            KeyProblem::Certificate => "a certificate; extract its key with openssl x509 -pubkey -noout",
            KeyProblem::SeveralKeys => "several PEM blocks; give each key a file of its own",
            KeyProblem::UnsupportedType => "not an RSA, EC or Ed25519 key",
            KeyProblem::UnsupportedCurve => "a curve other than P-256, P-384 and Ed25519",
            KeyProblem::Broken => "the key material is missing, damaged or of the wrong length",
            KeyProblem::RsaSize => "an RSA key must have 2048 to 8192 bits",
            KeyProblem::RsaExponent => "an RSA key's exponent must be odd, at least 3 and at most 33 bits long",
            KeyProblem::NotForVerifying => "its use or key_ops say it is not for verifying signatures",
            KeyProblem::PublishedSecret => "a secret (oct) in a set of keys that others can read",
            KeyProblem::AlgorithmMismatch => "its alg does not fit its key type or curve",
            KeyProblem::NotJwks => "not a JSON object with an array of keys",
            KeyProblem::NoUsableKey => "none of its keys can be used",
        }
    }
}
