//! Acts on namespaces of the application that other programs publish in Redis: those of npm's `@socket.io/redis-emitter`, and of
//! a `RedisManager` of PyPI's `python-socketio`. The former packs events as MessagePack and requests as JSON, the latter both as
//! JSON, with binary values as base64 behind the arguments.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::base::{Name, limits};
use crate::codec::json::{self, portable};
use crate::codec::msgpack;
use crate::codec::socketio::{ATTACHMENTS_MAX, Attachments, put_binaries, take_binaries};
use crate::domain::app::{AppAct, AppOrder, AppPacket, AppTarget};

/// The type of a packet that is an event.
const EVENT: u8 = 2;

/// A room or the id of a socket: a text, or a number, which programs use as well.
#[derive(Deserialize)]
#[serde(untagged)]
enum Place {
    Text(Name),
    Number(i64),
}

/// One place, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Places {
    One(Place),
    Many(Vec<Place>),
}

#[derive(Deserialize)]
struct Packet<'a> {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(default = "main")]
    nsp: Name,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Target {
    rooms: Vec<Place>,
    except: Vec<Place>,
    flags: Flags,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Flags {
    volatile: bool,
}

#[derive(Deserialize)]
struct Request {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(default)]
    opts: Target,
    #[serde(default)]
    rooms: Vec<Place>,
    #[serde(default)]
    close: bool,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    namespace: Option<Name>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    binary: bool,
    room: Option<Places>,
    skip_sid: Option<Places>,
    sid: Option<Name>,
}

fn main() -> Name {
    "/".into()
}

/// Reads an event of `@socket.io/redis-emitter` for a namespace; `None` if it is for another one.
///
/// # Errors
/// A text that names the fault.
pub fn npm_event(namespace: &Name, body: &[u8]) -> Result<Option<AppOrder>, String> {
    let mut attachments = Vec::new();
    let text = msgpack::to_json(body, &mut attachments).map_err(|error| error.to_string())?;
    let (_, packet, target): (&RawValue, Packet<'_>, Target) = read(&text)?;
    if packet.nsp != *namespace {
        return Ok(None);
    }
    if packet.kind != EVENT {
        return Err(format!("a packet of type {} is no event", packet.kind));
    }
    let values = packet.data.and_then(|data| items(data.get())).ok_or("data is a list")?;
    let packet = packet_of(values, attachments)?;
    let act = AppAct::Emit { packet, offset: None, is_volatile: target.flags.volatile, ack: None };
    Ok(Some(AppOrder { namespace: namespace.clone(), target: target.names()?, act }))
}

/// Reads a request of `@socket.io/redis-emitter` for a namespace; `None` if it is of a kind that concerns no sockets.
///
/// # Errors
/// A text that names the fault.
pub fn npm_request(namespace: &Name, body: &[u8]) -> Result<Option<AppOrder>, String> {
    let unpacked = match body.first() {
        Some(b'{') => std::str::from_utf8(body).map_err(|_| "the request is not UTF-8")?.to_owned(),
        _ => msgpack::to_json(body, &mut Vec::new()).map_err(|error| error.to_string())?,
    };
    let request: Request = read(&unpacked)?;
    let act = match request.kind {
        2 => AppAct::Join(names(request.rooms)?),
        3 => AppAct::Leave(names(request.rooms)?),
        4 => AppAct::Disconnect { closes: request.close },
        _ => return Ok(None),
    };
    Ok(Some(AppOrder { namespace: namespace.clone(), target: request.opts.names()?, act }))
}

/// Reads a call of python-socketio; `None` if it concerns no sockets.
///
/// # Errors
/// A text that names the fault.
pub fn python_call(body: &[u8]) -> Result<Option<AppOrder>, String> {
    if body.first() == Some(&0x80) {
        return Err("it is pickled: python-socketio publishes JSON from version 5.14 on".to_owned());
    }
    let call: Call<'_> = read(std::str::from_utf8(body).map_err(|_| "the call is not UTF-8")?)?;
    let room = places(call.room)?;
    let of_socket = |sid: Option<Name>| sid.ok_or("sid is missing").map(|sid| vec![sid]);
    let named = |room: Vec<Name>| if room.is_empty() { Err("room is missing") } else { Ok(room) };
    let (rooms, act) = match &*call.method {
        "emit" => {
            let data = call.data.ok_or("data is missing")?;
            let packet = python_packet(&call.event.ok_or("event is missing")?, data, call.binary)?;
            (room, AppAct::Emit { packet, offset: None, is_volatile: false, ack: None })
        }
        "disconnect" => (of_socket(call.sid)?, AppAct::Disconnect { closes: false }),
        "enter_room" => (of_socket(call.sid)?, AppAct::Join(named(room)?)),
        "leave_room" => (of_socket(call.sid)?, AppAct::Leave(named(room)?)),
        "close_room" => (named(room.clone())?, AppAct::Leave(room)),
        // Acknowledgements that python-socketio's own servers wait for, and what later versions may have.
        _ => return Ok(None),
    };
    let target = AppTarget { rooms, except: places(call.skip_sid)? };
    Ok(Some(AppOrder { namespace: call.namespace.unwrap_or_else(main), target, act }))
}

fn python_packet(event: &str, data: &RawValue, is_binary: bool) -> Result<AppPacket, String> {
    let mut attachments = Vec::new();
    let arguments = if is_binary {
        let parts: Vec<&RawValue> = read(data.get())?;
        let (arguments, parts) = parts.split_first().ok_or("data is empty")?;
        let coded = parts.iter().map(|part| read::<&str>(part.get()));
        let coded = coded.collect::<Result<Vec<_>, _>>()?;
        let marked = coded.iter().map(|part| format!("{{\"$binary\":\"{part}\"}}")).collect::<Vec<_>>().join(",");
        if coded.len() > ATTACHMENTS_MAX {
            return Err(format!("there are more than {ATTACHMENTS_MAX} binary values"));
        }
        take_binaries(&marked, &mut attachments).map_err(|error| error.to_string())?;
        arguments.get()
    } else {
        data.get()
    };
    let arguments = items(arguments).ok_or("data is a list")?;
    let mut values = Vec::with_capacity(event.len() + arguments.len() + 3);
    json::string(&mut values, event);
    if !arguments.is_empty() {
        values.push(b',');
        values.extend_from_slice(arguments.as_bytes());
    }
    packet_of(std::str::from_utf8(&values).expect("invariant: JSON is text"), attachments)
}

/// An event whose clients can read it: its name is a text, and each placeholder has its attachment.
fn packet_of(values: &str, attachments: Vec<Box<[u8]>>) -> Result<AppPacket, String> {
    if !values.starts_with('"') {
        return Err("the event has no name".to_owned());
    }
    portable::check(values).map_err(|flaw| format!("the event {flaw}"))?;
    if !attachments.is_empty() {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for attachment in &attachments {
            bytes.extend_from_slice(attachment);
            ends.push(bytes.len() as u32);
        }
        let marked = put_binaries(values, Attachments::new(&bytes, &ends));
        take_binaries(&marked, &mut Vec::new()).map_err(|error| error.to_string())?;
    }
    Ok(AppPacket { values: values.into(), attachments })
}

/// The items of a list in JSON.
fn items(list: &str) -> Option<&str> {
    list.trim().strip_prefix('[')?.strip_suffix(']').map(str::trim)
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

impl Target {
    fn names(self) -> Result<AppTarget, String> {
        Ok(AppTarget { rooms: names(self.rooms)?, except: names(self.except)? })
    }
}

fn places(places: Option<Places>) -> Result<Vec<Name>, String> {
    names(match places {
        None => Vec::new(),
        Some(Places::One(place)) => vec![place],
        Some(Places::Many(all)) => all,
    })
}

fn names(places: Vec<Place>) -> Result<Vec<Name>, String> {
    let name = |place| match place {
        Place::Text(name) => name,
        Place::Number(number) => number.to_string().into(),
    };
    let names: Vec<Name> = places.into_iter().map(name).collect();
    match names.iter().all(|name| (1..=limits::APP_ROOM_BYTES).contains(&name.len())) {
        true => Ok(names),
        false => Err(format!("the name of a room has 1 to {} bytes", limits::APP_ROOM_BYTES)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `["emitter",{type:2,data:["e",<01 02>],nsp:"/g"},{rooms:["a",5],flags:{volatile:true},except:["s"]}]`
    const EVENT_OF_NPM: &[u8] = b"\x93\xa7emitter\x83\xa4type\x02\xa4data\x92\xa1e\xc4\x02\x01\x02\xa3nsp\xa2/g\
        \x83\xa5rooms\x92\xa1a\x05\xa5flags\x81\xa8volatile\xc3\xa6except\x91\xa1s";

    fn name(text: &str) -> Name {
        text.into()
    }

    #[test]
    fn event_of_npm_is_read_whole() {
        let order = npm_event(&name("/g"), EVENT_OF_NPM).expect("good").expect("for it");
        assert_eq!((order.target.rooms, order.target.except), (vec![name("a"), name("5")], vec![name("s")]));
        let AppAct::Emit { packet, is_volatile: true, .. } = order.act else { panic!("another act") };
        assert_eq!(&*packet.values, r#""e",{"_placeholder":true,"num":0}"#);
        assert_eq!(packet.attachments, [Box::from([1_u8, 2])]);
        assert_eq!(npm_event(&name("/h"), EVENT_OF_NPM), Ok(None), "it is for another namespace");
        let faults = [&b"\x93\xa1x"[..], b"\x90", b"\x93\xa1x\x83\xa4type\x03\xa4data\x90\xa3nsp\xa2/g\x80"];
        for fault in faults {
            assert!(npm_event(&name("/g"), fault).is_err(), "{fault:x?}");
        }
    }

    #[test]
    fn request_of_npm_is_an_act() {
        let act = |body: &str| npm_request(&name("/g"), body.as_bytes()).expect(body).map(|order| order.act);
        let join = r#"{"type":2,"opts":{"rooms":["a"],"except":[]},"rooms":["b"]}"#;
        assert_eq!(act(join), Some(AppAct::Join(vec![name("b")])));
        assert_eq!(act(r#"{"type":3,"opts":{"rooms":[]},"rooms":[1]}"#), Some(AppAct::Leave(vec![name("1")])));
        let closes = r#"{"type":4,"opts":{"rooms":[]},"close":true}"#;
        assert_eq!(act(closes), Some(AppAct::Disconnect { closes: true }));
        assert_eq!(act(r#"{"uid":"emitter","type":6,"data":["x"]}"#), None);
        assert!(npm_request(&name("/g"), b"{").is_err());
    }

    #[test]
    fn call_of_python_is_an_act() {
        let read = |body: &str| python_call(body.as_bytes());
        let emit = r#"{"method":"emit","event":"e\"","data":[{"a":1},2],"binary":false,"namespace":"/g","room":"r",
            "skip_sid":["s"],"callback":null,"host_id":"h"}"#;
        let order = read(emit).expect("good").expect("an act");
        assert_eq!((&*order.namespace, &*order.target.rooms[0], &*order.target.except[0]), ("/g", "r", "s"));
        let AppAct::Emit { packet, .. } = order.act else { panic!("another act") };
        assert_eq!(&*packet.values, r#""e\"",{"a":1},2"#);
        let binary =
            r#"{"method":"emit","event":"e","data":[[{"_placeholder":true,"num":0}],"AQI="],"binary":true,"room":7}"#;
        let order = read(binary).expect("good").expect("an act");
        assert_eq!((&*order.namespace, &*order.target.rooms[0]), ("/", "7"));
        let AppAct::Emit { packet, .. } = order.act else { panic!("another act") };
        assert_eq!(packet.attachments, [Box::from([1_u8, 2])]);
        let close = read(r#"{"method":"close_room","room":"r","namespace":"/g"}"#).expect("good").expect("an act");
        assert_eq!((close.act, close.target.rooms), (AppAct::Leave(vec![name("r")]), vec![name("r")]));
        assert_eq!(read(r#"{"method":"callback","host_id":"h","sid":"s","namespace":"/","id":1,"args":[]}"#), Ok(None));
    }

    #[test]
    fn fault_of_a_call_of_python_is_named() {
        for (body, part) in [
            (&b"\x80\x04\x95"[..], "pickled"),
            (b"{", "EOF"),
            (br#"{"method":"emit","event":"e"}"#, "data is missing"),
            (br#"{"method":"emit","event":"e","data":7}"#, "data is a list"),
            (br#"{"method":"enter_room","sid":"s"}"#, "room is missing"),
            (br#"{"method":"disconnect"}"#, "sid is missing"),
            (
                br#"{"method":"emit","event":"e","data":[[{"_placeholder":true,"num":3}],"AQ=="],"binary":true}"#,
                "placeholder",
            ),
            (br#"{"method":"emit","event":"e","data":[["\ud800"]]}"#, "Unicode"),
        ] {
            let fault = python_call(body).expect_err("a fault");
            assert!(fault.to_lowercase().contains(&part.to_lowercase()), "{fault}");
        }
    }
}
