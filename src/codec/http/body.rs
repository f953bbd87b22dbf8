//! Decoder of request bodies with `Content-Length` or chunked encoding (RFC 9112 §6, §7.1), up to a limit.

use super::error::HttpError;
use super::head::Framing;
use super::target::hex_digit;

/// Maximum of chunk extensions in one body, `;` included, in bytes. They are unused in practice and ignored.
pub const EXTENSION_BYTES_MAX: usize = 1024;

/// Maximum of trailer lines in one body, in bytes. They are validated and ignored.
pub const TRAILER_BYTES_MAX: usize = 4096;

/// Maximum of hexadecimal digits of a chunk size: 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// Decoder of a request body. Memory grows with the received bytes, not with the announced length.
#[derive(Debug)]
pub struct BodyDecoder {
    bytes: Vec<u8>,
    bytes_max: usize,
    stage: BodyStage,
    /// Bytes counted against [`EXTENSION_BYTES_MAX`], over all chunks.
    extension_bytes: usize,
    /// Bytes counted against [`TRAILER_BYTES_MAX`].
    trailer_bytes: usize,
}

/// The element that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyStage {
    /// Body with `Content-Length`; `remaining` is never 0.
    Length {
        remaining: u64,
    },
    /// Chunk size, after `digits` digits.
    Size {
        digits: u8,
        size: u64,
    },
    /// White space between a chunk size and the first semicolon.
    SizeSpace {
        size: u64,
    },
    /// Chunk extension, after a semicolon.
    Extension {
        size: u64,
        part: ExtensionPart,
    },
    /// LF at the end of a chunk size line.
    SizeLineFeed {
        size: u64,
    },
    /// Chunk data; `remaining` is never 0.
    Data {
        remaining: u64,
    },
    DataCarriageReturn,
    DataLineFeed,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    /// LF of the empty line at the end of a chunked body.
    LastLineFeed,
    Complete,
}

/// Position within a chunk extension (RFC 9112 §7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExtensionPart {
    /// White space before a name.
    NameStart,
    Name,
    NameEnd,
    /// White space before a value.
    ValueStart,
    Value,
    /// Within a quoted value.
    Quoted,
    /// After the backslash in a quoted value.
    QuotedPair,
    /// After a value, or after the white space that follows it.
    ValueEnd,
}

impl ExtensionPart {
    /// The position after the next byte; `None` if the byte is not allowed.
    fn next(self, byte: u8) -> Option<Self> {
        let is_space = matches!(byte, b' ' | b'\t');
        match (self, byte) {
            (Self::NameStart | Self::NameEnd | Self::ValueStart | Self::ValueEnd, _) if is_space => Some(self),
            (Self::NameStart | Self::Name, _) if is_token_byte(byte) => Some(Self::Name),
            (Self::Name, _) if is_space => Some(Self::NameEnd),
            (Self::Name | Self::NameEnd | Self::Value | Self::ValueEnd, b';') => Some(Self::NameStart),
            (Self::Name | Self::NameEnd, b'=') => Some(Self::ValueStart),
            (Self::ValueStart | Self::Value, _) if is_token_byte(byte) => Some(Self::Value),
            (Self::ValueStart, b'"') => Some(Self::Quoted),
            (Self::Value, _) if is_space => Some(Self::ValueEnd),
            (Self::Quoted, b'"') => Some(Self::ValueEnd),
            (Self::Quoted, b'\\') => Some(Self::QuotedPair),
            (Self::Quoted | Self::QuotedPair, _) if !is_forbidden_in_text(byte) => Some(Self::Quoted),
            _ => None,
        }
    }

    /// Whether the size line may end here.
    fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Value | Self::ValueEnd)
    }
}

impl BodyDecoder {
    /// Starts a body with this framing, of at most `limit_bytes`. Without framing it is complete.
    ///
    /// # Errors
    /// [`HttpError::BodyTooLarge`] when the announced length exceeds the limit.
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

    /// Decodes the next bytes; returns the number consumed, and whether the body is complete. Bytes after its end are
    /// not consumed: they belong to the next request.
    ///
    /// # Errors
    /// Malformed chunks and exceeded limits. The caller stops decoding.
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

    /// Whether the body is complete.
    pub fn is_complete(&self) -> bool {
        self.stage == BodyStage::Complete
    }

    /// The decoded content.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Takes up to `remaining` bytes of content; returns the rest of the input and the remaining length.
    fn gather<'a>(&mut self, input: &'a [u8], remaining: u64) -> (&'a [u8], u64) {
        let length = usize::try_from(remaining).map_or(input.len(), |remaining| remaining.min(input.len()));
        let (content, rest) = input.split_at(length);
        self.bytes.extend_from_slice(content);
        (rest, remaining - length as u64)
    }

    /// The stage after one byte of chunk framing.
    fn step(&mut self, stage: BodyStage, byte: u8) -> Result<BodyStage, HttpError> {
        match (stage, byte) {
            (BodyStage::Size { digits: 1.., size }, b' ' | b'\t' | b';' | b'\r') => self.end_size(size, byte),
            (BodyStage::Size { digits, size }, _) => match hex_digit(byte) {
                Some(digit) if digits < SIZE_DIGITS_MAX => {
                    Ok(BodyStage::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
                }
                _ => Err(HttpError::ChunkSize),
            },
            (BodyStage::SizeSpace { size }, b' ' | b'\t' | b';') => self.step_size_end(size, byte),
            (BodyStage::SizeSpace { .. }, _) => Err(HttpError::ChunkSize),
            (BodyStage::Extension { size, part }, b'\r') if part.may_end() => Ok(BodyStage::SizeLineFeed { size }),
            (BodyStage::Extension { size, part }, _) => {
                self.count_extension()?;
                let part = part.next(byte).ok_or(HttpError::ChunkExtension)?;
                Ok(BodyStage::Extension { size, part })
            }
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
                unreachable!("invariant: feed passes framing bytes only")
            }
        }
    }

    /// Checks a chunk size against the limit, before its data arrives.
    fn end_size(&mut self, size: u64, byte: u8) -> Result<BodyStage, HttpError> {
        debug_assert!(self.bytes.len() <= self.bytes_max, "invariant: a body is within its limit");
        if size > (self.bytes_max - self.bytes.len()) as u64 {
            return Err(HttpError::BodyTooLarge);
        }
        if byte == b'\r' {
            return Ok(BodyStage::SizeLineFeed { size });
        }
        self.step_size_end(size, byte)
    }

    /// The stage after a space or semicolon that follows a chunk size.
    fn step_size_end(&mut self, size: u64, byte: u8) -> Result<BodyStage, HttpError> {
        self.count_extension()?;
        Ok(match byte {
            b';' => BodyStage::Extension { size, part: ExtensionPart::NameStart },
            _ => BodyStage::SizeSpace { size },
        })
    }

    fn count_extension(&mut self) -> Result<(), HttpError> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX {
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

/// Whether the byte is a control character other than the tab.
fn is_forbidden_in_text(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// Whether the text is a token (RFC 9110 §5.6.2).
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Whether the byte is a `tchar` (RFC 9110 §5.6.2).
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
        for input in ["1\rX", "1\r\nab", "1\r\na\n", "1\r\na\rX", "1;a\rX", "1;a=b\rX", "1\r\na0\r\n\r\n"] {
            assert_eq!(chunked(input.as_bytes()), Err(HttpError::ChunkEnd), "{input:?}");
        }
    }

    #[test]
    fn chunk_extension_outside_its_grammar_is_refused() {
        for line in
            ["1;a", "1 ;a", "1\t; a", "1;a=b", "1;a = b ; c", "1;a=\"\"", "1;a=\"x;\\\"y\" ;b=c", "1;a;b=\"\u{e9}\";c"]
        {
            let input = format!("{line}\r\nx\r\n0;z\r\n\r\n");
            assert_eq!(chunked(input.as_bytes()), Ok(Some((b"x".to_vec(), 0))), "{line:?}");
        }
        for line in [
            "1;",
            "1; ",
            "1;;a",
            "1;a;",
            "1;a=",
            "1;a= ",
            "1;a b",
            "1;a=b c",
            "1;a=\"b",
            "1;a=\"b\"c",
            "1;bad[=x",
            "1;=x",
            "1;\"a\"",
            "1;a=b=c",
            "1;a=[",
            "1;a=\"\\\0\"",
            "1;a\n",
            "1;a\0",
            "1;\x7f",
            "1;a=\"\r\"",
        ] {
            let input = format!("{line}\r\nx\r\n0\r\n\r\n");
            assert_eq!(chunked(input.as_bytes()), Err(HttpError::ChunkExtension), "{line:?}");
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
