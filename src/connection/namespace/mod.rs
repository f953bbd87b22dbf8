//! Socket.IO state of an Engine.IO session: the namespaces it is connected to, and the meaning of its messages there.
//!
//! Events are not interpreted and connections not authorised here: the input is returned as a [`NamespaceEvent`], and
//! the decision comes back by [`Namespaces::accept`] or [`Namespaces::refuse`]. A namespace is identified by its index
//! in the server's list.
//!
//! In version 4 of the Socket.IO protocol, carried by Engine.IO 3, the server connects each client to the main
//! namespace without a request ([`Namespaces::open`]).
//!
//! Guarantees:
//!
//! - A session in one namespace without pending acks has no allocation.
//! - Memory is bounded: each namespace is joined once; attachments and acks have limits.
//! - A packet that violates the protocol is a [`NamespaceFault`] and ends the session, as in the reference.

mod acks;
mod credentials;

#[cfg(test)]
mod tests;

pub use acks::ACKS_MAX;
pub use credentials::ConnectPayload;

use acks::Acks;

use crate::base::few::SmallList;
use crate::codec::engineio::{PacketData, Version};
use crate::codec::socketio::{
    self, Arguments, Attachments, GatheredPacket, MAIN, PacketContent, SocketIoDecoder, SocketIoError, SocketIoEvent,
    SocketIoLimits, SocketIoPacket,
};

/// Error message for a CONNECT to an unknown namespace.
pub const INVALID_NAMESPACE: &str = "Invalid namespace";

/// Index of a namespace in the server's list.
pub type NamespaceIndex = u8;

/// The namespaces of a session.
#[derive(Debug)]
pub struct Namespaces {
    decoder: SocketIoDecoder,
    joined: SmallList<Namespace>,
    /// Deadline for the first connection to a namespace, in monotonic milliseconds; 0: there has been one.
    connect_by: u64,
    version: Version,
}

/// Connection of a session to a namespace.
#[derive(Debug)]
struct Namespace {
    /// Events with a pending acknowledgement.
    acks: Acks,
    /// Slot of the peer; `None` while the connection is being authorised.
    peer: Option<u32>,
    space: NamespaceIndex,
}

/// Meaning of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum NamespaceEvent<'m> {
    /// CONNECT, to be answered by [`Namespaces::accept`] or [`Namespaces::refuse`].
    Connect {
        /// The namespace.
        space: NamespaceIndex,
        /// Authentication payload, a JSON object.
        payload: Option<&'m str>,
        /// Query of the namespace, from older clients.
        query: Option<&'m str>,
    },
    /// CONNECT to an unknown namespace, to be answered with [`INVALID_NAMESPACE`].
    Unknown {
        /// Name of the namespace.
        namespace: &'m str,
    },
    /// An event.
    Event {
        /// The namespace.
        space: NamespaceIndex,
        /// Slot of the peer.
        peer: u32,
        /// Name and arguments.
        event: SocketIoEvent<'m>,
        /// Ack id, if the client asks for an acknowledgement.
        id: Option<u64>,
        /// Binary attachments.
        attachments: Attachments<'m>,
    },
    /// Acknowledgement of an event sent with an ack id.
    Acked {
        /// The namespace.
        space: NamespaceIndex,
        /// Slot of the peer.
        peer: u32,
        /// Ack id of the event.
        id: u64,
        /// Arguments of the acknowledgement.
        arguments: Arguments<'m>,
        /// Binary attachments.
        attachments: Attachments<'m>,
    },
    /// DISCONNECT from a namespace.
    Left {
        /// The namespace.
        space: NamespaceIndex,
        /// Slot of the peer, if the connection had been accepted.
        peer: Option<u32>,
    },
    /// No effect: an incomplete packet, or one that is ignored.
    Nothing,
}

/// A protocol violation by the client. It ends the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceFault {
    /// Invalid packet.
    Packet(SocketIoError),
    /// Packet for a namespace without a connection.
    NotConnected,
    /// Packet type that only servers send.
    Misplaced,
}

impl NamespaceFault {
    /// Description of the fault, a phrase.
    pub fn text(self) -> &'static str {
        match self {
            Self::Packet(error) => error.text(),
            Self::NotConnected => "packet for a namespace that is not connected",
            Self::Misplaced => "packet that only servers send",
        }
    }
}

impl From<SocketIoError> for NamespaceFault {
    fn from(error: SocketIoError) -> Self {
        Self::Packet(error)
    }
}

impl Namespaces {
    /// State of a session that opened at `mono` milliseconds and must connect to a namespace within `connect_ms`.
    pub fn new(version: Version, mono: u64, connect_ms: u64) -> Self {
        Self { decoder: SocketIoDecoder::default(), joined: SmallList::None, connect_by: mono + connect_ms, version }
    }

    /// The implicit CONNECT to the main namespace of older clients, on opening a session.
    pub fn open(&mut self, spaces: &[&str]) -> NamespaceEvent<'static> {
        if self.version == Version::V4 {
            return NamespaceEvent::Nothing;
        }
        match space_of(spaces, MAIN) {
            Some(space) => self.connect(space, None, None),
            None => NamespaceEvent::Nothing,
        }
    }

    /// Decodes a message, and interprets the packet that it completes. `gathered` is the place for a packet with attachments.
    ///
    /// # Errors
    /// A protocol violation; the session ends.
    pub fn message<'m>(
        &mut self,
        spaces: &[&str],
        data: PacketData<'m>,
        limits: &SocketIoLimits,
        gathered: &'m mut Option<Box<GatheredPacket>>,
    ) -> Result<NamespaceEvent<'m>, NamespaceFault> {
        let packet = match data {
            PacketData::Text(text) => self.decoder.text(self.version, text, limits)?,
            PacketData::Binary(bytes) => {
                *gathered = self.decoder.binary(bytes, limits)?;
                gathered.as_ref().map(|whole| whole.packet()).transpose()?
            }
        };
        let Some(packet) = packet else { return Ok(NamespaceEvent::Nothing) };
        let SocketIoPacket { namespace, query, id, content, attachments } = packet;
        let space = space_of(spaces, namespace);
        if let PacketContent::Connect(payload) = content {
            return match space {
                Some(space) => Ok(self.connect(space, payload, query)),
                None => Ok(NamespaceEvent::Unknown { namespace }),
            };
        }
        let at = space.and_then(|space| self.index_of(space)).ok_or(NamespaceFault::NotConnected)?;
        let joined = &mut self.joined.as_mut_slice()[at];
        let space = joined.space;
        if let PacketContent::Disconnect = content {
            let peer = self.joined.remove(at).and_then(|joined| joined.peer);
            return Ok(NamespaceEvent::Left { space, peer });
        }
        let peer = joined.peer.ok_or(NamespaceFault::NotConnected)?;
        match content {
            PacketContent::Event(event) => Ok(NamespaceEvent::Event { space, peer, event, id, attachments }),
            PacketContent::Ack(arguments) => Ok(match id.and_then(|id| joined.acks.take(id)) {
                Some(id) => NamespaceEvent::Acked { space, peer, id, arguments, attachments },
                // An unknown or expired ack id is ignored.
                None => NamespaceEvent::Nothing,
            }),
            PacketContent::ConnectError(_) => Err(NamespaceFault::Misplaced),
            PacketContent::Connect(_) | PacketContent::Disconnect => {
                unreachable!("invariant: CONNECT and DISCONNECT are handled above")
            }
        }
    }

    fn connect<'m>(
        &mut self,
        space: NamespaceIndex,
        payload: Option<&'m str>,
        query: Option<&'m str>,
    ) -> NamespaceEvent<'m> {
        // A client repeats its CONNECT when the application connects again before the first answer; that answer serves
        // for both.
        if self.index_of(space).is_some() {
            return NamespaceEvent::Nothing;
        }
        self.joined.push(Namespace { acks: Acks::default(), peer: None, space });
        NamespaceEvent::Connect { space, payload, query }
    }

    /// Accepts the pending connection as this peer. False: the client has left meanwhile; otherwise the caller sends
    /// [`Namespaces::encode_accepted`].
    pub fn accept(&mut self, space: NamespaceIndex, peer: u32) -> bool {
        let pending = self.pending(space);
        if let Some(at) = pending {
            self.joined.as_mut_slice()[at].peer = Some(peer);
            self.connect_by = 0;
        }
        pending.is_some()
    }

    /// Refuses the pending connection. False: the client has left meanwhile; otherwise the caller sends
    /// [`Namespaces::encode_refused`].
    pub fn refuse(&mut self, space: NamespaceIndex) -> bool {
        self.pending(space).and_then(|at| self.joined.remove(at)).is_some()
    }

    /// Whether the connection to the namespace is still to be accepted or refused.
    pub fn is_pending(&self, space: NamespaceIndex) -> bool {
        self.pending(space).is_some()
    }

    /// Index of the connection to the namespace, while it is pending.
    fn pending(&self, space: NamespaceIndex) -> Option<usize> {
        self.index_of(space).filter(|at| self.joined.as_slice()[*at].peer.is_none())
    }

    /// Disconnects the client from a namespace and returns the slot of its peer. The caller sends
    /// [`socketio::encode_disconnect`].
    pub fn leave(&mut self, space: NamespaceIndex) -> Option<u32> {
        let at = self.index_of(space)?;
        self.joined.remove(at)?.peer
    }

    /// A new ack id for an event to the client; `None` when it is not connected to the namespace.
    pub fn ask(&mut self, space: NamespaceIndex) -> Option<u64> {
        let at = self.index_of(space)?;
        let joined = &mut self.joined.as_mut_slice()[at];
        joined.peer.is_some().then(|| joined.acks.ask())
    }

    /// The peers of the session with their namespaces.
    pub fn peers(&self) -> impl Iterator<Item = (NamespaceIndex, u32)> {
        self.joined.as_slice().iter().filter_map(|joined| Some((joined.space, joined.peer?)))
    }

    /// Monotonic milliseconds when the session ends unless it connects to a namespace.
    pub fn connect_by(&self) -> Option<u64> {
        (self.connect_by != 0).then_some(self.connect_by)
    }

    /// Appends the acceptance of a CONNECT.
    pub fn encode_accepted(&self, out: &mut Vec<u8>, namespace: &str, sid: &str, recovery_id: Option<&str>) {
        match self.version {
            Version::V4 => socketio::encode_accepted(out, namespace, sid, recovery_id),
            Version::V3 => socketio::encode_joined(out, namespace),
        }
    }

    /// Appends the refusal of a CONNECT; `data` is JSON.
    pub fn encode_refused(&self, out: &mut Vec<u8>, namespace: &str, message: &str, data: Option<&str>) {
        match self.version {
            Version::V4 => socketio::encode_refused(out, namespace, message, data),
            Version::V3 => socketio::encode_refused_plainly(out, namespace, message),
        }
    }

    fn index_of(&self, space: NamespaceIndex) -> Option<usize> {
        self.joined.as_slice().iter().position(|joined| joined.space == space)
    }
}

fn space_of(spaces: &[&str], namespace: &str) -> Option<NamespaceIndex> {
    let at = spaces.iter().position(|space| *space == namespace)?;
    Some(NamespaceIndex::try_from(at).expect("invariant: the server has at most 256 namespaces"))
}
