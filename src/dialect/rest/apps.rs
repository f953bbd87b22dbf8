//! Calls of an application's backend on the sockets of its own namespaces of Socket.IO.
//!
//! Bodies are strict, as those of [`super::backend`]. Binary values are `{"$binary":"<base64>"}`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::decode::{distinct, fields, read, whole};
use super::{RestCall, RestCallKind};
use crate::base::{Name, limits};
use crate::codec::json::{self, Object};
use crate::codec::socketio::{RESERVED_EVENTS, take_binaries};
use crate::dialect::fields::check_portable;
use crate::domain::app::{AppAcks, AppAct, AppOrder, AppPacket, AppRequest, AppTarget};
use crate::domain::op::Reply;
use crate::domain::reject::Reject;

/// A body, unread. Which fields a call has depends on its kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AppBody<'a> {
    #[serde(borrow)]
    namespace: Option<&'a RawValue>,
    #[serde(borrow)]
    rooms: Option<&'a RawValue>,
    #[serde(borrow)]
    sockets: Option<&'a RawValue>,
    #[serde(borrow)]
    except: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    #[serde(borrow)]
    volatile: Option<&'a RawValue>,
    #[serde(borrow)]
    ack_timeout_ms: Option<&'a RawValue>,
    #[serde(borrow)]
    join: Option<&'a RawValue>,
    #[serde(borrow)]
    leave: Option<&'a RawValue>,
    #[serde(borrow)]
    close: Option<&'a RawValue>,
}

/// Reads the body of a call of this kind.
pub(super) fn request(kind: RestCallKind, body: &AppBody<'_>) -> Result<AppRequest, Reject> {
    check_fields(kind, body)?;
    let namespace =
        read::<Name>("namespace", body.namespace, "a text that begins with /", |name| name.starts_with('/'))?
            .ok_or_else(|| Reject::invalid("namespace is missing"))?;
    let mut rooms = names("rooms", body.rooms)?.unwrap_or_default();
    rooms.extend(names("sockets", body.sockets)?.unwrap_or_default());
    let target = AppTarget { rooms: distinct(rooms), except: names("except", body.except)?.unwrap_or_default() };
    let act = match kind {
        RestCallKind::AppEmit => emit(body)?,
        RestCallKind::AppJoin => AppAct::Join(changed("join", body.join)?),
        RestCallKind::AppLeave => AppAct::Leave(changed("leave", body.leave)?),
        _ => AppAct::Disconnect { closes: flag("close", body.close)? },
    };
    // A mistyped field must not empty a namespace.
    if kind != RestCallKind::AppEmit && target.rooms.is_empty() {
        return Err(Reject::invalid("One of rooms and sockets is needed"));
    }
    let wanted = format!("a whole number from 1 to {}", limits::ACK_WAIT_MS);
    let ack_ms = whole("ackTimeoutMs", body.ack_timeout_ms, &wanted, 1..=limits::ACK_WAIT_MS)?;
    Ok(AppRequest { order: AppOrder { namespace, target, act }, ack_ms })
}

/// Reads an event that the answer of a hook asks for. Without a namespace it is for that of the question.
///
/// # Errors
/// A field is unknown or wrong.
pub fn emit_of_hook(namespace: &Name, text: &str) -> Result<AppRequest, Reject> {
    let mut body: AppBody<'_> = fields(text)?;
    let mut own = Vec::new();
    json::string(&mut own, namespace);
    let own: Box<RawValue> = RawValue::from_string(String::from_utf8(own).expect("invariant: JSON is text"))
        .expect("invariant: the JSON writer emits JSON");
    body.namespace = body.namespace.or(Some(&own));
    request(RestCallKind::AppEmit, &body).map(|request| AppRequest { ack_ms: None, ..request })
}

/// Refuses fields of other calls, by name.
fn check_fields(kind: RestCallKind, body: &AppBody<'_>) -> Result<(), Reject> {
    let of_emit = kind == RestCallKind::AppEmit;
    for (field, value, is_known) in [
        ("event", body.event, of_emit),
        ("args", body.args, of_emit),
        ("volatile", body.volatile, of_emit),
        ("ackTimeoutMs", body.ack_timeout_ms, of_emit),
        ("join", body.join, kind == RestCallKind::AppJoin),
        ("leave", body.leave, kind == RestCallKind::AppLeave),
        ("close", body.close, kind == RestCallKind::AppDisconnect),
    ] {
        if value.is_some() && !is_known {
            return Err(Reject::invalid(format!("{field} is no field of this call")));
        }
    }
    Ok(())
}

fn emit(body: &AppBody<'_>) -> Result<AppAct, Reject> {
    let wanted = format!("a string of 1 to {} bytes that the client libraries do not reserve", limits::EVENT_BYTES);
    let event = read::<Box<str>>("event", body.event, &wanted, |event| {
        (1..=limits::EVENT_BYTES).contains(&event.len()) && !RESERVED_EVENTS.contains(&&**event)
    })?;
    let event = event.ok_or_else(|| Reject::invalid("event is missing"))?;
    let args = body.args.map_or("[]", RawValue::get).trim();
    let Some(args) = args.strip_prefix('[').and_then(|args| args.strip_suffix(']')) else {
        return Err(Reject::invalid("args must be a list"));
    };
    body.args.map_or(Ok(()), |args| check_portable("args", args.get()))?;
    let mut attachments = Vec::new();
    let args = take_binaries(args, &mut attachments).map_err(|error| Reject::invalid(format!("args: {error}")))?;
    let mut values = Vec::with_capacity(args.len() + event.len() + 3);
    json::string(&mut values, &event);
    if !args.trim().is_empty() {
        values.push(b',');
        values.extend_from_slice(args.as_bytes());
    }
    let values = String::from_utf8(values).expect("invariant: JSON is text").into();
    let packet = AppPacket { values, attachments };
    Ok(AppAct::Emit { packet, offset: None, is_volatile: flag("volatile", body.volatile)?, ack: None })
}

fn flag(field: &str, value: Option<&RawValue>) -> Result<bool, Reject> {
    Ok(read::<bool>(field, value, "true or false", |_| true)?.unwrap_or(false))
}

fn changed(field: &str, value: Option<&RawValue>) -> Result<Vec<Name>, Reject> {
    names(field, value)?.ok_or_else(|| Reject::invalid(format!("{field} is missing")))
}

fn names(field: &str, value: Option<&RawValue>) -> Result<Option<Vec<Name>>, Reject> {
    let wanted = format!("a list of 1 to {} texts of 1 to {} bytes", limits::APP_TARGETS, limits::APP_ROOM_BYTES);
    let is_name = |name: &Name| (1..=limits::APP_ROOM_BYTES).contains(&name.len());
    read::<Vec<Name>>(field, value, &wanted, |names| {
        (1..=limits::APP_TARGETS).contains(&names.len()) && names.iter().all(is_name)
    })
}

/// The kind of a call.
pub(super) fn kind(request: &AppRequest) -> RestCallKind {
    match request.order.act {
        AppAct::Emit { .. } => RestCallKind::AppEmit,
        AppAct::Join(_) => RestCallKind::AppJoin,
        AppAct::Leave(_) => RestCallKind::AppLeave,
        AppAct::Disconnect { .. } => RestCallKind::AppDisconnect,
    }
}

/// The rooms that a call concerns, for a caller that may concern itself with some rooms only.
pub(super) fn rooms(request: &AppRequest) -> Vec<&Name> {
    let changed = match &request.order.act {
        AppAct::Join(rooms) | AppAct::Leave(rooms) => &rooms[..],
        AppAct::Emit { .. } | AppAct::Disconnect { .. } => &[],
    };
    request.order.target.rooms.iter().chain(changed).collect()
}

/// Writes the answer of a call; false if the reply is not one of such calls.
pub(super) fn encode(out: &mut Vec<u8>, call: &RestCall, reply: &Reply) -> bool {
    match (call, reply) {
        (RestCall::App(_), Reply::Done) => out.extend_from_slice(b"{}"),
        (RestCall::App(_), Reply::Acks(acks, is_late)) => write_acks(out, acks, *is_late),
        _ => return false,
    }
    true
}

fn write_acks(out: &mut Vec<u8>, acks: &AppAcks, is_late: bool) {
    let mut object = Object::begin(out);
    object.number("reached", acks.reached as u64).bool("timedOut", is_late);
    object.list("acks", &acks.acks, |out, (socket, values)| {
        Object::begin(out).string("socket", socket).raw("args", values).end();
    });
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_body(kind: RestCallKind, text: &str) -> Result<AppRequest, String> {
        let body = serde_json::from_str(text).map_err(|error| error.to_string())?;
        request(kind, &body).map_err(|reject| reject.text.into_owned())
    }

    #[test]
    fn emit_body_is_read_whole() {
        let text = r#"{"namespace":"/game","rooms":["a"],"sockets":["s","a"],"except":["b"],"event":"hi",
            "args":[1,{"$binary":"AQI="}],"volatile":true,"ackTimeoutMs":500}"#;
        let read = read_body(RestCallKind::AppEmit, text).expect("it is whole");
        assert_eq!((&*read.order.namespace, read.ack_ms), ("/game", Some(500)));
        assert_eq!(read.order.target.rooms, [Name::from("a"), Name::from("s")]);
        let AppAct::Emit { packet, is_volatile: true, .. } = read.order.act else { panic!("another act") };
        assert_eq!(&*packet.values, r#""hi",1,{"_placeholder":true,"num":0}"#);
        assert_eq!(packet.attachments, [Box::from([1_u8, 2])]);
        let all = read_body(RestCallKind::AppEmit, r#"{"namespace":"/","event":"e"}"#).expect("to all");
        assert_eq!(all.order.target, AppTarget::default());
    }

    #[test]
    fn fault_of_a_body_is_named() {
        for (kind, text, part) in [
            (RestCallKind::AppEmit, r#"{"event":"e"}"#, "namespace is missing"),
            (RestCallKind::AppEmit, r#"{"namespace":"game","event":"e"}"#, "namespace must be"),
            (RestCallKind::AppEmit, r#"{"namespace":"/","event":"connect"}"#, "event must be"),
            (RestCallKind::AppEmit, r#"{"namespace":"/","event":"e","args":{}}"#, "args must be a list"),
            (RestCallKind::AppEmit, r#"{"namespace":"/","event":"e","args":[{"$binary":"?"}]}"#, "not base64"),
            (RestCallKind::AppEmit, r#"{"namespace":"/","event":"e","join":["a"]}"#, "join is no field"),
            (RestCallKind::AppEmit, r#"{"namespace":"/","event":"e","ackTimeoutMs":0}"#, "ackTimeoutMs must be"),
            (RestCallKind::AppJoin, r#"{"namespace":"/","join":["a"]}"#, "One of rooms and sockets"),
            (RestCallKind::AppJoin, r#"{"namespace":"/","sockets":["s"]}"#, "join is missing"),
            (RestCallKind::AppLeave, r#"{"namespace":"/","sockets":[],"leave":["a"]}"#, "sockets must be"),
            (RestCallKind::AppDisconnect, r#"{"namespace":"/","sockets":["s"],"close":1}"#, "close must be"),
        ] {
            let refused = read_body(kind, text).expect_err(text);
            assert!(refused.contains(part), "{text}: {refused}");
        }
    }
}
