//! A token's compact form (RFC 7515 §7.1): three base64url parts between full stops. Splitting and decoding is strict:
//! no padding, no white space, no stray bits in a part's last character, so no two spellings mean the same token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::{Deserialize, Deserializer, IgnoredAny};
use smallvec::SmallVec;

use super::error::TokenError;
use super::keys::algorithm_named;
use super::loose::Loose;

/// The longest token looked at, in bytes: twice the request line or header that most servers and proxies let through.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Where one part is decoded to. Usual headers and payloads stay on the stack.
pub(super) type Scratch = SmallVec<[u8; 1024]>;

/// The parts of a token, still encoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenParts<'a> {
    pub(super) header: &'a str,
    pub(super) payload: &'a str,
    pub(super) signature: &'a str,
    /// Header, full stop and payload: what the signature covers.
    pub(super) signed: &'a str,
}

impl<'a> TokenParts<'a> {
    pub(super) fn split(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        Ok(TokenParts { header, payload, signature, signed })
    }

    /// Whether the signature could be one, for those who do not check whose it is.
    pub(super) fn check_signature_form(&self) -> Result<(), TokenError> {
        decode(self.signature, &mut Scratch::new()).map(|_| ())
    }
}

/// Decodes one part to the text of a JSON object.
pub(super) fn decode_object<'b>(part: &str, scratch: &'b mut Scratch) -> Result<&'b str, TokenError> {
    let bytes = decode(part, scratch)?;
    let text = simdutf8::basic::from_utf8(bytes).map_err(|_| TokenError::Malformed)?;
    // serde reads a struct from an array too, by position; RFC 7519 §7.2 knows objects only.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(TokenError::Malformed);
    }
    Ok(text)
}

fn decode<'b>(part: &str, scratch: &'b mut Scratch) -> Result<&'b [u8], TokenError> {
    scratch.resize(base64::decoded_len_estimate(part.len()), 0);
    let length = URL_SAFE_NO_PAD.decode_slice(part, scratch).map_err(|_| TokenError::Malformed)?;
    Ok(&scratch[..length])
}

/// What the header asks for. It only ever selects among what the configured keys allow.
#[derive(Debug)]
pub(super) struct TokenHeader<'a> {
    /// Absent when the name is not one of ours; `none` is not.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) key_id: Loose<'a>,
}

impl<'a> TokenHeader<'a> {
    pub(super) fn parse(json: &'a str) -> Result<Self, TokenError> {
        let raw: RawHeader<'a> = serde_json::from_str(json).map_err(|_| TokenError::Malformed)?;
        if raw.crit {
            return Err(TokenError::UnknownExtension);
        }
        let algorithm = algorithm_named(raw.alg.text().ok_or(TokenError::Malformed)?);
        match raw.kid {
            Loose::Absent | Loose::Text(_) => Ok(TokenHeader { algorithm, key_id: raw.kid }),
            Loose::List(_) | Loose::Other => Err(TokenError::Malformed),
        }
    }
}

#[derive(serde::Deserialize)]
struct RawHeader<'a> {
    #[serde(borrow, default)]
    alg: Loose<'a>,
    #[serde(borrow, default)]
    kid: Loose<'a>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// True for any value at all, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_parts_and_no_other_number() {
        for token in ["", ".", "a", "a.b"] {
            assert_eq!(TokenParts::split(token).err(), Some(TokenError::Malformed), "{token:?}");
        }
        let parts = TokenParts::split("a.b.c").expect("three parts");
        assert_eq!((parts.header, parts.payload, parts.signature, parts.signed), ("a", "b", "c", "a.b"));
        // A fourth part stays in the payload, where no full stop decodes.
        let parts = TokenParts::split("a.b.c.d").expect("split at the ends");
        assert_eq!(decode_object(parts.payload, &mut Scratch::new()), Err(TokenError::Malformed));
    }

    #[test]
    fn length_is_bounded() {
        let longest = format!("a.b.{}", "A".repeat(TOKEN_BYTES_MAX - 4));
        assert!(TokenParts::split(&longest).is_ok());
        assert_eq!(TokenParts::split(&format!("{longest}A")).err(), Some(TokenError::Malformed));
    }

    #[test]
    fn decoding_is_strict() {
        let mut scratch = Scratch::new();
        assert_eq!(decode_object("e30", &mut scratch), Ok("{}"));
        // Padding, a stray bit, standard alphabet, white space, an impossible length, not UTF-8, not an object.
        for part in ["e30=", "e31", "e3+/", "e30 ", " e30", "e", "e3\n0", "_w", "", "W10", "MQ"] {
            assert_eq!(decode_object(part, &mut scratch), Err(TokenError::Malformed), "{part:?}");
        }
    }

    #[test]
    fn headers() {
        let header = TokenHeader::parse(r#"{"typ":"JWT","alg":"RS256","kid":"k"}"#).expect("well-formed");
        assert_eq!((header.algorithm, header.key_id.text()), (Some(Algorithm::RS256), Some("k")));
        for alg in ["none", "None", "", "hs256", "HS256 ", "ES512", "dir"] {
            let json = format!(r#"{{"alg":"{alg}"}}"#);
            assert_eq!(TokenHeader::parse(&json).expect("well-formed").algorithm, None, "{alg}");
        }
        for json in [
            "{}",
            r#"{"alg":null}"#,
            r#"{"alg":1}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"alg":"HS256","alg":"none"}"#,
            r#"{"alg":"HS256","kid":1}"#,
            r#"{"alg":"HS256"}x"#,
            r#"{"alg":"HS256""#,
        ] {
            assert_eq!(TokenHeader::parse(json).err(), Some(TokenError::Malformed), "{json}");
        }
        for json in [r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, r#"{"alg":"HS256","crit":null}"#] {
            assert_eq!(TokenHeader::parse(json).err(), Some(TokenError::UnknownExtension), "{json}");
        }
    }
}
