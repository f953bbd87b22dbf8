//! Offsets: the position of a Socket.IO client in the logs of its rooms, as a text that the client hands back when it
//! reconnects.
//!
//! If the last argument of an event is a text, `socket.io-client` keeps it as an offset and sends the latest one when
//! it connects again. So each message of a room carries an offset behind its arguments, and so does each other event
//! that would end in a text. An offset has an entry `EPOCH:SEQ` for each room of the client: the epoch of the room's
//! log and the number of the last message sent before the event, or of the event itself. All these messages were sent
//! earlier on the same connection, so a client that has the event has them, too.

use crate::base::limits;
use crate::codec::engineio;
use crate::codec::json;
use crate::codec::ws;

/// The end of an array with a text as its last value.
const TEXT_END: &[u8] = b"\"]";

/// The beginning of an event as an Engine.IO message: the packet types of both protocols.
const EVENT: &[u8] = b"42";

/// The offset that a client sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offset(Box<str>);

impl Offset {
    /// Reads a client's offset; `None` if it is none, or too long for one.
    pub fn parse(text: &str) -> Option<Self> {
        let is_offset = text.is_empty() || text.split(',').all(|text| parse_entry(text).is_some());
        (is_offset && text.len() <= limits::OFFSET_BYTES).then(|| Self(text.into()))
    }

    /// The last message that the client has of a log.
    pub fn seq_in(&self, epoch: &str) -> Option<u64> {
        let (_, seq) = self.0.split(',').filter_map(parse_entry).find(|(known, _)| *known == epoch)?;
        Some(seq)
    }
}

fn parse_entry(entry: &str) -> Option<(&str, u64)> {
    let (epoch, seq) = entry.rsplit_once(':')?;
    Some((epoch, seq.parse().ok()?))
}

/// Appends an entry, behind others if `is_first` is false.
pub fn entry(out: &mut Vec<u8>, epoch: &str, seq: u64, is_first: bool) {
    if !is_first {
        out.push(b',');
    }
    out.extend_from_slice(epoch.as_bytes());
    out.push(b':');
    json::number(out, seq);
}

/// Appends an event's frame with one more argument: the offset that `write` appends.
pub fn with_offset(out: &mut Vec<u8>, payload: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
    engineio::encode_text(out, |out| {
        debug_assert!(payload.ends_with(b"]"), "invariant: an event is an array");
        out.extend_from_slice(payload.strip_suffix(b"]").unwrap_or(payload));
        out.extend_from_slice(b",\"");
        write(out);
        out.extend_from_slice(TEXT_END);
    });
}

/// Appends an event's frame whose last argument is an offset, extended by the entries that `write` appends, each after
/// a comma.
pub fn with_more(out: &mut Vec<u8>, payload: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
    engineio::encode_text(out, |out| {
        debug_assert!(ends_in_text(payload), "invariant: an offset is the last argument of its event");
        out.extend_from_slice(payload.strip_suffix(TEXT_END).unwrap_or(payload));
        write(out);
        out.extend_from_slice(TEXT_END);
    });
}

/// Whether a client would take the last argument of this frame for an offset.
pub fn ends_in_text(payload: &[u8]) -> bool {
    payload.starts_with(EVENT) && payload.ends_with(TEXT_END)
}

/// Adds an offset to each frame from `start` on that ends in another text; `write` appends it.
pub fn mend(out: &mut Vec<u8>, start: usize, mut write: impl FnMut(&mut Vec<u8>)) {
    if !ws::frames(&out[start..]).any(|(_, payload)| ends_in_text(payload)) {
        return;
    }
    let frames = out.split_off(start);
    for (opcode, payload) in ws::frames(&frames) {
        if ends_in_text(payload) {
            with_offset(out, payload, &mut write);
        } else {
            out.extend_from_slice(&ws::header(opcode, payload.len()));
            out.extend_from_slice(payload);
        }
    }
}

/// Adds an offset to the last of these frames if it is an event; `write` appends it.
pub fn of_last(frames: &[u8], write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let Some((_, payload)) = ws::frames(frames).last().filter(|(_, payload)| payload.starts_with(EVENT)) else {
        return frames.to_vec();
    };
    let header = ws::header(ws::Opcode::Text, payload.len());
    let mut out = frames[..frames.len() - payload.len() - header.len()].to_vec();
    with_offset(&mut out, payload, write);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::events::samples;
    use crate::dialect::socketio::{self, Dialect};

    fn texts(frames: &[u8]) -> Vec<String> {
        ws::frames(frames).map(|(_, payload)| String::from_utf8_lossy(payload).into_owned()).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut text = Vec::new();
        entry(&mut text, "abc234", 7, true);
        entry(&mut text, "xyz", u64::MAX, false);
        let text = String::from_utf8(text).expect("a text");
        assert_eq!(text, "abc234:7,xyz:18446744073709551615");
        let offset = Offset::parse(&text).expect("an offset");
        assert_eq!(["abc234", "xyz", "abc"].map(|epoch| offset.seq_in(epoch)), [Some(7), Some(u64::MAX), None]);
        assert_eq!(Offset::parse(""), Some(Offset::default()));
        assert_eq!(Offset::parse(&"abcdefgh:1,".repeat(10_000)), None);
        for other in ["room", "a:", "a:x", "a:1,", "a:-1", ",a:1", "1713000000000-0"] {
            assert_eq!(Offset::parse(other), None, "{other}");
        }
    }

    #[test]
    fn an_event_gets_one_more_argument_and_that_gets_longer() {
        let mut out = Vec::new();
        with_offset(&mut out, br#"42/chat,["x",{"a":[1]}]"#, |out| entry(out, "e", 1, true));
        assert_eq!(texts(&out), [r#"42/chat,["x",{"a":[1]},"e:1"]"#]);
        let payload = texts(&out).remove(0);
        out.clear();
        with_more(&mut out, payload.as_bytes(), |out| entry(out, "f", 2, false));
        assert_eq!(texts(&out), [r#"42/chat,["x",{"a":[1]},"e:1,f:2"]"#]);
    }

    #[test]
    fn only_what_ends_in_a_text_is_mended() {
        let mut out = b"before".to_vec();
        let frames = [r#"42/chat,["leftRoom","r"]"#, r#"43/chat,1["r"]"#, r#"42["a",{"b":"c"}]"#];
        for frame in frames {
            ws::encode_text(&mut out, frame.as_bytes());
        }
        mend(&mut out, 6, |_| {});
        assert_eq!(texts(&out[6..]), [r#"42/chat,["leftRoom","r",""]"#, frames[1], frames[2]]);
    }

    /// Events to all members of a room or to all peers are shared and not mended, so they must not end in a text.
    #[test]
    fn nothing_that_many_are_told_ends_in_a_text() {
        use crate::domain::event::Event;
        for event in samples::all() {
            for dialect in Dialect::ALL {
                let mut out = Vec::new();
                socketio::encode(&mut out, dialect, &event, samples::NOW);
                let ends_in_text = ws::frames(&out).any(|(_, payload)| ends_in_text(payload));
                assert!(!ends_in_text || matches!(event, Event::Joined(_) | Event::Left { .. }), "{event:?}");
            }
        }
    }
}
