//! Time as a value: the event loop reads the clocks once per turn and passes the reading down.

use std::time::{Duration, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment on the monotonic clock, in nanoseconds, as a value: where milliseconds are too coarse. Only `runtime` reads the clock.
pub type Moment = std::time::Instant;

/// A reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic milliseconds since this process started; the basis of all deadlines.
    pub mono: u64,
    /// Wall-clock milliseconds since 1970-01-01 UTC; may be set by an operator. Sent to clients.
    pub wall: u64,
}

impl Now {
    /// Whole seconds since 1970, the unit of token claims.
    pub fn unix_seconds(&self) -> u64 {
        self.wall / 1000
    }

    /// The monotonic time of a moment in seconds since 1970; a past one is now.
    pub fn until(&self, unix_seconds: u64) -> u64 {
        self.mono.saturating_add(unix_seconds.saturating_mul(1000).saturating_sub(self.wall))
    }

    /// This reading, `ms` milliseconds later.
    pub const fn plus(&self, ms: u64) -> Self {
        Self { mono: self.mono + ms, wall: self.wall + ms }
    }
}

/// Formats milliseconds since 1970 as `2025-01-09T21:30:00.000Z` (RFC 3339).
pub fn rfc3339(wall_ms: u64) -> String {
    // The format ends with the year 9999; later times are clamped.
    const LAST: u64 = 253_402_300_799_999;
    let at = UNIX_EPOCH + Duration::from_millis(wall_ms.min(LAST));
    humantime::format_rfc3339_millis(at).to_string()
}

/// Parses a date and time of RFC 3339 to milliseconds since 1970; earlier times count as 0. `None` for any other text.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos().max(0) / 1_000_000).ok()
}

/// Formats milliseconds since 1970 as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
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

    #[test]
    fn instants_are_read_with_their_offsets() {
        let table = [
            ("2025-01-09T21:30:00.123Z", Some(1_736_458_200_123)),
            ("2025-01-09T23:30:00.1239+02:00", Some(1_736_458_200_123)),
            ("2025-01-09t16:30:00-05:00", Some(1_736_458_200_000)),
            ("1382-05-24T08:55:44.311885-14:54", Some(0)),
            ("2025-01-09 21:30", None),
            ("2025-02-30T00:00:00Z", None),
            ("yesterday", None),
        ];
        for (text, at) in table {
            assert_eq!(parse_rfc3339(text), at, "{text}");
        }
    }
}
