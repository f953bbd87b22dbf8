//! Settings of calls.

use super::kinds::{Shaped, limit, one_of, whole};
use super::raw::settings;

/// Whether rooms change their connection mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaMode {
    /// Media go from peer to peer.
    Off,
    /// They go through a media server where that is needed.
    Auto,
}

impl Shaped for MediaMode {}

const MODES: &[(&str, MediaMode)] = &[("off", MediaMode::Off), ("auto", MediaMode::Auto)];

settings! {
    /// The connection mode of calls.
    pub struct MediaSettings in "media." {
        /// The connection mode of rooms: `"off"`: always `p2p`, or `"auto"`: `sfu` where callers that can use a media server
        /// need it. The media server is one that the application runs.
        mode: MediaMode = "off", one_of(MODES);
        /// Callers that a room connects from peer to peer at most; 0: any number.
        p2p_max: u64 = 2, limit(10_000);
        /// Milliseconds for which there have to be so few callers before they are connected from peer to peer again.
        p2p_return_ms: u64 = 20_000, whole(0, 3_600_000);
    }
}
