//! A session that polls: the GET that waits, the POST under way, what neither has taken yet, and the WebSocket that may
//! take over.

use crate::codec::engineio::{
    self, EngineIoPacket, EngineIoRefusal, Form, PROBE, PacketKind, PayloadWriter, Version, jsonp,
};
use crate::connection::session::{Effects, SessionContext};

/// Between two answers that send a client on its way to its new transport, in milliseconds.
const NUDGE_MS: u64 = 100;

/// A GET that asks for packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The TCP connection it came by.
    pub to: u32,
    /// The callback its answer is to be handed to, if any.
    pub jsonp: Option<u32>,
}

/// What is kept of a session that polls.
#[derive(Debug, Default)]
pub(super) struct Polling {
    /// The GET that waits.
    pub(super) poll: Option<Poll>,
    /// The connection of the POST under way.
    pub(super) post: Option<u32>,
    /// Packets to be sent, as WebSocket frames.
    pub(super) frames: Vec<u8>,
    /// The WebSocket that may take over.
    pub(super) probe: Option<Probe>,
    /// The session is over, and until then one more poll may come to hear so; monotonic milliseconds. 0: it is not.
    pub(super) leaving_until: u64,
}

/// A WebSocket that may take over a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    /// Its connection.
    pub(super) to: u32,
    /// Whether it has been asked and has answered.
    pub(super) is_answered: bool,
    /// When a poll that waits is ended next, so that the client can stop polling; monotonic milliseconds.
    nudge_at: u64,
    /// When the attempt is given up; monotonic milliseconds.
    until: u64,
}

/// What came of a packet on a probing WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probed {
    /// It goes on.
    Goes,
    /// It takes over.
    TakesOver,
}

impl Polling {
    /// Whether the session is over, but for one more poll.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving_until != 0
    }

    /// Whether this connection is the probing WebSocket.
    pub(super) fn is_probed_by(&self, to: u32) -> bool {
        self.probe.is_some_and(|probe| probe.to == to)
    }

    /// Adds a packet to what is to be sent.
    pub(super) fn push(&mut self, version: Version, packet: EngineIoPacket<'_>) {
        engineio::encode_packet(&mut self.frames, version, packet);
    }

    /// Answers the poll that waits, if one does, with all there is to send.
    pub(super) fn answer(&mut self, version: Version, takes_binary: bool, effects: &mut Effects) {
        let Some(Poll { to, jsonp }) = self.poll.take() else { return };
        let form = Form::of_frames(version, takes_binary && jsonp.is_none(), &self.frames);
        let write = |out: &mut Vec<u8>| {
            let mut writer = PayloadWriter::begin(out, form);
            writer.frames(&self.frames);
            writer.end();
        };
        match jsonp {
            None => effects.answer(to, form.content_type(), write),
            Some(index) => {
                let mut payload = Vec::new();
                write(&mut payload);
                // What was encoded is text.
                let payload = String::from_utf8(payload).unwrap_or_default();
                effects.answer(to, jsonp::CONTENT_TYPE, |out| jsonp::encode(out, index, &payload));
            }
        }
        // What a session that polls keeps is what its next answer holds: nothing, most of the time.
        self.frames = Vec::new();
    }

    /// A WebSocket opened that may take over.
    pub(super) fn begin_probe(&mut self, to: u32, context: &SessionContext<'_>) {
        let until = context.mono + context.settings.upgrade_ms;
        self.probe = Some(Probe { to, is_answered: false, nudge_at: 0, until });
    }

    /// The attempt to take over failed; the session goes on polling.
    pub(super) fn end_probe(&mut self, code: u16, effects: &mut Effects) {
        if let Some(probe) = self.probe.take() {
            effects.close_socket(probe.to, code);
        }
    }

    /// A packet came on the probing WebSocket. Anything but the two it is there for ends the attempt.
    pub(super) fn hear_probe(
        &mut self,
        packet: EngineIoPacket<'_>,
        version: Version,
        takes_binary: bool,
        context: &mut SessionContext<'_>,
    ) -> Probed {
        let Some(probe) = &mut self.probe else { return Probed::Goes };
        if packet == EngineIoPacket::text(PacketKind::Ping, PROBE) {
            let is_first = !std::mem::replace(&mut probe.is_answered, true);
            context.effects.packet(probe.to, version, EngineIoPacket::text(PacketKind::Pong, PROBE));
            if is_first {
                probe.nudge_at = context.mono;
                self.nudge(version, takes_binary, context);
            }
            return Probed::Goes;
        }
        // A client stops polling, and waits for its POST, before it says so.
        if packet.kind == PacketKind::Upgrade && probe.is_answered && self.post.is_none() {
            return Probed::TakesOver;
        }
        self.end_probe(1002, context.effects);
        Probed::Goes
    }

    /// Ends the poll that waits when it is time to, so that the client can move on.
    fn nudge(&mut self, version: Version, takes_binary: bool, context: &mut SessionContext<'_>) {
        let Some(probe) = &mut self.probe else { return };
        if !probe.is_answered || context.mono < probe.nudge_at {
            return;
        }
        probe.nudge_at = context.mono + NUDGE_MS;
        if self.poll.is_some() {
            if self.frames.is_empty() {
                self.push(version, EngineIoPacket::text(PacketKind::Noop, ""));
            }
            self.answer(version, takes_binary, context.effects);
        }
    }

    /// Looks after the probing WebSocket.
    pub(super) fn tick(&mut self, version: Version, takes_binary: bool, context: &mut SessionContext<'_>) {
        if self.probe.is_some_and(|probe| context.mono >= probe.until) {
            self.end_probe(1000, context.effects);
        }
        self.nudge(version, takes_binary, context);
    }

    /// When [`Polling::tick`] has something to do; `None`: when nothing changes, never.
    pub(super) fn next_due(&self) -> Option<u64> {
        if self.is_leaving() {
            return Some(self.leaving_until);
        }
        let probe = self.probe?;
        let nudges = probe.is_answered && self.poll.is_some();
        Some(if nudges { probe.until.min(probe.nudge_at) } else { probe.until })
    }

    /// The WebSocket takes over: its connection. What was to be sent goes there; a poll that comes too late is refused.
    pub(super) fn hand_over(mut self, effects: &mut Effects) -> Option<u32> {
        let probe = self.probe.take()?;
        if let Some(poll) = self.poll.take() {
            effects.refuse(poll.to, EngineIoRefusal::BadRequest);
        }
        if !self.frames.is_empty() {
            effects.frames(probe.to, |out| out.extend_from_slice(&self.frames));
        }
        Some(probe.to)
    }
}
