//! A raw client whose server may be gone at any moment: each call succeeds or reports the connection as lost.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::SockRef;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use super::client::PATIENCE;
use super::server::token;

/// The connection is no more.
#[derive(Debug)]
pub struct ConnectionLost;

/// One connection.
pub struct LossyClient {
    socket: WebSocket<TcpStream>,
    /// What it was greeted with.
    pub hello: Value,
}

/// Ways in which a connection ends without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server's kernel is told by a reset.
    Reset,
    /// The client's side of the stream ends, and then the rest of it.
    Ended,
    /// The server is told nothing, and goes on writing to a socket that nobody reads.
    Silent,
}

impl LossyClient {
    /// Connects as `user`.
    pub fn connect(address: &str, user: &str) -> Result<Self, ConnectionLost> {
        let url = format!("ws://{address}/ws?events=all&token={}", token(user, &json!({})));
        let stream = TcpStream::connect(address).map_err(|_| ConnectionLost)?;
        stream.set_nodelay(true).map_err(|_| ConnectionLost)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|_| ConnectionLost)?;
        let request = url.into_client_request().expect("a request");
        let (socket, _) = tungstenite::client(request, stream).map_err(|error| match error {
            HandshakeError::Failure(_) => ConnectionLost,
            HandshakeError::Interrupted(_) => panic!("the handshake took longer than {PATIENCE:?}"),
        })?;
        let mut line = Self { socket, hello: Value::Null };
        line.hello = line.next()?;
        assert_eq!(line.hello["type"], "connect", "the first message");
        Ok(line)
    }

    /// What it takes to come back after this connection.
    pub fn token(&self) -> String {
        self.hello["recoveryToken"].as_str().expect("a token").to_owned()
    }

    /// Sends one JSON object.
    pub fn send(&mut self, message: &Value) -> Result<(), ConnectionLost> {
        self.socket.send(Message::text(message.to_string())).map_err(|_| ConnectionLost)
    }

    /// The next message.
    pub fn next(&mut self) -> Result<Value, ConnectionLost> {
        let next = self.next_within(PATIENCE)?;
        Ok(next.unwrap_or_else(|| panic!("nothing came in {PATIENCE:?}")))
    }

    /// The next message, if it comes in so short a time.
    pub fn next_within(&mut self, time: Duration) -> Result<Option<Value>, ConnectionLost> {
        self.socket.get_mut().set_read_timeout(Some(time)).map_err(|_| ConnectionLost)?;
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(Some(serde_json::from_str(&text).expect("it is JSON"))),
                Ok(Message::Close(_)) => return Err(ConnectionLost),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(_) => return Err(ConnectionLost),
            }
        }
    }

    /// The next message of that type; whatever else comes is given to `other`.
    pub fn wait_for(&mut self, kind: &str, mut other: impl FnMut(Value)) -> Result<Value, ConnectionLost> {
        loop {
            let message = self.next()?;
            if message["type"] == kind {
                return Ok(message);
            }
            other(message);
        }
    }

    /// Says goodbye, and waits until that is answered.
    pub fn leave(mut self) {
        let _ = self.socket.close(None);
        while self.socket.read().is_ok() {}
    }

    /// Ends the connection without a word of the protocol; what has to stay open for that is given back.
    pub fn cut(self, cut: Cut) -> Option<TcpStream> {
        let stream = self.socket.get_ref();
        match cut {
            Cut::Reset => SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("an option"),
            // It may have ended from the other side.
            Cut::Ended => drop(stream.shutdown(Shutdown::Write)),
            Cut::Silent => return Some(stream.try_clone().expect("a descriptor")),
        }
        None
    }
}
