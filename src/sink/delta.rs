//! A part file that begins as a copy of the file it is to replace, so that only what differs has to be sent.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Sink;
use super::dir::kind_of;
use super::error::{FileKind, SinkError};
use super::part::Part;
use super::space;
use crate::limits::COPY_BYTES;
use crate::name::RelativePath;

impl Sink {
    /// As [`Sink::part`], but a part file that was not there before begins as a copy of the regular file at `path`, if there
    /// is one and it may be read: sharing its blocks where the file system can (btrfs, XFS). The file itself stays as it is.
    ///
    /// # Errors
    /// As [`Sink::part`], and what the system said when copying.
    pub fn part_from_existing(
        &self,
        path: &RelativePath,
        size: u64,
        sparse: bool,
    ) -> Result<Part, SinkError> {
        let mut part = self.part(path, size, sparse)?;
        if part.is_fresh()
            && let Some(existing) = open_existing(&part)
        {
            part.copy_from(&existing)?;
        }
        Ok(part)
    }
}

/// Nothing to copy is no error: then all of the file is sent.
fn open_existing(part: &Part) -> Option<OwnedFd> {
    let file = part.dir.open(part.name.as_bytes(), OFlags::RDONLY, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    (kind_of(&stat) == FileKind::Regular).then_some(file)
}

impl Part {
    fn copy_from(&mut self, existing: &OwnedFd) -> Result<(), SinkError> {
        let failed = |errno| {
            space::refused(
                "copy the existing file to",
                self.file.as_fd(),
                self.size(),
                &self.part_path(),
                errno,
            )
        };
        let copied = match clone(existing, &self.file) {
            Ok(()) => rustix::fs::fstat(existing).map(|stat| space::length(&stat)),
            Err(_) => copy(existing, &self.file, self.size()),
        };
        let copied = copied.map_err(failed)?.min(self.size());
        rustix::fs::ftruncate(&self.file, self.size()).map_err(failed)?;
        self.set_existing_len(copied);
        Ok(())
    }
}

/// Shares the blocks of `from`.
#[cfg(target_os = "linux")]
fn clone(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::ioctl_ficlone(to, from)
}

#[cfg(not(target_os = "linux"))]
fn clone(_from: &OwnedFd, _to: &OwnedFd) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// Copies the first `most` bytes of `from`, or as many as there are. Returns how many those were.
fn copy(from: &OwnedFd, to: &OwnedFd, most: u64) -> Result<u64, Errno> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    while at < most {
        let room = usize::try_from(most - at).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
        let got = rustix::io::retry_on_intr(|| rustix::io::pread(from, &mut buffer[..room], at))?;
        if got == 0 {
            break;
        }
        super::bytes::write_all_at(to.as_fd(), &buffer[..got], at).map_err(|(_, errno)| errno)?;
        at += got as u64;
    }
    Ok(at)
}
