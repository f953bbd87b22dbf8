//! Raw clients without WebSockets, where something on the way does not let these pass: the frames to them are the content of
//! one answer that does not end, and theirs come as the bodies of POSTs. All else is as with a WebSocket.

use crate::base::handle::ConnSlot;
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::base::wheel::tick;
use crate::codec::http::{BodyDecoder, RequestHead, sole_query_value};
use crate::codec::recovery;
use crate::connection::http::{Http, Phase, ReplyForm as Form};
use crate::dialect::rest::RestRefusal;
use crate::domain::reject::Reject;
use crate::shard::core::Core;
use crate::shard::http::answer::RestAnswers;
use crate::shard::http::upgrade::Upgrade;
use crate::shard::http::{HttpRequests, Step};
use crate::shard::raw_sockets::RawSockets;

/// Whether a request to `/ws` is for a stream of frames in place of a WebSocket.
pub(super) fn wants_stream(head: &RequestHead<'_>) -> bool {
    let transport = head.query().and_then(|query| sole_query_value(query, "transport").ok().flatten());
    transport.as_deref() == Some("stream") && head.header("upgrade").is_none()
}

/// Takes the frames of such clients.
pub(super) struct Streams<'a> {
    core: &'a mut Core,
}

impl<'a> Streams<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Begins to read the frames of a POST. Its bearer is the recovery token of the connection that they belong to.
    pub(super) fn begin(&mut self, now: Now, slot: ConnSlot, head: &RequestHead<'_>, used: usize) -> Step {
        let token = head.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let connection = recovery::connection_of(token).filter(|id| id.place().node == self.core.options.node);
        let to = match connection.map(|id| (id, id.place().shard)) {
            Some((id, shard)) if shard == self.core.number => self.is_open(id, token).then_some(id),
            Some((_, shard)) if usize::from(shard) < self.core.options.shards => return Step::Elsewhere(shard),
            _ => None,
        };
        let sender = self.core.sender(now, slot, head);
        if !sender.is_allowed() {
            return Upgrade::on(self.core).refuse_head(now, slot, head, used, Reject::origin_refused().into());
        }
        let Some(to) = to else {
            return Upgrade::on(self.core).refuse_head(now, slot, head, used, gone());
        };
        let reply = self.core.net.reply_form(slot, head);
        let body = match BodyDecoder::new(head.framing, self.core.options.body_bytes) {
            Ok(body) => body,
            Err(error) => {
                RestAnswers::on(self.core).fail(now, slot, error);
                return Step::Broken;
            }
        };
        if body.is_complete() {
            self.take(now, slot, to, reply, Vec::new());
            return Step::Read(used);
        }
        HttpRequests::on(self.core).expect_body(slot, head);
        self.core.net.keep(slot, Box::new(Http { phase: Phase::Frames { to, reply, body }, ..Http::default() }));
        self.core.net.set_deadline(now, slot, self.core.options.head_ms);
        Step::Read(used)
    }

    /// Reads a part of the frames.
    pub(super) fn read(
        &mut self,
        now: Now,
        slot: ConnSlot,
        mut http: Box<Http>,
        (to, reply, mut body): (ConnectionId, Form, BodyDecoder),
        bytes: &[u8],
    ) -> Step {
        match body.feed(bytes) {
            Ok((used, false)) => {
                http.phase = Phase::Frames { to, reply, body };
                self.core.net.keep(slot, http);
                Step::Read(used)
            }
            Ok((used, true)) => {
                self.take(now, slot, to, reply, body.into_bytes());
                Step::Read(used)
            }
            Err(error) => {
                RestAnswers::on(self.core).fail(now, slot, error);
                Step::Broken
            }
        }
    }

    /// Hands whole frames to their connection, unless earlier ones still wait there.
    fn take(&mut self, now: Now, slot: ConnSlot, to: ConnectionId, reply: Form, mut frames: Vec<u8>) {
        self.core.net.keep(slot, Http::answering(reply));
        let target = self.core.net.find_conn(to).filter(|target| self.core.net.conns[*target].is_listening());
        let Some(target) = target else {
            return RestAnswers::on(self.core).answer(now, slot, gone().into());
        };
        if self.core.net.waiting.holds(target) {
            return RestAnswers::on(self.core).answer(now, slot, Reject::overloaded().into());
        }
        self.core.net.conns[target].seen = tick(now.mono);
        let left = RawSockets::on(self.core).read(now, target, &mut frames);
        self.core.net.waiting.keep(target, &frames, left);
        RestAnswers::on(self.core).write_answer(now, slot, 204, &[("Cache-Control", "no-store")], b"");
    }

    fn is_open(&self, id: ConnectionId, token: &str) -> bool {
        let is_same = recovery::is_same(token, &self.core.recovery.key.token(id));
        is_same && self.core.net.find_conn(id).is_some_and(|slot| self.core.net.conns[slot].is_listening())
    }
}

fn gone() -> RestRefusal {
    RestRefusal::of_status(404, "No stream is open for this token")
}
