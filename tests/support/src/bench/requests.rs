//! What clients of the `raw` dialect say: one request of each kind, and requests of any size.

use serde_json::{Value, json};

/// The room that all requests are about.
pub const ROOM: &str = "daily-standup";

const PEER: &str = "AAAAACofp9wJkq0c3YbGhT5x";
const OTHER_PEER: &str = "AAAAAgSdlOLhcmVrbm93bl8z";
const MESSAGE_ID: &str = "0197a6f0-8d3e-7c21-9b57-3f0d1e2a4c68";
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsIm5hbWUiOiJBbGljZSIsImlhdCI6MTc1MDAwMDAw\
    MCwiZXhwIjoxNzUwMDAzNjAwfQ.c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmUtMTIz";

/// A request of each kind, in the size and shape that clients send it, and the kind's name.
pub fn of_each_kind() -> Vec<(&'static str, String)> {
    let media = json!({ "audio": true, "video": false, "screen": false });
    let kinds = [
        ("join-room", json!({ "roomId": ROOM, "peerId": PEER, "displayName": "Alice Liddell", "mediaState": media })),
        ("leave-room", json!({ "roomId": ROOM, "peerId": PEER })),
        ("offer", signal("offer", &description("offer", 4096))),
        ("answer", signal("answer", &description("answer", 2048))),
        ("ice-candidate", signal("candidate", &path())),
        ("media-state-changed", json!({ "roomId": ROOM, "peerId": PEER, "mediaState": media })),
        ("message", json!({ "roomId": ROOM, "content": prose(128) })),
        ("presence", json!({ "status": "away" })),
        ("typing", json!({ "roomId": ROOM, "isTyping": true })),
        ("read-receipt", json!({ "roomId": ROOM, "messageId": MESSAGE_ID })),
        ("delivered", json!({ "roomId": ROOM, "messageId": MESSAGE_ID })),
        ("authenticate", json!({ "token": TOKEN })),
        ("ping", json!({})),
    ];
    kinds.into_iter().map(|(kind, fields)| (kind, request(kind, fields))).collect()
}

/// A message whose content is prose, about `bytes` long in all: text with an escape in each line.
pub fn of_prose(bytes: usize) -> String {
    fill(bytes, |bytes| request("message", json!({ "roomId": ROOM, "content": prose(bytes) })))
}

/// An offer, about `bytes` long in all: text with an escaped line end every forty bytes or so.
pub fn of_sdp(bytes: usize) -> String {
    fill(bytes, |bytes| request("offer", signal("offer", &description("offer", bytes))))
}

/// A message with metadata, about `bytes` long in all: many small fields of every kind.
pub fn of_metadata(bytes: usize) -> String {
    let entry = |number: usize| {
        json!({ "id": number, "label": format!("item {number}"), "done": number.is_multiple_of(3), "owner": null,
            "position": { "x": number as f64 * 1.5, "y": -20.25 }, "tags": ["a", "long-tag", 7] })
    };
    let each = entry(0).to_string().len();
    fill(bytes, |bytes| {
        let metadata: Vec<Value> = (0..bytes / each).map(entry).collect();
        request("message", json!({ "roomId": ROOM, "content": "see the metadata", "metadata": { "items": metadata } }))
    })
}

/// A chat message to a room whose content has so many bytes.
pub fn message(room: &str, content_bytes: usize) -> String {
    json!({ "type": "message", "roomId": room, "content": "a".repeat(content_bytes) }).to_string()
}

/// An offer to a peer of a room whose SDP has about so many bytes.
pub fn offer(room: &str, to: &str, sdp_bytes: usize) -> String {
    json!({ "type": "offer", "roomId": room, "toPeerId": to, "offer": description("offer", sdp_bytes) }).to_string()
}

/// A candidate for a peer of a room.
pub fn candidate(room: &str, to: &str) -> String {
    json!({ "type": "ice-candidate", "roomId": room, "toPeerId": to, "candidate": path() }).to_string()
}

/// The request that opens a WebSocket, with the token in its `Authorization` header if there is one.
pub fn upgrade(token: Option<&str>) -> Vec<u8> {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!(
        "GET /ws HTTP/1.1\r\nHost: signaling.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{authorization}\r\n"
    )
    .into_bytes()
}

/// What `make` makes, its argument such that all of it, the ado around it included, has at most about `bytes` bytes.
fn fill(bytes: usize, make: impl Fn(usize) -> String) -> String {
    let ado = make(0).len();
    let room = bytes.saturating_sub(ado);
    match make(room) {
        text if text.len() <= bytes || room == 0 => text,
        text => make(room * room / (text.len() - ado)),
    }
}

fn signal(field: &str, body: &Value) -> Value {
    json!({ "roomId": ROOM, "fromPeerId": PEER, "toPeerId": OTHER_PEER, field: body })
}

/// The fields as a request of that kind, in the order a client writes them: its type first.
fn request(kind: &str, fields: Value) -> String {
    let rest = fields.to_string();
    let separator = if rest.len() > 2 { "," } else { "" };
    format!(r#"{{"type":"{kind}","timestamp":1750000000000,"requestId":4711{separator}{}"#, &rest[1..])
}

/// An ICE candidate, as the JSON a browser makes of it.
fn path() -> Value {
    let candidate = "candidate:842163049 1 udp 1677729535 203.0.113.141 46154 typ srflx raddr 192.168.1.17 rport 46154 \
        generation 0 ufrag EsAw network-cost 999";
    json!({ "candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "EsAw" })
}

/// A session description of about `bytes` bytes, as the JSON a browser makes of it.
fn description(kind: &str, bytes: usize) -> Value {
    const HEAD: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
        a=extmap-allow-mixed\r\na=msid-semantic: WMS stream\r\n";
    const LINES: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
        a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=ice-options:trickle\r\n\
        a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF\r\n\
        a=setup:actpass\r\na=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:toffset\r\na=sendrecv\r\na=rtcp-mux\r\n\
        a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\n\
        a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n";
    let mut sdp = String::from(HEAD);
    let mut lines = LINES.split_inclusive("\r\n").cycle();
    // As JSON each line end is two bytes more, and of about forty there is one.
    while sdp.len() + sdp.len() / 20 < bytes {
        sdp.extend(lines.next());
    }
    json!({ "type": kind, "sdp": sdp })
}

/// About so many bytes of text, as JSON, with a line end now and then.
fn prose(bytes: usize) -> String {
    const TEXT: &str = "The quick brown fox jumps over the lazy dog, and nobody in the meeting minds at all.\n";
    // A line end is one byte more as JSON.
    TEXT.chars().cycle().take(bytes - bytes / TEXT.len()).collect()
}
