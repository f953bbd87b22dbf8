//! A client of Engine.IO 4 as stock clients are: it polls, one GET and one POST at a time, or has a WebSocket, or begins
//! with the first and moves to the second. Its requests come by whichever connection it likes, so to any shard.

use super::frames::{Frame, masked, masked_text, take_frame, take_response};
use super::network::{Network, Owner, PresenceUpdate};

/// Between two packets of a payload.
const RS: &str = "\u{1e}";

/// A connection that was not used for so long is not used again, in milliseconds: the server is about to end it.
const STALE_MS: u64 = 20_000;

/// How a client is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    WebSocket,
    Polling,
    /// Polling first, then a WebSocket.
    Upgrade,
}

/// How the session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The client said so, or is gone.
    Left,
    /// The server closed it, on a WebSocket with this code.
    Closed(Option<u16>),
    /// A request was refused, or the connection that it was on ended.
    Refused,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Engine {
    owner: Owner,
    way: Way,
    query: String,
    sid: String,
    get: Option<Request>,
    post: Option<Request>,
    socket: Option<Socket>,
    /// Packets to be sent.
    waiting: Vec<String>,
    /// Whether the WebSocket may take over, and whether it has.
    is_probed: bool,
    is_moved: bool,
    pub(crate) over: Option<Over>,
    /// It says nothing more, not even that it is there.
    pub(crate) is_silent: bool,
}

/// A connection for requests.
#[derive(Debug)]
struct Request {
    socket: usize,
    inbox: Vec<u8>,
    is_waiting: bool,
    used_at: u64,
}

/// A WebSocket.
#[derive(Debug)]
struct Socket {
    socket: usize,
    inbox: Vec<u8>,
    is_open: bool,
}

impl Engine {
    /// A client that has asked for a session. `query` is more than the protocol needs, and begins with `&`.
    pub(crate) fn open(owner: Owner, way: Way, query: &str, net: &mut Network) -> Self {
        let mut engine = Self {
            owner,
            way,
            query: format!("EIO=4{query}"),
            sid: String::new(),
            get: None,
            post: None,
            socket: None,
            waiting: Vec::new(),
            is_probed: false,
            is_moved: way == Way::WebSocket,
            over: None,
            is_silent: false,
        };
        match way {
            Way::WebSocket => engine.open_socket(net),
            Way::Polling | Way::Upgrade => engine.request(net, None),
        }
        engine
    }

    /// Whether the session is open.
    pub(crate) fn is_open(&self) -> bool {
        !self.sid.is_empty() && self.over.is_none()
    }

    /// Whether its packets go by a WebSocket.
    pub(crate) fn is_on_websocket(&self) -> bool {
        self.is_moved
    }

    /// Sends a packet, when it can.
    pub(crate) fn send(&mut self, packet: String, net: &mut Network) {
        self.waiting.push(packet);
        self.go_on(net);
    }

    /// The session ends in order.
    pub(crate) fn close(&mut self, net: &mut Network) {
        self.send("1".to_owned(), net);
        if self.is_moved || self.waiting.is_empty() {
            self.over = Some(Over::Left);
        }
    }

    /// The client is gone, in one of two ways.
    pub(crate) fn vanish(&mut self, is_reset: bool, net: &mut Network) {
        for socket in self.sockets() {
            if is_reset {
                net.reset(socket);
            } else {
                net.finish(socket);
                net.ignore(socket);
            }
        }
        self.over = Some(Over::Left);
    }

    fn sockets(&self) -> Vec<usize> {
        let requests = [&self.get, &self.post].into_iter().flatten().map(|request| request.socket);
        requests.chain(self.socket.as_ref().map(|socket| socket.socket)).collect()
    }

    /// Something came; the messages in it.
    pub(crate) fn receive(&mut self, news: &PresenceUpdate, net: &mut Network) -> Vec<String> {
        let mut packets = Vec::new();
        if self.socket.as_ref().is_some_and(|socket| socket.socket == news.socket) {
            self.receive_frames(news, net, &mut packets);
        } else {
            self.receive_response(news, net, &mut packets);
        }
        let messages = packets.into_iter().filter_map(|packet| self.hear(packet, net)).collect();
        self.go_on(net);
        messages
    }

    fn receive_response(&mut self, news: &PresenceUpdate, net: &mut Network, packets: &mut Vec<String>) {
        let is_get = self.get.as_ref().is_some_and(|request| request.socket == news.socket);
        let place = if is_get { &mut self.get } else { &mut self.post };
        let Some(request) = place.as_mut().filter(|request| request.socket == news.socket) else {
            // One that is no longer used.
            if news.is_end {
                net.finish(news.socket);
            }
            return;
        };
        request.inbox.extend_from_slice(&news.bytes);
        if let Some(response) = take_response(&mut request.inbox) {
            assert!(request.is_waiting, "nobody asked for {response:?}");
            request.is_waiting = false;
            match response.status {
                200 if is_get => packets.extend(response.body.split(RS).map(str::to_owned)),
                200 => assert_eq!(response.body, "ok"),
                // No session is opened while the server leaves.
                400 | 403 | 503 => self.over = self.over.or(Some(Over::Refused)),
                408 => {}
                status => panic!("a poll was answered {status} {}", response.body),
            }
        }
        if news.is_end {
            let was_waiting = place.take().is_some_and(|request| request.is_waiting);
            net.finish(news.socket);
            if was_waiting {
                self.over = self.over.or(Some(Over::Refused));
            }
        }
    }

    fn receive_frames(&mut self, news: &PresenceUpdate, net: &mut Network, packets: &mut Vec<String>) {
        let Some(socket) = &mut self.socket else { return };
        socket.inbox.extend_from_slice(&news.bytes);
        if !socket.is_open
            && let Some(response) = take_response(&mut socket.inbox)
        {
            match response.status {
                101 => socket.is_open = true,
                400 | 403 | 503 => self.over = self.over.or(Some(Over::Refused)),
                status => panic!("the upgrade was answered {status} {}", response.body),
            }
            if socket.is_open && self.way == Way::Upgrade {
                net.show(&format!("{:?}", self.owner), '>', "2probe");
                say(net, news.socket, "2probe");
            }
        }
        let mut code = None;
        while socket.is_open
            && let Some(frame) = take_frame(&mut socket.inbox)
        {
            net.show(&format!("{:?}", self.owner), '<', &format!("{frame:?}"));
            match frame {
                Frame::Text(text) => packets.push(text),
                Frame::Pong(payload) => assert_eq!(payload, b"between"),
                Frame::Ping(_) => panic!("sessions have pings of their own"),
                Frame::Close(own) => {
                    code = Some(own);
                    let mut out = Vec::new();
                    masked(&mut out, &mut net.rng, 0x88, &own.unwrap_or(1000).to_be_bytes());
                    net.send(news.socket, &out);
                }
            }
        }
        if news.is_end || code.is_some() {
            if news.is_end {
                net.finish(news.socket);
                self.socket = None;
            }
            if self.is_moved {
                self.over = self.over.or(Some(code.map_or(Over::Refused, Over::Closed)));
            }
        }
    }

    /// A packet came; the message that it is.
    fn hear(&mut self, packet: String, net: &mut Network) -> Option<String> {
        net.show(&format!("{:?}", self.owner), '<', &packet);
        match packet.as_bytes().first() {
            Some(b'0') => {
                assert!(self.sid.is_empty(), "a session opens once");
                let open: serde_json::Value = serde_json::from_str(&packet[1..]).expect("JSON");
                self.sid = open["sid"].as_str().expect("a sid").to_owned();
                if self.way == Way::Upgrade {
                    self.open_socket(net);
                }
            }
            Some(b'1') => self.over = self.over.or(Some(Over::Closed(None))),
            Some(b'2') => {
                if !self.is_silent {
                    self.waiting.push("3".to_owned());
                }
            }
            Some(b'3') => {
                assert_eq!(packet, "3probe");
                self.is_probed = true;
            }
            Some(b'4') => return Some(packet[1..].to_owned()),
            Some(b'6') => assert_eq!(packet, "6"),
            _ => panic!("no packet: {packet:?}"),
        }
        None
    }

    /// Does what there is to do next: asks for packets, sends its own, moves.
    fn go_on(&mut self, net: &mut Network) {
        if self.over.is_some() || self.is_silent {
            return;
        }
        if self.is_moved {
            let Some(socket) = self.socket.as_ref().filter(|socket| socket.is_open) else { return };
            for packet in self.waiting.drain(..) {
                net.show(&format!("{:?}", self.owner), '>', &packet);
                say(net, socket.socket, &packet);
            }
            return;
        }
        if self.sid.is_empty() {
            return;
        }
        let is_waiting = |request: &Option<Request>| request.as_ref().is_some_and(|request| request.is_waiting);
        if self.is_probed {
            // What is under way comes to its end first.
            if !is_waiting(&self.get) && !is_waiting(&self.post) {
                if let Some(socket) = &self.socket {
                    net.show(&format!("{:?}", self.owner), '>', "5");
                    say(net, socket.socket, "5");
                    self.is_moved = true;
                    return self.go_on(net);
                }
                self.is_probed = false;
            }
            return;
        }
        if !is_waiting(&self.get) {
            self.request(net, None);
        }
        if !self.waiting.is_empty() && !is_waiting(&self.post) {
            let body = self.waiting.join(RS);
            net.show(&format!("{:?}", self.owner), '>', &body);
            self.waiting.clear();
            self.request(net, Some(&body));
        }
    }

    /// Asks for packets, or brings some: by the connection that it did so with before, or by another.
    fn request(&mut self, net: &mut Network, body: Option<&str>) {
        let place = if body.is_some() { &mut self.post } else { &mut self.get };
        let is_usable = |request: &Request| net.now.mono < request.used_at + STALE_MS;
        let before = place.take();
        let is_kept = before.as_ref().is_some_and(is_usable) && !net.one_in(4);
        let mut request = match before {
            Some(request) if is_kept => request,
            before => {
                if let Some(before) = before {
                    net.finish(before.socket);
                }
                Request { socket: net.connect(self.owner), inbox: Vec::new(), is_waiting: false, used_at: 0 }
            }
        };
        (request.is_waiting, request.used_at) = (true, net.now.mono);
        let sid = if self.sid.is_empty() { String::new() } else { format!("&sid={}", self.sid) };
        let path = format!("/socket.io/?{}&transport=polling{sid}", self.query);
        let text = match body {
            None => format!("GET {path} HTTP/1.1\r\nHost: sim\r\n\r\n"),
            Some(body) => format!("POST {path} HTTP/1.1\r\nHost: sim\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        };
        net.send(request.socket, text.as_bytes());
        *place = Some(request);
    }

    fn open_socket(&mut self, net: &mut Network) {
        let socket = net.connect(self.owner);
        let sid = if self.sid.is_empty() { String::new() } else { format!("&sid={}", self.sid) };
        let head = format!(
            "GET /socket.io/?{}&transport=websocket{sid} HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.query
        );
        net.send(socket, head.as_bytes());
        self.socket = Some(Socket { socket, inbox: Vec::new(), is_open: false });
    }
}

/// Sends a text by a WebSocket.
pub(super) fn say(net: &mut Network, socket: usize, text: &str) {
    let mut out = Vec::new();
    masked_text(&mut out, &mut net.rng, text);
    net.send(socket, &out);
}
