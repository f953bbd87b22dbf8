//! Reader of server frames written by this module's encoders, to send queued frames by another transport.

use super::header::Opcode;

/// Iterator over complete server frames. It ends at any other byte sequence.
pub fn frames(bytes: &[u8]) -> impl Iterator<Item = (Opcode, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (opcode, payload, behind) = split(rest)?;
        rest = behind;
        Some((opcode, payload))
    })
}

fn split(bytes: &[u8]) -> Option<(Opcode, &[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (second, rest) = rest.split_first()?;
    let opcode = match first {
        0x81 => Opcode::Text,
        0x82 => Opcode::Binary,
        0x88 => Opcode::Close,
        0x89 => Opcode::Ping,
        0x8A => Opcode::Pong,
        _ => return None,
    };
    let (length, rest) = match second {
        126 => rest.split_first_chunk().map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?,
        127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
        length => (u64::from(*length), rest),
    };
    let (payload, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((opcode, payload, behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ws::{begin_text, encode_binary, encode_close, encode_ping, encode_text, finish};

    #[test]
    fn what_was_written_is_read_back() {
        let mut out = Vec::new();
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536];
        for length in lengths {
            encode_binary(&mut out, &vec![7; length]);
            let mark = begin_text(&mut out);
            out.resize(out.len() + length, b'a');
            finish(&mut out, mark);
        }
        encode_ping(&mut out, b"p");
        encode_close(&mut out, 1000, "bye");
        let read: Vec<_> = frames(&out).collect();
        assert_eq!(read.len(), 2 * lengths.len() + 2);
        for (pair, length) in read.chunks(2).zip(lengths) {
            assert_eq!((pair[0].0, pair[0].1.len()), (Opcode::Binary, length));
            assert_eq!((pair[1].0, pair[1].1.len()), (Opcode::Text, length));
        }
        assert_eq!(read[14..], [(Opcode::Ping, &b"p"[..]), (Opcode::Close, &b"\x03\xE8bye"[..])]);
    }

    #[test]
    fn anything_else_ends_it() {
        let mut out = Vec::new();
        encode_text(&mut out, b"abc");
        for end in 0..out.len() {
            assert_eq!(frames(&out[..end]).count(), 0);
        }
        out.extend_from_slice(&[0x01, 0x00]);
        assert_eq!(frames(&out).count(), 1);
    }
}
