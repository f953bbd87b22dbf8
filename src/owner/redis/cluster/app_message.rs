//! Messages about namespaces of the application as nodes send them to each other.

use serde::{Deserialize, Serialize};

use crate::base::Name;
use crate::codec::socketio::{Attachments, put_binaries, take_binaries};
use crate::domain::app::{
    AppAckPart, AppAct, AppAsker, AppGiven, AppMessage, AppOffset, AppOrder, AppPacket, AppSession, AppTarget,
};

/// A message on the wire; see [`AppMessage`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum WireApp {
    /// Namespace, rooms, left out, act.
    #[serde(rename = "o")]
    Order(Name, Vec<Name>, Vec<Name>, WireAct),
    /// Namespace, secret, id, user, rooms, position.
    #[serde(rename = "l")]
    Lost(Name, Box<str>, Name, Name, Vec<Name>, Option<Box<str>>, WireGiven),
    /// Namespace, secret.
    #[serde(rename = "r")]
    Returned(Name, Box<str>),
    /// Node, shard and number of the question, and the part.
    #[serde(rename = "a")]
    Acked(u16, u8, u32, WirePart),
}

/// User with the name to show, data; see [`AppGiven`].
type WireGiven = (Option<(Name, Box<str>)>, Option<Box<str>>);

/// An act; see [`AppAct`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum WireAct {
    /// Values, whether some are binary, position, whether it may be missed, the question.
    #[serde(rename = "e")]
    Emit(Box<str>, bool, Option<Box<str>>, bool, Option<(u16, u8, u32)>),
    #[serde(rename = "j")]
    Join(Vec<Name>),
    #[serde(rename = "l")]
    Leave(Vec<Name>),
    #[serde(rename = "d")]
    Disconnect(bool),
}

/// A part of acknowledgements; see [`AppAckPart`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum WirePart {
    #[serde(rename = "r")]
    Reached(u16, usize, usize),
    #[serde(rename = "a")]
    Ack(Name, Box<str>),
}

impl WireApp {
    /// A message for other nodes; `None` for what concerns this node only.
    pub(super) fn of(message: &AppMessage) -> Option<Self> {
        let text = |offset: &Option<AppOffset>| offset.map(|offset| offset.to_string().into_boxed_str());
        Some(match message {
            AppMessage::Order(AppOrder { namespace, target, act }) => {
                let act = match act {
                    AppAct::Emit { packet, offset, is_volatile, ack } => {
                        let values = marked(packet).into_boxed_str();
                        let ack = ack.map(|asker| (asker.node, asker.shard, asker.number));
                        WireAct::Emit(values, !packet.attachments.is_empty(), text(offset), *is_volatile, ack)
                    }
                    AppAct::Join(rooms) => WireAct::Join(rooms.clone()),
                    AppAct::Leave(rooms) => WireAct::Leave(rooms.clone()),
                    AppAct::Disconnect { closes } => WireAct::Disconnect(*closes),
                };
                Self::Order(namespace.clone(), target.rooms.clone(), target.except.clone(), act)
            }
            AppMessage::Lost(AppSession { namespace, secret, id, user, rooms, since, given }) => Self::Lost(
                namespace.clone(),
                secret.clone(),
                id.clone(),
                user.clone(),
                rooms.clone(),
                text(since),
                (given.user.clone(), given.data.clone()),
            ),
            AppMessage::Returned(namespace, secret) => Self::Returned(namespace.clone(), secret.clone()),
            AppMessage::Acked(AppAsker { node, shard, number }, part) => {
                let part = match part {
                    AppAckPart::Reached { node, shards, sockets } => WirePart::Reached(*node, *shards, *sockets),
                    AppAckPart::Ack(id, values) => WirePart::Ack(id.clone(), values.clone()),
                    // It is known to the node of the question.
                    AppAckPart::Nodes(_) => return None,
                };
                Self::Acked(*node, *shard, *number, part)
            }
        })
    }

    /// The message; `None` if it is not well-formed.
    pub(super) fn message(self) -> Option<AppMessage> {
        let offset = |text: Option<Box<str>>| match text {
            None => Some(None),
            Some(text) => AppOffset::parse(&text).map(Some),
        };
        Some(match self {
            Self::Order(namespace, rooms, except, act) => {
                let act = match act {
                    WireAct::Emit(values, has_binary, position, is_volatile, ack) => {
                        let packet = packet(values, has_binary)?;
                        let ack = ack.map(|(node, shard, number)| AppAsker { node, shard, number });
                        AppAct::Emit { packet, offset: offset(position)?, is_volatile, ack }
                    }
                    WireAct::Join(rooms) => AppAct::Join(rooms),
                    WireAct::Leave(rooms) => AppAct::Leave(rooms),
                    WireAct::Disconnect(closes) => AppAct::Disconnect { closes },
                };
                AppMessage::Order(AppOrder { namespace, target: AppTarget { rooms, except }, act })
            }
            Self::Lost(namespace, secret, id, user, rooms, since, (as_user, data)) => AppMessage::Lost(AppSession {
                namespace,
                secret,
                id,
                user,
                rooms,
                since: offset(since)?,
                given: AppGiven { user: as_user, data },
            }),
            Self::Returned(namespace, secret) => AppMessage::Returned(namespace, secret),
            Self::Acked(node, shard, number, part) => {
                let part = match part {
                    WirePart::Reached(node, shards, sockets) => AppAckPart::Reached { node, shards, sockets },
                    WirePart::Ack(id, values) => AppAckPart::Ack(id, values),
                };
                AppMessage::Acked(AppAsker { node, shard, number }, part)
            }
        })
    }
}

/// The values of a packet with their binary parts in them.
fn marked(packet: &AppPacket) -> String {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for attachment in &packet.attachments {
        bytes.extend_from_slice(attachment);
        ends.push(bytes.len() as u32);
    }
    put_binaries(&packet.values, Attachments::new(&bytes, &ends))
}

fn packet(values: Box<str>, has_binary: bool) -> Option<AppPacket> {
    let mut attachments = Vec::new();
    let values = match has_binary {
        true => take_binaries(&values, &mut attachments).ok()?.into(),
        false => values,
    };
    Some(AppPacket { values, attachments })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_comes_back_from_the_wire() {
        let names = |names: &[&str]| names.iter().map(|name| Name::from(*name)).collect::<Vec<_>>();
        let order = |act| {
            let target = AppTarget { rooms: names(&["a"]), except: names(&["s"]) };
            AppMessage::Order(AppOrder { namespace: "/game".into(), target, act })
        };
        let offset = Some(AppOffset { node: 1, shard: 2, start: 3, number: 4, chain: 0 });
        let values = r#""e",{"_placeholder":true,"num":0}"#.into();
        let packet = AppPacket { values, attachments: vec![[1, 2].into()] };
        let asker = AppAsker { node: 1, shard: 0, number: 9 };
        let emit = AppAct::Emit { packet, offset, is_volatile: true, ack: Some(asker) };
        let plain = AppPacket { values: r#""e",{"_placeholder":true,"num":0}"#.into(), attachments: Vec::new() };
        let session = AppSession {
            namespace: "/game".into(),
            secret: "s".into(),
            id: "i".into(),
            user: "u".into(),
            rooms: names(&["a"]),
            since: offset,
            given: AppGiven { user: Some(("v".into(), "V".into())), data: Some("{}".into()) },
        };
        for message in [
            order(emit),
            order(AppAct::Emit { packet: plain, offset: None, is_volatile: false, ack: None }),
            order(AppAct::Join(names(&["b"]))),
            order(AppAct::Leave(names(&["b"]))),
            order(AppAct::Disconnect { closes: true }),
            AppMessage::Lost(session),
            AppMessage::Returned("/game".into(), "s".into()),
            AppMessage::Acked(asker, AppAckPart::Reached { node: 2, shards: 3, sockets: 4 }),
            AppMessage::Acked(asker, AppAckPart::Ack("i".into(), "[1]".into())),
        ] {
            let text = serde_json::to_string(&WireApp::of(&message)).expect("JSON");
            let wire: WireApp = serde_json::from_str(&text).expect("the same");
            assert_eq!(wire.message(), Some(message));
        }
    }
}
