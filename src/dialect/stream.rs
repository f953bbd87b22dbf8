//! Requests about streams, in any dialect: messages that grow.

use std::borrow::Cow;

use crate::dialect::fields::{body, label, present, required, text, whole};
use crate::domain::command::{Append, Command, Opaque};
use crate::domain::event::StreamStatus;
use crate::domain::reject::Reject;

/// The fields of a piece, unread.
#[derive(Clone, Copy, Default)]
pub(super) struct PieceFields<'a> {
    pub(super) message_id: Option<&'a str>,
    pub(super) content: Option<&'a str>,
    pub(super) data: Option<&'a str>,
    pub(super) status: Option<&'a str>,
    pub(super) offset: Option<&'a str>,
    pub(super) client_message_id: Option<&'a str>,
}

/// A piece: its text as JSON, the status of the stream with it, and the length of the text before it, if its publisher gives that.
pub(super) struct Piece<'a> {
    pub(super) body: Opaque<'a>,
    pub(super) status: StreamStatus,
    pub(super) offset: Option<u32>,
}

/// Whether a message with this status and content opens a stream.
pub(super) fn opens(status: Option<&str>, content: &str) -> Result<bool, Reject> {
    let is_stream = status == Some("\"streaming\"");
    if is_stream && !content.starts_with('"') {
        return Err(Reject::invalid("The content of a stream must be a string"));
    }
    Ok(is_stream)
}

/// Reads a piece. The last one needs no text.
pub(super) fn piece<'a>(
    (content, data): (Option<&'a str>, Option<&'a str>),
    status: Option<&'a str>,
    offset: Option<&'a str>,
    (bytes, is_portable): (usize, bool),
) -> Result<Piece<'a>, Reject> {
    let status = match text("status", status)? {
        None => StreamStatus::Streaming,
        Some(status) => StreamStatus::parse(&status)
            .ok_or_else(|| Reject::invalid("status must be one of streaming, complete, cancelled"))?,
    };
    let offset = match whole("offset", offset)?.map(u32::try_from) {
        None => None,
        Some(Ok(offset)) => Some(offset),
        Some(Err(_)) => return Err(Reject::invalid("offset must be less than 4294967296")),
    };
    let is_last = status != StreamStatus::Streaming;
    if is_last && present(content).is_none() && present(data).is_none() {
        return Ok(Piece { body: "\"\"", status, offset });
    }
    let field = if present(content).is_some() { "content" } else { "data" };
    let (body, _) = body(None, data, content, (bytes, is_portable))?;
    match body.starts_with('"') {
        true => Ok(Piece { body, status, offset }),
        false => Err(Reject::invalid(format!("{field} must be a string"))),
    }
}

/// Reads a request that adds a piece.
pub(super) fn append<'a>(
    room: Cow<'a, str>,
    fields: PieceFields<'a>,
    limits: (usize, bool),
) -> Result<Command<'a>, Reject> {
    let message = required("messageId", text("messageId", fields.message_id)?)?;
    let Piece { body, status, offset } = piece((fields.content, fields.data), fields.status, fields.offset, limits)?;
    let client_message_id = label("clientMessageId", fields.client_message_id)?;
    Ok(Command::Append(Append { room, message, piece: body, status, offset, client_message_id }))
}

/// Reads a request that cancels a stream.
pub(super) fn cancel<'a>(room: Cow<'a, str>, message_id: Option<&'a str>) -> Result<Command<'a>, Reject> {
    let fields = PieceFields { message_id, status: Some("\"cancelled\""), ..PieceFields::default() };
    append(room, fields, (usize::MAX, true))
}
