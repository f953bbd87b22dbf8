//! The way of packets from a participant to the others in its room, and the choice of the sources that each receives.

use std::net::SocketAddr;

use crate::base::time::Moment;
use crate::media::connection::{Happening, Kind, Packet, Section};
use crate::media::participant::{Participant, Slot, Source, SourceKey};
use crate::media::stream::Rewriter;
use crate::media::{
    ADDRESSES_MAX, CONNECT_WITHIN, Datagram, MediaOutput, MediaServer, SLOT_STEPS, SLOTS_MAX, Sections,
    notices::{self, SlotRow},
};

impl MediaServer {
    /// Sends what has been written to the participants' connections, and ends those that have failed.
    pub fn flush(&mut self, now: Moment, out: &mut MediaOutput) {
        while let Some(at) = self.dirty.pop() {
            self.drain(now, at, out);
            let participant = &self.participants[at as usize];
            if participant.media.is_dead() {
                self.figures.failures += u64::from(participant.media.has_failed());
                self.end(now, at, out);
            }
        }
    }

    /// A participant's connection has something to send.
    pub(super) fn touch(&mut self, at: u32) {
        let participant = &mut self.participants[at as usize];
        if !participant.is_dirty {
            participant.is_dirty = true;
            self.dirty.push(at);
        }
    }

    pub(super) fn set_due(&mut self, at: u32, due: Option<Moment>) {
        let participant = &mut self.participants[at as usize];
        let due =
            [due, participant.connect_by, participant.ends_at].into_iter().flatten().min().filter(|_| due.is_some());
        if let Some(before) = std::mem::replace(&mut participant.due, due) {
            self.due.remove(&(before, at));
        }
        if let Some(due) = due {
            self.due.insert((due, at));
        }
    }

    /// Sets when a participant ends because its membership has ended.
    pub(super) fn end_at(&mut self, at: u32, ends_at: Option<Moment>) {
        self.participants[at as usize].ends_at = ends_at;
        self.touch(at);
    }

    /// Takes the output of a participant's connection. Packets are written to the connections of the others; [`Self::flush`]
    /// sends them.
    pub(super) fn drain(&mut self, now: Moment, at: u32, out: &mut MediaOutput) {
        let mut happenings = std::mem::take(&mut self.happenings);
        let participant = &mut self.participants[at as usize];
        participant.is_dirty = false;
        let (addresses, by_address) = (&mut participant.addresses, &mut self.by_address);
        let mut transmit = |from: SocketAddr, to: SocketAddr, datagram: &[u8]| {
            // The participant has proved that it is there: a response is sent to those only who know the password.
            if addresses.last() != Some(&to) {
                addresses.retain(|known| *known != to);
                if addresses.len() == ADDRESSES_MAX {
                    by_address.remove(&addresses.remove(0));
                }
                addresses.push(to);
                by_address.insert(to, at);
            }
            let start = out.bytes.len();
            out.bytes.extend_from_slice(datagram);
            out.datagrams.push(Datagram { from, to, range: start..out.bytes.len() });
        };
        let due = participant.media.drain(&mut transmit, &mut happenings);
        match participant.media.is_dead() {
            true => self.touch(at),
            false => self.set_due(at, due),
        }
        let mut is_changed = false;
        for happening in happenings.drain(..) {
            is_changed |= self.happen(now, at, happening);
        }
        self.happenings = happenings;
        if is_changed {
            let room = self.participants[at as usize].room;
            self.arrange(now, room, out);
        }
    }

    /// Handles an output of a connection. Returns whether sources or slots have changed.
    fn happen(&mut self, now: Moment, at: u32, happening: Happening) -> bool {
        let participant = &mut self.participants[at as usize];
        match happening {
            Happening::Packet(section, packet) => self.forward(now, at, section, &packet),
            Happening::KeyframeWanted(section) => {
                let slot = participant.slots.iter().find(|slot| slot.section == section);
                let source = slot.and_then(|slot| slot.source.zip(slot.stream.layer()));
                if let Some((source, layer)) = source {
                    self.ask_for_key_frame(now, source, layer);
                }
            }
            Happening::Connected => participant.connect_by = None,
            Happening::Lost => {
                participant.connect_by = Some(now + CONNECT_WITHIN);
                self.touch(at);
            }
            Happening::Source(section, kind, layers) => {
                if participant.source(section).is_none() {
                    let name = participant.name_of(section, kind);
                    participant.sources.push(Source::new(section, kind, name, layers));
                }
                return true;
            }
            Happening::Slot(section, kind) => {
                participant.slots.push(Slot { section, kind, source: None, stream: Rewriter::default() });
                return true;
            }
            Happening::Stopped(section) => {
                participant.sources.retain(|source| source.section != section);
                let room = participant.room;
                self.release(room, |source| source.participant == at && source.section == section);
                return true;
            }
        }
        false
    }

    /// Sends a packet on to the others that receive its source.
    fn forward(&mut self, now: Moment, at: u32, section: Section, packet: &Packet) {
        let participant = &mut self.participants[at as usize];
        let room = participant.room as usize;
        let Some(source) = participant.source(section) else {
            // It is stopped.
            return;
        };
        source.hear(now, packet.layer);
        let wanted = source.best_layer(now);
        let key = SourceKey { participant: at, section };
        let mut is_key_frame_needed = false;
        let others = std::mem::take(&mut self.rooms[room].1);
        for other in others.iter().filter(|other| **other != at) {
            let Participant { slots, media, is_dirty, .. } = &mut self.participants[*other as usize];
            for slot in slots.iter_mut().filter(|slot| slot.source == Some(key)) {
                if let Some(numbers) = slot.stream.rewrite(now, packet, wanted) {
                    media.send(now, slot.section, packet, numbers);
                    self.figures.forwarded += 1;
                    if !std::mem::replace(is_dirty, true) {
                        self.dirty.push(*other);
                    }
                }
                is_key_frame_needed |= slot.stream.layer() != Some(wanted);
            }
        }
        self.rooms[room].1 = others;
        if is_key_frame_needed {
            self.ask_for_key_frame(now, key, wanted);
        }
    }

    fn ask_for_key_frame(&mut self, now: Moment, source: SourceKey, layer: u8) {
        let participant = &mut self.participants[source.participant as usize];
        if participant.source(source.section).is_some_and(|source| source.takes_key_frame_request(now)) {
            participant.media.ask_for_key_frame(source.section, layer);
            self.touch(source.participant);
        }
    }

    /// Takes sources that have ended from the slots of a room.
    pub(super) fn release(&mut self, room: u32, has_ended: impl Fn(&SourceKey) -> bool) {
        for at in &self.rooms[room as usize].1 {
            for slot in &mut self.participants[*at as usize].slots {
                if slot.source.as_ref().is_some_and(&has_ended) {
                    slot.source = None;
                    slot.stream.restart();
                }
            }
        }
    }

    /// Gives each participant of a room the sources of the others, as far as it has slots for them, and asks for more slots.
    pub(super) fn arrange(&mut self, now: Moment, room: u32, out: &mut MediaOutput) {
        let all = self.rooms[room as usize].1.clone();
        let sources: Vec<(SourceKey, Kind)> = all
            .iter()
            .flat_map(|at| {
                let sources = self.participants[*at as usize].sources.iter();
                sources.map(|source| (SourceKey { participant: *at, section: source.section }, source.kind))
            })
            .collect();
        let mut fresh = Vec::new();
        for at in &all {
            let participant = &mut self.participants[*at as usize];
            let others: Vec<_> = sources.iter().filter(|(source, _)| source.participant != *at).copied().collect();
            fill_slots(participant, &others, &mut fresh);
            let count = |kind| others.iter().filter(|(_, of)| *of == kind).count();
            let have = |kind| participant.slots.iter().filter(|slot| slot.kind == kind).count();
            let (audio, video) = (steps(count(Kind::Audio)), steps(count(Kind::Video)));
            let wanted = Sections { audio: audio.max(have(Kind::Audio)), video: video.max(have(Kind::Video)) };
            let is_short = wanted.audio > have(Kind::Audio) || wanted.video > have(Kind::Video);
            if is_short && wanted != participant.asked {
                participant.asked = wanted;
                let event = notices::sections(&participant.caller, &participant.media_id, wanted);
                out.events.push((participant.caller.connection, event));
            }
            self.tell_slots(*at, out);
        }
        for source in fresh {
            self.ask_for_key_frame(now, source, 0);
        }
    }

    /// Tells a participant which sources its slots have, if it does not know.
    fn tell_slots(&mut self, at: u32, out: &mut MediaOutput) {
        let table: Vec<Option<SourceKey>> =
            self.participants[at as usize].slots.iter().map(|slot| slot.source).collect();
        if table == self.participants[at as usize].told {
            return;
        }
        let row = |slot: &Slot| {
            let of = slot.source.and_then(|key| {
                let participant = &self.participants[key.participant as usize];
                let source = participant.sources.iter().find(|source| source.section == key.section)?;
                Some((participant.peer().with(str::to_owned), source.name.as_str()))
            });
            let (peer_id, source) = of.unzip();
            SlotRow { mid: slot.section.to_string(), peer_id, source }
        };
        let participant = &self.participants[at as usize];
        let rows: Vec<SlotRow> = participant.slots.iter().map(row).collect();
        let event = notices::slots(&participant.caller, &participant.media_id, &rows);
        out.events.push((participant.caller.connection, event));
        self.participants[at as usize].told = table;
    }
}

/// Gives free slots of a participant the sources that it does not receive yet. Those are added to `fresh`.
fn fill_slots(participant: &mut Participant, sources: &[(SourceKey, Kind)], fresh: &mut Vec<SourceKey>) {
    for (source, kind) in sources {
        if participant.slots.iter().any(|slot| slot.source == Some(*source)) {
            continue;
        }
        let free = participant.slots.iter_mut().find(|slot| slot.kind == *kind && slot.source.is_none());
        if let Some(slot) = free {
            slot.source = Some(*source);
            slot.stream.restart();
            fresh.push(*source);
        }
    }
}

/// The number of slots to have for so many sources.
fn steps(sources: usize) -> usize {
    match sources {
        0 => 0,
        some => SLOT_STEPS.into_iter().find(|step| *step >= some).unwrap_or(SLOTS_MAX),
    }
}
