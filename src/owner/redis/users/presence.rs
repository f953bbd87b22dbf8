//! Presence: from updates of users to the shards, announcements in rooms, and absences.
//!
//! A script publishes each presence update once: to all nodes, if everyone receives presence; otherwise to the nodes with
//! connections of the user, which ask the shards of these connections to announce the update in their rooms. Rooms of ended
//! connections are named to all nodes, because no node has the connection any more. Each node encodes an update once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::map::{Map, map};
use crate::dialect::encoded_event::EncodedEvent;
use crate::domain::access::{Identity, Roles};
use crate::domain::command::Status;
use crate::domain::event::Event;
use crate::message::redis::Bytes;
use crate::message::{PresenceUpdate, ShardMessage, UpdateReach};
use crate::owner::redis::calls::CallPurpose;
use crate::owner::redis::deadlines::Deadline;
use crate::owner::redis::directory::LocalPresence;
use crate::owner::redis::rooms::Rooms;
use crate::owner::redis::rooms::commands::RoomCall;
use crate::owner::redis::scripts;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::users::{UserCall, UserDeadline, UserReply};
use crate::owner::redis::wire::{self, WireConnectionId, WireDirect};

/// Time after which an update is not expected to be overtaken by an earlier one, in milliseconds.
const RECENT_MS: u64 = 10_000;

/// A message about a user: a presence update, a direct message for some of their connections, or a quota request.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct UserPublication {
    /// The user; the first field, because it distinguishes these messages from others.
    #[serde(rename = "u")]
    pub(super) user: Box<str>,
    /// Number of the presence update.
    #[serde(rename = "n", skip_serializing_if = "is_zero")]
    pub(super) number: u64,
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<Box<str>>,
    #[serde(rename = "l", skip_serializing_if = "is_zero")]
    pub(super) last_active: u64,
    /// The username, if it is not the id.
    #[serde(rename = "un", skip_serializing_if = "Option::is_none")]
    pub(super) username: Option<Box<str>>,
    /// 1 if the user is active now, 0 if not; absent in updates for the members of a room.
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    is_active: Option<u8>,
    /// 1 if only nodes receive the update.
    #[serde(rename = "q", skip_serializing_if = "Option::is_none")]
    is_quiet: Option<u8>,
    /// The connection that does not receive the update.
    #[serde(rename = "x", skip_serializing_if = "Option::is_none")]
    pub(super) except: Option<WireConnectionId>,
    /// Rooms whose members receive the update.
    #[serde(rename = "r", skip_serializing_if = "Option::is_none")]
    pub(super) rooms: Option<Vec<Name>>,
    /// Connections of the user on this node.
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    pub(super) connections: Option<Vec<WireConnectionId>>,
    /// Kind of a quota of which unspent credits are requested.
    #[serde(rename = "y", skip_serializing_if = "Option::is_none")]
    pub(super) quota_kind: Option<usize>,
    /// Minute of these credits; absent: other nodes have returned some.
    #[serde(rename = "e", skip_serializing_if = "Option::is_none")]
    pub(super) quota_minute: Option<u64>,
    /// A direct message that is stored.
    #[serde(rename = "d", skip_serializing_if = "Option::is_none")]
    pub(super) direct: Option<WireDirect>,
    /// A direct message that is not stored.
    #[serde(rename = "p", skip_serializing_if = "Option::is_none")]
    pub(super) pushed: Option<WireDirect>,
}

impl UserPublication {
    pub(crate) fn user(&self) -> Name {
        Name::from(&*self.user)
    }

    pub(crate) fn quota(&self) -> Option<(usize, Option<u64>)> {
        self.quota_kind.map(|kind| (kind, self.quota_minute))
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Presence updates on their way, and absences.
pub(super) struct PresenceNews {
    /// The last update of each user, as long as an earlier one can still come; with its end in monotonic milliseconds.
    latest: Map<Name, (u64, Arc<PresenceUpdate>)>,
    /// The ends, earliest first.
    ends: VecDeque<(u64, Name)>,
    /// Updates to be announced in rooms.
    announcements: Vec<(Name, Bytes)>,
    /// Users whose last connection was here and who can return, with the absence.
    absent: BTreeMap<Name, Box<str>>,
}

impl PresenceNews {
    pub(super) fn new(seed: u64) -> Self {
        Self { latest: map(seed), ends: VecDeque::new(), announcements: Vec::new(), absent: BTreeMap::new() }
    }

    pub(super) fn published(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        rooms: &Rooms,
        room: Option<Name>,
        user: Name,
        publication: UserPublication,
    ) {
        if let Some(status) = publication.status.as_deref().and_then(Status::parse) {
            if let Some(is_active) = publication.is_active {
                let last_active = (is_active == 0).then_some(publication.last_active);
                let presence = LocalPresence::new(publication.number, status, last_active, None);
                turn.node.directory.set_presence(&user, presence);
            }
            if publication.is_quiet.is_some() {
                return;
            }
            let except = publication.except.map(|id| id.0);
            let by = Identity::new(&user, publication.username.as_deref(), None, Roles::default());
            let update = Event::Presence { by, status, last_seen: publication.last_active };
            let news = self.latest(turn, user, publication.number, update, except);
            match (room, publication.connections, publication.rooms) {
                (Some(room), ..) => send_to_room(turn, rooms, room, &news),
                (None, None, None) => {
                    let shards = turn.shards();
                    let message = |update| ShardMessage::PresenceUpdate { reach: UpdateReach::Everyone, update };
                    turn.out.extend(shards.map(|shard| (shard, message(news.clone()).into())));
                }
                (None, connections, names) => {
                    for WireConnectionId(of) in connections.into_iter().flatten() {
                        let reach = UpdateReach::Around(of);
                        let message = ShardMessage::PresenceUpdate { reach, update: news.clone() };
                        turn.send(of.place().shard, message);
                    }
                    for room in names.into_iter().flatten() {
                        send_to_room(turn, rooms, room, &news);
                    }
                }
            }
        }
    }

    /// This update of a user, or a later one that has come before: updates for rooms come by the nodes of their members, or
    /// by the rooms' channels.
    fn latest(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        user: Name,
        number: u64,
        event: Event,
        except: Option<ConnectionId>,
    ) -> Arc<PresenceUpdate> {
        let now = turn.now.mono;
        while let Some((_, over)) = self.ends.pop_front_if(|(until, _)| *until <= now) {
            if self.latest.get(&over).is_some_and(|(until, _)| *until <= now) {
                self.latest.remove(&over);
            }
        }
        if let Some((_, known)) = self.latest.get(&user).filter(|(_, known)| known.number >= number) {
            return known.clone();
        }
        let packed = EncodedEvent::new(&event, turn.now, &mut turn.node.encode_buffer).and_for_peers(&event, turn.now);
        let news = Arc::new(PresenceUpdate { user: user.clone(), number, except, packed });
        let until = now + RECENT_MS;
        self.latest.insert(user.clone(), (until, news.clone()));
        self.ends.push_back((until, user));
        news
    }

    /// Announces the presence of a user in a room that one of their connections has joined.
    pub(super) fn introduce(&mut self, user: &Name, connection: ConnectionId, room: &Name, reply: UserReply) {
        if reply.status.is_some() {
            let publication = UserPublication {
                user: (**user).into(),
                number: reply.number,
                status: reply.status,
                last_active: reply.last_active,
                username: reply.username,
                except: Some(WireConnectionId(connection)),
                ..UserPublication::default()
            };
            self.announcements.push((room.clone(), wire::json(&publication)));
        }
    }

    /// Announces a presence update in a room, on all nodes.
    pub(super) fn announce(&mut self, room: &Name, news: &PresenceUpdate) {
        let event = news.packed.for_peers.as_ref().map(|for_peers| for_peers.event());
        if let Some(Event::Presence { by, status, last_seen }) = event {
            let publication = UserPublication {
                user: by.user().into(),
                number: news.number,
                status: Some(status.as_str().into()),
                last_active: *last_seen,
                username: (by.username() != by.user()).then(|| by.username().into()),
                except: news.except.map(WireConnectionId),
                ..UserPublication::default()
            };
            self.announcements.push((room.clone(), wire::json(&publication)));
        }
    }

    pub(super) fn has_announcements(&self) -> bool {
        !self.announcements.is_empty()
    }

    /// Calls the script that publishes an announcement, for each one.
    pub(super) fn flush(&mut self, turn: &mut OwnerTurn<'_>) {
        for (room, body) in std::mem::take(&mut self.announcements) {
            turn.call_room(&scripts::ANNOUNCE, room, None, RoomCall::Done, vec![body]);
        }
    }

    /// The last connection of a user has ended, and they can return: schedules the end of their presence.
    pub(super) fn wait_for_return(&mut self, turn: &mut OwnerTurn<'_>, user: &Name, absence: Box<str>) {
        self.absent.insert(user.clone(), absence.clone());
        let deadline = Deadline::User(user.clone(), UserDeadline::GoOffline(absence));
        turn.after(turn.node.rules.presence_grace_ms, deadline);
    }

    /// A user has a connection again.
    pub(super) fn returned(&mut self, user: &Name) {
        self.absent.remove(user);
    }

    /// Whether this node waits for a user to return.
    pub(super) fn awaits_return(&self, user: &str) -> bool {
        self.absent.contains_key(user)
    }

    pub(super) fn absent_users(&self) -> impl Iterator<Item = &Name> {
        self.absent.keys()
    }

    /// Ends an absence; `false` if the user has returned since.
    pub(super) fn take_absence(&mut self, user: &Name, absence: &str) -> bool {
        let is_absent = self.absent.get(user).is_some_and(|known| &**known == absence);
        if is_absent {
            self.absent.remove(user);
        }
        is_absent
    }
}

/// Sets a user offline, unless they have returned on another node.
pub(super) fn go_offline(turn: &mut OwnerTurn<'_>, user: Name, absence: &str) {
    let purpose = |user| CallPurpose::User(user, UserCall::GoOffline);
    turn.call_user(&scripts::GO_OFFLINE, user, None, purpose, vec![wire::text(absence)]);
}

/// Sends an update to the members of a room on this node, unless the room is too large for announcements.
fn send_to_room(turn: &mut OwnerTurn<'_>, rooms: &Rooms, room: Name, news: &Arc<PresenceUpdate>) {
    for shard in rooms.announced_shards(&room, turn.node.rules.announce_limit) {
        let reach = UpdateReach::Members(room.clone());
        turn.send(shard, ShardMessage::PresenceUpdate { reach, update: news.clone() });
    }
}
