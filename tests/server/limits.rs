//! Each limit that an operator can set is exact, and the client learns which limit it met.

use serde_json::{Value, json};
use support::client::{Client, End};
use support::process::wait_until;
use support::server::{Server, token};
use support::tcp_client::{TEXT, TcpClient, frame};

fn server(settings: &[&str]) -> Server {
    Server::of_shards(2, settings)
}

fn connect(server: &Server, user: &str) -> Client {
    Client::connect(&server.address, Some(&token(user, &json!({}))))
}

/// The answer to a ping, which is the next thing that comes: the connection goes on.
fn goes_on(client: &mut Client) {
    client.send(&json!({ "type": "ping", "requestId": "still there" }));
    let pong = client.next();
    assert_eq!((&pong["type"], &pong["requestId"]), (&json!("pong"), &json!("still there")));
}

#[test]
fn rooms_per_connection_stop_at_the_limit() {
    let server = server(&["limits.rooms_per_connection=3"]);
    let mut ann = connect(&server, "ann");
    for room in ["r0", "r1", "r2"] {
        ann.join(room, "ann");
    }
    ann.send(&json!({ "type": "join-room", "roomId": "r3", "requestId": 1 }));
    let error = ann.next();
    assert_eq!(
        (&error["type"], &error["code"], &error["requestId"]),
        (&json!("error"), &json!("RATE_LIMITED"), &json!(1))
    );
    // The refused room is as if nobody had asked.
    let mut bo = connect(&server, "bo");
    assert_eq!(bo.join("r3", "bo")["peers"], json!([]));
    // A room it is in is no further room, and one that it left makes place.
    assert_eq!(ann.join("r2", "ann")["roomId"], "r2");
    ann.send(&json!({ "type": "leave-room", "roomId": "r0" }));
    assert_eq!(ann.next()["type"], "room-left");
    assert_eq!(ann.join("r3", "ann")["peers"][0]["peerId"], "bo");
    // The limit is each connection's own.
    let mut other = connect(&server, "ann");
    for room in ["r4", "r5", "r6"] {
        assert_eq!(other.join(room, "ann")["roomId"], room);
    }
}

#[test]
fn pipelined_joins_stop_at_the_room_limit() {
    let server = server(&["limits.rooms_per_connection=3"]);
    let mut ann = connect(&server, "ann");
    ann.send_all((0..50).map(|number| json!({ "type": "join-room", "roomId": format!("r{number}") }).to_string()));
    let answers: Vec<Value> = (0..50).map(|_| ann.next()).collect();
    let joined = answers.iter().filter(|answer| answer["type"] == "room-joined").count();
    let refused = answers.iter().filter(|answer| answer["code"] == "RATE_LIMITED").count();
    assert_eq!((joined, refused), (3, 47));
}

#[test]
fn connections_per_user_stop_at_the_limit() {
    let server = server(&["limits.connections_per_user=3"]);
    let mut kept: Vec<Client> = (0..3).map(|_| connect(&server, "ann")).collect();
    for client in &mut kept {
        goes_on(client);
    }
    let mut refused = connect(&server, "ann");
    let error = refused.next();
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("RATE_LIMITED")));
    let told = refused.next();
    assert_eq!((&told["type"], &told["reason"]), (&json!("disconnect"), &json!("too-many-connections")));
    assert_eq!(refused.end(), End::Close(1008, "too-many-connections".to_owned()));
    // It took nothing with it, and the limit is each user's own.
    kept.iter_mut().for_each(goes_on);
    goes_on(&mut connect(&server, "bo"));
    let mut sender = connect(&server, "bo");
    sender.send(&json!({ "type": "message", "toUserId": "ann", "content": "all of you" }));
    for client in &mut kept {
        assert_eq!(client.next()["content"], "all of you");
    }
    // One that ends makes place for another.
    kept.remove(0).close();
    wait_until("there is place again", || {
        let mut next = connect(&server, "ann");
        next.send(&json!({ "type": "ping" }));
        next.next()["type"] == "pong"
    });
}

/// A text frame of so many bytes that is a ping.
fn ping_of(bytes: usize) -> String {
    let ping = json!({ "type": "ping", "requestId": 1, "filler": "" }).to_string();
    ping.replace("\"filler\":\"\"", &format!("\"filler\":\"{}\"", "x".repeat(bytes - ping.len())))
}

#[test]
fn frame_over_the_limit_closes() {
    let server = server(&["limits.frame_bytes=1000"]);
    let mut ann = connect(&server, "ann");
    let largest = ping_of(1000);
    assert_eq!(largest.len(), 1000);
    ann.send_text(&largest);
    assert_eq!(ann.next()["type"], "pong");
    ann.send_text(&ping_of(1001));
    assert!(matches!(ann.end(), End::Close(1009, _)));
    // Pieces of a message are counted together, and its announced length is enough to refuse it.
    let mut wire = TcpClient::connect(&server.address).upgrade(&token("ann", &json!({})));
    let mut first = frame(TEXT, &[b' '; 900]);
    first[0] &= 0x7F;
    wire.send(&first);
    wire.send(&frame(0, &[b' '; 101]));
    assert_eq!(wire.last_words().1, Some(1009));
    let mut wire = TcpClient::connect(&server.address).upgrade(&token("ann", &json!({})));
    wire.send(&frame(TEXT, &[b' '; 1001])[..8]);
    assert_eq!(wire.last_words().1, Some(1009));
}

#[test]
fn message_over_the_limit_is_refused() {
    let server = server(&["limits.message_bytes=100"]);
    let mut ann = connect(&server, "ann");
    let mut bo = connect(&server, "bo");
    bo.join("r", "bo");
    ann.join("r", "ann");
    assert_eq!(bo.next()["type"], "peer-joined");
    let message = |content: &str| json!({ "type": "message", "roomId": "r", "content": content, "requestId": 7 });
    ann.send(&message(&"x".repeat(100)));
    assert_eq!(ann.next()["seq"], 1);
    for large in ["x".repeat(101), "é".repeat(51), "x".repeat(100_000)] {
        ann.send(&message(&large));
        let error = ann.next();
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("MESSAGE_TOO_LARGE")));
        assert_eq!(error["requestId"], 7);
        goes_on(&mut ann);
    }
    // What counts is the text, not how it is spelled.
    ann.send_text(&format!(r#"{{"type":"message","roomId":"r","content":"{}"}}"#, "\\u0078".repeat(100)));
    assert_eq!(ann.next()["seq"], 2, "what was refused has no place in the order");
    assert_eq!([bo.next(), bo.next()].map(|message| message["seq"].clone()), [json!(1), json!(2)]);
    // Signaling is bounded by the frame alone.
    ann.send(&json!({ "type": "offer", "roomId": "r", "toPeerId": "bo", "offer": "x".repeat(10_000) }));
    assert_eq!(bo.next()["type"], "offer");
}

fn candidate(number: usize) -> String {
    json!({ "type": "ice-candidate", "roomId": "r", "toPeerId": "bo", "candidate": number, "requestId": number })
        .to_string()
}

#[test]
fn signals_after_their_burst_are_limited_to_the_rate() {
    const BURST: usize = 5;
    let server = server(&["limits.signals_per_minute=60", "limits.signals_burst=5"]);
    let mut ann = connect(&server, "ann");
    let mut bo = connect(&server, "bo");
    bo.join("r", "bo");
    ann.join("r", "ann");
    assert_eq!(bo.next()["type"], "peer-joined");
    // One write arrives as one read, so no time passes for the server between these.
    let frames: Vec<u8> = (0..20).flat_map(|number| frame(TEXT, candidate(number).as_bytes())).collect();
    ann.send_bytes(&frames);
    for number in BURST..20 {
        let error = ann.next();
        assert_eq!((&error["code"], &error["requestId"]), (&json!("RATE_LIMITED"), &json!(number)));
    }
    for number in 0..BURST {
        assert_eq!(bo.next()["candidate"], number);
    }
    // Only signals are counted, and only this connection's.
    ann.send(&json!({ "type": "message", "roomId": "r", "content": "on" }));
    assert_eq!(ann.next()["type"], "message-sent");
    assert_eq!(bo.next()["content"], "on");
    bo.send(&json!({ "type": "answer", "roomId": "r", "toPeerId": "ann", "answer": {} }));
    assert_eq!(ann.next()["type"], "answer");
    // A second brings one more, and a refusal costs nothing.
    let mut asked = 100;
    wait_until("another signal is allowed", || {
        asked += 1;
        ann.send_text(&candidate(asked));
        ann.send(&json!({ "type": "ping" }));
        let answer = ann.next();
        if answer["type"] == "pong" {
            return true;
        }
        assert_eq!((&answer["code"], &ann.next()["type"]), (&json!("RATE_LIMITED"), &json!("pong")));
        false
    });
    assert_eq!(bo.next()["candidate"], asked);
}

/// A body of 3 MB, once by its length and once in chunks.
fn make_a_room_with_a_large_body(server: &Server) {
    let head = format!(
        "POST /rooms HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
        token("ann", &json!({}))
    );
    let body = format!("{}{{}}", " ".repeat(3_000_000));
    let mut wire = TcpClient::connect(&server.address);
    wire.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    wire.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes());
    for _ in 0..2 {
        let (head, _) = wire.http_answer().expect("an answer");
        assert!(head.starts_with("HTTP/1.1 201 "), "{head}");
    }
}

#[test]
fn limit_of_zero_is_off() {
    let settings = ["limits.signals_per_minute=0", "limits.rooms_per_connection=0", "limits.connections_per_user=0"];
    let bytes = ["message_bytes", "outbound_bytes", "frame_bytes", "body_bytes"].map(|name| format!("limits.{name}=0"));
    let settings: Vec<&str> = settings.into_iter().chain(bytes.iter().map(String::as_str)).collect();
    let server = server(&settings);
    let mut ann = connect(&server, "ann");
    let mut bo = connect(&server, "bo");
    for number in 0..150 {
        ann.join(&format!("r{number}"), "ann");
    }
    ann.join("r", "ann");
    bo.join("r", "bo");
    assert_eq!(ann.next()["type"], "peer-joined");
    ann.send_all((0..400).map(candidate));
    for number in 0..400 {
        assert_eq!(bo.next()["candidate"], number);
    }
    let crowd: Vec<Client> = (0..25).map(|_| connect(&server, "ann")).collect();
    crowd.into_iter().for_each(|mut client| goes_on(&mut client));
    ann.send(&json!({ "type": "message", "roomId": "r", "content": "x".repeat(200_000) }));
    assert_eq!(ann.next()["type"], "message-sent");
    assert_eq!(bo.next()["content"].as_str().map(str::len), Some(200_000));
    let mut pieces = frame(TEXT, ping_of(400_000).as_bytes());
    pieces[0] &= 0x7F;
    ann.send_bytes(&pieces);
    ann.send_bytes(&frame(0, &[b' '; 400_000]));
    assert_eq!(ann.next()["type"], "pong");
    make_a_room_with_a_large_body(&server);
    // Far more than the kernel keeps for a connection; whoever reads late gets all of it.
    for seq in 2..130 {
        ann.send(&json!({ "type": "message", "roomId": "r", "content": "x".repeat(200_000) }));
        assert_eq!(ann.next()["seq"], seq);
    }
    for seq in 2..130 {
        assert_eq!(bo.next()["seq"], seq);
    }
}

#[test]
fn outbound_bytes_over_the_limit_close_the_reader() {
    // The largest content makes more than one setting has room for, beside what the kernel keeps, and not the other.
    for (bytes, is_cut) in [(100_000, true), (64 << 20, false)] {
        let server = server(&[&format!("limits.outbound_bytes={bytes}")]);
        let mut ann = connect(&server, "ann");
        let mut bo = connect(&server, "bo");
        bo.join("r", "bo");
        ann.join("r", "ann");
        let mut heard = 0;
        for seq in 1..=1_200 {
            ann.send(&json!({ "type": "message", "roomId": "r", "content": "x".repeat(16_000) }));
            let answer = ann.next();
            heard += usize::from(answer["type"] == "peer-left");
            let receipt = if answer["type"] == "peer-left" { ann.next() } else { answer };
            assert_eq!(receipt["seq"], seq);
        }
        goes_on(&mut ann);
        assert_eq!(heard, usize::from(is_cut), "{bytes}");
        assert_eq!(bo.next()["type"], "peer-joined");
        let mut seq = 0;
        let end = loop {
            match bo.next_or_end() {
                Ok(event) if event["type"] == "message" => {
                    seq += 1;
                    assert_eq!(event["seq"], seq);
                }
                Ok(event) => assert_eq!(event["reason"], "slow-consumer"),
                Err(end) => break Some(end),
            }
            if seq == 1_200 {
                break None;
            }
        };
        match end {
            None => assert!(!is_cut),
            Some(End::Close(code, _)) => assert_eq!((code, is_cut), (4413, true)),
            Some(End::Cut) => assert!(is_cut),
        }
    }
}

#[test]
fn connections_per_server_stop_at_the_limit() {
    [1, 3].into_iter().for_each(take_on_four);
}

/// However many shards there are, and whichever of them the connections come to.
fn take_on_four(shards: usize) {
    let server = Server::of_shards(shards, &["limits.connections=4"]);
    let mut kept: Vec<Client> = (0..3).map(|number| connect(&server, &format!("u{number}"))).collect();
    // One that has not said anything makes way for the fourth; see `sockets`.
    let _silent = TcpClient::connect(&server.address);
    // Another shard may accept it first; then it makes way itself.
    let mut fourth = None;
    wait_until("the fourth has a place", || {
        fourth = Client::try_connect(&server.address, Some(&token("u3", &json!({})))).ok();
        fourth.is_some()
    });
    let is_refused = || {
        let mut wire = TcpClient::connect(&server.address);
        let _ = wire.try_send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        // What had come before it was closed may be lost on the way (RFC 9293 §3.6.1).
        let answer = wire.http_answer();
        if let Some((head, body)) = &answer {
            let is_full = head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After: 1\r\n");
            assert!(is_full != head.starts_with("HTTP/1.1 200 "), "{head}");
            assert!(!is_full || body.starts_with(b"{\"error\":"), "{head}");
        }
        answer.is_none_or(|(head, _)| !head.starts_with("HTTP/1.1 200 "))
    };
    wait_until("the fifth is refused", is_refused);
    kept.iter_mut().for_each(goes_on);
    fourth.expect("invariant: it has a place").close();
    wait_until("there is place again", || !is_refused());
    kept.remove(0).close();
    wait_until("there is place for two", || {
        let _one = TcpClient::connect(&server.address);
        !is_refused()
    });
    kept.iter_mut().for_each(goes_on);
}
