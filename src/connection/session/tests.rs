//! Sessions from their first request to their last, as the public suites play them and as clients break them. What comes
//! of each step is written as one line for each effect.

mod random;

use super::*;
use crate::codec::engineio::Payload;
use crate::codec::ws;

/// The suites' server.
const SETTINGS: SessionSettings = SessionSettings {
    heartbeat: Heartbeat { interval_ms: 300, timeout_ms: 200 },
    upgrade_ms: 10_000,
    upgrades: true,
    payload: PayloadLimits { payload_bytes: 1_000_000, packets: 100 },
    outbound_bytes: 4_096,
};

const SID: &str = "lv_VI97HAXpY6yYWAAAC";

const OPEN: &str = r#"{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":300,"pingTimeout":200"#;

/// A session and whatever carries it.
struct Play {
    session: EngineIoSession,
    effects: Effects,
    mono: u64,
}

impl Play {
    /// A polling session whose handshake has been answered, on connection 1.
    fn polling(version: Version) -> Self {
        Self::polling_with(version, Poll { to: 1, jsonp: None }, true).1
    }

    fn polling_with(version: Version, poll: Poll, takes_binary: bool) -> (String, Self) {
        let mut effects = Effects::default();
        let context = SessionContext { mono: 1_000, settings: &SETTINGS, effects: &mut effects };
        let session = EngineIoSession::open_polling(version, [0; 12], SID, poll, takes_binary, &context);
        let mut play = Self { session, effects, mono: 1_000 };
        let lines = play.turn_ends();
        (lines, play)
    }

    /// A session that began with a WebSocket on connection 9.
    fn websocket(version: Version) -> Self {
        let mut effects = Effects::default();
        let mut context = SessionContext { mono: 1_000, settings: &SETTINGS, effects: &mut effects };
        let session = EngineIoSession::open_websocket(version, [0; 12], SID, 9, &mut context);
        let mut play = Self { session, effects, mono: 1_000 };
        assert!(play.done().starts_with(r#"9: 0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":[],"#));
        play
    }

    /// A session whose WebSocket, connection 5, has been probed.
    fn probed(version: Version) -> Self {
        let mut play = Self::polling(version);
        assert_eq!(play.opens(5), "");
        assert_eq!(play.sends(5, "2probe"), "5: 3probe");
        play
    }

    fn feed<T>(&mut self, feed: impl FnOnce(&mut EngineIoSession, &mut SessionContext<'_>) -> T) -> T {
        let mut context = SessionContext { mono: self.mono, settings: &SETTINGS, effects: &mut self.effects };
        feed(&mut self.session, &mut context)
    }

    /// Frames come for a client that polls; if too many wait, it is dropped.
    fn buffers(&mut self, frames: &[u8], is_droppable: bool) {
        if !self.session.buffer(frames, is_droppable, SETTINGS.outbound_bytes) {
            self.feed(|session, context| session.close(Reason::SlowConsumer, context));
        }
    }

    /// Takes the effects, a line for each.
    fn done(&mut self) -> String {
        let mut lines = Vec::new();
        for effect in self.effects.iter() {
            match effect {
                Effect::Answer { to, status: 200, body, .. } => {
                    lines.push(format!("{to}: 200 {}", shown(self.effects.bytes(body))));
                }
                Effect::Answer { to, status, .. } => lines.push(format!("{to}: {status}")),
                Effect::Frames { to, frames } => {
                    for (_, frame) in ws::frames(self.effects.bytes(frames)) {
                        lines.push(format!("{to}: {}", shown(frame)));
                    }
                }
                Effect::CloseSocket { to, code } => lines.push(format!("{to}: closed {code}")),
                Effect::Over(reason) => lines.push(format!("over: {}", reason.text())),
            }
        }
        self.effects.clear();
        lines.join("\n")
    }

    fn turn_ends(&mut self) -> String {
        self.feed(|session, context| session.flush(context));
        self.done()
    }

    fn gets(&mut self, to: u32) -> String {
        self.feed(|session, context| session.poll(Poll { to, jsonp: None }, context));
        self.turn_ends()
    }

    /// A whole POST, answered by an echo of its messages.
    fn posts(&mut self, to: u32, body: impl AsRef<[u8]>) -> String {
        self.posts_as(to, body.as_ref(), false);
        self.turn_ends()
    }

    fn posts_as(&mut self, to: u32, body: &[u8], is_octet_stream: bool) {
        if !self.feed(|session, context| session.post_begun(to, context) && session.post_whole(to, context)) {
            return;
        }
        let payload = self.session.form(is_octet_stream).and_then(|form| Payload::new(form, body, &SETTINGS.payload));
        let Ok(mut payload) = payload else {
            return self.feed(|session, context| session.post_fault(to, context));
        };
        let mut scratch = Vec::new();
        loop {
            match payload.next(&mut scratch) {
                Ok(Some(packet)) => self.hears(to, packet),
                Ok(None) => return self.feed(|session, context| session.post_read(to, context)),
                Err(_) => return self.feed(|session, context| session.post_fault(to, context)),
            }
        }
    }

    fn hears(&mut self, from: u32, packet: EngineIoPacket<'_>) {
        if let Some(data) = self.feed(|session, context| session.hear(from, packet, context)) {
            self.says(data);
        }
    }

    /// The server sends a message.
    fn says(&mut self, data: PacketData<'_>) {
        let packet = EngineIoPacket { kind: PacketKind::Message, data };
        let version = self.session.version();
        match self.session.route() {
            SessionRoute::Socket(to) => self.effects.packet(to, version, packet),
            SessionRoute::Buffer => {
                let mut frames = Vec::new();
                engineio::encode_packet(&mut frames, version, packet);
                self.buffers(&frames, false);
            }
            SessionRoute::Nowhere => {}
        }
    }

    /// A WebSocket opens with the session's id.
    fn opens(&mut self, to: u32) -> String {
        self.feed(|session, context| session.upgrade(to, context));
        self.done()
    }

    /// A text comes on a WebSocket.
    fn sends(&mut self, from: u32, text: &str) -> String {
        match engineio::decode_text(self.session.version(), text, &mut Vec::new()) {
            Ok(packet) => self.hears(from, packet),
            Err(_) => self.feed(|session, context| session.fault(from, context)),
        }
        self.turn_ends()
    }

    fn breaks(&mut self, from: u32) -> String {
        self.feed(|session, context| session.ended(from, context));
        self.done()
    }

    /// Time passes, timer after timer.
    fn waits(&mut self, ms: u64) -> String {
        let until = self.mono + ms;
        let mut lines = Vec::new();
        while let Some(at) = self.session.next_due().filter(|at| *at <= until) {
            assert!(at >= self.mono, "a moment that has passed is due");
            self.mono = at;
            self.feed(|session, context| session.tick(context));
            assert_ne!(self.session.next_due(), Some(at), "nothing came of it");
            let done = self.done();
            if !done.is_empty() {
                lines.push(done);
            }
        }
        self.mono = until;
        lines.join("\n")
    }
}

fn shown(bytes: &[u8]) -> String {
    str::from_utf8(bytes).map_or_else(|_| format!("{bytes:?}"), |text| text.replace('\u{1e}', "|"))
}

#[test]
fn an_idle_session_is_small() {
    assert_eq!(size_of::<EngineIoSession>(), 48);
    assert!(size_of::<Polling>() <= 128, "{} bytes", size_of::<Polling>());
    assert!(size_of::<Effect>() <= 40, "{} bytes", size_of::<Effect>());
}

#[test]
fn handshakes_over_polling() {
    let plain = Poll { to: 1, jsonp: None };
    let (lines, _) = Play::polling_with(Version::V4, plain, true);
    assert_eq!(lines, format!(r#"1: 200 0{OPEN},"maxPayload":1000000}}"#));
    let (lines, _) = Play::polling_with(Version::V3, plain, true);
    assert_eq!(lines, format!("1: 200 {}:0{OPEN}}}", OPEN.len() + 2));
    let (lines, mut play) = Play::polling_with(Version::V3, Poll { to: 1, jsonp: Some(7) }, true);
    assert!(lines.starts_with(r#"1: 200 ___eio[7]("93:0{\"sid\":\"lv_"#), "{lines}");
    // Scripts carry text only.
    play.says(PacketData::Binary(&[1, 2, 3, 4]));
    play.feed(|session, context| session.poll(Poll { to: 1, jsonp: Some(8) }, context));
    assert_eq!(play.turn_ends(), r#"1: 200 ___eio[8]("10:b4AQIDBA==");"#);
}

#[test]
fn what_an_older_client_is_told_first_goes_with_the_handshake() {
    let mut effects = Effects::default();
    let context = SessionContext { mono: 0, settings: &SETTINGS, effects: &mut effects };
    let poll = Poll { to: 1, jsonp: None };
    let session = EngineIoSession::open_polling(Version::V3, [0; 12], SID, poll, true, &context);
    let mut play = Play { session, effects, mono: 0 };
    play.says(PacketData::Text("0"));
    assert_eq!(play.turn_ends(), format!("1: 200 {}:0{OPEN}}}2:40", OPEN.len() + 2));
}

#[test]
fn messages_over_polling() {
    let mut play = Play::polling(Version::V4);
    assert_eq!(play.posts(2, "4hello"), "2: 200 ok");
    assert_eq!(play.gets(1), "1: 200 4hello");
    assert_eq!(play.gets(1), "");
    assert_eq!(play.posts(2, "4test1\u{1e}4test2\u{1e}4test3"), "2: 200 ok\n1: 200 4test1|4test2|4test3");
    assert_eq!(play.posts(2, "4hello\u{1e}bAQIDBA=="), "2: 200 ok");
    assert_eq!(play.gets(1), "1: 200 4hello|bAQIDBA==");
    // Between two polls a session keeps what an answer left: nothing.
    assert!(matches!(&play.session.transport, SessionTransport::Polling(polling) if polling.frames.capacity() == 0));
}

#[test]
fn messages_over_polling_in_version_3() {
    let poll = Poll { to: 1, jsonp: None };
    let (_, mut play) = Play::polling_with(Version::V3, poll, false);
    assert_eq!(play.posts(2, "6:4test16:4test2"), "2: 200 ok");
    assert_eq!(play.gets(1), "1: 200 6:4test16:4test2");
    assert_eq!(play.posts(2, "6:4hello10:b4AQIDBA=="), "2: 200 ok");
    assert_eq!(play.gets(1), "1: 200 6:4hello10:b4AQIDBA==");
    let mut play = Play::polling(Version::V3);
    assert_eq!(play.posts(2, "6:4hello10:b4AQIDBA=="), "2: 200 ok");
    let bytes = [0, 6, 255, 52, 104, 101, 108, 108, 111, 1, 5, 255, 4, 1, 2, 3, 4];
    assert_eq!(play.gets(1), format!("1: 200 {bytes:?}"));
    play.posts_as(2, &bytes, true);
    assert_eq!(play.turn_ends(), "2: 200 ok");
    assert_eq!(play.gets(1), format!("1: 200 {bytes:?}"));
}

#[test]
fn messages_over_a_websocket() {
    let mut play = Play::websocket(Version::V4);
    assert_eq!(play.sends(9, "4hello"), "9: 4hello");
    play.hears(9, EngineIoPacket::binary(&[1, 2]));
    assert_eq!(play.done(), "9: \u{1}\u{2}");
    // What says nothing at this point is let pass.
    assert_eq!([play.sends(9, "6"), play.sends(9, "5"), play.sends(9, "0")], ["", "", ""]);
    assert_eq!(play.sends(9, "abc"), "9: closed 1002\nover: parse error");
    assert!(play.session.is_gone());
    let mut play = Play::websocket(Version::V3);
    play.hears(9, EngineIoPacket::binary(&[1, 2]));
    assert_eq!(play.done(), "9: \u{4}\u{1}\u{2}");
    assert_eq!(play.sends(9, "4hello"), "9: 4hello");
}

#[test]
fn a_payload_that_is_none_ends_the_session() {
    let mut play = Play::polling(Version::V4);
    assert_eq!(play.posts(2, "abc"), "over: parse error\n2: 400");
    assert_eq!(play.gets(1), "1: 400");
    let mut play = Play::polling(Version::V4);
    assert_eq!(play.gets(1), "");
    assert_eq!(play.posts(2, "4a\u{1e}x"), "1: 200 4a|1\nover: parse error\n2: 400");
    let mut play = Play::polling(Version::V4);
    play.posts_as(2, b"4hello", true);
    assert_eq!(play.turn_ends(), "over: parse error\n2: 400");
    let mut play = Play::polling(Version::V3);
    assert_eq!(play.posts(2, ""), "over: parse error\n2: 400");
}

#[test]
fn two_polls_at_once_end_the_session() {
    let mut play = Play::polling(Version::V4);
    assert_eq!(play.gets(1), "");
    assert_eq!(play.gets(2), "1: 200 1\nover: transport error\n2: 400");
    assert_eq!(play.gets(1), "1: 400");
    let mut play = Play::polling(Version::V3);
    assert_eq!(play.gets(1), "");
    assert_eq!(play.gets(2), "1: 200 1:1\nover: transport error\n2: 400");
}

#[test]
fn two_posts_at_once_end_the_session() {
    let mut play = Play::polling(Version::V4);
    assert!(play.feed(|session, context| session.post_begun(2, context)));
    assert_eq!(play.posts(3, "4a"), "over: transport error\n3: 400");
    assert!(!play.feed(|session, context| session.post_whole(2, context)));
    assert_eq!(play.done(), "2: 400");
}

#[test]
fn a_poll_that_is_broken_off_ends_the_session() {
    let mut play = Play::polling(Version::V4);
    assert_eq!(play.gets(1), "");
    assert_eq!(play.breaks(1), "over: transport close");
    assert_eq!(play.gets(2), "2: 400");
    // The next one may come first.
    let mut play = Play::polling(Version::V4);
    assert_eq!(play.gets(1), "");
    assert_eq!(play.gets(2), "1: 200 1\nover: transport error\n2: 400");
    assert_eq!(play.breaks(1), "");
    // A connection that ends between two requests is none of the session's business.
    let mut play = Play::polling(Version::V4);
    assert_eq!(play.breaks(1), "");
    assert_eq!(play.gets(2), "");
    assert_eq!(play.breaks(1), "");
}

#[test]
fn a_post_that_is_broken_off_ends_the_session_and_one_too_large_does_not() {
    let mut play = Play::polling(Version::V4);
    assert!(play.feed(|session, context| session.post_begun(2, context)));
    assert_eq!(play.breaks(2), "over: transport close");
    let mut play = Play::polling(Version::V4);
    assert!(play.feed(|session, context| session.post_begun(2, context)));
    play.session.post_dropped(2);
    assert_eq!(play.breaks(2), "");
    assert_eq!(play.posts(3, "4a"), "3: 200 ok");
}

#[test]
fn the_client_closes_by_a_post_whichever_is_read_first() {
    for (version, close, noop) in [(Version::V4, "1", "6"), (Version::V3, "1:1", "1:6")] {
        let mut play = Play::polling(version);
        assert_eq!(play.gets(1), "");
        assert_eq!(play.posts(2, close), format!("1: 200 {noop}\nover: transport close\n2: 200 ok"));
        assert_eq!(play.gets(3), "3: 400");
        let mut play = Play::polling(version);
        assert_eq!(play.posts(2, close), "over: transport close\n2: 200 ok");
        assert!(play.session.is_over() && !play.session.is_gone());
        assert_eq!(play.session.route(), SessionRoute::Nowhere);
        assert_eq!(play.posts(2, close), "2: 400");
        assert_eq!(play.opens(4), "4: closed 1000");
        assert_eq!(play.gets(1), format!("1: 200 {noop}"));
        assert_eq!(play.gets(1), "1: 400");
        // A client that went without a last poll is not waited for long.
        let mut play = Play::polling(version);
        play.posts(2, close);
        assert_eq!(play.waits(limits::CLOSING_MS), "");
        assert!(play.session.is_gone());
    }
    // What follows the end is not read.
    let mut play = Play::polling(Version::V4);
    assert_eq!(play.posts(2, "4a\u{1e}1\u{1e}4b"), "over: transport close\n2: 200 ok");
    assert_eq!(play.gets(1), "1: 200 4a|6");
}

#[test]
fn the_client_closes_its_websocket() {
    let mut play = Play::websocket(Version::V4);
    assert_eq!(play.sends(9, "1"), "9: closed 1000\nover: transport close");
    assert_eq!(play.breaks(9), "");
    let mut play = Play::websocket(Version::V4);
    assert_eq!(play.breaks(9), "over: transport close");
    assert_eq!(play.gets(1), "1: 400");
}

#[test]
fn the_server_closes() {
    let close = |play: &mut Play| play.feed(|session, context| session.close(Reason::ServerClose, context));
    let mut play = Play::polling(Version::V4);
    assert_eq!(play.gets(1), "");
    play.says(PacketData::Text("1"));
    close(&mut play);
    assert_eq!(play.turn_ends(), "1: 200 41|1\nover: forced server close");
    let mut play = Play::polling(Version::V4);
    play.says(PacketData::Text("1"));
    close(&mut play);
    close(&mut play);
    assert_eq!(play.turn_ends(), "over: forced server close");
    assert_eq!(play.gets(1), "1: 200 41|1");
    assert!(play.session.is_gone());
    let mut play = Play::websocket(Version::V4);
    close(&mut play);
    assert_eq!(play.turn_ends(), "9: closed 1000\nover: forced server close");
    // While a WebSocket is about to take over, it goes, too.
    let mut play = Play::probed(Version::V4);
    close(&mut play);
    assert_eq!(play.turn_ends(), "5: closed 1000\nover: forced server close");
}

#[test]
fn heartbeats_over_polling() {
    let mut play = Play::polling(Version::V4);
    for _ in 0..3 {
        assert_eq!(play.gets(1), "");
        assert_eq!(play.waits(300), "1: 200 2");
        assert_eq!(play.posts(2, "3"), "2: 200 ok");
    }
    let mut play = Play::polling(Version::V3);
    for _ in 0..3 {
        assert_eq!(play.waits(300), "");
        assert_eq!(play.posts(2, "1:2"), "2: 200 ok");
        assert_eq!(play.gets(1), "1: 200 1:3");
    }
    assert_eq!(play.posts(2, "6:2abcde"), "2: 200 ok");
    assert_eq!(play.gets(1), "1: 200 6:3abcde");
}

#[test]
fn heartbeats_over_a_websocket() {
    let mut play = Play::websocket(Version::V4);
    for _ in 0..3 {
        assert_eq!(play.waits(300), "9: 2");
        assert_eq!(play.sends(9, "3"), "");
    }
    assert_eq!(play.waits(500), "9: 2\n9: closed 4408\nover: ping timeout");
    let mut play = Play::websocket(Version::V3);
    for _ in 0..3 {
        assert_eq!(play.sends(9, "2"), "9: 3");
    }
    assert_eq!(play.waits(500), "9: closed 4408\nover: ping timeout");
    // Whose ping it is depends on the version.
    assert_eq!(Play::websocket(Version::V4).sends(9, "2"), "9: closed 1002\nover: transport error");
    assert_eq!(Play::websocket(Version::V3).sends(9, "3"), "9: closed 1002\nover: transport error");
}

#[test]
fn a_silent_session_is_over_on_time_however_late_the_timer() {
    for version in [Version::V3, Version::V4] {
        // Nothing looked at it for 500 ms but the timer of the ping; both readings of the clock are cut.
        for at in [499, 500, 501] {
            let mut play = Play::polling(version);
            assert_eq!(play.waits(300), "");
            play.mono += at - 300;
            assert_eq!(play.gets(1), "over: ping timeout\n1: 400", "after {at} ms");
            let mut play = Play::polling(version);
            assert_eq!(play.waits(300), "");
            play.mono += at - 300;
            assert_eq!(play.posts(1, "4a"), "over: ping timeout\n1: 400", "after {at} ms");
        }
        let mut play = Play::polling(version);
        assert_eq!(play.waits(480), "");
        assert!(!play.session.is_over());
        assert_eq!(play.waits(20), "over: ping timeout");
    }
    // A poll that waits hears of it.
    let mut play = Play::polling(Version::V4);
    assert_eq!(play.gets(1), "");
    assert_eq!(play.waits(300), "1: 200 2");
    assert_eq!(play.gets(1), "");
    assert_eq!(play.waits(200), "1: 200 1\nover: ping timeout");
}

#[test]
fn polling_gives_way_to_a_websocket() {
    let mut play = Play::polling(Version::V4);
    assert_eq!(play.gets(1), "");
    assert_eq!(play.opens(5), "");
    // The poll that waits is ended at once.
    assert_eq!(play.sends(5, "2probe"), "5: 3probe\n1: 200 6");
    // One that set out before the client heard of it waits for a moment.
    assert_eq!(play.gets(1), "");
    assert_eq!(play.waits(99), "");
    assert_eq!(play.waits(1), "1: 200 6");
    // What comes up in between goes by the new road.
    play.says(PacketData::Text("late"));
    assert_eq!(play.turn_ends(), "");
    assert_eq!(play.sends(5, "5"), "5: 4late");
    assert_eq!((play.session.route(), play.session.is_polling()), (SessionRoute::Socket(5), false));
    assert_eq!(play.sends(5, "4hello"), "5: 4hello");
    // And stays there.
    assert_eq!([play.gets(1), play.posts(1, "4a")], ["1: 400", "1: 400"]);
    assert_eq!(play.opens(6), "6: closed 1000");
    assert_eq!(play.sends(6, "4a"), "");
    assert_eq!(play.breaks(6), "");
    assert_eq!(play.sends(5, "4still"), "5: 4still");
}

#[test]
fn a_poll_that_comes_before_its_session_has_moved_is_refused_when_it_has() {
    for version in [Version::V3, Version::V4] {
        let mut play = Play::probed(version);
        assert_eq!(play.gets(1), "");
        assert_eq!(play.sends(5, "5"), "1: 400");
        assert_eq!(play.sends(5, "4hello"), "5: 4hello");
    }
    // Or, the suite's other case, ended while it has not.
    let mut play = Play::probed(Version::V3);
    assert_eq!(play.gets(1), "");
    assert_eq!(play.waits(100), "1: 200 1:6");
    assert_eq!(play.sends(5, "5"), "");
    assert_eq!(play.sends(5, "4hello"), "5: 4hello");
}

#[test]
fn a_websocket_that_misbehaves_does_not_take_over() {
    for text in ["4hello", "2", "2other", "1", "3probe", "abc", ""] {
        let mut play = Play::polling(Version::V4);
        assert_eq!(play.opens(5), "");
        assert_eq!(play.sends(5, text), "5: closed 1002", "{text:?}");
        assert_eq!(play.breaks(5), "");
        assert_eq!(play.posts(2, "4still"), "2: 200 ok");
        assert_eq!(play.opens(6), "");
        assert_eq!(play.sends(6, "2probe"), "6: 3probe");
    }
    let mut play = Play::probed(Version::V4);
    assert_eq!(play.opens(6), "6: closed 1000");
    assert_eq!(play.sends(5, "4hello"), "5: closed 1002");
    let mut play = Play::probed(Version::V4);
    assert!(play.feed(|session, context| session.post_begun(2, context)));
    assert_eq!(play.sends(5, "5"), "5: closed 1002");
    let mut play = Play::probed(Version::V4);
    assert_eq!(play.breaks(5), "");
    assert_eq!(play.gets(1), "");
    assert_eq!(play.waits(250), "");
}

#[test]
fn upgrade_without_a_probe_takes_over() {
    let mut play = Play::polling(Version::V4);
    assert_eq!(play.opens(5), "");
    assert_eq!(play.sends(5, "5"), "");
    assert_eq!(play.sends(5, "4hello"), "5: 4hello");
    // A poll that is pending is answered, and the messages go to the WebSocket.
    let mut play = Play::polling(Version::V4);
    assert_eq!(play.gets(1), "");
    assert_eq!(play.opens(5), "");
    assert_eq!(play.sends(5, "5"), "1: 200 6");
    assert_eq!(play.sends(5, "4hello"), "5: 4hello");
}

#[test]
fn a_websocket_has_so_long_to_take_over() {
    let mut play = Play::polling(Version::V3);
    assert_eq!(play.opens(5), "");
    for _ in 0..24 {
        assert_eq!(play.waits(400), "");
        assert_eq!(play.posts(2, "1:2"), "2: 200 ok");
        assert_eq!(play.gets(1), "1: 200 1:3");
    }
    assert_eq!(play.waits(400), "5: closed 1000");
    assert!(!play.session.is_over());
}

#[test]
fn what_waits_for_a_client_has_a_bound() {
    let mut play = Play::polling(Version::V4);
    let frame = [&[0x81, 126, 4, 0][..], &[b'4'; 1_024]].concat();
    for _ in 0..3 {
        play.buffers(&frame, false);
    }
    play.buffers(&frame, true);
    assert_eq!(play.turn_ends(), "");
    play.buffers(&frame, false);
    assert_eq!(play.turn_ends(), "over: forced server close");
    assert!(play.session.is_gone());
    let mut play = Play::polling(Version::V3);
    let pings = "1:2".repeat(100);
    let ends = (0..100).map(|_| play.posts(2, &pings)).find(|lines| lines != "2: 200 ok");
    assert_eq!(ends.as_deref(), Some("over: forced server close\n2: 200 ok"));
}
