//! HTTP on a shard: requests are read, answered one at a time and in order, or become a WebSocket.

mod answer;
mod calls;
mod polling;
mod upgrade;

use crate::base::limits;
use crate::base::time::Now;
use crate::codec::http::{BodyDecoder, CONTINUE, Connection, Framing, RequestHead, parse_head};
use crate::connection::conn::{CloseState, ConnStage};
use crate::connection::http::{Http, Phase, RestRequest};
use crate::dialect::rest::RestCall;
use crate::domain::access::Identity;
use crate::domain::op::Reply;
use crate::message::ShardNumber;
use crate::shard::Shard;

use answer::Admitted;
use calls::Questions;

/// A REST call whose answer is awaited.
pub(super) struct RestAsk {
    call: RestCall,
    by: Identity,
    site: String,
    /// The questions themselves, while it is asked whether the caller may put them, and what their answers add up to.
    next: Option<Questions>,
    /// Questions that an answer has led to.
    rounds: u8,
    /// Keepers that have not answered yet.
    awaited: usize,
    /// What those that have said, where that adds up.
    gathered: Option<Reply>,
}

/// What reading one head came to.
enum Step {
    /// So many bytes were read; there may be more.
    Read(usize),
    /// The connection speaks WebSocket from here on, after so many bytes.
    Upgraded(usize),
    /// The request is for another shard, and so is the connection.
    Elsewhere(ShardNumber),
    /// Whether it may be served is being asked.
    Waits,
    /// The request cannot be served, and the stream not be read on.
    Broken,
}

impl Shard {
    /// Bytes came on a connection that speaks HTTP.
    pub(super) fn received_http(&mut self, now: Now, slot: u32, input: &mut [u8]) {
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        let ConnStage::Http(kept) = &mut conn.stage else { return };
        let was_paused = kept.as_mut().is_some_and(|http| std::mem::take(&mut http.is_paused));
        match kept.as_mut().map(|http| std::mem::take(&mut http.unread)) {
            Some(mut unread) if !unread.is_empty() => {
                unread.extend_from_slice(input);
                self.read_http(now, slot, &mut unread, !was_paused);
            }
            _ => self.read_http(now, slot, input, false),
        }
    }

    /// Whether so many answers wait to be sent that the next request has to wait as well.
    fn is_owed_much(&self, slot: u32) -> bool {
        let Some(conn) = self.conns.get(slot as usize) else { return false };
        conn.queue.backlog.is_some() || self.outbound.share_bytes(&conn.queue) > limits::ANSWERS_BYTES
    }

    /// Reads requests from `bytes` until one of them has to be waited for, or they end. `is_begun`: they begin with what
    /// was kept of an incomplete one.
    fn read_http(&mut self, now: Now, slot: u32, bytes: &mut [u8], is_begun: bool) {
        let mut at = 0;
        while at < bytes.len() {
            let Some(conn) = self.conns.get_mut(slot as usize) else { return };
            if conn.ending != CloseState::None {
                return;
            }
            let ConnStage::Http(kept) = &mut conn.stage else { return };
            let mut http = kept.take().unwrap_or_default();
            let step = match std::mem::take(&mut http.phase) {
                Phase::Answering(reply) => {
                    http.phase = Phase::Answering(reply);
                    self.keep(slot, http);
                    break;
                }
                Phase::Post { post, body } => self.read_post(now, slot, http, (post, body), &bytes[at..]),
                Phase::Body { request, body } => self.read_body(now, slot, http, (request, body), &bytes[at..]),
                Phase::Head if self.is_owed_much(slot) => {
                    http.is_paused = true;
                    self.waiting.look_again(slot);
                    self.keep(slot, http);
                    break;
                }
                Phase::Head => {
                    if !http.scan.is_due(&bytes[at..], &self.options.head) {
                        self.keep(slot, http);
                        break;
                    }
                    match parse_head(&bytes[at..], &self.options.head) {
                        Ok(Some((head, used))) => self.head(now, slot, &head, used),
                        Ok(None) => {
                            self.keep(slot, http);
                            break;
                        }
                        Err(error) => {
                            self.fail_http(now, slot, error);
                            Step::Broken
                        }
                    }
                }
            };
            match step {
                Step::Read(used) => at += used,
                Step::Upgraded(used) => return self.received_frames(now, slot, &mut bytes[at + used..]),
                Step::Elsewhere(shard) => {
                    if self.hand_over(slot, shard, &bytes[at..]) {
                        return;
                    }
                    // What it is owed goes first.
                    self.keep(slot, Box::new(Http { is_paused: true, ..Http::default() }));
                    self.waiting.look_again(slot);
                    break;
                }
                Step::Waits => {
                    self.keep(slot, Box::new(Http { is_paused: true, ..Http::default() }));
                    break;
                }
                Step::Broken => return,
            }
        }
        self.keep_unread(now, slot, &bytes[at..], is_begun && at == 0);
    }

    fn keep(&mut self, slot: u32, http: Box<Http>) {
        if let Some(conn) = self.conns.get_mut(slot as usize) {
            conn.stage = ConnStage::Http(Some(http));
        }
    }

    /// Keeps what has not been read, and sets the time it may take to become whole: once, from its first byte, so that
    /// nobody gets more by sending it bit by bit.
    fn keep_unread(&mut self, now: Now, slot: u32, unread: &[u8], is_begun: bool) {
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        let ConnStage::Http(kept) = &mut conn.stage else { return };
        if unread.is_empty() {
            return;
        }
        let http = kept.get_or_insert_default();
        http.unread = unread.to_vec();
        if !is_begun && !http.is_paused && matches!(http.phase, Phase::Head) {
            self.set_deadline(now, slot, self.options.head_ms);
        }
    }

    /// Reads a part of a request's body, and answers the request when that was the last.
    fn read_body(
        &mut self,
        now: Now,
        slot: u32,
        mut http: Box<Http>,
        (request, mut body): (Box<RestRequest>, BodyDecoder),
        bytes: &[u8],
    ) -> Step {
        match body.feed(bytes) {
            Ok((used, false)) => {
                http.phase = Phase::Body { request, body };
                self.keep(slot, http);
                Step::Read(used)
            }
            Ok((used, true)) => {
                http.phase = Phase::Answering(request.reply.clone());
                self.keep(slot, http);
                self.call(now, slot, *request, &body.into_bytes());
                Step::Read(used)
            }
            Err(error) => {
                self.fail_http(now, slot, error);
                Step::Broken
            }
        }
    }

    /// A whole head has come: the request is answered, or its body awaited, or the connection upgraded.
    fn head(&mut self, now: Now, slot: u32, head: &RequestHead<'_>, used: usize) -> Step {
        self.stats.requests += 1;
        if head.path() == "/ws" && head.header("upgrade").is_some() {
            return self.upgrade(now, slot, head, used);
        }
        if head.method != "OPTIONS"
            && let Some(application) = self.application(head.path())
        {
            return self.session_request(now, slot, application, head, used);
        }
        if self.options.socket_io.is_conformance && head.path() == "/echo" {
            return self.echo_request(now, slot, head, used);
        }
        let form = self.reply_form(head);
        match self.admit(now, head, form) {
            Admitted::Call(request) => match head.framing {
                Framing::None | Framing::Length(0) => {
                    self.keep(slot, Http::answering(request.reply.clone()));
                    self.call(now, slot, *request, &[]);
                    Step::Read(used)
                }
                framing => match BodyDecoder::new(framing, self.options.body_bytes) {
                    Ok(body) => self.await_body(now, slot, head, (request, body), used),
                    Err(error) => {
                        self.fail_http(now, slot, error);
                        Step::Broken
                    }
                },
            },
            Admitted::Answered(mut form, answer) => {
                // A body that nobody reads could not be told from the next request.
                let has_body = !matches!(head.framing, Framing::None | Framing::Length(0));
                if has_body {
                    form.connection = Some(Connection::Close);
                }
                self.keep(slot, Http::answering(form));
                self.answer(now, slot, answer);
                if has_body { Step::Broken } else { Step::Read(used) }
            }
        }
    }

    fn await_body(
        &mut self,
        now: Now,
        slot: u32,
        head: &RequestHead<'_>,
        (request, body): (Box<RestRequest>, BodyDecoder),
        used: usize,
    ) -> Step {
        self.expect_body(slot, head);
        self.keep(slot, Box::new(Http { phase: Phase::Body { request, body }, ..Http::default() }));
        self.set_deadline(now, slot, self.options.head_ms);
        Step::Read(used)
    }

    /// Tells a client that waits for it to send the body.
    fn expect_body(&mut self, slot: u32, head: &RequestHead<'_>) {
        if head.expects_continue() {
            let segment = self.outbound.encode(|out| out.extend_from_slice(CONTINUE));
            self.push(slot, segment);
        }
    }
}
