//! Backends that publish: a call that is repeated with its idempotency key, after a lost answer or a restart of the server,
//! publishes once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use support::client::{Client, PATIENCE};
use support::directory::Directory;
use support::http::{Http, bearer, request};
use support::server::{Server, token};

use crate::{start, times};

/// Messages that are published between two kills.
const BETWEEN_KILLS: usize = 40;

fn call(number: usize, headers: &[&str]) -> String {
    let body = json!({ "rooms": ["tea"], "event": "count", "data": number, "idempotencyKey": format!("n-{number}") });
    let authorization = bearer(&token("backend", &json!({ "scope": "push" })));
    let headers: Vec<&str> = headers.iter().copied().chain([&*authorization]).collect();
    request("POST", "/api/v1/publish", &headers, Some(&body.to_string()))
}

/// The answer to the call, if there is one.
fn try_call(address: &str, number: usize) -> Option<Value> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream.write_all(call(number, &["Connection: close"]).as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

/// The receipt of message `number`; the call is repeated until it is answered with one.
fn publish(address: &str, number: usize) -> Value {
    loop {
        match try_call(address, number) {
            Some(answer) if answer["success"] == true => return answer["rooms"][0].clone(),
            // While the server restarts, nothing listens.
            _ => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// All messages of the room by REST, in pages.
fn messages(server: &Server) -> Vec<(u64, String, Value)> {
    let authorization = bearer(&token("backend", &json!({ "scope": "push" })));
    let mut all: Vec<(u64, String, Value)> = Vec::new();
    loop {
        let after = all.last().map_or(0, |(seq, ..)| *seq);
        let path = format!("/api/v1/rooms/tea/messages?after={after}&limit=100");
        let page = support::http::ask(&server.address, "GET", &path, &[&authorization], None).json();
        let list = page["messages"].as_array().expect("messages").clone();
        if list.is_empty() {
            return all;
        }
        let text = |message: &Value| message["id"].as_str().expect("an id").to_owned();
        all.extend(
            list.iter()
                .map(|message| (message["seq"].as_u64().expect("a number"), text(message), message["data"].clone())),
        );
    }
}

fn make_room(server: &Server) {
    Client::connect(&server.address, Some(&token("ann", &json!({})))).join("tea", "ann");
}

#[test]
fn publish_through_kills_publishes_each_key_once() {
    let directory = Directory::new();
    let settings = ["limits.rest_per_minute=0"];
    let mut server = start("127.0.0.1:0", &directory, &settings);
    make_room(&server);
    let address = server.address.clone();
    let kills = times("SWITCHBOARD_KILLS", 3);
    let mut receipts: Vec<Value> = Vec::new();
    for _ in 0..kills {
        let (from, target) = (receipts.len(), address.clone());
        let publisher = thread::spawn(move || {
            (from..from + BETWEEN_KILLS).map(|number| publish(&target, number)).collect::<Vec<_>>()
        });
        // The middle of the publisher's work: its last messages are answered after the restart.
        support::process::wait_until("messages are stored", || messages(&server).len() >= from + BETWEEN_KILLS / 2);
        server.kill();
        server = start(&address, &directory, &settings);
        receipts.extend(publisher.join().expect("all are published"));
    }
    let again: Vec<Value> = (0..receipts.len()).map(|number| publish(&address, number)).collect();
    assert_eq!(again, receipts, "a repeated call has the first receipt");
    let stored = messages(&server);
    let published = receipts.iter().zip(0..).map(|(receipt, number)| {
        let text = |field: &str| receipt[field].as_str().expect("a text").to_owned();
        (receipt["seq"].as_u64().expect("a number"), text("id"), json!(number))
    });
    assert_eq!(stored, published.collect::<Vec<_>>(), "each message is stored once, with the number of its receipt");
}

#[test]
fn publish_by_many_at_once_with_one_key_publishes_once() {
    let directory = Directory::new();
    let server = start("127.0.0.1:0", &directory, &["limits.rest_per_minute=0"]);
    make_room(&server);
    let mut connections: Vec<Http> = (0..100).map(|_| Http::connect(&server.address)).collect();
    connections.iter_mut().for_each(|connection| connection.write(call(7, &[])));
    let receipts: Vec<Value> = connections.iter_mut().map(|connection| connection.answer().json()).collect();
    assert!(receipts.iter().all(|receipt| *receipt == receipts[0] && receipt["success"] == true), "{receipts:?}");
    assert_eq!(messages(&server).len(), 1);
}

#[test]
fn publish_into_an_unloaded_room_waits_for_it() {
    let directory = Directory::new();
    let settings = ["limits.rest_per_minute=0"];
    let server = start("127.0.0.1:0", &directory, &settings);
    make_room(&server);
    let first = publish(&server.address, 0);
    // All of them at once at the first chance: one of them loads the room, the others wait.
    let server = start(&server.kill(), &directory, &settings);
    let authorization = bearer(&token("backend", &json!({ "scope": "push" })));
    let mut connections: Vec<Http> = (0..30).map(|_| Http::connect(&server.address)).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.write(match number % 3 {
            0 => request("GET", "/api/v1/rooms/tea/messages", &[&*authorization], None),
            1 => request("GET", "/api/v1/rooms/tea/messages?after=0", &[&*authorization], None),
            _ => call(number, &[]),
        });
    }
    let mut client = Client::connect(&server.address, Some(&token("ann", &json!({}))));
    client.join("tea", "ann");
    let answers: Vec<Value> = connections.iter_mut().map(|connection| connection.answer().json()).collect();
    let mut numbers = Vec::new();
    for (number, answer) in answers.iter().enumerate() {
        match number % 3 {
            0 | 1 => assert!(answer["messages"].to_string().contains(first["id"].as_str().expect("an id")), "{answer}"),
            _ => {
                assert_eq!(answer["rooms"][0]["epoch"], first["epoch"], "{answer}");
                numbers.push(answer["rooms"][0]["seq"].as_u64().expect("a number"));
            }
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=11).collect::<Vec<u64>>());
    assert_eq!(publish(&server.address, 0), first, "its key is still known");
}
