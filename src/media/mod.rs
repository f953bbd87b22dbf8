//! Layer 3: the media server (SFU). Receives the packets of each participant of a call and sends them on to the others in its room.
//!
//! It does no input and output: datagrams, time and randomness are arguments. The rule of use: [`MediaServer::handle`],
//! [`MediaServer::receive`] and [`MediaServer::pass`] as often as there is an input; then [`MediaServer::flush`], and the output
//! is in [`MediaOutput`].
//!
//! A participant's sections in which it sends are *sources*. Those in which it receives are *slots*, which get sources of the
//! others and may change them at any time without negotiation.

mod connection;
mod demux;
mod forwarding;
mod notices;
mod offer;
mod participant;
mod stream;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use slab::Slab;

use crate::base::Name;
use crate::base::ids::{ConnectionId, random_word};
use crate::base::map::{Map, map};
use crate::base::rng::Rng;
use crate::base::time::Moment;
use crate::domain::event::{Event, PeerName};
use crate::domain::op::Reply;
use crate::domain::reject::{Code, Reject};
use crate::message::Requester;

use connection::{Happening, MediaConnection};
use participant::Participant;

pub use connection::is_contained;
pub use offer::MediaOffer;

/// Slots of a participant of each kind, at most.
const SLOTS_MAX: usize = 10;

/// Numbers of slots that participants are asked to have: each change takes a negotiation.
const SLOT_STEPS: [usize; 4] = [1, 3, 5, SLOTS_MAX];

/// Addresses of a participant that are known at a time, at most.
const ADDRESSES_MAX: usize = 4;

/// Time in which a participant has to connect, or to be heard again.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);

/// About the memory of a participant, and of each of its slots.
const PARTICIPANT_BYTES: usize = 80 << 10;
const SLOT_BYTES: usize = 48 << 10;

/// A member of a room that takes part in its call.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The room.
    pub room: Name,
    /// Its name there.
    pub peer: PeerName,
    /// Its connection.
    pub connection: ConnectionId,
}

/// A request to the media server.
#[derive(Debug)]
pub enum MediaRequest {
    /// A caller offers media.
    Offer {
        /// The address of the reply. The answer to the offer is an event.
        from: Requester,
        /// The caller.
        caller: Caller,
        /// Its offer.
        offer: Box<MediaOffer>,
    },
    /// A caller is no member of its room any more.
    Leave {
        /// The room.
        room: Name,
        /// Its connection.
        connection: ConnectionId,
        /// Time in which it may offer again from another connection, in milliseconds.
        within_ms: u64,
    },
}

/// Numbers of sections in which a participant receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sections {
    audio: usize,
    video: usize,
}

/// A datagram to be sent.
#[derive(Debug)]
pub struct Datagram {
    /// The server's address that it is sent from.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
    /// Its bytes in [`MediaOutput::bytes`].
    pub range: Range<usize>,
}

/// The output of a media server.
#[derive(Default)]
pub struct MediaOutput {
    /// Datagrams, in order.
    pub datagrams: Vec<Datagram>,
    /// The bytes of all datagrams.
    pub bytes: Vec<u8>,
    /// Events for connections.
    pub events: Vec<(ConnectionId, Event)>,
    /// Replies to requests.
    pub replies: Vec<(Requester, Result<Reply, Reject>)>,
}

/// Counters of a media server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaFigures {
    /// Participants.
    pub participants: usize,
    /// Rooms.
    pub rooms: usize,
    /// Packets sent on to a participant.
    pub forwarded: u64,
    /// Datagrams from unknown senders.
    pub strays: u64,
    /// Media connections that have failed by a fault of the server.
    pub failures: u64,
}

/// The participants of this server's calls.
pub struct MediaServer {
    /// The addresses at which clients reach it.
    addresses: Vec<SocketAddr>,
    memory_bytes: usize,
    rng: Rng,
    participants: Slab<Participant>,
    by_connection: Map<(Name, ConnectionId), u32>,
    by_media_id: Map<Box<str>, u32>,
    by_ufrag: Map<Box<str>, u32>,
    by_address: Map<SocketAddr, u32>,
    rooms: Slab<(Name, Vec<u32>)>,
    room_of: Map<Name, u32>,
    /// The times at which participants are due.
    due: BTreeSet<(Moment, u32)>,
    /// Participants to be drained.
    dirty: Vec<u32>,
    happenings: Vec<Happening>,
    figures: MediaFigures,
}

impl MediaServer {
    /// A server that clients reach at `addresses`, and that may take about `memory_bytes`; 0: any number.
    pub fn new(addresses: Vec<SocketAddr>, memory_bytes: usize, mut rng: Rng) -> Self {
        let seed = rng.next_u64();
        Self {
            addresses,
            memory_bytes,
            rng,
            participants: Slab::new(),
            by_connection: map(seed),
            by_media_id: map(seed),
            by_ufrag: map(seed),
            by_address: map(seed),
            rooms: Slab::new(),
            room_of: map(seed),
            due: BTreeSet::new(),
            dirty: Vec::new(),
            happenings: Vec::new(),
            figures: MediaFigures::default(),
        }
    }

    /// Its counters.
    pub fn figures(&self) -> MediaFigures {
        MediaFigures { participants: self.participants.len(), rooms: self.rooms.len(), ..self.figures }
    }

    /// Handles a request.
    pub fn handle(&mut self, now: Moment, request: MediaRequest, out: &mut MediaOutput) {
        match request {
            MediaRequest::Offer { from, caller, offer } => {
                let reply = self.offer(now, caller, *offer, out).map(|()| Reply::Done);
                out.replies.push((from, reply));
            }
            MediaRequest::Leave { room, connection, within_ms } => {
                let Some(at) = self.by_connection.get(&(room, connection)).copied() else {
                    // Its connection has ended before.
                    return;
                };
                match within_ms {
                    0 => self.end(now, at, out),
                    _ => self.end_at(at, Some(now + Duration::from_millis(within_ms))),
                }
            }
        }
    }

    fn offer(&mut self, now: Moment, caller: Caller, offer: MediaOffer, out: &mut MediaOutput) -> Result<(), Reject> {
        let at = match &offer.media_id {
            Some(media_id) => self.adopt(now, media_id, &caller, out).ok_or_else(stale)?,
            None => self.add(now, caller, out)?,
        };
        let participant = &mut self.participants[at as usize];
        participant.named = offer.sources;
        let answer = participant.media.answer(offer.description);
        let ufrag: Box<str> = participant.media.ufrag().into();
        let outcome = match answer {
            Ok(sdp) => {
                let event = notices::answer(&participant.caller, &participant.media_id, &sdp);
                out.events.push((participant.caller.connection, event));
                Ok(())
            }
            Err(reason) => Err(Reject::new(Code::MediaRefused, format!("The offer is not possible: {reason}"))),
        };
        if !participant.ufrags.contains(&ufrag) {
            participant.ufrags.push(ufrag.clone());
            self.by_ufrag.insert(ufrag, at);
        }
        // An offer that fails leaves a connection in an unknown state.
        match outcome {
            Ok(()) => {
                self.touch(at);
                self.flush(now, out);
            }
            Err(_) => self.end(now, at, out),
        }
        outcome
    }

    /// The participant of a media connection, if it is the caller's, whose connection may be another one than before.
    fn adopt(&mut self, now: Moment, media_id: &str, caller: &Caller, out: &mut MediaOutput) -> Option<u32> {
        let at = self.by_media_id.get(media_id).copied()?;
        let known = &self.participants[at as usize];
        if known.media.is_dead() || known.caller.room != caller.room || known.caller.peer != caller.peer {
            return None;
        }
        let before = known.caller.connection;
        if before != caller.connection {
            self.end_other(now, at, caller, out);
            self.by_connection.remove(&(caller.room.clone(), before));
            self.by_connection.insert((caller.room.clone(), caller.connection), at);
            self.participants[at as usize].caller = caller.clone();
        }
        self.end_at(at, None);
        Some(at)
    }

    /// Ends the connection of a caller, unless it is the one at `except`.
    fn end_other(&mut self, now: Moment, except: u32, caller: &Caller, out: &mut MediaOutput) {
        let known = self.by_connection.get(&(caller.room.clone(), caller.connection)).copied();
        if let Some(known) = known.filter(|known| *known != except) {
            self.end(now, known, out);
        }
    }

    fn add(&mut self, now: Moment, caller: Caller, out: &mut MediaOutput) -> Result<u32, Reject> {
        self.end_other(now, u32::MAX, &caller, out);
        let slots: usize = self.participants.iter().map(|(_, known)| known.slots.len()).sum();
        let bytes = (self.participants.len() + 1) * PARTICIPANT_BYTES + slots * SLOT_BYTES;
        if self.memory_bytes != 0 && bytes > self.memory_bytes {
            return Err(Reject::new(Code::MediaUnavailable, "The media server has as many callers as it takes"));
        }
        let (ufrag, password) = (random_word(&mut self.rng, 16), random_word(&mut self.rng, 32));
        let media_id: Box<str> = random_word(&mut self.rng, 20).into();
        let Some(media) = MediaConnection::new(now, &self.addresses, &ufrag, &password) else {
            self.figures.failures += 1;
            return Err(Reject::new(Code::MediaUnavailable, "The media server cannot open a connection"));
        };
        let room = match self.room_of.get(&caller.room) {
            Some(room) => *room,
            None => {
                let room = self.rooms.insert((caller.room.clone(), Vec::new())) as u32;
                self.room_of.insert(caller.room.clone(), room);
                room
            }
        };
        let at = self.participants.insert(Participant {
            caller: caller.clone(),
            room,
            media_id: media_id.clone(),
            media,
            ufrags: vec![ufrag.as_str().into()],
            named: Vec::new(),
            sources: Vec::new(),
            slots: Vec::new(),
            addresses: Vec::new(),
            due: None,
            connect_by: Some(now + CONNECT_WITHIN),
            ends_at: None,
            asked: Sections::default(),
            told: Vec::new(),
            is_dirty: false,
        }) as u32;
        self.rooms[room as usize].1.push(at);
        self.set_due(at, Some(now + CONNECT_WITHIN));
        self.by_connection.insert((caller.room, caller.connection), at);
        self.by_media_id.insert(media_id, at);
        self.by_ufrag.insert(ufrag.into(), at);
        Ok(at)
    }

    /// Ends a participant's connection. The others lose its sources.
    fn end(&mut self, now: Moment, at: u32, out: &mut MediaOutput) {
        self.set_due(at, None);
        let gone = self.participants.remove(at as usize);
        let known = (gone.caller.room.clone(), gone.caller.connection);
        self.by_connection.remove(&known);
        self.by_media_id.remove(&gone.media_id);
        for ufrag in &gone.ufrags {
            self.by_ufrag.remove(ufrag);
        }
        for address in &gone.addresses {
            self.by_address.remove(address);
        }
        self.dirty.retain(|dirty| *dirty != at);
        let others = &mut self.rooms[gone.room as usize].1;
        others.retain(|other| *other != at);
        if others.is_empty() {
            let (name, _) = self.rooms.remove(gone.room as usize);
            self.room_of.remove(&name);
            return;
        }
        self.release(gone.room, |source| source.participant == at);
        self.arrange(now, gone.room, out);
    }

    /// A datagram has come to the server's address `destination`. Those of unknown senders are ignored, without an answer.
    pub fn receive(
        &mut self,
        now: Moment,
        (source, destination): (SocketAddr, SocketAddr),
        datagram: &[u8],
        out: &mut MediaOutput,
    ) {
        let at = match demux::is_binding_request(datagram) {
            true => demux::ufrag_of(datagram).and_then(|ufrag| self.by_ufrag.get(ufrag)),
            false => self.by_address.get(&source),
        };
        let Some(at) = at.copied() else {
            self.figures.strays += 1;
            return;
        };
        self.participants[at as usize].media.receive(now, (source, destination), datagram);
        self.drain(now, at, out);
    }

    /// When [`MediaServer::pass`] is to be called.
    pub fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Time has passed.
    pub fn pass(&mut self, now: Moment, out: &mut MediaOutput) {
        while let Some((_, at)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.set_due(at, None);
            let participant = &mut self.participants[at as usize];
            participant.media.pass(now);
            match participant.is_over(now) {
                true => self.end(now, at, out),
                false => self.touch(at),
            }
        }
    }
}

fn stale() -> Reject {
    Reject::new(
        Code::MediaStale,
        "The media connection of this mediaId has ended: offer without it, on a new connection",
    )
}
