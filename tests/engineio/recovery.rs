//! Connection state recovery on the wire: the reply to CONNECT, the events that carry an offset, and the outcome of
//! each recovery token.

use serde_json::{Value, json};

use support::client::{Client, End};
use support::engineio::{Socket, array, event};
use support::http::{ask, bearer};
use support::redis::RedisServer;
use support::server::{Server, token};

/// What a client knows that was accepted.
#[derive(Clone, Debug)]
struct ConnectReply {
    sid: String,
    pid: Option<String>,
}

/// Opens a session by this query, and connects it to a namespace; what comes behind the answer, too.
fn connect(server: &Server, query: &str, namespace: &str, payload: &Value) -> (Socket, Vec<String>, ConnectReply) {
    let mut socket = Socket::connect(&server.address, &format!("/socket.io/?EIO=4&transport=websocket{query}"));
    assert!(socket.next().starts_with('0'));
    let place = if namespace == "/" { "40".to_owned() } else { format!("40{namespace},") };
    socket.send(&format!("{place}{payload}"));
    let answer = socket.next();
    let answer: Value = serde_json::from_str(answer.strip_prefix(&place).expect("an answer")).expect("JSON");
    let text = |field: &str| answer[field].as_str().map(str::to_owned);
    assert_eq!(answer.as_object().map(|it| it.len()), Some(1 + usize::from(text("pid").is_some())), "{answer}");
    let accepted = ConnectReply { sid: text("sid").expect("a sid"), pid: text("pid") };
    let mut missed = Vec::new();
    if namespace == "/chat" {
        socket.send(r#"42/chat,["heartbeat"]"#);
        // In `colon`, whoever comes is told who is online, when it is their turn.
        let mut awaited = 1 + usize::from(!query.contains("dialect=camel"));
        while awaited > 0 {
            let packet = socket.next();
            match event(&packet).0.as_str() {
                "heartbeat" | "users:online" => awaited -= 1,
                "room:online-update" => {}
                _ => missed.push(packet),
            }
        }
    }
    (socket, missed, accepted)
}

/// Connects to `/chat`, with what a client shows that was there before.
fn chat(
    server: &Server,
    dialect: &str,
    user: &str,
    pid: Option<&str>,
    offset: Option<&str>,
) -> (Socket, Vec<String>, ConnectReply) {
    let payload = json!({ "token": token(user, &json!({})), "pid": pid, "offset": offset });
    connect(server, &format!("&dialect={dialect}"), "/chat", &payload)
}

/// What joining a room is answered with: the packets.
fn join(socket: &mut Socket, dialect: &str, room: &str) -> Vec<String> {
    if dialect == "colon" {
        socket.ask(1, "join:chat", &json!({ "chatId": room }));
        return vec![socket.next(), socket.next()];
    }
    socket.send(&format!("42/chat,{}", json!(["joinRoom", room])));
    vec![socket.next()]
}

fn server(settings: &[&str]) -> Server {
    let mut arguments = vec!["--shards=3", "--set=rooms.create_on_join=always", "--set=presence.scope=none"];
    arguments.extend(settings);
    Server::start(&arguments)
}

/// Somebody who speaks in rooms.
struct RoomSender(Client);

impl RoomSender {
    fn new(server: &Server, rooms: &[&str]) -> Self {
        let mut client = Client::connect(&server.address, Some(&token("speaker", &json!({}))));
        rooms.iter().for_each(|room| drop(client.join(room, "speaker")));
        Self(client)
    }

    fn say(&mut self, room: &str, content: &str) {
        self.0.send(&json!({ "type": "message", "roomId": room, "content": content }));
        self.0.wait_for("message-sent");
    }
}

/// The contents of messages among these packets, and the offset of the last.
fn contents(packets: &[String]) -> (Vec<String>, Option<String>) {
    let heard: Vec<&String> =
        packets.iter().filter(|packet| packet.contains("essage") && packet.starts_with("42")).collect();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let said = heard.iter().map(|packet| text(&event(packet).1["content"])).collect();
    (said, heard.last().map(|packet| text(array(packet).last().expect("an offset"))))
}

/// The next message to a room, and its offset.
fn hear(socket: &mut Socket) -> (String, String) {
    loop {
        let packet = socket.next();
        if packet.contains("message:new") || packet.contains("newMessage") {
            let (said, offset) = contents(&[packet]);
            return (said[0].clone(), offset.expect("an offset"));
        }
    }
}

#[test]
fn connect_returns_a_recovery_token_where_usable() {
    let on = server(&[]);
    let payload = json!({ "token": token("bob", &json!({})) });
    for (query, namespace) in [("", "/"), ("", "/chat"), ("&dialect=camel", "/chat"), ("&recovery=1", "/chat")] {
        let (_socket, _, accepted) = connect(&on, query, namespace, &payload);
        assert_eq!(accepted.pid.map(|pid| pid.len()), Some(48), "{query} {namespace}");
    }
    let (mut socket, _, accepted) = connect(&on, "&recovery=0&dialect=camel", "/chat", &payload);
    assert_eq!(accepted.pid, None);
    assert_eq!(join(&mut socket, "camel", "tea"), [r#"42/chat,["joinedRoom","tea"]"#]);
    let off = server(&["--set=recovery.window_ms=0"]);
    let (_socket, _, accepted) = connect(&off, "", "/chat", &payload);
    assert_eq!(accepted.pid, None);
}

#[test]
fn room_events_carry_an_offset() {
    let server = server(&[]);
    let mut speaker = RoomSender::new(&server, &["tea", "jam"]);
    let (mut socket, missed, _) = chat(&server, "camel", "bob", None, None);
    assert!(missed.is_empty());
    let joined = join(&mut socket, "camel", "tea").remove(0);
    let offset = array(&joined)[2].as_str().expect("an offset").to_owned();
    let tea = offset.strip_suffix(":0").expect("nothing was said").to_owned();
    speaker.say("tea", "one");
    let packet = socket.next();
    assert!(packet.starts_with(r#"42/chat,["newMessage",{"id":""#), "{packet}");
    assert!(packet.ends_with(&format!(r#""seq":1}},"{tea}:1"]"#)), "{packet}");
    let joined = join(&mut socket, "camel", "jam").remove(0);
    let both = array(&joined)[2].as_str().expect("an offset").to_owned();
    let jam = both.strip_prefix(&format!("{tea}:1,")).and_then(|jam| jam.strip_suffix(":0")).expect("both").to_owned();
    speaker.say("jam", "two");
    assert_eq!(hear(&mut socket), ("two".to_owned(), format!("{jam}:1,{tea}:1")));
    speaker.say("tea", "three");
    assert_eq!(hear(&mut socket), ("three".to_owned(), format!("{tea}:2,{jam}:1")));
    socket.send(r#"42/chat,["leaveRoom","tea"]"#);
    assert_eq!(socket.next(), format!(r#"42/chat,["leftRoom","tea","{jam}:1"]"#));
    socket.send(r#"42/chat,["leaveRoom","jam"]"#);
    assert_eq!(socket.next(), r#"42/chat,["leftRoom","jam",""]"#);
}

#[test]
fn recovered_client_receives_missed_events_first_and_once() {
    for dialect in ["colon", "camel"] {
        let server = server(&["--set=presence.grace_ms=60000"]);
        let mut speaker = RoomSender::new(&server, &["tea", "jam"]);
        let (mut socket, _, first) = chat(&server, dialect, "bob", None, None);
        join(&mut socket, dialect, "tea");
        join(&mut socket, dialect, "jam");
        let pid = first.pid.clone();
        for (room, said) in [("tea", "a"), ("jam", "b")] {
            speaker.say(room, said);
            assert_eq!(hear(&mut socket).0, said);
        }
        // Without an offset it has nothing since it came.
        drop(socket);
        speaker.say("tea", "c");
        let (socket, missed, second) = chat(&server, dialect, "bob", pid.as_deref(), None);
        let (mut said, last) = contents(&missed);
        said.sort();
        assert_eq!((said.as_slice(), &second.pid), (&["a", "b", "c"].map(str::to_owned)[..], &pid), "{dialect}");
        assert_eq!(first.sid, second.sid);
        // With the last one it has everything, and again.
        for _ in 0..3 {
            let (_, missed, again) = chat(&server, dialect, "bob", pid.as_deref(), last.as_deref());
            assert_eq!((missed.len(), &again.pid), (0, &pid), "{dialect}");
        }
        drop(socket);
        for said in ["d", "e", "f"] {
            speaker.say(if said == "e" { "tea" } else { "jam" }, said);
        }
        let (mut socket, missed, again) = chat(&server, dialect, "bob", pid.as_deref(), last.as_deref());
        let (mut said, last) = contents(&missed);
        said.sort();
        assert_eq!((said.as_slice(), again.pid), (&["d", "e", "f"].map(str::to_owned)[..], pid.clone()), "{dialect}");
        speaker.say("tea", "g");
        let (said, next) = hear(&mut socket);
        assert_eq!(said, "g");
        assert_ne!(Some(next), last);
    }
}

#[test]
fn recovery_is_invisible_to_other_members() {
    let server = server(&["--set=presence.grace_ms=60000"]);
    let mut speaker = RoomSender::new(&server, &["tea"]);
    let (mut socket, _, accepted) = chat(&server, "colon", "bob", None, None);
    join(&mut socket, "colon", "tea");
    speaker.0.wait_for("peer-joined");
    for _ in 0..3 {
        drop(socket);
        (socket, _, _) = chat(&server, "colon", "bob", accepted.pid.as_deref(), None);
    }
    speaker.0.send(&json!({ "type": "ping" }));
    assert_eq!(speaker.0.next()["type"], "pong", "nothing was told before");
    // Whoever leaves leaves at once, and not to come back.
    socket.send("41/chat,");
    speaker.0.wait_for("peer-left");
    let (_socket, _, anew) = chat(&server, "colon", "bob", accepted.pid.as_deref(), None);
    assert_ne!(anew.pid, accepted.pid);
    speaker.0.send(&json!({ "type": "ping" }));
    assert_eq!(speaker.0.next()["type"], "pong", "it is not put back");
}

#[test]
fn recovered_client_keeps_its_id() {
    let server = server(&["--set=presence.grace_ms=60000"]);
    let mut speaker = RoomSender::new(&server, &["tea"]);
    let (mut socket, _, first) = chat(&server, "camel", "bob", None, None);
    join(&mut socket, "camel", "tea");
    speaker.0.wait_for("peer-joined");
    for _ in 0..2 {
        drop(socket);
        let (again, _, back) = chat(&server, "camel", "bob", first.pid.as_deref(), None);
        socket = again;
        assert_eq!(back.sid, first.sid);
        let offer = json!({ "roomId": "tea", "fromPeerId": back.sid, "toPeerId": "speaker", "offer": {} });
        socket.send(&format!("42/chat,{}", json!(["offer", offer])));
        assert_eq!(speaker.0.wait_for("offer")["fromPeerId"], first.sid);
        let answer = json!({ "roomId": "tea", "toPeerId": first.sid, "type": "answer", "answer": {} });
        speaker.0.send(&answer);
        assert_eq!(socket.hear("answer")["toPeerId"], first.sid);
    }
}

#[test]
fn recovered_client_is_known_by_its_id_in_new_rooms_and_rest() {
    let server = server(&["--set=presence.grace_ms=60000"]);
    let mut speaker = RoomSender::new(&server, &["jam"]);
    let (mut socket, _, first) = chat(&server, "camel", "bob", None, None);
    join(&mut socket, "camel", "tea");
    drop(socket);
    let (mut socket, _, back) = chat(&server, "camel", "bob", first.pid.as_deref(), None);
    assert_eq!(back.sid, first.sid);
    join(&mut socket, "camel", "jam");
    assert_eq!(speaker.0.wait_for("peer-joined")["peerId"], first.sid);
    speaker.0.send(&json!({ "type": "offer", "roomId": "jam", "toPeerId": first.sid, "offer": {} }));
    assert_eq!(socket.hear("offer")["toPeerId"], first.sid);
    let bob = bearer(&token("bob", &json!({})));
    let call = |method: &str, path: &str, body: Option<&str>| ask(&server.address, method, path, &[&bob], body);
    let list = call("GET", "/connections/bob", None).json();
    assert_eq!(list["connections"][0]["connectionId"], first.sid);
    let body = json!({ "connectionId": first.sid }).to_string();
    assert_eq!(call("POST", "/rooms/jam/leave", Some(&body)).status, 200);
    assert_eq!(speaker.0.wait_for("peer-left")["peerId"], first.sid);
    assert_eq!(call("POST", "/rooms/jam/join", Some(&body)).status, 200);
    speaker.0.wait_for("peer-joined");
    assert_eq!(call("DELETE", &format!("/connections/{}", first.sid), None).status, 200);
    speaker.0.wait_for("peer-left");
    assert_eq!(call("DELETE", &format!("/connections/{}", first.sid), None).status, 404);
}

/// A recovered client, on the second server if there are two, and the id that it has kept.
fn recover(servers: &[Server], user: &str) -> (Socket, String) {
    let (mut socket, _, first) = chat(&servers[0], "camel", user, None, None);
    join(&mut socket, "camel", "tea");
    drop(socket);
    let (socket, _, back) = chat(servers.last().expect("a server"), "camel", user, first.pid.as_deref(), None);
    assert_eq!(back.sid, first.sid);
    (socket, first.sid)
}

#[test]
fn recovered_client_is_closed_by_admins_under_the_id_it_has_kept() {
    let redis = RedisServer::start();
    let url = format!("--set=redis.url={}", redis.url());
    let grace = "--set=presence.grace_ms=60000";
    let one = || vec![server(&[grace])];
    let two = || vec![server(&[grace, &url]), server(&[grace, &url])];
    for servers in [one(), two()] {
        for caller in &servers {
            let (mut socket, id) = recover(&servers, "bob");
            let call = |user: &str, claims: Value| {
                let token = bearer(&token(user, &claims));
                ask(&caller.address, "DELETE", &format!("/connections/{id}"), &[&token], None).status
            };
            assert_eq!(call("eve", json!({})), 404, "of another user");
            assert_eq!(call("root", json!({ "role": "admin" })), 200);
            while !socket.next().starts_with("41/chat") {}
            assert_eq!(call("root", json!({ "role": "admin" })), 404);
        }
    }
}

#[test]
fn recovered_client_is_left_out_of_publications_under_the_id_it_has_kept() {
    let redis = RedisServer::start();
    let url = format!("--set=redis.url={}", redis.url());
    let grace = "--set=presence.grace_ms=60000";
    let one = || vec![server(&[grace])];
    let two = || vec![server(&[grace, &url]), server(&[grace, &url])];
    let line = bearer(&token("backend", &json!({ "scope": "push" })));
    for servers in [one(), two()] {
        let (mut socket, id) = recover(&servers, "bob");
        for (number, caller) in servers.iter().enumerate() {
            for target in [json!({ "rooms": ["tea"] }), json!({ "users": ["bob"] }), json!({ "all": true })] {
                for (data, exclude) in [("unseen", Some(&id)), ("seen", None)] {
                    let mut body = target.clone();
                    body["data"] = json!(format!("{data} {number}"));
                    if let Some(exclude) = exclude {
                        body["exclude"] = json!(exclude);
                    }
                    let answer = ask(&caller.address, "POST", "/api/v1/publish", &[&line], Some(&body.to_string()));
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
                let packet = loop {
                    let packet = socket.next();
                    if packet.contains("seen") {
                        break packet;
                    }
                };
                assert!(packet.contains(&format!("\"seen {number}\"")), "{target} {packet}");
            }
        }
    }
}

#[test]
fn recovered_client_gets_a_device_under_the_id_it_has_kept() {
    let redis = RedisServer::start();
    let url = format!("--set=redis.url={}", redis.url());
    let grace = "--set=presence.grace_ms=60000";
    let one = || vec![server(&[grace])];
    let two = || vec![server(&[grace, &url]), server(&[grace, &url])];
    let root = bearer(&token("root", &json!({ "role": "admin" })));
    for servers in [one(), two()] {
        for (number, caller) in servers.iter().enumerate() {
            let user = format!("bob-{number}");
            let (_socket, id) = recover(&servers, &user);
            let device = json!({ "tab": number });
            let body = json!({ "userId": user, "socketId": id, "deviceInfo": device }).to_string();
            let answer = ask(&caller.address, "POST", "/connections", &[&root], Some(&body));
            assert_eq!((answer.status, &answer.json()["status"]), (201, &json!("connected")), "{}", answer.text());
            let listed = ask(&caller.address, "GET", &format!("/connections/{user}"), &[&root], None).json();
            assert_eq!(listed["connections"][0]["deviceInfo"], device, "{listed}");
            let body = json!({ "userId": "eve", "socketId": id, "deviceInfo": device }).to_string();
            let answer = ask(&caller.address, "POST", "/connections", &[&root], Some(&body));
            assert_eq!(answer.json()["status"], "pending", "of another user: {}", answer.text());
        }
    }
}

#[test]
fn resumed_raw_client_is_closed_by_admins_under_its_peer_id() {
    let server = server(&["--set=presence.grace_ms=60000"]);
    let mut bob = Client::connect(&server.address, Some(&token("bob", &json!({}))));
    bob.send(&json!({ "type": "join-room", "roomId": "tea" }));
    let id = bob.wait_for("room-joined")["peerId"].as_str().expect("a peer id").to_owned();
    assert_eq!(id, bob.id());
    let recovery = bob.hello["recoveryToken"].clone();
    drop(bob);
    let mut bob = Client::connect(&server.address, Some(&token("bob", &json!({}))));
    bob.send(&json!({ "type": "resume", "recoveryToken": recovery }));
    let resumed = bob.wait_for("resumed");
    let kept = resumed["rooms"]["tea"]["peerId"].as_str().expect("a peer id").to_owned();
    let root = bearer(&token("root", &json!({ "role": "admin" })));
    let call = |id: &str| ask(&server.address, "DELETE", &format!("/connections/{id}"), &[&root], None).status;
    assert_eq!(call(&kept), 200, "{resumed}");
    assert_eq!(bob.end(), End::Close(4410, "removed".to_owned()));
    assert_eq!(call(&kept), 404);
}

#[test]
fn invalid_recovery_token_makes_a_new_session() {
    let server = server(&["--set=presence.grace_ms=60000"]);
    let mut speaker = RoomSender::new(&server, &["tea"]);
    let (mut socket, _, first) = chat(&server, "camel", "bob", None, None);
    join(&mut socket, "camel", "tea");
    let pid = first.pid.expect("a pid");
    drop(socket);
    speaker.say("tea", "a");
    let mut forged = pid.clone().into_bytes();
    forged[47] ^= 1;
    let forged = String::from_utf8(forged).expect("a text");
    for (user, pid, offset) in [
        ("bob", "x", None),
        ("bob", "", None),
        ("bob", forged.as_str(), None),
        ("bob", pid.as_str(), Some("1713000000000-0")),
        ("eve", pid.as_str(), None),
    ] {
        let (_socket, missed, anew) = chat(&server, "camel", user, Some(pid), offset);
        assert!(missed.is_empty() && anew.pid.is_some_and(|anew| anew != pid), "{user} {pid} {offset:?}");
    }
    // None of that has used it up.
    let (_socket, missed, back) = chat(&server, "camel", "bob", Some(&pid), None);
    assert_eq!((contents(&missed).0, back.pid), (vec!["a".to_owned()], Some(pid)));
}

#[test]
fn client_beyond_retention_gets_a_new_session() {
    let server = server(&["--set=presence.grace_ms=60000", "--set=rooms.history=false"]);
    let mut speaker = RoomSender::new(&server, &["tea"]);
    let (mut socket, _, first) = chat(&server, "camel", "bob", None, None);
    join(&mut socket, "camel", "tea");
    drop(socket);
    let (socket, missed, back) = chat(&server, "camel", "bob", first.pid.as_deref(), None);
    assert_eq!((missed.len(), &back.pid), (0, &first.pid), "nothing was missed");
    drop(socket);
    speaker.say("tea", "a");
    let (mut socket, missed, anew) = chat(&server, "camel", "bob", first.pid.as_deref(), None);
    assert_eq!(missed.len(), 0);
    assert_ne!(anew.pid, first.pid);
    speaker.0.wait_for("peer-left");
    // It is in no room.
    socket.send(r#"42/chat,["sendMessage",{"roomId":"tea","content":"x"}]"#);
    assert_eq!(socket.hear("error")["code"], "NOT_IN_ROOM");
}

#[test]
fn second_use_of_recovery_token_closes_the_older_connection() {
    let server = server(&["--set=presence.grace_ms=60000"]);
    let mut speaker = RoomSender::new(&server, &["tea"]);
    let (mut older, _, first) = chat(&server, "camel", "bob", None, None);
    let joined = join(&mut older, "camel", "tea").remove(0);
    let offset = array(&joined)[2].as_str().expect("an offset").to_owned();
    for _ in 0..4 {
        let (newer, _, accepted) = chat(&server, "camel", "bob", first.pid.as_deref(), Some(&offset));
        assert_eq!(accepted.pid, first.pid);
        assert_eq!(older.end(), 4409);
        older = newer;
    }
    speaker.say("tea", "a");
    assert_eq!(hear(&mut older).0, "a");
}

#[test]
fn notify_client_is_recovered() {
    let server = server(&[]);
    let payload = |pid: Option<&str>| json!({ "token": token("bob", &json!({})), "pid": pid });
    let (socket, _, first) = connect(&server, "", "/", &payload(None));
    drop(socket);
    let (mut socket, missed, back) = connect(&server, "", "/", &payload(first.pid.as_deref()));
    assert_eq!((missed.len(), &back.pid), (0, &first.pid));
    assert_eq!(socket.hear("authenticated"), json!({ "userId": "bob", "socketId": back.sid }));
    assert_eq!(back.sid, first.sid);
    // It is not of another namespace.
    let (_socket, _, other) = connect(&server, "", "/chat", &payload(first.pid.as_deref()));
    assert_ne!(other.pid, first.pid);
}

#[test]
fn colon_client_recovers_by_request() {
    let server = server(&["--set=presence.grace_ms=0"]);
    let mut speaker = RoomSender::new(&server, &["tea"]);
    for query in ["&dialect=colon", "&dialect=colon&recovery=0"] {
        let payload = json!({ "token": token("bob", &json!({})) });
        let (mut socket, _, _) = connect(&server, query, "/chat", &payload);
        join(&mut socket, "colon", "tea");
        socket.ask(2, "connection:create-session", &json!({}));
        let made = socket.acked(2);
        let old = made["recoveryToken"].as_str().expect("a token").to_owned();
        assert_eq!(made, json!({ "success": true, "recoveryToken": old }));
        let told = socket.hear("connection:recovery-token");
        assert_eq!(told, json!({ "recoveryToken": old, "windowMs": 120_000 }));
        speaker.say("tea", "heard");
        assert_eq!(socket.hear("message:new")["content"], "heard");
        drop(socket);
        speaker.0.wait_for("peer-left");
        speaker.say("tea", "missed");

        let (mut socket, _, accepted) = connect(&server, query, "/chat", &payload);
        socket.ask(3, "connection:recover", &json!({ "recoveryToken": old }));
        let answer = socket.acked(3);
        assert_eq!(
            (&answer["success"], &answer["message"]),
            (&json!(true), &json!("Connection recovered successfully"))
        );
        let session = answer["session"].clone();
        assert_eq!((&session["userId"], &session["socketId"]), (&json!("bob"), &json!(accepted.sid)));
        // The queue names the message that was missed.
        assert_eq!((&session["rooms"], session["messageQueue"].as_array().map(Vec::len)), (&json!(["tea"]), Some(1)));
        let new = session["recoveryToken"].as_str().expect("a token").to_owned();
        assert_ne!(new, old);
        let mut expected = session.clone();
        expected["recovered"] = json!(true);
        assert_eq!(socket.hear("connection:recovered"), expected);
        let queued = socket.hear("connection:queued-messages");
        let contents: Vec<&str> =
            queued["messages"].as_array().expect("a list").iter().filter_map(|it| it["content"].as_str()).collect();
        assert_eq!(contents, ["missed"]);
        speaker.say("tea", "new");
        assert_eq!(socket.hear("message:new")["content"], "new");
        // A token is good for once; one's own leads to where one is.
        socket.ask(4, "connection:recover", &json!({ "recoveryToken": old }));
        assert_eq!(socket.acked(4)["code"], "RECOVERY_FAILED");
        socket.ask(5, "connection:recover", &json!({ "recoveryToken": new }));
        assert_eq!(socket.acked(5)["session"]["rooms"], json!(["tea"]));
    }
}
