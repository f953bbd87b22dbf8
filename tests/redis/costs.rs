//! Costs of clients' requests in Redis, which does one thing at a time: while a script runs, all servers wait.

use serde_json::{Value, json};

use support::client::Client;
use support::engineio::Socket;
use support::http::bearer;
use support::redis::RedisServer;
use support::server::{Server, token};

/// The most that a script may take on behalf of a client, in microseconds.
const COST_MAX: u64 = 2_000;

/// Tries of each request.
const TRIES: usize = 18;

/// Content, metadata and attachment of a message are about as large as they may be: 48 KB in all.
const TEXT_BYTES: usize = 16_000;

fn node(redis: &RedisServer) -> Server {
    Server::of_shards(
        2,
        &[&format!("redis.url={}", redis.url()), "presence.scope=all", "limits.outbound_bytes=16777216"],
    )
}

fn connect(server: &Server, user: &str) -> Client {
    Client::connect(&server.address, Some(&token(user, &json!({}))))
}

/// Has a room with `count` messages, each with texts of `bytes` in all its parts.
fn fill(speaker: &mut Client, room: &str, count: usize, bytes: usize) {
    let text = "x".repeat(bytes);
    let extra = if bytes < TEXT_BYTES { json!({}) } else { json!({ "text": text }) };
    for first in (0..count).step_by(8) {
        let batch = first..count.min(first + 8);
        let message =
            json!({ "type": "message", "roomId": room, "content": text, "metadata": extra, "attachment": extra });
        speaker.send_all(batch.clone().map(|_| message.to_string()));
        batch.for_each(|_| drop(speaker.wait_for("message-sent")));
    }
}

/// Starts to record what each script takes.
fn record(redis: &RedisServer) {
    redis.command(&["CONFIG", "SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "100000"]);
}

/// What the longest script takes during a request, in microseconds. If that is too long, the least of several tries, because a
/// process that waits for a processor seems to take long.
fn cost(redis: &RedisServer, mut request: impl FnMut()) -> u64 {
    let mut once = || {
        redis.command(&["SLOWLOG", "RESET"]);
        request();
        let entries: Vec<Vec<redis::Value>> =
            redis::from_redis_value(redis.command(&["SLOWLOG", "GET", "-1"])).expect("a list");
        let scripts = entries.into_iter().filter_map(|entry| {
            let words: Vec<String> = redis::from_redis_value(entry[3].clone()).ok()?;
            let micros: u64 = redis::from_redis_value(entry[2].clone()).ok()?;
            (words[0] == "EVALSHA").then_some(micros)
        });
        scripts.max().expect("a script was called")
    };
    let mut least = once();
    for _ in 1..TRIES {
        if least < COST_MAX {
            break;
        }
        least = least.min(once());
    }
    least
}

#[test]
fn page_of_large_messages_costs_redis_little() {
    let redis = RedisServer::start();
    let server = node(&redis);
    let mut ann = connect(&server, "ann");
    ann.join("large", "ann");
    fill(&mut ann, "large", 300, TEXT_BYTES);
    record(&redis);
    let mut pages = Vec::new();
    let newest = cost(&redis, || {
        ann.send(&json!({ "type": "history", "roomId": "large", "limit": 500 }));
        pages.push(ann.wait_for("history"));
    });
    let first = cost(&redis, || {
        ann.send(&json!({ "type": "history", "roomId": "large", "after": 1, "limit": 500 }));
        pages.push(ann.wait_for("history"));
    });
    assert!(newest < COST_MAX && first < COST_MAX, "{newest} and {first} microseconds");
    let seqs = |page: &Value| -> Vec<u64> {
        page["messages"].as_array().expect("a list").iter().map(|one| one["seq"].as_u64().expect("a number")).collect()
    };
    let (first_page, last_page) = (&pages[0], &pages[pages.len() - 1]);
    assert_eq!((seqs(first_page), &first_page["complete"]), ((296..=300).collect(), &json!(false)));
    assert_eq!(seqs(last_page), (2..=6).collect::<Vec<u64>>());
}

#[test]
fn message_that_trims_a_log_of_large_messages_costs_redis_little() {
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let server = Server::of_shards(2, &[&url, "rooms.retention_messages=100"]);
    let mut ann = connect(&server, "ann");
    ann.join("large", "ann");
    fill(&mut ann, "large", 100, TEXT_BYTES);
    record(&redis);
    let longest = cost(&redis, || fill(&mut ann, "large", 8, TEXT_BYTES));
    assert!(longest < COST_MAX, "{longest} microseconds");
    let kept: usize = redis.ask("XLEN switchboard:room:{large}:l");
    assert!((100..108).contains(&kept), "{kept} messages are left");
    assert_eq!(redis.ask::<usize>("HLEN switchboard:room:{large}:i"), kept);
}

/// Waits for the end of the connection, and comes back with all that it had.
fn come_back(server: &Server, client: Client, joined: &Value) -> Value {
    let secret = client.hello["recoveryToken"].clone();
    client.close();
    let mut again = connect(server, "bob");
    let room = json!({ "epoch": joined["epoch"], "seq": joined["seq"] });
    again.send(&json!({ "type": "resume", "recoveryToken": secret, "rooms": { "busy": room } }));
    again.wait_for("resumed")["rooms"]["busy"].clone()
}

#[test]
fn return_to_many_missed_messages_costs_redis_little_and_recovers_all() {
    const MISSED: u64 = 1_200;
    let redis = RedisServer::start();
    let server = node(&redis);
    let mut ann = connect(&server, "ann");
    ann.join("busy", "ann");
    let bobs: Vec<(Client, Value)> = (0..TRIES)
        .map(|n| {
            let mut bob = connect(&server, "bob");
            let joined = bob.join("busy", &format!("bob-{n}"));
            (bob, joined)
        })
        .collect();
    let mut bobs = bobs.into_iter();
    // The other connections have not missed anything, so that none of them returns to more than the first.
    fill(&mut ann, "busy", MISSED as usize, 300);
    record(&redis);
    let mut back = Vec::new();
    let longest = cost(&redis, || {
        let (bob, joined) = bobs.next().expect("one for each try");
        back.push(come_back(&server, bob, &joined));
    });
    assert!(longest < COST_MAX, "{longest} microseconds");
    for room in back {
        assert_eq!((&room["recovered"], &room["seq"]), (&json!(true), &json!(MISSED)));
        let messages = room["messages"].as_array().expect("a list");
        let seqs: Vec<u64> = messages.iter().map(|one| one["seq"].as_u64().expect("a number")).collect();
        assert_eq!(seqs, (1..=MISSED).collect::<Vec<u64>>());
    }
}

#[test]
fn waiting_direct_messages_cost_redis_little() {
    let redis = RedisServer::start();
    let server = node(&redis);
    connect(&server, "bob").close();
    let mut ann = connect(&server, "ann");
    let text = "x".repeat(TEXT_BYTES);
    let extra = json!({ "text": text });
    let message =
        json!({ "type": "message", "toUserId": "bob", "content": text, "metadata": extra, "attachment": extra });
    record(&redis);
    let longest = cost(&redis, || {
        // More than one answer holds.
        for _ in 0..10 {
            ann.send(&message);
            ann.wait_for("message-sent");
        }
        let mut bob = connect(&server, "bob");
        (0..10).for_each(|_| drop(bob.wait_for("message")));
        bob.close();
    });
    assert!(longest < COST_MAX, "{longest} microseconds");
}

/// Scripts called so far.
fn calls(redis: &RedisServer) -> u64 {
    let statistics: String = redis.ask("INFO commandstats");
    let line = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap_or("0,");
    line.split(',').next().and_then(|count| count.parse().ok()).expect("a count")
}

#[test]
fn queries_about_users_call_no_script_for_each_user() {
    const USERS: usize = 100;
    let redis = RedisServer::start();
    let servers = [node(&redis), node(&redis)];
    let _crowd: Vec<Client> = (0..USERS).map(|n| connect(&servers[n % 2], &format!("user-{n:03}"))).collect();
    let (mut ann, _) = Socket::chat(&servers[0].address, "colon", "ann");
    for (ack, query) in (0..).zip(["presence:online-users", "presence:stats", "presence:online-users"]) {
        let before = calls(&redis);
        ann.ask(ack, query, &json!({}));
        let answer = ann.acked(ack);
        // What the servers do anyway goes on meanwhile.
        let during = calls(&redis) - before;
        assert!(during < USERS as u64 / 2, "{query}: {during} calls");
        match query {
            "presence:stats" => assert_eq!(answer["stats"]["onlineUsers"], USERS + 1, "{answer}"),
            _ => assert_eq!(answer["users"].as_array().map(Vec::len), Some(USERS + 1), "{answer}"),
        }
    }
}

/// Adds members that are on another server: the first argument has the member to copy, by its connection.
const ADD_MEMBERS: &str = "local member = cjson.decode(redis.call('HVALS', KEYS[1])[1])
for n = 1, tonumber(ARGV[1]) do
  member.c, member.w[1] = member.c:sub(1, 18) .. ('%06d'):format(n), ('user-%06d'):format(n)
  redis.call('HSET', KEYS[1], member.c, cjson.encode(member))
end";

#[test]
fn join_of_a_large_room_costs_redis_little() {
    let redis = RedisServer::start();
    let server = node(&redis);
    let mut ann = connect(&server, "ann");
    ann.join("crowd", "ann");
    redis.command(&["EVAL", ADD_MEMBERS, "1", "switchboard:room:{crowd}:m", "999"]);
    let mut bob = connect(&server, "bob");
    record(&redis);
    let mut peers = 0;
    let joining = cost(&redis, || {
        peers = bob.join("crowd", "bob")["peers"].as_array().map_or(0, Vec::len);
        bob.send(&json!({ "type": "leave-room", "roomId": "crowd" }));
        bob.wait_for("room-left");
    });
    assert!(joining < COST_MAX, "{joining} microseconds");
    assert_eq!(peers, 500);
}

#[test]
fn list_of_a_large_rooms_users_costs_redis_little() {
    let redis = RedisServer::start();
    let server = node(&redis);
    let (mut ann, _) = Socket::chat(&server.address, "colon", "ann");
    ann.ask(0, "join:chat", &json!({ "chatId": "crowd" }));
    ann.acked(0);
    redis.command(&["EVAL", ADD_MEMBERS, "1", "switchboard:room:{crowd}:m", "10000"]);
    record(&redis);
    let (mut ack, mut room, mut described) = (0, Value::Null, Value::Null);
    let mut ask = |name: &str| {
        ack += 1;
        ann.ask(ack, name, &json!({ "chatId": "crowd" }));
        ann.acked(ack)
    };
    let counting = cost(&redis, || room = ask("room:info"));
    let listing = cost(&redis, || drop(ask("room:online")));
    let root = bearer(&token("root", &json!({ "role": "admin" })));
    let looking = cost(&redis, || {
        described = support::http::ask(&server.address, "GET", "/api/rooms/crowd", &[&root], None).json();
    });
    assert!([counting, listing, looking].iter().all(|cost| *cost < COST_MAX), "{counting}, {listing}, {looking}");
    assert_eq!(
        (&room["roomInfo"]["onlineCount"], &room["roomInfo"]["participantCount"]),
        (&json!(10_001), &json!(10_001))
    );
    assert_eq!(described["participantCount"], 10_001, "{described}");
}
