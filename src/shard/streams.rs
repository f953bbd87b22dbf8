//! Pieces of streams on their way to the owner: those of one stream that come within [`limits::PIECES_MS`] become one message, so
//! that they are stored, numbered and delivered once.

use std::collections::{BTreeMap, VecDeque};

use uuid::Uuid;

use crate::base::Name;
use crate::base::handle::PeerKey;
use crate::base::limits;
use crate::base::time::Now;
use crate::codec::json;
use crate::domain::command::Append;
use crate::domain::event::{Content, RevisionKind, StreamStatus};
use crate::domain::op::{ChangeRights, Op, Revise, RoomOp, SendMessage, StreamText};
use crate::domain::reject::Reject;
use crate::shard::commands::message_id;
use crate::shard::core::Core;
use crate::shard::peers::Peers;
use crate::shard::quota::QuotaFlow;
use crate::shard::requests::{OnReply, RequestId, RequestRef};

/// Cost of a message that pieces make.
const FLUSH_COST: u32 = 1;

/// A stream of a peer.
type StreamKey = (PeerKey, Uuid);

/// Pieces of one stream that wait to be sent.
struct WaitingPieces {
    room: Name,
    /// The texts, as one JSON string.
    body: String,
    text: StreamText,
    status: StreamStatus,
    client_message_id: Option<Box<str>>,
    requests: Vec<RequestId>,
    /// When they are sent, in monotonic milliseconds.
    due: u64,
}

impl WaitingPieces {
    /// Whether this piece can be added: it follows those that wait.
    fn takes(&self, offset: Option<u32>) -> bool {
        let end = self.text.offset.map(|offset| offset.saturating_add(self.text.units));
        offset.is_none() || offset == end
    }
}

/// The pieces that wait, by stream.
#[derive(Default)]
pub(super) struct PieceBuffer {
    waiting: BTreeMap<StreamKey, WaitingPieces>,
    /// In the order in which they are due. Some were sent before.
    due: VecDeque<(u64, StreamKey)>,
}

impl PieceBuffer {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When pieces are to be sent next, in monotonic milliseconds.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.front().map(|(at, _)| *at)
    }

    fn take_due(&mut self, now: Now) -> Option<(StreamKey, WaitingPieces)> {
        while let Some((at, key)) = self.due.pop_front_if(|(at, _)| *at <= now.mono) {
            if self.waiting.get(&key).is_some_and(|waiting| waiting.due == at) {
                return self.waiting.remove_entry(&key);
            }
        }
        None
    }

    fn take_of(&mut self, peer: PeerKey) -> Option<(StreamKey, WaitingPieces)> {
        let mut of_peer = self.waiting.range((peer, Uuid::nil())..=(peer, Uuid::max()));
        let key = *of_peer.next()?.0;
        self.waiting.remove_entry(&key)
    }
}

/// The lengths of a piece, for its owner.
pub(super) fn text_of(body: &str, offset: Option<u32>, bytes_max: usize) -> StreamText {
    let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let (bytes, units) = json::text_lengths(body);
    StreamText { bytes: number(bytes), units: number(units), offset, bytes_max: number(bytes_max) }
}

/// Gathers pieces and sends them.
pub(super) struct Streaming<'a> {
    core: &'a mut Core,
}

impl<'a> Streaming<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Takes a piece. One that ends the stream is sent at once, with those that wait.
    ///
    /// # Errors
    /// It is refused here.
    pub(super) fn append(
        &mut self,
        now: Now,
        peer: PeerKey,
        id: RequestRef<'_>,
        append: Append<'_>,
    ) -> Result<(), Reject> {
        let Append { room, message, piece, status, offset, client_message_id } = append;
        let (room, key) = (self.core.rooms.name(&room), (peer, message_id(&message)?));
        let bytes_max = self.core.options.content_bytes;
        let text = text_of(piece, offset, bytes_max);
        let is_apart = client_message_id.is_some();
        let is_added = self.core.pieces.waiting.get_mut(&key).is_some_and(|waiting| {
            let is_added = !is_apart && waiting.room == room && waiting.takes(offset);
            if is_added {
                json::append_string(&mut waiting.body, piece);
                waiting.text.units = waiting.text.units.saturating_add(text.units);
                waiting.text.bytes = waiting.text.bytes.saturating_add(text.bytes);
                waiting.status = status;
                waiting.requests.push(id.to_owned());
            }
            is_added
        });
        if !is_added {
            self.flush(now, key);
            self.core.spend(now, peer, FLUSH_COST)?;
            let due = now.mono + limits::PIECES_MS;
            let client_message_id = client_message_id.map(|id| id.into());
            let (body, requests) = (piece.to_owned(), vec![id.to_owned()]);
            let waiting = WaitingPieces { room, body, text, status, client_message_id, requests, due };
            self.core.pieces.waiting.insert(key, waiting);
            self.core.pieces.due.push_back((due, key));
        }
        let is_full = self.core.pieces.waiting.get(&key).is_some_and(|waiting| {
            waiting.requests.len() >= limits::PIECES_GATHERED || waiting.text.bytes as usize >= bytes_max
        });
        if is_apart || is_full || status != StreamStatus::Streaming {
            self.flush(now, key);
        }
        Ok(())
    }

    /// Sends all pieces of a peer, before what it asks for next.
    pub(super) fn flush_peer(&mut self, now: Now, peer: PeerKey) {
        while let Some((key, waiting)) = self.core.pieces.take_of(peer) {
            self.send(now, key, waiting);
        }
    }

    /// Sends the pieces that are due.
    pub(super) fn flush_due(&mut self, now: Now) {
        while let Some((key, waiting)) = self.core.pieces.take_due(now) {
            self.send(now, key, waiting);
        }
    }

    fn flush(&mut self, now: Now, key: StreamKey) {
        if let Some(waiting) = self.core.pieces.waiting.remove(&key) {
            self.send(now, key, waiting);
        }
    }

    fn send(&mut self, now: Now, (peer, message): StreamKey, waiting: WaitingPieces) {
        let WaitingPieces { room, body, text, status, client_message_id, requests, .. } = waiting;
        let kind = RevisionKind::Append(status);
        let op = SendMessage {
            connection: self.core.net.id_of(peer),
            publisher: None,
            to: None,
            content: Content::of_piece(&body),
            client_message_id,
            revises: Some(Box::new(Revise { message, kind, sender: None, rights: ChangeRights::Usual })),
            stream: Some(text),
        };
        let Some(first) = requests.first().cloned() else {
            debug_assert!(false, "invariant: pieces wait with their requests");
            return;
        };
        let op = Op::Room(room.clone(), RoomOp::Send(Box::new(op)));
        let then = OnReply::Appended(Box::new((room, requests.clone())));
        if let Err(reject) = QuotaFlow::on(self.core).send(now, peer, first.as_ref(), then, op) {
            for id in &requests {
                Peers::on(self.core).refuse(now, peer, id.as_ref(), &reject);
            }
        }
    }
}
