//! A client that reconnects with its recovery token and its position in each room, and requires that the events
//! continue without gaps and repeats.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::durability_checker::{DurabilityChecker, id_of, text};
use super::frames::{Frame, masked, masked_text, take_frame, take_response};
use super::network::{Delivery, Network, Owner};
use super::setting::tokens;

/// How a client goes about coming back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReturnMode {
    /// With its token, saying what it has.
    Resume,
    /// With its token alone.
    ResumeBlindly,
    /// By joining its rooms anew.
    Anew,
}

/// A request under way.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Join(String),
    Leave(String),
    Send(String),
    SentDirect(String),
    History {
        room: String,
        had: u64,
        after: Option<u64>,
        limit: u64,
        is_whole: bool,
    },
    Resume {
        is_blind: bool,
        must_work: bool,
        token: String,
        calm: Option<u64>,
    },
    Receipts,
    /// Only a refusal would be told.
    Nothing,
}

/// What a client has of a room.
#[derive(Clone, Debug)]
pub(crate) struct RoomView {
    pub(crate) epoch: String,
    /// What it goes by there.
    pub(crate) name: String,
    /// It has every message up to this one, since it last began anew.
    pub(super) last: u64,
    /// The numbers of its own messages beyond, and whether it cannot be told of that one besides.
    pub(super) own: BTreeMap<u64, bool>,
    /// It is in the room by its present connection.
    pub(crate) is_member: bool,
    /// The token of the connection that it was last in the room by.
    pub(super) by: String,
    /// The crashes and, if all was calm, the failures by the time it became a member.
    pub(super) crashes: u64,
    pub(super) calm: Option<u64>,
}

impl RoomView {
    /// The number of the last message it has, with all before it.
    pub(crate) fn reached(&self) -> u64 {
        let mut reached = self.last;
        while self.own.contains_key(&(reached + 1)) {
            reached += 1;
        }
        reached
    }

    fn hear(&mut self, seq: u64) {
        assert_ne!(self.own.get(&seq), Some(&true), "its own message {seq} is told to its sender");
        let mut expected = self.last + 1;
        while expected < seq && self.own.contains_key(&expected) {
            expected += 1;
        }
        assert_eq!(seq, expected, "messages come in order, without a gap and without a repeat");
        self.last = seq;
        self.own.retain(|own, _| *own > seq);
    }
}

/// See the module.
pub(crate) struct RecoveringClient {
    pub(crate) number: usize,
    pub(crate) user: usize,
    pub(crate) socket: Option<usize>,
    pub(super) is_upgraded: bool,
    /// How often the server had crashed, and how often the store had lost what was told, before it connected.
    pub(super) crashes: u64,
    pub(super) tails_lost: u64,
    /// Its connection is greeted, and whatever it took to come back is done.
    pub(crate) is_ready: bool,
    pub(super) way: ReturnMode,
    pub(super) id: String,
    pub(super) inbox: Vec<u8>,
    pub(super) serial: u64,
    pub(super) pending: BTreeMap<u64, Asked>,
    /// What opens the session it would go on with.
    pub(super) token: Option<String>,
    pub(super) is_token_used: bool,
    /// What opens its present connection's.
    pub(super) own_token: String,
    pub(crate) wants: BTreeSet<String>,
    pub(crate) rooms: BTreeMap<String, RoomView>,
    /// Messages it knows of: room and id.
    pub(crate) heard: Vec<(String, String)>,
    /// Pages of a history that is read as a whole, by room.
    pub(crate) read: BTreeMap<String, Vec<(u64, String)>>,
    pub(crate) signals: BTreeSet<String>,
    /// It lost a connection of which the server had not sent everything, and so did not know what had come.
    pub(super) was_behind: bool,
}

impl RecoveringClient {
    pub(crate) fn new(number: usize, user: usize) -> Self {
        Self {
            number,
            user,
            socket: None,
            is_upgraded: false,
            crashes: 0,
            tails_lost: 0,
            is_ready: false,
            way: ReturnMode::Anew,
            id: String::new(),
            inbox: Vec::new(),
            serial: 0,
            pending: BTreeMap::new(),
            token: None,
            is_token_used: false,
            own_token: String::new(),
            wants: BTreeSet::new(),
            rooms: BTreeMap::new(),
            heard: Vec::new(),
            read: BTreeMap::new(),
            signals: BTreeSet::new(),
            was_behind: false,
        }
    }

    /// The rooms it is in.
    pub(crate) fn own_rooms(&self) -> Vec<String> {
        let own = self.rooms.iter().filter(|(_, place)| place.is_member);
        own.map(|(room, _)| room.clone()).collect()
    }

    pub(crate) fn connect(&mut self, net: &mut Network, way: ReturnMode, crashes: u64) {
        let socket = net.connect(Owner::RawClient(self.number));
        let head = format!(
            "GET /ws?events=all&token={} HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            tokens().long[self.user]
        );
        net.send(socket, head.as_bytes());
        self.tails_lost = net.store.as_ref().map_or(0, |store| store.tails_lost);
        (self.socket, self.way, self.id) = (Some(socket), way, String::new());
        (self.is_upgraded, self.is_ready, self.crashes) = (false, false, crashes);
    }

    /// Its connection is no more, or it takes it for lost; the server may hear of it or not.
    pub(crate) fn lose(&mut self, net: &mut Network, how: u64) {
        let Some(socket) = self.socket else { return };
        self.was_behind |= net.is_behind(socket);
        match how {
            0 => net.reset(socket),
            1 => {
                net.finish(socket);
                net.ignore(socket);
            }
            2 => net.ignore(socket),
            _ => {
                self.say_frame(net, 0x88, &1000_u16.to_be_bytes());
                net.finish(socket);
                net.ignore(socket);
            }
        }
        if !self.is_ready && !self.id.is_empty() && net.one_in(2) {
            // It does not know what became of its old session; the new one may do as well.
            (self.token, self.is_token_used) = (Some(self.own_token.clone()), false);
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.socket = None;
        self.is_ready = false;
        self.inbox.clear();
        self.pending.clear();
        self.rooms.values_mut().for_each(|place| place.is_member = false);
    }

    pub(super) fn ask(&mut self, net: &mut Network, kind: &str, fields: &str, asked: Asked) {
        self.serial += 1;
        let text = format!(r#"{{"type":"{kind}","requestId":{}{fields}}}"#, self.serial);
        self.pending.insert(self.serial, asked);
        net.show(&format!("device {}", self.number), '>', &text);
        let mut out = Vec::new();
        masked_text(&mut out, &mut net.rng, &text);
        net.send(self.socket.expect("it is connected"), &out);
    }

    fn say_frame(&self, net: &mut Network, first: u8, payload: &[u8]) {
        let mut out = Vec::new();
        masked(&mut out, &mut net.rng, first, payload);
        net.send(self.socket.expect("it is connected"), &out);
    }

    pub(crate) fn join(&mut self, net: &mut Network, room: &str) {
        self.wants.insert(room.to_owned());
        let mut fields = format!(r#","roomId":"{room}""#);
        if self.number.is_multiple_of(2) {
            fields += &format!(r#","peerId":"device {}""#, self.number);
        }
        self.ask(net, "join-room", &fields, Asked::Join(room.to_owned()));
    }

    pub(crate) fn leave(&mut self, net: &mut Network, room: &str) {
        self.wants.remove(room);
        self.ask(net, "leave-room", &format!(r#","roomId":"{room}""#), Asked::Leave(room.to_owned()));
    }

    /// Sends a message that the testimony knows of.
    pub(crate) fn send(
        &mut self,
        net: &mut Network,
        testimony: &mut DurabilityChecker,
        key: &str,
        room: &str,
        name: Option<&str>,
    ) {
        testimony.draft(key, self.user, room, name, net.now.wall);
        let mut fields = format!(r#","roomId":"{room}","content":"{key}""#);
        if let Some(name) = name {
            fields += &format!(r#","clientMessageId":"{name}""#);
        }
        self.ask(net, "message", &fields, Asked::Send(key.to_owned()));
    }

    pub(crate) fn send_note(
        &mut self,
        net: &mut Network,
        testimony: &mut DurabilityChecker,
        key: &str,
        to: usize,
        user: &str,
    ) {
        testimony.send_note(key, to);
        let fields = format!(r#","toUserId":"{user}","content":"{key}""#);
        self.ask(net, "message", &fields, Asked::SentDirect(key.to_owned()));
    }

    /// Asks for messages; with `is_whole`, for page after page until there are no more.
    pub(crate) fn history(&mut self, net: &mut Network, room: &str, after: Option<u64>, limit: u64, is_whole: bool) {
        let mut fields = format!(r#","roomId":"{room}","limit":{limit}"#);
        if let Some(after) = after {
            fields += &format!(r#","after":{after}"#);
        }
        let had = self.rooms.get(room).filter(|place| place.is_member).map_or(0, RoomView::reached);
        let asked = Asked::History { room: room.to_owned(), had, after, limit, is_whole };
        self.ask(net, "history", &fields, asked);
    }

    /// Says that a message arrived, or was read; or asks who has.
    pub(crate) fn mark(&mut self, net: &mut Network, kind: &str, room: &str, message: &str) {
        let asked = if kind == "receipts" { Asked::Receipts } else { Asked::Nothing };
        self.ask(net, kind, &format!(r#","roomId":"{room}","messageId":"{message}""#), asked);
    }

    pub(crate) fn signal(&mut self, net: &mut Network, room: &str, to: &str, key: &str) {
        let fields = format!(r#","roomId":"{room}","toPeerId":"{to}","offer":{{"key":"{key}"}}"#);
        self.ask(net, "offer", &fields, Asked::Nothing);
    }

    pub(crate) fn receive(&mut self, news: &Delivery, net: &mut Network, testimony: &mut DurabilityChecker) {
        if self.socket != Some(news.socket) {
            return;
        }
        self.inbox.extend_from_slice(&news.bytes);
        if !self.is_upgraded
            && let Some(response) = take_response(&mut self.inbox)
        {
            assert_eq!(response.status, 101, "the upgrade was answered {}", response.body);
            self.is_upgraded = true;
        }
        while self.is_upgraded
            && self.socket.is_some()
            && let Some(frame) = take_frame(&mut self.inbox)
        {
            self.hear(frame, net, testimony);
        }
        if news.is_end && self.socket == Some(news.socket) {
            net.finish(news.socket);
            self.forget();
        }
    }

    fn hear(&mut self, frame: Frame, net: &mut Network, testimony: &mut DurabilityChecker) {
        net.show(&format!("device {}", self.number), '<', &format!("{frame:?}"));
        match frame {
            Frame::Text(text) => {
                let told: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                self.told(&told, net, testimony);
            }
            Frame::Ping(payload) => self.say_frame(net, 0x8A, &payload),
            Frame::Pong(_) => {}
            Frame::Close(code) => panic!("client {} did nothing to be closed with {code:?}", self.number),
        }
    }

    fn told(&mut self, told: &Value, net: &mut Network, testimony: &mut DurabilityChecker) {
        let kind = text(told, "type");
        testimony.tally.count(kind);
        if kind == "connect" {
            return self.greeted(told, net);
        }
        assert!(!self.id.is_empty(), "{kind} comes before the greeting");
        let asked = told.get("requestId").map(|request| {
            let request = request.as_u64().expect("a number as it was sent");
            self.pending.remove(&request).unwrap_or_else(|| panic!("answered twice or unasked: {told}"))
        });
        match (kind, asked) {
            ("message", None) => self.message(told, testimony),
            ("offer", None) => drop(self.signals.insert(text(&told["offer"], "key").to_owned())),
            ("peer-joined" | "peer-left" | "presence" | "delivered" | "read-receipt" | "room-stats", None) => {}
            ("room-joined", Some(Asked::Join(room))) => self.joined(told, &room, net),
            ("room-left", Some(Asked::Leave(room))) => self.left(&room),
            ("disconnect", None) => self.replaced(told, net),
            ("message-sent", Some(Asked::Send(key))) => self.sent(told, &key, net, testimony),
            ("message-sent", Some(Asked::SentDirect(key))) => testimony.note_kept(&key, self.tails_lost),
            ("history", Some(Asked::History { room, had, after, limit, is_whole })) => {
                self.past(told, (&room, had, after, limit, is_whole), net, testimony);
            }
            ("receipts", Some(Asked::Receipts)) => {}
            ("resumed", Some(asked)) => self.resumed(told, &asked, net, testimony),
            ("error", Some(asked)) => self.refused(told, &asked, net, testimony),
            _ => panic!("client {} did not expect {told}", self.number),
        }
    }

    fn joined(&mut self, told: &Value, room: &str, net: &Network) {
        let (epoch, seq) = (text(told, "epoch"), told["seq"].as_u64().expect("a number"));
        if let Some(place) = self.rooms.get(room).filter(|place| place.epoch == epoch) {
            let reached = place.own.keys().copied().max().unwrap_or(0).max(place.last);
            assert!(seq >= reached, "{room} has fewer messages than client {} was told of", self.number);
            assert!(!place.is_member || place.reached() == seq, "client {} misses some of {room}", self.number);
        }
        self.begin_at(room, epoch, seq, told, net);
    }

    pub(super) fn begin_at(&mut self, room: &str, epoch: &str, seq: u64, told: &Value, net: &Network) {
        let name = text(told, "peerId").to_owned();
        let (crashes, calm) = (self.crashes, calm(net));
        let place = RoomView {
            epoch: epoch.to_owned(),
            name,
            last: seq,
            own: BTreeMap::new(),
            is_member: true,
            by: self.own_token.clone(),
            crashes,
            calm,
        };
        self.rooms.insert(room.to_owned(), place);
    }

    fn left(&mut self, room: &str) {
        if let Some(place) = self.rooms.get_mut(room) {
            (place.is_member, place.by) = (false, String::new());
        }
    }

    /// An earlier connection of its own asked to join in time, and was served late.
    fn replaced(&mut self, told: &Value, net: &mut Network) {
        assert_eq!(text(told, "reason"), "replaced");
        let room = text(told, "roomId").to_owned();
        self.left(&room);
        if self.wants.contains(&room) && self.is_ready {
            self.join(net, &room);
        }
    }

    fn sent(&mut self, told: &Value, key: &str, net: &Network, testimony: &mut DurabilityChecker) {
        let (room, seq, id) = (text(told, "roomId"), told["seq"].as_u64().expect("a number"), id_of(&told["id"]));
        let is_repeated = testimony.is_repeated(key);
        let place = self.rooms.get_mut(room).expect("who sent to a room was in it");
        if seq > place.last {
            let known = place.own.get(&seq).copied().unwrap_or(false);
            place.own.insert(seq, known || !is_repeated);
        } else {
            assert!(is_repeated, "the receipt for {key} comes after later messages");
        }
        testimony.receipt(
            key,
            (room.to_owned(), place.epoch.clone(), seq),
            id,
            self.tails_lost,
            net.store.as_ref().expect("a store"),
        );
        self.heard.push((room.to_owned(), id.to_string()));
    }

    fn message(&mut self, told: &Value, testimony: &mut DurabilityChecker) {
        let Some(room) = told["roomId"].as_str() else {
            return testimony.note_heard(text(told, "content"), self.number, self.user, self.was_behind);
        };
        let place = self.rooms.get_mut(room).filter(|place| place.is_member);
        let place = place.unwrap_or_else(|| panic!("client {} is not in {room}: {told}", self.number));
        place.hear(told["seq"].as_u64().expect("a number"));
        let epoch = place.epoch.clone();
        self.note(told, room, &epoch, testimony);
    }

    /// Notes a message; its number.
    pub(super) fn note(&mut self, told: &Value, room: &str, epoch: &str, testimony: &mut DurabilityChecker) -> u64 {
        assert_eq!(text(told, "roomId"), room);
        let (seq, id) = (told["seq"].as_u64().expect("a number"), text(told, "id"));
        testimony.see((room.to_owned(), epoch.to_owned(), seq), id_of(&told["id"]), Some(text(told, "content")));
        self.heard.push((room.to_owned(), id.to_owned()));
        seq
    }

    fn past(
        &mut self,
        told: &Value,
        (room, had, after, limit, is_whole): (&str, u64, Option<u64>, u64, bool),
        net: &mut Network,
        testimony: &mut DurabilityChecker,
    ) {
        let (epoch, last) = (text(told, "epoch"), told["seq"].as_u64().expect("a number"));
        let messages = told["messages"].as_array().expect("a list");
        let numbers: Vec<u64> = messages.iter().map(|message| self.note(message, room, epoch, testimony)).collect();
        assert!(numbers.windows(2).all(|two| two[0] + 1 == two[1]), "a history without gaps: {told}");
        assert!(numbers.len() as u64 <= limit, "{told}");
        assert!(numbers.last().is_none_or(|seq| *seq <= last), "{told}");
        if let Some(place) = self.rooms.get(room).filter(|place| place.is_member) {
            assert_eq!(place.epoch, epoch, "{told}");
            assert!(last >= had, "the history is shorter than what client {} had: {told}", self.number);
        }
        let from = after.map_or(1, |after| after + 1);
        let first = net.store.as_ref().and_then(|store| store.contents.room(room)).map_or(1, |room| room.stored.first);
        if told["complete"] == true {
            let is_all = numbers.first().map_or(last < from, |seq| *seq == from)
                && numbers.last().is_none_or(|seq| *seq == last);
            assert!(is_all, "a history that is called complete and is not: {told}");
        } else if after.is_some() && last >= from.max(first) {
            let begins = numbers.first().copied().unwrap_or(u64::MAX);
            assert!(begins <= from.max(first), "a history from {from} on of what is kept from {first} on: {told}");
        }
        if !is_whole {
            return;
        }
        let page = messages.iter().zip(&numbers).map(|(message, seq)| (*seq, text(message, "content").to_owned()));
        self.read.entry(room.to_owned()).or_default().extend(page);
        if let Some(seq) = numbers.last().filter(|seq| **seq < last) {
            self.history(net, room, Some(*seq), limit, true);
        }
    }

    fn refused(&mut self, told: &Value, asked: &Asked, net: &mut Network, testimony: &mut DurabilityChecker) {
        let code = text(told, "code");
        testimony.tally.count(code);
        let has_failed = net.store.as_ref().is_some_and(|store| store.failures > 0);
        assert!(code != "STORAGE_UNAVAILABLE" || has_failed, "the store has never failed: {told}");
        match (asked, code) {
            (Asked::Send(key), "STORAGE_UNAVAILABLE") => testimony.refuse(key),
            (Asked::Send(key), "NOT_IN_ROOM" | "ROOM_NOT_FOUND" | "ROOM_CLOSED") => testimony.refuse(key),
            (Asked::SentDirect(key), "STORAGE_UNAVAILABLE") => testimony.note_refused(key),
            (Asked::Join(room), "STORAGE_UNAVAILABLE") => {
                let store = net.store.as_ref().expect("a store");
                let is_kept = store.contents.room(room).is_some();
                assert!(is_kept, "only a room that the store has depends on it: {told}");
                if !store.is_failing() && net.one_in(2) {
                    self.join(net, room);
                }
            }
            (Asked::Resume { .. }, "STORAGE_UNAVAILABLE") if net.one_in(2) => {
                let token = self.token.clone().expect("it resumed with it");
                if !net.store.as_ref().expect("a store").is_failing() {
                    return self.resume(net, &token);
                }
                self.begin_anew(net);
            }
            (Asked::Resume { must_work, calm: before, .. }, "RECOVERY_FAILED" | "STORAGE_UNAVAILABLE") => {
                let is_excused = calm(net) != *before || before.is_none();
                assert!(!must_work || is_excused, "client {} has a session: {told}", self.number);
                self.begin_anew(net);
            }
            (Asked::History { .. } | Asked::Receipts | Asked::Nothing | Asked::Leave(_), "STORAGE_UNAVAILABLE")
            | (
                Asked::History { .. } | Asked::Receipts | Asked::Nothing | Asked::Leave(_),
                "NOT_IN_ROOM" | "ROOM_NOT_FOUND" | "MESSAGE_NOT_FOUND" | "PEER_NOT_FOUND",
            ) => {}
            _ => panic!("{asked:?} was refused: {told}"),
        }
    }

    /// At rest nothing that promises an answer waits for one.
    pub(crate) fn check_rest(&self) {
        assert!(self.inbox.is_empty(), "client {} got half a frame", self.number);
        let waits = self.pending.values().find(|asked| !matches!(asked, Asked::Nothing));
        assert!(waits.is_none(), "client {} was never answered: {waits:?}", self.number);
        assert!(self.socket.is_none() || self.is_ready, "client {} never came back", self.number);
    }
}

/// How often the store has failed, when it is well and everybody knows.
pub(super) fn calm(net: &Network) -> Option<u64> {
    net.store.as_ref().filter(|store| store.is_well(net.now)).map(|store| store.failures)
}
