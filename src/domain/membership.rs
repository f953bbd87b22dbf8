//! Membership of a room: joining, leaving, participation.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::base::Name;
use crate::base::grow;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::map::{Map, map};
use crate::domain::about::About;
use crate::domain::access::Identity;
use crate::domain::call;
use crate::domain::command::MediaState;
use crate::domain::connection_mode::SFU;
use crate::domain::event::{Event, Joined, LeaveCause, PeerName, PeerView};
use crate::domain::op::{HostClaim, JoinRoom, OpContext, Profile, Reply};
use crate::domain::reject::Reject;
use crate::domain::room::Room;

/// A room with more members than this has an index; with fewer a linear search is as fast.
const INDEXED_FROM: usize = 24;

/// A member of a room: one connection.
pub(crate) struct Member {
    pub(crate) connection: ConnectionId,
    /// The peer id that its client chose; the connection's id if absent.
    pub(crate) name: Option<Name>,
    /// What it shows of itself.
    pub(crate) about: About,
    pub(crate) identity: Identity,
    pub(crate) media: MediaState,
    /// It has sent a signal.
    pub(crate) has_signaled: bool,
}

impl Member {
    /// Whether it only receives: the others do not see it.
    pub(crate) fn is_observer(&self) -> bool {
        self.about.is_observer()
    }

    /// Rejects a member that only receives.
    pub(super) fn check_sends(&self) -> Result<&Self, Reject> {
        if self.is_observer() { Err(Reject::observer()) } else { Ok(self) }
    }

    pub(crate) fn peer_name(&self) -> PeerName {
        match &self.name {
            Some(name) => PeerName::Chosen(name.clone()),
            None => PeerName::Own(self.connection),
        }
    }

    pub(crate) fn peer(&self) -> PeerView {
        PeerView {
            name: self.peer_name(),
            about: self.about.clone(),
            identity: self.identity.clone(),
            media: self.media,
        }
    }
}

/// The members of a room, by connection and by peer id, and their number on each shard.
#[derive(Default)]
pub(crate) struct Members {
    pub(super) list: Vec<Member>,
    index: Option<Box<MemberIndex>>,
    /// The number of members by shard; shards without any are absent.
    shards: SmallVec<[(u8, u32); 2]>,
    /// The number of Socket.IO peers among them.
    peers: u32,
    /// The number of those that can use a media server.
    capable: u32,
}

struct MemberIndex {
    /// The number of observers.
    observers: usize,
    by_connection: Map<ConnectionId, u32>,
    by_name: Map<Name, u32>,
}

impl Members {
    /// Memory of the list of members.
    pub(crate) fn bytes(&self) -> usize {
        self.list.capacity() * size_of::<Member>()
    }

    /// The number of members without observers.
    pub(crate) fn len(&self) -> usize {
        match &self.index {
            Some(index) => self.list.len() - index.observers,
            None => self.iter().count(),
        }
    }

    /// The number of members with observers.
    pub(crate) fn connections(&self) -> usize {
        self.list.len()
    }

    /// Whether there are no members, and no observers either.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The members without observers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.list.iter().filter(|member| !member.is_observer())
    }

    /// The members with observers.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Member> {
        self.list.iter()
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = u8> + '_ {
        self.shards.iter().map(|(shard, _)| *shard)
    }

    /// Whether an event for all but `except` has a receiver. Some dialects of Socket.IO deliver a message to its sender, too.
    pub(crate) fn hear(&self, except: Option<ConnectionId>) -> bool {
        let is_left_out = |it: ConnectionId| !it.is_peer() && self.of(it).is_some();
        self.list.len() > 1 || self.list.len() > usize::from(except.is_some_and(is_left_out))
    }

    /// Whether some of them are Socket.IO peers, which need other encodings.
    pub(crate) fn has_peers(&self) -> bool {
        self.peers > 0
    }

    /// The number of members that can use a media server.
    pub(super) fn capable(&self) -> u32 {
        self.capable
    }

    /// Changes the media of the member at `at`.
    pub(super) fn set_media(&mut self, at: usize, media: MediaState) {
        let member = &mut self.list[at];
        self.capable = self.capable - u32::from(member.media.sfu) + u32::from(media.sfu);
        member.media = media;
    }

    /// Notes that a member sends signals.
    pub(super) fn note_signal(&mut self, connection: ConnectionId) {
        if let Some(at) = self.position(connection) {
            self.list[at].has_signaled = true;
        }
    }

    pub(crate) fn of(&self, connection: ConnectionId) -> Option<&Member> {
        self.position(connection).map(|at| &self.list[at])
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Member> {
        self.position_named(name).map(|at| &self.list[at])
    }

    /// The member that others address by this: its peer id, or the id of its present connection, which is another one after
    /// a recovery.
    pub(crate) fn addressed(&self, name: &str) -> Option<&Member> {
        self.named(name).or_else(|| self.of(ConnectionId::parse(name)?))
    }

    /// As [`Self::addressed`], unless it is an observer, which others do not see.
    pub(crate) fn reachable(&self, name: &str) -> Result<&Member, Reject> {
        self.addressed(name).filter(|member| !member.is_observer()).ok_or_else(Reject::peer_not_found)
    }

    pub(super) fn position(&self, connection: ConnectionId) -> Option<usize> {
        match &self.index {
            Some(index) => index.by_connection.get(&connection).map(|at| *at as usize),
            None => self.list.iter().position(|member| member.connection == connection),
        }
    }

    fn position_named(&self, name: &str) -> Option<usize> {
        let chosen = match &self.index {
            Some(index) => index.by_name.get(name).map(|at| *at as usize),
            None => self.list.iter().position(|member| member.name.as_deref() == Some(name)),
        };
        chosen.or_else(|| {
            let at = self.position(ConnectionId::parse(name)?)?;
            self.list[at].name.is_none().then_some(at)
        })
    }

    fn push(&mut self, member: Member, seed: impl FnOnce() -> u64) {
        self.count(member.connection, true);
        self.capable += u32::from(member.media.sfu);
        let at = self.list.len() as u32;
        let is_observer = member.is_observer();
        grow::push(&mut self.list, member);
        if let Some(index) = &mut self.index {
            index.observers += usize::from(is_observer);
            index.add(&self.list[at as usize], at);
        } else if self.list.len() > INDEXED_FROM {
            let (seed, observers) = (seed(), self.list.len() - self.iter().count());
            let mut index = Box::new(MemberIndex { observers, by_connection: map(seed), by_name: map(seed) });
            for (at, member) in self.list.iter().enumerate() {
                index.add(member, at as u32);
            }
            self.index = Some(index);
        }
    }

    fn remove(&mut self, at: usize) -> Member {
        if let Some(index) = &mut self.index {
            index.observers -= usize::from(self.list[at].is_observer());
            index.remove(&self.list[at]);
            let last = self.list.len() - 1;
            if at != last {
                index.add(&self.list[last], at as u32);
            }
        }
        let member = self.list.swap_remove(at);
        self.count(member.connection, false);
        self.capable -= u32::from(member.media.sfu);
        if self.list.len() <= INDEXED_FROM / 2 {
            self.index = None;
        }
        grow::shrink(&mut self.list);
        member
    }

    /// Moves the member at `at` to another connection; its peer id stays. The former connection.
    pub(super) fn move_to(&mut self, at: usize, connection: ConnectionId) -> ConnectionId {
        let former = self.list[at].connection;
        if let Some(index) = &mut self.index {
            index.remove(&self.list[at]);
        }
        let member = &mut self.list[at];
        member.connection = connection;
        // A former connection's id stays the peer id.
        member.name.get_or_insert_with(|| former.text().as_str().into());
        if let Some(index) = &mut self.index {
            index.add(&self.list[at], at as u32);
        }
        self.count(former, false);
        self.count(connection, true);
        former
    }

    fn count(&mut self, connection: ConnectionId, more: bool) {
        if connection.is_peer() {
            self.peers = if more { self.peers + 1 } else { self.peers - 1 };
        }
        let shard = connection.place().shard;
        match self.shards.iter().position(|(known, _)| *known == shard) {
            Some(at) if more => self.shards[at].1 += 1,
            Some(at) if self.shards[at].1 == 1 => drop(self.shards.remove(at)),
            Some(at) => self.shards[at].1 -= 1,
            None => {
                debug_assert!(more, "invariant: a removed member is counted on its shard");
                self.shards.push((shard, 1));
            }
        }
    }

    /// The member of `connection`, provided that the peer id it gave is its own. A recovered connection keeps the peer id
    /// from before, but may know only its present connection id.
    pub(super) fn identify(
        &self,
        connection: ConnectionId,
        peer: Option<&str>,
        field: &str,
    ) -> Result<&Member, Reject> {
        let member = self.of(connection).ok_or_else(Reject::not_in_room)?;
        match peer {
            Some(name) if !member.peer_name().is(name) && name != connection.text().as_str() => {
                Err(Reject::peer_mismatch(field))
            }
            _ => Ok(member),
        }
    }

    /// Whether a connection's user has no other member here, for the dialects that announce users. Without Socket.IO peers
    /// there is no receiver, and no search.
    fn is_alone(&self, connection: ConnectionId, user: &str) -> bool {
        let is_other = |member: &Member| member.connection != connection && member.identity.user() == user;
        !self.has_peers() || !self.iter().any(is_other)
    }

    pub(super) fn check_invariants(&self) {
        let mut shards: BTreeMap<u8, u32> = BTreeMap::new();
        for (at, member) in self.list.iter().enumerate() {
            *shards.entry(member.connection.place().shard).or_default() += 1;
            assert_eq!(self.position(member.connection), Some(at), "members: each connection is found, once");
            let found = member.peer_name().with(|name| self.position_named(name));
            assert_eq!(found, Some(at), "members: each peer id is found, once");
        }
        assert_eq!(shards, self.shards.iter().copied().collect(), "members: members match their count by shard");
        let peers = self.list.iter().filter(|member| member.connection.is_peer()).count();
        assert_eq!(peers, self.peers as usize, "members: Socket.IO peers match their count");
        let capable = self.list.iter().filter(|member| member.media.sfu).count();
        assert_eq!(capable, self.capable as usize, "members: those that can use a media server match their count");
        if let Some(index) = &self.index {
            assert_eq!(index.by_connection.len(), self.list.len(), "members: the index has each connection, once");
            assert_eq!(self.iter().count(), self.len(), "members: observers match their count");
            let named = self.list.iter().filter(|member| member.name.is_some()).count();
            assert_eq!(index.by_name.len(), named, "members: the index has each chosen peer id, once");
        }
    }
}

impl MemberIndex {
    fn add(&mut self, member: &Member, at: u32) {
        self.by_connection.insert(member.connection, at);
        if let Some(name) = &member.name {
            self.by_name.insert(name.clone(), at);
        }
    }

    fn remove(&mut self, member: &Member) {
        self.by_connection.remove(&member.connection);
        if let Some(name) = &member.name {
            self.by_name.remove(name);
        }
    }
}

impl Room {
    /// As [`Members::identify`]. For a connection that is no member, a private room looks like one that does not exist.
    pub(super) fn identify(
        &self,
        connection: ConnectionId,
        peer: Option<&str>,
        field: &str,
    ) -> Result<&Member, Reject> {
        match (self.members.of(connection), peer) {
            (Some(member), None) => Ok(member),
            (Some(_), Some(_)) => self.members.identify(connection, peer, field),
            (None, _) => Err(self.not_a_member()),
        }
    }

    fn not_a_member(&self) -> Reject {
        if self.is_private() { Reject::room_not_found() } else { Reject::not_in_room() }
    }

    /// Makes a connection a member. A peer id that the same user already has moves to the connection, without an event for
    /// the others. A repeated join of the same connection updates its display name and media only.
    pub(super) fn join(&mut self, join: JoinRoom, context: &mut OpContext<'_>) -> Result<Box<Joined>, Reject> {
        self.check_admits(&join.by)?;
        self.check_lock(&join.by)?;
        if join.peer.as_deref() == Some(SFU) {
            return Err(Reject::peer_id_taken());
        }
        let taken = match &join.peer {
            Some(name) => self.members.position_named(name),
            // Another client may have chosen this connection's id as its peer id.
            None => self.members.position_named(join.connection.text().as_str()),
        };
        if let Some(at) = taken {
            if self.members.list[at].identity.user() != join.by.user() {
                return Err(Reject::peer_id_taken());
            }
            if self.members.list[at].is_observer() == join.about.is_observer() {
                return Ok(self.take_over(at, join, context));
            }
            // A member that only observes from now on leaves for the others, and one that does no more arrives.
            if !join.about.is_observer() && self.is_full(context) {
                return Err(Reject::room_full());
            }
            let former = self.remove_member(at, context).connection;
            if former != join.connection {
                context.tell(former, Event::Left { room: self.id.clone(), cause: LeaveCause::Replaced });
            }
        }
        match self.members.position(join.connection) {
            // The place is free again, also in a room that has become smaller.
            Some(at) => drop(self.remove_member(at, context)),
            None if !join.about.is_observer() && self.is_full(context) => return Err(Reject::room_full()),
            None => {}
        }
        Ok(self.enter(join, context))
    }

    fn take_over(&mut self, at: usize, join: JoinRoom, context: &mut OpContext<'_>) -> Box<Joined> {
        // The connection may be a member with another peer id. That membership ends, with an event for the others.
        let at = match self.members.position(join.connection) {
            Some(other) if other != at => {
                let name = self.members.list[at].peer_name();
                self.remove_member(other, context);
                let found = name.with(|name| self.members.position_named(name));
                found.expect("members: a peer id stays with its member")
            }
            _ => at,
        };
        let former = self.members.list[at].connection;
        if former != join.connection {
            self.members.move_to(at, join.connection);
            self.stop_typing(former, join.connection, context);
            let event = Event::Left { room: self.id.clone(), cause: LeaveCause::Replaced };
            context.tell(former, event);
        }
        let member = &mut self.members.list[at];
        member.identity = join.by;
        member.about = join.about;
        if member.media != join.media {
            let event = Event::Media { room: self.id.clone(), peer: member.peer_name(), media: join.media };
            self.members.set_media(at, join.media);
            context.tell_members(Some(join.connection), event);
        }
        let view = self.joined(join.connection, context);
        // A repeated join costs little: the member has the list.
        Box::new(if former == join.connection { Joined { peers: Vec::new(), ..*view } } else { *view })
    }

    fn enter(&mut self, join: JoinRoom, context: &mut OpContext<'_>) -> Box<Joined> {
        let connection = join.connection;
        let member = Member {
            connection,
            name: join.peer,
            about: join.about,
            identity: join.by,
            media: join.media,
            has_signaled: false,
        };
        if member.is_observer() {
            self.members.push(member, || context.rng.next_u64());
            return self.joined(connection, context);
        }
        let peer = member.peer();
        self.members.push(member, || context.rng.next_u64());
        context.hook_arrival(&self.id, self.members.len(), &peer.name, &peer.identity);
        if self.members.len() > context.rules.announce_limit {
            self.uncounted = true;
        } else {
            let is_first = self.members.is_alone(connection, peer.identity.user());
            let peer = Box::new(peer);
            context.tell_members(Some(connection), Event::PeerJoined { room: self.id.clone(), peer, is_first });
            self.is_online_news = self.members.has_peers();
        }
        self.joined(connection, context)
    }

    /// A member's first view of the room.
    pub(super) fn joined(&self, connection: ConnectionId, context: &OpContext<'_>) -> Box<Joined> {
        let own = self.members.of(connection).expect("members: a connection that has joined is a member");
        let others = self.members.iter().filter(|member| member.connection != connection);
        Box::new(Joined {
            room: self.id.clone(),
            peer: own.peer_name(),
            peers: others.take(context.rules.announce_limit).map(Member::peer).collect(),
            participant_count: self.participant_count(),
            epoch: self.log.epoch().clone(),
            seq: self.log.committed(),
            mode: call::mode(self),
            rewound: Vec::new(),
        })
    }

    fn is_full(&self, context: &OpContext<'_>) -> bool {
        let max = self.profile.as_deref().map_or(context.rules.max_participants, |profile| profile.max_participants);
        max != 0 && self.members.len() >= max
    }

    /// Removes the member at `at`, with an event for the others.
    fn remove_member(&mut self, at: usize, context: &mut OpContext<'_>) -> Member {
        if self.members.list[at].is_observer() {
            return self.members.remove(at);
        }
        let was_announced = self.members.len() <= context.rules.announce_limit;
        let typist = self.members.list[at].connection;
        self.stop_typing(typist, typist, context);
        let member = self.members.remove(at);
        context.hook_departure(&self.id, self.members.len(), &member);
        if was_announced {
            let (peer, identity) = (member.peer_name(), member.identity.clone());
            let is_last = self.members.is_alone(member.connection, identity.user());
            let event = Event::PeerLeft { room: self.id.clone(), peer, identity, is_last };
            context.tell_members(Some(member.connection), event);
            self.is_online_news = self.members.has_peers();
        } else {
            self.uncounted = true;
        }
        member
    }

    pub(super) fn leave(
        &mut self,
        connection: ConnectionId,
        by: &HostClaim,
        peer: Option<&str>,
        context: &mut OpContext<'_>,
    ) -> Result<Reply, Reject> {
        let own = self.members.position(connection);
        let named = peer.map(|name| self.members.position_named(name));
        match (own, named) {
            (Some(at), named) if named.is_none_or(|named| named == Some(at)) => {
                self.remove_member(at, context);
                Ok(Reply::Left { own: true })
            }
            (_, Some(Some(named))) if self.is_host(by) => {
                let member = self.remove_member(named, context);
                let event = Event::Left { room: self.id.clone(), cause: LeaveCause::Removed };
                context.tell(member.connection, event);
                Ok(Reply::Left { own: false })
            }
            (None, _) => Err(self.not_a_member()),
            (Some(_), Some(None)) => Err(Reject::peer_not_found()),
            (Some(_), _) => Err(Reject::peer_mismatch("peerId")),
        }
    }

    /// Removes the member of a connection that has ended.
    pub(super) fn remove_connection(
        &mut self,
        connection: ConnectionId,
        context: &mut OpContext<'_>,
    ) -> Result<Reply, Reject> {
        if let Some(at) = self.members.position(connection) {
            self.remove_member(at, context);
        }
        Ok(Reply::Done)
    }

    /// Makes a user a participant and its connections members. Each of them receives the event of a join.
    pub(super) fn add_participant(
        &mut self,
        by: Identity,
        connections: &[ConnectionId],
        context: &mut OpContext<'_>,
    ) -> Result<Reply, Reject> {
        self.check_add_participant(&by)?;
        for &connection in connections {
            if self.members.of(connection).is_some() {
                continue;
            }
            let join = JoinRoom {
                connection,
                by: by.clone(),
                peer: None,
                about: About::default(),
                media: MediaState::default(),
                create: false,
                rewind: 0,
            };
            let joined = self.join(join, context)?;
            context.tell(connection, Event::Joined(joined));
            call::tell_to(self, connection, context);
        }
        if !self.has_participant(by.user())
            && let Some(profile) = &mut self.profile
        {
            profile.participants.push(by.user_name());
            self.tell_info(context);
        }
        Ok(Reply::Done)
    }

    /// Rejects a user that may not become a participant.
    pub(super) fn check_add_participant(&self, by: &Identity) -> Result<(), Reject> {
        self.check_admits(by)?;
        self.check_lock(by)?;
        let is_full = |profile: &Profile| profile.participants.len() >= limits::PARTICIPANTS_PER_ROOM;
        if self.profile.as_deref().is_some_and(is_full) && !self.has_participant(by.user()) {
            return Err(Reject::participants_full());
        }
        Ok(())
    }

    /// Removes the members of a user and, unless `connection` limits it to one of them, the participation.
    pub(super) fn remove_user(
        &mut self,
        user: &str,
        connection: Option<ConnectionId>,
        cause: LeaveCause,
        context: &mut OpContext<'_>,
    ) -> Result<Reply, Reject> {
        let mut found = false;
        let is_theirs = |member: &Member| {
            member.identity.user() == user && connection.is_none_or(|connection| member.connection == connection)
        };
        while let Some(at) = self.members.list.iter().position(is_theirs) {
            let member = self.remove_member(at, context);
            context.tell(member.connection, Event::Left { room: self.id.clone(), cause });
            found = true;
        }
        if connection.is_none()
            && let Some(profile) = &mut self.profile
        {
            let before = profile.participants.len();
            profile.participants.retain(|participant| **participant != *user);
            if profile.participants.len() != before {
                found = true;
                self.tell_info(context);
            }
        }
        if found { Ok(Reply::Done) } else { Err(Reject::not_in_room()) }
    }
}

#[cfg(test)]
mod tests;
