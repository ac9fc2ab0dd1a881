//! Opening where as many files are open as may be: most are open for moments, so one that closes is waited
//! for.

use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::Errno;

/// How long a file is waited for to be closed where no more may be open: those of a session are open for
/// moments.
const DESCRIPTOR_PATIENCE: Duration = Duration::from_secs(1);

/// How long nothing is waited for after that was in vain: each of many files would.
const DESCRIPTOR_PAUSE: Duration = Duration::from_secs(10);

/// How often it is tried meanwhile.
const DESCRIPTOR_LOOK: Duration = Duration::from_millis(2);

/// Whether that was any use.
#[derive(Debug, Default)]
pub(super) struct Scarcity {
    waited_in_vain: Mutex<Option<Instant>>,
}

impl Scarcity {
    /// What `open` comes to once there is a descriptor, or has been none for too long. After that nobody
    /// waits for a while: each of many files would.
    pub fn outlast<T>(&self, open: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
        self.outlast_by(open, Instant::now, thread::sleep)
    }

    /// The same by any clock.
    fn outlast_by<T>(
        &self,
        open: impl Fn() -> Result<T, Errno>,
        now: impl Fn() -> Instant,
        sleep: impl Fn(Duration),
    ) -> Result<T, Errno> {
        let begun = now();
        loop {
            let errno = match open() {
                Err(errno @ (Errno::MFILE | Errno::NFILE)) => errno,
                result => return result,
            };
            let mut in_vain = self.waited_in_vain.lock();
            if in_vain.is_some_and(|at| now().duration_since(at) < DESCRIPTOR_PAUSE) {
                return Err(errno);
            }
            if now().duration_since(begun) >= DESCRIPTOR_PATIENCE {
                *in_vain = Some(now());
                return Err(errno);
            }
            drop(in_vain);
            sleep(DESCRIPTOR_LOOK);
        }
    }
}

#[cfg(test)]
mod scarce_tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_descriptor_that_comes_free_is_waited_for_and_none_that_never_does_twice() {
        // A clock that only sleeping moves.
        let (begun, slept) = (Instant::now(), Cell::new(Duration::ZERO));
        let sleep = |time| slept.set(slept.get() + time);
        let (scarcity, tries) = (Scarcity::default(), Cell::new(0));
        let try_until = |enough: u32| {
            tries.set(0);
            let open = || {
                tries.set(tries.get() + 1);
                if tries.get() < enough { Err(Errno::MFILE) } else { Ok(()) }
            };
            scarcity.outlast_by(open, || begun + slept.get(), sleep)
        };
        assert_eq!(try_until(5), Ok(()));
        let before = slept.get();
        assert_eq!(try_until(u32::MAX), Err(Errno::MFILE));
        assert_eq!(slept.get() - before, DESCRIPTOR_PATIENCE);
        assert_eq!(try_until(5), Err(Errno::MFILE));
        assert_eq!(tries.get(), 1);
        sleep(DESCRIPTOR_PAUSE);
        assert_eq!(try_until(5), Ok(()));
    }
}
