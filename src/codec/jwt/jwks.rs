//! JSON Web Key Sets (RFC 7517 §5): an issuer's public keys. `use`, `key_ops`, `alg` and `crv` of a key are respected.
//! Unusable keys are left out, as the RFC asks, and reported to the operator.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, OtherKeyParameters, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::Value;

use super::error::{KeyError, KeyProblem};
use super::keys::{Allowed, KEYS_MAX, KeyKind, VerifyingKey, ec_key, ed25519_key, hmac_key, rsa_key};

/// Usable keys of a set, and the reasons for the others.
#[derive(Debug)]
pub(super) struct KeySet {
    pub(super) keys: Vec<VerifyingKey>,
    pub(super) left_out: Vec<KeyError>,
}

impl KeySet {
    /// Reads a set; one that is published has no secrets.
    pub(super) fn read(json: &[u8], allowed: &Allowed, is_public: bool) -> Result<Self, KeyError> {
        let refuse = |problem| KeyError::new("jwks", problem);
        let set: Set = serde_json::from_slice(json).map_err(|_| refuse(KeyProblem::NotJwks))?;
        if set.keys.len() > KEYS_MAX {
            return Err(refuse(KeyProblem::TooManyKeys));
        }
        let mut read = KeySet { keys: Vec::new(), left_out: Vec::new() };
        for (index, value) in set.keys.into_iter().enumerate() {
            let name = match value.get("kid").and_then(Value::as_str) {
                Some(id) => format!("jwks key {index} ({id:?})"),
                None => format!("jwks key {index}"),
            };
            match read_key(value, allowed, is_public) {
                Ok(key) => read.keys.push(key),
                Err(problem) => read.left_out.push(KeyError::new(name, problem)),
            }
        }
        if read.keys.is_empty() { Err(refuse(KeyProblem::NoUsableKey)) } else { Ok(read) }
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

fn read_key(mut value: Value, allowed: &Allowed, is_public: bool) -> Result<VerifyingKey, KeyProblem> {
    if value.get("alg").is_some_and(|name| name == "Ed25519") {
        value["alg"] = "EdDSA".into(); // the older name of the same algorithm, which is the one `Jwk` knows
    }
    let jwk = Jwk::deserialize(value).map_err(|_| KeyProblem::Broken)?;
    let has_other_use = jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature);
    let mut operations = jwk.common.key_operations.iter();
    if has_other_use || operations.any(|operations| !operations.contains(&KeyOperations::Verify)) {
        return Err(KeyProblem::NotForVerifying);
    }
    let material = material(&jwk)?;
    if is_public && material.0 == KeyKind::Hmac {
        return Err(KeyProblem::PublishedSecret);
    }
    let only = jwk.common.key_algorithm.map(Algorithm::try_from).transpose();
    VerifyingKey::from_jwk(material, jwk.common.key_id, only.map_err(|_| KeyProblem::AlgorithmMismatch)?, allowed)
}

fn material(jwk: &Jwk) -> Result<(KeyKind, DecodingKey), KeyProblem> {
    if let AlgorithmParameters::Other(members) = &jwk.algorithm {
        return Err(problem_of(members));
    }
    let key = DecodingKey::from_jwk(jwk).map_err(|_| KeyProblem::Broken)?;
    match (&jwk.algorithm, key.kind()) {
        (AlgorithmParameters::RSA(_), DecodingKeyKind::RsaModulusExponent { n, e }) => rsa_key(n, e),
        (AlgorithmParameters::OctetKey(_), DecodingKeyKind::SecretOrDer(secret)) => hmac_key(secret),
        (AlgorithmParameters::EllipticCurve(members), DecodingKeyKind::SecretOrDer(point)) => {
            let kind = match members.curve {
                EllipticCurve::P256 => KeyKind::P256,
                EllipticCurve::P384 => KeyKind::P384,
                _ => return Err(KeyProblem::UnsupportedCurve),
            };
            // Coordinates are of full length each, leading zeros included (RFC 7518 §6.2.1.2).
            if members.x.len() == members.y.len() { ec_key(kind, point) } else { Err(KeyProblem::Broken) }
        }
        (AlgorithmParameters::OctetKeyPair(members), DecodingKeyKind::SecretOrDer(point))
            if members.curve == EllipticCurve::Ed25519 =>
        {
            ed25519_key(point)
        }
        _ => Err(KeyProblem::UnsupportedCurve),
    }
}

/// Problem of a key of no type or curve that [`Jwk`] supports.
fn problem_of(members: &OtherKeyParameters) -> KeyProblem {
    let text = |name| members.fields.get(name).and_then(Value::as_str);
    match (text("kty"), text("crv")) {
        (None | Some("RSA" | "oct"), _) => KeyProblem::Broken,
        (Some("EC"), Some("P-256" | "P-384")) | (Some("OKP"), Some("Ed25519")) => KeyProblem::Broken,
        (Some("EC" | "OKP"), _) => KeyProblem::UnsupportedCurve,
        _ => KeyProblem::UnsupportedType,
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::Algorithm;
    use serde_json::json;

    use super::super::fixtures;
    use super::*;

    fn read(json: &str) -> Result<KeySet, KeyError> {
        KeySet::read(json.as_bytes(), &Allowed::from_names(&[]).expect("no names"), false)
    }

    /// The fixture's key `index` with some members set anew; `null` takes one away.
    fn changed(index: usize, members: Value) -> Value {
        let mut set: Value = serde_json::from_str(fixtures::JWKS).expect("valid JSON");
        let mut key = set["keys"][index].take();
        for (name, value) in members.as_object().expect("an object") {
            key[name] = value.clone();
        }
        key
    }

    /// Reads that key next to a good one, and says why it was left out.
    fn problem(index: usize, members: Value) -> Option<KeyProblem> {
        let good = changed(3, json!({"kid": "good"}));
        let set = json!({"keys": [changed(index, members), good]}).to_string();
        read(&set).expect("one good key").left_out.first().map(|error| error.problem)
    }

    #[test]
    fn every_kind_of_key() {
        let set = read(fixtures::JWKS).expect("good keys");
        assert_eq!(set.left_out, []);
        let named = ["rsa-1", "p256-1", "p384-1", "ed-1", "oct-1"];
        assert!(set.keys.iter().map(|key| key.id().expect("each has a name")).eq(named));
        assert!(set.keys[0].accepts(Algorithm::PS512) && !set.keys[0].accepts(Algorithm::HS256));
        assert!(set.keys[4].accepts(Algorithm::HS256) && !set.keys[4].accepts(Algorithm::HS512), "its alg narrows");
    }

    #[test]
    fn what_a_key_says_of_itself_is_respected() {
        assert_eq!(problem(0, json!({"use": "enc"})), Some(KeyProblem::NotForVerifying));
        assert_eq!(problem(0, json!({"key_ops": ["encrypt"]})), Some(KeyProblem::NotForVerifying));
        assert_eq!(problem(0, json!({"use": null, "key_ops": ["sign", "verify"]})), None);
        assert_eq!(problem(0, json!({"alg": "HS256"})), Some(KeyProblem::AlgorithmMismatch));
        assert_eq!(problem(0, json!({"alg": "RSA-OAEP"})), Some(KeyProblem::AlgorithmMismatch));
        assert_eq!(problem(1, json!({"alg": "ES384"})), Some(KeyProblem::AlgorithmMismatch));
        assert_eq!(problem(3, json!({"alg": "Ed25519"})), None);
    }

    #[test]
    fn keys_that_cannot_be_used_are_left_out() {
        assert_eq!(problem(0, json!({"kty": "DSA"})), Some(KeyProblem::UnsupportedType));
        assert_eq!(problem(0, json!({"kty": 7})), Some(KeyProblem::Broken));
        assert_eq!(problem(0, json!({"kid": 7})), Some(KeyProblem::Broken));
        assert_eq!(problem(0, json!({"n": null})), Some(KeyProblem::Broken));
        assert_eq!(problem(0, json!({"n": "AQAB"})), Some(KeyProblem::RsaSize));
        assert_eq!(problem(0, json!({"e": "AQ"})), Some(KeyProblem::RsaExponent));
        assert_eq!(problem(0, json!({"e": "AQAB="})), Some(KeyProblem::Broken));
        assert_eq!(problem(1, json!({"crv": "P-384"})), Some(KeyProblem::Broken));
        assert_eq!(problem(1, json!({"crv": "secp256k1"})), Some(KeyProblem::UnsupportedCurve));
        assert_eq!(problem(1, json!({"crv": "P-521"})), Some(KeyProblem::UnsupportedCurve));
        assert_eq!(problem(1, json!({"x": "AA"})), Some(KeyProblem::Broken));
        assert_eq!(problem(3, json!({"crv": "X25519"})), Some(KeyProblem::UnsupportedCurve));
        assert_eq!(problem(3, json!({"x": "AA"})), Some(KeyProblem::Broken));
        assert_eq!(problem(4, json!({"k": ""})), Some(KeyProblem::EmptySecret));
        let left_out = read(&json!({"keys": [7, changed(3, json!({}))]}).to_string()).expect("one good key").left_out;
        assert_eq!(left_out, [KeyError::new("jwks key 0", KeyProblem::Broken)]);
    }

    #[test]
    fn published_set_has_no_secrets() {
        let set = KeySet::read(fixtures::JWKS.as_bytes(), &Allowed::from_names(&[]).expect("no names"), true);
        let set = set.expect("public keys");
        let secrets: Vec<_> = set.left_out.iter().filter(|key| key.problem == KeyProblem::PublishedSecret).collect();
        assert_eq!(secrets.len(), 1);
        assert_eq!(set.keys.len() + 1, read(fixtures::JWKS).expect("good keys").keys.len());
    }

    #[test]
    fn sets_of_no_use_are_errors() {
        for json in ["", "7", "[]", "{}", r#"{"keys":{}}"#, r#"{"kty":"RSA"}"#] {
            assert_eq!(read(json).err(), Some(KeyError::new("jwks", KeyProblem::NotJwks)), "{json}");
        }
        for json in [r#"{"keys":[]}"#, r#"{"keys":[{"kty":"DSA"}]}"#] {
            assert_eq!(read(json).err(), Some(KeyError::new("jwks", KeyProblem::NoUsableKey)), "{json}");
        }
        let many = json!({"keys": vec![changed(3, json!({})); KEYS_MAX + 1]}).to_string();
        assert_eq!(read(&many).err(), Some(KeyError::new("jwks", KeyProblem::TooManyKeys)));
    }
}
