//! Credentials of a request: its token, and where it is carried.

use std::borrow::Cow;

use crate::codec::http::{RequestHead, cookie, is_token, query_value};

/// Request header with the host secret of a room that was created without a token.
pub const HOST_SECRET_HEADER: &str = "x-host-secret";

/// WebSocket subprotocol that announces the next one in the list as a token.
pub const BEARER_PROTOCOL: &str = "bearer";

/// The places where a request may carry its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenCarrier {
    /// `Authorization: Bearer`.
    Header,
    /// The query parameter `token`.
    Query,
    /// The cookie `token`.
    Cookie,
    /// The WebSocket subprotocol pair `bearer, <token>`.
    Subprotocol,
}

/// The carriers that count, apart from the header and the subprotocol, which no page can make another one's browser send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCarriers {
    /// The query.
    pub query: bool,
    /// The cookie.
    pub cookie: bool,
}

/// The token of a request and its carrier: the first one in the order of [`TokenCarrier`].
pub fn token<'a>(head: &RequestHead<'a>, accepted: TokenCarriers) -> Option<(Cow<'a, str>, TokenCarrier)> {
    if let Some(token) = head.header("authorization").and_then(bearer) {
        return Some((Cow::Borrowed(token), TokenCarrier::Header));
    }
    if accepted.query
        && let Some(token) = head.query().and_then(|query| query_value(query, "token"))
    {
        return Some((token, TokenCarrier::Query));
    }
    if accepted.cookie
        && let Some(token) = head.values("cookie").find_map(|value| cookie(value, "token"))
    {
        return Some((Cow::Borrowed(token), TokenCarrier::Cookie));
    }
    protocol_token(head).map(|token| (Cow::Borrowed(token), TokenCarrier::Subprotocol))
}

/// The token of an `Authorization` value with the scheme `Bearer`. Other schemes are a proxy's and none of ours.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A token without the word `Bearer`, which some clients put before it in any place.
pub fn without_scheme(token: &str) -> &str {
    let token = token.trim_ascii();
    bearer(token).filter(|bare| !bare.is_empty()).unwrap_or(token)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::http::{HeadLimits, parse_head};

    fn token_of(lines: &str) -> Option<String> {
        let text = format!("GET /ws?{lines}\r\n\r\n");
        let limits = HeadLimits { bytes: 16_384, headers: 100 };
        let (head, _) = parse_head(text.as_bytes(), &limits).expect("a good head").expect("a whole head");
        let all = TokenCarriers { query: true, cookie: true };
        token(&head, all).map(|(token, _)| token.into_owned())
    }

    #[test]
    fn tokens_are_found_wherever_they_are_carried() {
        let rest = "HTTP/1.1\r\nHost: h";
        assert_eq!(token_of(&format!("x=1 {rest}")), None);
        assert_eq!(token_of(&format!("token=a%2Eb {rest}")).as_deref(), Some("a.b"));
        assert_eq!(token_of(&format!("token=a {rest}\r\nAuthorization: bearer b")).as_deref(), Some("b"));
        for other in ["Basic YTpi", "Digest a=b", "bearertoken", ""] {
            let lines = format!("token=a {rest}\r\nAuthorization: {other}");
            assert_eq!(token_of(&lines).as_deref(), Some("a"), "{other}");
        }
        assert_eq!(token_of(&format!("token=a {rest}\r\nAuthorization: Bearer")).as_deref(), Some(""));
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
    fn token_is_sought_in_accepted_carriers_only() {
        let text =
            "GET /ws?token=a HTTP/1.1\r\nHost: h\r\nCookie: token=b\r\nSec-WebSocket-Protocol: bearer, c\r\n\r\n";
        let limits = HeadLimits { bytes: 16_384, headers: 100 };
        let (head, _) = parse_head(text.as_bytes(), &limits).expect("a good head").expect("a whole head");
        let found = |query, cookie| token(&head, TokenCarriers { query, cookie }).map(|(_, carrier)| carrier);
        assert_eq!(found(true, true), Some(TokenCarrier::Query));
        assert_eq!(found(false, true), Some(TokenCarrier::Cookie));
        assert_eq!(found(false, false), Some(TokenCarrier::Subprotocol));
    }

    #[test]
    fn token_in_other_cookies_of_any_bytes_is_found() {
        let text = b"GET /ws HTTP/1.1\r\nHost: h\r\nCookie: name=M\xfcller; token=t; x=\xff\r\n\r\n";
        let limits = HeadLimits { bytes: 16_384, headers: 100 };
        let (head, _) = parse_head(text, &limits).expect("a good head").expect("a whole head");
        let (found, carrier) = token(&head, TokenCarriers { query: true, cookie: true }).expect("a token");
        assert_eq!((&*found, carrier), ("t", TokenCarrier::Cookie));
    }

    #[test]
    fn token_may_have_its_scheme_before_it() {
        assert_eq!(["a.b.c", "Bearer a.b.c", "bearer  a.b.c ", " a.b.c"].map(without_scheme), ["a.b.c"; 4]);
        assert_eq!(["Bearer", "Basic a", ""].map(without_scheme), ["Bearer", "Basic a", ""]);
    }
}
