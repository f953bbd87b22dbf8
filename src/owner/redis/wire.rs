//! JSON forms of domain values, as they are stored in Redis and published on its channels.
//!
//! Field names have one letter, because each message carries its sender and there are many messages. Absent values are left
//! out. These names are part of the schema: nodes of different versions share them.

mod profile;
mod revision;

pub(super) use profile::{WireRoomInfo, WireRoomView, profile, profile_change};

pub(super) use revision::revision_letter;
use revision::{WireRevised, WireRevises, revised};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::about::About;
use crate::domain::access::{Identity, Roles};
use crate::domain::command::{MediaState, ReceiptKind, Status};
use crate::domain::event::{Content, Direct, Event, Joined, LeaveCause, Message, PeerName, PeerView};
use crate::domain::op::{PresenceView, PushResult};
use crate::message::redis::Bytes;
use crate::owner::redis::mode::{WireModeChange, mode};

/// An identity: user id, user name, e-mail address (empty: none), roles as bits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WireIdentity(Box<str>, Box<str>, Box<str>, u8);

impl From<&Identity> for WireIdentity {
    fn from(identity: &Identity) -> Self {
        let username = if identity.username() == identity.user() { "" } else { identity.username() };
        let Roles { admin, push, guest } = identity.roles();
        let roles = u8::from(admin) | u8::from(push) << 1 | u8::from(guest) << 2;
        Self(identity.user().into(), username.into(), identity.email().unwrap_or_default().into(), roles)
    }
}

impl From<WireIdentity> for Identity {
    fn from(WireIdentity(user, username, email, roles): WireIdentity) -> Self {
        let roles = Roles { admin: roles & 1 != 0, push: roles & 2 != 0, guest: roles & 4 != 0 };
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Identity::new(&user, some(&username).as_deref(), some(&email).as_deref(), roles)
    }
}

/// The content of a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WireContent {
    #[serde(rename = "b")]
    body: Box<str>,
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    event: Option<Box<str>>,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    kind: Option<Box<str>>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<Box<str>>,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    attachment: Option<Box<str>>,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<str>>,
}

impl From<Content> for WireContent {
    fn from(Content { body, event, kind, reply_to, attachment, metadata }: Content) -> Self {
        Self { body, event, kind, reply_to, attachment, metadata }
    }
}

impl From<WireContent> for Content {
    fn from(WireContent { body, event, kind, reply_to, attachment, metadata }: WireContent) -> Self {
        Self { body, event, kind, reply_to, attachment, metadata }
    }
}

/// The reach of a push as the script that begins it answers it again; empty without one.
pub(super) fn reach(result: Option<&PushResult>) -> Bytes {
    #[derive(Serialize)]
    struct Reach<'r> {
        #[serde(rename = "k")]
        reached: usize,
        #[serde(rename = "of")]
        offline: &'r [Name],
    }
    result.map_or_else(Bytes::default, |result| json(&Reach { reached: result.reached, offline: &result.offline }))
}

/// A direct message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WireDirect {
    id: WireMessageId,
    #[serde(rename = "w")]
    sender: WireIdentity,
    #[serde(rename = "s")]
    content: WireContent,
    #[serde(rename = "p", default, skip_serializing_if = "std::ops::Not::not")]
    is_pushed: bool,
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    except: Option<WireConnectionId>,
    /// The last field: scripts read it at the end.
    at: u64,
}

impl From<&Direct> for WireDirect {
    fn from(Direct { is_pushed, except, id, sender, content, at }: &Direct) -> Self {
        let (id, sender, content) = (WireMessageId(*id), sender.into(), content.clone().into());
        let except = except.map(WireConnectionId);
        Self { id, sender, content, at: *at, is_pushed: *is_pushed, except }
    }
}

impl From<WireDirect> for Direct {
    fn from(direct: WireDirect) -> Self {
        let WireDirect { id, sender, content, at, is_pushed, except } = direct;
        let except = except.map(|except| except.0);
        Self { is_pushed, except, id: id.0, sender: sender.into(), content: content.into(), at }
    }
}

/// The id of a connection, as text.
#[derive(Clone, Copy, Debug)]
pub(super) struct WireConnectionId(pub(super) ConnectionId);

impl Serialize for WireConnectionId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.text().as_str())
    }
}

impl<'de> Deserialize<'de> for WireConnectionId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        ConnectionId::parse(&text).map(Self).ok_or_else(|| serde::de::Error::custom("no connection id"))
    }
}

/// The id of a message, as text.
#[derive(Clone, Copy, Debug)]
pub(super) struct WireMessageId(pub(super) Uuid);

impl Serialize for WireMessageId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

impl<'de> Deserialize<'de> for WireMessageId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        Uuid::try_parse(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A member of a room.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WireMember {
    /// Position among all members the room has had; Redis sets it.
    #[serde(rename = "o", default)]
    pub(super) order: u64,
    #[serde(rename = "c")]
    pub(super) connection: WireConnectionId,
    /// The peer id that the client chose; empty: none.
    #[serde(rename = "p")]
    pub(super) peer: Box<str>,
    /// The name to show, if it differs from the user name.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(super) display_name: Option<Name>,
    /// Its data, as JSON; empty for an observer without data, so that scripts see by this field alone whether a member is usual.
    #[serde(rename = "da", default, skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Box<str>>,
    /// 1 if it observes only.
    #[serde(rename = "ob", default, skip_serializing_if = "is_zero")]
    pub(super) is_observer: u8,
    #[serde(rename = "w")]
    pub(super) identity: WireIdentity,
    /// Its media, as [`MediaState::bits`]; the script adds 16 once it has sent a signal.
    #[serde(rename = "v")]
    pub(super) media: u8,
    /// 1 for a Socket.IO peer.
    #[serde(rename = "k")]
    pub(super) is_socketio: u8,
    #[serde(rename = "q")]
    pub(super) node: u16,
}

impl WireMember {
    pub(super) fn name(&self) -> PeerName {
        peer_name(&self.peer, self.connection.0)
    }

    pub(super) fn user(&self) -> Name {
        (&*self.identity.0).into()
    }

    fn into_peer(self) -> PeerView {
        PeerView {
            name: self.name(),
            about: About::new(
                self.display_name.as_deref(),
                self.data.as_deref().filter(|data| !data.is_empty()),
                self.is_observer == 1,
            ),
            identity: self.identity.into(),
            media: MediaState::from_bits(self.media),
        }
    }

    /// The first members in their order, as the others see them.
    fn into_peers(mut members: Vec<Self>, most: usize) -> Vec<PeerView> {
        members.sort_unstable_by_key(|member| member.order);
        members.into_iter().take(most).map(Self::into_peer).collect()
    }

    pub(super) fn joined(self, room: Name, is_first: bool) -> Event {
        Event::PeerJoined { room, peer: Box::new(self.into_peer()), is_first }
    }

    pub(super) fn left(self, room: Name, is_last: bool) -> Event {
        Event::PeerLeft { room, peer: self.name(), identity: self.identity.into(), is_last }
    }
}

/// The data of a member, as [`WireMember::data`] has it.
pub(super) fn member_data(about: &About) -> Option<Box<str>> {
    about.data().or(about.is_observer().then_some("")).map(Into::into)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(flag: &u8) -> bool {
    *flag == 0
}

fn peer_name(chosen: &str, connection: ConnectionId) -> PeerName {
    if chosen.is_empty() { PeerName::Own(connection) } else { PeerName::Chosen(chosen.into()) }
}

/// A message of a room, as it is logged.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct WireMessage {
    #[serde(default)]
    pub(super) seq: Option<u64>,
    #[serde(rename = "by")]
    pub(super) sender: WireMember,
    /// The addressed member of a private message.
    #[serde(default)]
    to: Option<WireMember>,
    pub(super) id: WireMessageId,
    /// Of a piece of a stream, the length of the text before it.
    #[serde(rename = "of", default)]
    offset: u64,
    /// 1 for a stream.
    #[serde(rename = "so", default)]
    is_stream: u8,
    /// The message that it changes.
    #[serde(rename = "rv", default)]
    revises: Option<WireRevises>,
    #[serde(rename = "s")]
    content: WireContent,
    at: u64,
    /// What has become of it.
    #[serde(rename = "ed", default)]
    revised: Option<Box<WireRevised>>,
}

impl WireMessage {
    pub(super) fn into_message(self, room: &Name) -> Message {
        let part = (self.revises, self.offset, self.is_stream == 1);
        let (content, revision) = revised(self.content.into(), part, self.revised);
        Message {
            id: self.id.0,
            seq: self.seq,
            room: room.clone(),
            from: self.sender.name(),
            // The order of members begins with 1.
            is_published: self.sender.order == 0,
            sender: self.sender.identity.into(),
            display_name: self.sender.display_name,
            to: self.to.map(|to| to.name()),
            content,
            at: self.at,
            revision,
        }
    }

    /// The message as history shows it: without the sender's e-mail address and roles, and whether a backend was the sender.
    pub(super) fn into_history(self, room: &Name) -> Message {
        let message = self.into_message(room);
        let sender = &message.sender;
        let sender = Identity::new(sender.user(), Some(sender.username()), None, Roles::default());
        Message { sender, is_published: false, ..message }
    }
}

/// Each event with its audience: `*` and a connection: all members but that one; `@` and a connection; `u` and a user.
pub(super) type AddressedEvents = Vec<(Box<str>, WireEvent)>;

/// The events of one operation.
#[derive(Clone, Debug)]
pub(super) struct WireEvents {
    /// In milliseconds since 1970.
    pub(super) at: u64,
    pub(super) events: AddressedEvents,
}

/// The events of one operation, as the room's channel carries them.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RoomPublication {
    /// Position in the room's order; 0: outside of it.
    #[serde(rename = "n")]
    pub(super) number: u64,
    /// The takeover by the server that published them; see [`ReplyHeader::generation`].
    #[serde(rename = "z", default)]
    pub(super) generation: u64,
    /// The call that caused the events: `node:ticket`.
    #[serde(rename = "o")]
    pub(super) origin: Box<str>,
    #[serde(rename = "t")]
    pub(super) at: u64,
    #[serde(rename = "f")]
    pub(super) events: AddressedEvents,
}

/// Events for single connections of a node, outside the room's order, as the node's channel carries them.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct WireDelivery {
    /// Key of the room.
    #[serde(rename = "r")]
    pub(super) room_key: Box<str>,
    #[serde(rename = "f")]
    pub(super) events: AddressedEvents,
}

/// An event of a room.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WireEvent {
    Message(Box<WireMessage>),
    Joined(Box<WireMember>),
    /// The new member's user has another one.
    JoinedToo(Box<WireMember>),
    Left(Box<WireMember>),
    /// The former member's user has another one.
    LeftOne(Box<WireMember>),
    /// The addressed connection's membership ended.
    Out(WireDeparture),
    /// The addressed connection's membership passed to another connection of its client.
    Moved,
    /// The addressed connection's membership ended because its node seemed to be dead.
    Purged,
    /// The participants have changed.
    Info(Box<WireRoomInfo>),
    /// The settings have changed.
    Updated(Box<WireRoomInfo>),
    /// Number of members.
    Stats(usize),
    /// Number of users.
    Online(usize),
    /// Number of users online, and the first of them.
    Present(usize, Vec<WirePresence>),
    Media(Box<WireMember>),
    /// The connection mode has changed.
    Mode(WireModeChange),
    Typing {
        #[serde(rename = "w")]
        identity: WireIdentity,
        #[serde(rename = "d", default)]
        display_name: Option<Name>,
        on: u8,
    },
    /// A receipt, for the room's Socket.IO peers.
    Marked(WireReceipt),
    /// A receipt, for the message's sender.
    Receipt(WireReceipt),
    /// A stream is cancelled, for its publisher.
    Cancel(WireCancel),
    /// The addressed connection became a member.
    You(Box<WireJoinView>),
    Closed(Box<str>),
    Signal(Box<WireSignal>),
    /// A connection of this node became a member by an operation on another node.
    Enter {
        #[serde(rename = "e")]
        epoch: Box<str>,
        /// Number of the last events.
        #[serde(rename = "n")]
        number: u64,
        /// Number of the last message.
        #[serde(rename = "s")]
        seq: u64,
        #[serde(rename = "z")]
        generation: u64,
    },
}

/// The cause of a membership's end.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WireDeparture {
    Left,
    Replaced,
    Removed,
}

impl From<WireDeparture> for LeaveCause {
    fn from(cause: WireDeparture) -> Self {
        match cause {
            WireDeparture::Left => Self::Left,
            WireDeparture::Replaced => Self::Replaced,
            WireDeparture::Removed => Self::Removed,
        }
    }
}

/// A receipt: a user received or read a message.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct WireReceipt {
    #[serde(rename = "i")]
    message: WireMessageId,
    #[serde(rename = "w")]
    by: WireIdentity,
    #[serde(rename = "y")]
    kind: Box<str>,
}

impl WireReceipt {
    pub(super) fn message(&self) -> Uuid {
        self.message.0
    }

    pub(super) fn kind(&self) -> ReceiptKind {
        if &*self.kind == "read" { ReceiptKind::Read } else { ReceiptKind::Delivered }
    }

    pub(super) fn into_user(self) -> Identity {
        self.by.into()
    }
}

/// A user has cancelled a stream.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct WireCancel {
    #[serde(rename = "i")]
    pub(super) message: WireMessageId,
    #[serde(rename = "w")]
    pub(super) by: WireIdentity,
}

/// A signaling message.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct WireSignal {
    #[serde(rename = "p")]
    pub(super) from: WireMember,
    pub(super) to: WireMember,
    #[serde(rename = "y")]
    pub(super) kind: Box<str>,
    #[serde(rename = "b")]
    pub(super) body: Box<str>,
}

/// A new member's view of the room.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct WireJoinView {
    #[serde(rename = "e")]
    epoch: Box<str>,
    /// The member's own peer id; empty: the connection's id.
    #[serde(rename = "p")]
    peer: Box<str>,
    #[serde(rename = "c")]
    member_count: usize,
    #[serde(rename = "s")]
    seq: u64,
    /// 1 if media go through a media server.
    #[serde(rename = "cm", default)]
    is_sfu: u8,
    /// The other members, or a sample of them.
    #[serde(rename = "l")]
    members: Vec<WireMember>,
    /// The last messages that were asked for.
    #[serde(rename = "rw", default)]
    rewound: Vec<WireMessage>,
}

impl WireJoinView {
    pub(super) fn name(&self, connection: ConnectionId) -> PeerName {
        peer_name(&self.peer, connection)
    }

    /// The view, with at most this many of the other members.
    pub(super) fn into_joined(self, room: &Name, connection: ConnectionId, most: usize) -> Joined {
        Joined {
            room: room.clone(),
            peer: self.name(connection),
            peers: WireMember::into_peers(self.members, most),
            participant_count: self.member_count,
            epoch: (*self.epoch).into(),
            seq: self.seq,
            mode: mode(self.is_sfu == 1),
            rewound: self.rewound.into_iter().map(|message| message.into_history(room)).collect(),
        }
    }
}

/// A user who is online: id, name, status, last activity, start of the current presence.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WirePresence(Name, Box<str>, Box<str>, u64, Option<u64>);

impl From<&PresenceView> for WirePresence {
    fn from(view: &PresenceView) -> Self {
        let (name, status) = (view.username().into(), view.status.as_str().into());
        Self(view.user.clone(), name, status, view.last_seen.unwrap_or_default(), view.connected_at)
    }
}

impl From<WirePresence> for PresenceView {
    fn from(WirePresence(user, name, status, last_seen, connected_at): WirePresence) -> Self {
        let identity = Identity::new(&user, Some(&name), None, Roles::default());
        let status = Status::parse(&status).unwrap_or(Status::Online);
        Self { status, last_seen: Some(last_seen), identity: Some(identity), connected_at, ..Self::nobody(user) }
    }
}

/// The fields that all answers of room scripts share.
#[derive(Default, Deserialize)]
pub(super) struct ReplyHeader<'a> {
    /// Reason of a refusal.
    #[serde(rename = "x", default, borrow)]
    pub(super) refusal: Option<&'a str>,
    /// Number of the room's last events.
    #[serde(rename = "n", default)]
    pub(super) number: u64,
    /// The takeover by the server that keeps the room: larger than those before it, and no other server has it. After a
    /// failover, numbers of another generation can be missing or mean other events.
    #[serde(rename = "z", default)]
    pub(super) generation: u64,
    /// 1 if the operation itself caused the events of that number.
    #[serde(rename = "f", default)]
    pub(super) caused_events: u8,
    /// Bit 0: the number of members is to be published; bit 1: that of users; bit 2: the room was created.
    #[serde(rename = "d", default)]
    pub(super) due_counts: u8,
    #[serde(rename = "e", default, borrow)]
    pub(super) epoch: &'a str,
    /// After this many milliseconds the connection mode may go back.
    #[serde(rename = "cr", default)]
    pub(super) mode_returns_ms: Option<u64>,
    /// After this many milliseconds an open stream ends unless it gets a piece.
    #[serde(rename = "si", default)]
    pub(super) streams_end_ms: Option<u64>,
    /// 1 if the room has ended because it was idle.
    #[serde(rename = "idle", default)]
    pub(super) is_idle: u8,
    /// 1 if a return has not been done: the answer has the first of the missed messages only.
    #[serde(rename = "more", default)]
    pub(super) is_portion: u8,
}

pub(super) fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("invariant: wire types have no keys or values that JSON cannot hold").into()
}

/// A text as an argument of a script.
pub(super) fn text(value: impl AsRef<[u8]>) -> Bytes {
    value.as_ref().into()
}

/// A number as an argument of a script.
pub(super) fn number(value: u64) -> Bytes {
    value.to_string().into_bytes().into()
}

/// A flag as an argument of a script.
pub(super) fn flag(is_set: bool) -> Bytes {
    text(if is_set { "1" } else { "0" })
}

/// A connection as an argument of a script.
pub(super) fn connection(id: ConnectionId) -> Bytes {
    text(id.text().as_str())
}

/// A message id as an argument of a script.
pub(super) fn message_id(id: Uuid) -> Bytes {
    text(id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()))
}
