//! Joining and leaving: both halves of being in a room.

use smallvec::SmallVec;

use crate::base::Name;
use crate::base::grow;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::map::{Map, map};
use crate::domain::access::Identity;
use crate::domain::command::MediaState;
use crate::domain::event::{Event, Joined, LeaveCause, PeerName, PeerView};
use crate::domain::op::{JoinRoom, OpContext, Profile, Reply};
use crate::domain::reject::Reject;
use crate::domain::room::Room;

/// A room with more members than this finds them by hashing; fewer are found as fast by looking.
const INDEXED_FROM: usize = 24;

/// One connection's membership of one room.
pub struct Member {
    /// The connection.
    pub connection: ConnectionId,
    /// The name its client chose; the connection's id when absent.
    pub name: Option<Name>,
    /// The name to show, when it is another than the username.
    pub display_name: Option<Box<str>>,
    /// Who it is.
    pub identity: Identity,
    /// Which media it sends.
    pub media: MediaState,
}

impl Member {
    /// The member's name in the room.
    pub fn peer_name(&self) -> PeerName {
        match &self.name {
            Some(name) => PeerName::Chosen(name.clone()),
            None => PeerName::Own(self.connection),
        }
    }

    /// The member as the others see it.
    pub fn peer(&self) -> PeerView {
        PeerView {
            name: self.peer_name(),
            display_name: self.display_name.clone(),
            identity: self.identity.clone(),
            media: self.media,
        }
    }
}

/// A room's members, found by connection or by name, and how many of them each shard holds.
#[derive(Default)]
pub struct Members {
    pub(super) list: Vec<Member>,
    index: Option<Box<Index>>,
    shards: SmallVec<[(u8, u32); 2]>,
    /// How many of them are Socket.IO peers.
    peers: u32,
}

struct Index {
    by_connection: Map<ConnectionId, u32>,
    by_name: Map<Name, u32>,
}

impl Members {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.list.iter()
    }

    /// The shards that hold at least one of them.
    pub fn shards(&self) -> impl Iterator<Item = u8> + '_ {
        self.shards.iter().map(|(shard, _)| *shard)
    }

    /// Whether anyone hears what all but `except` are told. In some dialects of Socket.IO a sender hears its own message.
    pub fn hear(&self, except: Option<ConnectionId>) -> bool {
        let is_left_out = |it: ConnectionId| !it.is_peer() && self.of(it).is_some();
        self.list.len() > usize::from(except.is_some_and(is_left_out))
    }

    /// Whether some of them are Socket.IO peers, whose wires differ from the others'.
    pub fn has_peers(&self) -> bool {
        self.peers > 0
    }

    /// The member that `connection` is.
    pub fn of(&self, connection: ConnectionId) -> Option<&Member> {
        self.position(connection).map(|at| &self.list[at])
    }

    /// The member that goes by `name`.
    pub fn named(&self, name: &str) -> Option<&Member> {
        self.position_named(name).map(|at| &self.list[at])
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
        let at = self.list.len() as u32;
        grow::push(&mut self.list, member);
        if let Some(index) = &mut self.index {
            index.add(&self.list[at as usize], at);
        } else if self.list.len() > INDEXED_FROM {
            let seed = seed();
            let mut index = Box::new(Index { by_connection: map(seed), by_name: map(seed) });
            for (at, member) in self.list.iter().enumerate() {
                index.add(member, at as u32);
            }
            self.index = Some(index);
        }
    }

    fn remove(&mut self, at: usize) -> Member {
        if let Some(index) = &mut self.index {
            index.remove(&self.list[at]);
            let last = self.list.len() - 1;
            if at != last {
                index.add(&self.list[last], at as u32);
            }
        }
        let member = self.list.swap_remove(at);
        self.count(member.connection, false);
        if self.list.len() <= INDEXED_FROM / 2 {
            self.index = None;
        }
        grow::shrink(&mut self.list);
        member
    }

    /// Gives the member at `at` another connection; its name stays.
    pub(super) fn move_to(&mut self, at: usize, connection: ConnectionId) -> ConnectionId {
        let former = self.list[at].connection;
        if let Some(index) = &mut self.index {
            index.remove(&self.list[at]);
        }
        let member = &mut self.list[at];
        member.connection = connection;
        // Who went by a connection's id still goes by the same one.
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
            None if more => self.shards.push((shard, 1)),
            None => {}
        }
    }
}

impl Index {
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
    /// Makes a connection a member. Under a peer id that the same user already goes by, it takes that membership over
    /// without a word to the others; a repeat by the same connection changes nothing but what it says of itself.
    pub(super) fn join(&mut self, join: JoinRoom, context: &mut OpContext<'_>) -> Result<Reply, Reject> {
        self.check_admits(&join.by)?;
        let taken = match &join.peer {
            Some(name) => self.members.position_named(name),
            // Somebody may have chosen this connection's id for a name.
            None => self.members.position_named(join.connection.text().as_str()),
        };
        if let Some(at) = taken {
            if self.members.list[at].identity.user() != join.by.user() {
                return Err(Reject::peer_id_taken());
            }
            return Ok(self.take_over(at, join, context));
        }
        if let Some(at) = self.members.position(join.connection) {
            self.end(at, context);
        }
        if self.is_full(context) {
            return Err(Reject::room_full());
        }
        Ok(self.enter(join, context))
    }

    fn take_over(&mut self, at: usize, join: JoinRoom, context: &mut OpContext<'_>) -> Reply {
        // The connection may be in the room under another name; that membership ends, as the others are told.
        let at = match self.members.position(join.connection) {
            Some(other) if other != at => {
                let name = self.members.list[at].peer_name();
                self.end(other, context);
                match name.with(|name| self.members.position_named(name)) {
                    Some(at) => at,
                    None => return self.enter(join, context),
                }
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
        member.display_name = join.display_name;
        if member.media != join.media {
            member.media = join.media;
            let event = Event::Media { room: self.id.clone(), peer: member.peer_name(), media: join.media };
            context.tell_members(Some(join.connection), event);
        }
        self.joined(join.connection, context)
    }

    fn enter(&mut self, join: JoinRoom, context: &mut OpContext<'_>) -> Reply {
        let connection = join.connection;
        let member = Member {
            connection,
            name: join.peer,
            display_name: join.display_name,
            identity: join.by,
            media: join.media,
        };
        let peer = member.peer();
        self.members.push(member, || context.rng.next_u64());
        if self.members.len() > context.rules.announce_limit {
            self.uncounted = true;
        } else {
            context.tell_members(Some(connection), Event::PeerJoined { room: self.id.clone(), peer });
            self.is_online_news = self.members.has_peers();
        }
        self.joined(connection, context)
    }

    /// A member's first view of the room.
    pub(super) fn joined(&self, connection: ConnectionId, context: &OpContext<'_>) -> Reply {
        let others = self.members.iter().filter(|member| member.connection != connection);
        Reply::Joined(Box::new(Joined {
            room: self.id.clone(),
            peer: self.members.of(connection).map_or(PeerName::Own(connection), Member::peer_name),
            peers: others.take(context.rules.announce_limit).map(Member::peer).collect(),
            participant_count: self.members.len(),
            epoch: self.epoch.clone(),
            seq: self.committed,
        }))
    }

    fn is_full(&self, context: &OpContext<'_>) -> bool {
        let max = self.profile.as_deref().map_or(context.rules.max_participants, |profile| profile.max_participants);
        max != 0 && self.members.len() >= max
    }

    /// Ends the membership at `at` and tells the others.
    fn end(&mut self, at: usize, context: &mut OpContext<'_>) -> Member {
        let was_announced = self.members.len() <= context.rules.announce_limit;
        let typist = self.members.list[at].connection;
        self.stop_typing(typist, typist, context);
        let member = self.members.remove(at);
        if was_announced {
            let (peer, identity) = (member.peer_name(), member.identity.clone());
            let event = Event::PeerLeft { room: self.id.clone(), peer, identity };
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
        by: &Identity,
        peer: Option<&str>,
        context: &mut OpContext<'_>,
    ) -> Result<Reply, Reject> {
        let own = self.members.position(connection);
        let named = peer.map(|name| self.members.position_named(name));
        match (own, named) {
            (Some(at), named) if named.is_none_or(|named| named == Some(at)) => {
                self.end(at, context);
                Ok(Reply::Left { own: true })
            }
            (_, Some(Some(named))) if self.is_host(by) => {
                let member = self.end(named, context);
                let event = Event::Left { room: self.id.clone(), cause: LeaveCause::Removed };
                context.tell(member.connection, event);
                Ok(Reply::Left { own: false })
            }
            (None, _) => Err(Reject::not_in_room()),
            (Some(_), Some(None)) => Err(Reject::peer_not_found()),
            (Some(_), _) => Err(Reject::peer_mismatch("peerId")),
        }
    }

    pub(super) fn vanish(&mut self, connection: ConnectionId, context: &mut OpContext<'_>) -> Result<Reply, Reject> {
        if let Some(at) = self.members.position(connection) {
            self.end(at, context);
        }
        Ok(Reply::Done)
    }

    /// Makes the caller a participant and its connections members; each of them is told as if it had joined itself.
    pub(super) fn admit(
        &mut self,
        by: Identity,
        connections: &[ConnectionId],
        context: &mut OpContext<'_>,
    ) -> Result<Reply, Reject> {
        self.check_admit(&by)?;
        for &connection in connections {
            if self.members.of(connection).is_some() {
                continue;
            }
            let join = JoinRoom {
                connection,
                by: by.clone(),
                peer: None,
                display_name: None,
                media: MediaState::default(),
                create: false,
            };
            if let Reply::Joined(joined) = self.join(join, context)? {
                context.tell(connection, Event::Joined(joined));
            }
        }
        if let Some(profile) = &mut self.profile
            && !profile.participants.iter().any(|participant| **participant == *by.user())
        {
            profile.participants.push(by.user_name());
        }
        Ok(Reply::Done)
    }

    /// Refuses whoever may not become a participant.
    pub(super) fn check_admit(&self, by: &Identity) -> Result<(), Reject> {
        self.check_admits(by)?;
        let is_participant =
            |profile: &Profile| profile.participants.iter().any(|participant| **participant == *by.user());
        let is_full = |profile: &Profile| profile.participants.len() >= limits::PARTICIPANTS_PER_ROOM;
        if self.profile.as_deref().is_some_and(|profile| is_full(profile) && !is_participant(profile)) {
            return Err(Reject::participants_full());
        }
        Ok(())
    }

    /// Ends the memberships of the caller's connections and, unless only one connection was meant, its participation.
    pub(super) fn withdraw(
        &mut self,
        by: &Identity,
        connection: Option<ConnectionId>,
        context: &mut OpContext<'_>,
    ) -> Result<Reply, Reject> {
        let mut found = false;
        let is_theirs = |member: &Member| {
            member.identity.user() == by.user() && connection.is_none_or(|connection| member.connection == connection)
        };
        while let Some(at) = self.members.list.iter().position(is_theirs) {
            let member = self.end(at, context);
            context.tell(member.connection, Event::Left { room: self.id.clone(), cause: LeaveCause::Left });
            found = true;
        }
        if connection.is_none()
            && let Some(profile) = &mut self.profile
        {
            let before = profile.participants.len();
            profile.participants.retain(|participant| **participant != *by.user());
            found |= profile.participants.len() != before;
        }
        if found { Ok(Reply::Done) } else { Err(Reject::not_in_room()) }
    }

    /// The member that `connection` is, provided the peer id it gave is its own. Whoever has come back goes by the name from
    /// before, and may know only its present id.
    pub(super) fn member(&self, connection: ConnectionId, peer: Option<&str>, field: &str) -> Result<&Member, Reject> {
        let member = self.members.of(connection).ok_or_else(Reject::not_in_room)?;
        match peer {
            Some(name) if !member.peer_name().is(name) && name != connection.text().as_str() => {
                Err(Reject::peer_mismatch(field))
            }
            _ => Ok(member),
        }
    }

    pub(super) fn set_media(
        &mut self,
        connection: ConnectionId,
        peer: Option<&str>,
        media: MediaState,
        context: &mut OpContext<'_>,
    ) -> Result<Reply, Reject> {
        let name = self.member(connection, peer, "peerId")?.peer_name();
        if let Some(at) = self.members.position(connection) {
            self.members.list[at].media = media;
        }
        context.tell_members(Some(connection), Event::Media { room: self.id.clone(), peer: name, media });
        Ok(Reply::Done)
    }
}

#[cfg(test)]
mod tests;
