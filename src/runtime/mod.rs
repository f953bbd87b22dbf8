//! Layer 5: the operating system. The only files that name sockets, files, clocks, threads and entropy.

pub mod allocator;
pub mod bridge;
pub mod channel;
pub mod clock;
pub mod entropy;
pub mod event_loop;
pub mod keys;
pub mod listener;
pub mod memory;
pub mod memory_trim;
pub mod places;
pub mod server;
pub mod sockets;
pub mod storage;
