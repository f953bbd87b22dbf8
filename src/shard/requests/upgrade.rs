//! From HTTP to WebSocket: who may come in, and the first thing they hear.

use crate::base::ids::{self, is_name};
use crate::base::time::Now;
use crate::codec::http::{Framing, RequestHead, query_value};
use crate::codec::ws::{self, AcceptKey, UpgradeError, UpgradeRequest};
use crate::connection::conn::{ConnStage, HandshakeState};
use crate::connection::credentials;
use crate::connection::http::Http;
use crate::connection::websocket::WebSocket;
use crate::dialect::raw;
use crate::dialect::rest::RestRefusal;
use crate::domain::access::Identity;
use crate::domain::op::{Op, UserOp};
use crate::domain::reject::{Code, Reject};
use crate::shard::Shard;
use crate::shard::admission::Entry;
use crate::shard::answers::{Ask, Then};
use crate::shard::peers::seconds;
use crate::shard::requests::Step;

impl Shard {
    /// Makes a connection a WebSocket in the `raw` dialect, or says why not.
    pub(super) fn upgrade(&mut self, now: Now, slot: u32, head: &RequestHead<'_>, used: usize) -> Step {
        let address = match self.enter(now, slot, head) {
            Entry::Open(address) => address,
            Entry::Wait => return Step::Waits,
            Entry::Refused(reject) => return self.refuse_head(now, slot, head, used, reject.into()),
        };
        match self.try_upgrade(now, slot, head) {
            Ok(()) => {
                self.arrivals.comes_from(slot, address);
                Step::Upgraded(used)
            }
            Err(refusal) => {
                self.note_turned_away_upgrade(now, slot, head.header("user-agent"), &refusal.reject);
                self.leave_address(address);
                self.refuse_head(now, slot, head, used, refusal)
            }
        }
    }

    /// Refuses what a head asks for.
    pub(super) fn refuse_head(
        &mut self,
        now: Now,
        slot: u32,
        head: &RequestHead<'_>,
        used: usize,
        refusal: RestRefusal,
    ) -> Step {
        let form = self.reply_form(head);
        let is_last = form.closes() || !matches!(head.framing, Framing::None | Framing::Length(0));
        if is_last {
            self.close_with(now, slot, refusal);
            return Step::Broken;
        }
        self.keep(slot, Http::answering(form));
        self.answer(now, slot, refusal.into());
        Step::Read(used)
    }

    /// What completes the opening handshake that a request is.
    pub(super) fn accept_key(&self, head: &RequestHead<'_>) -> Result<AcceptKey, UpgradeError> {
        let joined = |name| head.headers_named(name).collect::<Vec<_>>().join(", ");
        let (upgrade, connection) = (joined("upgrade"), joined("connection"));
        let handshake = UpgradeRequest {
            method: head.method,
            version: head.version,
            upgrade: Some(&upgrade),
            connection: Some(&connection),
            version_header: head.header("sec-websocket-version"),
            key: head.header("sec-websocket-key"),
        };
        handshake.check()
    }

    fn try_upgrade(&mut self, now: Now, slot: u32, head: &RequestHead<'_>) -> Result<(), RestRefusal> {
        let accept = self.accept_key(head).map_err(|error| RestRefusal::of_status(error.status(), error.text()))?;
        if !self.options.origins.allows(head.header("origin"), head.host()) {
            return Err(Reject::new(Code::Forbidden, "This origin may not connect").into());
        }
        if self.is_draining() {
            return Err(Reject::new(Code::Overloaded, "The server is shutting down").into());
        }
        let (identity, expires_at) = match credentials::token(head) {
            Some(token) => self.verify(&token, now)?,
            None if self.options.guests => (Identity::guest(&ids::random_word(&mut self.rng, 16)), None),
            None => return Err(Reject::new(Code::Unauthenticated, "A token is required").into()),
        };
        let socket = head.query().and_then(|query| query_value(query, "socketId"));
        if socket.as_deref().is_some_and(|socket| !is_name(socket)) {
            return Err(Reject::invalid("socketId must have 1 to 128 bytes and no control characters").into());
        }
        let protocol = credentials::offers_bearer(head).then_some(credentials::BEARER_PROTOCOL);
        let segment = self.outbound.encode(|out| ws::encode_switching_protocols(out, &accept, protocol, None));
        let conn = &mut self.conns[slot as usize];
        self.outbound.push(slot, &mut conn.queue, segment);
        conn.stage = ConnStage::WebSocket(WebSocket::new(now.mono));
        conn.deadline = 0;
        conn.expires_at = expires_at.map_or(0, seconds);
        conn.identity = Some(identity.clone());
        self.rearm(now, slot);
        let connection = self.id_of(slot);
        let ask = Ask { to: Some(connection), request: None, then: Then::Attached };
        let socket = socket.map(|socket| socket.as_ref().into());
        self.arrivals.upgraded(slot, head.header("user-agent"), now);
        self.ask(ask, Op::User(identity.user_name(), UserOp::Attach { connection, by: identity, socket }));
        Ok(())
    }

    /// Makes a connection a WebSocket that sends back what it gets.
    pub(super) fn echo_request(&mut self, now: Now, slot: u32, head: &RequestHead<'_>, used: usize) -> Step {
        match self.accept_key(head) {
            Ok(accept) => {
                self.answer_upgrade(slot, head, &accept);
                let conn = &mut self.conns[slot as usize];
                conn.stage = ConnStage::Echo(ws::FrameDecoder::default());
                conn.deadline = 0;
                Step::Upgraded(used)
            }
            Err(error) => {
                self.close_with(now, slot, RestRefusal::of_status(error.status(), error.text()));
                Step::Broken
            }
        }
    }

    /// Tells a new connection who it is, once: when its user's keeper knows it, so that whatever is sent to the user from
    /// then on reaches it; or sooner when it has said something already, since this is the first thing it hears.
    pub(in crate::shard) fn greet(&mut self, now: Now, slot: u32) {
        let connection = self.id_of(slot);
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        if conn.standing != HandshakeState::New {
            return;
        }
        conn.standing = HandshakeState::Greeted;
        self.stats.opened += 1;
        let Some(identity) = conn.identity.clone() else { return };
        let token = self.recovery_key.token(connection);
        let heartbeat_ms = self.options.heartbeat.interval_ms;
        self.send_raw(slot, |out| {
            raw::connect(out, connection.text().as_str(), identity.user(), heartbeat_ms, &token, now);
        });
    }
}
