//! Three servers, their Redis, and clients that send load while a test injects faults.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{ClientStatus, ClusterClient, END, FINISH, SharedState, TALK};
use crate::npm_clients::PREFIX;
use support::fault_proxy::FaultProxy;
use support::http::{ask, bearer};
use support::lossy_client::LossyClient;
use support::redis::RedisServer;
use support::room_log::{RoomLog, room_name};
use support::server::{Server, command_at, token};

pub(crate) const NODES: usize = 3;
const PEOPLE: usize = 60;
const ROOMS: usize = 20;

/// Within this everybody sees the same again after a fault.
pub(crate) const CONVERGENCE: Duration = Duration::from_secs(20);

/// See the module.
pub(crate) struct ClusterTest {
    name: &'static str,
    /// The one Redis that keeps everything, unless the test has brought others.
    redis: Option<RedisServer>,
    url: String,
    /// Each node's way to Redis.
    pub(crate) proxies: Vec<FaultProxy>,
    pub(crate) nodes: Vec<Option<Server>>,
    settings: Vec<String>,
    /// Whether epochs end here, because Redis loses what it has kept.
    forgets: bool,
    figures: Figures,
}

/// What came of the faults.
#[derive(Default)]
struct Figures {
    faults: usize,
    /// Until everybody is acknowledged again.
    resumed: Vec<Duration>,
    /// Until all nodes see the same clients.
    converged: Vec<Duration>,
}

/// Ends everybody when somebody has failed.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// The clients of a test, while they live.
pub(crate) struct ClientPool<'a> {
    world: &'a SharedState,
    shown: &'a [Mutex<ClientStatus>],
}

impl ClientPool<'_> {
    /// What one of them shows.
    pub(crate) fn shown(&self, person: usize) -> MutexGuard<'_, ClientStatus> {
        self.shown[person].lock().expect("nobody failed with it")
    }

    /// Waits until something holds, and gives up when somebody has failed.
    pub(crate) fn wait(&self, what: &str, within: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
        let since = Instant::now();
        while !is_so() {
            assert!(!self.world.is_broken.load(Ordering::Relaxed), "somebody has failed");
            assert!(since.elapsed() < within, "{what}: not within {within:?}");
            thread::sleep(Duration::from_millis(10)); // the pause of a wait that has an end
        }
        since.elapsed()
    }

    /// Waits until everybody is in their rooms, and everybody who speaks was acknowledged some times from now on.
    pub(crate) fn wait_for_talk(&self) -> Duration {
        let count = || self.shown.iter().map(|shown| shown.lock().expect("it").receipts).collect::<Vec<_>>();
        let before = count();
        self.wait("everybody talks", 2 * CONVERGENCE, || {
            let now = count();
            let speak = (0..PEOPLE).filter(|person| speaks(*person)).all(|person| now[person] >= before[person] + 3);
            speak && (0..PEOPLE).all(|person| self.shown(person).is_settled)
        })
    }

    /// How much of something all of them show.
    pub(crate) fn total<T: Default + AddAssign>(&self, of: impl Fn(&ClientStatus) -> T) -> T {
        let mut total = T::default();
        (0..PEOPLE).for_each(|person| total += of(&self.shown(person)));
        total
    }

    pub(crate) fn all(&self) -> std::ops::Range<usize> {
        0..PEOPLE
    }
}

/// Which rooms a person is in.
pub(crate) fn rooms_of(person: usize) -> [usize; 2] {
    let (first, step) = (person % ROOMS, 1 + person / ROOMS * 3);
    [first, (first + step) % ROOMS]
}

fn speaks(person: usize) -> bool {
    person.is_multiple_of(2)
}

/// Who is in a room.
fn members(room: usize) -> BTreeSet<String> {
    let is_in = |person: &usize| rooms_of(*person).contains(&room);
    (0..PEOPLE).filter(is_in).map(|person| format!("person-{person}")).collect()
}

impl ClusterTest {
    /// Three nodes on a Redis that keeps what it is told, each by its own way if there are to be proxies.
    pub(crate) fn start(name: &'static str, has_proxies: bool, settings: &[&str]) -> Self {
        let redis = RedisServer::start_keeping();
        let proxies = (0..NODES).filter(|_| has_proxies).map(|_| FaultProxy::to(redis.port())).collect();
        let url = redis.url();
        Self::set(name, Some(redis), url, proxies, settings)
    }

    /// Three nodes on what is at this address.
    pub(crate) fn at(name: &'static str, url: String) -> Self {
        Self::set(name, None, url, Vec::new(), &[])
    }

    fn set(
        name: &'static str,
        redis: Option<RedisServer>,
        url: String,
        proxies: Vec<FaultProxy>,
        settings: &[&str],
    ) -> Self {
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let (nodes, figures) = ((0..NODES).map(|_| None).collect(), Figures::default());
        let mut harness = Self { name, redis, url, proxies, nodes, settings, forgets: false, figures };
        (0..NODES).for_each(|node| harness.start_node(node, "127.0.0.1:0"));
        harness
    }

    /// The one Redis that keeps everything.
    pub(crate) fn redis(&mut self) -> &mut RedisServer {
        self.redis.as_mut().expect("there is one")
    }

    /// Redis may lose what it has kept.
    pub(crate) fn that_forgets(mut self) -> Self {
        self.forgets = true;
        self
    }

    /// Starts a node.
    pub(crate) fn start_node(&mut self, node: usize, address: &str) {
        let url = self.proxies.get(node).map_or_else(|| self.url.clone(), FaultProxy::url);
        let url = format!("redis.url={url}");
        let usual = [
            "rooms.create_on_join=always",
            "rooms.retention_messages=0",
            "presence.scope=none",
            "limits.rest_per_minute=0",
            "log.level=error",
            &url,
        ];
        let mut arguments = vec!["--shards", "2"];
        let settings = self.settings.iter().map(String::as_str);
        usual.into_iter().chain(settings).for_each(|setting| arguments.extend(["--set", setting]));
        self.nodes[node] = Some(Server::spawn(&mut command_at(address, &arguments, &[])));
    }

    /// The address of a node that is there.
    pub(crate) fn address(&self, node: usize) -> &str {
        &self.nodes[node].as_ref().expect("it is there").address
    }

    /// Whether a node says that it is ready.
    pub(crate) fn is_ready(&self, node: usize) -> bool {
        ask(self.address(node), "GET", "/readyz", &[], None).status == 200
    }

    /// Waits until everything is as before a fault that happened at `since`.
    pub(crate) fn recover(&mut self, pool: &ClientPool<'_>, since: Instant) {
        self.figures.faults += 1;
        pool.wait_for_talk();
        self.figures.resumed.push(since.elapsed());
        let left = CONVERGENCE.saturating_sub(since.elapsed());
        pool.wait("all nodes see the same", left.max(Duration::from_secs(2)), || self.is_of_one_mind());
        self.figures.converged.push(since.elapsed());
    }

    /// Whether all nodes know the same clients, in all rooms and in all.
    fn is_of_one_mind(&self) -> bool {
        let key = bearer(&token("admin", &json!({ "role": "admin" })));
        (0..NODES).all(|node| {
            let get = |path: &str| ask(self.address(node), "GET", path, &[&key], None).json();
            let connected = get("/websocket/users/connected?limit=500");
            let is_one_of_them = |view: &&Value| !view.to_string().contains(PREFIX);
            let users = connected["users"].as_array().map_or(0, |users| users.iter().filter(is_one_of_them).count());
            let in_rooms = (0..ROOMS).all(|room| {
                let view = get(&format!("/api/rooms/{}", room_name(room)));
                let peers = view["peers"].as_array().cloned().unwrap_or_default();
                let peers = peers.iter().filter(is_one_of_them);
                let peers: BTreeSet<String> =
                    peers.filter_map(|peer| peer["peerId"].as_str()).map(str::to_owned).collect();
                peers == members(room)
            });
            users == PEOPLE && in_rooms
        })
    }

    /// Has everybody talk while `act` does what it does; then holds what everybody was told against what is kept.
    pub(crate) fn play(mut self, act: impl FnOnce(&mut Self, &ClientPool<'_>)) {
        let nodes = (0..NODES).map(|node| self.address(node).to_owned()).collect();
        let (phase, is_broken) = (AtomicU8::new(TALK), AtomicBool::new(false));
        let world = SharedState { nodes, phase, is_broken };
        let shown: Vec<Mutex<ClientStatus>> = (0..PEOPLE).map(|_| Mutex::default()).collect();
        let mut persons: Vec<ClusterClient<'_>> = (0..PEOPLE)
            .map(|person| ClusterClient::new(person, rooms_of(person), speaks(person), &world, &shown[person]))
            .collect();
        let pool = ClientPool { world: &world, shown: &shown };
        let logs = thread::scope(|scope| {
            let _alarm = StopOnPanic(&world.is_broken);
            for person in &mut persons {
                let is_broken = &world.is_broken;
                scope.spawn(move || {
                    let _alarm = StopOnPanic(is_broken);
                    person.live();
                });
            }
            pool.wait_for_talk();
            pool.wait("all nodes see the same", CONVERGENCE, || self.is_of_one_mind());
            act(&mut self, &pool);
            let logs = self.finish(&pool);
            world.phase.store(END, Ordering::Relaxed);
            logs
        });
        let told: usize = persons
            .iter()
            .flat_map(|person| person.places.iter().map(|place| (&person.user, place)))
            .map(|(user, place)| place.check(user, &logs[place.room]))
            .sum();
        check_that_all_agree(&persons, self.forgets);
        self.report(&pool, told);
    }

    /// Has everybody come to an end of what they say and hear all of it; what is kept of it.
    fn finish(&self, pool: &ClientPool<'_>) -> Vec<RoomLog> {
        pool.world.phase.store(FINISH, Ordering::Relaxed);
        pool.wait("everything is acknowledged", 2 * CONVERGENCE, || {
            pool.all().all(|person| {
                let shown = pool.shown(person);
                shown.is_settled && shown.pending == 0
            })
        });
        let mut clerk = LossyClient::connect(self.address(0), "clerk").expect("the node is there");
        let logs: Vec<RoomLog> = (0..ROOMS).map(|room| RoomLog::read(&mut clerk, room)).collect();
        pool.wait("everything is heard", CONVERGENCE, || {
            pool.all().all(|person| {
                let is_at_the_end = |(room, epoch, last): &(usize, String, u64)| {
                    (epoch, *last) == (&logs[*room].epoch, logs[*room].messages.len() as u64)
                };
                pool.shown(person).places.iter().all(is_at_the_end)
            })
        });
        logs
    }

    fn report(&self, pool: &ClientPool<'_>, told: usize) {
        let Figures { faults, resumed, converged } = &self.figures;
        let worst = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
        let slowest = pool.all().map(|person| pool.shown(person).slowest).max().unwrap_or_default();
        eprintln!(
            "{}: {faults} times; {} messages acknowledged and {told} told, none lost, none twice; talk again after at most \
             {:.1?}, of one mind after {:.1?}, the slowest answer after {slowest:.1?}; {} connections, {} without a way back, \
             {} refusals, {} rooms ended",
            self.name,
            pool.total(|shown| shown.receipts),
            worst(resumed),
            worst(converged),
            pool.total(|shown| shown.connections),
            pool.total(|shown| shown.anew),
            pool.total(|shown| shown.refused),
            pool.total(|shown| shown.closed),
        );
    }
}

/// Whatever two clients were told of a number of a room is the same, and no message has two numbers.
fn check_that_all_agree(persons: &[ClusterClient<'_>], forgets: bool) {
    let mut known: BTreeMap<(usize, &str, u64), &str> = BTreeMap::new();
    let mut numbers: BTreeMap<(usize, &str, &str), u64> = BTreeMap::new();
    let mut epochs: BTreeSet<(usize, &str)> = BTreeSet::new();
    for (user, place) in persons.iter().flat_map(|person| person.places.iter().map(|place| (&person.user, place))) {
        for (epoch, told) in &place.told {
            epochs.insert((place.room, epoch));
            for (seq, content) in &told.contents {
                let first = known.entry((place.room, epoch, *seq)).or_insert(content);
                assert_eq!(first, content, "{user} was told something else of {seq}");
                let first = numbers.entry((place.room, epoch, content)).or_insert(*seq);
                assert_eq!(first, seq, "{user} was told {content:?} twice");
            }
        }
    }
    assert!(forgets || epochs.len() <= ROOMS, "rooms began anew: {epochs:?}");
}
