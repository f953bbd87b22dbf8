//! Requests for Engine.IO sessions: a session is opened, polled, posted to, or given a WebSocket.
//!
//! A request for a session of another shard goes there with its connection: nothing but the head has been read, and the
//! owner starts from its first byte.

use std::net::IpAddr;

use crate::base::handle::{ConnSlot, SessionSlot, Slot};
use crate::base::time::Now;
use crate::codec::engineio::{EngineIoRefusal, HandshakeQuery, Payload, Transport, Version, jsonp};
use crate::codec::http::{BodyDecoder, Connection, HttpError, RequestHead};
use crate::codec::ws::{AcceptKey, FrameDecoder};
use crate::connection::conn::ConnStage;
use crate::connection::credentials;
use crate::connection::engineio_socket::{EngineIoSocket, SessionLink};
use crate::connection::http::{Http, Phase, Post, ReplyForm as Form};
use crate::connection::origins::Sender;
use crate::connection::session::{EngineIoSession, Poll, SessionRequest, read};
use crate::domain::reject::{Code, Reject};
use crate::domain::trace::FrameDirection;
use crate::shard::admission::AdmissionDecision;
use crate::shard::audit::RefusalCause;
use crate::shard::conformance::Conformance;
use crate::shard::core::Core;
use crate::shard::http::HttpRequests;
use crate::shard::http::Step;
use crate::shard::http::answer::RestAnswers;
use crate::shard::http::upgrade::Upgrade;
use crate::shard::namespaces::Handshake;
use crate::shard::namespaces::Namespacing;
use crate::shard::net::accept_key;
use crate::shard::recovery::proofs::Proving;
use crate::shard::router::Router;
use crate::shard::sessions::EngineIo;
use crate::shard::sessions::{Application, Found};
use crate::shard::trace::Tracing;

const TEXT: &str = "text/html";

/// Serves the requests of sessions.
pub(in crate::shard) struct Polling<'a> {
    core: &'a mut Core,
}

impl<'a> Polling<'a> {
    pub(in crate::shard) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Serves a request for a session, its head being read.
    pub(super) fn session_request(
        &mut self,
        now: Now,
        slot: ConnSlot,
        application: Application,
        head: &RequestHead<'_>,
        used: usize,
    ) -> Step {
        let query = self.served(HandshakeQuery::parse(head.query()));
        let is_upgrade = head.list_contains("upgrade", "websocket");
        let sender = self.session_sender(now, slot, head, &query);
        let request = match read(head.method, &query, is_upgrade, sender.is_allowed()) {
            Ok(_) if query.jsonp.is_some() && !self.core.options.socket_io.jsonp => {
                return self.refuse_request(now, slot, head, used, EngineIoRefusal::Jsonp);
            }
            Ok(request) => request,
            Err(refusal) => {
                if refusal == EngineIoRefusal::Forbidden {
                    let reject = Reject::origin_refused();
                    self.core.turned_away_request(now, slot, head, &reject, RefusalCause::Origin);
                }
                return self.refuse_request(now, slot, head, used, refusal);
            }
        };
        let at = match request {
            SessionRequest::Open { version, transport } => {
                return self.open(now, slot, (head, sender), used, &query, (application, version, transport));
            }
            SessionRequest::Poll { sid } | SessionRequest::Post { sid } | SessionRequest::Upgrade { sid } => {
                match self.core.net.find_session(sid, application) {
                    Found::Here(at) => at,
                    Found::Elsewhere(shard) => return Step::Elsewhere(shard),
                    Found::Nowhere => {
                        return self.refuse_request(now, slot, head, used, EngineIoRefusal::UnknownSession);
                    }
                }
            }
        };
        let link = self.core.net.link_of(at);
        match request {
            SessionRequest::Post { .. } => self.post_begun(now, slot, head, used, link, query.jsonp.is_some()),
            SessionRequest::Upgrade { .. } => {
                let Ok(accept) = accept_key(head) else {
                    return self.refuse_request(now, slot, head, used, EngineIoRefusal::BadRequest);
                };
                self.core.stats.telemetry.engineio_upgrades += 1;
                self.answer_upgrade(now, slot, head, &accept);
                self.become_carrier(slot, link);
                EngineIo::on(self.core).feed(now, at, |session, context| session.upgrade(slot.raw(), context));
                Step::Upgraded(used)
            }
            SessionRequest::Poll { .. } | SessionRequest::Open { .. } => {
                if head.has_body() {
                    return self.refuse_request(now, slot, head, used, EngineIoRefusal::BadRequest);
                }
                let handshake = self.core.net.sessions.list[at].handshake.as_deref();
                if query.jsonp.is_some() && handshake.is_some_and(Handshake::has_cookie_token) {
                    return self.refuse_request(now, slot, head, used, EngineIoRefusal::Jsonp);
                }
                self.await_answer(slot, link, self.core.net.session_form(slot, head));
                Proving::on(self.core).polled(at);
                let poll = Poll { to: slot.raw(), jsonp: query.jsonp };
                EngineIo::on(self.core).feed(now, at, |session, context| session.poll(poll, context));
                Step::Read(used)
            }
        }
    }

    /// The sender of a request for a session. A script says nothing of the page that asks for it, so its cookies never count.
    fn session_sender(
        &mut self,
        now: Now,
        slot: ConnSlot,
        head: &RequestHead<'_>,
        query: &HandshakeQuery<'_>,
    ) -> Sender {
        let is_script = query.jsonp.is_some() && self.core.options.socket_io.jsonp;
        match is_script && head.header("origin").is_none() {
            true => Sender::Program,
            false => self.core.sender(now, slot, head),
        }
    }

    /// Opens a session.
    fn open(
        &mut self,
        now: Now,
        slot: ConnSlot,
        (head, sender): (&RequestHead<'_>, Sender),
        used: usize,
        query: &HandshakeQuery<'_>,
        (application, version, transport): (Application, Version, Transport),
    ) -> Step {
        if head.has_body() {
            return self.refuse_request(now, slot, head, used, EngineIoRefusal::BadRequest);
        }
        let is_denied =
            self.core.options.socket_io.is_client_suite && head.query().is_some_and(|it| it.contains("deny"));
        if is_denied || !EngineIo::on(self.core).takes_sessions() {
            self.core.stats.refused += 1;
            return self.refuse_request(now, slot, head, used, EngineIoRefusal::Forbidden);
        }
        let accept = match transport {
            Transport::Polling => None,
            Transport::WebSocket => match accept_key(head) {
                Ok(accept) => Some(accept),
                Err(_) => return self.refuse_request(now, slot, head, used, EngineIoRefusal::BadRequest),
            },
        };
        let address = match self.core.admit(now, slot, head) {
            AdmissionDecision::Open(address) => address,
            AdmissionDecision::Wait => return Step::Waits,
            AdmissionDecision::Refused(reject) => {
                self.core.turned_away_request(now, slot, head, &reject, RefusalCause::Rate);
                return Upgrade::on(self.core).refuse_head(now, slot, head, used, reject.into());
            }
        };
        // A session that a cookie authenticates is never answered as a script.
        let sender = if query.jsonp.is_some() { Sender::Program } else { sender };
        let handshake = Handshake::of(head, self.core.net.token(head, sender));
        let Some(accept) = accept else {
            let poll = Poll { to: slot.raw(), jsonp: query.jsonp };
            let at = EngineIo::on(self.core).open_session(now, version, application, |nonce, sid, context| {
                EngineIoSession::open_polling(version, nonce, sid, poll, !query.takes_base64_only, context)
            });
            self.await_answer(slot, self.core.net.link_of(at), self.core.net.reply_form(slot, head));
            self.core.stats.telemetry.sessions_opened[0] += 1;
            self.opened(now, at, handshake, address);
            self.note_suite_query(at, head);
            return Step::Read(used);
        };
        self.core.stats.telemetry.sessions_opened[1] += 1;
        self.answer_upgrade(now, slot, head, &accept);
        if Conformance::on(self.core).opens_late(version) {
            self.become_carrier(slot, SessionLink::none());
            Conformance::on(self.core).open_late(now, slot, (version, application), head.query());
        } else {
            let at = self.open_by_websocket(now, slot, (version, application), handshake, address);
            self.note_suite_query(at, head);
        }
        Step::Upgraded(used)
    }

    /// Opens a session on a connection that is a WebSocket now.
    pub(in crate::shard) fn open_by_websocket(
        &mut self,
        now: Now,
        slot: ConnSlot,
        (version, application): (Version, Application),
        handshake: Option<Box<Handshake>>,
        address: IpAddr,
    ) -> SessionSlot {
        let at = EngineIo::on(self.core).open_session(now, version, application, |nonce, sid, context| {
            EngineIoSession::open_websocket(version, nonce, sid, slot.raw(), context)
        });
        self.become_carrier(slot, self.core.net.link_of(at));
        self.opened(now, at, handshake, address);
        at
    }

    /// A session was opened by a request that said this of who sends it.
    fn opened(&mut self, now: Now, at: SessionSlot, handshake: Option<Box<Handshake>>, address: IpAddr) {
        self.core.net.sessions.remotes.insert(at, address, now);
        let agent = handshake.as_ref().and_then(|handshake| handshake.agent.as_deref());
        self.core.net.sessions.remotes.set_agent(at, agent, now);
        let client = &mut self.core.net.sessions.list[at];
        if client.application == Application::SocketIo {
            client.handshake = handshake.and_then(Handshake::to_keep);
            Namespacing::on(self.core).open(now, at);
        } else {
            Conformance::on(self.core).greet(at);
        }
    }

    fn note_suite_query(&mut self, at: SessionSlot, head: &RequestHead<'_>) {
        if self.core.options.socket_io.is_conformance {
            Conformance::on(self.core).note_query(at, head.query());
        }
    }

    /// Tells a client that its connection is a WebSocket from now on.
    pub(super) fn answer_upgrade(&mut self, now: Now, slot: ConnSlot, head: &RequestHead<'_>, accept: &AcceptKey) {
        self.core.note_upgraded(now, slot);
        // As Node.js does, whose clients rely on it.
        let protocol = credentials::subprotocol(head, &["*"]);
        self.core.net.switch_protocols(slot, head, accept, protocol);
    }

    /// Has a connection carry a session, which says from then on how long it may be silent.
    fn become_carrier(&mut self, slot: ConnSlot, link: SessionLink) {
        let conn = &mut self.core.net.conns[slot];
        conn.stage = ConnStage::EngineIoSocket(EngineIoSocket { decoder: FrameDecoder::default(), link });
        conn.deadline = 0;
    }

    /// Has a connection wait until its session answers.
    fn await_answer(&mut self, slot: ConnSlot, link: SessionLink, form: Form) {
        let conn = &mut self.core.net.conns[slot];
        conn.stage = ConnStage::Http(Some(Http::answered_by(link, form)));
        conn.deadline = 0;
    }

    /// Answers a request for a session without asking one.
    fn refuse_request(
        &mut self,
        now: Now,
        slot: ConnSlot,
        head: &RequestHead<'_>,
        used: usize,
        refusal: EngineIoRefusal,
    ) -> Step {
        // Clients of a session that is over open another one.
        if refusal != EngineIoRefusal::UnknownSession {
            let address = self.core.client_address(now, slot, head);
            let is_forbidden = refusal == EngineIoRefusal::Forbidden;
            let code = if is_forbidden { Code::Forbidden } else { Code::InvalidMessage };
            self.core.metrics.log.refused(now, address, &Reject::new(code, refusal.message()));
        }
        let mut form = self.core.net.reply_form(slot, head);
        let is_upgrade = head.list_contains("upgrade", "websocket");
        // A body that nobody reads could not be told from the next request.
        if is_upgrade || head.has_body() {
            form.connection = Some(Connection::Close);
        }
        let is_last = form.closes();
        self.core.net.keep(slot, Http::answering(form));
        let (content_type, body) = match is_upgrade {
            true => (TEXT, refusal.message()),
            false => ("application/json", refusal.body()),
        };
        let headers = [("Content-Type", content_type), ("Cache-Control", "no-store")];
        RestAnswers::on(self.core).write_answer(now, slot, refusal.status(), &headers, body.as_bytes());
        if is_last { Step::Broken } else { Step::Read(used) }
    }

    fn post_begun(
        &mut self,
        now: Now,
        slot: ConnSlot,
        head: &RequestHead<'_>,
        used: usize,
        link: SessionLink,
        is_form: bool,
    ) -> Step {
        if self.core.options.socket_io.is_client_suite
            && let Some(at) = self.core.net.sessions.named(link)
        {
            Conformance::on(self.core).note_cookie(at, head.header("cookie"));
        }
        let body = match BodyDecoder::new(head.framing, self.core.options.socket_io.sessions.payload.payload_bytes) {
            Ok(body) => body,
            Err(error) => return self.post_broken(now, slot, link, error),
        };
        let reply = self.core.net.session_form(slot, head);
        // Should the session refuse it, the body is not read.
        let refused =
            if head.has_body() { Form { connection: Some(Connection::Close), ..reply.clone() } } else { reply.clone() };
        let is_last = refused.closes();
        self.await_answer(slot, link, refused);
        let session = SessionSlot::from_raw(link.session);
        if !EngineIo::on(self.core).feed(now, session, |session, context| session.post_begun(slot.raw(), context)) {
            return if is_last { Step::Broken } else { Step::Read(used) };
        }
        let content_type = head.header("content-type").unwrap_or_default();
        let is_octet_stream =
            content_type.split(';').next().is_some_and(|kind| kind.trim() == "application/octet-stream");
        let post = Post { is_octet_stream, is_form, reply };
        if body.is_complete() {
            self.post_whole(now, slot, link, post, &[]);
            return Step::Read(used);
        }
        HttpRequests::on(self.core).expect_body(slot, head);
        let http = Http { phase: Phase::Post { post, body }, link: Some(link), ..Http::default() };
        self.core.net.keep(slot, Box::new(http));
        self.core.net.set_deadline(now, slot, self.core.options.head_ms);
        Step::Read(used)
    }

    /// Reads a part of a POST's body.
    pub(super) fn read_post(
        &mut self,
        now: Now,
        slot: ConnSlot,
        mut http: Box<Http>,
        (post, mut body): (Post, BodyDecoder),
        bytes: &[u8],
    ) -> Step {
        let Some(link) = http.link else { return Step::Broken };
        match body.feed(bytes) {
            Ok((used, false)) => {
                http.phase = Phase::Post { post, body };
                self.core.net.keep(slot, http);
                Step::Read(used)
            }
            Ok((used, true)) => {
                self.post_whole(now, slot, link, post, &body.into_bytes());
                Step::Read(used)
            }
            Err(error) => self.post_broken(now, slot, link, error),
        }
    }

    /// A query without the version and transport that are not served here.
    fn served<'q>(&self, query: HandshakeQuery<'q>) -> HandshakeQuery<'q> {
        let served = &self.core.options.socket_io;
        let version = query.version.filter(|version| *version != Version::V3 || served.version_3);
        let transport = query.transport.filter(|transport| served.serves(*transport));
        HandshakeQuery { version, transport, ..query }
    }

    /// A POST's body cannot be read. One that is too large is dropped, and its session goes on.
    fn post_broken(&mut self, now: Now, slot: ConnSlot, link: SessionLink, error: HttpError) -> Step {
        if let Some(at) = self.core.net.sessions.named(link) {
            EngineIo::on(self.core).feed(now, at, |session, context| match error.status() {
                413 => session.post_dropped(slot.raw()),
                _ => session.ended(slot.raw(), context),
            });
        }
        match error.status() {
            // As Node.js answers, whose clients look at the status alone.
            413 => RestAnswers::on(self.core).fail_without_body(now, slot, 413),
            _ => RestAnswers::on(self.core).fail(now, slot, error),
        }
        Step::Broken
    }

    /// A POST's body is there: its packets are read.
    fn post_whole(&mut self, now: Now, slot: ConnSlot, link: SessionLink, post: Post, body: &[u8]) {
        let Post { is_octet_stream, is_form, reply } = post;
        self.await_answer(slot, link, reply);
        let Some(at) = self.core.net.sessions.named(link) else {
            let refusal = EngineIoRefusal::UnknownSession;
            let body = refusal.body().as_bytes();
            return self.answer_for_session(now, slot, refusal.status(), "application/json", body);
        };
        if !EngineIo::on(self.core).feed(now, at, |session, context| session.post_whole(slot.raw(), context)) {
            return;
        }
        let text = if is_form { jsonp::decode(body).map(Some) } else { Ok(None) };
        let is_good = match &text {
            Ok(Some(text)) => self.read_payload(now, at, slot, text.as_bytes(), false),
            Ok(None) => self.read_payload(now, at, slot, body, is_octet_stream),
            Err(_) => false,
        };
        if !is_good {
            EngineIo::on(self.core).feed(now, at, |session, context| session.post_fault(slot.raw(), context));
            return;
        }
        match self.core.net.sessions.list.get_mut(at) {
            // Its answer is what has the client send more.
            Some(client) if client.is_busy() && !client.session.is_over() => client.held_post = slot.raw(),
            _ => {
                EngineIo::on(self.core).feed(now, at, |session, context| session.post_read(slot.raw(), context));
            }
        }
    }

    /// Reads the packets of a payload; whether they make sense.
    fn read_payload(&mut self, now: Now, at: SessionSlot, slot: ConnSlot, body: &[u8], is_octet_stream: bool) -> bool {
        if self.core.tracer.is_active() {
            Tracing::on(self.core).polling(now, at, FrameDirection::In, body);
        }
        let Some(client) = self.core.net.sessions.list.get(at) else { return false };
        let limits = self.core.options.socket_io.sessions.payload;
        let payload = client.session.form(is_octet_stream).and_then(|form| Payload::new(form, body, &limits));
        let Ok(mut payload) = payload else { return false };
        let mut scratch = Vec::new();
        loop {
            match payload.next(&mut scratch) {
                Ok(Some(packet)) => {
                    if !EngineIo::on(self.core).packet(now, at, slot, packet) {
                        return false;
                    }
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
            Router::on(self.core).run(now);
        }
    }

    /// What a session says to the request that a connection waits with.
    pub(in crate::shard) fn answer_for_session(
        &mut self,
        now: Now,
        slot: ConnSlot,
        status: u16,
        content_type: &'static str,
        body: &[u8],
    ) {
        let Some(conn) = self.core.net.conns.get(slot) else { return };
        if let ConnStage::Http(Some(http)) = &conn.stage
            && let Some(link) = http.link
            && http.is_answering()
        {
            if self.core.tracer.is_active()
                && let Some(at) = self.core.net.sessions.named(link)
            {
                Tracing::on(self.core).polling(now, at, FrameDirection::Out, body);
            }
            let headers = [("Content-Type", content_type), ("Cache-Control", "no-store")];
            RestAnswers::on(self.core).write_answer(now, slot, status, &headers, body);
        }
    }
}
