//! The connection mode of a room, as scripts return and publish it.

use serde::Deserialize;

use crate::domain::connection_mode::{ConnectionMode, ModeChange, ModeReason};

/// A change of the mode.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct WireModeChange {
    #[serde(rename = "m")]
    mode: Box<str>,
    #[serde(rename = "p")]
    previous: Box<str>,
    #[serde(rename = "y")]
    reason: Box<str>,
}

impl WireModeChange {
    /// The change. An unknown reason is the usual one.
    pub(super) fn change(&self) -> ModeChange {
        let is_sfu = |word: &str| mode(word == ConnectionMode::Sfu.as_str());
        let reason = ModeReason::ALL.into_iter().find(|reason| reason.as_str() == &*self.reason);
        ModeChange { mode: is_sfu(&self.mode), previous: is_sfu(&self.previous), reason: reason.unwrap_or_default() }
    }
}

/// The mode of a view of a room.
pub(super) fn mode(is_sfu: bool) -> ConnectionMode {
    if is_sfu { ConnectionMode::Sfu } else { ConnectionMode::P2p }
}
