//! An HTTP/1.1 client that writes what it is told, right or wrong, and reads answers one by one.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::Value;

use super::client::PATIENCE;

/// One connection.
pub struct Http {
    stream: TcpStream,
    /// What came and was not read yet.
    buffer: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Http {
    /// Connects.
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        Self { stream, buffer: Vec::new() }
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server reads");
    }

    /// Writes bytes, if the server still takes them.
    pub fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// The same socket once more, to write while answers are awaited.
    pub fn clone_writer(&self) -> TcpStream {
        self.stream.try_clone().expect("a descriptor")
    }

    /// Ends our side of the stream.
    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("it is open");
    }

    /// Sends one request with these header lines and this body, and reads its answer.
    pub fn ask(&mut self, method: &str, path: &str, headers: &[&str], body: Option<&str>) -> Response {
        self.write(request(method, path, headers, body));
        self.answer_to(method)
    }

    /// The next answer.
    pub fn answer(&mut self) -> Response {
        self.answer_to("GET")
    }

    /// The next answer, to a request with this method.
    pub fn answer_to(&mut self, method: &str) -> Response {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.read_more(), "the connection ended before an answer: {:?}", self.rest());
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).expect("a head is text");
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).expect("a status line");
        let status = status.parse().expect("a status");
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header line");
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let mut response = Response { status, headers: lines.map(header).collect(), body: Vec::new() };
        let length = response.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        if method != "HEAD" {
            while self.buffer.len() < length {
                assert!(self.read_more(), "the connection ended within a body");
            }
            response.body = self.buffer.drain(..length).collect();
        }
        response
    }

    /// Reads to the end of the stream; what came before it.
    pub fn rest(&mut self) -> String {
        while self.read_more() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned()
    }

    /// Reads some bytes; at least one, unless the stream is at its end.
    pub fn read_some(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() {
            self.read_more();
        }
        std::mem::take(&mut self.buffer)
    }

    fn read_more(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            // A stopped and continued process leaves a read with a timeout without a result.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => self.read_more(),
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                count > 0
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("nothing came in {PATIENCE:?}"),
            // A reset is an end, too: the server had closed while bytes were on their way to it.
            Err(_) => false,
        }
    }
}

impl Response {
    /// The value of the first header of this name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `code` in the body.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A request as bytes: `Host` and, with a body, its length and type are added.
pub fn request(method: &str, path: &str, headers: &[&str], body: Option<&str>) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: switchboard.test\r\n");
    for line in headers {
        text.push_str(line);
        text.push_str("\r\n");
    }
    if let Some(body) = body {
        text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    text + "\r\n" + body.unwrap_or_default()
}

/// The header line that carries a token.
pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// One request on a connection of its own.
pub fn ask(address: &str, method: &str, path: &str, headers: &[&str], body: Option<&str>) -> Response {
    Http::connect(address).ask(method, path, headers, body)
}
