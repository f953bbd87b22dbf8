//! Compact encoding of numbers and texts, for records that a shard keeps in memory by the ten thousand. A reader takes
//! the fields in the order in which they were written; the bytes never leave the process.

/// Appends a number as LEB128: seven bits per byte, lowest first; the highest bit says that more bytes follow.
pub fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Appends an optional text: its length plus one (0 for `None`) as a number, then its bytes.
pub fn put_text(bytes: &mut Vec<u8>, text: Option<&str>) {
    put_number(bytes, text.map_or(0, |text| text.len() as u64 + 1));
    bytes.extend_from_slice(text.unwrap_or_default().as_bytes());
}

/// The bytes not read yet. A read returns `None` where the bytes do not match the field that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct CompactReader<'a>(pub &'a [u8]);

impl<'a> CompactReader<'a> {
    /// Reads one byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Reads `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// Reads a number written by [`put_number`].
    pub fn number(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
            shift += 7;
        }
    }

    /// Reads a text written by [`put_text`].
    pub fn text(&mut self) -> Option<Option<&'a str>> {
        let Some(length) = self.number()?.checked_sub(1) else { return Some(None) };
        let (text, rest) = self.0.split_at_checked(length as usize)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(numbers in prop::collection::vec(any::<u64>(), 0..20), text in ".{0,200}") {
            let mut bytes = Vec::new();
            for number in &numbers {
                put_number(&mut bytes, number >> (number % 64));
                put_text(&mut bytes, (number % 2 == 0).then_some(&text));
            }
            let mut brief = CompactReader(&bytes);
            for number in &numbers {
                prop_assert_eq!(brief.number(), Some(number >> (number % 64)));
                prop_assert_eq!(brief.text(), Some((number % 2 == 0).then_some(&*text)));
            }
            prop_assert_eq!(brief.byte(), None);
        }

        #[test]
        fn other_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            let mut brief = CompactReader(&bytes);
            while brief.number().is_some() && brief.text().is_some() && brief.bytes::<3>().is_some() {}
        }
    }
}
