//! Compression of outgoing bytes: each segment of a turn is compressed once, for all connections that get it compressed.

use std::collections::BTreeMap;

use crate::codec::ws::Deflater;
use crate::connection::outbound::Segment;

/// Settings of permessage-deflate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateSettings {
    /// Level of compression, 2 to 9.
    pub level: u32,
    /// Payload from which messages are compressed, in bytes.
    pub bytes_min: usize,
}

/// The segment of a turn, and the window for which it is compressed.
type Original = (u32, u32, u8);

/// The compressor of a shard, and what it has compressed in this turn.
pub(super) struct Deflation {
    deflater: Deflater,
    /// The segment that was asked for last, since a room's members get the same one after the other.
    last: Option<(Original, Segment)>,
    packed: BTreeMap<Original, Segment>,
    draft: Vec<u8>,
}

impl Deflation {
    pub(super) fn new(settings: DeflateSettings) -> Self {
        Self {
            deflater: Deflater::new(settings.level, settings.bytes_min),
            last: None,
            packed: BTreeMap::new(),
            draft: Vec::new(),
        }
    }

    /// The compressed form of a segment of `bytes`, to which it may be appended; the segment itself if none of its messages
    /// are worth it.
    pub(super) fn pack(&mut self, bytes: &mut Vec<u8>, segment: Segment, window_bits: u8) -> Segment {
        let original = (segment.start, segment.end, window_bits);
        let packed = match self.last {
            Some((last, packed)) if last == original => packed,
            _ => match self.packed.get(&original) {
                Some(packed) => *packed,
                None => self.pack_new(bytes, segment, window_bits),
            },
        };
        self.last = Some((original, packed));
        Segment { droppable: segment.droppable, ..packed }
    }

    fn pack_new(&mut self, bytes: &mut Vec<u8>, segment: Segment, window_bits: u8) -> Segment {
        let plain = &bytes[segment.start as usize..segment.end as usize];
        if !self.deflater.compresses(plain) {
            // Small messages are not worth an entry, except that of the last one.
            return segment;
        }
        self.draft.clear();
        self.deflater.pack(plain, window_bits, &mut self.draft);
        let start = bytes.len() as u32;
        bytes.extend_from_slice(&self.draft);
        let packed = Segment { start, end: bytes.len() as u32, ..segment };
        self.packed.insert((segment.start, segment.end, window_bits), packed);
        packed
    }

    /// Ends the turn.
    pub(super) fn clear(&mut self) {
        self.last = None;
        self.packed.clear();
    }

    /// Releases the memory of the largest segment.
    pub(super) fn trim(&mut self) {
        self.draft = Vec::new();
    }
}
