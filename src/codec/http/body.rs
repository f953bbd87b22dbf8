//! Request bodies, told by length or in chunks (RFC 9112 §6, §7.1), gathered up to a limit.

use super::error::HttpError;
use super::head::Framing;
use super::target::hex_digit;

/// Bytes of chunk extensions (`;` included) one body may carry. Nobody uses them; they are skipped.
pub const EXTENSION_BYTES_MAX: usize = 1024;

/// Bytes of trailer lines one body may carry. They are checked and dropped.
pub const TRAILER_BYTES_MAX: usize = 4096;

/// Longest chunk size, in hexadecimal digits: what fits into 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// A request body being gathered.
///
/// Memory follows what has arrived, not what was announced.
#[derive(Debug)]
pub struct BodyDecoder {
    bytes: Vec<u8>,
    bytes_max: usize,
    stage: BodyStage,
    /// Of [`EXTENSION_BYTES_MAX`], over all chunks.
    extension_bytes: usize,
    /// Of [`TRAILER_BYTES_MAX`].
    trailer_bytes: usize,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyStage {
    /// A body of known length; `remaining` is never 0.
    Length {
        remaining: u64,
    },
    /// A chunk's size, of which `digits` have been read.
    Size {
        digits: u8,
        size: u64,
    },
    /// A chunk's extension, after the semicolon.
    Extension {
        size: u64,
    },
    /// The LF that ends a chunk's size line.
    SizeLineFeed {
        size: u64,
    },
    /// A chunk's data; `remaining` is never 0.
    Data {
        remaining: u64,
    },
    DataCarriageReturn,
    DataLineFeed,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    /// The LF of the empty line that ends a chunked body.
    LastLineFeed,
    Complete,
}

impl BodyDecoder {
    /// A body framed as its head said, of at most `limit_bytes`. Without framing it is complete from the start.
    ///
    /// # Errors
    ///
    /// [`HttpError::BodyTooLarge`] when the announced length already exceeds the limit.
    pub fn new(framing: Framing, limit_bytes: usize) -> Result<Self, HttpError> {
        let stage = match framing {
            Framing::None | Framing::Length(0) => BodyStage::Complete,
            Framing::Length(length) if length > limit_bytes as u64 => {
                return Err(HttpError::BodyTooLarge);
            }
            Framing::Length(remaining) => BodyStage::Length { remaining },
            Framing::Chunked => BodyStage::Size { digits: 0, size: 0 },
        };
        Ok(Self { bytes: Vec::new(), bytes_max: limit_bytes, stage, extension_bytes: 0, trailer_bytes: 0 })
    }

    /// Takes in the next bytes of the stream; returns how many of them belonged to the body, and whether it is complete.
    /// Bytes beyond its end are left: they begin the next request.
    ///
    /// # Errors
    ///
    /// Bad chunks and exceeded limits. The stream has lost its place then: do not feed on.
    pub fn feed(&mut self, input: &[u8]) -> Result<(usize, bool), HttpError> {
        let mut rest = input;
        while let [next, ..] = *rest {
            rest = match self.stage {
                BodyStage::Complete => break,
                BodyStage::Length { remaining } => {
                    let (rest, remaining) = self.gather(rest, remaining);
                    self.stage = if remaining == 0 { BodyStage::Complete } else { BodyStage::Length { remaining } };
                    rest
                }
                BodyStage::Data { remaining } => {
                    let (rest, remaining) = self.gather(rest, remaining);
                    self.stage =
                        if remaining == 0 { BodyStage::DataCarriageReturn } else { BodyStage::Data { remaining } };
                    rest
                }
                stage => {
                    self.stage = self.step(stage, next)?;
                    &rest[1..]
                }
            };
        }
        Ok((input.len() - rest.len(), self.is_complete()))
    }

    /// Whether the whole body has arrived.
    pub fn is_complete(&self) -> bool {
        self.stage == BodyStage::Complete
    }

    /// The content so far, without chunk framing.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Keeps as much of the input as the announced length still covers; returns what is left of both.
    fn gather<'a>(&mut self, input: &'a [u8], remaining: u64) -> (&'a [u8], u64) {
        let length = usize::try_from(remaining).map_or(input.len(), |remaining| remaining.min(input.len()));
        let (content, rest) = input.split_at(length);
        self.bytes.extend_from_slice(content);
        (rest, remaining - length as u64)
    }

    /// The stage after one byte of chunk framing.
    fn step(&mut self, stage: BodyStage, byte: u8) -> Result<BodyStage, HttpError> {
        match (stage, byte) {
            (BodyStage::Size { digits: 1.., size }, b';' | b'\r') => self.end_size(size, byte),
            (BodyStage::Size { digits, size }, _) => match hex_digit(byte) {
                Some(digit) if digits < SIZE_DIGITS_MAX => {
                    Ok(BodyStage::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
                }
                _ => Err(HttpError::ChunkSize),
            },
            (BodyStage::Extension { size }, b'\r') => Ok(BodyStage::SizeLineFeed { size }),
            (BodyStage::Extension { .. }, _) => self.count_extension(byte).map(|()| stage),
            (BodyStage::SizeLineFeed { size: 0 }, b'\n') => Ok(BodyStage::TrailerStart),
            (BodyStage::SizeLineFeed { size }, b'\n') => Ok(BodyStage::Data { remaining: size }),
            (BodyStage::DataCarriageReturn, b'\r') => Ok(BodyStage::DataLineFeed),
            (BodyStage::DataLineFeed, b'\n') => Ok(BodyStage::Size { digits: 0, size: 0 }),
            (BodyStage::TrailerStart, b'\r') => Ok(BodyStage::LastLineFeed),
            (BodyStage::LastLineFeed, b'\n') => Ok(BodyStage::Complete),
            (BodyStage::SizeLineFeed { .. } | BodyStage::DataCarriageReturn | BodyStage::DataLineFeed, _) => {
                Err(HttpError::ChunkEnd)
            }
            (BodyStage::LastLineFeed, _) => Err(HttpError::Trailer),
            (
                BodyStage::TrailerStart | BodyStage::TrailerName | BodyStage::TrailerValue | BodyStage::TrailerLineFeed,
                _,
            ) => self.step_trailer(stage, byte),
            (BodyStage::Length { .. } | BodyStage::Data { .. } | BodyStage::Complete, _) => {
                unreachable!("feed passes framing bytes only")
            }
        }
    }

    /// The size is known: refuse it before its data arrives.
    fn end_size(&mut self, size: u64, byte: u8) -> Result<BodyStage, HttpError> {
        if size > (self.bytes_max - self.bytes.len()) as u64 {
            return Err(HttpError::BodyTooLarge);
        }
        if byte == b'\r' {
            return Ok(BodyStage::SizeLineFeed { size });
        }
        self.count_extension(byte)?;
        Ok(BodyStage::Extension { size })
    }

    fn count_extension(&mut self, byte: u8) -> Result<(), HttpError> {
        self.extension_bytes += 1;
        if is_forbidden_in_text(byte) || self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(HttpError::ChunkExtension);
        }
        Ok(())
    }

    fn step_trailer(&mut self, stage: BodyStage, byte: u8) -> Result<BodyStage, HttpError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(HttpError::TrailersTooLarge);
        }
        match (stage, byte) {
            (BodyStage::TrailerName, b':') => Ok(BodyStage::TrailerValue),
            (BodyStage::TrailerStart | BodyStage::TrailerName, _) if is_token_byte(byte) => Ok(BodyStage::TrailerName),
            (BodyStage::TrailerValue, b'\r') => Ok(BodyStage::TrailerLineFeed),
            (BodyStage::TrailerValue, _) if !is_forbidden_in_text(byte) => Ok(BodyStage::TrailerValue),
            (BodyStage::TrailerLineFeed, b'\n') => Ok(BodyStage::TrailerStart),
            _ => Err(HttpError::Trailer),
        }
    }
}

/// Control characters, except the tab.
fn is_forbidden_in_text(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// RFC 9110 §5.6.2, `tchar`.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content, and how many bytes follow the body.
    fn read(framing: Framing, input: &[u8]) -> Result<Option<(Vec<u8>, usize)>, HttpError> {
        let mut body = BodyDecoder::new(framing, 100)?;
        let (consumed, complete) = body.feed(input)?;
        Ok(complete.then(|| (body.into_bytes(), input.len() - consumed)))
    }

    fn chunked(input: &[u8]) -> Result<Option<(Vec<u8>, usize)>, HttpError> {
        read(Framing::Chunked, input)
    }

    #[test]
    fn without_framing_there_is_no_body() {
        assert_eq!(read(Framing::None, b"GET"), Ok(Some((vec![], 3))));
        assert_eq!(read(Framing::Length(0), b""), Ok(Some((vec![], 0))));
    }

    #[test]
    fn a_length_is_counted_off() {
        assert_eq!(read(Framing::Length(3), b"abcGET"), Ok(Some((b"abc".to_vec(), 3))));
        assert_eq!(read(Framing::Length(3), b"ab"), Ok(None));
        assert_eq!(read(Framing::Length(100), &[7; 100]), Ok(Some((vec![7; 100], 0))));
        assert_eq!(read(Framing::Length(101), b""), Err(HttpError::BodyTooLarge));
        assert_eq!(read(Framing::Length(u64::MAX), b""), Err(HttpError::BodyTooLarge));
    }

    #[test]
    fn chunks_are_joined_and_what_surrounds_them_is_dropped() {
        let input = b"3\r\nabc\r\n0A;name=\"x;y\"\r\n0123456789\r\n0\r\nDigest: x\r\nEmpty:\r\n\r\nGET";
        assert_eq!(chunked(input), Ok(Some((b"abc0123456789".to_vec(), 3))));
        assert_eq!(chunked(b"0000000000000000\r\n\r\n"), Ok(Some((vec![], 0))));
        assert_eq!(chunked(&input[..input.len() - 4]), Ok(None));
    }

    #[test]
    fn chunk_sizes_are_plain_hexadecimal() {
        for size in ["", "+1", "-1", " 1", "1 ", "0x1", "g", "1\t", "00000000000000001", "\n", "1\n", ";a"] {
            assert_eq!(chunked(format!("{size}\r\na\r\n").as_bytes()), Err(HttpError::ChunkSize), "{size:?}");
        }
    }

    #[test]
    fn chunk_ends_are_exact() {
        for input in ["1\rX", "1\r\nab", "1\r\na\n", "1\r\na\rX", "1;a\rX", "1\r\na0\r\n\r\n"] {
            assert_eq!(chunked(input.as_bytes()), Err(HttpError::ChunkEnd), "{input:?}");
        }
        for input in ["1;a\n", "1;a\0", "1;\x7f"] {
            assert_eq!(chunked(input.as_bytes()), Err(HttpError::ChunkExtension), "{input:?}");
        }
    }

    #[test]
    fn the_limit_holds_for_the_sum_of_chunks_and_is_told_with_the_size() {
        assert_eq!(chunked(b"64\r"), Ok(None));
        assert_eq!(chunked(b"65\r"), Err(HttpError::BodyTooLarge));
        assert_eq!(chunked(b"FFFFFFFFFFFFFFFF\r"), Err(HttpError::BodyTooLarge));
        let mut input = b"63\r\n".to_vec();
        input.extend([b'a'; 99]);
        input.extend(b"\r\n2;");
        assert_eq!(chunked(&input), Err(HttpError::BodyTooLarge));
    }

    #[test]
    fn extensions_are_bounded_over_all_chunks() {
        let chunk = format!("1;{}\r\na\r\n", "x".repeat(EXTENSION_BYTES_MAX / 2 - 1));
        let last = "0\r\n\r\n";
        assert_eq!(chunked(format!("{chunk}{chunk}{last}").as_bytes()), Ok(Some((b"aa".to_vec(), 0))));
        assert_eq!(chunked(format!("{chunk}{chunk}1;").as_bytes()), Err(HttpError::ChunkExtension));
    }

    #[test]
    fn trailers_are_header_lines_and_bounded() {
        for trailer in [" a: b\r\n", "a b\r\n", ": b\r\n", "a : b\r\n", "a: b\n", "a: \0", "a: b\r\r\n", "\n", "\rX"] {
            assert_eq!(chunked(format!("0\r\n{trailer}").as_bytes()), Err(HttpError::Trailer), "{trailer:?}");
        }
        let fits = format!("a:{}\r\n", "x".repeat(TRAILER_BYTES_MAX - 4));
        assert_eq!(chunked(format!("0\r\n{fits}\r\n").as_bytes()), Ok(Some((vec![], 0))));
        assert_eq!(chunked(format!("0\r\n{fits}a").as_bytes()), Err(HttpError::TrailersTooLarge));
    }

    #[test]
    fn a_complete_body_takes_no_more() {
        let mut body = BodyDecoder::new(Framing::Length(1), 1).unwrap();
        assert_eq!(body.feed(b"ab"), Ok((1, true)));
        assert_eq!(body.feed(b"b"), Ok((0, true)));
        assert_eq!(body.into_bytes(), b"a");
    }
}
