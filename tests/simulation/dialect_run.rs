//! A run whose clients use all dialects and transports in the same rooms: load, then rest and checks or a drain, then
//! the end of all connections.

use switchboard::base::rng::Rng;
use switchboard::message::{ShardMessage, ShardNumber};
use switchboard::shard::Shard;

use super::dialect_checker::{DialectChecker, Places};
use super::dialect_client::{ClientDialect, DialectClient};
use super::engineio_client::TransportChoice;
use super::network::{Network, Owner};
use super::raw_run::Outcome;
use super::setting::{DRAIN_MS, PEOPLE_MAX, Setting};

const ROOMS: [&str; 3] = ["r0", "r1", "r2"];

/// Clients at once.
const TALKERS_MAX: usize = 12;

/// The client that stays in all rooms, so that they stay the same.
const ANCHOR: usize = 0;

/// What clients send that ends their session.
const NONSENSE: [&str; 5] = ["x", "4", "42/chat,{}", "42/nowhere,[\"a\"]", "451-/chat,[\"a\"]\u{1e}2"];

struct DialectRun {
    net: Network,
    ledger: DialectChecker,
    talkers: Vec<DialectClient>,
}

/// Runs one seed.
pub(crate) fn run(seed: u64) -> Outcome {
    let mut rng = Rng::from_seed(seed);
    let setting = Setting::draw_mingled(&mut rng);
    let net = Network::new(&setting, rng);
    let mut life = DialectRun { net, ledger: DialectChecker::default(), talkers: Vec::new() };
    life.begin();
    for _ in 0..40 + life.net.below(80) {
        life.act();
        life.pass_time();
    }
    let is_drained = life.net.one_in(4);
    if is_drained {
        life.drain();
    } else {
        life.rest();
        life.judge();
        life.everyone_goes();
        life.end();
    }
    if life.net.stats().moved > 0 {
        life.ledger.tally.count("moved to another shard");
    }
    Outcome { trace: life.net.trace(), tally: life.ledger.tally }
}

impl DialectRun {
    fn begin(&mut self) {
        self.connect(ClientDialect::Raw);
        self.settle();
        for room in ROOMS {
            self.talkers[ANCHOR].join(room, &mut self.net);
        }
        self.settle();
        assert_eq!(self.talkers[ANCHOR].rooms.len(), ROOMS.len());
    }

    fn connect(&mut self, speech: ClientDialect) {
        let number = self.talkers.len();
        let way = [TransportChoice::WebSocket, TransportChoice::Polling, TransportChoice::Upgrade]
            [self.net.below(3) as usize];
        let with_main = self.net.one_in(2);
        self.talkers.push(DialectClient::connect(number, speech, way, with_main, &mut self.net));
    }

    /// Somebody does something.
    fn act(&mut self) {
        let there = self.talkers.iter().filter(|talker| !talker.is_over()).count();
        if there < 4 || (there < TALKERS_MAX && self.net.one_in(5)) {
            let speech = [ClientDialect::Raw, ClientDialect::Colon, ClientDialect::Camel][self.net.below(3) as usize];
            if self.talkers.len() < PEOPLE_MAX {
                self.connect(speech);
            }
            return;
        }
        let able: Vec<usize> = (0..self.talkers.len()).filter(|at| self.talkers[*at].is_able()).collect();
        let Some(at) = able.get(self.net.below(able.len() as u64) as usize).copied() else { return };
        let is_nowhere = self.talkers[at].rooms.is_empty() && !self.net.one_in(4);
        match self.net.below(if is_nowhere { 16 } else { 60 }) {
            0..16 => {
                let room = ROOMS[self.net.below(3) as usize];
                if !self.talkers[at].rooms.contains_key(room) {
                    self.talkers[at].join(room, &mut self.net);
                }
            }
            16..20 if at != ANCHOR => {
                let room = self.room(at);
                self.talkers[at].leave(&room, &mut self.net);
            }
            20..40 => self.send(at, 1),
            40..42 => {
                let count = 10 + self.net.below(20);
                self.send(at, count);
            }
            42..47 => {
                let (room, is_typing) = (self.room(at), self.net.one_in(2));
                self.talkers[at].type_text(&room, is_typing, &mut self.net);
            }
            47..51 => self.send_to_user(),
            51..55 if at != ANCHOR => self.go(at),
            55 if at != ANCHOR => self.be_odd(at),
            56..58 => {
                let count = self.net.shards.len() as u64;
                let (one, other) = (self.net.below(count) as usize, self.net.below(count) as ShardNumber);
                let is_congested = self.net.one_in(2);
                self.net.shards[one].set_congested(other, is_congested);
            }
            _ => self.settle(),
        }
    }

    /// A room, most often one that the client is in.
    fn room(&mut self, at: usize) -> String {
        let own: Vec<&String> = self.talkers[at].rooms.keys().collect();
        match own.get(self.net.below(own.len().max(1) as u64) as usize) {
            Some(room) if !self.net.one_in(8) => (*room).clone(),
            _ => ROOMS[self.net.below(3) as usize].to_owned(),
        }
    }

    fn send(&mut self, at: usize, count: u64) {
        let room = self.room(at);
        for _ in 0..count {
            let content = self.ledger.content();
            self.ledger.draft(&content, &room, at);
            self.talkers[at].send(&room, &content, &mut self.net);
        }
    }

    /// The one who stays sends to all connections of somebody.
    fn send_to_user(&mut self) {
        // Everyone's keeper has heard of everyone.
        self.settle();
        let to = self.net.below(self.talkers.len() as u64) as usize;
        let talker = &self.talkers[to];
        let mut places = Places::new();
        if talker.is_able() {
            places.insert((to, if talker.speech == ClientDialect::Raw { "raw" } else { "/chat" }.to_owned()));
            if talker.is_in_main {
                places.insert((to, "/".to_owned()));
            }
        }
        let (content, user) = (self.ledger.content(), talker.user.clone());
        self.ledger.direct(&content, places);
        self.talkers[ANCHOR].send_to_user(&user, &content, &mut self.net);
    }

    fn go(&mut self, at: usize) {
        let (talker, net, ledger) = (&mut self.talkers[at], &mut self.net, &mut self.ledger);
        let how = match net.below(6) {
            0 => {
                talker.close(net, ledger);
                "says goodbye"
            }
            1..3 => {
                talker.vanish(true, net, ledger);
                "is reset"
            }
            3 => {
                talker.vanish(false, net, ledger);
                "ends its side"
            }
            4 if talker.speech != ClientDialect::Raw => {
                talker.leave_chat(net, ledger);
                "leaves /chat"
            }
            _ => {
                talker.fall_silent();
                "falls silent"
            }
        };
        ledger.tally.count(&format!("{:?} {how}", talker.speech));
    }

    fn be_odd(&mut self, at: usize) {
        let talker = &mut self.talkers[at];
        if talker.speech != ClientDialect::Raw {
            talker.is_odd = true;
            for packet in NONSENSE[self.net.below(5) as usize].split('\u{1e}') {
                talker.post(packet.to_owned(), &mut self.net);
            }
        }
    }

    fn pass_time(&mut self) {
        for _ in 0..self.net.below(12) {
            if !self.step() {
                break;
            }
        }
        match self.net.below(40) {
            0 => {
                let ms = self.net.below(6_000);
                self.advance(ms);
            }
            1..4 => self.settle(),
            4..20 => {
                let ms = self.net.below(30);
                self.net.delay(ms);
            }
            _ => {}
        }
    }

    fn step(&mut self) -> bool {
        let Some(outcome) = self.net.step() else { return false };
        if let Some(news) = outcome
            && let Owner::RawClient(at) = self.net.sockets[news.socket].owner
        {
            let was_moved = self.talkers[at].is_on_websocket();
            self.talkers[at].receive(&news, &mut self.net, &mut self.ledger);
            if !was_moved && self.talkers[at].is_on_websocket() {
                self.ledger.tally.count("on a WebSocket");
            }
        }
        true
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

    /// Nobody asks anything more, and who is silent or made no sense is gone.
    fn rest(&mut self) {
        let count = self.net.shards.len();
        for shard in &mut self.net.shards {
            (0..count).for_each(|other| shard.set_congested(other as ShardNumber, false));
        }
        self.advance(40_000);
        for talker in &mut self.talkers {
            // Whoever polls and is silent does not learn that it is gone.
            if talker.is_silent && !talker.is_over() {
                assert!(talker.is_polling(), "talker {} is silent and still there", talker.number);
                talker.vanish(true, &mut self.net, &mut self.ledger);
            }
        }
        let there = self.talkers.iter().filter(|talker| !talker.is_over() && (talker.is_ready || talker.is_in_main));
        assert_eq!(self.net.stats().users, there.count(), "only who can be seen is there");
    }

    fn judge(&mut self) {
        assert_eq!(self.net.stats().asks, 0, "no question is under way");
        for talker in self.talkers.iter().filter(|talker| talker.is_able()) {
            talker.check_rest();
        }
        let talkers = &self.talkers;
        self.ledger.judge(&|at| talkers[at].is_able());
        // Whoever is there hears of one more message, and nobody else does.
        let heard = self.ledger.content();
        self.ledger.draft(&heard, ROOMS[0], ANCHOR);
        self.talkers[ANCHOR].send(ROOMS[0], &heard, &mut self.net);
        self.settle();
        let talkers = &self.talkers;
        self.ledger.judge(&|at| talkers[at].is_able());
    }

    fn drain(&mut self) {
        self.ledger.is_draining = true;
        let now = self.net.now;
        for shard in &mut self.net.shards {
            shard.handle_message(now, ShardMessage::Drain { window_ms: DRAIN_MS });
        }
        self.advance(DRAIN_MS + 4_000);
        assert!(self.net.shards.iter().all(Shard::is_drained), "{} outlive the drain", self.net.stats().connections);
        let stats = self.net.stats();
        assert_eq!((stats.users, stats.listened_rooms, stats.asks), (0, 0, 0), "nobody is kept after the drain");
        self.ledger.tally.count("drained");
    }

    fn everyone_goes(&mut self) {
        for at in 0..self.talkers.len() {
            let (talker, net, ledger) = (&mut self.talkers[at], &mut self.net, &mut self.ledger);
            match (talker.is_over(), net.below(3)) {
                (true, _) => {}
                (false, 0) if talker.is_able() => talker.close(net, ledger),
                (false, how) => talker.vanish(how == 1, net, ledger),
            }
        }
    }

    /// Nobody is there any more, so nothing is kept.
    fn end(&mut self) {
        self.advance(120_000);
        let stats = self.net.stats();
        assert_eq!((stats.connections, stats.users, stats.listened_rooms, stats.asks), (0, 0, 0, 0), "all is gone");
        assert_eq!(stats.rooms, 0, "rooms that nobody is in end");
    }
}
