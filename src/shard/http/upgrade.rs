//! From HTTP to WebSocket: the admission of raw clients.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::base::handle::ConnSlot;
use crate::base::ids::{self, is_name};
use crate::base::limits;
use crate::base::time::{Now, http_date};
use crate::codec::http::{RequestHead, sole_query_value};
use crate::codec::ws::{self};
use crate::connection::conn::ConnStage;
use crate::connection::credentials;
use crate::connection::http::Http;
use crate::connection::standing::{Notices, Standing};
use crate::connection::websocket::WebSocket;
use crate::dialect::rest::RestRefusal;
use crate::domain::access::Identity;
use crate::domain::reject::{Code, Reject};
use crate::shard::admission::AdmissionDecision;
use crate::shard::audit::RefusalCause;
use crate::shard::commands::seconds;
use crate::shard::core::Core;
use crate::shard::gate::Gating;
use crate::shard::http::Step;
use crate::shard::http::answer::RestAnswers;
use crate::shard::http::polling::Polling;
use crate::shard::http::streams::wants_stream;
use crate::shard::net::accept_key;

/// Upgrades connections to WebSockets.
pub(in crate::shard) struct Upgrade<'a> {
    core: &'a mut Core,
}

impl<'a> Upgrade<'a> {
    pub(in crate::shard) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Makes a connection a WebSocket in the `raw` dialect, or says why not.
    pub(super) fn upgrade(&mut self, now: Now, slot: ConnSlot, head: &RequestHead<'_>, used: usize) -> Step {
        let address = match self.core.admit(now, slot, head) {
            AdmissionDecision::Open(address) => address,
            AdmissionDecision::Wait => return Step::Waits,
            AdmissionDecision::Refused(reject) => {
                self.core.turned_away_request(now, slot, head, &reject, RefusalCause::Rate);
                return self.refuse_head(now, slot, head, used, reject.into());
            }
        };
        match self.try_upgrade(now, slot, head, address) {
            Ok(()) => {
                self.core.net.remotes.set_address(slot, address);
                self.core.sockets.settled(slot);
                Step::Upgraded(used)
            }
            Err(refusal) => {
                let is_of_origin = !self.core.net.sender(slot, head).is_allowed();
                let cause = if is_of_origin { RefusalCause::Origin } else { RefusalCause::of(&refusal.reject) };
                self.core.turned_away(now, (address, head.header("user-agent")), &refusal.reject, cause);
                self.core.admission.release(address, &mut self.core.channels);
                self.refuse_head(now, slot, head, used, refusal)
            }
        }
    }

    /// Refuses what a head asks for.
    pub(super) fn refuse_head(
        &mut self,
        now: Now,
        slot: ConnSlot,
        head: &RequestHead<'_>,
        used: usize,
        refusal: RestRefusal,
    ) -> Step {
        let mut form = self.core.net.reply_form(slot, head);
        form.access = self.core.access_entry(now, slot, head);
        let is_last = form.closes() || head.has_body();
        if is_last {
            RestAnswers::on(self.core).close_with(now, slot, refusal);
            return Step::Broken;
        }
        self.core.net.keep(slot, Http::answering(form));
        RestAnswers::on(self.core).answer(now, slot, refusal.into());
        Step::Read(used)
    }

    fn try_upgrade(
        &mut self,
        now: Now,
        slot: ConnSlot,
        head: &RequestHead<'_>,
        address: IpAddr,
    ) -> Result<(), RestRefusal> {
        let accept = match wants_stream(head) {
            true => None,
            false => Some(accept_key(head).map_err(|error| RestRefusal::of_status(error.status(), error.text()))?),
        };
        let sender = self.core.sender(now, slot, head);
        if !sender.is_allowed() {
            return Err(Reject::new(Code::Forbidden, "This origin may not connect").into());
        }
        if self.core.net.is_draining {
            return Err(Reject::new(Code::Overloaded, "The server is shutting down").into());
        }
        let (identity, expires_at) = match self.core.net.token(head, sender) {
            Some((token, _)) => self.core.verify(&token, address, now)?,
            None if self.core.options.guests => (Identity::guest(&ids::random_word(&mut self.core.rng, 16)), None),
            None => return Err(self.core.refuse_without_token(address, now).into()),
        };
        let socket = parameter(head, "socketId")?;
        if socket.as_deref().is_some_and(|socket| !is_name(socket)) {
            return Err(Reject::invalid("socketId must have 1 to 128 bytes and no control characters").into());
        }
        let protocol = credentials::subprotocol(head, &self.core.options.subprotocols);
        let events = parameter(head, "events")?;
        let notices = events.as_deref().map_or(Ok(self.core.options.notices), Notices::parse).map_err(unknown_event)?;
        match &accept {
            Some(accept) => self.core.net.switch_protocols(slot, head, accept, protocol),
            None => {
                let form = self.core.net.reply_form(slot, head);
                let date = http_date(now.wall);
                let segment =
                    self.core.net.outbound.encode(|out| form.begin_stream(out, &date, "application/octet-stream"));
                self.core.net.push(slot, segment);
            }
        }
        let conn = &mut self.core.net.conns[slot];
        conn.stage = ConnStage::WebSocket(WebSocket::new(now.mono));
        conn.standing = Standing::new(notices);
        conn.deadline = 0;
        conn.expires_at = expires_at.map_or(0, seconds);
        conn.identity = Some(identity.clone());
        self.core.net.rearm(now, slot);
        let socket = socket.map(|socket| socket.as_ref().into());
        self.core.note_upgraded(now, slot);
        self.core.net.remotes.set_address(slot, address);
        self.core.net.remotes.set_agent(slot, head.header("user-agent"), now);
        Gating::on(self.core).attach(now, slot.into(), (identity, socket), None);
        Ok(())
    }

    /// Makes a connection a WebSocket that sends back what it gets.
    pub(super) fn echo_request(&mut self, now: Now, slot: ConnSlot, head: &RequestHead<'_>, used: usize) -> Step {
        match accept_key(head) {
            Ok(accept) => {
                Polling::on(self.core).answer_upgrade(now, slot, head, &accept);
                let conn = &mut self.core.net.conns[slot];
                conn.stage = ConnStage::Echo(ws::FrameDecoder::default());
                conn.deadline = 0;
                Step::Upgraded(used)
            }
            Err(error) => {
                RestAnswers::on(self.core).close_with(now, slot, RestRefusal::of_status(error.status(), error.text()));
                Step::Broken
            }
        }
    }
}

fn unknown_event(name: &str) -> Reject {
    let shown: String = name.chars().take(limits::LABEL_BYTES).collect();
    Reject::invalid(format!("events must be all, none or a list of connect, disconnect and presence; found {shown:?}"))
}

/// A parameter of the query.
fn parameter<'a>(head: &RequestHead<'a>, name: &str) -> Result<Option<Cow<'a, str>>, Reject> {
    let found = head.query().map_or(Ok(None), |query| sole_query_value(query, name));
    found.map_err(|fault| Reject::invalid(format!("{name} {}", fault.text())))
}
