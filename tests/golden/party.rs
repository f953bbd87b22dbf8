//! Those who take part in a conversation: each with a connection, and what came on it.

use std::collections::VecDeque;
use std::io::Write;

use serde_json::{Value, json};
use tungstenite::Message;

use crate::pattern::{Names, differences};
use crate::script::Sent;
use crate::support::client::{Client, End};
use crate::talker::Talker;

/// Marks what the runner itself sends: as a `requestId`, and as the type of messages that nobody is to hear of.
const FENCE: &str = "fence";

/// A connected client.
pub(crate) struct Party {
    line: Line,
    /// What came and was not looked at yet.
    heard: VecDeque<Value>,
    /// How the connection ended, behind all that.
    ended: Option<End>,
    pub(crate) token: Option<String>,
    /// What it may hear, once each, as it is to be or not.
    pub(crate) optional: Vec<Value>,
}

enum Line {
    /// It speaks `raw`.
    Raw(Client),
    /// It speaks Socket.IO.
    Talker(Talker),
}

impl Party {
    /// One that speaks `raw`.
    pub(crate) fn raw(client: Client, token: Option<String>) -> Self {
        let hello = client.hello.clone();
        let user = hello["userId"].as_str().unwrap_or_default().to_owned();
        let mut party = Self::of(Line::Raw(client), token);
        party.heard.push_back(hello);
        party.arrive(&user);
        party
    }

    /// One that speaks Socket.IO.
    pub(crate) fn talker(talker: Talker, token: Option<String>) -> Self {
        Self::of(Line::Talker(talker), token)
    }

    fn of(line: Line, token: Option<String>) -> Self {
        Self { line, heard: VecDeque::new(), ended: None, token, optional: Vec::new() }
    }

    /// Sends something; `text` is a text as it is to go out.
    pub(crate) fn send(&mut self, sent: &Sent, text: &str) -> Result<(), String> {
        match (sent, &mut self.line) {
            (Sent::Text(_), Line::Raw(client)) => client.send_text(text),
            (Sent::Text(_), Line::Talker(talker)) => talker.send(text),
            (Sent::Binary(bytes), _) => self.send_message(Message::binary(bytes.clone())),
            (Sent::Bytes(bytes), Line::Raw(client)) => {
                client.stream().write_all(bytes).map_err(|error| error.to_string())?;
            }
            (Sent::Bytes(bytes), Line::Talker(talker)) => {
                talker.stream().write_all(bytes).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// Sends any message of its WebSocket.
    pub(crate) fn send_message(&mut self, message: Message) {
        match &mut self.line {
            Line::Raw(client) => client.send_message(message),
            Line::Talker(talker) => talker.send_message(message),
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
                (None, None) => self.line.next_or_end()?,
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
            Line::Raw(_) => self.exchange(Some(&json!({ "type": "ping", "requestId": FENCE }))),
            Line::Talker(talker) => {
                talker.fence();
                self.exchange(None);
            }
        }
        self.ended.take().map_or(Ok(()), |end| Err(format!("  the connection ended: {end:?}")))
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
        if let (Line::Raw(client), Some(request)) = (&mut self.line, request) {
            client.send(request);
        }
        loop {
            match self.line.next_or_end() {
                Ok(message) if message["requestId"] == FENCE || Talker::is_fenced(&message) => return,
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

impl Line {
    fn next_or_end(&mut self) -> Result<Value, End> {
        match self {
            Self::Raw(client) => client.next_or_end(),
            Self::Talker(talker) => talker.next_or_end(),
        }
    }
}

/// Whether the runner itself sent it, to a user with connections of either kind.
fn is_marked(message: &Value) -> bool {
    message["messageType"] == FENCE || (message[0] == "message" && message[1]["type"] == FENCE)
}
