//! The access log: a line for each ended connection and each answered request, without tokens, sampled, and in a file that can
//! be rotated.

use std::path::PathBuf;

use serde_json::{Value, json};
use support::client::Client;
use support::directory::Directory;
use support::engineio::Socket;
use support::http::{ask, bearer};
use support::process::wait_until;
use support::server::{Server, token};

const SIGHUP: i32 = 1;
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

struct Logged {
    server: Server,
    file: PathBuf,
    _directory: Directory,
}

impl Logged {
    fn new(settings: &[&str]) -> Self {
        Self::of_shards(2, settings)
    }

    fn of_shards(shards: usize, settings: &[&str]) -> Self {
        let directory = Directory::new();
        std::fs::create_dir(directory.path()).expect("a directory");
        let file = directory.path().join("access.log");
        let path = format!("access.file={}", file.display());
        let own = ["access.enabled=true", "access.format=json", "trusted_proxies=127.0.0.1", &path];
        let server = Server::of_shards(shards, &[&own, settings].concat());
        Self { server, file, _directory: directory }
    }

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        // The last line may be half written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The line with these fields, once it is there.
    #[track_caller]
    fn wait_for(&self, expected: &Value) -> Value {
        let mut found = None;
        wait_until(&expected.to_string(), || {
            let fields = expected.as_object().expect("fields");
            found = self.lines().into_iter().find(|line| fields.iter().all(|(name, value)| line[name] == *value));
            found.is_some()
        });
        found.expect("it was found")
    }

    fn call(&self, path: &str, headers: &[&str]) -> u16 {
        ask(&self.server.address, "GET", path, headers, None).status
    }
}

#[test]
fn connections_and_requests_have_lines_without_tokens() {
    let logged = Logged::new(&[]);
    let secret = token("ann", &json!({}));
    let mut client = Client::connect(&logged.server.address, Some(&secret));
    client.join("tea", "ann");
    client.close();
    let line = logged.wait_for(&json!({ "kind": "connection", "dialect": "raw", "user": "ann" }));
    assert_eq!(
        (&line["transport"], &line["code"], &line["address"]),
        (&json!("websocket"), &json!(1005), &json!("127.0.0.1"))
    );
    assert!(line["lasted_ms"].is_u64() && line["connection"].is_string(), "{line}");

    let (mut socket, _) = Socket::peer(&logged.server.address, "/chat", "bob");
    socket.send("1");
    let line = logged.wait_for(&json!({ "kind": "connection", "user": "bob" }));
    assert_eq!((&line["transport"], &line["dialect"]), (&json!("websocket"), &json!("colon")));

    let headers = ["X-Forwarded-For: 192.0.2.9", &format!("traceparent: {TRACE}")];
    assert_eq!(logged.call(&format!("/websocket/me/status?token={secret}"), &headers), 200);
    let line = logged.wait_for(&json!({ "kind": "request", "path": "/websocket/me/status", "user": "ann" }));
    let seen = ["method", "status", "address", "trace"].map(|name| line[name].clone());
    assert_eq!(seen, [json!("GET"), json!(200), json!("192.0.2.9"), json!(TRACE)], "{line}");
    assert_eq!(logged.call("/socketio/users", &[&bearer(&token("root", &json!({ "role": "admin" })))]), 404);
    logged.wait_for(&json!({ "path": "/socketio/users", "status": 404 }));
    assert_eq!(logged.call("/ws", &["Upgrade: websocket", "Connection: Upgrade"]), 426);
    logged.wait_for(&json!({ "path": "/ws", "status": 426 }));

    let text = std::fs::read_to_string(&logged.file).expect("the file");
    for part in secret.split('.') {
        assert!(!text.contains(part), "{text}");
    }
}

#[test]
fn file_that_was_renamed_is_opened_again_at_sighup() {
    let logged = Logged::new(&[]);
    assert_eq!(logged.call("/one", &[]), 404);
    logged.wait_for(&json!({ "path": "/one" }));
    let old = logged.file.with_extension("1");
    std::fs::rename(&logged.file, &old).expect("it is renamed");
    logged.server.signal(SIGHUP);
    let mut count = 0;
    wait_until("a line in the new file", || {
        count += 1;
        logged.call(&format!("/two-{count}"), &[]);
        !logged.lines().is_empty()
    });
    assert!(std::fs::read_to_string(&old).expect("the old file").contains("/one"));
}

#[test]
fn one_of_so_many_requests_has_a_line() {
    let logged = Logged::of_shards(1, &["access.sample=5"]);
    for number in 0..21 {
        assert_eq!(logged.call(&format!("/{number}"), &[]), 404);
    }
    logged.wait_for(&json!({ "path": "/20" }));
    let paths: Vec<String> = logged.lines().iter().map(|line| line["path"].to_string()).collect();
    assert_eq!(paths, ["\"/0\"", "\"/5\"", "\"/10\"", "\"/15\"", "\"/20\""]);
}

#[test]
fn access_log_is_off_unless_it_is_turned_on() {
    let logged = Logged::new(&["access.enabled=false"]);
    assert_eq!(logged.call("/one", &[]), 404);
    assert!(!logged.file.exists());
}
