//! Engine.IO 3 as Socket.IO 2 clients use it: length-prefixed packets, client pings, binary payloads, forms and JSONP.

use serde_json::Value;

use support::engineio::{Socket, suite_server};
use support::http::{Http, Response, ask};
use support::server::{Server, token};

const PATH: &str = "/engine.io/?EIO=3&transport=polling";

/// The packets of a payload of text.
pub(crate) fn packets(text: &str) -> Vec<String> {
    let (mut rest, mut packets) = (text, Vec::new());
    while let Some((count, behind)) = rest.split_once(':') {
        let units: Vec<u16> = behind.encode_utf16().collect();
        let count: usize = count.parse().expect("a count");
        packets.push(String::from_utf16(&units[..count]).expect("text"));
        let bytes = packets[packets.len() - 1].len();
        rest = &behind[bytes..];
    }
    packets
}

/// Opens a session; its path, and what came with the first packet.
fn open(address: &str, path: &str) -> (String, Vec<String>) {
    let answer = ask(address, "GET", path, &[], None);
    let mut packets = packets(&answer.text()).into_iter();
    let open = packets.next().expect("a packet");
    let object: Value = serde_json::from_str(&open[1..]).expect("JSON");
    assert_eq!(object.get("maxPayload"), None);
    (format!("{path}&sid={}", object["sid"].as_str().expect("a sid")), packets.collect())
}

#[test]
fn engineio3_lengths_count_utf16_units() {
    let server = suite_server();
    let (path, _) = open(&server.address, &format!("{PATH}&b64=1"));
    let body = "6:4hello2:4€3:4💡10:b4AQIDBA==";
    assert_eq!(ask(&server.address, "POST", &path, &[], Some(body)).text(), "ok");
    assert_eq!(ask(&server.address, "GET", &path, &[], None).text(), body);
    assert_eq!(ask(&server.address, "POST", &path, &[], Some("7:4hello")).status, 400);
    assert_eq!(ask(&server.address, "GET", &path, &[], None).status, 400);
}

#[test]
fn engineio3_binary_goes_to_clients_that_accept_it() {
    let server = suite_server();
    let (path, _) = open(&server.address, PATH);
    let body = b"\x00\x04\xff4\xe2\x82\xac\x01\x05\xff\x04\x01\x02\x03\x04";
    let mut http = Http::connect(&server.address);
    let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/octet-stream\r\n");
    http.write(format!("{head}Content-Length: {}\r\n\r\n", body.len()));
    http.write(body);
    assert_eq!(http.answer().text(), "ok");
    let answer = ask(&server.address, "GET", &path, &[], None);
    assert_eq!((answer.header("content-type"), answer.body.as_slice()), (Some("application/octet-stream"), &body[..]));
}

#[test]
fn engineio3_client_ping_is_answered() {
    let server = suite_server();
    let (path, _) = open(&server.address, PATH);
    for _ in 0..3 {
        assert_eq!(ask(&server.address, "POST", &path, &[], Some("1:2")).text(), "ok");
        assert_eq!(ask(&server.address, "GET", &path, &[], None).text(), "1:3");
    }
    let mut socket = Socket::connect(&server.address, "/engine.io/?EIO=3&transport=websocket");
    assert!(socket.next().starts_with("0{"));
    socket.send("2abc");
    assert_eq!(socket.next(), "3abc");
    socket.send_binary(&[4, 1, 2]);
    assert_eq!(socket.next_binary(), [4, 1, 2]);
    assert_eq!(socket.end(), 4408);
}

#[test]
fn engineio3_jsonp_carries_packets() {
    let server = suite_server();
    let answer = ask(&server.address, "GET", &format!("{PATH}&j=7"), &[], None);
    assert_eq!(answer.header("content-type"), Some("text/javascript; charset=UTF-8"));
    let payload = |answer: &Response| -> String {
        let text = answer.text();
        let inner = text.strip_prefix("___eio[7](").and_then(|rest| rest.strip_suffix(");")).expect("a call");
        serde_json::from_str(inner).expect("a text")
    };
    let open = packets(&payload(&answer)).remove(0);
    let object: Value = serde_json::from_str(&open[1..]).expect("JSON");
    let path = format!("{PATH}&j=7&sid={}", object["sid"].as_str().expect("a sid"));
    let mut http = Http::connect(&server.address);
    let form = "d=5%3A4a%5Cnb%22";
    let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n");
    http.write(format!("{head}Content-Length: {}\r\n\r\n{form}", form.len()));
    let answer = http.answer();
    assert_eq!(answer.text(), "ok", "{answer:?}");
    assert_eq!(payload(&ask(&server.address, "GET", &path, &[], None)), "5:4a\nb\"");
}

#[test]
fn engineio3_open_connects_the_main_namespace() {
    let server = suite_server();
    let path = "/socket.io/?EIO=3&transport=polling";
    let (path, rest) = open(&server.address, path);
    assert_eq!(rest, ["40", r#"42["auth",{}]"#]);
    assert_eq!(ask(&server.address, "POST", &path, &[], Some("13:40/custom?a=b")).text(), "ok");
    let text = ask(&server.address, "GET", &path, &[], None).text();
    assert_eq!(packets(&text), ["40/custom,", r#"42/custom,["auth",{}]"#]);
}

#[test]
fn engineio3_token_in_query_is_accepted() {
    let server = Server::of_shards(2, &[]);
    let path = "/socket.io/?EIO=3&transport=websocket";
    let mut socket = Socket::connect(&server.address, path);
    assert!(socket.next().starts_with("0{"));
    assert_eq!(socket.next(), r#"44"A token is required""#);
    let token = token("ada", &serde_json::json!({}));
    socket.send(&format!("40/chat?token={token}"));
    assert_eq!(socket.next(), "40/chat,");
    let mut socket = Socket::connect(&server.address, &format!("{path}&token={token}"));
    assert!(socket.next().starts_with("0{"));
    assert_eq!(socket.next(), "40");
}
