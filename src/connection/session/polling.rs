//! State of a polling session: the pending GET, the POST in progress, queued packets, and the WebSocket that probes.

use crate::codec::engineio::{
    self, EngineIoPacket, EngineIoRefusal, Form, PROBE, PacketKind, PayloadWriter, Version, jsonp,
};
use crate::connection::session::{Effects, SessionContext};

/// Interval between responses to pending polls during an upgrade, in milliseconds.
const NUDGE_MS: u64 = 100;

/// A pending GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Slot of its TCP connection.
    pub to: u32,
    /// Number of the JSONP callback, if any.
    pub jsonp: Option<u32>,
}

/// State of a polling session.
#[derive(Debug, Default)]
pub(super) struct Polling {
    /// The pending GET.
    pub(super) poll: Option<Poll>,
    /// Slot of the connection of the POST in progress.
    pub(super) post: Option<u32>,
    /// Queued packets as WebSocket frames.
    pub(super) frames: Vec<u8>,
    /// The WebSocket that probes.
    pub(super) probe: Option<Probe>,
    /// Monotonic milliseconds until which an ended session waits for one more poll; 0: the session has not ended.
    pub(super) leaving_until: u64,
}

/// A WebSocket that probes, to take over a polling session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    /// Slot of its TCP connection.
    pub(super) to: u32,
    /// Whether the probe has been answered.
    pub(super) is_answered: bool,
    /// Monotonic milliseconds when the pending poll is answered, so that the client can stop polling.
    nudge_at: u64,
    /// Monotonic milliseconds when the upgrade is abandoned.
    until: u64,
}

/// Result of a packet on the probing WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probed {
    /// The upgrade continues, or has been abandoned.
    Goes,
    /// The WebSocket takes over the session.
    TakesOver,
}

impl Polling {
    /// Whether the session has ended and waits for one more poll.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving_until != 0
    }

    /// Whether the WebSocket in slot `to` probes.
    pub(super) fn is_probed_by(&self, to: u32) -> bool {
        self.probe.is_some_and(|probe| probe.to == to)
    }

    /// Queues a packet.
    pub(super) fn push(&mut self, version: Version, packet: EngineIoPacket<'_>) {
        debug_assert!(!self.is_leaving(), "invariant: nothing is queued for an ended session");
        engineio::encode_packet(&mut self.frames, version, packet);
    }

    /// Answers the pending poll, if any, with all queued packets.
    pub(super) fn answer(&mut self, version: Version, takes_binary: bool, effects: &mut Effects) {
        if let Some(poll) = self.poll.take() {
            self.respond(poll, version, takes_binary, effects);
        }
    }

    fn respond(&mut self, Poll { to, jsonp }: Poll, version: Version, takes_binary: bool, effects: &mut Effects) {
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
                let payload = String::from_utf8(payload).expect("invariant: a payload in text form is UTF-8");
                effects.answer(to, jsonp::CONTENT_TYPE, |out| jsonp::encode(out, index, &payload));
            }
        }
        // The allocation is not kept: most of the time a polling session has an empty queue.
        self.frames = Vec::new();
    }

    /// Starts a probe.
    pub(super) fn begin_probe(&mut self, to: u32, context: &SessionContext<'_>) {
        debug_assert!(self.probe.is_none(), "invariant: one WebSocket probes at a time");
        let until = context.mono + context.settings.upgrade_ms;
        self.probe = Some(Probe { to, is_answered: false, nudge_at: 0, until });
    }

    /// Abandons the upgrade; the session continues to poll.
    pub(super) fn end_probe(&mut self, code: u16, effects: &mut Effects) {
        if let Some(probe) = self.probe.take() {
            effects.close_socket(probe.to, code);
        }
    }

    /// Handles a packet on the probing WebSocket. Any packet other than ping and upgrade abandons the upgrade.
    pub(super) fn hear_probe(
        &mut self,
        packet: EngineIoPacket<'_>,
        version: Version,
        takes_binary: bool,
        context: &mut SessionContext<'_>,
    ) -> Probed {
        let probe = self.probe.as_mut().expect("invariant: the packet came on the probing WebSocket");
        if packet == EngineIoPacket::text(PacketKind::Ping, PROBE) {
            let is_first = !std::mem::replace(&mut probe.is_answered, true);
            context.effects.packet(probe.to, version, EngineIoPacket::text(PacketKind::Pong, PROBE));
            if is_first {
                probe.nudge_at = context.mono;
                self.nudge(version, takes_binary, context);
            }
            return Probed::Goes;
        }
        // The client has received the response to its POST before it sends this. Clients of microcontrollers do not probe.
        if packet.kind == PacketKind::Upgrade && self.post.is_none() {
            return Probed::TakesOver;
        }
        self.end_probe(1002, context.effects);
        Probed::Goes
    }

    /// Answers the pending poll when it is time, so that the client can stop polling.
    fn nudge(&mut self, version: Version, takes_binary: bool, context: &mut SessionContext<'_>) {
        if let Some(probe) = &mut self.probe
            && probe.is_answered
            && context.mono >= probe.nudge_at
        {
            probe.nudge_at = context.mono + NUDGE_MS;
            if self.poll.is_some() {
                if self.frames.is_empty() {
                    self.push(version, EngineIoPacket::text(PacketKind::Noop, ""));
                }
                self.answer(version, takes_binary, context.effects);
            }
        }
    }

    /// Handles timeouts of the probing WebSocket.
    pub(super) fn tick(&mut self, version: Version, takes_binary: bool, context: &mut SessionContext<'_>) {
        if self.probe.is_some_and(|probe| context.mono >= probe.until) {
            self.end_probe(1000, context.effects);
        }
        self.nudge(version, takes_binary, context);
    }

    /// Monotonic milliseconds when [`Polling::tick`] is due; `None`: not before the next input.
    pub(super) fn next_due(&self) -> Option<u64> {
        if self.is_leaving() {
            return Some(self.leaving_until);
        }
        let probe = self.probe?;
        let nudges = probe.is_answered && self.poll.is_some();
        Some(if nudges { probe.until.min(probe.nudge_at) } else { probe.until })
    }

    /// The probing WebSocket takes over; returns its slot. Queued packets are sent on it. A pending poll is refused, or
    /// answered without any of them to a client that has not probed.
    pub(super) fn hand_over(mut self, version: Version, takes_binary: bool, effects: &mut Effects) -> u32 {
        let probe = self.probe.take().expect("invariant: a WebSocket probes when it takes over");
        let frames = std::mem::take(&mut self.frames);
        match self.poll.take() {
            Some(poll) if probe.is_answered => effects.refuse(poll.to, EngineIoRefusal::BadRequest),
            Some(poll) => {
                self.push(version, EngineIoPacket::text(PacketKind::Noop, ""));
                self.respond(poll, version, takes_binary, effects);
            }
            None => {}
        }
        if !frames.is_empty() {
            effects.frames(probe.to, |out| out.extend_from_slice(&frames));
        }
        probe.to
    }
}
