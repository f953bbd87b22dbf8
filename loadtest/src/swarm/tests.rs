use std::net::TcpListener;
use std::time::Instant;

use clap::Parser;

use super::*;
use crate::client::Settings;
use crate::scenario::Choice;
use crate::tally::{Counts, Tally};
use crate::vocabulary::Words;
use crate::words::{Phase, Share};

/// Notes what it hears.
#[derive(Default)]
struct Notes {
    opened: Vec<usize>,
    closed: Vec<usize>,
    heard: Vec<(usize, Vec<u8>)>,
}

impl Play for Notes {
    fn begin(&mut self, _phase: &Phase, _stage: &mut Stage) {}

    fn progress(&self) -> (u64, u64) {
        (0, 0)
    }

    fn opened(&mut self, client: usize, _stage: &mut Stage) {
        self.opened.push(client);
    }

    fn message(&mut self, client: usize, text: &[u8], _stage: &mut Stage) {
        self.heard.push((client, text.to_vec()));
    }

    fn closed(&mut self, client: usize, _stage: &mut Stage) {
        self.closed.push(client);
    }

    fn counts(&self) -> Counts {
        Counts::new()
    }

    fn tally(&self) -> Tally {
        Tally::default()
    }
}

/// Clients of a listener of the test.
struct Scene {
    swarm: Swarm,
    notes: Notes,
    stage: Stage,
    listener: TcpListener,
}

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    choice: Choice,
    #[command(flatten)]
    client: Settings,
}

impl Scene {
    /// Bare connections.
    fn of(clients: usize, opening_max: usize) -> Self {
        Self::with(clients, opening_max, "floor", true)
    }

    fn with(clients: usize, opening_max: usize, arguments: &str, is_bare: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let Line { choice, client } = Line::parse_from(["loadtest"].into_iter().chain(arguments.split(' ')));
        let setup = Setup {
            choice,
            client,
            share: Share { workers: 1, first: 0, clients, opening_max },
            servers: vec![listener.local_addr().expect("its address")],
            words: Words::default(),
            is_bare,
            secret: None,
            patience: Duration::ZERO,
        };
        let swarm = Swarm::new(setup).expect("a poll");
        Self { swarm, notes: Notes::default(), stage: Stage::default(), listener }
    }

    /// The next connection, as soon as there is one.
    fn accept(&mut self) -> std::net::TcpStream {
        let until = Instant::now() + Duration::from_secs(20);
        self.listener.set_nonblocking(true).expect("it is a socket");
        loop {
            if let Ok((stream, _)) = self.listener.accept() {
                return stream;
            }
            assert!(Instant::now() < until, "a connection comes");
            self.turn();
        }
    }

    fn turn(&mut self) {
        let timeout = Duration::from_millis(10);
        self.swarm.turn(timeout, None, &mut self.notes, &mut self.stage).expect("a turn");
    }

    fn turn_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !is_so(self) {
            assert!(Instant::now() < until, "{what}");
            self.turn();
        }
    }
}

#[test]
fn source_addresses_are_used_one_after_the_other_and_on_loopback_only() {
    let loopback: SocketAddr = "127.0.0.1:80".parse().expect("an address");
    let from = |connection| source(loopback, connection).map(|address| address.to_string());
    assert_eq!(from(0).as_deref(), Some("127.0.1.1:0"));
    assert_eq!(from(PER_ADDRESS - 1).as_deref(), Some("127.0.1.1:0"));
    assert_eq!(from(PER_ADDRESS).as_deref(), Some("127.0.1.2:0"));
    assert_eq!(source("192.0.2.1:80".parse().expect("an address"), 0), None);
    assert_eq!(source("[::1]:80".parse().expect("an address"), 0), None);
}

#[test]
fn all_are_opened_though_only_one_at_a_time() {
    let mut scene = Scene::of(5, 1);
    scene.swarm.open_all();
    assert_eq!((scene.swarm.open, scene.swarm.opening()), (0, 5));
    scene.turn_until("all are open", |scene| scene.swarm.open == 5);
    assert_eq!((scene.notes.opened.as_slice(), scene.swarm.opening()), ([0, 1, 2, 3, 4].as_slice(), 0));
    scene.swarm.close_all(&mut scene.stage);
    assert_eq!((scene.swarm.open, scene.notes.closed.len()), (0, 0));
}

#[test]
fn a_client_that_pauses_hears_everything_when_it_resumes() {
    let mut scene = Scene::of(1, 1);
    scene.stage.open(0);
    scene.turn_until("it is open", |scene| scene.swarm.open == 1);
    let mut peer = scene.accept();
    scene.stage.pause(0);
    scene.turn();
    peer.write_all(b"one").expect("it is connected");
    // The kernel tells of the bytes once, while nobody reads them.
    for _ in 0..5 {
        scene.turn();
    }
    assert!(scene.notes.heard.is_empty());
    scene.stage.resume(0);
    scene.turn_until("it has heard", |scene| !scene.notes.heard.is_empty());
    assert_eq!(scene.notes.heard, [(0, b"one".to_vec())]);
}

#[test]
fn an_end_that_came_while_a_client_paused_is_found_when_it_resumes() {
    let mut scene = Scene::of(1, 1);
    scene.stage.open(0);
    scene.turn_until("it is open", |scene| scene.swarm.open == 1);
    let mut peer = scene.accept();
    scene.stage.pause(0);
    scene.turn();
    peer.write_all(b"one").expect("it is connected");
    drop(peer);
    for _ in 0..5 {
        scene.turn();
    }
    assert_eq!(scene.swarm.open, 1);
    scene.stage.resume(0);
    scene.turn_until("it is closed", |scene| scene.swarm.closed == 1);
    assert_eq!((scene.notes.heard, scene.notes.closed), (vec![(0, b"one".to_vec())], vec![0]));
}

#[test]
fn a_client_that_was_closed_comes_again() {
    let mut scene = Scene::of(2, 2);
    scene.swarm.open_all();
    scene.turn_until("both are open", |scene| scene.swarm.open == 2);
    let peers = [scene.accept(), scene.accept()];
    scene.stage.close(1);
    scene.turn();
    assert_eq!((scene.swarm.open, scene.swarm.closed), (1, 0));
    scene.stage.open(1);
    scene.turn_until("it is open again", |scene| scene.swarm.open == 2);
    let mut again = scene.accept();
    again.write_all(b"hello").expect("it is connected");
    scene.turn_until("it has heard", |scene| !scene.notes.heard.is_empty());
    assert_eq!(scene.notes.heard, [(1, b"hello".to_vec())]);
    drop((peers, again));
    scene.turn_until("both are closed", |scene| scene.notes.closed.len() == 2);
    assert_eq!((scene.swarm.open, scene.swarm.closed), (0, 2));
}

#[test]
fn what_the_server_does_not_take_waits_and_is_sent_when_it_does() {
    let mut scene = Scene::of(1, 1);
    scene.stage.open(0);
    scene.turn_until("it is open", |scene| scene.swarm.open == 1);
    let mut peer = scene.accept();
    let (chunk, chunks) = (vec![b'x'; 1 << 20], 16);
    (0..chunks).for_each(|_| scene.stage.send(0, &chunk));
    scene.turn_until("the kernel has enough", |scene| scene.stage.unsent_bytes() > 0);
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; chunks << 20];
        peer.read_exact(&mut all).map(|()| peer)
    });
    scene.turn_until("all is sent", |scene| scene.stage.unsent_bytes() == 0);
    assert!(reader.join().expect("no panic").is_ok());
}

/// A server's end of a connection.
struct Peer(std::net::TcpStream);

impl Peer {
    fn answer(&mut self, body: &str) {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        self.0.write_all([head.as_str(), body].concat().as_bytes()).expect("it is connected");
    }

    /// Goes on until something has come that ends so.
    fn hears(&mut self, scene: &mut Scene, end: &str) -> String {
        self.0.set_nonblocking(true).expect("it is a socket");
        let (mut said, mut buffer) = (String::new(), [0; 4096]);
        let until = Instant::now() + Duration::from_secs(20);
        while !said.ends_with(end) {
            assert!(Instant::now() < until, "{end:?} comes, not only {said:?}");
            scene.turn();
            if let Ok(count) = self.0.read(&mut buffer) {
                said += str::from_utf8(&buffer[..count]).expect("requests are text");
            }
        }
        self.0.set_nonblocking(false).expect("it is a socket");
        said
    }
}

/// A polling client that is open, and its lanes: of the requests that wait for packets, and of those that bring some.
fn polling() -> (Scene, Peer, Peer) {
    let mut scene = Scene::with(1, 1, "floor --dialect socketio --transport polling", false);
    scene.stage.open(0);
    scene.turn();
    let lanes = [Peer(scene.accept()), Peer(scene.accept())];
    // Lanes connect in whatever order; the first request is on one of them only.
    scene.turn_until("a request has come", |_| {
        lanes.iter().any(|Peer(lane)| {
            lane.set_nonblocking(true).expect("it is a socket");
            lane.peek(&mut [0]).is_ok()
        })
    });
    let [mut get, mut post] = lanes;
    if get.0.peek(&mut [0]).is_err() {
        (get, post) = (post, get);
    }
    get.hears(&mut scene, "\r\n\r\n");
    get.answer(r#"0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#);
    post.hears(&mut scene, "40/chat,");
    post.answer("ok");
    get.hears(&mut scene, "\r\n\r\n");
    assert_eq!((scene.swarm.open, scene.swarm.opening()), (0, 1));
    get.answer(r#"40/chat,{"sid":"t"}"#);
    get.hears(&mut scene, "\r\n\r\n");
    assert_eq!((scene.swarm.open, scene.notes.opened.as_slice()), (1, [0].as_slice()));
    (scene, get, post)
}

#[test]
fn a_client_of_two_lanes_pauses_on_both() {
    let (mut scene, mut get, mut post) = polling();
    scene.stage.send(0, br#"["a"]"#);
    scene.stage.send(0, br#"["b"]"#);
    post.hears(&mut scene, r#"42/chat,["a"]"#);
    // What waits for the answer to a request counts as unsent.
    assert_eq!(scene.stage.unsent_bytes(), br#"42/chat,["b"]"#.len());
    scene.stage.pause(0);
    scene.turn();
    get.answer(r#"42/chat,["c"]"#);
    post.answer("ok");
    for _ in 0..5 {
        scene.turn();
    }
    assert!(scene.notes.heard.is_empty() && scene.stage.unsent_bytes() > 0);
    scene.stage.resume(0);
    post.hears(&mut scene, r#"42/chat,["b"]"#);
    get.hears(&mut scene, "\r\n\r\n");
    assert_eq!(scene.notes.heard, [(0, br#"["c"]"#.to_vec())]);
    assert_eq!(scene.stage.unsent_bytes(), 0);
    scene.stage.send(0, br#"["d"]"#);
    scene.turn();
    assert!(scene.stage.unsent_bytes() > 0);
    scene.stage.close(0);
    scene.turn();
    assert_eq!((scene.swarm.open, scene.stage.unsent_bytes()), (0, 0));
}

#[test]
fn a_lane_that_ends_with_its_last_answer_is_opened_again() {
    let (mut scene, _get, mut post) = polling();
    scene.stage.send(0, br#"["a"]"#);
    post.hears(&mut scene, r#"42/chat,["a"]"#);
    post.answer("ok");
    drop(post);
    for _ in 0..5 {
        scene.turn();
    }
    scene.stage.send(0, br#"["b"]"#);
    scene.turn();
    Peer(scene.accept()).hears(&mut scene, r#"42/chat,["b"]"#);
    assert_eq!((scene.swarm.open, scene.swarm.closed), (1, 0));
}

#[test]
fn why_the_first_was_closed_is_known() {
    let (mut scene, mut get, _post) = polling();
    get.answer("41/chat,");
    scene.turn_until("it is closed", |scene| scene.swarm.closed == 1);
    assert_eq!(scene.swarm.why_closed.as_deref(), Some("the server closed the conversation"));
}

#[test]
fn the_timer_ends_a_wait_before_the_timeout() {
    let mut scene = Scene::of(1, 1);
    let (start, until) = (Instant::now(), mark::now_ns() + 2_000_000);
    let outcome = scene.swarm.turn(Duration::from_secs(20), Some(until), &mut scene.notes, &mut scene.stage);
    assert!(!outcome.expect("a turn"));
    assert!(mark::now_ns() >= until && start.elapsed() < Duration::from_secs(20));
}
