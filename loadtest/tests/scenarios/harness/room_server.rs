//! A minimal room server in the `raw` dialect, with faults on demand.

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use tungstenite::Message;

/// How often a message is delivered, by the number of the receiver (from 0, without the sender, as they joined) and
/// that of the message in its room (from 1).
pub(crate) type Copies = fn(usize, u64) -> usize;

type Rooms = Arc<Mutex<HashMap<String, Room>>>;

#[derive(Default)]
struct Room {
    members: Vec<TcpStream>,
    messages: u64,
}

/// Starts a server on a free port of loopback.
pub(crate) fn serve(copies: Copies) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("its address");
    let rooms = Rooms::default();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), rooms) = (stream, rooms.clone()) else { return };
            thread::spawn(move || attend(&stream, &rooms, copies));
        }
    });
    address
}

fn attend(stream: &TcpStream, rooms: &Rooms, copies: Copies) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut socket = tungstenite::accept(stream.try_clone().ok()?).ok()?;
    loop {
        let Message::Text(text) = socket.read().ok()? else { continue };
        let said: Value = serde_json::from_str(text.as_str()).expect("it is JSON");
        let name = said["roomId"].as_str().expect("a room");
        let mut rooms = rooms.lock().expect("nobody panicked");
        let room = rooms.entry(name.to_owned()).or_default();
        if said["type"] == "join-room" {
            room.members.push(stream.try_clone().ok()?);
            write(stream, &format!(r#"{{"type":"room-joined","roomId":"{name}"}}"#));
            continue;
        }
        room.messages += 1;
        let message = format!(r#"{{"type":"message","roomId":"{name}","content":{}}}"#, said["content"]);
        let own = stream.peer_addr().ok();
        let others = room.members.iter().filter(|member| member.peer_addr().ok() != own);
        for (number, member) in others.enumerate() {
            (0..copies(number, room.messages)).for_each(|_| write(member, &message));
        }
    }
}

/// Writes a frame of at most 64 KiB; all do so while they hold the rooms.
pub(crate) fn write(mut stream: &TcpStream, text: &str) {
    let mut frame = vec![0x81, 126];
    frame.extend_from_slice(&u16::try_from(text.len()).expect("a small message").to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    let _ = stream.write_all(&frame);
}
