//! Layer 5: the operating system. Only these files name sockets, files, clocks, threads and entropy.

pub mod allocator;
pub mod bridge;
pub mod channel;
pub mod clock;
pub mod connection_permits;
pub mod entropy;
pub mod event_loop;
pub mod key_files;
pub mod listener;
pub mod memory;
pub mod memory_trim;
pub mod server;
pub mod sockets;
pub mod storage;
