//! The media connection of one participant: ICE, DTLS, SRTP and the description of its sections. The only module that names
//! str0m.
//!
//! The client offers and the server answers. Sections in which the client sends are sources; sections in which it only receives
//! are slots. A panic inside str0m ends this connection alone ([`contained`]).

use std::cell::Cell;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use str0m::change::SdpOffer;
use str0m::format::Codec;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid, Pt, Rid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite, SeqNo, VideoOrientation, Vp8Descriptor, Vp8Patch};
use str0m::{Candidate, Event, IceConnectionState, IceCreds, Input, Output, Rtc};

use crate::base::time::Moment;

/// Packets of a video stream, and their age, that are kept to be sent again on request.
const REPEATED_PACKETS: usize = 128;
const REPEATED_FOR: Duration = Duration::from_millis(600);

/// The part of a stream that may be repetitions.
const REPEATED_PART: f32 = 0.15;

/// Layers of a source, at most; those beyond are not forwarded.
pub(super) const LAYERS_MAX: usize = 3;

thread_local! {
    /// Whether this thread is in [`contained`].
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread ends one media connection, not the process.
pub fn is_contained() -> bool {
    IS_CONTAINED.get()
}

/// Runs `act`; `None` after a panic in it.
fn contained<T>(act: impl FnOnce() -> T) -> Option<T> {
    IS_CONTAINED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(act));
    IS_CONTAINED.set(false);
    outcome.ok()
}

/// The name of a section within its connection.
pub(super) type Section = Mid;

/// The kind of media of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Opus.
    Audio,
    /// VP8.
    Video,
}

/// A packet that a participant has sent.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) kind: Kind,
    /// The index of its layer, the lowest first.
    pub(super) layer: u8,
    /// Its sequence number, extended.
    pub(super) seq: u64,
    /// Its time, in units of the kind's clock.
    pub(super) time: u32,
    /// Whether a receiver can begin with it: the start of a key frame, or audio.
    pub(super) is_start: bool,
    /// The numbers of its picture and of the last one of the base layer, of VP8.
    pub(super) picture: Option<u16>,
    pub(super) tl0: Option<u8>,
    marker: bool,
    /// The loudness in dB below the loudest, of audio.
    pub(super) level: Option<i8>,
    is_voice: Option<bool>,
    rotation: Option<VideoOrientation>,
    payload: Arc<[u8]>,
}

/// The numbers of a packet in the stream of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) seq: u64,
    pub(super) time: u32,
    pub(super) picture: u16,
    pub(super) tl0: u8,
}

impl Packet {
    /// A packet without payload, for tests of its numbers.
    #[cfg(test)]
    pub(super) fn of(kind: Kind, layer: u8, numbers: Numbers, is_start: bool) -> Self {
        let Numbers { seq, time, picture, tl0 } = numbers;
        let (picture, tl0) = (Some(picture), Some(tl0));
        let (marker, level, is_voice, rotation, payload) = (false, None, None, None, Arc::default());
        Self { kind, layer, seq, time, is_start, picture, tl0, marker, level, is_voice, rotation, payload }
    }
}

/// The description that a client offers, read.
#[derive(Debug)]
pub(super) struct Description(SdpOffer);

impl Description {
    /// Reads the text of an offer.
    ///
    /// # Errors
    /// It is no session description; the reason in words.
    pub(super) fn read(sdp: &str) -> Result<Self, String> {
        let read = contained(|| SdpOffer::from_sdp_string(sdp));
        match read {
            Some(Ok(offer)) => Ok(Self(offer)),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("it is malformed".to_owned()),
        }
    }
}

/// An output of a connection.
#[derive(Debug)]
pub(super) enum Happening {
    /// The participant can be reached.
    Connected,
    /// The participant cannot be reached any more; it may come back.
    Lost,
    /// There is a section in which the participant sends, in so many layers.
    Source(Section, Kind, usize),
    /// There is a section in which the participant receives.
    Slot(Section, Kind),
    /// The participant does not send in this section any more.
    Stopped(Section),
    /// A packet of the participant, and the section that it came in.
    Packet(Section, Packet),
    /// The participant needs a key frame in a section in which it receives.
    KeyframeWanted(Section),
}

/// The media connection of one participant.
pub(super) struct MediaConnection {
    rtc: Box<Rtc>,
    is_dead: bool,
    has_failed: bool,
    opus: Option<Pt>,
    vp8: Option<Pt>,
    /// The names of the layers of each section with several, the lowest first.
    layers: Vec<(Section, Vec<Rid>)>,
}

impl MediaConnection {
    /// A connection whose candidates are `addresses`, known by `ufrag`.
    pub(super) fn new(now: Moment, addresses: &[SocketAddr], ufrag: &str, password: &str) -> Option<Self> {
        let credentials = IceCreds { ufrag: ufrag.to_owned(), pass: password.to_owned() };
        let rtc = contained(|| {
            let config = Rtc::builder()
                .set_ice_lite(true)
                .set_rtp_mode(true)
                .set_local_ice_credentials(credentials)
                .clear_codecs()
                .enable_opus(true, false)
                .enable_vp8(true);
            let mut rtc = Box::new(config.build(now));
            for address in addresses {
                if let Ok(candidate) = Candidate::host(*address, "udp") {
                    rtc.add_local_candidate(candidate);
                }
            }
            rtc
        })?;
        Some(Self { rtc, is_dead: false, has_failed: false, opus: None, vp8: None, layers: Vec::new() })
    }

    /// Runs `act` so that a panic in it ends this connection alone. `None` if the connection has ended.
    fn contained<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.is_dead {
            return None;
        }
        let outcome = contained(|| act(self));
        if outcome.is_none() {
            (self.is_dead, self.has_failed) = (true, true);
        }
        outcome
    }

    /// Answers an offer. Returns the answer.
    ///
    /// # Errors
    /// The offer is not possible; the reason in words.
    pub(super) fn answer(&mut self, Description(offer): Description) -> Result<String, String> {
        let answer = self.contained(|own| {
            let answer = own.rtc.sdp_api().accept_offer(offer).map_err(|error| error.to_string())?;
            for params in own.rtc.codec_config().params() {
                match params.spec().codec {
                    Codec::Opus => own.opus = Some(params.pt()),
                    Codec::Vp8 => own.vp8 = Some(params.pt()),
                    _ => {}
                }
            }
            Ok(answer.to_sdp_string())
        });
        answer.unwrap_or_else(|| Err("the media connection has failed".to_owned()))
    }

    /// The name by which the participant's STUN requests address this connection.
    pub(super) fn ufrag(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    /// A datagram has come.
    pub(super) fn receive(&mut self, now: Moment, (source, destination): (SocketAddr, SocketAddr), datagram: &[u8]) {
        let failed = self.contained(|own| {
            // Other data than those of ICE, DTLS, RTP and RTCP.
            let Ok(contents) = datagram.try_into() else { return false };
            let receive = Receive { proto: Protocol::Udp, source, destination, contents };
            own.rtc.handle_input(Input::Receive(now, receive)).is_err()
        });
        self.is_dead |= failed.unwrap_or(true);
    }

    /// Time has passed.
    pub(super) fn pass(&mut self, now: Moment) {
        let failed = self.contained(|own| own.rtc.handle_input(Input::Timeout(now)).is_err());
        self.is_dead |= failed.unwrap_or(true);
    }

    /// Whether the connection has ended.
    pub(super) fn is_dead(&self) -> bool {
        self.is_dead || !self.rtc.is_alive()
    }

    /// Whether it has ended by a fault of the server.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Takes all output; `transmit` gets each datagram with its own address and the participant's. Returns when
    /// [`MediaConnection::pass`] is to be called.
    pub(super) fn drain(
        &mut self,
        transmit: &mut impl FnMut(SocketAddr, SocketAddr, &[u8]),
        happenings: &mut Vec<Happening>,
    ) -> Option<Moment> {
        let due = self.contained(|own| {
            loop {
                match own.rtc.poll_output() {
                    Ok(Output::Timeout(at)) => return Some(at),
                    Ok(Output::Transmit(datagram)) => {
                        transmit(datagram.source, datagram.destination, &datagram.contents);
                    }
                    Ok(Output::Event(event)) => own.handle(event, happenings),
                    Err(_) => return None,
                }
            }
        });
        self.is_dead |= due.is_none_or(|due| due.is_none());
        due.flatten()
    }

    fn handle(&mut self, event: Event, happenings: &mut Vec<Happening>) {
        match event {
            Event::Connected => happenings.push(Happening::Connected),
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => happenings.push(Happening::Lost),
            Event::IceConnectionStateChange(IceConnectionState::Connected | IceConnectionState::Completed) => {
                happenings.push(Happening::Connected);
            }
            Event::MediaAdded(added) if added.direction.is_receiving() => {
                let layers = added.simulcast.map(|simulcast| simulcast.recv).unwrap_or_default();
                let layers: Vec<Rid> = layers.iter().map(|layer| layer.rid).take(LAYERS_MAX).collect();
                happenings.push(Happening::Source(added.mid, kind_of(added.kind), layers.len().max(1)));
                if !layers.is_empty() {
                    self.layers.push((added.mid, layers));
                }
            }
            Event::MediaAdded(added) if added.direction == Direction::SendOnly => {
                self.prepare_slot(added.mid, kind_of(added.kind));
                happenings.push(Happening::Slot(added.mid, kind_of(added.kind)));
            }
            Event::MediaChanged(changed) => match changed.direction.is_receiving() {
                true => {
                    let kind = self.rtc.media(changed.mid).map(|media| kind_of(media.kind()));
                    let layers = self.layers_of(changed.mid).len().max(1);
                    happenings.extend(kind.map(|kind| Happening::Source(changed.mid, kind, layers)));
                }
                false => happenings.push(Happening::Stopped(changed.mid)),
            },
            Event::RtpPacket(packet) => happenings.extend(self.packet(packet)),
            Event::KeyframeRequest(request) => happenings.push(Happening::KeyframeWanted(request.mid)),
            _ => {}
        }
    }

    /// Bounds what a stream keeps to be sent again: by default it is most of a connection's memory.
    fn prepare_slot(&mut self, section: Section, kind: Kind) {
        let (packets, part) = match kind {
            Kind::Audio => (0, None),
            Kind::Video => (REPEATED_PACKETS, Some(REPEATED_PART)),
        };
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(section, None) {
            stream.set_rtx_cache(packets, REPEATED_FOR, part);
        }
    }

    fn layers_of(&self, section: Section) -> &[Rid] {
        self.layers.iter().find(|(of, _)| *of == section).map_or(&[], |(_, layers)| layers)
    }

    fn packet(&mut self, packet: RtpPacket) -> Option<Happening> {
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_rx(&packet.header.ssrc)?;
        let (section, rid) = (stream.mid(), stream.rid());
        let kind = kind_of(self.rtc.media(section)?.kind());
        let layer = match rid {
            Some(rid) => self.layers_of(section).iter().position(|known| *known == rid)?,
            None => 0,
        };
        let descriptor = match kind {
            Kind::Audio => None,
            Kind::Video => Some(Vp8Descriptor::parse(&packet.payload).ok()?),
        };
        let extensions = &packet.header.ext_vals;
        let packet = Packet {
            kind,
            layer: u8::try_from(layer).ok()?,
            seq: *packet.seq_no,
            time: packet.header.timestamp,
            is_start: descriptor.is_none_or(|descriptor| descriptor.starts_keyframe(&packet.payload)),
            picture: descriptor.and_then(|descriptor| descriptor.picture_id()),
            tl0: descriptor.and_then(|descriptor| descriptor.tl0_pic_idx()),
            marker: packet.header.marker,
            level: extensions.audio_level,
            is_voice: extensions.voice_activity,
            rotation: extensions.video_orientation,
            payload: packet.payload,
        };
        Some(Happening::Packet(section, packet))
    }

    /// Sends a packet of another participant in a section, under the numbers of the stream there.
    pub(super) fn send(&mut self, now: Moment, section: Section, packet: &Packet, numbers: Numbers) {
        let payload_type = match packet.kind {
            Kind::Audio => self.opus,
            Kind::Video => self.vp8,
        };
        let Some(payload_type) = payload_type else {
            // The client takes no media of this kind.
            return;
        };
        self.contained(|own| {
            if let Some(stream) = own.rtc.direct_api().stream_tx_by_mid(section, None) {
                let seq = SeqNo::from(numbers.seq);
                let write = RtpWrite::new(payload_type, seq, numbers.time, now, packet.payload.clone());
                let extensions = ExtensionValues {
                    audio_level: packet.level,
                    voice_activity: packet.is_voice,
                    video_orientation: packet.rotation,
                    ..ExtensionValues::default()
                };
                let write = write.marker(packet.marker).nackable(packet.kind == Kind::Video).ext_vals(extensions);
                let patch = (packet.kind == Kind::Video).then(|| patch(&packet.payload, numbers)).flatten();
                stream.write_rtp(match patch {
                    Some(patch) => write.vp8_patch(patch),
                    None => write,
                });
            }
        });
    }

    /// Asks the participant for a key frame of a layer that it sends.
    pub(super) fn ask_for_key_frame(&mut self, section: Section, layer: u8) {
        let rid = self.layers_of(section).get(usize::from(layer)).copied();
        self.contained(|own| {
            if let Some(stream) = own.rtc.direct_api().stream_rx_by_mid(section, rid) {
                stream.request_keyframe(KeyframeRequestKind::Pli);
            }
        });
    }
}

fn kind_of(kind: MediaKind) -> Kind {
    match kind {
        MediaKind::Audio => Kind::Audio,
        MediaKind::Video => Kind::Video,
    }
}

/// The change to a VP8 payload that gives it the numbers of its receiver.
fn patch(payload: &[u8], numbers: Numbers) -> Option<Vp8Patch> {
    let descriptor = Vp8Descriptor::parse(payload).ok()?;
    let mut patch = descriptor.patch();
    if descriptor.picture_id().is_some() {
        patch = patch.picture_id(numbers.picture);
    }
    if descriptor.tl0_pic_idx().is_some() {
        patch = patch.tl0_pic_idx(numbers.tl0);
    }
    patch.build().ok()
}
