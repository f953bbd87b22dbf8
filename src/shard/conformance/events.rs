//! The events that the own tests of `socket.io-client` send, and the answers that they expect.

use crate::base::handle::{SessionSlot, SocketIoSlot};
use crate::base::time::{Now, rfc3339};
use crate::codec::engineio;
use crate::codec::http::query_pairs;
use crate::codec::json::Object;
use crate::codec::socketio::{Arguments, Attachments, MAIN, PacketTarget, SocketIoEvent, begin_ack, begin_event};
use crate::connection::namespace::NamespaceIndex;
use crate::shard::conformance::NAMESPACES;
use crate::shard::core::Core;

/// Events that are answered by another event, with the arguments of that one as JSON.
const ANSWERS: &[(&str, &str, &str)] = &[
    ("hi", "hi", ""),
    ("false", "false", "false"),
    ("getUtf8", "takeUtf8", r#""てすと""#),
    ("getUtf8", "takeUtf8", r#""Я Б Г Д Ж Й""#),
    ("getUtf8", "takeUtf8", r#""Ä ä Ü ü ß""#),
    ("getUtf8", "takeUtf8", r#""utf8 — string""#),
    ("getUtf8", "takeUtf8", r#""utf8 — string""#),
    ("abuff2", "abuff2-ack", ""),
];

/// Events with attachments, and the events that say that these have come.
const BINARY_ANSWERS: &[(&str, &str)] = &[
    ("buffa", "buffack"),
    ("jsonbuff", "jsonbuff-ack"),
    ("blob", "back"),
    ("jsonblob", "jsonblob-ack"),
    ("blob3", "blob3-ack"),
];

/// Events that are answered by one with an attachment.
const BINARY_EVENTS: &[(&str, &str)] = &[("doge", "doge"), ("getbin", "takebin")];

/// That attachment.
const ATTACHMENT: &[u8] = b"asdfasdf";

/// The refusals of the namespaces that let nobody in, or nobody whose handshake has `fail`.
const REFUSED: &str = "Auth failed (custom namespace)";
const FAILED: &str = "Auth failed (main namespace)";

/// The reason for which a client may not connect to a namespace.
pub(super) fn refusal(namespace: &str, query: &str) -> Option<&'static str> {
    match namespace {
        "/no" => Some(REFUSED),
        MAIN if query_pairs(query).any(|(name, value)| name == "fail" && !value.is_empty()) => Some(FAILED),
        _ => None,
    }
}

/// What a client said of itself, as JSON.
pub(super) fn handshake(query: &str, auth: &str) -> String {
    let mut out = Vec::new();
    let mut object = Object::begin(&mut out);
    object.value("query", |out| {
        let mut object = Object::begin(out);
        for (name, value) in query_pairs(query) {
            object.string(&name, &value);
        }
        object.end();
    });
    object.raw("auth", auth).end();
    String::from_utf8(out).expect("invariant: JSON is text")
}

/// Answers the events of one session.
pub(super) struct SuiteEvents<'a> {
    core: &'a mut Core,
    at: SessionSlot,
    space: NamespaceIndex,
}

impl<'a> SuiteEvents<'a> {
    pub(super) fn of(core: &'a mut Core, at: SessionSlot, space: NamespaceIndex) -> Self {
        Self { core, at, space }
    }

    /// Answers an event, if there is an answer.
    pub(super) fn answer(
        &mut self,
        now: Now,
        peer: SocketIoSlot,
        event: SocketIoEvent<'_>,
        id: Option<u64>,
        attachments: Attachments<'_>,
    ) {
        let name = event.plain_name().unwrap_or_default();
        if let Some(id) = id {
            self.answer_call(now, peer, (name, id), event.arguments, attachments);
        }
        if NAMESPACES[usize::from(self.space)] != MAIN {
            return;
        }
        for (_, answer, arguments) in ANSWERS.iter().filter(|(known, ..)| *known == name) {
            self.emit(answer, arguments);
        }
        for (_, answer) in BINARY_ANSWERS.iter().filter(|(known, _)| *known == name && !attachments.is_empty()) {
            self.emit(answer, "");
        }
        for (_, answer) in BINARY_EVENTS.iter().filter(|(known, _)| *known == name) {
            self.emit_binary(answer);
        }
        let date = format!("\"{}\"", rfc3339(now.wall));
        match name {
            "getDate" => self.emit("takeDate", &date),
            "getDateObj" => self.emit("takeDateObj", &format!("{{\"date\":{date}}}")),
            "ack" => self.ask("ack"),
            "message" => self.emit_back("message-back", event.arguments, attachments),
            _ => {}
        }
    }

    /// A client has acknowledged the event `ack`: whether as it should is told.
    pub(super) fn acknowledged(&mut self, arguments: Arguments<'_>) {
        let mut arguments = arguments;
        let is_expected = (arguments.next(), arguments.next()) == (Some("5"), Some(r#"{"test":true}"#));
        if is_expected {
            self.emit("got it", "");
        }
    }

    /// Acknowledges an event that asks for it.
    fn answer_call(
        &mut self,
        now: Now,
        peer: SocketIoSlot,
        (name, id): (&str, u64),
        arguments: Arguments<'_>,
        attachments: Attachments<'_>,
    ) {
        let text = match name {
            "getId" => format!("\"{}\"", self.core.net.id_of(peer).text().as_str()),
            "getAckDate" => format!("\"{}\"", rfc3339(now.wall)),
            "getHandshake" => handshake(self.core.net.sessions.suite_query(self.at), "{}"),
            "echo" | "message-with-ack" => arguments.text().to_owned(),
            _ => return,
        };
        let target = PacketTarget { namespace: self.namespace(), id: Some(id), attachments: attachments.len() };
        self.send(|out| begin_ack(out, &target).raw(&text).end(), attachments);
    }

    fn namespace(&self) -> &'static str {
        NAMESPACES[usize::from(self.space)]
    }

    /// Sends an event with these arguments, as JSON.
    pub(super) fn emit(&mut self, name: &str, arguments: &str) {
        let target = PacketTarget::namespace(self.namespace());
        self.send(|out| begin_event(out, &target, name).raw(arguments).end(), Attachments::default());
    }

    fn emit_back(&mut self, name: &str, arguments: Arguments<'_>, attachments: Attachments<'_>) {
        let target = PacketTarget { namespace: self.namespace(), id: None, attachments: attachments.len() };
        self.send(|out| begin_event(out, &target, name).raw(arguments.text()).end(), attachments);
    }

    fn emit_binary(&mut self, name: &str) {
        let target = PacketTarget { namespace: self.namespace(), id: None, attachments: 1 };
        let version = self.core.net.sessions.list[self.at].session.version();
        self.core.net.send_to_session(self.at, |out| {
            engineio::encode_text(out, |out| {
                begin_event(out, &target, name).placeholder(0).end();
            });
            engineio::encode_binary(out, version, ATTACHMENT);
        });
    }

    /// Sends an event that asks for an acknowledgement.
    fn ask(&mut self, name: &str) {
        if let Some(id) = self.core.net.sessions.list[self.at].namespaces.ask(self.space) {
            let target = PacketTarget { namespace: self.namespace(), id: Some(id), attachments: 0 };
            self.send(|out| begin_event(out, &target, name).end(), Attachments::default());
        }
    }

    fn send(&mut self, write: impl FnOnce(&mut Vec<u8>), attachments: Attachments<'_>) {
        let version = self.core.net.sessions.list[self.at].session.version();
        self.core.net.send_to_session(self.at, |out| {
            engineio::encode_text(out, write);
            for bytes in attachments.iter() {
                engineio::encode_binary(out, version, bytes);
            }
        });
    }
}
