//! Numbers and texts in few bytes, for what is kept in memory by the ten thousand. Only who wrote the bytes reads them, in
//! the same order.

/// Writes a number: seven bits a byte, the lowest first; the eighth says that more follow.
pub fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Writes a text, or that there is none: its length and one more, or 0, then the text.
pub fn put_text(bytes: &mut Vec<u8>, text: Option<&str>) {
    put_number(bytes, text.map_or(0, |text| text.len() as u64 + 1));
    bytes.extend_from_slice(text.unwrap_or_default().as_bytes());
}

/// What is still to be read. Where something else was written than is read, there is `None`.
#[derive(Clone, Copy, Debug)]
pub struct CompactReader<'a>(pub &'a [u8]);

impl<'a> CompactReader<'a> {
    /// A single byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// So many bytes.
    pub fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// What [`put_number`] wrote.
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

    /// What [`put_text`] wrote.
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
