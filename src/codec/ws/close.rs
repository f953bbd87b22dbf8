//! What a close frame carries (RFC 6455 sections 5.5.1 and 7.4).

use super::FrameError;
use tungstenite::protocol::frame::coding::CloseCode;

/// Reads a close frame's payload: nothing, or a code and a reason.
///
/// # Errors
/// [`FrameError::Protocol`] for half a code or one that may not be sent, [`FrameError::InvalidUtf8`] for the reason.
pub(super) fn parse(payload: &[u8]) -> Result<Option<(u16, &str)>, FrameError> {
    match payload.split_first_chunk() {
        None if payload.is_empty() => Ok(None),
        None => Err(FrameError::Protocol("close code cut short")),
        Some((&code, reason)) => {
            let code = u16::from_be_bytes(code);
            if !may_be_sent(code) {
                return Err(FrameError::Protocol("close code not allowed"));
            }
            let reason = simdutf8::basic::from_utf8(reason).map_err(|_| FrameError::InvalidUtf8)?;
            Ok(Some((code, reason)))
        }
    }
}

/// Whether a close frame may carry this code: those of section 7.4.1 that are not for local use only, those registered
/// since (1012 to 1014), and 3000 to 4999. 1014 (bad gateway) is registered with IANA and unknown to tungstenite.
pub(super) fn may_be_sent(code: u16) -> bool {
    code == 1014 || CloseCode::from(code).is_allowed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads() {
        assert_eq!(parse(&[]), Ok(None));
        assert_eq!(parse(&[3]), Err(FrameError::Protocol("close code cut short")));
        assert_eq!(parse(&[3, 0xE8]), Ok(Some((1000, ""))));
        assert_eq!(parse(b"\x03\xE9bye \xE2\x82\xAC"), Ok(Some((1001, "bye €"))));
        assert_eq!(parse(b"\x03\xE8\xE2\x82"), Err(FrameError::InvalidUtf8));
        assert_eq!(parse(&[3, 0xED]), Err(FrameError::Protocol("close code not allowed")));
    }

    #[test]
    fn every_code() {
        for code in 0..=u16::MAX {
            let expected = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            assert_eq!(may_be_sent(code), expected, "{code}");
        }
    }
}
