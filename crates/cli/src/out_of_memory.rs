//! What this process does when memory runs out where nothing can be handed back as an error: it says so and ends with the exit
//! code of a failed machine. Rust itself would abort, which reads like a bug.

use crate::failure::Exit;
use signal_hook::consts::SIGABRT;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether an allocation of this process was denied. It stays so: before it aborts, Rust prints a stack, for which there may be
/// memory.
static DENIED: AtomicBool = AtomicBool::new(false);

/// The allocator of the system, which remembers whether it denied a request.
struct Remembering;

#[global_allocator]
static ALLOCATOR: Remembering = Remembering;

fn noted(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        DENIED.store(true, Ordering::Relaxed);
    }
    memory
}

// SAFETY: every request goes to `System` as it came, and its answer is returned.
unsafe impl GlobalAlloc for Remembering {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `System`.
        noted(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        noted(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        noted(unsafe { System.realloc(memory, layout, new_size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Lets the process end with an error of its own when it aborts because memory ran out. A worker does not call this: whoever
/// started it tells how it ended.
pub fn is_an_error() {
    let end = || {
        if DENIED.load(Ordering::Relaxed) {
            // Only calls that a signal handler may make: no lock is taken, and no memory is used.
            let said = b"error: memory ran out\nhint: raise the limit (ulimit -v), or free memory\n";
            let _ = rustix::io::write(rustix::stdio::stderr(), said);
            signal_hook::low_level::exit(Exit::Engine as i32);
        }
    };
    // SAFETY: the handler only loads an atomic, writes to a descriptor and ends the process.
    // Where the signal cannot be caught, the process aborts as before.
    let _ = unsafe { signal_hook::low_level::register(SIGABRT, end) };
}
