//! Engine.IO clients that send exactly what a test says: by polling and by WebSocket.

use std::collections::VecDeque;
use std::net::TcpStream;

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use super::client::PATIENCE;
use super::http::{Http, Response};
use super::server::{Server, token};

/// Between two packets of a payload.
pub const RS: &str = "\u{1e}";

/// A server for suites: it answers events, and its heartbeat is quick.
pub fn suite_server() -> Server {
    Server::start(&["--conformance"])
}

/// A server as users have it.
pub fn server(settings: &[&str]) -> Server {
    Server::of_shards(1, settings)
}

/// A CONNECT to a namespace with a token of `user`.
pub fn connect_packet(namespace: &str, user: &str) -> String {
    let place = if namespace == "/" { String::new() } else { format!("{namespace},") };
    format!("40{place}{}", json!({ "token": token(user, &json!({})) }))
}

/// The event of a packet: its name and its argument. An offset behind that is passed over.
pub fn event(packet: &str) -> (String, Value) {
    let mut event = array(packet);
    assert!((2..=3).contains(&event.len()), "{packet}");
    let argument = event.swap_remove(1);
    (event[0].as_str().expect("a name").to_owned(), argument)
}

/// The array of an event's or an ack's packet.
pub fn array(packet: &str) -> Vec<Value> {
    serde_json::from_str(&packet[packet.find('[').expect("an array")..]).expect("JSON")
}

/// A client that polls, with a connection for each direction.
pub struct Polling {
    pub reading: Http,
    pub writing: Http,
    pub sid: String,
    pub address: String,
    /// Packets that came with the one that was waited for.
    kept: VecDeque<String>,
    /// With everything but the session's id.
    path: String,
}

impl Polling {
    /// Opens a session of version 4 at `path`.
    pub fn open(address: &str, path: &str) -> Self {
        Self::open_with(address, &format!("{path}?EIO=4&transport=polling")).0
    }

    /// Opens a session by this path; what came with the first packet, too.
    pub fn open_with(address: &str, path: &str) -> (Self, Vec<String>) {
        let mut reading = Http::connect(address);
        let answer = reading.ask("GET", path, &[], None);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        let mut packets = text.split(RS).map(str::to_owned);
        let open = packets.next().expect("a first packet");
        let open: Value = serde_json::from_str(open.strip_prefix('0').expect("an open packet")).expect("JSON");
        let sid = open["sid"].as_str().expect("a sid").to_owned();
        let (address, path) = (address.to_owned(), path.to_owned());
        (
            Self { reading, writing: Http::connect(&address), sid, address, kept: VecDeque::new(), path },
            packets.collect(),
        )
    }

    /// The path of the session's requests.
    pub fn path(&self) -> String {
        format!("{}&sid={}", self.path, self.sid)
    }

    pub fn get(&mut self) -> Response {
        let path = self.path();
        self.reading.ask("GET", &path, &[], None)
    }

    /// Sends a GET and does not wait for its answer.
    pub fn begin_get(&mut self) {
        let path = self.path();
        self.reading.write(super::http::request("GET", &path, &[], None));
    }

    pub fn post(&mut self, body: &str) -> Response {
        let path = self.path();
        self.writing.ask("POST", &path, &[], Some(body))
    }

    /// Posts packets that are taken.
    pub fn send(&mut self, body: &str) {
        let answer = self.post(body);
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }

    /// The packets of the next answer to a poll.
    pub fn packets(&mut self) -> Vec<String> {
        let answer = self.get();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().split(RS).map(str::to_owned).collect()
    }

    /// Polls until a packet comes that begins so.
    pub fn wait_for(&mut self, beginning: &str) -> String {
        loop {
            while let Some(packet) = self.kept.pop_front() {
                if packet.starts_with(beginning) {
                    return packet;
                }
                if packet == "2" {
                    self.send("3");
                }
            }
            self.kept = self.packets().into();
        }
    }
}

/// A client by WebSocket.
pub struct Socket(pub WebSocket<TcpStream>);

impl Socket {
    /// A WebSocket at this path and query.
    pub fn connect(address: &str, path: &str) -> Self {
        let request = format!("ws://{address}{path}").into_client_request().expect("a request");
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        let (socket, _) = tungstenite::client(request, stream).expect("a WebSocket");
        Self(socket)
    }

    /// A session of version 4 that begins with a WebSocket.
    pub fn open(address: &str, path: &str) -> Self {
        let mut socket = Self::connect(address, &format!("{path}?EIO=4&transport=websocket"));
        let open = socket.next();
        assert!(open.starts_with("0{\"sid\":\"") && open.contains("\"upgrades\":[]"), "{open}");
        socket
    }

    /// A session that is connected to a namespace of a server for users; the peer's id, too.
    pub fn peer(address: &str, namespace: &str, user: &str) -> (Self, String) {
        let mut socket = Self::open(address, "/socket.io/");
        socket.send(&connect_packet(namespace, user));
        let accepted = socket.next();
        let place = if namespace == "/" { "40".to_owned() } else { format!("40{namespace},") };
        let object = accepted.strip_prefix(&place).unwrap_or_else(|| panic!("{accepted}"));
        let object: Value = serde_json::from_str(object).expect("JSON");
        let greeting = match namespace {
            "/" => r#"42["authenticated",{"userId":""#,
            _ => r#"42/chat,["users:online",{"users":["#,
        };
        let heard = socket.next();
        assert!(heard.starts_with(greeting), "{heard}");
        (socket, object["sid"].as_str().expect("a sid").to_owned())
    }

    /// A session in `/chat` that speaks `colon` or `camel`, and the peer's id.
    pub fn chat(address: &str, dialect: &str, user: &str) -> (Self, String) {
        let mut socket = Self::connect(address, &format!("/socket.io/?EIO=4&transport=websocket&dialect={dialect}"));
        assert!(socket.next().starts_with('0'));
        socket.send(&connect_packet("/chat", user));
        let accepted = socket.next();
        let object = accepted.strip_prefix("40/chat,").unwrap_or_else(|| panic!("{accepted}"));
        let object: Value = serde_json::from_str(object).expect("JSON");
        if dialect == "colon" {
            socket.hear("users:online");
        }
        (socket, object["sid"].as_str().expect("a sid").to_owned())
    }

    /// Sends an event of `/chat`, to be acknowledged under `ack`.
    pub fn ask(&mut self, ack: u32, name: &str, argument: &Value) {
        self.send(&format!("42/chat,{ack}{}", json!([name, argument])));
    }

    /// The ack of that number; what else comes before it is passed over.
    pub fn acked(&mut self, ack: u32) -> Value {
        let beginning = format!("43/chat,{ack}[");
        loop {
            let packet = self.next();
            if packet.starts_with(&beginning) {
                let mut arguments: Vec<Value> = serde_json::from_str(&packet[beginning.len() - 1..]).expect("JSON");
                return arguments.pop().expect("an argument");
            }
        }
    }

    /// The argument of the next event of that name; what else comes before it is passed over.
    pub fn hear(&mut self, name: &str) -> Value {
        loop {
            let packet = self.next();
            if packet.starts_with("42")
                && let (heard, argument) = event(&packet)
                && heard == name
            {
                return argument;
            }
        }
    }

    pub fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).expect("it goes out");
    }

    pub fn send_binary(&mut self, bytes: &[u8]) {
        self.0.send(Message::binary(bytes.to_vec())).expect("it goes out");
    }

    /// The next text; pings of the session are answered and passed over.
    pub fn next(&mut self) -> String {
        loop {
            match self.0.read().expect("a message") {
                Message::Text(text) if text.as_str() == "2" => self.send("3"),
                Message::Text(text) => return text.to_string(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The next message, if it is bytes.
    pub fn next_binary(&mut self) -> Vec<u8> {
        match self.0.read().expect("a message") {
            Message::Binary(bytes) => bytes.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// Reads to the end, answering nothing; the close code.
    pub fn end(&mut self) -> u16 {
        loop {
            match self.0.read() {
                Ok(Message::Close(frame)) => return frame.map_or(1005, |frame| frame.code.into()),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("nothing came in {PATIENCE:?}")
                }
                Err(_) => return 1006,
            }
        }
    }
}
