//! What any node answers for all: who and what there is, and what concerns a connection that another one holds.

use serde_json::{Value, json};

use support::client::Client;
use support::http::{ask, bearer};
use support::process::wait_until;
use support::redis::RedisServer;
use support::server::{Server, token};

/// Two nodes; `ada` and `bob` on the first, `bob` and `eve` on the second, in a room each and in one together.
struct Stage {
    redis: RedisServer,
    servers: [Server; 2],
    clients: Vec<Client>,
    root: String,
}

impl Stage {
    fn new() -> Self {
        let redis = RedisServer::start();
        let url = format!("redis.url={}", redis.url());
        let servers = [(); 2].map(|()| Server::of_shards(2, &[&url]));
        let mut clients = Vec::new();
        for (server, user, rooms) in [(0, "ada", ["both", "first"]), (0, "bob", ["both", "first"])]
            .into_iter()
            .chain([(1, "bob", ["both", "second"]), (1, "eve", ["both", "second"])])
        {
            let mut client = Client::connect(&servers[server].address, Some(&token(user, &json!({}))));
            let id = client.id().to_owned();
            for room in rooms {
                client.join(room, &id);
            }
            clients.push(client);
        }
        Self { redis, servers, clients, root: bearer(&token("root", &json!({ "role": "admin" }))) }
    }

    /// The rooms that each node lists, and how many it says there are.
    fn rooms(&self) -> [(Vec<String>, u64); 2] {
        self.look("/api/rooms").map(|rooms| {
            let listed = rooms["rooms"].as_array().expect("a list").iter();
            let mut names: Vec<String> =
                listed.map(|room| room["roomId"].as_str().expect("a name").to_owned()).collect();
            names.sort_unstable();
            (names, rooms["totalRooms"].as_u64().expect("a count"))
        })
    }

    /// What an admin is answered by each node.
    fn look(&self, path: &str) -> [Value; 2] {
        [0, 1].map(|node| {
            let answer = ask(&self.servers[node].address, "GET", path, &[&self.root], None);
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            answer.json()
        })
    }
}

#[test]
fn rooms_and_users_of_all_nodes_are_listed_once() {
    let stage = Stage::new();
    for rooms in stage.look("/api/rooms") {
        assert_eq!((&rooms["totalRooms"], &rooms["totalPeers"]), (&json!(3), &json!(8)), "{rooms}");
        let listed = rooms["rooms"].as_array().expect("a list").iter();
        let mut counts: Vec<(&str, u64)> = listed
            .map(|room| (room["roomId"].as_str().expect("a name"), room["participantCount"].as_u64().expect("a count")))
            .collect();
        counts.sort_unstable();
        assert_eq!(counts, [("both", 4), ("first", 2), ("second", 2)]);
    }
    for users in stage.look("/websocket/users/connected") {
        let text = users.to_string();
        assert!(["ada", "bob", "eve"].iter().all(|user| text.contains(&format!("\"{user}\""))), "{text}");
    }
    for one in stage.look("/websocket/users/connected?limit=1") {
        let text = one.to_string();
        assert!(text.contains("\"ada\"") && !text.contains("\"bob\""), "{text}");
    }
}

#[test]
fn connection_is_described_and_closed_from_another_node() {
    let mut stage = Stage::new();
    for seen in stage.look("/connections/bob") {
        assert_eq!(seen["connections"].as_array().map(Vec::len), Some(2), "{seen}");
    }
    let eve = stage.clients.pop().expect("she is there");
    let id = eve.id().to_owned();
    let answer = ask(&stage.servers[0].address, "DELETE", &format!("/connections/{id}"), &[&stage.root], None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = ask(&stage.servers[0].address, "DELETE", &format!("/connections/{id}"), &[&stage.root], None);
    assert_eq!((answer.status, answer.code()), (404, "CONNECTION_NOT_FOUND".to_owned()));
}

#[test]
fn broadcast_reaches_connections_of_all_nodes() {
    let mut stage = Stage::new();
    let body = json!({ "type": "news", "data": { "hello": 1 } }).to_string();
    let answer = ask(&stage.servers[1].address, "POST", "/websocket/message/broadcast", &[&stage.root], Some(&body));
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    for client in &mut stage.clients {
        let message = client.wait_until(|event| event["type"] == "message");
        assert_eq!(message["messageType"], "news", "{message}");
    }
}

#[test]
fn client_recovers_on_another_node() {
    let mut stage = Stage::new();
    let ada = stage.clients.remove(0);
    let recovery = ada.hello["recoveryToken"].as_str().expect("a token").to_owned();
    // Its former connection is still there, on another node than the one it comes to.
    let mut back = Client::connect(&stage.servers[1].address, Some(&token("ada", &json!({}))));
    back.send(&json!({ "type": "resume", "recoveryToken": recovery }));
    let resumed = back.wait_until(|event| event["type"] == "resumed" || event["type"] == "error");
    assert_eq!(resumed["rooms"]["both"]["recovered"], true, "{resumed}");
    let mut ada = ada;
    let gone = ada.wait_until(|event| event["type"] == "disconnect");
    assert_eq!(gone["reason"], "replaced");
    back.send(&json!({ "type": "message", "roomId": "both", "content": "I am back" }));
    let message = stage.clients[0].wait_until(|event| event["type"] == "message");
    assert_eq!(message["content"], "I am back");
}

#[test]
fn empty_rooms_are_listed_by_every_node_while_they_exist() {
    const MADE: &str = "switchboard:nodes:{all}:made";
    let mut stage = Stage::new();
    let ada = bearer(&token("ada", &json!({})));
    let make = |stage: &Stage| {
        let body = r#"{"name": "Board", "participants": ["eve"]}"#;
        let made = ask(&stage.servers[0].address, "POST", "/rooms", &[&ada], Some(body));
        made.json()["room"]["roomId"].as_str().expect("a name").to_owned()
    };
    let (kept, closed) = (make(&stage), make(&stage));
    let sorted = |others: &[&str]| {
        let mut names: Vec<String> =
            ["both", "first", "second"].iter().chain(others).map(|&it| it.to_owned()).collect();
        names.sort_unstable();
        (names.clone(), names.len() as u64)
    };
    assert_eq!(stage.rooms(), [(); 2].map(|()| sorted(&[&kept, &closed])));
    let close = ask(&stage.servers[1].address, "DELETE", &format!("/api/rooms/{closed}"), &[&ada], None);
    assert_eq!(close.status, 204);
    // A room that was made by joining stays for a minute.
    stage.clients.truncate(2);
    assert_eq!(stage.rooms(), [(); 2].map(|()| sorted(&[&kept])));

    // What has been listed for long is looked at: it is listed anew, or no longer.
    for room in [&kept, "over"] {
        stage.redis.command(&["ZADD", MADE, "1", room]);
    }
    let score = |room: &str| stage.redis.ask::<Option<f64>>(&format!("ZSCORE {MADE} {room}"));
    wait_until("it is struck off", || score("over").is_none());
    let [seconds, _]: [u64; 2] = stage.redis.ask::<Vec<u64>>("TIME").try_into().expect("two numbers");
    let in_an_hour = ((seconds + 3_600) * 1_000) as f64;
    wait_until("it is listed anew", || score(&kept) > Some(in_an_hour));

    // What was lost comes back when it is seen to be missing.
    stage.redis.command(&["DEL", MADE]);
    assert_eq!(stage.rooms(), [(); 2].map(|()| sorted(&[])));
    let mut eve = Client::connect(&stage.servers[1].address, Some(&token("eve", &json!({}))));
    eve.join(&kept, "e");
    assert_eq!(stage.rooms(), [(); 2].map(|()| sorted(&[&kept])));
    wait_until("it is listed again", || score(&kept).is_some());
}
