//! Actions of clients, drawn from the seed: most are valid, some are not.

use super::network::Owner;
use super::raw_client::{ClientStage, PendingRequest};
use super::raw_run::RawRun;
use super::rest_client::{Call, RestClient};
use super::room_checker::Audience;
use super::setting::{CONTENT_BYTES, INSPECTOR, USERS, tokens};

/// Rooms that are made by joining, where that is allowed.
const ROOMS: [&str; 3] = ["r0", "r1", "r2"];

/// Names that peers choose; few, so that they collide.
const NAMES: [&str; 5] = ["p0", "p1", "p2", "p3", "p4"];

/// Clients at once.
const PEERS_MAX: usize = 12;

impl RawRun {
    /// Somebody does something.
    pub(super) fn act(&mut self) {
        let open = self.peers.iter().filter(|peer| peer.stage != ClientStage::Over).count();
        if open < 3 || (open < PEERS_MAX && self.net.one_in(6)) {
            return self.somebody_connects();
        }
        match self.net.below(100) {
            0..76 => self.somebody_asks(),
            76..88 => self.somebody_calls(),
            88..94 => self.somebody_goes(),
            94..96 => self.somebody_is_odd(),
            96..98 => self.congest(),
            _ => self.vandalize(),
        }
    }

    fn somebody_connects(&mut self) {
        let user = self.net.below(INSPECTOR as u64 + 1) as usize;
        let user = (user != INSPECTOR).then_some(user);
        let expires = user.is_some() && self.net.one_in(8);
        let early = self.net.now.wall < super::setting::BEGINNING + super::setting::SHORT_TOKEN_MS;
        let peer = self.connect(user, expires && early);
        if self.net.one_in(2) {
            // It does not wait for the greeting.
            self.join(peer);
        }
    }

    /// A peer that can be made to do something.
    fn somebody(&mut self) -> Option<usize> {
        let able = |peer: &&super::raw_client::RawClient| peer.is_open() && !peer.is_silent && !peer.id.is_empty();
        let able: Vec<usize> = self.peers.iter().filter(able).map(|peer| peer.number).collect();
        self.pick(&able)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        match from.len() {
            0 => None,
            count => Some(from[self.net.below(count as u64) as usize]),
        }
    }

    fn somebody_asks(&mut self) {
        let Some(peer) = self.somebody() else { return };
        match self.net.below(60) {
            0..14 => self.join(peer),
            14..18 => self.leave(peer),
            18..26 => self.signal(peer),
            26..38 => self.send_to_room(peer, 1),
            38..41 => self.send_to_peer(peer),
            41..44 => self.send_to_user(peer),
            44..47 => self.type_text(peer, 1),
            47..50 => self.change_media(peer),
            50..53 => self.acknowledge(peer),
            53 => self.set_status(peer),
            54 => self.ask(peer, "ping", "", Some("pong")),
            55 => self.authenticate(peer),
            56 => self.ask_nonsense(peer),
            57 => {
                let count = 20 + self.net.below(30);
                self.send_to_room(peer, count);
            }
            58 if self.net.one_in(4) => self.type_text(peer, 140),
            _ => self.peers[peer].say_frame(&mut self.net, 0x89, b"here?"),
        }
    }

    fn ask(&mut self, peer: usize, kind: &str, fields: &str, answer: Option<&'static str>) {
        let asked = PendingRequest { answer, ..PendingRequest::default() };
        self.peers[peer].ask(&mut self.net, kind, fields, asked);
    }

    /// A room, most often one that the peer is in.
    fn room(&mut self, peer: usize) -> String {
        let own: Vec<String> = self.peers[peer].rooms.keys().cloned().collect();
        if !own.is_empty() && !self.net.one_in(6) {
            return own[self.net.below(own.len() as u64) as usize].clone();
        }
        self.any_room()
    }

    fn any_room(&mut self) -> String {
        let made: Vec<&String> = self.book.made.iter().collect();
        let at = self.net.below((ROOMS.len() + made.len()) as u64) as usize;
        match ROOMS.get(at) {
            Some(room) => (*room).to_owned(),
            None => made[at - ROOMS.len()].clone(),
        }
    }

    /// A name in a room: one that is there, as far as the peer knows, or any.
    fn name(&mut self, peer: usize, room: &str) -> String {
        let known = self.peers[peer].rooms.get(room).map(|at| &self.book.memberships[*at].view);
        let known: Vec<String> = known.map(|view| view.keys().cloned().collect()).unwrap_or_default();
        if !known.is_empty() && !self.net.one_in(6) {
            return known[self.net.below(known.len() as u64) as usize].clone();
        }
        NAMES[self.net.below(NAMES.len() as u64) as usize].to_owned()
    }

    fn own_name(&self, peer: usize, room: &str) -> Option<String> {
        self.peers[peer].rooms.get(room).map(|at| self.book.memberships[*at].name.clone())
    }

    fn media(&mut self) -> String {
        let mut bit = || self.net.below(2) == 0;
        format!(r#""mediaState":{{"audio":{},"video":{},"screen":{}}}"#, bit(), bit(), bit())
    }

    fn join(&mut self, peer: usize) {
        let room = self.any_room();
        let mut fields = format!(r#","roomId":"{room}""#);
        match self.net.below(10) {
            0..6 => {
                let name = NAMES[self.net.below(NAMES.len() as u64) as usize];
                self.book.wishes.push((peer, room.clone(), name.to_owned()));
                fields += &format!(r#","peerId":"{name}""#);
            }
            6 => {
                // The id of some connection, present or past, makes a name, too.
                let other = self.net.below(self.peers.len() as u64) as usize;
                let id = &self.peers[other].id;
                if !id.is_empty() {
                    self.book.wishes.push((peer, room.clone(), id.clone()));
                    fields += &format!(r#","peerId":"{id}""#);
                }
            }
            _ => {}
        }
        let display = (!self.net.one_in(4)).then(|| format!("shown {}", self.book.serial()));
        if let Some(display) = &display {
            fields += &format!(r#","displayName":"{display}""#);
        }
        if self.net.one_in(2) {
            fields += &format!(",{}", self.media());
        }
        let asked = PendingRequest { answer: Some("room-joined"), display, ..PendingRequest::default() };
        self.peers[peer].ask(&mut self.net, "join-room", &fields, asked);
        if self.net.one_in(3) {
            // It does not wait for the answer.
            let to = self.name(peer, &room);
            self.signal_to(peer, &room, &to, "");
        }
    }

    fn leave(&mut self, peer: usize) {
        let room = self.room(peer);
        let names = match self.net.below(4) {
            0 => None,
            1 => Some(self.name(peer, &room)),
            _ => self.own_name(peer, &room),
        };
        let mut fields = format!(r#","roomId":"{room}""#);
        if let Some(name) = &names {
            fields += &format!(r#","peerId":"{name}""#);
        }
        let asked = PendingRequest { answer: Some("room-left"), names, ..PendingRequest::default() };
        self.peers[peer].ask(&mut self.net, "leave-room", &fields, asked);
    }

    fn signal(&mut self, peer: usize) {
        let room = self.room(peer);
        let to = self.name(peer, &room);
        let from = match self.own_name(peer, &room) {
            Some(own) if !self.net.one_in(10) => own,
            _ => self.name(peer, &room),
        };
        self.signal_to(peer, &room, &to, &format!(r#","fromPeerId":"{from}""#));
    }

    fn signal_to(&mut self, peer: usize, room: &str, to: &str, from: &str) {
        let (kind, field) =
            [("offer", "offer"), ("answer", "answer"), ("ice-candidate", "candidate")][self.net.below(3) as usize];
        let key = format!("signal {}", self.book.serial());
        let body = format!(r#""{field}":{{"key":"{key}", "sdp":"v=0\r\n"}}"#);
        let fields = format!(r#","roomId":"{room}"{from},"toPeerId":"{to}",{body}"#);
        self.book.send(&key, peer, Audience::One, Vec::new(), Some((room, to)));
        self.peers[peer].ask(
            &mut self.net,
            kind,
            &fields,
            PendingRequest { errand: Some(key), ..PendingRequest::default() },
        );
    }

    fn send_to_room(&mut self, peer: usize, count: u64) {
        let room = self.room(peer);
        for _ in 0..count {
            let mut content = format!("message {}", self.book.serial());
            if count > 1 {
                content += &"x".repeat(400);
            } else if self.net.one_in(12) {
                content += &"x".repeat(CONTENT_BYTES);
            }
            let fields = format!(r#","roomId":"{room}","content":"{content}""#);
            self.ask(peer, "message", &fields, Some("message-sent"));
        }
    }

    fn send_to_peer(&mut self, peer: usize) {
        let room = self.room(peer);
        let to = self.name(peer, &room);
        let key = format!("private {}", self.book.serial());
        let fields = format!(r#","roomId":"{room}","toPeerId":"{to}","content":"{key}""#);
        self.book.send(&key, peer, Audience::One, Vec::new(), Some((&room, &to)));
        let asked = PendingRequest { answer: Some("message-sent"), errand: Some(key), ..PendingRequest::default() };
        self.peers[peer].ask(&mut self.net, "message", &fields, asked);
    }

    /// The connections of a user whose keeper is known to know of them.
    fn attached(&self, user: &str) -> Vec<usize> {
        let is_theirs = |peer: &&super::raw_client::RawClient| peer.is_settled && peer.is_open() && peer.user == user;
        self.peers.iter().filter(is_theirs).map(|peer| peer.number).collect()
    }

    fn send_to_user(&mut self, peer: usize) {
        let user = USERS[self.net.below(USERS.len() as u64) as usize];
        let key = format!("direct {}", self.book.serial());
        let fields = format!(r#","toUserId":"{user}","content":"{key}""#);
        self.book.send(&key, peer, Audience::All, self.attached(user), None);
        let asked = PendingRequest { answer: Some("message-sent"), errand: Some(key), ..PendingRequest::default() };
        self.peers[peer].ask(&mut self.net, "message", &fields, asked);
    }

    fn type_text(&mut self, peer: usize, count: u64) {
        let room = self.room(peer);
        for _ in 0..count {
            let is_typing = self.net.below(2) == 0;
            self.ask(peer, "typing", &format!(r#","roomId":"{room}","isTyping":{is_typing}"#), None);
        }
    }

    fn change_media(&mut self, peer: usize) {
        let room = self.room(peer);
        let mut fields = format!(r#","roomId":"{room}",{}"#, self.media());
        if let Some(own) = self.own_name(peer, &room).filter(|_| peer.is_multiple_of(2)) {
            fields += &format!(r#","peerId":"{own}""#);
        }
        self.ask(peer, "media-state-changed", &fields, None);
    }

    /// Somebody says that a message arrived, or was read.
    fn acknowledge(&mut self, peer: usize) {
        let at = self.net.below(self.peers[peer].heard.len().max(1) as u64) as usize;
        let Some((room, message, sender)) = self.peers[peer].heard.get(at).cloned() else {
            let fields = format!(r#","roomId":"{}","messageId":"nothing""#, ROOMS[0]);
            return self.ask(peer, "delivered", &fields, None);
        };
        let kind = if self.net.one_in(2) { "delivered" } else { "read-receipt" };
        let key = format!("{kind} {message} {}", self.peers[peer].user);
        if self.book.has_errand(&key) {
            return;
        }
        self.book.send(&key, peer, Audience::All, self.attached(&sender), None);
        let fields = format!(r#","roomId":"{room}","messageId":"{message}""#);
        self.peers[peer].ask(
            &mut self.net,
            kind,
            &fields,
            PendingRequest { errand: Some(key), ..PendingRequest::default() },
        );
    }

    fn set_status(&mut self, peer: usize) {
        let status = ["online", "away", "busy", "offline"][self.net.below(4) as usize];
        self.book.chose_status.insert(self.peers[peer].user.clone());
        self.ask(peer, "presence", &format!(r#","status":"{status}""#), None);
    }

    fn authenticate(&mut self, peer: usize) {
        let own = USERS.iter().position(|user| *user == self.peers[peer].user);
        let token = match (own, self.net.below(4)) {
            (_, 0) => "a.b.c",
            (Some(own), 1..) => tokens().long[own].as_str(),
            _ => tokens().long[1].as_str(),
        };
        self.ask(peer, "authenticate", &format!(r#","token":"{token}""#), Some("authenticated"));
    }

    /// Requests that are refused, whoever asks.
    fn ask_nonsense(&mut self, peer: usize) {
        match self.net.below(4) {
            0 => self.ask(peer, "dance", "", None),
            1 => self.ask(peer, "resume", r#","recoveryToken":"lost""#, None),
            2 => self.ask(peer, "join-room", r#","roomId":"""#, None),
            _ => self.ask(peer, "message", r#","content":"to nobody""#, None),
        }
    }

    fn somebody_goes(&mut self) {
        let Some(peer) = self.somebody() else { return };
        let (net, book) = (&mut self.net, &mut self.book);
        match net.below(6) {
            0 => self.peers[peer].close(net),
            1 => self.peers[peer].vanish(net, book, true),
            2 => self.peers[peer].vanish(net, book, false),
            3 => self.peers[peer].is_silent = true,
            _ => {
                // Who reads slowly stops, or goes on; the others are spared.
                let socket = self.peers[peer].socket;
                if self.peers[peer].nature.is_slow {
                    net.sockets[socket].is_stalled ^= true;
                }
            }
        }
    }

    /// Somebody sends what no client should.
    fn somebody_is_odd(&mut self) {
        let Some(peer) = self.somebody() else { return };
        self.peers[peer].is_odd = true;
        let (net, peer) = (&mut self.net, &self.peers[peer]);
        match net.below(6) {
            0 => peer.say(net, "{\"type\":"),
            1 => peer.say(net, "[]"),
            2 => peer.say_frame(net, 0x82, b"\x00\x01"),
            3 => peer.say_frame(net, 0x81, b"\xFF\xFE"),
            4 => peer.say_frame(net, 0x81, &[b' '; 9000]),
            _ => net.send(peer.socket, &[0x81, 0x01, b'x']),
        }
    }

    /// A shard hears that another has too much to do, or no longer has.
    fn congest(&mut self) {
        let count = self.net.shards.len() as u64;
        let (one, other) = (self.net.below(count) as usize, self.net.below(count) as u8);
        let is_congested = self.net.one_in(2);
        self.net.shards[one].set_congested(other, is_congested);
    }

    /// Bytes that make no sense, from a connection of their own.
    fn vandalize(&mut self) {
        let socket = self.net.connect(Owner::Garbage);
        let mut bytes = match self.net.below(4) {
            0 => b"GET / HT".to_vec(),
            1 => b"POST /rooms HTTP/1.1\r\nHost: sim\r\nContent-Length: 99\r\n\r\n{".to_vec(),
            2 => b"GET /ws HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                .to_vec(),
            _ => Vec::new(),
        };
        let mut noise = vec![0; self.net.below(60) as usize];
        self.net.rng.fill(&mut noise);
        bytes.extend(noise);
        self.net.send(socket, &bytes);
        match self.net.below(3) {
            0 => self.net.finish(socket),
            1 => self.net.reset(socket),
            _ => {}
        }
        self.garbage_sockets.push(socket);
    }

    fn somebody_calls(&mut self) {
        let usable: Vec<usize> = (0..self.callers.len()).filter(|at| self.callers[*at].is_usable()).collect();
        let at = match self.pick(&usable) {
            Some(at) if !self.net.one_in(4) => at,
            _ => {
                let socket = self.net.connect(Owner::RestClient(self.callers.len()));
                self.callers.push(RestClient::new(socket));
                self.callers.len() - 1
            }
        };
        for _ in 0..1 + self.net.below(3) {
            self.call(at);
        }
        match self.net.below(12) {
            0..2 => self.callers[at].finish(&mut self.net),
            2 => self.callers[at].vanish(&mut self.net, &mut self.book),
            _ => {}
        }
    }

    fn call(&mut self, at: usize) {
        let user = self.net.below(INSPECTOR as u64) as usize;
        let token = Some(tokens().long[user].as_str());
        let room = self.any_room();
        let (call, line, token, body) = match self.net.below(16) {
            0..2 => {
                let body = format!(r#"{{"maxParticipants":{}}}"#, 1 + self.net.below(4));
                (Call::Make, "POST /api/rooms".to_owned(), token.filter(|_| user > 2), Some(body))
            }
            2..4 => {
                let body = format!(r#"{{"isPrivate":{},"participants":["bob","cyd"]}}"#, user > 3);
                (Call::Make, "POST /rooms".to_owned(), token, Some(body))
            }
            4 => (Call::Show, format!("GET /api/rooms/{room}"), token.filter(|_| user > 2), None),
            5 => (Call::Show, format!("GET /rooms/{room}"), token, None),
            6..8 => (Call::Close(room.clone()), format!("DELETE /api/rooms/{room}"), token, None),
            8 => (Call::List, "GET /api/rooms".to_owned(), Some(tokens().long[0].as_str()), None),
            9..12 => (Call::Join, format!("POST /rooms/{room}/join"), token, Some(self.connection_of(user))),
            12..14 => (Call::Leave, format!("POST /rooms/{room}/leave"), token, Some(self.connection_of(user))),
            14 => (Call::Health, "GET /readyz".to_owned(), None, None),
            _ => self.call_nonsense(token),
        };
        self.callers[at].call(&mut self.net, call, &line, token, body.as_deref());
    }

    fn call_nonsense<'a>(&mut self, token: Option<&'a str>) -> (Call, String, Option<&'a str>, Option<String>) {
        match self.net.below(4) {
            0 => (Call::Nonsense(404), "GET /nowhere".to_owned(), None, None),
            1 => (Call::Nonsense(405), "DELETE /rooms".to_owned(), token, None),
            2 => (Call::Nonsense(401), "GET /rooms/r0".to_owned(), None, None),
            _ => (Call::Nonsense(400), "POST /rooms".to_owned(), token, Some("{".to_owned())),
        }
    }

    /// The body that names a connection of a user, or none of them in particular.
    fn connection_of(&mut self, user: usize) -> String {
        let is_theirs = |peer: &&super::raw_client::RawClient| peer.user == USERS[user] && !peer.id.is_empty();
        let theirs: Vec<usize> = self.peers.iter().filter(is_theirs).map(|peer| peer.number).collect();
        match self.pick(&theirs) {
            Some(peer) if self.net.one_in(2) => format!(r#"{{"connectionId":"{}"}}"#, self.peers[peer].id),
            _ => "{}".to_owned(),
        }
    }
}
