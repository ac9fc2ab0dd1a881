//! Room on the disk: asked before the first byte, and taken then where that is cheap, so that a long transfer
//! does not end on a full disk and its file lies in one piece.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::Stat;
use rustix::io::{Errno, retry_on_intr};

use super::dir::{Dir, is_unsupported, kind_of};
use super::error::{FileKind, SinkError, SpaceLimit};
use crate::limits::CHUNK_BYTES;

/// POSIX leaves the unit of `st_blocks` open; every Unix lanx runs on counts 512 bytes, whatever the file
/// system's own block size.
const STAT_BLOCK_BYTES: u64 = 512;

/// The length of a file in bytes.
pub(super) fn length(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Bytes on the disk that a file occupies already.
fn occupied(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(STAT_BLOCK_BYTES)
}

/// Makes sure that `size` bytes fit into the part file `file`, described by `stat`, and gives it its length.
///
/// A file of at most one chunk costs nothing here: its one write tells whether there is room. (For a sparse file see
/// [`set_length`].)
pub(super) fn reserve(
    dir: &Dir,
    file: BorrowedFd<'_>,
    stat: &Stat,
    size: u64,
    target: &Path,
) -> Result<(), SinkError> {
    let needed = size.saturating_sub(occupied(stat));
    if size <= CHUNK_BYTES as u64 || (needed == 0 && length(stat) == size) {
        return Ok(());
    }
    if let Some(free) = free_bytes(file)
        && free < needed
    {
        let path = target.to_owned();
        let limit = SpaceLimit::Disk;
        return Err(SinkError::NoSpace { path, needed, free, limit });
    }
    if preallocate(dir, file, stat, size, target)? {
        return Ok(());
    }
    set_length(file, stat, size, target)
}

/// Gives a part file its length. For a sparse file that is all: how much of it will be taken nobody knows, and it may
/// well be longer than the disk.
pub(super) fn set_length(
    file: BorrowedFd<'_>,
    stat: &Stat,
    size: u64,
    target: &Path,
) -> Result<(), SinkError> {
    if length(stat) == size {
        return Ok(());
    }
    retry_on_intr(|| rustix::fs::ftruncate(file, size))
        .map_err(|errno| refused("set the length of", file, size, target, errno))
}

/// Takes the blocks now. `false` when this file system cannot, or when it would cost a write of every page.
fn preallocate(
    dir: &Dir,
    file: BorrowedFd<'_>,
    stat: &Stat,
    size: u64,
    target: &Path,
) -> Result<bool, SinkError> {
    if is_costly(dir) {
        return Ok(false);
    }
    match allocate(file, stat, size) {
        Ok(()) => Ok(true),
        // Some sandboxes answer PERM to calls they do not know.
        Err(errno) if is_unsupported(errno) || errno == Errno::PERM => Ok(false),
        Err(errno) => {
            let error = refused("reserve space for", file, size, target, errno);
            // What was taken before it ran out goes back; a fresh part is removed altogether by its owner.
            if let Err(errno) = rustix::fs::ftruncate(file, length(stat)) {
                tracing::debug!(%errno, "could not give back reserved space");
            }
            Err(error)
        }
    }
}

#[cfg(target_os = "linux")]
fn allocate(file: BorrowedFd<'_>, _stat: &Stat, size: u64) -> Result<(), Errno> {
    let mode = rustix::fs::FallocateFlags::empty();
    retry_on_intr(|| rustix::fs::fallocate(file, mode, 0, size))
}

/// macOS adds the whole length behind what is there already, so it is asked for an empty file only.
#[cfg(target_os = "macos")]
fn allocate(file: BorrowedFd<'_>, stat: &Stat, size: u64) -> Result<(), Errno> {
    if occupied(stat) > 0 {
        return Err(Errno::OPNOTSUPP);
    }
    let mode = rustix::fs::FallocateFlags::empty();
    retry_on_intr(|| rustix::fs::fallocate(file, mode, 0, size))
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn allocate(_file: BorrowedFd<'_>, _stat: &Stat, _size: u64) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// Whether preallocation here means zeroing memory: on tmpfs and ramfs the pages are the disk.
fn is_costly(dir: &Dir) -> bool {
    *dir.place().prealloc_is_costly.get_or_init(|| lives_in_memory(dir.fd()))
}

#[cfg(target_os = "linux")]
pub(super) fn lives_in_memory(file: impl AsFd) -> bool {
    // TMPFS_MAGIC and RAMFS_MAGIC of linux/magic.h.
    const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
    // The kernel's word is signed or not and 32 or 64 bits wide by machine; the magic is its low 32 bits.
    rustix::fs::fstatfs(file).is_ok_and(|fs| IN_MEMORY.contains(&(fs.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn lives_in_memory(_file: impl AsFd) -> bool {
    false
}

/// Bytes this user may still write on the file system of `file`. `None` where it does not say: a tmpfs without
/// limit, ramfs and some network file systems report no blocks at all.
pub(super) fn free_bytes(file: impl AsFd) -> Option<u64> {
    let fs = rustix::fs::fstatvfs(file).ok()?;
    if fs.f_blocks == 0 {
        return None;
    }
    let may_use_reserve = rustix::process::geteuid().is_root();
    let blocks = if may_use_reserve { fs.f_bfree } else { fs.f_bavail };
    let block_bytes = if fs.f_frsize == 0 { fs.f_bsize } else { fs.f_frsize };
    Some(blocks.saturating_mul(block_bytes))
}

/// Gives an error of making, writing or growing a file of `size` bytes its type: the one place that knows what
/// "full" looks like. `file` is the file, or its directory when there is no file yet.
pub(super) fn refused(
    action: &'static str,
    file: BorrowedFd<'_>,
    size: u64,
    target: &Path,
    errno: Errno,
) -> SinkError {
    let path = target.to_owned();
    match errno {
        Errno::NOSPC | Errno::DQUOT => SinkError::NoSpace {
            path,
            needed: match rustix::fs::fstat(file) {
                Ok(stat) if kind_of(&stat) == FileKind::Regular => size.saturating_sub(occupied(&stat)),
                _ => size,
            },
            free: free_bytes(file).unwrap_or(0),
            limit: limit_reached(file, errno),
        },
        Errno::FBIG | Errno::OVERFLOW => SinkError::TooLarge { path, size },
        _ => SinkError::system(action, path, errno),
    }
}

/// What ran out. A disk with free bytes can be out of inodes.
fn limit_reached(file: BorrowedFd<'_>, errno: Errno) -> SpaceLimit {
    let no_inodes = || rustix::fs::fstatvfs(file).is_ok_and(|fs| fs.f_files > 0 && fs.f_favail == 0);
    match errno {
        Errno::DQUOT => SpaceLimit::Quota,
        _ if no_inodes() => SpaceLimit::Files,
        _ => SpaceLimit::Disk,
    }
}
