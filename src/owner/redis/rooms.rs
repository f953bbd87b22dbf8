//! Acts on rooms: from ops to calls.
//!
//! A node follows the channel of each room that it holds members of, and of each that some are on their way into: an act
//! that begins a membership waits until the channel is listened to, so that nothing is missed in between.

use crate::base::Name;
use crate::base::ids::{ConnectionId, random_word};
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::command::{MediaState, ReceiptKind};
use crate::domain::event::Content;
use crate::domain::history::PAGE_MAX;
use crate::domain::op::{JoinRoom, LogTerms, Profile, RelaySignal, RoomOp, SendMessage, message_id};
use crate::domain::recovery::Returning;
use crate::message::redis::{Bytes, RedisCommand, Script};
use crate::message::{Outgoing, Requester};
use crate::owner::redis::subscription::Followed;
use crate::owner::redis::wire::{Seat, Who, json, media_bits, number, text};
use crate::owner::redis::{Due as Any, Outcome, Purpose as ScriptCall, RedisOwner, scripts, wire};

/// What a call was for, as far as its answer is to be understood.
pub(super) enum Purpose {
    /// Nothing but its being done.
    Done,
    /// The same, of a signaling message.
    Signal,
    Create,
    Join(ConnectionId),
    Return(ConnectionId),
    Leave(ConnectionId),
    Close,
    Vanish(ConnectionId),
    /// The connection vanishes unless it returns soon.
    Lose(ConnectionId),
    Send,
    Typists,
    History {
        is_upward: bool,
    },
    Marks(uuid::Uuid),
    Describe,
    Roster,
    Since,
    /// How many users there are, or who they are.
    Online,
    /// The members of a dead node have left.
    Purge(u16),
    /// Whether the room is there.
    LookAfter,
}

/// Something about a room that is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A member whose connection was lost, unless it has returned.
    Vanish(ConnectionId),
    /// Somebody may have stopped typing without a word.
    Typing(ConnectionId),
    /// The count of members is to be told.
    Stats,
    /// The count of users is to be told.
    Online,
    /// Facts may be missing.
    Missing,
}

/// An op that waits until its room is followed.
pub(super) struct Waiting {
    pub(super) room: Name,
    pub(super) op: RoomOp,
    pub(super) to: Requester,
    /// In monotonic milliseconds.
    pub(super) since: u64,
}

impl RedisOwner {
    pub(super) fn room_op(
        &mut self,
        now: Now,
        name: Name,
        op: RoomOp,
        to: Requester,
        _out: &mut Vec<Outgoing>,
    ) -> Outcome {
        let is_heard = match op {
            RoomOp::Join(_) | RoomOp::Rejoin(_) => self.follow(&name),
            // Nothing overtakes an act that waits.
            _ => self.rooms.get(&name).is_none_or(|room| room.is_heard),
        };
        if !is_heard {
            self.wait_for_room(now, Waiting { room: name, op, to, since: now.mono });
            return Ok(None);
        }
        self.call_for_room(now, name, op, Some(to));
        Ok(None)
    }

    /// Follows a room, for somebody on the way in; whether it is listened to already.
    pub(super) fn follow(&mut self, name: &Name) -> bool {
        if !self.rooms.contains_key(name) {
            self.demands.push(RedisCommand::Subscribe(self.keys.room(name)));
            self.rooms.insert(name.clone(), Followed::default());
            self.node_enters(name);
        }
        self.rooms.get_mut(name).is_some_and(|room| {
            room.coming += 1;
            room.is_heard
        })
    }

    /// Follows a room no longer if nobody here has to do with it.
    pub(super) fn follow_no_longer(&mut self, name: &Name) {
        if self.rooms.get(name).is_some_and(Followed::is_over) {
            self.rooms.remove(name);
            self.demands.push(RedisCommand::Unsubscribe(self.keys.room(name)));
            self.node_leaves(name);
        }
    }

    /// Calls what an op on a room asks for.
    pub(super) fn call_for_room(&mut self, now: Now, name: Name, op: RoomOp, to: Option<Requester>) {
        let (script, purpose, arguments) = match op {
            RoomOp::Create { by, profile, log } => self.create(&name, &by, &profile, log),
            RoomOp::Join(join) => {
                let connection = join.connection;
                (&scripts::JOIN, Purpose::Join(connection), self.join(&join))
            }
            RoomOp::Rejoin(back) => {
                let connection = back.join.connection;
                (&scripts::RETURN, Purpose::Return(connection), self.come_back(&back))
            }
            RoomOp::Leave { connection, by, peer } => {
                let arguments = vec![id(connection), user(&by), admin(&by), optional(peer.as_deref())];
                (&scripts::LEAVE, Purpose::Leave(connection), arguments)
            }
            RoomOp::StartGrace { connection } => (&scripts::LOSE, Purpose::Lose(connection), vec![id(connection)]),
            RoomOp::RemoveMember { connection } => {
                (&scripts::VANISH, Purpose::Vanish(connection), vec![id(connection)])
            }
            RoomOp::RelaySignal(signal) => (&scripts::SIGNAL, Purpose::Signal, self.signal(&signal)),
            RoomOp::SetMedia { connection, peer, media } => {
                let arguments = vec![id(connection), optional(peer.as_deref()), bits(media)];
                (&scripts::MEDIA, Purpose::Done, arguments)
            }
            RoomOp::Send(message) => (&scripts::SEND, Purpose::Send, self.send(now, *message)),
            RoomOp::SetTyping { connection, is_typing } => {
                if is_typing {
                    self.types(now, &name, connection);
                } else if let Some(until) = self.typing.get_mut(&(name.clone(), connection)) {
                    *until = 0;
                }
                (&scripts::TYPING, Purpose::Done, vec![id(connection), flag(is_typing)])
            }
            RoomOp::ListTypists { connection } => (&scripts::TYPISTS, Purpose::Typists, vec![id(connection)]),
            RoomOp::MarkMessage { connection, message, kind } => {
                let kind = if kind == ReceiptKind::Read { "read" } else { "delivered" };
                (&scripts::RECEIPT, Purpose::Done, vec![id(connection), text(message.to_string()), text(kind)])
            }
            RoomOp::ReadHistory { connection, wanted } => {
                let after = wanted.after.map_or_else(|| text(""), number);
                let arguments = vec![id(connection), after, number(wanted.limit.min(PAGE_MAX) as u64)];
                (&scripts::HISTORY, Purpose::History { is_upward: wanted.after.is_some() }, arguments)
            }
            RoomOp::ReadSince { connection, after, limit } => {
                let arguments = vec![id(connection), text(after.to_string()), number(limit.min(PAGE_MAX) as u64)];
                (&scripts::SYNC, Purpose::History { is_upward: true }, arguments)
            }
            RoomOp::ReadReceipts { connection, message } => {
                (&scripts::MARKS, Purpose::Marks(message), vec![id(connection), text(message.to_string())])
            }
            RoomOp::AddParticipant { by, connections } => {
                (&scripts::ADMIT, Purpose::Done, self.admit(&name, &by, &connections))
            }
            RoomOp::RemoveParticipant { by, connection } => {
                let connection = connection.map_or_else(|| text(""), id);
                (&scripts::WITHDRAW, Purpose::Done, vec![user(&by), connection])
            }
            RoomOp::Describe { by } => (&scripts::DESCRIBE, Purpose::Describe, vec![user(&by), admin(&by)]),
            RoomOp::ListUsers { by, page } => {
                let arguments = vec![user(&by), admin(&by), optional(page.after.as_deref()), number(page.limit as u64)];
                (&scripts::ROSTER, Purpose::Roster, arguments)
            }
            RoomOp::Close { by } => {
                (&scripts::CLOSE, Purpose::Close, vec![user(&by), admin(&by), flag(by.roles().guest)])
            }
        };
        self.call_room(now, name, script, purpose, arguments, to);
    }

    /// Calls a script on a room.
    pub(super) fn call_room(
        &mut self,
        now: Now,
        name: Name,
        script: &'static Script,
        purpose: Purpose,
        arguments: Vec<Bytes>,
        to: Option<Requester>,
    ) {
        let rules = &self.rules;
        let keeps = u8::from(rules.history);
        let (announce, takes, keep_ms) = (rules.announce_limit, rules.max_participants, rules.keep_ms);
        let rules = format!("{announce},{takes},{keeps},{},{keep_ms}", self.settings.keep_messages);
        let arguments = [text(rules)].into_iter().chain(arguments).collect();
        let key = self.keys.room(&name);
        self.call(now, script, key, to, ScriptCall::Room(name, purpose), arguments);
    }

    fn create(
        &mut self,
        name: &Name,
        by: &Identity,
        profile: &Profile,
        log: LogTerms,
    ) -> (&'static Script, Purpose, Vec<Bytes>) {
        self.enlist(name.clone());
        self.enroll_all(name, by, profile);
        let history = match log.history {
            None => "",
            Some(true) => "1",
            Some(false) => "0",
        };
        let or_default = |value: Option<u64>| value.map_or_else(|| text(""), number);
        let mut arguments = vec![
            text(random_word(&mut self.rng, 8)),
            json(&Who::from(by)),
            user(by),
            flag(by.roles().guest),
            wire::profile(profile),
            flag(profile.is_private),
            number(profile.max_participants as u64),
            text(history),
            or_default(log.retention.messages),
            or_default(log.retention.age_ms),
        ];
        arguments.extend(profile.participants.iter().map(|user| text(&**user)));
        (&scripts::CREATE, Purpose::Create, arguments)
    }

    /// A member to be.
    fn seat(&self, join: &JoinRoom) -> Bytes {
        json(&Seat {
            o: 0,
            c: wire::Id(join.connection),
            p: join.peer.as_deref().unwrap_or_default().into(),
            d: join.display_name.clone(),
            w: Who::from(&join.by),
            v: media_bits(join.media),
            k: u8::from(join.connection.is_peer()),
            q: join.connection.place().node,
        })
    }

    fn join(&mut self, join: &JoinRoom) -> Vec<Bytes> {
        let epoch = text(random_word(&mut self.rng, 8));
        vec![self.seat(join), admin(&join.by), flag(join.by.roles().guest), flag(join.create), epoch]
    }

    fn come_back(&self, back: &Returning) -> Vec<Bytes> {
        let missed = number(limits::MISSED_MESSAGES as u64);
        let join = &back.join;
        vec![id(back.former), self.seat(join), admin(&join.by), text(&*back.epoch), number(back.seq), missed]
    }

    fn signal(&self, signal: &RelaySignal) -> Vec<Bytes> {
        let body = json(&signal.body);
        let (from, kind) = (optional(signal.from.as_deref()), text(signal.signal.as_str()));
        vec![id(signal.connection), from, text(&*signal.to), kind, body]
    }

    fn send(&mut self, now: Now, message: SendMessage) -> Vec<Bytes> {
        let SendMessage { connection, to, content, client_message_id } = message;
        let message = message_id(&mut self.rng, now).to_string();
        let rest = rest_of(&message, content, now);
        let keep = number(limits::REPEAT_MS);
        vec![id(connection), optional(to.as_deref()), text(message), rest, optional(client_message_id.as_deref()), keep]
    }

    /// The caller's connections as members to be.
    fn admit(&mut self, name: &Name, by: &Identity, connections: &[ConnectionId]) -> Vec<Bytes> {
        self.enroll_one(name, by);
        let join = |connection: &ConnectionId| JoinRoom {
            connection: *connection,
            by: by.clone(),
            peer: None,
            display_name: None,
            media: MediaState::default(),
            create: false,
        };
        let seats = connections.iter().map(|connection| self.seat(&join(connection)));
        let head = [user(by), admin(by), number(limits::PARTICIPANTS_PER_ROOM as u64)];
        head.into_iter().chain(seats).collect()
    }

    /// A connection types: unless it says so again in time, it stops.
    fn types(&mut self, now: Now, room: &Name, connection: ConnectionId) {
        let key = (room.clone(), connection);
        let until = now.mono + limits::TYPING_MS;
        if self.typing.insert(key, until).is_none() {
            self.due_in(now, limits::TYPING_MS, Any::Room(room.clone(), Due::Typing(connection)));
        }
    }

    /// What has become due in a room.
    pub(super) fn room_due(&mut self, now: Now, name: Name, due: Due, _out: &mut Vec<Outgoing>) {
        match due {
            Due::Vanish(connection) => self.call_for_room(now, name, RoomOp::RemoveMember { connection }, None),
            Due::Typing(connection) => {
                let key = (name.clone(), connection);
                match self.typing.get(&key).copied() {
                    Some(until) if until > now.mono => {
                        self.due.entry(until).or_default().insert(Any::Room(name, Due::Typing(connection)));
                    }
                    known => {
                        self.typing.remove(&key);
                        if known.is_some() {
                            self.call_room(
                                now,
                                name,
                                &scripts::TYPING,
                                Purpose::Done,
                                vec![id(connection), text("x")],
                                None,
                            );
                        }
                    }
                }
            }
            Due::Stats => self.call_room(now, name, &scripts::COUNT, Purpose::Done, vec![text("u")], None),
            Due::Online => self.count_online(now, name),
            Due::Missing => self.look_for_missing(now, name),
        }
    }
}

/// A message as it goes into the log, from its id on.
fn rest_of(id: &str, content: Content, now: Now) -> Bytes {
    let says = json(&wire::Says::from(content));
    let mut rest = format!(r#""id":"{id}","s":"#).into_bytes();
    rest.extend_from_slice(&says);
    rest.extend_from_slice(format!(r#","at":{}}}"#, now.wall).as_bytes());
    rest.into()
}

fn id(connection: ConnectionId) -> Bytes {
    text(connection.text().as_str())
}

fn user(by: &Identity) -> Bytes {
    text(by.user())
}

fn admin(by: &Identity) -> Bytes {
    flag(by.roles().admin)
}

fn flag(is: bool) -> Bytes {
    text(if is { "1" } else { "0" })
}

fn bits(media: MediaState) -> Bytes {
    number(u64::from(media_bits(media)))
}

fn optional(value: Option<&str>) -> Bytes {
    text(value.unwrap_or_default())
}
