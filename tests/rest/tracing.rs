//! What operators see of a running server: the frames of a trace, and the settings in force; and the tokens that `--dev` makes.

use std::fs;
use std::io::Write;

use serde_json::{Value, json};
use support::client::Client;
use support::directory::Directory;
use support::engineio::Polling;
use support::http::{Http, Response, ask, bearer, request};
use support::process::wait_until;
use support::server::{Server, token};

fn admin() -> String {
    bearer(&token("root", &json!({ "role": "admin" })))
}

fn post(server: &Server, path: &str, authorization: &str, body: &Value) -> Response {
    ask(&server.address, "POST", path, &[authorization], Some(&body.to_string()))
}

/// A trace that is watched.
struct Watch {
    http: Http,
    text: String,
}

impl Watch {
    fn of(server: &Server, subject: &Value) -> Self {
        let mut http = Http::connect(&server.address);
        http.write(request("POST", "/api/v1/trace", &[&admin()], Some(&subject.to_string())));
        let head = http.answer();
        assert_eq!((head.status, head.header("connection")), (200, Some("close")));
        assert_eq!(head.header("content-type"), Some("application/x-ndjson; charset=utf-8"));
        Self { http, text: String::new() }
    }

    /// Reads until a frame has this text; all lines up to there.
    fn until(&mut self, wanted: &str) -> Vec<Value> {
        while !self.text.contains(wanted) || !self.text.ends_with('\n') {
            let more = self.http.read_some();
            assert!(!more.is_empty(), "the trace ended before {wanted}: {}", self.text);
            self.text.push_str(&String::from_utf8(more).expect("text"));
        }
        std::mem::take(&mut self.text).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// Until the shard of a client knows of traces that have begun: its turn before may be the last one that does not.
fn settle(client: &mut Client) {
    for _ in 0..2 {
        client.send(&json!({ "type": "ping" }));
        client.wait_for("pong");
    }
}

#[test]
fn trace_of_a_busy_user_among_many_has_exactly_its_frames_in_order() {
    const ROUNDS: usize = 30;
    let server = Server::of_shards(3, &["heartbeat.interval_ms=60000"]);
    let mut clients: Vec<Client> = (0..24).map(|at| Client::of(&server.address, &format!("user{at}"))).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.join("all", &format!("p{at}"));
    }
    let mut watch = Watch::of(&server, &json!({ "userId": "user7" }));
    settle(&mut clients[7]);
    watch.until("pong");
    let mut sent = Vec::new();
    for round in 0..ROUNDS {
        for (at, client) in clients.iter_mut().enumerate() {
            let text =
                json!({ "type": "message", "roomId": "all", "content": format!("{at}.{round}"), "requestId": round });
            client.send(&text);
            if at == 7 {
                sent.push(text.to_string());
            }
        }
    }
    let mut heard = Vec::new();
    while heard.len() < ROUNDS * 24 {
        let text = clients[7].next_text_or_end().expect("it is open");
        let event: Value = serde_json::from_str(&text).expect("JSON");
        if event["type"] == "message" || event["type"] == "message-sent" {
            heard.push(text);
        }
    }
    clients[7].send(&json!({ "type": "message", "roomId": "all", "content": "the last one" }));
    let frames = watch.until("the last one");
    assert!(frames.iter().all(|frame| frame["userId"] == "user7" && frame["connectionId"] == clients[7].id()));
    let texts = |direction: &str| -> Vec<String> {
        let is_message = |text: &&str| text.contains("\"message");
        let of = frames.iter().filter(|frame| frame["direction"] == direction && frame["kind"] == "text");
        of.map(|frame| frame["frame"].as_str().expect("text")).filter(is_message).map(str::to_owned).collect()
    };
    let mut received = texts("in");
    assert!(received.pop().expect("frames").contains("the last one"));
    assert_eq!(received, sent);
    assert_eq!(texts("out")[..heard.len()], heard);
    assert!(frames.iter().all(|frame| frame["size"].as_u64() >= frame["frame"].as_str().map(|it| it.len() as u64)));
}

#[test]
fn trace_of_a_room_or_address_masks_secrets_and_ends_with_its_reader() {
    let server = Server::of_shards(2, &[]);
    let mut ann = Client::of(&server.address, "ann");
    let mut bob = Client::of(&server.address, "bob");
    ann.join("tea", "a");
    bob.join("coffee", "b");
    let mut room = Watch::of(&server, &json!({ "roomId": "tea" }));
    let mut address = Watch::of(&server, &json!({ "address": "127.0.0.1" }));
    let renewed = token("ann", &json!({ "name": "Ann" }));
    settle(&mut ann);
    settle(&mut bob);
    bob.send(&json!({ "type": "message", "roomId": "coffee", "content": "tea" }));
    bob.wait_for("message-sent");
    ann.send(&json!({ "type": "authenticate", "token": renewed }));
    ann.wait_for("authenticated");
    ann.send(&json!({ "type": "message", "roomId": "tea", "content": "two" }));
    ann.wait_for("message-sent");
    let frames = room.until("\\\"two\\\"");
    assert!(
        frames.iter().all(|frame| frame["userId"] == "ann" && frame["frame"].as_str().expect("text").contains("tea"))
    );
    let frames = address.until("\\\"two\\\"");
    let shown: Vec<&str> = frames.iter().filter_map(|frame| frame["frame"].as_str()).collect();
    assert!(shown.contains(&r#"{"token":"********","type":"authenticate"}"#), "{shown:?}");
    assert!(!shown.iter().any(|text| text.contains("eyJ")));
    // A client of Socket.IO is traced by its transport, whatever that is.
    let mut polling = Polling::open(&server.address, "/socket.io/");
    polling.post(&format!("40{{\"token\":\"{renewed}\"}}"));
    let frames = address.until("\"kind\":\"poll\"");
    assert!(frames.iter().all(|frame| !frame["frame"].as_str().unwrap_or_default().contains("eyJ")));
    drop((room, address));
    // A trace that nobody reads any more makes room for others.
    for _ in 0..20 {
        wait_until("there is room for a trace", || {
            let mut http = Http::connect(&server.address);
            http.write(request("POST", "/api/v1/trace", &[&admin()], Some(r#"{"userId":"x"}"#)));
            http.answer().status == 200
        });
    }
}

#[test]
fn trace_is_for_admins_and_names_what_is_wrong_with_a_body() {
    let server = Server::of_shards(2, &[]);
    let ann = bearer(&token("ann", &json!({})));
    assert_eq!(post(&server, "/api/v1/trace", &ann, &json!({ "userId": "bob" })).status, 403);
    for (body, wrong) in [
        (json!({}), "Exactly one of connectionId, userId, roomId and address"),
        (json!({ "userId": "a", "roomId": "b" }), "Exactly one of"),
        (json!({ "address": "here" }), "address must be an IP address"),
        (json!({ "userId": "a", "seconds": 0 }), "seconds must be a whole number from 1 to 3600"),
        (json!({ "usrId": "a" }), "usrId"),
    ] {
        let refused = post(&server, "/api/v1/trace", &admin(), &body);
        assert_eq!(refused.status, 422, "{body}: {}", refused.text());
        assert!(refused.text().contains(wrong), "{}", refused.text());
    }
    let watched: Vec<Watch> = (0..8).map(|at| Watch::of(&server, &json!({ "userId": format!("u{at}") }))).collect();
    wait_until("all shards know eight traces", || {
        post(&server, "/api/v1/trace", &admin(), &json!({ "userId": "one more", "seconds": 1 })).status == 429
    });
    drop(watched);
    // A trace ends by itself.
    let mut short = Http::connect(&server.address);
    wait_until("there is room again", || {
        short = Http::connect(&server.address);
        let body = r#"{"userId":"x","seconds":1}"#;
        short.write(request("POST", "/api/v1/trace", &[&admin()], Some(body)));
        short.answer().status == 200
    });
    assert_eq!(short.rest(), "");
}

#[test]
fn settings_in_force_have_their_source_and_what_a_reload_has_changed() {
    let directory = Directory::new();
    fs::create_dir_all(directory.path()).expect("a directory");
    let file = directory.path().join("switchboard.toml");
    let write = |text: &str| {
        let mut it = fs::File::create(&file).expect("a file");
        it.write_all(text.as_bytes()).expect("it is written");
    };
    write("[monitoring]\nopen = false\n");
    let path = file.display().to_string();
    let server = Server::start(&["--config", &path, "--shards", "2", "--data", ""]);
    let shown = || ask(&server.address, "GET", "/api/v1/settings", &[&admin()], None).json();
    let of = |shown: &Value, key: &str| {
        let settings = shown["settings"].as_array().expect("a list").clone();
        settings.into_iter().find(|setting| setting["key"] == key).expect("it is shown")
    };
    let before = shown();
    let setting = of(&before, "monitoring.open");
    assert_eq!((&setting["value"], &setting["isLive"]), (&json!("false"), &json!(true)));
    assert!(setting["source"].as_str().expect("text").contains("switchboard.toml"), "{setting}");
    assert_eq!(of(&before, "auth.secret")["value"], "\"********\"");
    assert_eq!((&before["changes"], &before["reloadedAt"]), (&json!([]), &json!(null)));
    write("[monitoring]\nopen = true\n\n[rooms]\nretention_hours = 3\n");
    server.signal(1);
    // Each shard gets them for itself.
    let mut after = Value::Null;
    wait_until("the settings are read again", || {
        after = shown();
        after["reloadedAt"].is_string()
    });
    assert_eq!(of(&after, "monitoring.open")["value"], "true");
    let changes = after["changes"].as_array().expect("a list");
    let live = json!({ "key": "monitoring.open", "before": "false", "now": "true", "isInForce": true });
    assert!(changes.contains(&live), "{changes:?}");
    let ann = bearer(&token("ann", &json!({})));
    assert_eq!(ask(&server.address, "GET", "/api/v1/settings", &[&ann], None).status, 403);
}

#[test]
fn token_is_made_with_dev_only_and_not_for_pages_of_others() {
    let server = Server::start(&["--dev", "--data", ""]);
    let body = json!({ "sub": "ann", "role": "admin" }).to_string();
    let path = "/dev/token";
    let made = ask(&server.address, "POST", path, &[], Some(&body));
    assert_eq!(made.status, 201, "{}", made.text());
    let made = bearer(made.json()["token"].as_str().expect("a token"));
    assert_eq!(ask(&server.address, "GET", "/api/v1/settings", &[&made], None).status, 200);
    for origin in ["https://evil.example", "null"] {
        let refused = ask(&server.address, "POST", path, &[&format!("Origin: {origin}")], Some(&body));
        assert_eq!(refused.status, 403, "{origin}");
    }
    assert_eq!(ask(&server.address, "POST", path, &["Sec-Fetch-Site: cross-site"], Some(&body)).status, 403);
    assert_eq!(ask(&server.address, "POST", path, &[], Some("{}")).status, 422);
    let plain = Server::of_shards(1, &["auth.guests=true"]);
    assert_eq!(ask(&plain.address, "POST", path, &[], Some(&body)).status, 404);
}

#[test]
fn stream_of_frames_takes_the_frames_of_its_own_token_only() {
    let server = Server::of_shards(3, &[]);
    let ann = bearer(&token("ann", &json!({})));
    let mut down = Http::connect(&server.address);
    down.write(request("GET", "/ws?transport=stream&events=all", &[&ann], None));
    let head = down.answer();
    assert_eq!((head.status, head.header("content-type")), (200, Some("application/octet-stream")));
    let mut bytes = Vec::new();
    let mut read = |wanted: &str| loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(at) = text.find(wanted) {
            return text[at..].to_owned();
        }
        bytes.extend(down.read_some());
    };
    let hello = read("{\"type\":\"connect\"");
    let key = hello.split("\"recoveryToken\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token");
    let frame = |text: &str| {
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).expect("short"), 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        frame
    };
    let send = |authorization: &str, frames: &[u8]| {
        let mut http = Http::connect(&server.address);
        let head = request(
            "POST",
            "/ws?transport=stream",
            &[authorization, &format!("Content-Length: {}", frames.len())],
            None,
        );
        http.write(head);
        http.write(frames);
        http.answer().status
    };
    let joining = frame(r#"{"type":"join-room","roomId":"tea","displayName":"Ann"}"#);
    assert_eq!(send(&bearer(&"A".repeat(48)), &joining), 404);
    assert_eq!(send(&ann, &joining), 404);
    // Frames may be cut anywhere.
    assert_eq!(send(&bearer(key), &joining[..9]), 204);
    assert_eq!(send(&bearer(key), &joining[9..]), 204);
    read("\"type\":\"room-joined\"");
    // Bytes that are no frame close the connection as they would a WebSocket.
    assert_eq!(send(&bearer(key), b"GET / HTTP/1.1\r\n"), 204);
    assert!(!down.rest().is_empty());
    wait_until("the connection is gone", || send(&bearer(key), &joining) == 404);
    // Without a token, the server refuses as it does a WebSocket.
    assert_eq!(ask(&server.address, "GET", "/ws?transport=stream", &[], None).status, 401);
}
