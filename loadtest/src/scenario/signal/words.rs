//! How signaling is said in the `raw` dialect, and what comes of it. A body is a mark followed by text as browsers write it,
//! which a server has to pass on byte for byte; who receives it compares all of it.

use std::fmt::Display;
use std::io::Write as _;
use std::ops::Range;

use memchr::memmem::{self, Finder};

use crate::mark;

/// The lines that descriptions are made of, as JSON spells them.
const SDP_LINES: &[&str] = &[
    r"v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n",
    r"m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:4ZcD\r\n",
    r"a=ice-pwd:2/1muCWoOi3uLifh0NuRHlqx\r\na=ice-options:trickle\r\na=setup:actpass\r\na=mid:0\r\n",
    r"a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n",
];

/// A candidate's text after its mark.
const CANDIDATE: &str =
    " 1 udp 1677729535 192.0.2.17 46154 typ srflx raddr 10.0.0.17 rport 46154 generation 0 ufrag 4ZcD network-cost 999";

const PEER: &str = "peer-";

/// What is sent from peer to peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Offer,
    Answer,
    Candidate,
}

/// A signal between two peers, which are numbered among all workers' clients.
#[derive(Clone, Copy)]
pub struct Way {
    pub kind: Kind,
    pub from: usize,
    pub to: usize,
}

/// What came from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'t> {
    /// A signal from a peer. The mark is empty if the signal is not what was sent.
    Signal { kind: Kind, from: usize, mark: &'t [u8] },
    /// The client is in the room, together with so many others.
    Joined { others: usize },
    /// The client has left the room.
    Left,
    /// Something was refused.
    Error,
    /// Anything else.
    Other,
}

/// The words of one run.
pub struct Words {
    /// A description's text after its mark.
    sdp: Vec<u8>,
    mark: Finder<'static>,
}

impl Words {
    /// With descriptions of so many bytes, as JSON spells them.
    pub fn new(bytes: usize) -> Self {
        Self { sdp: description(bytes.saturating_sub(mark::LENGTH)), mark: Finder::new(b":\"#") }
    }

    /// Asks to join a room as this peer.
    pub fn join(&self, room: impl Display, peer: usize) -> String {
        format!(r#"{{"type":"join-room","roomId":"{room}","peerId":"{PEER}{peer}"}}"#)
    }

    /// Asks to leave a room.
    pub fn leave(&self, room: impl Display, peer: usize) -> String {
        format!(r#"{{"type":"leave-room","roomId":"{room}","peerId":"{PEER}{peer}"}}"#)
    }

    /// Appends a signal with this number and time.
    pub fn signal(&self, out: &mut Vec<u8>, room: impl Display, way: Way, seq: u64, sent_ns: u64) {
        let Way { kind, from, to } = way;
        let (name, field, body) = match kind {
            Kind::Offer => ("offer", "offer", r#"{"type":"offer","sdp":""#),
            Kind::Answer => ("answer", "answer", r#"{"type":"answer","sdp":""#),
            Kind::Candidate => ("ice-candidate", "candidate", r#"{"sdpMLineIndex":0,"sdpMid":"0","candidate":""#),
        };
        let _ = write!(
            out,
            r#"{{"type":"{name}","roomId":"{room}","fromPeerId":"{PEER}{from}","toPeerId":"{PEER}{to}","{field}":{body}"#
        );
        mark::write(out, seq, sent_ns, mark::LENGTH);
        out.extend_from_slice(self.rest(kind));
        let _ = write!(out, r#""}},"timestamp":{}}}"#, sent_ns / 1_000_000);
    }

    /// What came to a client.
    pub fn hear<'t>(&self, text: &'t [u8], client: usize) -> Heard<'t> {
        let Some(kind) = text.strip_prefix(br#"{"type":""#) else { return Heard::Other };
        if kind.starts_with(b"offer\"") {
            self.hear_signal(Kind::Offer, text, client)
        } else if kind.starts_with(b"answer\"") {
            self.hear_signal(Kind::Answer, text, client)
        } else if kind.starts_with(b"ice-candidate\"") {
            self.hear_signal(Kind::Candidate, text, client)
        } else if kind.starts_with(b"room-joined\"") {
            // The first is the client's own.
            Heard::Joined { others: memmem::find_iter(text, r#""peerId":"peer-"#).count().saturating_sub(1) }
        } else if kind.starts_with(b"room-left\"") {
            Heard::Left
        } else if kind.starts_with(b"error\"") {
            Heard::Error
        } else {
            Heard::Other
        }
    }

    fn hear_signal<'t>(&self, kind: Kind, text: &'t [u8], client: usize) -> Heard<'t> {
        let Some((mark, from)) = self.mark(kind, text, client) else {
            return Heard::Signal { kind, from: usize::MAX, mark: &[] };
        };
        Heard::Signal { kind, from, mark: &text[mark] }
    }

    /// Where the mark is, and who sent it, if everything is as it was sent to this client.
    fn mark(&self, kind: Kind, text: &[u8], client: usize) -> Option<(Range<usize>, usize)> {
        let start = self.mark.find(text)? + 2;
        let end = start + mark::LENGTH;
        let (head, body) = (&text[..start], text.get(end..)?);
        let is_whole = body.strip_prefix(self.rest(kind))?.starts_with(b"\"}");
        let to = peer(head, r#""toPeerId":"peer-"#)?;
        (is_whole && to == client).then_some((start..end, peer(head, r#""fromPeerId":"peer-"#)?))
    }

    fn rest(&self, kind: Kind) -> &[u8] {
        if kind == Kind::Candidate { CANDIDATE.as_bytes() } else { &self.sdp }
    }
}

/// The peer's number that follows `field`.
fn peer(text: &[u8], field: &str) -> Option<usize> {
    let digits = &text[memmem::find(text, field.as_bytes())? + field.len()..];
    let digits = &digits[..memchr::memchr(b'"', digits)?];
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Lines of a description, so many bytes of them.
fn description(bytes: usize) -> Vec<u8> {
    let mut text: Vec<u8> = SDP_LINES.iter().flat_map(|lines| lines.bytes()).cycle().take(bytes).collect();
    // An escape is whole or not there.
    if let Some(last) = text.last_mut().filter(|last| **last == b'\\') {
        *last = b'.';
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Way = Way { kind: Kind::Offer, from: 3, to: 14 };

    fn said(words: &Words, kind: Kind) -> Vec<u8> {
        let mut text = Vec::new();
        words.signal(&mut text, "room-1", Way { kind, ..WAY }, 7, 99_000_000);
        text
    }

    #[test]
    fn signals_are_json_of_any_size_and_are_heard_as_they_were_said() {
        for bytes in mark::LENGTH..400 {
            let words = Words::new(bytes);
            for kind in [Kind::Offer, Kind::Answer, Kind::Candidate] {
                let text = said(&words, kind);
                let json: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
                assert_eq!((&json["fromPeerId"], &json["toPeerId"]), (&"peer-3".into(), &"peer-14".into()));
                let Heard::Signal { kind: heard, from, mark } = words.hear(&text, 14) else { panic!("a signal") };
                assert_eq!((heard, from, mark::read(mark).map(|mark| mark.seq)), (kind, 3, Some(7)));
            }
            let text = said(&words, Kind::Offer);
            let start = memmem::find(&text, b":\"#").expect("a mark") + 2;
            let length = text[start..].iter().position(|byte| *byte == b'"').expect("an end");
            assert_eq!(length, bytes);
        }
    }

    #[test]
    fn what_was_changed_on_its_way_has_no_mark() {
        let words = Words::new(300);
        let text = said(&words, Kind::Answer);
        let is_marked = |text: &[u8]| match words.hear(text, 14) {
            Heard::Signal { mark, .. } => !mark.is_empty(),
            _ => false,
        };
        assert!(is_marked(&text));
        assert!(!matches!(words.hear(&text, 13), Heard::Signal { mark, .. } if !mark.is_empty()));
        let start = memmem::find(&text, b":\"#").expect("a mark") + 2;
        for at in start + mark::LENGTH..start + 300 {
            let mut changed = text.clone();
            changed[at] ^= 1;
            assert!(!is_marked(&changed), "{at}");
        }
        for length in start..start + 301 {
            assert!(!is_marked(&text[..length]), "{length}");
        }
    }

    #[test]
    fn joins_tell_how_many_others_there_are() {
        let words = Words::new(64);
        let joined =
            |peers: &str| format!(r#"{{"type":"room-joined","roomId":"r","peerId":"peer-9","peers":[{peers}]}}"#);
        assert_eq!(words.hear(joined("").as_bytes(), 9), Heard::Joined { others: 0 });
        let two = r#"{"peerId":"peer-1"},{"peerId":"peer-2"}"#;
        assert_eq!(words.hear(joined(two).as_bytes(), 9), Heard::Joined { others: 2 });
        assert_eq!(words.hear(br#"{"type":"room-left","roomId":"r"}"#, 9), Heard::Left);
        assert_eq!(words.hear(br#"{"type":"error","error":"No"}"#, 9), Heard::Error);
        assert_eq!(words.hear(br#"{"type":"connect"}"#, 9), Heard::Other);
    }
}
