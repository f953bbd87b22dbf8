//! The owner contract, case by case, for each owner: the embedded one, Redis with one node, and Redis with three.

use switchboard::base::Name;
use switchboard::base::ids::{ConnectionId, ConnectionPlace};
use switchboard::base::time::Now;
use switchboard::domain::about::About;
use switchboard::domain::access::{Identity, Roles};
use switchboard::domain::command::{MediaState, ReceiptKind, Status};
use switchboard::domain::event::{Content, Event, LeaveCause, Message, PeerName, Revision, RevisionKind};
use switchboard::domain::history::HistoryRange;
use switchboard::domain::op::{
    ChangeRights, JoinRoom, LogTerms, MarkedMessages, Op, Profile, Reply, Revise, RoomOp, SendMessage, UserOp,
};
use switchboard::domain::presence::DisconnectKind;
use switchboard::domain::recovery::Returning;
use switchboard::domain::reject::{Code, Reject};
use switchboard::message::{Outgoing, Requester, ShardMessage, ThreadMessage};

mod streams;

use crate::owners::{EmbeddedTestOwner, RedisTestOwner, TestOwner, rules};

/// The time at which a case starts.
const BEGINNING: Now = Now { mono: 10_000, wall: 1_750_000_000_000 };

/// An owner under test and its output.
struct World {
    owner: Box<dyn TestOwner>,
    nodes: usize,
    now: Now,
    asks: u32,
    /// The messages of the last operation, without the reply.
    said: Vec<Outgoing>,
}

/// Runs a case on each kind of owner.
fn on_each(case: impl Fn(&mut World)) {
    for nodes in [0, 1, 3] {
        let owner: Box<dyn TestOwner> = match nodes {
            0 => Box::new(EmbeddedTestOwner::new(rules(), BEGINNING, 1)),
            _ => Box::new(RedisTestOwner::new(&rules(), nodes, 1)),
        };
        let nodes = nodes.max(1);
        case(&mut World { owner, nodes, now: BEGINNING, asks: 0, said: Vec::new() });
    }
}

/// The identity of a user.
fn user(name: &str) -> Identity {
    Identity::new(name, None, None, Roles::default())
}

/// The name of a room or a peer.
fn name(text: &str) -> Name {
    text.into()
}

impl World {
    /// The connection of a number; consecutive numbers are on consecutive nodes.
    fn connection(&self, number: usize) -> ConnectionId {
        let node = number % self.nodes;
        let place = ConnectionPlace { node: node as u16 + 1, shard: node as u8, slot: number as u32 };
        ConnectionId::new(place, [number as u8 + 1; 12])
    }

    /// Applies an operation to the room, on the node of a connection; its reply.
    fn act(&mut self, number: usize, op: RoomOp) -> Result<Reply, Reject> {
        self.ask(number, Op::Room(name("room"), op))
    }

    /// Applies an operation on the node of a connection; its one reply.
    fn ask(&mut self, number: usize, op: Op) -> Result<Reply, Reject> {
        self.now = self.now.plus(1);
        self.asks += 1;
        let (node, shard) = (number % self.nodes, self.connection(number).place().shard);
        let from = Requester { shard, ask: self.asks };
        let mut said = self.owner.ask(self.now, node, from, op);
        let is_answer = |(to, message): &mut Outgoing| {
            *to == shard && matches!(message, ThreadMessage::Reply { ask, .. } if *ask == from.ask)
        };
        let mut answers: Vec<Outgoing> = said.extract_if(.., is_answer).collect();
        assert_eq!(answers.len(), 1, "exactly one answer per question");
        assert!(
            !said.iter().any(|(_, message)| matches!(message, ThreadMessage::Reply { .. })),
            "nobody else is answered"
        );
        self.said = said;
        match answers.pop() {
            Some((_, ThreadMessage::Reply { reply, .. })) => reply,
            _ => unreachable!("it is an answer"),
        }
    }

    fn join(&mut self, number: usize, who: &str, peer: Option<&str>, create: bool) -> Result<Reply, Reject> {
        let (connection, by, peer) = (self.connection(number), user(who), peer.map(name));
        let media = MediaState::default();
        let join = JoinRoom { connection, by, peer, about: About::default(), media, create, rewind: 0 };
        self.act(number, RoomOp::Join(Box::new(join)))
    }

    fn send(&mut self, number: usize, text: &str, named: Option<&str>) -> Result<Reply, Reject> {
        let (kind, reply_to, attachment, metadata) = (None, None, None, None);
        let content = Content { body: format!("\"{text}\"").into(), event: None, kind, reply_to, attachment, metadata };
        let (connection, client_message_id) = (self.connection(number), named.map(Into::into));
        self.act(
            number,
            RoomOp::Send(Box::new(SendMessage {
                connection,
                publisher: None,
                to: None,
                content,
                client_message_id,
                revises: None,
                stream: None,
            })),
        )
    }

    /// Sends a message; its sequence number.
    fn sent(&mut self, number: usize, text: &str) -> u64 {
        match self.send(number, text, None) {
            Ok(Reply::Sent(sent)) => sent.seq.expect("it has a number"),
            other => panic!("{other:?}"),
        }
    }

    fn history(&mut self, number: usize, after: Option<u64>, limit: usize) -> (Vec<u64>, bool) {
        let connection = self.connection(number);
        match self
            .act(number, RoomOp::ReadHistory { connection: Some(connection), wanted: HistoryRange { after, limit } })
        {
            Ok(Reply::History(history)) => {
                (history.messages.iter().filter_map(|message| message.seq).collect(), history.complete)
            }
            other => panic!("{other:?}"),
        }
    }

    /// The messages published by the last operation: shard and sequence number.
    fn published(&self) -> Vec<(u8, u64)> {
        let number = |(shard, message): &Outgoing| match message {
            ThreadMessage::Shard(ShardMessage::Publish { packed, .. }) if packed.seq > 0 => Some((*shard, packed.seq)),
            _ => None,
        };
        self.said.iter().filter_map(number).collect()
    }
}

fn code(reply: Result<Reply, Reject>) -> Code {
    reply.expect_err("it is refused").code
}

#[test]
fn absent_user_has_last_seen_that_backend_sets() {
    on_each(|world| {
        let set = |status, last_seen, by| Op::User(name("ann"), UserOp::SetStatus { status, last_seen, by });
        let by_connection = Some(world.connection(0));
        assert_eq!(code(world.ask(0, set(Status::Away, None, by_connection))), Code::UserNotFound);
        let look = |world: &mut World| match world.ask(1, Op::User(name("ann"), UserOp::Describe { by: user("eve") })) {
            Ok(Reply::Presence(view)) => (view.status, view.last_seen, view.username().to_owned()),
            other => panic!("{other:?}"),
        };
        world.ask(0, set(Status::Away, Some(1_700_000_000_000), None)).expect("it is set");
        assert!(world.said.is_empty(), "an absent user stays absent: {:?}", world.said);
        assert_eq!(look(world), (Status::Offline, Some(1_700_000_000_000), "ann".to_owned()));
        world.ask(2, set(Status::Offline, None, None)).expect("it is set");
        assert_eq!(look(world), (Status::Offline, Some(1_700_000_000_000), "ann".to_owned()));
        let by = Identity::new("ann", Some("Ann Adams"), None, Roles::default());
        let connection = world.connection(0);
        world.ask(0, Op::User(name("ann"), UserOp::Attach { connection, by, socket: None })).expect("a connection");
        let (parting, rooms) = (DisconnectKind::Clean, Vec::new());
        world.ask(0, Op::User(name("ann"), UserOp::Detach { connection, parting, rooms })).expect("it ends");
        world.owner.tick(world.now.plus(1));
        world.ask(1, set(Status::Busy, Some(u64::MAX), None)).expect("it is set");
        let shown = look(world);
        assert!(shown.1.is_some_and(|at| at <= world.now.wall), "no time is in the future: {shown:?}");
        assert_eq!(shown.2, "Ann Adams", "the name stays known");
    });
}

#[test]
fn messages_have_one_order_without_a_gap_and_reach_every_shard_with_members() {
    on_each(|world| {
        for number in 0..3 {
            world.join(number, &format!("u{number}"), None, true).expect("they join");
        }
        for seq in 1..=9 {
            assert_eq!(world.sent(seq % 3, &format!("m{seq}")), seq as u64);
            let shards = world.nodes as u8;
            let told: Vec<(u8, u64)> = (0..shards).map(|shard| (shard, seq as u64)).collect();
            let mut published = world.published();
            published.sort_unstable();
            let own = world.connection(seq % 3).place().shard;
            // A sender that is the only member on its shard gets no copy.
            let others = |known: Vec<(u8, u64)>| {
                known.into_iter().filter(|(shard, _)| shards == 1 || *shard != own).collect::<Vec<_>>()
            };
            assert_eq!(others(published), others(told));
        }
        assert_eq!(world.history(0, None, 4), (vec![6, 7, 8, 9], false));
        assert_eq!(world.history(1, Some(2), 3), (vec![3, 4, 5], false));
        assert_eq!(world.history(2, Some(7), 50), (vec![8, 9], true));
        assert_eq!(world.history(2, None, 50), ((1..=9).collect(), true));
    });
}

#[test]
fn a_repeat_is_answered_with_the_first_ones_receipt() {
    on_each(|world| {
        world.join(0, "ann", None, true).expect("they join");
        world.join(1, "ann", None, true).expect("they join");
        let Ok(Reply::Sent(first)) = world.send(0, "hello", Some("mine")) else { panic!("it is sent") };
        let Ok(Reply::Sent(again)) = world.send(1, "hello", Some("mine")) else { panic!("it is sent") };
        assert_eq!(first, again);
        assert!(world.published().is_empty());
        world.now = world.now.plus(300_001);
        world.owner.tick(world.now);
        let Ok(Reply::Sent(late)) = world.send(1, "hello", Some("mine")) else { panic!("it is sent") };
        assert_eq!(late.seq, Some(2), "after five minutes it is another one");
    });
}

#[test]
fn only_members_do_anything_in_a_room() {
    on_each(|world| {
        assert_eq!(code(world.send(0, "x", None)), Code::RoomNotFound);
        world.join(0, "ann", None, true).expect("they join");
        assert_eq!(code(world.send(1, "x", None)), Code::NotInRoom);
        let connection = world.connection(1);
        assert_eq!(code(world.act(1, RoomOp::SetTyping { connection, is_typing: true })), Code::NotInRoom);
        let wanted = HistoryRange { after: None, limit: 1 };
        assert_eq!(code(world.act(1, RoomOp::ReadHistory { connection: Some(connection), wanted })), Code::NotInRoom);
        assert_eq!(
            code(world.act(1, RoomOp::Leave { connection, by: user("bob").into(), peer: None })),
            Code::NotInRoom
        );
    });
}

#[test]
fn a_peer_id_is_its_users_alone_and_passes_from_connection_to_connection() {
    on_each(|world| {
        world.join(0, "ann", Some("chair"), true).expect("they join");
        assert_eq!(code(world.join(1, "bob", Some("chair"), true)), Code::PeerIdTaken);
        let Ok(Reply::Joined(joined)) = world.join(2, "ann", Some("chair"), true) else { panic!("they join") };
        assert_eq!((joined.peer, joined.participant_count), (PeerName::Chosen(name("chair")), 1));
        let former = world.connection(0);
        let is_told = |(_, message): &Outgoing| match message {
            ThreadMessage::Shard(ShardMessage::Deliver { to, event: Event::Left { cause, .. } }) => {
                *to == former && *cause == LeaveCause::Replaced
            }
            _ => false,
        };
        assert_eq!(world.said.len(), 1, "and nobody else is told anything: {:?}", world.said);
        assert!(is_told(&world.said[0]));
    });
}

#[test]
fn who_is_lost_comes_back_without_a_word_or_leaves_after_a_while() {
    on_each(|world| {
        world.join(0, "ann", None, true).expect("they join");
        let Ok(Reply::Joined(joined)) = world.join(1, "bob", None, true) else { panic!("they join") };
        let lost = world.connection(1);
        world.act(1, RoomOp::StartGrace { connection: lost }).expect("it is lost");
        assert_eq!(world.sent(0, "missed"), 1);
        let by = user("bob");
        let (connection, media) = (world.connection(2), MediaState::default());
        let join = JoinRoom { connection, by, peer: None, about: About::default(), media, create: false, rewind: 0 };
        let back = Returning { former: lost, join, epoch: joined.epoch, seq: joined.seq };
        let Ok(Reply::Returned(returned)) = world.act(2, RoomOp::Rejoin(Box::new(back))) else { panic!("it is back") };
        assert!(returned.recovered && returned.messages.len() == 1 && world.said.is_empty());
        world.act(2, RoomOp::StartGrace { connection }).expect("it is lost");
        world.now = world.now.plus(10_000);
        let told = world.owner.tick(world.now);
        let departures = told
            .iter()
            .filter(|(_, message)| matches!(message, ThreadMessage::Shard(ShardMessage::Publish { .. })))
            .count();
        assert_eq!(departures, 1, "{told:?}");
        assert_eq!(code(world.send(2, "x", None)), Code::NotInRoom);
    });
}

#[test]
fn private_rooms_admit_their_participants_and_rooms_take_so_many() {
    on_each(|world| {
        let participants = vec![name("ann"), name("bob")];
        let profile = Profile { is_private: true, participants, max_participants: 1, ..Profile::default() };
        let create = |by: &str| {
            let (by, profile) = (user(by), Box::new(profile.clone()));
            RoomOp::Create { by, profile, log: LogTerms::default(), is_locked: false }
        };
        world.act(0, create("host")).expect("it is made");
        assert_eq!(code(world.act(1, create("other"))), Code::RoomExists, "its name is taken");
        assert_eq!(code(world.join(0, "eve", None, true)), Code::Forbidden);
        world.join(1, "ann", None, false).expect("a participant");
        assert_eq!(code(world.join(2, "bob", None, false)), Code::RoomFull);
        assert_eq!(code(world.act(0, RoomOp::Close { by: user("ann").into() })), Code::Forbidden);
        world.act(0, RoomOp::Close { by: user("host").into() }).expect("its host may");
        assert!(
            world.said.iter().any(|(_, message)| matches!(message, ThreadMessage::Shard(ShardMessage::Close { .. }))),
            "{:?}",
            world.said
        );
        assert_eq!(code(world.send(1, "x", None)), Code::RoomClosed);
        assert_eq!(code(world.act(0, RoomOp::Describe { by: user("host") })), Code::RoomNotFound);
    });
}

#[test]
fn receipts_are_kept_and_shown() {
    on_each(|world| {
        world.join(0, "ann", None, true).expect("they join");
        world.join(1, "bob", None, true).expect("they join");
        let Ok(Reply::Sent(sent)) = world.send(0, "hello", None) else { panic!("it is sent") };
        for kind in [ReceiptKind::Delivered, ReceiptKind::Read] {
            let connection = world.connection(1);
            world.act(1, RoomOp::MarkMessage { connection, message: sent.id, kind }).expect("it is noted");
        }
        let connection = world.connection(0);
        let Ok(Reply::Marks(marks)) =
            world.act(0, RoomOp::ReadReceipts { connection: Some(connection), message: sent.id })
        else {
            panic!("it is known")
        };
        let users = |list: &[(Name, u64)]| list.iter().map(|(user, _)| user.to_string()).collect::<Vec<_>>();
        assert_eq!((users(&marks.delivered), users(&marks.read)), (vec!["bob".to_owned()], vec!["bob".to_owned()]));
        let (connection, message) = (world.connection(1), uuid::Uuid::nil());
        let kind = ReceiptKind::Read;
        assert_eq!(code(world.act(1, RoomOp::MarkMessage { connection, message, kind })), Code::MessageNotFound);
    });
}

#[test]
fn which_room_a_message_is_of_is_known_though_nobody_remembers_it() {
    on_each(|world| {
        world.join(0, "ann", None, true).expect("they join");
        let Ok(Reply::Sent(sent)) = world.send(0, "hello", None) else { panic!("it is sent") };
        let connection = world.connection(0);
        let mut room_of = |message| {
            let rooms = [name("another"), name("room")].into();
            world.owner.restart(&rules());
            world.ask(0, Op::FindMessageRoom { message, connection, rooms })
        };
        assert!(matches!(room_of(sent.id), Ok(Reply::RoomOf(room)) if room == name("room")));
        assert_eq!(code(room_of(uuid::Uuid::nil())), Code::MessageNotFound);
    });
}

#[test]
fn join_with_rewind_returns_last_messages_before_later_ones() {
    on_each(|world| {
        world.join(0, "ann", None, true).expect("they join");
        (1..=5).for_each(|seq| assert_eq!(world.sent(0, "x"), seq));
        let rewound = |world: &mut World, number: usize, rewind: usize| {
            let (connection, media) = (world.connection(number), MediaState::default());
            let by = user(&format!("u{number}"));
            let join = JoinRoom { connection, by, peer: None, about: About::default(), media, create: false, rewind };
            match world.act(number, RoomOp::Join(Box::new(join))) {
                Ok(Reply::Joined(joined)) => {
                    let seqs = joined.rewound.iter().filter_map(|message| message.seq).collect::<Vec<_>>();
                    (joined.seq, seqs)
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(rewound(world, 1, 2), (5, vec![4, 5]));
        assert_eq!(rewound(world, 1, 2), (5, vec![]), "a member has them already");
        assert_eq!(rewound(world, 2, 100), (5, vec![1, 2, 3, 4, 5]));
        assert_eq!(rewound(world, 3, 0), (5, vec![]));
        assert_eq!(world.sent(1, "later"), 6);
        assert_eq!(rewound(world, 4, 1), (6, vec![6]));
    });
}

#[test]
fn receipt_up_to_message_marks_unmarked_ones_of_others_before_it() {
    on_each(|world| {
        world.join(0, "ann", None, true).expect("they join");
        world.join(1, "bob", None, true).expect("they join");
        let ids: Vec<uuid::Uuid> = (0..5)
            .map(|at| match world.send(usize::from(at == 2), "x", None) {
                Ok(Reply::Sent(sent)) => sent.id,
                other => panic!("{other:?}"),
            })
            .collect();
        let kind = ReceiptKind::Read;
        let mark = |world: &mut World, messages: MarkedMessages| {
            let connection = world.connection(1);
            world.act(1, RoomOp::MarkMessages { connection, messages, kind }).map(drop)
        };
        let read = |world: &mut World, message: uuid::Uuid| {
            let connection = Some(world.connection(0));
            match world.act(0, RoomOp::ReadReceipts { connection, message }) {
                Ok(Reply::Marks(marks)) => marks.read.len(),
                other => panic!("{other:?}"),
            }
        };
        let all = |world: &mut World| ids.iter().map(|id| read(world, *id)).collect::<Vec<_>>();
        mark(world, MarkedMessages::UpTo(ids[1])).expect("it is noted");
        assert_eq!(all(world), [1, 1, 0, 0, 0]);
        // After a restart the embedded owner knows no recent message: storage finds them.
        world.owner.restart(&rules());
        world.join(0, "ann", None, true).expect("they join");
        world.join(1, "bob", None, true).expect("they join");
        mark(world, MarkedMessages::UpTo(ids[3])).expect("it is noted");
        assert_eq!(all(world), [1, 1, 0, 1, 0], "not the own one, and not the later one");
        mark(world, MarkedMessages::These([uuid::Uuid::nil(), ids[4]].into())).expect("it is noted");
        assert_eq!(all(world), [1, 1, 0, 1, 1]);
        assert_eq!(
            mark(world, MarkedMessages::UpTo(uuid::Uuid::nil())).expect_err("unknown").code,
            Code::MessageNotFound
        );
        let connection = world.connection(2);
        let messages = MarkedMessages::UpTo(ids[0]);
        assert_eq!(code(world.act(2, RoomOp::MarkMessages { connection, messages, kind })), Code::NotInRoom);
    });
}

impl World {
    /// Edits a message, or deletes it if there is no text.
    fn revise(&mut self, number: usize, message: uuid::Uuid, text: Option<&str>) -> Result<Reply, Reject> {
        let kind = if text.is_some() { RevisionKind::Edit } else { RevisionKind::Delete };
        let body = text.map_or_else(|| "null".into(), |text| format!("\"{text}\"").into());
        let content = Content { body, event: None, kind: None, reply_to: None, attachment: None, metadata: None };
        let (connection, publisher, to, client_message_id) = (self.connection(number), None, None, None);
        let revises = Some(Box::new(Revise { message, kind, sender: None, rights: ChangeRights::Usual }));
        let message = SendMessage { connection, publisher, to, content, client_message_id, revises, stream: None };
        self.act(number, RoomOp::Send(Box::new(message)))
    }

    /// All messages as history has them: what they say, and their part in changes.
    fn said_now(&mut self, number: usize) -> Vec<(String, Option<Revision>)> {
        let connection = Some(self.connection(number));
        let wanted = HistoryRange { after: Some(0), limit: 100 };
        match self.act(number, RoomOp::ReadHistory { connection, wanted }) {
            Ok(Reply::History(history)) => {
                let said = |message: &Message| (message.content.body.to_string(), message.revision.as_deref().copied());
                history.messages.iter().map(said).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn change_of_message_is_entry_of_log_and_changes_history() {
    on_each(|world| {
        world.join(0, "ann", None, true).expect("they join");
        world.join(1, "bob", None, true).expect("they join");
        let id = |reply: Result<Reply, Reject>| match reply {
            Ok(Reply::Sent(sent)) => (sent.id, sent.seq.expect("it has a number")),
            other => panic!("{other:?}"),
        };
        let (first, _) = id(world.send(0, "one", None));
        let (second, _) = id(world.send(1, "two", None));
        assert_eq!(code(world.revise(1, first, Some("of bob"))), Code::Forbidden);
        let (edit, seq) = id(world.revise(0, first, Some("uno")));
        assert_eq!((seq, world.published().iter().all(|(_, published)| *published == 3)), (3, true));
        let edited_at = world.now.wall;
        let (delete, seq) = id(world.revise(1, second, None));
        assert_eq!(seq, 4);
        let deleted_at = world.now.wall;
        let of = |message, kind| Some(Revision::Of { message, kind });
        let expected = [
            ("\"uno\"".to_owned(), Some(Revision::Edited(edited_at))),
            ("null".to_owned(), Some(Revision::Deleted(deleted_at))),
            ("\"uno\"".to_owned(), of(first, RevisionKind::Edit)),
            ("null".to_owned(), of(second, RevisionKind::Delete)),
        ];
        assert_eq!(world.said_now(0), expected);
        for gone in [second, edit, delete, uuid::Uuid::nil()] {
            assert_eq!(code(world.revise(1, gone, Some("again"))), Code::MessageNotFound);
            let (connection, kind) = (world.connection(0), ReceiptKind::Read);
            let receipt = RoomOp::MarkMessage { connection, message: gone, kind };
            assert_eq!(code(world.act(0, receipt)), Code::MessageNotFound);
        }
        // Another server, or this one after a restart, does not remember the messages.
        world.owner.restart(&rules());
        world.join(0, "ann", None, true).expect("they join");
        world.join(1, "bob", None, true).expect("they join");
        assert_eq!(world.said_now(1), expected);
        assert_eq!(code(world.revise(1, first, None)), Code::Forbidden);
        assert_eq!(code(world.revise(1, second, Some("again"))), Code::MessageNotFound);
        let (_, seq) = id(world.revise(0, first, Some("ein")));
        assert_eq!((seq, world.said_now(0)[0].0.as_str()), (5, "\"ein\""));
        let connection = world.connection(2);
        let join = JoinRoom {
            connection,
            by: user("eve"),
            peer: None,
            about: About::default(),
            media: MediaState::default(),
            create: false,
            rewind: 2,
        };
        let Ok(Reply::Joined(joined)) = world.act(2, RoomOp::Join(Box::new(join))) else { panic!("they join") };
        assert_eq!(joined.rewound.iter().filter(|message| message.changes().is_some()).count(), 2);
    });
}
