//! Whole tokens against whole verifiers: every algorithm, every form of key, and the known attacks.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixtures::{self, ALGORITHMS, SECRET, sign};
use super::*;
use crate::base::display_name::name_fault;

const NOW: u64 = 1_700_000_000;

fn claims() -> Value {
    json!({"sub": "u1", "name": "Ann", "exp": NOW + 60})
}

fn secret_only() -> VerifierOptions {
    VerifierOptions { secret: Some(SECRET.into()), ..VerifierOptions::default() }
}

fn pem_only(pem: &str) -> VerifierOptions {
    let public_keys_pem = vec![("key.pem".to_owned(), pem.as_bytes().to_vec())];
    VerifierOptions { public_keys_pem, ..VerifierOptions::default() }
}

fn jwks_only(json: &str) -> VerifierOptions {
    VerifierOptions { jwks: Some(json.as_bytes().to_vec()), ..VerifierOptions::default() }
}

fn options_for(algorithm: Algorithm) -> VerifierOptions {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => secret_only(),
        Algorithm::ES256 => pem_only(fixtures::P256_PUBLIC),
        Algorithm::ES384 => pem_only(fixtures::P384_PUBLIC),
        Algorithm::EdDSA => pem_only(fixtures::ED25519_PUBLIC),
        _ => pem_only(fixtures::RSA_PUBLIC),
    }
}

fn verify(options: VerifierOptions, token: &str) -> Result<String, TokenError> {
    Verifier::new(options).expect("good keys").verify(token, NOW).map(|claims| claims.user)
}

/// A token with any header and claims, signed as HS256 with any key.
fn forge(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).expect("any key will do");
    format!("{signed}.{signature}")
}

#[test]
fn every_algorithm_by_secret_or_pem() {
    for algorithm in ALGORITHMS {
        let token = sign(algorithm, None, &claims());
        assert_eq!(verify(options_for(algorithm), &token).as_deref(), Ok("u1"), "{algorithm:?}");
        let named = sign(algorithm, Some("a name we do not know"), &claims());
        assert_eq!(verify(options_for(algorithm), &named).as_deref(), Ok("u1"), "{algorithm:?}");
    }
    let pkcs1 = pem_only(fixtures::RSA_PUBLIC_PKCS1);
    assert!(verify(pkcs1, &sign(Algorithm::RS256, None, &claims())).is_ok());
}

#[test]
fn every_algorithm_by_jwks() {
    let verifier = Verifier::new(jwks_only(fixtures::JWKS)).expect("good keys");
    let names = |algorithm| match algorithm {
        Algorithm::HS256 => Some("oct-1"),
        // The fixture's `oct` key says it is for HS256.
        Algorithm::HS384 | Algorithm::HS512 => None,
        Algorithm::ES256 => Some("p256-1"),
        Algorithm::ES384 => Some("p384-1"),
        Algorithm::EdDSA => Some("ed-1"),
        _ => Some("rsa-1"),
    };
    for algorithm in ALGORITHMS {
        let expected = match names(algorithm) {
            Some(_) => Ok("u1"),
            None => Err(TokenError::AlgorithmNotAccepted),
        };
        for key_id in [None, names(algorithm)] {
            let result = verifier.verify(&sign(algorithm, key_id, &claims()), NOW);
            assert_eq!(result.as_ref().map(|claims| claims.user.as_str()).map_err(|error| *error), expected);
        }
    }
}

#[test]
fn key_ids_select() {
    let verifier = Verifier::new(jwks_only(fixtures::JWKS)).expect("good keys");
    let refusal = |algorithm, key_id| verifier.verify(&sign(algorithm, Some(key_id), &claims()), NOW).err();
    assert_eq!(refusal(Algorithm::RS256, "rsa-2"), Some(TokenError::UnknownKey));
    assert_eq!(refusal(Algorithm::RS256, ""), Some(TokenError::UnknownKey));
    assert_eq!(refusal(Algorithm::RS256, "p256-1"), Some(TokenError::AlgorithmNotAccepted));
    assert_eq!(refusal(Algorithm::HS256, "rsa-1"), Some(TokenError::AlgorithmNotAccepted));

    // With the secret besides, a name from nowhere may mean the secret, but a known name means its key.
    let both = VerifierOptions { secret: Some("another".into()), ..jwks_only(fixtures::JWKS) };
    let verifier = Verifier::new(both).expect("good keys");
    let by_secret = |key_id: Option<&str>| {
        let header = json!({"alg": "HS256", "kid": key_id});
        verifier.verify(&forge(&header, &claims(), b"another"), NOW).err()
    };
    assert_eq!(by_secret(None), None);
    assert_eq!(by_secret(Some("elsewhere")), None);
    assert_eq!(by_secret(Some("oct-1")), Some(TokenError::BadSignature));
    assert_eq!(by_secret(Some("ed-1")), Some(TokenError::AlgorithmNotAccepted));
}

#[test]
fn tokens_by_other_keys() {
    let key = EncodingKey::from_rsa_pem(fixtures::RSA_OTHER_PRIVATE.as_bytes()).expect("a good fixture");
    for algorithm in [Algorithm::RS256, Algorithm::PS256] {
        let token = encode(&Header::new(algorithm), &claims(), &key).expect("a good fixture");
        assert_eq!(verify(options_for(algorithm), &token), Err(TokenError::BadSignature));
    }
    let token = forge(&json!({"alg": "HS256"}), &claims(), b"a guess");
    assert_eq!(verify(secret_only(), &token), Err(TokenError::BadSignature));
}

#[test]
fn a_public_key_is_no_secret() {
    for pem in [fixtures::RSA_PUBLIC, fixtures::P256_PUBLIC, fixtures::ED25519_PUBLIC] {
        for secret in [pem.as_bytes(), pem.trim_end().as_bytes()] {
            let token = forge(&json!({"alg": "HS256"}), &claims(), secret);
            assert_eq!(verify(pem_only(pem), &token), Err(TokenError::AlgorithmNotAccepted));
            let with_secret = VerifierOptions { secret: Some(SECRET.into()), ..pem_only(pem) };
            assert_eq!(verify(with_secret, &token), Err(TokenError::BadSignature));
            for key_id in ["rsa-1", "p256-1", "ed-1"] {
                let token = forge(&json!({"alg": "HS256", "kid": key_id}), &claims(), secret);
                assert_eq!(verify(jwks_only(fixtures::JWKS), &token), Err(TokenError::AlgorithmNotAccepted));
            }
        }
    }
}

#[test]
fn the_header_cannot_change_the_algorithm() {
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256 "] {
        let token = forge(&json!({"alg": alg}), &claims(), SECRET.as_bytes());
        assert_eq!(verify(secret_only(), &token), Err(TokenError::AlgorithmNotAccepted), "{alg:?}");
        let (signed, _) = token.rsplit_once('.').expect("three parts");
        assert_eq!(verify(secret_only(), &format!("{signed}.")), Err(TokenError::AlgorithmNotAccepted));
        assert_eq!(verify(secret_only(), signed), Err(TokenError::Malformed));
    }
    // Signed as HS256, said to be HS512.
    let token = forge(&json!({"alg": "HS512"}), &claims(), SECRET.as_bytes());
    assert_eq!(verify(secret_only(), &token), Err(TokenError::BadSignature));
    let narrow = VerifierOptions { algorithms: vec!["HS512".into()], ..secret_only() };
    let token = sign(Algorithm::HS256, None, &claims());
    assert_eq!(verify(narrow, &token), Err(TokenError::AlgorithmNotAccepted));
    // A key that the token brings along is not looked at.
    let own = json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "YXR0YWNr"}, "jku": "https://attacker.example"});
    assert_eq!(verify(secret_only(), &forge(&own, &claims(), b"attack")), Err(TokenError::BadSignature));
}

#[test]
fn empty_and_degenerate_signatures() {
    for algorithm in ALGORITHMS {
        let token = sign(algorithm, None, &claims());
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64url").len();
        // Zeros were accepted as an ECDSA signature by Java (CVE-2022-21449).
        for degenerate in [Vec::new(), vec![0; bytes], vec![0; bytes - 1], vec![0xff; bytes]] {
            let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(degenerate));
            assert_eq!(verify(options_for(algorithm), &token), Err(TokenError::BadSignature), "{algorithm:?}");
        }
    }
}

#[test]
fn any_single_character_changed_is_refused() {
    const CHARACTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \0";
    let verifier = Verifier::new(secret_only()).expect("good keys");
    let token = sign(Algorithm::HS256, None, &json!({"sub": "u1", "exp": NOW + 60}));
    assert!(verifier.verify(&token, NOW).is_ok());
    for index in 0..token.len() {
        for character in CHARACTERS {
            let mut changed = token.clone().into_bytes();
            if changed[index] == *character {
                continue;
            }
            changed[index] = *character;
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(verifier.verify(&changed, NOW).is_err(), "{index}: {changed}");
        }
        let shorter = format!("{}{}", &token[..index], &token[index + 1..]);
        assert!(verifier.verify(&shorter, NOW).is_err(), "{shorter}");
    }
    for longer in [format!("{token}A"), format!("{token}="), format!(" {token}"), format!("{token}.")] {
        assert!(verifier.verify(&longer, NOW).is_err(), "{longer}");
    }
}

#[test]
fn a_tampered_payload_is_refused_by_every_algorithm() {
    for algorithm in ALGORITHMS {
        let good = sign(algorithm, None, &claims());
        let other = sign(algorithm, None, &json!({"sub": "root", "role": "admin", "exp": NOW + 60}));
        let [header, _, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
        let payload = other.split('.').nth(1).expect("three parts");
        let token = format!("{header}.{payload}.{signature}");
        assert_eq!(verify(options_for(algorithm), &token), Err(TokenError::BadSignature), "{algorithm:?}");
    }
}

#[test]
fn claims_are_held_to_the_options() {
    let particular = VerifierOptions {
        audience: vec!["switchboard".into()],
        issuer: vec!["https://issuer.example".into()],
        leeway_s: 5,
        ..secret_only()
    };
    let verifier = Verifier::new(particular).expect("good keys");
    let refusal = |changes: Value| {
        let mut claims = json!({"sub": "u1", "exp": NOW, "aud": "switchboard", "iss": "https://issuer.example"});
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        verifier.verify(&sign(Algorithm::HS256, None, &claims), NOW).err()
    };
    assert_eq!(refusal(json!({})), None);
    assert_eq!(refusal(json!({"exp": NOW - 4})), None);
    assert_eq!(refusal(json!({"exp": NOW - 5})), Some(TokenError::Expired));
    assert_eq!(refusal(json!({"exp": "soon"})), Some(TokenError::Malformed));
    assert_eq!(refusal(json!({"nbf": NOW + 5})), None);
    assert_eq!(refusal(json!({"nbf": NOW + 6})), Some(TokenError::NotYetValid));
    assert_eq!(refusal(json!({"aud": "elsewhere"})), Some(TokenError::WrongAudience));
    assert_eq!(refusal(json!({"iss": null})), Some(TokenError::WrongIssuer));
    assert_eq!(refusal(json!({"sub": 7})), Some(TokenError::BadSubject));
    assert_eq!(refusal(json!({"sub": "guest:7"})), Some(TokenError::ReservedSubject));
    let endless = sign(Algorithm::HS256, None, &json!({"sub": "u1"}));
    assert_eq!(verify(secret_only(), &endless), Err(TokenError::NoExpiry));
    assert!(verify(VerifierOptions { require_exp: false, ..secret_only() }, &endless).is_ok());
    // Positional JSON, duplicate claims and long tokens.
    let array = forge(&json!({"alg": "HS256"}), &json!(["u1", NOW + 60]), SECRET.as_bytes());
    assert_eq!(verify(secret_only(), &array), Err(TokenError::Malformed));
    let long = sign(Algorithm::HS256, None, &json!({"sub": "u1", "exp": NOW, "pad": "x".repeat(TOKEN_BYTES_MAX)}));
    assert_eq!(verify(secret_only(), &long), Err(TokenError::Malformed));
    let nested = format!(r#"{{"sub":"u1","pad":{}"#, "[".repeat(5000));
    let deep = format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(nested));
    assert_eq!(verify(VerifierOptions { verify_signature: false, ..secret_only() }, &deep), Err(TokenError::Malformed));
}

/// Three sample tokens of an existing application: no `exp`, and signatures that are by no published secret.
const SAMPLES: [(&str, &str, &str); 3] = [
    (
        "user123",
        "John Doe",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1c2VyMTIzIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    ),
    (
        "user456",
        "Jane Smith",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1c2VyNDU2IiwibmFtZSI6IkphbmUgU21pdGgiLCJpYXQiOjE1MTYyMzkwMjJ9.4Adcj3UFYzPUVaVF43FmMab6RlaQD8A9V8wFzzht-KQ",
    ),
    (
        "user789",
        "Bob Johnson",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1c2VyNzg5IiwibmFtZSI6IkJvYiBKb2huc29uIiwiaWF0IjoxNTE2MjM5MDIyfQ.onuUeVV4KP5zV8TLMVhQUedo9P9zGUz2hKhP0YoWJIQ",
    ),
];

#[test]
fn sample_tokens_pass_when_signatures_are_not_verified() {
    let open = VerifierOptions { verify_signature: false, require_exp: false, ..VerifierOptions::default() };
    let verifier = Verifier::new(open.clone()).expect("no keys needed");
    let strict = Verifier::new(VerifierOptions { require_exp: false, ..secret_only() }).expect("good keys");
    for (user, name, token) in SAMPLES {
        let claims = verifier.verify(token, NOW).expect("decodes");
        assert_eq!((claims.user.as_str(), claims.username.as_deref()), (user, Some(name)));
        assert_eq!(strict.verify(token, NOW), Err(TokenError::BadSignature));
        assert_eq!(verify(VerifierOptions { require_exp: true, ..open.clone() }, token), Err(TokenError::NoExpiry));
        let (signed, _) = token.rsplit_once('.').expect("three parts");
        assert_eq!(verify(open.clone(), &format!("{signed}.!")), Err(TokenError::Malformed));
    }
    // Any algorithm will do, but all other rules stand.
    let token = |header: Value, claims: Value| forge(&header, &claims, b"any");
    assert!(verify(open.clone(), &token(json!({"alg": "ES512"}), claims())).is_ok());
    assert_eq!(verify(open.clone(), &token(json!({}), claims())), Err(TokenError::Malformed));
    let expired = token(json!({"alg": "HS256"}), json!({"sub": "u1", "exp": 1}));
    assert_eq!(verify(open.clone(), &expired), Err(TokenError::Expired));
    let guest = token(json!({"alg": "HS256"}), json!({"sub": "guest:1"}));
    assert_eq!(verify(open, &guest), Err(TokenError::ReservedSubject));
}

#[test]
fn signing_and_verifying_agree() {
    let token = NewToken {
        user: "u\"1\\",
        name: Some("Zoë"),
        role: Some("admin"),
        scope: Some("push"),
        issued_at: NOW,
        expires_at: Some(NOW + 60),
    };
    let expected = Claims {
        user: "u\"1\\".into(),
        username: Some("Zoë".into()),
        email: None,
        admin: true,
        push: true,
        expires_at: Some(NOW + 60),
        issued_at: Some(NOW),
        id: None,
        grants: None,
        subscription: None,
    };
    let verifier = Verifier::new(secret_only()).expect("good keys");
    assert_eq!(verifier.verify(&sign_hs256(SECRET, &token), NOW), Ok(expected));
    let plain = sign_hs256(SECRET, &NewToken { user: "u2", expires_at: Some(NOW), ..NewToken::default() });
    let claims = verifier.verify(&plain, NOW).expect("good");
    assert_eq!((claims.admin, claims.push, claims.username), (false, false, None));
    assert_eq!(verifier.verify(&sign_hs256("", &token), NOW), Err(TokenError::BadSignature));
}

#[test]
fn key_errors_name_the_key() {
    let error = |options| Verifier::new(options).expect_err("not good").to_string();
    assert!(error(VerifierOptions::default()).starts_with("keys: no secret"));
    assert!(error(pem_only(fixtures::RSA_WEAK_PUBLIC)).starts_with("key.pem: an RSA key must have 2048"));
    let as_secret = VerifierOptions { secret: Some(fixtures::RSA_PUBLIC.into()), ..VerifierOptions::default() };
    assert!(error(as_secret).starts_with("secret: a PEM key cannot"));
    assert!(
        error(VerifierOptions { algorithms: vec!["none".into()], ..secret_only() }).starts_with("algorithms: \"none\"")
    );
    assert!(
        error(VerifierOptions { algorithms: vec!["ES256".into()], ..secret_only() }).starts_with("secret: none of")
    );
    assert!(error(jwks_only("[]")).starts_with("jwks: not a JSON object"));
    let many = vec![("key.pem".to_owned(), fixtures::ED25519_PUBLIC.as_bytes().to_vec()); KEYS_MAX + 1];
    let many = VerifierOptions { public_keys_pem: many, ..VerifierOptions::default() };
    assert!(error(many).starts_with("keys: more than 32"));
    let verifier = Verifier::new(jwks_only(fixtures::JWKS)).expect("good keys");
    assert_eq!(verifier.left_out(), []);
}

#[test]
fn token_that_names_no_key_is_tried_with_four() {
    let with = |others: usize| {
        let mut keys = vec![("other.pem".to_owned(), fixtures::RSA_PUBLIC.as_bytes().to_vec()); others];
        keys.push(("p256.pem".to_owned(), fixtures::P256_PUBLIC.as_bytes().to_vec()));
        Verifier::new(VerifierOptions { public_keys_pem: keys, ..jwks_only(fixtures::JWKS) }).expect("good keys")
    };
    let by_other = encode(
        &Header::new(Algorithm::RS256),
        &claims(),
        &EncodingKey::from_rsa_pem(fixtures::RSA_OTHER_PRIVATE.as_bytes()).expect("a good fixture"),
    );
    let by_other = by_other.expect("a token");
    // The key of the JWKS is one more.
    assert_eq!(with(3).verify(&by_other, NOW).err(), Some(TokenError::BadSignature));
    assert_eq!(with(4).verify(&by_other, NOW).err(), Some(TokenError::KeyIdRequired));
    assert_eq!(with(8).verify(&by_other, NOW).err(), Some(TokenError::KeyIdRequired));
    // Keys of other algorithms, and those that the token does not name, are not tried.
    assert!(with(8).verify(&sign(Algorithm::ES256, None, &claims()), NOW).is_ok());
    assert!(with(8).verify(&sign(Algorithm::RS256, Some("rsa-1"), &claims()), NOW).is_ok());
}

#[test]
fn nothing_printed_shows_the_secret() {
    let verifier = Verifier::new(secret_only()).expect("good keys");
    assert!(!format!("{verifier:?}").contains(SECRET));
}

#[test]
fn threads_may_share_a_verifier() {
    fn shareable<T: Send + Sync>() {}
    shareable::<Verifier>();
}

#[test]
fn only_an_expired_token_is_worth_renewing() {
    assert_eq!(TokenError::Expired.code(), "TOKEN_EXPIRED");
    assert_eq!(TokenError::BadSignature.code(), "UNAUTHENTICATED");
    assert_eq!(TokenError::NotYetValid.code(), "UNAUTHENTICATED");
    assert_eq!(size_of::<TokenError>(), 1);
}

/// The verifiers that arbitrary input is fed to.
fn verifiers() -> [Verifier; 3] {
    let open = VerifierOptions { verify_signature: false, require_exp: false, ..VerifierOptions::default() };
    [secret_only(), jwks_only(fixtures::JWKS), open].map(|options| Verifier::new(options).expect("good keys"))
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(token in ".{0,200}", now in any::<u64>()) {
        for verifier in verifiers() {
            prop_assert_eq!(verifier.verify(&token, now), Err(TokenError::Malformed));
        }
    }

    #[test]
    fn arbitrary_bytes_in_three_parts_never_panic(
        header in prop::collection::vec(any::<u8>(), 0..40),
        payload in prop::collection::vec(any::<u8>(), 0..80),
        signature in prop::collection::vec(any::<u8>(), 0..300),
        alg in prop::sample::select(vec!["HS256", "RS256", "PS512", "ES256", "ES384", "EdDSA"]),
    ) {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let good = format!(r#"{{"alg":"{alg}"}}"#).into_bytes();
        for header in [header, good] {
            let token = format!("{}.{}.{}", part(&header), part(&payload), part(&signature));
            for verifier in verifiers() {
                prop_assert!(verifier.verify(&token, NOW).is_err());
            }
        }
    }

    #[test]
    fn arbitrary_claims_never_panic(
        name in prop::sample::select(vec!["sub", "exp", "nbf", "iat", "aud", "iss", "name", "email", "role", "scope"]),
        value in r#"[-0-9eE.\[\]{}",a-z\\ ]{0,20}"#,
        now in any::<u64>(),
    ) {
        let payload = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"u1","{name}":{value}}}"#));
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        for verifier in verifiers() {
            let _ = verifier.verify(&format!("{header}.{payload}.AA"), now);
        }
    }

    #[test]
    fn any_byte_changed_is_refused_by_every_algorithm(
        algorithm in prop::sample::select(ALGORITHMS.to_vec()),
        index in any::<prop::sample::Index>(),
        byte in 0u8..128,
    ) {
        let mut token = sign(algorithm, None, &claims()).into_bytes();
        let index = index.index(token.len());
        prop_assume!(token[index] != byte);
        token[index] = byte;
        let token = String::from_utf8(token).expect("ASCII");
        prop_assert!(verify(options_for(algorithm), &token).is_err());
    }

    #[test]
    fn what_is_signed_is_verified(user in "[^\\p{Cc}]{1,30}", name in "[^\\p{Cc}]{1,30}", life_s in 0u64..1_000_000) {
        prop_assume!(name_fault(&user).is_none());
        let expires_at = Some(NOW + life_s);
        let token = NewToken { user: &user, name: Some(&name), issued_at: NOW, expires_at, ..NewToken::default() };
        let claims = Verifier::new(secret_only()).expect("good keys").verify(&sign_hs256(SECRET, &token), NOW + life_s);
        let claims = claims.expect("just signed");
        let shown = name_fault(&name).is_none().then_some(name);
        prop_assert_eq!((claims.user, claims.username, claims.expires_at), (user, shown, expires_at));
    }
}
