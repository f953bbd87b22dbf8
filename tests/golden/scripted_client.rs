//! The clients of a conversation: each has a connection and the messages it received.

use std::collections::VecDeque;
use std::io::Write;

use serde_json::{Value, json};
use tungstenite::Message;

use crate::pattern::{Names, differences};
use crate::script::Sent;
use crate::socketio_client::SocketIoClient;
use support::client::{Client, End};

/// Marks what the runner itself sends: as a `requestId`, and as the type of messages that nobody is to hear of.
pub(crate) const FENCE: &str = "fence";

/// A connected client.
pub(crate) struct ScriptedClient {
    line: Link,
    /// What came and was not looked at yet.
    heard: VecDeque<Value>,
    /// How the connection ended, behind all that.
    ended: Option<End>,
    pub(crate) token: Option<String>,
    /// The number of the server that it is connected to.
    pub(crate) node: usize,
    /// Whether it is in a namespace, or needs none, so that it hears what everybody hears.
    is_in: bool,
    /// What it may hear, once each, as it is to be or not.
    pub(crate) optional: Vec<Value>,
}

enum Link {
    /// It speaks `raw`.
    Raw(Client),
    /// It speaks Socket.IO.
    SocketIoClient(SocketIoClient),
}

impl ScriptedClient {
    /// One that speaks `raw`.
    pub(crate) fn raw(client: Client, token: Option<String>, node: usize) -> Self {
        let hello = client.hello.clone();
        let user = hello["userId"].as_str().unwrap_or_default().to_owned();
        let mut party = Self::of(Link::Raw(client), token, node);
        party.heard.push_back(hello);
        party.arrive(&user);
        party
    }

    /// One that speaks Socket.IO.
    pub(crate) fn talker(talker: SocketIoClient, token: Option<String>, node: usize) -> Self {
        Self::of(Link::SocketIoClient(talker), token, node)
    }

    fn of(line: Link, token: Option<String>, node: usize) -> Self {
        let is_in = matches!(line, Link::Raw(_));
        Self { line, heard: VecDeque::new(), ended: None, token, node, is_in, optional: Vec::new() }
    }

    /// Sends something; `text` is a text as it is to go out.
    pub(crate) fn send(&mut self, sent: &Sent, text: &str) -> Result<(), String> {
        self.is_in &= !text.starts_with("packet 41");
        match (sent, &mut self.line) {
            (Sent::Text(_), Link::Raw(client)) => client.send_text(text),
            (Sent::Text(_), Link::SocketIoClient(talker)) => talker.send(text),
            (Sent::Binary(bytes), _) => self.send_message(Message::binary(bytes.clone())),
            (Sent::Bytes(bytes), Link::Raw(client)) => {
                client.stream().write_all(bytes).map_err(|error| error.to_string())?;
            }
            (Sent::Bytes(bytes), Link::SocketIoClient(talker)) => {
                talker.stream().write_all(bytes).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// Sends any message of its WebSocket.
    pub(crate) fn send_message(&mut self, message: Message) {
        match &mut self.line {
            Link::Raw(client) => client.send_message(message),
            Link::SocketIoClient(talker) => talker.send_message(message),
        }
    }

    /// Whether a message is one that the client may hear, or nobody's business; it is passed over then.
    fn passes_over(&mut self, message: &Value) -> bool {
        let fits = |optional: &Value| differences(optional, message, &mut Names::new()).is_empty();
        match self.optional.iter().position(fits) {
            Some(at) => {
                self.optional.remove(at);
                true
            }
            None => is_marked(message),
        }
    }

    /// What comes next, or the end.
    pub(crate) fn next(&mut self) -> Result<Value, End> {
        loop {
            let message = match (self.heard.pop_front(), self.ended.take()) {
                (Some(message), ended) => {
                    self.ended = ended;
                    message
                }
                (None, Some(end)) => return Err(end),
                (None, None) => self.read()?,
            };
            if !self.passes_over(&message) {
                return Ok(message);
            }
        }
    }

    /// Whether what comes next, which is left for later, is not the acceptance into its namespace.
    pub(crate) fn is_refused(&mut self, place: &str) -> Result<bool, String> {
        let heard = self.next().map_err(|end| format!("  the connection ended: {end:?}"))?;
        let is_accepted = heard["packet"] == format!("40{place}");
        self.heard.push_front(heard);
        Ok(!is_accepted)
    }

    /// What it has heard and not looked at, but for what it may hear.
    pub(crate) fn left(&mut self) -> &VecDeque<Value> {
        let mut heard = std::mem::take(&mut self.heard);
        heard.retain(|message| !self.passes_over(message));
        self.heard = heard;
        &self.heard
    }

    /// Reads all that the client had been sent when the server read this.
    pub(crate) fn fence(&mut self) -> Result<(), String> {
        match &mut self.line {
            Link::Raw(_) => self.exchange(Some(&json!({ "type": "ping", "requestId": FENCE }))),
            Link::SocketIoClient(talker) => {
                talker.fence();
                self.exchange(None);
            }
        }
        self.ended.take().map_or(Ok(()), |end| Err(format!("  the connection ended: {end:?}")))
    }

    /// Whether it hears what everybody hears, and its server learns at once when its connection has ended.
    pub(crate) fn is_found_out(&self) -> bool {
        let polls = matches!(&self.line, Link::SocketIoClient(talker) if talker.polls());
        self.is_in && !polls
    }

    /// Reads up to a mark that all clients get, unless it is one of those who do not.
    pub(crate) fn hear_mark(&mut self, number: &Value) {
        while self.is_in && self.ended.is_none() {
            match self.read() {
                Ok(message) if is_marked(&message) => {
                    if message["data"] == *number || event_of(&message)[1]["data"] == *number {
                        return;
                    }
                }
                Ok(message) => self.heard.push_back(message),
                Err(end) => self.ended = Some(end),
            }
        }
    }

    fn read(&mut self) -> Result<Value, End> {
        let message = self.line.next_or_end()?;
        match message["packet"].as_str().and_then(|packet| packet.get(..2)) {
            Some("40") => self.is_in = true,
            Some("41") => self.is_in = false,
            _ => {}
        }
        Ok(message)
    }

    /// Waits until the server knows that this connection is its user's, so that messages to the user reach it: it is
    /// greeted before that.
    fn arrive(&mut self, user: &str) {
        let message = json!({
            "type": "message", "toUserId": user, "content": "", "messageType": FENCE, "requestId": FENCE
        });
        self.exchange(Some(&message));
    }

    /// Sends a request and reads up to its answer, or to the end.
    fn exchange(&mut self, request: Option<&Value>) {
        if let (Link::Raw(client), Some(request)) = (&mut self.line, request) {
            client.send(request);
        }
        loop {
            match self.read() {
                Ok(message) if message["requestId"] == FENCE || SocketIoClient::is_fenced(&message) => return,
                Ok(message) if is_marked(&message) => {}
                Ok(message) => self.heard.push_back(message),
                Err(end) => {
                    self.ended = Some(end);
                    return;
                }
            }
        }
    }
}

impl Link {
    fn next_or_end(&mut self) -> Result<Value, End> {
        match self {
            Self::Raw(client) => client.next_or_end(),
            Self::SocketIoClient(talker) => talker.next_or_end(),
        }
    }
}

/// Whether the runner itself sent it, to users with connections of any kind.
fn is_marked(message: &Value) -> bool {
    let event = event_of(message);
    message["messageType"] == FENCE || (event[0] == "message" && event[1]["type"] == FENCE)
}

/// What is an event of Socket.IO in any namespace, if it is one.
fn event_of(message: &Value) -> &Value {
    if message["packet"].is_null() { message } else { &message["data"] }
}
