//! One Engine.IO session: packets to and from a client, over the TCP connections that carry it at the moment.
//!
//! A session polls (GETs that wait for packets, POSTs that bring them) or has a WebSocket; it may start with either and
//! upgrade from polling to WebSocket. It outlives its connections and refers to them by slot. It does not interpret
//! messages: [`EngineIoSession::hear`] returns them.
//!
//! Usage: the shard passes inputs in and executes the resulting [`Effects`]. Outgoing packets are encoded once, as
//! WebSocket frames; [`EngineIoSession::route`] tells where to send them. At the end of a turn
//! [`EngineIoSession::flush`] answers a pending poll, once, with all queued packets. The session is dropped when it
//! [`is_gone`](EngineIoSession::is_gone).
//!
//! Guarantees:
//!
//! - An idle session has no allocation, except for a box while it polls.
//! - [`Effect::Over`] is reported exactly once, however many connections fail at the same time.
//! - The heartbeat timeout is checked before every input, even if the timer is late.
//! - The queue for a client that does not poll is bounded.

mod effects;
mod polling;
mod pulse;
mod request;

#[cfg(test)]
mod tests;

pub use effects::{Effect, EffectBytes, Effects};
pub use polling::Poll;
pub use request::{SessionRequest, read};

use polling::{Polling, Probed};
use pulse::HeartbeatTimer;

use crate::base::ids::Nonce;
use crate::base::limits;
use crate::codec::engineio::{
    self, EngineIoError, EngineIoPacket, EngineIoRefusal, Form, Open, PacketData, PacketKind, PayloadLimits, Version,
};
use crate::connection::websocket::{Heartbeat, HeartbeatAction};

/// Settings of sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionSettings {
    /// Heartbeat intervals.
    pub heartbeat: Heartbeat,
    /// Time limit of an upgrade, in milliseconds.
    pub upgrade_ms: u64,
    /// Whether sessions may upgrade.
    pub upgrades: bool,
    /// Limits of a payload.
    pub payload: PayloadLimits,
    /// Bytes queued for a client that does not poll.
    pub outbound_bytes: usize,
}

/// Time, settings and effects, as arguments of every input.
#[derive(Debug)]
pub struct SessionContext<'c> {
    /// Monotonic milliseconds.
    pub mono: u64,
    /// Settings of sessions.
    pub settings: &'c SessionSettings,
    /// Receives the effects.
    pub effects: &'c mut Effects,
}

/// An Engine.IO session.
#[derive(Debug)]
pub struct EngineIoSession {
    /// Random part of the session id.
    pub nonce: Nonce,
    version: Version,
    /// Whether polls may be answered in the binary form; relevant in version 3 only.
    takes_binary: bool,
    /// Whether its last transport is a WebSocket.
    has_websocket: bool,
    pulse: HeartbeatTimer,
    transport: SessionTransport,
}

/// Transport of a session.
#[derive(Debug)]
enum SessionTransport {
    /// The WebSocket of the connection in this slot.
    WebSocket(u32),
    /// HTTP long polling.
    Polling(Box<Polling>),
    /// None: the session is gone.
    Gone,
}

/// Destination of outgoing frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRoute {
    /// The WebSocket of the connection in this slot.
    Socket(u32),
    /// The queue, by [`EngineIoSession::buffer`].
    Buffer,
    /// None: the session has ended.
    Nowhere,
}

/// Reason for the end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client sent a close packet.
    ClientClose,
    /// The TCP connection closed.
    TransportClose,
    /// Transport error: two polls at once, a ping in the wrong direction.
    TransportError,
    /// Heartbeat timeout.
    PingTimeout,
    /// The client sent an invalid packet.
    ParseError,
    /// The server closed the session.
    ServerClose,
    /// The client did not read its messages in time.
    SlowConsumer,
    /// The client has returned with another session.
    Replaced,
}

impl Reason {
    /// The reason as the reference implementation names it.
    pub fn text(self) -> &'static str {
        match self {
            Self::ClientClose | Self::TransportClose => "transport close",
            Self::TransportError => "transport error",
            Self::PingTimeout => "ping timeout",
            Self::ParseError => "parse error",
            Self::ServerClose | Self::SlowConsumer | Self::Replaced => "forced server close",
        }
    }

    /// Close code for the WebSocket.
    fn close_code(self) -> u16 {
        match self {
            Self::ClientClose | Self::TransportClose | Self::ServerClose => 1000,
            Self::TransportError | Self::ParseError => 1002,
            Self::PingTimeout => 4408,
            Self::SlowConsumer => 4413,
            Self::Replaced => 4409,
        }
    }
}

impl EngineIoSession {
    /// Opens a session by a poll. The response contains the open packet and the packets queued in the same turn.
    pub fn open_polling(
        version: Version,
        nonce: Nonce,
        sid: &str,
        poll: Poll,
        takes_binary: bool,
        context: &SessionContext<'_>,
    ) -> Self {
        let mut polling = Box::new(Polling { poll: Some(poll), ..Polling::default() });
        encode_open(&mut polling.frames, version, sid, true, context.settings);
        Self::new(version, nonce, takes_binary, SessionTransport::Polling(polling), context)
    }

    /// Opens a session by a WebSocket and sends the open packet on it.
    pub fn open_websocket(
        version: Version,
        nonce: Nonce,
        sid: &str,
        to: u32,
        context: &mut SessionContext<'_>,
    ) -> Self {
        let settings = context.settings;
        context.effects.frames(to, |out| encode_open(out, version, sid, false, settings));
        Self::new(version, nonce, true, SessionTransport::WebSocket(to), context)
    }

    fn new(
        version: Version,
        nonce: Nonce,
        takes_binary: bool,
        transport: SessionTransport,
        context: &SessionContext<'_>,
    ) -> Self {
        let pulse = HeartbeatTimer::new(version, context.mono, context.settings.heartbeat);
        let has_websocket = matches!(transport, SessionTransport::WebSocket(_));
        Self { nonce, version, takes_binary, has_websocket, pulse, transport }
    }

    /// Protocol version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the session has ended and no poll is awaited: it can be dropped.
    pub fn is_gone(&self) -> bool {
        matches!(self.transport, SessionTransport::Gone)
    }

    /// Whether the session has ended; one more poll may be awaited.
    pub fn is_over(&self) -> bool {
        match &self.transport {
            SessionTransport::WebSocket(_) => false,
            SessionTransport::Polling(polling) => polling.is_leaving(),
            SessionTransport::Gone => true,
        }
    }

    /// Whether the transport is polling.
    pub fn is_polling(&self) -> bool {
        matches!(self.transport, SessionTransport::Polling(_))
    }

    /// The name of its last transport.
    pub fn transport_name(&self) -> &'static str {
        if self.has_websocket { "websocket" } else { "polling" }
    }

    /// Whether packets are queued for the next poll.
    pub fn has_queued(&self) -> bool {
        matches!(&self.transport, SessionTransport::Polling(polling) if !polling.frames.is_empty())
    }

    /// Sends a ping of the heartbeat now, unless one is unanswered, or the client is the one that pings, or it polls. Whether
    /// it was sent.
    pub fn ping(&mut self, context: &mut SessionContext<'_>) -> bool {
        let is_sent = matches!(self.transport, SessionTransport::WebSocket(_))
            && self.version == Version::V4
            && self.pulse.ping(context.mono, context.settings.heartbeat);
        if is_sent {
            self.send(EngineIoPacket::text(PacketKind::Ping, ""), context);
        }
        is_sent
    }

    /// Destination of outgoing frames.
    pub fn route(&self) -> SessionRoute {
        match &self.transport {
            SessionTransport::WebSocket(to) => SessionRoute::Socket(*to),
            SessionTransport::Polling(polling) if !polling.is_leaving() => SessionRoute::Buffer,
            SessionTransport::Polling(_) | SessionTransport::Gone => SessionRoute::Nowhere,
        }
    }

    /// Handles a GET.
    pub fn poll(&mut self, poll: Poll, context: &mut SessionContext<'_>) {
        self.tick(context);
        match &mut self.transport {
            SessionTransport::Polling(polling) if polling.is_leaving() => {
                polling.poll = Some(poll);
                polling.answer(self.version, self.takes_binary, context.effects);
                self.transport = SessionTransport::Gone;
            }
            SessionTransport::Polling(polling) if polling.poll.is_none() => polling.poll = Some(poll),
            SessionTransport::Polling(_) => {
                self.end(Reason::TransportError, context);
                context.effects.refuse(poll.to, EngineIoRefusal::BadRequest);
            }
            SessionTransport::WebSocket(_) => context.effects.refuse(poll.to, EngineIoRefusal::BadRequest),
            SessionTransport::Gone => context.effects.refuse(poll.to, EngineIoRefusal::UnknownSession),
        }
    }

    /// Handles the head of a POST. False: the POST has been refused, its body is not read.
    pub fn post_begun(&mut self, to: u32, context: &mut SessionContext<'_>) -> bool {
        self.tick(context);
        let refusal = match &mut self.transport {
            SessionTransport::Polling(polling) if polling.is_leaving() => EngineIoRefusal::UnknownSession,
            SessionTransport::Polling(polling) if polling.post.is_none() => {
                polling.post = Some(to);
                return true;
            }
            SessionTransport::Polling(_) => {
                self.end(Reason::TransportError, context);
                EngineIoRefusal::BadRequest
            }
            SessionTransport::WebSocket(_) => EngineIoRefusal::BadRequest,
            SessionTransport::Gone => EngineIoRefusal::UnknownSession,
        };
        context.effects.refuse(to, refusal);
        false
    }

    /// Handles the complete body of a POST. True: the caller passes each packet to [`EngineIoSession::hear`], then
    /// calls [`EngineIoSession::post_read`]. False: the POST has been refused.
    pub fn post_whole(&mut self, to: u32, context: &mut SessionContext<'_>) -> bool {
        self.tick(context);
        let is_awaited = !self.is_over() && self.is_posted_by(to);
        if !is_awaited {
            context.effects.refuse(to, EngineIoRefusal::UnknownSession);
        }
        is_awaited
    }

    /// The form of a POST's body.
    ///
    /// # Errors
    /// The version has no such bodies; the caller calls [`EngineIoSession::post_fault`].
    pub fn form(&self, is_octet_stream: bool) -> Result<Form, EngineIoError> {
        Form::of_body(self.version, is_octet_stream)
    }

    /// All packets of a POST have been handled.
    pub fn post_read(&mut self, to: u32, context: &mut SessionContext<'_>) {
        if let SessionTransport::Polling(polling) = &mut self.transport
            && polling.post == Some(to)
        {
            polling.post = None;
        }
        context.effects.accept(to);
    }

    /// The body of a POST was too large and the request has been answered; the session continues.
    pub fn post_dropped(&mut self, to: u32) {
        if let SessionTransport::Polling(polling) = &mut self.transport
            && polling.post == Some(to)
        {
            polling.post = None;
        }
    }

    /// A WebSocket has opened with this session's id: it starts to probe, or is closed.
    pub fn upgrade(&mut self, to: u32, context: &mut SessionContext<'_>) {
        self.tick(context);
        match &mut self.transport {
            SessionTransport::Polling(polling) if !polling.is_leaving() && polling.probe.is_none() => {
                polling.begin_probe(to, context);
            }
            _ => context.effects.close_socket(to, 1000),
        }
    }

    /// Handles a packet from a WebSocket or POST; returns the data of a message.
    pub fn hear<'p>(
        &mut self,
        from: u32,
        packet: EngineIoPacket<'p>,
        context: &mut SessionContext<'_>,
    ) -> Option<PacketData<'p>> {
        self.tick(context);
        match &mut self.transport {
            SessionTransport::WebSocket(own) if *own == from => {}
            SessionTransport::Polling(polling) if polling.post == Some(from) && !polling.is_leaving() => {}
            SessionTransport::Polling(polling) if polling.is_probed_by(from) && !polling.is_leaving() => {
                let probed = polling.hear_probe(packet, self.version, self.takes_binary, context);
                if probed == Probed::TakesOver {
                    self.take_over(context);
                }
                return None;
            }
            _ => return None,
        }
        match (packet.kind, self.version) {
            (PacketKind::Message, _) => return Some(packet.data),
            (PacketKind::Close, _) => self.end(Reason::ClientClose, context),
            (PacketKind::Ping, Version::V3) => {
                self.pulse.heard(self.version, context.mono, context.settings.heartbeat);
                self.send(EngineIoPacket { kind: PacketKind::Pong, ..packet }, context);
            }
            (PacketKind::Pong, Version::V4) => self.pulse.heard(self.version, context.mono, context.settings.heartbeat),
            (PacketKind::Ping, Version::V4) | (PacketKind::Pong, Version::V3) => {
                self.end(Reason::TransportError, context)
            }
            // Ignored at this point.
            (PacketKind::Open | PacketKind::Upgrade | PacketKind::Noop, _) => {}
        }
        None
    }

    /// Handles an invalid packet or message on a WebSocket.
    pub fn fault(&mut self, from: u32, context: &mut SessionContext<'_>) {
        match &mut self.transport {
            SessionTransport::WebSocket(own) if *own == from => self.end(Reason::ParseError, context),
            SessionTransport::Polling(polling) if polling.is_probed_by(from) => {
                polling.end_probe(1002, context.effects)
            }
            _ => {}
        }
    }

    /// Handles an invalid packet or message in a POST, instead of [`EngineIoSession::post_read`].
    pub fn post_fault(&mut self, to: u32, context: &mut SessionContext<'_>) {
        self.close(Reason::ParseError, context);
        context.effects.refuse(to, EngineIoRefusal::BadRequest);
    }

    /// Handles the end of a TCP connection: a WebSocket, or one with a pending request.
    pub fn ended(&mut self, from: u32, context: &mut SessionContext<'_>) {
        match &mut self.transport {
            SessionTransport::WebSocket(own) if *own == from => {
                self.transport = SessionTransport::Gone;
                context.effects.over(Reason::TransportClose);
            }
            SessionTransport::Polling(polling) if polling.is_probed_by(from) => polling.probe = None,
            SessionTransport::Polling(polling) => {
                let is_poll = polling.poll.is_some_and(|poll| poll.to == from);
                if is_poll {
                    polling.poll = None;
                }
                if (is_poll || polling.post == Some(from)) && !polling.is_leaving() {
                    self.end(Reason::TransportClose, context);
                }
            }
            SessionTransport::WebSocket(_) | SessionTransport::Gone => {}
        }
    }

    /// The server ends the session; queued packets are still sent.
    pub fn close(&mut self, reason: Reason, context: &mut SessionContext<'_>) {
        if !self.is_over() {
            self.end(reason, context);
        }
    }

    /// Queues frames for the next poll. False: more than `bytes_max` bytes would be queued; the caller closes the
    /// session later with [`Reason::SlowConsumer`], as a delivery to many members must not end one of them midway.
    /// `is_droppable`: the frames may be dropped for a slow client.
    #[must_use]
    pub fn buffer(&mut self, frames: &[u8], is_droppable: bool, bytes_max: usize) -> bool {
        let SessionTransport::Polling(polling) = &mut self.transport else { return true };
        if polling.is_leaving() || (is_droppable && polling.frames.len() > bytes_max / 2) {
            return true;
        }
        let has_room = frames.len() <= bytes_max.saturating_sub(polling.frames.len());
        if has_room {
            polling.frames.extend_from_slice(frames);
        }
        has_room
    }

    /// Answers the pending poll, if packets are queued. To be called at the end of a turn.
    pub fn flush(&mut self, context: &mut SessionContext<'_>) {
        if let SessionTransport::Polling(polling) = &mut self.transport
            && !polling.frames.is_empty()
        {
            polling.answer(self.version, self.takes_binary, context.effects);
        }
    }

    /// Handles due timers.
    pub fn tick(&mut self, context: &mut SessionContext<'_>) {
        match &mut self.transport {
            SessionTransport::Gone => return,
            SessionTransport::Polling(polling) if polling.is_leaving() => {
                if context.mono >= polling.leaving_until {
                    self.transport = SessionTransport::Gone;
                }
                return;
            }
            _ => {}
        }
        match self.pulse.beat(context.mono, context.settings.heartbeat) {
            HeartbeatAction::Wait => {}
            HeartbeatAction::Ping => {
                self.send(EngineIoPacket::text(PacketKind::Ping, ""), context);
                self.flush(context);
            }
            HeartbeatAction::Gone => return self.end(Reason::PingTimeout, context),
        }
        if let SessionTransport::Polling(polling) = &mut self.transport {
            polling.tick(self.version, self.takes_binary, context);
        }
    }

    /// Monotonic milliseconds when [`EngineIoSession::tick`] is due; `None` when the session is gone.
    pub fn next_due(&self) -> Option<u64> {
        match &self.transport {
            SessionTransport::WebSocket(_) => Some(self.pulse.next_due()),
            SessionTransport::Polling(polling) if polling.is_leaving() => polling.next_due(),
            SessionTransport::Polling(polling) => {
                Some(polling.next_due().map_or(self.pulse.next_due(), |at| at.min(self.pulse.next_due())))
            }
            SessionTransport::Gone => None,
        }
    }

    fn is_posted_by(&self, to: u32) -> bool {
        matches!(&self.transport, SessionTransport::Polling(polling) if polling.post == Some(to))
    }

    /// Sends a packet of the session itself.
    fn send(&mut self, packet: EngineIoPacket<'_>, context: &mut SessionContext<'_>) {
        match &mut self.transport {
            SessionTransport::WebSocket(to) => context.effects.packet(*to, self.version, packet),
            SessionTransport::Polling(polling) => {
                polling.push(self.version, packet);
                // A client may send pings without polling for the pongs.
                if polling.frames.len() > context.settings.outbound_bytes {
                    self.end(Reason::SlowConsumer, context);
                }
            }
            SessionTransport::Gone => {}
        }
    }

    fn take_over(&mut self, context: &mut SessionContext<'_>) {
        let SessionTransport::Polling(polling) = std::mem::replace(&mut self.transport, SessionTransport::Gone) else {
            unreachable!("invariant: only a polling session has a probe");
        };
        let socket = polling.hand_over(self.version, self.takes_binary, context.effects);
        self.transport = SessionTransport::WebSocket(socket);
        self.has_websocket = true;
    }

    /// Ends the session and answers the pending poll. After a regular end without a pending poll, the next poll is
    /// awaited: the client's last GET and the POST that ends the session travel on different connections, in any order.
    fn end(&mut self, reason: Reason, context: &mut SessionContext<'_>) {
        match std::mem::replace(&mut self.transport, SessionTransport::Gone) {
            SessionTransport::Gone => return,
            SessionTransport::WebSocket(to) => context.effects.close_socket(to, reason.close_code()),
            SessionTransport::Polling(mut polling) => {
                polling.end_probe(reason.close_code(), context.effects);
                let last = if reason == Reason::ClientClose { PacketKind::Noop } else { PacketKind::Close };
                let waits = matches!(reason, Reason::ClientClose | Reason::ServerClose) && polling.poll.is_none();
                polling.push(self.version, EngineIoPacket::text(last, ""));
                polling.answer(self.version, self.takes_binary, context.effects);
                if waits {
                    // The POST in progress is answered with `UnknownSession`.
                    polling.post = None;
                    polling.leaving_until = context.mono + limits::CLOSING_MS;
                    self.transport = SessionTransport::Polling(polling);
                }
            }
        }
        context.effects.over(reason);
    }
}

/// Appends the frame of a session's first packet.
fn encode_open(out: &mut Vec<u8>, version: Version, sid: &str, can_upgrade: bool, settings: &SessionSettings) {
    let open = Open {
        sid,
        can_upgrade: can_upgrade && settings.upgrades,
        ping_interval_ms: settings.heartbeat.interval_ms,
        ping_timeout_ms: settings.heartbeat.timeout_ms,
        payload_bytes_max: settings.payload.payload_bytes,
    };
    engineio::encode_text(out, |out| engineio::encode_open(out, version, &open));
}
