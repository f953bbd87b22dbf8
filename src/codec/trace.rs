//! The header `traceparent` (W3C Trace Context): the trace that a request belongs to.

use std::fmt;

/// Length of version `00`: version, trace id, parent id and flags.
const LENGTH: usize = 55;

/// A trace and its caller's part of it, as the header has them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceParent([u8; LENGTH]);

impl TraceParent {
    /// The value of a header, if it is valid. Of versions to come the part that version `00` has is kept, as their standard wants.
    pub fn parse(text: &str) -> Option<Self> {
        let (known, rest) = text.trim().as_bytes().split_at_checked(LENGTH)?;
        let known: [u8; LENGTH] = known.try_into().ok()?;
        let is_form = known.iter().enumerate().all(|(at, byte)| match at {
            2 | 35 | 52 => *byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        });
        let is_zero = |range: std::ops::Range<usize>| known[range].iter().all(|byte| *byte == b'0');
        let is_version = match &known[..2] {
            b"00" => rest.is_empty(),
            b"ff" => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        (is_form && is_version && !is_zero(3..35) && !is_zero(36..52)).then_some(Self(known))
    }

    /// The text of the header.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("invariant: hexadecimal digits are text")
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_values_are_taken() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(TraceParent::parse(good).map(|trace| trace.as_str().to_owned()).as_deref(), Some(good));
        let later = good.replacen("00-", "cc-", 1);
        assert!(TraceParent::parse(&format!("{later}-what-comes")).is_some_and(|trace| trace.as_str() == later));
        for bad in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }
}
