//! The shards, the channels between them, the connections to clients, and the clock.
//!
//! A channel between two shards keeps its order; connections that move use the same channel. No other order is
//! guaranteed. A connection is read and written as the event loop does it: edge-triggered, so a shard that misses a
//! readiness event receives no second one.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;

use switchboard::base::handle::{ConnSlot, Slot};
use switchboard::base::rng::Rng;
use switchboard::base::time::Now;
use switchboard::message::{ShardNumber, ThreadMessage};
use switchboard::shard::{Departure, Gone, Shard, Stats, Wire};

use super::faulty_store::{self, FaultyStore};
use super::setting::{BEGINNING, Setting, verifier};

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    RawClient(usize),
    RestClient(usize),
    /// Somebody whose bytes make no sense.
    Garbage,
}

/// One TCP connection.
pub(crate) struct Socket {
    pub(crate) owner: Owner,
    shard: usize,
    /// Where the shard has it; `None` before it is accepted and after it is closed.
    slot: Option<ConnSlot>,
    /// From the client, not yet read.
    up: Vec<u8>,
    /// The client has ended its side.
    fin: bool,
    /// The client is gone without a word.
    reset: bool,
    /// Something came that the shard has not looked at.
    ready: bool,
    /// To the client, not yet read.
    down: Vec<u8>,
    /// Bytes `down` has room for.
    pub(crate) capacity: usize,
    /// The shard has been told that it is full, and will be told when it no longer is.
    blocked: bool,
    /// The server has ended its side.
    down_fin: bool,
    /// The client does not read.
    pub(crate) is_stalled: bool,
    /// The client has seen the end, or does not care.
    is_over: bool,
}

impl Socket {
    fn new(owner: Owner, shard: usize) -> Self {
        Self {
            owner,
            shard,
            slot: None,
            up: Vec::new(),
            fin: false,
            reset: false,
            ready: false,
            down: Vec::new(),
            capacity: 1 << 20,
            blocked: false,
            down_fin: false,
            is_stalled: false,
            is_over: false,
        }
    }

    fn space(&self) -> usize {
        self.capacity.saturating_sub(self.down.len())
    }

    /// Whether its client has something to read.
    fn has_news(&self) -> bool {
        !self.is_over && !self.is_stalled && (!self.down.is_empty() || self.down_fin)
    }

    fn wants_shard(&self) -> bool {
        self.slot.is_some() && (self.ready || (self.blocked && self.space() > 0))
    }
}

/// What may happen next.
#[derive(Clone, Copy)]
enum NextStep {
    Turn(usize),
    Read(usize),
    FaultyStore,
}

/// What one shard has for another.
enum InTransit {
    Message(ThreadMessage),
    /// A connection that moves, where its client is, and what came by it that was not read.
    Connection(usize, IpAddr, Vec<u8>),
}

/// What a client finds when it reads.
pub(crate) struct Delivery {
    pub(crate) socket: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_end: bool,
}

/// Everything that is not a client.
pub(crate) struct Network {
    pub(crate) now: Now,
    pub(crate) rng: Rng,
    pub(crate) shards: Vec<Shard>,
    pub(crate) sockets: Vec<Socket>,
    /// What is on its way from each shard to each, `from * shards + to`.
    links: Vec<VecDeque<InTransit>>,
    /// Connections by shard and slot.
    slots: Vec<Vec<Option<usize>>>,
    /// Connections to be accepted, by shard.
    arrivals: Vec<VecDeque<usize>>,
    /// Where the shards keep things, if they keep any.
    pub(crate) store: Option<FaultyStore>,
    /// What was written to clients, gone or not, since somebody last looked, by connection; `None` when nobody looks.
    pub(crate) tap: Option<Vec<(usize, Vec<u8>)>>,
    /// Everything that was written to clients, and when.
    trace: DefaultHasher,
    chances: Vec<NextStep>,
    /// Turns since the clock last moved.
    turns: u64,
    is_shown: bool,
}

impl Network {
    pub(crate) fn new(setting: &Setting, mut rng: Rng) -> Self {
        let mono = rng.below(100_000);
        let now = Now { mono, wall: BEGINNING };
        let count = setting.shards();
        Self {
            now,
            shards: start(setting, &mut rng, now),
            rng,
            store: None,
            tap: None,
            sockets: Vec::new(),
            links: (0..count * count).map(|_| VecDeque::new()).collect(),
            slots: vec![Vec::new(); count],
            arrivals: vec![VecDeque::new(); count],
            trace: DefaultHasher::new(),
            chances: Vec::new(),
            turns: 0,
            is_shown: std::env::var_os("SWITCHBOARD_SEED").is_some(),
        }
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.rng.below(n) == 0
    }

    /// A hash of everything that was written to clients, and when.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// All shards' counters, added up.
    pub(crate) fn stats(&self) -> Stats {
        let mut all = Stats::default();
        for stats in self.shards.iter().map(Shard::stats) {
            all.refused += stats.refused;
            all.connections += stats.connections;
            all.rooms += stats.rooms;
            all.users += stats.users;
            all.asks += stats.asks;
            all.listened_rooms += stats.listened_rooms;
            all.slow_consumers += stats.slow_consumers;
            all.timed_out += stats.timed_out;
            all.moved += stats.moved;
        }
        all
    }

    /// The server ends without a word, with all that its threads had, and another is started on what is kept. What was
    /// written to clients may still come to them, or some of it.
    pub(crate) fn crash(&mut self, setting: &Setting, is_power: bool, downtime_ms: u64) {
        for at in 0..self.sockets.len() {
            let most = self.sockets[at].down.len() as u64;
            let left = if self.one_in(2) { most } else { self.below(most + 1) };
            let socket = &mut self.sockets[at];
            socket.down.truncate(left as usize);
            socket.up.clear();
            (socket.slot, socket.down_fin, socket.ready, socket.blocked) = (None, true, false, false);
        }
        self.links.iter_mut().for_each(VecDeque::clear);
        self.slots.iter_mut().for_each(Vec::clear);
        self.arrivals.iter_mut().for_each(VecDeque::clear);
        self.delay(downtime_ms);
        self.now.mono = self.rng.below(100_000);
        self.turns = 0;
        self.shards = start(setting, &mut self.rng, self.now);
        let placement = switchboard::message::Placement::Embedded { shards: self.shards.len() };
        if let Some(store) = &mut self.store {
            store.crash(self.now, is_power);
            for restored in store.restored(self.now) {
                match restored.name().map(|name| usize::from(placement.of(name))) {
                    Some(owner) => self.shards[owner].restore(self.now, restored),
                    None => self.shards.iter_mut().for_each(|shard| shard.restore(self.now, restored.clone())),
                }
            }
        }
    }

    /// A client connects to some shard.
    pub(crate) fn connect(&mut self, owner: Owner) -> usize {
        let shard = self.below(self.shards.len() as u64) as usize;
        self.sockets.push(Socket::new(owner, shard));
        let socket = self.sockets.len() - 1;
        self.arrivals[shard].push_back(socket);
        socket
    }

    /// A client sends bytes.
    pub(crate) fn send(&mut self, socket: usize, bytes: &[u8]) {
        let socket = &mut self.sockets[socket];
        if !socket.fin && !socket.reset {
            socket.up.extend_from_slice(bytes);
            socket.ready = true;
        }
    }

    /// A client ends its side; it may read on.
    pub(crate) fn finish(&mut self, socket: usize) {
        let socket = &mut self.sockets[socket];
        socket.fin = true;
        socket.ready = true;
    }

    /// A client is gone: what it sent and was sent is lost.
    pub(crate) fn reset(&mut self, socket: usize) {
        let socket = &mut self.sockets[socket];
        socket.reset = true;
        socket.ready = true;
        socket.is_over = true;
        socket.up.clear();
        socket.down.clear();
    }

    /// A client reads no more.
    pub(crate) fn ignore(&mut self, socket: usize) {
        self.sockets[socket].is_over = true;
        self.sockets[socket].down.clear();
    }

    /// Whether everything that a client sent was read.
    pub(crate) fn was_read(&self, socket: usize) -> bool {
        self.sockets[socket].up.is_empty()
    }

    /// Shows what passes over a connection, when one seed is replayed.
    pub(crate) fn show(&self, who: &str, way: char, what: &str) {
        if self.is_shown {
            eprintln!("{:>8} ms {who} {way} {what}", self.now.mono);
        }
    }

    /// Lets one thing happen: a shard's turn, or a client that reads. `None` when there is nothing to do at this time.
    pub(crate) fn step(&mut self) -> Option<Option<Delivery>> {
        let mut chances = std::mem::take(&mut self.chances);
        chances.clear();
        for shard in 0..self.shards.len() {
            if self.has_cause(shard) {
                chances.push(NextStep::Turn(shard));
            }
        }
        let readable = self.sockets.iter().enumerate().filter(|(_, socket)| socket.has_news());
        chances.extend(readable.map(|(at, _)| NextStep::Read(at)));
        if let Some(store) = &mut self.store
            && store.can_act(self.now, chances.is_empty())
        {
            chances.push(NextStep::FaultyStore);
        }
        let chance = match chances.len() {
            0 => None,
            count => Some(chances[self.below(count as u64) as usize]),
        };
        self.chances = chances;
        match chance? {
            NextStep::Turn(shard) => {
                self.turn(shard);
                Some(None)
            }
            NextStep::Read(socket) => Some(Some(self.read_news(socket))),
            NextStep::FaultyStore => {
                if let Some(store) = &mut self.store {
                    store.act(self.now);
                }
                Some(None)
            }
        }
    }

    /// Moves the clock, but not beyond the moment a shard or the store next has something to do.
    pub(crate) fn skip(&mut self, ms: u64) -> u64 {
        let now = self.now;
        let store = self.store.as_ref().and_then(|store| store.next_due(now));
        let next = self.shards.iter_mut().filter_map(Shard::next_due).chain(store).min();
        let ms = next.map_or(ms, |next| ms.min(next.saturating_sub(self.now.mono)));
        self.delay(ms);
        ms
    }

    /// Moves the clock, whatever is due meanwhile.
    pub(crate) fn delay(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        if ms > 0 {
            self.turns = 0;
        }
    }

    /// When nothing is left to do, no shard may be sleeping on bytes that it wants.
    pub(crate) fn check_quiet(&self) {
        for (at, socket) in self.sockets.iter().enumerate() {
            let Some(slot) = socket.slot else { continue };
            let has_bytes = !socket.up.is_empty() || socket.fin || socket.reset;
            let wants = self.shards[socket.shard].wants_read(slot);
            assert!(!has_bytes || !wants || socket.fin, "connection {at} waits to be read by a shard that sleeps");
        }
    }

    fn has_cause(&mut self, shard: usize) -> bool {
        let count = self.shards.len();
        let is_due = self.shards[shard].next_due().is_some_and(|at| at <= self.now.mono);
        is_due
            || self.shards[shard].has_messages()
            || self.shards[shard].has_output()
            || self.shards[shard].has_resumed()
            || !self.arrivals[shard].is_empty()
            || (0..count).any(|from| !self.links[from * count + shard].is_empty())
            || self.store.as_ref().is_some_and(|store| store.has_events(shard))
            || self.slots[shard].iter().flatten().any(|socket| self.sockets[*socket].wants_shard())
    }

    /// One turn of a shard's event loop, with some of what there is to do.
    fn turn(&mut self, shard: usize) {
        self.turns += 1;
        assert!(self.turns < 20_000, "the shards are busy without end at one moment");
        let now = self.now;
        for _ in 0..1 + self.below(6) {
            self.take_mail(shard);
        }
        while let Some(socket) = self.arrivals[shard].pop_front() {
            self.accept(shard, socket);
        }
        let waiting: Vec<usize> =
            self.slots[shard].iter().flatten().copied().filter(|at| self.sockets[*at].wants_shard()).collect();
        for socket in waiting {
            if !self.one_in(4) {
                self.look_at(shard, socket);
            }
        }
        while let Some(slot) = self.shards[shard].resumed() {
            if let Some(socket) = self.slots[shard].get(slot.raw() as usize).copied().flatten() {
                let socket = &mut self.sockets[socket];
                socket.ready |= !socket.up.is_empty() || socket.fin || socket.reset;
            }
        }
        self.shards[shard].run(now);
        self.shards[shard].tick(now);
        self.shards[shard].run(now);
        self.flush(shard);
        self.check_invariants(shard);
    }

    /// What must hold after every turn of a shard.
    fn check_invariants(&self, shard: usize) {
        self.shards[shard].check_invariants();
        for (slot, at) in self.slots[shard].iter().enumerate().filter_map(|(slot, at)| Some((slot, (*at)?))) {
            let socket = &self.sockets[at];
            let names = (socket.shard, socket.slot.map(Slot::raw));
            assert_eq!(names, (shard, Some(slot as u32)), "invariant: a slot and its connection name each other");
        }
    }

    fn take_mail(&mut self, shard: usize) {
        let count = self.shards.len();
        let sources = count + if self.store.is_some() { faulty_store::VOICES } else { 0 };
        let start = self.below(sources as u64) as usize;
        for from in (start..sources).chain(0..start) {
            let parcel = match from.checked_sub(count) {
                None => self.links[from * count + shard].pop_front(),
                Some(voice) => self
                    .store
                    .as_mut()
                    .and_then(|store| store.next_event(voice, shard))
                    .map(|message| InTransit::Message(message.into())),
            };
            match parcel {
                Some(InTransit::Message(message)) => return self.shards[shard].handle_message(self.now, message),
                Some(InTransit::Connection(socket, from, unread)) => {
                    return self.take_over(shard, socket, from, unread);
                }
                None => {}
            }
        }
    }

    fn accept(&mut self, shard: usize, at: usize) {
        let remote = ([127, 0, 0, 1], 1 + at as u16).into();
        let slot = self.shards[shard].accepted(self.now, remote).ok();
        self.settle_in(shard, at, slot);
    }

    /// A connection has a slot in a shard, or was not taken on.
    fn settle_in(&mut self, shard: usize, at: usize, slot: Option<ConnSlot>) {
        match slot {
            Some(slot) => {
                let slots = &mut self.slots[shard];
                if slots.len() <= slot.raw() as usize {
                    slots.resize(slot.raw() as usize + 1, None);
                }
                assert_eq!(slots[slot.raw() as usize], None, "a slot has one tenant");
                slots[slot.raw() as usize] = Some(at);
                self.sockets[at].slot = Some(slot);
            }
            None => self.sockets[at].down_fin = true,
        }
    }

    /// A connection arrives that another shard had.
    fn take_over(&mut self, shard: usize, at: usize, from: IpAddr, mut unread: Vec<u8>) {
        self.sockets[at].shard = shard;
        let slot = self.shards[shard].arrived(self.now, from);
        self.settle_in(shard, at, slot);
        let socket = &mut self.sockets[at];
        socket.ready = !socket.up.is_empty() || socket.fin || socket.reset;
        if let Some(slot) = socket.slot {
            self.shards[shard].received(self.now, slot, &mut unread);
            self.send_connections(shard);
        }
    }

    /// Sends the connections of a shard on their way that go to others.
    fn send_connections(&mut self, shard: usize) {
        while let Some(Departure { slot, to, from, unread, .. }) = self.shards[shard].departure() {
            let at = self.slots[shard][slot.raw() as usize].take().expect("it was there");
            self.sockets[at].slot = None;
            let count = self.shards.len();
            self.links[shard * count + usize::from(to)].push_back(InTransit::Connection(at, from, unread));
        }
    }

    /// A shard is told of a connection's readiness, and reads.
    fn look_at(&mut self, shard: usize, at: usize) {
        let Some(slot) = self.sockets[at].slot else { return };
        if self.sockets[at].blocked && self.sockets[at].space() > 0 {
            self.sockets[at].blocked = false;
            let mut cable = ShardOutput {
                now: self.now,
                rng: &mut self.rng,
                sockets: &mut self.sockets,
                slots: &mut self.slots[shard],
                tap: &mut self.tap,
                trace: &mut self.trace,
            };
            self.shards[shard].writable(slot, &mut cable);
        }
        for _ in 0..4 {
            if !self.sockets[at].ready || !self.shards[shard].wants_read(slot) {
                self.sockets[at].ready = false;
                return;
            }
            let socket = &mut self.sockets[at];
            if socket.up.is_empty() {
                socket.ready = false;
                if socket.fin || socket.reset {
                    self.shards[shard].ended(self.now, slot);
                }
                return;
            }
            let most = socket.up.len().min(4096) as u64;
            let count = if self.rng.below(3) == 0 { most } else { 1 + self.rng.below(most) };
            let mut bytes: Vec<u8> = socket.up.drain(..count as usize).collect();
            self.shards[shard].received(self.now, slot, &mut bytes);
            if self.shards[shard].has_departures() {
                return self.send_connections(shard);
            }
        }
    }

    fn flush(&mut self, shard: usize) {
        self.send_mail(shard);
        let mut cable = ShardOutput {
            now: self.now,
            rng: &mut self.rng,
            sockets: &mut self.sockets,
            slots: &mut self.slots[shard],
            tap: &mut self.tap,
            trace: &mut self.trace,
        };
        self.shards[shard].flush(self.now, &mut cable);
        self.send_connections(shard);
        self.send_mail(shard);
    }

    fn send_mail(&mut self, shard: usize) {
        for order in self.shards[shard].storage_commands(self.now) {
            let store = self.store.as_mut().expect("a shard without a store has no orders");
            store.order(self.now, order);
        }
        let count = self.shards.len();
        for (to, message) in self.shards[shard].outgoing() {
            assert_ne!(usize::from(to), shard, "a message to the own shard is not sent");
            self.links[shard * count + usize::from(to)].push_back(InTransit::Message(message));
        }
    }

    fn read_news(&mut self, at: usize) -> Delivery {
        let most = self.sockets[at].down.len() as u64;
        let count = if self.below(3) > 0 { most } else { 1 + self.below(most) }.min(most);
        let socket = &mut self.sockets[at];
        let bytes = socket.down.drain(..count as usize).collect();
        let is_end = socket.down.is_empty() && socket.down_fin;
        socket.is_over |= is_end;
        Delivery { socket: at, bytes, is_end }
    }
}

/// All shards of a server, without clients.
fn start(setting: &Setting, rng: &mut Rng, now: Now) -> Vec<Shard> {
    let shard = |number: usize| {
        let rng = Rng::from_seed(rng.next_u64());
        Shard::new(number as ShardNumber, setting.options.clone(), verifier(), rng, now)
    };
    (0..setting.shards()).map(shard).collect()
}

/// What one shard writes to in a turn.
struct ShardOutput<'a> {
    now: Now,
    rng: &'a mut Rng,
    sockets: &'a mut [Socket],
    slots: &'a mut [Option<usize>],
    tap: &'a mut Option<Vec<(usize, Vec<u8>)>>,
    trace: &'a mut DefaultHasher,
}

impl ShardOutput<'_> {
    fn socket(&mut self, slot: ConnSlot) -> (usize, &mut Socket) {
        let at = self.slots[slot.raw() as usize].expect("a shard writes to connections it has");
        (at, &mut self.sockets[at])
    }
}

impl Wire for ShardOutput<'_> {
    fn write(&mut self, slot: ConnSlot, bytes: &[u8]) -> Result<usize, Gone> {
        let is_short = self.rng.below(8) == 0;
        let part = self.rng.below(bytes.len() as u64 + 1) as usize;
        let (at, socket) = self.socket(slot);
        assert!(!bytes.is_empty(), "nothing is not written");
        assert!(!socket.down_fin, "nothing is written after the end");
        assert!(!socket.blocked, "a full socket is not written to before it says so");
        if socket.reset {
            if let Some(tap) = self.tap {
                tap.push((at, bytes.to_vec()));
            }
            return Err(Gone);
        }
        let count = bytes.len().min(socket.space()).min(if is_short { part } else { usize::MAX });
        socket.blocked = count < bytes.len();
        if !socket.is_over {
            socket.down.extend_from_slice(&bytes[..count]);
        }
        if let Some(tap) = self.tap {
            tap.push((at, bytes[..count].to_vec()));
        }
        self.trace.write_u64(self.now.mono);
        self.trace.write_usize(at);
        self.trace.write(&bytes[..count]);
        Ok(count)
    }

    fn half_close(&mut self, slot: ConnSlot) {
        let (_, socket) = self.socket(slot);
        assert!(!socket.down_fin, "a side ends once");
        socket.down_fin = true;
    }

    fn has_input(&mut self, _slot: ConnSlot) -> bool {
        // Input is delivered at once.
        false
    }

    fn close(&mut self, slot: ConnSlot) {
        let (_, socket) = self.socket(slot);
        socket.slot = None;
        socket.down_fin = true;
        self.slots[slot.raw() as usize] = None;
    }
}
