//! Rooms under the application's own ids: made once by many calls, kept over restarts, and their messages published once.

use std::thread;

use serde_json::{Value, json};
use support::client::Client;
use support::directory::Directory;
use support::http::{Response, ask, bearer};
use support::redis::RedisServer;
use support::server::{Server, token};

pub(crate) fn backend(server: &Server, method: &str, path: &str, headers: &[&str], body: Value) -> Response {
    let line = bearer(&token("desk", &json!({ "scope": "push" })));
    let headers = [&[line.as_str()], headers].concat();
    ask(&server.address, method, path, &headers, (!body.is_null()).then(|| body.to_string()).as_deref())
}

/// Runs a test with a server alone, and with two that share a Redis.
pub(crate) fn with_each_owner(settings: &[&str], test: impl Fn(&[&Server])) {
    let alone = Server::of_shards(3, settings);
    test(&[&alone]);
    drop(alone);
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let all: Vec<&str> = settings.iter().copied().chain([url.as_str()]).collect();
    let [one, other] = [(); 2].map(|()| Server::of_shards(2, &all));
    test(&[&one, &other]);
}

#[test]
fn room_put_by_many_calls_at_once_is_made_by_one_of_them() {
    with_each_owner(&["limits.rest_per_minute=0", "limits.cost_per_user=0"], |servers| {
        let statuses: Vec<u16> = thread::scope(|scope| {
            let put = |n: usize| {
                let server = servers[n % servers.len()];
                move || backend(server, "PUT", "/api/v1/rooms/order-17", &[], json!({ "name": format!("n{n}") })).status
            };
            let calls: Vec<_> = (0..24).map(|n| scope.spawn(put(n))).collect();
            calls.into_iter().map(|call| call.join().expect("an answer")).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 23, "{statuses:?}");
        let made: Vec<u16> = (0..2)
            .map(|_| backend(servers[0], "POST", "/api/v1/rooms", &[], json!({ "roomId": "order-18" })).status)
            .collect();
        assert_eq!(made, [201, 409]);
    });
}

#[test]
fn settings_of_rooms_survive_restarts() {
    let redis = RedisServer::start();
    let directory = Directory::new();
    let url = format!("redis.url={}", redis.url());
    let data = format!("data_dir={}", directory.path().display());
    for owner in [data, url] {
        let start = || Server::of_shards(2, &[&owner, "rooms.create_on_join=always"]);
        let server = start();
        let settings = json!({ "name": "Order", "description": "d", "metadata": { "a": [1.50, {}] }, "isPrivate": true,
            "participants": ["ann", "bob"], "maxParticipants": 5, "locked": true, "type": "team" });
        assert_eq!(backend(&server, "PUT", "/api/v1/rooms/order-17", &[], json!({ "name": "Old" })).status, 201);
        assert_eq!(backend(&server, "PUT", "/api/v1/rooms/order-17", &[], settings).status, 200);
        // Two rooms that begin with a join: one with a message, one without.
        let mut ann = Client::connect(&server.address, Some(&token("ann", &json!({}))));
        ann.join("tea", "a");
        ann.join("silent", "a");
        ann.send(&json!({ "type": "message", "roomId": "tea", "content": "Hello" }));
        let sent = ann.wait_for("message-sent");
        assert_eq!(backend(&server, "PUT", "/api/v1/rooms/silent", &[], json!({ "name": "Silent" })).status, 200);
        ann.send(&json!({ "type": "message", "roomId": "silent", "content": "Hello" }));
        ann.wait_for("message-sent");
        server.kill();

        let server = start();
        let room = |room: &str| {
            let mut view =
                backend(&server, "GET", &format!("/api/v1/rooms/{room}"), &[], Value::Null).json()["room"].take();
            let fields = view.as_object_mut().expect("a room");
            fields.retain(|field, _| !["createdAt", "lastActivity", "participantCount"].contains(&field.as_str()));
            view
        };
        assert_eq!(
            room("order-17"),
            json!({ "roomId": "order-17", "id": "order-17", "name": "Order", "type": "team", "description": "d",
                "metadata": { "a": [1.50, {}] }, "participants": ["ann", "bob"], "isPrivate": true, "host": "",
                "isActive": true, "maxParticipants": 5, "locked": true })
        );
        assert_eq!(room("silent")["name"], "Silent");
        // A room that is in the store only gets settings, and keeps its messages.
        assert_eq!(backend(&server, "PUT", "/api/v1/rooms/tea", &[], json!({ "name": "Tea" })).status, 200);
        let messages = backend(&server, "GET", "/api/v1/rooms/tea/messages", &[], Value::Null).json();
        assert_eq!(messages["messages"][0]["id"], sent["id"], "{messages}");
    }
}

#[test]
fn header_idempotency_key_publishes_once() {
    with_each_owner(&[], |servers| {
        assert_eq!(backend(servers[0], "PUT", "/api/v1/rooms/r", &[], json!({})).status, 201);
        let last = servers[servers.len() - 1];
        let key = ["Idempotency-Key: order-17"];
        let message = json!({ "rooms": ["r"], "data": 1 });
        let first = backend(servers[0], "POST", "/api/v1/publish", &key, message.clone()).json();
        assert_eq!(backend(last, "POST", "/api/v1/publish", &key, message.clone()).json(), first);
        let batch = json!({ "messages": [message, { "rooms": ["r"], "data": 2 }] });
        let key = ["Idempotency-Key: batch-1"];
        let first = backend(last, "POST", "/api/v1/batch", &key, batch.clone()).json();
        assert_eq!(backend(servers[0], "POST", "/api/v1/batch", &key, batch).json(), first);
        let messages = backend(last, "GET", "/api/v1/rooms/r/messages", &[], Value::Null).json();
        let data: Vec<&Value> =
            messages["messages"].as_array().expect("messages").iter().map(|it| &it["data"]).collect();
        assert_eq!(data, [1, 1, 2]);
    });
}

/// All pages of a list of rooms: their ids, and how many pages there were.
fn listed(server: &Server, query: &str) -> (Vec<String>, usize) {
    let (mut ids, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = backend(server, "GET", &format!("/api/v1/rooms?{query}{after}"), &[], Value::Null);
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        pages += 1;
        let rooms = page["rooms"].as_array().expect("rooms").iter();
        ids.extend(rooms.map(|room| room["id"].as_str().expect("an id").to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return (ids, pages),
        }
    }
}

#[test]
fn rooms_are_listed_in_pages_by_prefix_and_name() {
    let settings = ["limits.rest_per_minute=0", "limits.cost_per_user=0", "rooms.create_on_join=always"];
    with_each_owner(&settings, |servers| {
        let last = servers[servers.len() - 1];
        let orders: Vec<String> = (10..30).map(|n| format!("order-{n}")).collect();
        for (n, room) in orders.iter().enumerate() {
            let name = if n % 5 == 0 { format!("Green TEA {n}") } else { format!("Coffee {n}") };
            let put = backend(
                servers[n % servers.len()],
                "PUT",
                &format!("/api/v1/rooms/{room}"),
                &[],
                json!({ "name": name }),
            );
            assert_eq!(put.status, 201);
        }
        let mut ann = Client::connect(&servers[0].address, Some(&token("ann", &json!({}))));
        let mut bob = Client::connect(&last.address, Some(&token("bob", &json!({}))));
        ann.join("tea room", "a");
        bob.join("order-05", "b");
        bob.join("tea room", "b");

        let all: Vec<String> = ["order-05".to_owned()].into_iter().chain(orders.clone()).collect();
        let everything: Vec<String> = all.iter().cloned().chain(["tea room".to_owned()]).collect();
        assert_eq!(listed(last, "").0, everything);
        assert_eq!(listed(servers[0], "limit=7"), (everything, 4));
        assert_eq!(listed(last, "prefix=order-&limit=100"), (all, 1));
        assert_eq!(listed(last, "prefix=order-2&limit=3").0, orders[10..]);
        let teas = ["order-10", "order-15", "order-20", "order-25", "tea room"].map(str::to_owned).to_vec();
        assert_eq!(listed(last, "search=tea").0, teas);
        assert_eq!(listed(last, "search=tEA&limit=2").0, teas);
        assert_eq!(listed(last, "search=tea&prefix=order-2").0, teas[2..4]);
        assert_eq!(listed(last, "prefix=none").0, [""; 0]);

        assert_eq!(backend(servers[0], "DELETE", "/api/v1/rooms/order-15", &[], Value::Null).status, 204);
        assert_eq!(listed(last, "search=tea&prefix=order-1").0, ["order-10"]);
        let refused = backend(last, "GET", "/api/v1/rooms?limit=101", &[], Value::Null);
        assert_eq!((refused.status, refused.code().as_str()), (422, "INVALID_MESSAGE"));
    });
}
