//! The limits of recovery: restarts, the window, retention, and more missed messages than one reply holds. A client
//! that cannot recover everything is told so.

use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::start;
use support::directory::Directory;
use support::lossy_client::{Cut, LossyClient};
use support::process::wait_until;
use support::room_log::{number, room_name, text};
use support::server::{Server, token};
use support::tcp_client::TcpClient;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

const ANY_PORT: &str = "127.0.0.1:0";

fn connect(server: &Server, user: &str) -> LossyClient {
    LossyClient::connect(&server.address, user).expect("the server listens")
}

fn join(line: &mut LossyClient, room: usize, peer: &str) -> Value {
    line.send(&json!({ "type": "join-room", "roomId": room_name(room), "peerId": peer })).expect("it lives");
    line.wait_for("room-joined", drop).expect("it lives")
}

/// Says something; the receipt.
fn say(line: &mut LossyClient, room: usize, content: &str) -> Value {
    line.send(&json!({ "type": "message", "roomId": room_name(room), "content": content })).expect("it lives");
    line.wait_for("message-sent", drop).expect("it lives")
}

/// Says so many things without waiting for each receipt.
fn say_all(line: &mut LossyClient, room: usize, contents: impl Iterator<Item = String>) {
    let mut under_way = 0;
    for content in contents {
        line.send(&json!({ "type": "message", "roomId": room_name(room), "content": content })).expect("it lives");
        under_way += 1;
        if under_way == 64 {
            line.wait_for("message-sent", drop).expect("it lives");
            under_way -= 1;
        }
    }
    (0..under_way).for_each(|_| drop(line.wait_for("message-sent", drop).expect("it lives")));
}

/// What comes of an attempt to come back to `room` with everything up to `seq`.
fn resume(line: &mut LossyClient, recovery_token: &str, room: usize, epoch: &str, seq: u64) -> Value {
    let rooms = json!({ room_name(room): { "epoch": epoch, "seq": seq } });
    line.send(&json!({ "type": "resume", "recoveryToken": recovery_token, "rooms": rooms })).expect("it lives");
    let mut answer = line.next().expect("it lives");
    while !matches!(answer["type"].as_str(), Some("resumed" | "error")) {
        answer = line.next().expect("it lives");
    }
    answer
}

fn contents(messages: &Value) -> Vec<String> {
    messages.as_array().expect("a list").iter().map(|message| text(message, "content")).collect()
}

/// Waits until so many sessions are written down that say all of this of their rooms.
fn wait_for_sessions(directory: &Directory, count: usize, said: &[&str]) {
    let path = directory.path().join("store.db");
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the database");
    let mut statement = database.prepare("SELECT rooms FROM session").expect("a query");
    let mut noted = || {
        let known = statement.query_map([], |row| row.get::<_, String>(0)).expect("rows");
        let known: Vec<String> = known.map(|row| row.expect("a row")).collect();
        known.iter().filter(|known| said.iter().all(|said| known.contains(said))).count()
    };
    wait_until("the sessions are noted", || noted() == count);
}

fn a_restart_is_survived(signal: i32) {
    const LISTENERS: usize = 20;
    const SAID: u64 = 30;
    let directory = Directory::new();
    let settings = ["drain.seconds=0"];
    let mut server = start(ANY_PORT, &directory, &settings);
    let mut everyone: Vec<LossyClient> = (0..=LISTENERS).map(|n| connect(&server, &format!("user-{n}"))).collect();
    for (n, line) in everyone.iter_mut().enumerate() {
        join(line, 0, &format!("peer-{n}"));
        join(line, 1, &format!("peer-{n}"));
    }
    let speaker = &mut everyone[0];
    let mut epochs = Vec::new();
    for room in [0, 1] {
        (1..=SAID).for_each(|seq| assert_eq!(number(&say(speaker, room, &seq.to_string()), "seq"), seq));
        epochs.push(text(&join(speaker, room, "peer-0"), "epoch"));
    }
    wait_for_sessions(&directory, LISTENERS + 1, &["room-0", "room-1"]);
    let tokens: Vec<String> = everyone.iter().map(LossyClient::token).collect();
    server.signal(signal);
    server.wait(Duration::from_secs(10));
    let server = start(&server.address, &directory, &settings);
    let mut everyone: Vec<LossyClient> = (0..=LISTENERS).map(|n| connect(&server, &format!("user-{n}"))).collect();
    for (n, (line, recovery_token)) in everyone.iter_mut().zip(&tokens).enumerate() {
        // Each has another part of it.
        let has = SAID - n as u64;
        let rooms = json!({
            room_name(0): { "epoch": epochs[0], "seq": has },
            room_name(1): { "epoch": epochs[1], "seq": SAID },
        });
        line.send(&json!({ "type": "resume", "recoveryToken": recovery_token, "rooms": rooms })).expect("it lives");
        let back = line.wait_for("resumed", drop).expect("it lives");
        for room in [0, 1] {
            let room = &back["rooms"][room_name(room)];
            assert_eq!((&room["recovered"], &room["seq"]), (&json!(true), &json!(SAID)), "{back}");
            assert_eq!(room["peerId"], format!("peer-{n}"));
        }
        let missed: Vec<String> = (has + 1..=SAID).map(|seq| seq.to_string()).collect();
        assert_eq!(contents(&back["rooms"][room_name(0)]["messages"]), missed);
        assert_eq!(contents(&back["rooms"][room_name(1)]["messages"]), [] as [&str; 0]);
    }
    assert_eq!(number(&say(&mut everyone[0], 0, "on"), "seq"), SAID + 1);
    for line in &mut everyone[1..] {
        let message = line.wait_for("message", drop).expect("it lives");
        assert_eq!((number(&message, "seq"), text(&message, "content")), (SAID + 1, "on".to_owned()));
    }
}

#[test]
fn clients_after_orderly_restart_recover() {
    a_restart_is_survived(SIGTERM);
}

#[test]
fn clients_after_crash_recover() {
    a_restart_is_survived(SIGKILL);
}

/// How somebody looks to the others is kept as well: by what name, and with which media, as they are now.
#[test]
fn recovered_members_look_unchanged() {
    let directory = Directory::new();
    let mut server = start(ANY_PORT, &directory, &["drain.seconds=0"]);
    let mut bo = connect(&server, "bo");
    let media = |video: bool| json!({ "audio": true, "video": video, "screen": false });
    bo.send(&json!({
        "type": "join-room", "roomId": room_name(0), "peerId": "b", "displayName": "Bo B.", "mediaState": media(true),
    }))
    .expect("it lives");
    let epoch = text(&bo.wait_for("room-joined", drop).expect("it lives"), "epoch");
    say(&mut bo, 0, "hello");
    bo.send(&json!({ "type": "media-state-changed", "roomId": room_name(0), "mediaState": media(false) }))
        .expect("it lives");
    for _ in 0..3 {
        wait_for_sessions(&directory, 1, &["Bo B.", "[true,false,false]"]);
        let recovery_token = bo.token();
        server.signal(SIGKILL);
        server.wait(Duration::from_secs(10));
        server = start(&server.address, &directory, &[]);
        bo = connect(&server, "bo");
        assert_eq!(resume(&mut bo, &recovery_token, 0, &epoch, 1)["rooms"][room_name(0)]["recovered"], true);
        let mut ann = connect(&server, "ann");
        let peers = join(&mut ann, 0, "a")["peers"].clone();
        assert_eq!(
            peers,
            json!([{ "peerId": "b", "userId": "bo", "displayName": "Bo B.", "mediaState": media(false) }])
        );
        ann.leave();
    }
}

#[test]
fn recovery_after_the_window_fails() {
    let directory = Directory::new();
    let server = start(ANY_PORT, &directory, &["recovery.window_ms=200", "presence.grace_ms=1000"]);
    let (mut ann, mut bo) = (connect(&server, "ann"), connect(&server, "bo"));
    join(&mut ann, 0, "ann");
    let epoch = text(&join(&mut bo, 0, "bo"), "epoch");
    let recovery_token = bo.token();
    bo.cut(Cut::Reset);
    // The others are told at the end of the grace period, and by then the window is over.
    ann.wait_for("peer-left", drop).expect("it lives");
    let mut bo = connect(&server, "bo");
    let answer = resume(&mut bo, &recovery_token, 0, &epoch, 0);
    assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("RECOVERY_FAILED")), "{answer}");
}

#[test]
fn recovery_beyond_retention_reports_the_gap() {
    let directory = Directory::new();
    let settings = ["rooms.retention_messages=20", "drain.seconds=0"];
    let mut server = start(ANY_PORT, &directory, &settings);
    let (mut ann, mut bo) = (connect(&server, "ann"), connect(&server, "bo"));
    join(&mut ann, 0, "ann");
    let epoch = text(&join(&mut bo, 0, "bo"), "epoch");
    wait_for_sessions(&directory, 2, &["room-0"]);
    let recovery_token = bo.token();
    bo.cut(Cut::Reset);
    say_all(&mut ann, 0, (1..=100).map(|seq| seq.to_string()));
    // What is kept no longer is removed at the start, and then once a minute.
    server.signal(SIGTERM);
    server.wait(Duration::from_secs(10));
    let server = start(&server.address, &directory, &settings);
    let mut ann = connect(&server, "ann");
    assert_eq!(join(&mut ann, 0, "ann")["seq"], 100);
    let mut history = |after: u64| {
        ann.send(&json!({ "type": "history", "roomId": room_name(0), "after": after })).expect("it lives");
        ann.wait_for("history", drop).expect("it lives")
    };
    wait_until("what is beyond the retention is removed", || history(0)["messages"][0]["seq"] == 81);
    assert_eq!((&history(0)["complete"], &history(80)["complete"]), (&json!(false), &json!(true)));
    let mut bo = connect(&server, "bo");
    let answer = resume(&mut bo, &recovery_token, 0, &epoch, 0);
    let back = &answer["rooms"][room_name(0)];
    assert_eq!((&back["recovered"], &back["seq"], &back["messages"]), (&json!(false), &json!(100), &json!([])));
    // Not recovered, but there.
    assert_eq!(number(&say(&mut bo, 0, "back"), "seq"), 101);
}

/// Reads the whole history of room 0 after `seq` page by page.
fn read_on(line: &mut LossyClient, mut seq: u64) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let request = json!({ "type": "history", "roomId": room_name(0), "after": seq, "limit": 500 });
        line.send(&request).expect("it lives");
        let page = line.wait_for("history", drop).expect("it lives");
        let messages = page["messages"].as_array().expect("a list");
        for message in messages {
            seq += 1;
            assert_eq!(number(message, "seq"), seq);
        }
        all.extend(contents(&page["messages"]));
        if page["complete"] == true {
            return all;
        }
        assert!(!messages.is_empty(), "the history ends before its end");
    }
}

/// Somebody misses `said`; whether they get it at once. Otherwise they are told so, and read it page by page.
fn is_recovered(said: &[String]) -> bool {
    let directory = Directory::new();
    let server = start(ANY_PORT, &directory, &["limits.message_bytes=16384"]);
    let (mut ann, mut bo) = (connect(&server, "ann"), connect(&server, "bo"));
    join(&mut ann, 0, "ann");
    let epoch = text(&join(&mut bo, 0, "bo"), "epoch");
    let recovery_token = bo.token();
    bo.cut(Cut::Reset);
    say_all(&mut ann, 0, said.iter().cloned());
    let mut bo = connect(&server, "bo");
    let answer = resume(&mut bo, &recovery_token, 0, &epoch, 0);
    let back = &answer["rooms"][room_name(0)];
    assert_eq!(back["seq"], said.len(), "{}", answer["type"]);
    if back["recovered"] == true {
        assert_eq!(contents(&back["messages"]), said);
        return true;
    }
    assert_eq!(back["messages"], json!([]));
    assert_eq!(read_on(&mut bo, 0), said);
    false
}

#[test]
fn missed_messages_beyond_one_reply_are_read_by_pages() {
    let numbers = |count: usize| (1..=count).map(|seq| seq.to_string()).collect::<Vec<String>>();
    assert!(is_recovered(&numbers(2_000)));
    assert!(!is_recovered(&numbers(2_001)));
    // Each byte of these takes six on the wire.
    let large = |count: usize| vec!["\u{1}".repeat(16_384); count];
    assert!(is_recovered(&large(4)));
    assert!(!is_recovered(&large(100)));
}

#[test]
fn page_of_large_messages_does_not_close_a_slow_reader() {
    const SAID: u64 = 40;
    let directory = Directory::new();
    let server = start(ANY_PORT, &directory, &["limits.outbound_bytes=300000"]);
    let mut ann = connect(&server, "ann");
    join(&mut ann, 0, "ann");
    say_all(&mut ann, 0, (0..SAID).map(|n| format!("{n:016384}")));
    let mut bo = TcpClient::connect_narrow(&server.address).upgrade(&token("bo", &json!({})));
    let wait_for = |bo: &mut TcpClient, kind: &str| loop {
        let message = bo.next_json().expect("it is not cut off");
        if message["type"] == kind {
            return message;
        }
    };
    bo.send_text(&json!({ "type": "join-room", "roomId": room_name(0) }).to_string());
    wait_for(&mut bo, "room-joined");
    // From the beginning on: each page begins where the one before ended.
    let (mut next, mut pages) = (1, 0);
    while next <= SAID {
        let ask = json!({ "type": "history", "roomId": room_name(0), "after": next - 1, "limit": 500 });
        bo.send_text(&ask.to_string());
        let page = wait_for(&mut bo, "history");
        for message in page["messages"].as_array().expect("a list") {
            assert_eq!(number(message, "seq"), next);
            next += 1;
        }
        assert_eq!(page["complete"], next > SAID);
        pages += 1;
    }
    assert!(pages > 2, "{pages} pages");
    // The newest: the page ends with the last one.
    bo.send_text(&json!({ "type": "history", "roomId": room_name(0), "limit": 500 }).to_string());
    let page = wait_for(&mut bo, "history");
    let seqs: Vec<u64> = page["messages"].as_array().expect("a list").iter().map(|it| number(it, "seq")).collect();
    assert_eq!((page["complete"].as_bool(), seqs.last()), (Some(false), Some(&SAID)));
    assert!(seqs.len() > 2 && seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{seqs:?}");
}
