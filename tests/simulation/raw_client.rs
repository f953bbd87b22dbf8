//! A raw client over a WebSocket: it keeps the protocol, records what it receives, and fails on any unexpected message.

use std::collections::BTreeMap;

use serde_json::Value;

use super::frames::{Frame, masked, masked_text, take_frame, take_response};
use super::history::{End, Fact, JoinState, Membership};
use super::network::{Delivery, Network};
use super::room_checker::RoomChecker;

/// How far a peer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientStage {
    Upgrading,
    Open,
    /// One side has said that it closes.
    Closing,
    Over,
}

/// A request under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingRequest {
    /// The type of the answer it gets when granted; nothing when only refusals are told.
    pub(crate) answer: Option<&'static str>,
    /// What must come to somebody else when it is granted.
    pub(crate) errand: Option<String>,
    /// The display name of a join.
    pub(crate) display: Option<String>,
    /// The peer that a leave names.
    pub(crate) names: Option<String>,
}

/// What a client has about it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClientTraits {
    /// Its token is only good for a while.
    pub(crate) expires: bool,
    /// It came without a token.
    pub(crate) is_guest: bool,
    /// Its socket takes very little at once, and at times nothing.
    pub(crate) is_slow: bool,
}

pub(crate) struct RawClient {
    pub(crate) number: usize,
    pub(crate) socket: usize,
    pub(crate) nature: ClientTraits,
    pub(crate) stage: ClientStage,
    /// The user's id; of a guest it is known from the greeting.
    pub(crate) user: String,
    /// Its connectionId.
    pub(crate) id: String,
    inbox: Vec<u8>,
    serial: u64,
    pending: BTreeMap<u64, PendingRequest>,
    /// Its memberships in the book, by room.
    pub(crate) rooms: BTreeMap<String, usize>,
    /// It answers no pings and says nothing.
    pub(crate) is_silent: bool,
    /// Its user's keeper is known to know of it.
    pub(crate) is_settled: bool,
    /// What it sent does not make sense, so that it may be refused without a request of its own.
    pub(crate) is_odd: bool,
    /// Messages it heard of: room, id and sender.
    pub(crate) heard: Vec<(String, String, String)>,
    /// The last it heard of each user.
    pub(crate) presence: BTreeMap<String, String>,
    /// It was given a token that does not expire.
    pub(crate) is_renewed: bool,
    pub(crate) closed: Option<u16>,
    last_reason: Option<String>,
}

impl RawClient {
    pub(crate) fn new(number: usize, socket: usize, nature: ClientTraits, user: &str) -> Self {
        Self {
            number,
            socket,
            nature,
            stage: ClientStage::Upgrading,
            user: user.to_owned(),
            id: String::new(),
            inbox: Vec::new(),
            serial: 0,
            pending: BTreeMap::new(),
            rooms: BTreeMap::new(),
            is_silent: false,
            is_settled: false,
            is_odd: false,
            heard: Vec::new(),
            presence: BTreeMap::new(),
            is_renewed: false,
            closed: None,
            last_reason: None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.stage == ClientStage::Open
    }

    /// Sends a request; `fields` is what follows its type and requestId, beginning with a comma.
    pub(crate) fn ask(&mut self, net: &mut Network, kind: &str, fields: &str, asked: PendingRequest) {
        self.serial += 1;
        let text = format!(r#"{{"type":"{kind}","requestId":{}{fields}}}"#, self.serial);
        self.pending.insert(self.serial, asked);
        self.say(net, &text);
    }

    /// Sends text as it is.
    pub(crate) fn say(&self, net: &mut Network, text: &str) {
        net.show(&format!("peer {}", self.number), '>', text);
        let mut out = Vec::new();
        masked_text(&mut out, &mut net.rng, text);
        net.send(self.socket, &out);
    }

    /// Sends one frame as it is.
    pub(crate) fn say_frame(&self, net: &mut Network, first: u8, payload: &[u8]) {
        let mut out = Vec::new();
        masked(&mut out, &mut net.rng, first, payload);
        net.send(self.socket, &out);
    }

    /// Closes as one should.
    pub(crate) fn close(&mut self, net: &mut Network) {
        self.say_frame(net, 0x88, &1000_u16.to_be_bytes());
        self.stage = ClientStage::Closing;
    }

    /// Is gone, in one of two ways.
    pub(crate) fn vanish(&mut self, net: &mut Network, book: &mut RoomChecker, is_reset: bool) {
        if is_reset {
            net.reset(self.socket);
        } else {
            net.finish(self.socket);
            net.ignore(self.socket);
        }
        self.stage = ClientStage::Over;
        self.cut(book);
    }

    fn cut(&mut self, book: &mut RoomChecker) {
        for at in std::mem::take(&mut self.rooms).into_values() {
            book.memberships[at].end = End::Cut;
        }
        self.pending.clear();
    }

    pub(crate) fn receive(&mut self, news: &Delivery, net: &mut Network, book: &mut RoomChecker) {
        self.inbox.extend_from_slice(&news.bytes);
        if self.stage == ClientStage::Upgrading
            && let Some(response) = take_response(&mut self.inbox)
        {
            match response.status {
                101 => self.stage = ClientStage::Open,
                503 if book.is_draining => {}
                status => panic!("the upgrade was answered {status} {}", response.body),
            }
        }
        while self.stage != ClientStage::Upgrading
            && let Some(frame) = take_frame(&mut self.inbox)
        {
            self.hear(frame, net, book);
        }
        if news.is_end {
            self.end(net, book);
        }
    }

    fn end(&mut self, net: &mut Network, book: &mut RoomChecker) {
        if self.stage == ClientStage::Open {
            // Without a close frame only who did not read, or came too late, is cut off.
            let is_excused = self.nature.is_slow || book.is_draining;
            assert!(is_excused, "peer {} was cut off", self.number);
        }
        self.stage = ClientStage::Over;
        self.cut(book);
        net.finish(self.socket);
    }

    fn hear(&mut self, frame: Frame, net: &mut Network, book: &mut RoomChecker) {
        net.show(&format!("peer {}", self.number), '<', &format!("{frame:?}"));
        assert_eq!(self.closed, None, "a frame after the close frame: {frame:?}");
        match frame {
            Frame::Text(text) => {
                let told: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                assert!(told["timestamp"].is_u64(), "everything has a timestamp: {text}");
                self.told(&told, net, book);
            }
            Frame::Ping(payload) => {
                if !self.is_silent {
                    self.say_frame(net, 0x8A, &payload);
                }
            }
            Frame::Pong(payload) => assert!(payload == b"between" || payload == b"here?", "{payload:?}"),
            Frame::Close(code) => self.told_to_close(code, net, book),
        }
    }

    fn told_to_close(&mut self, code: Option<u16>, net: &mut Network, book: &mut RoomChecker) {
        let code = code.unwrap_or(1005);
        book.tally.count(&format!("closed {code}"));
        let reason = self.last_reason.as_deref();
        let is_right = match code {
            1000 | 1005 => self.stage == ClientStage::Closing,
            1001 | 1012 => reason == Some("server-shutdown"),
            1002 | 1003 | 1007 | 1009 => self.is_odd,
            1008 => reason == Some("too-many-connections"),
            4401 => reason == Some("token-expired"),
            4408 => reason == Some("heartbeat-timeout"),
            4413 => reason == Some("slow-consumer"),
            _ => false,
        };
        assert!(is_right, "peer {} was closed with {code}, the last reason being {reason:?}", self.number);
        self.closed = Some(code);
        if self.stage == ClientStage::Open {
            self.say_frame(net, 0x88, &code.to_be_bytes());
        }
        self.stage = ClientStage::Closing;
        self.cut(book);
    }

    /// One message has come.
    fn told(&mut self, told: &Value, net: &mut Network, book: &mut RoomChecker) {
        let kind = told["type"].as_str().expect("a type");
        book.tally.count(kind);
        if kind == "connect" {
            return self.greeted(told);
        }
        assert!(!self.id.is_empty(), "{kind} comes before the greeting");
        let asked = self.answered(kind, told, book);
        match kind {
            "room-joined" => self.joined(told, asked, book),
            "room-left" => self.left(told, asked, book),
            "disconnect" => self.dismissed(told, net, book),
            "room-closed" => self.end_membership(text(told, "roomId"), End::Closed, book),
            "message-sent" => self.sent(told, book),
            "message" => self.message(told, book),
            "offer" | "answer" | "ice-candidate" => self.signaled(kind, told, book),
            "delivered" | "read-receipt" => {
                let (message, by) = (text(told, "messageId"), text(told, "userId"));
                book.hear(&format!("{kind} {message} {by}"), self.number);
            }
            "peer-joined" | "peer-left" | "media-state-changed" | "typing" | "room-stats" => {
                self.room_fact(kind, told, book);
            }
            "presence" => {
                self.presence.insert(text(told, "userId").into(), text(told, "status").into());
            }
            "authenticated" => self.is_renewed = true,
            "error" | "pong" => {}
            other => panic!("{other} is nothing a client knows: {told}"),
        }
    }

    fn greeted(&mut self, told: &Value) {
        assert!(self.id.is_empty(), "the greeting comes once");
        self.id = text(told, "connectionId").into();
        let user = text(told, "userId");
        if self.nature.is_guest {
            assert!(user.starts_with("guest:"), "{user} is a guest");
            self.user = user.into();
        }
        assert_eq!(self.user, user);
    }

    /// Whatever carries a requestId is the one answer to that request.
    fn answered(&mut self, kind: &str, told: &Value, book: &mut RoomChecker) -> Option<PendingRequest> {
        let code = told["code"].as_str();
        if let Some(code) = code {
            book.tally.count(code);
        }
        let Some(request) = told.get("requestId") else {
            let is_excused = self.is_odd || book.limits_connections;
            assert!(kind != "error" || is_excused, "a refusal of nothing: {told}");
            let needs_request = matches!(kind, "message-sent" | "pong" | "authenticated");
            assert!(!needs_request, "an answer to nothing: {told}");
            return None;
        };
        let request = request.as_u64().expect("a number as it was sent");
        let asked = self.pending.remove(&request).unwrap_or_else(|| panic!("answered twice or unasked: {told}"));
        if kind == "error" {
            if let Some(key) = &asked.errand {
                book.refuse(key);
            }
        } else {
            assert_eq!(asked.answer, Some(kind), "the answer is of the kind that was asked for: {told}");
        }
        assert_ne!(code, Some("INTERNAL"), "{told}");
        Some(asked)
    }

    fn joined(&mut self, told: &Value, asked: Option<PendingRequest>, book: &mut RoomChecker) {
        if asked.is_none() {
            book.tally.count("joined by REST");
        }
        let room = text(told, "roomId").to_owned();
        let name = text(told, "peerId").to_owned();
        // A repeated join is answered without the list, which the member has.
        let mut known = BTreeMap::new();
        if let Some(at) = self.rooms.get(&room) {
            let is_renamed = book.memberships[*at].name != name;
            if !is_renamed {
                known.clone_from(&book.memberships[*at].view);
            }
            book.tally.count(if is_renamed { "renamed" } else { "joined again" });
            self.end_membership(&room, if is_renamed { End::Announced } else { End::Silent }, book);
        }
        let peers = told["peers"].as_array().expect("a list");
        let listed: BTreeMap<String, u8> =
            peers.iter().map(|peer| (text(peer, "peerId").to_owned(), media(peer))).collect();
        let count = told["participantCount"].as_u64().expect("a number");
        assert_eq!(listed.len(), peers.len(), "no name is there twice: {told}");
        let view = if listed.is_empty() { known } else { listed };
        let is_whole = book.is_count(&room, count, 1 + view.len() as u64);
        assert!(!book.announces_all || is_whole, "all peers are listed: {told}");
        let entry = JoinState {
            room: room.clone(),
            epoch: text(told, "epoch").into(),
            name,
            display: asked.and_then(|asked| asked.display),
            seq: told["seq"].as_u64().expect("a number"),
            view,
            count,
        };
        let mut membership = Membership::new(self.number, &self.user, entry);
        membership.may_inherit = book.has_store;
        membership.is_lossy = self.nature.is_slow || book.is_slow;
        book.memberships.push(membership);
        self.rooms.insert(room, book.memberships.len() - 1);
    }

    fn left(&mut self, told: &Value, asked: Option<PendingRequest>, book: &mut RoomChecker) {
        let room = text(told, "roomId");
        let own = self.rooms.get(room).map(|at| book.memberships[*at].name.as_str());
        match asked {
            None => {
                book.tally.count("left by REST");
                self.end_membership(room, End::Withdrawn, book);
            }
            Some(PendingRequest { names, .. }) if names.is_none() || names.as_deref() == own => {
                self.end_membership(room, End::Announced, book);
            }
            // It was another peer that left.
            Some(_) => {}
        }
    }

    fn dismissed(&mut self, told: &Value, net: &Network, book: &mut RoomChecker) {
        let reason = text(told, "reason");
        book.tally.count(reason);
        if let Some(room) = told["roomId"].as_str() {
            let end = match reason {
                "replaced" => End::Silent,
                "removed" => End::Announced,
                other => panic!("{other} is no reason to leave a room"),
            };
            return self.end_membership(room, end, book);
        }
        let is_right = match reason {
            "heartbeat-timeout" => self.is_silent || self.nature.is_slow,
            "token-expired" => self.nature.expires,
            "too-many-connections" => book.limits_connections,
            "slow-consumer" => self.nature.is_slow || book.is_slow,
            "server-shutdown" => book.is_draining,
            _ => false,
        };
        assert!(is_right, "peer {} was dismissed at {:?}: {told}", self.number, net.now);
        self.last_reason = Some(reason.to_owned());
    }

    fn end_membership(&mut self, room: &str, end: End, book: &mut RoomChecker) {
        let at = self.rooms.remove(room).unwrap_or_else(|| panic!("{} is told of an end in {room}", self.number));
        book.memberships[at].end = end;
    }

    fn sent(&mut self, told: &Value, book: &mut RoomChecker) {
        let (Some(seq), Some(room)) = (told["seq"].as_u64(), told["roomId"].as_str()) else { return };
        let at = self.rooms.get(room).copied();
        if book.has_store && at.is_none_or(|at| book.memberships[at].is_before(seq)) {
            return book.tally.count("receipt after leaving");
        }
        let at = at.expect("who sent to a room is in it");
        let id = text(told, "id");
        book.memberships[at].note_own(seq);
        book.note_message(at, seq, id, "", "");
        self.heard.push((room.to_owned(), id.to_owned(), self.user.clone()));
    }

    fn message(&mut self, told: &Value, book: &mut RoomChecker) {
        let Some(room) = told["roomId"].as_str() else {
            book.tally.count("message to a user");
            return book.hear(text(told, "content"), self.number);
        };
        let content = text(told, "content");
        let from = text(told, "fromPeerId");
        let Some(seq) = told["seq"].as_u64() else {
            book.tally.count("message to a peer");
            self.addressed(told, book);
            return book.hear(content, self.number);
        };
        let id = text(told, "id");
        let at = self.membership(room, told);
        book.note_message(at, seq, id, content, from);
        let announces_all = book.announces_all;
        book.memberships[at].note(Fact::Message { seq, from: from.to_owned() }, announces_all);
        self.heard.push((room.to_owned(), id.to_owned(), text(told, "sender").to_owned()));
    }

    fn signaled(&self, kind: &str, told: &Value, book: &mut RoomChecker) {
        self.addressed(told, book);
        let body = &told[if kind == "ice-candidate" { "candidate" } else { kind }];
        book.hear(text(body, "key"), self.number);
    }

    /// What a peer is told alone is for it, and is by somebody whom it knows to be there.
    fn addressed(&self, told: &Value, book: &RoomChecker) {
        let own = &book.memberships[self.membership(text(told, "roomId"), told)];
        assert_eq!(text(told, "toPeerId"), own.name, "it is for peer {}: {told}", self.number);
        let from = text(told, "fromPeerId");
        let is_known = from == own.name || own.view.contains_key(from);
        assert!(is_known || !book.announces_all, "peer {} does not know whom it is by: {told}", self.number);
    }

    fn room_fact(&self, kind: &str, told: &Value, book: &mut RoomChecker) {
        let at = self.membership(text(told, "roomId"), told);
        let name = || text(told, "peerId").to_owned();
        let fact = match kind {
            "peer-joined" => {
                Fact::Joined { name: name(), display: text(told, "displayName").to_owned(), media: media(told) }
            }
            "peer-left" => Fact::Left { name: name() },
            "media-state-changed" => Fact::Media { name: name(), media: media(told) },
            "typing" => {
                let is_typing = told["isTyping"].as_bool().expect("a boolean");
                Fact::Typing { user: text(told, "userId").to_owned(), is_typing }
            }
            _ => Fact::Stats { count: told["participantCount"].as_u64().expect("a number") },
        };
        let announces_all = book.announces_all;
        book.memberships[at].note(fact, announces_all);
    }

    fn membership(&self, room: &str, told: &Value) -> usize {
        let at = self.rooms.get(room);
        *at.unwrap_or_else(|| panic!("peer {} is told of a room it is not in: {told}", self.number))
    }

    /// At rest nothing that promises an answer waits for one.
    pub(crate) fn check_rest(&self) {
        assert!(self.inbox.is_empty(), "peer {} got half a frame", self.number);
        let waits = self.pending.iter().find(|(_, asked)| asked.answer.is_some());
        assert!(waits.is_none(), "peer {} was never answered: {waits:?}", self.number);
    }
}

fn text<'a>(told: &'a Value, field: &str) -> &'a str {
    told[field].as_str().unwrap_or_else(|| panic!("{field} is text in {told}"))
}

/// A media state as three bits.
fn media(told: &Value) -> u8 {
    let bit = |kind: &str| u8::from(told["mediaState"][kind].as_bool().expect("a boolean"));
    bit("audio") | bit("video") << 1 | bit("screen") << 2
}
