//! HTTP/1.1: request heads, request bodies, responses.
//!
//! [`parse_head`] parses a head, [`BodyDecoder`] decodes the body after it, [`Response`] writes the response;
//! [`query_value`], [`decode_path_segment`] and [`cookie`] decode parts of a head. Routing, the meaning of headers and
//! the WebSocket handshake are not here.
//!
//! Guarantees:
//!
//! - Incomplete input is `None` or `false`, never an error; a prefix of a valid request is never refused.
//! - The result (heads, bodies, error) does not depend on how the input is split.
//! - Ambiguous requests are refused (RFC 9112 §11.2, request smuggling): a message has one length, given once, and
//!   lines end in CR LF only. After an [`HttpError`] the position in the stream is lost: the caller responds with
//!   [`HttpError::status`] and closes.
//! - Memory is bounded: a head needs no allocation, a body at most its limit.

mod body;
mod error;
mod gzip;
mod head;
mod lines;
mod response;
mod target;
#[cfg(any(test, fuzzing))]
pub mod transcript;

#[cfg(test)]
mod tests;

pub use body::{BodyDecoder, EXTENSION_BYTES_MAX, TRAILER_BYTES_MAX, is_token};
pub use error::HttpError;
pub use gzip::Gzip;
pub use head::{EMPTY_LINES_MAX, Framing, HEAD_BYTES_MAX, HEADERS_MAX, HeadLimits, HeadScan, RequestHead, parse_head};
pub use response::{CONTINUE, Connection, Response, reason};
pub use target::{
    QueryFault, RequestTarget, bracketed_authority, cookie, decode_path_segment, query_pairs, query_value,
    sole_query_value,
};
