//! The common part of the three Socket.IO dialects: reading arguments, writing an event's array, and the events that
//! they share with each other and with `raw`.

use crate::base::time::{Now, rfc3339};
use crate::codec::json::{self, Object};
use crate::codec::socketio::Arguments;
use crate::dialect::fields::{self, FieldSet};
use crate::dialect::raw;
use crate::domain::command::Command;
use crate::domain::connection_mode::ModeChange;
use crate::domain::event::{Direct, Message, Revision, RevisionKind, Signaled};
use crate::domain::reject::{Code, Reject};

#[cfg(test)]
pub(super) mod samples;

/// Declares the requests of a dialect, including those that all three share: `RequestName`, and the outcomes of decoding,
/// `DecodedRequest` and `RequestFault`.
macro_rules! requests {
    ($($(#[$doc:meta])* $request:ident = $name:literal,)+) => {
        /// The name of a request; it determines the shape of the answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum RequestName {
            $($(#[$doc])* $request,)+
            /// `heartbeat`: checks that the server answers.
            Heartbeat,
            /// `authenticate`, as in `raw`: renews the token.
            Authenticate,
            /// `offer`, as in `raw`.
            Offer,
            /// `answer`, as in `raw`.
            Answer,
            /// `ice-candidate`, as in `raw`.
            IceCandidate,
            /// `media-state-changed`, as in `raw`.
            MediaStateChanged,
            /// `connection-failed`, as in `raw`.
            ConnectionFailed,
        }

        impl RequestName {
            /// The request of that name.
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$request),)+
                    "heartbeat" => Some(Self::Heartbeat),
                    "authenticate" => Some(Self::Authenticate),
                    "offer" => Some(Self::Offer),
                    "answer" => Some(Self::Answer),
                    "ice-candidate" => Some(Self::IceCandidate),
                    "media-state-changed" => Some(Self::MediaStateChanged),
                    "connection-failed" => Some(Self::ConnectionFailed),
                    _ => None,
                }
            }

            /// Whether all dialects share it, so that it does not identify the client's dialect.
            pub fn is_shared(self) -> bool {
                matches!(
                    self,
                    Self::Heartbeat
                        | Self::Authenticate
                        | Self::Offer
                        | Self::Answer
                        | Self::IceCandidate
                        | Self::MediaStateChanged
                        | Self::ConnectionFailed
                )
            }

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$request => $name,)+
                    Self::Heartbeat => "heartbeat",
                    Self::Authenticate => "authenticate",
                    Self::Offer => "offer",
                    Self::Answer => "answer",
                    Self::IceCandidate => "ice-candidate",
                    Self::MediaStateChanged => "media-state-changed",
                    Self::ConnectionFailed => "connection-failed",
                }
            }
        }

        /// A request and its command.
        #[derive(Debug, PartialEq)]
        pub struct DecodedRequest<'a> {
            /// The request.
            pub request: RequestName,
            /// The command.
            pub command: Command<'a>,
        }

        /// The reason that an event was refused.
        #[derive(Debug, PartialEq)]
        pub struct RequestFault {
            /// The request, if there is one of that name.
            pub request: Option<RequestName>,
            /// The refusal.
            pub reject: Reject,
        }

        /// Reads an event. `content_bytes` bounds a message's content.
        pub fn decode<'a>(name: &str, arguments: Arguments<'a>, content_bytes: usize) -> Result<DecodedRequest<'a>, RequestFault> {
            let Some(request) = RequestName::parse(name) else {
                return Err(RequestFault { request: None, reject: $crate::dialect::events::unknown(name) });
            };
            match command(request, arguments, content_bytes) {
                Ok(command) => Ok(DecodedRequest { request, command }),
                Err(reject) => Err(RequestFault { request: Some(request), reject }),
            }
        }
    };
}

pub(super) use requests;

/// Reads a request that has the name and payload of `raw`: WebRTC signaling, or a token renewal.
pub(super) fn shared<'a>(
    name: &str,
    mut arguments: Arguments<'a>,
    content_bytes: usize,
) -> Result<Command<'a>, Reject> {
    raw::decode_as(name, object(&mut arguments), content_bytes)
}

/// The next argument. An absent one and `null` stand for an empty object.
pub(super) fn object<'a>(arguments: &mut Arguments<'a>) -> &'a str {
    fields::present(arguments.next()).unwrap_or("{}")
}

/// The fields of the next argument.
pub(super) fn fields_of<'a, F: FieldSet<'a>>(name: &str, arguments: &mut Arguments<'a>) -> Result<F, Reject> {
    fields::read(object(arguments)).map_err(|_| Reject::invalid(format!("{name} takes an object")))
}

/// No request has that name.
pub(super) fn unknown(name: &str) -> Reject {
    let shown: String = name.chars().take(crate::base::limits::LABEL_BYTES).collect();
    Reject::new(Code::UnknownType, format!("Unknown event {shown:?}"))
}

/// Appends an event: the array of its name and the JSON value that `write` appends.
pub(super) fn emit(out: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'[');
    json::string(out, name);
    out.push(b',');
    write(out);
    out.push(b']');
}

/// Appends an event with an object; `write` adds the fields.
pub(super) fn emit_object(out: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Object<'_>)) {
    emit(out, name, |out| object_of(out, write));
}

/// Appends an object; `write` adds the fields.
pub(super) fn object_of(out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    let mut object = Object::begin(out);
    write(&mut object);
    object.end();
}

/// Adds an instant.
pub(super) fn instant(object: &mut Object<'_>, field: &str, wall_ms: u64) {
    object.plain(field, &rfc3339(wall_ms));
}

/// Adds a message's id.
pub(super) fn id(object: &mut Object<'_>, field: &str, id: uuid::Uuid) {
    object.plain(field, id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
}

/// Adds what changes of messages mean for this one: the message that it changes, or when it was changed; the
/// status of a stream.
pub(super) fn revision(object: &mut Object<'_>, message: &Message) {
    match message.revision.as_deref() {
        None => {}
        Some(Revision::Of { message, .. }) => self::id(object, "messageId", *message),
        Some(Revision::Piece { message, offset, status }) => {
            self::id(object, "messageId", *message);
            object.number("offset", *offset).plain("status", status.as_str());
        }
        Some(Revision::Stream(status)) => drop(object.plain("status", status.as_str())),
        Some(Revision::Edited(at)) => instant(object, "editedAt", *at),
        Some(Revision::Deleted(at)) => instant(object, "deletedAt", *at),
    }
}

/// Adds the content of a message, or that of an edit.
pub(super) fn content(object: &mut Object<'_>, message: &Message) {
    match (message.changes(), &message.content.event) {
        (Some((_, RevisionKind::Delete)), _) => {}
        (None, Some(event)) => drop(object.string("event", event).raw("data", &message.content.body)),
        _ => drop(object.raw("content", &message.content.body)),
    }
}

/// `message`: a message to this user or to all users, outside any room.
pub(super) fn direct(out: &mut Vec<u8>, direct: &Direct) {
    emit_object(out, "message", |object| {
        object.string("type", direct.content.kind.as_deref().unwrap_or("text"));
        object.optional("event", direct.content.event.as_deref()).raw("data", &direct.content.body);
        // It may come again after a lost connection.
        if !direct.is_pushed {
            object.plain("id", direct.id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
        }
        instant(object, "timestamp", direct.at);
    });
}

/// A signaling message with the name and payload of `raw`.
pub(super) fn signal(out: &mut Vec<u8>, signaled: &Signaled, now: Now) {
    emit(out, signaled.signal.as_str(), |out| raw::relayed(out, signaled, now));
}

/// `connection-mode-changed`, with the payload of `raw`.
pub(super) fn mode_changed(out: &mut Vec<u8>, room: &str, change: ModeChange, now: Now) {
    emit(out, "connection-mode-changed", |out| raw::mode_changed(out, room, change, now));
}

/// `error`: a request was not granted.
pub fn error(out: &mut Vec<u8>, reject: &Reject) {
    emit_object(out, "error", |object| {
        object.plain("code", reject.code.as_str()).string("message", &reject.text);
        if let Some(wait_s) = reject.retry_after_s {
            object.number("retryAfter", wait_s);
        }
    });
}

/// `heartbeat`: the answer to one.
pub fn heartbeat(out: &mut Vec<u8>, now: Now) {
    emit_object(out, "heartbeat", |object| instant(object, "timestamp", now.wall));
}

/// The ack of a granted request without a result.
pub fn granted(out: &mut Vec<u8>) {
    object_of(out, |object| {
        object.bool("success", true);
    });
}

/// The ack of a refused request.
pub fn refused(out: &mut Vec<u8>, reject: &Reject) {
    object_of(out, |object| {
        object.bool("success", false).string("message", &reject.text).plain("code", reject.code.as_str());
        if let Some(wait_s) = reject.retry_after_s {
            object.number("retryAfter", wait_s);
        }
    });
}

/// The ack of a token renewal. `expires_at` is in seconds since 1970.
pub fn renewed(out: &mut Vec<u8>, expires_at: Option<u64>) {
    object_of(out, |object| {
        object.bool("success", true);
        if let Some(seconds) = expires_at {
            instant(object, "expiresAt", seconds.saturating_mul(1000));
        }
    });
}
