//! One room with members on several shards: messages and signals reach the right members, unchanged and in one order.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use support::client::Client;
use support::server::{Server, token};
use support::tcp_client::{TEXT, TcpClient, frame};

/// Rooms enough for each shard to be home to one of them; names hash evenly.
const ROOMS: [&str; 8] = ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"];

fn server(settings: &[&str]) -> Server {
    Server::of_shards(3, settings)
}

/// The shard that a connection's id names: node (16 bits), shard (8), slot (24), 96 random bits.
fn shard_of(id: &str) -> u8 {
    let bytes = URL_SAFE_NO_PAD.decode(id).expect("base64url");
    assert_eq!((bytes.len(), &bytes[..2]), (18, &[0, 0][..]));
    bytes[2]
}

/// A connection of `user` on `shard`: the kernel spreads connections, so it is tried until one comes out there.
fn connect_on(server: &Server, shard: u8, user: &str) -> Client {
    for _ in 0..200 {
        let client = Client::connect(&server.address, Some(&token(user, &json!({}))));
        if shard_of(client.id()) == shard {
            return client;
        }
        client.close();
    }
    panic!("no connection in 200 came to shard {shard}");
}

/// Three users `u0`, `u1` and `u2`, each on the shard of that number.
fn on_three_shards(server: &Server) -> [Client; 3] {
    [0, 1, 2].map(|shard| connect_on(server, shard, &format!("u{shard}")))
}

/// Has all join a room as `p0`, `p1`, …, one after the other, each hearing of those who come later.
fn join_all(clients: &mut [Client], room: &str) {
    for newest in 0..clients.len() {
        let (earlier, rest) = clients.split_at_mut(newest);
        let joined = rest[0].join(room, &format!("p{newest}"));
        let peers = joined["peers"].as_array().expect("a list").iter().map(|peer| peer["peerId"].clone());
        let expected: Vec<Value> = (0..newest).map(|number| json!(format!("p{number}"))).collect();
        assert_eq!(peers.collect::<Vec<Value>>(), expected);
        assert_eq!((&joined["participantCount"], &joined["seq"]), (&json!(newest + 1), &json!(0)));
        for client in earlier {
            let event = client.next();
            assert_eq!((&event["type"], &event["roomId"]), (&json!("peer-joined"), &json!(room)));
            assert_eq!(event["peerId"], format!("p{newest}"));
        }
    }
}

fn message(room: &str, content: &str) -> String {
    json!({ "type": "message", "roomId": room, "content": content }).to_string()
}

#[test]
fn members_on_different_shards_see_joins_and_leaves() {
    let server = server(&[]);
    let mut clients = on_three_shards(&server);
    for room in ROOMS {
        join_all(&mut clients, room);
        clients[1].send(&json!({ "type": "media-state-changed", "roomId": room, "mediaState": { "video": true } }));
        for other in [0, 2] {
            let event = clients[other].next();
            assert_eq!((&event["type"], &event["peerId"]), (&json!("media-state-changed"), &json!("p1")));
        }
        clients[2].send(&json!({ "type": "leave-room", "roomId": room, "requestId": 5 }));
        let left = clients[2].next();
        assert_eq!((&left["type"], &left["requestId"]), (&json!("room-left"), &json!(5)));
        for other in [0, 1] {
            let event = clients[other].next();
            assert_eq!(
                (&event["type"], &event["peerId"], &event["roomId"]),
                (&json!("peer-left"), &json!("p2"), &json!(room))
            );
        }
    }
}

/// Bodies that a parser would spell differently if one had touched them.
fn bodies() -> Vec<String> {
    let sdp = "v=0\\r\\no=- 46117317 2 IN IP4 127.0.0.1\\r\\n".repeat(3_000);
    vec![
        r#"{"type":"offer","sdp":"v=0\r\n"}"#.to_owned(),
        "{ \"z\" :\t1 ,\r\n \"a\":{\"b\" : [ 1 , 2.0e+10, -0 ,1E300 ] } }".to_owned(),
        r#"{"sdp":"\u0061\u00e9\ud83d\ude00 é 😀 \/ \ud83d\ude00","sdp":"twice"}"#.to_owned(),
        "\"only a text\"".to_owned(),
        "[]".to_owned(),
        format!(r#"{{ "sdp": "{sdp}" }}"#),
    ]
}

#[test]
fn signaling_across_shards_is_relayed_byte_for_byte() {
    let server = server(&[]);
    let mut clients = on_three_shards(&server);
    for room in ROOMS {
        join_all(&mut clients, room);
    }
    for (number, body) in bodies().iter().enumerate() {
        for (from, to, bystander) in [(0, 1, 2), (1, 2, 0), (2, 0, 1), (1, 0, 2)] {
            let room = ROOMS[(number + from) % ROOMS.len()];
            for (kind, field) in [("offer", "offer"), ("answer", "answer"), ("ice-candidate", "candidate")] {
                let head = format!(r#"{{"type":"{kind}","roomId":"{room}","fromPeerId":"p{from}","toPeerId":"p{to}""#);
                clients[from].send_text(&format!(r#"{head}, "{field}" : {body} ,"timestamp":1}}"#));
                let text = clients[to].next_text_or_end().expect("a signal");
                let event: BTreeMap<&str, &RawValue> = serde_json::from_str(&text).expect("it is JSON");
                assert_eq!(event[field].get(), body, "byte for byte");
                let names = ["type", "roomId", "fromPeerId", "toPeerId"].map(|name| event[name].get());
                let expected = [kind, room, &format!("p{from}"), &format!("p{to}")].map(|name| format!("{name:?}"));
                assert_eq!(names, expected.each_ref().map(String::as_str));
            }
            // The room's order makes this the next thing the third hears if it heard nothing of the signals.
            clients[from].send_text(&message(room, "now"));
            assert_eq!(clients[from].next()["type"], "message-sent");
            for other in [to, bystander] {
                assert_eq!(clients[other].next()["content"], "now");
            }
        }
    }
}

#[test]
fn signal_to_unknown_peer_is_refused() {
    let server = server(&[]);
    let mut clients = on_three_shards(&server);
    for room in ROOMS {
        join_all(&mut clients, room);
        let offer = json!({ "type": "offer", "roomId": room, "toPeerId": "p9", "offer": {}, "requestId": "q" });
        clients[0].send(&offer);
        let error = clients[0].next();
        assert_eq!((&error["code"], &error["requestId"]), (&json!("PEER_NOT_FOUND"), &json!("q")));
        let offer = json!({ "type": "offer", "roomId": room, "fromPeerId": "p1", "toPeerId": "p2", "offer": {} });
        clients[0].send(&offer);
        assert_eq!(clients[0].next()["code"], "PEER_MISMATCH");
        clients[0].send_text(&message(room, "now"));
        assert_eq!(clients[0].next()["type"], "message-sent");
        for other in [1, 2] {
            assert_eq!(clients[other].next()["content"], "now");
        }
    }
}

/// What one member learned of a room's order: the numbers of its own messages as receipts told it, and the others'
/// messages by their numbers.
struct OrderLog {
    own: Vec<u64>,
    others: Vec<(u64, String)>,
}

/// Reads until the member knows of `count` messages.
fn account(client: &mut Client, count: usize) -> OrderLog {
    let mut account = OrderLog { own: Vec::new(), others: Vec::new() };
    while account.own.len() + account.others.len() < count {
        let event = client.next();
        let seq = event["seq"].as_u64().unwrap_or_else(|| panic!("{event}"));
        match event["type"].as_str() {
            Some("message-sent") => account.own.push(seq),
            Some("message") => account.others.push((seq, event["content"].as_str().expect("text").to_owned())),
            _ => panic!("{event}"),
        }
    }
    account
}

#[test]
fn messages_of_three_senders_have_one_order_for_all() {
    const EACH: usize = 300;
    let server = server(&[]);
    let mut clients = Vec::from(on_three_shards(&server));
    // One who only listens sees every number.
    clients.push(connect_on(&server, 1, "listener"));
    for room in &ROOMS[..4] {
        join_all(&mut clients, room);
        for (number, client) in clients[..3].iter_mut().enumerate() {
            client.send_all((0..EACH).map(|count| message(room, &format!("{number} {count}"))));
        }
        let accounts: Vec<OrderLog> = clients.iter_mut().map(|client| account(client, 3 * EACH)).collect();
        let truth = &accounts[3].others;
        let numbers: Vec<u64> = truth.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(numbers, (1..=3 * EACH as u64).collect::<Vec<u64>>(), "no gap, nothing twice, in order");
        for (number, account) in accounts[..3].iter().enumerate() {
            let is_own = |(_, content): &&(u64, String)| content.starts_with(&number.to_string());
            let own: Vec<&(u64, String)> = truth.iter().filter(is_own).collect();
            let others: Vec<(u64, String)> = truth.iter().filter(|it| !is_own(it)).cloned().collect();
            assert_eq!(account.others, others, "all see the same");
            assert_eq!(account.own, own.iter().map(|(seq, _)| *seq).collect::<Vec<u64>>());
            let sent: Vec<String> = (0..EACH).map(|count| format!("{number} {count}")).collect();
            assert_eq!(own.iter().map(|(_, content)| content.clone()).collect::<Vec<String>>(), sent);
        }
        for client in &mut clients {
            client.send(&json!({ "type": "leave-room", "roomId": room }));
            client.wait_for("room-left");
        }
    }
}

#[test]
fn message_reaches_many_members_on_all_shards() {
    const MESSAGES: usize = 200;
    let server = server(&[]);
    let mut members: Vec<Client> =
        (0..24).map(|number| connect_on(&server, number % 3, &format!("m{number}"))).collect();
    join_all(&mut members, "hall");
    let (sender, listeners) = members.split_first_mut().expect("members");
    sender.send_all((0..MESSAGES).map(|count| message("hall", &count.to_string())));
    let expected: Vec<(u64, String)> = (0..MESSAGES).map(|count| (count as u64 + 1, count.to_string())).collect();
    for listener in listeners {
        let account = account(listener, MESSAGES);
        assert_eq!((account.own, account.others), (Vec::new(), expected.clone()));
    }
    let numbers: Vec<u64> = expected.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(account(sender, MESSAGES).own, numbers);
}

/// Who is in which room, as one member was told.
type Presence = BTreeMap<(String, String), bool>;

/// Takes in one coming or going, which must change something.
fn note(presence: &mut Presence, event: &Value) {
    let is_coming = match event["type"].as_str() {
        Some("peer-joined") => true,
        Some("peer-left") => false,
        _ => panic!("{event}"),
    };
    let [room, peer] = ["roomId", "peerId"].map(|field| event[field].as_str().expect("a name").to_owned());
    let before = presence.insert((room, peer), is_coming).unwrap_or(false);
    assert_ne!(before, is_coming, "{event}");
}

#[test]
fn peer_after_reset_is_announced_as_left() {
    let server = server(&[]);
    let mut clients = on_three_shards(&server);
    for room in ROOMS {
        join_all(&mut clients, room);
    }
    let mut presences = [Presence::new(), Presence::new(), Presence::new()];
    for round in 0..9 {
        let peer = format!("fleeting-{round}");
        let mut wire = TcpClient::connect(&server.address).upgrade(&token("fleeting", &json!({})));
        for room in ROOMS {
            wire.send_text(&json!({ "type": "join-room", "roomId": room, "peerId": peer }).to_string());
        }
        // In odd rounds it is gone before it hears that it is in; whatever came of that ends with the next round.
        if round % 2 == 1 {
            wire.reset();
            continue;
        }
        let mut joined = 0;
        while joined < ROOMS.len() {
            joined += usize::from(wire.next_json().expect("it is connected")["type"] == "room-joined");
        }
        wire.reset();
        for (client, presence) in clients.iter_mut().zip(&mut presences) {
            let has_been = |presence: &Presence| presence.keys().filter(|(_, name)| *name == peer).count();
            while has_been(presence) < ROOMS.len() || presence.values().any(|is_present| *is_present) {
                note(presence, &client.next());
            }
        }
    }
}

/// In a busy room it is often a write, not a read, that finds out that a peer is gone.
#[test]
fn peer_reset_during_write_is_announced_as_left() {
    const VICTIMS: usize = 200;
    let server = server(&[]);
    let [mut sender, mut listener, _] = on_three_shards(&server);
    listener.join("busy", "listener");
    sender.join("busy", "sender");
    assert_eq!(listener.next()["type"], "peer-joined");
    let mut presence = Presence::new();
    let mut seq = 0;
    for number in 0..VICTIMS {
        let mut victim = TcpClient::connect(&server.address).upgrade(&token("victim", &json!({})));
        let peer = format!("victim-{number}");
        victim.send_text(&json!({ "type": "join-room", "roomId": "busy", "peerId": peer }).to_string());
        while victim.next_json().expect("it is connected")["type"] != "room-joined" {}
        sender.send_all((0..50).map(|count| message("busy", &count.to_string())));
        victim.reset();
        let until = seq + 50;
        while seq < until || presence.is_empty() || presence.values().any(|is_present| *is_present) {
            let event = listener.next();
            match event["seq"].as_u64() {
                Some(next) => {
                    seq += 1;
                    assert_eq!(next, seq, "no gap");
                }
                None => note(&mut presence, &event),
            }
        }
        assert_eq!(presence.len(), number + 1);
    }
}

/// A connection that joins and then neither reads nor writes, until it is closed for that.
#[test]
fn silent_peer_is_announced_as_left_and_closed() {
    let server = server(&["heartbeat.interval_ms=300", "heartbeat.timeout_ms=1500"]);
    let mut silent = TcpClient::connect(&server.address).upgrade(&token("silent", &json!({})));
    silent.send_text(&json!({ "type": "join-room", "roomId": "r", "peerId": "silent" }).to_string());
    while silent.next_json().expect("it is connected")["type"] != "room-joined" {}
    std::thread::scope(|scope| {
        let watch = |shard: u8| {
            // Reading is what answers pings, so each is connected and watches on a thread of its own.
            let mut client = connect_on(&server, shard, &format!("u{shard}"));
            let joined = client.join("r", &format!("p{shard}"));
            let peers = joined["peers"].as_array().expect("a list");
            assert!(peers.iter().any(|peer| peer["peerId"] == "silent"), "{joined}");
            let left = client.wait_for("peer-left");
            assert_eq!((&left["roomId"], &left["peerId"]), (&json!("r"), &json!("silent")));
            client.send(&json!({ "type": "ping", "requestId": 1 }));
            assert_eq!(client.wait_for("pong")["requestId"], 1, "who answers pings stays");
        };
        for shard in 0..3 {
            scope.spawn(move || watch(shard));
        }
    });
    let (texts, code) = silent.last_words();
    let last = texts.last().expect("a last word");
    assert_eq!((&last["type"], &last["reason"]), (&json!("disconnect"), &json!("heartbeat-timeout")));
    assert_eq!(code, Some(4408));
}

#[test]
fn direct_message_reaches_connections_on_every_shard() {
    let server = server(&[]);
    // Users enough for each shard to be home to one of them.
    for user in ["ann", "bo", "cy", "di", "ed", "flo"] {
        let mut own = [0, 1, 2].map(|shard| connect_on(&server, shard, user));
        let mut stranger = connect_on(&server, 1, "stranger");
        let mut sender = connect_on(&server, 2, "sender");
        for number in 0..3 {
            let content = json!({ "number": number });
            sender.send(&json!({ "type": "message", "toUserId": user, "content": content, "messageType": "note" }));
            let receipt = sender.next();
            assert_eq!((&receipt["type"], &receipt["toUserId"]), (&json!("message-sent"), &json!(user)));
            for client in &mut own {
                let message = client.next();
                assert_eq!((&message["type"], &message["sender"]), (&json!("message"), &json!("sender")));
                assert_eq!((&message["messageType"], &message["content"]), (&json!("note"), &content));
                assert_eq!(message["id"], receipt["id"]);
            }
        }
        stranger.send(&json!({ "type": "ping" }));
        assert_eq!(stranger.next()["type"], "pong", "nobody else hears of it");
    }
    let mut sender = connect_on(&server, 0, "sender");
    sender.send(&json!({ "type": "message", "toUserId": "nobody", "content": 1 }));
    assert_eq!(sender.next()["code"], "USER_NOT_FOUND");
}

#[test]
fn peer_id_takeover_across_shards_is_silent_for_others() {
    let server = server(&[]);
    for room in ROOMS {
        let mut older = connect_on(&server, 0, "ann");
        let mut newer = connect_on(&server, 1, "ann");
        let mut other = connect_on(&server, 2, "bo");
        older.join(room, "ann");
        other.join(room, "bo");
        assert_eq!(older.next()["type"], "peer-joined");
        assert_eq!(newer.join(room, "ann")["peers"][0]["peerId"], "bo");
        let told = older.next();
        assert_eq!((&told["type"], &told["reason"]), (&json!("disconnect"), &json!("replaced")));
        assert_eq!((&told["roomId"], &told["reconnect"]), (&json!(room), &json!(false)));
        older.send_text(&message(room, "still here?"));
        assert_eq!(older.next()["code"], "NOT_IN_ROOM");
        newer.send_text(&message(room, "it is me"));
        assert_eq!(newer.next()["type"], "message-sent");
        let heard = other.next();
        assert_eq!(
            (&heard["type"], &heard["content"], &heard["seq"]),
            (&json!("message"), &json!("it is me"), &json!(1))
        );
        newer.close();
        assert_eq!(other.next()["type"], "peer-left");
        let mut thief = connect_on(&server, 0, "thief");
        thief.send(&json!({ "type": "join-room", "roomId": room, "peerId": "bo" }));
        assert_eq!(thief.next()["code"], "PEER_ID_TAKEN");
    }
}

/// A sender that ends its side right behind its last message is heard out, and then announced.
#[test]
fn messages_before_half_close_are_processed() {
    const MESSAGES: usize = 400;
    // Nothing but what comes on a socket wakes this server within the time that the listener waits.
    let settings = ["limits.handshake_ms=0", "heartbeat.interval_ms=3600000"];
    let server = Server::of_shards(1, &settings);
    let mut listener = Client::connect(&server.address, Some(&token("listener", &json!({}))));
    listener.join("r", "listener");
    let mut seq = 0;
    for _ in 0..20 {
        let mut wire = TcpClient::connect(&server.address).upgrade(&token("hasty", &json!({})));
        wire.send_text(&json!({ "type": "join-room", "roomId": "r", "peerId": "hasty" }).to_string());
        while wire.next_json().expect("it is connected")["type"] != "room-joined" {}
        assert_eq!(listener.next()["type"], "peer-joined");
        let frames: Vec<u8> = (0..MESSAGES).flat_map(|_| frame(TEXT, message("r", "x").as_bytes())).collect();
        wire.send(&frames);
        wire.half_close();
        for _ in 0..MESSAGES {
            seq += 1;
            assert_eq!(listener.next()["seq"], seq);
        }
        assert_eq!(listener.next()["type"], "peer-left");
        wire.read_to_end();
    }
}
