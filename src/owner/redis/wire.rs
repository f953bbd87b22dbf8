//! The domain's words as JSON, as they stand in Redis and on its channels, and back.
//!
//! Names of fields are of one letter: a message has its sender with it, and there are many. What nobody says is left out.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::access::{Identity, Roles};
use crate::domain::command::MediaState;
use crate::domain::event::{Content, Direct, Joined, Message, PeerName, PeerView};
use crate::domain::op::{Profile, RoomView};
use crate::message::redis::Bytes;
use crate::owner::redis::online::Present;

/// Who somebody is: id, user name and e-mail address (empty when there is none), roles as bits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Who(Box<str>, Box<str>, Box<str>, u8);

impl From<&Identity> for Who {
    fn from(identity: &Identity) -> Self {
        let username = if identity.username() == identity.user() { "" } else { identity.username() };
        let Roles { admin, push, guest } = identity.roles();
        let roles = u8::from(admin) | u8::from(push) << 1 | u8::from(guest) << 2;
        Self(identity.user().into(), username.into(), identity.email().unwrap_or_default().into(), roles)
    }
}

impl From<Who> for Identity {
    fn from(Who(user, username, email, roles): Who) -> Self {
        let roles = Roles { admin: roles & 1 != 0, push: roles & 2 != 0, guest: roles & 4 != 0 };
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Identity::new(&user, some(&username).as_deref(), some(&email).as_deref(), roles)
    }
}

/// What a message says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Says {
    b: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    a: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    m: Option<Box<str>>,
}

impl From<Content> for Says {
    fn from(content: Content) -> Self {
        Self { b: content.body, k: content.kind, r: content.reply_to, a: content.attachment, m: content.metadata }
    }
}

impl From<Says> for Content {
    fn from(says: Says) -> Self {
        Self { body: says.b, kind: says.k, reply_to: says.r, attachment: says.a, metadata: says.m }
    }
}

/// A message outside any room.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Letter {
    id: Uuid2,
    w: Who,
    s: Says,
    at: u64,
}

impl From<&Direct> for Letter {
    fn from(direct: &Direct) -> Self {
        let Direct { id, sender, content, at } = direct;
        Self { id: Uuid2(*id), w: sender.into(), s: content.clone().into(), at: *at }
    }
}

impl From<Letter> for Direct {
    fn from(letter: Letter) -> Self {
        Self { id: letter.id.0, sender: letter.w.into(), content: letter.s.into(), at: letter.at }
    }
}

/// A connection's id as text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Id(pub(super) ConnectionId);

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.text().as_str())
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        ConnectionId::parse(&text).map(Self).ok_or_else(|| serde::de::Error::custom("no connection id"))
    }
}

/// A message's id as text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uuid2(pub(super) Uuid);

impl Serialize for Uuid2 {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

impl<'de> Deserialize<'de> for Uuid2 {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        Uuid::try_parse(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A member of a room.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Seat {
    /// When it came, among the room's members.
    #[serde(default)]
    pub(super) o: u64,
    /// The connection.
    pub(super) c: Id,
    /// The name its client chose; empty: none.
    pub(super) p: Box<str>,
    /// The name to show, where it is another than the user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) d: Option<Box<str>>,
    /// Who it is.
    pub(super) w: Who,
    /// Which media it sends, as bits.
    pub(super) v: u8,
    /// 1 if it speaks Socket.IO.
    pub(super) k: u8,
    /// The node that holds the connection.
    pub(super) q: u16,
}

impl Seat {
    /// The member's name in the room.
    pub(super) fn name(&self) -> PeerName {
        if self.p.is_empty() { PeerName::Own(self.c.0) } else { PeerName::Chosen((*self.p).into()) }
    }

    /// The member as the others see it.
    pub(super) fn peer(self) -> PeerView {
        PeerView { name: self.name(), display_name: self.d, identity: self.w.into(), media: media(self.v) }
    }
}

/// A message of a room, as it stands in the log.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Entry {
    #[serde(default)]
    pub(super) seq: Option<u64>,
    /// The sender as a member.
    pub(super) by: Seat,
    /// The peer it is for, if it is for one.
    #[serde(default)]
    pub(super) to: Option<Seat>,
    pub(super) id: Uuid2,
    pub(super) s: Says,
    pub(super) at: u64,
}

impl Entry {
    /// The message, of this room.
    pub(super) fn message(self, room: &Name) -> Message {
        Message {
            id: self.id.0,
            seq: self.seq,
            room: room.clone(),
            from: self.by.name(),
            sender: self.by.w.into(),
            to: self.to.map(|to| to.name()),
            content: self.s.into(),
            at: self.at,
        }
    }
}

/// What became known in a room at once, and when.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// In milliseconds since 1970.
    pub(super) t: u64,
    /// Who learns it (`*` and a connection: the members but that one; `@` and a connection; `u` and a user), and what.
    pub(super) f: Vec<(Box<str>, Fact)>,
}

/// The same as it is published, with its number (0: it has none) and who caused it: a node and its call's ticket.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Publication {
    pub(super) n: u64,
    /// How many servers have kept the room before the one that says this.
    #[serde(default)]
    pub(super) z: u64,
    pub(super) o: Box<str>,
    pub(super) t: u64,
    pub(super) f: Vec<(Box<str>, Fact)>,
}

/// What is for single connections of a node: the key of their room, and what they are told.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Handed {
    pub(super) r: Box<str>,
    pub(super) f: Vec<(Box<str>, Fact)>,
}

/// One thing that became known in a room.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fact {
    Message(Box<Entry>),
    Joined(Box<Seat>),
    Left(Box<Seat>),
    Out(Out),
    /// The member's place was taken by another connection of its client.
    Moved,
    Stats(usize),
    Online(usize),
    /// How many are online, and the first of them.
    Present(usize, Vec<Present>),
    Media(Box<Seat>),
    Typing {
        w: Who,
        on: u8,
    },
    Marked(Mark),
    Receipt(Mark),
    You(Box<View>),
    Closed(Box<str>),
    Signal(Box<Signal>),
    /// A connection of this node has become a member by an act on another one.
    Enter {
        e: Box<str>,
        n: u64,
        s: u64,
        z: u64,
    },
}

/// Why a membership ended.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Out {
    Left,
    Replaced,
    Removed,
}

/// Somebody received or read a message.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Mark {
    pub(super) i: Uuid2,
    pub(super) w: Who,
    pub(super) y: Box<str>,
}

/// A signaling message.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Signal {
    pub(super) p: Seat,
    pub(super) to: Seat,
    pub(super) y: Box<str>,
    pub(super) b: Box<str>,
}

/// A member's first view of the room.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct View {
    pub(super) e: Box<str>,
    pub(super) p: Box<str>,
    pub(super) c: usize,
    pub(super) s: u64,
    pub(super) l: Vec<Seat>,
}

impl View {
    /// The member's own name.
    pub(super) fn name(&self, connection: ConnectionId) -> PeerName {
        if self.p.is_empty() { PeerName::Own(connection) } else { PeerName::Chosen((*self.p).into()) }
    }

    /// The view, with at most so many of the others.
    pub(super) fn joined(mut self, room: &Name, connection: ConnectionId, most: usize) -> Joined {
        self.l.sort_unstable_by_key(|seat| seat.o);
        let peer = self.name(connection);
        Joined {
            room: room.clone(),
            peer,
            peers: self.l.into_iter().take(most).map(Seat::peer).collect(),
            participant_count: self.c,
            epoch: (*self.e).into(),
            seq: self.s,
        }
    }
}

impl Entry {
    /// The message as it is remembered: of its sender nothing but the names.
    pub(super) fn remembered(self, room: &Name) -> Message {
        let message = self.message(room);
        let sender = &message.sender;
        let sender = Identity::new(sender.user(), Some(sender.username()), None, Roles::default());
        Message { sender, ..message }
    }
}

/// Media as bits.
pub(super) fn media_bits(media: MediaState) -> u8 {
    u8::from(media.audio) | u8::from(media.video) << 1 | u8::from(media.screen) << 2
}

/// Bits as media.
pub(super) fn media(bits: u8) -> MediaState {
    MediaState { audio: bits & 1 != 0, video: bits & 2 != 0, screen: bits & 4 != 0 }
}

/// Something as JSON.
pub(super) fn json(value: &impl Serialize) -> Bytes {
    // These have neither maps with odd keys nor anything that can fail.
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// What a room was made to be.
#[derive(Serialize, Deserialize)]
struct Made {
    n: Option<Box<str>>,
    k: Option<Box<str>>,
    v: bool,
    h: Option<Box<str>>,
    x: usize,
    y: Option<Box<str>>,
}

/// A profile as JSON, without the participants.
pub(super) fn profile(profile: &Profile) -> Bytes {
    let Profile { name, kind, is_private, participants: _, host_peer, max_participants, encryption } = profile.clone();
    let host_peer = host_peer.map(|peer| (*peer).into());
    json(&Made { n: name, k: kind, v: is_private, h: host_peer, x: max_participants, y: encryption })
}

/// A room as an onlooker sees it.
#[derive(Deserialize)]
pub(super) struct Shown {
    h: Box<str>,
    c: u64,
    a: u64,
    pf: Option<Made>,
    k: usize,
    pa: Vec<Box<str>>,
    l: Vec<Seat>,
}

impl Shown {
    /// The view, with at most so many members.
    pub(super) fn view(mut self, room: &Name, most: usize) -> RoomView {
        self.l.sort_unstable_by_key(|seat| seat.o);
        let participants = self.pa.iter().map(|user| (**user).into()).collect();
        let is_made = self.pf.is_some();
        let profile = self.pf.map(|made| Profile {
            name: made.n,
            kind: made.k,
            is_private: made.v,
            participants,
            host_peer: made.h.map(|peer| (*peer).into()),
            max_participants: made.x,
            encryption: made.y,
        });
        RoomView {
            room: room.clone(),
            is_made,
            profile: profile.unwrap_or_default(),
            host: (*self.h).into(),
            created_at: self.c,
            last_activity: self.a,
            participant_count: self.k,
            peers: self.l.into_iter().take(most).map(Seat::peer).collect(),
        }
    }
}

/// What a script answers, whatever it was for.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    /// Why it refuses.
    #[serde(default, borrow)]
    pub(super) x: Option<&'a str>,
    /// The number of the room's last facts.
    #[serde(default)]
    pub(super) n: u64,
    /// How many servers have kept the room before the one that answers.
    #[serde(default)]
    pub(super) z: u64,
    /// 1 if those are its own.
    #[serde(default)]
    pub(super) f: u8,
    /// 1: the count of members is to be told; 2: that of users; 3: both.
    #[serde(default)]
    pub(super) d: u8,
    /// The run of the room's log.
    #[serde(default, borrow)]
    pub(super) e: &'a str,
}

/// Some text as an argument.
pub(super) fn text(value: impl AsRef<[u8]>) -> Bytes {
    value.as_ref().into()
}

/// A number as an argument.
pub(super) fn number(value: u64) -> Bytes {
    value.to_string().into_bytes().into()
}
