//! The Socket.IO client against the reference implementation, over each transport.

use std::thread;

use crate::harness::driver::Driver;
use crate::harness::reference_server::ReferenceServer;
use loadtest::client::{Dialect, Reason, Settings, Transport};
use loadtest::mark;
use loadtest::vocabulary::Vocabulary;

const TRANSPORTS: [Transport; 2] = [Transport::Websocket, Transport::Polling];

fn settings(transport: Transport) -> Settings {
    Settings { dialect: Dialect::SocketIo, transport, ..Settings::default() }
}

/// A client that may send.
fn opened(node: &ReferenceServer, transport: Transport) -> Driver {
    let mut client = Driver::start(node.address, &settings(transport), Some("secret"));
    client.until(|wire| wire.is_open);
    client
}

fn vocabulary() -> Vocabulary {
    Vocabulary::of(Dialect::SocketIo)
}

fn say(client: &mut Driver, text: Vec<u8>) {
    client.send(&String::from_utf8(text).expect("what is said is text"));
}

fn join(client: &mut Driver, room: usize) {
    let vocabulary = vocabulary();
    say(client, vocabulary.join(room));
    client.until(|wire| wire.heard.iter().any(|text| vocabulary.is_joined(text.as_bytes())));
}

fn publish(client: &mut Driver, room: usize, seq: u64) {
    let (mut content, mut text) = (Vec::new(), Vec::new());
    mark::write(&mut content, seq, seq << 32, 128);
    vocabulary().publish(&mut text, room, &content);
    say(client, text);
}

/// Number, time and bytes of what was delivered, in order.
fn deliveries(heard: &[String]) -> Vec<(u64, Option<u64>, usize)> {
    let vocabulary = vocabulary();
    let contents = heard.iter().filter_map(|text| vocabulary.delivery(text.as_bytes()));
    let marks = contents.map(|content| (mark::read(content).expect("it has a mark"), content.len()));
    marks.map(|(mark, bytes)| (mark.seq, mark.sent_ns(), bytes)).collect()
}

#[test]
fn socketio_client_receives_messages_in_order() {
    // Small enough that what piles up behind a POST takes several.
    let node = ReferenceServer::start(r#"{"maxHttpBufferSize":2000}"#);
    for (room, transport) in TRANSPORTS.into_iter().enumerate() {
        let mut sender = opened(&node, transport);
        let mut member = opened(&node, transport);
        join(&mut sender, room);
        join(&mut member, room);
        for seq in 1..=300 {
            publish(&mut sender, room, seq);
        }
        let expected: Vec<_> = (1..=300).map(|seq| (seq, Some(seq << 32), 128)).collect();
        for client in [&mut sender, &mut member] {
            client.until(|wire| wire.heard.last().is_some_and(|text| text.contains("#000000000300@")));
            assert_eq!(deliveries(&client.wire.heard), expected);
        }
    }
}

#[test]
fn socketio_client_receives_acks_and_binary_events() {
    let node = ReferenceServer::start("{}");
    for (transport, name) in [(Transport::Websocket, "websocket"), (Transport::Polling, "polling")] {
        let mut client = opened(&node, transport);
        client.send(r#"7["ask","why"]"#);
        client.send(r#"["bytes"]"#);
        client.send(r#"12["ask","how"]"#);
        client.until(|wire| wire.heard.len() == 3);
        let binary = r#"["bytes",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
        let expected = [format!(r#"["why","{name}"]"#), binary.to_owned(), format!(r#"["how","{name}"]"#)];
        assert_eq!(client.wire.heard, expected);
    }
}

/// The server closes an idle connection between two heartbeats, so a polling client has to open its lane again.
#[test]
fn socketio_client_answers_heartbeats() {
    // Some versions of ReferenceServer add a second to the latter: the next heartbeat is well behind that, too.
    let node = ReferenceServer::start(r#"{"pingInterval":2200,"pingTimeout":5000,"keepAliveTimeout":300}"#);
    let survive = |transport| {
        let mut client = opened(&node, transport);
        let room = transport as usize;
        join(&mut client, room);
        client.until(|wire| wire.heard.iter().any(|text| text == r#"["beats",3]"#));
        publish(&mut client, room, 1);
        client.until(|wire| !deliveries(&wire.heard).is_empty());
        assert!(!client.wire.is_closed);
        client.wire.opens
    };
    thread::scope(|scope| {
        let [websocket, polling] = TRANSPORTS.map(|transport| scope.spawn(move || survive(transport)));
        assert_eq!(websocket.join().expect("it survives"), [1, 0]);
        let [gets, posts] = polling.join().expect("it survives");
        assert!(gets == 1 && posts >= 3, "lanes opened {gets} and {posts} times");
    });
}

#[test]
fn socketio_client_refused_closes() {
    let node = ReferenceServer::start("{}");
    for transport in TRANSPORTS {
        let refused = |settings: &Settings, token| {
            let mut client = Driver::start(node.address, settings, token);
            client.until(|wire| wire.is_closed);
            assert!(!client.wire.is_open);
            client.reason().expect("it is closed").clone()
        };
        let words = |words: &str| Reason::Refused(format!(r#"{{"message":"{words}"}}"#).into());
        assert_eq!(refused(&settings(transport), Some("wrong")), words("not authorized"));
        assert_eq!(refused(&settings(transport), None), words("not authorized"));
        let elsewhere = Settings { namespace: "/elsewhere".to_owned(), ..settings(transport) };
        assert_eq!(refused(&elsewhere, Some("secret")), words("Invalid namespace"));
        let nowhere = Settings { path: Some("/nowhere/".to_owned()), ..settings(transport) };
        let reason = match transport {
            // To an upgrade that nothing handles the reference implementation says nothing.
            Transport::Websocket => Reason::Ended,
            Transport::Polling => Reason::Status(404),
        };
        assert_eq!(refused(&nowhere, Some("secret")), reason);
    }
}

#[test]
fn socketio_client_disconnected_by_server_closes() {
    let node = ReferenceServer::start("{}");
    for transport in TRANSPORTS {
        let mut client = opened(&node, transport);
        client.send(r#"["leave"]"#);
        client.until(|wire| wire.is_closed);
        assert_eq!(client.reason(), Some(&Reason::Left));
    }
}

#[test]
fn socketio_client_of_killed_server_closes() {
    for transport in TRANSPORTS {
        let node = ReferenceServer::start("{}");
        let mut client = opened(&node, transport);
        drop(node);
        client.until(|wire| wire.is_closed);
        assert_eq!(client.reason(), Some(&Reason::Ended));
    }
}
