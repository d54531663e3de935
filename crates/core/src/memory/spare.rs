//! Memory that was freed, back to the system.

use std::hint::black_box;

/// Has the allocator give back what this thread has freed. It does so by itself, but only while it has other work: a thread
/// whose connections have all gone keeps their memory until the next one comes.
pub fn give_back() {
    // Never touched, so it takes address space alone. As it is too large to be kept, freeing it makes the allocator look at what
    // else is free.
    drop(black_box(Vec::<u8>::with_capacity(LARGE)));
}

/// Above all that mimalloc keeps for the next allocation.
const LARGE: usize = 64 << 20;
