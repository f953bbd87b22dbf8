//! Signatures of webhooks as the Standard Webhooks specification defines them.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The mark before a secret.
const PREFIX: &str = "whsec_";

/// Bytes of a secret, least and most.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret that an endpoint shares with the server.
#[derive(Clone)]
pub struct WebhookSecret(hmac::Key);

impl WebhookSecret {
    /// Parses `whsec_` and 24 to 64 bytes in base64; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        SECRET_BYTES.contains(&bytes.len()).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

/// The header `webhook-signature` of a request: one signature per secret.
pub fn signatures(secrets: &[WebhookSecret], id: &str, unix_seconds: u64, body: &[u8]) -> String {
    let mut signed = format!("{id}.{unix_seconds}.").into_bytes();
    signed.extend_from_slice(body);
    let one = |secret: &WebhookSecret| format!("v1,{}", STANDARD.encode(hmac::sign(&secret.0, &signed)));
    secrets.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_that_of_the_specification() {
        // The example of the reference libraries.
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let signed = signatures(
            std::slice::from_ref(&secret),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let two = signatures(&[secret.clone(), secret], "a", 1, b"");
        let (first, second) = two.split_once(' ').expect("two signatures");
        assert_eq!(first, second);
    }

    #[test]
    fn secret_of_another_form_is_refused() {
        for wrong in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_!", "whsec_MfKQ"] {
            assert!(WebhookSecret::parse(wrong).is_none(), "{wrong}");
        }
    }
}
