//! A `raw` client: a WebSocket by `tungstenite` that speaks JSON.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Response;
use tungstenite::{Error, Message, WebSocket};

use super::token::token;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One connected client.
pub struct Client {
    socket: WebSocket<TcpStream>,
    /// The `connect` message it was greeted with.
    pub hello: Value,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// By a close frame.
    Close(u16, String),
    /// Without one.
    Cut,
}

impl Client {
    /// Connects to `address` with a token, or as a guest.
    pub fn connect(address: &str, token: Option<&str>) -> Self {
        Self::try_connect(address, token).unwrap_or_else(|error| panic!("cannot connect: {error}"))
    }

    /// Connects as a user.
    pub fn of(address: &str, user: &str) -> Self {
        Self::connect(address, Some(&token(user, &json!({}))))
    }

    /// Connects, or says why not.
    pub fn try_connect(address: &str, token: Option<&str>) -> Result<Self, Box<Error>> {
        let query = token.map(|token| format!("&token={token}")).unwrap_or_default();
        let mut client = Self::try_open(address, &format!("events=all{query}"))?;
        client.hello = client.next();
        assert_eq!(client.hello["type"], "connect", "the first message");
        Ok(client)
    }

    /// Connects with this query, and reads nothing: only clients that ask for it are greeted.
    pub fn open(address: &str, query: &str) -> Self {
        Self::try_open(address, query).unwrap_or_else(|error| panic!("cannot connect: {error}"))
    }

    fn try_open(address: &str, query: &str) -> Result<Self, Box<Error>> {
        let request = format!("ws://{address}/ws?{query}").into_client_request().expect("a request");
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        let (socket, _response): (_, Response) = tungstenite::client(request, stream).map_err(|error| match error {
            tungstenite::HandshakeError::Failure(error) => Box::new(error),
            tungstenite::HandshakeError::Interrupted(_) => panic!("the handshake took too long"),
        })?;
        Ok(Self { socket, hello: Value::Null })
    }

    /// The connection's id.
    pub fn id(&self) -> &str {
        self.hello["connectionId"].as_str().expect("a connectionId")
    }

    /// Sends one JSON object.
    pub fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string());
    }

    /// Sends text as it is.
    pub fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the message goes out");
    }

    /// Sends bytes past the WebSocket, in one write.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).expect("the bytes go out");
    }

    /// Sends any message.
    pub fn send_message(&mut self, message: Message) {
        self.socket.send(message).expect("the message goes out");
    }

    /// The next message, which must come.
    pub fn next(&mut self) -> Value {
        match self.next_or_end() {
            Ok(value) => value,
            Err(end) => panic!("the connection ended: {end:?}"),
        }
    }

    /// The next message, or the end.
    pub fn next_or_end(&mut self) -> Result<Value, End> {
        self.next_text_or_end().map(|text| serde_json::from_str(&text).expect("it is JSON"))
    }

    /// The next message as it was written, or the end.
    pub fn next_text_or_end(&mut self) -> Result<String, End> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(text.to_string()),
                Ok(Message::Close(frame)) => {
                    // Reading on lets the closing handshake come to its end.
                    let _ = self.socket.read();
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

    /// The next message that is not about anybody's presence.
    pub fn next_event(&mut self) -> Value {
        self.wait_until(|message| message["type"] != "presence")
    }

    /// Writes text frames, all in one go.
    pub fn send_all(&mut self, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            self.socket.write(Message::text(text)).expect("the message goes out");
        }
        self.socket.flush().expect("the messages go out");
    }

    /// The next message of that type; others are passed over.
    pub fn wait_for(&mut self, kind: &str) -> Value {
        self.wait_until(|message| message["type"] == kind)
    }

    /// The next message that `is_it`; others are passed over.
    pub fn wait_until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let message = self.next();
            if is_it(&message) {
                return message;
            }
        }
        panic!("it did not come in {PATIENCE:?}");
    }

    /// Reads to the end and says how it was.
    pub fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.next_or_end() {
                return end;
            }
        }
    }

    /// Joins a room under a peer id; the answer.
    pub fn join(&mut self, room: &str, peer: &str) -> Value {
        self.send(&serde_json::json!({ "type": "join-room", "roomId": room, "peerId": peer }));
        self.wait_for("room-joined")
    }

    /// Closes and waits for the end.
    pub fn close(mut self) {
        let _ = self.socket.close(None);
        while self.socket.read().is_ok() {}
    }

    /// The socket, for what no client should do.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }
}
