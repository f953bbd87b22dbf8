//! A client in two rooms that reconnects to another node after a fault, repeats unacknowledged messages, and checks
//! everything it receives.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use switchboard::base::rng::Rng;

use crate::room_view::RoomView;
use support::lossy_client::{ConnectionLost, LossyClient};
use support::room_log::{number, room_name, text};

/// Messages that one person has under way.
const UNDER_WAY: usize = 4;

/// Between two messages of one person.
const PACE: Duration = Duration::from_millis(150);

/// Before something that was refused is tried again, and between two knocks on doors.
const AGAIN: Duration = Duration::from_millis(200);

/// How long somebody looks for a node that lets them in.
const OUTSIDE: Duration = Duration::from_secs(40);

/// Phase of a test: clients send.
pub(crate) const TALK: u8 = 0;
/// Phase of a test: clients finish what is pending.
pub(crate) const FINISH: u8 = 1;
pub(crate) const END: u8 = 2;

/// State that the clients share with the test.
pub(crate) struct SharedState {
    /// The addresses of the nodes.
    pub(crate) nodes: Vec<String>,
    pub(crate) phase: AtomicU8,
    /// Whether all are given up, because one of them has failed.
    pub(crate) is_broken: AtomicBool,
}

/// Somebody came or went, as somebody else was told.
#[derive(Clone, Debug)]
pub(crate) struct MembershipNotice {
    pub(crate) kind: &'static str,
    pub(crate) room: String,
    pub(crate) peer: String,
}

/// What a person shows of themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientStatus {
    /// The node they are connected to.
    pub(crate) node: Option<usize>,
    /// Whether they are in all their rooms and miss nothing that they know of.
    pub(crate) is_settled: bool,
    /// Messages that wait for their receipts.
    pub(crate) pending: usize,
    /// Receipts for messages sent by their present connection's time; all in all.
    pub(crate) receipts: usize,
    /// How often they connected.
    pub(crate) connections: usize,
    /// How often there was no way back.
    pub(crate) anew: usize,
    /// How often they were told that a room has ended.
    pub(crate) closed: usize,
    /// Refusals for want of Redis.
    pub(crate) refused: usize,
    /// The longest they waited for an answer by a connection that was not lost.
    pub(crate) slowest: Duration,
    pub(crate) noise: Vec<MembershipNotice>,
    /// In how many milliseconds they were told to come back, each time, and the moments at which they were back.
    pub(crate) sent_away: Vec<u64>,
    pub(crate) back: Vec<Instant>,
    /// Where they are in each of their rooms.
    pub(crate) places: Vec<(usize, String, u64)>,
}

struct Pending {
    at: usize,
    content: String,
    /// When it went out; or when it may again.
    since: Instant,
    is_out: bool,
}

/// See the module.
pub(crate) struct ClusterClient<'a> {
    pub(crate) user: String,
    pub(crate) places: Vec<RoomView>,
    world: &'a SharedState,
    shown: &'a Mutex<ClientStatus>,
    speaks: bool,
    made: u64,
    pending: Vec<Pending>,
    /// What is to be tried again: joins by their place.
    joins: Vec<(usize, Instant)>,
    /// What may open the way back, the oldest first.
    tokens: Vec<String>,
    node: usize,
    next: Instant,
    /// When they are to come back, if they were told so.
    returns: Option<Instant>,
    rng: Rng,
}

impl<'a> ClusterClient<'a> {
    pub(crate) fn new(
        number: usize,
        rooms: [usize; 2],
        speaks: bool,
        world: &'a SharedState,
        shown: &'a Mutex<ClientStatus>,
    ) -> Self {
        let mut rng = Rng::from_seed(number as u64);
        let next = Instant::now() + PACE.mul_f64(rng.below(1_000) as f64 / 1_000.0);
        Self {
            user: format!("person-{number}"),
            places: rooms.map(RoomView::new).into(),
            world,
            shown,
            speaks,
            made: 0,
            pending: Vec::new(),
            joins: Vec::new(),
            tokens: Vec::new(),
            node: number % world.nodes.len(),
            next,
            returns: None,
            rng,
        }
    }

    fn show(&self, change: impl FnOnce(&mut ClientStatus)) {
        change(&mut self.shown.lock().expect("nobody failed with it"));
    }

    fn phase(&self) -> u8 {
        if self.world.is_broken.load(Ordering::Relaxed) { END } else { self.world.phase.load(Ordering::Relaxed) }
    }

    /// Lives until the test ends.
    pub(crate) fn live(&mut self) {
        while self.phase() != END {
            let Some(mut line) = self.find_a_node() else { return };
            let outcome = self.begin(&mut line).and_then(|()| self.talk(&mut line));
            self.show(|shown| (shown.node, shown.is_settled) = (None, false));
            self.pending.iter_mut().for_each(|pending| pending.is_out = false);
            if outcome.is_ok() {
                return;
            }
            self.node = (self.node + 1) % self.world.nodes.len();
        }
    }

    fn find_a_node(&mut self) -> Option<LossyClient> {
        let returns = self.returns.take();
        if let Some(moment) = returns {
            thread::sleep(moment.saturating_duration_since(Instant::now())); // as they were told
        }
        let until = Instant::now() + OUTSIDE;
        while self.phase() != END {
            if let Ok(line) = LossyClient::connect(&self.world.nodes[self.node], &self.user) {
                self.tokens.push(line.token());
                self.show(|shown| {
                    shown.connections += 1;
                    shown.back.extend(returns.map(|_| Instant::now()));
                });
                return Some(line);
            }
            assert!(Instant::now() < until, "{} finds no node that lets them in", self.user);
            self.node = (self.node + 1) % self.world.nodes.len();
            thread::sleep(AGAIN / 4); // so that nobody knocks without a pause
        }
        None
    }

    /// Joins, or comes back.
    fn begin(&mut self, line: &mut LossyClient) -> Result<(), ConnectionLost> {
        self.joins.clear();
        self.places.iter_mut().for_each(|place| place.is_in = false);
        while self.tokens.len() > 1 && !self.resume(line)? {
            self.tokens.remove(0);
        }
        self.tokens.drain(..self.tokens.len() - 1);
        let outside: Vec<usize> = (0..self.places.len()).filter(|at| !self.places[*at].is_in).collect();
        if self.places.iter().any(|place| !place.epoch.is_empty()) && !outside.is_empty() {
            self.show(|shown| shown.anew += 1);
        }
        for at in outside {
            self.join(line, at)?;
        }
        let node = self.node;
        self.show(|shown| shown.node = Some(node));
        Ok(())
    }

    /// Tries to come back by the oldest token; whether that was answered by anything but a refusal for good.
    fn resume(&mut self, line: &mut LossyClient) -> Result<bool, ConnectionLost> {
        let rooms: Map<String, Value> = self.places.iter().map(RoomView::position).collect();
        loop {
            let token = &self.tokens[0];
            line.send(&json!({ "type": "resume", "recoveryToken": token, "ownMessages": true, "rooms": rooms }))?;
            let mut answer = line.next()?;
            while !matches!(answer["type"].as_str(), Some("resumed" | "error")) {
                assert!(answer["type"] != "message", "{} heard {answer} too soon", self.user);
                self.hear(line, &answer)?;
                answer = line.next()?;
            }
            if answer["type"] == "resumed" {
                for place in &mut self.places {
                    let back = &answer["rooms"][room_name(place.room)];
                    if back["recovered"] != true {
                        continue;
                    }
                    for message in back["messages"].as_array().expect("a list") {
                        place.hear(message, &self.user);
                    }
                    assert_eq!(place.known(), number(back, "seq"), "{} of {answer}", self.user);
                    place.is_in = true;
                }
                if self.places.iter().any(|place| !place.is_in) {
                    eprintln!("{} is back with {answer}", self.user);
                }
                return Ok(true);
            }
            match answer["code"].as_str() {
                Some("RECOVERY_FAILED") => return Ok(false),
                Some("STORAGE_UNAVAILABLE" | "OVERLOADED") => {}
                _ => panic!("{} cannot come back: {answer}", self.user),
            }
            self.show(|shown| shown.refused += 1);
            thread::sleep(AGAIN); // so that nobody asks without a pause
        }
    }

    fn join(&mut self, line: &mut LossyClient, at: usize) -> Result<(), ConnectionLost> {
        let room = room_name(self.places[at].room);
        line.send(
            &json!({ "type": "join-room", "roomId": room, "peerId": self.user, "requestId": format!("join {at}") }),
        )
    }

    fn ask_history(&mut self, line: &mut LossyClient, at: usize) -> Result<(), ConnectionLost> {
        let (room, after) = (room_name(self.places[at].room), self.places[at].last);
        let request = format!("history {at}");
        line.send(&json!({ "type": "history", "roomId": room, "after": after, "limit": 500, "requestId": request }))
    }

    /// Talks and listens; `Ok` when the test is over.
    fn talk(&mut self, line: &mut LossyClient) -> Result<(), ConnectionLost> {
        loop {
            let phase = self.phase();
            if phase == END {
                return Ok(());
            }
            let now = Instant::now();
            if self.speaks && phase == TALK && now >= self.next && self.pending.len() < UNDER_WAY {
                self.next = now + PACE.mul_f64(0.5 + self.rng.below(1_000) as f64 / 1_000.0);
                self.made += 1;
                let content = format!("{} says {}", self.user, self.made);
                let at = self.made as usize % self.places.len();
                self.pending.push(Pending { at, content, since: now, is_out: false });
            }
            for pending in self.pending.iter_mut().filter(|pending| !pending.is_out && pending.since <= now) {
                if self.places[pending.at].is_in {
                    say(line, room_name(self.places[pending.at].room), &pending.content)?;
                    (pending.is_out, pending.since) = (true, now);
                }
            }
            let due: Vec<_> = self.joins.extract_if(.., |(_, at)| *at <= now).collect();
            for (at, _) in due {
                self.join(line, at)?;
            }
            if let Some(message) = line.next_within(Duration::from_millis(40))? {
                self.hear(line, &message)?;
            }
            let is_settled = self.places.iter().all(RoomView::is_whole);
            let places = self.places.iter().map(|place| (place.room, place.epoch.clone(), place.known())).collect();
            let pending = self.pending.len();
            self.show(|shown| (shown.is_settled, shown.places, shown.pending) = (is_settled, places, pending));
        }
    }

    fn place(&mut self, message: &Value) -> usize {
        let name = text(message, "roomId");
        self.places.iter().position(|place| room_name(place.room) == name).expect("a room of theirs")
    }

    fn hear(&mut self, line: &mut LossyClient, message: &Value) -> Result<(), ConnectionLost> {
        let kind = message["type"].as_str().expect("a type");
        match kind {
            "message" => {
                let at = self.place(message);
                self.places[at].hear(message, &self.user);
            }
            "message-sent" => self.receive_receipt(message),
            "room-joined" => {
                let at = self.place(message);
                if self.places[at].enter(message, &self.user) {
                    self.ask_history(line, at)?;
                }
            }
            "history" => {
                let at = self.place(message);
                if self.places[at].fill(message, &self.user) {
                    self.ask_history(line, at)?;
                }
            }
            "peer-joined" | "peer-left" => {
                let kind = if kind == "peer-left" { "peer-left" } else { "peer-joined" };
                let peer =
                    message["peer"]["peerId"].as_str().or(message["peerId"].as_str()).expect("a peer").to_owned();
                let noise = MembershipNotice { kind, room: text(message, "roomId"), peer };
                self.show(|shown| shown.noise.push(noise));
            }
            "room-closed" => {
                let at = self.place(message);
                self.places[at].is_in = false;
                self.joins.push((at, Instant::now()));
                self.show(|shown| shown.closed += 1);
            }
            "disconnect" => {
                assert_eq!(message["reconnect"], true, "{}: {message}", self.user);
                let wait = number(message, "retryAfterMs");
                self.returns = Some(Instant::now() + Duration::from_millis(wait));
                self.show(|shown| shown.sent_away.push(wait));
            }
            "error" => self.refused(line, message)?,
            _ => panic!("{} did not expect {message}", self.user),
        }
        Ok(())
    }

    fn receive_receipt(&mut self, receipt: &Value) {
        let content = text(receipt, "requestId");
        // What was refused for want of an answer may have been done, and then answered by a repeat.
        let found = self.pending.iter().position(|pending| pending.content == content).expect("one that was sent");
        let Pending { at, content, since, .. } = self.pending.remove(found);
        assert_eq!(text(receipt, "roomId"), room_name(self.places[at].room));
        self.places[at].acknowledge(number(receipt, "seq"), &content, &self.user);
        self.show(|shown| {
            shown.receipts += 1;
            shown.slowest = shown.slowest.max(since.elapsed());
        });
    }

    fn refused(&mut self, line: &mut LossyClient, error: &Value) -> Result<(), ConnectionLost> {
        let code = text(error, "code");
        let is_known = matches!(
            code.as_str(),
            "STORAGE_UNAVAILABLE" | "OVERLOADED" | "NOT_IN_ROOM" | "ROOM_CLOSED" | "ROOM_NOT_FOUND"
        );
        assert!(is_known, "{} did not expect {error}", self.user);
        let request = error["requestId"].as_str().unwrap_or_else(|| panic!("{}: {error}", self.user)).to_owned();
        let again = Instant::now() + AGAIN;
        self.show(|shown| shown.refused += 1);
        if let Some(at) = request.strip_prefix("join ") {
            self.joins.push((at.parse().expect("a place"), again));
        } else if let Some(at) = request.strip_prefix("history ") {
            let at = at.parse().expect("a place");
            if code == "NOT_IN_ROOM" {
                self.joins.push((at, again));
            } else {
                thread::sleep(AGAIN); // so that nobody asks without a pause
                self.ask_history(line, at)?;
            }
        } else {
            let found = self.pending.iter_mut().find(|pending| pending.content == request).expect("one that was sent");
            let waited = found.since.elapsed();
            (found.is_out, found.since) = (false, again);
            self.show(|shown| shown.slowest = shown.slowest.max(waited));
        }
        Ok(())
    }
}

fn say(line: &mut LossyClient, room: String, content: &str) -> Result<(), ConnectionLost> {
    line.send(&json!({
        "type": "message", "roomId": room, "content": content, "requestId": content, "clientMessageId": content,
    }))
}
