//! The message quota on Socket.IO: one POST that exceeds it, and a second connection of the same user.

use serde_json::{Value, json};

use support::client::Client;
use support::engineio::{Polling, RS, Socket, connect_packet};
use support::server::{Server, token};

/// The answers in these packets: acks, by number.
fn acks(packets: &[String]) -> Vec<(u64, Value)> {
    let acks = packets.iter().filter_map(|packet| packet.strip_prefix("43/chat,"));
    let read = |ack: &str| {
        let (number, json) = ack.split_at(ack.find('[').expect("an array"));
        let mut list: Vec<Value> = serde_json::from_str(json).expect("JSON");
        (number.parse().expect("a number"), list.remove(0))
    };
    acks.map(read).collect()
}

#[test]
fn polling_post_and_second_connection_share_the_quota() {
    for shards in [1, 3] {
        let server = Server::of_shards(shards, &["limits.messages_per_minute=12"]);
        let (mut raw, mut polling) = (
            Client::connect(&server.address, Some(&token("ann", &json!({})))),
            Polling::open(&server.address, "/socket.io/"),
        );
        raw.join("r", "ann");
        raw.send(&json!({ "type": "message", "roomId": "r", "content": "the first" }));
        raw.wait_for("message-sent");
        polling.send(&connect_packet("/chat", "ann"));
        polling.wait_for("40/chat,");
        let join = r#"42/chat,0["join:chat",{"chatId":"r"}]"#.to_owned();
        let send = |n: usize| {
            let content = json!({ "chatId": "r", "content": n.to_string(), "type": "text" });
            format!("42/chat,{n}[\"message:send\",{content}]")
        };
        let leave = r#"42/chat,16["leave:chat",{"chatId":"r"}]"#.to_owned();
        polling.send(&join);
        polling.wait_for("43/chat,0");
        let packets: Vec<String> = (1..=15).map(send).chain([leave]).collect();
        polling.send(&packets.join(RS));
        let mut answers = Vec::new();
        while answers.len() < 16 {
            answers.extend(acks(&polling.packets()));
        }
        let granted = answers.iter().filter(|(number, answer)| *number < 16 && answer["success"] == true).count();
        assert_eq!(granted, 11, "{shards} shards: {answers:?}");
        for (number, answer) in answers.iter().filter(|(_, answer)| answer["success"] == false) {
            assert!((12..=15).contains(number), "{answer}");
            assert_eq!(answer["code"], "RATE_LIMITED");
            assert_eq!(answer["message"], "Message rate limit exceeded. Please slow down.");
            assert!(answer["retryAfter"].as_u64().is_some_and(|wait_s| (1..=60).contains(&wait_s)), "{answer}");
        }
        assert!(answers.iter().any(|(number, answer)| *number == 16 && answer["success"] == true), "{answers:?}");
        let (mut socket, _) = Socket::peer(&server.address, "/chat", "ann");
        socket.send(&send(17));
        assert!(socket.next().contains("RATE_LIMITED"));
    }
}
