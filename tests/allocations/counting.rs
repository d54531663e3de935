//! An allocator that counts what one thread does.
#![allow(
    unsafe_code,
    reason = "the trait is unsafe; each call goes to the system's allocator as it came, and no crate counts by thread"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Sub;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};

/// The allocator of this program.
#[derive(Debug)]
pub(crate) struct Counting;

/// What the watched thread has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    /// Blocks asked for, enlarged ones included.
    pub(crate) allocations: u64,
    /// Bytes asked for.
    pub(crate) bytes: u64,
    /// Bytes asked for and not yet given back.
    pub(crate) live: i64,
}

impl Sub for Count {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            allocations: self.allocations - before.allocations,
            bytes: self.bytes - before.bytes,
            live: self.live - before.live,
        }
    }
}

/// The thread that is watched; 0 = none.
static WATCHED: AtomicU32 = AtomicU32::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);

thread_local! {
    /// The kernel's number of this thread, once it is known.
    static SELF: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Watches the thread of this number from here on.
pub(crate) fn watch(thread: u32) {
    WATCHED.store(thread, Relaxed);
}

/// What the watched thread has done.
pub(crate) fn now() -> Count {
    Count { allocations: ALLOCATIONS.load(Relaxed), bytes: BYTES.load(Relaxed), live: LIVE.load(Relaxed) }
}

/// Whether the calling thread is the watched one. A thread that is ending is not.
fn is_watched() -> bool {
    let watched = WATCHED.load(Relaxed);
    watched != 0 && SELF.try_with(|number| own(number) == watched).unwrap_or(false)
}

fn own(number: &Cell<Option<u32>>) -> u32 {
    number.get().unwrap_or_else(|| {
        // Asking allocates, and so calls this function again.
        number.set(Some(0));
        let link = std::fs::read_link("/proc/thread-self").unwrap_or_default();
        let found = link.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0);
        number.set(Some(found));
        found
    })
}

fn asked(bytes: usize) {
    if is_watched() {
        ALLOCATIONS.fetch_add(1, Relaxed);
        BYTES.fetch_add(bytes as u64, Relaxed);
        LIVE.fetch_add(bytes as i64, Relaxed);
    }
}

fn gave_back(bytes: usize) {
    if is_watched() {
        LIVE.fetch_sub(bytes as i64, Relaxed);
    }
}

// SAFETY: every call goes to `System` with its arguments unchanged, and the result of `System` is returned
// unchanged; counting touches atomics and a thread-local that needs no allocation and no destructor, and
// cannot panic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        asked(layout.size());
        // SAFETY: the caller upholds the contract of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        asked(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        gave_back(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        gave_back(layout.size());
        asked(size);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
}
