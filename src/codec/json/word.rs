//! Eight bytes of text looked at together. In each answer a byte's highest bit is set if it is one of those sought; of
//! those set, the lowest is always right, those above it may be there because of a borrow.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHEST: u64 = ONES << 7;

/// Bytes that are `byte`.
#[inline]
pub(super) fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

/// Bytes that are less than `bound`, which is 128 at most: subtracting it borrows into their highest bit.
#[inline]
pub(super) fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(bound)) & !word & HIGHEST
}
