//! Heads rule by rule, then properties over whole streams.

use proptest::prelude::*;

use super::transcript::{TranscriptEvent, transcript};
use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 1024, headers: 8 };

fn fault(text: &str) -> Option<HttpError> {
    parse_head(text.as_bytes(), &LIMITS).err()
}

fn head(text: &str) -> RequestHead<'_> {
    let (head, consumed) = parse_head(text.as_bytes(), &LIMITS).unwrap().unwrap();
    assert_eq!(consumed, text.len());
    head
}

/// A head with these header lines after a valid `Host`.
fn with(lines: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
}

#[test]
fn a_browser_upgrade_is_read() {
    let text = "GET /ws?token=a HTTP/1.1\r\nHost: example.com:8090\r\nConnection: keep-alive, Upgrade\r\n\
                Upgrade: WebSocket\r\nCookie: \t a=1; b=2 \t \r\nX-Bytes: \u{ff}\r\ncookie: c=3\r\nEmpty:\r\n\r\n";
    let head = head(text);
    assert_eq!((head.method, head.target, head.version), ("GET", "/ws?token=a", 1));
    assert_eq!((head.path(), head.query(), head.host()), ("/ws", Some("token=a"), Some("example.com:8090")));
    assert_eq!(head.framing, Framing::None);
    assert_eq!(head.header("COOKIE"), Some("a=1; b=2"));
    assert_eq!(head.headers_named("Cookie").collect::<Vec<_>>(), ["a=1; b=2", "c=3"]);
    assert_eq!(head.header("empty"), Some(""));
    assert_eq!(head.header("absent"), None);
    assert!(head.list_contains("connection", "upgrade") && head.list_contains("upgrade", "websocket"));
    assert!(!head.list_contains("connection", "up") && !head.list_contains("absent", ""));
    assert!(head.keep_alive() && !head.expects_continue());
    assert_eq!(head.headers().nth(5), Some(("cookie", b"c=3".as_slice())));
}

#[test]
fn values_that_are_not_utf_8_are_absent_as_text() {
    let input = b"GET / HTTP/1.1\r\nHost: h\r\nX: \xff\r\nX: b\r\n\r\n";
    let (head, _) = parse_head(input, &LIMITS).unwrap().unwrap();
    assert_eq!(head.header("x"), Some("b"));
    assert_eq!(head.headers().nth(1), Some(("X", b"\xff".as_slice())));
}

#[test]
fn an_absolute_target_outranks_the_host_header() {
    let head = head("GET http://other:1/p?q HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((head.path(), head.query(), head.host()), ("/p", Some("q"), Some("other:1")));
}

#[test]
fn every_prefix_of_a_valid_head_is_incomplete_not_wrong() {
    let text = format!("\r\n\r\n{}", with("Content-Length: 5\r\nExpect: 100-Continue\r\n"));
    for length in 0..text.len() {
        assert!(matches!(parse_head(&text.as_bytes()[..length], &LIMITS), Ok(None)), "{length}");
    }
    assert_eq!(head(&text).framing, Framing::Length(5));
}

#[test]
fn two_empty_lines_are_skipped_and_no_third() {
    let text = with("");
    assert_eq!(head(&format!("\r\n{text}")).path(), "/x");
    assert_eq!(head(&format!("\r\n\r\n{text}")).path(), "/x");
    assert_eq!(fault("\r\n\r\n\r"), Some(HttpError::RequestLine));
    assert_eq!(fault("\n"), Some(HttpError::LineEnd));
    assert_eq!(fault("\rG"), Some(HttpError::LineEnd));
}

#[test]
fn request_lines_are_exact() {
    for line in
        [" ", "\0", "G\0", "GE(T", "GET  ", "GET /\t", "GET /\r", "GET /a b", "GET / http", "GET /  HTTP", "\u{16}"]
    {
        assert_eq!(fault(line), Some(HttpError::RequestLine), "{line:?}");
    }
    assert_eq!(fault("GET / HTTP/1.1 "), Some(HttpError::LineEnd));
    for target in ["x", "*", "/#f", "ftp://h/", "h:80"] {
        assert_eq!(fault(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")), Some(HttpError::Target), "{target}");
    }
    assert_eq!(fault("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n"), Some(HttpError::Target));
    assert_eq!(head("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").path(), "*");
}

#[test]
fn version_of_other_digits_is_unsupported_and_other_text_malformed() {
    for version in ["HTTP/2.0", "HTTP/2.0\r\n", "HTTP/2.05", "HTTP/0.9", "HTTP/1.2", "HTTP/1.9\r\n\r\n"] {
        assert_eq!(fault(&format!("GET / {version}")), Some(HttpError::Version), "{version:?}");
    }
    for version in [
        "x",
        "HTTX",
        "HTTP/x",
        "HTTP/11",
        "HTTP/1.x",
        "HTTP/1.\r\n\r\n",
        "HTTP/01.01\r\n",
        "HTTP/01",
        "HTTP/2\r\n",
        "HTTP/3.x",
        "http/2.0",
    ] {
        assert_eq!(fault(&format!("GET / {version}")), Some(HttpError::RequestLine), "{version:?}");
    }
    for version in ["H", "HTTP/2", "HTTP/0", "HTTP/3."] {
        assert_eq!(fault(&format!("GET / {version}")), None, "{version:?}");
    }
    assert_eq!(fault("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Some(HttpError::Version));
}

#[test]
fn lines_end_in_cr_lf_only() {
    for text in [
        "GET / HTTP/1.1\n",
        "GET / HTTP/1.1\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\n",
        "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nX:\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\rX",
        "GET / HTTP/1.1\rX",
        "GET\n",
        "GET / HTTP/1.1\r\nHo\n",
    ] {
        assert_eq!(fault(text), Some(HttpError::LineEnd), "{text:?}");
    }
    assert_eq!(fault(&with("X: a\rb\r\n")), Some(HttpError::HeaderValue));
    assert_eq!(fault(&with("X: a\r\r\n")), Some(HttpError::HeaderValue));
}

#[test]
fn the_first_fault_is_the_one_told() {
    assert_eq!(fault("GET / HTTP/1.1\r\n: x\nHost: h\n\n"), Some(HttpError::HeaderName));
    assert_eq!(fault("GET / HTTP/1.1\r\nHost: h\n: x\r\n\r\n"), Some(HttpError::LineEnd));
}

#[test]
fn header_lines_are_exact() {
    for line in [" X: y", "\tX: y", "X : y", "X\t: y", ": y", "X", "X y: z", "X\0: y", "Bücher: y"] {
        assert_eq!(fault(&with(&format!("{line}\r\n"))), Some(HttpError::HeaderName), "{line:?}");
    }
    assert_eq!(fault("GET / HTTP/1.1\r\n Host: h\r\n\r\n"), Some(HttpError::HeaderName));
    assert_eq!(fault(&with("X: a\r\n folded\r\n")), Some(HttpError::HeaderName));
    for value in ["\0", "a\0b", "\u{1}", "\u{7f}", "a\u{b}"] {
        assert_eq!(fault(&with(&format!("X: {value}\r\n"))), Some(HttpError::HeaderValue), "{value:?}");
    }
}

#[test]
fn the_host_is_told_once() {
    assert_eq!(fault("GET / HTTP/1.1\r\n\r\n"), Some(HttpError::Host));
    assert_eq!(fault("GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n"), Some(HttpError::Host));
    for lines in ["HOST: h\r\n", "host: other\r\n"] {
        assert_eq!(fault(&with(lines)), Some(HttpError::Host), "{lines:?}");
    }
    for host in ["a b", "a/b", "u@h", "h:x", "a, b"] {
        assert_eq!(fault(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), Some(HttpError::Host), "{host}");
    }
    assert_eq!(head("GET / HTTP/1.0\r\n\r\n").host(), None);
    assert_eq!(head("GET / HTTP/1.1\r\nHost:\r\n\r\n").host(), Some(""));
}

#[test]
fn lengths_are_plain_decimal_and_told_once() {
    for value in ["", "+5", "-5", "5 5", "5, 5", "5,5", "0x5", "5a", "18446744073709551616", "５"] {
        assert_eq!(fault(&with(&format!("Content-Length: {value}\r\n"))), Some(HttpError::ContentLength), "{value}");
    }
    assert_eq!(fault(&with("Content-Length: 5\r\ncontent-length: 5\r\n")), Some(HttpError::ContentLength));
    let text = with("Content-Length: 18446744073709551615\r\n");
    assert_eq!(head(&text).framing, Framing::Length(u64::MAX));
    assert_eq!(head(&with("Content-Length:  007 \r\n")).framing, Framing::Length(7));
}

#[test]
fn the_only_transfer_encoding_is_one_chunked() {
    for value in ["", "gzip", "gzip, chunked", "chunked, chunked", "chunked,", "chunked;q=1", "identity", "xchunked"] {
        assert_eq!(
            fault(&with(&format!("Transfer-Encoding: {value}\r\n"))),
            Some(HttpError::TransferEncoding),
            "{value}"
        );
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(fault(&with(twice)), Some(HttpError::TransferEncoding));
    assert_eq!(fault(&with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")), Some(HttpError::AmbiguousLength));
    assert_eq!(fault(&with("Content-Length: 5\r\nTransfer-Encoding: identity\r\n")), Some(HttpError::AmbiguousLength));
    assert_eq!(fault("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Some(HttpError::TransferEncoding));
    assert_eq!(head(&with("transfer-encoding: Chunked\r\n")).framing, Framing::Chunked);
}

#[test]
fn connections_stay_open_as_their_version_says() {
    let connection = |version: u8, value: &str| {
        let text = format!("GET / HTTP/1.{version}\r\nHost: h\r\nConnection: {value}\r\n\r\n");
        head(&text).connection()
    };
    assert_eq!(connection(1, ""), Connection::Persistent);
    assert_eq!(connection(1, "Upgrade , CLOSE"), Connection::Close);
    assert_eq!(connection(0, ""), Connection::Close);
    assert_eq!(connection(0, "Keep-Alive"), Connection::KeepAlive);
    assert_eq!(connection(0, "keep-alive, close"), Connection::Close);
}

#[test]
fn only_continue_is_expected_and_only_with_a_body() {
    let expects = |text: &str| head(text).expects_continue();
    assert!(expects(&with("Expect: 100-Continue\r\nContent-Length: 5\r\n")));
    assert!(expects(&with("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n")));
    assert!(!expects(&with("Expect: 100-continue\r\nContent-Length: 0\r\n")));
    assert!(!expects(&with("Expect: 100-continue\r\n")));
    assert!(!expects("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
    for value in ["", "200-ok", "100-continue, 200-ok"] {
        assert_eq!(fault(&with(&format!("Expect: {value}\r\n"))), Some(HttpError::Expectation), "{value}");
    }
}

#[test]
fn heads_have_limits() {
    let room = LIMITS.bytes - with("X: \r\n").len();
    assert_eq!(head(&with(&format!("X: {}\r\n", "x".repeat(room)))).path(), "/x");
    assert_eq!(fault(&with(&format!("X: {}\r\n", "x".repeat(room + 1)))), Some(HttpError::HeadTooLarge));
    assert_eq!(fault(&format!("GET /{}", "x".repeat(LIMITS.bytes - 6))), None);
    assert_eq!(fault(&format!("GET /{}", "x".repeat(LIMITS.bytes - 5))), Some(HttpError::HeadTooLarge));
    assert_eq!(head(&with(&"X: y\r\n".repeat(LIMITS.headers - 1))).headers().count(), LIMITS.headers);
    assert_eq!(fault(&with(&"X: y\r\n".repeat(LIMITS.headers))), Some(HttpError::TooManyHeaders));
    let text = with(&"X: y\r\n".repeat(LIMITS.headers));
    assert_eq!(fault(text.trim_end()), None, "the last line may still be a longer one");
}

#[test]
fn as_many_headers_as_the_highest_limit_fit() {
    let limits = HeadLimits { bytes: 16 * 1024, headers: usize::MAX };
    let text = with(&"X: y\r\n".repeat(HEADERS_MAX - 1));
    let (head, _) = parse_head(text.as_bytes(), &limits).unwrap().unwrap();
    assert_eq!(head.headers().count(), HEADERS_MAX);
    let text = with(&"X: y\r\n".repeat(HEADERS_MAX));
    assert_eq!(parse_head(text.as_bytes(), &limits).err(), Some(HttpError::TooManyHeaders));
}

#[test]
fn a_head_in_single_bytes_is_tried_seldom() {
    let text = with(&format!("X: {}\r\n", "x".repeat(900)));
    let mut scan = HeadScan::default();
    let tries = (1..=text.len()).filter(|&length| scan.is_due(&text.as_bytes()[..length], &LIMITS)).count();
    assert!(tries <= 12, "{tries}");
}

#[test]
fn pipelined_requests_are_told_apart() {
    let stream = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\r\n\
                  POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n\
                  GET /c HTTP/1.1\r\nHost: h\r\n\r\nGET /d";
    let events = transcript([stream.as_bytes()], &LIMITS, 10);
    let mut told = Vec::new();
    for event in &events {
        told.push(match event {
            TranscriptEvent::Head { target, .. } => target.as_str(),
            TranscriptEvent::Body(bytes) => str::from_utf8(bytes).unwrap(),
            TranscriptEvent::Fault(error) => error.text(),
            TranscriptEvent::Unfinished => "unfinished",
        });
    }
    assert_eq!(told, ["/a", "abc", "/b", "de", "/c", ""]);
}

/// Cuts a stream at these places, taken modulo what is left.
fn cut<'a>(mut stream: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, rest) = stream.split_at(cut % (stream.len() + 1));
        pieces.push(piece);
        stream = rest;
    }
    pieces.push(stream);
    pieces
}

/// Pieces of requests, good and bad, so that random sequences of them come near real ones.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    const FRAGMENTS: &[&str] = &[
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /a?b=c HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET ",
        "POST ",
        "/path",
        " HTTP/1.1",
        " HTTP/1.0",
        " HTTP/2.0",
        "\r\n",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        " ",
        ":",
        "\0",
        "Host: h\r\n",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\n",
        "Host: h\n",
        "X: y\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "0\r\nT: v\r\n\r\n",
        "3;x=y\r\nabc\r\n",
        "FF",
        "abc",
        "\u{ff}",
    ];
    let fragment = prop_oneof![
        9 => proptest::sample::select(FRAGMENTS).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(fragment, 0..12).prop_map(|fragments| fragments.concat())
}

#[test]
fn query_with_plain_text_is_read_as_written() {
    for (line, expected) in [
        ("GET /ws?name=Zoë Müller&token=a HTTP/1.1", "name=Zoë Müller&token=a"),
        ("GET /ws?a b HTTP/1.0", "a b"),
        ("GET /ws?a  b  HTTP/1.1", "a  b "),
        ("GET /ws?ü HTTP/1.1", "ü"),
    ] {
        let text = format!("{line}\r\nHost: h\r\nX: 1\r\n\r\nrest");
        let limits = HeadLimits { bytes: 4_096, headers: 10 };
        let (head, used) = parse_head(text.as_bytes(), &limits).expect(line).expect("whole");
        assert_eq!((head.query(), head.header("x"), used), (Some(expected), Some("1"), text.len() - 4));
        for cut in 0..used {
            assert!(matches!(parse_head(&text.as_bytes()[..cut], &limits), Ok(None)), "{cut} bytes of {line}");
        }
    }
    for line in ["GET /a b HTTP/1.1", "GET /a b?c HTTP/1.1", "GET /a?b c HTTP/3", "GET /a?b c", "GET  /a?b c HTTP/1.1"]
    {
        let text = format!("{line}\r\nHost: h\r\n\r\n");
        assert!(parse_head(text.as_bytes(), &HeadLimits::default()).is_err(), "{line}");
    }
    let no_host = "GET /a?b c HTTP/1.1\r\n\r\n";
    assert_eq!(parse_head(no_host.as_bytes(), &HeadLimits::default()).err(), Some(HttpError::Host));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_split_says_the_same(stream in fragments(), cuts in proptest::collection::vec(any::<usize>(), 0..6)) {
        let limits = HeadLimits { bytes: 120, headers: 3 };
        let whole = transcript([stream.as_slice()], &limits, 12);
        prop_assert_eq!(&transcript(cut(&stream, &cuts), &limits, 12), &whole);
        prop_assert_eq!(&transcript(stream.chunks(1), &limits, 12), &whole);
    }

    #[test]
    fn no_head_holds_a_bare_line_end(stream in fragments()) {
        if let Ok(Some((_, consumed))) = parse_head(&stream, &LIMITS) {
            let text = String::from_utf8_lossy(&stream[..consumed]).replace("\r\n", "");
            prop_assert!(!text.contains(['\r', '\n', '\0']), "{:?}", text);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(stream in proptest::collection::vec(any::<u8>(), 0..200)) {
        transcript(stream.chunks(7), &LIMITS, 50);
        let text = String::from_utf8_lossy(&stream);
        let _ = (query_value(&text, "a"), decode_path_segment(&text), cookie(text.as_bytes(), "a"), RequestTarget::parse("GET", &text));
    }

    #[test]
    fn responses_read_back(
        status in 100u16..600,
        value in any::<String>(),
        content in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let mut out = Vec::new();
        let response = Response::begin(&mut out, status, "").header("X-Value", &value);
        response.connection(Connection::Close).body(&content);
        let mut headers = [httparse::EMPTY_HEADER; 4];
        let mut read = httparse::Response::new(&mut headers);
        let length = read.parse(&out).unwrap().unwrap();
        let has_content = !matches!(status, 100..=199 | 204 | 304);
        prop_assert_eq!((read.version, read.code, read.reason), (Some(1), Some(status), Some(reason(status))));
        prop_assert_eq!(read.headers.len(), if has_content { 3 } else { 2 });
        prop_assert_eq!(&out[length..], if has_content { content.as_slice() } else { b"" });
    }

#[test]
    fn escapes_decode_to_what_was_encoded(text in any::<String>()) {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let query = format!("a=b&{encoded}={encoded}");
        let first = if text == "a" { "b" } else { &text };
        let (segment, value) = (decode_path_segment(&encoded), query_value(&query, &text));
        prop_assert_eq!(segment.as_deref(), Some(text.as_str()));
        prop_assert_eq!(value.as_deref(), Some(first));
    }
}
