//! Threads with a name, by which they are found in a debugger and in `top -H`.

use std::thread::Builder;

/// Stack of a worker thread. Its chunk buffer is on the heap; BLAKE3 and the system calls need a few KiB.
pub const WORKER_STACK_BYTES: usize = 256 * 1024;

/// One with as much stack as the standard library gives.
pub fn named(name: &str) -> Builder {
    Builder::new().name(name.to_owned())
}

/// One that moves chunks or bytes, of which there may be many.
pub fn worker(name: &str) -> Builder {
    named(name).stack_size(WORKER_STACK_BYTES)
}
