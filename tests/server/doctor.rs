//! The command `doctor` against real servers, in order and not, with and without TLS and Redis.

use std::process::{Command, Stdio};

use serde_json::json;
use support::certificates::CertificateAuthority;
use support::redis::RedisServer;
use support::server::{Server, token};
use support::workspace;

/// What the command prints, and whether all is in order.
fn doctor(arguments: &[&str]) -> (String, bool) {
    let mut command = Command::new(workspace::program("switchboard"));
    command.arg("doctor").args(arguments).env_clear().current_dir(std::env::temp_dir()).stdin(Stdio::null());
    let output = command.output().expect("it runs");
    (String::from_utf8([output.stdout, output.stderr].concat()).expect("text"), output.status.success())
}

fn assert_tells(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
}

#[test]
fn server_in_order_is_told_so() {
    let server = Server::start(&["--set", "cors.origins=https://app.example", "--set", "limits.connection_attempts=1"]);
    let url = format!("http://{}", server.address);
    let origin = ["--origin", "https://app.example"];
    for _ in 0..3 {
        let (text, is_good) = doctor(&[&[url.as_str()], &origin[..]].concat());
        assert!(is_good, "{text}");
        let lines = ["ok   address: ", "ok   health: version ", "ok   clock: ", "/ws is reached, and needs a token"];
        assert_tells(&text, &lines);
        assert_tells(&text, &["ok   polling: 6 requests", "ok   origin: pages of https://app.example may"]);
    }
    let token = token("ann", &json!({}));
    let (text, is_good) = doctor(&[&url, "--token", &token, "--idle", "1"]);
    assert!(is_good && text.contains("ok   websocket: /ws opens, and is there after 1 s"), "{text}");
    let (text, is_good) = doctor(&[&url, "--token", "x.y.z", "--origin", "https://other.example"]);
    assert!(!is_good);
    assert_tells(&text, &["FAIL websocket: /ws refuses the token", "FAIL origin: ", "-> add it to cors.origins"]);
}

#[test]
fn certificates_are_judged_as_clients_do() {
    let authority = CertificateAuthority::new();
    let settings = authority.settings();
    let server = Server::of_shards(1, &settings.each_ref().map(String::as_str));
    let url = format!("https://{}", server.address);
    let (text, is_good) = doctor(&[&url, "--ca", &authority.file("ca.pem")]);
    assert!(is_good, "{text}");
    assert_tells(&text, &["certificate: holds for ", "ok   polling: "]);
    let (text, is_good) = doctor(&[&url]);
    assert!(!is_good);
    assert_tells(&text, &["FAIL certificate: ", "UnknownIssuer", "-> put the intermediate certificates"]);
    let (text, _) = doctor(&[&format!("https://{}", Server::start(&[]).address)]);
    assert_tells(&text, &["FAIL "]);
}

#[test]
fn redis_and_unreachable_servers_are_told_of() {
    let redis = RedisServer::start();
    let server = Server::of_shards(1, &[&format!("redis.url={}", redis.url())]);
    let (text, _) = doctor(&[&format!("http://{}", server.address), "--set", &format!("redis.url={}", redis.url())]);
    assert_tells(&text, &["ok   redis: version ", "ok   redis memory: it evicts nothing", "redis persistence: "]);
    let (text, is_good) = doctor(&["http://127.0.0.1:1", "--set", "redis.url=redis://127.0.0.1:1"]);
    assert!(!is_good);
    assert_tells(&text, &["FAIL address: 127.0.0.1:1: ", "FAIL http: ", "FAIL redis: 127.0.0.1:1", "-> start it"]);
    let (text, is_good) = doctor(&["http://no-such-host.invalid"]);
    assert!(!is_good && text.contains("FAIL name: no-such-host.invalid"), "{text}");
    for wrong in ["chat.example", "ftp://a", "http://", "http://a/path", "http://a:b"] {
        let (text, is_good) = doctor(&[wrong]);
        assert!(!is_good && text.contains("expected an address such as"), "{text}");
    }
}
