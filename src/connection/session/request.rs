//! What a request for a session asks: to be read off its method and query before any session is looked up.

use crate::codec::engineio::{Query, Refusal, Transport, Version};

/// A request that may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'q> {
    /// A new session.
    Open {
        /// The protocol it speaks.
        version: Version,
        /// How it begins.
        transport: Transport,
    },
    /// What there is to send.
    Poll {
        /// The session's id, as it came.
        sid: &'q str,
    },
    /// Packets.
    Post {
        /// The session's id, as it came.
        sid: &'q str,
    },
    /// A WebSocket for a session that polls.
    Upgrade {
        /// The session's id, as it came.
        sid: &'q str,
    },
}

/// Reads a request. `is_upgrade`: it asks for a WebSocket in HTTP's own way, too; `is_allowed`: its page may come here.
///
/// # Errors
/// Why it cannot be served, the first reason in the order in which the reference checks them.
pub fn read<'q>(
    method: &str,
    query: &'q Query<'_>,
    is_upgrade: bool,
    is_allowed: bool,
) -> Result<Request<'q>, Refusal> {
    let transport = query.transport.ok_or(Refusal::UnknownTransport)?;
    let is_get = method == "GET";
    let fits = is_upgrade == (transport == Transport::WebSocket);
    let Some(sid) = query.sid.as_deref() else {
        if !is_get {
            return Err(Refusal::HandshakeMethod);
        }
        if !fits {
            return Err(Refusal::BadRequest);
        }
        if !is_allowed {
            return Err(Refusal::Forbidden);
        }
        let version = query.version.ok_or(Refusal::UnsupportedVersion)?;
        return Ok(Request::Open { version, transport });
    };
    if !is_allowed {
        return Err(Refusal::Forbidden);
    }
    query.version.ok_or(Refusal::UnsupportedVersion)?;
    match (transport, method) {
        _ if !fits => Err(Refusal::BadRequest),
        (Transport::WebSocket, "GET") => Ok(Request::Upgrade { sid }),
        (Transport::Polling, "GET") => Ok(Request::Poll { sid }),
        (Transport::Polling, "POST") => Ok(Request::Post { sid }),
        _ => Err(Refusal::BadRequest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &str, query: &str, is_upgrade: bool) -> Option<Refusal> {
        read(method, &Query::parse(Some(query)), is_upgrade, true).err()
    }

    #[test]
    fn requests_say_what_they_ask() {
        let query = Query::parse(Some("EIO=4&transport=polling"));
        let open = Request::Open { version: Version::V4, transport: Transport::Polling };
        assert_eq!(read("GET", &query, false, true), Ok(open));
        assert_eq!(read("GET", &query, false, false), Err(Refusal::Forbidden));
        let query = Query::parse(Some("EIO=3&transport=polling&sid=s"));
        assert_eq!(read("GET", &query, false, true), Ok(Request::Poll { sid: "s" }));
        assert_eq!(read("POST", &query, false, true), Ok(Request::Post { sid: "s" }));
        assert_eq!(read("POST", &query, false, false), Err(Refusal::Forbidden));
        let query = Query::parse(Some("EIO=4&transport=websocket&sid=s"));
        assert_eq!(read("GET", &query, true, true), Ok(Request::Upgrade { sid: "s" }));
    }

    #[test]
    fn the_first_reason_counts() {
        assert_eq!(refused("PUT", "", false), Some(Refusal::UnknownTransport));
        assert_eq!(refused("GET", "EIO=4&transport=abc", false), Some(Refusal::UnknownTransport));
        assert_eq!(refused("POST", "EIO=4&transport=polling", false), Some(Refusal::HandshakeMethod));
        assert_eq!(refused("PUT", "EIO=9&transport=polling", false), Some(Refusal::HandshakeMethod));
        assert_eq!(refused("GET", "EIO=4&transport=websocket", false), Some(Refusal::BadRequest));
        assert_eq!(refused("GET", "EIO=4&transport=polling", true), Some(Refusal::BadRequest));
        for version in ["", "EIO=abc", "EIO=2", "EIO=5"] {
            for rest in ["transport=polling", "transport=polling&sid=s"] {
                let query = format!("{version}&{rest}");
                assert_eq!(refused("GET", &query, false), Some(Refusal::UnsupportedVersion), "{query}");
            }
        }
        assert_eq!(refused("DELETE", "EIO=4&transport=polling&sid=s", false), Some(Refusal::BadRequest));
        assert_eq!(refused("GET", "EIO=4&transport=websocket&sid=s", false), Some(Refusal::BadRequest));
        assert_eq!(refused("POST", "EIO=4&transport=websocket&sid=s", true), Some(Refusal::BadRequest));
    }
}
