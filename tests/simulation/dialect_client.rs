//! A client in rooms with clients of other dialects: `raw` over a WebSocket, `colon` or `camel` over any transport. It
//! records events in a form common to all dialects.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::dialect_checker::DialectChecker;
use super::engineio_client::{EngineIoClient, SessionEnd, TransportChoice, say};
use super::frames::{Frame, masked, take_frame, take_response};
use super::history::{End, Fact};
use super::network::{Delivery, Network, Owner};
use super::setting::people;

/// What a client speaks in rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientDialect {
    Raw,
    Colon,
    Camel,
}

/// A request under way.
#[derive(Clone, Debug)]
enum PendingRequest {
    Join(String),
    Leave(String),
    /// A message, by its content.
    Send(String),
    Type,
}

/// What carries what it says.
enum Link {
    Raw { socket: usize, inbox: Vec<u8>, is_open: bool, is_over: bool },
    EngineIoClient(EngineIoClient),
}

/// See the module.
pub(crate) struct DialectClient {
    pub(crate) number: usize,
    /// Nobody else is this user.
    pub(crate) user: String,
    pub(crate) speech: ClientDialect,
    line: Link,
    /// It may ask things.
    pub(crate) is_ready: bool,
    /// It is in the main namespace, too.
    /// Whether it connects to the main namespace as well.
    asks_main: bool,
    pub(crate) is_in_main: bool,
    pub(crate) is_silent: bool,
    /// It has left `/chat`, and hears what was on its way no more.
    has_left_chat: bool,
    /// It has said goodbye.
    has_left: bool,
    /// It sent what makes no sense.
    pub(crate) is_odd: bool,
    serial: u64,
    pending: BTreeMap<u64, PendingRequest>,
    /// Its memberships in the ledger, by room.
    pub(crate) rooms: BTreeMap<String, usize>,
}

impl DialectClient {
    /// A client that has begun to connect; not to the main namespace unless `with_main`.
    pub(crate) fn connect(
        number: usize,
        speech: ClientDialect,
        way: TransportChoice,
        with_main: bool,
        net: &mut Network,
    ) -> Self {
        let (user, token) = &people()[number];
        let owner = Owner::RawClient(number);
        let line = if speech == ClientDialect::Raw {
            let socket = net.connect(owner);
            let head = format!(
                "GET /ws?events=all&token={token} HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            net.send(socket, head.as_bytes());
            Link::Raw { socket, inbox: Vec::new(), is_open: false, is_over: false }
        } else {
            // Where the token comes says what is spoken.
            let query = if speech == ClientDialect::Camel { format!("&token={token}") } else { String::new() };
            let mut engine = EngineIoClient::open(owner, way, &query, net);
            let connect =
                if speech == ClientDialect::Camel { String::new() } else { json!({ "token": token }).to_string() };
            engine.send(format!("40/chat,{connect}"), net);
            if with_main {
                engine.send(format!("40{connect}"), net);
            }
            Link::EngineIoClient(engine)
        };
        Self {
            number,
            user: user.clone(),
            speech,
            line,
            is_ready: false,
            asks_main: with_main,
            is_in_main: false,
            is_silent: false,
            has_left_chat: false,
            has_left: false,
            is_odd: false,
            serial: 0,
            pending: BTreeMap::new(),
            rooms: BTreeMap::new(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        match &self.line {
            Link::Raw { is_over, .. } => *is_over,
            Link::EngineIoClient(engine) => engine.over.is_some(),
        }
    }

    /// Whether it can be made to do something.
    pub(crate) fn is_able(&self) -> bool {
        self.is_ready && !self.is_over() && !self.is_silent && !self.is_odd
    }

    /// Whether it began by polling and has a WebSocket now.
    pub(crate) fn is_on_websocket(&self) -> bool {
        matches!(&self.line, Link::EngineIoClient(engine) if engine.is_open() && engine.is_on_websocket())
    }

    pub(crate) fn is_polling(&self) -> bool {
        matches!(&self.line, Link::EngineIoClient(engine) if !engine.is_on_websocket())
    }

    pub(crate) fn join(&mut self, room: &str, net: &mut Network) {
        // All go by their user's id, so that each dialect calls them the same.
        let asked = PendingRequest::Join(room.to_owned());
        match self.speech {
            ClientDialect::Raw => self.ask_raw("join-room", json!({ "roomId": room, "peerId": self.user }), asked, net),
            ClientDialect::Colon => self.ask("join:chat", &json!({ "chatId": room, "peerId": self.user }), asked, net),
            ClientDialect::Camel => self.ask("joinRoom", &json!({ "roomId": room, "peerId": self.user }), asked, net),
        }
    }

    pub(crate) fn leave(&mut self, room: &str, net: &mut Network) {
        let asked = PendingRequest::Leave(room.to_owned());
        match self.speech {
            ClientDialect::Raw => self.ask_raw("leave-room", json!({ "roomId": room }), asked, net),
            ClientDialect::Colon => self.ask("leave:chat", &json!({ "chatId": room }), asked, net),
            ClientDialect::Camel => self.ask("leaveRoom", &json!(room), asked, net),
        }
    }

    pub(crate) fn send(&mut self, room: &str, content: &str, net: &mut Network) {
        let asked = PendingRequest::Send(content.to_owned());
        match self.speech {
            ClientDialect::Raw => self.ask_raw("message", json!({ "roomId": room, "content": content }), asked, net),
            ClientDialect::Colon => {
                self.ask("message:send", &json!({ "chatId": room, "content": content }), asked, net)
            }
            ClientDialect::Camel => self.ask("sendMessage", &json!({ "roomId": room, "content": content }), asked, net),
        }
    }

    /// Sends to all connections of a user; only `raw` has a word for it.
    pub(crate) fn send_to_user(&mut self, user: &str, content: &str, net: &mut Network) {
        let fields = json!({ "toUserId": user, "content": content });
        self.ask_raw("message", fields, PendingRequest::Send(content.to_owned()), net);
    }

    pub(crate) fn type_text(&mut self, room: &str, is_typing: bool, net: &mut Network) {
        match self.speech {
            ClientDialect::Raw => {
                self.ask_raw("typing", json!({ "roomId": room, "isTyping": is_typing }), PendingRequest::Type, net)
            }
            ClientDialect::Colon => {
                self.ask(
                    "message:typing",
                    &json!({ "chatId": room, "isTyping": is_typing }),
                    PendingRequest::Type,
                    net,
                );
            }
            ClientDialect::Camel => {
                self.ask(
                    "typingIndicator",
                    &json!({ "roomId": room, "isTyping": is_typing }),
                    PendingRequest::Type,
                    net,
                );
            }
        }
    }

    fn ask_raw(&mut self, kind: &str, mut fields: Value, asked: PendingRequest, net: &mut Network) {
        self.serial += 1;
        fields["type"] = json!(kind);
        fields["requestId"] = json!(self.serial);
        let Link::Raw { socket, .. } = &self.line else { panic!("{} does not speak raw", self.number) };
        if !matches!(asked, PendingRequest::Type) {
            self.pending.insert(self.serial, asked);
        }
        net.show(&format!("talker {}", self.number), '>', &fields.to_string());
        say(net, *socket, &fields.to_string());
    }

    fn ask(&mut self, name: &str, argument: &Value, asked: PendingRequest, net: &mut Network) {
        self.serial += 1;
        self.pending.insert(self.serial, asked);
        self.post(format!("42/chat,{}{}", self.serial, json!([name, argument])), net);
    }

    /// Sends a packet of EngineIoClient.IO as it is.
    pub(crate) fn post(&mut self, packet: String, net: &mut Network) {
        if let Link::EngineIoClient(engine) = &mut self.line {
            engine.send(packet, net);
        }
    }

    /// Leaves `/chat`, and with it its rooms.
    pub(crate) fn leave_chat(&mut self, net: &mut Network, ledger: &mut DialectChecker) {
        (self.is_ready, self.has_left_chat) = (false, true);
        self.post("41/chat,".to_owned(), net);
        self.cut(ledger);
    }

    /// Closes as one should.
    pub(crate) fn close(&mut self, net: &mut Network, ledger: &mut DialectChecker) {
        match &mut self.line {
            Link::Raw { socket, is_over, .. } => {
                let mut out = Vec::new();
                masked(&mut out, &mut net.rng, 0x88, &1000_u16.to_be_bytes());
                net.send(*socket, &out);
                *is_over = true;
            }
            Link::EngineIoClient(engine) => engine.close(net),
        }
        (self.is_ready, self.has_left) = (false, true);
        self.cut(ledger);
    }

    pub(crate) fn vanish(&mut self, is_reset: bool, net: &mut Network, ledger: &mut DialectChecker) {
        match &mut self.line {
            Link::Raw { socket, is_over, .. } => {
                *is_over = true;
                if is_reset {
                    net.reset(*socket);
                } else {
                    net.finish(*socket);
                    net.ignore(*socket);
                }
            }
            Link::EngineIoClient(engine) => engine.vanish(is_reset, net),
        }
        self.cut(ledger);
    }

    /// It says nothing more.
    pub(crate) fn fall_silent(&mut self) {
        self.is_silent = true;
        if let Link::EngineIoClient(engine) = &mut self.line {
            engine.is_silent = true;
        }
    }

    fn cut(&mut self, ledger: &mut DialectChecker) {
        for at in std::mem::take(&mut self.rooms).into_values() {
            ledger.memberships[at].end = End::Cut;
        }
        self.pending.clear();
    }

    pub(crate) fn receive(&mut self, news: &Delivery, net: &mut Network, ledger: &mut DialectChecker) {
        let was_over = self.is_over();
        match &mut self.line {
            Link::Raw { .. } => self.receive_raw(news, net, ledger),
            Link::EngineIoClient(engine) => {
                for message in engine.receive(news, net) {
                    if !was_over && !self.has_left {
                        self.hear(&message, ledger);
                    }
                }
                let Link::EngineIoClient(engine) = &self.line else { return };
                if let (Some(over), false) = (engine.over, was_over) {
                    let is_right = match over {
                        SessionEnd::Left => true,
                        _ if self.has_left => true,
                        SessionEnd::Closed(Some(4408)) => self.is_silent,
                        SessionEnd::Closed(Some(1002)) => self.is_odd,
                        // A connection to a namespace was refused because there was too much to do. The
                        // session ends with it, and an upgrade that was under way is refused.
                        SessionEnd::Closed(_) | SessionEnd::Refused
                            if !self.is_ready || (self.asks_main && !self.is_in_main) =>
                        {
                            true
                        }
                        SessionEnd::Closed(_) | SessionEnd::Refused => {
                            self.is_silent || self.is_odd || ledger.is_draining
                        }
                    };
                    assert!(is_right, "talker {} was cut off at {:?}: {over:?}", self.number, net.now);
                    ledger.tally.count(&format!("{over:?}"));
                }
            }
        }
        if self.is_over() && !was_over {
            self.cut(ledger);
        }
    }

    fn receive_raw(&mut self, news: &Delivery, net: &mut Network, ledger: &mut DialectChecker) {
        let Link::Raw { inbox, is_open, .. } = &mut self.line else { return };
        inbox.extend_from_slice(&news.bytes);
        if !*is_open && let Some(response) = take_response(inbox) {
            assert!(response.status == 101 || ledger.is_draining, "{response:?}");
            *is_open = true;
        }
        while let Link::Raw { inbox, is_open: true, is_over, .. } = &mut self.line
            && let Some(frame) = take_frame(inbox)
        {
            match frame {
                Frame::Text(text) if !*is_over => {
                    net.show(&format!("talker {}", self.number), '<', &text);
                    self.told(&serde_json::from_str(&text).expect("JSON"), ledger);
                }
                Frame::Ping(payload) if !self.is_silent => {
                    let mut out = Vec::new();
                    masked(&mut out, &mut net.rng, 0x8A, &payload);
                    net.send(news.socket, &out);
                }
                Frame::Close(code) if !*is_over => {
                    let is_right = (self.is_silent && code == Some(4408)) || ledger.is_draining;
                    assert!(is_right, "talker {} was closed with {code:?}", self.number);
                    let mut out = Vec::new();
                    masked(&mut out, &mut net.rng, 0x88, &1000_u16.to_be_bytes());
                    net.send(news.socket, &out);
                    *is_over = true;
                }
                _ => {}
            }
        }
        if news.is_end {
            net.finish(news.socket);
            if let Link::Raw { is_over, .. } = &mut self.line {
                assert!(*is_over || ledger.is_draining, "talker {} was cut off", self.number);
                *is_over = true;
            }
        }
    }

    /// A message of Socket.IO has come.
    fn hear(&mut self, message: &str, ledger: &mut DialectChecker) {
        let (kind, rest) = message.split_at(1);
        let (namespace, rest) = match rest.strip_prefix("/chat,") {
            Some(rest) => ("/chat", rest),
            None => ("/", rest),
        };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (id, rest) = rest.split_at(digits);
        let value: Value = serde_json::from_str(rest).unwrap_or(Value::Null);
        match (kind, namespace) {
            (_, "/chat") if self.has_left_chat => {}
            ("0", "/chat") => self.is_ready = true,
            ("0", _) => {
                self.is_in_main = true;
                ledger.tally.count("connected twice");
            }
            ("2", _) => self.event(namespace, &value, ledger),
            ("3", "/chat") => self.answered(id.parse().expect("a number"), &value[0], ledger),
            ("4", _) => {
                ledger.tally.count(value["data"]["code"].as_str().unwrap_or("refused"));
                assert!(ledger.is_draining || value["data"]["code"] == "OVERLOADED", "{message}");
            }
            ("1", _) => assert!(ledger.is_draining, "{message}"),
            _ => panic!("a message that means nothing: {message}"),
        }
    }

    fn event(&mut self, namespace: &str, event: &Value, ledger: &mut DialectChecker) {
        let (name, told) = (event[0].as_str().expect("a name"), &event[1]);
        ledger.tally.count(name);
        let room = |field: &str| told[field].as_str().expect("a room").to_owned();
        match name {
            "message" => ledger.hear_direct(text(told, "data"), self.number, namespace),
            "message:new" => self.message(&room("chatId"), text(told, "userId"), told, ledger),
            "newMessage" => self.message(&room("roomId"), text(told, "sender"), told, ledger),
            "user:joined" => self.note(&room("chatId"), joined(text(told, "userId")), ledger),
            "userJoinedRoom" => self.note(&room("roomId"), joined(text(told, "userId")), ledger),
            "user:left" => self.note(&room("chatId"), left(text(told, "userId")), ledger),
            "userLeftRoom" => self.note(&room("roomId"), left(text(told, "userId")), ledger),
            "user:typing" => self.note(&room("chatId"), typing(told), ledger),
            "userTyping" => self.note(&room("roomId"), typing(told), ledger),
            "joinedRoom" => self.begin(told.as_str().expect("a room"), None, ledger),
            "leftRoom" => self.end(told.as_str().expect("a room"), ledger),
            "error" => ledger.tally.count(text(told, "code")),
            "room:joined" | "room:left" | "message:sent" | "messageSent" | "authenticated" | "users:online"
            | "room:online-update" | "user:online" | "user:offline" | "presenceUpdate" => {}
            other => panic!("{other} is nothing a client knows: {event}"),
        }
    }

    /// An ack has come.
    fn answered(&mut self, id: u64, told: &Value, ledger: &mut DialectChecker) {
        let asked = self.pending.remove(&id).unwrap_or_else(|| panic!("answered twice or unasked: {told}"));
        let is_granted = told["success"].as_bool().expect("a boolean");
        if !is_granted {
            ledger.tally.count(text(told, "code"));
            assert_ne!(told["code"], "INTERNAL", "{told}");
        }
        match asked {
            PendingRequest::Join(room) if is_granted && self.speech == ClientDialect::Colon => {
                self.begin(&room, None, ledger)
            }
            PendingRequest::Leave(room) if is_granted && self.speech == ClientDialect::Colon => self.end(&room, ledger),
            PendingRequest::Send(content) if !is_granted => ledger.refuse(&content),
            PendingRequest::Send(content) => {
                let sent = if self.speech == ClientDialect::Colon { &told["sentMessage"] } else { told };
                ledger.sent(&content, text(sent, "id"), sent["seq"].as_u64());
            }
            PendingRequest::Join(_) | PendingRequest::Leave(_) | PendingRequest::Type => {}
        }
    }

    /// Something in `raw` has come.
    fn told(&mut self, told: &Value, ledger: &mut DialectChecker) {
        let kind = text(told, "type");
        ledger.tally.count(kind);
        let asked = told["requestId"].as_u64().and_then(|id| self.pending.remove(&id));
        let room = || text(told, "roomId").to_owned();
        match kind {
            "connect" => self.is_ready = true,
            "room-joined" => self.begin(&room(), told["seq"].as_u64(), ledger),
            "room-left" => self.end(&room(), ledger),
            "message-sent" => {
                let Some(PendingRequest::Send(content)) = asked else { panic!("nobody asked for {told}") };
                if let (Some(seq), Some(room)) = (told["seq"].as_u64(), told["roomId"].as_str()) {
                    ledger.sent(&content, text(told, "id"), Some(seq));
                    if let Some(at) = self.rooms.get(room).filter(|at| !ledger.memberships[**at].is_before(seq)) {
                        ledger.memberships[*at].note_own(seq);
                    }
                }
            }
            "message" if told["roomId"].is_null() => ledger.hear_direct(text(told, "content"), self.number, "raw"),
            "message" => self.message(&room(), text(told, "sender"), told, ledger),
            "peer-joined" => self.note(&room(), joined(text(told, "peerId")), ledger),
            "peer-left" => self.note(&room(), left(text(told, "peerId")), ledger),
            "typing" => self.note(&room(), typing(told), ledger),
            "error" => {
                ledger.tally.count(text(told, "code"));
                if let Some(PendingRequest::Send(content)) = asked {
                    ledger.refuse(&content);
                }
            }
            "presence" | "disconnect" => {}
            other => panic!("{other} is nothing a client knows: {told}"),
        }
    }

    fn message(&mut self, room: &str, from: &str, told: &Value, ledger: &mut DialectChecker) {
        let (seq, content) = (told["seq"].as_u64().expect("a number"), text(told, "content"));
        let at = self.membership(room, told);
        ledger.hear(at, seq, text(told, "id"), content, from);
    }

    fn note(&mut self, room: &str, fact: Fact, ledger: &mut DialectChecker) {
        let at = self.membership(room, &json!(format!("{fact:?}")));
        ledger.memberships[at].note(fact, false);
    }

    fn membership(&self, room: &str, told: &Value) -> usize {
        let at = self.rooms.get(room);
        *at.unwrap_or_else(|| panic!("talker {} is told of {room}, which it is not in: {told}", self.number))
    }

    /// It is a member. Only `raw` is told the number of the last message before.
    fn begin(&mut self, room: &str, seq: Option<u64>, ledger: &mut DialectChecker) {
        if self.rooms.contains_key(room) && seq.is_none() {
            return;
        }
        self.rooms.remove(room).inspect(|at| ledger.memberships[*at].end = End::Silent);
        let at = ledger.begin(self.number, &self.user, room, seq);
        self.rooms.insert(room.to_owned(), at);
    }

    fn end(&mut self, room: &str, ledger: &mut DialectChecker) {
        if let Some(at) = self.rooms.remove(room) {
            ledger.memberships[at].end = End::Announced;
        }
    }

    /// At rest nobody waits for an answer.
    pub(crate) fn check_rest(&self) {
        assert!(self.pending.is_empty(), "talker {} was never answered: {:?}", self.number, self.pending);
    }
}

fn joined(user: &str) -> Fact {
    Fact::Joined { name: user.to_owned(), display: user.to_owned(), media: 0 }
}

fn left(user: &str) -> Fact {
    Fact::Left { name: user.to_owned() }
}

fn typing(told: &Value) -> Fact {
    let is_typing = told["isTyping"].as_bool().expect("a boolean");
    Fact::Typing { user: text(told, "userId").to_owned(), is_typing }
}

fn text<'a>(told: &'a Value, field: &str) -> &'a str {
    told[field].as_str().unwrap_or_else(|| panic!("{field} is text in {told}"))
}
