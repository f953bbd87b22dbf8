//! Hundreds of clients lose their connections at random under load and recover: each has every message of its rooms
//! once and in order, and no other client is affected.

use std::net::TcpStream;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};
use switchboard::base::rng::Rng;

use crate::times;
use support::lossy_client::{ConnectionLost, Cut, LossyClient};
use support::room_log::{number, room_name, text};
use support::server::Server;

const LISTENERS: usize = 200;
const ROOMS: usize = 4;

/// How often each listener is cut off, unless `SWITCHBOARD_CUTS` says otherwise.
const CUTS: usize = 8;

/// Between two messages of a room.
const PACE: Duration = Duration::from_millis(5);

/// What a room's speaker says at last.
const END: &str = "the end";

/// A room as a listener has it. Its messages say their own number, so that whatever is heard can be judged at once.
struct RoomView {
    room: usize,
    epoch: String,
    /// The last message that was heard.
    seq: u64,
    is_over: bool,
}

impl RoomView {
    fn hear(&mut self, message: &Value, by: &str) {
        let seq = number(message, "seq");
        assert_eq!(seq, self.seq + 1, "{by} heard {message} after {}", self.seq);
        self.seq = seq;
        match message["content"].as_str() {
            Some(END) => self.is_over = true,
            content => assert_eq!(content, Some(seq.to_string().as_str()), "{by}"),
        }
    }
}

/// Somebody who listens in two rooms and is cut off now and then.
struct Listener {
    user: String,
    places: Vec<RoomView>,
    rng: Rng,
    /// What may open the way back, the oldest first.
    tokens: Vec<String>,
    /// Sockets that the server was told nothing of.
    silent: Vec<TcpStream>,
    /// How often there was no way back, because the answer to the one before was cut off.
    anew: usize,
}

impl Listener {
    fn new(number: usize) -> Self {
        let place = |room| RoomView { room, epoch: String::new(), seq: 0, is_over: false };
        Self {
            user: format!("listener-{number}"),
            places: vec![place(number % ROOMS), place((number + 1) % ROOMS)],
            rng: Rng::from_seed(number as u64),
            tokens: Vec::new(),
            silent: Vec::new(),
            anew: 0,
        }
    }

    /// Comes for the first time.
    fn come(&mut self, address: &str) -> LossyClient {
        let mut line = LossyClient::connect(address, &self.user).expect("the server listens");
        self.tokens.push(line.token());
        for place in &mut self.places {
            let joined = join(&mut line, place.room, &self.user, &mut drop).expect("it lives");
            (place.epoch, place.seq) = (text(&joined, "epoch"), number(&joined, "seq"));
        }
        line
    }

    /// Listens, is cut off, and comes back, some times; then to the end.
    fn listen(&mut self, address: &str, mut line: LossyClient, at_rest: &AtomicUsize) {
        for _ in 0..times("SWITCHBOARD_CUTS", CUTS) {
            for _ in 0..self.rng.below(20) {
                let message = line.next().expect("nobody cuts it off but itself");
                self.hear(&message);
            }
            let cut = self.any_cut();
            self.silent.extend(line.cut(cut));
            line = self.come_back(address);
        }
        at_rest.fetch_add(1, Ordering::Relaxed);
        while self.places.iter().any(|place| !place.is_over) {
            let message = line.next().expect("nobody cuts it off");
            self.hear(&message);
        }
    }

    fn any_cut(&mut self) -> Cut {
        [Cut::Reset, Cut::Ended, Cut::Silent][self.rng.below(3) as usize]
    }

    fn hear(&mut self, message: &Value) {
        if matches!(message["type"].as_str(), Some("peer-joined" | "peer-left")) {
            return; // The speakers, who are in every room from the beginning, judge those.
        }
        assert_eq!(message["type"], "message", "{} did not expect {message}", self.user);
        let name = text(message, "roomId");
        let place = self.places.iter_mut().find(|place| room_name(place.room) == name).expect("a room of theirs");
        place.hear(message, &self.user);
    }

    fn come_back(&mut self, address: &str) -> LossyClient {
        loop {
            let mut line = LossyClient::connect(address, &self.user).expect("the server listens");
            self.tokens.push(line.token());
            if self.rng.below(6) == 0 {
                // Cut off once more, in the middle of it.
                line.send(&self.resumption(&self.tokens[0])).expect("it goes out");
                let cut = self.any_cut();
                self.silent.extend(line.cut(cut));
                continue;
            }
            if self.resume(&mut line).is_err() {
                continue;
            }
            self.tokens.drain(..self.tokens.len() - 1);
            return line;
        }
    }

    fn resumption(&self, token: &str) -> Value {
        let has = |place: &RoomView| (room_name(place.room), json!({ "epoch": place.epoch, "seq": place.seq }));
        let rooms: Map<String, Value> = self.places.iter().map(has).collect();
        json!({ "type": "resume", "recoveryToken": token, "ownMessages": true, "rooms": rooms })
    }

    /// Tries every token. The first one works unless the answer to a later attempt was lost on its way.
    fn resume(&mut self, line: &mut LossyClient) -> Result<(), ConnectionLost> {
        let was_cut_off = self.tokens.len() > 2;
        for token in &self.tokens[..self.tokens.len() - 1] {
            line.send(&self.resumption(token))?;
            let answer = line.next()?;
            if answer["type"] == "resumed" {
                let is_whole =
                    self.places.iter().all(|place| answer["rooms"][room_name(place.room)]["recovered"] == true);
                assert!(is_whole || was_cut_off, "{} is back without {answer}", self.user);
                for place in self.places.iter_mut() {
                    let back = &answer["rooms"][room_name(place.room)];
                    let messages = back["messages"].as_array().expect("a list");
                    messages.iter().for_each(|message| place.hear(message, &self.user));
                    assert!(
                        back["recovered"] == false || place.seq == number(back, "seq"),
                        "{} of {answer}",
                        self.user
                    );
                }
                if is_whole {
                    return Ok(());
                }
            } else {
                assert_eq!(answer["code"], "RECOVERY_FAILED", "{}: {answer}", self.user);
                assert!(was_cut_off, "{} cannot come back", self.user);
            }
        }
        self.anew += 1;
        self.join_anew(line)
    }

    /// Without a way back: joins, and reads in the history what was missed.
    fn join_anew(&mut self, line: &mut LossyClient) -> Result<(), ConnectionLost> {
        let mut heard = Vec::new();
        for at in 0..self.places.len() {
            let (room, after) = (self.places[at].room, self.places[at].seq);
            join(line, room, &self.user, &mut |message| heard.push(message))?;
            line.send(&json!({ "type": "history", "roomId": room_name(room), "after": after, "limit": 500 }))?;
            let page = line.wait_for("history", |message| heard.push(message))?;
            assert_eq!(page["complete"], true, "more than a page was missed");
            for message in page["messages"].as_array().expect("a list") {
                self.places[at].hear(message, &self.user);
            }
        }
        for message in heard {
            let name = text(&message, "roomId");
            let place = self.places.iter().find(|place| room_name(place.room) == name).expect("a room of theirs");
            if message["type"] == "message" && number(&message, "seq") > place.seq {
                self.hear(&message);
            }
        }
        Ok(())
    }
}

fn join(
    line: &mut LossyClient,
    room: usize,
    peer: &str,
    other: &mut dyn FnMut(Value),
) -> Result<Value, ConnectionLost> {
    line.send(&json!({ "type": "join-room", "roomId": room_name(room), "peerId": peer }))?;
    line.wait_for("room-joined", other)
}

/// Speaks in a room until all are at rest, and a last time; what it heard besides its receipts.
fn speak(line: &mut LossyClient, room: usize, at_rest: &AtomicUsize) -> (u64, Vec<Value>) {
    let (mut seq, mut noise) = (0, Vec::new());
    loop {
        let is_last = at_rest.load(Ordering::Relaxed) == LISTENERS;
        let content = if is_last { END.to_owned() } else { (seq + 1).to_string() };
        line.send(&json!({ "type": "message", "roomId": room_name(room), "content": content })).expect("it lives");
        let receipt = line.wait_for("message-sent", |message| noise.push(message)).expect("it lives");
        seq += 1;
        assert_eq!(number(&receipt, "seq"), seq);
        if is_last {
            return (seq, noise);
        }
        thread::sleep(PACE); // so much is said, and no more
    }
}

#[test]
fn clients_cut_off_under_load_recover_without_effect_on_others() {
    let server = Server::start(&[
        "--shards=3",
        "--set=rooms.create_on_join=always",
        "--set=presence.scope=none",
        "--set=presence.grace_ms=60000",
        "--set=limits.messages_per_minute=0",
        "--set=limits.connections_per_user=0",
        "--set=log.level=error",
    ]);
    let (address, at_rest) = (server.address.clone(), AtomicUsize::new(0));
    let mut speakers: Vec<LossyClient> = (0..ROOMS)
        .map(|room| {
            let mut line = LossyClient::connect(&address, &format!("speaker-{room}")).expect("the server listens");
            join(&mut line, room, "speaker", &mut drop).expect("it lives");
            line
        })
        .collect();
    let everyone_is_there = Barrier::new(LISTENERS + 1);
    let mut listeners: Vec<Listener> = (0..LISTENERS).map(Listener::new).collect();
    thread::scope(|scope| {
        let (address, at_rest, everyone_is_there) = (&address, &at_rest, &everyone_is_there);
        for listener in &mut listeners {
            scope.spawn(move || {
                let line = listener.come(address);
                everyone_is_there.wait();
                listener.listen(address, line, at_rest);
            });
        }
        everyone_is_there.wait();
        for (room, line) in speakers.iter_mut().enumerate() {
            scope.spawn(move || {
                for _ in 0..2 * LISTENERS / ROOMS {
                    line.wait_for("peer-joined", drop).expect("it lives");
                }
                let (said, noise) = speak(line, room, at_rest);
                eprintln!("room {room}: {said} messages");
                assert_eq!(noise, Vec::<Value>::new(), "somebody's coming back was noticed");
            });
        }
    });
    let anew: usize = listeners.iter().map(|listener| listener.anew).sum();
    eprintln!("{LISTENERS} listeners; {anew} times one had to join anew");
}
