//! How the C library's allocator is to treat large blocks.
//!
//! Left alone, the GNU C library takes large blocks from the operating system one by one, but after the first of them is
//! freed it begins to cut blocks of that size from its heap. A shard's lists double as connections come, and each time
//! would leave a hole of their former size behind, which at 15,000 connections is a fifth of all memory. Told where large
//! begins it keeps to that: a list that grows is moved without being copied, and what is freed is given back.
//!
//! Small blocks it keeps when they are freed, for more to come. After many have gone at once it is told to give back the
//! pages that nothing is left in.

/// Blocks from this many bytes on are the operating system's.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: libc::c_int = 128 * 1024;

/// To be called before anything else runs.
pub fn set_up() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it sets a number of the allocator's own.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
}

/// Gives the operating system back the pages that hold nothing. That takes some milliseconds, in which other threads may
/// have to wait for memory, so it is for quiet times.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it touches nothing but what the allocator has free.
    unsafe {
        libc::malloc_trim(0);
    }
}
