//! API keys: a key does what it permits, in its rooms, on every server, until it expires, is rotated or is revoked. Each case with
//! a server alone and with two that share a Redis.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::certificates::CertificateAuthority;
use support::client::Client;
use support::http::{Response, ask, bearer};
use support::process::wait_until;
use support::redis::RedisServer;
use support::server::{SECRET, Server, token};

/// Within this time a change of the keys is in force on all servers.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Runs a test with a server alone, and with two that share a Redis. The first one is asked by admins, the last one by keys.
pub(crate) fn with_each_owner(settings: &[&str], test: impl Fn(&Server, &Server)) {
    let alone = Server::of_shards(3, settings);
    test(&alone, &alone);
    drop(alone);
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let all: Vec<&str> = settings.iter().copied().chain([url.as_str()]).collect();
    let [one, other] = [(); 2].map(|()| Server::of_shards(2, &all));
    test(&one, &other);
}

fn call(server: &Server, credential: &str, method: &str, path: &str, body: Value) -> Response {
    let body = (!body.is_null()).then(|| body.to_string());
    ask(&server.address, method, path, &[&bearer(credential)], body.as_deref())
}

fn admin(server: &Server, method: &str, path: &str, body: Value) -> Response {
    call(server, &token("root", &json!({ "role": "admin" })), method, path, body)
}

/// A new key, and its id.
#[track_caller]
fn new_key(server: &Server, body: Value) -> (String, String) {
    let made = admin(server, "POST", "/api/v1/keys", body);
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let text = |field: &str| made[field].as_str().expect("a text").to_owned();
    (text("key"), text("id"))
}

/// The status and code of a call that a key with `publish` may make.
fn publish(server: &Server, key: &str, room: &str) -> (u16, Value) {
    let answer = call(server, key, "POST", "/api/v1/publish", json!({ "rooms": [room], "data": 1 }));
    let body = answer.json();
    (answer.status, if answer.status == 200 { body["success"].clone() } else { body["code"].clone() })
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() as u64
}

#[test]
fn key_does_what_it_permits_in_its_rooms_until_it_is_revoked() {
    with_each_owner(&[], |one, other| {
        let terms = json!({ "name": "billing", "actions": ["publish", "rooms"], "roomPrefixes": ["order-"] });
        let (key, id) = new_key(one, terms);
        assert!(key.starts_with("sb_") && key.len() == 46, "{key}");
        wait_until("the key is known", || call(other, &key, "GET", "/api/v1/keys", Value::Null).status == 403);
        let put =
            |room: &str| call(other, &key, "PUT", &format!("/api/v1/rooms/{room}"), json!({ "name": "n" })).status;
        assert_eq!([put("order-1"), put("order-1"), put("tea")], [201, 200, 403]);
        assert_eq!(publish(other, &key, "order-1"), (200, json!(true)));
        assert_eq!(publish(other, &key, "tea"), (403, json!("FORBIDDEN")));
        for target in [json!({ "all": true, "data": 1 }), json!({ "rooms": ["order-1", "tea"], "data": 1 })] {
            assert_eq!(call(other, &key, "POST", "/api/v1/publish", target).status, 403);
        }
        let mixed = json!({ "messages": [{ "rooms": ["order-1"], "data": 1 }, { "users": ["bob"], "data": 1 }] });
        assert_eq!(call(other, &key, "POST", "/api/v1/batch", mixed).status, 403);
        for (method, path) in [
            ("GET", "/api/v1/rooms/order-1/messages"),
            ("GET", "/api/v1/rooms/order-1"),
            ("GET", "/api/v1/rooms?prefix=order-"),
            ("GET", "/api/v1/keys"),
            ("GET", "/users/blocked"),
            ("GET", "/presence/bob"),
            ("POST", "/rooms"),
        ] {
            let refused = call(other, &key, method, path, Value::Null);
            assert_eq!((refused.status, refused.code().as_str()), (403, "FORBIDDEN"), "{method} {path}");
        }
        let messages = admin(one, "GET", "/api/v1/rooms/order-1/messages", Value::Null).json();
        assert_eq!(messages["messages"][0]["sender"], format!("key:{id}"));

        let listed = admin(other, "GET", "/api/v1/keys", Value::Null);
        assert!(!listed.text().contains("sb_"), "{}", listed.text());
        let listed = listed.json()["keys"][0].clone();
        assert_eq!((&listed["id"], &listed["name"]), (&json!(id), &json!("billing")));
        assert_eq!((&listed["actions"], &listed["roomPrefixes"]), (&json!(["publish", "rooms"]), &json!(["order-"])));
        assert_eq!((&listed["createdBy"], &listed["expiresAt"]), (&json!("root"), &Value::Null));

        let began = Instant::now();
        assert_eq!(admin(one, "DELETE", &format!("/api/v1/keys/{id}"), Value::Null).status, 204);
        wait_until("the key is revoked", || publish(other, &key, "order-1") == (401, json!("UNAUTHENTICATED")));
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        // A key that never was is refused in the same words.
        let unknown = format!("sb_{}", "A".repeat(43));
        let [gone, never] = [&key, &unknown].map(|key| call(other, key, "POST", "/api/v1/publish", json!({})).text());
        assert_eq!(gone, never);
        assert_eq!(admin(other, "GET", "/api/v1/keys", Value::Null).json(), json!({ "keys": [] }));
    });
}

#[test]
fn rotated_key_keeps_its_id_and_its_former_secret_for_the_overlap() {
    with_each_owner(&["rooms.create_on_join=always"], |one, other| {
        let mut member = Client::connect(&other.address, Some(&token("ann", &json!({}))));
        member.join("r", "a");
        let (first, id) = new_key(one, json!({ "actions": ["publish"] }));
        let rotate = |body: Value| {
            let rotated = admin(one, "POST", &format!("/api/v1/keys/{id}/rotate"), body);
            assert_eq!(rotated.status, 200, "{}", rotated.text());
            assert_eq!(rotated.json()["id"], id);
            rotated.json()["key"].as_str().expect("a key").to_owned()
        };
        let second = rotate(json!({ "overlapSeconds": 600 }));
        wait_until("the new secret is known", || publish(other, &second, "r") == (200, json!(true)));
        assert_eq!(publish(other, &first, "r"), (200, json!(true)));
        let third = rotate(json!({}));
        wait_until("the new secret is known", || publish(other, &third, "r") == (200, json!(true)));
        assert_eq!([publish(other, &first, "r").0, publish(other, &second, "r").0], [401, 401]);
        assert_eq!(member.wait_for("message")["sender"], format!("key:{id}"));
        let none = admin(one, "POST", "/api/v1/keys/none/rotate", json!({}));
        assert_eq!((none.status, none.code().as_str()), (404, "NOT_FOUND"));
    });
}

#[test]
fn key_with_an_end_is_refused_after_it() {
    with_each_owner(&[], |one, other| {
        let until = unix_ms() + 2_000;
        let (key, _) = new_key(one, json!({ "actions": ["read"], "expiresAt": until }));
        let read = || call(other, &key, "GET", "/api/v1/rooms/r/messages", Value::Null).status;
        wait_until("the key is known", || read() == 404);
        wait_until("the key has expired", || read() == 401);
        assert!(unix_ms() >= until, "before its end");
        let past = admin(one, "POST", "/api/v1/keys", json!({ "actions": ["read"], "expiresAt": until }));
        assert_eq!((past.status, past.code().as_str()), (422, "INVALID_MESSAGE"));
    });
}

#[test]
fn key_has_its_own_limits_and_refused_keys_count_as_refused_tokens() {
    let settings = ["limits.key_rest_per_minute=3", "limits.rest_per_minute=1000", "limits.connection_attempts=4"];
    let unexempt = [&settings[..], &["limits.exempt=203.0.113.9"]].concat();
    with_each_owner(&unexempt, |one, _| {
        let (key, _) = new_key(one, json!({ "actions": ["publish"] }));
        let mut statuses = vec![];
        while statuses.last() != Some(&429) {
            statuses.push(publish(one, &key, "none").0);
            assert!(statuses.len() <= 4, "{statuses:?}");
        }
        let refused = call(one, &key, "POST", "/api/v1/publish", json!({ "rooms": ["r"], "data": 1 }));
        assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u64>().is_ok()));
        assert_eq!(admin(one, "GET", "/api/v1/keys", Value::Null).status, 200, "an admin has other limits");
        let unknown = format!("sb_{}", "A".repeat(43));
        let guess = || call(one, &unknown, "GET", "/api/v1/keys", Value::Null).status;
        wait_until("the address is limited", || guess() == 429);
    });
}

#[test]
fn key_is_for_the_header_of_calls_only() {
    let server = Server::start(&[]);
    let (key, _) = new_key(&server, json!({ "actions": ["admin"] }));
    assert_eq!(call(&server, &key, "GET", "/api/v1/keys", Value::Null).status, 200);
    assert_eq!(ask(&server.address, "GET", &format!("/api/v1/keys?token={key}"), &[], None).status, 401);
    assert!(Client::try_connect(&server.address, Some(&key)).is_err());
}

#[test]
fn key_survives_a_restart_and_the_store_has_its_hash_only() {
    let directory = support::directory::Directory::new();
    let data = format!("data_dir={}", directory.path().display());
    let server = Server::start(&["--set", &data]);
    let (key, id) = new_key(&server, json!({ "actions": ["publish"], "name": "kept" }));
    drop(server);
    let files = std::fs::read_dir(directory.path()).expect("files").map(|file| file.expect("a file").path());
    for file in files.filter(|path| path.is_file()) {
        let bytes = std::fs::read(&file).expect("bytes");
        let found = bytes.windows(key.len()).any(|window| window == key.as_bytes());
        assert!(!found, "{}", file.display());
    }
    let server = Server::start(&["--set", &data]);
    assert_eq!(publish(&server, &key, "none").0, 200);
    assert_eq!(admin(&server, "GET", "/api/v1/keys", Value::Null).json()["keys"][0]["id"], id);
}

#[test]
fn keys_are_made_listed_rotated_and_revoked_on_the_command_line() {
    let server = Server::start(&[]);
    let url = format!("http://{}", server.address);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
        command.arg("key").args(arguments).args(["--url", &url]);
        let output =
            command.env_clear().env("JWT_SECRET", SECRET).current_dir(std::env::temp_dir()).output().expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (is_done, made, error) =
        run(&["create", "--action", "publish", "--name", "billing", "--room-prefix", "order-", "--ttl", "1h"]);
    assert!(is_done, "{error}");
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let text = |value: &Value, field: &str| value[field].as_str().expect("a text").to_owned();
    let (key, id) = (text(&made, "key"), text(&made, "id"));
    assert!(made["expiresAt"].is_string(), "{made}");
    assert_eq!(publish(&server, &key, "order-1").0, 200);
    let (_, listed, _) = run(&["list"]);
    assert!(listed.contains(&id) && !listed.contains(&key), "{listed}");
    let (_, rotated, _) = run(&["rotate", &id]);
    let rotated = text(&serde_json::from_str(&rotated).expect("JSON"), "key");
    assert_eq!([publish(&server, &key, "order-1").0, publish(&server, &rotated, "order-1").0], [401, 200]);
    assert_eq!(run(&["revoke", &id]).1, format!("revoked {id}\n"));
    assert_eq!(publish(&server, &rotated, "order-1").0, 401);
    let (is_done, _, error) = run(&["create", "--action", "write"]);
    assert!(!is_done && error.contains("actions must be a list of some of publish, rooms, read, admin"), "{error}");
    let (is_done, _, error) = run(&["revoke", "../x"]);
    assert!(!is_done && error.contains("is no id of a key"), "{error}");
}

#[test]
fn keys_are_made_on_the_command_line_over_https() {
    let authority = CertificateAuthority::new();
    let settings = authority.settings();
    let server = Server::of_shards(1, &settings.each_ref().map(String::as_str));
    let url = format!("https://localhost:{}", server.address.rsplit_once(':').expect("a port").1);
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
        command.args(["key", "create", "--action", "read", "--url", &url]).args(more);
        let output =
            command.env_clear().env("JWT_SECRET", SECRET).current_dir(std::env::temp_dir()).output().expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (is_done, text) = run(&["--ca", &authority.file("ca.pem")]);
    assert!(is_done && text.contains("\"key\":\"sb_"), "{text}");
    let (is_done, text) = run(&[]);
    assert!(!is_done && text.contains("ertificate"), "an unknown authority: {text}");
    let (is_done, text) = run(&["--ca", &authority.file("server.key")]);
    assert!(!is_done, "no certificate: {text}");
    let (is_done, text) = run(&["--ca", "/nowhere.pem"]);
    assert!(!is_done && text.contains("--ca: /nowhere.pem"), "{text}");
}
