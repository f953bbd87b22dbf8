//! The offer of a client, as it stands in its message.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::reject::{Code, Reject};
use crate::media::connection::Description;

/// Bytes of a session description, at most. A browser's has about 2 KiB for each section.
const SDP_BYTES: usize = 64 * 1024;

/// Sections of a session description, at most.
const SECTIONS: usize = 48;

/// An offer that has been read.
#[derive(Debug)]
pub struct MediaOffer {
    pub(super) description: Description,
    /// The connection that it changes; a new one when absent.
    pub(super) media_id: Option<Box<str>>,
    /// The sources that the client has named, by section.
    pub(super) sources: Vec<(Box<str>, SourceName)>,
}

/// The name of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SourceName {
    Microphone,
    Camera,
    Screen,
    ScreenAudio,
}

impl SourceName {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Microphone => "microphone",
            Self::Camera => "camera",
            Self::Screen => "screen",
            Self::ScreenAudio => "screen-audio",
        }
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    sdp: Cow<'a, str>,
    #[serde(rename = "mediaId", default)]
    media_id: Option<Box<str>>,
    #[serde(default)]
    sources: Vec<NamedSource>,
}

#[derive(Deserialize)]
struct NamedSource {
    mid: Box<str>,
    source: SourceName,
}

impl MediaOffer {
    /// Reads the `offer` of a message.
    ///
    /// # Errors
    /// It is not one that the media server takes.
    pub fn read(body: &str) -> Result<Self, Reject> {
        let body: Body<'_> = serde_json::from_str(body).map_err(|error| {
            let text = "offer must be an object with the text sdp, and may have mediaId and sources";
            Reject::invalid(format!("{text}: {error}"))
        })?;
        let refused = |text: String| Err(Reject::new(Code::MediaRefused, text));
        if body.sdp.len() > SDP_BYTES {
            return refused(format!("The sdp of an offer may have {SDP_BYTES} bytes; this one has {}", body.sdp.len()));
        }
        let sections = body.sdp.lines().filter(|line| line.starts_with("m=")).count();
        if sections > SECTIONS || body.sources.len() > SECTIONS {
            return refused(format!("An offer may have {SECTIONS} sections"));
        }
        if sections == 0 {
            return refused("The sdp of the offer has no section".to_owned());
        }
        let description = match Description::read(&body.sdp) {
            Ok(description) => description,
            Err(reason) => return refused(format!("The sdp of the offer cannot be read: {reason}")),
        };
        let sources = body.sources.into_iter().map(|named| (named.mid, named.source)).collect();
        Ok(Self { description, media_id: body.media_id, sources })
    }
}
