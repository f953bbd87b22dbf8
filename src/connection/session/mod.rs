//! One Engine.IO session: packets to and from a client, by whichever TCP connections carry them at the moment.
//!
//! A session polls, by GETs that wait for packets and POSTs that bring them, or it has a WebSocket; it may begin with
//! either and go from the first to the second. It outlives each of those connections, and knows them by their slots only.
//! It does not read messages: [`EngineIoSession::hear`] returns them.
//!
//! How it is used: feed it what happens; what it wants done is then in [`Effects`]. What is to be sent is encoded once, as
//! WebSocket frames; [`EngineIoSession::route`] says where they go. When the turn ends, [`EngineIoSession::flush`] answers a poll that
//! waits, once, with all that has come up. When [`EngineIoSession::is_gone`], it can be forgotten.
//!
//! It promises:
//!
//! - **An idle session is this struct**, and a box while it polls.
//! - **Its end is told once**, by [`Effect::Over`], however many of its connections break at the same time.
//! - **It ends on time**: whatever comes in first sees whether the client has been silent for too long, however late the
//!   timer.
//! - **What waits for a client has a bound.**

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

/// What sessions go by.
#[derive(Clone, Copy, Debug)]
pub struct SessionSettings {
    /// How each side sees that the other is there.
    pub heartbeat: Heartbeat,
    /// How long a WebSocket may take to take over, in milliseconds.
    pub upgrade_ms: u64,
    /// What a payload may be.
    pub payload: PayloadLimits,
    /// Bytes that may wait for a client that does not poll.
    pub outbound_bytes: usize,
}

/// What a session is given to work with, at one moment.
#[derive(Debug)]
pub struct SessionContext<'c> {
    /// The time, in monotonic milliseconds.
    pub mono: u64,
    /// The settings.
    pub settings: &'c SessionSettings,
    /// Where what is to be done goes.
    pub effects: &'c mut Effects,
}

/// One session.
#[derive(Debug)]
pub struct EngineIoSession {
    /// The unguessable part of its id.
    pub nonce: Nonce,
    version: Version,
    /// Whether polls may be answered with bytes; only version 3 asks.
    takes_binary: bool,
    pulse: HeartbeatTimer,
    transport: SessionTransport,
}

/// How a session is carried.
#[derive(Debug)]
enum SessionTransport {
    /// By the WebSocket of this connection.
    WebSocket(u32),
    /// By polling.
    Polling(Box<Polling>),
    /// No more.
    Gone,
}

/// Where what is to be sent goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRoute {
    /// Out on the WebSocket of this connection.
    Socket(u32),
    /// Into [`EngineIoSession::buffer`].
    Buffer,
    /// Nowhere: the session is over.
    Nowhere,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client said so.
    ClientClose,
    /// Its connection ended.
    TransportClose,
    /// The client broke a rule of the transport: two polls at once, a ping that is not its to send.
    TransportError,
    /// The client was silent for too long.
    PingTimeout,
    /// The client sent what is no packet.
    ParseError,
    /// The server said so.
    ServerClose,
    /// The client did not take what was to be sent.
    SlowConsumer,
    /// The client has come back by another session.
    Replaced,
}

impl Reason {
    /// As Socket.IO servers call it.
    pub fn text(self) -> &'static str {
        match self {
            Self::ClientClose | Self::TransportClose => "transport close",
            Self::TransportError => "transport error",
            Self::PingTimeout => "ping timeout",
            Self::ParseError => "parse error",
            Self::ServerClose | Self::SlowConsumer | Self::Replaced => "forced server close",
        }
    }

    /// The code that its WebSocket is closed with.
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
    /// A session that begins with a poll, whose answer tells the client of it. What is sent in the same turn goes with it.
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

    /// A session that begins with a WebSocket, on which the client is told of it.
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
        Self { nonce, version, takes_binary, pulse, transport }
    }

    /// The protocol it speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether nothing is left of it, not even a poll to wait for.
    pub fn is_gone(&self) -> bool {
        matches!(self.transport, SessionTransport::Gone)
    }

    /// Whether it is over, though one more poll may hear so.
    pub fn is_over(&self) -> bool {
        match &self.transport {
            SessionTransport::WebSocket(_) => false,
            SessionTransport::Polling(polling) => polling.is_leaving(),
            SessionTransport::Gone => true,
        }
    }

    /// Whether it polls.
    pub fn is_polling(&self) -> bool {
        matches!(self.transport, SessionTransport::Polling(_))
    }

    /// Where what is to be sent goes.
    pub fn route(&self) -> SessionRoute {
        match &self.transport {
            SessionTransport::WebSocket(to) => SessionRoute::Socket(*to),
            SessionTransport::Polling(polling) if !polling.is_leaving() => SessionRoute::Buffer,
            SessionTransport::Polling(_) | SessionTransport::Gone => SessionRoute::Nowhere,
        }
    }

    /// A GET asks for packets.
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

    /// The head of a POST came: whether its body is to be read. If not, it is answered.
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

    /// The body of a POST is whole: whether its packets are to be read, each then fed to [`EngineIoSession::hear`], and at last
    /// [`EngineIoSession::post_read`]. If not, it is answered.
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
    /// The version has no such bodies; see [`EngineIoSession::post_fault`].
    pub fn form(&self, is_octet_stream: bool) -> Result<Form, EngineIoError> {
        Form::of_body(self.version, is_octet_stream)
    }

    /// All packets of a POST were fed.
    pub fn post_read(&mut self, to: u32, context: &mut SessionContext<'_>) {
        if let SessionTransport::Polling(polling) = &mut self.transport
            && polling.post == Some(to)
        {
            polling.post = None;
        }
        context.effects.accept(to);
    }

    /// The body of a POST was too large, and the request has been answered; the session goes on.
    pub fn post_dropped(&mut self, to: u32) {
        if let SessionTransport::Polling(polling) = &mut self.transport
            && polling.post == Some(to)
        {
            polling.post = None;
        }
    }

    /// A WebSocket opened with this session's id: it may take over, or is closed.
    pub fn upgrade(&mut self, to: u32, context: &mut SessionContext<'_>) {
        self.tick(context);
        match &mut self.transport {
            SessionTransport::Polling(polling) if !polling.is_leaving() && polling.probe.is_none() => {
                polling.begin_probe(to, context);
            }
            _ => context.effects.close_socket(to, 1000),
        }
    }

    /// A packet came by this connection, a WebSocket or a POST. If it is a message, that is returned.
    pub fn hear<'p>(
        &mut self,
        from: u32,
        packet: EngineIoPacket<'p>,
        context: &mut SessionContext<'_>,
    ) -> Option<PacketData<'p>> {
        self.tick(context);
        match &mut self.transport {
            SessionTransport::WebSocket(own) if *own == from => self.hear_own(packet, context),
            SessionTransport::Polling(polling) if polling.is_leaving() => None,
            SessionTransport::Polling(polling) if polling.post == Some(from) => self.hear_own(packet, context),
            SessionTransport::Polling(polling) if polling.is_probed_by(from) => {
                let probed = polling.hear_probe(packet, self.version, self.takes_binary, context);
                if probed == Probed::TakesOver {
                    self.take_over(context);
                }
                None
            }
            _ => None,
        }
    }

    fn hear_own<'p>(&mut self, packet: EngineIoPacket<'p>, context: &mut SessionContext<'_>) -> Option<PacketData<'p>> {
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
            // They say nothing at this point.
            (PacketKind::Open | PacketKind::Upgrade | PacketKind::Noop, _) => {}
        }
        None
    }

    /// What came by this WebSocket is no packet, or its message makes no sense.
    pub fn fault(&mut self, from: u32, context: &mut SessionContext<'_>) {
        match &mut self.transport {
            SessionTransport::WebSocket(own) if *own == from => self.end(Reason::ParseError, context),
            SessionTransport::Polling(polling) if polling.is_probed_by(from) => {
                polling.end_probe(1002, context.effects)
            }
            _ => {}
        }
    }

    /// What came by this POST is no packet, or its message makes no sense: in place of [`EngineIoSession::post_read`].
    pub fn post_fault(&mut self, to: u32, context: &mut SessionContext<'_>) {
        self.close(Reason::ParseError, context);
        context.effects.refuse(to, EngineIoRefusal::BadRequest);
    }

    /// A TCP connection ended while the session had to do with it: a WebSocket, or one whose request is not answered.
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

    /// The server ends the session; what was to be sent still is.
    pub fn close(&mut self, reason: Reason, context: &mut SessionContext<'_>) {
        if !self.is_over() {
            self.end(reason, context);
        }
    }

    /// Keeps frames until they are polled, unless more than `bytes_max` would wait; whether they found room. If not, the
    /// session is to be closed for [`Reason::SlowConsumer`]: not here, since what is told to many should not end one.
    /// `is_droppable`: a client that cannot keep up may do without them.
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

    /// Answers a poll that waits with what there is to send, if there is anything. To be called at the end of a turn.
    pub fn flush(&mut self, context: &mut SessionContext<'_>) {
        if let SessionTransport::Polling(polling) = &mut self.transport
            && !polling.frames.is_empty()
        {
            polling.answer(self.version, self.takes_binary, context.effects);
        }
    }

    /// Does what has become due.
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

    /// When [`EngineIoSession::tick`] next has something to do, in monotonic milliseconds; `None` when it is gone.
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

    /// Sends a packet of the session's own.
    fn send(&mut self, packet: EngineIoPacket<'_>, context: &mut SessionContext<'_>) {
        match &mut self.transport {
            SessionTransport::WebSocket(to) => context.effects.packet(*to, self.version, packet),
            SessionTransport::Polling(polling) => {
                polling.push(self.version, packet);
                // A client may ping without ever polling for the pongs.
                if polling.frames.len() > context.settings.outbound_bytes {
                    self.end(Reason::SlowConsumer, context);
                }
            }
            SessionTransport::Gone => {}
        }
    }

    /// The probing WebSocket takes over.
    fn take_over(&mut self, context: &mut SessionContext<'_>) {
        if let SessionTransport::Polling(polling) = std::mem::replace(&mut self.transport, SessionTransport::Gone)
            && let Some(to) = polling.hand_over(context.effects)
        {
            self.transport = SessionTransport::WebSocket(to);
        }
    }

    /// The session is over. A poll that waits hears so. When none does and both sides still mean well, the next one shall:
    /// a client's last GET and its POST that ends the session travel by different connections, in any order.
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
                    // Its answer will be that there is no such session.
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
        can_upgrade,
        ping_interval_ms: settings.heartbeat.interval_ms,
        ping_timeout_ms: settings.heartbeat.timeout_ms,
        payload_bytes_max: settings.payload.payload_bytes,
    };
    engineio::encode_text(out, |out| engineio::encode_open(out, version, &open));
}
