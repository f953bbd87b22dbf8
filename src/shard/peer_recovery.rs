//! Coming back, for Socket.IO peers; what [`super::recovery`] is for WebSockets that speak `raw`, on the same sessions and
//! logs.
//!
//! A client is given a secret as it connects (Socket.IO's `pid`), and shows it when it connects again. As long as the
//! answer is the same secret it counts as recovered, so the secret is that of the *first* connection of a line, and each
//! connection of the line keeps its session under it. What the client has it says by an offset; where that says nothing
//! of a room, it has nothing since it came into it.
//!
//! A peer that comes back is put into its rooms one by one. What it is told meanwhile is held, until the answer to its
//! CONNECT and what it missed are ahead of it. When anything of it cannot be had, the client is connected as a new one: it
//! is not told a part.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::Name;
use crate::base::ids::{ConnectionId, PEER};
use crate::base::time::Now;
use crate::codec::{recovery, ws};
use crate::connection::namespace::ConnectPayload;
use crate::connection::peer::Recovery;
use crate::dialect::offset::{self, Offset};
use crate::dialect::socketio::{self as dialects, Dialect, ReplyTo, SocketIoAnswer};
use crate::domain::event::{Event, PeerName};
use crate::domain::op::{JoinRoom, Op, Reply, RoomOp};
use crate::domain::record::{Position, Session, TokenHash};
use crate::domain::recovery::{Returned, Returning as Return, SessionOp};
use crate::domain::reject::Reject;
use crate::message::ShardMessage;
use crate::shard::Shard;
use crate::shard::answers::{Ask, Then};
use crate::shard::peer_rooms::{Run, Standing};
use crate::shard::recovery::{Appearance, Departing, failed};

/// How often a session is asked for that has another connection than was thought.
const TRIES: u8 = 4;

/// Peers that came back, and those that are about to.
#[derive(Default)]
pub(super) struct Returns {
    /// The secrets of those that came back: what their lines began with.
    lines: BTreeMap<u32, Box<str>>,
    under_way: BTreeMap<u32, Box<Returning>>,
    /// Where offsets are put together; empty but for its memory.
    pub(super) draft: Vec<u8>,
}

/// A peer on its way back.
pub(super) struct Returning {
    way: Way,
    /// What its client shows.
    secret: Box<str>,
    /// The connection that is thought to have the session.
    former: ConnectionId,
    tries: u8,
    /// The session, once it is the peer's.
    session: Option<Box<Session>>,
    /// Where it was in the rooms that have not answered yet.
    awaited: Vec<Position>,
    rooms: Vec<Back>,
    held: Held,
}

/// How a client asks to be put back.
pub(super) enum Way {
    /// As it connects, saying how far it has come. The peer is not connected yet.
    Connecting(Offset),
    /// By a request, which is answered.
    Asking(Box<str>),
}

/// A room that has answered.
struct Back {
    position: Position,
    outcome: Result<Returned, Reject>,
}

/// What a peer on its way back is told.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

struct Part {
    end: usize,
    /// The room that is told, by its slot, and the number of the message that it is or 0; `None`: the peer alone is told.
    room: Option<(u32, u64)>,
}

/// Where a peer is in the logs of its rooms while it is handed what was held.
struct Progress(Vec<(u32, Name, u64)>);

impl Returns {
    /// Whether a peer is on its way back, so that what it is told is held.
    pub(super) fn is_under_way(&self, peer: u32) -> bool {
        !self.under_way.is_empty() && self.under_way.contains_key(&peer)
    }

    /// Whether a peer is on its way back by this secret.
    pub(super) fn claims(&self, peer: u32, secret: &str) -> bool {
        self.under_way.get(&peer).is_some_and(|returning| *returning.secret == *secret)
    }

    /// Whether a peer has the session of a line that began before it.
    pub(super) fn has_line(&self, peer: u32) -> bool {
        self.lines.contains_key(&peer)
    }

    /// Where a peer was in the rooms that it is still on its way back into.
    pub(super) fn awaited(&self, peer: u32) -> &[Position] {
        self.under_way.get(&peer).map(|returning| returning.awaited.as_slice()).unwrap_or_default()
    }

    /// A peer is no more; the rooms that it was still on its way back into.
    pub(super) fn forget(&mut self, peer: u32) -> Vec<Name> {
        self.lines.remove(&peer);
        let returning = self.under_way.remove(&peer);
        returning.into_iter().flat_map(|returning| returning.awaited).map(|position| position.room).collect()
    }

    /// Holds what a room has gathered for a peer; whether it is not too much, of which `bytes_max` are the measure.
    pub(super) fn hold_run(&mut self, room: u32, peer: u32, run: &Run, bytes_max: usize) -> bool {
        let Some(returning) = self.under_way.get_mut(&peer) else { return true };
        if returning.held.bytes.len() > bytes_max {
            return false;
        }
        let mut start = 0;
        for piece in &run.pieces {
            if piece.except != peer {
                let seq = if run.has_offsets { piece.seq } else { 0 };
                returning.held.push(&run.bytes[start..piece.end as usize], Some((room, seq)));
            }
            start = piece.end as usize;
        }
        true
    }

    /// Holds what a peer alone is told.
    pub(super) fn hold(&mut self, peer: u32, frames: &[u8]) {
        if let Some(returning) = self.under_way.get_mut(&peer) {
            returning.held.push(frames, None);
        }
    }
}

impl Held {
    fn push(&mut self, bytes: &[u8], room: Option<(u32, u64)>) {
        self.bytes.extend_from_slice(bytes);
        self.parts.push(Part { end: self.bytes.len(), room });
    }
}

impl Progress {
    fn advance(&mut self, room: u32, seq: u64) {
        if let Some((_, _, known)) = self.0.iter_mut().find(|(known, ..)| *known == room) {
            *known = seq;
        }
    }

    fn append(&self, out: &mut Vec<u8>) {
        for (at, (_, epoch, seq)) in self.0.iter().enumerate() {
            offset::entry(out, epoch, *seq, at == 0);
        }
    }
}

impl Shard {
    /// The secret by which a peer may be recovered.
    pub(super) fn secret_of_peer(&self, peer: u32) -> String {
        match self.returns.lines.get(&peer) {
            Some(secret) => secret.as_ref().to_owned(),
            None => self.recovery_key.token(self.id_of(PEER | peer)),
        }
    }

    /// A peer wants to connect, and its client shows what it was given before, if it was.
    pub(super) fn prepare_return(&mut self, peer: u32, payload: &ConnectPayload<'_>) {
        if let Some(secret) = payload.pid.as_deref()
            && let Some(offset) = Offset::parse(payload.offset.as_deref().unwrap_or_default())
            && let Some(first) = recovery::connection_of(secret).filter(ConnectionId::is_peer)
        {
            let returning = Returning::new(Way::Connecting(offset), secret, first);
            self.returns.under_way.insert(peer, Box::new(returning));
        }
    }

    /// A connected peer asks to go on where another connection was.
    ///
    /// # Errors
    /// There is nothing to recover.
    pub(super) fn resume_peer(&mut self, now: Now, peer: u32, request: &str, secret: &str) -> Result<(), Reject> {
        let first = recovery::connection_of(secret).filter(ConnectionId::is_peer).ok_or_else(failed)?;
        if !self.recovers() || self.returns.is_under_way(peer) {
            return Err(failed());
        }
        if self.secret_of_peer(peer) == secret {
            // Its client came back with that secret before it asked.
            let mut returning = Returning::new(Way::Asking(request.into()), secret, first);
            self.answer_resumed(now, peer, request, &mut returning);
            return Ok(());
        }
        let returning = Returning::new(Way::Asking(request.into()), secret, first);
        self.returns.under_way.insert(peer, Box::new(returning));
        self.claim_session(peer)
    }

    /// A peer's user has it: it is put back if its client asks for that. Whether it is on its way.
    pub(super) fn begin_return(&mut self, now: Now, peer: u32) -> bool {
        if !self.returns.is_under_way(peer) {
            return false;
        }
        if self.claim_session(peer).is_err() {
            self.connect_anew(now, peer);
        }
        true
    }

    /// Asks for the session, which the connection that has it gives up if it is there still.
    fn claim_session(&mut self, peer: u32) -> Result<(), Reject> {
        let by = self.identity(PEER | peer)?;
        let connection = self.id_of(PEER | peer);
        let returning = self.returns.under_way.get_mut(&peer).ok_or_else(failed)?;
        let (former, secret) = (returning.former, returning.secret.clone());
        returning.tries += 1;
        if returning.tries > TRIES || former == connection {
            return Err(failed());
        }
        let then = Then::Claimed { secret: secret.clone(), former };
        let from = self.expect(Ask { to: Some(connection), request: None, then });
        let shard = if self.may_be(former) { self.holder_of(former) } else { self.number };
        self.post(shard, ShardMessage::Supersede { connection: former, to: Some(connection), token: secret, by, from });
        Ok(())
    }

    /// The session's keeper has answered.
    pub(super) fn session_claimed(&mut self, now: Now, peer: u32, reply: Result<Reply, Reject>) {
        let Some(returning) = self.returns.under_way.get_mut(&peer) else { return };
        let outcome = match reply {
            Ok(Reply::Session(Some(session))) if session.connection != returning.former => {
                returning.former = session.connection;
                self.claim_session(peer)
            }
            Ok(Reply::Session(Some(session))) => self.put_peer_back(now, peer, session),
            Err(reject) => Err(reject),
            Ok(_) => Err(failed()),
        };
        if let Err(reject) = outcome {
            self.give_up(now, peer, &reject);
        }
    }

    /// The session is the peer's. Its rooms are asked to take it back.
    fn put_peer_back(&mut self, now: Now, peer: u32, session: Box<Session>) -> Result<(), Reject> {
        let by = self.identity(PEER | peer)?;
        let connection = self.id_of(PEER | peer);
        let Some(known) = self.sessions.peers.get(peer as usize) else { return Ok(()) };
        let namespace = known.dialect.namespace();
        let Some(returning) = self.returns.under_way.get_mut(&peer) else { return Ok(()) };
        let former = session.connection;
        let positions = session.passed_to(connection, None).rooms;
        let spoken = Dialect::numbered(session.dialect).filter(|dialect| dialect.namespace() == namespace);
        returning.session = Some(session);
        let is_connecting = matches!(returning.way, Way::Connecting(_));
        if is_connecting {
            let secret = returning.secret.clone();
            self.returns.lines.insert(peer, secret);
            let spoken = spoken.ok_or_else(failed)?;
            if self.sessions.peers.get(peer as usize).is_some_and(|known| !known.is_settled) {
                self.change_dialect(peer, spoken);
            }
        }
        for position in positions {
            let from = self.start_of(peer, &position);
            let Position { room, epoch, peer: name, display_name, media, .. } = position.clone();
            let shown = Box::new(Appearance { peer: name.clone(), display_name: display_name.clone(), media });
            let join = JoinRoom { connection, by: by.clone(), peer: name, display_name, media, create: false };
            let back = Return { former, join, epoch, seq: from };
            let ask = Ask { to: Some(connection), request: None, then: Then::Returned { room: room.clone(), shown } };
            self.ask(ask, Op::Room(room, RoomOp::Rejoin(Box::new(back))));
            if let Some(returning) = self.returns.under_way.get_mut(&peer) {
                returning.awaited.push(Position { since: Some(from), ..position });
            }
        }
        if !is_connecting {
            // From now on it is a part of the asker's own session.
            if self.options.rules.outlives_process {
                self.keep_connected_peer(now, peer);
            }
            self.drop_claimed(peer);
        }
        self.finish_return(now, peer);
        Ok(())
    }

    /// The last message of a room that the client has. In a dialect without messages to rooms it misses none.
    fn start_of(&self, peer: u32, position: &Position) -> u64 {
        let dialect = self.sessions.peers.get(peer as usize).map(|peer| peer.dialect);
        if dialect.is_none_or(|dialect| !dialect.hears_itself()) {
            return u64::MAX;
        }
        match self.returns.under_way.get(&peer).map(|returning| &returning.way) {
            Some(Way::Connecting(offset)) => {
                let since = position.since.unwrap_or(position.seq);
                offset.seq_in(&position.epoch).map_or(since, |seq| seq.max(since))
            }
            _ => position.seq,
        }
    }

    /// A room has its answer for a peer that comes back.
    pub(super) fn peer_came_back(
        &mut self,
        now: Now,
        peer: u32,
        (room, shown): (Name, Box<Appearance>),
        reply: Result<Reply, Reject>,
    ) {
        let Some(returning) = self.returns.under_way.get_mut(&peer) else { return };
        let Some(at) = returning.awaited.iter().position(|position| position.room == room) else { return };
        let position = returning.awaited.remove(at);
        let outcome = match reply {
            Ok(Reply::Returned(returned)) => {
                let joined = &returned.joined;
                let standing = Standing { room: joined.room.clone(), epoch: joined.epoch.clone(), seq: joined.seq };
                // Until it has an offset that says more, its client has what it had.
                let since = position.since.unwrap_or(joined.seq).min(joined.seq);
                self.join_peer(&standing, since, peer);
                let name = match &joined.peer {
                    PeerName::Chosen(name) => Some(name.clone()),
                    PeerName::Own(_) => None,
                };
                self.note_peer_appearance(peer, &joined.room, Some(Box::new(Appearance { peer: name, ..*shown })));
                self.introduce_peer(peer, &joined.room);
                Ok(*returned)
            }
            Ok(_) => Err(failed()),
            Err(reject) => Err(reject),
        };
        if let Some(returning) = self.returns.under_way.get_mut(&peer) {
            returning.rooms.push(Back { position, outcome });
        }
        self.finish_return(now, peer);
    }

    /// All rooms have answered: the client is told what it missed, and what it was told meanwhile.
    fn finish_return(&mut self, now: Now, peer: u32) {
        if self.returns.under_way.get(&peer).is_none_or(|returning| !returning.awaited.is_empty()) {
            return;
        }
        let Some(mut returning) = self.returns.under_way.remove(&peer) else { return };
        let Some(dialect) = self.sessions.peers.get(peer as usize).map(|peer| peer.dialect) else { return };
        if let Way::Asking(request) = &returning.way {
            let request = request.clone();
            return self.answer_resumed(now, peer, &request, &mut returning);
        }
        if returning.rooms.iter().any(Back::may_come) {
            return self.put_off(now, peer, returning);
        }
        let is_whole = |back: &Back| {
            let is_recovered = |returned: &Returned| returned.recovered || !dialect.hears_itself();
            back.outcome.as_ref().is_ok_and(is_recovered)
        };
        let missed = returning.rooms.iter().all(is_whole).then(|| self.missed_frames(now, peer, dialect, &returning));
        let Some((missed, progress)) = missed.filter(|(missed, _)| missed.len() <= self.answer_bytes()) else {
            self.returns.under_way.insert(peer, returning);
            return self.connect_anew(now, peer);
        };
        // What comes before the answer a client puts by, and does not forget when the answer is lost on its way; it would be
        // told it twice.
        if !self.accept_peer(now, peer) {
            return self.peer_departs(now, peer, Departing::Lost);
        }
        if let Some(at) = self.client_of(PEER | peer) {
            self.send_to_session(at, |out| out.extend_from_slice(&missed));
        }
        self.welcome_peer(now, peer);
        self.release_held(peer, &returning.held, progress, true);
    }

    /// The messages that a client missed, room by room, and where it is in the logs once it has them.
    fn missed_frames(&self, now: Now, peer: u32, dialect: Dialect, returning: &Returning) -> (Vec<u8>, Progress) {
        let places = returning.rooms.iter().filter_map(|back| {
            let returned = back.outcome.as_ref().ok()?;
            let place = self.peer_rooms.place_of(&returned.joined.room)?;
            let seq = back.position.since.unwrap_or(returned.joined.seq).min(returned.joined.seq);
            Some((place, returned.joined.epoch.clone(), seq))
        });
        let mut progress = Progress(places.collect());
        self.add_other_rooms(peer, &mut progress, &returning.held);
        let mut frames = Vec::new();
        for back in &returning.rooms {
            let Ok(returned) = &back.outcome else { continue };
            let Some(place) = self.peer_rooms.place_of(&returned.joined.room) else { continue };
            for message in &returned.messages {
                let mut frame = Vec::new();
                dialects::encode(&mut frame, dialect, &Event::Message(Arc::new(message.clone())), now);
                progress.advance(place, message.seq.unwrap_or_default());
                for (_, payload) in ws::frames(&frame) {
                    offset::with_offset(&mut frames, payload, |out| progress.append(out));
                }
            }
            progress.advance(place, returned.joined.seq);
        }
        (frames, progress)
    }

    /// Adds the rooms that a peer is in besides those it came back into: as they were before what was held of them.
    fn add_other_rooms(&self, peer: u32, progress: &mut Progress, held: &Held) {
        let Some(known) = self.sessions.peers.get(peer as usize) else { return };
        for own in known.rooms.as_slice() {
            if progress.0.iter().any(|(place, ..)| *place == own.room) {
                continue;
            }
            let Some(standing) = self.peer_rooms.standing_of(own.room) else { continue };
            let mut numbers = held.parts.iter().filter_map(|part| part.room);
            let first = numbers.find(|(place, seq)| *place == own.room && *seq != 0);
            let seq = first.map_or(standing.seq, |(_, seq)| seq - 1);
            progress.0.push((own.room, standing.epoch, seq));
        }
    }

    /// Sends what was held; what rooms were told only to one that is back in them.
    fn release_held(&mut self, peer: u32, held: &Held, mut progress: Progress, is_back: bool) {
        let Some(known) = self.sessions.peers.get(peer as usize) else { return };
        let with_offsets = known.recovery == Recovery::Offsets;
        let Some(at) = self.sessions.named(known.link) else { return };
        let mut frames = Vec::new();
        let mut start = 0;
        for part in &held.parts {
            let bytes = &held.bytes[start..part.end];
            start = part.end;
            match part.room {
                Some(_) if !is_back => {}
                Some((room, seq)) if seq != 0 => {
                    progress.advance(room, seq);
                    for (_, payload) in ws::frames(bytes) {
                        // It carries the offset of somebody who is in one room only.
                        let bare = payload.iter().rposition(|byte| *byte == b',').map_or(payload, |at| &payload[..at]);
                        let bare = [bare, b"]"].concat();
                        offset::with_offset(&mut frames, &bare, |out| progress.append(out));
                    }
                }
                Some(_) => frames.extend_from_slice(bytes),
                None => {
                    let from = frames.len();
                    frames.extend_from_slice(bytes);
                    if with_offsets {
                        offset::mend(&mut frames, from, |out| progress.append(out));
                    }
                }
            }
        }
        self.send_to_session(at, |out| out.extend_from_slice(&frames));
    }

    /// Answers a client that asked to be put back, and then tells it what was held.
    fn answer_resumed(&mut self, now: Now, peer: u32, request: &str, returning: &mut Returning) {
        let Some(known) = self.sessions.peers.get_mut(peer as usize) else { return };
        if known.recovery == Recovery::None {
            known.recovery = Recovery::Token;
        }
        let (dialect, with_offsets) = (known.dialect, known.recovery == Recovery::Offsets);
        let Some(view) = self.view_of_peer(now, peer) else { return };
        let Some(identity) = self.peer_identity(peer) else { return };
        let token = self.secret_of_peer(peer);
        let mut progress = Progress(Vec::new());
        self.add_other_rooms(peer, &mut progress, &returning.held);
        let session = returning.session.as_deref();
        let mut frames = Vec::new();
        loop {
            let back = returning.rooms.iter();
            let gaps: Vec<&str> =
                back.clone().filter(|back| back.is_short()).map(|back| &*back.position.room).collect();
            let returned = back.filter_map(|back| back.outcome.as_ref().ok());
            let recovered = SocketIoAnswer::Recovered {
                user: identity.user(),
                view: &view,
                connected_at: session.map_or(view.connected_at, |session| session.connected_at),
                token: &token,
                gaps: &gaps,
                messages: &returned.flat_map(|returned| &returned.messages).collect::<Vec<_>>(),
            };
            dialects::answer(&mut frames, dialect, ReplyTo::parse(request), &recovered, now);
            let back = returning.rooms.iter_mut().filter_map(|back| back.outcome.as_mut().ok());
            let most = back.max_by_key(|returned| returned.messages.len());
            if frames.len() <= self.answer_bytes() || most.is_none_or(|most| most.give_up() == 0) {
                break;
            }
            frames.clear();
        }
        if with_offsets {
            frames = offset::of_last(&frames, |out| progress.append(out));
        }
        if let Some(at) = self.client_of(PEER | peer) {
            self.send_to_session(at, |out| out.extend_from_slice(&frames));
        }
        self.note_peer_session(now, peer);
        self.release_held(peer, &returning.held, progress, true);
    }

    /// A client cannot be put back.
    fn give_up(&mut self, now: Now, peer: u32, reject: &Reject) {
        let Some(returning) = self.returns.under_way.get(&peer) else { return };
        match &returning.way {
            Way::Connecting(_) if reject.is_passing() => self.close_session_of(now, peer),
            Way::Connecting(_) => self.connect_anew(now, peer),
            Way::Asking(request) => {
                let request = request.clone();
                let Some(returning) = self.returns.under_way.remove(&peer) else { return };
                let mut progress = Progress(Vec::new());
                self.add_other_rooms(peer, &mut progress, &returning.held);
                self.stats.refusals += 1;
                self.answer_in_dialect(now, peer, ReplyTo::parse(&request), &SocketIoAnswer::Refused(reject));
                self.release_held(peer, &returning.held, progress, true);
            }
        }
    }

    /// A room cannot answer at the moment: the client tries again with the same session, which has all its rooms.
    fn put_off(&mut self, now: Now, peer: u32, mut returning: Box<Returning>) {
        let late = returning.rooms.extract_if(.., |back| back.may_come());
        returning.awaited.extend(late.map(|back| back.position));
        self.returns.under_way.insert(peer, returning);
        self.close_session_of(now, peer);
    }

    /// A client cannot be put back as it connects: it is connected as a new one, and in no room.
    fn connect_anew(&mut self, now: Now, peer: u32) {
        let Some(returning) = self.returns.under_way.get(&peer) else { return };
        let rooms = returning.rooms.iter().filter_map(|back| back.outcome.as_ref().ok());
        let rooms: Vec<Name> = rooms.map(|returned| returned.joined.room.clone()).collect();
        let connection = self.id_of(PEER | peer);
        for room in rooms {
            self.leave_peer(&room, peer);
            self.ask(Ask::forgotten(), Op::Room(room, RoomOp::RemoveMember { connection }));
        }
        self.drop_claimed(peer);
        self.returns.lines.remove(&peer);
        let Some(returning) = self.returns.under_way.remove(&peer) else { return };
        if !self.accept_peer(now, peer) {
            return self.peer_departs(now, peer, Departing::Goodbye);
        }
        self.welcome_peer(now, peer);
        let mut progress = Progress(Vec::new());
        self.add_other_rooms(peer, &mut progress, &returning.held);
        self.release_held(peer, &returning.held, progress, false);
    }

    /// Has the session that a peer was put back with forgotten.
    fn drop_claimed(&mut self, peer: u32) {
        let Some(returning) = self.returns.under_way.get(&peer).filter(|returning| returning.session.is_some()) else {
            return;
        };
        let Some(first) = recovery::connection_of(&returning.secret) else { return };
        let token = TokenHash(recovery::hash(&returning.secret));
        self.ask(Ask::forgotten(), Op::Session(first, SessionOp::Delete { token }));
    }

    /// A peer has gone before it heard that the session is its own.
    pub(super) fn leave_claimed(&mut self, now: Now, connection: ConnectionId, secret: &str, session: &Session) {
        let Some(first) = recovery::connection_of(secret) else { return };
        let session = session.passed_to(connection, Some(now.wall + self.options.recovery_window_ms));
        self.ask(Ask::forgotten(), Op::Session(first, SessionOp::Save(Box::new(session))));
    }
}

impl Returning {
    fn new(way: Way, secret: &str, former: ConnectionId) -> Self {
        Self {
            way,
            secret: secret.into(),
            former,
            tries: 0,
            session: None,
            awaited: Vec::new(),
            rooms: Vec::new(),
            held: Held::default(),
        }
    }
}

impl Back {
    /// Whether the room may answer otherwise in a moment.
    fn may_come(&self) -> bool {
        self.outcome.as_ref().is_err_and(Reject::is_passing)
    }

    /// Whether the client does not have all that was said in the room.
    fn is_short(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|returned| !returned.recovered) || self.outcome.is_err()
    }
}
