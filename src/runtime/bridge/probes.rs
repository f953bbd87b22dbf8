//! What a node publishes to itself, again and again, to see whether what is published still arrives.
//!
//! One server has one probe. In a cluster, channels of rooms belong to the servers that keep the rooms, so there each such
//! server has another one: a channel in the slot of some room that is followed there. All other channels are the whole
//! cluster's and have one probe between them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

use crate::message::redis::Bytes;
use crate::owner::redis::KeySchema;

/// How long a probe may take to come back.
const PROBE_WITHIN: Duration = Duration::from_secs(3);

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// See the module.
pub(super) struct Probes {
    /// The channel that is the only one, or the whole cluster's.
    own: Bytes,
    /// The channels, each with the time by which what was published has to have come back, if something was.
    due: BTreeMap<Bytes, Option<Instant>>,
}

/// Which server of a cluster keeps which slots: the first one, the last one, and the server's name.
pub(super) type Keepers = Vec<(u16, u16, Bytes)>;

impl Probes {
    pub(super) fn new(own: Bytes) -> Self {
        Self { due: BTreeMap::from([(own.clone(), None)]), own }
    }

    /// Begins anew, with the one channel that it returns.
    pub(super) fn begin(&mut self) -> Bytes {
        self.due = BTreeMap::from([(self.own.clone(), None)]);
        self.own.clone()
    }

    /// Whether a channel is one of probes.
    pub(super) fn are_on(&self, channel: &[u8]) -> bool {
        self.due.contains_key(channel)
    }

    /// One has come back.
    pub(super) fn arrived(&mut self, channel: &[u8]) {
        if let Some(due) = self.due.get_mut(channel) {
            *due = None;
        }
    }

    /// Takes note that something is published to each of the channels it returns.
    pub(super) fn publish(&mut self) -> impl Iterator<Item = Bytes> {
        let by = Instant::now() + PROBE_WITHIN;
        self.due.iter_mut().map(move |(channel, due)| {
            due.get_or_insert(by);
            channel.clone()
        })
    }

    /// When the first of what was published has to have come back.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.values().flatten().min().copied()
    }

    /// Sees to it that each server that keeps a followed room has a probe, and only one: the channels that are to be
    /// followed from now on, and those that are not any more.
    pub(super) fn spread(&mut self, keepers: &Keepers, followed: &BTreeSet<Bytes>) -> [Vec<Bytes>; 2] {
        let keeper = |channel: &[u8]| {
            let slot = slot_of(channel);
            keepers.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|(.., name)| name)
        };
        let is_needed = |probe: &Bytes| {
            let tag = &probe[tag_of(probe)..];
            followed.iter().any(|channel| KeySchema::is_sharded(channel) && channel[tag_of(channel)..] == *tag)
        };
        let mut probed: BTreeSet<&Bytes> = BTreeSet::new();
        let mut leave = Vec::new();
        for probe in self.due.keys().filter(|probe| **probe != self.own) {
            match keeper(probe).filter(|_| is_needed(probe)) {
                Some(name) if probed.insert(name) => {}
                _ => leave.push(probe.clone()),
            }
        }
        let mut follow = Vec::new();
        let servers: BTreeSet<&Bytes> = keepers.iter().map(|(.., name)| name).collect();
        for channel in followed.iter().filter(|channel| KeySchema::is_sharded(channel)) {
            if probed.len() == servers.len() {
                break;
            }
            if keeper(channel).is_some_and(|name| probed.insert(name)) {
                follow.push(probe_beside(&self.own, channel));
            }
        }
        self.due.retain(|probe, _| !leave.contains(probe));
        self.due.extend(follow.iter().map(|probe| (probe.clone(), None)));
        [follow, leave]
    }
}

/// The channel of probes in the slot of a room's channel.
fn probe_beside(own: &[u8], channel: &[u8]) -> Bytes {
    [own, b":room:", &channel[tag_of(channel)..]].concat().into()
}

/// Where the tag of a channel begins.
fn tag_of(channel: &[u8]) -> usize {
    channel.iter().position(|byte| *byte == b'{').unwrap_or(channel.len())
}

/// The slot of a channel with a tag.
fn slot_of(channel: &[u8]) -> u16 {
    let tag = channel.split(|byte| *byte == b'{').nth(1).and_then(|rest| rest.split(|byte| *byte == b'}').next());
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(channel)) % SLOTS
}

/// What `CLUSTER SLOTS` says.
pub(super) fn keepers_in(answer: Value) -> Keepers {
    let Value::Array(ranges) = answer else { return Vec::new() };
    let read = |range: Value| {
        let Value::Array(parts) = range else { return None };
        match parts.as_slice() {
            [Value::Int(first), Value::Int(last), Value::Array(server), ..] => match server.get(2)? {
                Value::BulkString(name) => {
                    Some((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, name[..].into()))
                }
                _ => None,
            },
            _ => None,
        }
    };
    ranges.into_iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Bytes {
        text.as_bytes().into()
    }

    fn rooms(names: &[&str]) -> BTreeSet<Bytes> {
        names.iter().map(|name| KeySchema::new("s").room(name)).chain([text("s:everyone")]).collect()
    }

    #[test]
    fn channels_are_in_the_slots_that_redis_knows_them_by() {
        // As CLUSTER KEYSLOT has it.
        for (channel, slot) in [("s:room:{foo}", 12_182), ("p:room:{bar}:l", 5_061), ("somekey", 11_058)] {
            assert_eq!(slot_of(channel.as_bytes()), slot, "{channel}");
        }
    }

    #[test]
    fn each_server_that_keeps_a_followed_room_has_one_probe() {
        let mut probes = Probes::new(text("s:probe:1"));
        let halves = |last: u16| vec![(0, last, text("a")), (last + 1, SLOTS - 1, text("b"))];
        let [bar, foo] = [text("s:probe:1:room:{bar}"), text("s:probe:1:room:{foo}")];
        let both = rooms(&["bar", "foo"]);
        assert_eq!(probes.spread(&halves(8_191), &both), [vec![bar.clone(), foo.clone()], vec![]]);
        assert_eq!(probes.spread(&halves(8_191), &both), [vec![], vec![]]);
        assert_eq!(probes.spread(&halves(12_999), &both), [vec![], vec![foo.clone()]], "both are the first one's");
        assert_eq!(probes.spread(&halves(8_191), &both), [vec![foo.clone()], vec![]]);
        assert_eq!(probes.spread(&halves(8_191), &rooms(&["bar"])), [vec![], vec![foo]]);
        assert_eq!(probes.publish().count(), 2);
        probes.arrived(b"s:probe:1");
        assert!(probes.deadline().is_some() && probes.are_on(&bar));
        probes.arrived(&bar);
        assert!(probes.deadline().is_none());
    }
}
