//! Any bytes, whole and cut into pieces, give the same WebSocket events or the same error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard::codec::ws::{FrameDecoder, FrameEvent, Input, FrameLimits};

const LIMITS: FrameLimits = FrameLimits { message_bytes: 1024, fragments: 8 };

/// What is heard when `bytes` come in pieces of the given sizes, over and over.
fn hear(bytes: &[u8], sizes: &[u8]) -> Vec<String> {
    let mut decoder = FrameDecoder::default();
    let mut heard = Vec::new();
    let mut sizes = sizes.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |&size| usize::from(size).clamp(1, rest.len()));
        let (piece, after) = rest.split_at(size);
        rest = after;
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        loop {
            match decoder.next(&mut input, &LIMITS) {
                Ok(Some(event)) => {
                    heard.push(format!("{event:?}"));
                    if matches!(event, FrameEvent::Close(_)) {
                        return heard;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    heard.push(format!("{error:?}"));
                    return heard;
                }
            }
        }
        assert_eq!(input.remaining(), 0);
    }
    heard
}

fuzz_target!(|parts: (Vec<u8>, Vec<u8>)| {
    let (sizes, mut bytes) = parts;
    let whole = hear(&bytes, &[]);
    assert_eq!(hear(&bytes, &sizes), whole);
    assert_eq!(hear(&bytes, &[1]), whole);
    // Most inputs die of a missing mask: give every frame that starts where a length points the bit it needs.
    let mut position = 0;
    while position + 1 < bytes.len() {
        bytes[position] &= 0x8F;
        bytes[position + 1] |= 0x80;
        position += 6 + usize::from(bytes[position + 1] & 0x7F);
    }
    let whole = hear(&bytes, &[]);
    assert_eq!(hear(&bytes, &sizes), whole);
    assert_eq!(hear(&bytes, &[1]), whole);
});
