//! Memory that is held: an allocator that counts.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use mimalloc::MiMalloc;

static HELD: AtomicUsize = AtomicUsize::new(0);

/// The binary's allocator, counting the bytes that were asked for.
pub(crate) struct Counting;

// SAFETY: every call is handed on unchanged to mimalloc, which keeps the contract; counting is a plain atomic addition, which
// neither allocates nor unwinds.
#[expect(unsafe_code, reason = "an allocator cannot be written without; this one only counts")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Relaxed);
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }
}

/// Bytes that were asked for and not given back, in MB. What the allocator needs besides is not in it.
pub(crate) fn held_mb() -> f64 {
    HELD.load(Relaxed) as f64 / 1e6
}
