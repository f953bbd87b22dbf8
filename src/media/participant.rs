//! One participant of the media server: its connection, the sources that it sends, and the slots in which it receives.

use std::net::SocketAddr;

use crate::base::time::Moment;
use crate::domain::event::PeerName;
use crate::media::connection::{Kind, LAYERS_MAX, MediaConnection, Section};
use crate::media::offer::SourceName;
use crate::media::stream::Rewriter;
use crate::media::{Caller, Sections};

/// A layer counts as sent while its packets come.
const LAYER_SILENT_MS: u128 = 1_000;

/// A source is asked for a key frame at most once in this many milliseconds, for whatever reason.
const KEY_FRAME_EVERY_MS: u128 = 500;

/// A source: a participant's section in which it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SourceKey {
    pub(super) participant: u32,
    pub(super) section: Section,
}

/// What a participant sends in a section.
pub(super) struct Source {
    pub(super) section: Section,
    pub(super) kind: Kind,
    pub(super) name: SourceName,
    layers: usize,
    /// When each layer was last heard.
    heard: [Option<Moment>; LAYERS_MAX],
    key_frame_asked: Option<Moment>,
}

impl Source {
    pub(super) fn new(section: Section, kind: Kind, name: SourceName, layers: usize) -> Self {
        Self { section, kind, name, layers, heard: [None; LAYERS_MAX], key_frame_asked: None }
    }

    /// A packet of a layer has come.
    pub(super) fn hear(&mut self, now: Moment, layer: u8) {
        if let Some(heard) = self.heard.get_mut(usize::from(layer)) {
            *heard = Some(now);
        }
    }

    /// The best layer that is being sent, or the lowest one. Browsers send none of the higher ones where the picture is small
    /// or the way is narrow.
    pub(super) fn best_layer(&self, now: Moment) -> u8 {
        let is_sent = |heard: &Option<Moment>| {
            heard.is_some_and(|heard| now.saturating_duration_since(heard).as_millis() < LAYER_SILENT_MS)
        };
        let best = (0..self.layers.min(LAYERS_MAX)).rev().find(|layer| is_sent(&self.heard[*layer]));
        u8::try_from(best.unwrap_or(0)).unwrap_or(0)
    }

    /// Whether the source may be asked for a key frame now, which then counts as done.
    pub(super) fn takes_key_frame_request(&mut self, now: Moment) -> bool {
        let is_free = self
            .key_frame_asked
            .is_none_or(|asked| now.saturating_duration_since(asked).as_millis() >= KEY_FRAME_EVERY_MS);
        let takes = is_free && self.kind == Kind::Video;
        if takes {
            self.key_frame_asked = Some(now);
        }
        takes
    }
}

/// A section in which a participant receives, and the source that it has.
pub(super) struct Slot {
    pub(super) section: Section,
    pub(super) kind: Kind,
    pub(super) source: Option<SourceKey>,
    pub(super) stream: Rewriter,
}

/// One participant.
pub(super) struct Participant {
    pub(super) caller: Caller,
    /// The room's index.
    pub(super) room: u32,
    /// The identity of the media connection.
    pub(super) media_id: Box<str>,
    pub(super) media: MediaConnection,
    /// The names by which its STUN requests address the connection: one more with each restart of ICE.
    pub(super) ufrags: Vec<Box<str>>,
    /// The names that its offers have given to sections.
    pub(super) named: Vec<(Box<str>, SourceName)>,
    pub(super) sources: Vec<Source>,
    pub(super) slots: Vec<Slot>,
    /// The addresses that it was sent datagrams at, the newest last.
    pub(super) addresses: Vec<SocketAddr>,
    /// When the connection is to be looked at.
    pub(super) due: Option<Moment>,
    /// When it ends unless the participant is heard.
    pub(super) connect_by: Option<Moment>,
    /// When it ends unless the participant, whose membership has ended, offers again.
    pub(super) ends_at: Option<Moment>,
    /// The sections that it was asked to have.
    pub(super) asked: Sections,
    /// The sources of its slots as it knows them.
    pub(super) told: Vec<Option<SourceKey>>,
    /// Whether it is to be drained.
    pub(super) is_dirty: bool,
}

impl Participant {
    pub(super) fn peer(&self) -> &PeerName {
        &self.caller.peer
    }

    /// Whether its time is over.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        [self.connect_by, self.ends_at].into_iter().flatten().any(|at| at <= now)
    }

    pub(super) fn source(&mut self, section: Section) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| source.section == section)
    }

    /// The name of a new source: the client's, or else the next one of its kind.
    pub(super) fn name_of(&self, section: Section, kind: Kind) -> SourceName {
        let text = section.to_string();
        let given = self.named.iter().find(|(of, _)| **of == *text).map(|(_, name)| *name);
        let is_first = !self.sources.iter().any(|source| source.kind == kind);
        given.unwrap_or(match (kind, is_first) {
            (Kind::Audio, true) => SourceName::Microphone,
            (Kind::Audio, false) => SourceName::ScreenAudio,
            (Kind::Video, true) => SourceName::Camera,
            (Kind::Video, false) => SourceName::Screen,
        })
    }
}
