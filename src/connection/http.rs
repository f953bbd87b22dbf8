//! A connection that speaks HTTP: what has come of a request, and what its answer must look like.
//!
//! Requests are answered one at a time and in order. While one is being answered the bytes behind it wait, and when
//! there are too many of them, so does the client.

use crate::codec::http::{BodyDecoder, Connection, HeadScan, Response};
use crate::connection::engineio_socket::SessionLink;
use crate::dialect::rest::RestCallKind;
use crate::domain::access::Identity;
use crate::domain::op::UsersPage;

/// What is kept of a connection that speaks HTTP while something is incomplete or under way.
#[derive(Default)]
pub struct Http {
    /// Bytes that came and have not been read.
    pub unread: Vec<u8>,
    /// How far they have been searched for the end of a head.
    pub scan: HeadScan,
    /// What is under way.
    pub phase: Phase,
    /// What is unread waits for answers to be sent, not for more to come.
    pub is_paused: bool,
    /// The Engine.IO session that the request under way is for.
    pub link: Option<SessionLink>,
}

/// What is under way on an HTTP connection.
#[derive(Default)]
pub enum Phase {
    /// A request's head is awaited.
    #[default]
    Head,
    /// A request's body is awaited.
    Body {
        /// The request.
        request: Box<RestRequest>,
        /// What has come of its body.
        body: BodyDecoder,
    },
    /// The body of a POST to an Engine.IO session is awaited.
    Post {
        /// The request.
        post: Post,
        /// What has come of its body.
        body: BodyDecoder,
    },
    /// The request is being answered.
    Answering(ReplyForm),
}

/// A POST to an Engine.IO session, its head read.
pub struct Post {
    /// Whether its body is said to be bytes.
    pub is_octet_stream: bool,
    /// Whether its body is a form.
    pub is_form: bool,
    /// What its answer must look like.
    pub reply: ReplyForm,
}

/// A request for a call, its head read and its sender known.
pub struct RestRequest {
    /// Which call.
    pub kind: RestCallKind,
    /// The id in its path.
    pub parameter: String,
    /// The page of a list that its query asks for.
    pub page: Option<UsersPage>,
    /// What its body is said to be.
    pub content_type: Option<String>,
    /// `scheme://host` as the client wrote it, for links.
    pub site: String,
    /// Who sends it.
    pub identity: Identity,
    /// What its answer must look like.
    pub reply: ReplyForm,
}

impl Http {
    /// One whose request is being answered.
    pub fn answering(reply: ReplyForm) -> Box<Self> {
        Box::new(Self { phase: Phase::Answering(reply), ..Self::default() })
    }

    /// One whose request an Engine.IO session answers.
    pub fn answered_by(link: SessionLink, reply: ReplyForm) -> Box<Self> {
        Box::new(Self { phase: Phase::Answering(reply), link: Some(link), ..Self::default() })
    }

    /// Whether a request is being answered, and what follows it has to wait.
    pub fn is_answering(&self) -> bool {
        matches!(self.phase, Phase::Answering(_))
    }

    /// Whether a part of a request has come.
    pub fn has_begun(&self) -> bool {
        !self.unread.is_empty() || matches!(self.phase, Phase::Body { .. } | Phase::Post { .. })
    }
}

/// What the answer to a request must look like, whatever it says.
#[derive(Clone, Debug, Default)]
pub struct ReplyForm {
    /// The body is left out (the method was HEAD).
    pub head_only: bool,
    /// What becomes of the connection afterwards.
    pub connection: Option<Connection>,
    /// The page it is shown to, when it comes from another site.
    pub origin: Option<Box<str>>,
}

/// The headers an answer has beside those every answer has.
pub type Headers<'a> = &'a [(&'static str, &'a str)];

/// What scripts and styles the pages may use: their own.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; \
     media-src 'self' blob:; style-src 'self'; script-src 'self'; frame-ancestors 'none'";

impl ReplyForm {
    /// Whether the connection ends with this answer.
    pub fn closes(&self) -> bool {
        self.connection == Some(Connection::Close)
    }

    /// Appends the answer to `out`.
    pub fn write(&self, out: &mut Vec<u8>, status: u16, date: &str, headers: Headers<'_>, body: &[u8]) {
        let mut response = Response::begin(out, status, date);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        if let Some(origin) = &self.origin {
            response = response.header("Access-Control-Allow-Origin", origin);
            response = response.header("Access-Control-Allow-Credentials", "true");
            response = response.header("Access-Control-Expose-Headers", "Retry-After");
        }
        response = response.header("Vary", "Origin");
        response = response.header("X-Content-Type-Options", "nosniff");
        response = response.connection(self.connection.unwrap_or(Connection::Persistent));
        if self.head_only { response.body_omitted(body.len()) } else { response.body(body) }
    }
}
