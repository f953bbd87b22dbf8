//! What can be wrong with a request's bytes. Always the client's fault, always the end of the connection.

use std::fmt;

/// Why a request cannot be read: what its answer's status is, and a sentence for its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpError {
    /// The first line is not `method SP target SP version` (RFC 9112 §3). 400.
    RequestLine,
    /// A version other than HTTP/1.0 and HTTP/1.1. 505.
    Version,
    /// The target is in none of the forms its method allows (RFC 9112 §3.2). 400.
    Target,
    /// A line ends in something other than CR LF. 400.
    LineEnd,
    /// A header line has no name, a space before its colon, or folds an older line. 400.
    HeaderName,
    /// A header value holds a control character. 400.
    HeaderValue,
    /// More header lines than allowed. 431.
    TooManyHeaders,
    /// The head is longer than allowed. 431.
    HeadTooLarge,
    /// `Host` is missing, repeated or no host (RFC 9112 §3.2). 400.
    Host,
    /// `Content-Length` is repeated or no plain number (RFC 9112 §6.3). 400.
    ContentLength,
    /// `Transfer-Encoding` is anything but one `chunked`, or came with HTTP/1.0 (RFC 9112 §6.1). 400.
    TransferEncoding,
    /// Both `Content-Length` and `Transfer-Encoding` (RFC 9112 §6.3). 400.
    AmbiguousLength,
    /// `Expect` asks for something other than `100-continue` (RFC 9110 §10.1.1). 417.
    Expectation,
    /// The body is longer than allowed. 413.
    BodyTooLarge,
    /// A chunk's size is not one to sixteen hexadecimal digits (RFC 9112 §7.1). 400.
    ChunkSize,
    /// A chunk's extension holds a control character, or all of them together are too long. 400.
    ChunkExtension,
    /// A chunk's data or size line does not end in CR LF. 400.
    ChunkEnd,
    /// A trailer line is no header line. 400.
    Trailer,
    /// The trailers are longer than allowed. 431.
    TrailersTooLarge,
}

impl HttpError {
    /// The status code to answer with before closing.
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
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::AmbiguousLength
            | Self::ChunkSize
            | Self::ChunkExtension
            | Self::ChunkEnd
            | Self::Trailer => 400,
        }
    }

    /// What was wrong, as a sentence for whoever wrote the client.
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
