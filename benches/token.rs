//! What one token costs: every connection pays it once, and REST calls pay it each time.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use switchboard::codec::jwt::{Verifier, VerifierOptions};

const NOW: u64 = 1_700_000_000;
const SECRET: &str = "a test-only secret of thirty-two";

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../src/codec/jwt/fixtures/", $name)).as_slice()
    };
}

fn verify(criterion: &mut Criterion, name: &str, algorithm: Algorithm, key: &EncodingKey, options: VerifierOptions) {
    let claims = json!({"sub": "user-0123456789", "name": "A. User", "email": "user@example.com", "role": "user",
        "iat": NOW, "exp": NOW + 3600, "aud": "switchboard", "iss": "https://issuer.example"});
    let token = encode(&Header::new(algorithm), &claims, key).expect("a good fixture");
    let verifier = Verifier::new(options).expect("a good fixture");
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| verifier.verify(black_box(&token), NOW).expect("a good token"));
    });
}

fn by_pem(pem: &[u8]) -> VerifierOptions {
    VerifierOptions { public_keys_pem: vec![("bench".into(), pem.to_vec())], ..VerifierOptions::default() }
}

fn tokens(criterion: &mut Criterion) {
    let by_secret = VerifierOptions { secret: Some(SECRET.into()), ..VerifierOptions::default() };
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    verify(criterion, "token/HS256", Algorithm::HS256, &key, by_secret.clone());
    let unverified = VerifierOptions { verify_signature: false, ..by_secret };
    verify(criterion, "token/unverified", Algorithm::HS256, &key, unverified);
    let key = EncodingKey::from_rsa_pem(fixture!("rsa_private.pem")).expect("a good fixture");
    verify(criterion, "token/RS256", Algorithm::RS256, &key, by_pem(fixture!("rsa_public.pem")));
    let key = EncodingKey::from_ec_pem(fixture!("p256_private.pem")).expect("a good fixture");
    verify(criterion, "token/ES256", Algorithm::ES256, &key, by_pem(fixture!("p256_public.pem")));
    let key = EncodingKey::from_ed_pem(fixture!("ed25519_private.pem")).expect("a good fixture");
    verify(criterion, "token/EdDSA", Algorithm::EdDSA, &key, by_pem(fixture!("ed25519_public.pem")));
}

criterion_group!(benches, tokens);
criterion_main!(benches);
