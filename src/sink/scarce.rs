//! Opening where as many files are open as may be: most are open for moments, so one that closes is waited for.

use std::thread;
use std::time::Instant;

use parking_lot::Mutex;
use rustix::io::Errno;

use crate::limits::{DESCRIPTOR_LOOK, DESCRIPTOR_PATIENCE, DESCRIPTOR_PAUSE};

/// Whether that was any use.
#[derive(Debug, Default)]
pub(super) struct Scarcity {
    waited_in_vain: Mutex<Option<Instant>>,
}

impl Scarcity {
    /// What `open` comes to once there is a descriptor, or has been none for too long. After that nobody waits for a while:
    /// each of many files would.
    pub fn outlast<T>(&self, open: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
        let begun = Instant::now();
        loop {
            let errno = match open() {
                Err(errno @ (Errno::MFILE | Errno::NFILE)) => errno,
                result => return result,
            };
            let mut in_vain = self.waited_in_vain.lock();
            if in_vain.is_some_and(|at| at.elapsed() < DESCRIPTOR_PAUSE) {
                return Err(errno);
            }
            if begun.elapsed() >= DESCRIPTOR_PATIENCE {
                *in_vain = Some(Instant::now());
                return Err(errno);
            }
            drop(in_vain);
            thread::sleep(DESCRIPTOR_LOOK);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_descriptor_that_comes_free_is_waited_for_and_none_that_never_does_twice() {
        let (scarcity, tries) = (Scarcity::default(), Cell::new(0));
        let try_until = |enough: u32| {
            tries.set(0);
            scarcity.outlast(|| {
                tries.set(tries.get() + 1);
                if tries.get() < enough { Err(Errno::MFILE) } else { Ok(()) }
            })
        };
        assert_eq!(try_until(5), Ok(()));
        assert_eq!(try_until(u32::MAX), Err(Errno::MFILE));
        assert_eq!(try_until(5), Err(Errno::MFILE));
        assert_eq!(tries.get(), 1);
    }
}
