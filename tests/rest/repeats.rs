//! Repeated pushes of a backend with an idempotency key.

use std::thread;

use serde_json::json;
use support::client::Client;
use support::directory::Directory;
use support::http::Response;
use support::redis::RedisServer;
use support::server::Server;

use crate::rooms::{backend, with_each_owner};

#[test]
fn push_with_an_idempotency_key_is_done_once() {
    with_each_owner(&["limits.rest_per_minute=0", "limits.cost_per_user=0"], |servers| {
        let last = servers[servers.len() - 1];
        let mut bob = Client::of(&servers[0].address, "bob");
        let key = |name: &str| format!("Idempotency-Key: {name}");
        let calls = [
            ("/api/v1/publish", json!({ "users": ["bob", "zoe"], "data": "x", "idempotencyKey": "in the body" })),
            ("/api/v1/publish", json!({ "users": ["bob", "zoe"], "data": "x" })),
            ("/api/v1/publish", json!({ "users": ["bob"], "data": "x", "keep": true })),
            ("/api/v1/publish", json!({ "all": true, "data": "x" })),
            ("/api/v1/batch", json!({ "messages": [{ "all": true, "data": "x" }, { "users": ["zoe"], "data": "x" }] })),
            ("/websocket/message/user", json!({ "userId": "bob", "type": "x" })),
            ("/websocket/message/users", json!({ "userIds": ["bob", "zoe"], "type": "x" })),
            ("/websocket/message/broadcast", json!({ "type": "x" })),
            ("/websocket/notification", json!({ "userId": "bob", "title": "t", "body": "b" })),
        ];
        for (number, (path, body)) in calls.iter().enumerate() {
            let header = key(&format!("push-{number}"));
            let headers: &[&str] = if body.get("idempotencyKey").is_some() { &[] } else { &[&header] };
            let first = backend(servers[0], "POST", path, headers, body.clone());
            assert_eq!(first.status, 200, "{path}: {}", first.text());
            bob.wait_for("message");
            for server in servers {
                let again = backend(server, "POST", path, headers, body.clone());
                assert_eq!((again.status, again.text()), (200, first.text()), "{path}");
            }
        }
        // Many at once: one is done, others get its answer or may be repeated.
        let header = key("at once");
        let body = json!({ "users": ["bob"], "data": "at once" });
        let answers: Vec<Response> = thread::scope(|scope| {
            let push = |n: usize| {
                let (header, body) = (&header, body.clone());
                move || backend(servers[n % servers.len()], "POST", "/api/v1/publish", &[header], body)
            };
            let calls: Vec<_> = (0..24).map(|n| scope.spawn(push(n))).collect();
            calls.into_iter().map(|call| call.join().expect("an answer")).collect()
        });
        for answer in &answers {
            match answer.status {
                200 => assert_eq!(answer.json()["delivered"], 1, "{}", answer.text()),
                status => assert_eq!((status, answer.code().as_str()), (503, "OVERLOADED")),
            }
        }
        // Another key is another push, and all that came between was one message.
        assert_eq!(bob.wait_for("message")["data"], "at once");
        let other = key("another");
        backend(last, "POST", "/api/v1/publish", &[&other], json!({ "users": ["bob"], "data": "another" }));
        assert_eq!(bob.wait_for("message")["data"], "another");
        let long = key(&"k".repeat(129));
        assert_eq!(backend(last, "POST", calls[5].0, &[&long], calls[5].1.clone()).status, 422);
    });
}

#[test]
fn push_with_an_idempotency_key_is_done_once_over_restarts() {
    let redis = RedisServer::start();
    let directory = Directory::new();
    let url = format!("redis.url={}", redis.url());
    let data = format!("data_dir={}", directory.path().display());
    for owner in [data, url] {
        let start = || Server::of_shards(2, &[&owner]);
        let push = |server: &Server| {
            let headers = ["Idempotency-Key: order-17"];
            backend(server, "POST", "/websocket/message/user", &headers, json!({ "userId": "bob", "type": "x" })).text()
        };
        let server = start();
        let first = push(&server);
        assert!(first.contains("\"offline\":[\"bob\"]"), "{first}");
        server.kill();
        let server = start();
        let _bob = Client::of(&server.address, "bob");
        assert_eq!(push(&server), first);
    }
}
