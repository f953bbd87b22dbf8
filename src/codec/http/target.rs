//! Request targets, percent escapes, form pairs and cookies. There is no normalisation: `/a/../b` and `//a` are not
//! changed.

use std::borrow::Cow;

use super::HttpError;

/// A parsed request target (RFC 9112 §3.2), percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTarget<'a> {
    /// `host[:port]` of an absolute-form target; it has precedence over `Host`.
    pub authority: Option<&'a str>,
    /// Path; starts with `/`, or is `*`.
    pub path: &'a str,
    /// Query after the first `?`, without it.
    pub query: Option<&'a str>,
}

impl<'a> RequestTarget<'a> {
    /// Parses the target of a request with this method: origin-form, absolute-form with `http`, `https`, `ws` or `wss`, and `*` for
    /// `OPTIONS`. An absolute-form target without a path has the path `/`.
    ///
    /// # Errors
    /// [`HttpError::Target`] for any other form (so always for `CONNECT`), a fragment, user information, or a non-ASCII
    /// byte before the query. Characters that should be escaped but are unambiguous, such as `|`, are accepted: browsers
    /// send them. In the query, text in UTF-8 and spaces are accepted, too.
    pub fn parse(method: &str, text: &'a str) -> Result<Self, HttpError> {
        let before_query = text.split('?').next().unwrap_or_default();
        if method == "CONNECT" || !before_query.is_ascii() || text.contains('#') {
            return Err(HttpError::Target);
        }
        if text == "*" && method == "OPTIONS" {
            let (authority, path, query) = (None, text, None);
            return Ok(Self { authority, path, query });
        }
        let (authority, rest) = match strip_scheme(text) {
            Some(absolute) => {
                let end = absolute.find(['/', '?']).unwrap_or(absolute.len());
                let (authority, rest) = absolute.split_at(end);
                if authority.is_empty() || !is_authority(authority) {
                    return Err(HttpError::Target);
                }
                (Some(authority), rest)
            }
            None if text.starts_with('/') => (None, text),
            None => return Err(HttpError::Target),
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { authority, path, query })
    }
}

/// The text after `http://` or `https://`, case-insensitive (RFC 9110 §4.2.3). Clients behind a forward proxy also write
/// the scheme of the WebSocket's URL.
fn strip_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let known = ["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    known.then_some(rest)
}

/// Whether the text is `uri-host [ ":" port ]` (RFC 9110 §7.2): no user information, path, list or space. Empty is
/// valid, as for `Host`. So is an IPv6 address without brackets: Node.js clients send it.
pub(super) fn is_authority(text: &str) -> bool {
    if text.bytes().filter(|byte| *byte == b':').count() > 1 && !text.starts_with('[') {
        return is_bare_ipv6(text);
    }
    let (host, port) = match text.rsplit_once(':') {
        // IPv6 literal without port: the last colon is within the brackets.
        Some((_, after)) if after.ends_with(']') => (text, ""),
        Some((host, port)) => (host, port),
        None => (text, ""),
    };
    let host_is_valid = match host.strip_prefix('[') {
        Some(literal) => literal.strip_suffix(']').is_some_and(|address| {
            let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
            !address.is_empty() && address.bytes().all(is_valid)
        }),
        None => host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(&byte)),
    };
    host_is_valid && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// An authority, with brackets if it is an IPv6 address without them; `None` if it is malformed. The last group of such an
/// address is its port if what precedes it is an address, too.
pub fn bracketed_authority(text: &str) -> Option<Cow<'_, str>> {
    if !is_authority(text) {
        return None;
    }
    if text.starts_with('[') || text.bytes().filter(|byte| *byte == b':').count() < 2 {
        return Some(Cow::Borrowed(text));
    }
    let is_address = |text: &str| text.parse::<std::net::Ipv6Addr>().is_ok();
    Some(Cow::Owned(match text.rsplit_once(':').filter(|(host, _)| is_address(host)) {
        Some((host, port)) => format!("[{host}]:{port}"),
        None => format!("[{text}]"),
    }))
}

/// Whether the text is an IPv6 address without brackets, perhaps with a port. Where its last group ends is not clear, so
/// both readings are accepted.
fn is_bare_ipv6(text: &str) -> bool {
    let is_address = |text: &str| text.parse::<std::net::Ipv6Addr>().is_ok();
    let is_port = |text: &str| text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_address(text) || text.rsplit_once(':').is_some_and(|(host, port)| is_address(host) && is_port(port))
}

/// First value of a parameter in a query, form-decoded (WHATWG URL, `application/x-www-form-urlencoded`): percent
/// escapes, `+` for a space. A name without `=` has the value `""`.
///
/// `None` also when that value has a malformed escape or is not UTF-8.
pub fn query_value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut values = pairs.filter(|(key, _)| decode(key, Plus::IsSpace).is_some_and(|key| key == name));
    let (_, value) = values.next()?;
    decode(value, Plus::IsSpace)
}

/// The parameters of a query, form-decoded as by [`query_value`]; malformed ones are left out.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter_map(|(name, value)| Some((decode(name, Plus::IsSpace)?, decode(value, Plus::IsSpace)?)))
}

/// The reason that a query does not have one value of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryFault {
    /// The parameter is given several times.
    Repeated,
    /// The value has a malformed escape or is not UTF-8.
    Malformed,
}

impl QueryFault {
    /// The reason as the end of a sentence that begins with the parameter's name.
    pub fn text(self) -> &'static str {
        match self {
            Self::Repeated => "is given more than once",
            Self::Malformed => "is not UTF-8 text in percent escapes",
        }
    }
}

/// The only value of a parameter in a query, decoded as [`query_value`] does.
///
/// # Errors
/// There are several values, or it cannot be decoded.
pub fn sole_query_value<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, QueryFault> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut values = pairs.filter(|(key, _)| decode(key, Plus::IsSpace).is_some_and(|key| key == name));
    let Some((_, value)) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(QueryFault::Repeated);
    }
    decode(value, Plus::IsSpace).map(Some).ok_or(QueryFault::Malformed)
}

/// Decodes the percent escapes of a path segment (RFC 3986 §2.1); `+` is unchanged. The result may contain any
/// character, also a slash.
///
/// `None` when an escape is malformed or the result is not UTF-8.
pub fn decode_path_segment(segment: &str) -> Option<Cow<'_, str>> {
    decode(segment, Plus::IsPlus)
}

/// Value of the first cookie of this name in a `Cookie` header, without quotes (RFC 6265 §4.2.1). Names are
/// case-sensitive. Other cookies may have any bytes.
pub fn cookie<'a>(head_value: &'a [u8], name: &str) -> Option<&'a str> {
    let mut pairs = head_value.split(|byte| *byte == b';').filter_map(|pair| {
        let pair = pair.trim_ascii();
        pair.iter().position(|byte| *byte == b'=').map(|at| (&pair[..at], &pair[at + 1..]))
    });
    let (_, value) = pairs.find(|(key, _)| *key == name.as_bytes())?;
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    str::from_utf8(unquoted.unwrap_or(value)).ok()
}

/// Meaning of `+`: a space in forms, itself in paths.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    IsSpace,
    IsPlus,
}

fn decode(text: &str, plus: Plus) -> Option<Cow<'_, str>> {
    let is_coded = |byte: u8| byte == b'%' || (byte == b'+' && plus == Plus::IsSpace);
    if !text.bytes().any(is_coded) {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let (high, low) = (hex_digit(bytes.next()?)?, hex_digit(bytes.next()?)?);
                high << 4 | low
            }
            b'+' if plus == Plus::IsSpace => b' ',
            plain => plain,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// Value of a hexadecimal digit, 0 to 15.
pub(super) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(
        method: &str,
        text: &'static str,
    ) -> Result<(Option<&'static str>, &'static str, Option<&'static str>), HttpError> {
        RequestTarget::parse(method, text).map(|target| (target.authority, target.path, target.query))
    }

    #[test]
    fn every_form_a_server_must_read_is_taken_apart() {
        assert_eq!(parts("GET", "/"), Ok((None, "/", None)));
        assert_eq!(parts("GET", "/ws?token=a?b&c"), Ok((None, "/ws", Some("token=a?b&c"))));
        assert_eq!(parts("GET", "//twice?"), Ok((None, "//twice", Some(""))));
        assert_eq!(parts("GET", "http://h:80/ws?q"), Ok((Some("h:80"), "/ws", Some("q"))));
        assert_eq!(parts("GET", "HTTPS://[::1]:443"), Ok((Some("[::1]:443"), "/", None)));
        assert_eq!(parts("GET", "ws://h/ws?q"), Ok((Some("h"), "/ws", Some("q"))));
        assert_eq!(parts("GET", "WSS://h:1/ws"), Ok((Some("h:1"), "/ws", None)));
        assert_eq!(parts("GET", "http://h?q=/"), Ok((Some("h"), "/", Some("q=/"))));
        assert_eq!(parts("GET", "/ws?name=Zoë Müller"), Ok((None, "/ws", Some("name=Zoë Müller"))));
        assert_eq!(parts("OPTIONS", "*"), Ok((None, "*", None)));
        assert_eq!(parts("GET", "/?next=http://h/"), Ok((None, "/", Some("next=http://h/"))));
    }

    #[test]
    fn other_forms_are_refused() {
        for (method, text) in [
            ("GET", "*"),
            ("GET", "ws"),
            ("GET", "?q"),
            ("GET", "/a#b"),
            ("GET", "/é"),
            ("GET", "/é?q"),
            ("GET", "http://é?q"),
            ("GET", "host:80"),
            ("CONNECT", "host:80"),
            ("CONNECT", "/"),
            ("GET", "ftp://h/"),
            ("GET", "http://"),
            ("GET", "http:///path"),
            ("GET", "http://user@h/"),
            ("GET", "http:/h"),
            ("OPTIONS", "**"),
        ] {
            assert_eq!(parts(method, text), Err(HttpError::Target), "{method} {text}");
        }
    }

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for valid in [
            "",
            "h",
            "example.com",
            "h:",
            "h:8090",
            "127.0.0.1:1",
            "[::1]",
            "[fe80::1]:80",
            "a_b",
            "::1",
            "::1:8090",
            "fe80::1:2:80",
            "::",
        ] {
            assert!(is_authority(valid), "{valid}");
        }
        for invalid in [
            "a b",
            "a/b",
            "a@b",
            "a,b",
            "a:b",
            "a:1:2",
            "h:123456",
            "h:+1",
            "[::1",
            "::1]",
            "::g",
            "::1:123456",
            "1::2::3",
            "::1:+1",
            "[]",
            "[a]b",
            "é",
        ] {
            assert!(!is_authority(invalid), "{invalid}");
        }
    }

    #[test]
    fn query_values_are_decoded_as_forms() {
        let query = "a=1&b=x+y%21&%63=%c3%a9&a=2&bare&bad=%4&bin=%ff&=nameless";
        let value = |name| query_value(query, name);
        assert_eq!(value("a").as_deref(), Some("1"));
        assert!(matches!(value("a"), Some(Cow::Borrowed(_))));
        assert_eq!(value("b").as_deref(), Some("x y!"));
        assert_eq!(value("c").as_deref(), Some("é"));
        assert_eq!(value("bare").as_deref(), Some(""));
        assert_eq!(value(""), Some(Cow::Borrowed("nameless")));
        for absent in ["bad", "bin", "d", "A"] {
            assert_eq!(value(absent), None, "{absent}");
        }
    }

    #[test]
    fn sole_query_value_is_given_once() {
        let value = |name| sole_query_value("a=1&b=%c3%a9&%61=2&bad=%4&bin=%ff", name);
        assert_eq!(value("b"), Ok(Some("é".into())));
        assert_eq!(value("c"), Ok(None));
        assert_eq!(value("a"), Err(QueryFault::Repeated));
        for malformed in ["bad", "bin"] {
            assert_eq!(value(malformed), Err(QueryFault::Malformed));
        }
    }

    #[test]
    fn path_segments_keep_their_plus() {
        assert_eq!(decode_path_segment("a+b").as_deref(), Some("a+b"));
        assert_eq!(decode_path_segment("a%2Fb%20c").as_deref(), Some("a/b c"));
        for broken in ["%", "%4", "%zz", "%+1", "%C3"] {
            assert_eq!(decode_path_segment(broken), None, "{broken}");
        }
    }

    #[test]
    fn cookies_are_found_by_their_exact_name() {
        let value = b"theme=dark; token=abc.def=; Token=other;quoted=\"q\"; lone=\"; bytes=\xfc; novalue";
        assert_eq!(cookie(value, "token"), Some("abc.def="));
        assert_eq!(cookie(value, "Token"), Some("other"));
        assert_eq!(cookie(value, "quoted"), Some("q"));
        assert_eq!(cookie(value, "lone"), Some("\""));
        assert_eq!(cookie(value, "bytes"), None);
        assert_eq!(cookie(value, "novalue"), None);
        assert_eq!(cookie(value, "oken"), None);
    }
}
