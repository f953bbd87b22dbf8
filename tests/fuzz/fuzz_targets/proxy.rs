//! Any bytes are a PROXY protocol header, the beginning of one, or none: the same at any split, never a panic, and never
//! waited for without a bound.

#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard::codec::proxy::{HEADER_BYTES_MAX, read};

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes);
    match whole {
        Ok(None) => assert!(bytes.len() < HEADER_BYTES_MAX),
        Ok(Some(introduction)) => {
            assert!(introduction.used <= bytes.len());
            assert_eq!(read(&bytes[..introduction.used]), whole);
        }
        Err(_) => {}
    }
    // What a beginning is read or refused as, the whole is, too; and nothing is read before it is all there.
    for end in 0..bytes.len() {
        let part = read(&bytes[..end]);
        assert!(part == Ok(None) || part == whole, "{end}: {part:?}, {whole:?}");
        if let Ok(Some(introduction)) = part {
            assert!(introduction.used <= end);
        }
    }
});
