//! Encoder of responses: status line, headers and body, appended to a buffer.

use super::body::is_token_byte;

/// Interim response that asks the client to send its body (RFC 9110 §15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Connection option of a response (RFC 9112 §9.3, §9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Stays open, the default of HTTP/1.1: no header.
    Persistent,
    /// Stays open in HTTP/1.0: `Connection: keep-alive`.
    KeepAlive,
    /// Closes after this response: `Connection: close`.
    Close,
}

/// A response under construction, completed by [`body`](Self::body) or its siblings.
///
/// `Date`, `Connection: close` or `keep-alive`, `Content-Length` and line ends are written here; the caller adds all
/// other headers, including the `Connection: Upgrade` of a 101.
#[derive(Debug)]
#[must_use = "a response is on the wire only once its body is, be it empty"]
pub struct Response<'o> {
    out: &'o mut Vec<u8>,
    status: u16,
}

impl<'o> Response<'o> {
    /// Starts a response at the end of `out`. `date` is the current time as IMF-fixdate (RFC 9110 §5.6.7); if empty,
    /// the header is omitted.
    pub fn begin(out: &'o mut Vec<u8>, status: u16, date: &str) -> Self {
        debug_assert!((100..1000).contains(&status), "invariant: a status has three digits");
        out.extend_from_slice(b"HTTP/1.1 ");
        push_decimal(out, usize::from(status));
        out.push(b' ');
        out.extend_from_slice(reason(status).as_bytes());
        out.extend_from_slice(b"\r\n");
        let response = Self { out, status };
        if date.is_empty() { response } else { response.header("Date", date) }
    }

    /// Appends a header line. Control characters in the value are omitted, so that it cannot end the line.
    pub fn header(self, name: &'static str, value: &str) -> Self {
        debug_assert!(!name.is_empty() && name.bytes().all(is_token_byte), "invariant: a header name is a token");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        self.out.extend(value.bytes().filter(|byte| !byte.is_ascii_control() || *byte == b'\t'));
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Appends the `Connection` header, if required.
    pub fn connection(self, connection: Connection) -> Self {
        match connection {
            Connection::Persistent => self,
            Connection::KeepAlive => self.header("Connection", "keep-alive"),
            Connection::Close => self.header("Connection", "close"),
        }
    }

    /// Completes the response with this content and its length. Statuses without content (1xx, 204, 304) have neither.
    pub fn body(self, content: &[u8]) {
        let has_content = self.has_content();
        let out = self.end(content.len());
        if has_content {
            out.extend_from_slice(content);
        }
    }

    /// Completes the response to `HEAD`: the length of `GET`'s content in bytes, without the content (RFC 9110 §9.3.2).
    pub fn body_omitted(self, length: usize) {
        self.end(length);
    }

    /// Completes the response without content.
    pub fn empty(self) {
        self.end(0);
    }

    /// Completes the head of a response whose content lasts until the connection ends (RFC 9112 §6.3).
    pub fn until_close(self) {
        let response = self.connection(Connection::Close);
        response.out.extend_from_slice(b"\r\n");
    }

    fn end(self, length: usize) -> &'o mut Vec<u8> {
        if self.has_content() {
            self.out.extend_from_slice(b"Content-Length: ");
            push_decimal(self.out, length);
            self.out.extend_from_slice(b"\r\n");
        }
        self.out.extend_from_slice(b"\r\n");
        self.out
    }

    /// Whether the status allows content (RFC 9110 §6.4.1, §8.6).
    fn has_content(&self) -> bool {
        !matches!(self.status, 100..=199 | 204 | 304)
    }
}

fn push_decimal(out: &mut Vec<u8>, number: usize) {
    if number >= 10 {
        push_decimal(out, number / 10);
    }
    out.push(b'0' + (number % 10) as u8);
}

/// Reason phrase of a status used by this server (RFC 9110 §15, RFC 6585); empty, a valid phrase, for any other.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_response_is_written_in_full() {
        let text = written(|out| {
            let response = Response::begin(out, 201, "Sun, 06 Nov 1994 08:49:37 GMT");
            response.header("Content-Type", "text/plain").connection(Connection::Close).body(b"made\n");
        });
        let expected = "HTTP/1.1 201 Created\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\n\
                        Connection: close\r\nContent-Length: 5\r\n\r\nmade\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn responses_queue_up_behind_each_other() {
        let text = written(|out| {
            Response::begin(out, 200, "").connection(Connection::KeepAlive).empty();
            Response::begin(out, 404, "").connection(Connection::Persistent).empty();
        });
        let expected = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n\
                        HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn head_keeps_the_length_and_drops_the_body() {
        let text = written(|out| Response::begin(out, 200, "").body_omitted(1_234_567_890));
        assert_eq!(text, "HTTP/1.1 200 OK\r\nContent-Length: 1234567890\r\n\r\n");
    }

    #[test]
    fn statuses_without_content_have_no_length_either() {
        for status in [100, 101, 204, 304] {
            let text = written(|out| Response::begin(out, status, "").body(b"nothing of this"));
            assert_eq!(text, format!("HTTP/1.1 {status} {}\r\n\r\n", reason(status)));
        }
        assert_eq!(written(|out| Response::begin(out, 100, "").empty()).as_bytes(), CONTINUE);
    }

    #[test]
    fn no_value_ends_its_line() {
        let text = written(|out| Response::begin(out, 200, "").header("X", "a\r\nY: b\0\n\tc\u{7f}é").empty());
        assert_eq!(text, "HTTP/1.1 200 OK\r\nX: aY: b\tcé\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn every_status_in_use_has_a_phrase() {
        let others =
            [100, 101, 200, 201, 204, 304, 410, 411, 413, 414, 415, 417, 421, 422, 426, 429, 431, 500, 501, 503, 505];
        for status in (400..=408).chain(others) {
            assert!(!reason(status).is_empty(), "{status}");
        }
    }
}
