//! Credentials of a request: token, `Origin`, subprotocol.

use std::borrow::Cow;

use crate::codec::http::{RequestHead, cookie, is_token, query_value};

/// WebSocket subprotocol that announces the next one in the list as a token.
pub const BEARER_PROTOCOL: &str = "bearer";

/// The token of a request: the first of `Authorization: Bearer`, the query parameter `token`, the cookie `token`, and
/// the WebSocket subprotocol pair `bearer, <token>`.
pub fn token<'a>(head: &RequestHead<'a>) -> Option<Cow<'a, str>> {
    if let Some(value) = head.header("authorization") {
        // Any other scheme yields the empty token, refused by every verifier.
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

/// The subprotocols that a request offers, in its order, the one that is a token included.
fn offered<'a>(head: &RequestHead<'a>) -> impl Iterator<Item = &'a str> {
    head.headers_named("sec-websocket-protocol").flat_map(|value| value.split(',')).map(str::trim)
}

fn protocol_token<'a>(head: &RequestHead<'a>) -> Option<&'a str> {
    let mut protocols = offered(head);
    protocols.find(|protocol| *protocol == BEARER_PROTOCOL)?;
    protocols.next()
}

/// The subprotocol that the response selects: the first offered one that is in `known` (`*`: any), else `bearer` if that
/// announces a token. A token itself is not selected.
pub fn subprotocol<'a>(head: &RequestHead<'a>, known: &[impl AsRef<str>]) -> Option<&'a str> {
    let token = protocol_token(head);
    let is_known = |protocol: &&str| known.iter().any(|known| known.as_ref() == "*" || known.as_ref() == *protocol);
    let mut selectable = offered(head).filter(|protocol| is_token(protocol) && Some(*protocol) != token);
    selectable.find(is_known).or(token.map(|_| BEARER_PROTOCOL))
}

/// Substrings of `User-Agent` of Socket.IO clients that pass every argument of an event to the application.
const TAKE_EVERY_ARGUMENT: [&str; 3] = ["Python/", "aiohttp", "python-requests"];

/// Whether the session's events may carry an offset as an additional argument, as Socket.IO's connection state recovery
/// requires. `?recovery=1` or `0` decides; else it is on except for Python clients, as their applications would receive
/// the argument. One of those sends an `Origin` and no `User-Agent`.
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

/// Origins of web pages that may use this server.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// All origins.
    pub any: bool,
    /// Allowed origins as `scheme://host[:port]`; `*` allows all.
    pub allowed: Vec<String>,
}

impl Origins {
    /// Whether a request with these headers is allowed. Requests without `Origin` do not come from a web page; an
    /// origin with the request's own host is the server's own page.
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

/// Whether an origin (RFC 6454 §7) and a `Host` header name the same host and port. The origin `null` names none.
fn is_same_host(origin: &str, host: &str) -> bool {
    origin.split_once("://").is_some_and(|(scheme, authority)| {
        let default_port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
        let plain = |authority: &str| authority.strip_suffix(default_port).unwrap_or(authority).to_ascii_lowercase();
        plain(authority) == plain(host)
    })
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
    fn subprotocol_is_the_first_known_one_or_that_of_the_token() {
        let selected = |offers: &str, known: &[&str]| {
            let text = format!("GET /ws HTTP/1.1\r\nHost: h\r\n{offers}\r\n");
            let limits = HeadLimits { bytes: 16_384, headers: 100 };
            let (head, _) = parse_head(text.as_bytes(), &limits).expect("a good head").expect("a whole head");
            subprotocol(&head, known).map(str::to_owned)
        };
        let line = "Sec-WebSocket-Protocol: ";
        for (offers, known, expected) in [
            ("chat", &[][..], None),
            ("chat", &["chat"], Some("chat")),
            ("mqtt, chat, wamp", &["wamp", "chat"], Some("chat")),
            ("CHAT", &["chat"], None),
            ("mqtt,chat", &["*"], Some("mqtt")),
            ("a b, chat", &["*"], Some("chat")),
            ("", &["*"], None),
            ("bearer, t", &[], Some("bearer")),
            ("bearer, t, chat", &["chat"], Some("chat")),
            ("bearer, t", &["t", "*"], Some("bearer")),
            ("bearer", &["*"], Some("bearer")),
            ("bearer", &[], None),
        ] {
            assert_eq!(selected(&format!("{line}{offers}\r\n"), known).as_deref(), expected, "{offers} {known:?}");
        }
        assert_eq!(selected(&format!("{line}a\r\n{line}chat\r\n"), &["chat"]).as_deref(), Some("chat"));
        assert_eq!(selected("", &["*"]), None);
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
