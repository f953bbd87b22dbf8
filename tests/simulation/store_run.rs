//! A run of a server with a store: clients send, lose connections and recover; the store is slow, full or broken at
//! times; the server crashes and restarts. At rest everything that was acknowledged is compared with the store.

use switchboard::base::rng::Rng;
use switchboard::message::storage::StorageState;

use super::durability_checker::DurabilityChecker;
use super::faulty_store::FaultyStore;
use super::frames::{Frame, take_frame, take_response};
use super::network::{Network, Owner};
use super::raw_run::Outcome;
use super::recovering_client::{RecoveringClient, ReturnMode};
use super::setting::{INSPECTOR, Setting, USERS};

const ROOMS: [&str; 4] = ["r0", "r1", "r2", "r3"];

/// Clients; those beyond the number of users are second ones of the first users.
const DEVICES_MAX: u64 = 8;

/// What was written to one connection and is not yet a whole frame.
#[derive(Default)]
struct PartialFrames {
    bytes: Vec<u8>,
    is_upgraded: bool,
}

/// A server with a store, and its clients.
struct StoreRun {
    setting: Setting,
    net: Network,
    testimony: DurabilityChecker,
    devices: Vec<RecoveringClient>,
    wires: Vec<PartialFrames>,
    /// How wild this run is: whether the store fails at all, and whether the server crashes.
    fails: bool,
    crashes: bool,
}

/// Runs one seed.
pub(crate) fn run(seed: u64) -> Outcome {
    let mut trial = StoreRun::new(seed);
    let actions = 60 + trial.net.below(140);
    for _ in 0..actions {
        trial.act();
        trial.pass_time();
    }
    trial.rest();
    trial.judge();
    trial.everyone_goes();
    let mut tally = trial.testimony.tally;
    if let Some(store) = &trial.net.store {
        tally.add(&store.tally);
    }
    Outcome { trace: trial.net.trace(), tally }
}

impl StoreRun {
    fn new(seed: u64) -> Self {
        // Another stream than that of the servers without a store.
        let mut rng = Rng::from_seed(seed ^ 0x5704E);
        let (setting, nature) = Setting::draw_stored(&mut rng);
        let store = FaultyStore::new(nature, Rng::from_seed(rng.next_u64()), setting.shards());
        let (fails, crashes) = (rng.below(3) > 0, rng.below(3) > 0);
        let count = 3 + rng.below(DEVICES_MAX - 2);
        let mut net = Network::new(&setting, rng);
        (net.store, net.tap) = (Some(store), Some(Vec::new()));
        net.show("trial", ':', &format!("{nature:?}, fails: {fails}, crashes: {crashes}"));
        let devices = (0..count as usize).map(|number| RecoveringClient::new(number, number % INSPECTOR)).collect();
        Self { setting, net, testimony: DurabilityChecker::default(), devices, wires: Vec::new(), fails, crashes }
    }

    fn store(&mut self) -> &mut FaultyStore {
        self.net.store.as_mut().expect("a store")
    }

    /// Somebody, or something, does something.
    fn act(&mut self) {
        match self.net.below(100) {
            0..4 if self.fails => self.trouble(),
            4..6 if self.crashes => self.crash(),
            6..16 => {
                let at = self.net.below(self.devices.len() as u64) as usize;
                let how = self.net.below(4);
                self.devices[at].lose(&mut self.net, how);
            }
            16..32 => {
                let at = self.net.below(self.devices.len() as u64) as usize;
                if self.devices[at].socket.is_none() {
                    self.connect(at);
                }
            }
            _ => self.somebody_asks(),
        }
    }

    fn connect(&mut self, at: usize) {
        let way = match self.net.below(12) {
            0 => ReturnMode::Anew,
            1 => ReturnMode::ResumeBlindly,
            _ => ReturnMode::Resume,
        };
        self.devices[at].connect(&mut self.net, way, self.testimony.crashes);
    }

    fn trouble(&mut self) {
        let now = self.net.now;
        let ms = self.net.below(8_000);
        match self.net.below(4) {
            0 => self.store().stall(now, ms),
            1 => self.store().fail(now, StorageState::Full, ms),
            _ => self.store().fail(now, StorageState::Failing, ms),
        }
        if self.net.one_in(2) {
            self.probe();
        }
    }

    /// Whatever the store does, signals pass.
    fn probe(&mut self) {
        self.settle();
        let is_member = |device: &RecoveringClient, room: &str| {
            device.wants.contains(room) && device.rooms.get(room).is_some_and(|place| place.is_member)
        };
        for room in ROOMS {
            let members: Vec<usize> =
                (0..self.devices.len()).filter(|at| is_member(&self.devices[*at], room)).collect();
            let &[from, .., to] = members.as_slice() else { continue };
            let (key, name) =
                (format!("signal {}", self.testimony.serial()), self.devices[to].rooms[room].name.clone());
            self.devices[from].signal(&mut self.net, room, &name, &key);
            self.settle();
            if is_member(&self.devices[from], room) && is_member(&self.devices[to], room) {
                assert!(self.devices[to].signals.contains(&key), "{key} from {from} to {to} did not pass");
                let state = self.store().state();
                self.testimony.tally.count(&format!("signal while {state:?}"));
            }
        }
    }

    /// The server ends, and with it, or without it, the machine.
    fn crash(&mut self) {
        let is_power = self.net.one_in(2);
        let downtime_ms = if self.net.one_in(8) { self.net.below(200_000) } else { self.net.below(3_000) };
        self.net.show("trial", ':', if is_power { "power is lost" } else { "crash" });
        self.net.crash(&self.setting, is_power, downtime_ms);
        self.testimony.crashes += 1;
        self.testimony.tally.count(if is_power { "power lost" } else { "crash" });
    }

    fn somebody_asks(&mut self) {
        let ready: Vec<usize> = (0..self.devices.len()).filter(|at| self.devices[*at].is_ready).collect();
        if ready.is_empty() {
            let at = self.net.below(self.devices.len() as u64) as usize;
            if self.devices[at].socket.is_none() {
                self.connect(at);
            }
            return;
        }
        let at = ready[self.net.below(ready.len() as u64) as usize];
        let rooms = self.devices[at].own_rooms();
        let any = ROOMS[self.net.below(ROOMS.len() as u64) as usize].to_owned();
        let room = match rooms.len() as u64 {
            0 => None,
            count => Some(rooms[self.net.below(count) as usize].clone()),
        };
        let (net, testimony, device) = (&mut self.net, &mut self.testimony, &mut self.devices[at]);
        match (net.below(40), room) {
            (0..4, _) | (_, None) => device.join(net, &any),
            (4, Some(room)) => device.leave(net, &room),
            (5..22, Some(room)) => {
                let count = if net.one_in(6) { 1 + net.below(12) } else { 1 };
                for _ in 0..count {
                    let key = format!("message {}", testimony.serial());
                    let name = net.one_in(3).then(|| format!("name {}", testimony.serial()));
                    device.send(net, testimony, &key, &room, name.as_deref());
                    if name.is_some() && net.one_in(4) {
                        device.send(net, testimony, &key, &room, name.as_deref());
                    }
                }
            }
            (22..26, Some(_)) => self.repeat(at),
            (26..30, Some(room)) => {
                let after = match net.below(3) {
                    0 => None,
                    1 => Some(device.rooms[&room].reached().saturating_sub(net.below(8))),
                    _ => Some(net.below(20)),
                };
                let limit = 1 + net.below(20);
                device.history(net, &room, after, limit, false);
            }
            (30..34, Some(_)) => {
                let heard = device.heard.len() as u64;
                if heard > 0 {
                    let (room, message) = device.heard[net.below(heard) as usize].clone();
                    let kind = ["delivered", "read-receipt", "receipts"][net.below(3) as usize];
                    device.mark(net, kind, &room, &message);
                }
            }
            (_, Some(_)) => {
                let to = net.below(INSPECTOR as u64) as usize;
                let key = format!("note {}", testimony.serial());
                device.send_note(net, testimony, &key, to, USERS[to]);
            }
        }
    }

    /// Sends a message again of which its sender does not know, or pretends not to know, what became.
    fn repeat(&mut self, at: usize) {
        let user = self.devices[at].user;
        let keys = self.testimony.retriable(self.net.now.wall);
        if keys.is_empty() {
            return;
        }
        let key = keys[self.net.below(keys.len() as u64) as usize].clone();
        let draft = &self.testimony.drafts[&key];
        let (room, name) = (draft.room.clone(), draft.name.clone());
        let is_own = draft.user == user;
        if is_own && self.devices[at].rooms.get(&room).is_some_and(|place| place.is_member) {
            self.testimony.tally.count("repeated");
            self.devices[at].send(&mut self.net, &mut self.testimony, &key, &room, name.as_deref());
        }
    }

    fn pass_time(&mut self) {
        for _ in 0..self.net.below(12) {
            if !self.step() {
                break;
            }
        }
        match self.net.below(60) {
            0 => {
                let ms = self.net.below(10_000);
                self.advance(ms);
            }
            1 if self.net.one_in(4) => self.advance(70_000),
            2..6 => self.settle(),
            6..30 => {
                let ms = self.net.below(40);
                self.net.delay(ms);
            }
            _ => {}
        }
    }

    fn step(&mut self) -> bool {
        let Some(outcome) = self.net.step() else { return false };
        self.look_at_wires();
        if let Some(news) = outcome
            && let Owner::RawClient(at) = self.net.sockets[news.socket].owner
        {
            self.devices[at].receive(&news, &mut self.net, &mut self.testimony);
        }
        true
    }

    /// Nothing leaves before it is kept: not even the first byte of it.
    fn look_at_wires(&mut self) {
        let written = self.net.tap.replace(Vec::new()).unwrap_or_default();
        let store = self.net.store.as_ref().expect("a store");
        for (socket, bytes) in written {
            if self.wires.len() <= socket {
                self.wires.resize_with(socket + 1, PartialFrames::default);
            }
            let wire = &mut self.wires[socket];
            wire.bytes.extend(bytes);
            if !wire.is_upgraded {
                wire.is_upgraded = take_response(&mut wire.bytes).is_some();
            }
            while wire.is_upgraded
                && let Some(frame) = take_frame(&mut wire.bytes)
            {
                if let Frame::Text(text) = frame {
                    let told = serde_json::from_str(&text).expect("JSON");
                    self.testimony.check_written(&told, store);
                }
            }
        }
    }

    fn settle(&mut self) {
        while self.step() {}
        self.net.check_quiet();
    }

    fn advance(&mut self, ms: u64) {
        let until = self.net.now.mono + ms;
        self.settle();
        while self.net.now.mono < until {
            self.net.skip(until - self.net.now.mono);
            self.settle();
        }
    }

    /// The store is well, everybody is there, and what is on its way arrives.
    fn rest(&mut self) {
        let now = self.net.now;
        self.store().heal(now);
        self.advance(10_000);
        for at in 0..self.devices.len() {
            if self.devices[at].socket.is_none() {
                self.connect(at);
            }
        }
        // A user without a client of their own may have something waiting, too.
        for user in self.devices.len()..INSPECTOR {
            let number = self.devices.len();
            self.devices.push(RecoveringClient::new(number, user));
            self.connect(number);
        }
        self.advance(15_000);
    }

    fn judge(&mut self) {
        let stats = self.net.stats();
        assert_eq!(stats.asks, 0, "no question is under way");
        self.devices.iter().for_each(RecoveringClient::check_rest);
        let store = self.net.store.as_ref().expect("a store");
        for device in &self.devices {
            for (room, place) in device.rooms.iter().filter(|(_, place)| place.is_member) {
                let kept = store.contents.room(room).map(|room| (&*room.stored.made.epoch, room.stored.last));
                let is_whole = match kept {
                    Some((epoch, last)) => *epoch == *place.epoch && last == place.reached(),
                    None => place.reached() == 0,
                };
                assert!(is_whole, "client {} has {place:?} of {room}, which is {kept:?}", device.number);
            }
        }
        self.testimony.judge(store, self.net.now);
        for user in USERS {
            let store = self.net.store.as_ref().expect("a store");
            assert!(store.failures > 0 || store.contents.waiting(user) == 0, "something waits for {user}, who is here");
        }
        self.inspect();
    }

    /// What is kept of each room can be read, page by page.
    fn inspect(&mut self) {
        let rooms = self.testimony.rooms();
        let at = self.net.below(self.devices.len() as u64) as usize;
        for room in &rooms {
            self.devices[at].join(&mut self.net, room);
        }
        self.settle();
        for room in &rooms {
            let limit = 1 + self.net.below(60);
            self.devices[at].history(&mut self.net, room, Some(0), limit, true);
        }
        self.settle();
        let store = self.net.store.as_ref().expect("a store");
        for room in &rooms {
            let Some(kept) = store.contents.room(room) else { continue };
            let read = self.devices[at].read.get(room).map_or(&[][..], Vec::as_slice);
            let read: Vec<(u64, String)> = read.iter().map(|(seq, text)| (*seq, format!("{text:?}"))).collect();
            let kept = kept.messages.iter();
            let kept: Vec<(u64, String)> =
                kept.map(|message| (message.seq.unwrap_or(0), message.content.body.to_string())).collect();
            // Some may have been trimmed between two pages.
            let is_same = read.ends_with(&kept);
            assert!(is_same, "the history of {room} is {read:?}, and {kept:?} is kept");
        }
    }

    /// Nobody is there any more, so nothing is kept in memory.
    fn everyone_goes(&mut self) {
        for device in &mut self.devices {
            let how = self.net.below(4);
            device.lose(&mut self.net, how);
        }
        self.advance(180_000);
        let stats = self.net.stats();
        assert_eq!((stats.connections, stats.users, stats.listened_rooms, stats.asks), (0, 0, 0, 0), "all is gone");
        assert_eq!(stats.rooms, 0, "rooms without members rest");
    }
}
