//! Blocks, bans and revoked tokens: what admins do by REST ends connections on every shard and server and keeps them out,
//! until it is undone or over.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::client::{Client, End};
use support::engineio::{Polling, Socket, connect_packet};
use support::http::{Response, ask, bearer};
use support::process::wait_until;
use support::redis::RedisServer;
use support::server::{Server, token};

/// Within this time a block has ended connections.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Servers that share their rooms and users: one to call, another for clients; in a single process they are the same.
struct World {
    servers: Vec<Server>,
    _redis: Option<RedisServer>,
}

impl World {
    fn embedded(settings: &[&str]) -> Self {
        Self { servers: vec![Server::of_shards(3, &[&["auth.guests=true"], settings].concat())], _redis: None }
    }

    fn redis(settings: &[&str]) -> Self {
        let redis = RedisServer::start();
        let url = format!("redis.url={}", redis.url());
        let server = || Server::of_shards(2, &[&["auth.guests=true", &url], settings].concat());
        Self { servers: vec![server(), server()], _redis: Some(redis) }
    }

    fn calls(&self) -> &str {
        &self.servers[0].address
    }

    fn clients(&self) -> &str {
        &self.servers.last().expect("a server").address
    }

    /// A call of an admin.
    fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        let line = bearer(&token("root", &json!({ "role": "admin" })));
        ask(self.calls(), method, path, &[&line], body.map(|body| body.to_string()).as_deref())
    }

    #[track_caller]
    fn granted(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let response = self.admin(method, path, body);
        assert!((200..300).contains(&response.status), "{method} {path}: {} {}", response.status, response.text());
        if response.status == 204 { Value::Null } else { response.json() }
    }

    fn connect(&self, token: &str) -> Client {
        Client::connect(self.clients(), Some(token))
    }

    /// The status and text of the answer to a user who tries to connect.
    fn refusal(&self, token: &str) -> (u16, String) {
        match Client::try_connect(self.clients(), Some(token)).err().map(|error| *error) {
            Some(tungstenite::Error::Http(answer)) => {
                let body = answer.body().clone().unwrap_or_default();
                (answer.status().as_u16(), String::from_utf8(body).expect("text"))
            }
            other => panic!("{:?}", other.map(|error| error.to_string())),
        }
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() as u64
}

fn block_ends_all_connections_of_the_user_and_keeps_them_out(world: &World) {
    let mallory = token("mallory", &json!({}));
    let mut raw = world.connect(&mallory);
    let (mut chat, _) = Socket::chat(world.clients(), "camel", "mallory");
    let mut bystander = world.connect(&token("ann", &json!({})));
    raw.join("r", "m");
    bystander.join("r", "a");
    let began = Instant::now();
    let entry = world.granted("POST", "/users/mallory/block", Some(json!({ "reason": "spam" })));
    assert_eq!(
        (&entry["userId"], &entry["reason"], &entry["until"]),
        (&json!("mallory"), &json!("spam"), &Value::Null)
    );
    let told = raw.wait_for("error");
    assert_eq!((&told["code"], &told["error"]), (&json!("FORBIDDEN"), &json!("You are blocked: spam")));
    assert_eq!(raw.wait_for("disconnect")["reason"], "blocked");
    assert_eq!(raw.end(), End::Close(4403, "blocked".to_owned()));
    loop {
        let packet = chat.next();
        if packet == "41/chat," {
            break;
        }
        assert!(packet.contains("You are blocked: spam") || !packet.contains("error"), "{packet}");
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(bystander.wait_for("peer-left")["peerId"], "m");

    assert_eq!(world.refusal(&mallory), (403, refused("You are blocked: spam", "FORBIDDEN")));
    let own = ask(world.clients(), "GET", "/websocket/me/status", &[&bearer(&mallory)], None);
    assert_eq!((own.status, own.code().as_str()), (403, "FORBIDDEN"));
    let mut socket = Socket::open(world.clients(), "/socket.io/");
    socket.send(&support::engineio::connect_packet("/chat", "mallory"));
    let refusal = socket.next();
    assert!(refusal.starts_with("44/chat,") && refusal.contains("You are blocked: spam"), "{refusal}");

    let listed = world.granted("GET", "/users/blocked", None);
    assert_eq!(listed["blocked"][0]["userId"], "mallory");
    assert_eq!(listed["blocked"][0]["createdBy"], "root");
    world.granted("DELETE", "/users/mallory/block", None);
    wait_until("the revocation takes effect", || Client::try_connect(world.clients(), Some(&mallory)).is_ok());
    assert_eq!(world.granted("GET", "/users/blocked", None), json!({ "blocked": [] }));
}

fn refused(text: &str, code: &str) -> String {
    format!(r#"{{"error":"{text}","code":"{code}","success":false}}"#)
}

fn block_with_an_end_is_over_by_itself(world: &World) {
    let until = unix_ms() + 1_500;
    world.granted("POST", "/users/eve/block", Some(json!({ "until": until })));
    let eve = token("eve", &json!({}));
    wait_until("the revocation takes effect", || Client::try_connect(world.clients(), Some(&eve)).is_err());
    wait_until("the revocation takes effect", || Client::try_connect(world.clients(), Some(&eve)).is_ok());
    assert!(unix_ms() >= until, "before its end");
}

fn revoked_token_is_refused_and_another_one_of_its_user_is_not(world: &World) {
    let (stolen, other) = (token("bob", &json!({ "jti": "stolen" })), token("bob", &json!({ "jti": "other" })));
    let (mut thief, mut bob) = (world.connect(&stolen), world.connect(&other));
    world.granted("POST", "/tokens/revoke", Some(json!({ "jti": "stolen" })));
    assert_eq!(thief.wait_for("disconnect")["reason"], "token-revoked");
    assert_eq!(thief.end(), End::Close(4401, "token-revoked".to_owned()));
    assert_eq!(world.refusal(&stolen), (401, refused("The token is revoked", "UNAUTHENTICATED")));
    bob.send(&json!({ "type": "ping" }));
    bob.wait_for("pong");
    // A connection cannot be renewed with it, either.
    bob.send(&json!({ "type": "authenticate", "token": stolen }));
    assert_eq!(bob.wait_for("error")["code"], "UNAUTHENTICATED");

    world.granted("POST", "/tokens/revoke", Some(json!({ "sub": "bob" })));
    assert_eq!(bob.end(), End::Close(4401, "token-revoked".to_owned()));
    assert_eq!(world.refusal(&other).0, 401);
    let later = token("bob", &json!({ "iat": unix_ms() / 1000 + 2 }));
    world.connect(&later);
    let listed = world.granted("GET", "/tokens/revoked", None);
    assert_eq!(listed["revoked"].as_array().map(Vec::len), Some(2), "{listed}");
}

fn ban_ends_the_membership_and_refuses_the_next_one(world: &World) {
    let mut member = world.connect(&token("cy", &json!({})));
    member.join("banned", "c");
    world.granted("PUT", "/rooms/banned/bans/cy", Some(json!({ "reason": "rude" })));
    assert_eq!(member.wait_for("disconnect")["reason"], "removed");
    member.send(&json!({ "type": "join-room", "roomId": "banned" }));
    let told = member.wait_for("error");
    assert_eq!((&told["code"], &told["error"]), (&json!("FORBIDDEN"), &json!("You are banned from this room: rude")));
    member.join("another", "c");
    let line = bearer(&token("cy", &json!({})));
    let joined = ask(world.clients(), "POST", "/rooms/banned/join", &[&line], Some("{}"));
    assert_eq!((joined.status, joined.code().as_str()), (403, "FORBIDDEN"));
    assert_eq!(world.granted("GET", "/rooms/banned/bans", None)["bans"][0]["userId"], "cy");
    assert_eq!(world.granted("GET", "/rooms/another/bans", None), json!({ "bans": [] }));
    world.granted("DELETE", "/rooms/banned/bans/cy", None);
    wait_until("the revocation takes effect", || {
        let mut again = world.connect(&token("cy", &json!({})));
        again.send(&json!({ "type": "join-room", "roomId": "banned", "requestId": 1 }));
        let is_answer = |message: &Value| message["requestId"] == 1;
        again.wait_until(is_answer)["type"] == "room-joined"
    });
}

fn session_of_a_banned_or_blocked_user_is_not_recovered(world: &World) {
    let mut lost = world.connect(&token("dee", &json!({})));
    lost.join("kept", "d");
    let secret = lost.hello["recoveryToken"].as_str().expect("a token").to_owned();
    drop(lost);
    world.granted("PUT", "/rooms/kept/bans/dee", Some(json!({})));
    let mut back = world.connect(&token("dee", &json!({})));
    back.send(&json!({ "type": "resume", "recoveryToken": secret }));
    let resumed = back.wait_for("resumed");
    assert!(!resumed["rooms"].to_string().contains("\"peers\""), "{resumed}");
    world.granted("POST", "/users/dee/block", None);
    assert_eq!(back.end(), End::Close(4403, "blocked".to_owned()));
    assert_eq!(world.refusal(&token("dee", &json!({}))).0, 403);
    world.granted("DELETE", "/users/dee/block", None);
}

fn block_ends_a_polling_session(world: &World) {
    let mut poller = Polling::open(world.clients(), "/socket.io/");
    poller.send(&connect_packet("/chat", "pol"));
    poller.wait_for("40/chat,");
    let began = Instant::now();
    world.granted("POST", "/users/pol/block", None);
    poller.wait_for("41/chat,");
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    poller.send(&connect_packet("/chat", "pol"));
    assert!(poller.wait_for("44/chat,").contains("You are blocked"));
    world.granted("DELETE", "/users/pol/block", None);
}

/// Connects a client that speaks `camel`, anew or with what it has of a lost connection; the packets up to the answer to an
/// event that follows, and its recovery id.
fn recoverable(world: &World, user: &str, lost: Option<(&str, &str)>) -> (Socket, Vec<String>, Option<String>) {
    let mut socket = Socket::connect(world.clients(), "/socket.io/?EIO=4&transport=websocket&dialect=camel");
    assert!(socket.next().starts_with('0'));
    let (pid, offset) = lost.unzip();
    let payload = json!({ "token": token(user, &json!({})), "pid": pid, "offset": offset });
    socket.send(&format!("40/chat,{payload}"));
    let answer = socket.next();
    let accepted: Value = match answer.strip_prefix("40/chat,") {
        Some(object) => serde_json::from_str(object).expect("JSON"),
        None => return (socket, vec![answer], None),
    };
    socket.send(r#"42/chat,["heartbeat"]"#);
    let mut packets = Vec::new();
    loop {
        let packet = socket.next();
        if packet.contains("heartbeat") {
            return (socket, packets, accepted["pid"].as_str().map(str::to_owned));
        }
        packets.push(packet);
    }
}

fn recovery_of_socketio_gives_a_banned_user_no_messages(world: &World) {
    let mut speaker = world.connect(&token("speaker", &json!({})));
    speaker.join("heard", "s");
    let mut say = |text: &str| {
        speaker.send(&json!({ "type": "message", "roomId": "heard", "content": text }));
        speaker.wait_for("message-sent");
    };
    let (mut socket, _, pid) = recoverable(world, "flo", None);
    let pid = pid.expect("a recovery id");
    socket.send(&format!("42/chat,{}", json!(["joinRoom", "heard"])));
    socket.hear("joinedRoom");
    say("one");
    let message = loop {
        let packet = socket.next();
        if packet.contains("newMessage") {
            break packet;
        }
    };
    let offset = support::engineio::array(&message).last().and_then(Value::as_str).expect("an offset").to_owned();
    drop(socket);
    world.granted("PUT", "/rooms/heard/bans/flo", None);
    say("two");
    let (mut socket, packets, _) = recoverable(world, "flo", Some((&pid, &offset)));
    assert!(!packets.iter().any(|packet| packet.contains("two")), "{packets:?}");
    socket.send(&format!("42/chat,{}", json!(["syncMessages", "heard"])));
    say("three");
    socket.send(r#"42/chat,["heartbeat"]"#);
    loop {
        let packet = socket.next();
        assert!(!packet.contains("two") && !packet.contains("three"), "{packet}");
        if packet.contains("heartbeat") {
            break;
        }
    }
    drop(socket);
    world.granted("POST", "/users/flo/block", None);
    let (_, packets, _) = recoverable(world, "flo", Some((&pid, &offset)));
    assert!(packets[0].starts_with("44/chat,") && packets[0].contains("You are blocked"), "{packets:?}");
    world.granted("DELETE", "/users/flo/block", None);
}

fn all(world: &World) {
    block_ends_a_polling_session(world);
    recovery_of_socketio_gives_a_banned_user_no_messages(world);
    block_ends_all_connections_of_the_user_and_keeps_them_out(world);
    block_with_an_end_is_over_by_itself(world);
    revoked_token_is_refused_and_another_one_of_its_user_is_not(world);
    ban_ends_the_membership_and_refuses_the_next_one(world);
    session_of_a_banned_or_blocked_user_is_not_recovered(world);
    members_are_removed_by_host_and_admin_only(world);
}

fn members_are_removed_by_host_and_admin_only(world: &World) {
    let line = bearer(&token("host", &json!({})));
    let made = ask(world.calls(), "POST", "/rooms", &[&line], Some(r#"{"isPrivate":true,"participants":["guy"]}"#));
    let room = made.json()["room"]["roomId"].as_str().expect("an id").to_owned();
    let mut guy = world.connect(&token("guy", &json!({})));
    guy.join(&room, "g");
    let path = format!("/rooms/{room}/participants/guy");
    let stranger = ask(world.calls(), "DELETE", &path, &[&bearer(&token("zed", &json!({})))], None);
    assert_eq!((stranger.status, stranger.code().as_str()), (403, "FORBIDDEN"));
    let removed = ask(world.calls(), "DELETE", &path, &[&line], None);
    assert_eq!((removed.status, removed.text()), (200, r#"{"message":"Removed from room"}"#.to_owned()));
    assert_eq!(guy.wait_for("disconnect")["reason"], "removed");
    // No participant any more: the same token does not help.
    guy.send(&json!({ "type": "join-room", "roomId": room }));
    assert_eq!(guy.wait_for("error")["code"], "FORBIDDEN");
    assert_eq!(world.admin("DELETE", &path, None).code(), "NOT_IN_ROOM");
    assert_eq!(world.admin("DELETE", "/rooms/nowhere/participants/guy", None).code(), "ROOM_NOT_FOUND");
}

#[test]
fn revocations_hold_in_a_single_process() {
    all(&World::embedded(&[]));
}

#[test]
fn revocations_hold_in_a_cluster() {
    all(&World::redis(&[]));
}

#[test]
fn revocations_survive_restarts() {
    let redis = RedisServer::start();
    let directory = support::directory::Directory::new();
    let url = format!("redis.url={}", redis.url());
    let data = format!("data_dir={}", directory.path().display());
    for backend in [data, url] {
        let start = || World { servers: vec![Server::of_shards(2, &[&backend])], _redis: None };
        let world = start();
        world.granted("POST", "/users/mallory/block", Some(json!({ "reason": "spam" })));
        world.granted("POST", "/users/eve/block", None);
        world.granted("DELETE", "/users/eve/block", None);
        world.granted("POST", "/addresses/blocked", Some(json!({ "address": "192.0.2.0/24" })));
        let [server]: [Server; 1] = world.servers.try_into().unwrap_or_else(|_| panic!("one server"));
        server.kill();
        let world = start();
        let mallory = token("mallory", &json!({}));
        wait_until("the revocation takes effect", || Client::try_connect(world.clients(), Some(&mallory)).is_err());
        assert_eq!(world.refusal(&mallory), (403, refused("You are blocked: spam", "FORBIDDEN")));
        world.connect(&token("eve", &json!({})));
        assert_eq!(world.granted("GET", "/addresses/blocked", None)["blocked"][0]["address"], "192.0.2.0/24");
    }
}

/// Settings under which clients have addresses of their own, which few refused attempts block.
const PROXIED: [&str; 3] = ["trusted_proxies=127.0.0.1", "limits.connection_attempts=2", "limits.exempt=203.0.113.9"];

#[test]
fn blocked_address_is_refused_everything_until_it_is_removed() {
    refuse_blocked_addresses(&World::embedded(&PROXIED));
}

#[test]
fn blocked_address_is_refused_by_all_servers_of_a_cluster() {
    refuse_blocked_addresses(&World::redis(&PROXIED));
}

fn refuse_blocked_addresses(world: &World) {
    let status = |address: &str, path: &str| {
        let from = format!("X-Forwarded-For: {address}");
        ask(world.clients(), "GET", path, &[&from], None).status
    };
    world.granted("POST", "/addresses/blocked", Some(json!({ "address": "192.0.2.0/24", "reason": "abuse" })));
    wait_until("all servers refuse the address", || status("192.0.2.77", "/") == 403);
    assert_eq!((status("192.0.3.77", "/"), status("192.0.2.77", "/healthz")), (200, 200));
    assert_eq!(status("192.0.2.77", "/socket.io/?EIO=4&transport=polling"), 403);
    world.granted("DELETE", "/addresses/blocked/192.0.2.0%2F24", None);
    wait_until("the revocation takes effect", || status("192.0.2.77", "/") == 200);

    // An address that attempts have blocked is in the list as well, and freed by the same call.
    let forged = bearer("no.valid.token");
    let attempt = || {
        let lines = ["X-Forwarded-For: 198.51.100.4", forged.as_str()];
        ask(world.clients(), "GET", "/websocket/me/status", &lines, None).status
    };
    assert_eq!([attempt(), attempt()], [401, 401]);
    wait_until("the revocation takes effect", || attempt() == 429);
    let listed = world.granted("GET", "/addresses/blocked", None);
    assert_eq!(listed["blocked"][0]["address"], "198.51.100.4", "{listed}");
    assert_eq!(listed["blocked"][0]["createdBy"], Value::Null);
    world.granted("DELETE", "/addresses/blocked/198.51.100.4", None);
    wait_until("the revocation takes effect", || attempt() == 401);
}

#[test]
fn live_session_of_a_blocked_address_ends() {
    let world = World::embedded(&["trusted_proxies=127.0.0.1"]);
    let mut direct = world.connect(&token("ann", &json!({})));
    let mut poller = Polling::open(world.clients(), "/socket.io/");
    world.granted("POST", "/addresses/blocked", Some(json!({ "address": "127.0.0.0/8" })));
    assert_eq!(direct.wait_for("disconnect")["reason"], "address-blocked");
    assert_eq!(direct.end(), End::Close(4403, "address-blocked".to_owned()));
    assert_eq!(poller.get().status, 403);
}

#[test]
fn call_of_an_admin_is_refused_to_others_and_names_what_is_wrong() {
    let world = World::embedded(&[]);
    let user = bearer(&token("ann", &json!({})));
    for (method, path) in [
        ("POST", "/users/bob/block"),
        ("DELETE", "/users/bob/block"),
        ("GET", "/users/blocked"),
        ("POST", "/tokens/revoke"),
        ("GET", "/tokens/revoked"),
        ("PUT", "/rooms/r/bans/bob"),
        ("DELETE", "/rooms/r/bans/bob"),
        ("GET", "/rooms/r/bans"),
        ("POST", "/addresses/blocked"),
        ("GET", "/addresses/blocked"),
        ("DELETE", "/addresses/blocked/192.0.2.1"),
    ] {
        let body = if method == "GET" { None } else { Some("{}") };
        let response = ask(world.calls(), method, path, &[&user], body);
        assert_eq!((response.status, response.code().as_str()), (403, "FORBIDDEN"), "{method} {path}");
        assert_eq!(ask(world.calls(), method, path, &[], body).status, 401, "{method} {path}");
    }
    let past = json!({ "until": 1_000 });
    for (path, body, field) in [
        ("/users/bob/block", past, "until"),
        ("/users/bob/block", json!({ "until": "soon" }), "until"),
        ("/users/bob/block", json!({ "reason": "x".repeat(101) }), "reason"),
        ("/users/bob/block", json!({ "reason": "a\nb" }), "reason"),
        ("/tokens/revoke", json!({}), "One of jti and sub"),
        ("/tokens/revoke", json!({ "jti": "a", "sub": "b" }), "One of jti and sub"),
        ("/tokens/revoke", json!({ "sub": "b", "issuedBefore": unix_ms() + 3_600_000 }), "issuedBefore"),
        ("/tokens/revoke", json!({ "jti": "b", "issuedBefore": 1 }), "issuedBefore"),
        ("/addresses/blocked", json!({}), "address"),
        ("/addresses/blocked", json!({ "address": "example.org" }), "address"),
        ("/addresses/blocked", json!({ "address": "0.0.0.0/0" }), "address"),
        ("/addresses/blocked", json!({ "address": "::/0" }), "address"),
    ] {
        let response = world.admin("POST", path, Some(body.clone()));
        assert_eq!(response.status, 422, "{path} {body}: {}", response.text());
        assert!(response.json()["error"].as_str().is_some_and(|text| text.starts_with(field)), "{}", response.text());
    }
    assert_eq!(world.granted("GET", "/users/blocked", None), json!({ "blocked": [] }));
}
