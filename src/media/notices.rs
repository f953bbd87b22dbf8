//! What the media server tells participants: signaling messages of the peer `sfu`.

use serde::Serialize;

use crate::domain::command::Signal;
use crate::domain::connection_mode::SFU;
use crate::domain::event::{Event, PeerName, Signaled};
use crate::media::{Caller, Sections};

/// A row of `media-slots`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SlotRow {
    pub(super) mid: String,
    pub(super) peer_id: Option<String>,
    pub(super) source: Option<&'static str>,
}

/// The answer to an offer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerBody<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    sdp: &'a str,
    media_id: &'a str,
}

/// The body of `media-sections`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SectionsBody<'a> {
    media_id: &'a str,
    audio: usize,
    video: usize,
}

/// The body of `media-slots`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SlotsBody<'a> {
    media_id: &'a str,
    slots: &'a [SlotRow],
}

pub(super) fn answer(to: &Caller, media_id: &str, sdp: &str) -> Event {
    signal(to, Signal::Answer, &AnswerBody { kind: "answer", sdp, media_id })
}

pub(super) fn sections(to: &Caller, media_id: &str, Sections { audio, video }: Sections) -> Event {
    signal(to, Signal::MediaSections, &SectionsBody { media_id, audio, video })
}

pub(super) fn slots(to: &Caller, media_id: &str, slots: &[SlotRow]) -> Event {
    signal(to, Signal::MediaSlots, &SlotsBody { media_id, slots })
}

fn signal(to: &Caller, signal: Signal, body: &impl Serialize) -> Event {
    let body = serde_json::to_string(body).expect("invariant: texts and numbers can be written as JSON");
    let (room, to) = (to.room.clone(), to.peer.clone());
    Event::Signal(Box::new(Signaled { room, from: PeerName::Chosen(SFU.into()), to, signal, body: body.into() }))
}
