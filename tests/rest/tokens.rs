//! Tokens: where they are accepted, which keys verify them, and the errors.

use std::path::{Path, PathBuf};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use support::http::{Http, Response, ask, bearer, request};
use support::process::wait_until;
use support::server::{SECRET, Server, token};

const UPGRADE: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/// Keys made for tests; they guard nothing.
const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/codec/jwt/fixtures");

fn upgrade(server: &Server, path: &str, headers: &[&str]) -> Response {
    let headers: Vec<&str> = UPGRADE.iter().chain(headers).copied().collect();
    Http::connect(&server.address).ask("GET", path, &headers, None)
}

fn key(name: &str) -> String {
    let path = format!("{KEYS}/{name}");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A token of `alice` by a private key.
fn signed(algorithm: Algorithm, private_key: &str, key_id: Option<&str>, more: &Value) -> String {
    let pem = key(private_key);
    let key = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
        _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    let mut claims = json!({ "sub": "alice", "exp": now + 3600 });
    claims.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    let header = Header { kid: key_id.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, &claims, &key.expect("a good key")).expect("a token")
}

/// What a call with this token is answered.
fn status(server: &Server, token: &str) -> u16 {
    match ask(&server.address, "GET", "/rooms/none", &[&bearer(token)], None).status {
        404 => 200,
        other => other,
    }
}

/// A file that is gone when this is.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("switchboard-{}-{name}", std::process::id()));
        let scratch = Self(path);
        scratch.write(text);
        scratch
    }

    /// Replaces the file at once, as tools that rotate keys do.
    fn write(&self, text: &str) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, text).expect("the file is written");
        std::fs::rename(&new, &self.0).expect("the file is replaced");
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn token_is_accepted_from_every_carrier() {
    let server = Server::start(&[]);
    let good = token("alice", &json!({}));
    let (query, cookie) = (format!("/ws?x=1&token={good}"), format!("Cookie: theme=dark; token={good}"));
    let protocols = format!("Sec-WebSocket-Protocol: bearer, {good}");
    for (path, headers) in [
        ("/ws", vec![bearer(&good)]),
        (query.as_str(), vec![]),
        ("/ws", vec![cookie.clone(), "Sec-Fetch-Site: none".to_owned()]),
        ("/ws", vec![protocols.clone()]),
    ] {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        assert_eq!(upgrade(&server, path, &headers).status, 101, "{path} {headers:?}");
    }
    // The subprotocol is selected, and only it: the token does not come back.
    let selected = upgrade(&server, "/ws", &[&protocols]);
    assert_eq!(selected.header("sec-websocket-protocol"), Some("bearer"));
    assert_eq!(upgrade(&server, "/ws", &[&bearer(&good)]).header("sec-websocket-protocol"), None);
    let other = upgrade(&server, "/ws", &[&bearer(&good), "Sec-WebSocket-Protocol: chat"]);
    assert_eq!((other.status, other.header("sec-websocket-protocol")), (101, None));
    // The first place that has one counts.
    assert_eq!(upgrade(&server, &query, &[&bearer("bad")]).status, 401);
    assert_eq!(upgrade(&server, "/ws?token=bad", &[&cookie]).status, 401);
    assert_eq!(upgrade(&server, "/ws", &["Sec-Fetch-Site: none", "Cookie: token=bad", &protocols]).status, 401);
    // A cookie counts only if the browser says that no foreign page has sent it.
    assert_eq!(upgrade(&server, "/ws", &[&cookie]).status, 401);
    assert_eq!(upgrade(&server, "/ws", &["Cookie: token=bad", &protocols]).status, 101);
    // REST takes them from the same places.
    assert_eq!(ask(&server.address, "GET", &format!("/rooms/none?token={good}"), &[], None).status, 404);
    assert_eq!(ask(&server.address, "GET", "/rooms/none", &[&cookie], None).status, 401);
    let own = [cookie.as_str(), "Sec-Fetch-Site: none"];
    assert_eq!(ask(&server.address, "GET", "/rooms/none", &own, None).status, 404);
}

#[test]
fn proxys_own_authorization_is_no_token() {
    let server = Server::start(&[]);
    let good = token("alice", &json!({}));
    let query = format!("/ws?token={good}");
    for other in
        ["Basic YWxpY2U6cHc=", "Digest username=\"alice\"", "Negotiate a2V5", "Bearerish x", "AWS4-HMAC-SHA256 a=b"]
    {
        let header = format!("Authorization: {other}");
        assert_eq!(upgrade(&server, &query, &[&header]).status, 101, "{other}");
        assert_eq!(upgrade(&server, "/ws", &[&header]).json()["error"], "A token is required", "{other}");
        let path = format!("/rooms/none?token={good}");
        assert_eq!(ask(&server.address, "GET", &path, &[&header], None).status, 404, "{other}");
    }
    // The word before the token does not make it another one.
    let worded = format!("/ws?token=Bearer%20{good}");
    assert_eq!(upgrade(&server, &worded, &[]).status, 101);
}

#[test]
fn second_authorization_is_refused() {
    let server = Server::start(&[]);
    let (alice, bob) = (bearer(&token("alice", &json!({}))), bearer(&token("bob", &json!({}))));
    for headers in [[&alice, &bob], [&alice, &alice], [&alice, &"authorization: Basic YTpi".to_owned()]] {
        let headers = headers.map(String::as_str);
        for path in ["/rooms/none", "/socket.io/?EIO=4&transport=polling"] {
            let refused = ask(&server.address, "GET", path, &headers, None);
            assert_eq!(refused.status, 400, "{path}");
            assert!(refused.text().contains("Authorization"), "{}", refused.text());
        }
        assert_eq!(upgrade(&server, "/ws", &headers).status, 400);
    }
}

#[test]
fn token_in_query_by_setting_is_ignored() {
    let server = Server::start(&["--set", "auth.query_token=false"]);
    let good = token("alice", &json!({}));
    assert_eq!(upgrade(&server, &format!("/ws?token={good}"), &[]).status, 401);
    assert_eq!(upgrade(&server, &format!("/ws?token={good}"), &[&bearer(&good)]).status, 101);
}

#[test]
fn cookie_beside_bytes_of_any_kind_is_found() {
    let server = Server::start(&[]);
    let good = token("alice", &json!({}));
    let mut http = Http::connect(&server.address);
    let mut bytes = b"GET /rooms/none HTTP/1.1\r\nHost: h\r\nSec-Fetch-Site: none\r\nCookie: name=M\xfcller; ".to_vec();
    bytes.extend_from_slice(format!("token={good}\r\n\r\n").as_bytes());
    http.write(bytes);
    assert_eq!(http.answer().status, 404);
}

#[test]
fn upgrade_without_valid_token_is_refused_in_json() {
    let server = Server::start(&[]);
    let expired = token("alice", &json!({ "exp": 1_000_000_000 }));
    let early = token("alice", &json!({ "nbf": 4_000_000_000_u32 }));
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let lasting = encode(&Header::default(), &json!({ "sub": "alice" }), &secret).expect("a token");
    let nobody = token("", &json!({}));
    let guest = token("guest:abcdefghijklmnop", &json!({}));
    let table = [
        (None, "UNAUTHENTICATED", "A token is required"),
        (Some("x"), "UNAUTHENTICATED", "The token is not a well-formed JWT."),
        (Some(expired.as_str()), "TOKEN_EXPIRED", "The token has expired."),
        (Some(&early), "UNAUTHENTICATED", "The token is not valid yet."),
        (Some(&lasting), "UNAUTHENTICATED", "The token has no expiry (exp), and one is required."),
        (Some(&guest), "UNAUTHENTICATED", "The token's subject (sub) starts with guest:, which is reserved."),
    ];
    for (token, code, text) in table {
        let header = token.map(bearer);
        let headers: Vec<&str> = header.as_deref().into_iter().collect();
        let refused = upgrade(&server, "/ws", &headers);
        assert_eq!(refused.status, 401, "{text}");
        assert_eq!(refused.json(), json!({ "error": text, "code": code, "success": false }));
        assert_eq!(refused.header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(upgrade(&server, "/ws", &[&bearer(&nobody)]).status, 401);
    // The connection can be used for another try.
    let mut http = Http::connect(&server.address);
    assert_eq!(http.ask("GET", "/ws", &UPGRADE, None).status, 401);
    let good = bearer(&token("alice", &json!({})));
    let headers: Vec<&str> = UPGRADE.into_iter().chain([good.as_str()]).collect();
    assert_eq!(http.ask("GET", "/ws", &headers, None).status, 101);
}

#[test]
fn malformed_handshake_is_refused() {
    let server = Server::start(&[]);
    let good = bearer(&token("alice", &json!({})));
    let without = |left_out: &str, instead: &[&str]| {
        let kept = UPGRADE.into_iter().filter(|line| !line.starts_with(left_out));
        let headers: Vec<&str> = kept.chain([good.as_str()]).chain(instead.iter().copied()).collect();
        ask(&server.address, "GET", "/ws", &headers, None)
    };
    assert_eq!(without("Upgrade", &[]).status, 426);
    assert_eq!(without("Upgrade", &["Upgrade: h2c"]).status, 400);
    assert_eq!(without("Connection", &[]).status, 400);
    assert_eq!(without("Sec-WebSocket-Key", &[]).status, 400);
    assert_eq!(without("Sec-WebSocket-Key", &["Sec-WebSocket-Key: short"]).status, 400);
    let version = without("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 8"]);
    assert_eq!((version.status, version.header("sec-websocket-version")), (426, Some("13")));
    assert_eq!(version.header("upgrade"), Some("websocket"));
    // A list may come in one line or in several (RFC 9110 §5.3).
    assert_eq!(without("Connection", &["Connection: keep-alive, Upgrade"]).status, 101);
    assert_eq!(without("Connection", &["Connection: keep-alive", "Connection: upgrade"]).status, 101);
    let accepted = without("nothing", &[]);
    assert_eq!(accepted.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(accepted.header("sec-websocket-extensions"), None);
    let mut http = Http::connect(&server.address);
    http.write(request("POST", "/ws", &UPGRADE, Some("{}")));
    assert_eq!(http.answer().status, 400);
}

#[test]
fn public_keys_verify_their_signatures() {
    let keys = format!("auth.public_keys=[\"{KEYS}/rsa_public.pem\", \"{KEYS}/p256_public.pem\"]");
    let server = Server::start_with(&["--set", &keys], &[("JWT_SECRET", "")]);
    let none = json!({});
    assert_eq!(status(&server, &signed(Algorithm::RS256, "rsa_private.pem", None, &none)), 200);
    assert_eq!(status(&server, &signed(Algorithm::PS512, "rsa_private.pem", None, &none)), 200);
    assert_eq!(status(&server, &signed(Algorithm::ES256, "p256_private.pem", None, &none)), 200);
    assert_eq!(status(&server, &signed(Algorithm::RS256, "rsa_other_private.pem", None, &none)), 401);
    assert_eq!(status(&server, &signed(Algorithm::ES384, "p384_private.pem", None, &none)), 401);
    assert_eq!(status(&server, &signed(Algorithm::EdDSA, "ed25519_private.pem", None, &none)), 401);
    // A public key is no secret: what it signs as one does not count.
    let public = EncodingKey::from_secret(key("rsa_public.pem").as_bytes());
    let forged = encode(&Header::new(Algorithm::HS256), &json!({ "sub": "alice", "exp": 4_000_000_000_u32 }), &public);
    assert_eq!(status(&server, &forged.expect("a token")), 401);
}

#[test]
fn token_of_unlisted_algorithm_is_refused() {
    let keys = format!("auth.public_keys=[\"{KEYS}/rsa_public.pem\"]");
    let server = Server::start(&["--set", &keys, "--set", "auth.algorithms=[\"RS256\", \"HS256\"]"]);
    let none = json!({});
    assert_eq!(status(&server, &token("alice", &none)), 200);
    assert_eq!(status(&server, &signed(Algorithm::RS256, "rsa_private.pem", None, &none)), 200);
    assert_eq!(status(&server, &signed(Algorithm::RS512, "rsa_private.pem", None, &none)), 401);
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6NDAwMDAwMDAwMH0.";
    assert_eq!(status(&server, unsigned), 401);
}

#[test]
fn audience_and_issuer_are_checked_when_set() {
    let server = Server::start(&["--set", "auth.audience=calls", "--set", "auth.issuer=https://id.example"]);
    let with = |claims: Value| status(&server, &token("alice", &claims));
    assert_eq!(with(json!({ "aud": "calls", "iss": "https://id.example" })), 200);
    assert_eq!(with(json!({ "aud": ["other", "calls"], "iss": "https://id.example" })), 200);
    assert_eq!(with(json!({ "aud": "other", "iss": "https://id.example" })), 401);
    assert_eq!(with(json!({ "aud": "calls", "iss": "https://evil.example" })), 401);
    assert_eq!(with(json!({})), 401);
}

/// A token of `alice` by a shared secret.
fn signed_by(secret: &str, more: &Value) -> String {
    let mut claims = json!({ "sub": "alice", "exp": 4_000_000_000_u32 });
    claims.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).expect("a token")
}

#[test]
fn secrets_in_rotation_verify_side_by_side() {
    let [first, second, third] =
        ["first", "second", "third"].map(|name| format!("the {name} of several secrets of the issuer"));
    let file = TemporaryFile::new("secrets", &format!("{first}\n{second}\n"));
    let (settings, none) =
        ([format!("auth.secret_file={}", file.path().display()), format!("auth.secrets={third}")], json!({}));
    let server = Server::start_with(&["--set", &settings[0], "--set", &settings[1]], &[("JWT_SECRET", "")]);
    for secret in [&first, &second, &third] {
        assert_eq!(status(&server, &signed_by(secret, &none)), 200, "{secret}");
    }
    assert_eq!(status(&server, &signed_by("another secret of more than thirty-two bytes", &none)), 401);
    // As a credential of systemd.
    let (directory, name) = (file.path().parent().expect("a directory"), file.path().file_name().expect("a name"));
    let setting = format!("auth.secret_file={}", name.to_string_lossy());
    let directory = directory.to_string_lossy();
    let environment = [("JWT_SECRET", ""), ("CREDENTIALS_DIRECTORY", &*directory)];
    let server = Server::start_with(&["--set", &setting], &environment);
    assert_eq!(status(&server, &signed_by(&second, &none)), 200);
}

#[test]
fn admin_is_made_by_the_configured_claim_alone() {
    let server = Server::start(&["--set", "auth.admin_claim=groups", "--set", "auth.admin_values=chat-admins"]);
    let list = |claims: Value| {
        let token = bearer(&token("alice", &claims));
        ask(&server.address, "GET", "/api/rooms", &[&token], None).status
    };
    assert_eq!(list(json!({ "groups": ["staff", "chat-admins"] })), 200);
    for claims in [json!({ "role": "admin" }), json!({ "scope": "admin" }), json!({ "groups": "staff" }), json!({})] {
        assert_eq!(list(claims.clone()), 403, "{claims}");
    }
}

#[test]
fn changed_jwks_file_is_reloaded() {
    let all: Value = serde_json::from_str(&key("jwks.json")).expect("JSON");
    let only = |name: &str| {
        let keys = all["keys"].as_array().expect("a list").iter().filter(|key| key["kid"] == name).collect::<Vec<_>>();
        assert_eq!(keys.len(), 1, "{name}");
        json!({ "keys": keys }).to_string()
    };
    let file = TemporaryFile::new("jwks.json", &only("rsa-1"));
    let setting = format!("auth.jwks_file={}", file.path().display());
    // It is asked again and again whether the change has been noticed.
    let server = Server::start_with(&["--set", &setting, "--set", "limits.rest_per_minute=0"], &[("JWT_SECRET", "")]);
    let none = json!({});
    let former = signed(Algorithm::RS256, "rsa_private.pem", Some("rsa-1"), &none);
    let latter = signed(Algorithm::ES256, "p256_private.pem", Some("p256-1"), &none);
    assert_eq!((status(&server, &former), status(&server, &latter)), (200, 401));

    let answers = || (status(&server, &former), status(&server, &latter));
    file.write(&only("p256-1"));
    wait_until("the new file alone is in force", || answers() == (401, 200));
    file.write(&all.to_string());
    wait_until("both keys are in force", || answers() == (200, 200));
}

#[test]
fn unverified_token_is_accepted_by_setting_only() {
    let server = Server::start(&["--set", "auth.verify=none"]);
    let foreign = signed(Algorithm::ES256, "p256_private.pem", None, &json!({}));
    assert_eq!(status(&server, &foreign), 200);
    assert_eq!(status(&server, &token("alice", &json!({ "exp": 1_000_000_000 }))), 401);
    let mut exposed = support::server::command(&["--set", "auth.verify=none", "--listen", "0.0.0.0:0"], &[]);
    let output = exposed.stderr(std::process::Stdio::piped()).output().expect("it runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("auth.verify"));
}
