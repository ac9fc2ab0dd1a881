//! Whether locks keep sessions apart: not on every file system that has them.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::dir::Dir;
use crate::os::file_system;

/// After so long without a change a part file counts as left by a session that is no more. Should it be there
/// after all, it only sends that file again.
pub(super) const REST: Duration = Duration::from_secs(600);

/// Whether a lock that one session has on a part file in this folder keeps all others from it.
pub(super) fn locks_decide(dir: &Dir) -> Result<bool, Errno> {
    let device = rustix::fs::fstat(dir.fd())?.st_dev;
    Ok(*dir.place().locks.lock().entry(device).or_insert_with(|| have_effect(dir)))
}

/// Locks the folder twice: the second time has to fail.
fn have_effect(dir: &Dir) -> bool {
    if file_system::is_shared(dir.fd()) {
        return false;
    }
    let lock = || -> Result<(OwnedFd, bool), Errno> {
        let folder = dir.open(b".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok((folder, true)),
            Err(Errno::WOULDBLOCK) => Ok((folder, false)),
            Err(errno) => Err(errno),
        }
    };
    match lock() {
        Ok((_first, true)) => lock().is_ok_and(|(_, locked)| !locked),
        // Somebody else has it.
        Ok((_, false)) => true,
        Err(_) => false,
    }
}
