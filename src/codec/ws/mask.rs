//! Unmasking of client payloads in place (RFC 6455 section 5.3).
//!
//! The first byte of `mask` applies to the first byte given; for a payload in pieces the caller rotates it with
//! [`after`].

/// XORs `bytes` with the repeated `mask`.
///
/// Words are loaded by value, so any alignment is valid, and the compiler vectorises the loop.
#[inline]
pub(super) fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    // One multiplication: building the word from eight bytes goes through memory and stalls.
    let word = u64::from(u32::from_ne_bytes(mask)) * 0x1_0000_0001;
    let (words, rest) = bytes.as_chunks_mut();
    for eight in words {
        *eight = (u64::from_ne_bytes(*eight) ^ word).to_ne_bytes();
    }
    let (halves, rest) = rest.as_chunks_mut();
    for four in halves {
        *four = (u32::from_ne_bytes(*four) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    // Unrolled: the compiler would vectorise a loop over at most three bytes, with a preamble.
    match rest {
        [first, second, third] => {
            *first ^= mask[0];
            *second ^= mask[1];
            *third ^= mask[2];
        }
        [first, second] => {
            *first ^= mask[0];
            *second ^= mask[1];
        }
        [first] => *first ^= mask[0],
        _ => {}
    }
}

/// The mask for the byte after `count` more bytes.
#[inline]
pub(super) fn after(mut mask: [u8; 4], count: usize) -> [u8; 4] {
    mask.rotate_left(count % 4);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_alignment_and_phase() {
        let mask = [0x37, 0xFA, 0x21, 0x3D];
        let mut buffer: Vec<u8> = (0..70_100_u32).map(|index| ((index * 31) >> 3) as u8).collect();
        for length in (0..=300).chain([65_535, 65_536, 70_000]) {
            for alignment in 0..17 {
                for phase in 0..4 {
                    let mut expected = buffer[..alignment + length + 8].to_vec();
                    for (index, byte) in expected[alignment..alignment + length].iter_mut().enumerate() {
                        *byte ^= mask[(index + phase) % 4];
                    }
                    unmask(&mut buffer[alignment..alignment + length], after(mask, phase));
                    assert!(buffer.starts_with(&expected), "length {length}, alignment {alignment}, phase {phase}");
                }
            }
        }
    }

    #[test]
    fn turning_goes_round() {
        assert_eq!(after([1, 2, 3, 4], 0), [1, 2, 3, 4]);
        assert_eq!(after([1, 2, 3, 4], 5), [2, 3, 4, 1]);
        assert_eq!(after([1, 2, 3, 4], 65_539), [4, 1, 2, 3]);
    }
}
