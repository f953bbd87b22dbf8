//! Conversion between rows and domain types.

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Result, Row, Statement};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::codec::json;
use crate::domain::about::About;
use crate::domain::access::{Identity, Roles};
use crate::domain::command::{MediaState, Status};
use crate::domain::event::{Content, Direct, Message, PeerName, Revision, RevisionKind, StreamStatus};
use crate::domain::op::{HostKey, Profile, PushResult};
use crate::domain::record::{MadeRoom, Position, Retention, Session, TokenHash};
use crate::domain::revocation::{Revocation, Revoked};
use crate::message::storage::StoredUser;

/// Columns of [`message`], from `message` joined with its sender's row in `user`.
pub(super) const MESSAGE: &str = "message.seq, message.id, message.at, user.name, message.username, message.peer, \
    message.body, message.kind, message.reply_to, message.attachment, message.metadata, message.event, \
    message.display_name, message.revision, message.revised";

/// Columns of [`direct`].
pub(super) const DIRECT: &str =
    "id, at, sender, username, body, kind, reply_to, attachment, metadata, event, is_pushed";

/// The size of a direct message, as [`Content::bytes`] has it.
pub(super) const DIRECT_BYTES: &str =
    "octet_length(body) + ifnull(octet_length(kind), 0) + ifnull(octet_length(reply_to), 0)
    + ifnull(octet_length(attachment), 0) + ifnull(octet_length(metadata), 0) + ifnull(octet_length(event), 0)";

/// Columns of [`session`].
pub(super) const SESSION: &str = "token, user, connection, connected_at, active_at, expires_at, rooms, dialect";

/// Columns of [`user`], for a user with stored presence.
pub(super) const USER: &str = "name, username, email, status, seen_at";

/// Columns of [`revocation`].
pub(super) const REVOCATION: &str = "subject, until, reason, issued_before, made_at, made_by";

/// Columns of [`made_room`].
pub(super) const ROOM: &str = "name, epoch, host, host_username, host_roles, created_at, history, keep_messages, \
    keep_ms, has_profile, title, kind, is_private, host_peer, max_participants, encryption, description, \
    host_key, is_locked, maker, metadata";

/// A count or time as a database integer. Larger values become the maximum.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn nat(row: &Row<'_>, at: usize) -> Result<u64> {
    row.get::<_, i64>(at).map(|number| u64::try_from(number).unwrap_or(0))
}

fn text(row: &Row<'_>, at: usize) -> Result<Name> {
    Ok(row.get_ref(at)?.as_str()?.into())
}

fn optional_text<T: for<'a> From<&'a str>>(row: &Row<'_>, at: usize) -> Result<Option<T>> {
    Ok(row.get_ref(at)?.as_str_or_null()?.map(T::from))
}

/// A connection id as a blob, or a chosen name as text.
pub(super) struct PeerColumn<'a>(pub(super) &'a PeerName);

impl ToSql for PeerColumn<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            PeerName::Chosen(name) => ToSqlOutput::Borrowed(ValueRef::Text(name.as_bytes())),
            PeerName::Own(id) => ToSqlOutput::from(id.bytes().to_vec()),
        })
    }
}

fn peer(row: &Row<'_>, at: usize) -> Result<PeerName> {
    match row.get_ref(at)? {
        ValueRef::Blob(_) => Ok(PeerName::Own(ConnectionId::from_bytes(row.get(at)?))),
        value => Ok(PeerName::Chosen(value.as_str()?.into())),
    }
}

fn content(row: &Row<'_>, at: usize) -> Result<Content> {
    Ok(Content {
        body: row.get_ref(at)?.as_str()?.into(),
        event: optional_text(row, at + 5)?,
        kind: optional_text(row, at + 1)?,
        reply_to: optional_text(row, at + 2)?,
        attachment: optional_text(row, at + 3)?,
        metadata: optional_text(row, at + 4)?,
    })
}

/// The username column: `NULL` when the username is the user id.
pub(super) fn own_username(identity: &Identity) -> Option<&str> {
    (identity.username() != identity.user()).then(|| identity.username())
}

pub(super) fn sender(row: &Row<'_>, at: usize) -> Result<Identity> {
    let username: Option<Box<str>> = optional_text(row, at + 1)?;
    Ok(Identity::new(row.get_ref(at)?.as_str()?, username.as_deref(), None, Roles::default()))
}

pub(super) fn uuid(row: &Row<'_>, at: usize) -> Result<Uuid> {
    row.get(at).map(Uuid::from_bytes)
}

pub(super) fn message(room: &Name, row: &Row<'_>) -> Result<Message> {
    Ok(Message {
        id: uuid(row, 1)?,
        seq: Some(nat(row, 0)?),
        room: room.clone(),
        sender: sender(row, 3)?,
        display_name: optional_text(row, 12)?,
        from: peer(row, 5)?,
        is_published: false,
        to: None,
        content: content(row, 6)?,
        at: nat(row, 2)?,
        revision: revision(row, 13)?.map(Box::new),
    })
}

/// The numbers of changes and of what they leave, in the column `revision`.
pub(super) const EDITED: u8 = 3;
/// See [`EDITED`].
pub(super) const DELETED: u8 = 4;

/// A piece of a stream, in the column `revision`.
pub(super) const PIECE: u8 = 5;

pub(super) fn revision_column(kind: RevisionKind) -> u8 {
    match kind {
        RevisionKind::Edit => 1,
        RevisionKind::Delete => 2,
        RevisionKind::Append(_) => PIECE,
    }
}

/// The status of a stream, in the column `revision` of its message.
pub(super) fn stream_column(status: StreamStatus) -> u8 {
    match status {
        StreamStatus::Streaming => 6,
        StreamStatus::Complete => 7,
        StreamStatus::Cancelled => 8,
    }
}

fn stream_status(column: u8) -> StreamStatus {
    match column {
        6 => StreamStatus::Streaming,
        7 => StreamStatus::Complete,
        _ => StreamStatus::Cancelled,
    }
}

/// The column `revised` of a piece. It orders the pieces of a stream by their offset.
pub(super) fn piece_column(stream: Uuid, offset: u64, status: StreamStatus) -> [u8; 21] {
    let mut column = [0; 21];
    column[..16].copy_from_slice(stream.as_bytes());
    column[16..20].copy_from_slice(&u32::try_from(offset).unwrap_or(u32::MAX).to_be_bytes());
    column[20] = stream_column(status);
    column
}

/// The texts of a stream's pieces, in their order.
pub(super) const PIECES: &str =
    "SELECT body FROM message WHERE revision = 5 AND revised > ?1 AND revised < ?2 ORDER BY revised";

/// Appends the pieces of a stream to the JSON string of its message.
pub(super) fn add_pieces(pieces: &mut Statement<'_>, stream: &Uuid, text: &mut String) -> Result<()> {
    let (from, to) = pieces_of(stream);
    let mut rows = pieces.query((from, to))?;
    while let Some(row) = rows.next()? {
        json::append_string(text, row.get_ref(0)?.as_str()?);
    }
    Ok(())
}

/// The columns between which those of a stream's pieces are.
pub(super) fn pieces_of(stream: &Uuid) -> ([u8; 16], [u8; 17]) {
    let mut last = [u8::MAX; 17];
    last[..16].copy_from_slice(stream.as_bytes());
    (*stream.as_bytes(), last)
}

fn piece(row: &Row<'_>, at: usize) -> Result<Revision> {
    let column: [u8; 21] = row.get(at)?;
    let (id, rest) = column.split_at(16);
    let message = Uuid::from_slice(id).unwrap_or_default();
    let offset = rest[..4].iter().fold(0, |offset, byte| offset << 8 | u64::from(*byte));
    Ok(Revision::Piece { message, offset, status: stream_status(rest[4]) })
}

fn revision(row: &Row<'_>, at: usize) -> Result<Option<Revision>> {
    Ok(match row.get::<_, Option<u8>>(at)? {
        None => None,
        Some(1) => Some(Revision::Of { message: uuid(row, at + 1)?, kind: RevisionKind::Edit }),
        Some(2) => Some(Revision::Of { message: uuid(row, at + 1)?, kind: RevisionKind::Delete }),
        Some(EDITED) => Some(Revision::Edited(nat(row, at + 1)?)),
        Some(PIECE) => Some(piece(row, at + 1)?),
        Some(DELETED) => Some(Revision::Deleted(nat(row, at + 1)?)),
        Some(status) => Some(Revision::Stream(stream_status(status))),
    })
}

pub(super) fn direct(row: &Row<'_>) -> Result<Direct> {
    let (id, at, sender, content) = (uuid(row, 0)?, nat(row, 1)?, sender(row, 2)?, content(row, 4)?);
    Ok(Direct { is_pushed: row.get(10)?, except: None, id, sender, content, at })
}

/// The reach of a backend's message.
pub(super) fn push(row: &Row<'_>) -> Result<PushResult> {
    let (reached, offline): (i64, String) = (row.get(0)?, row.get(1)?);
    Ok(PushResult { reached: reached as usize, offline: serde_json::from_str(&offline).unwrap_or_default() })
}

pub(super) fn roles_column(roles: Roles) -> u8 {
    u8::from(roles.admin) | u8::from(roles.push) << 1 | u8::from(roles.guest) << 2
}

fn roles(row: &Row<'_>, at: usize) -> Result<Roles> {
    let bits: u8 = row.get(at)?;
    Ok(Roles { admin: bits & 1 != 0, push: bits & 2 != 0, guest: bits & 4 != 0 })
}

/// Without the participants, which are in a table of their own.
pub(super) fn made_room(row: &Row<'_>) -> Result<MadeRoom> {
    let username: Option<Box<str>> = optional_text(row, 3)?;
    let has_profile: bool = row.get(9)?;
    let profile = Profile {
        name: optional_text(row, 10)?,
        kind: optional_text(row, 11)?,
        is_private: row.get(12)?,
        participants: Vec::new(),
        host_peer: optional_text(row, 13)?,
        max_participants: usize::try_from(nat(row, 14)?).unwrap_or(usize::MAX),
        encryption: optional_text(row, 15)?,
        description: optional_text::<Box<str>>(row, 16)?.filter(|text| !text.is_empty()),
        metadata: optional_text::<Box<str>>(row, 20)?.filter(|text| !text.is_empty()),
        host_key: row.get::<_, Option<[u8; 32]>>(17)?.map(HostKey),
    };
    let bound = |at| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.and_then(|n| u64::try_from(n).ok()));
    Ok(MadeRoom {
        room: text(row, 0)?,
        epoch: text(row, 1)?,
        host: Identity::new(row.get_ref(2)?.as_str()?, username.as_deref(), None, roles(row, 4)?),
        maker: optional_text(row, 19)?.unwrap_or_default(),
        created_at: nat(row, 5)?,
        history: row.get(6)?,
        retention: Retention { messages: bound(7)?, age_ms: bound(8)? },
        profile: has_profile.then(|| Box::new(profile)),
        is_locked: row.get(18)?,
    })
}

pub(super) fn status_column(status: Status) -> u8 {
    match status {
        Status::Online => 0,
        Status::Away => 1,
        Status::Busy => 2,
        Status::Offline => 3,
    }
}

pub(super) fn user(row: &Row<'_>) -> Result<StoredUser> {
    Ok(StoredUser {
        user: text(row, 0)?,
        username: optional_text(row, 1)?,
        email: optional_text(row, 2)?,
        status: match row.get::<_, u8>(3)? {
            0 => Status::Online,
            1 => Status::Away,
            2 => Status::Busy,
            _ => Status::Offline,
        },
        seen_at: nat(row, 4)?,
    })
}

/// A [`Position`] as JSON.
#[derive(Deserialize, Serialize)]
struct PositionText<'a> {
    room: Name,
    epoch: Name,
    seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<std::borrow::Cow<'a, str>>,
    /// Microphone, camera, screen.
    media: Vec<bool>,
}

pub(super) fn rooms_column(rooms: &[Position]) -> String {
    let texts = rooms.iter().map(|position| PositionText {
        room: position.room.clone(),
        epoch: position.epoch.clone(),
        seq: position.seq,
        since: position.since,
        peer: position.peer.clone(),
        name: position.about.packed().map(|packed| (&**packed).into()),
        media: media_flags(position.media),
    });
    serde_json::to_string(&texts.collect::<Vec<_>>()).expect("texts, numbers and booleans have a JSON form")
}

fn media_flags(media: MediaState) -> Vec<bool> {
    let MediaState { audio, video, screen, sfu } = media;
    let mut flags = vec![audio, video, screen];
    // Rows without it are those of earlier versions, which read three.
    if sfu {
        flags.push(sfu);
    }
    flags
}

fn media_of(flags: &[bool]) -> MediaState {
    let flag = |at: usize| flags.get(at).copied().unwrap_or_default();
    MediaState { audio: flag(0), video: flag(1), screen: flag(2), sfu: flag(3) }
}

fn rooms(row: &Row<'_>, at: usize) -> Result<Vec<Position>> {
    let texts: Vec<PositionText<'_>> = serde_json::from_str(row.get_ref(at)?.as_str()?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, Box::new(error)))?;
    let position = |text: PositionText<'_>| Position {
        room: text.room,
        epoch: text.epoch,
        seq: text.seq,
        since: text.since,
        peer: text.peer,
        about: About::from_packed(text.name.map(Into::into)),
        media: media_of(&text.media),
    };
    Ok(texts.into_iter().map(position).collect())
}

/// A revocation; `None` if its subject is of a later version.
pub(super) fn revocation(row: &Row<'_>) -> Result<Option<Revocation>> {
    let Some(subject) = Revoked::parse(row.get_ref(0)?.as_str()?) else { return Ok(None) };
    let number = |at| row.get::<_, Option<i64>>(at).map(|number| number.and_then(|number| u64::try_from(number).ok()));
    Ok(Some(Revocation {
        subject,
        until: number(1)?,
        reason: optional_text(row, 2)?,
        issued_before: number(3)?,
        made_at: nat(row, 4)?,
        by: text(row, 5)?,
    }))
}

pub(super) fn session(row: &Row<'_>) -> Result<Session> {
    Ok(Session {
        token: TokenHash(row.get(0)?),
        user: text(row, 1)?,
        connection: ConnectionId::from_bytes(row.get(2)?),
        connected_at: nat(row, 3)?,
        active_at: nat(row, 4)?,
        expires_at: row.get::<_, Option<i64>>(5)?.and_then(|at| u64::try_from(at).ok()),
        rooms: rooms(row, 6)?,
        dialect: row.get(7)?,
    })
}
