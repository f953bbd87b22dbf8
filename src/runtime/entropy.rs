//! Entropy from the operating system.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// 256 random bits.
///
/// # Errors
/// The operating system has no entropy; no safe service is possible then.
pub fn seed() -> std::io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(std::io::Error::other)?;
    Ok(seed)
}

/// Two random numbers.
///
/// # Errors
/// As [`seed`].
pub fn numbers() -> std::io::Result<[u64; 2]> {
    Ok([getrandom::u64().map_err(std::io::Error::other)?, getrandom::u64().map_err(std::io::Error::other)?])
}

/// A new secret for signing tokens, as text.
///
/// # Errors
/// As [`seed`].
pub fn fresh_secret() -> std::io::Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(seed()?))
}
