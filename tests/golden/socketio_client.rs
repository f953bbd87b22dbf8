//! Socket.IO clients by WebSocket or polling that write exact packets and read packet by packet.
//!
//! What they hear is JSON, in one of three forms: an event of their own namespace is the array that it is; an ack is
//! its number and its array; any other packet is an object of its text up to its data, and of its data.

use std::collections::VecDeque;
use std::net::TcpStream;

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::{HeaderName, HeaderValue};
use tungstenite::{Error, Message, WebSocket};

use support::client::{End, PATIENCE};
use support::http::{Http, request};

/// What program they say they are.
pub(crate) const AGENT: &str = "conversation/1.0";

/// Asking for a namespace that there is not brings an answer at once, in whatever state the session is.
const FENCE: &str = "40/fence,";
const FENCED: [&str; 2] = [r#"44/fence,{"message":"Invalid namespace"}"#, r#"44/fence,"Invalid namespace""#];

/// One session.
pub(crate) struct SocketIoClient {
    carrier: Transport,
    /// With its comma; `None` until one is spoken of, when all that comes is a packet.
    pub(crate) place: Option<&'static str>,
}

enum Transport {
    Socket(Box<WebSocket<TcpStream>>),
    Polling { reading: Http, writing: Http, path: String, came: VecDeque<String> },
}

impl SocketIoClient {
    /// Opens a session with more in its query, and these headers.
    pub(crate) fn open(address: &str, query: &str, headers: &[(&str, &str)], polls: bool) -> Self {
        let transport = if polls { "polling" } else { "websocket" };
        let query = if query.is_empty() { String::new() } else { format!("&{query}") };
        // Where a connection can be recovered, that shows in every packet of a room.
        let recovery = if query.contains("recovery=") { "" } else { "&recovery=0" };
        let version = if query.contains("EIO=") { "" } else { "&EIO=4" };
        let path = format!("/socket.io/?transport={transport}{recovery}{version}{query}");
        let mut headers = headers.to_vec();
        headers.push(("User-Agent", AGENT));
        let carrier = if polls { poll(address, path, &headers) } else { upgrade(address, &path, &headers) };
        let mut talker = Self { carrier, place: None };
        if !polls {
            let open = talker.next_packet().expect("an open packet");
            assert!(open.starts_with("0{\"sid\":\""), "{open}");
        }
        talker
    }

    /// Sends a packet, or, where it begins with its number or its array, an event of the own namespace.
    pub(crate) fn send(&mut self, text: &str) {
        match (text.strip_prefix("packet "), self.place) {
            (Some(packet), _) => self.send_packet(packet),
            (None, Some(place)) => self.send_packet(&format!("42{place}{text}")),
            (None, None) => self.send_packet(text),
        }
    }

    fn send_packet(&mut self, packet: &str) {
        match &mut self.carrier {
            Transport::Socket(socket) => socket.send(Message::text(packet)).expect("the packet goes out"),
            Transport::Polling { writing, path, .. } => {
                let answer = writing.ask("POST", path, &[], Some(packet));
                let is_last = packet == "1" || answer.status == 400;
                assert!(is_last || (answer.status, answer.text().as_str()) == (200, "ok"), "{}", answer.text());
            }
        }
    }

    /// Whether it has no WebSocket.
    pub(crate) fn polls(&self) -> bool {
        matches!(self.carrier, Transport::Polling { .. })
    }

    /// Sends any message of the WebSocket.
    pub(crate) fn send_message(&mut self, message: Message) {
        match &mut self.carrier {
            Transport::Socket(socket) => socket.send(message).expect("the message goes out"),
            Transport::Polling { .. } => panic!("it has no WebSocket"),
        }
    }

    /// The TCP connection of the WebSocket.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        match &mut self.carrier {
            Transport::Socket(socket) => socket.get_mut(),
            Transport::Polling { .. } => panic!("it has no WebSocket"),
        }
    }

    /// Asks for what brings an answer at once; [`SocketIoClient::is_fenced`] knows it.
    pub(crate) fn fence(&mut self) {
        self.send_packet(FENCE);
    }

    /// Whether this is the answer to [`SocketIoClient::fence`].
    pub(crate) fn is_fenced(heard: &Value) -> bool {
        FENCED.iter().any(|fenced| *heard == packet(fenced))
    }

    /// What is heard next, or the end.
    pub(crate) fn next_or_end(&mut self) -> Result<Value, End> {
        let text = self.next_packet()?;
        let own = self.place.and_then(|place| {
            let rest = |kind: &str| text.strip_prefix(kind)?.strip_prefix(place);
            rest("42").or_else(|| rest("43")).and_then(short)
        });
        Ok(own.unwrap_or_else(|| packet(&text)))
    }

    /// The next packet but for the session's pings, which are answered.
    fn next_packet(&mut self) -> Result<String, End> {
        loop {
            let packet = match &mut self.carrier {
                Transport::Socket(socket) => next_text(socket)?,
                Transport::Polling { reading, path, came, .. } => match came.pop_front() {
                    Some(packet) => packet,
                    None => {
                        let answer = reading.ask("GET", path, &[], None);
                        if answer.status != 200 {
                            let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
                            return Err(End::Close(answer.status, message));
                        }
                        came.extend(answer.text().split('\u{1e}').map(str::to_owned));
                        continue;
                    }
                },
            };
            match packet.as_str() {
                "2" => self.send_packet("3"),
                "6" => {}
                _ => return Ok(packet),
            }
        }
    }
}

fn upgrade(address: &str, path: &str, headers: &[(&str, &str)]) -> Transport {
    let mut request = format!("ws://{address}{path}").into_client_request().expect("a request");
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("a header's name");
        request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a header's value"));
    }
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    let (socket, _) = tungstenite::client(request, stream).expect("a WebSocket");
    Transport::Socket(Box::new(socket))
}

fn poll(address: &str, path: String, headers: &[(&str, &str)]) -> Transport {
    let mut reading = Http::connect(address);
    let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    reading.write(request("GET", &path, &lines, None));
    let answer = reading.answer();
    let text = answer.text();
    let mut packets = text.split('\u{1e}').map(str::to_owned);
    let open = packets.next().expect("a first packet");
    let open: Value = serde_json::from_str(open.strip_prefix('0').expect("an open packet")).expect("JSON");
    let path = format!("{path}&sid={}", open["sid"].as_str().expect("a sid"));
    Transport::Polling { reading, writing: Http::connect(address), path, came: packets.collect() }
}

fn next_text(socket: &mut WebSocket<TcpStream>) -> Result<String, End> {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => return Ok(text.to_string()),
            Ok(Message::Close(frame)) => {
                // Reading on lets the closing handshake come to its end.
                let _ = socket.read();
                return Err(match frame {
                    Some(frame) => End::Close(frame.code.into(), frame.reason.to_string()),
                    None => End::Close(1005, String::new()),
                });
            }
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing came in {PATIENCE:?}")
            }
            Err(_) => return Err(End::Cut),
        }
    }
}

/// What a text in short form says: an array, or a number and an array.
pub(crate) fn short(text: &str) -> Option<Value> {
    let array = text.find('[')?;
    let value: Value = serde_json::from_str(&text[array..]).ok()?;
    match &text[..array] {
        "" => Some(value),
        number => Some(json!([number.parse::<u64>().ok()?, value])),
    }
}

/// What a packet's text says.
pub(crate) fn packet(text: &str) -> Value {
    let data = text.find(['[', '{', '"']).unwrap_or(text.len());
    let (head, data) = text.split_at(data);
    match serde_json::from_str::<Value>(data) {
        Ok(data) => json!({ "packet": head, "data": data }),
        Err(_) => json!({ "packet": text }),
    }
}

/// What was heard, as it is written in a conversation.
pub(crate) fn shown(heard: &Value) -> String {
    match heard {
        Value::Array(both) if both.len() == 2 && both[0].is_number() => format!("{}{}", both[0], both[1]),
        Value::Object(both) if both.contains_key("packet") => {
            let data = both.get("data").map(Value::to_string).unwrap_or_default();
            format!("packet {}{data}", both["packet"].as_str().unwrap_or_default())
        }
        other => other.to_string(),
    }
}
