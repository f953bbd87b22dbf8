//! A chat in the terminal over plain WebSocket: joins a room, prints its messages, sends each line of standard input.
//!
//! ```text
//! cargo run --example raw_chat -- 127.0.0.1:8090 tea
//! cargo run --example raw_chat -- 127.0.0.1:8090 tea TOKEN
//! ```
//!
//! A lost connection is opened again, and what was missed meanwhile comes first: see "Reconnecting and recovery" in
//! `docs/protocol.md`.

use std::collections::HashSet;
use std::error::Error;
use std::io::{ErrorKind, stdin};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

/// How often standard input is looked at while nothing arrives.
const POLL: Duration = Duration::from_millis(50);

/// Between two attempts to connect.
const RETRY: Duration = Duration::from_secs(1);

/// What is needed to go on after a lost connection.
struct Chat {
    address: String,
    room: String,
    token: Option<String>,
    recovery_token: Option<String>,
    /// Where the room's log stands: its epoch and the `seq` of the last message that was printed.
    position: Option<(String, u64)>,
    /// Messages that were printed, for a message may come again after a recovery.
    printed: HashSet<String>,
}

/// Why a connection is over.
enum End {
    /// Standard input has ended.
    Done,
    /// The connection is lost.
    Lost,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(room)) = (arguments.next(), arguments.next()) else {
        return Err("usage: raw_chat HOST:PORT ROOM [TOKEN]".into());
    };
    let (send_line, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            if send_line.send(line).is_err() {
                break;
            }
        }
    });
    let token = arguments.next();
    let mut chat = Chat { address, room, token, recovery_token: None, position: None, printed: HashSet::new() };
    loop {
        match chat.connect() {
            Ok(socket) => {
                if let End::Done = chat.talk(socket, &lines)? {
                    return Ok(());
                }
                eprintln!("connection lost");
            }
            Err(error) => eprintln!("cannot connect: {error}"),
        }
        thread::sleep(RETRY);
    }
}

impl Chat {
    fn connect(&self) -> Result<WebSocket<TcpStream>, Box<dyn Error>> {
        let stream = TcpStream::connect(&self.address)?;
        let token = self.token.as_ref().map(|token| format!("&token={token}")).unwrap_or_default();
        let url = format!("ws://{}/ws?events=all{token}", self.address);
        let (socket, _response) = tungstenite::client(url, stream)?;
        socket.get_ref().set_read_timeout(Some(POLL))?;
        Ok(socket)
    }

    /// Sends lines and prints messages until either side ends.
    fn talk(&mut self, mut socket: WebSocket<TcpStream>, lines: &Receiver<String>) -> Result<End, Box<dyn Error>> {
        let mut is_joined = false;
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    let event: Value = serde_json::from_str(&text)?;
                    is_joined |= event["type"] == "room-joined" || event["type"] == "resumed";
                    if let Some(answer) = self.hear(&event) {
                        socket.send(Message::text(answer.to_string()))?;
                    }
                }
                // Pings are answered by the library.
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if is_timeout(error.kind()) => {}
                Err(_) => return Ok(End::Lost),
            }
            if is_joined && !self.send_lines(&mut socket, lines)? {
                return close(socket);
            }
        }
    }

    /// Sends the lines that have been typed; whether more may come.
    fn send_lines(&self, socket: &mut WebSocket<TcpStream>, lines: &Receiver<String>) -> Result<bool, Box<dyn Error>> {
        loop {
            match lines.try_recv() {
                Ok(line) => {
                    let message = json!({ "type": "message", "roomId": self.room, "content": line });
                    socket.send(Message::text(message.to_string()))?;
                }
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
    }

    /// Takes an event; what is to be sent because of it.
    fn hear(&mut self, event: &Value) -> Option<Value> {
        match event["type"].as_str()? {
            "connect" => {
                let last = self.recovery_token.replace(event["recoveryToken"].as_str()?.to_owned());
                return Some(match (last, &self.position) {
                    (Some(token), Some((epoch, seq))) => json!({
                        "type": "resume",
                        "recoveryToken": token,
                        "rooms": { &self.room: { "epoch": epoch, "seq": seq } },
                    }),
                    _ => self.join(),
                });
            }
            "room-joined" => {
                println!("joined {} with {} others", self.room, event["peers"].as_array()?.len());
                self.position = Some((event["epoch"].as_str()?.to_owned(), event["seq"].as_u64()?));
            }
            "resumed" => {
                let room = &event["rooms"][&self.room];
                if room["code"].is_string() {
                    return Some(self.join());
                }
                self.position = Some((room["epoch"].as_str()?.to_owned(), room["seq"].as_u64()?));
                for message in room["messages"].as_array()? {
                    self.print(message);
                }
            }
            "message" => self.print(event),
            "peer-joined" => println!("{} joined", event["displayName"].as_str()?),
            "peer-left" => println!("{} left", event["peerId"].as_str()?),
            "error" => {
                eprintln!("{}: {}", event["code"].as_str()?, event["error"].as_str()?);
                if event["code"] == "RECOVERY_FAILED" {
                    return Some(self.join());
                }
            }
            _ => {}
        }
        None
    }

    fn join(&self) -> Value {
        json!({ "type": "join-room", "roomId": self.room })
    }

    fn print(&mut self, message: &Value) {
        if let (Some((_, known)), Some(seq)) = (&mut self.position, message["seq"].as_u64()) {
            *known = seq.max(*known);
        }
        let id = message["id"].as_str().unwrap_or_default();
        if self.printed.insert(id.to_owned()) {
            let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
            println!("{}: {}", text("sender"), text("content"));
        }
    }
}

/// Closes and waits until the server has closed, too.
fn close(mut socket: WebSocket<TcpStream>) -> Result<End, Box<dyn Error>> {
    socket.close(None)?;
    loop {
        match socket.read() {
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if is_timeout(error.kind()) => {}
            Err(_) => return Ok(End::Done),
        }
    }
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
