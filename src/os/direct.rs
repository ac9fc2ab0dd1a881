//! Direct I/O: whole blocks read and written past the page cache, by a second handle of the file.
//!
//! Everything else goes on through the ordinary handle: what is no whole block, what is looked at, and all of
//! a file for which direct I/O is refused, be it at once or in the middle. So a refusal costs speed and never
//! a byte.

use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;
use rustix::io::{Errno, retry_on_intr};

#[cfg(target_os = "linux")]
use crate::limits::CHUNK_BYTES;
use crate::limits::DIRECT_BLOCK_BYTES;
use crate::name::Escaped;

/// The user's wish for direct I/O. It remembers whether the user knows of a refusal.
#[derive(Debug, Default)]
pub struct Direct {
    told: AtomicBool,
}

impl Direct {
    pub fn new() -> Arc<Direct> {
        Arc::default()
    }

    /// A second handle of the file behind `file`, which `open` opens with a further flag. `None` where that
    /// is refused, or where its name stands for another file by now, which others find out.
    pub fn open(
        self: &Arc<Self>,
        file: impl AsFd,
        path: &Path,
        open: impl FnOnce(OFlags) -> Result<OwnedFd, Errno>,
    ) -> Option<DirectFile> {
        let opened = direct_flag().and_then(|flag| {
            let second = open(flag)?;
            let (first, stat) = (rustix::fs::fstat(file)?, rustix::fs::fstat(&second)?);
            if (first.st_dev, first.st_ino) != (stat.st_dev, stat.st_ino) {
                return Ok(None);
            }
            Ok(Some((Alignment::of(&second)?, second)))
        });
        match opened {
            Ok(opened) => opened.map(|(alignment, file)| DirectFile {
                file,
                alignment,
                refused: AtomicBool::new(false),
                path: path.into(),
                direct: self.clone(),
            }),
            Err(errno) => {
                self.tell(path, errno);
                None
            }
        }
    }

    fn tell(&self, path: &Path, why: impl Display) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "direct I/O is refused for {} ({why}): it goes through the page cache, which is as safe, and so does \
                 whatever else refuses it; leave --direct out if nothing there takes it",
                Escaped::path(path)
            );
        }
    }
}

#[cfg(target_os = "linux")]
fn direct_flag() -> Result<OFlags, Errno> {
    Ok(OFlags::DIRECT)
}

#[cfg(not(target_os = "linux"))]
fn direct_flag() -> Result<OFlags, Errno> {
    Err(Errno::OPNOTSUPP)
}

/// What direct I/O asks of a buffer and of its place in the file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Alignment {
    address: usize,
    /// Of offsets and lengths.
    offset: usize,
}

impl Alignment {
    /// Never less than a block, so that no write ends inside one of the file system's.
    const ORDINARY: Alignment = Alignment { address: DIRECT_BLOCK_BYTES, offset: DIRECT_BLOCK_BYTES };

    /// What this file asks for, as far as the system knows (Linux 6.1).
    ///
    /// # Errors
    /// `OPNOTSUPP` where it can have no direct I/O, or none with chunks in buffers of ours.
    #[cfg(target_os = "linux")]
    fn of(file: &OwnedFd) -> Result<Alignment, Errno> {
        use rustix::fs::{AtFlags, StatxFlags, statx};
        let known = match statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) {
            Ok(stat) if stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0 => stat,
            // An older kernel, or a file system that does not say.
            _ => return Ok(Alignment::ORDINARY),
        };
        let (address, offset) = (known.stx_dio_mem_align as usize, known.stx_dio_offset_align as usize);
        let possible = address.is_power_of_two()
            && address <= DIRECT_BLOCK_BYTES
            && offset.is_power_of_two()
            && offset <= CHUNK_BYTES;
        match possible {
            true => Ok(Alignment { offset: offset.max(DIRECT_BLOCK_BYTES), ..Alignment::ORDINARY }),
            false => Err(Errno::OPNOTSUPP),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn of(_file: &OwnedFd) -> Result<Alignment, Errno> {
        Ok(Alignment::ORDINARY)
    }

    fn fits(self, address: usize, bytes: usize, offset: u64) -> bool {
        address.is_multiple_of(self.address)
            && bytes.is_multiple_of(self.offset)
            && offset.is_multiple_of(self.offset as u64)
    }
}

/// A handle that goes past the page cache. Threads share it.
#[derive(Debug)]
pub struct DirectFile {
    file: OwnedFd,
    alignment: Alignment,
    /// The device has refused in the middle: it is not asked again.
    refused: AtomicBool,
    path: PathBuf,
    direct: Arc<Direct>,
}

impl DirectFile {
    /// Reads into `buf` from `offset`. Returns how many bytes that made, from none to all: the rest is for
    /// the ordinary handle, where it is no whole block, the file ends or this is refused.
    ///
    /// # Errors
    /// What the system said.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, Errno> {
        let (address, bytes) = (buf.as_ptr().addr(), buf.len());
        let read = |done: usize, at| rustix::io::pread(&self.file, &mut buf[done..], at);
        self.in_blocks(address, bytes, offset, read).map_err(|(_, errno)| errno)
    }

    /// Writes `buf` at `offset`. Returns how many bytes that made, as [`DirectFile::read_at`] does.
    ///
    /// # Errors
    /// What the system said, with the number of bytes written before.
    pub fn write_at(&self, buf: &[u8], offset: u64) -> Result<usize, (usize, Errno)> {
        let write = |done: usize, at| rustix::io::pwrite(&self.file, &buf[done..], at);
        self.in_blocks(buf.as_ptr().addr(), buf.len(), offset, write)
    }

    fn in_blocks(
        &self,
        address: usize,
        bytes: usize,
        offset: u64,
        mut step: impl FnMut(usize, u64) -> Result<usize, Errno>,
    ) -> Result<usize, (usize, Errno)> {
        let mut done = 0;
        while done < bytes && !self.refused.load(Ordering::Relaxed) {
            let at = offset.saturating_add(done as u64);
            if !self.alignment.fits(address + done, bytes - done, at) {
                break;
            }
            match retry_on_intr(|| step(done, at)) {
                Ok(0) => break,
                Ok(n) => done += n,
                // It has promised more than it can.
                Err(errno @ (Errno::INVAL | Errno::OPNOTSUPP)) => {
                    self.refused.store(true, Ordering::Relaxed);
                    self.direct.tell(&self.path, errno);
                }
                Err(errno) => return Err((done, errno)),
            }
        }
        Ok(done)
    }

    /// The same with a device that is said to ask for nothing, so that it refuses what does not suit it.
    #[cfg(test)]
    pub(crate) fn lying(self) -> DirectFile {
        DirectFile { alignment: Alignment { address: 1, offset: 1 }, ..self }
    }

    /// Whether the device has refused.
    #[cfg(test)]
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }
}
