//! A client that sends any packets on either transport and in either version of Engine.IO, and reports the outcome of
//! its session.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tungstenite::Message;

use support::engineio::{RS, Socket};
use support::http::{Http, Response, ask};
use support::server::token;

/// Each way a session may be carried, and what version it is of.
pub(crate) const CARRIERS: [(&str, u8); 4] = [("polling", 4), ("polling", 3), ("websocket", 4), ("websocket", 3)];

/// What a session that is over is answered.
const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

/// What its transport answers who sends what is no packet.
pub(crate) const BAD: &str = r#"{"code":3,"message":"Bad request"}"#;

/// One packet.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    /// As text, its type included.
    Text(String),
    /// A message of bytes.
    Bytes(Vec<u8>),
}

impl Sent {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

/// See the module.
pub(crate) struct FaultyClient {
    version: u8,
    carrier: Transport,
}

enum Transport {
    /// By POSTs to this path, and GETs; packets that were not asked for yet.
    Polling { http: Http, path: String, kept: Vec<String> },
    /// By a WebSocket.
    WebSocket(Socket),
}

impl FaultyClient {
    /// A session that is in a room, as `mallory` who speaks `colon`.
    pub(crate) fn in_room(address: &str, carrier: (&str, u8), room: &str) -> Self {
        let mut offender = Self::open(address, carrier);
        let (token, room) = (token("mallory", &json!({})), json!({ "chatId": room }));
        let connect = match offender.version {
            3 => format!("40/chat?token={token}"),
            _ => format!("40/chat,{}", json!({ "token": token })),
        };
        assert!(offender.send(&[Sent::Text(connect)]));
        offender.wait_for("40/chat,");
        assert!(offender.send(&[Sent::Text(format!("42/chat,1{}", json!(["join:chat", room])))]));
        assert!(offender.wait_for("43/chat,1").contains(r#""success":true"#));
        offender
    }

    /// A session that is in the main namespace in version 3, as older clients always are, and nowhere in version 4.
    pub(crate) fn open(address: &str, (transport, version): (&str, u8)) -> Self {
        let token = if version == 3 { format!("&token={}", token("mallory", &json!({}))) } else { String::new() };
        let path = format!("/socket.io/?EIO={version}&transport={transport}&b64=1{token}");
        let mut offender = if transport == "polling" {
            let http = Http::connect(address);
            Self { version, carrier: Transport::Polling { http, path, kept: Vec::new() } }
        } else {
            Self { version, carrier: Transport::WebSocket(Socket::connect(address, &path)) }
        };
        let open = offender.wait_for("0{");
        if let Transport::Polling { path, .. } = &mut offender.carrier {
            let open: Value = serde_json::from_str(&open[1..]).expect("JSON");
            *path += &format!("&sid={}", open["sid"].as_str().expect("a sid"));
        }
        if version == 3 {
            offender.wait_for("40");
        }
        offender
    }

    /// Sends packets: in one payload, or in as many frames. Whether they were taken, as far as that can be known.
    pub(crate) fn send(&mut self, packets: &[Sent]) -> bool {
        let version = self.version;
        match &mut self.carrier {
            Transport::WebSocket(socket) => packets.iter().all(|packet| {
                let message = match packet {
                    Sent::Text(text) => Message::text(text.as_str()),
                    Sent::Bytes(bytes) if version == 3 => Message::binary([&[4], bytes.as_slice()].concat()),
                    Sent::Bytes(bytes) => Message::binary(bytes.clone()),
                };
                socket.0.send(message).is_ok()
            }),
            Transport::Polling { http, path, .. } => {
                let answer = http.ask("POST", path, &[], Some(&payload(version, packets)));
                assert!(answer.status == 200 || answer.text() == BAD, "{answer:?}");
                answer.status == 200
            }
        }
    }

    /// Posts a body as it is; `None` when the client has a WebSocket.
    pub(crate) fn post(&mut self, content_type: &str, body: &[u8]) -> Option<Response> {
        let Transport::Polling { http, path, .. } = &mut self.carrier else { return None };
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: {content_type}\r\n");
        http.write(format!("{head}Content-Length: {}\r\n\r\n", body.len()));
        http.try_write(body);
        Some(http.answer())
    }

    /// Polls by another connection from now on.
    pub(crate) fn reconnect(&mut self, address: &str) {
        if let Transport::Polling { http, .. } = &mut self.carrier {
            *http = Http::connect(address);
        }
    }

    /// A WebSocket with the id of this session, which polls.
    pub(crate) fn socket_to_move_to(&self, address: &str) -> Socket {
        let Transport::Polling { path, .. } = &self.carrier else { panic!("it has one") };
        Socket::connect(address, &path.replace("transport=polling", "transport=websocket"))
    }

    /// The packet that comes and begins so; what else comes is passed over.
    pub(crate) fn wait_for(&mut self, beginning: &str) -> String {
        loop {
            let packet = self.next();
            if packet.starts_with(beginning) {
                return packet;
            }
        }
    }

    /// That the session goes on: what it asks is answered.
    pub(crate) fn is_served(&mut self) {
        assert!(self.send(&[Sent::text(r#"42/chat,77["heartbeat"]"#)]));
        self.wait_for("43/chat,77[");
    }

    /// Ends the session in order.
    pub(crate) fn leave(&mut self) {
        assert!(self.send(&[Sent::text("1")]));
    }

    /// That the session is over because of what it sent, and is told so by its transport's means.
    pub(crate) fn is_cut(&mut self, address: &str, code: u16) {
        match &mut self.carrier {
            Transport::WebSocket(socket) => assert_eq!(socket.end(), code),
            Transport::Polling { path, .. } => {
                for (method, body) in [("GET", None), ("POST", Some("1"))] {
                    let answer = ask(address, method, path, &[], body);
                    assert_eq!((answer.status, answer.text().as_str()), (400, UNKNOWN), "{method}");
                }
            }
        }
    }

    fn next(&mut self) -> String {
        let version = self.version;
        match &mut self.carrier {
            Transport::WebSocket(socket) => socket.next(),
            Transport::Polling { http, path, kept } => {
                while kept.is_empty() {
                    let answer = http.ask("GET", path, &[], None);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    *kept = packets(version, &answer.text());
                }
                kept.remove(0)
            }
        }
    }
}

/// Packets in one body.
fn payload(version: u8, packets: &[Sent]) -> String {
    let spelled = packets.iter().map(|packet| match packet {
        Sent::Text(text) => text.clone(),
        Sent::Bytes(bytes) if version == 3 => format!("b4{}", STANDARD.encode(bytes)),
        Sent::Bytes(bytes) => format!("b{}", STANDARD.encode(bytes)),
    });
    match version {
        3 => spelled.map(|packet| format!("{}:{packet}", packet.encode_utf16().count())).collect(),
        _ => spelled.collect::<Vec<_>>().join(RS),
    }
}

/// The packets in a body.
fn packets(version: u8, text: &str) -> Vec<String> {
    match version {
        3 => super::engineio3::packets(text),
        _ => text.split(RS).map(str::to_owned).collect(),
    }
}
