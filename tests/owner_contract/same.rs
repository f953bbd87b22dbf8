//! Whether two authorities have said the same. Ids and epochs are random, so each counts by when it first appeared; peers
//! of a room are listed in no particular order.

use std::collections::BTreeMap;
use std::fmt::Write;

use switchboard::dialect::socketio::Dialect;
use switchboard::domain::access::Identity;
use switchboard::domain::command::MediaState;
use switchboard::domain::event::{Event, Joined, PeerName, PeerView};
use switchboard::domain::op::Reply;
use switchboard::message::{Outgoing, ShardMessage};

use crate::keepers::by_shard;

/// What stands for ids and epochs that were seen.
#[derive(Default)]
pub(crate) struct Names {
    seen: BTreeMap<String, usize>,
    /// Whether what Socket.IO peers are told is compared.
    is_for_peers: bool,
    pub(crate) ids: Vec<uuid::Uuid>,
    pub(crate) epochs: Vec<(String, String)>,
}

impl Names {
    pub(crate) fn new(is_for_peers: bool) -> Self {
        Self { is_for_peers, ..Self::default() }
    }

    /// The text with every id and epoch replaced by its number.
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

    /// What was said, shard by shard, in words that can be compared.
    pub(crate) fn tell(&mut self, out: Vec<Outgoing>) -> String {
        let mut text = String::new();
        for (shard, mails) in by_shard(out).into_iter().enumerate() {
            for mail in mails {
                let told = match mail {
                    ShardMessage::Reply { ask, reply } => {
                        let reply = reply.map(|reply| self.sorted(reply));
                        format!("answers {ask}: {reply:?}")
                    }
                    ShardMessage::Deliver { to, mut event } => {
                        if let Event::Joined(joined) = &mut event {
                            self.sort_view(joined);
                        }
                        format!("tells {to:?}: {event:?}")
                    }
                    ShardMessage::Publish { room, except, packed } => {
                        let colon = packed.for_peers.as_ref().map(|peers| peers.frames(Dialect::Colon));
                        let colon = colon.map(String::from_utf8_lossy).unwrap_or_default();
                        let is_online = colon.contains("room:online-update");
                        if packed.raw.is_empty() && (is_online || !self.is_for_peers) {
                            continue;
                        }
                        // A node with nobody in the room but the one who is not told has nothing to tell.
                        let own = except.is_some_and(|except| usize::from(except.place().shard) == shard);
                        if own && !self.is_for_peers {
                            continue;
                        }
                        // A node without Socket.IO peers in the room needs no words for them.
                        let colon = if self.is_for_peers { colon } else { Default::default() };
                        format!("publishes in {room} but {except:?}: {} {colon}", readable(&packed.raw))
                    }
                    ShardMessage::Close { room, packed } => format!("closes {room}: {}", readable(&packed.raw)),
                    // Users are another test's, and on Redis it is not looked up how they are who are in a room.
                    ShardMessage::NotifyUser { .. }
                    | ShardMessage::PresenceUpdate { .. }
                    | ShardMessage::OnlineUsers { .. } => continue,
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
        sort_peers(&mut joined.peers, joined.participant_count - 1);
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

/// Puts peers into an order; of so many that not all are listed it only counts how many are.
fn sort_peers(peers: &mut [PeerView], of: usize) {
    peers.sort_by_key(|peer| peer.name.with(str::to_owned));
    if peers.len() < of {
        let any = PeerView {
            name: PeerName::Chosen("any".into()),
            display_name: None,
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
