//! The dialects of Socket.IO behind one interface.
//!
//! A dialect decodes events of its clients ([`decode`]), and encodes events for them ([`encode`]), answers ([`answer`])
//! and greetings ([`greet`]). The output is whole Engine.IO messages as WebSocket frames, namespace included, so that
//! all receivers of a dialect share one copy, on any transport.
//!
//! `colon` answers by acks and sends events in addition. `notify` and `camel` answer by events and send an ack in
//! addition if the client asked for one. An event without an equivalent in a dialect is not sent to its clients.

mod answer;

use crate::base::time::Now;
use crate::codec::engineio;
use crate::codec::socketio::{self, Arguments, PacketTarget};
use crate::dialect::{camel, colon, notify};
use crate::domain::access::Identity;
use crate::domain::command::{Command, Opaque};
use crate::domain::connection::ConnectionView;
use crate::domain::event::{Content, Event, Joined, Message};
use crate::domain::history::{History, Marks, Unread};
use crate::domain::op::{PresenceView, Sent};
use crate::domain::query_result::QueryResult;
use crate::domain::reject::{Code, Reject};

pub use answer::answer;

/// A dialect of Socket.IO: the names and shapes of commands and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Dialect {
    /// In the main namespace.
    Notify,
    /// In `/chat`, with names such as `message:send`.
    Colon,
    /// In `/chat`, with names such as `sendMessage`.
    Camel,
    /// In a namespace of the application, with its own events; none of the other dialects' are sent there.
    App,
}

/// The namespaces of the server's own dialects.
pub const NAMESPACES: [&str; 2] = [socketio::MAIN, "/chat"];

/// The names of all dialects, by number.
pub const DIALECT_NAMES: [&str; DIALECTS + 1] =
    [Dialect::Notify.name(), Dialect::Colon.name(), Dialect::Camel.name(), Dialect::App.name()];

/// The number of dialects with events of their own.
pub const DIALECTS: usize = 3;

impl Dialect {
    /// All dialects with events of their own, in the order of their discriminants.
    pub const ALL: [Self; DIALECTS] = [Self::Notify, Self::Colon, Self::Camel];

    /// Its namespace; empty for those of the application, of which there may be several.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Notify => NAMESPACES[0],
            Self::Colon | Self::Camel => NAMESPACES[1],
            Self::App => "",
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Colon => "colon",
            Self::Camel => "camel",
            Self::App => "app",
        }
    }

    /// Its number, from 1.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The dialect of this number.
    pub fn numbered(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.number() == number)
    }

    /// The dialect of this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "notify" => Some(Self::Notify),
            "colon" => Some(Self::Colon),
            "camel" => Some(Self::Camel),
            _ => None,
        }
    }

    /// The dialect of a client until its first event identifies it. Clients of `colon` send their token in the payload
    /// of their CONNECT packet.
    pub fn expected_in(namespace: &str, sends_token: bool) -> Self {
        match (namespace == socketio::MAIN, sends_token) {
            (true, _) => Self::Notify,
            (false, true) => Self::Colon,
            (false, false) => Self::Camel,
        }
    }

    /// The dialect that an event of this name identifies, if it does.
    pub fn told_by(namespace: &str, name: &str) -> Option<Self> {
        if namespace == socketio::MAIN {
            return None;
        }
        let is_colon = colon::RequestName::parse(name).is_some_and(|request| !request.is_shared());
        let is_camel = camel::RequestName::parse(name).is_some_and(|request| !request.is_shared());
        is_colon.then_some(Self::Colon).or(is_camel.then_some(Self::Camel))
    }

    /// Whether the sender of a message to a room receives the event, too.
    pub fn hears_itself(self) -> bool {
        matches!(self, Self::Colon | Self::Camel)
    }
}

/// The request that an answer belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyTo {
    /// The number of the ack that the client asked for, if it did.
    pub ack: Option<u64>,
    event: RequestEvent,
}

/// The event of a request, by the first dialect that has one of that name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum RequestEvent {
    /// An unknown event, or no request.
    #[default]
    None,
    Notify(notify::RequestName),
    Colon(colon::RequestName),
    Camel(camel::RequestName),
}

impl ReplyTo {
    /// For a request with the event `name`.
    pub fn new(ack: Option<u64>, name: &str) -> Self {
        let event = notify::RequestName::parse(name).map(RequestEvent::Notify);
        let event = event.or_else(|| colon::RequestName::parse(name).map(RequestEvent::Colon));
        let event = event.or_else(|| camel::RequestName::parse(name).map(RequestEvent::Camel));
        Self { ack, event: event.unwrap_or_default() }
    }

    /// The name of the request's event; empty for an unknown event, and without a request.
    pub fn event(self) -> &'static str {
        match self.event {
            RequestEvent::None => "",
            RequestEvent::Notify(request) => request.name(),
            RequestEvent::Colon(request) => request.name(),
            RequestEvent::Camel(request) => request.name(),
        }
    }
}

/// The answer to a request. "You" is the client.
#[derive(Clone, Copy, Debug)]
pub enum SocketIoAnswer<'a> {
    /// You are a member.
    Joined(&'a Joined),
    /// You are no longer a member of this room.
    Left(&'a str),
    /// Your message to this room was accepted. Sender and content are present if the answer repeats them.
    Sent(&'a Sent, &'a str, Option<(&'a Identity, &'a Content)>),
    /// Earlier messages.
    History(&'a History),
    /// The receipts of a message.
    Receipts(&'a Marks),
    /// The number of messages that you have not read.
    Unread(&'a Unread),
    /// The token was renewed.
    Authenticated {
        /// The user.
        user: &'a str,
        /// The connection, as its client knows it.
        socket: &'a str,
        /// When it expires, in seconds since 1970; never when absent.
        expires_at: Option<u64>,
    },
    /// A recovery token was created.
    TokenMade {
        /// The token.
        token: &'a str,
        /// How long after the loss of the connection it is valid, in milliseconds.
        window_ms: u64,
    },
    /// You have recovered the session of the lost connection.
    Recovered {
        /// The user.
        user: &'a str,
        /// The connection as it is now.
        view: &'a ConnectionView,
        /// When the lost connection connected, in milliseconds since 1970.
        connected_at: u64,
        /// The recovery token of the connection as it is now.
        token: &'a str,
        /// The rooms with missed messages that could not be found.
        gaps: &'a [&'a str],
        /// The missed messages.
        messages: &'a [&'a Message],
    },
    /// The server answers, and repeats this value.
    Pong(Option<Opaque<'a>>),
    /// The result of a query.
    Found(&'a QueryResult),
    /// It is done.
    Done,
    /// It is not granted.
    Refused(&'a Reject),
}

/// Reads a client's event. `content_bytes` bounds a message's content.
///
/// # Errors
/// The event is unknown, or an argument is wrong.
pub fn decode<'a>(
    dialect: Dialect,
    name: Option<&str>,
    arguments: Arguments<'a>,
    content_bytes: usize,
) -> Result<Command<'a>, Reject> {
    let name = name.ok_or_else(|| Reject::new(Code::UnknownType, "There is no such event here"))?;
    match dialect {
        Dialect::Notify => {
            notify::decode(name, arguments, content_bytes).map(|it| it.command).map_err(|fault| fault.reject)
        }
        Dialect::Colon => {
            colon::decode(name, arguments, content_bytes).map(|it| it.command).map_err(|fault| fault.reject)
        }
        Dialect::Camel => {
            camel::decode(name, arguments, content_bytes).map(|it| it.command).map_err(|fault| fault.reject)
        }
        Dialect::App => Err(Reject::new(Code::UnknownType, "There is no such event here")),
    }
}

/// Appends an event; no bytes if the dialect has no equivalent.
pub fn encode(out: &mut Vec<u8>, dialect: Dialect, event: &Event, now: Now) {
    let start = out.len();
    let mut is_told = false;
    emit(out, dialect, |out| {
        is_told = match dialect {
            Dialect::Notify => notify::encode(out, event, now),
            Dialect::Colon => colon::encode(out, event, now),
            Dialect::Camel => camel::encode(out, event, now),
            Dialect::App => false,
        };
    });
    if !is_told {
        out.truncate(start);
    }
}

/// Appends the event of a message of a room; no bytes if the dialect has no equivalent.
pub fn message(out: &mut Vec<u8>, dialect: Dialect, message: &Message) {
    match dialect {
        Dialect::Notify => {}
        Dialect::Colon => emit(out, dialect, |out| colon::message_new(out, message)),
        Dialect::Camel => emit(out, dialect, |out| camel::new_message(out, message)),
        Dialect::App => {}
    }
}

/// Appends the first event of a connected peer; no bytes if the dialect has no greeting.
pub fn greet(out: &mut Vec<u8>, dialect: Dialect, user: &str, socket: &str) {
    if dialect == Dialect::Notify {
        emit(out, dialect, |out| notify::authenticated(out, user, socket));
    }
}

/// Appends the users online, as clients of `colon` receive them once they are connected. `total` includes the users
/// beyond the list's bound.
pub fn greet_with_users(out: &mut Vec<u8>, users: &[PresenceView], total: usize) {
    emit(out, Dialect::Colon, |out| {
        colon::users_online(out, users.iter().map(colon::OnlineUserView::of), total as u64)
    });
}

/// Appends an event; `write` appends its array.
fn emit(out: &mut Vec<u8>, dialect: Dialect, write: impl FnOnce(&mut Vec<u8>)) {
    let target = PacketTarget::namespace(dialect.namespace());
    engineio::encode_text(out, |out| socketio::encode_event(out, &target, write));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ws;
    use crate::dialect::events::samples;
    use crate::domain::command::Status;

    const NOW: Now = samples::NOW;

    fn decoded(dialect: Dialect, text: &str) -> Result<String, Code> {
        samples::heard(text, |name, arguments| {
            let command = decode(dialect, Some(name), arguments, 1_000);
            command.map(|command| format!("{command:?}")).map_err(|reject| reject.code)
        })
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<String> {
        let mut out = Vec::new();
        write(&mut out);
        ws::frames(&out).map(|(_, text)| String::from_utf8_lossy(text).into_owned()).collect()
    }

    fn answered(dialect: Dialect, ack: Option<u64>, name: &str, given: &SocketIoAnswer<'_>) -> Vec<String> {
        written(|out| answer(out, dialect, ReplyTo::new(ack, name), given, NOW))
    }

    #[test]
    fn an_event_tells_which_dialect_a_client_speaks() {
        assert_eq!(Dialect::told_by("/chat", "join:chat"), Some(Dialect::Colon));
        assert_eq!(Dialect::told_by("/chat", "joinRoom"), Some(Dialect::Camel));
        for (namespace, name) in [("/chat", "offer"), ("/chat", "heartbeat"), ("/chat", "x"), ("/", "joinRoom")] {
            assert_eq!(Dialect::told_by(namespace, name), None);
        }
    }

    #[test]
    fn each_dialect_takes_its_own_events_and_signaling() {
        let offer = r#"2["offer",{"roomId":"r","toPeerId":"p","offer":{"sdp":"x"}}]"#;
        for dialect in Dialect::ALL {
            assert!(decoded(dialect, offer).expect("good").contains("sdp"));
            assert_eq!(decoded(dialect, r#"2["offer",{}]"#), Err(Code::InvalidMessage));
        }
        assert_eq!(decoded(Dialect::Notify, r#"2["ping"]"#), Ok("Ping".to_owned()));
        assert!(decoded(Dialect::Camel, r#"2["joinRoom","r"]"#).is_ok());
        assert_eq!(decoded(Dialect::Colon, r#"2["joinRoom","r"]"#), Err(Code::UnknownType));
        assert_eq!(decoded(Dialect::Notify, r#"2["joinRoom","r"]"#), Err(Code::UnknownType));
    }

    #[test]
    fn reply_to_known_event_keeps_its_name() {
        for (ack, name, event) in [
            (None, "", ""),
            (Some(0), "message:send", "message:send"),
            (None, "joinRoom", "joinRoom"),
            (None, "ping", "ping"),
            (Some(u64::MAX), "with spaces in it", ""),
        ] {
            let to = ReplyTo::new(ack, name);
            assert_eq!((to.ack, to.event()), (ack, event));
        }
    }

    #[test]
    fn an_event_is_told_where_there_is_a_word_for_it() {
        let event = samples::presence(Status::Busy);
        let fields = r#""status":"busy","lastSeen":"2025-01-09T21:30:00.000Z"}"#;
        let named = format!(r#"{{"userId":"user-uuid","username":"username",{fields}"#);
        let told = |dialect| written(|out| encode(out, dialect, &event, NOW));
        assert_eq!(told(Dialect::Colon), [format!(r#"42/chat,["user:status-changed",{named}]"#)]);
        assert_eq!(told(Dialect::Camel), [format!(r#"42/chat,["presenceUpdate",{{"userId":"user-uuid",{fields}]"#)]);
        assert_eq!(told(Dialect::Notify), [""; 0]);
    }

    #[test]
    fn colon_answers_by_ack_and_camel_by_event_and_ack() {
        let left = SocketIoAnswer::Left("r");
        let event = r#"42/chat,["room:left",{"chatId":"r"}]"#;
        let ack = r#"43/chat,3[{"success":true,"message":"Left chat successfully"}]"#;
        assert_eq!(answered(Dialect::Colon, Some(3), "leave:chat", &left), [ack, event]);
        assert_eq!(answered(Dialect::Colon, None, "leave:chat", &left), [event]);
        let event = r#"42/chat,["leftRoom","r"]"#;
        let ack = r#"43/chat,3[{"success":true,"roomId":"r"}]"#;
        assert_eq!(answered(Dialect::Camel, Some(3), "leaveRoom", &left), [event, ack]);
        assert_eq!(answered(Dialect::Camel, None, "leaveRoom", &left), [event]);
    }

    #[test]
    fn a_refusal_is_heard_whether_or_not_an_ack_is_wanted() {
        let reject = Reject::not_in_room();
        let refused = SocketIoAnswer::Refused(&reject);
        let text = r#""code":"NOT_IN_ROOM","message":"You are not in this room""#;
        let ack = r#"[{"success":false,"message":"You are not in this room","code":"NOT_IN_ROOM"}]"#;
        let event = format!(r#"42/chat,["error",{{{text}}}]"#);
        assert_eq!(
            answered(Dialect::Camel, Some(0), "sendMessage", &refused),
            [event.clone(), format!("43/chat,0{ack}")]
        );
        assert_eq!(answered(Dialect::Colon, None, "message:send", &refused), [event]);
        let by_ack = answered(Dialect::Colon, Some(0), "message:send", &refused);
        assert_eq!(by_ack.len(), 1);
        assert!(by_ack[0].starts_with(r#"43/chat,0[{"success":false,"message":"Chat not found or access denied""#));
        let event = format!(r#"42["error",{{{text}}}]"#);
        assert_eq!(answered(Dialect::Notify, Some(0), "offer", &refused), [event, format!("430{ack}")]);
    }

    #[test]
    fn a_ping_brings_back_what_came_with_it() {
        let pong = r#"{"timestamp":"2025-01-09T21:30:00.000Z","data":[1]}"#;
        let both = [format!(r#"42["pong",{pong}]"#), format!("432[{pong}]")];
        assert_eq!(answered(Dialect::Notify, Some(2), "ping", &SocketIoAnswer::Pong(Some("[1]"))), both);
    }
}
