//! What the access log tells of a request, kept while the request is under way.

use std::net::IpAddr;

use crate::base::Name;
use crate::base::time::Now;
use crate::codec::http::RequestHead;
use crate::codec::trace::TraceParent;

/// Bytes of a path in a line.
const PATH_BYTES: usize = 256;

/// A request that the access log has a line for.
#[derive(Clone, Debug)]
pub struct AccessEntry {
    /// The method, as the client wrote it.
    pub method: Box<str>,
    /// The path, without the query: that may hold a token.
    pub path: Box<str>,
    /// The address that it comes from.
    pub address: IpAddr,
    /// Its user, once known.
    pub user: Option<Name>,
    /// When it came, in monotonic milliseconds.
    pub began: u64,
    /// The trace that it belongs to, as the client says by `traceparent`.
    pub trace: Option<TraceParent>,
}

impl AccessEntry {
    /// The entry of a request from `address`.
    pub fn new(head: &RequestHead<'_>, address: IpAddr, now: Now) -> Box<Self> {
        let path = head.path();
        Box::new(Self {
            method: head.method.into(),
            path: path[..path.floor_char_boundary(PATH_BYTES)].into(),
            address,
            user: None,
            began: now.mono,
            trace: head.header("traceparent").and_then(TraceParent::parse),
        })
    }
}
