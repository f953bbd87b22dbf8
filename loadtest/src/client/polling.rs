//! A client that speaks Socket.IO over HTTP long-polling: one lane for the `GET` that waits for packets and is issued
//! again as soon as it is answered, one for `POST`s. There is one of each under way at most, as Engine.IO demands; what
//! there is to send meanwhile goes into the next `POST`, as many packets as the server takes in one.
//!
//! A server may close a lane that waits for nothing, as HTTP servers do after a few idle seconds; it is opened again
//! when it is needed. A request that was sent and not answered is not sent again: whether it was heard is not known.

use std::io::Write as _;
use std::mem;

use memchr::{memchr, memrchr};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use super::engineio::{self, Open, SEPARATOR};
use super::http::{Part, Responses};
use super::settings::Filled;
use super::socketio::{Answer, Session};
use super::{Effects, MESSAGE_BYTES_MAX, Reason, Scratch};

/// The lane of the `GET`s.
const GET: u8 = 0;
/// The lane of the `POST`s.
const POST: u8 = 1;

/// Largest buffer that is kept for the next incomplete packet, or for the next packets to send.
const KEPT_CAPACITY_MAX: usize = 2048;

pub(super) struct Polling {
    session: Session,
    /// Path and query; with the session's name once that is known.
    target: String,
    host: Box<str>,
    get: Lane,
    post: Lane,
    /// An incomplete packet.
    packet: Vec<u8>,
    /// Packets to send, joined.
    outbox: Vec<u8>,
    /// Largest body of a `POST`, in bytes.
    payload_bytes_max: usize,
    /// The last packet is sent, or in the outbox.
    is_leaving: bool,
}

#[derive(Default)]
struct Lane {
    stage: Stage,
    responses: Responses,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// Not connected.
    #[default]
    Down,
    Connecting,
    /// Connected, no request under way.
    Idle,
    /// A request is under way.
    Asking,
}

impl Polling {
    pub(super) fn new(filled: &Filled) -> Self {
        Self {
            session: Session::new(filled.namespace.as_deref().unwrap_or("/"), filled),
            target: filled.target.clone(),
            host: filled.host.as_str().into(),
            get: Lane::default(),
            post: Lane::default(),
            packet: Vec::new(),
            outbox: Vec::new(),
            payload_bytes_max: 0,
            is_leaving: false,
        }
    }

    pub(super) fn start(&mut self, effects: &mut impl Effects) {
        self.get.open(GET, effects);
        self.post.open(POST, effects);
    }

    pub(super) fn connected(&mut self, lane: u8, effects: &mut impl Effects) {
        if lane == GET {
            self.get.stage = Stage::Idle;
            self.poll(effects);
        } else {
            self.post.stage = Stage::Idle;
            self.flush(effects);
        }
    }

    pub(super) fn received(&mut self, lane: u8, bytes: &[u8], effects: &mut impl Effects) -> Result<(), Reason> {
        if lane == GET { self.received_packets(bytes, effects) } else { self.received_receipt(bytes, effects) }
    }

    pub(super) fn ended(&mut self, lane: u8) -> Result<(), Reason> {
        let lane = if lane == GET { &mut self.get } else { &mut self.post };
        let before = mem::take(lane);
        if before.stage == Stage::Idle { Ok(()) } else { Err(Reason::Ended) }
    }

    pub(super) fn send(&mut self, text: &[u8], effects: &mut impl Effects) {
        if let Some(prefix) = self.session.event() {
            push_packet(&mut self.outbox, &[prefix, text]);
            self.flush(effects);
        }
    }

    pub(super) fn leave(&mut self, effects: &mut impl Effects) -> Result<(), Reason> {
        if self.session.event().is_none() {
            return Err(Reason::Gone);
        }
        self.is_leaving = true;
        push_packet(&mut self.outbox, &[&[engineio::CLOSE]]);
        self.flush(effects);
        Ok(())
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.outbox.len()
    }

    pub(super) fn close(&mut self, effects: &mut impl Effects) {
        self.get.close(GET, effects);
        self.post.close(POST, effects);
        (self.packet, self.outbox) = (Vec::new(), Vec::new());
    }

    /// Reads answers to `GET`s.
    fn received_packets(&mut self, mut bytes: &[u8], effects: &mut impl Effects) -> Result<(), Reason> {
        loop {
            match self.get.next(&mut bytes)? {
                Part::Nothing => return Ok(()),
                Part::Head(200) => {}
                Part::Head(status) => return Err(Reason::Status(status)),
                Part::Data { bytes: data, is_end } => {
                    self.payload(data, is_end, effects)?;
                    if is_end {
                        self.get.answered(GET, effects);
                        self.poll(effects);
                    }
                }
            }
        }
    }

    /// Reads answers to `POST`s, of which only the status matters.
    fn received_receipt(&mut self, mut bytes: &[u8], effects: &mut impl Effects) -> Result<(), Reason> {
        loop {
            match self.post.next(&mut bytes)? {
                Part::Nothing => return Ok(()),
                Part::Head(status) if status != 200 => return Err(Reason::Status(status)),
                Part::Data { is_end: true, .. } => {
                    self.post.answered(POST, effects);
                    if self.is_leaving && self.outbox.is_empty() {
                        return Err(Reason::Gone);
                    }
                    self.flush(effects);
                }
                Part::Head(_) | Part::Data { .. } => {}
            }
        }
    }

    /// Reads some of a payload, packet by packet; keeps the last one while more of it may come.
    fn payload(&mut self, mut data: &[u8], is_end: bool, effects: &mut impl Effects) -> Result<(), Reason> {
        while let Some(end) = memchr(SEPARATOR, data) {
            self.packet_end(&data[..end], effects)?;
            data = &data[end + 1..];
        }
        if is_end {
            return self.packet_end(data, effects);
        }
        self.keep(data)
    }

    fn keep(&mut self, data: &[u8]) -> Result<(), Reason> {
        if data.len() > MESSAGE_BYTES_MAX - self.packet.len() {
            return Err(Reason::Fault("a packet is too large"));
        }
        self.packet.extend_from_slice(data);
        Ok(())
    }

    /// Reads a packet, or the rest of the one that is kept.
    fn packet_end(&mut self, end: &[u8], effects: &mut impl Effects) -> Result<(), Reason> {
        if self.packet.is_empty() {
            return self.packet(end, effects);
        }
        self.keep(end)?;
        let mut packet = mem::take(&mut self.packet);
        self.packet(&packet, effects)?;
        if packet.capacity() <= KEPT_CAPACITY_MAX {
            packet.clear();
            self.packet = packet;
        }
        Ok(())
    }

    fn packet(&mut self, packet: &[u8], effects: &mut impl Effects) -> Result<(), Reason> {
        match self.session.received(packet, effects)? {
            Answer::Nothing => return Ok(()),
            Answer::Connect(open) => {
                self.opened(&open);
                let connect = self.session.connect();
                push_packet(&mut self.outbox, &[&connect]);
            }
            Answer::Pong => push_packet(&mut self.outbox, &[engineio::PONG]),
        }
        self.flush(effects);
        Ok(())
    }

    fn opened(&mut self, open: &Open) {
        self.target.push_str("&sid=");
        self.target.extend(percent_encode(open.sid.as_bytes(), NON_ALPHANUMERIC));
        self.payload_bytes_max = open.max_payload;
    }

    /// Asks for packets, if no `GET` is under way.
    fn poll(&mut self, effects: &mut impl Effects) {
        match self.get.stage {
            Stage::Down => self.get.open(GET, effects),
            Stage::Connecting | Stage::Asking => {}
            Stage::Idle => {
                let mut request = self.request("GET");
                request.extend_from_slice(b"\r\n");
                effects.write(GET, &request);
                self.get.stage = Stage::Asking;
            }
        }
    }

    /// Sends what there is to send, if no `POST` is under way.
    fn flush(&mut self, effects: &mut impl Effects) {
        if self.outbox.is_empty() {
            return;
        }
        match self.post.stage {
            Stage::Down => self.post.open(POST, effects),
            Stage::Connecting | Stage::Asking => {}
            Stage::Idle => {
                let (payload, used) = first_payload(&self.outbox, self.payload_bytes_max);
                let mut request = self.request("POST");
                let _ = write!(
                    request,
                    "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n",
                    payload.len()
                );
                request.extend_from_slice(payload);
                effects.write(POST, &request);
                self.post.stage = Stage::Asking;
                self.outbox.drain(..used);
                if self.outbox.is_empty() && self.outbox.capacity() > KEPT_CAPACITY_MAX {
                    self.outbox = Vec::new();
                }
            }
        }
    }

    /// A request's head, without the line that ends it.
    fn request(&self, method: &str) -> Scratch {
        let mut request = Scratch::new();
        for part in [method, " ", &self.target, " HTTP/1.1\r\nHost: ", &self.host, "\r\nAccept: */*\r\n"] {
            request.extend_from_slice(part.as_bytes());
        }
        request
    }
}

impl Lane {
    fn open(&mut self, lane: u8, effects: &mut impl Effects) {
        *self = Self { stage: Stage::Connecting, ..Self::default() };
        effects.open(lane);
    }

    fn close(&mut self, lane: u8, effects: &mut impl Effects) {
        if self.stage != Stage::Down {
            effects.close(lane);
        }
        *self = Self::default();
    }

    fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Part<'a>, Reason> {
        if self.stage != Stage::Asking && !bytes.is_empty() {
            return Err(Reason::Fault("an answer without a request"));
        }
        self.responses.next(bytes)
    }

    /// The request under way has its answer, all of it.
    fn answered(&mut self, lane: u8, effects: &mut impl Effects) {
        if self.responses.is_last() {
            self.close(lane, effects);
        } else {
            self.stage = Stage::Idle;
        }
    }
}

/// The packets at the start of `outbox` that make one payload, and how many bytes they take there. A packet that is
/// too large by itself is a payload all the same: the server is to say so.
fn first_payload(outbox: &[u8], payload_bytes_max: usize) -> (&[u8], usize) {
    if outbox.len() <= payload_bytes_max {
        return (outbox, outbox.len());
    }
    // A separator right behind the largest payload still ends it.
    let cut = memrchr(SEPARATOR, &outbox[..=payload_bytes_max]).or_else(|| memchr(SEPARATOR, outbox));
    cut.map_or((outbox, outbox.len()), |cut| (&outbox[..cut], cut + 1))
}

fn push_packet(outbox: &mut Vec<u8>, parts: &[&[u8]]) {
    if !outbox.is_empty() {
        outbox.push(SEPARATOR);
    }
    for part in parts {
        outbox.extend_from_slice(part);
    }
}
