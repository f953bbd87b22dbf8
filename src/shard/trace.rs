//! Traces of frames: an admin watches what passes between the server and one connection, user, room or address.
//!
//! Every shard knows all traces. It looks at frames only while there is one, and sends copies of those that match to the shard
//! with the admin's connection, once in a turn. A trace ends with that connection.

use std::net::IpAddr;

use crate::base::Name;
use crate::base::handle::{ConnSlot, PeerKey, SessionSlot, Slot, SocketIoSlot};
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::{Now, http_date};
use crate::codec::json;
use crate::codec::ws::FrameEvent;
use crate::connection::conn::ConnStage;
use crate::connection::http::Phase;
use crate::dialect::rest;
use crate::domain::access::Identity;
use crate::domain::log_filter::LogSubject;
use crate::domain::reject::{Code, Reject};
use crate::domain::trace::{FrameDirection, Trace, TraceChange, TraceSubject, TracedFrame};
use crate::message::ShardMessage;
use crate::shard::core::Core;

/// The traces of the process.
#[derive(Default)]
pub(super) struct Tracer {
    list: Vec<Watched>,
}

/// A trace, and the frames for it that this shard has seen.
struct Watched {
    trace: Trace,
    /// A room's name as JSON, as frames have it.
    quoted: String,
    lines: Vec<u8>,
    /// The second, in monotonic time, and the frames and left out frames in it.
    window: (u64, u32, u32),
}

impl Tracer {
    /// Whether there is a trace.
    pub(super) fn is_active(&self) -> bool {
        !self.list.is_empty()
    }

    fn begin(&mut self, trace: Trace) {
        let quoted = match &trace.subject {
            TraceSubject::Of(LogSubject::Room(room)) => {
                let mut quoted = Vec::new();
                json::string(&mut quoted, room);
                String::from_utf8(quoted).expect("invariant: the JSON writer emits UTF-8")
            }
            TraceSubject::Of(_) | TraceSubject::Address(_) => String::new(),
        };
        self.list.push(Watched { trace, quoted, lines: Vec::new(), window: (0, 0, 0) });
    }

    fn end(&mut self, to: ConnectionId) {
        self.list.retain(|watched| watched.trace.to != to);
    }
}

/// The client that a frame is of: a raw connection, or an Engine.IO session with its peers.
struct TracedClient {
    connections: Vec<ConnectionId>,
    users: Vec<Name>,
    address: IpAddr,
}

impl TracedClient {
    fn is(&self, watched: &Watched, text: Option<&str>) -> bool {
        match &watched.trace.subject {
            TraceSubject::Of(LogSubject::Connection(id)) => self.connections.contains(id),
            TraceSubject::Of(LogSubject::User(user)) => self.users.contains(user),
            TraceSubject::Of(LogSubject::Room(_)) => text.is_some_and(|text| rest::names_room(text, &watched.quoted)),
            TraceSubject::Address(address) => self.address.to_canonical() == *address,
        }
    }
}

/// A frame on its way.
struct Passing<'a> {
    direction: FrameDirection,
    kind: &'static str,
    size: usize,
    text: Option<&'a str>,
}

impl Watched {
    fn add(&mut self, now: Now, client: &TracedClient, frame: &Passing<'_>) {
        let second = now.mono / 1_000;
        if self.window.0 != second {
            self.tell_skipped();
            self.window = (second, 0, 0);
        }
        if self.window.1 >= limits::TRACED_FRAMES {
            self.window.2 += 1;
            return;
        }
        self.window.1 += 1;
        let text = frame.text.map(rest::masked);
        let shown = text.as_deref().map(|text| &text[..text.floor_char_boundary(limits::TRACED_BYTES)]);
        rest::traced_frame(
            &mut self.lines,
            &TracedFrame {
                at: now.wall,
                direction: frame.direction,
                kind: frame.kind,
                size: frame.size,
                connection: client.connections[0],
                user: client.users.first().map(|user| &**user),
                address: client.address,
                text: shown,
                is_cut: text.as_deref().map(str::len) > shown.map(str::len),
            },
        );
    }

    fn tell_skipped(&mut self) {
        if self.window.2 > 0 {
            rest::skipped_frames(&mut self.lines, std::mem::take(&mut self.window.2));
        }
    }
}

/// Watches frames.
pub(super) struct Tracing<'a> {
    core: &'a mut Core,
}

impl<'a> Tracing<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Answers the request of a connection with the frames of a subject, for so many seconds.
    ///
    /// # Errors
    /// There are too many traces.
    pub(super) fn begin(
        &mut self,
        now: Now,
        slot: ConnSlot,
        subject: &TraceSubject,
        seconds: u64,
    ) -> Result<(), Reject> {
        if self.core.tracer.list.len() >= limits::TRACES {
            let text = format!("{} traces are watched already: end one", limits::TRACES);
            return Err(Reject::new(Code::RateLimited, text));
        }
        let to = self.core.net.id_of(slot);
        let conn = &mut self.core.net.conns[slot];
        let form = match std::mem::replace(&mut conn.stage, ConnStage::Trace) {
            ConnStage::Http(Some(http)) => match http.phase {
                Phase::Answering(form) => form,
                _ => Default::default(),
            },
            _ => Default::default(),
        };
        let date = http_date(now.wall);
        let segment =
            self.core.net.outbound.encode(|out| form.begin_stream(out, &date, "application/x-ndjson; charset=utf-8"));
        self.core.net.push(slot, segment);
        self.core.stats.telemetry.answered(200);
        self.core.net.set_deadline(now, slot, seconds * 1_000);
        let trace = Trace { to, subject: subject.clone() };
        self.tell_others(&TraceChange::Begin(trace.clone()));
        self.core.tracer.begin(trace);
        Ok(())
    }

    /// A connection is about to be removed; it may be that of a trace.
    #[cold]
    pub(super) fn ended(&mut self, slot: ConnSlot) {
        let id = self.core.net.id_of(slot);
        if self.core.tracer.list.iter().any(|watched| watched.trace.to == id) {
            self.tell_others(&TraceChange::End(id));
            self.core.tracer.end(id);
        }
    }

    fn tell_others(&mut self, change: &TraceChange) {
        for shard in self.core.channels.placement.other_shards(self.core.number) {
            self.core.channels.post(shard, ShardMessage::Trace(change.clone()));
        }
    }

    /// Applies a change that another shard tells of.
    #[cold]
    pub(super) fn apply(&mut self, change: TraceChange) {
        match change {
            TraceChange::Begin(trace) => self.core.tracer.begin(trace),
            TraceChange::End(to) => self.core.tracer.end(to),
            TraceChange::Frames { to, lines } => self.write(to, &lines),
        }
    }

    /// Writes frames to the admin who watches. One who does not read them misses some.
    fn write(&mut self, to: ConnectionId, lines: &[u8]) {
        if let Some(slot) = self.core.net.find_conn(to) {
            let mut segment = self.core.net.outbound.encode(|out| out.extend_from_slice(lines));
            segment.droppable = true;
            self.core.net.push(slot, segment);
        }
    }

    /// A frame has come.
    #[cold]
    pub(super) fn incoming(&mut self, now: Now, slot: ConnSlot, frame: &FrameEvent<'_>) {
        let (kind, size, text) = match frame {
            FrameEvent::Text(text) => ("text", text.len(), Some(*text)),
            FrameEvent::Binary(bytes) => ("binary", bytes.len(), None),
            FrameEvent::Ping(payload) => ("ping", payload.len(), None),
            FrameEvent::Pong(payload) => ("pong", payload.len(), None),
            FrameEvent::Close(close) => ("close", close.map_or(0, |(_, text)| text.len() + 2), close.map(|it| it.1)),
        };
        if let Some(client) = self.client_of(slot) {
            self.add(now, &client, &Passing { direction: FrameDirection::In, kind, size, text });
        }
    }

    /// The body of a polling request or of its answer.
    #[cold]
    pub(super) fn polling(&mut self, now: Now, at: SessionSlot, direction: FrameDirection, body: &[u8]) {
        if let Some(client) = self.session(at) {
            let text = std::str::from_utf8(body).ok();
            self.add(now, &client, &Passing { direction, kind: "poll", size: body.len(), text });
        }
    }

    /// Looks at the bytes that the connections are about to be written, and passes on what has been gathered.
    #[cold]
    pub(super) fn outgoing(&mut self, now: Now) {
        let Core { rooms, net, .. } = &mut *self.core;
        rooms.settle_all_raw(&mut net.conns, &mut net.outbound);
        let mut written = Vec::new();
        for share in net.outbound.shares() {
            let slot = ConnSlot::from_raw(share.slot);
            if net.conns.get(slot).is_some_and(|conn| carries_frames(&conn.stage)) {
                let bytes: Vec<u8> = share.segments.iter().flat_map(|it| net.outbound.bytes(*it)).copied().collect();
                written.push((slot, bytes));
            }
        }
        for (slot, bytes) in written {
            if let Some(client) = self.client_of(slot) {
                each_frame(&bytes, |frame| self.add(now, &client, &frame));
            }
        }
        for at in 0..self.core.tracer.list.len() {
            let watched = &mut self.core.tracer.list[at];
            if watched.window.0 != now.mono / 1_000 {
                watched.tell_skipped();
            }
            if watched.lines.is_empty() {
                continue;
            }
            let (to, lines) = (watched.trace.to, std::mem::take(&mut watched.lines).into_boxed_slice());
            match to.place().shard == self.core.number {
                true => self.write(to, &lines),
                false => {
                    self.core.channels.post(to.place().shard, ShardMessage::Trace(TraceChange::Frames { to, lines }));
                }
            }
        }
    }

    fn add(&mut self, now: Now, client: &TracedClient, frame: &Passing<'_>) {
        for watched in &mut self.core.tracer.list {
            if client.is(watched, frame.text) {
                watched.add(now, client, frame);
            }
        }
    }

    /// The client of a connection with frames.
    fn client_of(&self, slot: ConnSlot) -> Option<TracedClient> {
        let conn = self.core.net.conns.get(slot)?;
        match &conn.stage {
            ConnStage::WebSocket(_) => Some(TracedClient {
                connections: vec![self.core.net.id_of(slot)],
                users: conn.identity.iter().map(Identity::user_name).collect(),
                address: self.core.net.remotes.address(slot),
            }),
            ConnStage::EngineIoSocket(socket) => self.session(self.core.net.sessions.named(socket.link)?),
            _ => None,
        }
    }

    fn session(&self, at: SessionSlot) -> Option<TracedClient> {
        let net = &self.core.net;
        let client = net.sessions.list.get(at)?;
        let peers: Vec<PeerKey> =
            client.namespaces.peers().map(|(_, peer)| PeerKey::from(SocketIoSlot::from_raw(peer))).collect();
        let mut connections: Vec<_> = peers.iter().map(|peer| self.core.shown_id(*peer)).collect();
        if connections.is_empty() {
            connections.push(net.session_id(at, client.session.nonce));
        }
        let users = peers.iter().filter_map(|peer| net.identity_of(*peer)).map(Identity::user_name).collect();
        Some(TracedClient { connections, users, address: net.sessions.remotes.address(at) })
    }
}

fn carries_frames(stage: &ConnStage) -> bool {
    matches!(stage, ConnStage::WebSocket(_) | ConnStage::EngineIoSocket(_))
}

/// Finds the frames that this server has encoded, after the head of the handshake if it is among them.
fn each_frame(mut bytes: &[u8], mut found: impl FnMut(Passing<'_>)) {
    if bytes.starts_with(b"HTTP/1.1 ") {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        bytes = end.map_or(&[], |end| &bytes[end + 4..]);
    }
    while let [first, second, rest @ ..] = bytes {
        let (length, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (usize::from(u16::from_be_bytes(*length)), rest),
                None => return,
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX), rest),
                None => return,
            },
            length => (usize::from(length), rest),
        };
        let Some((payload, rest)) = rest.split_at_checked(length) else { return };
        bytes = rest;
        let is_compressed = first & 0x40 != 0;
        let plain = || std::str::from_utf8(payload).ok().filter(|_| !is_compressed);
        let (kind, text) = match first & 0x0f {
            1 => ("text", plain()),
            8 => ("close", payload.get(2..).and_then(|reason| std::str::from_utf8(reason).ok())),
            9 => ("ping", None),
            10 => ("pong", None),
            _ => ("binary", None),
        };
        found(Passing { direction: FrameDirection::Out, kind, size: length, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ws;

    #[test]
    fn frames_are_found_among_the_bytes_of_a_turn() {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec();
        let long = "x".repeat(70_000);
        for text in ["{}", &"y".repeat(300), &long] {
            let mark = ws::begin_text(&mut bytes);
            bytes.extend_from_slice(text.as_bytes());
            ws::finish(&mut bytes, mark);
        }
        bytes.extend_from_slice(&[0x89, 0]);
        ws::encode_close(&mut bytes, 1000, "bye");
        let mut found = Vec::new();
        each_frame(&bytes, |frame| found.push((frame.kind, frame.size, frame.text.map(str::len))));
        let expected = [
            ("text", 2, Some(2)),
            ("text", 300, Some(300)),
            ("text", 70_000, Some(70_000)),
            ("ping", 0, None),
            ("close", 5, Some(3)),
        ];
        assert_eq!(found, expected);
        // What is cut off is no frame.
        let mut count = 0;
        each_frame(&bytes[..bytes.len() - 1], |_| count += 1);
        assert_eq!(count, 4);
    }
}
