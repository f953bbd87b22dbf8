//! JSON that is relayed or stored as it came: every receiver must be able to read it.

use serde_json::{Value, json};

use support::client::Client;
use support::engineio::Socket;
use support::http::{ask, bearer};
use support::server::{Server, token};

/// Values that are valid JSON, but that decoders in use refuse or crash on, each with the word that the refusal has.
fn flawed() -> Vec<(String, &'static str)> {
    let nested = |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(65), close.repeat(65));
    let mut values = vec![
        (nested("[", "", "]"), "nested"),
        (nested("{\"a\":", "1", "}"), "nested"),
        (format!("\n{}", nested("[", "1", "]")), "nested"),
    ];
    for unit in ["\\ud800", "\\uDFFF", "\\udc00\\ud800", "\\ud83d\\u0041"] {
        values.push((format!("\"a{unit}b\""), "surrogate"));
        values.push((format!("{{\"a\":[\"{unit}\"]}}"), "surrogate"));
        values.push((format!("{{\"{unit}\":1}}"), "surrogate"));
    }
    for number in ["1e999", "-1E+400", "1.5e309"] {
        values.push((format!("[{number}]"), "double"));
        values.push((format!("{{\"a\":{number}}}"), "double"));
    }
    values.push((format!("[{}]", "9".repeat(400)), "double"));
    values
}

/// Values at the edge that pass.
fn unusual() -> Vec<String> {
    let nested = format!("{}{}", "[".repeat(64), "]".repeat(64));
    let words = [r#""\ud83d\ude00 \\ud800 \u0000""#, r#"{"a":1e308,"b":-1.7e308,"c":1e-999,"d":5e-324}"#, "[\n1,\t2]"];
    words.iter().map(|word| (*word).to_owned()).chain([nested]).collect()
}

fn refused(answer: &Value, field: &str, word: &str) {
    let error = answer["detail"].as_str().or(answer["error"].as_str());
    let error = error.unwrap_or_else(|| panic!("{field} with {word}: {answer}"));
    assert!(error.starts_with(field) && error.contains(word), "{error}");
}

#[test]
fn json_that_receivers_cannot_read_is_refused_to_raw_clients() {
    let server = Server::of_shards(1, &[]);
    let mut ann = Client::connect(&server.address, Some(&token("ann", &json!({}))));
    let mut bob = Client::connect(&server.address, Some(&token("bob", &json!({}))));
    ann.join("r", "ann");
    bob.join("r", "bob");
    let fields = ["metadata", "attachment", "content", "offer", "answer", "candidate"];
    let request = |field: &str, value: &str| match field {
        "metadata" | "attachment" => {
            format!(r#"{{"type":"message","roomId":"r","content":"x","{field}":{value},"requestId":7}}"#)
        }
        "content" => format!(r#"{{"type":"message","roomId":"r","content":{value},"requestId":7}}"#),
        _ => {
            let kind = if field == "candidate" { "ice-candidate" } else { field };
            format!(r#"{{"type":"{kind}","roomId":"r","toPeerId":"bob","{field}":{value},"requestId":7}}"#)
        }
    };
    for field in fields {
        for (value, word) in flawed() {
            if field == "content" && !value.starts_with('"') {
                continue;
            }
            ann.send_text(&request(field, &value));
            let answer = ann.wait_until(|message| message["requestId"] == 7);
            assert_eq!(answer["code"], "INVALID_MESSAGE", "{answer}");
            refused(&answer, field, word);
        }
    }
    for value in unusual() {
        ann.send_text(&request("metadata", &value));
        ann.wait_for("message-sent");
        let heard = bob.wait_for("message");
        assert_eq!(heard["metadata"], serde_json::from_str::<Value>(&value).expect("JSON"), "{value}");
    }
    ann.send(&json!({ "type": "history", "roomId": "r" }));
    let kept = ann.wait_for("history")["messages"].as_array().map(Vec::len);
    assert_eq!(kept, Some(unusual().len()), "no refused message is stored");
}

#[test]
fn json_that_receivers_cannot_read_is_refused_to_socketio_clients() {
    let server = Server::of_shards(1, &[]);
    let (mut ann, _) = Socket::chat(&server.address, "colon", "ann");
    ann.ask(0, "join:chat", &json!({ "chatId": "r" }));
    ann.acked(0);
    for (value, word) in flawed() {
        ann.send(&format!(r#"42/chat,1["message:send",{{"chatId":"r","content":"x","metadata":{value}}}]"#));
        refused(&ann.acked(1), "metadata", word);
    }
}

#[test]
fn json_that_receivers_cannot_read_is_refused_to_rest_callers() {
    let server = Server::of_shards(1, &[]);
    let root = bearer(&token("root", &json!({ "role": "admin" })));
    let calls = [
        ("/websocket/message/user", r#"{"userId":"ann","type":"t","data":"#, "data"),
        ("/websocket/message/broadcast", r#"{"type":"t","data":"#, "data"),
        ("/connections", r#"{"userId":"root","socketId":"s","deviceInfo":"#, "deviceInfo"),
    ];
    for (path, start, field) in calls {
        for (value, word) in flawed() {
            let answer = ask(&server.address, "POST", path, &[&root], Some(&format!("{start}{value}}}")));
            assert_eq!(answer.status, 422, "{path}: {}", answer.text());
            refused(&answer.json(), field, word);
        }
    }
}
