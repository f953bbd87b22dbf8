//! What can be wrong with a token, which is its bearer's fault, and what can be wrong with a key, which is the
//! operator's. Neither ever quotes the token or the key.

use std::fmt;

/// Why a token was refused. The first rule it broke, in the order: form, algorithm, key, signature, times, audience,
/// issuer, subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Not three base64url parts with JSON objects in the first two, or a registered claim of the wrong type.
    Malformed,
    /// The header lists extensions under `crit`, and this server knows none (RFC 7515 §4.1.11).
    UnknownExtension,
    /// No configured key accepts the algorithm that the header names.
    AlgorithmNotAccepted,
    /// The header's `kid` names none of the configured keys.
    UnknownKey,
    /// The signature is not by the key it was checked against.
    BadSignature,
    /// `exp` is absent, and it is required.
    NoExpiry,
    /// `exp` has passed, leeway included.
    Expired,
    /// `nbf` is still to come, leeway included.
    NotYetValid,
    /// `aud` names none of the configured audiences.
    WrongAudience,
    /// `iss` is none of the configured issuers.
    WrongIssuer,
    /// `sub` is absent, not a string, not 1–128 bytes, or holds control characters.
    BadSubject,
    /// `sub` starts with `guest:`, which is how the server names those who come without a token.
    ReservedSubject,
}

impl TokenError {
    /// The error code on the wire: clients renew on `TOKEN_EXPIRED` and give up on `UNAUTHENTICATED`.
    pub fn code(self) -> &'static str {
        match self {
            TokenError::Expired => "TOKEN_EXPIRED",
            _ => "UNAUTHENTICATED",
        }
    }

    /// What was wrong, as a sentence for the token's bearer.
    pub fn text(self) -> &'static str {
        match self {
            TokenError::Malformed => "The token is not a well-formed JWT.",
            TokenError::UnknownExtension => "The token demands an extension (crit) that is not supported.",
            TokenError::AlgorithmNotAccepted => "The token's algorithm is not accepted.",
            TokenError::UnknownKey => "The token names a key (kid) that is not known.",
            TokenError::BadSignature => "The token's signature is not valid.",
            TokenError::NoExpiry => "The token has no expiry (exp), and one is required.",
            TokenError::Expired => "The token has expired.",
            TokenError::NotYetValid => "The token is not valid yet.",
            TokenError::WrongAudience => "The token is for another audience (aud).",
            TokenError::WrongIssuer => "The token is by another issuer (iss).",
            TokenError::BadSubject => {
                "The token's subject (sub) must be a string of 1 to 128 bytes without control characters."
            }
            TokenError::ReservedSubject => "The token's subject (sub) starts with guest:, which is reserved.",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}

impl std::error::Error for TokenError {}

/// Which key (or list) of the configuration cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// `secret`, `algorithms`, `jwks`, `jwks key 2 (its kid)`, or the name a PEM key was given with.
    pub key: String,
    /// What was wrong with it.
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

/// What was wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyProblem {
    /// There is no key at all, and signatures are to be verified.
    NoKeys,
    /// More keys than a token without `kid` may be tried against.
    TooManyKeys,
    /// A name in the list of algorithms that is not one of ours.
    UnknownAlgorithm,
    /// The key fits none of the algorithms configured.
    AlgorithmsExclude,
    /// A secret of no bytes.
    EmptySecret,
    /// A PEM key given as the secret: whoever knows a public key could sign with it.
    PemAsSecret,
    /// Not one PEM block tagged `PUBLIC KEY` or `RSA PUBLIC KEY`.
    NotPem,
    /// A private key where a public key belongs.
    PrivateKey,
    /// A certificate where a public key belongs.
    Certificate,
    /// Several PEM blocks.
    SeveralKeys,
    /// A key type other than RSA, EC, Ed25519 and, in a JWKS, `oct`.
    UnsupportedType,
    /// A curve other than P-256, P-384 and Ed25519.
    UnsupportedCurve,
    /// Key material that is missing, not base64url, or of the wrong length for its type.
    Broken,
    /// An RSA modulus outside 2048–8192 bits.
    RsaSize,
    /// An RSA exponent that is even, below 3 or above 33 bits.
    RsaExponent,
    /// A JWK whose `use` or `key_ops` say it is not for verifying.
    NotForVerifying,
    /// A JWK whose `alg` does not fit its own type or curve.
    AlgorithmMismatch,
    /// Not a JSON object with an array `keys` (RFC 7517 §5).
    NotJwks,
    /// A JWKS in which every key had to be left out.
    NoUsableKey,
}

impl KeyProblem {
    /// What was wrong and, where it is not plain, what to do, as a sentence for the operator.
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
            KeyProblem::AlgorithmMismatch => "its alg does not fit its key type or curve",
            KeyProblem::NotJwks => "not a JSON object with an array of keys",
            KeyProblem::NoUsableKey => "none of its keys can be used",
        }
    }
}
