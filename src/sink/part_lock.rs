//! Getting hold of a part file: opened or made, locked, and still the one that its name stands for.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::dir::{Dir, is_unsupported, kind_of};
use super::error::{FileKind, SinkError};
use super::part::PART_MODE;
use super::space;
use crate::limits::{PART_RACES_MAX, PART_RELEASE_LOOK, PART_RELEASE_PAUSE};

/// An open part file under our lock.
pub(super) struct Locked {
    pub file: OwnedFd,
    pub stat: Stat,
}

/// What one attempt at a part name came to.
enum Attempt {
    Ours(Locked),
    /// In use by another transfer.
    InUse,
    /// Nothing that we would write into.
    NotForUs,
    /// It changed hands between opening and locking.
    Lost,
}

/// What was tried, and what the system said.
pub(super) type Refused = (&'static str, Errno);

const MAKING: &str = "make a part file for";

pub(super) fn not_opened(dir: &Dir, target: &Path, size: u64, refused: Refused) -> SinkError {
    match refused {
        // FAT's answer to a name with a character it cannot store.
        (MAKING, Errno::INVAL) => {
            SinkError::NameUnstorable { path: target.to_owned(), cause: Errno::INVAL.into() }
        }
        (action, errno) => space::refused(action, dir.fd(), size, target, errno),
    }
}

/// Opens or makes a part file and locks it; `None` for one that is not for us.
///
/// One in use is waited for a moment: a sender that was killed and started again can be back before its last session has
/// let go of what it had, and would begin anew beside it. Where that was in vain, it is not done again for a while: two
/// senders with the same files would wait for each of them.
pub(super) fn lock(dir: &Dir, part_name: &[u8], patience: Duration) -> Result<Option<Locked>, Refused> {
    lock_by(dir, part_name, patience, thread::sleep)
}

/// The same with any way to wait between two looks.
pub(super) fn lock_by(
    dir: &Dir,
    part_name: &[u8],
    patience: Duration,
    mut wait: impl FnMut(Duration),
) -> Result<Option<Locked>, Refused> {
    let (begun, vain) = (Instant::now(), &dir.place().waited_in_vain);
    let mut races = 0;
    while races < PART_RACES_MAX {
        match attempt(dir, part_name)? {
            Attempt::Ours(locked) => return Ok(Some(locked)),
            Attempt::InUse if patience.is_zero() => return Ok(None),
            Attempt::InUse if vain.lock().is_some_and(|at| at.elapsed() < PART_RELEASE_PAUSE) => {
                return Ok(None);
            }
            Attempt::InUse if begun.elapsed() < patience => wait(PART_RELEASE_LOOK),
            Attempt::InUse => {
                *vain.lock() = Some(Instant::now());
                return Ok(None);
            }
            Attempt::NotForUs => return Ok(None),
            Attempt::Lost => races += 1,
        }
    }
    Ok(None)
}

fn attempt(dir: &Dir, part_name: &[u8]) -> Result<Attempt, Refused> {
    // A new one first: most files are new, and then one call does it.
    let new = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    match dir.open(part_name, new, Mode::from_raw_mode(PART_MODE)) {
        Ok(file) => claim(dir, part_name, file, true),
        Err(Errno::EXIST | Errno::LOOP) => attempt_existing(dir, part_name),
        Err(errno) => Err((MAKING, errno)),
    }
}

fn attempt_existing(dir: &Dir, part_name: &[u8]) -> Result<Attempt, Refused> {
    // Looked at before it is opened, as opening a device can have effects of its own.
    match dir.stat(part_name) {
        Ok(Some(stat)) if is_our_kind(&stat, false) => {}
        Ok(Some(_)) => return Ok(Attempt::NotForUs),
        Ok(None) => return Ok(Attempt::Lost),
        Err(errno) => return Err(("look at the part file for", errno)),
    }
    match dir.open(part_name, OFlags::RDWR, Mode::empty()) {
        Ok(file) => claim(dir, part_name, file, false),
        Err(Errno::NOENT) => Ok(Attempt::Lost),
        Err(Errno::LOOP | Errno::ACCESS | Errno::PERM | Errno::NXIO | Errno::ISDIR) => Ok(Attempt::NotForUs),
        Err(errno) => Err(("open the part file for", errno)),
    }
}

/// Locks an open part file, then looks whether it is still the one its name stands for: until the lock was
/// ours, its former holder could publish or remove it.
fn claim(dir: &Dir, part_name: &[u8], file: OwnedFd, is_new: bool) -> Result<Attempt, Refused> {
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(Attempt::InUse),
        // Without locks nobody can know whether an old part is in use, but one just made is surely free, and
        // everybody else here leaves it alone for the same reason.
        Err(errno) if is_unsupported(errno) || errno == Errno::NOLCK => {
            if !is_new {
                return Ok(Attempt::NotForUs);
            }
        }
        Err(errno) => return Err(("lock the part file for", errno)),
    }
    let stat = rustix::fs::fstat(&file).map_err(|errno| ("look at the part file for", errno))?;
    let still_there = dir.is_still(part_name, &stat).map_err(|errno| ("look at the part file for", errno))?;
    Ok(match (still_there, is_our_kind(&stat, is_new)) {
        (false, _) => Attempt::Lost,
        (true, false) => Attempt::NotForUs,
        (true, true) => Attempt::Ours(Locked { file, stat }),
    })
}

/// Whether a file is one that lanx would make: regular, with one name, and ours. A new file is ours whatever
/// owner the file system shows: some show the one they were mounted for.
fn is_our_kind(stat: &Stat, is_new: bool) -> bool {
    kind_of(stat) == FileKind::Regular
        && stat.st_nlink <= 1
        && (is_new || stat.st_uid == rustix::process::geteuid().as_raw())
}
