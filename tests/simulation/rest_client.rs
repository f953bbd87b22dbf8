//! A REST client: several calls on one connection, sequential or pipelined.

use std::collections::VecDeque;

use serde_json::Value;

use super::frames::take_response;
use super::network::{Delivery, Network};
use super::room_checker::RoomChecker;

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Make,
    Show,
    Close(String),
    List,
    Join,
    Leave,
    Health,
    /// Something that cannot be granted, and the status that says so.
    Nonsense(u16),
}

pub(crate) struct RestClient {
    pub(crate) socket: usize,
    inbox: Vec<u8>,
    awaited: VecDeque<Call>,
    /// It called for the last time.
    pub(crate) is_done: bool,
    /// It does not wait for answers.
    pub(crate) is_gone: bool,
    is_ended: bool,
}

impl RestClient {
    pub(crate) fn new(socket: usize) -> Self {
        Self { socket, inbox: Vec::new(), awaited: VecDeque::new(), is_done: false, is_gone: false, is_ended: false }
    }

    pub(crate) fn is_usable(&self) -> bool {
        !self.is_done && !self.is_gone && !self.is_ended
    }

    /// Sends a call. `token` is absent for a guest.
    pub(crate) fn call(&mut self, net: &mut Network, call: Call, line: &str, token: Option<&str>, body: Option<&str>) {
        net.show("caller", '>', &format!("{line} {}", body.unwrap_or_default()));
        let mut text = format!("{line} HTTP/1.1\r\nHost: sim\r\n");
        if let Some(token) = token {
            text += &format!("Authorization: Bearer {token}\r\n");
        }
        match body {
            Some(body) => {
                text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            }
            None => text += "\r\n",
        }
        net.send(self.socket, text.as_bytes());
        self.awaited.push_back(call);
    }

    /// Ends its side; the answers it is owed must still come.
    pub(crate) fn finish(&mut self, net: &mut Network) {
        self.is_done = true;
        net.finish(self.socket);
    }

    /// Is gone without a word.
    pub(crate) fn vanish(&mut self, net: &mut Network, book: &mut RoomChecker) {
        self.is_gone = true;
        let is_unknown = |call: &&Call| matches!(call, Call::Make | Call::Close(_));
        book.unknown_calls += self.awaited.iter().filter(is_unknown).count();
        self.awaited.clear();
        net.reset(self.socket);
    }

    pub(crate) fn receive(&mut self, news: &Delivery, net: &mut Network, book: &mut RoomChecker) {
        self.inbox.extend_from_slice(&news.bytes);
        while let Some(response) = take_response(&mut self.inbox) {
            net.show("caller", '<', &format!("{} {}", response.status, response.body));
            book.tally.count(&format!("status {}", response.status));
            if response.status == 408 {
                continue;
            }
            let call = self.awaited.pop_front().unwrap_or_else(|| panic!("nobody asked for {response:?}"));
            self.judge(book, &call, response.status, &response.body);
            if response.head.contains("Connection: close") {
                self.is_ended = true;
            }
        }
        if news.is_end {
            assert!(self.inbox.is_empty(), "an answer that is not whole: {:?}", String::from_utf8_lossy(&self.inbox));
            // A server that ends the connection by itself has answered everything it read.
            let is_refused = book.is_draining || self.is_ended || !net.was_read(self.socket);
            assert!(self.awaited.is_empty() || is_refused, "calls without an answer: {:?}", self.awaited);
            let is_unknown = |call: &&Call| matches!(call, Call::Make | Call::Close(_));
            book.unknown_calls += self.awaited.iter().filter(is_unknown).count();
            self.awaited.clear();
            self.is_ended = true;
            net.finish(self.socket);
        }
    }

    fn judge(&self, book: &mut RoomChecker, call: &Call, status: u16, body: &str) {
        let json: Value = if body.is_empty() { Value::Null } else { serde_json::from_str(body).expect("JSON") };
        let allowed: &[u16] = match call {
            Call::Make => &[201, 503],
            Call::Show if book.has_store => &[200, 403, 404, 409, 503],
            Call::Show => &[200, 403, 404, 503],
            Call::Close(_) => &[204, 403, 404, 409, 503],
            Call::List => &[200],
            Call::Join => &[200, 403, 404, 409, 503],
            Call::Leave => &[200, 403, 404, 409, 503],
            Call::Health => &[200, 503],
            Call::Nonsense(expected) => &[*expected],
        };
        assert!(allowed.contains(&status), "{call:?} was answered {status} {body}");
        if status >= 400 && *call != Call::Health {
            assert!(json["error"].is_string() && json["code"].is_string(), "{call:?} was refused with {body}");
        }
        match (call, status) {
            (Call::Make, 201) => {
                let room = json["roomId"].as_str().or(json["room"]["roomId"].as_str()).expect("a room");
                assert!(book.made.insert(room.to_owned()), "{room} was made twice");
                book.ever_made.insert(room.to_owned());
            }
            (Call::Close(room), 204) => {
                book.made.remove(room);
            }
            _ => {}
        }
    }

    /// At rest nobody waits for an answer.
    pub(crate) fn check_rest(&self) {
        assert!(self.is_gone || self.awaited.is_empty(), "calls without an answer: {:?}", self.awaited);
    }
}
