//! What a request says of who sends it: its token, wherever it is carried, and the page it comes from.

use std::borrow::Cow;

use crate::codec::http::{RequestHead, cookie, query_value};

/// The WebSocket subprotocol that announces a token as the next one in the list.
pub const BEARER_PROTOCOL: &str = "bearer";

/// The token a request carries: in `Authorization: Bearer`, `?token=`, the cookie `token`, or the WebSocket subprotocol
/// pair `bearer, <token>`; the first of these that is there counts.
pub fn token<'a>(head: &RequestHead<'a>) -> Option<Cow<'a, str>> {
    if let Some(value) = head.header("authorization") {
        // Another scheme is no token; the empty one is refused like any other that does not verify.
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        return Some(Cow::Borrowed(if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" }));
    }
    if let Some(token) = head.query().and_then(|query| query_value(query, "token")) {
        return Some(token);
    }
    if let Some(token) = head.headers_named("cookie").find_map(|value| cookie(value, "token")) {
        return Some(Cow::Borrowed(token));
    }
    protocol_token(head).map(Cow::Borrowed)
}

/// The token in the subprotocol pair `bearer, <token>`.
fn protocol_token<'a>(head: &RequestHead<'a>) -> Option<&'a str> {
    let mut protocols = head.headers_named("sec-websocket-protocol").flat_map(|value| value.split(',')).map(str::trim);
    protocols.find(|protocol| *protocol == BEARER_PROTOCOL)?;
    protocols.next()
}

/// Whether the request offers the subprotocol `bearer`, which the answer then selects.
pub fn offers_bearer(head: &RequestHead<'_>) -> bool {
    protocol_token(head).is_some()
}

/// Programs whose Socket.IO clients hand their applications every argument of an event, by what their `User-Agent` says.
const TAKE_EVERY_ARGUMENT: [&str; 3] = ["Python/", "aiohttp", "python-requests"];

/// Whether who opens a session with this request can be told where it is by one more argument of an event, as recovery
/// takes: `?recovery=1` or `0` says so. Else it can unless it is written in Python, whose clients call their applications
/// with that argument, too; one of them shows an `Origin` and no `User-Agent`.
pub fn wants_recovery(head: &RequestHead<'_>) -> bool {
    match head.query().and_then(|query| query_value(query, "recovery")).as_deref() {
        Some("0") => return false,
        Some("1") => return true,
        _ => {}
    }
    match head.header("user-agent") {
        Some(agent) => !TAKE_EVERY_ARGUMENT.iter().any(|program| agent.contains(program)),
        None => head.header("origin").is_none(),
    }
}

/// Which pages may use this server from a browser.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Any page at all.
    pub any: bool,
    /// These, as `scheme://host[:port]`; a `*` stands for any.
    pub allowed: Vec<String>,
}

impl Origins {
    /// Whether a request with this `Origin` and `Host` is served. Requests without an origin come from programs, not
    /// pages; those from the same host are the server's own pages.
    pub fn allows(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        self.any
            || host.is_some_and(|host| is_same_host(origin, host))
            || self
                .allowed
                .iter()
                .any(|allowed| allowed == "*" || allowed.trim_end_matches('/').eq_ignore_ascii_case(origin))
    }
}

/// Whether an origin (RFC 6454 §7) and a Host header name the same host and port.
fn is_same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let plain = |authority: &str| authority.strip_suffix(default_port).unwrap_or(authority).to_ascii_lowercase();
    plain(authority) == plain(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::http::{HeadLimits, parse_head};

    fn token_of(lines: &str) -> Option<String> {
        let text = format!("GET /ws?{lines}\r\n\r\n");
        let limits = HeadLimits { bytes: 16_384, headers: 100 };
        let (head, _) = parse_head(text.as_bytes(), &limits).expect("a good head").expect("a whole head");
        token(&head).map(Cow::into_owned)
    }

    #[test]
    fn tokens_are_found_wherever_they_are_carried() {
        let rest = "HTTP/1.1\r\nHost: h";
        assert_eq!(token_of(&format!("x=1 {rest}")), None);
        assert_eq!(token_of(&format!("token=a%2Eb {rest}")).as_deref(), Some("a.b"));
        assert_eq!(token_of(&format!("token=a {rest}\r\nAuthorization: bearer b")).as_deref(), Some("b"));
        assert_eq!(token_of(&format!("token=a {rest}\r\nAuthorization: Basic b")).as_deref(), Some(""));
        assert_eq!(token_of(&format!("x {rest}\r\nCookie: a=1; token=c")).as_deref(), Some("c"));
        assert_eq!(token_of(&format!("x {rest}\r\nSec-WebSocket-Protocol: bearer, d")).as_deref(), Some("d"));
        assert_eq!(token_of(&format!("x {rest}\r\nSec-WebSocket-Protocol: chat")), None);
    }

    #[test]
    fn who_cannot_do_with_one_more_argument_is_told_none() {
        let wants = |lines: &str| {
            let text = format!("GET /socket.io/?EIO=4{lines}\r\n\r\n");
            let (head, _) = parse_head(text.as_bytes(), &HeadLimits { bytes: 16_384, headers: 100 })
                .expect("a good head")
                .expect("a whole head");
            wants_recovery(&head)
        };
        let rest = " HTTP/1.1\r\nHost: h";
        assert!(wants(rest));
        assert!(wants(&format!("{rest}\r\nUser-Agent: node-XMLHttpRequest")));
        assert!(wants(&format!("{rest}\r\nUser-Agent: Mozilla/5.0\r\nOrigin: http://h")));
        for agent in ["python-requests/2.32.5", "Python/3.13 aiohttp/3.13.2", "aiohttp/4"] {
            assert!(!wants(&format!("{rest}\r\nUser-Agent: {agent}")));
            assert!(wants(&format!("&recovery=1{rest}\r\nUser-Agent: {agent}")));
        }
        assert!(!wants(&format!("{rest}\r\nOrigin: http://h")));
        assert!(!wants(&format!("&recovery=0{rest}")));
    }

    #[test]
    fn origins_are_compared_by_host_and_port() {
        let origins = Origins { any: false, allowed: vec!["https://app.example/".into()] };
        assert!(origins.allows(None, None));
        assert!(origins.allows(Some("https://APP.example"), Some("api.example")));
        assert!(origins.allows(Some("http://api.example"), Some("api.example:80")));
        assert!(origins.allows(Some("http://127.0.0.1:8090"), Some("127.0.0.1:8090")));
        assert!(!origins.allows(Some("http://127.0.0.1:8091"), Some("127.0.0.1:8090")));
        assert!(!origins.allows(Some("https://evil.example"), Some("api.example")));
        assert!(!origins.allows(Some("null"), Some("api.example")));
    }
}
