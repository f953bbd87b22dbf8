//! Streams under a server that is killed: publishers go on where the text ends, readers join late, reload and lose their
//! connections, and all have the same texts at the end. `SWITCHBOARD_STREAMS=n` streams `n` messages instead of the usual number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::{start, times};
use support::directory::Directory;
use support::lossy_client::{ConnectionLost, Cut, LossyClient};
use support::process::wait_until;
use support::room_log::{number, room_name, text};

const SIGKILL: i32 = 9;

/// Streams of one room, and pieces of each.
const PER_ROOM: usize = 10;
const PIECES: usize = 40;

/// Requests of a publisher that wait for their answers.
const WINDOW: usize = 64;

/// A piece of a text: each stream has its own.
fn piece(stream: usize, at: usize) -> String {
    ["a ", "\u{e9}", "\u{1f600}", "word ", ""][(stream + at) % 5].to_owned() + &at.to_string()
}

/// The whole text of a stream.
fn whole(stream: usize) -> String {
    format!("{stream}:") + &(0..PIECES).map(|at| piece(stream, at)).collect::<String>()
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The text with a piece at an offset.
fn with_piece(text: &str, offset: usize, piece: &str) -> String {
    let mut all: Vec<u16> = text.encode_utf16().collect();
    assert!(offset <= all.len(), "a piece at {offset} leaves a gap after {text:?}");
    all.truncate(offset);
    all.extend(piece.encode_utf16());
    String::from_utf16(&all).expect("pieces are whole characters")
}

/// Connects as soon as there is a server.
fn connect(address: &str, user: &str) -> LossyClient {
    let mut line = None;
    wait_until("the server listens", || {
        line = LossyClient::connect(address, user).ok();
        line.is_some()
    });
    line.expect("it is connected")
}

/// A message that one publisher streams.
struct Streamed {
    stream: usize,
    id: String,
    /// The text that the server has, or will have when it has answered.
    text: String,
    next: usize,
    is_whole: bool,
}

/// Streams the messages of one room.
struct Publisher<'a> {
    address: &'a str,
    room: usize,
    line: LossyClient,
    streams: Vec<Streamed>,
    waiting: usize,
    /// Pieces that the server has acknowledged, of all publishers.
    acknowledged: &'a AtomicUsize,
}

impl<'a> Publisher<'a> {
    fn new(address: &'a str, room: usize, acknowledged: &'a AtomicUsize) -> Self {
        let streams = (0..PER_ROOM).map(|at| {
            let stream = room * PER_ROOM + at;
            Streamed { stream, id: String::new(), text: String::new(), next: 0, is_whole: false }
        });
        let (line, streams) = (connect(address, &format!("publisher-{room}")), streams.collect());
        Self { address, room, line, streams, waiting: 0, acknowledged }
    }

    fn run(mut self) {
        let mut is_known = false;
        while self.streams.iter().any(|streamed| !streamed.is_whole) {
            let outcome = if is_known { self.publish() } else { self.find() };
            is_known = outcome.is_ok();
            if outcome.is_err() {
                self.line = connect(self.address, &format!("publisher-{}", self.room));
            }
        }
    }

    /// Opens the streams, or finds those that are there, with their texts.
    fn find(&mut self) -> Result<(), ConnectionLost> {
        self.waiting = 0;
        let room = room_name(self.room);
        self.line.send(&json!({ "type": "join-room", "roomId": room }))?;
        self.line.wait_for("room-joined", drop)?;
        for streamed in &mut self.streams {
            let opening = format!("{}:", streamed.stream);
            let client_id = format!("stream-{}", streamed.stream);
            let message = json!({ "type": "message", "roomId": room, "content": opening, "status": "streaming",
                "clientMessageId": client_id });
            self.line.send(&message)?;
            streamed.id = text(&self.line.wait_for("message-sent", drop)?, "id");
        }
        self.line.send(&json!({ "type": "history", "roomId": room, "limit": 100 }))?;
        let history = self.line.wait_for("history", drop)?;
        for message in history["messages"].as_array().expect("a list") {
            let streamed = self.streams.iter_mut().find(|streamed| streamed.id == text(message, "id"));
            let streamed = streamed.unwrap_or_else(|| panic!("each message is one of the streams: {message}"));
            streamed.text = text(message, "content");
            streamed.is_whole = message["status"] == "complete";
            assert!(whole(streamed.stream).starts_with(&streamed.text), "no text is lost or there twice: {message}");
            let lengths = (0..=PIECES).map(|next| {
                let known = (0..next).map(|at| piece(streamed.stream, at).len()).sum::<usize>();
                (next, format!("{}:", streamed.stream).len() + known)
            });
            let next = lengths.filter(|(_, length)| *length == streamed.text.len()).map(|(next, _)| next).max();
            streamed.next = next.unwrap_or_else(|| panic!("pieces are stored whole: {message}"));
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<(), ConnectionLost> {
        while let Some(streamed) =
            self.streams.iter_mut().filter(|it| !it.is_whole && it.next <= PIECES).min_by_key(|it| it.next)
        {
            let mut request = json!({ "type": "message-append", "roomId": room_name(self.room),
                "messageId": streamed.id, "offset": units(&streamed.text) });
            if streamed.next < PIECES {
                let piece = piece(streamed.stream, streamed.next);
                request["content"] = json!(piece);
                streamed.text += &piece;
            } else {
                request["status"] = json!("complete");
            }
            streamed.next += 1;
            self.line.send(&request)?;
            self.waiting += 1;
            while self.waiting >= WINDOW {
                self.take_answer()?;
            }
        }
        while self.waiting > 0 {
            self.take_answer()?;
        }
        self.streams.iter_mut().for_each(|streamed| streamed.is_whole = true);
        Ok(())
    }

    fn take_answer(&mut self) -> Result<(), ConnectionLost> {
        let answer = self.line.next()?;
        match answer["type"].as_str() {
            Some("message-sent") => {
                self.waiting -= 1;
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Some("error") => panic!("a piece is refused: {answer}"),
            _ => {}
        }
        Ok(())
    }
}

/// What a reader does besides reading.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Nothing else.
    Stays,
    /// Loses its connection after so many events, and resumes.
    Loses(usize),
    /// Forgets everything after so many events, and joins again.
    Reloads(usize),
}

/// Reads the streams of all rooms.
#[derive(Default)]
struct Reader {
    texts: BTreeMap<String, (String, bool)>,
    /// Epoch and number by room.
    positions: BTreeMap<String, (String, u64)>,
}

impl Reader {
    fn take(&mut self, event: &Value) {
        let is_complete = event["status"] == "complete";
        match event["type"].as_str() {
            Some("message") => {
                self.texts.insert(text(event, "id"), (text(event, "content"), is_complete));
            }
            Some("message-appended") => {
                let id = text(event, "messageId");
                let (known, status) = self.texts.get_mut(&id).unwrap_or_else(|| panic!("an unknown stream: {event}"));
                *known = with_piece(known, number(event, "offset") as usize, &text(event, "content"));
                *status = is_complete;
            }
            _ => return,
        }
        if let Some((_, seq)) = self.positions.get_mut(&text(event, "roomId")) {
            *seq = number(event, "seq");
        }
    }

    fn join(&mut self, line: &mut LossyClient, room: &str) -> Result<(), ConnectionLost> {
        line.send(&json!({ "type": "join-room", "roomId": room, "rewind": 100 }))?;
        let joined = line.wait_for("room-joined", |event| self.take(&event))?;
        self.positions.insert(room.to_owned(), (text(&joined, "epoch"), number(&joined, "seq")));
        Ok(())
    }

    fn resume(&mut self, line: &mut LossyClient, token: &str, rooms: &[String]) -> Result<(), ConnectionLost> {
        let known = self.positions.iter().map(|(room, (epoch, seq))| (room, json!({ "epoch": epoch, "seq": seq })));
        let known: BTreeMap<_, _> = known.collect();
        line.send(&json!({ "type": "resume", "recoveryToken": token, "rooms": known }))?;
        let answer = loop {
            let answer = line.next()?;
            match answer["type"].as_str() {
                Some("resumed" | "error") => break answer,
                _ => self.take(&answer),
            }
        };
        for room in rooms {
            let back = &answer["rooms"][room];
            match back["recovered"] == true {
                true => back["messages"].as_array().expect("a list").iter().for_each(|message| self.take(message)),
                false => self.join(line, room)?,
            }
        }
        Ok(())
    }

    /// Reads until so many streams are complete.
    fn read(address: &str, user: &str, rooms: &[String], habit: Habit) -> BTreeMap<String, (String, bool)> {
        let (mut reader, mut token) = (Self::default(), None::<String>);
        loop {
            let mut line = connect(address, user);
            let lost = token.replace(line.token());
            let begun = match lost {
                Some(lost) if reader.positions.len() == rooms.len() => reader.resume(&mut line, &lost, rooms),
                _ => rooms.iter().try_for_each(|room| reader.join(&mut line, room)),
            };
            if begun.is_ok() && reader.follow(&mut line, rooms.len() * PER_ROOM, habit) {
                return reader.texts;
            }
            line.cut(Cut::Reset);
            if matches!(habit, Habit::Reloads(_)) {
                reader = Self::default();
            }
        }
    }

    /// Follows a connection; whether all streams are complete.
    fn follow(&mut self, line: &mut LossyClient, streams: usize, habit: Habit) -> bool {
        let most = match habit {
            Habit::Stays => usize::MAX,
            Habit::Loses(most) | Habit::Reloads(most) => most,
        };
        for _ in 0..most {
            if self.texts.len() == streams && self.texts.values().all(|(_, is_complete)| *is_complete) {
                return true;
            }
            match line.next() {
                Ok(event) => self.take(&event),
                Err(ConnectionLost) => return false,
            }
        }
        false
    }
}

#[test]
fn streams_are_the_same_for_all_readers_after_kills() {
    let rooms = times("SWITCHBOARD_STREAMS", 60).div_ceil(PER_ROOM).max(1);
    let names: Vec<String> = (0..rooms).map(room_name).collect();
    let (directory, settings) =
        (Directory::new(), ["limits.cost_per_user=0", "limits.cost_per_ip=0", "limits.rooms_per_connection=0"]);
    let mut server = start("127.0.0.1:0", &directory, &settings);
    let address = server.address.clone();
    let (acknowledged, total) = (AtomicUsize::new(0), rooms * PER_ROOM * (PIECES + 1));
    let (address, acknowledged, names) = (&address, &acknowledged, &names);
    std::thread::scope(|scope| {
        let habits = [Habit::Stays, Habit::Loses(37), Habit::Reloads(200 + 2 * rooms * PER_ROOM), Habit::Stays];
        let readers = habits.into_iter().enumerate().map(|(at, habit)| {
            scope.spawn(move || {
                if at == 3 {
                    wait_until("half of the pieces are there", || acknowledged.load(Ordering::Relaxed) >= total / 2);
                }
                Reader::read(address, &format!("reader-{at}"), names, habit)
            })
        });
        let readers: Vec<_> = readers.collect();
        let publishers = (0..rooms).map(|room| scope.spawn(move || Publisher::new(address, room, acknowledged).run()));
        let publishers: Vec<_> = publishers.collect();
        for part in [4, 2] {
            wait_until("pieces are acknowledged", || acknowledged.load(Ordering::Relaxed) >= total / part);
            server.signal(SIGKILL);
            server.wait(Duration::from_secs(10));
            server = start(address, &directory, &settings);
        }
        publishers.into_iter().for_each(|publisher| publisher.join().expect("it has published all"));
        for reader in readers {
            let texts = reader.join().expect("it has read all");
            assert_eq!(texts.len(), rooms * PER_ROOM, "each stream is one message");
            let mut texts: Vec<String> = texts.into_values().map(|(text, _)| text).collect();
            let mut expected: Vec<String> = (0..rooms * PER_ROOM).map(whole).collect();
            texts.sort();
            expected.sort();
            assert_eq!(texts, expected);
        }
    });
}
