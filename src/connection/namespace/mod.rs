//! One Engine.IO session's Socket.IO: which namespaces it is connected to, and what its messages say there.
//!
//! It does not know what an event means or who may connect: it says what came ([`NamespaceEvent`]), and is told what was decided
//! ([`Namespaces::accept`], [`Namespaces::refuse`]). Namespaces go by their place in the server's list of them.
//!
//! In version 4 of Socket.IO, which Engine.IO 3 carries, the server connects each client to the main namespace by itself
//! ([`Namespaces::open`]), and says less when it does.
//!
//! It promises:
//!
//! - **Whoever is in one namespace and waits for nothing** is this struct, with nothing behind it.
//! - **A session cannot make it grow**: each namespace is joined once, attachments have a bound, so have acks.
//! - **What is out of place is a [`NamespaceFault`]**, and ends the session, as in the reference.

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

/// What a CONNECT to a namespace that there is not is answered with.
pub const INVALID_NAMESPACE: &str = "Invalid namespace";

/// A namespace, by its place in the server's list.
pub type NamespaceIndex = u8;

/// A session's namespaces.
#[derive(Debug)]
pub struct Namespaces {
    decoder: SocketIoDecoder,
    joined: SmallList<Namespace>,
    /// When the session ends unless it is connected to a namespace, in monotonic milliseconds; 0: it has been.
    connect_by: u64,
    version: Version,
}

/// A session's connection to a namespace.
#[derive(Debug)]
struct Namespace {
    /// The events that the client is asked to acknowledge.
    acks: Acks,
    /// The peer it is in the domain; `None` while it is asked whether it may connect.
    peer: Option<u32>,
    space: NamespaceIndex,
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub enum NamespaceEvent<'m> {
    /// The client wants to connect; to be answered by [`Namespaces::accept`] or [`Namespaces::refuse`].
    Connect {
        /// Where to.
        space: NamespaceIndex,
        /// What it says of itself, a JSON object.
        payload: Option<&'m str>,
        /// The same as a query, from older clients.
        query: Option<&'m str>,
    },
    /// The client wants to connect to a namespace that there is not; to be answered with [`INVALID_NAMESPACE`].
    Unknown {
        /// The namespace's name.
        namespace: &'m str,
    },
    /// Something happened at the client.
    Event {
        /// Where.
        space: NamespaceIndex,
        /// The peer it is there.
        peer: u32,
        /// What.
        event: SocketIoEvent<'m>,
        /// The number under which it is to be acknowledged.
        id: Option<u64>,
        /// Its attachments.
        attachments: Attachments<'m>,
    },
    /// The client acknowledges an event that it was asked to.
    Acked {
        /// Where.
        space: NamespaceIndex,
        /// The peer it is there.
        peer: u32,
        /// The event's number.
        id: u64,
        /// The answer.
        arguments: Arguments<'m>,
        /// Its attachments.
        attachments: Attachments<'m>,
    },
    /// The client left a namespace; the peer it was there, if it had got that far.
    Left {
        /// Where.
        space: NamespaceIndex,
        /// The peer.
        peer: Option<u32>,
    },
    /// A packet's last attachment came; the packet is in there, to be fed to [`Namespaces::packet`].
    Gathered(Box<GatheredPacket>),
    /// Nothing yet, or nothing that matters.
    Nothing,
}

/// The client's fault. It ends the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceFault {
    /// It is no packet.
    Packet(SocketIoError),
    /// It is for a namespace that the client is not connected to.
    NotConnected,
    /// Only servers say that.
    Misplaced,
}

impl NamespaceFault {
    /// What was wrong, as a phrase.
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
    /// Of a session that opened at `mono` milliseconds and must be connected to a namespace within `connect_ms`.
    pub fn new(version: Version, mono: u64, connect_ms: u64) -> Self {
        Self { decoder: SocketIoDecoder::default(), joined: SmallList::None, connect_by: mono + connect_ms, version }
    }

    /// What an older client says by opening a session: that it wants to connect to the main namespace.
    pub fn open(&mut self, spaces: &[&str]) -> NamespaceEvent<'static> {
        if self.version == Version::V4 {
            return NamespaceEvent::Nothing;
        }
        match space_of(spaces, MAIN) {
            Some(space) => self.connect(space, None, None),
            None => NamespaceEvent::Nothing,
        }
    }

    /// A message came.
    ///
    /// # Errors
    /// The client's fault; the session ends.
    pub fn message<'m>(
        &mut self,
        spaces: &[&str],
        data: PacketData<'m>,
        limits: &SocketIoLimits,
    ) -> Result<NamespaceEvent<'m>, NamespaceFault> {
        match data {
            PacketData::Text(text) => match self.decoder.text(self.version, text, limits)? {
                Some(packet) => self.packet(spaces, packet),
                None => Ok(NamespaceEvent::Nothing),
            },
            PacketData::Binary(bytes) => {
                Ok(self.decoder.binary(bytes, limits)?.map_or(NamespaceEvent::Nothing, NamespaceEvent::Gathered))
            }
        }
    }

    /// A packet is whole: what it says.
    ///
    /// # Errors
    /// It is out of place; the session ends.
    pub fn packet<'m>(
        &mut self,
        spaces: &[&str],
        packet: SocketIoPacket<'m>,
    ) -> Result<NamespaceEvent<'m>, NamespaceFault> {
        let SocketIoPacket { namespace, query, id, content, attachments } = packet;
        let space = space_of(spaces, namespace);
        if let PacketContent::Connect(payload) = content {
            return match space {
                Some(space) => Ok(self.connect(space, payload, query)),
                None => Ok(NamespaceEvent::Unknown { namespace }),
            };
        }
        let at = space.and_then(|space| self.place_of(space)).ok_or(NamespaceFault::NotConnected)?;
        let joined = &mut self.joined.as_mut_slice()[at];
        let space = joined.space;
        if let PacketContent::Disconnect = content {
            let peer = self.joined.remove(at).and_then(|joined| joined.peer);
            return Ok(NamespaceEvent::Left { space, peer });
        }
        let peer = joined.peer.ok_or(NamespaceFault::NotConnected)?;
        match content {
            PacketContent::Event(event) => Ok(NamespaceEvent::Event { space, peer, event, id, attachments }),
            PacketContent::Ack(arguments) => Ok(match id.filter(|id| joined.acks.take(*id)) {
                Some(id) => NamespaceEvent::Acked { space, peer, id, arguments, attachments },
                // It answers nothing, or too late.
                None => NamespaceEvent::Nothing,
            }),
            PacketContent::ConnectError(_) | PacketContent::Connect(_) | PacketContent::Disconnect => {
                Err(NamespaceFault::Misplaced)
            }
        }
    }

    fn connect<'m>(
        &mut self,
        space: NamespaceIndex,
        payload: Option<&'m str>,
        query: Option<&'m str>,
    ) -> NamespaceEvent<'m> {
        // Clients ask twice when their application does before the first answer is there; that answer serves for both.
        if self.place_of(space).is_some() {
            return NamespaceEvent::Nothing;
        }
        self.joined.push(Namespace { acks: Acks::default(), peer: None, space });
        NamespaceEvent::Connect { space, payload, query }
    }

    /// The client may connect and is this peer from now on. Whether it still wants to; if so, it is to be told by
    /// [`Namespaces::encode_accepted`].
    pub fn accept(&mut self, space: NamespaceIndex, peer: u32) -> bool {
        let Some(at) = self.place_of(space) else { return false };
        let joined = &mut self.joined.as_mut_slice()[at];
        let is_awaited = joined.peer.is_none();
        if is_awaited {
            joined.peer = Some(peer);
            self.connect_by = 0;
        }
        is_awaited
    }

    /// The client may not connect. Whether it still wants to; if so, it is to be told by
    /// [`Namespaces::encode_refused`].
    pub fn refuse(&mut self, space: NamespaceIndex) -> bool {
        let awaited = self.place_of(space).filter(|at| self.joined.as_slice()[*at].peer.is_none());
        awaited.and_then(|at| self.joined.remove(at)).is_some()
    }

    /// The server takes the client out of a namespace; the peer it was there. The client is to be told by
    /// [`socketio::encode_disconnect`].
    pub fn leave(&mut self, space: NamespaceIndex) -> Option<u32> {
        let at = self.place_of(space)?;
        self.joined.remove(at)?.peer
    }

    /// The number under which the client is asked to acknowledge an event; `None` when it is not connected.
    pub fn ask(&mut self, space: NamespaceIndex) -> Option<u64> {
        let at = self.place_of(space)?;
        let joined = &mut self.joined.as_mut_slice()[at];
        joined.peer.is_some().then(|| joined.acks.ask())
    }

    /// The peers that the session is, each with its namespace.
    pub fn peers(&self) -> impl Iterator<Item = (NamespaceIndex, u32)> {
        self.joined.as_slice().iter().filter_map(|joined| Some((joined.space, joined.peer?)))
    }

    /// When the session ends because it has not connected to a namespace, in monotonic milliseconds.
    pub fn connect_by(&self) -> Option<u64> {
        (self.connect_by != 0).then_some(self.connect_by)
    }

    /// Appends the message that tells the client that it is connected.
    pub fn encode_accepted(&self, out: &mut Vec<u8>, namespace: &str, sid: &str, recovery_id: Option<&str>) {
        match self.version {
            Version::V4 => socketio::encode_accepted(out, namespace, sid, recovery_id),
            Version::V3 => socketio::encode_joined(out, namespace),
        }
    }

    /// Appends the message that tells the client that it may not connect; `data` is JSON.
    pub fn encode_refused(&self, out: &mut Vec<u8>, namespace: &str, message: &str, data: Option<&str>) {
        match self.version {
            Version::V4 => socketio::encode_refused(out, namespace, message, data),
            Version::V3 => socketio::encode_refused_plainly(out, namespace, message),
        }
    }

    fn place_of(&self, space: NamespaceIndex) -> Option<usize> {
        self.joined.as_slice().iter().position(|joined| joined.space == space)
    }
}

fn space_of(spaces: &[&str], namespace: &str) -> Option<NamespaceIndex> {
    let at = spaces.iter().position(|space| *space == namespace)?;
    NamespaceIndex::try_from(at).ok()
}
