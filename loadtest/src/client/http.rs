//! HTTP/1.1 responses as they come in pieces: the head, then the body's bytes from where they lie.
//!
//! A body has a `Content-Length` or is chunked (RFC 9112 sections 6 and 7.1); one that ends with its connection is a
//! fault, for a lane that is used again cannot have it.

use memchr::memmem;

use super::Reason;

/// Longest head that is waited for.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

const HEAD_END: &[u8] = b"\r\n\r\n";

/// A response's head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// `Sec-WebSocket-Accept`.
    pub(super) accept: Option<Box<[u8]>>,
    body: Option<Body>,
    /// Whether the connection ends after it.
    is_last: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// So many bytes are still to come.
    Sized(u64),
    Chunked(Chunked),
}

/// Takes a head off the start of `bytes`; until it is whole, keeps what there is of it.
pub(super) fn take_head(kept: &mut Vec<u8>, bytes: &mut &[u8]) -> Result<Option<Head>, Reason> {
    if kept.is_empty()
        && let Some(at) = memmem::find(&bytes[..bytes.len().min(HEAD_BYTES_MAX)], HEAD_END)
    {
        let (head, rest) = bytes.split_at(at + HEAD_END.len());
        *bytes = rest;
        return parse_head(head).map(Some);
    }
    let before = kept.len();
    kept.extend_from_slice(&bytes[..bytes.len().min(HEAD_BYTES_MAX - before)]);
    // The end may have begun in what was kept.
    let from = before.saturating_sub(HEAD_END.len() - 1);
    let Some(at) = memmem::find(&kept[from..], HEAD_END) else {
        *bytes = &[];
        return if kept.len() < HEAD_BYTES_MAX { Ok(None) } else { Err(Reason::Fault("an HTTP head is too long")) };
    };
    let end = from + at + HEAD_END.len();
    *bytes = &bytes[end - before..];
    let head = parse_head(&kept[..end]);
    *kept = Vec::new();
    head.map(Some)
}

fn parse_head(bytes: &[u8]) -> Result<Head, Reason> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        _ => return Err(Reason::Fault("not an HTTP response")),
    }
    let mut head = Head {
        status: response.code.unwrap_or_default(),
        accept: None,
        body: None,
        is_last: response.version != Some(1),
    };
    for header in response.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") && head.body.is_none() {
            let length = std::str::from_utf8(header.value).ok().and_then(|text| text.trim().parse().ok());
            head.body = Some(Body::Sized(length.ok_or(Reason::Fault("Content-Length is not a number"))?));
        } else if is("transfer-encoding") {
            if !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Reason::Fault("a transfer coding that was not asked for"));
            }
            head.body = Some(Body::Chunked(Chunked::Size { size: 0, digits: 0 }));
        } else if is("connection") {
            head.is_last = header.value.split(|byte| *byte == b',').any(|option| names_close(option.trim_ascii()));
        } else if is("sec-websocket-accept") {
            head.accept = Some(header.value.into());
        }
    }
    Ok(head)
}

fn names_close(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"close")
}

/// The responses that come on one connection.
#[derive(Debug, Default)]
pub(super) struct Responses {
    /// Of the response that is being read; `None` between two.
    body: Option<Body>,
    is_last: bool,
    /// An incomplete head.
    kept: Vec<u8>,
}

/// A piece of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// It starts, with this status.
    Head(u16),
    /// Some of its body.
    Data {
        bytes: &'a [u8],
        /// Whether that was all of it.
        is_end: bool,
    },
    /// The input is used up.
    Nothing,
}

impl Responses {
    /// Takes the next piece off the start of `bytes`.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Part<'a>, Reason> {
        if bytes.is_empty() && self.body != Some(Body::Sized(0)) {
            return Ok(Part::Nothing);
        }
        let Some(body) = &mut self.body else {
            let head = loop {
                let Some(head) = take_head(&mut self.kept, bytes)? else { return Ok(Part::Nothing) };
                // An interim response, such as 103, says nothing that is needed here.
                if !matches!(head.status, 100 | 102..200) {
                    break head;
                }
            };
            // Of other answers only the status matters.
            if head.body.is_none() && head.status == 200 {
                return Err(Reason::Fault("a body without a length"));
            }
            (self.body, self.is_last) = (head.body, head.is_last);
            return Ok(Part::Head(head.status));
        };
        let (data, is_end) = match body {
            Body::Sized(left) => {
                let data = take(bytes, left);
                (data, *left == 0)
            }
            Body::Chunked(chunked) => chunked.next(bytes)?,
        };
        if is_end {
            self.body = None;
        }
        Ok(Part::Data { bytes: data, is_end })
    }

    /// Whether the server closes the connection after the response that was last begun.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }
}

/// Takes at most `left` bytes off the start of `bytes`.
fn take<'a>(bytes: &mut &'a [u8], left: &mut u64) -> &'a [u8] {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    let (data, rest) = bytes.split_at(count);
    *left -= count as u64;
    *bytes = rest;
    data
}

/// Where in a chunked body the reading stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunked {
    /// In a chunk's size.
    Size { size: u64, digits: u8 },
    /// Behind it, in what an extension says.
    Extension(u64),
    /// In a chunk; so many of its bytes are still to come.
    Data(u64),
    /// In the line end behind a chunk.
    DataEnd,
    /// Behind the last chunk, in a line that has been empty so far or not.
    Trailer { is_empty: bool },
}

impl Chunked {
    /// Takes the next data off the start of `bytes`, and whether it is the end of the body.
    fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<(&'a [u8], bool), Reason> {
        loop {
            if let Self::Data(left) = self {
                let data = take(bytes, left);
                if *left == 0 {
                    *self = Self::DataEnd;
                }
                return Ok((data, false));
            }
            let Some((&byte, rest)) = bytes.split_first() else { return Ok((&[], false)) };
            *bytes = rest;
            if byte == b'\r' {
                continue;
            }
            let is_line_end = byte == b'\n';
            *self = match *self {
                Self::Trailer { is_empty: true } if is_line_end => return Ok((&[], true)),
                Self::Trailer { .. } => Self::Trailer { is_empty: is_line_end },
                Self::DataEnd if is_line_end => Self::Size { size: 0, digits: 0 },
                Self::Size { size, digits: 1.. } | Self::Extension(size) if is_line_end => match size {
                    0 => Self::Trailer { is_empty: true },
                    size => Self::Data(size),
                },
                Self::Extension(size) => Self::Extension(size),
                Self::Size { size, digits: 1.. } if matches!(byte, b';' | b' ' | b'\t') => Self::Extension(size),
                Self::Size { size, digits: digits @ ..8 } => match char::from(byte).to_digit(16) {
                    Some(digit) => Self::Size { size: size * 16 + u64::from(digit), digits: digits + 1 },
                    None => return Err(Reason::Fault("a chunk's size is not a number")),
                },
                _ => return Err(Reason::Fault("a chunk is not framed as such")),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status and body of each response in `stream`, cut into pieces of at most `size` bytes.
    fn read(stream: &[u8], size: usize) -> Result<Vec<(u16, Vec<u8>, bool)>, Reason> {
        let mut responses = Responses::default();
        let mut read: Vec<(u16, Vec<u8>, bool)> = Vec::new();
        for mut piece in stream.chunks(size) {
            loop {
                match responses.next(&mut piece)? {
                    Part::Nothing => break,
                    Part::Head(status) => read.push((status, Vec::new(), responses.is_last())),
                    Part::Data { bytes, is_end } => {
                        let (_, body, _) = read.last_mut().unwrap();
                        body.extend_from_slice(bytes);
                        if is_end {
                            body.push(b'.');
                        }
                    }
                }
            }
        }
        Ok(read)
    }

    #[test]
    fn any_split_gives_the_same_responses() {
        let stream = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello\
            HTTP/1.1 100 Continue\r\n\r\n\
            HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: Chunked\r\n\r\n\
            5;a=b\r\nhello\r\n1A \r\n\r\n\r\nabcdefghijklmnopqrstuv\r\n0\r\nA: b\r\n\r\n\
            HTTP/1.1 400 Bad Request\r\nConnection: x, Close\r\nContent-Length:  0 \r\n\r\n";
        let expected = [
            (200, b"hello.".to_vec(), false),
            (200, b"hello\r\n\r\nabcdefghijklmnopqrstuv.".to_vec(), false),
            (400, b".".to_vec(), true),
        ];
        for size in 1..=stream.len() {
            assert_eq!(read(stream, size).as_deref(), Ok(&expected[..]), "pieces of {size}");
        }
    }

    #[test]
    fn a_body_is_handed_on_from_where_it_lies() {
        let stream = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec();
        let (mut responses, mut bytes) = (Responses::default(), &stream[..]);
        assert_eq!(responses.next(&mut bytes), Ok(Part::Head(200)));
        let Ok(Part::Data { bytes: body, is_end: true }) = responses.next(&mut bytes) else { panic!("a body") };
        assert!(std::ptr::eq(body, &stream[stream.len() - 5..]));
    }

    #[test]
    fn what_is_not_http_is_a_fault() {
        let long = [&b"HTTP/1.1 200 OK\r\nA: "[..], &[b'x'; HEAD_BYTES_MAX]].concat();
        for stream in [
            &b"220 mail.example.com ESMTP\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n123456789\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
            &long,
        ] {
            for size in [1, 7, stream.len()] {
                assert!(matches!(read(stream, size), Err(Reason::Fault(_))), "{}", stream.escape_ascii());
            }
        }
    }
}
