//! Comparisons of eight bytes at once. In a result the highest bit of each matching byte is set. The lowest set bit is
//! exact; bits above it may be caused by a borrow.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHEST: u64 = ONES << 7;

/// Bytes equal to `byte`.
#[inline]
pub(super) fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

/// Bytes less than `bound` (at most 128): the subtraction borrows into their highest bit.
#[inline]
pub(super) fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(bound)) & !word & HIGHEST
}
