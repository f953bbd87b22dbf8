//! Comparison of the output of two owners. Ids and epochs are random, so each is replaced by the order of its first
//! appearance. The peers of a room are sorted.

use std::collections::BTreeMap;
use std::fmt::Write;

use switchboard::dialect::socketio::Dialect;
use switchboard::domain::about::About;
use switchboard::domain::access::Identity;
use switchboard::domain::command::MediaState;
use switchboard::domain::event::{Event, Joined, PeerName, PeerView};
use switchboard::domain::op::Reply;
use switchboard::message::{Outgoing, OwnerMessage, ShardMessage, ThreadMessage};

use crate::owners::{by_shard, rules};

/// The replacements of ids and epochs.
#[derive(Default)]
pub(crate) struct Names {
    seen: BTreeMap<String, usize>,
    /// Whether the encodings for Socket.IO peers are compared.
    is_for_peers: bool,
    pub(crate) ids: Vec<uuid::Uuid>,
    pub(crate) epochs: Vec<(String, String)>,
}

impl Names {
    pub(crate) fn new(is_for_peers: bool) -> Self {
        Self { is_for_peers, ..Self::default() }
    }

    /// Replaces every id and epoch in a text by its number.
    fn replace(&mut self, text: &str) -> String {
        let mut result = String::with_capacity(text.len());
        let mut word = String::new();
        for character in text.chars().chain([' ']) {
            if character.is_ascii_alphanumeric() || character == '-' {
                word.push(character);
                continue;
            }
            result.push_str(&self.stand_in(&word));
            word.clear();
            result.push(character);
        }
        result
    }

    fn stand_in(&mut self, word: &str) -> String {
        if let Some(number) = self.seen.get(word) {
            return format!("#{number}");
        }
        let Some(id) = (word.len() == 36).then(|| uuid::Uuid::try_parse(word).ok()).flatten() else {
            return word.to_owned();
        };
        self.ids.push(id);
        self.see(word)
    }

    fn see(&mut self, word: &str) -> String {
        let next = self.seen.len();
        let number = self.seen.entry(word.to_owned()).or_insert(next);
        format!("#{number}")
    }

    /// Notes the epoch of a room.
    fn note_epoch(&mut self, room: &str, epoch: &str) {
        if !self.seen.contains_key(epoch) {
            self.see(epoch);
        }
        self.epochs.retain(|(known, _)| known != room);
        self.epochs.push((room.to_owned(), epoch.to_owned()));
    }

    /// The messages of each shard as text that can be compared.
    pub(crate) fn tell(&mut self, out: Vec<Outgoing>) -> String {
        let mut text = String::new();
        for (shard, messages) in by_shard(out).into_iter().enumerate() {
            for message in messages {
                let told = match message {
                    ThreadMessage::Reply { ask, reply } => {
                        let reply = reply.map(|reply| self.sorted(reply));
                        format!("answers {ask}: {reply:?}")
                    }
                    ThreadMessage::Shard(ShardMessage::Deliver { to, mut event }) => {
                        if let Event::Joined(joined) = &mut event {
                            self.sort_view(joined);
                        }
                        format!("tells {to:?}: {event:?}")
                    }
                    ThreadMessage::Shard(ShardMessage::Publish { room, except, packed }) => {
                        let colon = packed.for_peers.as_ref().map(|peers| peers.frames(Dialect::Colon, None));
                        let colon = colon.map(String::from_utf8_lossy).unwrap_or_default();
                        let is_online = colon.contains("room:online-update");
                        if packed.raw.is_empty() && (is_online || !self.is_for_peers) {
                            continue;
                        }
                        // A node whose only member is the excepted one publishes no event.
                        let own = except.is_some_and(|except| usize::from(except.place().shard) == shard);
                        if own && !self.is_for_peers {
                            continue;
                        }
                        // A node without Socket.IO peers in the room encodes no event for them.
                        let colon = if self.is_for_peers { colon } else { Default::default() };
                        format!("publishes in {room} but {except:?}: {} {colon}", readable(&packed.raw))
                    }
                    ThreadMessage::Shard(ShardMessage::Close { room, packed }) => {
                        format!("closes {room}: {}", readable(&packed.raw))
                    }
                    // Another test covers users. Redis does not look up the presence of a room's users.
                    ThreadMessage::Owner(OwnerMessage::NotifyUser { .. } | OwnerMessage::RoomPresence { .. })
                    | ThreadMessage::Shard(ShardMessage::PresenceUpdate { .. } | ShardMessage::OnlineUsers { .. })
                    // A node reads the list of revocations when it starts.
                    | ThreadMessage::Shard(ShardMessage::Revocation(_)) => {
                        continue;
                    }
                    other => format!("{other:?}"),
                };
                let told = self.replace(&told);
                let _ = writeln!(text, "  {shard} {told}");
            }
        }
        text
    }

    fn sort_view(&mut self, joined: &mut Joined) {
        self.note_epoch(&joined.room, &joined.epoch);
        sort_peers(&mut joined.peers, joined.participant_count.saturating_sub(1));
    }

    fn sorted(&mut self, mut reply: Reply) -> Reply {
        match &mut reply {
            Reply::Joined(joined) => self.sort_view(joined),
            Reply::Returned(returned) => self.sort_view(&mut returned.joined),
            Reply::History(history) => self.note_epoch(&history.room, &history.epoch),
            Reply::Room(view) => sort_peers(&mut view.peers, view.participant_count),
            Reply::Typists(typists) => typists.sort_by_key(|typist| typist.identity.user().to_owned()),
            _ => {}
        }
        reply
    }
}

/// Sorts peers. If not all are listed, or perhaps not (an observer, unlike a member, is none of those who are counted), only their
/// number is compared.
fn sort_peers(peers: &mut [PeerView], of: usize) {
    peers.sort_by_key(|peer| peer.name.with(str::to_owned));
    if peers.len() < of || peers.len() == rules().announce_limit {
        let any = PeerView {
            name: PeerName::Chosen("any".into()),
            about: About::default(),
            identity: Identity::guest("any"),
            media: MediaState::default(),
        };
        peers.fill(any);
    }
}

/// A frame's text.
fn readable(frame: &[u8]) -> String {
    let start = frame.iter().position(|byte| *byte == b'{').unwrap_or(frame.len());
    String::from_utf8_lossy(&frame[start..]).into_owned()
}
