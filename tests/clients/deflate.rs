//! permessage-deflate with the clients that implement it: `ws` and the Socket.IO packages from npm, with all parameters.

use std::process::Command;

use serde_json::json;
use support::packages::{NODE, run};
use support::server::{Server, token};

#[test]
fn npm_clients_exchange_compressed_messages_with_any_parameters() {
    let server = Server::of_shards(2, &["deflate.enabled=true", "deflate.http=true", "limits.connection_attempts=0"]);
    let tokens = ["ann", "bob"].map(|user| token(user, &json!({})));
    let said = run(Command::new("node").arg(NODE.join("deflate.mjs")).arg(&server.address).args(tokens));
    assert_eq!(said, "ws: 64 combinations\nsocket.io-client 2\nsocket.io-client 3\nsocket.io-client 4\n");
}
