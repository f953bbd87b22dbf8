//! HTTP/1.1 as bytes: request heads, request bodies, responses.
//!
//! [`parse_head`] reads a head out of a buffer, [`BodyDecoder`] takes in what follows it, [`Response`] writes the answer;
//! [`query_value`], [`decode_path_segment`] and [`cookie`] read the small encodings inside a head. What a path or a
//! header means, which status a refusal deserves beyond syntax, and the WebSocket handshake are not here.
//!
//! Promises:
//!
//! - "Not enough bytes yet" is `None` or `false`, never an error, and a prefix of a valid request is never refused.
//! - Any split of the input gives the same heads, the same bodies and the same error.
//! - What two readers could understand in two ways is refused (RFC 9112 §11.2, request smuggling): a message has one
//!   length, told once, and lines end in CR LF only. After an [`HttpError`] the stream has lost its place: answer
//!   [`HttpError::status`] and close.
//! - Everything has a bound. A head costs no allocation, a body at most its limit.

mod body;
mod error;
mod head;
mod lines;
mod response;
mod target;
#[cfg(any(test, fuzzing))]
pub mod transcript;

#[cfg(test)]
mod tests;

pub use body::{BodyDecoder, EXTENSION_BYTES_MAX, TRAILER_BYTES_MAX};
pub use error::HttpError;
pub use head::{EMPTY_LINES_MAX, Framing, HEAD_BYTES_MAX, HEADERS_MAX, HeadLimits, HeadScan, RequestHead, parse_head};
pub use response::{CONTINUE, Connection, Response, reason};
pub use target::{RequestTarget, cookie, decode_path_segment, query_value};
