//! The mark at the beginning of each message's content: `#`, the message's number in 12 digits, `@`, and the time it was
//! meant to be sent at, in nanoseconds since 1970, as 16 hexadecimal digits. Who receives it can tell its place in the
//! order and its age, whatever process sent it, and wherever in a text it stands. Padding fills the content up.

use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a mark, and so of the smallest content.
pub const LENGTH: usize = 1 + DIGITS + 1 + HEX;

const DIGITS: usize = 12;
const HEX: usize = 16;

const PADDING: u8 = b'x';

/// How much padding is looked at together.
const STRIDE: usize = 16;

/// A mark that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark<'a> {
    /// The message's number, from 1.
    pub seq: u64,
    time: &'a [u8],
}

impl Mark<'_> {
    /// When the message was meant to be sent, in nanoseconds since 1970.
    pub fn sent_ns(&self) -> Option<u64> {
        self.time.iter().try_fold(0, |time, digit| Some(time << 4 | u64::from((*digit as char).to_digit(16)?)))
    }
}

/// Nanoseconds since 1970; all processes of the machine agree on it.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Appends content of so many bytes with this mark.
pub fn write(out: &mut Vec<u8>, seq: u64, sent_ns: u64, bytes: usize) {
    use std::io::Write as _;
    let end = out.len() + bytes.max(LENGTH);
    let _ = write!(out, "#{seq:0DIGITS$}@{sent_ns:0HEX$x}");
    out.resize(end, PADDING);
}

/// The mark that `content` begins with.
pub fn read(content: &[u8]) -> Option<Mark<'_>> {
    let mark = content.get(..LENGTH)?;
    let (seq, time) = (&mark[1..=DIGITS], &mark[DIGITS + 2..]);
    if mark[0] != b'#' || mark[DIGITS + 1] != b'@' || !seq.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(Mark { seq: seq.iter().fold(0, |seq, digit| seq * 10 + u64::from(digit - b'0')), time })
}

/// The first mark in `text`, with the padding after it.
#[inline]
pub fn content(text: &[u8]) -> Option<&[u8]> {
    let start = memchr::memchr_iter(b'#', text).find(|at| is_mark(&text[*at..]))?;
    let (content, mut end) = (&text[start..], LENGTH);
    while content[end..].first_chunk::<STRIDE>().is_some_and(|padding| *padding == [PADDING; STRIDE]) {
        end += STRIDE;
    }
    end += content[end..].iter().take_while(|byte| **byte == PADDING).count();
    Some(&content[..end])
}

fn is_mark(text: &[u8]) -> bool {
    let Some(mark) = text.first_chunk::<LENGTH>() else { return false };
    // All bytes are looked at, without a branch for each.
    let are_digits = mark[1..=DIGITS].iter().fold(true, |so_far, byte| so_far & byte.is_ascii_digit());
    let are_hex = mark[DIGITS + 2..].iter().fold(true, |so_far, byte| so_far & byte.is_ascii_hexdigit());
    (mark[DIGITS + 1] == b'@') & are_digits & are_hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut content = Vec::new();
        write(&mut content, 42, 0x0123_4567_89ab_cdef, 64);
        assert_eq!(content.len(), 64);
        assert!(content.starts_with(b"#000000000042@0123456789abcdefxx"));
        let mark = read(&content).expect("a mark");
        assert_eq!((mark.seq, mark.sent_ns()), (42, Some(0x0123_4567_89ab_cdef)));
    }

    #[test]
    fn content_is_never_shorter_than_its_mark() {
        let mut content = Vec::new();
        write(&mut content, 1, 1, 0);
        assert_eq!(content.len(), LENGTH);
        assert!(read(&content).is_some());
    }

    #[test]
    fn what_is_no_mark_is_not_read() {
        for text in ["", "#12@", "#00000000004x@0123456789abcdef", "x000000000042@0123456789abcdef"] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
        assert_eq!(read(b"#000000000042@0123456789abcdeX").and_then(|mark| mark.sent_ns()), None);
    }

    #[test]
    fn a_mark_is_found_whole_or_not_at_all() {
        for (seq, sent_ns) in [(42, 0xdead_beef), (0, 0), (999_999_999_999, u64::MAX)] {
            let mut bytes = Vec::new();
            write(&mut bytes, seq, sent_ns, 0);
            let upper = bytes.to_ascii_uppercase();
            for bytes in [&bytes, &upper] {
                let text = [b"#1 #", &bytes[..], b"\""].concat();
                let found = content(&text).and_then(read).expect("a mark");
                assert_eq!((found.seq, found.sent_ns()), (seq, Some(sent_ns)));
            }
            for end in 0..bytes.len() {
                assert_eq!(content(&bytes[..end]), None);
            }
            for at in 0..bytes.len() {
                for wrong in [b'g', b'/', b':', b'`', b'F' + 1, b'\0', 0xff] {
                    let mut bytes = bytes.clone();
                    bytes[at] = wrong;
                    assert_eq!(content(&bytes), None, "{}", bytes.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn content_ends_where_its_padding_does() {
        for bytes in LENGTH..LENGTH + 3 * STRIDE {
            let mut text = b"before ".to_vec();
            write(&mut text, 7, 7, bytes);
            assert_eq!(content(&text).map(<[u8]>::len), Some(bytes));
            text.extend_from_slice(b"\" and xxx");
            assert_eq!(content(&text).map(<[u8]>::len), Some(bytes));
        }
    }
}
