//! A stream of requests says the same whole, in single bytes and in pieces of any length; and reading it never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard::codec::http::transcript::transcript;
use switchboard::codec::http::{HeadLimits, RequestTarget, cookie, decode_path_segment, query_value};

/// Small, so that the fuzzer finds them.
const LIMITS: HeadLimits = HeadLimits { bytes: 256, headers: 6 };
const BODY_BYTES_MAX: usize = 64;

fuzz_target!(|data: &[u8]| {
    // The first byte says how long the pieces are.
    let Some((&piece, stream)) = data.split_first() else {
        return;
    };
    let whole = transcript([stream], &LIMITS, BODY_BYTES_MAX);
    for length in [1, usize::from(piece).max(1)] {
        let pieces = transcript(stream.chunks(length), &LIMITS, BODY_BYTES_MAX);
        assert_eq!(pieces, whole, "in pieces of {length} bytes");
    }
    if let Ok(text) = str::from_utf8(stream) {
        let _ = RequestTarget::parse("GET", text);
        let _ = query_value(text, "name");
        let _ = decode_path_segment(text);
        let _ = cookie(text.as_bytes(), "name");
    }
});
