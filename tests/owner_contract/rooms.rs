//! Differential test of rooms: the same random operations on both owners.

use switchboard::base::Name;
use switchboard::base::ids::{ConnectionId, ConnectionPlace, PEER};
use switchboard::base::rng::Rng;
use switchboard::base::time::Now;
use switchboard::domain::about::About;
use switchboard::domain::access::{Identity, Roles};
use switchboard::domain::command::{MediaState, ReceiptKind, Signal};
use switchboard::domain::connection_mode::{ConnectionMode, SFU, WantedMode};
use switchboard::domain::event::{Content, RevisionKind, StreamStatus};
use switchboard::domain::history::HistoryRange;
use switchboard::domain::op::{
    ChangeRights, HostClaim, HostKey, JoinRoom, LogTerms, MarkedMessages, Op, Profile, ProfileChange, RelaySignal,
    Reply, Revise, RoomOp, SendMessage, StreamText, UnreadOf, UsersPage,
};
use switchboard::domain::record::Retention;
use switchboard::domain::recovery::Returning;
use switchboard::message::{Requester, ThreadMessage};
use uuid::Uuid;

use crate::owners::{EmbeddedTestOwner, RedisTestOwner, SHARDS, TestOwner, rules};
use crate::same::Names;

/// The key of the host secret of rooms that have one.
const KEY: HostKey = HostKey([7; 32]);

/// Operations of one sequence.
const ACTS: usize = 400;

/// The identity of a user.
fn identity(user: usize) -> Identity {
    let roles = Roles { admin: user == 3, push: false, guest: user == 2 };
    match user {
        0 => Identity::new("ann", Some("Ann \"A\" {x}"), Some("ann@example.org"), Roles::default()),
        1 => Identity::new("bob", None, None, roles),
        2 => Identity::new("guest:abc", None, None, roles),
        _ => Identity::new("root", Some("Root"), None, roles),
    }
}

/// The connection of a number, its node and its user.
fn connection(number: usize, nodes: usize) -> (ConnectionId, usize, usize) {
    let node = number % nodes;
    let slot = if number.is_multiple_of(2) { number as u32 } else { PEER | number as u32 };
    // Each node uses another shard number, so that its messages can be compared with those of one process.
    let shard = (if nodes > 1 { node } else { number % SHARDS }) as u8;
    (
        ConnectionId::new(ConnectionPlace { node: node as u16 + 1, shard, slot }, [number as u8 + 1; 12]),
        node,
        number % 4,
    )
}

/// The history of one side that later operations refer to: each side has its own ids and epochs.
struct Side {
    names: Names,
    acts: Vec<String>,
}

/// A random choice that both sides share, turned into an operation with the ids of one side.
struct Chooser<'a> {
    rng: Rng,
    names: &'a Names,
}

impl Chooser<'_> {
    fn pick(&mut self, of: usize) -> usize {
        (self.rng.next_u64() % of as u64) as usize
    }

    fn coin(&mut self) -> bool {
        self.pick(2) == 0
    }

    fn message(&mut self) -> Uuid {
        let count = self.names.ids.len();
        let back = self.pick(12);
        if back >= count { Uuid::nil() } else { self.names.ids[count - 1 - back] }
    }

    fn peer_name(&mut self, nodes: usize) -> Name {
        match self.pick(4) {
            0 => "chair".into(),
            1 => "nobody".into(),
            _ => {
                let number = self.pick(12);
                connection(number, nodes).0.text().as_str().into()
            }
        }
    }

    fn join(&mut self, id: ConnectionId, by: Identity) -> JoinRoom {
        let peer: Option<Name> = match self.pick(5) {
            0 => Some("chair".into()),
            1 => Some(format!("p{}", self.pick(4)).as_str().into()),
            _ => None,
        };
        let display_name = self.coin().then_some("Display ü \"quoted\"");
        let data = [None, None, Some(r#"{"a":"b/ü","ob":1}"#), Some("[]")][self.pick(4)];
        let about = About::new(display_name, data, self.pick(5) == 0);
        let (audio, screen, sfu) = (self.coin(), self.pick(5) == 0, self.pick(4) != 0);
        let media = MediaState { audio, video: false, screen, sfu };
        let media = if about.is_observer() { MediaState::default() } else { media };
        JoinRoom { connection: id, by, peer, about, media, create: self.pick(4) != 0, rewind: 0 }
    }

    /// A user, sometimes with a host secret.
    fn claim(&mut self, by: Identity) -> HostClaim {
        let key = [None, None, Some(Box::new(KEY)), Some(Box::new(HostKey([8; 32])))][self.pick(4)].clone();
        HostClaim { by, key }
    }

    fn content(&mut self) -> Content {
        Content {
            body: format!(r#"{{"text":"{} / ü {{}} []"}}"#, self.pick(1000)).into(),
            event: None,
            kind: self.coin().then(|| "text".into()),
            reply_to: None,
            attachment: (self.pick(6) == 0).then(|| r#"{"url":"http:\/\/x"}"#.into()),
            metadata: (self.pick(6) == 0).then(|| "[]".into()),
        }
    }

    fn rights(&mut self) -> ChangeRights {
        [ChangeRights::Usual, ChangeRights::Usual, ChangeRights::Own, ChangeRights::Any][self.pick(4)]
    }

    /// Opens a stream, or adds a piece to one, with the offset or without.
    fn stream_op(&mut self, connection: ConnectionId) -> RoomOp {
        let body = ["", "a", "\\u00e9 b", "\u{1f600}"][self.pick(4)];
        let text: String = serde_json::from_str(&format!("\"{body}\"")).expect("it is a text");
        let (bytes, units) = (text.len() as u32, text.encode_utf16().count() as u32);
        let offset = (self.pick(4) == 0).then(|| self.pick(4) as u32);
        let kind = [StreamStatus::Streaming, StreamStatus::Streaming, StreamStatus::Complete, StreamStatus::Cancelled];
        let kind = RevisionKind::Append(kind[self.pick(4)]);
        let revises = (self.pick(3) != 0)
            .then(|| Box::new(Revise { message: self.message(), kind, sender: None, rights: ChangeRights::Usual }));
        RoomOp::Send(Box::new(SendMessage {
            connection,
            publisher: None,
            to: None,
            content: Content::of_piece(&format!("\"{body}\"")),
            client_message_id: None,
            revises,
            stream: Some(StreamText { bytes, units, offset, bytes_max: 9 }),
        }))
    }

    fn op(&mut self, room: &Name, number: usize, nodes: usize) -> RoomOp {
        let (connection_id, _, user) = connection(number, nodes);
        let by = identity(user);
        let connection = connection_id;
        match self.pick(41) {
            0..=6 => RoomOp::Join(Box::new(self.join(connection, by))),
            7..=13 => RoomOp::Send(Box::new(SendMessage {
                connection,
                publisher: None,
                to: (self.pick(6) == 0).then(|| self.peer_name(nodes)),
                content: self.content(),
                client_message_id: (self.pick(4) == 0).then(|| format!("c{}", self.pick(3)).into()),
                revises: None,
                stream: None,
            })),
            14 | 15 => {
                let peer = self.coin().then(|| self.peer_name(nodes));
                RoomOp::Leave { connection, by: self.claim(by), peer }
            }
            16 => RoomOp::RemoveMember { connection },
            17 | 18 => {
                let former = self::connection((number + 4 * (1 + self.pick(2))) % 12, nodes).0;
                let known = self.names.epochs.iter().find(|(name, _)| **name == **room);
                let epoch: Name = known.map_or("none", |(_, epoch)| epoch.as_str()).into();
                let seq = self.pick(20) as u64;
                let join = JoinRoom { create: false, ..self.join(connection, by) };
                RoomOp::Rejoin(Box::new(Returning { former, join, epoch, seq }))
            }
            19 | 20 => {
                let from = (self.pick(4) == 0).then(|| self.peer_name(nodes));
                let to = self.peer_name(nodes);
                let signal = [Signal::Offer, Signal::Answer, Signal::Candidate][self.pick(3)];
                let body = r#"{"sdp":"v=0\r\n\"x\""}"#.into();
                RoomOp::RelaySignal(Box::new(RelaySignal { connection, from, to, signal, body }))
            }
            21 | 22 => {
                let peer = (self.pick(4) == 0).then(|| self.peer_name(nodes));
                let (audio, video) = (self.coin(), self.coin());
                let media = MediaState { audio, video, ..MediaState::default() };
                let sfu = (self.pick(3) == 0).then(|| self.coin());
                RoomOp::SetMedia { connection, peer, media, sfu }
            }
            23 | 24 => RoomOp::SetTyping { connection, is_typing: self.coin() },
            25 => RoomOp::ListTypists { connection },
            26 | 27 => {
                let kind = if self.coin() { ReceiptKind::Read } else { ReceiptKind::Delivered };
                RoomOp::MarkMessage { connection, message: self.message(), kind }
            }
            38 if self.coin() => {
                let kind = if self.coin() { RevisionKind::Edit } else { RevisionKind::Delete };
                RoomOp::Send(Box::new(SendMessage {
                    connection,
                    publisher: None,
                    to: None,
                    content: self.content(),
                    client_message_id: None,
                    revises: Some(Box::new(Revise {
                        message: self.message(),
                        kind,
                        sender: None,
                        rights: self.rights(),
                    })),
                    stream: None,
                }))
            }
            39 => self.stream_op(connection),
            38 => {
                let kind = if self.coin() { ReceiptKind::Read } else { ReceiptKind::Delivered };
                let messages = match self.coin() {
                    true => MarkedMessages::UpTo(self.message()),
                    false => MarkedMessages::These([self.message(), self.message()].into()),
                };
                RoomOp::MarkMessages { connection, messages, kind }
            }
            28 | 29 => {
                let after = self.coin().then(|| self.pick(20) as u64);
                RoomOp::ReadHistory {
                    connection: Some(connection),
                    wanted: HistoryRange { after, limit: 1 + self.pick(9) },
                }
            }
            30 if self.coin() => {
                let of = if self.coin() { UnreadOf::Member(connection) } else { UnreadOf::User(by.user_name()) };
                RoomOp::CountUnread { of }
            }
            30 => RoomOp::ReadSince { connection, after: self.message(), limit: 1 + self.pick(9) },
            31 => {
                let connection = (self.pick(3) != 0).then_some(connection);
                RoomOp::ReadReceipts { connection, message: self.message() }
            }
            32 => RoomOp::AddParticipant { by, connections: vec![connection] },
            33 => match self.pick(4) {
                0 => RoomOp::RemoveUser { by: self.claim(by), user: identity(self.pick(4)).user_name() },
                1 => RoomOp::SetLocked { by: self.claim(by), is_locked: self.coin() },
                _ => RoomOp::RemoveParticipant { by, connection: self.coin().then_some(connection) },
            },
            37 => match self.pick(3) {
                0 => RoomOp::ReportFailure { connection, peer: SFU.into() },
                1 => RoomOp::ReportFailure { connection, peer: self.peer_name(nodes) },
                _ => {
                    let modes = [ConnectionMode::P2p, ConnectionMode::Sfu].map(WantedMode::Always);
                    let wanted = if self.coin() { WantedMode::Auto } else { modes[self.pick(2)] };
                    RoomOp::SetMode { by: self.claim(by), wanted }
                }
            },
            34 if self.coin() => RoomOp::Describe { by },
            34 => {
                let name = self.coin().then(|| "Other \"name\"".into());
                let description = self.coin().then(|| if self.coin() { "About it".into() } else { "".into() });
                let metadata =
                    self.coin().then(|| if self.coin() { r#"{ "a\/b" : [1.50, {}, []] }"#.into() } else { "".into() });
                let participants = (self.pick(4) == 0).then(|| vec!["bob".into(), "eve".into()]);
                let change = ProfileChange {
                    name,
                    description,
                    metadata,
                    participants,
                    kind: self.coin().then(|| "team".into()),
                    max_participants: (self.pick(3) == 0).then(|| self.pick(4)),
                    is_private: (self.pick(3) == 0).then(|| self.coin()),
                    is_locked: (self.pick(3) == 0).then(|| self.coin()),
                    // Both owners trim a log now and then, not at the same moment.
                    retention: Retention::default(),
                };
                RoomOp::Update { by, change: Box::new(change), adopts: self.pick(3) == 0 }
            }
            35 => {
                let after = self.coin().then(|| "bob".into());
                RoomOp::ListUsers { by, page: UsersPage { after, limit: 1 + self.pick(3) } }
            }
            36 => {
                if self.pick(4) == 0 {
                    RoomOp::Close { by: self.claim(by) }
                } else {
                    RoomOp::StartGrace { connection }
                }
            }
            _ => {
                let profile = Profile {
                    name: Some("Room \"1\"".into()),
                    is_private: self.coin(),
                    participants: vec!["ann".into(), "bob".into()],
                    max_participants: self.pick(4),
                    host_key: self.coin().then_some(KEY),
                    ..Profile::default()
                };
                let history = [None, Some(true), Some(false)][self.pick(3)];
                let log = LogTerms { history, ..LogTerms::default() };
                RoomOp::Create { by, profile: Box::new(profile), log, is_locked: self.pick(8) == 0 }
            }
        }
    }
}

/// The rooms that an owner lists, with their member counts, and its totals of rooms and members.
fn listed(owner: &mut dyn TestOwner, now: Now, node: usize) -> (Vec<(Name, bool, usize)>, usize, usize) {
    let said = owner.ask(now, node, Requester { shard: 0, ask: u32::MAX }, Op::Rooms);
    let view = said.into_iter().find_map(|(_, message)| match message {
        ThreadMessage::Reply { reply: Ok(Reply::Rooms(view)), .. } => Some(view),
        _ => None,
    });
    let view = view.expect("it lists them");
    let rooms = view.rooms.into_iter().map(|room| (room.room, room.is_made, room.participant_count));
    let mut rooms: Vec<(Name, bool, usize)> = rooms.collect();
    rooms.sort_unstable();
    (rooms, view.total_rooms, view.total_peers)
}

/// Runs one sequence on both owners.
fn play(seed: u64, nodes: usize, cluster: &mut RedisTestOwner) {
    let mut now = Now { mono: 10_000, wall: 1_750_000_000_000 };
    let mut one = EmbeddedTestOwner::new(rules(), now, seed);
    cluster.clear(&rules(), seed);
    let mut sides = [
        Side { names: Names::new(nodes == 1), acts: Vec::new() },
        Side { names: Names::new(nodes == 1), acts: Vec::new() },
    ];
    let mut rng = Rng::from_seed(seed);
    for act in 0..ACTS {
        let (room, number): (Name, usize) =
            (["lobby", "a{b}%c d"][(rng.next_u64() % 2) as usize].into(), (rng.next_u64() % 12) as usize);
        let pause = match rng.next_u64() % 30 {
            0 => 61_000,
            1..=4 => 1_000 + rng.next_u64() % 5_000,
            _ => rng.next_u64() % 20,
        };
        let choice = rng.next_u64();
        now = now.plus(pause);
        let mut said = Vec::new();
        for (side, owner) in sides.iter_mut().zip([&mut one as &mut dyn TestOwner, cluster as &mut dyn TestOwner]) {
            let ticked = owner.tick(now);
            let mut chooser = Chooser { rng: Rng::from_seed(choice), names: &side.names };
            let op = chooser.op(&room, number, nodes);
            side.acts.push(format!("{act} at {}: {op:?}", now.wall));
            let (id, node, _) = connection(number, nodes);
            let from = Requester { shard: id.place().shard, ask: act as u32 };
            // The tasks of the two rooms are independent, so their order is not compared.
            let ticked = side.names.tell(ticked);
            let mut ticked: Vec<&str> = ticked.lines().collect();
            ticked.sort_by_key(|line| line.contains("a{b}%c d"));
            let ticked = ticked.join("\n");
            // The order in which members are removed is not defined, and the announcement of the last ones depends on it.
            let is_unordered =
                matches!(op, RoomOp::RemoveParticipant { connection: None, .. } | RoomOp::RemoveUser { .. });
            let is_signal = matches!(op, RoomOp::RelaySignal(_));
            let mut told = side.names.tell(owner.ask(now, node, from, Op::Room(room.clone(), op)));
            if is_unordered {
                let mut lines: Vec<&str> = told.lines().filter(|line| !line.contains(" publishes ")).collect();
                lines.sort_unstable();
                told = lines.join("\n");
            }
            // The reply and the signal go to two clients as a rule, so their order is not compared.
            if is_signal {
                let mut lines: Vec<&str> = told.lines().collect();
                lines.sort_by_key(|line| !line.contains(" answers "));
                told = lines.join("\n");
            }
            let list = (act % 40 == 0).then(|| listed(owner, now, node));
            said.push(format!("ticks:\n{ticked}\nasked:\n{told}\nlists: {list:?}"));
        }
        if said[0] != said[1] {
            let last: Vec<&str> = sides[1].acts.iter().rev().take(8).rev().map(String::as_str).collect();
            panic!(
                "seed {seed}, act {act} in {room:?} differs after\n{}\none process:\n{}\nRedis:\n{}",
                last.join("\n"),
                said[0],
                said[1]
            );
        }
    }
}

/// Runs `SWITCHBOARD_SEEDS` sequences, or the one of `SWITCHBOARD_SEED`, with the given number of nodes.
fn play_all(nodes: usize) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = match number("SWITCHBOARD_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("SWITCHBOARD_SEEDS").unwrap_or(44),
    };
    let mut cluster = RedisTestOwner::new(&rules(), nodes, 1);
    for seed in seeds {
        play(seed, nodes, &mut cluster);
    }
}

#[test]
fn a_node_answers_and_tells_the_same_as_a_process_alone() {
    play_all(1);
}

#[test]
fn three_nodes_answer_and_tell_the_same_as_a_process_alone() {
    play_all(3);
}
