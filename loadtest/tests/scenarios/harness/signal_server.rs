//! A minimal signaling server in the `raw` dialect, with faults on demand.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use tungstenite::Message;

use super::room_server::write;

/// What is done with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// It is passed on.
    Once,
    /// It is passed on twice.
    Twice,
    /// It is dropped.
    Never,
    /// It is passed on after the next one to the same peer.
    AfterNext,
    /// It is passed on with another description.
    Changed,
    /// It is refused.
    Refused,
}

type Rooms = Arc<Mutex<HashMap<String, Vec<Peer>>>>;

struct Peer {
    name: String,
    stream: TcpStream,
    /// Signals that were for it.
    signals: u64,
    kept: Option<String>,
}

/// Starts a server on a free port of loopback. `pass` says what is done with a signal, by the name of the peer that it
/// is for and its number among those for that peer, from 1.
pub(crate) fn serve(pass: fn(&str, u64) -> Pass) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("its address");
    let rooms = Rooms::default();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), rooms) = (stream, rooms.clone()) else { return };
            thread::spawn(move || attend(&stream, &rooms, pass));
        }
    });
    address
}

fn attend(stream: &TcpStream, rooms: &Rooms, pass: fn(&str, u64) -> Pass) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut socket = tungstenite::accept(stream.try_clone().ok()?).ok()?;
    loop {
        let Message::Text(text) = socket.read().ok()? else { continue };
        let said: Value = serde_json::from_str(text.as_str()).expect("it is JSON");
        let (room, name) = (said["roomId"].as_str().expect("a room"), said["peerId"].as_str());
        let mut rooms = rooms.lock().expect("nobody panicked");
        let peers = rooms.entry(room.to_owned()).or_default();
        match (said["type"].as_str(), name) {
            (Some("join-room"), Some(name)) => {
                let others: Vec<_> = peers.iter().map(|peer| format!(r#"{{"peerId":"{}"}}"#, peer.name)).collect();
                let (own, others) = (format!(r#""peerId":"{name}""#), others.join(","));
                write(stream, &format!(r#"{{"type":"room-joined","roomId":"{room}",{own},"peers":[{others}]}}"#));
                let stream = stream.try_clone().ok()?;
                peers.push(Peer { name: name.to_owned(), stream, signals: 0, kept: None });
            }
            (Some("leave-room"), Some(name)) => {
                peers.retain(|peer| peer.name != name);
                write(stream, &format!(r#"{{"type":"room-left","roomId":"{room}"}}"#));
            }
            _ => {
                let to = peers.iter_mut().find(|peer| said["toPeerId"] == peer.name).expect("a peer");
                if !to.hear(text.as_str(), pass) {
                    write(stream, r#"{"type":"error","error":"No","code":"FORBIDDEN"}"#);
                }
            }
        }
    }
}

impl Peer {
    /// Whether the signal was not refused.
    fn hear(&mut self, signal: &str, pass: fn(&str, u64) -> Pass) -> bool {
        self.signals += 1;
        let late = self.kept.take();
        match pass(&self.name, self.signals) {
            Pass::Once => write(&self.stream, signal),
            Pass::Twice => (0..2).for_each(|_| write(&self.stream, signal)),
            Pass::Never => {}
            Pass::AfterNext => self.kept = Some(signal.to_owned()),
            Pass::Changed => write(&self.stream, &signal.replace("opus", "opuS")),
            Pass::Refused => return false,
        }
        late.iter().for_each(|late| write(&self.stream, late));
        true
    }
}
