//! permessage-deflate (RFC 7692), without context takeover in either direction: offers, and the compression of messages.
//!
//! Every message is compressed for itself, so a compressed message may go to any number of connections, and neither
//! [`Deflater`] nor [`Inflater`] belongs to one. What is inflated is bounded as it grows.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::FrameError;
use super::encode::{ServerHeader, header};
use super::frames::frames;
use super::header::{COMPRESSED, Opcode};

/// Base-2 logarithm of the largest window.
const WINDOW_BITS_MAX: u8 = 15;

/// Base-2 logarithms of windows for which there is a compressor. RFC 7692 has 8, too.
const WINDOW_BITS: std::ops::RangeInclusive<u8> = 9..=WINDOW_BITS_MAX;

/// The end of a message compressed with a flush, which is not sent (RFC 7692 section 7.2.1).
const TAIL: &[u8] = &[0, 0, 0xFF, 0xFF];

/// Bytes that a flush may write beyond the last byte of a compressed message.
const FLUSH_BYTES: usize = 16;

/// What a client has offered and the server accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateAgreement {
    /// Base-2 logarithm of the window for messages of the server, 8 to 15.
    pub window_bits: u8,
    /// Whether the client has asked for a limit of that window, so that the answer has to name it.
    has_limit: bool,
}

impl DeflateAgreement {
    /// The first acceptable one of the offers in `Sec-WebSocket-Extensions`.
    pub fn of_offers(offers: &str) -> Option<Self> {
        split(offers, b',').find_map(Self::of_offer)
    }

    /// The agreement to one offer. One with a parameter that is unknown, repeated or out of range is declined (RFC 7692
    /// section 7.1).
    fn of_offer(offer: &str) -> Option<Self> {
        let mut parts = split(offer, b';').map(str::trim);
        parts.next().filter(|name| name.eq_ignore_ascii_case("permessage-deflate"))?;
        let mut seen: Vec<&str> = Vec::new();
        let mut agreement = Self { window_bits: WINDOW_BITS_MAX, has_limit: false };
        for parameter in parts {
            let (name, value) = match parameter.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
                None => (parameter, None),
            };
            if seen.contains(&name) {
                return None;
            }
            seen.push(name);
            match (name, value) {
                ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", None) => {}
                ("client_max_window_bits", Some(value)) => {
                    window_bits(value)?;
                }
                ("server_max_window_bits", Some(value)) => {
                    agreement = Self { window_bits: window_bits(value)?, has_limit: true };
                }
                _ => return None,
            }
        }
        Some(agreement)
    }

    /// The value of `Sec-WebSocket-Extensions` in the answer.
    pub fn answer(self) -> String {
        let mut answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover".to_owned();
        if self.has_limit {
            answer.push_str(&format!("; server_max_window_bits={}", self.window_bits));
        }
        answer
    }
}

/// The number of a parameter, as a token or in quotes: 8 to 15 without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    let value = value.strip_prefix('"').map_or(Some(value), |value| value.strip_suffix('"'))?;
    let is_number = !value.starts_with('0') && value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|bits| is_number && (8..=WINDOW_BITS_MAX).contains(bits))
}

/// The parts of a list; separators in quotes are not separators.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = text.bytes().position(|byte| {
            let is_end = byte == separator && !is_quoted;
            is_quoted ^= byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && is_quoted && !is_escaped;
            is_end
        });
        rest = end.map(|end| &text[end + 1..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

/// Compresses messages, for any number of connections. What it needs is allocated when the first message is compressed.
#[derive(Debug)]
pub struct Deflater {
    level: Compression,
    /// Messages with less payload are not compressed.
    bytes_min: usize,
    /// One compressor for each size of the window.
    compressors: [Option<Box<Compress>>; 7],
}

impl Deflater {
    /// A compressor of this level, 2 to 9, that leaves messages of less than `bytes_min` bytes as they are.
    pub fn new(level: u32, bytes_min: usize) -> Self {
        // The fast path of zlib-rs 0.6.8 for level 1 panics where incompressible input fills its buffer.
        Self { level: Compression::new(level.max(2)), bytes_min, compressors: Default::default() }
    }

    /// Whether one of these frames is worth compressing.
    pub fn compresses(&self, bytes: &[u8]) -> bool {
        frames(bytes).any(|(opcode, payload)| !opcode.is_control() && payload.len() >= self.bytes_min)
    }

    /// Appends the frames in `bytes` to `out`, each message compressed if that makes it smaller.
    pub fn pack(&mut self, bytes: &[u8], window_bits: u8, out: &mut Vec<u8>) {
        for (opcode, payload) in frames(bytes) {
            let start = out.len();
            let is_packed = !opcode.is_control()
                && payload.len() >= self.bytes_min
                && self.compress(opcode, payload, window_bits, out).is_some();
            if !is_packed {
                out.truncate(start);
                out.extend_from_slice(&header(opcode, payload.len()));
                out.extend_from_slice(payload);
            }
        }
    }

    /// Appends a compressed message; `None` if it is not smaller than the plain one, and part of it may have been appended.
    fn compress(&mut self, opcode: Opcode, payload: &[u8], window_bits: u8, out: &mut Vec<u8>) -> Option<()> {
        // Distances within a message are shorter than the message, so a short one suits any window.
        let bits = match payload.len() <= 1 << window_bits {
            true => WINDOW_BITS_MAX,
            false => Some(window_bits).filter(|bits| WINDOW_BITS.contains(bits))?,
        };
        let level = self.level;
        let compressor = self.compressors[usize::from(bits - WINDOW_BITS.start())]
            .get_or_insert_with(|| Box::new(Compress::new_with_window_bits(level, false, bits)));
        compressor.reset();
        let header_at = out.len();
        // The header is as long as that of the plain message at most, and is moved up to the payload.
        let room = header(opcode, payload.len()).len();
        out.resize(header_at + room, 0);
        let body_at = out.len();
        out.reserve_exact(payload.len() + FLUSH_BYTES);
        compressor.compress_vec(payload, out, FlushCompress::Sync).ok()?;
        let is_whole = compressor.total_in() == payload.len() as u64 && out.len() < out.capacity();
        let length = (out.len() - body_at).checked_sub(TAIL.len())?;
        if !is_whole || length >= payload.len() || !out.ends_with(TAIL) {
            return None;
        }
        out.truncate(body_at + length);
        let head: ServerHeader = header(opcode, length);
        out.copy_within(body_at.., header_at + head.len());
        out.truncate(header_at + head.len() + length);
        out[header_at..header_at + head.len()].copy_from_slice(&head);
        out[header_at] |= COMPRESSED;
        Some(())
    }
}

/// Decompresses messages, of any number of connections. What it needs is allocated when the first message comes.
#[derive(Debug, Default)]
pub struct Inflater {
    decompressor: Option<Box<Decompress>>,
}

impl Inflater {
    /// The payload of a message.
    ///
    /// # Errors
    /// It is not compressed data, or has more than `bytes_max` bytes; no more than that is inflated.
    pub(super) fn inflate(&mut self, payload: &[u8], bytes_max: usize) -> Result<Vec<u8>, FrameError> {
        let decompressor = self.decompressor.get_or_insert_with(|| Box::new(Decompress::new(false)));
        decompressor.reset(false);
        let mut out = Vec::with_capacity(payload.len().saturating_mul(4).min(bytes_max).saturating_add(1));
        let is_ended = inflate_part(decompressor, payload, &mut out, bytes_max)?;
        // A client may end its last block, and then there is no flush whose end is missing (section 7.2.3.4).
        if !is_ended {
            inflate_part(decompressor, TAIL, &mut out, bytes_max)?;
        }
        Ok(out)
    }
}

/// Inflates a part of a message; whether it ends with the last block of a stream.
fn inflate_part(
    decompressor: &mut Decompress,
    mut part: &[u8],
    out: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<bool, FrameError> {
    loop {
        let before = decompressor.total_in();
        let status = decompressor.decompress_vec(part, out, FlushDecompress::Sync);
        let status = status.map_err(|_| FrameError::NotCompressed)?;
        part = &part[(decompressor.total_in() - before) as usize..];
        if out.len() > bytes_max {
            return Err(FrameError::TooLarge);
        }
        let is_full = out.len() == out.capacity();
        match status {
            Status::StreamEnd => {
                decompressor.reset(false);
                if part.is_empty() {
                    return Ok(true);
                }
            }
            Status::Ok | Status::BufError if is_full => {}
            Status::Ok if !part.is_empty() => {}
            Status::Ok | Status::BufError => return Ok(false),
        }
        if is_full {
            let more = out.len().max(1_024).min(bytes_max.saturating_add(1) - out.len());
            out.reserve_exact(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ws::{FrameDecoder, FrameEvent, FrameLimits, Input, encode_ping, encode_text};
    use proptest::prelude::*;

    #[test]
    fn first_acceptable_offer_is_answered() {
        let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        let limited = |bits: u8| format!("{plain}; server_max_window_bits={bits}");
        let cases = [
            ("permessage-deflate", Some(plain.to_owned())),
            ("permessage-deflate; client_max_window_bits", Some(plain.to_owned())),
            ("x-webkit-deflate-frame, PerMessage-Deflate", Some(plain.to_owned())),
            ("permessage-deflate; server_max_window_bits=9", Some(limited(9))),
            ("permessage-deflate ; server_max_window_bits = \"8\"", Some(limited(8))),
            ("permessage-deflate; server_max_window_bits=7, permessage-deflate", Some(plain.to_owned())),
            (
                "other; a=\"x, permessage-deflate\"; b=\"\\\"\", permessage-deflate; server_max_window_bits=10",
                Some(limited(10)),
            ),
            ("permessage-deflate; client_max_window_bits=16", None),
            ("permessage-deflate; server_max_window_bits", None),
            ("permessage-deflate; server_max_window_bits=010", None),
            ("permessage-deflate; server_max_window_bits=+9", None),
            ("permessage-deflate; server_no_context_takeover=1", None),
            ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
            ("permessage-deflate; mystery", None),
            ("other; a=\"x, permessage-deflate\"", None),
            ("", None),
        ];
        for (offers, expected) in cases {
            assert_eq!(DeflateAgreement::of_offers(offers).map(DeflateAgreement::answer), expected, "{offers}");
        }
    }

    /// Server frames as a client would send them: masked with zeros.
    fn as_client(server: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = server;
        while let [first, second, ..] = *rest {
            let (length, size) = match second {
                126 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
                127 => (u64::from_be_bytes(rest[2..10].try_into().expect("eight")) as usize, 10),
                length => (usize::from(length), 2),
            };
            out.extend_from_slice(&[first, second | 0x80]);
            out.extend_from_slice(&rest[2..size]);
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&rest[size..size + length]);
            rest = &rest[size + length..];
        }
        out
    }

    fn read(mut bytes: Vec<u8>, piece: usize, bytes_max: usize) -> Result<Vec<Vec<u8>>, FrameError> {
        let (mut decoder, mut inflater, mut messages) = (FrameDecoder::default(), Inflater::default(), Vec::new());
        let limits = FrameLimits { message_bytes: bytes_max, ..FrameLimits::default() };
        for piece in bytes.chunks_mut(piece) {
            let mut input = Input::new(piece);
            while let Some(event) = decoder.next_inflating(&mut input, &limits, Some(&mut inflater))? {
                match event {
                    FrameEvent::Text(text) => messages.push(text.as_bytes().to_vec()),
                    FrameEvent::Binary(bytes) | FrameEvent::Ping(bytes) => messages.push(bytes.to_vec()),
                    FrameEvent::Pong(_) | FrameEvent::Close(_) => {}
                }
            }
        }
        assert!(decoder.is_idle());
        Ok(messages)
    }

    proptest! {
        #[test]
        fn packed_messages_are_read_back_for_any_window_and_split(
            texts in prop::collection::vec(("[a-f]{0,40}", 0_usize..400), 1..6),
            bits in 8_u8..=15,
            level in 2_u32..=9,
            bytes_min in 0_usize..200,
            piece in 1_usize..3_000,
        ) {
            let texts: Vec<String> = texts.into_iter().map(|(text, times)| text.repeat(times)).collect();
            let mut plain = Vec::new();
            for text in &texts {
                encode_text(&mut plain, text.as_bytes());
            }
            let mut packed = Vec::new();
            Deflater::new(level, bytes_min).pack(&plain, bits, &mut packed);
            prop_assert!(packed.len() <= plain.len());
            let expected: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
            prop_assert_eq!(read(as_client(&packed), piece, 1 << 20), Ok(expected));
        }
    }

    /// A decompressor with a window of `bits` reads what was packed for it.
    #[test]
    fn window_of_the_client_is_not_exceeded() {
        let mut noise = 1_u32;
        let mut text = String::new();
        for _ in 0..3_000 {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push(char::from(b'a' + (noise >> 28) as u8));
        }
        // Only a window of more than the text's half finds its repetition.
        let text = text.repeat(4);
        let mut plain = Vec::new();
        encode_text(&mut plain, text.as_bytes());
        let mut deflater = Deflater::new(9, 1);
        let sizes: Vec<usize> = (8..=15)
            .map(|bits| {
                let mut packed = Vec::new();
                deflater.pack(&plain, bits, &mut packed);
                if bits > 8 {
                    let mut own = Decompress::new_with_window_bits(false, bits);
                    let mut out = Vec::with_capacity(text.len() + 64);
                    own.decompress_vec(&packed[4..], &mut out, FlushDecompress::Sync).expect("it fits the window");
                    assert_eq!(out, text.as_bytes(), "{bits}");
                }
                packed.len()
            })
            .collect();
        assert_eq!(sizes[0], plain.len());
        assert!(sizes[1..4].iter().all(|size| sizes[4] < size / 2), "{sizes:?}");
    }

    #[test]
    fn message_that_grows_or_is_a_control_frame_is_sent_plain() {
        let mut plain = Vec::new();
        super::super::encode_binary(&mut plain, &(0..=255).collect::<Vec<u8>>());
        encode_ping(&mut plain, &[b'a'; 100]);
        let mut packed = Vec::new();
        Deflater::new(6, 1).pack(&plain, 15, &mut packed);
        assert_eq!(packed, plain);
    }

    #[test]
    fn large_messages_that_hardly_compress_are_packed_at_any_level() {
        let mut noise = 7_u32;
        let text: String = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'A' + (noise >> 27) as u8)
        })
        .take(140_015)
        .collect();
        let mut plain = Vec::new();
        encode_text(&mut plain, text.as_bytes());
        for level in [1, 2, 6] {
            for bits in [9, 15] {
                let mut packed = Vec::new();
                Deflater::new(level, 1).pack(&plain, bits, &mut packed);
                assert_eq!(read(as_client(&packed), 1 << 20, 1 << 20), Ok(vec![text.clone().into_bytes()]));
            }
        }
    }

    #[test]
    fn inflated_size_is_bounded() {
        let mut compressor = Compress::new(Compression::best(), false);
        let mut bomb = Vec::with_capacity(1 << 20);
        compressor.compress_vec(&vec![0; 4 << 20], &mut bomb, FlushCompress::Sync).expect("memory");
        let mut inflater = Inflater::default();
        assert_eq!(inflater.inflate(&bomb, 1 << 20), Err(FrameError::TooLarge));
        // The same one is of use for the next message.
        assert_eq!(inflater.inflate(&[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00], 5).as_deref(), Ok(&b"Hello"[..]));
        assert_eq!(inflater.inflate(&[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00], 4), Err(FrameError::TooLarge));
    }

    #[test]
    fn examples_of_section_7_2_3() {
        let cases: [&[u8]; 5] = [
            &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00],
            &[0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00],
            &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00],
            &[0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00],
            &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00],
        ];
        for payload in cases {
            assert_eq!(Inflater::default().inflate(payload, 100).as_deref(), Ok(&b"Hello"[..]), "{payload:x?}");
        }
        assert_eq!(Inflater::default().inflate(&[0x07], 100), Err(FrameError::NotCompressed));
        assert_eq!(Inflater::default().inflate(&[], 100).as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn reserved_bit_is_refused_outside_the_first_frame_of_a_message() {
        let refused = Err(FrameError::Protocol("reserved bit set"));
        for first in [0xC9, 0xC8, 0xCA, 0xC0, 0xA1, 0x91, 0xE1] {
            assert_eq!(read(vec![first, 0x80, 0, 0, 0, 0], 100, 100), refused, "{first:x}");
        }
        let mut decoder = FrameDecoder::default();
        let limits = FrameLimits::default();
        assert_eq!(
            decoder.next(&mut Input::new(&mut [0xC1]), &limits),
            Err(FrameError::Protocol("reserved bit set")),
            "not negotiated"
        );
        // "Hello" in two frames with a ping between them, of which only the first has the bit.
        let mut bytes = vec![0x41, 0x83, 0, 0, 0, 0, 0xF2, 0x48, 0xCD, 0x89, 0x81, 0, 0, 0, 0, b'p'];
        bytes.extend_from_slice(&[0x80, 0x84, 0, 0, 0, 0, 0xC9, 0xC9, 0x07, 0x00]);
        for piece in 1..bytes.len() {
            assert_eq!(read(bytes.clone(), piece, 100), Ok(vec![b"p".to_vec(), b"Hello".to_vec()]), "{piece}");
        }
    }

    #[test]
    fn inflated_text_is_checked() {
        let mut compressor = Compress::new(Compression::best(), false);
        let mut packed = Vec::with_capacity(100);
        compressor.compress_vec(b"\xFF\xFEab", &mut packed, FlushCompress::Sync).expect("memory");
        packed.truncate(packed.len() - TAIL.len());
        let mut frame = vec![0xC1, 0x80 | packed.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(&packed);
        assert_eq!(read(frame.clone(), 100, 100), Err(FrameError::InvalidUtf8));
        frame[0] = 0xC2;
        assert_eq!(read(frame, 100, 100), Ok(vec![b"\xFF\xFEab".to_vec()]));
    }
}
