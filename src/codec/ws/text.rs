//! Text that arrives in pieces, cut anywhere, even within a character.
//!
//! Each piece is validated as it comes and kept as `str` at once, so that no byte is scanned twice and the finished
//! message needs no second check. Only the one to three bytes of a character whose rest has not come wait outside.

use super::FrameError;

/// A text message so far.
#[derive(Debug, Default)]
pub(super) struct GrowingText {
    text: String,
    /// The first `tail_bytes` bytes of a character that may yet become whole.
    tail: [u8; 4],
    tail_bytes: u8,
}

impl GrowingText {
    /// Bytes that have come.
    pub(super) fn len(&self) -> usize {
        self.text.len() + usize::from(self.tail_bytes)
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.text.capacity()
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// [`FrameError::InvalidUtf8`] as soon as no continuation could make the text valid.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        let bytes = self.complete_tail(bytes)?;
        let (whole, tail) = bytes.split_at(bytes.len() - unfinished_bytes(bytes));
        let whole = simdutf8::basic::from_utf8(whole).map_err(|_| FrameError::InvalidUtf8)?;
        self.text.push_str(whole);
        for &byte in tail {
            self.push_to_tail(byte)?;
        }
        Ok(())
    }

    /// The whole text.
    ///
    /// # Errors
    /// [`FrameError::InvalidUtf8`] when it ends within a character.
    pub(super) fn finish(self) -> Result<String, FrameError> {
        if self.tail_bytes == 0 { Ok(self.text) } else { Err(FrameError::InvalidUtf8) }
    }

    /// Feeds a waiting character until it is whole, and returns the bytes it did not need.
    fn complete_tail<'b>(&mut self, mut bytes: &'b [u8]) -> Result<&'b [u8], FrameError> {
        while self.tail_bytes > 0 {
            let Some((&byte, rest)) = bytes.split_first() else { break };
            self.push_to_tail(byte)?;
            bytes = rest;
        }
        Ok(bytes)
    }

    fn push_to_tail(&mut self, byte: u8) -> Result<(), FrameError> {
        // Never out of bounds: four bytes are a whole character or an error, and both leave the tail.
        self.tail[usize::from(self.tail_bytes)] = byte;
        self.tail_bytes += 1;
        match std::str::from_utf8(&self.tail[..usize::from(self.tail_bytes)]) {
            Ok(character) => {
                self.text.push_str(character);
                self.tail_bytes = 0;
                Ok(())
            }
            Err(error) if error.error_len().is_none() => Ok(()),
            Err(_) => Err(FrameError::InvalidUtf8),
        }
    }
}

/// How many bytes at the end begin a character that needs more than is there: 0 to 3. Says nothing about validity.
fn unfinished_bytes(bytes: &[u8]) -> usize {
    for (before, &byte) in bytes.iter().rev().take(3).enumerate() {
        let width = match byte {
            0x80..=0xBF => continue,
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xFF => 4,
            _ => 1,
        };
        let present = before + 1;
        return if width > present { present } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The index of the byte that makes `bytes` invalid, as the standard library sees it.
    fn first_fatal_byte(bytes: &[u8]) -> Option<usize> {
        (0..bytes.len())
            .find(|&index| std::str::from_utf8(&bytes[..=index]).is_err_and(|error| error.error_len().is_some()))
    }

    fn check(bytes: &[u8], piece: usize) {
        let mut growing = GrowingText::default();
        let mut failed_in = None;
        for (index, chunk) in bytes.chunks(piece).enumerate() {
            if growing.push(chunk).is_err() {
                failed_in = Some(index);
                break;
            }
        }
        assert_eq!(failed_in, first_fatal_byte(bytes).map(|index| index / piece), "{bytes:x?} by {piece}");
        if failed_in.is_none() {
            assert_eq!(growing.len(), bytes.len());
            let expected = String::from_utf8(bytes.to_vec()).map_err(|_| FrameError::InvalidUtf8);
            assert_eq!(growing.finish(), expected, "{bytes:x?} by {piece}");
        }
    }

    #[test]
    fn fails_at_the_exact_byte() {
        let cases: [&[u8]; 16] = [
            b"",
            b"plain",
            "κόσμε".as_bytes(),
            "a\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}z".as_bytes(),
            b"\xce\xba\xed\xa0\x80edited",
            b"\xf4\x90\x80\x80",
            b"\xf4\x8f\xbf\xbf",
            b"\xe0\x80\x80",
            b"\xc0\xaf",
            b"\xc1\xbf",
            b"\xf0\x8f\xbf\xbf",
            b"ok\x80",
            b"ok\xff",
            b"\xf5\x80\x80\x80",
            b"cut \xf0\x9f\x98",
            b"cut \xe2\x82A",
        ];
        for bytes in cases {
            for piece in 1..=bytes.len().max(1) {
                check(bytes, piece);
            }
        }
    }

    #[test]
    fn every_two_byte_start() {
        for first in 0..=0xFF {
            for second in 0..=0xFF {
                check(&[first, second, 0x80, 0x80], 1);
                check(&[first, second, 0x80, 0x80], 3);
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library(
            text in ".{0,80}",
            noise in any::<Option<(prop::sample::Index, u8)>>(),
            piece in 1_usize..100,
        ) {
            let mut bytes = text.into_bytes();
            if let (Some((index, byte)), false) = (noise, bytes.is_empty()) {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            check(&bytes, piece);
        }

        #[test]
        fn agrees_on_arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..24), piece in 1_usize..9) {
            check(&bytes, piece);
        }
    }
}
