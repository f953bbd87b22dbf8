//! Time as a value. Whoever owns a clock reads it once per turn and passes the reading down.

use std::time::{Duration, UNIX_EPOCH};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since this process started; never goes back. Deadlines are counted on it.
    pub mono: u64,
    /// Milliseconds since 1970-01-01 UTC; may be set by an operator. What clients are shown.
    pub wall: u64,
}

impl Now {
    /// Whole seconds since 1970, as tokens count them.
    pub fn unix_seconds(&self) -> u64 {
        self.wall / 1000
    }

    /// This reading, `ms` milliseconds later.
    pub fn plus(&self, ms: u64) -> Self {
        Self { mono: self.mono + ms, wall: self.wall + ms }
    }
}

/// `2025-01-09T21:30:00.000Z` for milliseconds since 1970 (RFC 3339).
pub fn rfc3339(wall_ms: u64) -> String {
    // Beyond the year 9999 the format has no spelling; clamp rather than fail.
    const LAST: u64 = 253_402_300_799_999;
    let at = UNIX_EPOCH + Duration::from_millis(wall_ms.min(LAST));
    humantime::format_rfc3339_millis(at).to_string()
}

/// What [`rfc3339`] writes, read again; `None` for anything else, and for moments before 1970.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let at = humantime::parse_rfc3339(text).ok()?;
    u64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` for milliseconds since 1970 (RFC 9110 §5.6.7).
pub fn http_date(wall_ms: u64) -> String {
    const LAST: u64 = 253_402_300_799_999;
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(wall_ms.min(LAST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_spelled_as_the_standards_say() {
        assert_eq!(rfc3339(1_736_458_200_123), "2025-01-09T21:30:00.123Z");
        assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert!(rfc3339(u64::MAX).starts_with("9999-12-31"));
    }
}
