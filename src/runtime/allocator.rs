//! Settings of the C library's allocator.
//!
//! By default, the GNU C library takes large blocks from the operating system one by one, but once the first of them is
//! freed it cuts later blocks of that size from its heap. A shard's tables double as connections arrive, and each
//! doubling would leave a hole of the former size behind: at 15,000 connections a fifth of all memory. With a fixed
//! threshold large blocks stay separate: a growing table is moved without a copy, and freed blocks return to the
//! operating system.
//!
//! The allocator keeps freed small blocks for reuse. After a large drop in connections, [`trim`] returns the unused
//! pages.

use crate::domain::monitoring::AllocatorBytes;

/// Size from which a block is taken from the operating system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: libc::c_int = 128 * 1024;

/// To be called before any other thread starts.
pub(super) fn set_up() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets a number inside the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
}

/// Bytes handed out and held free. Takes some microseconds for each of the allocator's arenas.
pub(super) fn bytes() -> AllocatorBytes {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: reads counters of the allocator.
        let info = unsafe { libc::mallinfo2() };
        AllocatorBytes { used: (info.uordblks + info.hblkhd) as u64, free: info.fordblks as u64 }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    AllocatorBytes::default()
}

/// Returns unused pages to the operating system. This takes some milliseconds during which other threads may wait for
/// memory, so call it in quiet times only.
pub(super) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: touches only memory that the allocator holds free.
    unsafe {
        libc::malloc_trim(0);
    }
}
