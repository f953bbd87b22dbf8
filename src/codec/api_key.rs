//! API keys as text: `sb_` and 256 random bits. The server keeps the hash only.

use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The beginning of every key: it tells keys from tokens, and lets scanners of source code find them.
const PREFIX: &str = "sb_";

/// A new key.
pub fn key(random: &[u8; 32]) -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random))
}

/// Whether a credential is meant as a key.
pub fn is_key(credential: &str) -> bool {
    credential.starts_with(PREFIX)
}

/// The hash by which the server knows a key.
pub fn hash(key: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, key.as_bytes());
    digest.as_ref().try_into().expect("invariant: SHA-256 has 32 bytes")
}

/// Whether two hashes are the same, compared in a time that does not depend on where they differ.
pub fn is_same(hash: &[u8; 32], other: &[u8; 32]) -> bool {
    constant_time::verify_slices_are_equal(hash, other).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_told_from_token_and_found_by_its_hash() {
        let (one, other) = (key(&[7; 32]), key(&[8; 32]));
        assert_eq!((one.len(), is_key(&one), is_key("ey.a.b")), (46, true, false));
        assert!(is_same(&hash(&one), &hash(&one)) && !is_same(&hash(&one), &hash(&other)));
    }
}
