//! Questions that go to other nodes, those that come from them, and mail from this node's own shards.
//!
//! A question to all nodes waits for each that is alive, but not for long: what a node that does not answer would have said
//! is missing. A node asks its shards by mail, as they ask each other.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::codec::recovery;
use crate::domain::access::Identity;
use crate::domain::command::ReceiptKind;
use crate::domain::connection::connection_not_found;
use crate::domain::event::Direct;
use crate::domain::op::{Op, PushResult, Reply};
use crate::domain::query::{PartialResult, Query};
use crate::domain::record::TokenHash;
use crate::domain::recovery::SessionOp;
use crate::domain::reject::{Code, Reject};
use crate::message::redis::{Bytes, RedisCommand, RedisState};
use crate::message::{BRIDGE, Outgoing, Requester, ShardMessage, ShardNumber, UpdateReach};
use crate::owner::redis::nodes::quest::{Named, Quest};
use crate::owner::redis::nodes::say::{Part, Say, Wanted};
use crate::owner::redis::wire::{Id, json};
use crate::owner::redis::{Due, Outcome, RedisOwner};

/// How long nodes are waited for, in milliseconds.
const NODES_MS: u64 = 1_000;

/// How long an answer takes at the most, in milliseconds.
const ANSWER_MS: u64 = 1_900;

/// Rooms that one node names.
const ROOMS_NAMED: usize = 10_000;

/// Messages whose rooms a node remembers. Those of others are looked for in the rooms that the asker is in.
const MESSAGES_REMEMBERED: usize = 65_536;

/// Questions under way.
#[derive(Default)]
pub(super) struct Questions {
    next: u32,
    /// This node's own.
    own: BTreeMap<u32, Gathering>,
    /// Those that this node's shards have been asked, on whosever behalf.
    shards: BTreeMap<u32, Producing>,
    /// Those that were put to Redis, and which of the node's own each is for.
    looks: BTreeMap<u32, u32>,
    /// Rooms whose users are being looked up.
    rooms: BTreeMap<u32, Name>,
    /// What is remembered of messages; their ids are in the order of time.
    messages: BTreeMap<Uuid, Remembered>,
}

struct Gathering {
    to: Requester,
    quest: Quest,
    since: u64,
    /// Nodes that have not answered.
    awaited: BTreeSet<u16>,
    list: List,
    parts: Vec<Part>,
    named: Named,
    /// Whether what was named is being looked up.
    is_looking: bool,
    looks: usize,
    found: Vec<Reply>,
    /// Whether something was not found for another reason than that it is not there.
    has_failed: bool,
}

/// How far it is with what Redis lists. It is asked behind the nodes: what one of them has just left is listed by then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    /// It is not to be asked, or has answered.
    Done,
    ToAsk,
    Asked,
}

struct Remembered {
    room: Name,
    is_own: bool,
    is_delivered: bool,
    is_read: bool,
}

struct Producing {
    /// The node that asks, and its number for it.
    asker: (u16, u32),
    since: u64,
    /// Shards that have not answered.
    awaited: usize,
    survey: Option<Query>,
    gathered: Option<Result<Reply, Reject>>,
}

impl Questions {
    fn number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// The users of a room are being looked up under this number.
    pub(super) fn look_for(&mut self, room: Name) -> u32 {
        let number = self.number();
        self.rooms.insert(number, room);
        number
    }

    /// Remembers which room a message is of, and whether it was sent from this node, which counts it then.
    pub(super) fn remember(&mut self, message: Uuid, room: &Name, is_own: bool) {
        let remembered = Remembered { room: room.clone(), is_own, is_delivered: false, is_read: false };
        self.messages.insert(message, remembered);
        if self.messages.len() > MESSAGES_REMEMBERED {
            self.messages.pop_first();
        }
    }

    /// A message was delivered, or read.
    pub(super) fn mark(&mut self, message: Uuid, kind: ReceiptKind) {
        if let Some(known) = self.messages.get_mut(&message) {
            known.is_delivered |= kind == ReceiptKind::Delivered;
            known.is_read |= kind == ReceiptKind::Read;
        }
    }
}

impl RedisOwner {
    /// Mail has come from a shard of this node, or from this half itself.
    pub fn mail(&mut self, now: Now, mail: ShardMessage, out: &mut Vec<Outgoing>) {
        match mail {
            // What is noted of a connection that has ended for another node's sake is that node's to take.
            ShardMessage::Request { from, op: Op::Session(_, SessionOp::Take { .. } | SessionOp::Transfer { .. }) }
                if from.shard == BRIDGE =>
            {
                self.own_answered(now, from.ask, Ok(Reply::Done), out);
            }
            ShardMessage::Request { from, op } => self.ask(now, from, op, out),
            ShardMessage::Reply { ask, reply } => self.own_answered(now, ask, reply, out),
            ShardMessage::NotifyUser { user, event } => self.notify(now, &user, event, out),
            ShardMessage::PresenceUpdate { reach: UpdateReach::Room(room), news } => self.announce(&room, news, out),
            ShardMessage::DurableDelivered { user, id } => self.handed(&user, id),
            ShardMessage::QuotaRequest { from, claim } => self.claimed(now, from, &claim, out),
            ShardMessage::Supersede { connection, to, token, by, from } => {
                self.supersede(now, (connection, to), token, &by, from, out);
            }
            // The rest is between shards.
            _ => {}
        }
    }

    /// Puts a question to whichever nodes can answer it.
    pub(in crate::owner::redis) fn ask_nodes(
        &mut self,
        now: Now,
        from: Requester,
        op: Op,
        out: &mut Vec<Outgoing>,
    ) -> Outcome {
        let quest = match op {
            Op::Rooms | Op::Query(Query::RoomsOf { .. }) if self.state == RedisState::Away => {
                return Err(Reject::storage_unavailable());
            }
            Op::Rooms => Quest::Rooms,
            Op::Users(page) => Quest::Users(page),
            Op::Query(survey) => Quest::Query(survey),
            Op::Broadcast(direct) => {
                let wanted = Wanted::broadcast(&direct);
                self.begin(now, from, Quest::Broadcast, Some((wanted, self.reachable())), out);
                return Ok(None);
            }
            Op::FindMessageRoom { message, connection, rooms } => Quest::RoomOf { message, connection, rooms },
            Op::Connection(connection, op) => {
                let node = connection.place().node;
                if !self.reachable().contains(&node) {
                    return Err(connection_not_found());
                }
                let wanted = Wanted::of_connection(connection, op);
                self.begin(now, from, Quest::Connection, Some((wanted, BTreeSet::from([node]))), out);
                return Ok(None);
            }
            Op::Room(..) | Op::User(..) | Op::Session(..) => return Err(Reject::storage_unavailable()),
        };
        let wanted = quest.wanted().map(|wanted| (wanted, self.reachable()));
        self.begin(now, from, quest, wanted, out);
        Ok(None)
    }

    /// The nodes that may answer: this one, and while Redis answers those that are alive.
    fn reachable(&self) -> BTreeSet<u16> {
        let others = self.nodes.alive.iter().copied().filter(|_| self.state == RedisState::Good);
        others.chain([self.settings.node]).collect()
    }

    fn begin(
        &mut self,
        now: Now,
        to: Requester,
        quest: Quest,
        wanted: Option<(Wanted, BTreeSet<u16>)>,
        out: &mut Vec<Outgoing>,
    ) {
        let number = self.nodes.questions.number();
        let awaited = wanted.as_ref().map(|(_, nodes)| nodes.clone()).unwrap_or_default();
        let is_listed = matches!(quest, Quest::Rooms | Quest::Query(Query::RoomsOf { .. }));
        let list = if is_listed { List::ToAsk } else { List::Done };
        let gathering = Gathering {
            to,
            quest,
            since: now.mono,
            awaited,
            list,
            parts: Vec::new(),
            named: Named::default(),
            is_looking: false,
            looks: 0,
            found: Vec::new(),
            has_failed: false,
        };
        self.nodes.questions.own.insert(number, gathering);
        self.due_in(now, NODES_MS, Due::Questions);
        let Some((wanted, mut nodes)) = wanted else { return self.gathered(now, number, out) };
        let is_for_this = nodes.remove(&self.settings.node);
        let say = json(&Say::Ask(self.settings.node, number, wanted.clone()));
        match nodes.len() {
            0 => {}
            1 => nodes.into_iter().for_each(|node| self.say(self.keys.node(node), say.clone())),
            _ => self.say(self.keys.everyone(), say),
        }
        if is_for_this {
            self.produce(now, (self.settings.node, number), wanted, out);
        }
    }

    pub(super) fn say(&mut self, channel: Bytes, body: Bytes) {
        self.demands.push(RedisCommand::Publish { channel, body });
    }

    /// Another node has said something.
    pub(super) fn hear(&mut self, now: Now, body: &[u8], out: &mut Vec<Outgoing>) {
        match serde_json::from_slice(body) {
            Ok(Say::Ask(node, ..)) if node == self.settings.node => {}
            Ok(Say::Ask(node, number, wanted)) => self.produce(now, (node, number), wanted, out),
            Ok(Say::Answer(number, node, part)) => self.take_part(now, number, node, part, out),
            Ok(Say::Here(node)) => self.node_came(node),
            Ok(Say::Gone(node)) => self.node_went(now, node),
            Err(error) => tracing::warn!(%error, "another node says what is not understood"),
        }
    }

    /// Answers a node's question, or asks the shards that can.
    fn produce(&mut self, now: Now, asker: (u16, u32), wanted: Wanted, out: &mut Vec<Outgoing>) {
        let op = wanted.connection_op();
        let part = match wanted {
            Wanted::Rooms => self.rooms_here(),
            Wanted::Users(after, limit) => self.users_here(after.as_deref(), limit),
            Wanted::Messages => self.messages_here(),
            Wanted::RoomOf(message) => {
                let known = self.nodes.questions.messages.get(&message.0);
                known.map_or(Part::Done, |known| Part::Room((*known.room).into()))
            }
            Wanted::Broadcast(letter) => {
                let direct = std::sync::Arc::new(Direct::from(letter));
                return self.ask_shards(now, asker, None, || Op::Broadcast(direct.clone()), out);
            }
            Wanted::Sessions => return self.survey_shards(now, asker, Query::SessionStats, out),
            Wanted::Incidents(sought) => {
                return self.survey_shards(now, asker, Query::Incidents(sought.filter().into()), out);
            }
            Wanted::Watched => return self.survey_shards(now, asker, Query::Overview, out),
            Wanted::Totals => return self.survey_shards(now, asker, Query::Totals, out),
            Wanted::End(id, to, token, who) => {
                let (connection, to, by) = (id.0, to.map(|to| to.0), Identity::from(who));
                return self.ask_shard(now, asker, connection, out, |from| ShardMessage::Supersede {
                    connection,
                    to,
                    token,
                    by,
                    from,
                });
            }
            Wanted::Describe(_) | Wanted::Equip(..) | Wanted::Close(..) => {
                let Some((connection, op)) = op else { return };
                return self.ask_shard(now, asker, connection, out, |from| ShardMessage::Request {
                    from,
                    op: Op::Connection(connection, op),
                });
            }
        };
        self.deliver(now, asker, part, out);
    }

    fn survey_shards(&mut self, now: Now, asker: (u16, u32), survey: Query, out: &mut Vec<Outgoing>) {
        let op = || Op::Query(survey.clone());
        self.ask_shards(now, asker, Some(survey.clone()), op, out);
    }

    fn ask_shards(
        &mut self,
        now: Now,
        asker: (u16, u32),
        survey: Option<Query>,
        op: impl Fn() -> Op,
        out: &mut Vec<Outgoing>,
    ) {
        let from = self.expect(now, asker, self.settings.shards, survey);
        out.extend(self.shards().map(|shard| (shard, ShardMessage::Request { from, op: op() })));
    }

    /// Asks the shard that would hold a connection.
    fn ask_shard(
        &mut self,
        now: Now,
        asker: (u16, u32),
        connection: ConnectionId,
        out: &mut Vec<Outgoing>,
        mail: impl FnOnce(Requester) -> ShardMessage,
    ) {
        let shard: ShardNumber = connection.place().shard;
        if connection.place().node != self.settings.node || usize::from(shard) >= self.settings.shards {
            return self.deliver(now, asker, Part::refused(&connection_not_found()), out);
        }
        let from = self.expect(now, asker, 1, None);
        out.push((shard, mail(from)));
    }

    fn expect(&mut self, now: Now, asker: (u16, u32), awaited: usize, survey: Option<Query>) -> Requester {
        let ask = self.nodes.questions.number();
        let producing = Producing { asker, since: now.mono, awaited, survey, gathered: None };
        self.nodes.questions.shards.insert(ask, producing);
        self.due_in(now, ANSWER_MS, Due::Questions);
        Requester { shard: BRIDGE, ask }
    }

    /// One of the bridge's own questions has an answer: a shard's, or one of Redis.
    fn own_answered(&mut self, now: Now, ask: u32, reply: Result<Reply, Reject>, out: &mut Vec<Outgoing>) {
        let questions = &mut self.nodes.questions;
        if let Some(room) = questions.rooms.remove(&ask) {
            if let Ok(Reply::PartialResult(PartialResult::Users(view))) = reply {
                self.tell_online(now, room, &view);
            }
            return;
        }
        if let Some(number) = questions.looks.remove(&ask) {
            let Some(gathering) = questions.own.get_mut(&number) else { return };
            match reply {
                Ok(reply) => gathering.found.push(reply),
                Err(reject) => {
                    gathering.has_failed |=
                        matches!(reject.code, Code::StorageUnavailable | Code::Overloaded | Code::Internal);
                }
            }
            gathering.looks -= 1;
            if gathering.looks == 0 {
                self.finish(number, out);
            }
            return;
        }
        let Some(producing) = questions.shards.get_mut(&ask) else { return };
        producing.add(reply);
        if producing.awaited == 0
            && let Some(producing) = questions.shards.remove(&ask)
        {
            let part = part_of(producing.gathered.unwrap_or(Ok(Reply::Done)));
            self.deliver(now, producing.asker, part, out);
        }
    }

    /// Gives a node's part to whoever asked for it.
    fn deliver(&mut self, now: Now, (node, number): (u16, u32), part: Part, out: &mut Vec<Outgoing>) {
        if node == self.settings.node {
            return self.take_part(now, number, node, part, out);
        }
        let say = json(&Say::Answer(number, self.settings.node, part));
        self.say(self.keys.node(node), say);
    }

    fn take_part(&mut self, now: Now, number: u32, node: u16, part: Part, out: &mut Vec<Outgoing>) {
        let Some(gathering) = self.nodes.questions.own.get_mut(&number) else { return };
        if gathering.awaited.remove(&node) {
            gathering.parts.push(part);
            if gathering.awaited.is_empty() {
                self.gathered(now, number, out);
            }
        }
    }

    /// Redis has said how many rooms it lists, and the first of them, or will not.
    pub(in crate::owner::redis) fn redis_has_said(
        &mut self,
        now: Now,
        number: u32,
        listed: Option<(usize, Vec<Box<str>>)>,
        out: &mut Vec<Outgoing>,
    ) {
        let asked = self.nodes.questions.own.get_mut(&number).filter(|gathering| gathering.list == List::Asked);
        let Some(gathering) = asked else { return };
        gathering.list = List::Done;
        gathering.parts.extend(listed.map(|(total, rooms)| Part::Listed(total, rooms)));
        self.gathered(now, number, out);
    }

    /// All nodes have answered, or are not waited for any longer: what they have named is looked up.
    fn gathered(&mut self, now: Now, number: u32, out: &mut Vec<Outgoing>) {
        let questions = &mut self.nodes.questions;
        let Some(gathering) = questions.own.get_mut(&number) else { return };
        gathering.awaited.clear();
        if gathering.list == List::ToAsk {
            gathering.list = List::Asked;
            let of_user = match &gathering.quest {
                Quest::Query(Query::RoomsOf { user, .. }) => Some(user.clone()),
                _ => None,
            };
            self.due_in(now, ANSWER_MS - NODES_MS, Due::Questions);
            return match of_user {
                Some(user) => self.ask_rooms_of(now, user, number),
                None => self.ask_listed(now, number),
            };
        }
        gathering.is_looking = true;
        gathering.named = gathering.quest.named(&gathering.parts);
        if matches!(gathering.quest, Quest::Take(..)) {
            let Some(Gathering { to, quest: Quest::Take(of, op), parts, .. }) = questions.own.remove(&number) else {
                return;
            };
            return match Quest::handed_over(now, of, &op, parts) {
                Some(session) => Self::answer(Some(to), Ok(Reply::Session(Some(Box::new(session)))), out),
                None => self.ask(now, to, Op::Session(of, op), out),
            };
        }
        let ops: Vec<Op> = gathering.named.names.iter().map(|name| gathering.quest.look(name.clone())).collect();
        gathering.looks = ops.len();
        if ops.is_empty() {
            return self.finish(number, out);
        }
        for op in ops {
            let ask = self.nodes.questions.number();
            self.nodes.questions.looks.insert(ask, number);
            self.ask(now, Requester { shard: BRIDGE, ask }, op, out);
        }
    }

    fn finish(&mut self, number: u32, out: &mut Vec<Outgoing>) {
        let Some(gathering) = self.nodes.questions.own.remove(&number) else { return };
        let Gathering { to, quest, parts, named, found, has_failed, .. } = gathering;
        for mend in quest.mends(&parts, &named, &found, has_failed) {
            self.mend(mend);
        }
        if has_failed && found.is_empty() && matches!(quest, Quest::RoomOf { .. }) {
            return Self::answer(Some(to), Err(Reject::storage_unavailable()), out);
        }
        Self::answer(Some(to), quest.answer(parts, &named, found), out);
    }

    /// Goes on without what has not come in time.
    pub(in crate::owner::redis) fn give_up_questions(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        let questions = &mut self.nodes.questions;
        let age = |since: u64| now.mono.saturating_sub(since);
        questions.shards.retain(|_, producing| age(producing.since) < ANSWER_MS);
        let of = |is_late: &dyn Fn(&Gathering) -> bool| -> Vec<u32> {
            questions.own.iter().filter(|(_, gathering)| is_late(gathering)).map(|(number, _)| *number).collect()
        };
        let waits_for_nodes = |gathering: &Gathering| !gathering.is_looking && gathering.list != List::Asked;
        let slow = of(&|gathering| waits_for_nodes(gathering) && age(gathering.since) >= NODES_MS);
        let late = of(&|gathering| !waits_for_nodes(gathering) && age(gathering.since) >= ANSWER_MS);
        for number in slow {
            self.gathered(now, number, out);
        }
        for number in late {
            self.nodes.questions.looks.retain(|_, of| *of != number);
            self.finish(number, out);
        }
        if self.nodes.questions.own.values().any(|gathering| !waits_for_nodes(gathering)) {
            self.due_in(now, ANSWER_MS - NODES_MS, Due::Questions);
        }
    }

    /// A client has come back here whose connection was on another node: that one ends, if it is still there, and what is
    /// noted of it is used up.
    fn supersede(
        &mut self,
        now: Now,
        (connection, to): (ConnectionId, Option<ConnectionId>),
        token: Box<str>,
        by: &Identity,
        from: Requester,
        out: &mut Vec<Outgoing>,
    ) {
        let node = connection.place().node;
        let wanted = Wanted::End(Id(connection), to.map(Id), token.clone(), by.into());
        let is_there = node != self.settings.node && self.reachable().contains(&node);
        let wanted = is_there.then(|| (wanted, BTreeSet::from([node])));
        let hash = TokenHash(recovery::hash(&token));
        let quest = match to {
            None => Quest::Take(connection, SessionOp::Take { token: hash }),
            Some(to) => {
                let first = recovery::connection_of(&token).unwrap_or(connection);
                Quest::Take(first, SessionOp::Transfer { token: hash, by: by.user_name(), from: connection, to })
            }
        };
        self.begin(now, from, quest, wanted, out);
    }

    fn rooms_here(&self) -> Part {
        let here = self.rooms.iter().filter(|(_, room)| !room.members.is_empty());
        let (mut total, mut members, mut names) = (0, 0, Vec::new());
        for (name, room) in here {
            total += 1;
            members += room.members.len();
            if names.len() < ROOMS_NAMED {
                names.push((**name).into());
            }
        }
        let connections = self.users.here.values().map(|here| here.connections.len()).sum();
        Part::Rooms(names, total, members, connections)
    }

    fn messages_here(&self) -> Part {
        let own = self.nodes.questions.messages.values().filter(|message| message.is_own);
        let (mut tracked, mut delivered, mut read) = (0, 0, 0);
        for message in own {
            tracked += 1;
            delivered += u64::from(message.is_delivered);
            read += u64::from(message.is_read);
        }
        let typing = self.typing.values().filter(|until| **until > 0).count();
        Part::Messages(typing as u64, tracked, delivered, read)
    }

    fn users_here(&self, after: Option<&str>, limit: usize) -> Part {
        let behind = self.users.here.keys().filter(|user| after.is_none_or(|after| &***user > after));
        let mut names: Vec<&Name> = behind.collect();
        names.sort_unstable();
        let names = names.into_iter().take(limit.saturating_add(1)).map(|user| (**user).into()).collect();
        Part::Users(names, self.users.here.len())
    }
}

impl Producing {
    /// Takes one shard's answer.
    fn add(&mut self, reply: Result<Reply, Reject>) {
        self.awaited = self.awaited.saturating_sub(1);
        self.gathered = Some(match (self.gathered.take(), reply) {
            (Some(Ok(Reply::Pushed(mut all))), Ok(Reply::Pushed(part))) => {
                all.reached += part.reached;
                Ok(Reply::Pushed(all))
            }
            (
                Some(Ok(Reply::PartialResult(PartialResult::Totals(mut all)))),
                Ok(Reply::PartialResult(PartialResult::Totals(part))),
            ) => {
                all.join(&part);
                Ok(Reply::PartialResult(PartialResult::Totals(all)))
            }
            (Some(Ok(Reply::PartialResult(mut all))), Ok(Reply::PartialResult(part))) => {
                if let Some(survey) = &self.survey {
                    all.add(part, survey);
                }
                Ok(Reply::PartialResult(all))
            }
            (Some(all), _) => all,
            (None, first) => first,
        });
    }
}

/// An answer of this node's shards, for another node.
fn part_of(reply: Result<Reply, Reject>) -> Part {
    match reply {
        Ok(Reply::Pushed(PushResult { reached, .. })) => Part::Count(reached),
        Ok(Reply::Closed(count)) => Part::Count(count),
        Ok(Reply::Described(views)) => Part::Views(views.iter().map(Into::into).collect()),
        Ok(Reply::Registered(Some(connection))) => Part::Registered(Id(connection)),
        Ok(Reply::Session(Some(session))) if session.rooms.is_empty() => {
            Part::Session((*session.user).into(), session.dialect)
        }
        Ok(Reply::PartialResult(PartialResult::SessionStats(stats))) => Part::sessions(&stats),
        Ok(Reply::PartialResult(PartialResult::Incidents(incidents))) => {
            Part::Incidents(incidents.iter().map(Into::into).collect())
        }
        Ok(Reply::PartialResult(PartialResult::Overview(watched))) => Part::watched(&watched),
        Ok(Reply::PartialResult(PartialResult::Totals(totals))) => Part::totals(&totals),
        Ok(_) => Part::Done,
        Err(reject) => Part::refused(&reject),
    }
}
