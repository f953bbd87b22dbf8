//! Notices to the operator: requests that are refused, or counted together, although a setting may be all that is missing.
//! All shards together log each kind at most once a minute, whatever clients send.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::limits::NOTICE_MS;
use crate::base::time::Now;
use crate::codec::http::RequestHead;
use crate::connection::origins::{Addressed, Origins};

/// Bytes of a header that a notice shows.
const SHOWN_BYTES: usize = 128;

/// When the next notice of each kind may be logged, in monotonic milliseconds.
#[derive(Debug, Default)]
pub struct OperatorNotices {
    foreign_page_at: AtomicU64,
    unknown_client_at: AtomicU64,
}

impl OperatorNotices {
    /// A page is refused. If its origin is the host that it calls, the server may lack a name of its own.
    pub(super) fn foreign_page(&self, now: Now, head: &RequestHead<'_>, addressed: &Addressed<'_>, origins: &Origins) {
        let (origin, host) = (head.header("origin").unwrap_or_default(), addressed.host.as_deref().unwrap_or_default());
        tracing::debug!(origin = shown(origin), host = shown(host), "origin refused");
        let is_own = origins.is_own_but_unknown(origin, addressed) || origin.is_empty() && is_same_origin(head);
        if is_own && is_due(&self.foreign_page_at, now) {
            tracing::warn!(
                origin = shown(origin),
                host = shown(host),
                "a page of a host that this server does not know as its own is refused; if it is its own, set client_url \
                 (or cors.origins) to the address in the browser, or add the host to server.names, and the proxy, if \
                 there is one, to trusted_proxies"
            );
        }
    }

    /// A proxy on this host is not trusted, so its clients are unknown.
    pub(super) fn unknown_client(&self, now: Now) {
        if is_due(&self.unknown_client_at, now) {
            tracing::warn!(
                "requests from this host have headers of a proxy, but trusted_proxies does not name it: all its clients \
                 count as one, and are not exempt from limits as loopback is; if it sets X-Forwarded-For or Forwarded, \
                 set trusted_proxies to its address, such as 127.0.0.1"
            );
        }
    }
}

fn is_due(next: &AtomicU64, now: Now) -> bool {
    let due = next.load(Ordering::Relaxed);
    let later = now.mono + NOTICE_MS;
    now.mono >= due && next.compare_exchange(due, later, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

fn is_same_origin(head: &RequestHead<'_>) -> bool {
    head.header("sec-fetch-site") == Some("same-origin")
}

fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES)]
}
