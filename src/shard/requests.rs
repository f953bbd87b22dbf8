//! Pending requests of a shard: each operation sent to an owner, until its reply has come. A request to several owners is
//! one pending request that gathers their parts ([`Gather`]).

use slab::Slab;

use crate::base::Name;
use crate::base::gather::Gather;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::dialect::socketio::ReplyTo;
use crate::domain::command::MediaState;
use crate::domain::event::Content;
use crate::domain::op::Reply;
use crate::domain::query::Query;
use crate::domain::reject::Reject;
use crate::media::MediaOffer;
use crate::shard::http::calls::PendingCall;
use crate::shard::net::Net;
use crate::shard::presence::online::UserList;
use crate::shard::queries::ClientRequest;
use crate::shard::recovery::Appearance;

/// The requests whose replies are awaited.
pub(super) struct Requests {
    pending: Slab<PendingRequest>,
}

/// A request whose reply is awaited.
pub(super) struct PendingRequest {
    /// The connection that the reply is for; `None` when no connection waits for it.
    pub(super) to: Option<ConnectionId>,
    pub(super) id: RequestId,
    pub(super) then: OnReply,
}

/// The parts of the owners' replies, the rule for merging them, and the use of the merged reply.
pub(super) struct Scatter {
    gather: Gather<Reply>,
    merge: Merge,
    /// The refusal of a part, if all are needed.
    failure: Option<Box<Reject>>,
    then: OnReply,
}

/// The rule for merging two parts.
#[derive(Clone, Debug)]
pub(super) enum Merge {
    /// Lists of at most so many users, and sums.
    Limit(usize),
    /// Partial results of a query.
    Query(Query),
    /// Sums of which no part may be missing.
    Whole,
}

/// A client's name for a request, by which the answer refers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RequestId {
    /// The `requestId` of a raw client, as JSON, if it gave one.
    Raw(Option<Box<str>>),
    /// The event of a Socket.IO client, and the ack it asked for.
    SocketIo(ReplyTo),
}

/// The same, borrowed.
#[derive(Clone, Copy, Debug)]
pub(super) enum RequestRef<'r> {
    Raw(Option<&'r str>),
    SocketIo(ReplyTo),
}

/// The use of a reply.
pub(super) enum OnReply {
    /// Only a refusal is passed on.
    Refusal,
    /// The peer is attached to its user, or refused.
    Attached,
    /// The peer becomes a member.
    Joined {
        room: Name,
        /// Its appearance there, if not the default.
        shown: Option<Box<Appearance>>,
    },
    /// The session whose token a raw client showed is used up.
    SessionTaken,
    /// The session whose secret a Socket.IO client showed becomes the peer's. The connection was thought to have it.
    SessionClaimed(Box<(Box<str>, ConnectionId)>),
    /// The peer is a member again.
    Rejoined {
        room: Name,
        /// Its former appearance there.
        shown: Box<Appearance>,
    },
    /// The peer sends other media in a room, or can use the media server or not; only a refusal is passed on.
    Media { room: Name, media: Option<MediaState>, sfu: Option<bool> },
    /// The media server gets the peer's offer.
    MediaOffer(Box<(Name, MediaOffer)>),
    /// Messages or receipts.
    Found,
    /// The messages after one that the client named, or the newest of the room if that is not known: this number of them.
    Synced { room: Name, limit: usize },
    /// The newest messages, in place of those after an unknown one.
    SyncedInstead,
    /// A membership of the peer, or of another one with that peer id, has ended.
    Left { room: Name, other: Option<Box<Name>> },
    /// An action of a room's host is done.
    HostAction(Box<HostRequest>),
    /// The sender gets a receipt that names the message's target: a user, or a room.
    Sent { is_to_user: bool, target: Name },
    /// The sender gets a receipt that repeats the content, and the room.
    Repeated(Name, Box<Content>),
    /// The senders of the pieces of a stream get a receipt that names the room.
    Appended(Box<(Name, Vec<RequestId>)>),
    /// An HTTP request is answered.
    Rest(Box<PendingCall>),
    /// A client's query is answered.
    Query(Box<ClientRequest>),
    /// The list of online users is sent.
    Online(UserList),
    /// The rooms are counted that this user has made.
    RoomsCounted(Name),
    /// The replies of several owners are gathered.
    Gathered(Box<Scatter>),
}

/// A host's action that its room decides on.
pub(super) struct HostRequest {
    pub(super) room: Name,
    /// Its name on the wire.
    pub(super) action: &'static str,
    /// The user that it concerns.
    pub(super) on: Option<Name>,
}

impl RequestId {
    pub(super) fn as_ref(&self) -> RequestRef<'_> {
        match self {
            Self::Raw(id) => RequestRef::Raw(id.as_deref()),
            Self::SocketIo(to) => RequestRef::SocketIo(*to),
        }
    }
}

impl RequestRef<'_> {
    pub(super) fn to_owned(self) -> RequestId {
        match self {
            Self::Raw(id) => RequestId::Raw(id.map(Into::into)),
            Self::SocketIo(to) => RequestId::SocketIo(to),
        }
    }

    /// The id of a raw client's request.
    pub(super) fn raw(&self) -> Option<&str> {
        match self {
            Self::Raw(id) => *id,
            Self::SocketIo(_) => None,
        }
    }

    /// The reply target of a Socket.IO client's request.
    pub(super) fn socketio(&self) -> ReplyTo {
        match self {
            Self::Raw(_) => ReplyTo::default(),
            Self::SocketIo(to) => *to,
        }
    }
}

impl Scatter {
    /// Adds one owner's part. Returns the whole reply with the last one.
    pub(super) fn add(&mut self, part: Result<Reply, Reject>) -> Option<Result<Reply, Reject>> {
        if let (Err(reject), Merge::Whole) = (&part, &self.merge) {
            self.failure = Some(Box::new(reject.clone()));
        }
        let whole = self.gather.add(part, |all, part| merge(all, part, &self.merge))?;
        Some(self.failure.take().map_or(whole, |reject| Err(*reject)))
    }
}

impl PendingRequest {
    /// A request of a connection.
    pub(super) fn new(to: ConnectionId, id: RequestId, then: OnReply) -> Self {
        Self { to: Some(to), id, then }
    }

    /// A request of the shard itself, whose reply is not used.
    pub(super) fn detached() -> Self {
        Self { to: None, id: RequestId::Raw(None), then: OnReply::Refusal }
    }

    /// A request of the shard itself.
    pub(super) fn internal(then: OnReply) -> Self {
        Self { then, ..Self::detached() }
    }

    /// Awaits `awaited` parts, at least one, and merges them into `initial`, if there is one.
    pub(super) fn scattered(self, awaited: usize, initial: Option<Reply>, merge: Merge) -> Self {
        let gather = match initial {
            Some(initial) => Gather::into_initial(awaited, initial),
            None => Gather::new(awaited),
        };
        Self { then: OnReply::Gathered(Box::new(Scatter { gather, merge, failure: None, then: self.then })), ..self }
    }
}

impl Requests {
    pub(super) fn new() -> Self {
        Self { pending: Slab::new() }
    }

    /// Adds a request; its number.
    pub(super) fn insert(&mut self, request: PendingRequest) -> u32 {
        self.pending.insert(request) as u32
    }

    /// The request of this number.
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut PendingRequest> {
        debug_assert!(self.pending.contains(number as usize), "invariant: an owner replies once to each request");
        self.pending.get_mut(number as usize)
    }

    /// Removes the request of this number, whose whole reply is there.
    pub(super) fn remove(&mut self, number: u32) -> PendingRequest {
        let PendingRequest { to, id, then } = self.pending.remove(number as usize);
        let then = if let OnReply::Gathered(scatter) = then { scatter.then } else { then };
        PendingRequest { to, id, then }
    }

    /// Requests that are pending.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether no further request of a client is taken on.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= limits::ASKS_PER_SHARD
    }

    /// The pending requests of one connection.
    pub(super) fn count_of(&self, connection: ConnectionId) -> usize {
        self.pending.iter().filter(|(_, request)| request.to == Some(connection)).count()
    }

    pub(super) fn capacity(&self) -> usize {
        self.pending.capacity()
    }

    /// Gives back memory when no request is pending.
    pub(super) fn trim(&mut self) {
        if self.pending.is_empty() {
            self.pending.shrink_to_fit();
        }
    }

    /// Panics unless the peers count their pending requests.
    pub(super) fn check_invariants(&self, net: &Net) {
        for (slot, conn) in net.conns.iter() {
            let pending = self.count_of(net.id_of(slot));
            assert_eq!(pending, usize::from(conn.asks), "invariant: a connection counts its pending requests");
        }
        for (at, client) in net.sessions.list.iter().filter(|(_, client)| !client.session.is_over()) {
            let peers = net.sessions.peers.iter().filter(|(_, peer)| net.sessions.named(peer.link) == Some(at));
            let pending: usize = peers.map(|(slot, _)| self.count_of(net.id_of(slot))).sum();
            assert_eq!(pending, usize::from(client.asks), "invariant: a session counts its peers' pending requests");
        }
    }
}

/// Merges one owner's part into those of others.
fn merge(all: &mut Reply, part: Reply, rule: &Merge) {
    let limit = match rule {
        Merge::Limit(limit) => *limit,
        Merge::Query(_) | Merge::Whole => usize::MAX,
    };
    match (all, part, rule) {
        (Reply::PartialResult(all), Reply::PartialResult(part), Merge::Query(query)) => all.add(part, query),
        (Reply::Rooms(all), Reply::Rooms(part), _) => all.add(part),
        (Reply::Users(all), Reply::Users(part), _) => all.add(part, limit),
        (Reply::Described(all), Reply::Described(mut part), _) => all.append(&mut part),
        (Reply::Closed(all), Reply::Closed(part), _) => *all += part,
        (Reply::Pushed(all), Reply::Pushed(part), _) => all.merge(part),
        (Reply::Published(all), Reply::Published(mut part), _) => all.append(&mut part),
        _ => debug_assert!(false, "invariant: all owners reply to a request with parts of one kind"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_request_is_small() {
        assert!(size_of::<PendingRequest>() <= 80, "{} bytes", size_of::<PendingRequest>());
    }
}
