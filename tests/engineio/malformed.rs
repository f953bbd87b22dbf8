//! Malformed and misplaced packets, one by one: each ends its session with the protocol's error, is refused, or is
//! ignored, as in the reference implementation, and no other session is affected.

use serde_json::json;

use super::faulty_client::{BAD, CARRIERS, FaultyClient, Sent};
use support::control_pair::ControlPair;
use support::engineio::{Socket, server};
use support::server::Server;

/// What becomes of who sends it.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// Its session ends: 400 to a POST, 1002 on a WebSocket.
    Ends,
    /// Its session ends, too, but the POST brought a packet and is taken.
    Breaks,
    /// It is answered with what begins so, and goes on.
    Answered(&'static str),
    /// It goes on as if nothing had come.
    PassedOver,
}

use Outcome::{Answered, Breaks, Ends, PassedOver};

/// Somebody in the room with those who misbehave, and two raw clients elsewhere.
struct OtherClients {
    witness: ControlPair,
    member: Socket,
}

impl OtherClients {
    fn gather(server: &Server) -> Self {
        let (mut member, _) = Socket::chat(&server.address, "camel", "bob");
        member.ask(1, "joinRoom", &json!("r"));
        member.acked(1);
        Self { witness: ControlPair::start(server), member }
    }

    /// That they have heard of one who came and left, and of nothing else.
    fn have_seen_one_come_and_go(&mut self, what: &str) {
        for expected in
            [r#"42/chat,["userJoinedRoom",{"userId":"mallory""#, r#"42/chat,["userLeftRoom",{"userId":"mallory""#]
        {
            let packet = self.member.next();
            assert!(packet.starts_with(expected), "{what}: {packet}");
        }
    }

    fn part(mut self) {
        self.member.ask(2, "heartbeat", &json!(null));
        self.member.acked(2);
        self.witness.stop();
    }
}

/// Has one client send these packets by each transport in each version, and looks what becomes of it.
fn play(server: &Server, bystanders: &mut OtherClients, packets: &[Sent], outcome: Outcome) {
    CARRIERS.iter().for_each(|carrier| play_by(server, bystanders, *carrier, packets, outcome));
}

fn play_by(server: &Server, bystanders: &mut OtherClients, carrier: (&str, u8), packets: &[Sent], outcome: Outcome) {
    let what = format!("{carrier:?} {packets:?}");
    let mut offender = FaultyClient::in_room(&server.address, carrier, "r");
    let is_taken = offender.send(packets);
    match outcome {
        Ends | Breaks => {
            assert!(carrier.0 == "websocket" || is_taken == matches!(outcome, Breaks), "{what}");
            offender.is_cut(&server.address, 1002);
        }
        Answered(beginning) => {
            offender.wait_for(beginning);
            offender.is_served();
            offender.leave();
        }
        PassedOver => {
            offender.is_served();
            offender.leave();
        }
    }
    bystanders.have_seen_one_come_and_go(&what);
}

const PLACE: &str = r#"{"_placeholder":true,"num":0}"#;

/// Messages of Socket.IO, without the `4` they begin with.
const MESSAGES: [(&str, Outcome); 49] = [
    // No type, or one that there is not.
    ("", Ends),
    ("7", Ends),
    ("abc", Ends),
    ("\u{0}", Ends),
    ("é", Ends),
    // What is no JSON, or of the wrong kind.
    ("2/chat,", Ends),
    ("2/chat,[", Ends),
    (r#"2/chat,["heartbeat""#, Ends),
    (r#"2/chat,["heartbeat"]]"#, Ends),
    (r#"2/chat,["heartbeat",]"#, Ends),
    (r#"2/chat,['heartbeat']"#, Ends),
    (r#"2/chat,"heartbeat""#, Ends),
    ("2/chat,{}", Ends),
    ("2/chat,null", Ends),
    // No name, or none that an event may have.
    ("2/chat,[]", Ends),
    (r#"2/chat,[{"heartbeat":1}]"#, Ends),
    (r#"2/chat,[["heartbeat"]]"#, Ends),
    ("2/chat,[null]", Ends),
    ("2/chat,[true]", Ends),
    (r#"2/chat,["connect"]"#, Ends),
    (r#"2/chat,["connect_error",{}]"#, Ends),
    (r#"2/chat,["disconnect"]"#, Ends),
    (r#"2/chat,["disconnecting"]"#, Ends),
    (r#"2/chat,["newListener"]"#, Ends),
    (r#"2/chat,["removeListener"]"#, Ends),
    (r#"2/chat,["\u0063onnect"]"#, Ends),
    // A name that nobody knows is no fault of the protocol.
    (r#"2/chat,["heartBeat"]"#, Answered(r#"42/chat,["error",{"code":"UNKNOWN_TYPE""#)),
    ("2/chat,[1]", Answered(r#"42/chat,["error",{"code":"UNKNOWN_TYPE""#)),
    // A namespace without its comma, one not joined, one that cannot be.
    (r#"2/chat["heartbeat"]"#, Ends),
    ("2/chat", Ends),
    (r#"2/chats,["heartbeat"]"#, Ends),
    (r#"2/random,["heartbeat"]"#, Ends),
    ("1/random,", Ends),
    ("0/ch\u{1}at,", Ends),
    ("0/random,", Answered(r#"44/random,"#)),
    // Numbers of acks that are none.
    (r#"2/chat,9007199254740992["heartbeat"]"#, Ends),
    (r#"2/chat,99999999999999999999999999["heartbeat"]"#, Ends),
    (r#"2/chat,-1["heartbeat"]"#, Ends),
    (r#"2/chat,1a["heartbeat"]"#, Ends),
    ("3/chat,[]", Ends),
    ("3/chat,1{}", Ends),
    ("3/chat,1", Ends),
    ("3/chat,9007199254740992[]", Ends),
    // It acknowledges what nobody asked for.
    ("3/chat,4711[]", PassedOver),
    // Connecting, parting and refusing as a client must not.
    ("0/chat,[]", Ends),
    ("0/chat,7", Ends),
    ("1/chat,{}", Ends),
    (r#"4/chat,{"message":"no"}"#, Ends),
    // Twice; the first answer serves for both.
    ("0/chat,", PassedOver),
];

#[test]
fn malformed_message_ends_only_its_session() {
    let server = server(&[]);
    let mut bystanders = OtherClients::gather(&server);
    for (message, outcome) in MESSAGES {
        play(&server, &mut bystanders, &[Sent::Text(format!("4{message}"))], outcome);
    }
    bystanders.part();
}

#[test]
fn wrong_attachment_count_ends_only_its_session() {
    let server = server(&[]);
    let mut bystanders = OtherClients::gather(&server);
    let head = |count: &str| Sent::Text(format!(r#"45{count}/chat,["heartbeat",{PLACE}]"#));
    let bytes = || Sent::Bytes(vec![0, 1, 255]);
    let heartbeat = || Sent::text(r#"42/chat,["heartbeat"]"#);
    let at = |number: &str| Sent::Text(format!(r#"451-/chat,["x",[{{"_placeholder":true,"num":{number}}}]]"#));
    let refused = Answered(r#"42/chat,["error",{"code":"UNSUPPORTED_DATA""#);
    let ten = format!(r#"4510-/chat,["x"{}]"#, r#",{"_placeholder":true,"num":9}"#.repeat(10));
    let ten: Vec<Sent> = std::iter::once(Sent::Text(ten)).chain((0..10).map(|_| bytes())).collect();
    let cases: [(&[Sent], Outcome); 20] = [
        (&[head("")], Ends),
        (&[head("1")], Ends),
        (&[head("-")], Ends),
        (&[head("0-")], Ends),
        (&[Sent::text("460-/chat,1[]")], Ends),
        (&[head("x-")], Ends),
        (&[head("11-")], Ends),
        (&[head("99999999999999999999-")], Ends),
        (&[Sent::text("461-/chat,[]")], Ends),
        (&[Sent::text("451-/chat,{}")], Ends),
        // Another packet in the attachment's place.
        (&[head("1-"), heartbeat()], Ends),
        (&[head("2-"), bytes(), heartbeat()], Ends),
        (&[head("1-"), Sent::text("4")], Ends),
        // Attachments of nothing.
        (&[bytes()], Ends),
        (&[head("1-"), bytes(), bytes()], Ends),
        // Placeholders for none of them.
        (&[at("1"), bytes()], Ends),
        (&[at("-1"), bytes()], Ends),
        (&[at("\"0\""), bytes()], Ends),
        // Whole, but nothing here takes bytes.
        (&[at("0"), bytes()], refused),
        (&ten, refused),
    ];
    for (packets, outcome) in cases {
        play(&server, &mut bystanders, packets, outcome);
    }
    bystanders.part();
}

#[test]
fn event_outside_a_namespace_ends_only_its_session() {
    let server = server(&[]);
    let witness = ControlPair::start(&server);
    for carrier in CARRIERS {
        for packet in [r#"42/chat,["heartbeat"]"#, "41/chat,", "43/chat,1[]", r#"451-/chat,["x"]"#, r#"44/chat,"no""#] {
            let mut offender = FaultyClient::open(&server.address, carrier);
            // What has attachments is judged when the last of them is there.
            let attachment = packet.starts_with("45").then(|| Sent::Bytes(vec![1]));
            offender.send(&[Sent::text(packet)].into_iter().chain(attachment).collect::<Vec<_>>());
            offender.is_cut(&server.address, 1002);
        }
        let mut offender = FaultyClient::in_room(&server.address, carrier, "r");
        offender.send(&[Sent::text("41/chat,"), Sent::text(r#"42/chat,["heartbeat"]"#)]);
        offender.is_cut(&server.address, 1002);
    }
    witness.stop();
}

/// Packets of Engine.IO by any transport: those of version 4, those of version 3.
const PACKETS: [(&str, Outcome, Outcome); 14] = [
    ("x", Ends, Ends),
    ("7", Ends, Ends),
    ("9", Ends, Ends),
    (" 4", Ends, Ends),
    ("\u{1}", Ends, Ends),
    ("é", Ends, Ends),
    ("b?", Ends, Ends),
    ("b4?", Ends, Ends),
    // In each version only one side sends pings.
    ("2", Breaks, Answered("3")),
    ("2probe", Breaks, Answered("3probe")),
    ("3", PassedOver, Breaks),
    // They mean nothing from a client that is not about to move.
    ("0{}", PassedOver, PassedOver),
    ("5", PassedOver, PassedOver),
    ("6", PassedOver, PassedOver),
];

#[test]
fn malformed_packet_ends_only_its_session() {
    let server = server(&[]);
    let mut bystanders = OtherClients::gather(&server);
    for (packet, newer, older) in PACKETS {
        for carrier in CARRIERS {
            let outcome = if carrier.1 == 4 { newer } else { older };
            play_by(&server, &mut bystanders, carrier, &[Sent::text(packet)], outcome);
        }
    }
    bystanders.part();
}

/// Bodies of POSTs that are no payload: of version 4 as text; of version 3 as text and as bytes.
const BODIES: [(u8, &str, &[u8]); 30] = [
    (4, TEXT, b""),
    (4, TEXT, b"\x1e"),
    (4, TEXT, b"42[1]\x1e"),
    (4, TEXT, b"\x1e42[1]"),
    (4, TEXT, b"42[1]\x1e\x1e42[1]"),
    (4, TEXT, b"4\xff"),
    (4, OCTETS, b"42[1]"),
    (4, OCTETS, b"\x00\x01\xff4"),
    (3, TEXT, b""),
    (3, TEXT, b"4"),
    (3, TEXT, b":4"),
    (3, TEXT, b"x:4"),
    (3, TEXT, b"-1:4"),
    (3, TEXT, b"1:44"),
    (3, TEXT, b"1:41"),
    (3, TEXT, b"2:4"),
    (3, TEXT, b"1:9"),
    (3, TEXT, b"9999999999:4"),
    // A character that a length would cut in two.
    (3, TEXT, "2:4💡".as_bytes()),
    (3, TEXT, b"2:4\xff"),
    (3, TEXT, b"4\x1e4"),
    (3, OCTETS, b""),
    (3, OCTETS, b"\x00"),
    (3, OCTETS, b"\x00\x01"),
    (3, OCTETS, b"\x00\xff4"),
    (3, OCTETS, b"\x00\x0a\xff4"),
    (3, OCTETS, b"\x00\x09\xff4"),
    (3, OCTETS, b"\x02\x01\xff4"),
    (3, OCTETS, b"\x00\x02\xff4\xff"),
    // Bytes that are no message.
    (3, OCTETS, b"\x01\x02\xff\x02x"),
];

const TEXT: &str = "text/plain;charset=UTF-8";

const OCTETS: &str = "application/octet-stream";

#[test]
fn malformed_payload_ends_only_its_session() {
    let server = server(&[]);
    let mut bystanders = OtherClients::gather(&server);
    for (version, content_type, body) in BODIES {
        let what = format!("{version} {content_type} {}", body.escape_ascii());
        let mut offender = FaultyClient::in_room(&server.address, ("polling", version), "r");
        let answer = offender.post(content_type, body).expect("it polls");
        assert_eq!((answer.status, answer.text().as_str()), (400, BAD), "{what}");
        offender.is_cut(&server.address, 1002);
        bystanders.have_seen_one_come_and_go(&what);
    }
    bystanders.part();
}

#[test]
fn oversized_payload_is_refused() {
    let server = server(&[]);
    let mut bystanders = OtherClients::gather(&server);
    let large = format!("4{}", "x".repeat(1_000_000));
    for version in [4, 3] {
        // The request is refused before it is read, and the session goes on.
        let mut offender = FaultyClient::in_room(&server.address, ("polling", version), "r");
        assert_eq!(offender.post(TEXT, large.as_bytes()).map(|answer| answer.status), Some(413));
        offender.reconnect(&server.address);
        offender.is_served();
        offender.leave();
        bystanders.have_seen_one_come_and_go("a large payload");
        // A WebSocket has no such means.
        for packet in [Sent::text(large.as_str()), Sent::Bytes(vec![4; 1_000_001])] {
            let mut offender = FaultyClient::in_room(&server.address, ("websocket", version), "r");
            offender.send(&[packet]);
            offender.is_cut(&server.address, 1009);
            bystanders.have_seen_one_come_and_go("a large packet");
        }
    }
    bystanders.part();
}

#[test]
fn packets_after_close_are_ignored() {
    let server = server(&[]);
    let mut bystanders = OtherClients::gather(&server);
    for carrier in CARRIERS {
        let mut offender = FaultyClient::in_room(&server.address, carrier, "r");
        let message = json!(["message:send", { "chatId": "r", "content": "too late" }]);
        offender.send(&[Sent::text("1"), Sent::Text(format!("42/chat,{message}")), Sent::text("x")]);
        bystanders.have_seen_one_come_and_go("a goodbye");
        if carrier.0 == "websocket" {
            offender.is_cut(&server.address, 1000);
        }
    }
    bystanders.part();
}

/// What comes by the WebSocket that is to take a session over, and should not.
const PROBES: [&[&str]; 8] =
    [&["2"], &["3probe"], &["4x"], &["x"], &[""], &["2probe", "4x"], &["2probe", "2"], &["2probe", "1"]];

#[test]
fn upgrade_out_of_order_leaves_the_transport() {
    let server = server(&[]);
    let mut bystanders = OtherClients::gather(&server);
    for version in [4, 3] {
        for packets in PROBES {
            let mut offender = FaultyClient::in_room(&server.address, ("polling", version), "r");
            let mut socket = offender.socket_to_move_to(&server.address);
            for packet in packets {
                socket.send(packet);
            }
            let code = socket.end();
            assert!([1000, 1002].contains(&code), "{version} {packets:?}: {code}");
            offender.is_served();
            offender.leave();
            bystanders.have_seen_one_come_and_go(&format!("{version} {packets:?}"));
        }
        let mut offender = FaultyClient::in_room(&server.address, ("polling", version), "r");
        let mut socket = offender.socket_to_move_to(&server.address);
        socket.send_binary(&[4, 1]);
        assert!([1000, 1002].contains(&socket.end()));
        offender.is_served();
        offender.leave();
        bystanders.have_seen_one_come_and_go("bytes");
    }
    bystanders.part();
}
