//! Probes: messages that a node publishes to itself repeatedly, to check that publications still arrive.
//!
//! One server has one probe. In a cluster, channels of rooms are sharded, so each server with a subscribed room has another
//! probe: a channel in the slot of that room. All other channels belong to the whole cluster and share one probe.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

use crate::message::redis::Bytes;
use crate::owner::redis::KeySchema;

/// Time within which a probe has to arrive.
const PROBE_WITHIN: Duration = Duration::from_secs(3);

/// Number of slots of a cluster.
pub(super) const SLOTS: u16 = 16_384;

/// The probes of a node's subscriptions.
pub(super) struct Probes {
    /// The probe of the one server, or of the whole cluster.
    own: Bytes,
    /// Channels, with the time by which the last probe has to arrive, if one is on its way.
    due: BTreeMap<Bytes, Option<Instant>>,
}

/// Servers of a cluster by slots: first slot, last slot, name.
pub(super) type SlotOwners = Vec<(u16, u16, Bytes)>;

impl Probes {
    pub(super) fn new(own: Bytes) -> Self {
        Self { due: BTreeMap::from([(own.clone(), None)]), own }
    }

    /// Starts again with one channel, for a new connection. Returns that channel.
    pub(super) fn begin(&mut self) -> Bytes {
        self.due = BTreeMap::from([(self.own.clone(), None)]);
        self.own.clone()
    }

    pub(super) fn are_on(&self, channel: &[u8]) -> bool {
        self.due.contains_key(channel)
    }

    /// A probe has arrived.
    pub(super) fn arrived(&mut self, channel: &[u8]) {
        if let Some(due) = self.due.get_mut(channel) {
            *due = None;
        }
    }

    /// Notes a probe on each channel. Returns the channels to publish to.
    pub(super) fn publish(&mut self) -> impl Iterator<Item = Bytes> {
        let by = Instant::now() + PROBE_WITHIN;
        self.due.iter_mut().map(move |(channel, due)| {
            due.get_or_insert(by);
            channel.clone()
        })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.values().flatten().min().copied()
    }

    /// Gives each server with a subscribed room one probe. Returns the channels to subscribe to, and those to unsubscribe from.
    pub(super) fn spread(&mut self, slot_owners: &SlotOwners, followed: &BTreeSet<Bytes>) -> [Vec<Bytes>; 2] {
        let owner = |channel: &[u8]| {
            let slot = slot_of(channel);
            slot_owners.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|(.., name)| name)
        };
        let is_needed = |probe: &Bytes| {
            let tag = &probe[tag_of(probe)..];
            followed.iter().any(|channel| KeySchema::is_sharded(channel) && channel[tag_of(channel)..] == *tag)
        };
        let mut probed: BTreeSet<&Bytes> = BTreeSet::new();
        let mut leave = Vec::new();
        for probe in self.due.keys().filter(|probe| **probe != self.own) {
            match owner(probe).filter(|_| is_needed(probe)) {
                Some(name) if probed.insert(name) => {}
                _ => leave.push(probe.clone()),
            }
        }
        let mut follow = Vec::new();
        let servers: BTreeSet<&Bytes> = slot_owners.iter().map(|(.., name)| name).collect();
        for channel in followed.iter().filter(|channel| KeySchema::is_sharded(channel)) {
            if probed.len() == servers.len() {
                break;
            }
            if owner(channel).is_some_and(|name| probed.insert(name)) {
                follow.push(probe_beside(&self.own, channel));
            }
        }
        self.due.retain(|probe, _| !leave.contains(probe));
        self.due.extend(follow.iter().map(|probe| (probe.clone(), None)));
        [follow, leave]
    }
}

/// The probe channel in the slot of a room's channel.
fn probe_beside(own: &[u8], channel: &[u8]) -> Bytes {
    [own, b":room:", &channel[tag_of(channel)..]].concat().into()
}

fn tag_of(channel: &[u8]) -> usize {
    channel.iter().position(|byte| *byte == b'{').unwrap_or(channel.len())
}

/// Slot of a channel with a hash tag.
fn slot_of(channel: &[u8]) -> u16 {
    let tag = channel.split(|byte| *byte == b'{').nth(1).and_then(|rest| rest.split(|byte| *byte == b'}').next());
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(channel)) % SLOTS
}

pub(super) fn slot_owners_in(answer: Value) -> SlotOwners {
    let Value::Array(ranges) = answer else { return Vec::new() };
    let read = |range: Value| match range {
        Value::Array(parts) => match parts.as_slice() {
            [Value::Int(first), Value::Int(last), Value::Array(server), ..] => match server.get(2)? {
                Value::BulkString(name) => {
                    Some((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, name[..].into()))
                }
                _ => None,
            },
            _ => None,
        },
        _ => None,
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
    fn channel_slot_equals_that_of_redis() {
        // Slots by CLUSTER KEYSLOT.
        for (channel, slot) in [("s:room:{foo}", 12_182), ("p:room:{bar}:l", 5_061), ("somekey", 11_058)] {
            assert_eq!(slot_of(channel.as_bytes()), slot, "{channel}");
        }
    }

    #[test]
    fn spread_gives_each_server_with_a_room_one_probe() {
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
