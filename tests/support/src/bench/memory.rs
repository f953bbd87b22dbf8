//! What memory a bench takes: as its allocator counts it, and as the kernel does.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's allocator, counted. Only one thread may use it at a time, or the counts go wrong: what they are added
/// to is not locked, so that counting costs next to nothing.
pub struct Counted;

static BYTES: AtomicU64 = AtomicU64::new(0);
static BLOCKS: AtomicU64 = AtomicU64::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn add(to: &AtomicU64, difference: u64) {
    to.store(to.load(Ordering::Relaxed).wrapping_add(difference), Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(&BYTES, layout.size() as u64);
        add(&BLOCKS, 1);
        add(&ALLOCATIONS, 1);
        // SAFETY: what the caller promises is what is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        add(&BYTES, (layout.size() as u64).wrapping_neg());
        add(&BLOCKS, 1_u64.wrapping_neg());
        // SAFETY: what the caller promises is what is asked for.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(&BYTES, (size as u64).wrapping_sub(layout.size() as u64));
        add(&ALLOCATIONS, 1);
        // SAFETY: what the caller promises is what is asked for.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// A reading of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Bytes asked for and not given back.
    pub bytes: i64,
    /// Allocations not given back.
    pub blocks: i64,
    /// Allocations ever made, and reallocations.
    pub allocations: i64,
    /// Bytes resident that are this process's own; 0 where the kernel does not say.
    pub private_bytes: i64,
}

impl Reading {
    /// What has been counted so far, without the kernel's view, which takes a millisecond and more.
    pub fn counted() -> Self {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed) as i64;
        Self { bytes: read(&BYTES), blocks: read(&BLOCKS), allocations: read(&ALLOCATIONS), private_bytes: 0 }
    }

    pub fn now() -> Self {
        Self { private_bytes: private_bytes(), ..Self::counted() }
    }

    /// What has come since an earlier reading.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            bytes: self.bytes - earlier.bytes,
            blocks: self.blocks - earlier.blocks,
            allocations: self.allocations - earlier.allocations,
            private_bytes: self.private_bytes - earlier.private_bytes,
        }
    }
}

fn private_bytes() -> i64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let private = rollup.lines().filter(|line| line.starts_with("Private_Dirty:"));
    let kilobytes = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<i64>().ok());
    1024 * kilobytes.sum::<i64>()
}
