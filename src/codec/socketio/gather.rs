//! Decoder of packets, with a buffer for those with attachments.

use smallvec::SmallVec;

use super::{
    ATTACHMENTS_MAX, PacketContent, SocketIoError, SocketIoEvent, SocketIoLimits, SocketIoPacket, decode, placeholders,
};
use crate::codec::engineio::Version;

/// Decoder of one client's packets: 8 bytes, without an allocation unless attachments are pending.
#[derive(Debug, Default)]
pub struct SocketIoDecoder {
    partial: Option<Box<GatheredPacket>>,
}

/// A packet with the attachments received so far.
#[derive(Debug, PartialEq, Eq)]
pub struct GatheredPacket {
    version: Version,
    text: Box<str>,
    bytes: Vec<u8>,
    /// End of each attachment in `bytes`.
    ends: SmallVec<[u32; 4]>,
    /// Number of pending attachments.
    missing: usize,
}

/// Attachments in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attachments<'a> {
    bytes: &'a [u8],
    ends: &'a [u32],
}

impl<'a> Attachments<'a> {
    /// Attachments that lie one after the other in `bytes`, with the end of each.
    pub fn new(bytes: &'a [u8], ends: &'a [u32]) -> Self {
        debug_assert!(
            ends.last().is_none_or(|end| *end as usize == bytes.len()),
            "invariant: attachments fill their bytes"
        );
        Self { bytes, ends }
    }

    /// Number of attachments.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no attachment.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The attachment with the number used in placeholders.
    pub fn get(&self, number: usize) -> Option<&'a [u8]> {
        let end = *self.ends.get(number)? as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.bytes.get(start..end)
    }

    /// The attachments.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let all = *self;
        (0..all.len()).filter_map(move |number| all.get(number))
    }
}

impl SocketIoDecoder {
    /// Decodes a text message. `None` when attachments follow; [`SocketIoDecoder::binary`] returns the packet then.
    ///
    /// # Errors
    /// See [`SocketIoError`]. The caller closes and stops decoding.
    pub fn text<'a>(
        &mut self,
        version: Version,
        text: &'a str,
        limits: &SocketIoLimits,
    ) -> Result<Option<SocketIoPacket<'a>>, SocketIoError> {
        if self.partial.is_some() {
            return Err(SocketIoError::AttachmentAwaited);
        }
        if text.len() > limits.packet_bytes {
            return Err(SocketIoError::TooLarge);
        }
        let (packet, missing) = decode::parse(version, text)?;
        debug_assert!(missing <= ATTACHMENTS_MAX, "invariant: the parser limits attachments");
        if missing == 0 {
            return Ok(Some(packet));
        }
        if let PacketContent::Event(SocketIoEvent { mut arguments, .. }) | PacketContent::Ack(mut arguments) =
            packet.content
            && !arguments.all(|value| placeholders::are_within(value, missing))
        {
            return Err(SocketIoError::Placeholder);
        }
        let (bytes, ends) = (Vec::new(), SmallVec::new());
        self.partial = Some(Box::new(GatheredPacket { version, text: text.into(), bytes, ends, missing }));
        Ok(None)
    }

    /// Decodes a binary message, an attachment. `Some` when it is the last one of its packet.
    ///
    /// # Errors
    /// No attachment is pending, or the packet exceeds the limit.
    pub fn binary(
        &mut self,
        bytes: &[u8],
        limits: &SocketIoLimits,
    ) -> Result<Option<Box<GatheredPacket>>, SocketIoError> {
        let partial = self.partial.as_mut().ok_or(SocketIoError::AttachmentUnasked)?;
        let kept = partial.text.len() + partial.bytes.len();
        let end = u32::try_from(partial.bytes.len() + bytes.len()).map_err(|_| SocketIoError::TooLarge)?;
        if bytes.len() > limits.packet_bytes.saturating_sub(kept) {
            return Err(SocketIoError::TooLarge);
        }
        partial.bytes.extend_from_slice(bytes);
        partial.ends.push(end);
        debug_assert!(partial.missing > 0, "invariant: a partial packet waits for an attachment");
        partial.missing -= 1;
        Ok(if partial.missing == 0 { self.partial.take() } else { None })
    }

    /// Whether no attachment is pending.
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }
}

impl GatheredPacket {
    /// The complete packet.
    ///
    /// # Errors
    /// None in practice: its text has been validated.
    pub fn packet(&self) -> Result<SocketIoPacket<'_>, SocketIoError> {
        let (packet, _) = decode::parse(self.version, &self.text)?;
        Ok(SocketIoPacket { attachments: Attachments { bytes: &self.bytes, ends: &self.ends }, ..packet })
    }
}
