//! Settings that limit clients, users and addresses.

use super::kinds::{Network, limit, networks, whole};
use super::raw::settings;
use crate::codec::http::HEADERS_MAX;

const COUNT_MAX: u64 = 1_000_000_000;
const BYTES_MAX: u64 = 1 << 30;
const SECONDS_MAX: u64 = 31_536_000;
const MILLISECONDS_MAX: u64 = 86_400_000;

settings! {
    /// The limits. Where 0 is allowed, it turns the limit off.
    pub struct LimitSettings in "limits." {
        /// Connection attempts per IP address and window; 0: any number.
        connection_attempts: u64 = 5, limit(COUNT_MAX);
        /// Length of the window of `limits.connection_attempts`, in seconds.
        connection_window_s: u64 = 300, whole(1, SECONDS_MAX);
        /// Seconds for which an address is blocked after too many attempts; 0: only until its window ends.
        connection_block_s: u64 = 900, limit(SECONDS_MAX);
        /// Addresses and ranges to which connection limits do not apply.
        exempt: Vec<Network> = vec!["127.0.0.0/8", "::1/128"], networks;
        /// Chat messages per user and minute; 0: any number.
        messages_per_minute: u64 = 100, limit(COUNT_MAX);
        /// Typing events per user and minute; 0: any number.
        typing_per_minute: u64 = 10, limit(COUNT_MAX);
        /// WebRTC signals per connection and minute; 0: any number.
        signals_per_minute: u64 = 600, limit(COUNT_MAX);
        /// WebRTC signals that a connection may send in one burst.
        signals_burst: u64 = 200, whole(1, COUNT_MAX);
        /// REST calls per user and minute; 0: any number.
        rest_per_minute: u64 = 300, limit(COUNT_MAX);
        /// REST calls per API key and minute; 0: any number.
        key_rest_per_minute: u64 = 6_000, limit(COUNT_MAX);
        /// Cost of an API key's requests per minute, in units of about 4 KiB sent; 0: any.
        key_cost: u64 = 600_000, limit(COUNT_MAX);
        /// Cost of a user's requests per minute, in units of about 4 KiB sent; 0: any.
        cost_per_user: u64 = 6_000, limit(COUNT_MAX);
        /// Cost of the requests from an IP address per minute, in the same units; 0: any.
        cost_per_ip: u64 = 60_000, limit(COUNT_MAX);
        /// Maximum size of a message's content, in bytes; 0: as large as a frame.
        message_bytes: usize = 16_384, limit(BYTES_MAX);
        /// Maximum size of a WebSocket message, in bytes, including SDP; 0: no limit.
        frame_bytes: usize = 262_144, limit(BYTES_MAX);
        /// Bytes that may wait for a slow client before it is disconnected; 0: no limit.
        outbound_bytes: usize = 1_048_576, limit(BYTES_MAX);
        /// Maximum size of an HTTP request's body, in bytes; 0: no limit.
        body_bytes: usize = 1_048_576, limit(BYTES_MAX);
        /// Rooms per connection; 0: any number.
        rooms_per_connection: usize = 100, limit(COUNT_MAX);
        /// Rooms that a user has made and that still exist: by REST, and by joining if messages are kept; 0: any number.
        rooms_per_user: usize = 1_000, limit(COUNT_MAX);
        /// Bytes of direct messages that may wait for a user who is not connected; 0: any number.
        direct_bytes_per_user: usize = 4_194_304, limit(BYTES_MAX);
        /// Connections per user; 0: any number.
        connections_per_user: usize = 20, limit(COUNT_MAX);
        /// Connections per IP address; 0: any number.
        connections_per_ip: usize = 10_000, limit(COUNT_MAX);
        /// Sockets per IP address (IPv6: per 64-bit network), counted when they are accepted, whatever they send; 0: any
        /// number. A Socket.IO client can have two for a moment.
        sockets_per_ip: usize = 20_000, limit(COUNT_MAX);
        /// Connections in all; 0: as many as the descriptor limit allows. Beyond it, connections without an authenticated
        /// client are closed for new ones, longest idle first.
        connections: usize = 0, limit(COUNT_MAX);
        /// Milliseconds that a WebSocket or TLS handshake may take; 0: any time.
        handshake_ms: u64 = 10_000, limit(MILLISECONDS_MAX);
        /// Milliseconds that an HTTP head may take; 0: any time.
        head_ms: u64 = 10_000, limit(MILLISECONDS_MAX);
        /// Milliseconds that a kept-alive HTTP connection may be idle; 0: any time. Longer than the idle timeout of the
        /// proxy in front, so that the proxy closes first.
        idle_ms: u64 = 75_000, limit(MILLISECONDS_MAX);
        /// Milliseconds that a Socket.IO transport may stay without a CONNECT; 0: any time.
        unauthenticated_ms: u64 = 45_000, limit(MILLISECONDS_MAX);
        /// Maximum size of an HTTP head, in bytes.
        http_head_bytes: usize = 16_384, whole(1_024, 1_048_576);
        /// Maximum number of headers in an HTTP head.
        http_headers: usize = 100, whole(8, HEADERS_MAX as u64);
    }
}
