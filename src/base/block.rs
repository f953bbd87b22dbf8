//! Comparison of 16 bytes at once, with SSE2 on x86-64.

/// Bytes in a block.
pub const BLOCK: usize = 16;

/// A bit mask of the bytes that equal `one` or `other`; the lowest bit is that of the first byte.
#[inline]
pub fn either(block: &[u8; BLOCK], one: u8, other: u8) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE2.
    return unsafe { sse2::either(block, one, other) };
    #[cfg(not(target_arch = "x86_64"))]
    return plainly(block, one, other);
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn plainly(block: &[u8; BLOCK], one: u8, other: u8) -> u32 {
    let is = |byte: u8| u32::from(byte == one || byte == other);
    block.iter().enumerate().fold(0, |found, (at, byte)| found | is(*byte) << at)
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8};

    use super::BLOCK;

    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn either(block: &[u8; BLOCK], one: u8, other: u8) -> u32 {
        let bytes = u128::from_le_bytes(*block);
        let bytes = _mm_set_epi64x((bytes >> 64) as i64, bytes as i64);
        let ones = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(one as i8));
        let others = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(other as i8));
        _mm_movemask_epi8(_mm_or_si128(ones, others)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_find_the_same() {
        for shift in 0..=255u8 {
            let block = std::array::from_fn(|at| (at as u8).wrapping_mul(37).wrapping_add(shift));
            for (one, other) in [(b'"', b'\\'), (0, 255), (block[0], block[15]), (block[7], block[7])] {
                assert_eq!(either(&block, one, other), plainly(&block, one, other));
            }
        }
    }
}
