//! Settings that bound what one client, one user or one address may do or take.

use super::kinds::{Network, limit, networks, whole};
use super::raw::settings;

const COUNT_MAX: u64 = 1_000_000_000;
const BYTES_MAX: u64 = 1 << 30;
const SECONDS_MAX: u64 = 31_536_000;
const MILLISECONDS_MAX: u64 = 86_400_000;

settings! {
    /// The limits. Where a limit may be 0, that switches it off.
    pub struct LimitSettings in "limits." {
        /// Connection attempts an IP address may make per window; 0: any number.
        connection_attempts: u64 = 5, limit(COUNT_MAX);
        /// Seconds of that window.
        connection_window_s: u64 = 300, whole(1, SECONDS_MAX);
        /// Seconds an address is turned away after too many attempts; 0: only until its window
        /// ends.
        connection_block_s: u64 = 900, limit(SECONDS_MAX);
        /// Addresses and ranges to which connection limits do not apply.
        exempt: Vec<Network> = vec!["127.0.0.0/8", "::1/128"], networks;
        /// Chat messages a user may send per minute; 0: any number.
        messages_per_minute: u64 = 100, limit(COUNT_MAX);
        /// Typing events a user may send per minute; 0: any number.
        typing_per_minute: u64 = 10, limit(COUNT_MAX);
        /// WebRTC signals a connection may send per minute; 0: any number.
        signals_per_minute: u64 = 600, limit(COUNT_MAX);
        /// WebRTC signals a connection may send at once.
        signals_burst: u64 = 200, whole(1, COUNT_MAX);
        /// REST calls a user may make per minute; 0: any number.
        rest_per_minute: u64 = 300, limit(COUNT_MAX);
        /// Bytes of a message's content; 0: as many as fit a frame.
        message_bytes: usize = 16_384, limit(BYTES_MAX);
        /// Bytes of a WebSocket message, an SDP included; 0: no bound.
        frame_bytes: usize = 262_144, limit(BYTES_MAX);
        /// Bytes that may wait for a slow client before it is cut off; 0: no bound.
        outbound_bytes: usize = 1_048_576, limit(BYTES_MAX);
        /// Bytes of an HTTP request's body; 0: no bound.
        body_bytes: usize = 1_048_576, limit(BYTES_MAX);
        /// Rooms one connection may be in; 0: any number.
        rooms_per_connection: usize = 100, limit(COUNT_MAX);
        /// Connections one user may have; 0: any number.
        connections_per_user: usize = 20, limit(COUNT_MAX);
        /// Connections one IP address may have; 0: any number.
        connections_per_ip: usize = 10_000, limit(COUNT_MAX);
        /// Connections in all; 0: what the descriptor limit allows.
        connections: usize = 0, limit(COUNT_MAX);
        /// Milliseconds a client may take for its WebSocket or TLS handshake; 0: any time.
        handshake_ms: u64 = 10_000, limit(MILLISECONDS_MAX);
        /// Milliseconds a client may take for an HTTP head; 0: any time.
        head_ms: u64 = 10_000, limit(MILLISECONDS_MAX);
        /// Milliseconds a kept-alive HTTP connection may be idle; 0: any time.
        idle_ms: u64 = 60_000, limit(MILLISECONDS_MAX);
        /// Milliseconds a Socket.IO transport may stay without a CONNECT; 0: any time.
        unauthenticated_ms: u64 = 45_000, limit(MILLISECONDS_MAX);
        /// Bytes of an HTTP head.
        http_head_bytes: usize = 16_384, whole(1_024, 1_048_576);
        /// Headers of an HTTP head.
        http_headers: usize = 100, whole(8, 1_000);
    }
}
