//! Settings of compression.

use super::kinds::{truth, whole};
use super::raw::settings;
use crate::connection::deflation::DeflateSettings;

settings! {
    /// Compression of what is sent.
    pub struct CompressionSettings in "deflate." {
        /// Whether WebSocket messages are compressed for clients that offer permessage-deflate (RFC 7692).
        enabled: bool = false, truth;
        /// Size from which a WebSocket message is compressed, in bytes.
        min_bytes: usize = 256, whole(1, 1 << 30);
        /// Level of compression: 2 is the fastest, 9 the smallest.
        level: usize = 2, whole(2, 9);
        /// Whether answers by HTTP are compressed (gzip) for clients that accept it: of polls, of REST and of pages.
        http: bool = false, truth;
        /// Size from which an answer by HTTP is compressed, in bytes.
        http_min_bytes: usize = 1_024, whole(1, 1 << 30);
    }
}

impl CompressionSettings {
    /// Options of WebSocket messages, if they are to be compressed.
    pub(super) fn of_messages(&self) -> Option<DeflateSettings> {
        self.enabled.then_some(DeflateSettings { level: self.level as u32, bytes_min: self.min_bytes })
    }

    /// Options of answers by HTTP, if they are to be compressed.
    pub(super) fn of_answers(&self) -> Option<DeflateSettings> {
        self.http.then_some(DeflateSettings { level: self.level as u32, bytes_min: self.http_min_bytes })
    }
}
