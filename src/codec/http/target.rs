//! What a request asks for: the target's parts, and the small encodings found in and beside it (percent escapes,
//! form pairs, cookies). Nothing here normalises: `/a/../b` and `//a` stay as they came.

use std::borrow::Cow;

use super::HttpError;

/// A request target taken apart (RFC 9112 §3.2); everything still percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTarget<'a> {
    /// `host[:port]` of an absolute-form target, which then outranks the `Host` header.
    pub authority: Option<&'a str>,
    /// Begins with `/`, or is `*`.
    pub path: &'a str,
    /// What follows the first `?`, without it.
    pub query: Option<&'a str>,
}

impl<'a> RequestTarget<'a> {
    /// Takes apart the target of a request with this method.
    ///
    /// Accepts origin-form, absolute-form with `http` or `https`, and `*` for `OPTIONS`. An absolute-form without a
    /// path means `/`.
    ///
    /// # Errors
    ///
    /// [`HttpError::Target`] for any other form (so for `CONNECT` always), a fragment, a user name before the host, or a
    /// byte beyond ASCII. Characters that should have been escaped but can mean nothing else, such as `|`, pass:
    /// browsers send them.
    pub fn parse(method: &str, text: &'a str) -> Result<Self, HttpError> {
        if method == "CONNECT" || !text.is_ascii() || text.contains('#') {
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

/// What follows `http://` or `https://`, whose case does not matter (RFC 9110 §4.2.3).
fn strip_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    known.then_some(rest)
}

/// Whether the text could be `uri-host [ ":" port ]` (RFC 9110 §7.2): no user name, no path, no list, no space. Empty
/// passes, as a `Host` header may be empty.
pub(super) fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        // An IPv6 literal without a port: the last colon is inside the brackets.
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

/// The first value of this name in a query of `name=value` pairs, decoded as forms are: percent escapes and `+` for a
/// space (WHATWG URL, `application/x-www-form-urlencoded`). A name without `=` has the value `""`.
///
/// `None` too when that first value has a broken escape or decodes to something other than UTF-8.
pub fn query_value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut values = pairs.filter(|(key, _)| decode(key, Plus::IsSpace).is_some_and(|key| key == name));
    let (_, value) = values.next()?;
    decode(value, Plus::IsSpace)
}

/// One path segment (the text between two slashes) with its percent escapes decoded (RFC 3986 §2.1); `+` stays. The
/// result may hold any character, a slash included.
///
/// `None` when an escape is broken or the result is not UTF-8.
pub fn decode_path_segment(segment: &str) -> Option<Cow<'_, str>> {
    decode(segment, Plus::IsPlus)
}

/// The value of the first cookie of this name in a `Cookie` header value, without the quotes it may stand in
/// (RFC 6265 §4.2.1). Cookie names are case-sensitive.
pub fn cookie<'a>(head_value: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = head_value.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Some(unquoted.unwrap_or(value))
}

/// What `+` stands for: a space in forms, itself in paths.
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

/// The value of a hexadecimal digit, 0 to 15.
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
        assert_eq!(parts("GET", "http://h?q=/"), Ok((Some("h"), "/", Some("q=/"))));
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
        for valid in ["", "h", "example.com", "h:", "h:8090", "127.0.0.1:1", "[::1]", "[fe80::1]:80", "a_b"] {
            assert!(is_authority(valid), "{valid}");
        }
        for invalid in
            ["a b", "a/b", "a@b", "a,b", "a:b", "a:1:2", "h:123456", "h:+1", "[::1", "::1]", "[]", "[a]b", "é"]
        {
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
    fn path_segments_keep_their_plus() {
        assert_eq!(decode_path_segment("a+b").as_deref(), Some("a+b"));
        assert_eq!(decode_path_segment("a%2Fb%20c").as_deref(), Some("a/b c"));
        for broken in ["%", "%4", "%zz", "%+1", "%C3"] {
            assert_eq!(decode_path_segment(broken), None, "{broken}");
        }
    }

    #[test]
    fn cookies_are_found_by_their_exact_name() {
        let value = "theme=dark; token=abc.def=; Token=other;quoted=\"q\"; lone=\"; novalue";
        assert_eq!(cookie(value, "token"), Some("abc.def="));
        assert_eq!(cookie(value, "Token"), Some("other"));
        assert_eq!(cookie(value, "quoted"), Some("q"));
        assert_eq!(cookie(value, "lone"), Some("\""));
        assert_eq!(cookie(value, "novalue"), None);
        assert_eq!(cookie(value, "oken"), None);
    }
}
