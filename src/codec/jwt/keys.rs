//! Keys for verification. The type of a key determines its algorithms, the configuration may restrict them, and a
//! token's header selects among them. So a public key is never used as an HMAC secret, and `none` is no algorithm.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};

use super::error::{KeyError, KeyProblem, TokenError};
use super::parts::TokenParts;

/// Maximum of keys.
pub const KEYS_MAX: usize = 32;

/// Maximum of public keys that a token is tried with, at 25 µs (RSA) to 200 µs (P-384) each. Where more fit, the token must
/// name its own by `kid`.
pub(super) const KEYS_TRIED_MAX: usize = 4;

/// The algorithm with this name. `Ed25519` is the newer name of `EdDSA` with this curve (RFC 9864 §2.2).
pub(super) fn algorithm_named(name: &str) -> Option<Algorithm> {
    match name {
        "Ed25519" => Some(Algorithm::EdDSA),
        _ => name.parse().ok(),
    }
}

/// Type of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    Hmac,
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeyKind {
    fn algorithms(self) -> &'static [Algorithm] {
        use Algorithm::*;
        match self {
            KeyKind::Hmac => &[HS256, HS384, HS512],
            KeyKind::Rsa => &[RS256, RS384, RS512, PS256, PS384, PS512],
            KeyKind::P256 => &[ES256],
            KeyKind::P384 => &[ES384],
            KeyKind::Ed25519 => &[EdDSA],
        }
    }
}

/// Algorithms allowed by the configuration.
#[derive(Debug)]
pub(super) struct Allowed(Vec<Algorithm>);

impl Allowed {
    /// Parses the names; an empty list allows all algorithms.
    pub(super) fn from_names(names: &[String]) -> Result<Self, KeyError> {
        let parse = |name: &String| {
            let unknown = || KeyError::new(format!("algorithms: {name:?}"), KeyProblem::UnknownAlgorithm);
            algorithm_named(name).ok_or_else(unknown)
        };
        names.iter().map(parse).collect::<Result<_, _>>().map(Allowed)
    }

    fn has(&self, algorithm: Algorithm) -> bool {
        self.0.is_empty() || self.0.contains(&algorithm)
    }
}

/// A key ready for verification.
#[derive(Debug)]
pub(super) struct VerifyingKey {
    /// Key id, selected by a token's `kid`; keys of a JWKS only.
    id: Option<String>,
    /// Accepted algorithms, never empty.
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

impl VerifyingKey {
    fn new((kind, decoding): (KeyKind, DecodingKey), allowed: &Allowed) -> Result<Self, KeyProblem> {
        let algorithms = kind.algorithms().iter().copied().filter(|algorithm| allowed.has(*algorithm)).collect();
        VerifyingKey { id: None, algorithms, decoding }.unless_useless()
    }

    pub(super) fn from_secret(secret: &[u8], allowed: &Allowed) -> Result<Self, KeyProblem> {
        VerifyingKey::new(hmac_key(secret)?, allowed)
    }

    /// Parses a SubjectPublicKeyInfo (RFC 7468 §13) or a PKCS#1 RSA public key.
    pub(super) fn from_pem(pem: &[u8], allowed: &Allowed) -> Result<Self, KeyProblem> {
        VerifyingKey::new(pem_key(pem)?, allowed)
    }

    /// A key of a JWKS; `only` is its `alg`.
    pub(super) fn from_jwk(
        material: (KeyKind, DecodingKey),
        id: Option<String>,
        only: Option<Algorithm>,
        allowed: &Allowed,
    ) -> Result<Self, KeyProblem> {
        if only.is_some_and(|algorithm| !material.0.algorithms().contains(&algorithm)) {
            return Err(KeyProblem::AlgorithmMismatch);
        }
        let mut key = VerifyingKey::new(material, allowed)?;
        key.id = id;
        key.algorithms.retain(|algorithm| only.is_none_or(|only| only == *algorithm));
        key.unless_useless()
    }

    fn unless_useless(self) -> Result<Self, KeyProblem> {
        if self.algorithms.is_empty() { Err(KeyProblem::AlgorithmsExclude) } else { Ok(self) }
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(super) fn accepts(&self, algorithm: Algorithm) -> bool {
        debug_assert!(!self.algorithms.is_empty(), "invariant: a key has an algorithm");
        self.algorithms.contains(&algorithm)
    }

    /// Whether the signature matches. `algorithm` is one that the key accepts.
    pub(super) fn verifies(&self, parts: &TokenParts<'_>, algorithm: Algorithm) -> Result<bool, TokenError> {
        debug_assert!(self.accepts(algorithm), "invariant: a key is used with its own algorithms only");
        crypto::verify(parts.signature, parts.signed.as_bytes(), &self.decoding, algorithm)
            .map_err(|_| TokenError::Malformed)
    }
}

pub(super) fn hmac_key(secret: &[u8]) -> Result<(KeyKind, DecodingKey), KeyProblem> {
    if secret.is_empty() {
        return Err(KeyProblem::EmptySecret);
    }
    if secret.trim_ascii_start().starts_with(b"-----BEGIN ") {
        return Err(KeyProblem::PemAsSecret);
    }
    Ok((KeyKind::Hmac, DecodingKey::from_secret(secret)))
}

/// An RSA key from big-endian modulus and exponent. Without these checks the verification of every token would fail.
pub(super) fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Result<(KeyKind, DecodingKey), KeyProblem> {
    let (modulus, exponent) = (without_leading_zeros(modulus), without_leading_zeros(exponent));
    let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err(KeyProblem::RsaSize);
    }
    if exponent.len() > 5 {
        return Err(KeyProblem::RsaExponent);
    }
    let value = exponent.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    if value % 2 == 0 || !(3..1 << 33).contains(&value) {
        return Err(KeyProblem::RsaExponent);
    }
    Ok((KeyKind::Rsa, DecodingKey::from_rsa_raw_components(modulus, exponent)))
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}

/// An ECDSA key from its uncompressed point (SEC 1 §2.3.3).
pub(super) fn ec_key(kind: KeyKind, point: &[u8]) -> Result<(KeyKind, DecodingKey), KeyProblem> {
    let point_bytes = match kind {
        KeyKind::P256 => 1 + 2 * 32,
        KeyKind::P384 => 1 + 2 * 48,
        KeyKind::Hmac | KeyKind::Rsa | KeyKind::Ed25519 => return Err(KeyProblem::UnsupportedCurve),
    };
    if point.len() != point_bytes || point[0] != 0x04 {
        return Err(KeyProblem::Broken);
    }
    Ok((kind, DecodingKey::from_ec_der(point)))
}

pub(super) fn ed25519_key(point: &[u8]) -> Result<(KeyKind, DecodingKey), KeyProblem> {
    if point.len() != 32 {
        return Err(KeyProblem::Broken);
    }
    Ok((KeyKind::Ed25519, DecodingKey::from_ed_der(point)))
}

fn pem_key(pem: &[u8]) -> Result<(KeyKind, DecodingKey), KeyProblem> {
    let body = pem_body(pem)?;
    if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
        let der = key.try_get_as_bytes().map_err(|_| KeyProblem::Broken)?;
        let components = (DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(der);
        let (modulus, exponent) = components.map_err(|_| KeyProblem::Broken)?;
        return rsa_key(&modulus, &exponent);
    }
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        return ec_key(curve_of(&body)?, key.try_get_as_bytes().map_err(|_| KeyProblem::Broken)?);
    }
    if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        return ed25519_key(key.try_get_as_bytes().map_err(|_| KeyProblem::Broken)?);
    }
    Err(KeyProblem::UnsupportedType)
}

/// The DER in the only PEM block.
fn pem_body(pem: &[u8]) -> Result<Vec<u8>, KeyProblem> {
    let text = std::str::from_utf8(pem).map_err(|_| KeyProblem::NotPem)?;
    let (_, block) = text.split_once("-----BEGIN ").ok_or(KeyProblem::NotPem)?;
    let (tag, rest) = block.split_once("-----").ok_or(KeyProblem::NotPem)?;
    match tag {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
        "CERTIFICATE" => return Err(KeyProblem::Certificate),
        _ if tag.ends_with("PRIVATE KEY") => return Err(KeyProblem::PrivateKey),
        _ => return Err(KeyProblem::NotPem),
    }
    if rest.contains("-----BEGIN ") {
        return Err(KeyProblem::SeveralKeys);
    }
    let (body, _) = rest.split_once("-----END ").ok_or(KeyProblem::NotPem)?;
    let base64: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(base64).map_err(|_| KeyProblem::Broken)
}

/// The curve of an EC key, from the parsed SubjectPublicKeyInfo (RFC 5480 §2.1.1): the length of the point is
/// ambiguous, as secp256k1 and P-256 have the same.
fn curve_of(subject_public_key_info: &[u8]) -> Result<KeyKind, KeyProblem> {
    let is_on = |algorithm| ParsedPublicKey::new(algorithm, subject_public_key_info).is_ok();
    match () {
        () if is_on(&ECDSA_P256_SHA256_FIXED) => Ok(KeyKind::P256),
        () if is_on(&ECDSA_P384_SHA384_FIXED) => Ok(KeyKind::P384),
        () => Err(KeyProblem::UnsupportedCurve),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn all() -> Allowed {
        Allowed(Vec::new())
    }

    fn problem(pem: &str) -> Option<KeyProblem> {
        VerifyingKey::from_pem(pem.as_bytes(), &all()).err()
    }

    #[test]
    fn pem_keys_accept_their_own_algorithms_only() {
        use Algorithm::*;
        let rsa = [RS256, RS384, RS512, PS256, PS384, PS512];
        let cases: [(&str, &[Algorithm]); 5] = [
            (fixtures::RSA_PUBLIC, &rsa),
            (fixtures::RSA_PUBLIC_PKCS1, &rsa),
            (fixtures::P256_PUBLIC, &[ES256]),
            (fixtures::P384_PUBLIC, &[ES384]),
            (fixtures::ED25519_PUBLIC, &[EdDSA]),
        ];
        for (pem, algorithms) in cases {
            assert_eq!(VerifyingKey::from_pem(pem.as_bytes(), &all()).expect("a good key").algorithms, algorithms);
            let windows = pem.replace('\n', "\r\n");
            assert!(VerifyingKey::from_pem(windows.as_bytes(), &all()).is_ok());
        }
    }

    #[test]
    fn pem_keys_refused_by_name() {
        assert_eq!(problem(fixtures::RSA_PRIVATE), Some(KeyProblem::PrivateKey));
        assert_eq!(problem(fixtures::P256_PRIVATE), Some(KeyProblem::PrivateKey));
        assert_eq!(problem(fixtures::RSA_WEAK_PUBLIC), Some(KeyProblem::RsaSize));
        assert_eq!(problem(fixtures::P521_PUBLIC), Some(KeyProblem::UnsupportedCurve));
        assert_eq!(problem(fixtures::K256_PUBLIC), Some(KeyProblem::UnsupportedCurve));
        assert_eq!(problem(fixtures::ED448_PUBLIC), Some(KeyProblem::UnsupportedType));
        let two = format!("{}{}", fixtures::P256_PUBLIC, fixtures::P384_PUBLIC);
        assert_eq!(problem(&two), Some(KeyProblem::SeveralKeys));
        let certificate = fixtures::P256_PUBLIC.replace("PUBLIC KEY", "CERTIFICATE");
        assert_eq!(problem(&certificate), Some(KeyProblem::Certificate));
        for text in ["", "secret", "-----BEGIN ", "-----BEGIN PUBLIC KEY-----\nMFk"] {
            assert_eq!(problem(text), Some(KeyProblem::NotPem), "{text}");
        }
        let short = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n";
        assert_eq!(problem(short), Some(KeyProblem::UnsupportedType));
        assert_eq!(problem(&fixtures::P256_PUBLIC.replace("MFkw", "M!kw")), Some(KeyProblem::Broken));
        assert_eq!(VerifyingKey::from_pem(b"\xff", &all()).err(), Some(KeyProblem::NotPem));
    }

    #[test]
    fn secrets() {
        assert_eq!(hmac_key(b"").err(), Some(KeyProblem::EmptySecret));
        let public = format!("\n{}", fixtures::RSA_PUBLIC);
        assert_eq!(hmac_key(public.as_bytes()).err(), Some(KeyProblem::PemAsSecret));
        assert!(hmac_key(b"s").is_ok());
    }

    #[test]
    fn rsa_sizes_and_exponents() {
        let modulus = |bytes: usize| vec![0x80; bytes];
        assert!(rsa_key(&modulus(256), &[1, 0, 1]).is_ok());
        assert!(rsa_key(&[vec![0], modulus(256)].concat(), &[0, 3]).is_ok());
        assert!(rsa_key(&modulus(1024), &[1, 255, 255, 255, 255]).is_ok());
        for bytes in [0, 128, 255, 1025] {
            assert_eq!(rsa_key(&modulus(bytes), &[3]).err(), Some(KeyProblem::RsaSize));
        }
        let exponents: [&[u8]; 6] = [&[], &[0], &[1], &[4], &[2, 0, 0, 0, 1], &[1, 0, 0, 0, 0, 1]];
        for exponent in exponents {
            assert_eq!(rsa_key(&modulus(256), exponent).err(), Some(KeyProblem::RsaExponent), "{exponent:?}");
        }
    }

    #[test]
    fn the_configuration_narrows_and_may_exclude() {
        let allowed = Allowed::from_names(&["PS256".into(), "Ed25519".into()]).expect("known names");
        let rsa = VerifyingKey::from_pem(fixtures::RSA_PUBLIC.as_bytes(), &allowed).expect("allowed");
        assert_eq!(rsa.algorithms, [Algorithm::PS256]);
        assert!(VerifyingKey::from_pem(fixtures::ED25519_PUBLIC.as_bytes(), &allowed).is_ok());
        assert_eq!(VerifyingKey::from_secret(b"s", &allowed).err(), Some(KeyProblem::AlgorithmsExclude));
        for name in ["none", "ES512", "rs256", ""] {
            let error = Allowed::from_names(&[name.into()]).expect_err("not one of ours");
            assert_eq!(error, KeyError::new(format!("algorithms: {name:?}"), KeyProblem::UnknownAlgorithm));
        }
    }
}
