//! Namespaces of Socket.IO that belong to the application: their rules, what is done to their sockets, and the state of a lost
//! connection to one.
//!
//! A *socket* is a client's connection to such a namespace. Its rooms are lists of sockets and nothing more: they have no log, no
//! host and no members of other dialects. Each socket is in a room of its own id.

use std::fmt;

use crate::base::Name;
use crate::domain::hook::matches;

/// The rules of a namespace of the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppRules {
    /// Its name, beginning with `/`.
    pub namespace: Name,
    /// Rooms that each socket is in from the start.
    pub join: Vec<Name>,
    /// Events of a client that the other sockets of its rooms get: names in which `*` stands for any characters.
    pub relay: Vec<Box<str>>,
}

impl AppRules {
    /// Whether an event of a client goes to the other sockets of its rooms.
    pub fn relays(&self, event: &str) -> bool {
        self.relay.iter().any(|pattern| matches(pattern, event))
    }
}

/// The sockets of a namespace that an order concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppTarget {
    /// Rooms and ids of sockets; all sockets when empty.
    pub rooms: Vec<Name>,
    /// Rooms and ids of sockets that are left out.
    pub except: Vec<Name>,
}

impl AppTarget {
    /// Whether a socket in these rooms is among them.
    pub fn includes(&self, rooms: &[Name]) -> bool {
        let is_in = |room: &Name| rooms.contains(room);
        (self.rooms.is_empty() || self.rooms.iter().any(is_in)) && !self.leaves_out(rooms)
    }

    /// Whether a socket in these rooms is left out.
    pub fn leaves_out(&self, rooms: &[Name]) -> bool {
        self.except.iter().any(|room| rooms.contains(room))
    }
}

/// An event with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPacket {
    /// Name and arguments: JSON values with commas between them.
    pub values: Box<str>,
    /// The binary values that placeholders refer to.
    pub attachments: Vec<Box<[u8]>>,
}

impl AppPacket {
    /// Bytes of the packet.
    pub fn bytes(&self) -> usize {
        self.values.len() + self.attachments.iter().map(|bytes| bytes.len()).sum::<usize>()
    }
}

/// The position of an event among those of its namespace. Clients return the last one that they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppOffset {
    /// The node that the event came to.
    pub node: u16,
    /// The shard there.
    pub shard: u8,
    /// Distinguishes the processes that had this number.
    pub start: u32,
    /// The number among the events of that shard.
    pub number: u64,
    /// Tells which events of other programs came before it; 0 before the first one.
    pub chain: u64,
}

impl AppOffset {
    /// Parses the text of an offset.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let offset = Self {
            node: parts.next()?.parse().ok()?,
            shard: parts.next()?.parse().ok()?,
            start: u32::from_str_radix(parts.next()?, 16).ok()?,
            number: parts.next()?.parse().ok()?,
            chain: parts.next().map_or(Some(0), |chain| u64::from_str_radix(chain, 16).ok())?,
        };
        parts.next().is_none().then_some(offset)
    }
}

impl fmt::Display for AppOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:x}-{}", self.node, self.shard, self.start, self.number)?;
        if self.chain != 0 { write!(f, "-{:x}", self.chain) } else { Ok(()) }
    }
}

/// The place that waits for acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppAsker {
    /// Its node.
    pub node: u16,
    /// Its shard.
    pub shard: u8,
    /// The number of the question there.
    pub number: u32,
}

/// What is done to sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppAct {
    /// They get an event.
    Emit {
        /// The event.
        packet: AppPacket,
        /// Its position; none of an event that is not kept for lost connections.
        offset: Option<AppOffset>,
        /// Whether a slow connection may miss it.
        is_volatile: bool,
        /// The place that waits for their acknowledgements.
        ack: Option<AppAsker>,
    },
    /// They join rooms.
    Join(Vec<Name>),
    /// They leave rooms.
    Leave(Vec<Name>),
    /// They are disconnected from the namespace.
    Disconnect {
        /// Whether their connections are closed as well.
        closes: bool,
    },
}

/// An act on sockets of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppOrder {
    /// The namespace.
    pub namespace: Name,
    /// The sockets.
    pub target: AppTarget,
    /// The act.
    pub act: AppAct,
}

/// A call of the application's backend: an order, and the time to wait for acknowledgements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppRequest {
    /// The order.
    pub order: AppOrder,
    /// How long acknowledgements are waited for, in milliseconds.
    pub ack_ms: Option<u64>,
}

/// The state of a lost connection to a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSession {
    /// The namespace.
    pub namespace: Name,
    /// The secret of its client.
    pub secret: Box<str>,
    /// The id of its socket.
    pub id: Name,
    /// Its user.
    pub user: Name,
    /// Its rooms, without that of its own id.
    pub rooms: Vec<Name>,
    /// The last event before it connected.
    pub since: Option<AppOffset>,
    /// What the application has said of it.
    pub given: AppGiven,
}

/// What the application has said of a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppGiven {
    /// The user that it is, and the name to show, in place of those of its token.
    pub user: Option<(Name, Box<str>)>,
    /// Its data, as JSON.
    pub data: Option<Box<str>>,
}

/// Acknowledgements of an event, or a part of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppAcks {
    /// Sockets that got the event.
    pub reached: usize,
    /// Acknowledgements: the id of the socket, and the arguments as a JSON array.
    pub acks: Vec<(Name, Box<str>)>,
}

/// A part of the acknowledgements of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppAckPart {
    /// So many nodes have got the event.
    Nodes(usize),
    /// A shard has sent the event to so many sockets.
    Reached {
        /// Its node.
        node: u16,
        /// The shards of that node.
        shards: usize,
        /// The sockets.
        sockets: usize,
    },
    /// A socket has acknowledged: its id, and the arguments as a JSON array.
    Ack(Name, Box<str>),
}

/// A message about a namespace of the application, to all nodes or to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppMessage {
    /// An act on sockets.
    Order(AppOrder),
    /// A connection was lost, and may come back.
    Lost(AppSession),
    /// The client of a lost connection has come back, or the session is void: the namespace, and the secret.
    Returned(Name, Box<str>),
    /// Acknowledgements have come.
    Acked(AppAsker, AppAckPart),
}

impl AppMessage {
    /// The namespace, unless it is for the place that waits for acknowledgements.
    pub fn namespace(&self) -> Option<&Name> {
        match self {
            Self::Order(order) => Some(&order.namespace),
            Self::Lost(session) => Some(&session.namespace),
            Self::Returned(namespace, _) => Some(namespace),
            Self::Acked(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_comes_back_from_its_text() {
        let offset = AppOffset { node: 65_535, shard: 7, start: 0xdead_beef, number: 1 << 60, chain: 0 };
        for offset in [offset, AppOffset { chain: u64::MAX, ..offset }] {
            assert_eq!(AppOffset::parse(&offset.to_string()), Some(offset));
        }
        for wrong in ["", "1", "1-2-3", "1-2-3-4-5-6", "1-2-3-4-", "a-2-3-4", "1-256-3-4", "1-2-3-"] {
            assert_eq!(AppOffset::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn target_names_rooms_and_leaves_out_others() {
        let names = |names: &[&str]| names.iter().map(|name| Name::from(*name)).collect::<Vec<_>>();
        let includes = |rooms: &[&str], except: &[&str], own: &[&str]| {
            AppTarget { rooms: names(rooms), except: names(except) }.includes(&names(own))
        };
        assert!(includes(&[], &[], &["s1"]));
        assert!(includes(&["a", "b"], &[], &["s1", "b"]));
        assert!(!includes(&["a"], &[], &["s1", "b"]));
        assert!(!includes(&["a"], &["s1"], &["s1", "a"]));
        assert!(!includes(&[], &["b"], &["s1", "b"]));
    }

    #[test]
    fn relay_rule_is_a_pattern_of_names() {
        let rules = AppRules { relay: vec!["chat *".into(), "typing".into()], ..AppRules::default() };
        assert!(rules.relays("chat message") && rules.relays("chat ") && rules.relays("typing"));
        assert!(!rules.relays("chat") && !rules.relays("typing2"));
    }
}
