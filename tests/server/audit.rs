//! The audit log: what admins and hosts do and which attempts are refused leaves a trace, in the log, in the counters and in
//! the incidents; a token or the content of a message never does.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use support::client::{Client, PATIENCE};
use support::directory::Directory;
use support::engineio::Socket;
use support::http::{Http, ask, bearer, request};
use support::process::wait_until;
use support::server::{Server, command, token};

struct Audited {
    server: Server,
    file: PathBuf,
    _directory: Directory,
}

impl Audited {
    fn new(settings: &[&str]) -> Self {
        let directory = Directory::new();
        std::fs::create_dir(directory.path()).expect("a directory");
        let file = directory.path().join("audit.log");
        let path = format!("audit.file={}", file.display());
        let own = ["audit.format=json", path.as_str(), "auth.guests=true", "trusted_proxies=127.0.0.1"];
        let server = Server::of_shards(2, &[&own, settings].concat());
        Self { server, file, _directory: directory }
    }

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.file).expect("the file");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Waits for a line with these fields.
    #[track_caller]
    fn wait_for(&self, expected: &Value) -> Value {
        let until = Instant::now() + PATIENCE;
        let is_it =
            |line: &&Value| expected.as_object().expect("fields").iter().all(|(name, value)| line[name] == *value);
        loop {
            let lines = self.lines();
            if let Some(found) = lines.iter().find(is_it) {
                return found.clone();
            }
            assert!(Instant::now() < until, "{expected} is not among {lines:#?}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    fn admin(&self, method: &str, path: &str, body: Option<&str>) -> u16 {
        let line = bearer(&token("root", &json!({ "role": "admin" })));
        ask(&self.server.address, method, path, &[&line, "X-Forwarded-For: 192.0.2.9"], body).status
    }

    fn metric(&self, name: &str) -> u64 {
        let line = bearer(&token("root", &json!({ "role": "admin" })));
        let text = ask(&self.server.address, "GET", "/metrics", &[&line], None).text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("switchboard_{name} ")));
        line.expect("the metric").parse().expect("a number")
    }
}

#[test]
fn actions_of_admins_and_hosts_are_logged_with_their_outcome() {
    let audited = Audited::new(&[]);
    let secret = "a message that nobody but bob shall read";
    assert_eq!(audited.admin("POST", "/users/mallory/block", Some(r#"{"reason":"spam"}"#)), 200);
    assert_eq!(audited.admin("DELETE", "/websocket/users/nobody/disconnect", None), 404);
    assert_eq!(audited.admin("POST", "/broadcast", Some(&json!({ "message": secret }).to_string())), 200);
    let bob = token("bob", &json!({}));
    let refused = ask(&audited.server.address, "POST", "/users/ann/block", &[&bearer(&bob)], None);
    assert_eq!(refused.status, 403);
    let done = |action: &str, on: &str| json!({ "action": action, "on": on, "by": "root", "from": "192.0.2.9", "outcome": "done" });
    let line = audited.wait_for(&done("block-user", "mallory"));
    assert_eq!((&line["target"], &line["level"]), (&json!("audit"), &json!("INFO")));
    audited.wait_for(&done("broadcast", ""));
    audited.wait_for(&json!({ "action": "disconnect-user", "on": "nobody", "outcome": "USER_NOT_FOUND" }));
    audited.wait_for(&json!({ "action": "block-user", "on": "ann", "by": "bob", "outcome": "FORBIDDEN" }));

    // A guest by the host secret, at a WebSocket.
    let made = ask(&audited.server.address, "POST", "/api/rooms", &[], Some("{}")).json();
    let (room, host) = (made["roomId"].as_str().expect("an id"), made["hostSecret"].as_str().expect("a secret"));
    let mut guest = Client::connect(&audited.server.address, None);
    guest.send(&json!({ "type": "close-room", "roomId": room }));
    assert_eq!(guest.wait_for("error")["code"], "FORBIDDEN");
    guest.send(&json!({ "type": "close-room", "roomId": room, "hostSecret": host }));
    assert_eq!(guest.wait_for("host-action")["action"], "close-room");
    let by = guest.hello["userId"].as_str().expect("an id");
    audited.wait_for(&json!({ "action": "close-room", "on": room, "by": by, "outcome": "FORBIDDEN" }));
    audited.wait_for(&json!({ "action": "close-room", "on": room, "by": by, "outcome": "done" }));
    let log = std::fs::read_to_string(&audited.file).expect("the file");
    for hidden in [secret, host, bob.as_str()] {
        assert!(!log.contains(hidden), "{log}");
    }
}

#[test]
fn each_call_of_an_admin_or_backend_that_changes_others_leaves_a_line() {
    let webhook = r#"webhooks.endpoints=[{ name = "app", url = "http://127.0.0.1:9",
        secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" }]"#;
    let audited = Audited::new(&[webhook]);
    let address = &audited.server.address;
    let root = bearer(&token("root", &json!({ "role": "admin", "scope": "push" })));
    let own = bearer(&token("ann", &json!({})));
    let ask = |line: &str, method: &str, path: &str, body: &Value| {
        ask(address, method, path, &[line, "X-Forwarded-For: 192.0.2.9"], Some(&body.to_string()))
    };
    let room = ask(&root, "POST", "/rooms", &json!({})).json()["room"]["id"].as_str().expect("an id").to_owned();
    let mut ann = Client::connect(address, Some(&token("ann", &json!({}))));
    ann.join(&room, "ann");
    let to_all = json!({ "all": true, "data": "hello" });
    let made = ask(&root, "POST", "/api/v1/log-filters", &json!({ "userId": "ann" })).json();
    let filter = format!("/api/v1/log-filters/{}", made["id"]).replace('"', "");
    let id = filter.rsplit('/').next().expect("the id");
    audited.wait_for(&json!({ "action": "set-log-filter", "on": "user ann", "by": "root", "outcome": "done" }));
    for (method, path, body, action, on) in [
        ("POST", "/api/v1/publish", &to_all, "broadcast", ""),
        ("POST", "/api/v1/batch", &json!({ "messages": [to_all] }), "broadcast", ""),
        ("POST", "/websocket/message/broadcast", &json!({ "type": "t", "data": 1 }), "broadcast", ""),
        ("PUT", "/presence/ann", &json!({ "status": "away" }), "set-presence", "ann"),
        ("PATCH", "/rooms/ROOM", &json!({ "name": "Tea" }), "update-room", "ROOM"),
        ("PUT", "/rooms/ROOM/lock", &json!({ "isLocked": true }), "lock-room", "ROOM"),
        ("PUT", "/rooms/ROOM/bans/eve", &json!({}), "ban-user", "eve in ROOM"),
        ("DELETE", "/rooms/ROOM/bans/eve", &json!({}), "unban-user", "eve in ROOM"),
        ("POST", "/tokens/revoke", &json!({ "jti": "t-1" }), "revoke-tokens", "jti t-1"),
        ("POST", "/addresses/blocked", &json!({ "address": "203.0.113.7" }), "block-address", "203.0.113.7"),
        ("DELETE", "/addresses/blocked/203.0.113.7", &json!({}), "unblock-address", "203.0.113.7"),
        ("POST", "/users/eve/block", &json!({}), "block-user", "eve"),
        ("DELETE", "/users/eve/block", &json!({}), "unblock-user", "eve"),
        ("DELETE", "/rooms/ROOM/participants/ann", &json!({}), "remove-user", "ann in ROOM"),
        ("DELETE", "/websocket/users/ann/disconnect", &json!({}), "disconnect-user", "ann"),
        ("DELETE", "/api/rooms/ROOM", &json!({}), "close-room", "ROOM"),
        ("DELETE", filter.as_str(), &json!({}), "remove-log-filter", id),
        ("POST", "/api/v1/webhooks/app/replay", &json!({}), "replay-webhook", "app"),
    ] {
        let before = audited.lines().len();
        let [path, on] = [path, on].map(|text| text.replace("ROOM", &room));
        let answer = ask(&root, method, &path, body);
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.text());
        wait_until("there is a line", || audited.lines().len() > before);
        let line = audited.lines().last().cloned().expect("a line");
        let fields = ["action", "on", "by", "from", "outcome"].map(|name| line[name].as_str().unwrap_or_default());
        assert_eq!(fields, [action, &on, "root", "192.0.2.9", "done"], "{method} {path}");
    }

    // A user's own presence is no action on others.
    let before = audited.lines().len();
    assert_eq!(ask(&own, "PUT", "/presence/ann", &json!({ "status": "busy" })).status, 200);
    assert_eq!(ask(&root, "POST", "/users/eve/block", &json!({})).status, 200);
    wait_until("there is a line", || audited.lines().len() > before);
    assert_eq!(audited.lines()[before]["action"], "block-user");
}

#[test]
fn refused_attempts_are_logged_once_a_second_and_counted() {
    let settings = [
        "limits.connection_attempts=20",
        "limits.exempt=203.0.113.1",
        "cors.origins=https://good.example",
        "limits.rest_per_minute=3",
    ];
    let audited = Audited::new(&settings);
    let address = &audited.server.address;
    let from = "X-Forwarded-For: 198.51.100.7";
    let forged = bearer("ey.forged.token");
    let call = || ask(address, "GET", "/websocket/me/status", &[&forged, from], None).status;
    let open = || ask(address, "GET", "/socket.io/?EIO=4&transport=polling", &[from], None).status;
    assert!((0..20).all(|_| call() == 401));
    let until = Instant::now() + PATIENCE;
    while open() == 200 {
        assert!(Instant::now() < until, "the address is not blocked");
    }
    assert_eq!([call(), call(), call(), open(), open(), open()], [429; 6]);
    let evil = "Origin: https://evil.example";
    assert_eq!(ask(address, "GET", "/api/rooms/r", &[evil, from], None).status, 403);
    let mut upgrade = Http::connect(address);
    let head = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", evil];
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    upgrade.write(request("GET", "/ws", &[head.as_slice(), &[key]].concat(), None));
    assert_eq!(upgrade.answer().status, 403);

    for (action, reason) in
        [("addresses-limited", "Too many"), ("tokens-refused", "The token"), ("origins-refused", "This origin")]
    {
        let line = audited.wait_for(&json!({ "action": action, "level": "WARN" }));
        assert!(
            line["addresses"].as_str().is_some_and(|list| list.contains("198.51.100.7") || list.contains("127.0.0.1"))
        );
        assert!(line["reason"].as_str().is_some_and(|text| text.starts_with(reason)), "{line}");
    }
    let count = |action: &str| -> u64 {
        let lines = audited.lines();
        let of_action = lines.iter().filter(|line| line["action"] == action);
        of_action.map(|line| line["count"].as_u64().expect("a count")).sum()
    };
    wait_until("all refusals are counted in the log", || {
        (count("tokens-refused"), count("addresses-limited"), count("origins-refused")) == (20, 7, 2)
    });
    let lines = audited.lines().iter().filter(|line| line["action"] == "tokens-refused").count();
    assert!(lines <= 8, "{lines} lines for 20 refusals");
    let names = ["tokens_refused_total", "rate_limited_total", "origins_refused_total"];
    wait_until("all refusals are in the metrics", || names.map(|name| audited.metric(name)) == [20, 7, 2]);

    // A user's calls beyond the quota count, too, and what a connection shows later.
    let mut quick = Client::connect(address, Some(&token("quick", &json!({}))));
    quick.send(&json!({ "type": "authenticate", "token": "ey.forged.token" }));
    assert_eq!(quick.wait_for("error")["code"], "UNAUTHENTICATED");
    let line = bearer(&token("quick", &json!({})));
    let calls: Vec<u16> = (0..4).map(|_| ask(address, "GET", "/websocket/me/status", &[&line], None).status).collect();
    assert_eq!(calls, [200, 200, 200, 429]);
    wait_until("further refusals are in the metrics", || names.map(|name| audited.metric(name)) == [21, 8, 2]);

    // In the incidents that admins see.
    let admin = token("root", &json!({ "role": "admin" }));
    let mut socket = Socket::connect(address, "/socket.io/?EIO=4&transport=websocket&dialect=colon");
    assert!(socket.next().starts_with('0'));
    socket.send(&format!("40/chat,{}", json!({ "token": admin })));
    assert!(socket.next().starts_with("40/chat,"));
    socket.ask(1, "monitoring:events", &json!({ "type": "rate_limit" }));
    let events = socket.acked(1).to_string();
    assert!(events.contains("198.51.100.7"), "{events}");
}

#[test]
fn audit_lines_without_a_file_are_on_standard_error_in_their_own_format_and_level() {
    let mut command = command(&["--set", "log.level=off", "--set", "audit.format=json"], &[]);
    command.stderr(std::process::Stdio::piped());
    let mut server = Server::spawn(&mut command);
    let lines = BufReader::new(server.stderr().expect("its log")).lines();
    let line = bearer(&token("root", &json!({ "role": "admin" })));
    let blocked = ask(&server.address, "POST", "/users/eve/block", &[&line], None);
    assert_eq!(blocked.status, 200, "{}", blocked.text());
    let first = lines.map_while(Result::ok).next().expect("a line");
    let first: Value = serde_json::from_str(&first).expect("JSON");
    assert_eq!((&first["action"], &first["on"]), (&json!("block-user"), &json!("eve")));
}
