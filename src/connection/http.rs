//! HTTP stage of a connection: the request being received or answered, and the form of its response.
//!
//! Requests are answered one at a time and in order. Bytes of later requests wait in a buffer; when it is full, the
//! socket is not read.

use std::net::IpAddr;

use crate::base::ids::ConnectionId;
use crate::codec::http::{BodyDecoder, Connection, HeadScan, Response};
use crate::connection::access::AccessEntry;
use crate::connection::deflation::DeflateSettings;
use crate::connection::engineio_socket::SessionLink;
use crate::dialect::rest::RestCallKind;
use crate::domain::history::HistoryRange;
use crate::domain::op::{HostClaim, UsersPage};
use crate::domain::query::RoomsPage;

/// State of an HTTP connection while a request is incomplete or pending.
#[derive(Default)]
pub struct Http {
    /// Received bytes that have not been parsed.
    pub unread: Vec<u8>,
    /// Search position for the end of a request head in `unread`.
    pub scan: HeadScan,
    /// Phase of the current request.
    pub phase: Phase,
    /// Parsing is paused until queued responses have been sent.
    pub is_paused: bool,
    /// The Engine.IO session of the current request.
    pub link: Option<SessionLink>,
}

/// Phase of the current request.
#[derive(Default)]
pub enum Phase {
    /// Waits for a request head.
    #[default]
    Head,
    /// Receives the body of a REST request.
    Body {
        /// The request.
        request: Box<RestRequest>,
        /// Body received so far.
        body: BodyDecoder,
    },
    /// Receives the body of a POST to an Engine.IO session.
    Post {
        /// The request.
        post: Post,
        /// Body received so far.
        body: BodyDecoder,
    },
    /// Receives frames of a client without WebSockets.
    Frames {
        /// The connection that they belong to.
        to: ConnectionId,
        /// Form of the response.
        reply: ReplyForm,
        /// Frames received so far.
        body: BodyDecoder,
    },
    /// The request is pending.
    Answering(ReplyForm),
}

/// Head of a POST to an Engine.IO session.
pub struct Post {
    /// Whether the content type is `application/octet-stream`.
    pub is_octet_stream: bool,
    /// Whether the body is a form (JSONP).
    pub is_form: bool,
    /// Form of the response.
    pub reply: ReplyForm,
}

/// Head of an authenticated REST request.
pub struct RestRequest {
    /// The operation.
    pub kind: RestCallKind,
    /// The id in the path.
    pub parameter: String,
    /// The second id in the path.
    pub second: String,
    /// The part of a list that the query asks for.
    pub part: Option<ListPart>,
    /// Value of `Content-Type`.
    pub content_type: Option<String>,
    /// Value of `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// `scheme://host` as the client wrote it, for links in the response.
    pub site: String,
    /// Address of the client.
    pub address: IpAddr,
    /// Identity of the client, and the key of the host secret it has shown.
    pub claim: HostClaim,
    /// Form of the response.
    pub reply: ReplyForm,
}

/// A part of a list.
pub enum ListPart {
    /// A page of users.
    Users(UsersPage),
    /// Messages of a room.
    Messages(HistoryRange),
    /// Rooms.
    Rooms(RoomsPage),
}

impl Http {
    /// State with a pending request.
    pub fn answering(reply: ReplyForm) -> Box<Self> {
        Box::new(Self { phase: Phase::Answering(reply), ..Self::default() })
    }

    /// State with a request pending at an Engine.IO session.
    pub fn answered_by(link: SessionLink, reply: ReplyForm) -> Box<Self> {
        Box::new(Self { phase: Phase::Answering(reply), link: Some(link), ..Self::default() })
    }

    /// Whether a request is pending; later ones wait.
    pub fn is_answering(&self) -> bool {
        matches!(self.phase, Phase::Answering(_))
    }

    /// Whether a part of a request has been received.
    pub fn has_begun(&self) -> bool {
        !self.unread.is_empty() || matches!(self.phase, Phase::Body { .. } | Phase::Post { .. } | Phase::Frames { .. })
    }
}

/// Form of a response, derived from its request.
#[derive(Clone, Debug, Default)]
pub struct ReplyForm {
    /// Omit the body (the method was HEAD).
    pub head_only: bool,
    /// Connection option; `None` means the default of HTTP/1.1.
    pub connection: Option<Connection>,
    /// Allowed `Origin`, for the CORS headers.
    pub origin: Option<Box<str>>,
    /// Whether the page may use the cookies that its browser sends.
    pub with_credentials: bool,
    /// What the access log tells of the request, if it does.
    pub access: Option<Box<AccessEntry>>,
    /// How the body is compressed, if the client accepts that.
    pub gzip: Option<DeflateSettings>,
}

/// Response headers beside the common ones, as pairs of name and value.
pub type Headers<'a> = &'a [(&'static str, &'a str)];

/// Content security policy of the web pages: own scripts and styles only.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; \
     media-src 'self' blob:; style-src 'self'; script-src 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'; \
     form-action 'self'";

impl ReplyForm {
    /// Whether the connection closes after this response.
    pub fn closes(&self) -> bool {
        self.connection == Some(Connection::Close)
    }

    /// The settings by which a body with these headers is compressed, if it is.
    pub fn compression(&self, headers: Headers<'_>, body: &[u8]) -> Option<DeflateSettings> {
        let is_packed = headers.iter().any(|(name, _)| *name == "Content-Encoding");
        self.gzip.filter(|settings| body.len() >= settings.bytes_min && !is_packed)
    }

    /// Appends the response with a body that was compressed.
    pub fn write_packed(&self, out: &mut Vec<u8>, status: u16, date: &str, headers: Headers<'_>, packed: &[u8]) {
        let mut own: Vec<(&'static str, &str)> = headers.to_vec();
        // The bytes differ from those that a strong tag stands for (RFC 9110 section 8.8.1).
        let tag = headers.iter().find(|(name, _)| *name == "ETag").map(|(_, tag)| format!("W/{tag}"));
        own.retain(|(name, _)| *name != "ETag");
        own.extend(tag.as_deref().map(|tag| ("ETag", tag)));
        own.extend([("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]);
        self.write(out, status, date, &own, packed);
    }

    /// Appends the response to `out`.
    pub fn write(&self, out: &mut Vec<u8>, status: u16, date: &str, headers: Headers<'_>, body: &[u8]) {
        let response = self.head(out, status, date, headers);
        let response = response.connection(self.connection.unwrap_or(Connection::Persistent));
        if self.head_only { response.body_omitted(body.len()) } else { response.body(body) }
    }

    /// Appends the head of a response whose content follows as it comes, until the connection ends. Proxies are asked to hand
    /// it on at once.
    pub fn begin_stream(&self, out: &mut Vec<u8>, date: &str, content_type: &str) {
        let headers =
            [("Content-Type", content_type), ("Cache-Control", "no-store, no-transform"), ("X-Accel-Buffering", "no")];
        self.head(out, 200, date, &headers).until_close();
    }

    fn head<'o>(&self, out: &'o mut Vec<u8>, status: u16, date: &str, headers: Headers<'_>) -> Response<'o> {
        let mut response = Response::begin(out, status, date);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        if let Some(origin) = &self.origin {
            response = response.header("Access-Control-Allow-Origin", origin);
            if self.with_credentials {
                response = response.header("Access-Control-Allow-Credentials", "true");
            }
            response = response.header("Access-Control-Expose-Headers", "Retry-After");
        }
        response = response.header("Vary", "Origin");
        response.header("X-Content-Type-Options", "nosniff")
    }
}
