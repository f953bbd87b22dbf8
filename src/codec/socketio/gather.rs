//! Packets whose attachments follow them: kept until the last one has come.

use smallvec::SmallVec;

use super::{
    ATTACHMENTS_MAX, PacketContent, SocketIoError, SocketIoEvent, SocketIoLimits, SocketIoPacket, decode, placeholders,
};
use crate::codec::engineio::Version;

/// One client's packets: 8 bytes, and nothing behind them unless attachments are awaited.
#[derive(Debug, Default)]
pub struct SocketIoDecoder {
    partial: Option<Box<GatheredPacket>>,
}

/// A packet with attachments, those of them that have come.
#[derive(Debug, PartialEq, Eq)]
pub struct GatheredPacket {
    version: Version,
    text: Box<str>,
    bytes: Vec<u8>,
    /// Where each attachment ends in `bytes`.
    ends: SmallVec<[u32; 4]>,
    /// Attachments to come.
    missing: usize,
}

/// Attachments in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attachments<'a> {
    bytes: &'a [u8],
    ends: &'a [u32],
}

impl<'a> Attachments<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The one that a placeholder calls `number`.
    pub fn get(&self, number: usize) -> Option<&'a [u8]> {
        let end = *self.ends.get(number)? as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.bytes.get(start..end)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let all = *self;
        (0..all.len()).filter_map(move |number| all.get(number))
    }
}

impl SocketIoDecoder {
    /// Reads a message of text. `None` when attachments are to follow; the packet then comes from [`SocketIoDecoder::binary`].
    ///
    /// # Errors
    /// The client's fault; see [`SocketIoError`]. The caller closes and decodes no more.
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
        debug_assert!(missing <= ATTACHMENTS_MAX, "the parser keeps to the bound");
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

    /// Reads a message of bytes, an attachment. `Some` when it was the last one of its packet.
    ///
    /// # Errors
    /// No attachment is awaited, or the packet becomes too large.
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
        partial.missing -= 1;
        Ok(if partial.missing == 0 { self.partial.take() } else { None })
    }

    /// Whether it holds nothing: no attachment is awaited.
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }
}

impl GatheredPacket {
    /// The packet, whole.
    ///
    /// # Errors
    /// None: its text was a packet when it came, and still is.
    pub fn packet(&self) -> Result<SocketIoPacket<'_>, SocketIoError> {
        let (packet, _) = decode::parse(self.version, &self.text)?;
        Ok(SocketIoPacket { attachments: Attachments { bytes: &self.bytes, ends: &self.ends }, ..packet })
    }
}
