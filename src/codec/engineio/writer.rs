//! Packets to the body of an answer to a poll.

use base64::Engine;

use super::packet::{BASE64, BASE64_MARK};
use super::payload::{IS_BINARY, IS_TEXT, LENGTH_END, SEPARATOR, units};
use super::{EngineIoPacket, Form, PacketData, PacketKind, Version};
use crate::codec::ws::{self, Opcode};

impl Form {
    /// The form of an answer that carries these WebSocket frames: in version 3 bytes go as such to who can read them.
    pub fn of_frames(version: Version, takes_binary: bool, frames: &[u8]) -> Self {
        match version {
            Version::V4 => Self::Separated,
            Version::V3 if takes_binary && ws::frames(frames).any(|(opcode, _)| opcode == Opcode::Binary) => {
                Self::Binary
            }
            Version::V3 => Self::Counted,
        }
    }

    /// The content type of a body in this form.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Separated | Self::Counted => "text/plain; charset=UTF-8",
            Self::Binary => "application/octet-stream",
        }
    }
}

/// A payload under construction at the end of a buffer.
#[derive(Debug)]
pub struct PayloadWriter<'o> {
    out: &'o mut Vec<u8>,
    form: Form,
    /// Where the payload begins.
    start: usize,
}

impl<'o> PayloadWriter<'o> {
    /// Begins a payload at the end of `out`.
    pub fn begin(out: &'o mut Vec<u8>, form: Form) -> Self {
        let start = out.len();
        Self { out, form, start }
    }

    /// Adds a packet.
    pub fn packet(&mut self, packet: EngineIoPacket<'_>) {
        match packet.data {
            PacketData::Text(text) => self.text(|out| {
                out.push(packet.kind.digit());
                out.extend_from_slice(text.as_bytes());
            }),
            PacketData::Binary(bytes) => self.binary(bytes),
        }
    }

    /// Adds the packet of text that `write` appends, its type included.
    pub fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.separate();
        let start = self.out.len();
        write(self.out);
        match self.form {
            Form::Separated => {}
            Form::Counted => {
                let count = units(&self.out[start..]);
                self.prefix_count(start, count);
            }
            Form::Binary => self.prefix_binary(start, IS_TEXT),
        }
    }

    /// Adds a message of bytes.
    pub fn binary(&mut self, bytes: &[u8]) {
        self.separate();
        let start = self.out.len();
        match self.form {
            Form::Separated => {
                self.out.push(BASE64_MARK);
                self.base64(bytes);
            }
            Form::Counted => {
                self.out.extend_from_slice(&[BASE64_MARK, PacketKind::Message.digit()]);
                self.base64(bytes);
                self.prefix_count(start, self.out.len() - start);
            }
            Form::Binary => {
                self.out.push(PacketKind::Message as u8);
                self.out.extend_from_slice(bytes);
                self.prefix_binary(start, IS_BINARY);
            }
        }
    }

    /// Adds the packets of WebSocket frames that this module's parent wrote for the same version.
    pub fn frames(&mut self, frames: &[u8]) {
        for (opcode, payload) in ws::frames(frames) {
            match opcode {
                Opcode::Text => self.text(|out| out.extend_from_slice(payload)),
                Opcode::Binary => {
                    let is_behind_type = self.form.version() == Version::V3;
                    self.binary(if is_behind_type { payload.get(1..).unwrap_or_default() } else { payload });
                }
                _ => {}
            }
        }
    }

    /// Ends the payload. Version 3 has a spelling for one without packets.
    pub fn end(self) {
        if self.out.len() == self.start && self.form == Form::Counted {
            self.out.extend_from_slice(b"0:");
        }
    }

    fn separate(&mut self) {
        if self.form == Form::Separated && self.out.len() > self.start {
            self.out.push(SEPARATOR as u8);
        }
    }

    fn base64(&mut self, bytes: &[u8]) {
        let start = self.out.len();
        let length = base64::encoded_len(bytes.len(), true).unwrap_or_default();
        self.out.resize(start + length, 0);
        // The slice is as long as the text.
        let _ = BASE64.encode_slice(bytes, &mut self.out[start..]);
    }

    /// Puts `<count>:` before what starts at `start`.
    fn prefix_count(&mut self, start: usize, count: usize) {
        let packet_bytes = self.out.len() - start;
        push_digits(self.out, count, b'0');
        self.out.push(b':');
        self.out[start..].rotate_left(packet_bytes);
    }

    /// Puts the header of the binary form before what starts at `start`.
    fn prefix_binary(&mut self, start: usize, mark: u8) {
        let packet_bytes = self.out.len() - start;
        self.out.push(mark);
        push_digits(self.out, packet_bytes, 0);
        self.out.push(LENGTH_END);
        self.out[start..].rotate_left(packet_bytes);
    }
}

fn push_digits(out: &mut Vec<u8>, number: usize, zero: u8) {
    if number >= 10 {
        push_digits(out, number / 10, zero);
    }
    out.push(zero + (number % 10) as u8);
}
