//! Redis is restarted, paused, cut off or full, or loses its scripts; its data stays.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{CONVERGENCE, ClientPool, ClusterTest, NODES};
use crate::{asked, times};
use support::fault_proxy::FaultProxy;
use support::lossy_client::LossyClient;
use support::room_log::text;

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

/// Within this whoever needs Redis is told that it is away.
const ANSWER: Duration = Duration::from_millis(2_500);

/// Two members of one node who signal to each other, whatever becomes of Redis.
struct SignalingPair {
    ann: LossyClient,
    bo: LossyClient,
    said: usize,
}

impl SignalingPair {
    fn meet(harness: &ClusterTest, node: usize) -> Self {
        let [ann, bo] = ["ann", "bo"].map(|name| {
            let user = format!("{name}-of-{node}");
            let mut line = LossyClient::connect(harness.address(node), &user).expect("the node is there");
            let room = format!("pair-{node}");
            line.send(&json!({ "type": "join-room", "roomId": room, "peerId": user })).expect("it lives");
            line.wait_for("room-joined", drop).expect("it lives");
            line
        });
        Self { ann, bo, said: 0 }
    }

    /// One signals to the other, while Redis is away; and is told so when they need it.
    fn signal_without_redis(&mut self, node: usize) {
        self.said += 1;
        let (room, sdp) = (format!("pair-{node}"), format!("sdp {}", self.said));
        let offer = json!({
            "type": "offer", "roomId": room, "fromPeerId": format!("ann-of-{node}"),
            "toPeerId": format!("bo-of-{node}"), "offer": { "type": "offer", "sdp": sdp },
        });
        self.ann.send(&offer).expect("it lives");
        let heard = self.bo.wait_for("offer", drop).expect("it lives");
        assert_eq!(heard["offer"]["sdp"], sdp, "{heard}");
        let since = Instant::now();
        self.ann
            .send(&json!({ "type": "message", "roomId": room, "content": "lost", "requestId": "lost" }))
            .expect("it lives");
        let answer = self.ann.wait_for("error", drop).expect("it lives");
        assert_eq!((text(&answer, "code"), text(&answer, "requestId")), ("STORAGE_UNAVAILABLE".into(), "lost".into()));
        assert!(since.elapsed() < ANSWER, "{:?}", since.elapsed());
    }
}

/// Redis is away for these nodes until the test has it back: what works meanwhile, and for how long.
fn get_by_without_redis(
    harness: &ClusterTest,
    pool: &ClientPool<'_>,
    nodes: &[usize],
    pairs: &mut [SignalingPair],
    for_so_long: Duration,
) {
    let since = Instant::now();
    pool.wait("nodes say that they are not ready", Duration::from_secs(10), || {
        nodes.iter().all(|node| !harness.is_ready(*node))
    });
    eprintln!("not ready after {:.1?}", since.elapsed());
    for node in nodes {
        pairs[*node].signal_without_redis(*node);
    }
    thread::sleep(for_so_long.saturating_sub(since.elapsed())); // so long is the fault
}

/// Ways in which Redis is away for some nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum RedisFault {
    Restarted,
    Paused,
    Cut,
    Swallowed,
    /// Redis hears the node, but not the other way round.
    NoReplies,
    /// The node hears Redis, but not the other way round.
    NoRequests,
}

fn redis_is_away(name: &'static str, fault: RedisFault, usual: usize, seconds: u64) {
    let has_proxies = !matches!(fault, RedisFault::Restarted | RedisFault::Paused);
    ClusterTest::start(name, has_proxies, &[]).play(|harness, pool| {
        let mut pairs: Vec<SignalingPair> = (0..NODES).map(|node| SignalingPair::meet(harness, node)).collect();
        for round in 0..times(usual) {
            let since = Instant::now();
            let all: Vec<usize> = (0..NODES).collect();
            let one = [round % NODES];
            let long = Duration::from_secs(asked().map_or(seconds, |_| 10));
            match fault {
                RedisFault::Restarted => {
                    harness.redis().restart_keeping(if round.is_multiple_of(2) { SIGKILL } else { SIGTERM })
                }
                RedisFault::Paused => {
                    harness.redis().signal(SIGSTOP);
                    get_by_without_redis(harness, pool, &all, &mut pairs, long);
                    harness.redis().signal(SIGCONT);
                }
                fault => {
                    cut_off(&harness.proxies[one[0]], fault);
                    get_by_without_redis(harness, pool, &one, &mut pairs, Duration::from_secs(1));
                    harness.proxies[one[0]].restore();
                }
            }
            let back = Instant::now();
            pool.wait("all nodes are ready", CONVERGENCE, || (0..NODES).all(|node| harness.is_ready(node)));
            eprintln!("{name}: ready {:.1?} after Redis is back", back.elapsed());
            leave_pairs(&mut pairs);
            harness.recover(pool, since);
            pairs = (0..NODES).map(|node| SignalingPair::meet(harness, node)).collect();
        }
        leave_pairs(&mut pairs);
        assert_eq!(pool.total(|shown| shown.closed), 0, "a room has ended");
    });
}

fn cut_off(proxy: &FaultProxy, fault: RedisFault) {
    match fault {
        RedisFault::Cut => proxy.cut(),
        RedisFault::NoReplies => proxy.drop_replies(),
        RedisFault::NoRequests => proxy.drop_requests(),
        _ => proxy.drop_all(),
    }
}

/// A node is cut off from Redis for these times, in seconds: for long ones the others take it for dead. Its clients miss
/// nothing, are told to come back, or stay.
fn node_is_cut_off(faults: &[RedisFault], seconds: &[u64], rounds: usize) {
    ClusterTest::start("a node cut off from Redis for long", true, &[]).play(|harness, pool| {
        let all = (0..rounds).flat_map(|_| seconds.iter().flat_map(|long| faults.iter().map(|fault| (*fault, *long))));
        for (round, (fault, long)) in all.enumerate() {
            let node = round % NODES;
            let (since, sent_away) = (Instant::now(), pool.total(|shown| shown.sent_away.len()));
            cut_off(&harness.proxies[node], fault);
            thread::sleep(Duration::from_secs(long)); // so long is the fault
            harness.proxies[node].restore();
            let back = Instant::now();
            pool.wait("all nodes are ready", CONVERGENCE, || (0..NODES).all(|node| harness.is_ready(node)));
            harness.recover(pool, back);
            let sent_away = pool.total(|shown| shown.sent_away.len()) - sent_away;
            eprintln!(
                "{fault:?} for {long} s: well {:.1?} after its end, {:.1?} after its beginning; {sent_away} were told to come back",
                back.elapsed(),
                since.elapsed()
            );
        }
        assert_eq!(pool.total(|shown| shown.closed), 0, "a room has ended");
    });
}

fn leave_pairs(pairs: &mut Vec<SignalingPair>) {
    for SignalingPair { ann, bo, .. } in pairs.drain(..) {
        ann.leave();
        bo.leave();
    }
}

#[test]
fn clients_across_redis_restart_lose_nothing() {
    redis_is_away("Redis restarted", RedisFault::Restarted, 3, 0);
}

#[test]
fn clients_across_redis_pause_lose_nothing() {
    redis_is_away("Redis paused", RedisFault::Paused, 2, 3);
}

#[test]
fn clients_of_node_cut_off_from_redis_lose_nothing() {
    redis_is_away("a node cut off from Redis", RedisFault::Cut, 3, 1);
}

#[test]
fn clients_of_node_without_redis_replies_lose_nothing() {
    redis_is_away("a node whose fault to Redis swallows everything", RedisFault::Swallowed, 2, 1);
}

#[test]
fn clients_of_node_taken_for_dead_lose_nothing() {
    use RedisFault::{Cut, NoReplies, NoRequests, Swallowed};
    match asked() {
        None => node_is_cut_off(&[Cut], &[18], 1),
        Some(rounds) => node_is_cut_off(&[Cut, Swallowed, NoReplies, NoRequests], &[1, 8, 18, 40], rounds),
    }
}

#[test]
fn clients_after_redis_script_flush_lose_nothing() {
    ClusterTest::start("SCRIPT FLUSH", false, &[]).play(|harness, pool| {
        for _ in 0..times(5) {
            let since = Instant::now();
            harness.redis().command(&["SCRIPT", "FLUSH"]);
            harness.recover(pool, since);
        }
        assert_eq!(pool.total(|shown| shown.closed + shown.anew), 0, "somebody noticed");
    });
}

/// As when its disk is full. Nobody is sent away, and nothing is left half done.
#[test]
fn clients_while_redis_refuses_writes_lose_nothing() {
    ClusterTest::start("no writes", false, &[]).play(|harness, pool| {
        for _ in 0..times(2) {
            let refused = || pool.total(|shown| shown.refused);
            let before = refused();
            let since = Instant::now();
            harness.redis().command(&["CONFIG", "SET", "maxmemory", "1"]);
            pool.wait("what would be kept is refused", CONVERGENCE, || refused() >= before + 100);
            harness.redis().command(&["CONFIG", "SET", "maxmemory", "0"]);
            harness.recover(pool, since);
        }
        assert_eq!(pool.total(|shown| shown.closed + shown.anew), 0, "somebody had to begin anew");
    });
}
