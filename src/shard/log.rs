//! The log of connections: refused ones, abnormal ends, and in detail each connection's life, under the id that its client
//! knows. Details are logged at the level `debug`, and of the subjects of a filter at `info`. Tokens are never logged, nor
//! the content of messages.

use std::net::IpAddr;

use crate::base::Name;
use crate::base::handle::PeerKey;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::connection::session::Reason;
use crate::domain::access::Identity;
use crate::domain::command::Command;
use crate::domain::log_filter::{LogFilterChange, LogFilters};
use crate::domain::reject::Reject;
use crate::message::ShardMessage;
use crate::shard::core::Core;
use crate::shard::requests::RequestRef;

/// Lines about refused and lost connections in one window, and its length in milliseconds. Clients cause them.
const LINES_MAX: u32 = 100;
const WINDOW_MS: u64 = 1_000;

/// State of the log of a shard's connections.
pub(super) struct ConnectionLog {
    /// Whether the level is `debug`.
    is_debug: bool,
    filters: LogFilters,
    /// The close of a connection, until its peers have been detached.
    closing: Option<Closing>,
    /// Start of a window, in monotonic milliseconds, and the lines and suppressed lines in it.
    window: (u64, u32, u32),
}

/// The close of a connection.
struct Closing {
    /// The close code; 0 of an Engine.IO session.
    code: u16,
    reason: Box<str>,
    /// Whether it is abnormal; `None`: as the departure says.
    is_abnormal: Option<bool>,
}

fn is_debug() -> bool {
    tracing::enabled!(target: "switchboard::connection", tracing::Level::DEBUG)
}

/// A line in detail. Absent fields are not shown.
#[derive(Default)]
pub(super) struct Line<'a> {
    pub(super) event: &'static str,
    pub(super) connection: Option<ConnectionId>,
    pub(super) user: Option<&'a str>,
    pub(super) room: Option<&'a str>,
    /// The kind of a request.
    pub(super) request: Option<&'a str>,
    /// The id that the client gave a request, as JSON.
    pub(super) request_id: Option<&'a str>,
    pub(super) address: Option<IpAddr>,
    /// The code of a refusal, or a close code.
    pub(super) code: Option<&'a str>,
    pub(super) reason: Option<&'a str>,
    pub(super) lasted_ms: Option<u64>,
}

macro_rules! write_line {
    ($level:ident, $target:literal, $line:expr) => {{
        let Line { event, connection, user, room, request, request_id, address, code, reason, lasted_ms } = $line;
        tracing::$level!(
            target: $target,
            connection = connection.map(tracing::field::display),
            user,
            room,
            request,
            request_id,
            address = address.map(tracing::field::display),
            code,
            reason,
            lasted_ms,
            "{event}"
        );
    }};
}

impl ConnectionLog {
    pub(super) fn new() -> Self {
        let is_debug = is_debug();
        Self { is_debug, filters: LogFilters::default(), closing: None, window: (0, 0, 0) }
    }

    /// The level may be another one now.
    pub(super) fn look_at_level(&mut self) {
        self.is_debug = is_debug();
    }

    /// Whether details are logged of any connection.
    pub(super) fn has_details(&self) -> bool {
        self.is_debug || !self.filters.is_empty()
    }

    pub(super) fn filters(&mut self) -> &mut LogFilters {
        &mut self.filters
    }

    /// Notes the close code and reason of the connection that is about to be closed.
    pub(super) fn note_closing(&mut self, code: u16, reason: &str) {
        self.closing = Some(Closing { code, reason: reason.into(), is_abnormal: None });
    }

    /// The same for an Engine.IO session.
    pub(super) fn note_session_over(&mut self, reason: Reason) {
        let is_abnormal = match reason {
            Reason::ParseError | Reason::TransportError | Reason::PingTimeout | Reason::SlowConsumer => true,
            Reason::ClientClose | Reason::TransportClose | Reason::ServerClose | Reason::Replaced => false,
        };
        self.closing = Some(Closing { code: 0, reason: reason.text().into(), is_abnormal: Some(is_abnormal) });
    }

    /// The close code and the reason of the connection that is being closed, where they are known.
    pub(super) fn closing(&self) -> (Option<u16>, Option<&str>) {
        let closing = self.closing.as_ref();
        let code = closing.map(|closing| closing.code).filter(|code| *code != 0);
        (code, closing.map(|closing| &*closing.reason).filter(|reason| !reason.is_empty()))
    }

    /// The connection is closed.
    pub(super) fn end_closing(&mut self) {
        self.closing = None;
    }

    /// Logs a line in detail, where it is of interest.
    #[cold]
    pub(super) fn detail(&mut self, now: Now, line: Line<'_>) {
        if self.is_debug {
            write_line!(debug, "switchboard::connection", line);
        } else if self.filters.find(now, line.connection, line.user, line.room).is_some() {
            write_line!(info, "switchboard::filtered", line);
        }
    }

    /// Logs a line that clients can cause any number of.
    fn bounded(&mut self, now: Now, line: Line<'_>) {
        if now.mono >= self.window.0 + WINDOW_MS {
            let (_, _, lines) = std::mem::replace(&mut self.window, (now.mono, 0, 0));
            if lines > 0 {
                tracing::info!(target: "switchboard::connection", lines, "further refused or lost connections were not logged");
            }
        }
        self.window.1 += 1;
        match self.window.1 <= LINES_MAX {
            true => write_line!(info, "switchboard::connection", line),
            false => self.window.2 += 1,
        }
    }

    /// A client was refused before it was attached.
    pub(super) fn refused(&mut self, now: Now, address: IpAddr, reject: &Reject) {
        let (code, reason) = (Some(reject.code.as_str()), Some(&*reject.text));
        self.bounded(now, Line { event: "client refused", address: Some(address), code, reason, ..Line::default() });
    }

    /// A client has gone. `fallback` is the reason where no close code says it.
    pub(super) fn disconnected(
        &mut self,
        now: Now,
        (connection, user, address): (Option<ConnectionId>, Option<&Name>, IpAddr),
        (fallback, is_abnormal): (&str, bool),
        lasted_ms: u64,
    ) {
        let closing = self.closing.as_ref();
        let is_abnormal = closing.and_then(|closing| closing.is_abnormal).unwrap_or(is_abnormal);
        if !is_abnormal && !self.has_details() {
            return;
        }
        let code = closing.filter(|closing| closing.code != 0).map(|closing| closing.code.to_string());
        let reason: Option<Box<str>> =
            closing.map(|closing| closing.reason.clone()).filter(|reason| !reason.is_empty());
        let line = Line {
            event: "disconnected",
            connection,
            user: user.map(|user| &**user),
            address: Some(address),
            code: code.as_deref(),
            reason: reason.as_deref().or(Some(fallback)),
            lasted_ms: Some(lasted_ms),
            ..Line::default()
        };
        match is_abnormal {
            true => self.bounded(now, line),
            false => self.detail(now, line),
        }
    }
}

/// Logs the acts of peers.
pub(super) struct Logging<'a> {
    core: &'a mut Core,
}

impl<'a> Logging<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Logs a line about a peer.
    #[cold]
    pub(super) fn peer(&mut self, now: Now, peer: PeerKey, line: Line<'_>) {
        let user = self.core.net.identity_of(peer).map(Identity::user_name);
        let connection = Some(self.core.shown_id(peer));
        self.core.metrics.log.detail(now, Line { connection, user: user.as_deref(), ..line });
    }

    /// Logs that a request of a peer is refused.
    #[cold]
    pub(super) fn refused(&mut self, now: Now, peer: PeerKey, id: RequestRef<'_>, reject: &Reject) {
        let ack = id.socketio().ack.map(|ack| ack.to_string());
        let (request_id, event) = (id.raw().or(ack.as_deref()), "request refused");
        let (code, reason) = (Some(reject.code.as_str()), Some(&*reject.text));
        self.peer(now, peer, Line { event, request_id, code, reason, ..Line::default() });
    }

    /// Logs a request of a peer.
    #[cold]
    pub(super) fn request(&mut self, now: Now, peer: PeerKey, id: RequestRef<'_>, command: &Command<'_>) {
        let ack = id.socketio().ack.map(|ack| ack.to_string());
        let (request_id, request) = (id.raw().or(ack.as_deref()), Some(command.name()));
        self.peer(now, peer, Line { event: "request", request, request_id, room: command.room(), ..Line::default() });
    }

    /// Logs that a backend's message has not reached users.
    #[cold]
    pub(super) fn undelivered(&mut self, now: Now, caller: ConnectionId, offline: &[Name]) {
        for user in offline {
            let (connection, user, event) = (Some(caller), Some(&**user), "push not delivered");
            let reason = Some("the user is not connected");
            self.core.metrics.log.detail(now, Line { event, connection, user, reason, ..Line::default() });
        }
    }

    /// Has all threads apply a change of the filters.
    pub(super) fn change(&mut self, now: Now, change: LogFilterChange) {
        for shard in self.core.channels.placement.other_shards(self.core.number) {
            self.core.channels.post(shard, ShardMessage::LogFilter(change.clone()));
        }
        self.core.metrics.log.filters.apply(now, change);
        debug_assert!(
            self.core.metrics.log.filters.list(now).len() <= limits::LOG_FILTERS,
            "invariant: log filters are within their bound"
        );
    }
}
