//! Hosts of rooms: who may remove members, lock and close a room, with one server and with several that share a Redis.

use serde_json::{Value, json};
use support::client::Client;
use support::http::{Response, ask, bearer};
use support::redis::RedisServer;
use support::server::{Server, token};

/// The answer to a request with this id.
fn answer(client: &mut Client, request: &Value) -> Value {
    let mut request = request.clone();
    request["requestId"] = json!("it");
    client.send(&request);
    client.wait_until(|message| message["requestId"] == "it")
}

fn call(address: &str, method: &str, path: &str, line: Option<&str>, body: Option<Value>) -> Response {
    let body = body.map(|body| body.to_string());
    ask(address, method, path, line.as_slice(), body.as_deref())
}

fn host_secret_gives_its_holder_the_rights_of_the_host(address: &str) {
    let made = call(address, "POST", "/api/rooms", None, Some(json!({}))).json();
    let room = made["roomId"].as_str().expect("an id").to_owned();
    let secret = made["hostSecret"].as_str().expect("a secret").to_owned();
    let (mut host, mut guest) = (Client::connect(address, None), Client::connect(address, None));
    host.join(&room, "h");
    guest.join(&room, "g");
    let shown = call(address, "GET", &format!("/api/rooms/{room}"), None, None).text();
    assert!(!shown.contains(&secret), "{shown}");

    let lock = |value: bool| json!({ "type": "lock-room", "roomId": room, "isLocked": value, "hostSecret": secret });
    assert_eq!(
        answer(&mut guest, &json!({ "type": "lock-room", "roomId": room, "isLocked": true }))["code"],
        "FORBIDDEN"
    );
    assert_eq!(answer(&mut host, &lock(true))["action"], "lock-room");
    let mut late = Client::connect(address, Some(&token("late", &json!({}))));
    let refused = answer(&mut late, &json!({ "type": "join-room", "roomId": room }));
    assert_eq!((&refused["code"], &refused["error"]), (&json!("FORBIDDEN"), &json!("The room is locked")));
    // A user with a member in it comes in.
    assert_eq!(
        answer(&mut guest, &json!({ "type": "join-room", "roomId": room, "peerId": "g" }))["type"],
        "room-joined"
    );
    let path = format!("/rooms/{room}/lock");
    assert_eq!(call(address, "PUT", &path, None, Some(json!({ "isLocked": false }))).code(), "FORBIDDEN");
    let line = format!("X-Host-Secret: {secret}");
    let unlocked = call(address, "PUT", &path, Some(&line), Some(json!({ "isLocked": false })));
    assert_eq!((unlocked.status, unlocked.json()["isLocked"].clone()), (200, json!(false)));
    assert_eq!(answer(&mut late, &json!({ "type": "join-room", "roomId": room }))["type"], "room-joined");

    let user = guest.hello["userId"].as_str().expect("an id").to_owned();
    let remove = |secret: &str| json!({ "type": "remove-user", "roomId": room, "userId": user, "hostSecret": secret });
    assert_eq!(answer(&mut late, &remove("guessed"))["code"], "FORBIDDEN");
    assert_eq!(answer(&mut host, &remove(&secret))["action"], "remove-user");
    assert_eq!(guest.wait_for("disconnect")["reason"], "removed");

    let path = format!("/api/rooms/{room}");
    for line in [None, Some(bearer(&token("late", &json!({})))), Some("X-Host-Secret: guessed".to_owned())] {
        let refused = call(address, "DELETE", &path, line.as_deref(), None);
        assert_eq!((refused.status, refused.code().as_str()), (403, "FORBIDDEN"), "{line:?}");
    }
    assert_eq!(call(address, "DELETE", &path, Some(&line), None).status, 204);
    assert_eq!(late.wait_for("room-closed")["reason"], "closed by host");
}

fn first_member_of_a_joined_room_has_no_rights_of_a_host(address: &str) {
    let mut first = Client::connect(address, Some(&token("first", &json!({}))));
    let mut rightful = Client::connect(address, Some(&token("rightful", &json!({}))));
    first.join("order-1001", "f");
    rightful.join("order-1001", "r");
    let kick = json!({ "type": "leave-room", "roomId": "order-1001", "peerId": "r" });
    assert_eq!(answer(&mut first, &kick)["code"], "PEER_MISMATCH");
    assert_eq!(answer(&mut first, &json!({ "type": "close-room", "roomId": "order-1001" }))["code"], "FORBIDDEN");
    let own = bearer(&token("first", &json!({})));
    assert_eq!(call(address, "DELETE", "/rooms/order-1001/participants/rightful", Some(&own), None).status, 403);
    assert_eq!(call(address, "GET", "/rooms/order-1001", Some(&own), None).json()["room"]["host"], "");
    let root = bearer(&token("root", &json!({ "role": "admin" })));
    assert_eq!(call(address, "DELETE", "/rooms/order-1001/participants/rightful", Some(&root), None).status, 200);
}

#[test]
fn hosts_of_a_single_process_have_their_rights_and_others_do_not() {
    let server = Server::of_shards(2, &["auth.guests=true"]);
    host_secret_gives_its_holder_the_rights_of_the_host(&server.address);
    first_member_of_a_joined_room_has_no_rights_of_a_host(&server.address);
}

#[test]
fn hosts_of_a_cluster_have_their_rights_and_others_do_not() {
    let redis = RedisServer::start();
    let server = Server::of_shards(2, &["auth.guests=true", &format!("redis.url={}", redis.url())]);
    host_secret_gives_its_holder_the_rights_of_the_host(&server.address);
    first_member_of_a_joined_room_has_no_rights_of_a_host(&server.address);
}

#[test]
fn lock_and_host_secret_survive_a_restart() {
    let directory = support::directory::Directory::new();
    let data = format!("data_dir={}", directory.path().display());
    let start = || Server::of_shards(2, &["auth.guests=true", &data]);
    let server = start();
    let made = call(&server.address, "POST", "/api/rooms", None, Some(json!({}))).json();
    let room = made["roomId"].as_str().expect("an id").to_owned();
    let line = format!("X-Host-Secret: {}", made["hostSecret"].as_str().expect("a secret"));
    let path = format!("/rooms/{room}/lock");
    assert_eq!(call(&server.address, "PUT", &path, Some(&line), Some(json!({ "isLocked": true }))).status, 200);
    server.kill();
    let server = start();
    let mut guest = Client::connect(&server.address, None);
    let refused = answer(&mut guest, &json!({ "type": "join-room", "roomId": room }));
    assert_eq!(refused["error"], "The room is locked");
    assert_eq!(call(&server.address, "PUT", &path, Some(&line), Some(json!({ "isLocked": false }))).status, 200);
    assert_eq!(answer(&mut guest, &json!({ "type": "join-room", "roomId": room }))["type"], "room-joined");
}

#[test]
fn display_name_that_hides_or_imitates_is_refused() {
    let server = Server::of_shards(1, &[]);
    let mut ann = Client::connect(&server.address, Some(&token("ann", &json!({ "name": "An\u{202e}n" }))));
    for name in ["a\u{202e}b", "a\u{200b}b", "guest:1234", "Gu\u{435}st:1"] {
        let refused = answer(&mut ann, &json!({ "type": "join-room", "roomId": "r", "displayName": name }));
        assert_eq!(refused["code"], "INVALID_MESSAGE", "{name:?}");
        assert!(refused["error"].as_str().is_some_and(|text| text.starts_with("displayName must have")), "{refused}");
    }
    ann.join("r", "a");
    let mut bob = Client::connect(&server.address, Some(&token("bob", &json!({}))));
    let joined = answer(&mut bob, &json!({ "type": "join-room", "roomId": "r", "displayName": "Bob 👍🏽" }));
    // A name in the token that is not fit to be shown is left out.
    assert_eq!(joined["peers"][0]["displayName"], "ann");
    let line = bearer(&token("ann", &json!({})));
    let named = call(&server.address, "POST", "/rooms", Some(&line), Some(json!({ "name": "a\u{2066}b" })));
    assert_eq!((named.status, named.code().as_str()), (422, "INVALID_MESSAGE"));
    for sub in ["gu\u{435}st:1", "a\u{202e}b"] {
        let refused =
            call(&server.address, "GET", "/websocket/me/status", Some(&bearer(&token(sub, &json!({})))), None);
        assert_eq!(refused.status, 401, "{sub:?}");
    }
}
