//! From a request's head to its answer: who may ask what, and the question that is put for it.

mod probes;

use crate::base::handle::ConnSlot;
use crate::shard::core::Core;
use crate::shard::http::HttpRequests;
use crate::shard::log::Logging;
use crate::shard::sessions::EngineIo;
use std::borrow::Cow;
use std::net::IpAddr;

use crate::base::time::{Now, http_date};
use crate::base::{ids, limits};
use crate::codec::api_key;
use crate::codec::http::{self, Connection, RequestHead};
use crate::codec::ws;
use crate::connection::conn::ConnStage;
use crate::connection::credentials::{HOST_SECRET_HEADER, TokenCarrier};
use crate::connection::forwarded;
use crate::connection::http::Http;
use crate::connection::http::{CONTENT_SECURITY_POLICY, Headers, ListPart, Phase, ReplyForm as Form, RestRequest};
use crate::dialect::rest::{self, RestCall, RestCallKind, RestRefusal, RestRoute, RestRouteFault, ServerStats, Site};
use crate::domain::access::Identity;
use crate::domain::op::{HostClaim, Op, Reply, RoomOp, UserOp};
use crate::domain::query::PartialResult;
use crate::domain::reject::{Code, Reject};
use crate::pages;
use crate::shard::audit::{AuditedAction, RefusalCause};
use crate::shard::http::calls::{CallRequests, CallStep, Calls, PendingCall, host_key};
use crate::shard::http::heads::{check_protocol, cost_of, list_part};
use crate::shard::http::operating::Operating;
use crate::shard::http::repeats::{AfterReply, push_key};
use crate::shard::requests::{Merge, OnReply, PendingRequest, RequestId};

/// An answer, before it is written in the form its request wants.
pub(super) struct Answer {
    status: u16,
    content_type: &'static str,
    body: Cow<'static, [u8]>,
    headers: Vec<(&'static str, String)>,
}

const JSON: &str = "application/json; charset=utf-8";

impl Answer {
    pub(super) fn json(status: u16, body: Vec<u8>) -> Self {
        // Answers are of the moment, and often for their caller only.
        let headers = vec![("Cache-Control", "no-store".to_owned())];
        Self { status, content_type: JSON, body: body.into(), headers }
    }

    /// A page as the answer to a request with this head: not again where the client has it (RFC 9110 §13.1.2).
    fn page(page: pages::WebPage, head: &RequestHead<'_>) -> Self {
        let is_gzip = page.is_gzip && head.accepts_gzip();
        let tag = page.entity_tag(is_gzip);
        let mut headers = vec![
            ("Content-Security-Policy", CONTENT_SECURITY_POLICY.to_owned()),
            ("Cache-Control", "no-cache".to_owned()),
            ("Referrer-Policy", "no-referrer".to_owned()),
            ("Cross-Origin-Opener-Policy", "same-origin".to_owned()),
            ("Cross-Origin-Resource-Policy", if page.is_shared { "cross-origin" } else { "same-origin" }.to_owned()),
        ];
        if page.is_gzip {
            headers.push(("Vary", "Accept-Encoding".to_owned()));
        }
        let mut tags = head.headers_named("if-none-match").flat_map(|list| list.split(',')).map(str::trim);
        let is_known = tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag);
        headers.push(("ETag", tag));
        if is_known {
            return Self { status: 304, content_type: page.content_type, body: Cow::Borrowed(b""), headers };
        }
        if is_gzip {
            headers.push(("Content-Encoding", "gzip".to_owned()));
        }
        let body = if is_gzip { Cow::Borrowed(page.body) } else { page.unpacked() };
        Self { status: 200, content_type: page.content_type, body, headers }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<RestRefusal> for Answer {
    fn from(refusal: RestRefusal) -> Self {
        let answer = Self::json(refusal.status, refusal.answer().body);
        match refusal.status {
            401 => answer.with("WWW-Authenticate", "Bearer"),
            // RFC 6455 §4.4 has the server say which version it speaks.
            426 => answer.with("Upgrade", "websocket").with("Sec-WebSocket-Version", ws::VERSION),
            429 | 503 => answer.with("Retry-After", refusal.reject.retry_after_s.unwrap_or(1).to_string()),
            _ => answer,
        }
    }
}

impl From<Reject> for Answer {
    fn from(reject: Reject) -> Self {
        RestRefusal::from(reject).into()
    }
}

/// The result of routing a request that is not refused.
pub(super) enum Routed {
    Answered(Answer),
    /// A call whose requests are sent when its body has come.
    Call(Box<RestRequest>),
}

/// Answers HTTP requests.
pub(in crate::shard) struct RestAnswers<'a> {
    core: &'a mut Core,
}

impl<'a> RestAnswers<'a> {
    pub(in crate::shard) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// The call that a head begins, or the answer to it; an error if its sender may not go there.
    pub(super) fn route(
        &mut self,
        now: Now,
        slot: ConnSlot,
        head: &RequestHead<'_>,
        form: &Form,
    ) -> Result<Routed, Answer> {
        if head.method == "OPTIONS" {
            return Ok(Routed::Answered(self.options_answer(head, form)));
        }
        check_protocol(head)?;
        let route = rest::route(head.method, head.path()).map_err(|fault| match &fault {
            RestRouteFault::MethodNotAllowed { allow } => {
                let allow = allow.clone();
                Answer::from(RestRefusal::from(fault)).with("Allow", allow)
            }
            RestRouteFault::NotFound => RestRefusal::from(fault).into(),
        })?;
        if !self.is_served(slot, &route) {
            return Err(RestRefusal::from(RestRouteFault::NotFound).into());
        }
        let call = match route {
            RestRoute::Call(call) => call,
            RestRoute::Health => return Ok(Routed::Answered(self.health(now))),
            RestRoute::Ready => return Ok(Routed::Answered(self.ready())),
            RestRoute::Metrics => return self.metrics(now, slot, head).map(Routed::Answered),
            RestRoute::Landing => return Ok(Routed::Answered(Answer::page(pages::LANDING, head))),
            RestRoute::CallPage => return Ok(Routed::Answered(Answer::page(pages::CALL, head))),
            RestRoute::TestFile => return file(pages::test_file(head.path()), head),
            RestRoute::MeetingLink(room) => {
                let answer = Answer::json(302, Vec::new()).with("Location", rest::call_page(&room));
                return Ok(Routed::Answered(answer));
            }
            RestRoute::Asset(name) => return file(pages::asset(&name), head),
            RestRoute::Dashboard(name) => return file(pages::dashboard_file(&name), head),
            RestRoute::ClientBundle(name) => return file(pages::client_bundle(&name), head),
        };
        if call.kind == RestCallKind::DevToken {
            self.check_own_page(slot, head)?;
        }
        let (action, open) = (call.kind.action(), self.core.options.openness);
        let (identity, address) = self.identify(now, slot, head, action.admits_guests(open))?;
        action.check(&identity, open).inspect_err(|reject| {
            self.audit(call.kind.audited(), &identity, address, &call.parameter, Err(reject));
        })?;
        self.core.spend_of(now, &identity, address, cost_of(call.kind)).inspect_err(|reject| {
            self.core.call_refused(now, slot, head, reject, RefusalCause::Rate);
        })?;
        let part = list_part(call.kind, head.query())?;
        let mut reply = form.clone();
        if let Some(access) = &mut reply.access {
            access.user = Some(identity.user_name());
        }
        Ok(Routed::Call(Box::new(RestRequest {
            kind: call.kind,
            part,
            parameter: call.parameter.into_owned(),
            second: call.second.into_owned(),
            content_type: head.header("content-type").map(str::to_owned),
            idempotency_key: head.header("idempotency-key").map(str::to_owned),
            site: self.site(slot, head),
            address,
            claim: HostClaim { by: identity, key: head.header(HOST_SECRET_HEADER).map(host_key) },
            reply,
        })))
    }

    /// Refuses pages of other origins, which `--dev` lets connect: they are to get no credentials.
    fn check_own_page(&self, slot: ConnSlot, head: &RequestHead<'_>) -> Result<(), Reject> {
        let addressed = self.core.net.addressed(slot, head);
        let is_own = |origin| self.core.options.origins.is_own_page(origin, &addressed);
        let is_program = head.header("origin").is_none() && head.header("sec-fetch-site").is_none();
        match is_program || head.header("origin").is_some_and(is_own) {
            true => Ok(()),
            false => Err(Reject::origin_refused()),
        }
    }

    /// `scheme://host` of the server as the sender of a request knows it.
    fn site(&self, slot: ConnSlot, head: &RequestHead<'_>) -> String {
        forwarded::site(&self.core.net.addressed(slot, head))
    }

    /// Who sends a request, its token's bearer, or a guest where guests may come; and from where.
    fn identify(
        &mut self,
        now: Now,
        slot: ConnSlot,
        head: &RequestHead<'_>,
        guests_may: bool,
    ) -> Result<(Identity, IpAddr), Reject> {
        let sender = self.core.sender(now, slot, head);
        if !sender.is_allowed() {
            let reject = Reject::origin_refused();
            self.core.call_refused(now, slot, head, &reject, RefusalCause::Origin);
            return Err(reject);
        }
        let address = self.core.client_address(now, slot, head);
        let admitted = self.core.admission.check(now, address);
        let identity = admitted.and_then(|()| match self.core.net.token(head, sender) {
            Some((key, TokenCarrier::Header)) if api_key::is_key(&key) => self.core.verify_key(now, &key, address),
            Some((token, _)) => Ok(self.core.verify(&token, address, now)?.0),
            None if guests_may && self.core.options.guests => {
                Ok(Identity::guest(&ids::random_word(&mut self.core.rng, 16)))
            }
            None => Err(Reject::new(Code::Unauthenticated, "A token is required")),
        });
        let identity = identity.inspect_err(|reject| {
            self.core.call_refused(now, slot, head, reject, RefusalCause::of(reject));
        })?;
        Ok((identity, address))
    }

    /// Logs a call of an admin or a host.
    fn audit_call(&self, call: &RestCall, by: &Identity, from: IpAddr, outcome: Result<(), &Reject>) {
        let action = call.audited(by);
        if action.is_some() {
            self.audit(action, by, from, &call.subject(), outcome);
        }
    }

    fn audit(&self, action: Option<&str>, by: &Identity, from: IpAddr, on: &str, outcome: Result<(), &Reject>) {
        if let Some(action) = action {
            let outcome = outcome.map_or_else(|reject| reject.code.as_str(), |()| "done");
            self.core.audit.action(&AuditedAction { action, by: by.user(), from, on, outcome });
        }
    }

    /// The answer to OPTIONS: which methods there are, and to a page of another site, that it may use them.
    fn options_answer(&self, head: &RequestHead<'_>, form: &Form) -> Answer {
        let allow = match head.path() {
            "*" => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".to_owned(),
            "/ws" => "GET, POST, OPTIONS".to_owned(),
            path if self.core.net.application(path).is_some() => "GET, POST, OPTIONS".to_owned(),
            path => match rest::allowed(path) {
                Some(allow) => allow,
                None => return RestRefusal::from(RestRouteFault::NotFound).into(),
            },
        };
        let mut answer = Answer::json(204, Vec::new()).with("Allow", allow.clone());
        if form.origin.is_some() {
            let asked = head.header("access-control-request-headers").unwrap_or("authorization, content-type");
            answer = answer.with("Access-Control-Allow-Methods", allow);
            answer = answer.with("Access-Control-Allow-Headers", asked).with("Access-Control-Max-Age", "600");
        }
        answer
    }

    /// Sends the requests of a call whose body has come.
    pub(super) fn call(&mut self, now: Now, slot: ConnSlot, request: RestRequest, body: &[u8]) {
        let (parameter, second) = (request.parameter.as_str().into(), request.second.as_str().into());
        let route = rest::RestCallRoute { kind: request.kind, parameter, second };
        let decoded = rest::decode(&route, request.content_type.as_deref(), body);
        let mut call = match decoded.and_then(|call| call.with_idempotency_key(request.idempotency_key.as_deref())) {
            Ok(call) => call,
            Err(refusal) => return self.answer(now, slot, refusal.into()),
        };
        match (&mut call, request.part) {
            (RestCall::ConnectedUsers(page) | RestCall::Revocations { page, .. }, Some(ListPart::Users(asked))) => {
                *page = asked;
            }
            (RestCall::Manage(managed), Some(ListPart::Users(asked))) => managed.set_page(asked),
            (RestCall::Messages { range, .. }, Some(ListPart::Messages(asked))) => *range = asked,
            (RestCall::Rooms(page), Some(ListPart::Rooms(asked))) => *page = asked.into(),
            _ => {}
        }
        let claim = request.claim;
        let caller = self.core.net.id_of(slot);
        if let Some(outcome) = Operating::on(self.core).answer(now, slot, &call) {
            self.audit_call(&call, &claim.by, request.address, outcome.as_ref().map(|_| ()));
            return match outcome {
                Ok(Some(answer)) => self.answer(now, slot, answer),
                Ok(None) => {}
                Err(reject) => self.answer(now, slot, reject.into()),
            };
        }
        let requests = match Calls::on(self.core).first_requests(now, &mut call, &claim, caller) {
            Ok(requests) => requests,
            Err(reject) => {
                self.audit_call(&call, &claim.by, request.address, Err(&reject));
                return self.answer(now, slot, reject.into());
            }
        };
        if !requests.0.iter().all(|op| self.core.takes(op)) {
            return self.answer(now, slot, Reject::overloaded().into());
        }
        let by = claim.by;
        let per_minute = match by.key_actions().is_empty() {
            true => self.core.options.rules.rest_per_minute,
            false => self.core.options.allowances.key_rest_per_minute,
        };
        let is_free = per_minute == 0 || by.roles().guest;
        // A guest of a REST call is another one each time.
        let count = room_count(&requests).filter(|_| !by.roles().guest && !matches!(call, RestCall::Manage(_)));
        let spend = (!is_free).then_some(UserOp::SpendRestQuota { per_minute });
        let user = by.user_name();
        let key = push_key(&call, request.idempotency_key.as_deref());
        let (address, site) = (request.address, request.site);
        let mut call =
            PendingCall { call, by, address, site, next: Vec::new(), rounds: 0, rooms: None, repeatable: None };
        let requests = call.begin_push(key, requests);
        call.next.push(requests);
        call.next.extend([count, spend].into_iter().flatten().map(|op| (vec![Op::User(user.clone(), op)], None)));
        let first = call.next.pop().expect("invariant: a call has requests");
        self.send(now, slot, call, first);
    }

    /// Sends the requests of a call, all under one number: each to its owner, or to every owner. Without any, the reply is
    /// the initial value.
    fn send(&mut self, now: Now, slot: ConnSlot, call: PendingCall, (ops, initial): CallRequests) {
        let initial = match initial {
            Some(reply) if ops.is_empty() => return self.replied(now, slot, call, Ok(reply)),
            initial => initial,
        };
        let merge = match ops.first() {
            Some(Op::Query(query)) => Merge::Query(query.clone()),
            Some(Op::User(_, UserOp::Push { keep: true, .. })) => Merge::Whole,
            _ => Merge::Limit(call.users_max()),
        };
        let then = OnReply::Rest(Box::new(call));
        let request = PendingRequest::new(self.core.net.id_of(slot), RequestId::Raw(None), then);
        self.core.send_to_all_owners(request, ops, initial, merge);
    }

    /// The replies to a call's requests have come.
    pub(in crate::shard) fn replied(
        &mut self,
        now: Now,
        slot: ConnSlot,
        mut call: PendingCall,
        reply: Result<Reply, Reject>,
    ) {
        let reply = match call.after_reply(reply) {
            AfterReply::Reply(reply) => reply,
            AfterReply::Request(op) => return self.send(now, slot, call, (vec![op], None)),
            AfterReply::Refusal(op, reject) => {
                self.core.send_detached(op);
                Err(reject)
            }
        };
        if reply.is_ok()
            && let Some(requests) = call.next.pop()
        {
            return self.send(now, slot, call, requests);
        }
        let reply = match (&call.call, reply) {
            (RestCall::Revocations { page, .. }, Ok(Reply::PartialResult(PartialResult::Blocked(blocked)))) => {
                Ok(Calls::on(self.core).blocked_addresses(now, page, blocked))
            }
            (_, reply) => reply,
        };
        let reply = match call.next_step(reply) {
            Ok(CallStep::Answer(reply)) => reply,
            Ok(CallStep::Request(requests)) => {
                call.rounds += 1;
                return self.send(now, slot, call, requests);
            }
            Err(reject) => {
                self.audit_call(&call.call, &call.by, call.address, Err(&reject));
                if reject.code == Code::RateLimited {
                    self.core.metrics.call_refused(now, call.address, None, &reject);
                    self.core.count_refusal(now, call.address, &reject, RefusalCause::Rate);
                }
                return self.answer(now, slot, reject.into());
            }
            Ok(CallStep::Push(message)) => {
                call.rounds = 1;
                let caller = self.core.net.id_of(slot);
                let requests = Calls::on(self.core).publish(now, &call.by, &message, caller);
                let requests = call.begin_push(message.idempotency_key, requests);
                return self.send(now, slot, call, requests);
            }
        };
        if let Reply::Pushed(pushed) = &reply
            && self.core.metrics.log.has_details()
        {
            let caller = self.core.net.id_of(slot);
            Logging::on(self.core).undelivered(now, caller, &pushed.offline);
        }
        self.audit_call(&call.call, &call.by, call.address, Ok(()));
        let stats = self.stats_beside(&reply);
        let site = Site { client_url: self.core.options.client_url.as_deref(), origin: &call.site };
        let answer = rest::encode(&call.call, &reply, &site, stats.as_ref(), now);
        self.core.charge_answer_to(now, &call.by, call.address, answer.body.len());
        let location = location(&reply, call.call.kind(), answer.status);
        let mut answer = Answer::json(answer.status, answer.body);
        if let Some(location) = location {
            answer = answer.with("Location", location);
        }
        self.answer(now, slot, answer);
    }

    /// The counters that a list of all rooms is shown with.
    fn stats_beside(&self, reply: &Reply) -> Option<ServerStats<'static>> {
        let Reply::Rooms(rooms) = reply else { return None };
        Some(ServerStats {
            connections: rooms.connections as u64,
            shards: self.core.channels.placement.shards() as u64,
            version: env!("CARGO_PKG_VERSION"),
        })
    }

    /// Writes the answer to the request under way, and goes on to what came after it.
    pub(super) fn answer(&mut self, now: Now, slot: ConnSlot, answer: Answer) {
        // An answer without content has no type either.
        let mut headers = match answer.body.is_empty() {
            true => Vec::new(),
            false => vec![("Content-Type", answer.content_type)],
        };
        headers.extend(answer.headers.iter().map(|(name, value)| (*name, value.as_str())));
        self.write_answer(now, slot, answer.status, &headers, &answer.body);
    }

    /// The same, piece by piece.
    pub(super) fn write_answer(&mut self, now: Now, slot: ConnSlot, status: u16, headers: Headers<'_>, body: &[u8]) {
        let conn = &mut self.core.net.conns[slot];
        let (form, mut unread) = match &mut conn.stage {
            ConnStage::Http(Some(kept)) => match std::mem::take(&mut kept.phase) {
                Phase::Answering(form) => (form, std::mem::take(&mut kept.unread)),
                // The request was answered before.
                _ => return,
            },
            _ => return,
        };
        conn.stage = ConnStage::Http(None);
        self.core.stats.telemetry.answered(status);
        if let Some(access) = &form.access {
            self.core.access.answered(now, access, status, body.len());
        }
        let date = http_date(now.wall);
        self.core.net.push_answer(slot, &form, (status, &date, headers), body);
        if form.closes() {
            return self.core.net.half_close(now, slot);
        }
        self.core.net.set_deadline(now, slot, self.core.options.idle_ms + limits::IDLE_GRACE_MS);
        self.core.net.resumed.push(slot);
        if !unread.is_empty() {
            HttpRequests::on(self.core).received(now, slot, &mut unread);
        }
    }

    /// What came is not HTTP, or not HTTP that is served: says so and closes.
    pub(super) fn fail(&mut self, now: Now, slot: ConnSlot, error: http::HttpError) {
        self.close_with(now, slot, RestRefusal::of_status(error.status(), error.text()));
    }

    /// The same without an explanation.
    pub(super) fn fail_without_body(&mut self, now: Now, slot: ConnSlot, status: u16) {
        self.prepare_last_answer(now, slot);
        self.write_answer(now, slot, status, &[("Cache-Control", "no-store")], b"");
    }

    /// A proxy did not say whose a connection is.
    pub(in crate::shard) fn refuse_proxy_header(&mut self, now: Now, slot: ConnSlot, text: &'static str) {
        self.close_with(now, slot, RestRefusal::of_status(400, text));
    }

    /// An address has too many sockets.
    pub(in crate::shard) fn refuse_socket(&mut self, now: Now, slot: ConnSlot) {
        let reject = self.core.sockets.refusal();
        let address = self.core.net.remotes.address(slot);
        self.core.metrics.turned_away(now, address, None, &reject);
        self.core.stats.refused += 1;
        self.core.net.conns[slot].stage = ConnStage::Http(None);
        self.close_with(now, slot, reject.into());
    }

    /// A request did not come to its end in time.
    pub(in crate::shard) fn request_timed_out(&mut self, now: Now, slot: ConnSlot) {
        self.close_with(now, slot, RestRefusal::of_status(408, "The request took too long to arrive"));
    }

    /// The connection is to end once the request under way, if any, is answered and everything is sent.
    pub(in crate::shard) fn close_after_answer(&mut self, now: Now, slot: ConnSlot) {
        let conn = &mut self.core.net.conns[slot];
        if let ConnStage::Http(Some(http)) = &mut conn.stage
            && let Phase::Answering(form) = &mut http.phase
        {
            form.connection = Some(Connection::Close);
            http.unread = Vec::new();
            return;
        }
        conn.stage = ConnStage::Http(None);
        self.core.net.half_close(now, slot);
    }

    /// Answers whatever was asked with a refusal, and closes.
    pub(super) fn close_with(&mut self, now: Now, slot: ConnSlot, refusal: RestRefusal) {
        self.prepare_last_answer(now, slot);
        self.answer(now, slot, refusal.into());
    }

    fn prepare_last_answer(&mut self, now: Now, slot: ConnSlot) {
        EngineIo::on(self.core).part_from_session(now, slot);
        let form = Form { connection: Some(Connection::Close), ..Form::default() };
        self.core.net.keep(slot, Http::answering(form));
    }
}

/// The answer with a file, if there is one.
fn file(page: Option<pages::WebPage>, head: &RequestHead<'_>) -> Result<Routed, Answer> {
    let page = page.ok_or_else(|| RestRefusal::from(RestRouteFault::NotFound))?;
    Ok(Routed::Answered(Answer::page(page, head)))
}

/// Where a new room is.
fn location(reply: &Reply, kind: RestCallKind, status: u16) -> Option<String> {
    let path = match kind {
        _ if status != 201 => return None,
        RestCallKind::CreateMeeting => "/api/rooms/",
        RestCallKind::CreateRoom => "/rooms/",
        RestCallKind::MakeRoom | RestCallKind::PutRoom => "/api/v1/rooms/",
        _ => return None,
    };
    let Reply::Room(view) = reply else { return None };
    Some(format!("{path}{}", rest::escaped(&view.room)))
}

/// The check that the caller may make the room that these requests make.
fn room_count((ops, _): &CallRequests) -> Option<UserOp> {
    ops.iter().find_map(|op| match op {
        Op::Room(room, RoomOp::Create { .. }) => Some(UserOp::CountRoom { room: Some(room.clone()), is_made: false }),
        _ => None,
    })
}
