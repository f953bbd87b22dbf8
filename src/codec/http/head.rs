//! Parser of request heads.
//!
//! `httparse` parses the grammar. This module adds limits, strict line ends, and the checks of length and host that
//! prevent two readers from interpreting a message differently.

use std::mem::MaybeUninit;

use super::error::HttpError;
use super::lines::Lines;
use super::response::Connection;
use super::target::{RequestTarget, is_authority};

/// Maximum of [`HeadLimits::headers`]: the size of the array on [`parse_head`]'s stack.
pub const HEADERS_MAX: usize = 128;

/// Maximum of [`HeadLimits::bytes`].
pub const HEAD_BYTES_MAX: usize = 1024 * 1024;

/// Empty lines skipped before a request line; some clients send one after a body (RFC 9112 §2.2).
pub const EMPTY_LINES_MAX: usize = 2;

/// Limits of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of a head, with its final CR LF; at most [`HEAD_BYTES_MAX`].
    pub bytes: usize,
    /// Header lines; at most [`HEADERS_MAX`].
    pub headers: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes: 16 * 1024, headers: 100 }
    }
}

/// Framing of a request body (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body: neither `Content-Length` nor `Transfer-Encoding`.
    None,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A request head, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// Method as sent, case-sensitive.
    pub method: &'a str,
    /// Target as sent; its parts are [`path`](Self::path), [`query`](Self::query) and [`host`](Self::host).
    pub target: &'a str,
    /// Minor version: 0 or 1 of HTTP/1.x.
    pub version: u8,
    /// Framing of the body.
    pub framing: Framing,
    parts: RequestTarget<'a>,
    expects_continue: bool,
    lines: Lines<'a>,
}

/// Search state in a growing buffer: it bounds the cost of parsing a head that arrives in many pieces to a small
/// multiple of its bytes.
///
/// After each head the caller starts a new one, with the buffer at the first byte of the next request.
#[derive(Clone, Debug, Default)]
pub struct HeadScan {
    /// Bytes of the buffer searched already.
    searched: usize,
    /// Buffer length at which parsing is tried even without the end of a head. It doubles, so that garbage is detected
    /// early.
    retry_at: usize,
}

impl HeadScan {
    /// Whether to call [`parse_head`] now: the buffer may contain a complete head, has reached the limit, or has
    /// doubled since the last call. Always true when a complete head has not been tried.
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

/// Parses a request head at the start of the buffer; returns it with its length in bytes, or `None` while it is
/// incomplete.
///
/// # Errors
/// Malformed or ambiguous heads, see [`HttpError`], and heads that exceed the limits, as soon as that is certain. The
/// first wrong byte determines the error, independent of the bytes after it.
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
    if read == Err(httparse::Error::Version)
        && let Some(parsed) = parse_spaced(text, headers_max)
    {
        return Ok(parsed?.map(|(head, length)| (head, start + length)));
    }
    refuse(text, read, headers_max).map(|()| None)
}

/// Parses a head whose query has spaces that are not encoded. Its last space ends the target. `None` if it is no such head.
fn parse_spaced<'a>(text: &'a [u8], headers_max: usize) -> Option<Result<Option<(RequestHead<'a>, usize)>, HttpError>> {
    let end = text.iter().position(|byte| *byte == b'\n');
    let bytes = &text[..end.unwrap_or(text.len())];
    let line = match (str::from_utf8(bytes), end) {
        (Ok(line), Some(_)) => line.strip_suffix('\r')?,
        (Ok(line), None) => line.strip_suffix('\r').unwrap_or(line),
        // The rest of the last letter is missing.
        (Err(error), None) if error.error_len().is_none() => str::from_utf8(&bytes[..error.valid_up_to()]).ok()?,
        (Err(_), _) => return None,
    };
    let (method, rest) = line.split_once(' ')?;
    let is_in_query = rest.find('?')? < rest.find(' ').unwrap_or(rest.len());
    if !is_in_query || line.contains(|letter: char| letter.is_ascii_control()) {
        return None;
    }
    let Some(end) = end else { return Some(Ok(None)) };
    let (target, version) = rest.rsplit_once(' ')?;
    let version = match version {
        "HTTP/1.0" => 0,
        "HTTP/1.1" => 1,
        _ => return None,
    };
    let mut space = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let (length, headers) = match httparse::parse_headers(&text[end + 1..], &mut space[..headers_max]) {
        Ok(httparse::Status::Complete(parsed)) => parsed,
        Ok(httparse::Status::Partial) => return Some(Ok(None)),
        Err(_) => return None,
    };
    let length = end + 1 + length;
    let lines = Lines::index(&text[..length], headers)?;
    let mut request = httparse::Request::new(&mut []);
    (request.method, request.path, request.version) = (Some(method), Some(target), Some(version));
    Some(RequestHead::check(&request, lines).map(|head| Some((head, length))))
}

/// Bytes of empty lines to skip.
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

/// Determines the error of a text that is not a complete head; `Ok` if it may become one.
fn refuse(text: &[u8], read: httparse::Result<usize>, headers_max: usize) -> Result<(), HttpError> {
    let bare = (0..text.len()).find(|&at| text[at] == b'\n' && !text[..at].ends_with(b"\r"));
    let (read, fallback) = match bare {
        // An error before this line feed has precedence.
        Some(at) => {
            let mut space = [const { MaybeUninit::uninit() }; HEADERS_MAX];
            let mut request = httparse::Request::new(&mut []);
            (request.parse_with_uninit_headers(&text[..at], &mut space[..headers_max]), Err(HttpError::LineEnd))
        }
        None => (read, Ok(())),
    };
    match read {
        Err(httparse::Error::Version) => version_error(text).and(fallback),
        Err(httparse::Error::Token | httparse::Error::Status) => Err(HttpError::RequestLine),
        Err(httparse::Error::NewLine) => Err(HttpError::LineEnd),
        Err(httparse::Error::HeaderName) => Err(HttpError::HeaderName),
        Err(httparse::Error::HeaderValue) => Err(HttpError::HeaderValue),
        Err(httparse::Error::TooManyHeaders) => Err(HttpError::TooManyHeaders),
        Ok(_) => fallback,
    }
}

/// Determines the error of a version other than 1.0 and 1.1: a well-formed one (RFC 9112 §2.3) is not supported, any
/// other text is malformed. `Ok` while it may become either.
fn version_error(text: &[u8]) -> Result<(), HttpError> {
    const FORM: &[u8] = b"HTTP/1.1";
    let version = text.splitn(3, |&byte| byte == b' ').nth(2).unwrap_or_default();
    let fits = |(given, form): (&u8, &u8)| if form.is_ascii_digit() { given.is_ascii_digit() } else { given == form };
    match version.iter().zip(FORM).all(fits) {
        true if version.len() < FORM.len() => Ok(()),
        true => Err(HttpError::Version),
        false => Err(HttpError::RequestLine),
    }
}

impl<'a> RequestHead<'a> {
    /// Path of the target, percent-encoded; starts with `/`, or is the `*` of `OPTIONS *`.
    pub fn path(&self) -> &'a str {
        self.parts.path
    }

    /// Query of the target without `?`, percent-encoded.
    pub fn query(&self) -> Option<&'a str> {
        self.parts.query
    }

    /// `host[:port]` of the request: from an absolute-form target, else from `Host` (RFC 9112 §3.3). `None` only in
    /// HTTP/1.0.
    pub fn host(&self) -> Option<&'a str> {
        self.parts.authority.or_else(|| self.header("host"))
    }

    /// First value of this header, trimmed. Names are case-insensitive. A value that is not UTF-8 is skipped;
    /// [`headers`](Self::headers) returns its bytes.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers_named(name).next()
    }

    /// All values of this header in order, as [`header`](Self::header).
    pub fn headers_named(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.lines.values(name).filter_map(|value| str::from_utf8(value).ok())
    }

    /// Whether `Accept-Encoding` names gzip, and not with the weight 0 (RFC 9110 §12.5.3).
    pub fn accepts_gzip(&self) -> bool {
        let mut codings = self.headers_named("accept-encoding").flat_map(|list| list.split(','));
        codings.any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
            let weight = weight.trim().trim_start_matches(['q', 'Q']).trim_start_matches('=').parse::<f32>();
            name.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight| weight > 0.0)
        })
    }

    /// Number of lines of this header, whatever their values.
    pub fn count(&self, name: &str) -> usize {
        self.lines.values(name).count()
    }

    /// Whether a body follows.
    pub fn has_body(&self) -> bool {
        !matches!(self.framing, Framing::None | Framing::Length(0))
    }

    /// The bytes of all values of this header in order, trimmed.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.lines.values(name)
    }

    /// All header lines in order: name as sent, value trimmed.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.lines.pairs()
    }

    /// Whether the comma-separated lists of this header contain the token, case-insensitive (RFC 9110 §5.6.1).
    pub fn list_contains(&self, name: &str, token: &str) -> bool {
        let mut elements = self.headers_named(name).flat_map(|value| value.split(','));
        elements.any(|element| element.trim_matches([' ', '\t']).eq_ignore_ascii_case(token))
    }

    /// Whether the connection stays open after this request (RFC 9112 §9.3).
    pub fn keep_alive(&self) -> bool {
        let asks_to_close = self.list_contains("connection", "close");
        !asks_to_close && (self.version == 1 || self.list_contains("connection", "keep-alive"))
    }

    /// Connection option of the response, according to [`keep_alive`](Self::keep_alive).
    pub fn connection(&self) -> Connection {
        match (self.keep_alive(), self.version) {
            (false, _) => Connection::Close,
            (true, 0) => Connection::KeepAlive,
            (true, _) => Connection::Persistent,
        }
    }

    /// Whether the client expects [`CONTINUE`](super::CONTINUE) before it sends the body (RFC 9110 §10.1.1).
    pub fn expects_continue(&self) -> bool {
        // HTTP/1.0 has no interim responses; without a body there is no reason to wait.
        self.expects_continue && self.version == 1 && self.has_body()
    }

    /// Checks beyond the grammar: target, host, framing, expectation.
    fn check(request: &httparse::Request<'_, 'a>, lines: Lines<'a>) -> Result<Self, HttpError> {
        let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
            unreachable!("invariant: a complete head has a request line")
        };
        let parts = RequestTarget::parse(method, target)?;
        check_host(version, &lines)?;
        if lines.values("authorization").nth(1).is_some() {
            return Err(HttpError::Authorization);
        }
        let framing = framing(version, &lines)?;
        let expects_continue = expects_continue(&lines)?;
        Ok(Self { method, target, version, framing, parts, expects_continue, lines })
    }
}

/// HTTP/1.1 requires exactly one `Host`; a repeated or invalid one is refused in any version (RFC 9112 §3.2).
fn check_host(version: u8, lines: &Lines<'_>) -> Result<(), HttpError> {
    let mut hosts = lines.values("host");
    match (hosts.next(), hosts.next()) {
        (None, _) if version == 0 => Ok(()),
        (Some(host), None) if str::from_utf8(host).is_ok_and(is_authority) => Ok(()),
        _ => Err(HttpError::Host),
    }
}

/// Determines the framing. RFC 9112 §6.3 allows a server to repair some of the refused cases; repairs enable request
/// smuggling.
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
    // `parse` alone would accept a plus sign.
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
