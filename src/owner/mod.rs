//! Layer 3: owners hold the authoritative state of rooms and users and apply operations to it. In a single process each
//! shard owns the rooms and users that hash to it ([`embedded::EmbeddedOwner`]); in a cluster Redis owns them, and each
//! node's bridge speaks for it ([`redis::RedisOwner`]).
//!
//! Both owners have the same methods (`ask`, `notify`, `announce`, `handed`, `told`, `orders`, `tick`) and guarantee:
//!
//! 1. exactly one reply per operation, in bounded time;
//! 2. one total order per room, its events delivered in that order;
//! 3. no reply and no event leaves before its record is as durable as configured;
//! 4. an event may be lost in transit, never reordered or altered.
//!
//! Messages to shards are appended to `out`, in order. Commands for the backend (the storage thread, the bridge) are taken
//! with `orders`; its replies come back with `told`. `tests/owner_contract` holds both owners to this text.

pub mod embedded;
pub mod redis;
