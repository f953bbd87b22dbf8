//! A server asks Redis for something, which does it, and the answer does not come: nobody is left a member who does not know
//! of it, whether the server lives on or not.

use serde_json::{Value, json};

use support::client::Client;
use support::fault_proxy::FaultProxy;
use support::redis::RedisServer;
use support::server::{Server, token};

fn connect(server: &Server, user: &str) -> Client {
    Client::connect(&server.address, Some(&token(user, &json!({}))))
}

/// Somebody whose joining Redis has done without their server's knowing, somebody else on that server, and who sees them from
/// another one.
struct Scene {
    _redis: RedisServer,
    way: FaultProxy,
    first: Server,
    second: Server,
    ada: Client,
    bo: Client,
    cy: Client,
}

impl Scene {
    fn begin() -> Self {
        let redis = RedisServer::start();
        let way = FaultProxy::to(redis.port());
        let node = |url: &str| Server::of_shards(2, &[&format!("redis.url={url}")]);
        let (first, second) = (node(&way.url()), node(&redis.url()));
        let (mut ada, mut bo, mut cy) = (connect(&first, "ada"), connect(&second, "bo"), connect(&first, "cy"));
        // The room is followed on the first server from here on, so that joining it is one act.
        cy.join("r", "c");
        bo.join("r", "b");
        assert_eq!(cy.wait_for("peer-joined")["peerId"], "b");
        way.drop_replies();
        ada.send(&json!({ "type": "join-room", "roomId": "r", "peerId": "a", "requestId": 1 }));
        assert_eq!(bo.wait_for("peer-joined")["peerId"], "a");
        Self { _redis: redis, way, first, second, ada, bo, cy }
    }
}

/// Everything of comings and goings up to a message that somebody else sends now.
fn news(bo: &mut Client) -> Vec<(Value, Value)> {
    let mut news = Vec::new();
    loop {
        let message = bo.next();
        match message["type"].as_str() {
            Some("peer-joined" | "peer-left") => news.push((message["type"].clone(), message["peerId"].clone())),
            Some("message") => return news,
            _ => {}
        }
    }
}

#[test]
fn join_without_an_answer_is_undone_when_redis_returns() {
    let mut scene = Scene::begin();
    let Scene { way, ada, bo, cy, .. } = &mut scene;
    assert_eq!(ada.wait_for("error")["code"], "STORAGE_UNAVAILABLE");
    way.restore();
    assert_eq!(bo.wait_for("peer-left")["peerId"], "a");
    ada.join("r", "a");
    cy.send(&json!({ "type": "message", "roomId": "r", "content": "that is all" }));
    assert_eq!(news(bo), [(json!("peer-joined"), json!("a"))], "and that once");
}

#[test]
fn join_without_an_answer_is_undone_when_the_server_dies() {
    let Scene { first, second, mut bo, _redis, .. } = Scene::begin();
    first.kill();
    let mut left = [bo.wait_for("peer-left"), bo.wait_for("peer-left")].map(|left| left["peerId"].clone());
    left.sort_by_key(Value::to_string);
    assert_eq!(left, ["a", "c"]);
    let mut dee = connect(&second, "dee");
    assert_eq!(dee.join("r", "d")["participantCount"], 2, "nobody is left but these");
    dee.send(&json!({ "type": "message", "roomId": "r", "content": "that is all" }));
    assert_eq!(news(&mut bo), [(json!("peer-joined"), json!("d"))], "each once");
}
