//! Errors in a request's bytes: the client's fault, and the end of the connection.

use std::fmt;

/// Why a request is refused; each with the status of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpError {
    /// The request line is not `method SP target SP version` (RFC 9112 §3). 400.
    RequestLine,
    /// The version is not HTTP/1.0 or HTTP/1.1. 505.
    Version,
    /// The target has a form that its method does not allow (RFC 9112 §3.2). 400.
    Target,
    /// A line does not end in CR LF. 400.
    LineEnd,
    /// A header line without a name, with a space before its colon, or folded. 400.
    HeaderName,
    /// A control character in a header value. 400.
    HeaderValue,
    /// Too many header lines. 431.
    TooManyHeaders,
    /// The head is too long. 431.
    HeadTooLarge,
    /// `Host` is missing, repeated or invalid (RFC 9112 §3.2). 400.
    Host,
    /// `Authorization` is repeated: two readers could act for different users. 400.
    Authorization,
    /// `Content-Length` is repeated or not a decimal number (RFC 9112 §6.3). 400.
    ContentLength,
    /// `Transfer-Encoding` is not a single `chunked`, or is sent in HTTP/1.0 (RFC 9112 §6.1). 400.
    TransferEncoding,
    /// Both `Content-Length` and `Transfer-Encoding` (RFC 9112 §6.3). 400.
    AmbiguousLength,
    /// `Expect` is not `100-continue` (RFC 9110 §10.1.1). 417.
    Expectation,
    /// The body is too long. 413.
    BodyTooLarge,
    /// A chunk size is not one to sixteen hexadecimal digits (RFC 9112 §7.1). 400.
    ChunkSize,
    /// A chunk extension contains a control character, or all of them together are too long. 400.
    ChunkExtension,
    /// A chunk's data or size line does not end in CR LF. 400.
    ChunkEnd,
    /// A trailer line is malformed. 400.
    Trailer,
    /// The trailers are too long. 431.
    TrailersTooLarge,
}

impl HttpError {
    /// Status code of the response, after which the connection closes.
    pub fn status(self) -> u16 {
        match self {
            Self::BodyTooLarge => 413,
            Self::Expectation => 417,
            Self::TooManyHeaders | Self::HeadTooLarge | Self::TrailersTooLarge => 431,
            Self::Version => 505,
            Self::RequestLine
            | Self::Target
            | Self::LineEnd
            | Self::HeaderName
            | Self::HeaderValue
            | Self::Host
            | Self::Authorization
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::AmbiguousLength
            | Self::ChunkSize
            | Self::ChunkExtension
            | Self::ChunkEnd
            | Self::Trailer => 400,
        }
    }

    /// Description for the developer of the client, a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::RequestLine => "the request line is malformed",
            Self::Version => "only HTTP/1.0 and HTTP/1.1 are spoken here",
            Self::Target => "the request target is malformed or not allowed with this method",
            Self::LineEnd => "a line does not end in CR LF",
            Self::HeaderName => "a header name is malformed, followed by a space, or missing",
            Self::HeaderValue => "a header value contains a control character",
            Self::TooManyHeaders => "too many header lines",
            Self::HeadTooLarge => "the request head is too large",
            Self::Host => "exactly one valid Host header is required",
            Self::Authorization => "only one Authorization header is allowed",
            Self::ContentLength => "exactly one Content-Length of decimal digits is allowed",
            Self::TransferEncoding => "the only Transfer-Encoding accepted is chunked, in HTTP/1.1",
            Self::AmbiguousLength => "Content-Length and Transfer-Encoding exclude each other",
            Self::Expectation => "the only expectation met is 100-continue",
            Self::BodyTooLarge => "the request body is too large",
            Self::ChunkSize => "a chunk size is not one to sixteen hexadecimal digits",
            Self::ChunkExtension => "a chunk extension is malformed or too long",
            Self::ChunkEnd => "a chunk does not end in CR LF",
            Self::Trailer => "a trailer line is malformed",
            Self::TrailersTooLarge => "the trailers are too large",
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}

impl std::error::Error for HttpError {}
