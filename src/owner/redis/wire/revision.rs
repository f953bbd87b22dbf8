//! Changes of messages, and streams.

use serde::Deserialize;

use super::{WireContent, WireMessageId};
use crate::domain::event::{Content, Revision, RevisionKind, StreamStatus};

/// A change of another message: its id and the kind of the change.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct WireRevises {
    #[serde(rename = "i")]
    message: WireMessageId,
    #[serde(rename = "k")]
    kind: Box<str>,
}

/// What changes have made of a message.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct WireRevised {
    #[serde(rename = "k")]
    kind: Box<str>,
    #[serde(default)]
    at: u64,
    #[serde(rename = "s", default)]
    content: Option<WireContent>,
}

/// A kind of change, as the scripts know it.
pub(in crate::owner::redis) fn revision_letter(kind: RevisionKind) -> &'static str {
    match kind {
        RevisionKind::Edit => "e",
        RevisionKind::Delete => "d",
        RevisionKind::Append(StreamStatus::Streaming) => "a",
        RevisionKind::Append(StreamStatus::Complete) => "c",
        RevisionKind::Append(StreamStatus::Cancelled) => "x",
    }
}

fn revision_kind(letter: &str) -> RevisionKind {
    match letter {
        "d" => RevisionKind::Delete,
        // Of a message, an open stream; of a piece, one that others follow.
        "a" | "s" => RevisionKind::Append(StreamStatus::Streaming),
        "c" => RevisionKind::Append(StreamStatus::Complete),
        "x" => RevisionKind::Append(StreamStatus::Cancelled),
        _ => RevisionKind::Edit,
    }
}

/// A message's content after changes, and its part in changes: the message that it changes, the offset of a piece, and whether it
/// is a stream.
pub(super) fn revised(
    content: Content,
    (revises, offset, is_stream): (Option<WireRevises>, u64, bool),
    revised: Option<Box<WireRevised>>,
) -> (Content, Option<Box<Revision>>) {
    if let Some(WireRevises { message, kind }) = revises {
        return match revision_kind(&kind) {
            RevisionKind::Append(status) => {
                // The stream's message was edited or deleted meanwhile.
                let content = if revised.is_some() { Content { body: r#""""#.into(), ..content } } else { content };
                (content, Some(Box::new(Revision::Piece { message: message.0, offset, status })))
            }
            kind => (content, Some(Box::new(Revision::Of { message: message.0, kind }))),
        };
    }
    let Some(WireRevised { kind, at, content: edit }) = revised.map(|revised| *revised) else {
        return (content, is_stream.then(|| Box::new(Revision::Stream(StreamStatus::Streaming))));
    };
    match (revision_kind(&kind), edit) {
        (RevisionKind::Delete, _) => (content.gone(), Some(Box::new(Revision::Deleted(at)))),
        (RevisionKind::Edit, Some(edit)) => (content.edited(edit.into()), Some(Box::new(Revision::Edited(at)))),
        (RevisionKind::Append(status), Some(text)) => {
            (content.edited(text.into()), Some(Box::new(Revision::Stream(status))))
        }
        (RevisionKind::Append(status), None) => (content, Some(Box::new(Revision::Stream(status)))),
        (RevisionKind::Edit, None) => (content, None),
    }
}
