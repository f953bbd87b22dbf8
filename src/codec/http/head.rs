//! Request heads: when to try, how to read, what to refuse.
//!
//! The grammar is `httparse`'s; this file adds what it leaves to its callers: limits, line ends, and everything about
//! a message's length and host that two readers could understand in two ways.

use std::mem::MaybeUninit;

use super::error::HttpError;
use super::lines::Lines;
use super::response::Connection;
use super::target::{RequestTarget, is_authority};

/// Most header lines any [`HeadLimits::headers`] can allow: the room `parse_head` keeps on its stack.
pub const HEADERS_MAX: usize = 128;

/// Most bytes any [`HeadLimits::bytes`] can allow.
pub const HEAD_BYTES_MAX: usize = 1024 * 1024;

/// Empty lines skipped before a request line, as some clients send one after a body (RFC 9112 §2.2).
pub const EMPTY_LINES_MAX: usize = 2;

/// How much one head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of a whole head, its last CR LF included; values above [`HEAD_BYTES_MAX`] mean [`HEAD_BYTES_MAX`].
    pub bytes: usize,
    /// Header lines; values above [`HEADERS_MAX`] mean [`HEADERS_MAX`].
    pub headers: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes: 16 * 1024, headers: 100 }
    }
}

/// How a request's body is delimited (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Neither `Content-Length` nor `Transfer-Encoding`: there is no body.
    None,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A request's head, borrowed from the buffer it was read in.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// As sent; methods are case-sensitive.
    pub method: &'a str,
    /// As sent; its parts are in [`path`](Self::path), [`query`](Self::query) and [`host`](Self::host).
    pub target: &'a str,
    /// The minor version: 0 or 1 of HTTP/1.x.
    pub version: u8,
    /// How the body that follows is delimited.
    pub framing: Framing,
    parts: RequestTarget<'a>,
    expects_continue: bool,
    lines: Lines<'a>,
}

/// Remembers how far a growing buffer has been looked at, so that the tries at a head that arrives in many pieces cost
/// no more than a small multiple of its bytes together.
///
/// One per head: start a new one, and the buffer at the next request's first byte, after each head.
#[derive(Clone, Debug, Default)]
pub struct HeadScan {
    /// Bytes at the front of the buffer already looked at.
    searched: usize,
    /// Buffer length at which the next try is due even without the head's end: doubles, so that rubbish is noticed early.
    retry_at: usize,
}

impl HeadScan {
    /// Whether a try at [`parse_head`] is worth its cost now: the buffer may hold a whole head, or has reached the limit,
    /// or has doubled since the last try. Never `false` while a whole head lies there untried.
    pub fn is_due(&mut self, buffer: &[u8], limits: &HeadLimits) -> bool {
        let decides = |at: usize| {
            let before = &buffer[..at];
            buffer[at] == b'\n' && (before.ends_with(b"\r\n\r") || !before.ends_with(b"\r"))
        };
        let is_due =
            buffer.len() >= self.retry_at || buffer.len() >= limits.bytes || (self.searched..buffer.len()).any(decides);
        self.searched = buffer.len();
        if is_due {
            self.retry_at = buffer.len() * 2;
        }
        is_due
    }
}

/// Reads one request head from the front of a buffer; returns it with the bytes it took, or `None` while it is
/// incomplete.
///
/// # Errors
///
/// Anything malformed or ambiguous, see [`HttpError`]; and a head that cannot stay within the limits any more, as soon as
/// that is known. The first wrong byte decides which error, so it does not matter how much has arrived after it.
pub fn parse_head<'a>(input: &'a [u8], limits: &HeadLimits) -> Result<Option<(RequestHead<'a>, usize)>, HttpError> {
    let bytes_max = limits.bytes.min(HEAD_BYTES_MAX);
    let within_limit = &input[..input.len().min(bytes_max)];
    match parse_within(within_limit, limits.headers.min(HEADERS_MAX))? {
        None if input.len() >= bytes_max => Err(HttpError::HeadTooLarge),
        parsed => Ok(parsed),
    }
}

fn parse_within(input: &[u8], headers_max: usize) -> Result<Option<(RequestHead<'_>, usize)>, HttpError> {
    let start = skip_empty_lines(input)?;
    let text = &input[start..];
    let mut space = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let read = request.parse_with_uninit_headers(text, &mut space[..headers_max]);
    if let Ok(httparse::Status::Complete(length)) = read
        && let Some(lines) = Lines::index(&text[..length], request.headers)
    {
        let head = RequestHead::check(&request, lines)?;
        return Ok(Some((head, start + length)));
    }
    refuse(text, read, headers_max).map(|()| None)
}

/// How many bytes of empty lines to skip.
fn skip_empty_lines(input: &[u8]) -> Result<usize, HttpError> {
    let mut start = 0;
    while input[start..].starts_with(b"\r\n") && start < 2 * EMPTY_LINES_MAX {
        start += 2;
    }
    if start == 2 * EMPTY_LINES_MAX && input[start..].starts_with(b"\r") {
        return Err(HttpError::RequestLine);
    }
    Ok(start)
}

/// Finds the fault in a text that did not read as a whole head; `Ok` when there is none yet.
fn refuse(text: &[u8], read: httparse::Result<usize>, headers_max: usize) -> Result<(), HttpError> {
    let bare = (0..text.len()).find(|&at| text[at] == b'\n' && !text[..at].ends_with(b"\r"));
    let (read, fallback) = match bare {
        // The first fault counts: is there one before this line feed?
        Some(at) => {
            let mut space = [const { MaybeUninit::uninit() }; HEADERS_MAX];
            let mut request = httparse::Request::new(&mut []);
            (request.parse_with_uninit_headers(&text[..at], &mut space[..headers_max]), Err(HttpError::LineEnd))
        }
        None => (read, Ok(())),
    };
    match read {
        Err(httparse::Error::Version) => Err(version_error(text)),
        Err(httparse::Error::Token | httparse::Error::Status) => Err(HttpError::RequestLine),
        Err(httparse::Error::NewLine) => Err(HttpError::LineEnd),
        Err(httparse::Error::HeaderName) => Err(HttpError::HeaderName),
        Err(httparse::Error::HeaderValue) => Err(HttpError::HeaderValue),
        Err(httparse::Error::TooManyHeaders) => Err(HttpError::TooManyHeaders),
        Ok(_) => fallback,
    }
}

/// Another version's number is a version we do not speak; anything else there is no version.
fn version_error(text: &[u8]) -> HttpError {
    let version = text.splitn(3, |&byte| byte == b' ').nth(2).unwrap_or_default();
    match version.iter().zip(b"HTTP/1.1").position(|(given, spoken)| given != spoken) {
        Some(at @ (5 | 7)) if version[at].is_ascii_digit() => HttpError::Version,
        _ => HttpError::RequestLine,
    }
}

impl<'a> RequestHead<'a> {
    /// Of the target, still percent-encoded; begins with `/`, or is the `*` of `OPTIONS *`.
    pub fn path(&self) -> &'a str {
        self.parts.path
    }

    /// Of the target, without the `?`, still percent-encoded.
    pub fn query(&self) -> Option<&'a str> {
        self.parts.query
    }

    /// `host[:port]` the request was sent to: from an absolute-form target, else the `Host` header (RFC 9112 §3.3).
    /// `None` only in HTTP/1.0.
    pub fn host(&self) -> Option<&'a str> {
        self.parts.authority.or_else(|| self.header("host"))
    }

    /// The first value of this name, without surrounding white space. Names compare without case. A value that is not
    /// UTF-8 counts as absent; [`headers`](Self::headers) has its bytes.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers_named(name).next()
    }

    /// All values of this name, in order; as [`header`](Self::header).
    pub fn headers_named(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.lines.values(name).filter_map(|value| str::from_utf8(value).ok())
    }

    /// Every header line in order: the name as sent, the value without surrounding white space.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.lines.pairs()
    }

    /// Whether the comma-separated lists under this name hold the token, in any case (RFC 9110 §5.6.1).
    pub fn list_contains(&self, name: &str, token: &str) -> bool {
        let mut elements = self.headers_named(name).flat_map(|value| value.split(','));
        elements.any(|element| element.trim_matches([' ', '\t']).eq_ignore_ascii_case(token))
    }

    /// Whether the client wants the connection to stay open after this request (RFC 9112 §9.3).
    pub fn keep_alive(&self) -> bool {
        let asks_to_close = self.list_contains("connection", "close");
        !asks_to_close && (self.version == 1 || self.list_contains("connection", "keep-alive"))
    }

    /// What an answer that grants [`keep_alive`](Self::keep_alive) says about the connection.
    pub fn connection(&self) -> Connection {
        match (self.keep_alive(), self.version) {
            (false, _) => Connection::Close,
            (true, 0) => Connection::KeepAlive,
            (true, _) => Connection::Persistent,
        }
    }

    /// Whether the client waits for [`CONTINUE`](super::CONTINUE) before it sends its body (RFC 9110 §10.1.1).
    pub fn expects_continue(&self) -> bool {
        // HTTP/1.0 clients do not know the interim answer; without a body there is nothing to wait for.
        self.expects_continue && self.version == 1 && !matches!(self.framing, Framing::None | Framing::Length(0))
    }

    /// What the grammar does not say: target, host, length, expectation.
    fn check(request: &httparse::Request<'_, 'a>, lines: Lines<'a>) -> Result<Self, HttpError> {
        let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
            return Err(HttpError::RequestLine);
        };
        let parts = RequestTarget::parse(method, target)?;
        check_host(version, &lines)?;
        let framing = framing(version, &lines)?;
        let expects_continue = expects_continue(&lines)?;
        Ok(Self { method, target, version, framing, parts, expects_continue, lines })
    }
}

/// RFC 9112 §3.2: HTTP/1.1 has exactly one `Host`; more than one, or an invalid one, is refused in any version.
fn check_host(version: u8, lines: &Lines<'_>) -> Result<(), HttpError> {
    let mut hosts = lines.values("host");
    match (hosts.next(), hosts.next()) {
        (None, _) if version == 0 => Ok(()),
        (Some(host), None) if str::from_utf8(host).is_ok_and(is_authority) => Ok(()),
        _ => Err(HttpError::Host),
    }
}

/// RFC 9112 §6.3 lets a server repair some of what is refused here; a repair is where two readers part.
fn framing(version: u8, lines: &Lines<'_>) -> Result<Framing, HttpError> {
    let mut lengths = lines.values("content-length");
    let mut encodings = lines.values("transfer-encoding");
    match (lengths.next(), encodings.next()) {
        (None, None) => Ok(Framing::None),
        (Some(_), Some(_)) => Err(HttpError::AmbiguousLength),
        (Some(length), None) if lengths.next().is_none() => content_length(length),
        (Some(_), None) => Err(HttpError::ContentLength),
        (None, Some(encoding)) => {
            let is_one_chunked = encoding.eq_ignore_ascii_case(b"chunked") && encodings.next().is_none();
            let is_valid = is_one_chunked && version == 1;
            is_valid.then_some(Framing::Chunked).ok_or(HttpError::TransferEncoding)
        }
    }
}

fn content_length(value: &[u8]) -> Result<Framing, HttpError> {
    // `parse` alone would take a plus sign.
    let is_plain = value.iter().all(u8::is_ascii_digit);
    let digits = str::from_utf8(value).ok().filter(|_| is_plain);
    let length = digits.and_then(|digits| digits.parse().ok());
    length.map(Framing::Length).ok_or(HttpError::ContentLength)
}

fn expects_continue(lines: &Lines<'_>) -> Result<bool, HttpError> {
    let mut expects_continue = false;
    for expectation in lines.values("expect") {
        if !expectation.eq_ignore_ascii_case(b"100-continue") {
            return Err(HttpError::Expectation);
        }
        expects_continue = true;
    }
    Ok(expects_continue)
}
