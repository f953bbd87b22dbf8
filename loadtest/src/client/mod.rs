//! One client of a server under load: `raw` and plain WebSocket clients, and Socket.IO 5 over both of its transports.
//!
//! It is sans-IO. It holds no socket, knows no clock and no randomness: whoever owns the sockets tells it what happened
//! to them, and does what it asks for through [`Effects`]. A lane is one TCP connection; a WebSocket client has one, a
//! polling client two, one for its long `GET` and one for its `POST`s.
//!
//! It promises:
//!
//! - **Reading is cheap.** What lies whole in the input is handed on from where it lies; only an incomplete tail is
//!   kept, and nothing is allocated per message. It trusts the text it hands on: neither UTF-8 nor JSON is checked.
//! - **Any split of the input gives the same effects.**
//! - **What breaks the protocol closes the client**, and [`Client::reason`] says what it was. Memory follows the bytes
//!   that came, up to a bound, never what a header announced.
//!
//! It does not reconnect, and it does not notice that a server has gone silent.

mod engineio;
mod frame;
mod http;
mod polling;
mod reason;
mod settings;
mod socketio;
mod websocket;

#[cfg(test)]
mod tests;

pub use reason::Reason;
pub use settings::{Dialect, Settings, Transport};

use polling::Polling;
use websocket::WebSocket;

/// Largest message that is accepted from a server; enough for whatever a load run has it send.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A frame or a request on its way out: on the stack unless it is large.
type Scratch = smallvec::SmallVec<[u8; 1024]>;

/// What a client asks of its owner. None of these may call back into the client; what they lead to is told later.
pub trait Effects {
    /// Connect this lane. [`Client::connected`] or [`Client::ended`] follows.
    fn open(&mut self, lane: u8);
    /// Send these bytes on the lane, after those of before.
    fn write(&mut self, lane: u8, bytes: &[u8]);
    /// Close the lane; what was written before may still go out. The client is told nothing more about that stream, and
    /// may open the lane again.
    fn close(&mut self, lane: u8);
    /// The application may send.
    fn opened(&mut self);
    /// A message came. Raw and plain: a frame's payload. Socket.IO: an event's, or an ack's, JSON array.
    fn message(&mut self, text: &[u8]);
    /// It is over. Told once, and the last thing that is.
    fn closed(&mut self);
}

/// One client.
pub struct Client {
    link: Link,
    /// Why it is closed, once it is.
    reason: Option<Reason>,
    is_leaving: bool,
}

enum Link {
    WebSocket(WebSocket),
    Polling(Box<Polling>),
}

impl Client {
    /// A client that has yet to start. `number` and `token` are filled into the settings' templates.
    pub fn new(settings: &Settings, number: usize, token: Option<&str>) -> Self {
        let link = match (settings.dialect, settings.transport) {
            (Dialect::SocketIo, Transport::Polling) => {
                Link::Polling(Box::new(Polling::new(&settings.fill(number, token))))
            }
            _ => Link::WebSocket(WebSocket::new(&settings.fill(number, token))),
        };
        Self { link, reason: None, is_leaving: false }
    }

    /// Opens its lanes.
    pub fn start(&mut self, effects: &mut impl Effects) {
        match &mut self.link {
            Link::WebSocket(link) => link.start(effects),
            Link::Polling(link) => link.start(effects),
        }
    }

    /// The lane's TCP connection is there.
    pub fn connected(&mut self, lane: u8, effects: &mut impl Effects) {
        if self.reason.is_some() {
            return;
        }
        match &mut self.link {
            Link::WebSocket(link) => link.connected(effects),
            Link::Polling(link) => link.connected(lane, effects),
        }
    }

    /// Bytes came on the lane, however the network cut them.
    #[inline]
    pub fn received(&mut self, lane: u8, bytes: &[u8], effects: &mut impl Effects) {
        if self.reason.is_some() {
            return;
        }
        let outcome = match &mut self.link {
            Link::WebSocket(link) => link.received(bytes, effects),
            Link::Polling(link) => link.received(lane, bytes, effects),
        };
        if let Err(reason) = outcome {
            self.finish(reason, effects);
        }
    }

    /// The lane's stream ended, or could not be connected.
    pub fn ended(&mut self, lane: u8, effects: &mut impl Effects) {
        if self.reason.is_some() {
            return;
        }
        let outcome = match &mut self.link {
            Link::WebSocket(link) => link.ended(),
            Link::Polling(link) => link.ended(lane),
        };
        if let Err(reason) = outcome {
            self.finish(reason, effects);
        }
    }

    /// Sends one application message. For Socket.IO that is an event's JSON array, with the number of the ack it asks
    /// for before it, if any. Before [`Effects::opened`] and after [`Effects::closed`] it goes nowhere.
    #[inline]
    pub fn send(&mut self, text: &[u8], effects: &mut impl Effects) {
        if self.reason.is_some() || self.is_leaving {
            return;
        }
        match &mut self.link {
            Link::WebSocket(link) => link.send(text, effects),
            Link::Polling(link) => link.send(text, effects),
        }
    }

    /// Says goodbye. It is closed when the server has ended a WebSocket, or has answered a request, or at once if there is
    /// nobody to say it to.
    pub fn leave(&mut self, effects: &mut impl Effects) {
        if self.reason.is_some() || self.is_leaving {
            return;
        }
        self.is_leaving = true;
        let outcome = match &mut self.link {
            Link::WebSocket(link) => link.leave(effects),
            Link::Polling(link) => link.leave(effects),
        };
        if let Err(reason) = outcome {
            self.finish(reason, effects);
        }
    }

    /// Bytes of messages that wait for a request which may carry them. It grows as long as more is sent than the server
    /// takes: whoever sends without waiting for answers looks at it.
    #[inline]
    pub fn waiting_bytes(&self) -> usize {
        match &self.link {
            Link::WebSocket(_) => 0,
            Link::Polling(link) => link.waiting_bytes(),
        }
    }

    /// Why it is closed; `None` while it is not.
    pub fn reason(&self) -> Option<&Reason> {
        self.reason.as_ref()
    }

    #[cold]
    fn finish(&mut self, reason: Reason, effects: &mut impl Effects) {
        // However a server takes a goodbye, it was the client's.
        self.reason = Some(if self.is_leaving { Reason::Gone } else { reason });
        match &mut self.link {
            Link::WebSocket(link) => link.close(effects),
            Link::Polling(link) => link.close(effects),
        }
        effects.closed();
    }
}
