//! The stream in a section in which a participant receives: one row of numbers, however often its source and layer change.

use crate::base::time::Moment;
use crate::media::connection::{Kind, Numbers, Packet};

/// Picture numbers have 15 bits (RFC 7741 §4.2).
const PICTURES: u16 = 0x7fff;

/// Gives the packets of changing sources and layers the numbers of one stream.
#[derive(Default)]
pub(super) struct Rewriter {
    /// The layer that is forwarded, and the number of its first packet; `None` until the source begins.
    current: Option<(u8, u64)>,
    /// Added to the numbers of the layer that is forwarded.
    offsets: Numbers,
    /// The highest numbers so far, and when they were given.
    last: Option<(Numbers, Moment)>,
}

impl Rewriter {
    /// The stream gets another source. Its first packet has to be one that a receiver can begin with.
    pub(super) fn restart(&mut self) {
        self.current = None;
    }

    /// The layer that is forwarded.
    pub(super) fn layer(&self) -> Option<u8> {
        self.current.map(|(layer, _)| layer)
    }

    /// The numbers of a packet of the source; `None`: it is not forwarded. The stream changes to the layer `wanted` with the
    /// first packet of it that a receiver can begin with.
    pub(super) fn rewrite(&mut self, now: Moment, packet: &Packet, wanted: u8) -> Option<Numbers> {
        match self.current {
            // One that was overtaken by the first one.
            Some((layer, first)) if layer == packet.layer && packet.seq < first => return None,
            Some((layer, _)) if layer == packet.layer => {}
            _ if packet.layer == wanted && packet.is_start => self.begin(now, packet),
            _ => return None,
        }
        let numbers = Numbers {
            seq: packet.seq.wrapping_add(self.offsets.seq),
            time: packet.time.wrapping_add(self.offsets.time),
            picture: packet.picture.unwrap_or(0).wrapping_add(self.offsets.picture) & PICTURES,
            tl0: packet.tl0.unwrap_or(0).wrapping_add(self.offsets.tl0),
        };
        if self.last.is_none_or(|(last, _)| numbers.seq > last.seq) {
            self.last = Some((numbers, now));
        }
        Some(numbers)
    }

    /// Goes on with the numbers after the last ones.
    fn begin(&mut self, now: Moment, packet: &Packet) {
        let (picture, tl0) = (packet.picture.unwrap_or(0), packet.tl0.unwrap_or(0));
        let next = match self.last {
            // A receiver expects the first number to be below 65,536 (RFC 3711 §3.3.1).
            None => Numbers { seq: 1, time: packet.time, picture, tl0 },
            Some((last, at)) => Numbers {
                seq: last.seq + 1,
                time: last.time.wrapping_add(ticks(packet.kind, now, at)),
                picture: last.picture.wrapping_add(1) & PICTURES,
                tl0: last.tl0.wrapping_add(1),
            },
        };
        self.current = Some((packet.layer, packet.seq));
        self.offsets = Numbers {
            seq: next.seq.wrapping_sub(packet.seq),
            time: next.time.wrapping_sub(packet.time),
            picture: next.picture.wrapping_sub(picture),
            tl0: next.tl0.wrapping_sub(tl0),
        };
    }
}

/// The time between two packets in units of the clock of their kind: at least that of one frame.
fn ticks(kind: Kind, now: Moment, before: Moment) -> u32 {
    let (per_ms, least) = match kind {
        Kind::Audio => (48, 960),
        Kind::Video => (90, 3_000),
    };
    let ms = u32::try_from(now.saturating_duration_since(before).as_millis()).unwrap_or(u32::MAX);
    ms.saturating_mul(per_ms).max(least)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn video(layer: u8, seq: u64, picture: u16, is_start: bool) -> Packet {
        let numbers = Numbers { seq, time: (seq as u32).wrapping_mul(3_000), picture, tl0: picture as u8 };
        Packet::of(Kind::Video, layer, numbers, is_start)
    }

    #[test]
    fn stream_begins_and_changes_its_layer_with_a_key_frame() {
        let (mut stream, now) = (Rewriter::default(), Instant::now());
        assert_eq!(stream.rewrite(now, &video(0, 70_000, 500, false), 0), None);
        let first = stream.rewrite(now, &video(0, 70_001, 501, true), 0).expect("it begins");
        assert_eq!((first.seq, first.picture), (1, 501));
        assert_eq!(stream.rewrite(now, &video(0, 70_000, 500, false), 0), None, "from before the key frame");
        assert_eq!(stream.rewrite(now, &video(0, 70_003, 502, false), 1).expect("still the lower one").seq, 3);
        assert_eq!(stream.rewrite(now, &video(1, 9, 32_000, false), 1), None);
        let later = now + Duration::from_millis(100);
        let changed = stream.rewrite(later, &video(1, 10, 32_001, true), 1).expect("it changes");
        assert_eq!((changed.seq, changed.picture, stream.layer()), (4, 503, Some(1)));
        assert_eq!(changed.time.wrapping_sub(first.time), 2 * 3_000 + 9_000, "time has passed");
        assert_eq!(stream.rewrite(later, &video(0, 70_004, 503, false), 1), None, "of the layer before");
    }

    proptest! {
        #[test]
        fn numbers_of_a_stream_never_repeat_whatever_its_source_does(
            steps in prop::collection::vec((0_u8..3, 0_u64..6, any::<bool>(), prop::bool::weighted(0.1), 0_u64..50), 1..200),
        ) {
            let (mut stream, mut now) = (Rewriter::default(), Instant::now());
            let mut seqs = [65_530_u64, 5, 4_000_000];
            let mut seen = std::collections::BTreeSet::new();
            let mut sent = std::collections::BTreeSet::new();
            let mut source = 0;
            for (layer, skip, is_start, is_other, ms) in steps {
                now += Duration::from_millis(ms);
                if is_other {
                    source += 1;
                    stream.restart();
                }
                let seq = &mut seqs[usize::from(layer)];
                // Packets are lost, and come late.
                *seq = (*seq + skip).saturating_sub(2);
                if !sent.insert((source, layer, *seq)) {
                    continue;
                }
                let before = stream.layer();
                if let Some(numbers) = stream.rewrite(now, &video(layer, *seq, *seq as u16 & PICTURES, is_start), layer) {
                    prop_assert!(seen.insert(numbers.seq), "{} twice", numbers.seq);
                    prop_assert!(before == Some(layer) || is_start);
                }
            }
        }
    }
}
