//! The decoder rule by rule, under every split, and against tungstenite from both sides.

use super::*;
use proptest::prelude::*;
use std::io::{self, Cursor, Read, Write};
use tungstenite::Message;
use tungstenite::protocol::{Role, WebSocket};

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// An event that outlives its input.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Fault(FrameError),
}

impl From<FrameEvent<'_>> for Heard {
    fn from(event: FrameEvent<'_>) -> Self {
        match event {
            FrameEvent::Text(text) => Self::Text(text.to_owned()),
            FrameEvent::Binary(bytes) => Self::Binary(bytes.to_vec()),
            FrameEvent::Ping(bytes) => Self::Ping(bytes.to_vec()),
            FrameEvent::Pong(bytes) => Self::Pong(bytes.to_vec()),
            FrameEvent::Close(close) => Self::Close(close.map(|(code, reason)| (code, reason.to_owned()))),
        }
    }
}

/// Feeds one piece; false when the conversation is over.
fn feed(decoder: &mut FrameDecoder, piece: &[u8], limits: &FrameLimits, heard: &mut Vec<Heard>) -> bool {
    let mut bytes = piece.to_vec();
    let mut input = Input::new(&mut bytes);
    loop {
        match decoder.next(&mut input, limits) {
            Ok(None) => {
                assert_eq!(input.remaining(), 0, "bytes left behind");
                return true;
            }
            Ok(Some(event)) => {
                heard.push(event.into());
                if matches!(heard.last(), Some(Heard::Close(_))) {
                    return false;
                }
            }
            Err(error) => {
                heard.push(Heard::Fault(error));
                return false;
            }
        }
    }
}

fn hear_pieces<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, limits: &FrameLimits) -> (Vec<Heard>, FrameDecoder) {
    let (mut decoder, mut heard) = (FrameDecoder::default(), Vec::new());
    for piece in pieces {
        if !feed(&mut decoder, piece, limits, &mut heard) {
            break;
        }
    }
    (heard, decoder)
}

/// What is heard, which must be the same for the whole, byte by byte, and in a few other pieces.
fn hear(bytes: &[u8]) -> Vec<Heard> {
    hear_within(bytes, &FrameLimits::default())
}

fn hear_within(bytes: &[u8], limits: &FrameLimits) -> Vec<Heard> {
    let (whole, _) = hear_pieces([bytes], limits);
    for piece in [1, 2, 3, 7] {
        assert_eq!(hear_pieces(bytes.chunks(piece), limits).0, whole, "in pieces of {piece}: {bytes:x?}");
    }
    whole
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    frame_masked(first, MASK, payload)
}

fn frame_masked(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut out = header(Opcode::Binary, payload.len()).to_vec();
    out[0] = first;
    out[1] |= 0x80;
    out.extend_from_slice(&mask);
    out.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]));
    out
}

fn text(text: &str) -> Heard {
    Heard::Text(text.to_owned())
}

fn protocol(text: &'static str) -> Heard {
    Heard::Fault(FrameError::Protocol(text))
}

#[test]
fn a_decoder_is_one_pointer() {
    assert_eq!(size_of::<FrameDecoder>(), 8);
    assert!(size_of::<FrameError>() <= 24);
}

#[test]
fn examples_of_section_5_7() {
    assert_eq!(hear(&[0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]), [text("Hello")]);
    assert_eq!(
        hear(&[0x8A, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]),
        [Heard::Pong(b"Hello".to_vec())]
    );
    assert_eq!(hear(&[frame(0x01, b"Hel"), frame(0x80, b"lo")].concat()), [text("Hello")]);
    assert_eq!(hear(&frame(0x89, b"Hello")), [Heard::Ping(b"Hello".to_vec())]);
    assert_eq!(hear(&frame(0x82, &[7; 256])), [Heard::Binary(vec![7; 256])]);
    assert_eq!(hear(&frame(0x82, &[7; 65_536])), [Heard::Binary(vec![7; 65_536])]);
    // The unmasked ones of that section are a server's.
    assert_eq!(hear(b"\x81\x05Hello"), [protocol("frame is not masked")]);
}

#[test]
fn every_length_alignment_and_phase() {
    for length in (0..=300_usize).chain([65_535, 65_536, 70_000]) {
        let payload: Vec<u8> = (0..length).map(|index| b' ' + (index % 95) as u8).collect();
        let frame = frame(0x81, &payload);
        for alignment in 0..8 {
            let mut bytes = vec![0; alignment];
            bytes.extend_from_slice(&frame);
            let mut decoder = FrameDecoder::default();
            let mut input = Input::new(&mut bytes[alignment..]);
            let event = decoder.next(&mut input, &FrameLimits::default());
            assert_eq!(event, Ok(Some(FrameEvent::Text(std::str::from_utf8(&payload).unwrap()))));
            assert!(decoder.is_idle());
        }
        // A cut after 0 to 4 bytes of payload makes the rest begin at each phase of the mask.
        for cut in (frame.len() - length)..=(frame.len() - length + 4).min(frame.len()) {
            let (heard, decoder) = hear_pieces([&frame[..cut], &frame[cut..]], &FrameLimits::default());
            assert_eq!(
                heard,
                [Heard::Text(String::from_utf8(payload.clone()).unwrap())],
                "length {length}, cut at {cut}"
            );
            assert!(decoder.is_idle());
        }
    }
}

#[test]
fn a_whole_frame_is_borrowed_where_it_lies() {
    let mut bytes = frame(0x81, b"Hello");
    let payload_at = bytes[6..].as_ptr();
    let mut input = Input::new(&mut bytes);
    let Ok(Some(FrameEvent::Text(text))) = FrameDecoder::default().next(&mut input, &FrameLimits::default()) else {
        panic!("no text")
    };
    assert_eq!(text.as_ptr(), payload_at);
}

#[test]
fn control_frames_between_fragments() {
    let bytes = [
        frame(0x01, "a\u{20ac}".as_bytes().split_at(2).0),
        frame(0x89, b"there?"),
        frame(0x00, "a\u{20ac}".as_bytes().split_at(2).1),
        frame(0x8A, b""),
        frame(0x00, b""),
        frame(0x80, b"!"),
        frame(0x82, b"next"),
    ];
    let expected =
        [Heard::Ping(b"there?".to_vec()), Heard::Pong(Vec::new()), text("a€!"), Heard::Binary(b"next".to_vec())];
    assert_eq!(hear(&bytes.concat()), expected);
}

#[test]
fn order_of_frames() {
    assert_eq!(hear(&frame(0x80, b"x")), [protocol("continuation of nothing")]);
    assert_eq!(hear(&frame(0x00, b"")), [protocol("continuation of nothing")]);
    for (first, second) in [(0x01, 0x81), (0x02, 0x02), (0x01, 0x02), (0x02, 0x81)] {
        let bytes = [frame(first, b""), frame(second, b"b")].concat();
        assert_eq!(hear(&bytes), [protocol("message inside a fragmented message")]);
    }
    let after_the_end = [frame(0x01, b"a"), frame(0x80, b"b"), frame(0x80, b"c")].concat();
    assert_eq!(hear(&after_the_end), [text("ab"), protocol("continuation of nothing")]);
}

#[test]
fn close_frames() {
    assert_eq!(hear(&frame(0x88, b"")), [Heard::Close(None)]);
    assert_eq!(hear(&frame(0x88, b"\x03\xE8bye")), [Heard::Close(Some((1000, "bye".to_owned())))]);
    assert_eq!(hear(&frame(0x88, b"\x03")), [protocol("close code cut short")]);
    assert_eq!(hear(&frame(0x88, b"\x03\xED")), [protocol("close code not allowed")]);
    assert_eq!(hear(&frame(0x88, b"\x03\xE8\xFF")), [Heard::Fault(FrameError::InvalidUtf8)]);
    assert_eq!(hear(&[frame(0x01, b"a"), frame(0x88, b"")].concat()), [Heard::Close(None)]);
}

#[test]
fn too_large_as_soon_as_announced() {
    let limits = FrameLimits { message_bytes: 10, fragments: 3 };
    assert_eq!(hear_within(&frame(0x81, b"0123456789"), &limits), [text("0123456789")]);
    assert_eq!(hear_within(&frame(0x81, b"0123456789a")[..6], &limits), [Heard::Fault(FrameError::TooLarge)]);
    assert_eq!(hear_within(&frame(0x01, b"0123456789a")[..6], &limits), [Heard::Fault(FrameError::TooLarge)]);
    let second = [frame(0x01, b"012345678"), frame(0x80, b"9a")[..6].to_vec()].concat();
    assert_eq!(hear_within(&second, &limits), [Heard::Fault(FrameError::TooLarge)]);
    let huge = [0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4];
    assert_eq!(hear(&huge), [Heard::Fault(FrameError::TooLarge)]);
    // Control frames answer to the protocol's limit, not to this one.
    assert_eq!(hear_within(&frame(0x89, &[1; 125]), &limits), [Heard::Ping(vec![1; 125])]);
    let three = [frame(0x01, b"a"), frame(0x00, b""), frame(0x80, b"c")].concat();
    assert_eq!(hear_within(&three, &limits), [text("ac")]);
    let four = [frame(0x01, b"a"), frame(0x00, b""), frame(0x00, b""), frame(0x80, b"d")].concat();
    assert_eq!(hear_within(&four, &limits), [Heard::Fault(FrameError::TooManyFragments)]);
}

#[test]
fn idle_means_nothing_held() {
    let bytes = [frame(0x01, b"ab"), frame(0x89, b"ping"), frame(0x80, b"cd"), frame(0x81, b"e")].concat();
    let ends = [6 + 2 + 6 + 4 + 6 + 2, bytes.len()];
    let (mut decoder, mut heard) = (FrameDecoder::default(), Vec::new());
    assert!(decoder.is_idle());
    for (index, byte) in bytes.iter().enumerate() {
        feed(&mut decoder, std::slice::from_ref(byte), &FrameLimits::default(), &mut heard);
        assert_eq!(decoder.is_idle(), ends.contains(&(index + 1)), "after byte {index}");
    }
    assert_eq!(heard, [Heard::Ping(b"ping".to_vec()), text("abcd"), text("e")]);
    // While its event is still looked at, too.
    let mut bytes = bytes;
    let mut input = Input::new(&mut bytes);
    decoder.next(&mut input, &FrameLimits::default()).unwrap();
    let event = decoder.next(&mut input, &FrameLimits::default());
    assert!(decoder.is_idle());
    assert_eq!(event, Ok(Some(FrameEvent::Text("abcd"))));
}

#[test]
fn text_fails_at_the_exact_byte() {
    let cases: [&[u8]; 7] = [
        b"ok\x80",
        b"\xCE\xBA\xED\xA0\x80",
        b"\xF4\x90\x80\x80",
        b"\xE0\x80",
        b"\xC0",
        b"a\xE2\x82A",
        b"\xF0\x9F\x98\x80\xFF",
    ];
    for invalid in cases {
        let fatal = (0..invalid.len())
            .find(|&end| std::str::from_utf8(&invalid[..=end]).is_err_and(|error| error.error_len().is_some()))
            .unwrap();
        let mut payload = invalid.to_vec();
        payload.extend_from_slice(&[b'x'; 300]);
        for first in [0x01, 0x81] {
            let bytes = frame(first, &payload);
            let before = bytes.len() - payload.len() + fatal;
            assert_eq!(hear(&bytes[..before]), []);
            assert_eq!(hear(&bytes[..=before]), [Heard::Fault(FrameError::InvalidUtf8)]);
        }
    }
    assert_eq!(hear(&frame(0x01, b"cut \xE2\x82")), []);
    assert_eq!(hear(&frame(0x81, b"cut \xE2\x82")), [Heard::Fault(FrameError::InvalidUtf8)]);
    assert_eq!(
        hear(&[frame(0x01, b"cut \xE2"), frame(0x80, b"\x82")].concat()),
        [Heard::Fault(FrameError::InvalidUtf8)]
    );
}

#[test]
fn errors_have_codes() {
    assert_eq!(FrameError::Protocol("x").close_code(), 1002);
    assert_eq!(FrameError::InvalidUtf8.close_code(), 1007);
    assert_eq!(FrameError::TooLarge.close_code(), 1009);
    assert_eq!(FrameError::TooManyFragments.close_code(), 1009);
    assert_eq!(FrameError::TooLarge.to_string(), "message too large");
}

/// A frame that mostly keeps the rules.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let opcode =
        prop_oneof![4 => Just(0x0), 4 => Just(0x1), 2 => Just(0x2), 1 => Just(0x8), 2 => Just(0x9), 2 => Just(0xA)];
    let payload = prop_oneof![
        4 => ".{0,60}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (120_usize..135).prop_map(|length| vec![b'a'; length]),
    ];
    (opcode, any::<bool>(), any::<[u8; 4]>(), payload).prop_map(|(opcode, is_final, mask, mut payload)| {
        let control = opcode & 0x8 != 0;
        if control {
            payload.truncate(125);
        }
        frame_masked(opcode | if is_final || control { 0x80 } else { 0 }, mask, &payload)
    })
}

/// Cuts `bytes` at the given places.
fn pieces<'b>(bytes: &'b [u8], cuts: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events(
        frames in prop::collection::vec(any_frame(), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let bytes = frames.concat();
        let limits = FrameLimits { message_bytes: 300, fragments: 5 };
        prop_assert_eq!(hear_pieces(pieces(&bytes, &cuts), &limits).0, hear_within(&bytes, &limits));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        hear(&bytes);
    }

    #[test]
    fn tungstenite_client_is_understood(texts in prop::collection::vec(".{0,200}", 1..6), length in 0_usize..70_000) {
        let mut client = WebSocket::from_raw_socket(Wire::default(), Role::Client, None);
        let mut expected = Vec::new();
        for text in texts {
            expected.extend([Heard::Text(text.clone()), Heard::Ping(b"ping".to_vec()), Heard::Binary(vec![9; length])]);
            client.write(Message::text(text)).unwrap();
            client.write(Message::Ping(b"ping".as_slice().into())).unwrap();
            client.write(Message::binary(vec![9; length])).unwrap();
        }
        client.flush().unwrap();
        prop_assert_eq!(hear_pieces(client.get_ref().written.chunks(16 * 1024), &FrameLimits::default()).0, expected);
    }

    #[test]
    fn tungstenite_client_understands(text in ".{0,200}", length in 0_usize..70_000, reason in ".{0,80}") {
        let mut out = Vec::new();
        encode_text(&mut out, text.as_bytes());
        let mark = begin_text(&mut out);
        out.extend_from_slice(text.as_bytes());
        finish(&mut out, mark);
        encode_ping(&mut out, b"ping");
        encode_pong(&mut out, b"pong");
        encode_binary(&mut out, &vec![9; length]);
        encode_close(&mut out, 4408, &reason);
        let mut client = WebSocket::from_raw_socket(Wire::holding(out), Role::Client, None);
        prop_assert_eq!(client.read().unwrap(), Message::text(text.clone()));
        prop_assert_eq!(client.read().unwrap(), Message::text(text));
        prop_assert_eq!(client.read().unwrap(), Message::Ping(b"ping".as_slice().into()));
        prop_assert_eq!(client.read().unwrap(), Message::Pong(b"pong".as_slice().into()));
        prop_assert_eq!(client.read().unwrap(), Message::binary(vec![9; length]));
        let Message::Close(Some(close)) = client.read().unwrap() else { panic!("no close") };
        prop_assert_eq!(u16::from(close.code), 4408);
        prop_assert!(reason.starts_with(close.reason.as_str()) && close.reason.len() >= reason.len().min(120));
    }
}

/// A socket without a network: reads what it was given, keeps what is written.
#[derive(Debug, Default)]
struct Wire {
    to_read: Cursor<Vec<u8>>,
    written: Vec<u8>,
}

impl Wire {
    fn holding(bytes: Vec<u8>) -> Self {
        Self { to_read: Cursor::new(bytes), written: Vec::new() }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.to_read.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
