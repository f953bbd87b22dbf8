//! Questions to the application by HTTP, and its answers: JSON objects in both directions.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::base::Name;
use crate::base::limits;
use crate::base::time::{Now, rfc3339};
use crate::codec::json::{self, Object};
use crate::codec::socketio::take_binaries;
use crate::dialect::rest::app_emit;
use crate::dialect::webhook::content;
use crate::domain::access::Identity;
use crate::domain::app::AppPacket;
use crate::domain::decision::{Decision, DecisionKind, DecisionRefusal};
use crate::domain::event::{Content, RevisionKind};
use crate::domain::grants::GrantActions;
use crate::domain::op::{JoinRoom, SendMessage};

/// Largest data of a socket, in bytes.
const DATA_BYTES: usize = 16 * 1024;

/// Acts that one answer may contain.
const EMITS_MAX: usize = 100;

/// The subject of a question.
#[derive(Clone, Copy, Debug)]
pub struct DecisionSubject<'a> {
    /// The namespace; `/ws` for clients there.
    pub namespace: &'a str,
    /// The id of the socket.
    pub socket: &'a str,
    /// Its user.
    pub user: &'a Identity,
    /// Its rooms, in a namespace of the application.
    pub rooms: Option<&'a [Name]>,
    /// Its data, as JSON.
    pub data: Option<&'a str>,
}

/// Appends the question whether a client may connect. `auth` is the payload of its CONNECT.
pub fn connect_question(
    out: &mut Vec<u8>,
    subject: &DecisionSubject<'_>,
    auth: Option<&str>,
    (address, agent): (&str, Option<&str>),
    now: Now,
) {
    question(out, DecisionKind::Connect, subject, now, |object| {
        object.value("auth", |out| write_auth(out, auth));
        object.string("address", address).optional("userAgent", agent);
    });
}

/// Appends the question what becomes of an event. `values` are its arguments as JSON, binary ones marked.
pub fn event_question(
    out: &mut Vec<u8>,
    subject: &DecisionSubject<'_>,
    (event, values): (&str, &str),
    wants_ack: bool,
    now: Now,
) {
    question(out, DecisionKind::Event, subject, now, |object| {
        object.string("event", event).raw("args", &format!("[{values}]"));
        object.bool("ack", wants_ack);
    });
}

/// Appends the question whether a client may join a room.
pub fn join_question(out: &mut Vec<u8>, subject: &DecisionSubject<'_>, room: &str, join: &JoinRoom, now: Now) {
    question(out, DecisionKind::Join, subject, now, |object| {
        object.string("roomId", room).optional("peerId", join.peer.as_deref());
        object.optional("displayName", join.about.display_name());
        object.optional_raw("memberData", join.about.data());
        if join.about.is_observer() {
            object.bool("observe", true);
        }
    });
}

/// A message that a client wants to publish.
#[derive(Clone, Copy, Debug)]
pub enum Published<'a> {
    /// To a room, or to one peer in it.
    ToRoom(&'a str, &'a SendMessage),
    /// To a user.
    ToUser(&'a str, &'a Content),
}

/// Appends the question whether a client may publish a message.
pub fn publish_question(out: &mut Vec<u8>, subject: &DecisionSubject<'_>, message: Published<'_>, now: Now) {
    question(out, DecisionKind::Publish, subject, now, |object| match message {
        Published::ToUser(user, body) => {
            object.string("toUserId", user);
            content(object, body);
        }
        Published::ToRoom(room, message) => {
            object.string("roomId", room).optional("toPeerId", message.to.as_deref());
            object.optional("clientMessageId", message.client_message_id.as_deref());
            if let Some(revision) = &message.revises {
                let change = match revision.kind {
                    RevisionKind::Edit => "edit",
                    RevisionKind::Delete => "delete",
                    RevisionKind::Append(_) => "append",
                };
                object.string("change", change).string("messageId", &revision.message.to_string());
            }
            content(object, &message.content);
        }
    });
}

fn question(
    out: &mut Vec<u8>,
    kind: DecisionKind,
    subject: &DecisionSubject<'_>,
    now: Now,
    write: impl FnOnce(&mut Object<'_>),
) {
    let mut object = Object::begin(out);
    object.string("type", kind.name()).string("timestamp", &rfc3339(now.wall));
    object.value("data", |out| {
        let mut object = Object::begin(out);
        object.string("namespace", subject.namespace).string("socket", subject.socket);
        object.string("userId", subject.user.user()).string("username", subject.user.username());
        object.bool("guest", subject.user.roles().guest);
        if let Some(rooms) = subject.rooms {
            object.list("rooms", rooms, |out, room| json::string(out, room));
        }
        object.optional_raw("data", subject.data);
        write(&mut object);
        object.end();
    });
    object.end();
}

/// Writes the fields of a CONNECT that belong to the application: without credentials.
fn write_auth(out: &mut Vec<u8>, auth: Option<&str>) {
    let fields = auth.and_then(|auth| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(auth).ok());
    let mut object = Object::begin(out);
    for (name, value) in fields.unwrap_or_default() {
        if !["token", "pid", "offset"].contains(&name.as_str()) {
            object.entry(&name, |out| out.extend_from_slice(value.to_string().as_bytes()));
        }
    }
    object.end();
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DecisionBody<'a> {
    refuse: Option<NamedRefusal>,
    user: Option<NamedUser>,
    grants: Option<Vec<NamedGrant>>,
    #[serde(default)]
    join: Vec<Name>,
    #[serde(default)]
    leave: Vec<Name>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    ack: Option<&'a RawValue>,
    #[serde(borrow, default)]
    emit: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct NamedRefusal {
    code: Option<Box<str>>,
    message: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedGrant {
    rooms: Box<str>,
    can: Vec<Box<str>>,
}

#[derive(Deserialize)]
struct NamedUser {
    id: Name,
    username: Option<Box<str>>,
}

/// Reads the application's answer to a question about a namespace. An empty one permits, and says no more.
///
/// # Errors
/// A text that names the fault.
pub fn answer(namespace: &Name, body: &[u8]) -> Result<Decision, String> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Decision::default());
    }
    let text = std::str::from_utf8(body).map_err(|_| "the answer is not UTF-8")?;
    let answer: DecisionBody<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let is_room = |room: &Name| (1..=limits::APP_ROOM_BYTES).contains(&room.len());
    if answer.join.len() + answer.leave.len() > limits::APP_ROOMS
        || !answer.join.iter().chain(&answer.leave).all(is_room)
    {
        return Err("join and leave are lists of rooms".to_owned());
    }
    if answer.data.is_some_and(|data| data.get().len() > DATA_BYTES) {
        return Err(format!("data has more than {DATA_BYTES} bytes"));
    }
    let names = answer.user.as_ref().map(|user| (&*user.id, user.username.as_deref().unwrap_or("x")));
    if names.is_some_and(|(id, name)| !crate::base::ids::is_name(id) || !crate::base::ids::is_name(name)) {
        return Err("user has an id and a username of 1 to 128 bytes without control characters".to_owned());
    }
    if answer.emit.len() > EMITS_MAX {
        return Err(format!("emit has more than {EMITS_MAX} entries"));
    }
    let emit =
        answer.emit.iter().map(|body| app_emit(namespace, body.get()).map_err(|reject| reject.text.into_owned()));
    let grants = answer.grants.map(granted).transpose()?;
    let (user, username) = answer.user.map_or((None, None), |user| (Some(user.id), user.username));
    Ok(Decision {
        refusal: answer.refuse.map(|refusal| DecisionRefusal {
            code: refusal.code.unwrap_or_else(|| "FORBIDDEN".into()),
            message: refusal.message.unwrap_or_else(|| "Refused by the application".into()),
        }),
        user,
        username,
        grants,
        join: answer.join,
        leave: answer.leave,
        data: answer.data.map(|data| data.get().into()),
        ack: answer.ack.map(|ack| acknowledgement(ack.get())).transpose()?,
        emit: emit.collect::<Result<_, String>>()?,
    })
}

fn granted(grants: Vec<NamedGrant>) -> Result<Vec<(Box<str>, GrantActions)>, String> {
    if grants.len() > limits::GRANTS {
        return Err(format!("grants has more than {} entries", limits::GRANTS));
    }
    let grant = |NamedGrant { rooms, can }: NamedGrant| {
        if !crate::base::ids::is_name(&rooms) {
            return Err("rooms of a grant has 1 to 128 bytes and no control characters".to_owned());
        }
        let actions =
            GrantActions::parse(can.iter().map(|action| &**action)).map_err(|reject| reject.text.into_owned())?;
        Ok((rooms, actions))
    };
    grants.into_iter().map(grant).collect()
}

fn acknowledgement(ack: &str) -> Result<AppPacket, String> {
    let values = ack.trim().strip_prefix('[').and_then(|ack| ack.strip_suffix(']')).ok_or("ack is a list")?;
    let mut attachments = Vec::new();
    let values = take_binaries(values, &mut attachments).map_err(|error| format!("ack: {error}"))?;
    Ok(AppPacket { values: values.trim().into(), attachments })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::Roles;
    use crate::domain::app::AppAct;

    const NOW: Now = Now { mono: 0, wall: 1_736_458_200_000 };

    #[test]
    fn question_has_the_socket_and_no_credentials() {
        let user = Identity::new("ann", Some("Ann"), None, Roles::default());
        let subject =
            DecisionSubject { namespace: "/g", socket: "s", user: &user, rooms: Some(&["r".into()]), data: Some("7") };
        let mut out = Vec::new();
        let auth = r#"{"token":"t","pid":"p","offset":"o","team":{"a":1}}"#;
        connect_question(&mut out, &subject, Some(auth), ("127.0.0.1", None), NOW);
        let expected = r#"{"type":"connect","timestamp":"2025-01-09T21:30:00.000Z","data":{"namespace":"/g","socket":"s","userId":"ann","username":"Ann","guest":false,"rooms":["r"],"data":7,"auth":{"team":{"a":1}},"address":"127.0.0.1"}}"#;
        assert_eq!(String::from_utf8(out).expect("text"), expected);
        let mut out = Vec::new();
        event_question(&mut out, &subject, ("hi", r#"1,"x""#), true, NOW);
        let text = String::from_utf8(out).expect("text");
        assert!(text.ends_with(r#""event":"hi","args":[1,"x"],"ack":true}}"#), "{text}");
    }

    #[test]
    fn answer_is_read_whole() {
        let read = |text: &str| answer(&"/g".into(), text.as_bytes());
        assert_eq!(read(" "), Ok(Decision::default()));
        let text = r#"{"user":{"id":"u","username":"U"},"grants":[{"rooms":"a*","can":["join"]}],"join":["a"],"leave":["b"],"data":{"x":1},
            "ack":["ok",{"$binary":"AQ=="}],"emit":[{"event":"e","rooms":["a"]},{"namespace":"/h","event":"f"}]}"#;
        let decision = read(text).expect("good");
        assert_eq!((decision.user.as_deref(), decision.data.as_deref()), (Some("u"), Some(r#"{"x":1}"#)));
        assert_eq!(decision.grants.as_ref().map(|grants| &*grants[0].0), Some("a*"));
        let ack = decision.ack.expect("an ack");
        assert_eq!((&*ack.values, ack.attachments.len()), (r#""ok",{"_placeholder":true,"num":0}"#, 1));
        let spaces: Vec<&str> = decision.emit.iter().map(|emit| &*emit.order.namespace).collect();
        assert_eq!(spaces, ["/g", "/h"]);
        assert!(matches!(decision.emit[0].order.act, AppAct::Emit { .. }));
        let refusal = read(r#"{"refuse":{"message":"full"}}"#).expect("good").refusal.expect("a refusal");
        assert_eq!((&*refusal.code, &*refusal.message), ("FORBIDDEN", "full"));
    }

    #[test]
    fn wrong_answer_is_named() {
        let read = |text: &str| answer(&"/g".into(), text.as_bytes()).expect_err(text);
        assert!(read("[").contains("EOF"));
        assert!(read(r#"{"ack":1}"#).contains("ack is a list"));
        assert!(read(r#"{"grants":[{"rooms":"a","can":["fly"]}]}"#).contains("fly"));
        assert!(read(r#"{"grants":[{"rooms":"","can":[]}]}"#).contains("rooms of a grant"));
        assert!(read(r#"{"join":[""]}"#).contains("join and leave"));
        assert!(read(r#"{"emit":[{"event":1}]}"#).contains("event must be"));
        assert!(read(r#"{"user":{"id":""}}"#).contains("user has an id"));
    }
}
