//! What stands at a final name already.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use super::bytes::read_exact_at;
use super::dir::{Dir, kind_of};
use super::error::{FileKind, SinkError};
use super::space::length;
use crate::name::Name;

/// What [`look`](super::Sink::look) found at a final name.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A regular file of the same size: only comparing its bytes tells whether it is the same file.
    SameSize(ExistingFile),
    /// A file of another size, one that may not be read, or a symlink (which is never followed).
    Different,
}

/// A regular file that stood at the final name, open for reading.
#[derive(Debug)]
pub struct ExistingFile {
    fd: OwnedFd,
    path: PathBuf,
    size: u64,
}

impl ExistingFile {
    /// Fills `buf` from `offset`, in bytes. May be called by many threads at once.
    ///
    /// # Errors
    /// [`SinkError::UnexpectedEnd`] when the file got shorter meanwhile, otherwise what the system said.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SinkError> {
        read_exact_at(self.fd.as_fd(), buf, offset, || self.path.clone())
    }

    /// Its size in bytes when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its path as the user knows it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

pub(super) fn look(dir: &Dir, name: &Name, size: u64) -> Result<Found, SinkError> {
    let path = dir.path_of(name.as_bytes());
    let stat = match dir.stat(name.as_bytes()) {
        Ok(Some(stat)) => stat,
        Ok(None) => return Ok(Found::Nothing),
        Err(errno) => return Err(SinkError::system("look at", path, errno)),
    };
    // Asked before opening, as opening a device or a FIFO can have effects of its own.
    if let Some(found) = without_opening(&stat, size, &path)? {
        return Ok(found);
    }
    let fd = match dir.open(name.as_bytes(), OFlags::RDONLY, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        // A symlink took its place, or it may not be read: either way nobody can show that it is the same.
        Err(Errno::LOOP | Errno::ACCESS | Errno::PERM) => return Ok(Found::Different),
        Err(errno) => return Err(SinkError::system("open", path, errno)),
    };
    // And asked again, as it may have been swapped in between.
    let stat = rustix::fs::fstat(&fd).map_err(|errno| SinkError::system("look at", path.clone(), errno))?;
    Ok(match without_opening(&stat, size, &path)? {
        Some(found) => found,
        None => Found::SameSize(ExistingFile { fd, path, size }),
    })
}

/// The answer where kind and size give it alone.
fn without_opening(stat: &Stat, size: u64, path: &Path) -> Result<Option<Found>, SinkError> {
    match kind_of(stat) {
        FileKind::Regular => Ok((length(stat) != size).then_some(Found::Different)),
        FileKind::Symlink => Ok(Some(Found::Different)),
        what => Err(SinkError::InTheWay { path: path.to_owned(), what }),
    }
}
