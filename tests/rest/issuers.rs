//! Issuers with keys of their own, which are fetched by https: rotation, failures, several issuers, and invented keys.

use std::process::Stdio;
use std::thread;

use serde_json::{Value, json};
use support::client::Client;
use support::directory::Directory;
use support::engineio::{Polling, Socket};
use support::http::{self, ask, bearer};
use support::key_issuer::KeyIssuer;
use support::process::{LineLog, wait_until};
use support::server::{Server, command};

/// A server that takes the tokens of these issuers, each with further keys of its table.
fn server(issuers: &[(&KeyIssuer, &str)], arguments: &[&str]) -> Server {
    let tables: Vec<String> = issuers.iter().map(|(issuer, more)| table(issuer, more)).collect();
    let setting = format!("auth.issuers=[{}]", tables.join(", "));
    let authorities: Vec<String> =
        issuers.iter().map(|(issuer, _)| std::fs::read_to_string(issuer.authority()).expect("a file")).collect();
    let file = issuers[0].0.authority().with_file_name("all.pem");
    std::fs::write(&file, authorities.concat()).expect("a file");
    let settings = ["--shards", "2", "--set", &setting, "--set", "auth.jwks_allow_private=true", "--set"];
    let settings = [&settings[..], &["limits.connection_attempts=0"], arguments].concat();
    Server::start_with(&settings, &[("JWT_SECRET", ""), ("SSL_CERT_FILE", &file.to_string_lossy())])
}

fn table(issuer: &KeyIssuer, more: &str) -> String {
    let more = if more.is_empty() { String::new() } else { format!(", {more}") };
    format!("{{ issuer = \"{}\", jwks_url = \"{}\"{more} }}", issuer.name, issuer.url)
}

fn status(server: &Server, token: &str) -> u16 {
    ask(&server.address, "GET", "/connections/ann", &[&bearer(token)], None).status
}

/// What a client of Socket.IO with this token is answered on connecting.
fn socketio_answer(server: &Server, token: &str) -> String {
    let mut socket = Socket::open(&server.address, "/socket.io/");
    socket.send(&format!("40{}", json!({ "token": token })));
    socket.next()
}

fn polling_answer(server: &Server, token: &str) -> String {
    let mut session = Polling::open(&server.address, "/socket.io/");
    session.send(&format!("40/chat,{}", json!({ "token": token })));
    session.packets().remove(0)
}

#[test]
fn rotated_keys_of_an_issuer_are_fetched_when_a_client_shows_them() {
    let issuer = KeyIssuer::start("chat");
    issuer.rotate_to("first");
    let server = server(&[(&issuer, "audience = \"chat\"")], &[]);
    let first = issuer.token("first", &json!({}));
    // From the first moment on, whether the keys have come or not.
    assert_eq!(status(&server, &first), 200);
    let mut ann = Client::connect(&server.address, Some(&first));

    issuer.rotate_to("by-raw");
    let _raw = Client::connect(&server.address, Some(&issuer.token("by-raw", &json!({}))));
    issuer.rotate_to("by-websocket");
    let answer = socketio_answer(&server, &issuer.token("by-websocket", &json!({})));
    assert!(answer.starts_with("40{\"sid\""), "{answer}");
    issuer.rotate_to("by-polling");
    let answer = polling_answer(&server, &issuer.token("by-polling", &json!({})));
    assert!(answer.starts_with("40/chat,{\"sid\""), "{answer}");
    issuer.rotate_to("by-get");
    assert_eq!(status(&server, &issuer.token("by-get", &json!({}))), 200);
    issuer.rotate_to("by-post");
    let token = bearer(&issuer.token("by-post", &json!({})));
    let made = ask(&server.address, "POST", "/rooms", &[&token], Some(r#"{"roomId":"r"}"#));
    assert_eq!((made.status, made.json()["room"]["id"].clone()), (201, json!("r")));

    // A client that is connected renews its token.
    issuer.rotate_to("by-renewal");
    let renewed = issuer.token("by-renewal", &json!({}));
    ann.send(&json!({ "type": "authenticate", "token": renewed, "requestId": "new" }));
    assert_eq!(ann.wait_until(|event| event["requestId"] == "new")["type"], "authenticated");

    // The keys of before are not good any more, nor is a key that the issuer has never had.
    for token in [&first, &issuer.forged("invented", &json!({})), &issuer.forged("by-renewal", &json!({}))] {
        assert_eq!(status(&server, token), 401);
        assert!(Client::try_connect(&server.address, Some(token)).is_err());
        assert!(socketio_answer(&server, token).starts_with("44{"), "a refusal");
    }
    assert_eq!(status(&server, &renewed), 200);
}

#[test]
fn keys_stay_in_force_while_an_issuer_cannot_be_asked() {
    let issuer = KeyIssuer::start("chat");
    issuer.rotate_to("first");
    let server = server(&[(&issuer, "audience = \"chat\"")], &[]);
    let first = issuer.token("first", &json!({}));
    assert_eq!(status(&server, &first), 200);
    let issues = || ask(&server.address, "GET", "/healthz", &[], None).json()["issues"].clone();
    assert_eq!(issues(), json!([]));

    issuer.rotate_to("second");
    let second = issuer.token("second", &json!({}));
    issuer.answer_with(500);
    assert_eq!(status(&server, &second), 401);
    assert!(issues()[0].as_str().is_some_and(|issue| issue.contains("jwks_url")), "{}", issues());
    assert_eq!(status(&server, &first), 200);
    issuer.answer_with(200);
    assert_eq!(status(&server, &second), 200);
    assert_eq!(issues(), json!([]));
}

#[test]
fn each_issuer_has_its_own_keys_audience_and_claims() {
    let (keycloak, other) = (KeyIssuer::start("chat"), KeyIssuer::start("other"));
    keycloak.rotate_to("k");
    other.rotate_to("k");
    let realm = "audience = \"chat\", claims = { name = \"given_name\", roles = \"realm_access.roles\" }";
    let own = "claims = { user = \"https://other.example/user\", grants = \"rights\" }";
    let server = server(&[(&keycloak, realm), (&other, own)], &["--set", "rooms.list_open=false"]);
    let list = |token: &str| ask(&server.address, "GET", "/api/rooms", &[&bearer(token)], None).status;
    let roles = |roles: Value| keycloak.token("k", &json!({ "realm_access": { "roles": roles } }));
    assert_eq!(list(&roles(json!(["offline_access", "admin"]))), 200);
    assert_eq!(list(&roles(json!(["offline_access"]))), 403);
    assert_eq!(list(&keycloak.token("k", &json!({ "role": "admin" }))), 403, "only the claim that is named counts");
    assert_eq!(status(&server, &keycloak.token("k", &json!({ "aud": "account" }))), 401);

    let of_other = |claims: Value| other.token("k", &claims);
    let ann = json!({ "sub": "x", "https://other.example/user": "ann", "aud": "any" });
    assert_eq!(status(&server, &of_other(ann.clone())), 200);
    assert_eq!(status(&server, &of_other(json!({}))), 401, "no user");
    let mut limited = ann;
    limited["rights"] = json!([{ "rooms": "a-*", "can": ["join"] }]);
    let mut client = Client::connect(&server.address, Some(&of_other(limited)));
    client.send(&json!({ "type": "join-room", "roomId": "b", "requestId": "j" }));
    assert_eq!(client.wait_until(|event| event["requestId"] == "j")["code"], "FORBIDDEN");

    // A key counts for its own issuer only.
    assert_eq!(status(&server, &other.token("k", &json!({ "iss": keycloak.name }))), 401);
    assert_eq!(status(&server, &keycloak.token("k", &json!({ "iss": other.name }))), 401);
    assert_eq!(status(&server, &keycloak.token("k", &json!({ "iss": "https://unknown.example" }))), 401);
}

#[test]
fn invented_keys_cause_few_requests_to_the_issuer() {
    let issuer = KeyIssuer::start("chat");
    issuer.rotate_to("first");
    let server = server(&[(&issuer, "audience = \"chat\"")], &[]);
    let first = issuer.token("first", &json!({}));
    assert_eq!(status(&server, &first), 200);
    let before = issuer.requests();
    thread::scope(|scope| {
        for client in 0..50 {
            let (issuer, server) = (&issuer, &server);
            scope.spawn(move || {
                for n in 0..4 {
                    let token = issuer.forged(&format!("{client}-{n}"), &json!({}));
                    assert_eq!(status(server, &token), 401);
                }
            });
        }
    });
    let asked = issuer.requests() - before;
    assert!((1..=30).contains(&asked), "{asked} requests for 200 tokens");
    assert_eq!(status(&server, &first), 200);
    // The key of that moment is found all the same.
    issuer.rotate_to("second");
    assert_eq!(status(&server, &issuer.token("second", &json!({}))), 200);
}

#[test]
fn issuers_change_with_the_settings() {
    let (former, latter) = (KeyIssuer::start("former"), KeyIssuer::start("latter"));
    former.rotate_to("k");
    latter.rotate_to("k");
    let directory = Directory::new();
    std::fs::create_dir_all(directory.path()).expect("a directory");
    let authorities = [&former, &latter].map(|issuer| std::fs::read_to_string(issuer.authority()).expect("a file"));
    let (ca, file) = (directory.path().join("ca.pem"), directory.path().join("switchboard.toml"));
    std::fs::write(&ca, authorities.concat()).expect("a file");
    let settings = |issuer: &KeyIssuer| {
        format!("[auth]\njwks_allow_private = true\nissuers = [{}]\n", table(issuer, "audience = \"chat\""))
    };
    std::fs::write(&file, settings(&former)).expect("a file");
    let mut command = command(&["--config", &file.to_string_lossy()], &[("SSL_CERT_FILE", &ca.to_string_lossy())]);
    command.env_remove("JWT_SECRET").stderr(Stdio::piped());
    let mut server = Server::spawn(&mut command);
    let log = LineLog::of(server.stderr().expect("a pipe"));
    let (by_former, by_latter) = (former.token("k", &json!({})), latter.token("k", &json!({})));
    assert_eq!((status(&server, &by_former), status(&server, &by_latter)), (200, 401));
    std::fs::write(&file, settings(&latter)).expect("a file");
    server.signal(1);
    wait_until("the settings are read", || log.contains("settings read again"));
    wait_until("the other issuer", || status(&server, &by_latter) == 200);
    assert_eq!(status(&server, &by_former), 401);
    assert_eq!(http::ask(&server.address, "GET", "/healthz", &[], None).json()["issues"], json!([]));
}
