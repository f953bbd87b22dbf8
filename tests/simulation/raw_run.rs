//! A run with raw clients: a time of load, then rest and checks or a drain, then the end of all connections.

use switchboard::base::ids::ConnectionId;
use switchboard::base::rng::Rng;
use switchboard::message::{ShardMessage, ShardNumber};
use switchboard::shard::Shard;

use super::coverage::Coverage;
use super::faulty_store::{FaultyStore, StoreTraits};
use super::history::End;
use super::network::{Delivery, Network, Owner};
use super::raw_client::{ClientStage, ClientTraits, PendingRequest, RawClient};
use super::rest_client::RestClient;
use super::room_checker::{Present, RoomChecker};
use super::setting::{DRAIN_MS, INSPECTOR, Setting, USERS, tokens};

/// What became of a run.
pub(crate) struct Outcome {
    /// A hash of every byte that was written to a client, and when.
    pub(crate) trace: u64,
    pub(crate) tally: Coverage,
}

/// A server and its clients.
pub(crate) struct RawRun {
    pub(crate) setting: Setting,
    pub(crate) net: Network,
    pub(crate) book: RoomChecker,
    pub(crate) peers: Vec<RawClient>,
    pub(crate) callers: Vec<RestClient>,
    /// The connections of those whose bytes make no sense.
    pub(crate) garbage_sockets: Vec<usize>,
}

/// Runs one seed.
pub(crate) fn run(seed: u64) -> Outcome {
    let mut life = RawRun::new(seed);
    let actions = 40 + life.net.below(80);
    for _ in 0..actions {
        life.act();
        life.pass_time();
    }
    if life.net.one_in(4) {
        life.drain();
    } else {
        life.rest();
        life.judge();
        life.inspect();
        life.judge();
        life.everyone_goes();
        life.end();
    }
    Outcome { trace: life.net.trace(), tally: life.book.tally }
}

impl RawRun {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        let setting = Setting::draw(&mut rng);
        let book = RoomChecker::new(&setting);
        let leisure = 1 + rng.below(6);
        let store = FaultyStore::new(StoreTraits::good(leisure), Rng::from_seed(rng.next_u64()), setting.shards());
        let mut net = Network::new(&setting, rng);
        net.store = setting.options.rules.has_store.then_some(store);
        Self { setting, net, book, peers: Vec::new(), callers: Vec::new(), garbage_sockets: Vec::new() }
    }

    /// A user connects, or a guest.
    pub(crate) fn connect(&mut self, user: Option<usize>, expires: bool) -> usize {
        let number = self.peers.len();
        let socket = self.net.connect(Owner::RawClient(number));
        let is_slow = user != Some(INSPECTOR) && self.net.one_in(if self.setting.is_slow { 3 } else { 10 });
        if is_slow {
            self.net.sockets[socket].capacity = 700;
        }
        let nature = ClientTraits { expires, is_guest: user.is_none(), is_slow };
        let tokens = if expires { &tokens().short } else { &tokens().long };
        let token = user.map(|user| format!("&token={}", tokens[user])).unwrap_or_default();
        let head = format!(
            "GET /ws?events=all{token} HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.net.send(socket, head.as_bytes());
        self.peers.push(RawClient::new(number, socket, nature, user.map_or("", |user| USERS[user])));
        number
    }

    /// Lets a few things happen, and now and then all there are; and a little time pass.
    fn pass_time(&mut self) {
        for _ in 0..self.net.below(8) {
            if !self.step() {
                break;
            }
        }
        match self.net.below(40) {
            0 => {
                let ms = self.net.below(6_000);
                self.advance(ms);
                // Everyone's keeper has heard of everyone by now.
                for peer in &mut self.peers {
                    peer.is_settled |= peer.is_open() && !peer.id.is_empty();
                }
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
        if let Some(news) = outcome {
            self.deliver(&news);
        }
        true
    }

    fn deliver(&mut self, news: &Delivery) {
        match self.net.sockets[news.socket].owner {
            Owner::RawClient(at) => self.peers[at].receive(news, &mut self.net, &mut self.book),
            Owner::RestClient(at) => self.callers[at].receive(news, &mut self.net, &mut self.book),
            Owner::Garbage => {
                if news.is_end {
                    self.net.finish(news.socket);
                }
            }
        }
    }

    /// Lets everything happen that happens at this moment.
    pub(crate) fn settle(&mut self) {
        while self.step() {}
        self.net.check_quiet();
    }

    /// Lets time pass, and everything happen in its time.
    pub(crate) fn advance(&mut self, ms: u64) {
        let until = self.net.now.mono + ms;
        self.settle();
        while self.net.now.mono < until {
            self.net.skip(until - self.net.now.mono);
            self.settle();
        }
    }

    /// Nobody asks anything more, everybody reads, and who is silent or has no token left is gone.
    fn rest(&mut self) {
        for socket in &mut self.net.sockets {
            socket.is_stalled = false;
            socket.capacity = 1 << 20;
        }
        let count = self.net.shards.len();
        for shard in &mut self.net.shards {
            (0..count).for_each(|other| shard.set_congested(other as ShardNumber, false));
        }
        self.advance(40_000);
        for peer in self.peers.iter().filter(|peer| peer.is_open()) {
            assert!(!peer.is_silent, "peer {} is silent and still there", peer.number);
            let expires = peer.nature.expires && !peer.is_renewed;
            assert!(!expires, "the token of peer {} has expired and it is still there", peer.number);
        }
    }

    fn judge(&mut self) {
        let stats = self.net.stats();
        assert_eq!(stats.asks, 0, "no question is under way");
        self.peers.iter().filter(|peer| peer.is_open()).for_each(RawClient::check_rest);
        self.callers.iter().for_each(RestClient::check_rest);
        let peers = &self.peers;
        let lost = |id: &str| peers.iter().any(|peer| !peer.is_open() && (peer.id.is_empty() || peer.id == id));
        let has_lost = |name: &str| ConnectionId::parse(name).is_some() && lost(name);
        self.book.judge(&Present { alive: &|peer| peers[peer].is_open(), has_lost: &has_lost });
        self.judge_presence();
        self.judge_connection_limit();
    }

    /// No user has more connections than allowed.
    fn judge_connection_limit(&self) {
        let max = self.setting.options.rules.connections_per_user;
        for user in USERS {
            let open = self.peers.iter().filter(|peer| peer.is_open() && peer.user == user).count();
            assert!(max == 0 || open <= max, "{user} has {open} connections, {max} are allowed");
        }
    }

    /// Whoever hears of presence has heard the last of each user.
    fn judge_presence(&self) {
        let is_there = |user: &str| self.peers.iter().any(|peer| peer.is_open() && peer.user == user);
        for peer in self.peers.iter().filter(|peer| peer.is_open() && !peer.nature.is_slow) {
            for (user, status) in &peer.presence {
                let is_known = self.book.chose_status.contains(user) || !self.book.tells_presence;
                let expected = if is_there(user) { "online" } else { "offline" };
                let is_right = status == expected || (is_known && is_there(user));
                assert!(is_right || !self.book.tells_presence, "{} last heard that {user} is {status}", peer.number);
            }
        }
    }

    /// A newcomer to each room sees who is there.
    fn inspect(&mut self) {
        let inspector = self.connect(Some(INSPECTOR), false);
        self.settle();
        if !self.peers[inspector].is_open() {
            return assert!(self.setting.options.connections != 0, "the inspector is let in");
        }
        for room in self.book.rooms() {
            let fields = format!(r#","roomId":"{room}","peerId":"the inspector""#);
            let asked = PendingRequest { answer: Some("room-joined"), ..PendingRequest::default() };
            self.peers[inspector].ask(&mut self.net, "join-room", &fields, asked);
            self.settle();
            let Some(at) = self.peers[inspector].rooms.get(&room).copied() else { continue };
            let own = &self.book.memberships[at];
            let mut members: Vec<&str> = self.book.members(&room).filter(|name| *name != own.name).collect();
            members.sort_unstable();
            let is_count = self.book.is_count(&room, own.count, 1 + members.len() as u64);
            assert!(is_count, "{room} counts {} members, not 1 and {members:?}", own.count);
            if self.setting.announces_all {
                let seen: Vec<&str> = own.view.keys().map(String::as_str).collect();
                assert_eq!(seen, members, "{room} shows its members to a newcomer");
                self.compare_views(&room, at);
            }
            let asked = PendingRequest { answer: Some("room-left"), ..PendingRequest::default() };
            self.peers[inspector].ask(&mut self.net, "leave-room", &format!(r#","roomId":"{room}""#), asked);
            self.settle();
            assert!(!self.peers[inspector].rooms.contains_key(&room), "the inspector leaves {room}");
        }
        self.advance(2_000);
    }

    /// What a newcomer is shown of the others' media is what members were told of it.
    fn compare_views(&self, room: &str, newcomer: usize) {
        let view = &self.book.memberships[newcomer].view;
        let is_member = |own: &&super::history::Membership| own.room == room && own.end == End::Open;
        for own in self.book.memberships.iter().filter(is_member) {
            for (name, media) in &own.view {
                let shown = view.get(name).unwrap_or(media);
                assert_eq!(shown, media, "{} knows the media of {name} in {room}", own.name);
            }
        }
    }

    fn drain(&mut self) {
        self.book.is_draining = true;
        let now = self.net.now;
        for shard in &mut self.net.shards {
            shard.handle_message(now, ShardMessage::Drain { window_ms: DRAIN_MS });
        }
        for socket in &mut self.net.sockets {
            socket.is_stalled = false;
            socket.capacity = 1 << 20;
        }
        self.advance(DRAIN_MS);
        assert_eq!(self.peers.iter().filter(|peer| peer.is_open()).count(), 0, "everyone is told to go");
        // A server is gone by now, but the rest of its keeping comes to an end, too.
        self.advance(4_000);
        assert!(self.net.shards.iter().all(Shard::is_drained), "{} outlive the drain", self.net.stats().connections);
        let stats = self.net.stats();
        assert_eq!((stats.users, stats.listened_rooms, stats.asks), (0, 0, 0), "nobody is kept after the drain");
    }

    fn everyone_goes(&mut self) {
        for at in 0..self.peers.len() {
            match (self.peers[at].stage, self.net.below(3)) {
                (ClientStage::Over, _) => {}
                (ClientStage::Open, 0) => self.peers[at].close(&mut self.net),
                (_, how) => self.peers[at].vanish(&mut self.net, &mut self.book, how == 1),
            }
        }
        for caller in &mut self.callers {
            caller.finish(&mut self.net);
        }
        for socket in std::mem::take(&mut self.garbage_sockets) {
            self.net.reset(socket);
        }
    }

    /// Nobody is there any more, so nothing is kept but rooms that were made on purpose, and those not for ever.
    fn end(&mut self) {
        self.advance(120_000);
        let stats = self.net.stats();
        assert_eq!((stats.connections, stats.users, stats.listened_rooms, stats.asks), (0, 0, 0, 0), "all is gone");
        let made = self.book.made.len();
        let is_right = stats.rooms.abs_diff(made) <= self.book.unknown_calls;
        assert!(is_right, "{} rooms are left of {made} that were made", stats.rooms);
        self.advance(25 * 3_600_000);
        assert_eq!(self.net.stats().rooms, 0, "no room is kept for ever");
    }
}
