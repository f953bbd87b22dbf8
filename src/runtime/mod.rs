//! Layer 5: the operating system. Only these files name sockets, files, clocks, threads and entropy.

mod allocator;
pub mod bridge;
pub mod channel;
pub mod clock;
mod connection_permits;
pub mod decisions;
pub mod entropy;
mod event_loop;
mod fetched_keys;
pub mod key_files;
pub mod listener;
pub mod log_writer;
pub mod media;
mod memory;
mod memory_trim;
pub mod process;
pub mod reload;
pub mod server;
mod service_manager;
mod sockets;
pub mod storage;
mod timings;
pub mod tls;
pub mod webhooks;
