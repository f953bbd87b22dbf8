//! Test-only keys, and tokens signed with them.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::Value;

pub(super) const RSA_PRIVATE: &str = include_str!("fixtures/rsa_private.pem");
pub(super) const RSA_PUBLIC: &str = include_str!("fixtures/rsa_public.pem");
pub(super) const RSA_PUBLIC_PKCS1: &str = include_str!("fixtures/rsa_public_pkcs1.pem");
pub(super) const RSA_OTHER_PRIVATE: &str = include_str!("fixtures/rsa_other_private.pem");
pub(super) const RSA_WEAK_PUBLIC: &str = include_str!("fixtures/rsa_weak_public.pem");
pub(super) const P256_PRIVATE: &str = include_str!("fixtures/p256_private.pem");
pub(super) const P256_PUBLIC: &str = include_str!("fixtures/p256_public.pem");
pub(super) const P384_PRIVATE: &str = include_str!("fixtures/p384_private.pem");
pub(super) const P384_PUBLIC: &str = include_str!("fixtures/p384_public.pem");
pub(super) const P521_PUBLIC: &str = include_str!("fixtures/p521_public.pem");
pub(super) const K256_PUBLIC: &str = include_str!("fixtures/k256_public.pem");
pub(super) const ED25519_PRIVATE: &str = include_str!("fixtures/ed25519_private.pem");
pub(super) const ED25519_PUBLIC: &str = include_str!("fixtures/ed25519_public.pem");
pub(super) const ED448_PUBLIC: &str = include_str!("fixtures/ed448_public.pem");

/// The public keys above with the names `rsa-1`, `p256-1`, `p384-1` and `ed-1`, and [`SECRET`] as `oct-1`.
pub(super) const JWKS: &str = include_str!("fixtures/jwks.json");

pub(super) const SECRET: &str = "a test-only secret of thirty-two";

/// Every algorithm there is.
pub(super) const ALGORITHMS: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The key above that signs with an algorithm.
pub(super) fn signing_key(algorithm: Algorithm) -> EncodingKey {
    let key = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Ok(EncodingKey::from_secret(SECRET.as_bytes())),
        Algorithm::ES256 => EncodingKey::from_ec_pem(P256_PRIVATE.as_bytes()),
        Algorithm::ES384 => EncodingKey::from_ec_pem(P384_PRIVATE.as_bytes()),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(ED25519_PRIVATE.as_bytes()),
        _ => EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()),
    };
    key.expect("a good fixture")
}

/// Signs claims with the algorithm's key, under a `kid` or none.
pub(super) fn sign(algorithm: Algorithm, key_id: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(algorithm);
    header.kid = key_id.map(str::to_owned);
    encode(&header, claims, &signing_key(algorithm)).expect("a good fixture")
}
