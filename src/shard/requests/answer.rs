//! From a request's head to its answer: who may ask what, and the question that is put for it.

use std::borrow::Cow;

use crate::base::ids;
use crate::base::time::{Now, http_date};
use crate::codec::http::{self, Connection, Framing, RequestHead};
use crate::codec::json::{self, Object};
use crate::codec::ws;
use crate::connection::conn::ConnStage;
use crate::connection::credentials;
use crate::connection::http::{CONTENT_SECURITY_POLICY, Headers, Phase, ReplyForm as Form, RestRequest};
use crate::dialect::exposition;
use crate::dialect::rest::{self, RestCall, RestCallKind, RestRefusal, RestRoute, RestRouteFault, ServerStats, Site};
use crate::domain::access::Identity;
use crate::domain::monitoring::assess;
use crate::domain::op::{Op, Reply, UserOp};
use crate::domain::reject::{Code, Reject};
use crate::message::{Requester, ShardMessage, redis};
use crate::pages;
use crate::shard::Shard;
use crate::shard::answers::{Ask, Then};
use crate::shard::requests::RestAsk;
use crate::shard::requests::calls::{Next, Questions};

/// What a head alone leads to.
pub(super) enum Admitted {
    /// A call, to be put when its body is there.
    Call(Box<RestRequest>),
    /// An answer, in this form.
    Answered(Form, Answer),
}

/// An answer, before it is written in the form its request wants.
pub(super) struct Answer {
    status: u16,
    content_type: &'static str,
    body: Cow<'static, [u8]>,
    headers: Vec<(&'static str, String)>,
}

const JSON: &str = "application/json; charset=utf-8";

impl Answer {
    fn json(status: u16, body: Vec<u8>) -> Self {
        Self { status, content_type: JSON, body: body.into(), headers: Vec::new() }
    }

    fn page(page: pages::WebPage) -> Self {
        let headers = vec![
            ("Content-Security-Policy", CONTENT_SECURITY_POLICY.to_owned()),
            ("Cache-Control", "no-cache".to_owned()),
            ("Referrer-Policy", "no-referrer".to_owned()),
        ];
        Self { status: 200, content_type: page.content_type, body: Cow::Borrowed(page.body), headers }
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

impl Shard {
    /// What the answer to a request must look like.
    pub(super) fn reply_form(&self, head: &RequestHead<'_>) -> Form {
        let origin = head.header("origin").filter(|origin| self.options.origins.allows(Some(origin), head.host()));
        let connection = if self.is_draining() { Connection::Close } else { head.connection() };
        Form { head_only: head.method == "HEAD", connection: Some(connection), origin: origin.map(Into::into) }
    }

    /// The same for a request of a session: its client is served on until the session is over.
    pub(super) fn session_form(&self, head: &RequestHead<'_>) -> Form {
        Form { connection: Some(head.connection()), ..self.reply_form(head) }
    }

    /// Where a head leads, and whether its sender may go there.
    pub(super) fn admit(&mut self, now: Now, head: &RequestHead<'_>, form: Form) -> Admitted {
        match self.route(now, head, &form) {
            Ok(admitted) => admitted,
            Err(answer) => Admitted::Answered(form, answer),
        }
    }

    fn route(&mut self, now: Now, head: &RequestHead<'_>, form: &Form) -> Result<Admitted, Answer> {
        let origin = head.header("origin");
        if head.method == "OPTIONS" {
            return Err(self.options_answer(head, form));
        }
        if head.path() == "/ws" {
            let text = "This is a WebSocket endpoint: send Upgrade: websocket";
            return Err(RestRefusal::of_status(426, text).into());
        }
        let route = rest::route(head.method, head.path()).map_err(|fault| match &fault {
            RestRouteFault::MethodNotAllowed { allow } => {
                let allow = allow.clone();
                Answer::from(RestRefusal::from(fault)).with("Allow", allow)
            }
            RestRouteFault::NotFound => RestRefusal::from(fault).into(),
        })?;
        let call = match route {
            RestRoute::Call(call) => call,
            RestRoute::Health => return Err(self.health(now)),
            RestRoute::Ready => return Err(self.ready()),
            RestRoute::Metrics => return Err(self.metrics_page(now)),
            RestRoute::Landing => return Err(Answer::page(pages::LANDING)),
            RestRoute::CallPage => return Err(Answer::page(pages::CALL)),
            RestRoute::MeetingLink(room) => {
                return Err(Answer::json(302, Vec::new()).with("Location", rest::call_page(&room)));
            }
            RestRoute::Asset(name) => {
                let page = pages::asset(&name);
                return Err(page.map_or_else(|| RestRefusal::from(RestRouteFault::NotFound).into(), Answer::page));
            }
        };
        if origin.is_some() && form.origin.is_none() {
            return Err(Reject::new(Code::Forbidden, "This origin may not use the server").into());
        }
        let action = call.kind.action();
        let identity = self.identify(now, head, action.admits_guests())?;
        action.check(&identity)?;
        let page = match call.kind {
            RestCallKind::ConnectedUsers => Some(rest::page(head.query())?),
            _ => None,
        };
        if head.framing == Framing::None && rest::needs_body(&call) {
            return Err(RestRefusal::length_required().into());
        }
        Ok(Admitted::Call(Box::new(RestRequest {
            kind: call.kind,
            page,
            parameter: call.parameter.into_owned(),
            content_type: head.header("content-type").map(str::to_owned),
            site: format!("http://{}", head.host().unwrap_or("localhost")),
            identity,
            reply: form.clone(),
        })))
    }

    /// Who sends a request: its token's bearer, or a guest where guests may come.
    fn identify(&mut self, now: Now, head: &RequestHead<'_>, guests_may: bool) -> Result<Identity, Answer> {
        match credentials::token(head) {
            Some(token) => Ok(self.verify(&token, now)?.0),
            None if guests_may && self.options.guests => Ok(Identity::guest(&ids::random_word(&mut self.rng, 16))),
            None => Err(Reject::new(Code::Unauthenticated, "A token is required").into()),
        }
    }

    /// The answer to OPTIONS: which methods there are, and to a page of another site, that it may use them.
    fn options_answer(&self, head: &RequestHead<'_>, form: &Form) -> Answer {
        let allow = match head.path() {
            "*" => "GET, HEAD, POST, PUT, DELETE, OPTIONS".to_owned(),
            "/ws" => "GET, OPTIONS".to_owned(),
            path if self.application(path).is_some() => "GET, POST, OPTIONS".to_owned(),
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

    fn health(&mut self, now: Now) -> Answer {
        let health = self.assess(now);
        let mut body = Vec::new();
        Object::begin(&mut body)
            .string("status", health.level.as_str())
            .string("version", env!("CARGO_PKG_VERSION"))
            .number("uptimeSeconds", now.mono / 1000)
            .list("issues", &health.issues, |out, issue| json::string(out, issue))
            .list("recommendations", &health.recommendations, |out, advice| json::string(out, advice))
            .end();
        Answer::json(200, body)
    }

    fn metrics_page(&mut self, now: Now) -> Answer {
        let (stats, metrics, vitals) = (self.stats_of_all(now), self.totals(now).metrics(), self.vitals(now));
        let text = exposition::write(&stats, &metrics, &vitals, assess(&vitals).level, now.mono / 1000);
        let body = text.into_bytes().into();
        Answer { status: 200, content_type: exposition::CONTENT_TYPE, body, headers: Vec::new() }
    }

    fn ready(&self) -> Answer {
        let mut body = Vec::new();
        let status = match self.lost_redis() {
            _ if self.is_draining() => "draining",
            None => "ready",
            Some(redis::RedisState::Full) => "Redis takes no writes",
            Some(_) => "without Redis",
        };
        Object::begin(&mut body).string("status", status).end();
        if status == "ready" { Answer::json(200, body) } else { Answer::json(503, body).with("Retry-After", "1") }
    }

    /// Puts the questions that a request asks, its body being there.
    pub(super) fn call(&mut self, now: Now, slot: u32, request: RestRequest, body: &[u8]) {
        let route = rest::RestCallRoute { kind: request.kind, parameter: request.parameter.as_str().into() };
        let mut call = match rest::decode(&route, request.content_type.as_deref(), body) {
            Ok(call) => call,
            Err(refusal) => return self.answer(now, slot, refusal.into()),
        };
        if let (RestCall::ConnectedUsers(page), Some(asked)) = (&mut call, request.page) {
            *page = asked;
        }
        let by = request.identity;
        let (ops, gathered) = match self.questions(now, &mut call, &by) {
            Ok(questions) => questions,
            Err(reject) => return self.answer(now, slot, reject.into()),
        };
        let is_open = |op: &Op| match op {
            Op::Room(name, _) | Op::User(name, _) => self.is_open(name),
            _ => true,
        };
        if !ops.iter().all(is_open) {
            return self.answer(now, slot, Reject::overloaded().into());
        }
        let rest = RestAsk { call, by, site: request.site, next: None, rounds: 0, awaited: 0, gathered: None };
        if self.options.rules.rest_per_minute == 0 || rest.by.roles().guest {
            return self.ask_rest(slot, rest, (ops, gathered));
        }
        let spend = Op::User(rest.by.user_name(), UserOp::SpendRestQuota);
        self.ask_rest(slot, RestAsk { next: Some((ops, gathered)), ..rest }, (vec![spend], None));
    }

    /// Puts questions for an HTTP request, all by one number: each to whoever keeps what it is about, or to every shard.
    fn ask_rest(&mut self, slot: u32, mut rest: RestAsk, (ops, gathered): Questions) {
        let mut others = Vec::new();
        for op in &ops {
            for shard in self.placement.others(self.number) {
                others.extend(op.to_every_owner().map(|op| (shard, op)));
            }
        }
        rest.awaited = ops.len() + others.len();
        rest.gathered = gathered;
        let mut ops = ops.into_iter();
        let Some(first) = ops.next() else { return };
        let ask = Ask { to: Some(self.id_of(slot)), request: None, then: Then::Rest(Box::new(rest)) };
        let number = self.ask(ask, first);
        let from = Requester { shard: self.number, ask: number };
        others.extend(ops.map(|op| (self.keeper_of(&op), op)));
        for (shard, op) in others {
            self.post(shard, ShardMessage::Request { from, op });
        }
    }

    /// The answers to a request's questions have come.
    pub(in crate::shard) fn rest_answered(
        &mut self,
        now: Now,
        slot: Option<u32>,
        mut rest: RestAsk,
        reply: Result<Reply, Reject>,
    ) {
        let Some(slot) = slot else { return };
        if let (Some(questions), Ok(_)) = (rest.next.take(), &reply) {
            return self.ask_rest(slot, rest, questions);
        }
        let reply = match self.continue_call(&rest, reply) {
            Ok(Next::Answer(reply)) => reply,
            Ok(Next::Ask(questions)) => {
                rest.rounds += 1;
                return self.ask_rest(slot, rest, questions);
            }
            Err(reject) => return self.answer(now, slot, reject.into()),
        };
        let stats = match &reply {
            Reply::Rooms(rooms) => Some(ServerStats {
                connections: rooms.connections as u64,
                shards: self.placement.shards() as u64,
                version: env!("CARGO_PKG_VERSION"),
            }),
            _ => None,
        };
        let site = Site { client_url: self.options.client_url.as_deref(), origin: &rest.site };
        let answer = rest::encode(&rest.call, &reply, &site, stats.as_ref(), now);
        let location = match (&reply, rest.call.kind()) {
            (Reply::Room(view), RestCallKind::CreateMeeting) => Some(format!("/api/rooms/{}", view.room)),
            (Reply::Room(view), RestCallKind::CreateRoom) => Some(format!("/rooms/{}", view.room)),
            _ => None,
        };
        let mut answer = Answer::json(answer.status, answer.body);
        if let Some(location) = location {
            answer = answer.with("Location", location);
        }
        self.answer(now, slot, answer);
    }

    /// Writes the answer to the request under way, and goes on to what came after it.
    pub(super) fn answer(&mut self, now: Now, slot: u32, answer: Answer) {
        let mut headers = vec![("Content-Type", answer.content_type)];
        headers.extend(answer.headers.iter().map(|(name, value)| (*name, value.as_str())));
        self.write_answer(now, slot, answer.status, &headers, &answer.body);
    }

    /// [`Shard::answer`], piece by piece.
    pub(super) fn write_answer(&mut self, now: Now, slot: u32, status: u16, headers: Headers<'_>, body: &[u8]) {
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        let ConnStage::Http(Some(kept)) = &mut conn.stage else { return };
        let Phase::Answering(form) = std::mem::take(&mut kept.phase) else { return };
        let unread = std::mem::take(&mut kept.unread);
        conn.stage = ConnStage::Http(None);
        let date = http_date(now.wall);
        let segment = self.outbound.encode(|out| form.write(out, status, &date, headers, body));
        self.outbound.push(slot, &mut conn.queue, segment);
        if form.closes() {
            return self.half_close(now, slot);
        }
        self.set_deadline(now, slot, self.options.idle_ms);
        self.resumed.push(slot);
        if !unread.is_empty() {
            let mut unread = unread;
            self.received_http(now, slot, &mut unread);
        }
    }

    /// What came is not HTTP, or not HTTP that is served: says so and closes.
    pub(super) fn fail_http(&mut self, now: Now, slot: u32, error: http::HttpError) {
        self.close_with(now, slot, RestRefusal::of_status(error.status(), error.text()));
    }

    /// A proxy did not say whose a connection is.
    pub(in crate::shard) fn refuse_introduction(&mut self, now: Now, slot: u32, text: &'static str) {
        self.close_with(now, slot, RestRefusal::of_status(400, text));
    }

    /// A request did not come to its end in time.
    pub(in crate::shard) fn request_timed_out(&mut self, now: Now, slot: u32) {
        self.close_with(now, slot, RestRefusal::of_status(408, "The request took too long to arrive"));
    }

    /// The connection is to end once the request under way, if any, is answered and everything is sent.
    pub(in crate::shard) fn close_after_answer(&mut self, now: Now, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        if let ConnStage::Http(Some(http)) = &mut conn.stage
            && let Phase::Answering(form) = &mut http.phase
        {
            form.connection = Some(Connection::Close);
            http.unread = Vec::new();
            return;
        }
        conn.stage = ConnStage::Http(None);
        self.half_close(now, slot);
    }

    /// Answers whatever was asked with a refusal, and closes.
    pub(super) fn close_with(&mut self, now: Now, slot: u32, refusal: RestRefusal) {
        self.part_from_session(now, slot);
        if let Some(conn) = self.conns.get_mut(slot as usize) {
            let form = Form { connection: Some(Connection::Close), ..Form::default() };
            conn.stage = ConnStage::Http(Some(crate::connection::http::Http::answering(form)));
        }
        self.answer(now, slot, refusal.into());
    }
}
