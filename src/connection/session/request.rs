//! What a request for a session asks: to be read off its method and query before any session is looked up.

use crate::codec::engineio::{EngineIoRefusal, HandshakeQuery, Transport, Version};

/// A request that may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRequest<'q> {
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
    query: &'q HandshakeQuery<'_>,
    is_upgrade: bool,
    is_allowed: bool,
) -> Result<SessionRequest<'q>, EngineIoRefusal> {
    let transport = query.transport.ok_or(EngineIoRefusal::UnknownTransport)?;
    let is_get = method == "GET";
    let fits = is_upgrade == (transport == Transport::WebSocket);
    let Some(sid) = query.sid.as_deref() else {
        if !is_get {
            return Err(EngineIoRefusal::HandshakeMethod);
        }
        if !fits {
            return Err(EngineIoRefusal::BadRequest);
        }
        if !is_allowed {
            return Err(EngineIoRefusal::Forbidden);
        }
        let version = query.version.ok_or(EngineIoRefusal::UnsupportedVersion)?;
        return Ok(SessionRequest::Open { version, transport });
    };
    if !is_allowed {
        return Err(EngineIoRefusal::Forbidden);
    }
    query.version.ok_or(EngineIoRefusal::UnsupportedVersion)?;
    match (transport, method) {
        _ if !fits => Err(EngineIoRefusal::BadRequest),
        (Transport::WebSocket, "GET") => Ok(SessionRequest::Upgrade { sid }),
        (Transport::Polling, "GET") => Ok(SessionRequest::Poll { sid }),
        (Transport::Polling, "POST") => Ok(SessionRequest::Post { sid }),
        _ => Err(EngineIoRefusal::BadRequest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &str, query: &str, is_upgrade: bool) -> Option<EngineIoRefusal> {
        read(method, &HandshakeQuery::parse(Some(query)), is_upgrade, true).err()
    }

    #[test]
    fn requests_say_what_they_ask() {
        let query = HandshakeQuery::parse(Some("EIO=4&transport=polling"));
        let open = SessionRequest::Open { version: Version::V4, transport: Transport::Polling };
        assert_eq!(read("GET", &query, false, true), Ok(open));
        assert_eq!(read("GET", &query, false, false), Err(EngineIoRefusal::Forbidden));
        let query = HandshakeQuery::parse(Some("EIO=3&transport=polling&sid=s"));
        assert_eq!(read("GET", &query, false, true), Ok(SessionRequest::Poll { sid: "s" }));
        assert_eq!(read("POST", &query, false, true), Ok(SessionRequest::Post { sid: "s" }));
        assert_eq!(read("POST", &query, false, false), Err(EngineIoRefusal::Forbidden));
        let query = HandshakeQuery::parse(Some("EIO=4&transport=websocket&sid=s"));
        assert_eq!(read("GET", &query, true, true), Ok(SessionRequest::Upgrade { sid: "s" }));
    }

    #[test]
    fn the_first_reason_counts() {
        assert_eq!(refused("PUT", "", false), Some(EngineIoRefusal::UnknownTransport));
        assert_eq!(refused("GET", "EIO=4&transport=abc", false), Some(EngineIoRefusal::UnknownTransport));
        assert_eq!(refused("POST", "EIO=4&transport=polling", false), Some(EngineIoRefusal::HandshakeMethod));
        assert_eq!(refused("PUT", "EIO=9&transport=polling", false), Some(EngineIoRefusal::HandshakeMethod));
        assert_eq!(refused("GET", "EIO=4&transport=websocket", false), Some(EngineIoRefusal::BadRequest));
        assert_eq!(refused("GET", "EIO=4&transport=polling", true), Some(EngineIoRefusal::BadRequest));
        for version in ["", "EIO=abc", "EIO=2", "EIO=5"] {
            for rest in ["transport=polling", "transport=polling&sid=s"] {
                let query = format!("{version}&{rest}");
                assert_eq!(refused("GET", &query, false), Some(EngineIoRefusal::UnsupportedVersion), "{query}");
            }
        }
        assert_eq!(refused("DELETE", "EIO=4&transport=polling&sid=s", false), Some(EngineIoRefusal::BadRequest));
        assert_eq!(refused("GET", "EIO=4&transport=websocket&sid=s", false), Some(EngineIoRefusal::BadRequest));
        assert_eq!(refused("POST", "EIO=4&transport=websocket&sid=s", true), Some(EngineIoRefusal::BadRequest));
    }
}
