//! HTTP on a shard: requests are read, answered one at a time and in order, or become a WebSocket.

pub(super) mod answer;
pub(super) mod calls;
mod heads;
mod keys;
mod managing;
mod operating;
pub(super) mod polling;
mod publishing;
mod repeats;
mod streams;
pub(super) mod upgrade;

use crate::base::handle::ConnSlot;
use crate::base::time::Now;
use crate::codec::http::{BodyDecoder, CONTINUE, Connection, Framing, RequestHead, parse_head};
use crate::connection::conn::{CloseState, ConnStage};
use crate::connection::http::{Http, Phase, RestRequest};
use crate::dialect::rest::{RestRefusal, RestRouteFault};
use crate::domain::reject::Reject;
use crate::message::ShardNumber;
use crate::shard::ListenerRoles;
use crate::shard::audit::RefusalCause;
use crate::shard::core::Core;
use crate::shard::key_waits::KeyWaiting;
use crate::shard::waiting::Reading;

use answer::{RestAnswers, Routed};
use polling::Polling;
use streams::{Streams, wants_stream};
use upgrade::Upgrade;

/// The outcome of reading one head.
pub(super) enum Step {
    /// So many bytes were read; there may be more.
    Read(usize),
    /// The connection speaks WebSocket from here on, after so many bytes.
    Upgraded(usize),
    /// The request is for another shard, and so is the connection.
    Elsewhere(ShardNumber),
    /// The request waits for its admission, or for keys.
    Waits,
    /// More bytes are needed.
    Incomplete,
    /// The request cannot be served, and the stream not be read on.
    Broken,
}

/// Reads HTTP requests.
pub(super) struct HttpRequests<'a> {
    core: &'a mut Core,
}

impl<'a> HttpRequests<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Handles bytes of a connection that speaks HTTP: reads requests until one of them has to wait, or the bytes end.
    pub(super) fn received(&mut self, now: Now, slot: ConnSlot, input: &mut [u8]) {
        let (mut unread, was_paused) = match &mut self.core.net.conns[slot].stage {
            ConnStage::Http(Some(kept)) => (std::mem::take(&mut kept.unread), std::mem::take(&mut kept.is_paused)),
            _ => (Vec::new(), false),
        };
        // Whether the bytes begin with the kept part of an incomplete request.
        let is_begun = !unread.is_empty() && !was_paused;
        let bytes = match unread.is_empty() {
            true => input,
            false => {
                unread.extend_from_slice(input);
                unread.as_mut_slice()
            }
        };
        let mut at = 0;
        while at < bytes.len() {
            let conn = &mut self.core.net.conns[slot];
            let mut http = match &mut conn.stage {
                ConnStage::Http(kept) if conn.ending == CloseState::None => kept.take().unwrap_or_default(),
                // An answer has ended the connection, or a request has upgraded it.
                _ => return,
            };
            let step = match std::mem::take(&mut http.phase) {
                Phase::Answering(reply) => {
                    http.phase = Phase::Answering(reply);
                    self.core.net.keep(slot, http);
                    break;
                }
                Phase::Post { post, body } => {
                    Polling::on(self.core).read_post(now, slot, http, (post, body), &bytes[at..])
                }
                Phase::Frames { to, reply, body } => {
                    Streams::on(self.core).read(now, slot, http, (to, reply, body), &bytes[at..])
                }
                Phase::Body { request, body } => self.read_body(now, slot, http, (request, body), &bytes[at..]),
                Phase::Head if self.core.net.is_owed_much(slot) => {
                    http.is_paused = true;
                    self.core.net.waiting.look_again(slot);
                    self.core.net.keep(slot, http);
                    break;
                }
                Phase::Head => self.head(now, slot, http, &bytes[at..]),
            };
            match step {
                Step::Read(used) => at += used,
                Step::Upgraded(used) => {
                    let frames = &mut bytes[at + used..];
                    let left = Reading::on(self.core).read(now, slot, frames);
                    return self.core.net.waiting.keep(slot, frames, left);
                }
                Step::Elsewhere(shard) => {
                    if self.core.net.hand_over(slot, shard, &bytes[at..]) {
                        return;
                    }
                    // The bytes that it is owed go first.
                    self.core.net.keep(slot, Box::new(Http { is_paused: true, ..Http::default() }));
                    self.core.net.waiting.look_again(slot);
                    break;
                }
                Step::Waits => {
                    self.core.net.keep(slot, Box::new(Http { is_paused: true, ..Http::default() }));
                    break;
                }
                Step::Incomplete => break,
                Step::Broken => return,
            }
        }
        self.keep_unread(now, slot, &bytes[at..], is_begun && at == 0);
    }

    /// Keeps the unread input, and sets the time it may take to become whole: once, from its first byte, so that a client
    /// gets no more time by sending it bit by bit.
    fn keep_unread(&mut self, now: Now, slot: ConnSlot, unread: &[u8], is_begun: bool) {
        if let ConnStage::Http(kept) = &mut self.core.net.conns[slot].stage
            && !unread.is_empty()
        {
            let http = kept.get_or_insert_default();
            http.unread = unread.to_vec();
            if !is_begun && !http.is_paused && matches!(http.phase, Phase::Head) {
                self.core.net.set_deadline(now, slot, self.core.options.head_ms);
            }
        }
    }

    /// Reads a part of a request's body, and answers the request when that was the last.
    fn read_body(
        &mut self,
        now: Now,
        slot: ConnSlot,
        mut http: Box<Http>,
        (request, mut body): (Box<RestRequest>, BodyDecoder),
        bytes: &[u8],
    ) -> Step {
        match body.feed(bytes) {
            Ok((used, false)) => {
                http.phase = Phase::Body { request, body };
                self.core.net.keep(slot, http);
                Step::Read(used)
            }
            Ok((used, true)) => {
                http.phase = Phase::Answering(request.reply.clone());
                self.core.net.keep(slot, http);
                RestAnswers::on(self.core).call(now, slot, *request, &body.into_bytes());
                Step::Read(used)
            }
            Err(error) => {
                RestAnswers::on(self.core).fail(now, slot, error);
                Step::Broken
            }
        }
    }

    /// Handles a head, once it is whole: the request is answered, or its body awaited, or the connection upgraded.
    fn head(&mut self, now: Now, slot: ConnSlot, mut http: Box<Http>, bytes: &[u8]) -> Step {
        let limits = &self.core.options.head;
        let parsed = if http.scan.is_due(bytes, limits) { parse_head(bytes, limits) } else { Ok(None) };
        let (head, used) = match parsed {
            Ok(Some((head, used))) => (head, used),
            Ok(None) => {
                self.core.net.keep(slot, http);
                return Step::Incomplete;
            }
            Err(error) => {
                RestAnswers::on(self.core).fail(now, slot, error);
                return Step::Broken;
            }
        };
        let head = &head;
        self.core.stats.requests += 1;
        if !self.core.introduces(now, slot, head) {
            RestAnswers::on(self.core).refuse_socket(now, slot);
            return Step::Broken;
        }
        if let Err(refusal) = self.check_place(now, slot, head) {
            return Upgrade::on(self.core).refuse_head(now, slot, head, used, refusal);
        }
        if KeyWaiting::on(self.core).request_must_wait(now, slot, head) {
            return Step::Waits;
        }
        if let Some(step) = self.frames_request(now, slot, head, used) {
            return step;
        }
        if head.method != "OPTIONS"
            && let Some(application) = self.core.net.application(head.path())
        {
            return Polling::on(self.core).session_request(now, slot, application, head, used);
        }
        if self.core.options.socket_io.is_conformance && head.path() == "/echo" {
            return Upgrade::on(self.core).echo_request(now, slot, head, used);
        }
        let mut form = self.core.net.reply_form(slot, head);
        form.access = self.core.access_entry(now, slot, head);
        match RestAnswers::on(self.core).route(now, slot, head, &form) {
            Ok(Routed::Call(request)) => match head.framing {
                Framing::None | Framing::Length(0) => {
                    self.core.net.keep(slot, Http::answering(request.reply.clone()));
                    RestAnswers::on(self.core).call(now, slot, *request, &[]);
                    Step::Read(used)
                }
                framing => match BodyDecoder::new(framing, self.core.options.body_bytes) {
                    Ok(body) => {
                        self.expect_body(slot, head);
                        let phase = Phase::Body { request, body };
                        self.core.net.keep(slot, Box::new(Http { phase, ..Http::default() }));
                        self.core.net.set_deadline(now, slot, self.core.options.head_ms);
                        Step::Read(used)
                    }
                    Err(error) => {
                        RestAnswers::on(self.core).fail(now, slot, error);
                        Step::Broken
                    }
                },
            },
            Ok(Routed::Answered(answer)) | Err(answer) => {
                // A body that is not read could not be told from the next request.
                let has_body = head.has_body();
                form.connection = has_body.then_some(Connection::Close).or(form.connection);
                self.core.net.keep(slot, Http::answering(form));
                RestAnswers::on(self.core).answer(now, slot, answer);
                if has_body { Step::Broken } else { Step::Read(used) }
            }
        }
    }

    /// Serves a request for a WebSocket, or for a stream of frames in place of one.
    fn frames_request(&mut self, now: Now, slot: ConnSlot, head: &RequestHead<'_>, used: usize) -> Option<Step> {
        if head.path() != "/ws" {
            return None;
        }
        let is_stream = wants_stream(head);
        if head.header("upgrade").is_some() || is_stream && head.method == "GET" {
            return Some(Upgrade::on(self.core).upgrade(now, slot, head, used));
        }
        (is_stream && head.method == "POST").then(|| Streams::on(self.core).begin(now, slot, head, used))
    }

    /// Refuses requests of blocked addresses, and, on a listener for operators, those for WebSockets and sessions.
    fn check_place(&mut self, now: Now, slot: ConnSlot, head: &RequestHead<'_>) -> Result<(), RestRefusal> {
        self.check_address(now, slot, head)?;
        let is_for_clients = head.path() == "/ws" || self.core.net.application(head.path()).is_some();
        if is_for_clients && !self.core.net.remotes.roles(slot).serve(ListenerRoles::PUBLIC) {
            return Err(RestRouteFault::NotFound.into());
        }
        Ok(())
    }
    /// Refuses requests of addresses that an admin has blocked, except for the server's health, and on a listener for
    /// operators: an admin that is blocked by mistake can undo it there.
    fn check_address(&mut self, now: Now, slot: ConnSlot, head: &RequestHead<'_>) -> Result<(), Reject> {
        let is_open = matches!(head.path(), "/healthz" | "/readyz")
            || !self.core.net.remotes.roles(slot).serve(ListenerRoles::PUBLIC)
            || !self.core.revocations.list().has_addresses();
        if is_open {
            return Ok(());
        }
        let address = self.core.client_address(now, slot, head);
        let checked = self.core.revocations.list().check_address(now, address);
        checked.inspect_err(|reject| self.core.call_refused(now, slot, head, reject, RefusalCause::Blocked))
    }

    /// Tells a client that waits for it to send the body.
    pub(super) fn expect_body(&mut self, slot: ConnSlot, head: &RequestHead<'_>) {
        if head.expects_continue() {
            let segment = self.core.net.outbound.encode(|out| out.extend_from_slice(CONTINUE));
            self.core.net.push(slot, segment);
        }
    }
}
