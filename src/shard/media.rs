//! The members of this shard that use the media server: their offers on the way there, and the end of their memberships.

use crate::base::Name;
use crate::base::handle::PeerKey;
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::dialect::socketio::SocketIoAnswer;
use crate::domain::command::{Signal, SignalTo};
use crate::domain::event::PeerName;
use crate::domain::op::{Op, RelaySignal, RoomOp};
use crate::domain::reject::Reject;
use crate::media::{Caller, MediaOffer, MediaRequest};
use crate::shard::commands::Commands;
use crate::shard::core::Core;
use crate::shard::peers::Peers;
use crate::shard::quota::QuotaFlow;
use crate::shard::requests::{OnReply, PendingRequest, RequestRef};

/// The members that have offered media, and the requests on their way to the media server.
#[derive(Default)]
pub(super) struct MediaCallers {
    callers: Vec<(ConnectionId, Name)>,
    requests: Vec<MediaRequest>,
}

impl MediaCallers {
    /// Takes the requests to the media server.
    pub(super) fn requests(&mut self) -> std::vec::Drain<'_, MediaRequest> {
        self.requests.drain(..)
    }

    /// A membership has ended. Its media end, or wait for so long for the client to come back.
    pub(super) fn left(&mut self, connection: ConnectionId, room: &str, within_ms: u64) {
        self.end(within_ms, |of, known| *of == connection && **known == *room);
    }

    /// A room is closed.
    pub(super) fn closed(&mut self, room: &str) {
        self.end(0, |_, known| **known == *room);
    }

    fn end(&mut self, within_ms: u64, has_ended: impl Fn(&ConnectionId, &Name) -> bool) {
        let ended = self.callers.extract_if(.., |(connection, room)| has_ended(connection, room));
        self.requests.extend(ended.map(|(connection, room)| MediaRequest::Leave { room, connection, within_ms }));
        if self.callers.is_empty() {
            self.callers.shrink_to_fit();
        }
    }
}

/// Handles signaling messages to the media server.
pub(super) struct MediaCalls<'a> {
    core: &'a mut Core,
}

impl<'a> MediaCalls<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Handles a signaling message to the media server.
    ///
    /// # Errors
    /// It is refused here.
    pub(super) fn signal(
        &mut self,
        now: Now,
        peer: PeerKey,
        id: RequestRef<'_>,
        signal: SignalTo<'_>,
    ) -> Result<(), Reject> {
        if !self.core.options.has_media_server {
            return Err(Reject::peer_not_found());
        }
        Commands::on(self.core).spend_signal(now, peer, signal.body.len())?;
        match signal.signal {
            Signal::Offer => {
                let offer = MediaOffer::read(signal.body)?;
                let room = self.core.rooms.name(&signal.room);
                let relay = RelaySignal {
                    connection: self.core.net.id_of(peer),
                    from: signal.from.map(|name| name.as_ref().into()),
                    to: signal.to.as_ref().into(),
                    signal: Signal::Offer,
                    body: "".into(),
                };
                let then = OnReply::MediaOffer(Box::new((room.clone(), offer)));
                let op = Op::Room(room, RoomOp::RelaySignal(Box::new(relay)));
                QuotaFlow::on(self.core).send(now, peer, id, then, op)
            }
            // The media server learns the addresses of clients from their datagrams.
            Signal::Candidate => {
                Peers::on(self.core).answer(now, peer, id, &SocketIoAnswer::Done);
                Ok(())
            }
            Signal::Answer | Signal::MediaSections | Signal::MediaSlots => {
                Err(Reject::invalid("The media server offers nothing; the client offers"))
            }
        }
    }

    /// The owner of a room has admitted a member to the media server.
    pub(super) fn admitted(
        &mut self,
        peer: PeerKey,
        id: RequestRef<'_>,
        (room, offer): (Name, MediaOffer),
        name: PeerName,
    ) {
        let connection = self.core.net.id_of(peer);
        let from = self.core.expect(PendingRequest::new(connection, id.to_owned(), OnReply::Refusal));
        let media = &mut self.core.media;
        if !media.callers.iter().any(|(of, known)| *of == connection && *known == room) {
            media.callers.push((connection, room.clone()));
        }
        let caller = Caller { room, peer: name, connection };
        media.requests.push(MediaRequest::Offer { from, caller, offer: Box::new(offer) });
    }
}
