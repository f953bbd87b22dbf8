//! The shortest end-to-end test: two clients exchange messages in a room.

use serde_json::json;
use support::client::Client;
use support::server::{Server, token};

#[test]
fn two_clients_in_a_room_exchange_messages() {
    let server = Server::start(&["--set", "rooms.create_on_join=always"]);
    let mut alice = Client::connect(&server.address, Some(&token("alice", &json!({}))));
    let mut bob = Client::connect(&server.address, Some(&token("bob", &json!({}))));
    assert_eq!(alice.join("r", "a")["peers"], json!([]));
    assert_eq!(bob.join("r", "b")["peers"][0]["peerId"], "a");
    assert_eq!(alice.wait_for("peer-joined")["displayName"], "bob");
    bob.send(&json!({ "type": "message", "roomId": "r", "content": "hello", "requestId": 1 }));
    assert_eq!(bob.wait_for("message-sent")["seq"], 1);
    let message = alice.wait_for("message");
    assert_eq!((&message["content"], &message["sender"]), (&json!("hello"), &json!("bob")));
    bob.close();
    assert_eq!(alice.wait_for("peer-left")["peerId"], "b");
}
