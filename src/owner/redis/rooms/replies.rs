//! Operations on rooms: from answers of scripts to replies.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::access::Identity;
use crate::domain::event::PeerName;
use crate::domain::history::{History, Marks, Unread};
use crate::domain::op::{Publication, Reply, Sent, Typist};
use crate::domain::query::RoomRoster;
use crate::domain::recovery::Returned;
use crate::domain::reject::{Code, Reject};
use crate::message::Requester;
use crate::owner::redis::calls::CallResult;
use crate::owner::redis::deadlines::Deadline;
use crate::owner::redis::rooms::commands::{self, PendingReturn, RoomCall};
use crate::owner::redis::rooms::online::{self, OnlineUsers};
use crate::owner::redis::rooms::refusals;
use crate::owner::redis::rooms::subscription::OrderedReply;
use crate::owner::redis::rooms::{RoomDeadline, Rooms};
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::{ReplyHeader, WireIdentity, WireJoinView, WireMessage, WireMessageId, WireRoomView};

/// A room too large for announcements publishes its number of members once in this time, in milliseconds.
const COUNT_EVERY_MS: u64 = 1_000;

/// A room with Socket.IO peers publishes its users once in this time, in milliseconds.
const ONLINE_EVERY_MS: u64 = 100;

/// The target of log lines about rooms.
const ROOM_LOG: &str = "switchboard::room";

#[derive(Deserialize)]
struct SentReply {
    id: WireMessageId,
    seq: Option<u64>,
    at: u64,
}

#[derive(Deserialize)]
struct ReturnPortion {
    #[serde(rename = "ms")]
    messages: Vec<WireMessage>,
}

#[derive(Deserialize)]
struct ReturnReply {
    #[serde(flatten)]
    view: WireJoinView,
    #[serde(rename = "ok")]
    is_recovered: u8,
    #[serde(rename = "ms")]
    messages: Vec<WireMessage>,
}

#[derive(Deserialize)]
struct PageReply {
    #[serde(rename = "s")]
    seq: u64,
    #[serde(rename = "l")]
    messages: Vec<WireMessage>,
    #[serde(rename = "c")]
    is_complete: u8,
}

#[derive(Deserialize)]
struct TypistsReply {
    #[serde(rename = "l")]
    typists: Vec<WireTypist>,
}

#[derive(Deserialize)]
struct WireTypist {
    #[serde(rename = "w")]
    identity: WireIdentity,
    at: u64,
}

#[derive(Deserialize)]
struct MarksReply {
    /// `d` (delivered) or `r` (read) and the user, each followed by the time.
    #[serde(rename = "l")]
    marks: Vec<Box<str>>,
    #[serde(rename = "c")]
    is_complete: u8,
}

#[derive(Deserialize)]
struct UnreadReply {
    #[serde(rename = "w")]
    user: Name,
    #[serde(rename = "k")]
    count: u64,
    #[serde(rename = "c")]
    is_complete: u8,
    #[serde(rename = "r", default)]
    read: Option<u64>,
}

#[derive(Deserialize)]
struct RosterReply {
    #[serde(flatten)]
    room: WireRoomView,
    #[serde(rename = "t")]
    total: usize,
    #[serde(rename = "us")]
    users: Vec<Box<str>>,
    #[serde(rename = "more")]
    is_more: u8,
}

#[derive(Deserialize)]
struct LeaveReply {
    own: u8,
}

impl Rooms {
    /// Handles the result of a call on a room. Returns users to look up, if the room is to be told who is online.
    pub(crate) fn replied(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        (to, ticket): (Option<Requester>, u32),
        name: Name,
        purpose: RoomCall,
        result: CallResult,
    ) -> Option<OnlineUsers> {
        if let Some(room) = self.subscriptions.get_mut(&name) {
            room.release_ticket(ticket);
            if matches!(purpose, RoomCall::Join(_) | RoomCall::Return(_)) {
                room.end_arrival();
            }
        }
        let text = match result {
            Ok(text) => text,
            Err(_) => {
                self.unanswered(turn, to, &name, &purpose);
                self.advance(turn, &name);
                return None;
            }
        };
        let header = match serde_json::from_slice::<ReplyHeader<'_>>(&text) {
            Ok(header) => header,
            Err(error) => {
                turn.reply(to, Err(unreadable(&error, &text)));
                self.advance(turn, &name);
                return None;
            }
        };
        self.schedule(turn, &name, &header);
        let mut purpose = self.handled_apart(turn, to, &name, purpose, (&header, &text))?;
        let online = if matches!(purpose, RoomCall::Online) { online::users(&name, &text) } else { None };
        if self.is_superseded(turn, &name, &header) {
            self.unanswered(turn, to, &name, &purpose);
            self.advance(turn, &name);
            return online;
        }
        let reply = reply_to(&name, &mut purpose, &header, &text, turn.node.rules.announce_limit);
        if let RoomCall::Return(pending) = &purpose {
            self.returning.remove(&(name.clone(), pending.connection()));
        }
        let (joins, leaves) = membership_change(&purpose, &reply);
        if joins.is_some() {
            self.end_former(turn, &name, header.epoch);
        }
        if let (RoomCall::Create(by), Some("in_use_by_another")) = (&purpose, header.refusal) {
            // It was noted as made by this user.
            turn.forget_made(by.clone(), &name);
        }
        if reply.is_ok() {
            log_success(&name, &purpose, &header);
            note_success(turn, &name, &purpose);
        }
        let reply = OrderedReply { to, reply, joins, leaves };
        let at_once = match self.subscriptions.get_mut(&name) {
            Some(room) => room.take_reply(&header, reply),
            None => Some(reply),
        };
        if let Some(reply) = at_once {
            self.release(turn, &name, reply);
        }
        self.advance(turn, &name);
        online
    }
}

/// The reply to the request that a call was for.
fn reply_to(
    name: &Name,
    purpose: &mut RoomCall,
    header: &ReplyHeader<'_>,
    text: &[u8],
    announce_limit: usize,
) -> Result<Reply, Reject> {
    let Some(why) = header.refusal else { return decode(name, purpose, text, header.epoch, announce_limit) };
    let field = if matches!(purpose, RoomCall::Signal) { "fromPeerId" } else { "peerId" };
    match purpose {
        RoomCall::Publish(part) => {
            let outcome = Err(refusals::of(why, field));
            Ok(Reply::Published(vec![Publication { part: *part, outcome }]))
        }
        _ => Err(refusals::of(why, field)),
    }
}

/// Logs the beginning and the end of rooms.
fn log_success(room: &Name, purpose: &RoomCall, header: &ReplyHeader<'_>) {
    match purpose {
        RoomCall::Create(_) => tracing::info!(target: ROOM_LOG, room = &**room, "room created"),
        RoomCall::Join(_) if header.due_counts & 4 != 0 => {
            tracing::info!(target: ROOM_LOG, room = &**room, "room created");
        }
        RoomCall::Close(_) => tracing::info!(target: ROOM_LOG, room = &**room, reason = "closed", "room ended"),
        _ => {}
    }
}

/// The effect of a granted operation on this node.
fn note_success(turn: &mut OwnerTurn<'_>, name: &Name, purpose: &RoomCall) {
    match purpose {
        RoomCall::Lose(connection) => {
            let deadline = Deadline::Room(name.clone(), RoomDeadline::RemoveMember(*connection));
            turn.after(turn.node.rules.presence_grace_ms, deadline);
        }
        RoomCall::Close(by) => {
            turn.node.registry.delist(name.clone());
            // Mostly the host; a room that an admin has closed is found gone later.
            turn.forget_made(by.clone(), name);
        }
        _ => {}
    }
}

impl Rooms {
    /// Schedules what is due later, by an answer.
    fn schedule(&mut self, turn: &mut OwnerTurn<'_>, name: &Name, header: &ReplyHeader<'_>) {
        schedule_counts(turn, name, header.due_counts);
        if let Some(ms) = header.mode_returns_ms {
            turn.after(ms, Deadline::Room(name.clone(), RoomDeadline::ReturnMode));
        }
        if let Some(ms) = header.streams_end_ms
            && self.streaming.insert(name.clone())
        {
            turn.after(ms, Deadline::Room(name.clone(), RoomDeadline::EndStreams));
        }
    }

    /// Handles an answer that is no reply to an operation; the purpose of any other.
    fn handled_apart(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        to: Option<Requester>,
        name: &Name,
        purpose: RoomCall,
        (header, text): (&ReplyHeader<'_>, &[u8]),
    ) -> Option<RoomCall> {
        match purpose {
            RoomCall::Since => self.missed(turn, name.clone(), header, text),
            RoomCall::CheckListed => match header.refusal {
                None => turn.node.registry.enlist(name.clone()),
                Some(_) => turn.node.registry.delist(name.clone()),
            },
            RoomCall::EndIdle => match header.refusal {
                None if header.is_idle == 1 => {
                    tracing::info!(target: ROOM_LOG, room = &**name, reason = "idle", "room ended");
                }
                Some("unsettled") => turn.node.registry.room_rests(name),
                _ => {}
            },
            RoomCall::CheckMade(user) => {
                if matches!(header.refusal, Some("room_not_found" | "room_closed")) {
                    turn.forget_made(user, name);
                }
            }
            RoomCall::Return(pending) if header.is_portion == 1 => {
                self.missed_portion(turn, to, name.clone(), pending, text);
            }
            purpose => return Some(purpose),
        }
        None
    }

    /// The first of the missed messages have come: the return goes on, unless the connection has ended meanwhile.
    fn missed_portion(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        to: Option<Requester>,
        name: Name,
        mut pending: Box<PendingReturn>,
        text: &[u8],
    ) {
        let is_returning = self.returning.contains(&(name.clone(), pending.connection()));
        match (read::<ReturnPortion>(text), self.subscriptions.get_mut(&name)) {
            (Ok(portion), Some(room)) if is_returning => {
                room.begin_arrival();
                pending.add(portion.messages.into_iter().map(|message| message.into_history(&name)).collect());
                commands::call_return(turn, name.clone(), pending, to);
            }
            (portion, _) => {
                self.returning.remove(&(name.clone(), pending.connection()));
                turn.reply(to, Err(portion.err().unwrap_or_else(Reject::not_in_room)));
            }
        }
        self.advance(turn, &name);
    }
}

/// Schedules the publication of counts at the next full interval.
fn schedule_counts(turn: &mut OwnerTurn<'_>, name: &Name, due: u8) {
    let now = turn.now.mono;
    let next = |every| now - now % every + every;
    if due & 1 != 0 {
        turn.node.deadlines.add(next(COUNT_EVERY_MS), Deadline::Room(name.clone(), RoomDeadline::PublishCount));
    }
    if due & 2 != 0 {
        turn.node.deadlines.add(next(ONLINE_EVERY_MS), Deadline::Room(name.clone(), RoomDeadline::PublishOnline));
    }
}

/// Decodes an answer; lists of members have at most `most` entries.
fn decode(room: &Name, purpose: &mut RoomCall, text: &[u8], epoch: &str, most: usize) -> Result<Reply, Reject> {
    Ok(match purpose {
        RoomCall::Done | RoomCall::Lose(_) | RoomCall::Signal | RoomCall::Vanish(_) | RoomCall::Close(_) => Reply::Done,
        RoomCall::Since | RoomCall::Online | RoomCall::Purge(_) => Reply::Done,
        RoomCall::CheckListed | RoomCall::CheckMade(_) | RoomCall::EndIdle => Reply::Done,
        RoomCall::Create(_) | RoomCall::Update => Reply::Room(Box::new(read::<WireRoomView>(text)?.into_view(room, 0))),
        RoomCall::Describe => Reply::Room(Box::new(read::<WireRoomView>(text)?.into_view(room, most))),
        RoomCall::Join(connection) => {
            Reply::Joined(Box::new(read::<WireJoinView>(text)?.into_joined(room, *connection, most)))
        }
        RoomCall::Return(pending) => {
            let ReturnReply { view, is_recovered, messages: last } = read(text)?;
            let joined = view.into_joined(room, pending.connection(), most);
            let mut messages = if is_recovered == 1 { std::mem::take(&mut pending.messages) } else { Vec::new() };
            messages.extend(last.into_iter().map(|message| message.into_history(room)));
            Reply::Returned(Box::new(Returned { joined, recovered: is_recovered == 1, messages }))
        }
        RoomCall::Leave(_) => Reply::Left { own: read::<LeaveReply>(text)?.own == 1 },
        RoomCall::Send => {
            let SentReply { id, seq, at } = read(text)?;
            Reply::Sent(Sent { id: id.0, seq, at })
        }
        RoomCall::Publish(part) => {
            let SentReply { id, seq, at } = read(text)?;
            let outcome = Ok((Sent { id: id.0, seq, at }, epoch.into()));
            Reply::Published(vec![Publication { part: *part, outcome }])
        }
        RoomCall::Typists => Reply::Typists(typists(read(text)?)),
        RoomCall::History { is_upward } => {
            let PageReply { seq, messages, is_complete } = read(text)?;
            let messages = messages.into_iter().map(|message| message.into_history(room)).collect::<Vec<_>>();
            let is_upward = *is_upward || seq == 0 || messages.is_empty();
            let (room, epoch, complete, is_instead) = (room.clone(), epoch.into(), is_complete == 1, false);
            Reply::History(Box::new(History { room, epoch, seq, messages, complete, is_upward, is_instead }))
        }
        RoomCall::Marks(message) => Reply::Marks(Box::new(marks(room, *message, read(text)?))),
        RoomCall::Unread => {
            let UnreadReply { user, count, is_complete, read: position } = read(text)?;
            let (room, complete) = (room.clone(), is_complete == 1);
            Reply::Unread(Box::new(Unread { room, user, count, read: position, complete }))
        }
        RoomCall::Roster => {
            let RosterReply { room: view, total, users, is_more } = read(text)?;
            let users = users.iter().map(|user| (**user).into()).collect();
            Reply::Roster(Box::new(RoomRoster { room: view.into_view(room, 0), total, users, is_more: is_more == 1 }))
        }
    })
}

/// The connection that is a member from a reply on, and the one that is not.
fn membership_change(
    purpose: &RoomCall,
    reply: &Result<Reply, Reject>,
) -> (Option<(ConnectionId, PeerName)>, Option<ConnectionId>) {
    match (purpose, reply) {
        (RoomCall::Join(connection), Ok(Reply::Joined(joined))) => (Some((*connection, joined.peer.clone())), None),
        (RoomCall::Return(pending), Ok(Reply::Returned(back))) => {
            (Some((pending.connection(), back.joined.peer.clone())), None)
        }
        (RoomCall::Leave(connection), Ok(Reply::Left { own: true })) => (None, Some(*connection)),
        (RoomCall::Vanish(connection), _) => (None, Some(*connection)),
        _ => (None, None),
    }
}

pub(super) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Reject> {
    serde_json::from_slice(text).map_err(|error| unreadable(&error, text))
}

fn unreadable(error: &serde_json::Error, text: &[u8]) -> Reject {
    tracing::error!(%error, answer = %String::from_utf8_lossy(text), "an answer that is not understood");
    Reject::new(Code::Internal, "The store's answer is not understood")
}

/// Each user once, in the order in which they began to type.
fn typists(mut reply: TypistsReply) -> Vec<Typist> {
    reply.typists.sort_by_key(|typist| typist.at);
    let mut typists: Vec<Typist> = Vec::new();
    for WireTypist { identity, at } in reply.typists {
        let identity = Identity::from(identity);
        if !typists.iter().any(|known| known.identity.user() == identity.user()) {
            typists.push(Typist { identity, started_at: at });
        }
    }
    typists
}

fn marks(room: &Name, message: Uuid, reply: MarksReply) -> Marks {
    let complete = reply.is_complete == 1;
    let one = |pair: &[Box<str>]| Some((pair[0].clone(), pair.get(1)?.parse().ok()?));
    let mut marks: Vec<(Box<str>, u64)> = reply.marks.chunks(2).filter_map(one).collect();
    marks.sort();
    let of = |kind: char| {
        let one = |(user, at): &(Box<str>, u64)| user.strip_prefix(kind).map(|user| (user.into(), *at));
        marks.iter().filter_map(one).collect()
    };
    Marks::new((room.clone(), message), of('d'), of('r'), complete)
}
