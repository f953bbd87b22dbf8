//! Any conversation, step by step: a session's end is told once, requests that are answered were asked, what waits has a
//! bound, and messages that make no sense end it rather than the server.
//!
//! The input is lines: what happens, to which connection, and with what. Connections 0 to 3 carry requests, 4 to 7
//! WebSockets.

#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard::codec::engineio::{self, PacketData, Payload, PayloadLimits, Version};
use switchboard::codec::{socketio, ws};
use switchboard::connection::namespace::{NamespaceEvent, NamespaceFault, Namespaces};
use switchboard::connection::session::{
    Effect, Effects, EngineIoSession, Poll, Reason, SessionContext, SessionRoute, SessionSettings,
};
use switchboard::connection::websocket::Heartbeat;

const SETTINGS: SessionSettings = SessionSettings {
    heartbeat: Heartbeat { interval_ms: 300, timeout_ms: 200 },
    upgrade_ms: 1_000,
    upgrades: true,
    payload: PayloadLimits { payload_bytes: 1_024, packets: 16 },
    outbound_bytes: 2_048,
};

const PACKET: socketio::SocketIoLimits = socketio::SocketIoLimits { packet_bytes: 256 };

const SPACES: [&str; 2] = ["/", "/chat"];

struct Play {
    session: EngineIoSession,
    namespaces: Namespaces,
    effects: Effects,
    mono: u64,
    /// Which connections carry a request that has not been answered.
    is_busy: [bool; 4],
    ends: usize,
    scratch: Vec<u8>,
}

impl Play {
    fn new(version: Version, is_websocket: bool) -> Self {
        let mut effects = Effects::default();
        let mut context = SessionContext { mono: 0, settings: &SETTINGS, effects: &mut effects };
        let session = if is_websocket {
            EngineIoSession::open_websocket(version, [0; 12], "sid", 4, &mut context)
        } else {
            EngineIoSession::open_polling(version, [0; 12], "sid", Poll { to: 0, jsonp: None }, true, &context)
        };
        let namespaces = Namespaces::new(version, 0, 2_000);
        let is_busy = [!is_websocket, false, false, false];
        let mut play = Self { session, namespaces, effects, mono: 0, is_busy, ends: 0, scratch: Vec::new() };
        if let NamespaceEvent::Connect { space, .. } = play.namespaces.open(&SPACES) {
            play.joins(space);
        }
        play.turn_ends();
        play
    }

    fn feed<T>(&mut self, feed: impl FnOnce(&mut EngineIoSession, &mut SessionContext<'_>) -> T) -> T {
        let mut context = SessionContext { mono: self.mono, settings: &SETTINGS, effects: &mut self.effects };
        feed(&mut self.session, &mut context)
    }

    fn says(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut frame = Vec::new();
        engineio::encode_text(&mut frame, write);
        if self.session.route() == SessionRoute::Buffer {
            if !self.session.buffer(&frame, false, SETTINGS.outbound_bytes) {
                self.feed(|session, context| session.close(Reason::SlowConsumer, context));
            }
        }
    }

    fn joins(&mut self, space: u8) {
        if self.namespaces.accept(space, u32::from(space)) {
            let mut told = Vec::new();
            self.namespaces.encode_accepted(&mut told, SPACES[usize::from(space)], "sid", None);
            self.says(|out| out.extend_from_slice(&told));
        }
    }

    /// A message came; whether it makes sense.
    fn hears(&mut self, data: PacketData<'_>) -> Result<(), NamespaceFault> {
        let mut gathered = None;
        match self.namespaces.message(&SPACES, data, &PACKET, &mut gathered)? {
            NamespaceEvent::Connect { space, .. } => self.joins(space),
            NamespaceEvent::Event { event, id: Some(id), .. } => {
                let target = socketio::PacketTarget { id: Some(id), ..socketio::PacketTarget::namespace("/") };
                self.says(|out| socketio::begin_ack(out, &target).raw(event.arguments.text()).end());
            }
            _ => {}
        }
        Ok(())
    }

    fn posts(&mut self, to: u32, body: &[u8], is_octet_stream: bool) {
        if !self.feed(|session, context| session.post_whole(to, context)) {
            return;
        }
        let form = self.session.form(is_octet_stream);
        let Ok(mut payload) = form.and_then(|form| Payload::new(form, body, &SETTINGS.payload)) else {
            return self.feed(|session, context| session.post_fault(to, context));
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut is_fault = false;
        loop {
            match payload.next(&mut scratch) {
                Ok(Some(packet)) => {
                    let data = self.feed(|session, context| session.hear(to, packet, context));
                    is_fault = data.is_some_and(|data| self.hears(data).is_err());
                }
                Ok(None) => break,
                Err(_) => is_fault = true,
            }
            if is_fault {
                break;
            }
        }
        self.scratch = scratch;
        self.feed(|session, context| match is_fault {
            true => session.post_fault(to, context),
            false => session.post_read(to, context),
        });
    }

    fn sends(&mut self, from: u32, text: &str) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let version = self.session.version();
        let is_fault = match text.strip_prefix('!') {
            Some(bytes) => engineio::decode_binary(version, bytes.as_bytes()),
            None => engineio::decode_text(version, text, &mut scratch),
        }
        .map_or(true, |packet| {
            let data = self.feed(|session, context| session.hear(from, packet, context));
            data.is_some_and(|data| self.hears(data).is_err())
        });
        self.scratch = scratch;
        if is_fault {
            self.feed(|session, context| session.fault(from, context));
        }
    }

    fn step(&mut self, line: &str) {
        let mut characters = line.chars();
        let (Some(what), Some(digit)) = (characters.next(), characters.next()) else { return };
        let rest = characters.as_str();
        let slot = digit as u32 % 8;
        let asks = slot < 4 && matches!(what, 'g' | 'p' | 'h');
        if asks && std::mem::replace(&mut self.is_busy[slot as usize], true) {
            return;
        }
        match what {
            'g' if asks => self.feed(|session, context| session.poll(Poll { to: slot, jsonp: None }, context)),
            'h' if asks => {
                self.feed(|session, context| session.post_begun(slot, context));
            }
            'p' if asks => {
                if self.feed(|session, context| session.post_begun(slot, context)) {
                    self.posts(slot, rest.as_bytes(), digit.is_ascii_uppercase());
                }
            }
            'o' if slot >= 4 => self.feed(|session, context| session.upgrade(slot, context)),
            's' if slot >= 4 => self.sends(slot, rest),
            'b' => {
                self.feed(|session, context| session.ended(slot, context));
                if slot < 4 {
                    self.is_busy[slot as usize] = false;
                }
            }
            'w' => {
                self.mono += u64::from(digit as u32 % 512);
                self.feed(|session, context| session.tick(context));
            }
            'm' => self.says(|out| out.extend_from_slice(b"42[\"m\"]")),
            'c' => self.feed(|session, context| session.close(Reason::ServerClose, context)),
            _ => {}
        }
        self.turn_ends();
    }

    fn turn_ends(&mut self) {
        self.feed(|session, context| session.flush(context));
        for effect in self.effects.iter() {
            match effect {
                Effect::Answer { to, status, body, .. } => {
                    assert!(std::mem::take(&mut self.is_busy[to as usize]), "{to} is answered and did not ask");
                    assert!(matches!(status, 200 | 400) && !self.effects.bytes(body).is_empty());
                }
                Effect::Frames { to, frames } => {
                    assert!(to >= 4 && ws::frames(self.effects.bytes(frames)).count() > 0);
                }
                Effect::CloseSocket { to, .. } => assert!(to >= 4),
                Effect::Over(_) => self.ends += 1,
            }
        }
        self.effects.clear();
        assert_eq!(self.ends, usize::from(self.session.is_over()));
        assert_eq!(self.session.is_gone(), self.session.next_due().is_none());
    }
}

fuzz_target!(|lines: &str| {
    let mut lines = lines.lines();
    let first = lines.next().unwrap_or_default();
    let version = if first.contains('3') { Version::V3 } else { Version::V4 };
    let mut play = Play::new(version, first.contains('w'));
    lines.for_each(|line| play.step(line));
});
