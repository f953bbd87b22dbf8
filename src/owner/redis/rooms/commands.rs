//! Operations on rooms: from operations to calls of scripts.

use crate::base::Name;
use crate::base::ids::{ConnectionId, random_word};
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::about::About;
use crate::domain::access::Identity;
use crate::domain::command::{MediaState, ReceiptKind};
use crate::domain::event::Message;
use crate::domain::history::{HistoryRange, PAGE_MAX};
use crate::domain::hook::HookKind;
use crate::domain::op::{
    ChangeRights, HostClaim, HostKey, JoinRoom, LogTerms, MarkedMessages, Profile, ProfileChange, Publisher,
    RelaySignal, Revise, RoomOp, SendMessage, UnreadOf, message_id,
};
use crate::domain::recovery::Returning;
use crate::domain::signaling::load_ms;
use crate::message::Requester;
use crate::message::redis::{Bytes, Script};
use crate::owner::redis::schema::EPOCH_CHARS;
use crate::owner::redis::scripts;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::{
    self, WireConnectionId, WireContent, WireIdentity, WireMember, connection as id, flag, json, number,
    revision_letter, text,
};

/// The operation that a call on a room does: it selects how the reply is decoded.
pub(crate) enum RoomCall {
    /// An operation without a result.
    Done,
    /// A signaling message; it has no result either.
    Signal,
    /// With the user whom the room counts for.
    Create(Name),
    Join(ConnectionId),
    Return(Box<PendingReturn>),
    Leave(ConnectionId),
    /// With the user who closes it.
    Close(Name),
    /// The connection's membership ends.
    Vanish(ConnectionId),
    /// The connection's membership ends after the grace period, unless the connection returns.
    Lose(ConnectionId),
    Send,
    /// A message of a backend.
    Publish(u16),
    Typists,
    History {
        is_upward: bool,
    },
    Marks(uuid::Uuid),
    /// Of this user, or the member's.
    Unread,
    Describe,
    Update,
    Roster,
    Since,
    /// Count of users, or the list of them.
    Online,
    /// Removal of the members of a dead node.
    Purge(u16),
    /// Check of a room whose list entry has expired.
    CheckListed,
    /// A room that was left is ended if it is idle.
    EndIdle,
    /// Check of a room that this user has made.
    CheckMade(Name),
}

/// A return to a room, which takes one call for each portion of the missed messages.
pub(crate) struct PendingReturn {
    pub(super) back: Returning,
    /// Missed messages of the answers so far.
    pub(super) messages: Vec<Message>,
}

impl PendingReturn {
    pub(super) fn connection(&self) -> ConnectionId {
        self.back.join.connection
    }

    /// Adds a portion of the missed messages. If they have become too many, the client misses them.
    pub(super) fn add(&mut self, portion: Vec<Message>) {
        self.messages.extend(portion);
        let bytes: usize = self.messages.iter().map(|message| message.content.bytes()).sum();
        match self.messages.last().and_then(|message| message.seq) {
            Some(seq) if bytes <= limits::MISSED_BYTES => self.back.seq = seq,
            _ => self.back.epoch = "".into(),
        }
    }
}

/// Calls the script of a return, again after each portion of the missed messages.
pub(super) fn call_return(turn: &mut OwnerTurn<'_>, name: Name, pending: Box<PendingReturn>, to: Option<Requester>) {
    let arguments = encode_return(&pending);
    turn.call_room(&scripts::REJOIN, name, to, RoomCall::Return(pending), arguments);
}

/// The script of an operation, the way to decode its reply, and its arguments.
pub(super) fn encode(turn: &mut OwnerTurn<'_>, name: &Name, op: RoomOp) -> (&'static Script, RoomCall, Vec<Bytes>) {
    match op {
        RoomOp::Create { by, profile, log, is_locked } => {
            (&scripts::CREATE, RoomCall::Create(by.user_name()), create(turn, name, &by, &profile, (log, is_locked)))
        }
        RoomOp::Join(join) => (&scripts::JOIN, RoomCall::Join(join.connection), encode_join(turn, &join)),
        RoomOp::Rejoin(back) => {
            let pending = Box::new(PendingReturn { back: *back, messages: Vec::new() });
            let arguments = encode_return(&pending);
            (&scripts::REJOIN, RoomCall::Return(pending), arguments)
        }
        RoomOp::Leave { connection, by, peer } => {
            let [by, is_admin, key] = host(&by);
            let arguments = vec![id(connection), by, is_admin, optional(peer.as_deref()), key];
            (&scripts::LEAVE, RoomCall::Leave(connection), arguments)
        }
        RoomOp::StartGrace { connection } => (&scripts::START_GRACE, RoomCall::Lose(connection), vec![id(connection)]),
        RoomOp::RemoveMember { connection: gone } => (&scripts::REMOVE_MEMBER, RoomCall::Vanish(gone), vec![id(gone)]),
        RoomOp::RelaySignal(signal) => (&scripts::RELAY_SIGNAL, RoomCall::Signal, encode_signal(turn, &signal)),
        RoomOp::SetMedia { connection, peer, media, sfu } => {
            (&scripts::SET_MEDIA, RoomCall::Done, encode_media(connection, peer.as_deref(), media, sfu))
        }
        RoomOp::ReportFailure { connection, peer } => {
            (&scripts::REPORT_FAILURE, RoomCall::Done, failure(connection, &peer))
        }
        RoomOp::SetMode { by, wanted } => (&scripts::SET_MODE, RoomCall::Done, by_host(&by, text(wanted.as_str()))),
        RoomOp::Send(message) => {
            let call = message.publisher.as_ref().map_or(RoomCall::Send, |by| RoomCall::Publish(by.part));
            (send_script(turn), call, encode_message(turn, *message))
        }
        RoomOp::SetTyping { connection, is_typing } => {
            (&scripts::SET_TYPING, RoomCall::Done, vec![id(connection), flag(is_typing)])
        }
        RoomOp::ListTypists { connection } => (&scripts::LIST_TYPISTS, RoomCall::Typists, vec![id(connection)]),
        RoomOp::MarkMessage { connection, message, kind } => {
            (&scripts::MARK_MESSAGE, RoomCall::Done, encode_mark(connection, message, kind))
        }
        RoomOp::MarkMessages { connection, messages, kind } => encode_marks(connection, &messages, kind),
        RoomOp::ReadHistory { connection, wanted } => {
            let call = RoomCall::History { is_upward: wanted.after.is_some() };
            (&scripts::READ_HISTORY, call, encode_range(connection, wanted))
        }
        RoomOp::ReadSince { connection, after, limit } => {
            let arguments = vec![id(connection), text(after.to_string()), number(limit.min(PAGE_MAX) as u64)];
            (&scripts::READ_SINCE, RoomCall::History { is_upward: true }, arguments)
        }
        RoomOp::ReadReceipts { connection, message } => {
            (&scripts::READ_RECEIPTS, RoomCall::Marks(message), vec![any_id(connection), text(message.to_string())])
        }
        RoomOp::CountUnread { of } => (&scripts::COUNT_UNREAD, RoomCall::Unread, encode_reader(&of)),
        RoomOp::AddParticipant { by, connections } => {
            (&scripts::ADD_PARTICIPANT, RoomCall::Done, admit(turn, name, &by, &connections))
        }
        RoomOp::RemoveParticipant { by, connection } => {
            (&scripts::REMOVE_PARTICIPANT, RoomCall::Done, vec![user(&by), any_id(connection)])
        }
        RoomOp::Update { by, change, adopts } => {
            (&scripts::UPDATE, RoomCall::Update, encode_change(turn, name, (&by, adopts), &change))
        }
        RoomOp::RemoveUser { by, user } => (&scripts::REMOVE_USER, RoomCall::Done, by_host(&by, text(&*user))),
        RoomOp::SetLocked { by, is_locked } => (&scripts::SET_LOCKED, RoomCall::Done, by_host(&by, flag(is_locked))),
        RoomOp::Describe { by } => (&scripts::DESCRIBE, RoomCall::Describe, vec![user(&by), admin(&by)]),
        RoomOp::ListUsers { by, page } => {
            let arguments = vec![user(&by), admin(&by), optional(page.after.as_deref()), number(page.limit as u64)];
            (&scripts::LIST_USERS, RoomCall::Roster, arguments)
        }
        RoomOp::Close { by } => (&scripts::CLOSE, RoomCall::Close(by.by.user_name()), host(&by).into()),
    }
}

/// The media that a member sends, and whether it can use a media server or not as before.
fn encode_media(connection: ConnectionId, peer: Option<&str>, media: MediaState, sfu: Option<bool>) -> Vec<Bytes> {
    let bits = MediaState { sfu: sfu.unwrap_or_default(), ..media }.bits();
    vec![id(connection), optional(peer), number(bits.into()), flag(sfu.is_none())]
}

fn failure(connection: ConnectionId, peer: &Name) -> Vec<Bytes> {
    vec![id(connection), text(&**peer)]
}

fn encode_mark(connection: ConnectionId, message: uuid::Uuid, kind: ReceiptKind) -> Vec<Bytes> {
    vec![id(connection), text(message.to_string()), text(mark_name(kind))]
}

fn encode_marks(
    connection: ConnectionId,
    messages: &MarkedMessages,
    kind: ReceiptKind,
) -> (&'static Script, RoomCall, Vec<Bytes>) {
    let (is_up_to, messages) = match messages {
        MarkedMessages::These(messages) => (false, &**messages),
        MarkedMessages::UpTo(last) => (true, std::slice::from_ref(last)),
    };
    let own = [id(connection), text(mark_name(kind)), flag(is_up_to)];
    let arguments = own.into_iter().chain(messages.iter().map(|message| text(message.to_string()))).collect();
    (&scripts::MARK_MESSAGES, RoomCall::Done, arguments)
}

fn encode_range(connection: Option<ConnectionId>, wanted: HistoryRange) -> Vec<Bytes> {
    vec![any_id(connection), optional_number(wanted.after), number(wanted.limit.min(PAGE_MAX) as u64)]
}

fn encode_reader(of: &UnreadOf) -> Vec<Bytes> {
    match of {
        UnreadOf::Member(connection) => vec![id(*connection), text("")],
        UnreadOf::User(user) => vec![text(""), text(&**user)],
    }
}

fn mark_name(kind: ReceiptKind) -> &'static str {
    if kind == ReceiptKind::Read { "read" } else { "delivered" }
}

fn encode_change(
    turn: &mut OwnerTurn<'_>,
    name: &Name,
    (by, adopts): (&Identity, bool),
    change: &ProfileChange,
) -> Vec<Bytes> {
    turn.node.registry.enrolments.add_participants(name, change.participants.as_deref().unwrap_or_default());
    let locked = change.is_locked.map_or_else(|| text(""), flag);
    let retention = change.retention;
    let participants = change.participants.as_deref();
    let mut arguments = vec![
        user(by),
        admin(by),
        wire::profile_change(change),
        flag(adopts),
        locked,
        optional_number(retention.messages),
        optional_number(retention.age_ms),
        flag(participants.is_some()),
    ];
    arguments.extend(participants.unwrap_or_default().iter().map(|user| text(&**user)));
    arguments
}

/// The arguments of an action of a host, and its own one.
fn by_host(by: &HostClaim, own: Bytes) -> Vec<Bytes> {
    let [by, is_admin, key] = host(by);
    vec![by, is_admin, key, own]
}

/// The new room is listed, and added to the lists of its participants, before it exists.
fn create(
    turn: &mut OwnerTurn<'_>,
    name: &Name,
    by: &Identity,
    profile: &Profile,
    (log, is_locked): (LogTerms, bool),
) -> Vec<Bytes> {
    turn.node.registry.enlist(name.clone());
    turn.node.registry.enrolments.add_all(name, by, profile);
    let history = match log.history {
        None => "",
        Some(true) => "1",
        Some(false) => "0",
    };
    let mut arguments = vec![
        text(random_word(&mut turn.node.rng, EPOCH_CHARS)),
        json(&WireIdentity::from(by)),
        user(by),
        flag(by.roles().guest),
        wire::profile(profile),
        flag(profile.is_private),
        number(profile.max_participants as u64),
        text(history),
        optional_number(log.retention.messages),
        optional_number(log.retention.age_ms),
        profile.host_key.as_ref().map_or_else(|| text(""), host_key),
        flag(is_locked),
    ];
    arguments.extend(profile.participants.iter().map(|user| text(&**user)));
    arguments
}

fn member(join: &JoinRoom) -> Bytes {
    json(&WireMember {
        order: 0,
        connection: WireConnectionId(join.connection),
        peer: join.peer.as_deref().unwrap_or_default().into(),
        display_name: join.about.shared_name(),
        data: wire::member_data(&join.about),
        is_observer: u8::from(join.about.is_observer()),
        identity: WireIdentity::from(&join.by),
        media: join.media.bits(),
        is_socketio: u8::from(join.connection.is_peer()),
        node: join.connection.place().node,
    })
}

fn encode_join(turn: &mut OwnerTurn<'_>, join: &JoinRoom) -> Vec<Bytes> {
    let epoch = text(random_word(&mut turn.node.rng, EPOCH_CHARS));
    let has_host = turn.node.rules.joined_have_host;
    let rewind = number(join.rewind as u64);
    vec![member(join), admin(&join.by), flag(join.by.roles().guest), flag(join.create), epoch, flag(has_host), rewind]
}

fn encode_return(pending: &PendingReturn) -> Vec<Bytes> {
    let PendingReturn { back, messages } = pending;
    let most = limits::MISSED_MESSAGES.saturating_sub(messages.len()) as u64;
    let (join, epoch, seq) = (&back.join, text(&*back.epoch), number(back.seq));
    vec![id(back.former), member(join), admin(&join.by), epoch, seq, number(most)]
}

fn encode_signal(turn: &OwnerTurn<'_>, signal: &RelaySignal) -> Vec<Bytes> {
    let body = json(&signal.body);
    let (from, kind) = (optional(signal.from.as_deref()), text(signal.signal.as_str()));
    let load = match turn.node.rules.signal_bytes {
        0 => 0,
        most => load_ms(signal.body.len(), most),
    };
    vec![id(signal.connection), from, text(&*signal.to), kind, body, number(load)]
}

/// The script of a message. The usual way passes by the outbox.
fn send_script(turn: &OwnerTurn<'_>) -> &'static Script {
    match turn.node.rules.hooks.contains(HookKind::MessagePublished) {
        true => &scripts::SEND_HOOKED,
        false => &scripts::SEND,
    }
}

fn encode_message(turn: &mut OwnerTurn<'_>, message: SendMessage) -> Vec<Bytes> {
    let SendMessage { connection, publisher, to, content, client_message_id, revises, stream } = message;
    let message = message_id(&mut turn.node.rng, turn.now).to_string();
    let inner = stream.map(|_| inner_text(&content.body));
    let content = json(&WireContent::from(content));
    let opens = stream.is_some() && revises.is_none();
    let rest = message_rest(&message, &content, (revises.as_deref(), opens), turn.now);
    let mut arguments =
        vec![id(connection), optional(to.as_deref()), text(message), rest, optional(client_message_id.as_deref())];
    if publisher.is_some() || revises.is_some() || opens {
        arguments.push(publisher.as_ref().map_or_else(|| text(""), |publisher| backend(connection, publisher)));
    }
    match &revises {
        Some(change) => {
            arguments.extend([text(change.message.to_string()), text(revision_letter(change.kind)), content]);
            arguments.push(text(rights_letter(change.rights)));
        }
        None if publisher.as_ref().is_some_and(|publisher| publisher.is_momentary) => {
            arguments.extend([text(""), text("n")]);
        }
        None if opens => arguments.extend([text(""), text("o"), content, text("")]),
        None => {}
    }
    if let (Some(of), Some(inner)) = (stream, inner) {
        let offset = optional_number(of.offset.map(u64::from));
        let lengths = [of.units, of.bytes].map(|length| number(length.into()));
        arguments.extend(lengths.into_iter().chain([offset, number(of.bytes_max.into()), inner]));
    }
    arguments
}

fn rights_letter(rights: ChangeRights) -> &'static str {
    match rights {
        ChangeRights::Usual => "",
        ChangeRights::Own => "o",
        ChangeRights::Any => "m",
    }
}

/// The text of a JSON string, without its quotation marks.
fn inner_text(json: &str) -> Bytes {
    text(json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default())
}

/// A backend as the member that sends a message.
fn backend(connection: ConnectionId, publisher: &Publisher) -> Bytes {
    json(&WireMember {
        order: 0,
        connection: WireConnectionId(connection),
        peer: publisher.identity.user().into(),
        display_name: None,
        data: None,
        is_observer: 0,
        identity: WireIdentity::from(&publisher.identity),
        media: 0,
        is_socketio: 0,
        node: connection.place().node,
    })
}

/// The room is added to the caller's list before the caller becomes a participant.
fn admit(turn: &mut OwnerTurn<'_>, name: &Name, by: &Identity, connections: &[ConnectionId]) -> Vec<Bytes> {
    turn.node.registry.enrolments.add(name, by);
    let join = |connection: &ConnectionId| JoinRoom {
        connection: *connection,
        by: by.clone(),
        peer: None,
        about: About::default(),
        media: MediaState::default(),
        create: false,
        rewind: 0,
    };
    let members = connections.iter().map(|connection| member(&join(connection)));
    [user(by), admin(by)].into_iter().chain(members).collect()
}

/// A logged message from its id on; the script adds number and sender before it.
fn message_rest(id: &str, content: &[u8], (revises, opens): (Option<&Revise>, bool), now: Now) -> Bytes {
    let mut rest = format!(r#""id":"{id}","#).into_bytes();
    if let Some(Revise { message, kind, .. }) = revises {
        rest.extend_from_slice(format!(r#""rv":{{"i":"{message}","k":"{}"}},"#, revision_letter(*kind)).as_bytes());
    }
    if opens {
        rest.extend_from_slice(b"\"so\":1,");
    }
    rest.extend_from_slice(b"\"s\":");
    rest.extend_from_slice(content);
    rest.extend_from_slice(format!(r#","at":{}}}"#, now.wall).as_bytes());
    rest.into()
}

/// User, whether an admin, and the key of the host secret (empty: none).
fn host(claim: &HostClaim) -> [Bytes; 3] {
    let key = claim.key.as_deref().map_or_else(|| text(""), host_key);
    [user(&claim.by), admin(&claim.by), key]
}

fn host_key(key: &HostKey) -> Bytes {
    text(key.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn user(by: &Identity) -> Bytes {
    text(by.user())
}

fn admin(by: &Identity) -> Bytes {
    flag(by.roles().admin)
}

fn optional(value: Option<&str>) -> Bytes {
    text(value.unwrap_or_default())
}

fn any_id(connection: Option<ConnectionId>) -> Bytes {
    connection.map_or_else(|| text(""), id)
}

fn optional_number(value: Option<u64>) -> Bytes {
    value.map_or_else(|| text(""), number)
}
