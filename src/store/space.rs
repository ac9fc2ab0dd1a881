//! Room on the disk: asked before the first byte, and taken then where that is cheap, so that a long transfer
//! does not end on a full disk and its file lies in one piece.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{SeekFrom, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::dir::{Dir, is_unsupported, kind_of};
use super::error::{FileKind, SinkError, SpaceLimit};
use crate::limits::{CHUNK_BYTES, HOLE_BLOCK_BYTES};

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
/// A file of at most one chunk costs nothing here: its one write tells whether there is room. (For a sparse
/// file see [`set_length`].)
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

/// Gives a part file its length. For a sparse file that is all: how much of it will be taken nobody knows,
/// and it may well be longer than the disk.
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
pub(crate) fn lives_in_memory(file: impl AsFd) -> bool {
    // TMPFS_MAGIC and RAMFS_MAGIC of linux/magic.h.
    const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
    // The kernel's word is signed or not and 32 or 64 bits wide by machine; the magic is its low 32 bits.
    rustix::fs::fstatfs(file).is_ok_and(|fs| IN_MEMORY.contains(&(fs.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn lives_in_memory(_file: impl AsFd) -> bool {
    false
}

/// Bytes this user may still write on the file system of `file`. `None` where it does not say: a tmpfs
/// without limit, ramfs and some network file systems report no blocks at all.
pub(crate) fn free_bytes(file: impl AsFd) -> Option<u64> {
    disk_bytes(file).map(|(free, _)| free)
}

/// The same, and all bytes that the file system has.
pub(super) fn disk_bytes(file: impl AsFd) -> Option<(u64, u64)> {
    let fs = rustix::fs::fstatvfs(file).ok()?;
    if fs.f_blocks == 0 {
        return None;
    }
    let may_use_reserve = rustix::process::geteuid().is_root();
    let blocks = if may_use_reserve { fs.f_bfree } else { fs.f_bavail };
    let block_bytes = if fs.f_frsize == 0 { fs.f_bsize } else { fs.f_frsize };
    Some((blocks.saturating_mul(block_bytes), fs.f_blocks.saturating_mul(block_bytes)))
}

/// Gives an error of making, writing or growing a file of `size` bytes its type: the one place that knows
/// what "full" looks like. `file` is the file, or its directory when there is no file yet.
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

// Holes: what of a sparse file takes no room.

/// A stretch of a buffer that goes to the disk in one way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub range: Range<usize>,
    pub is_zeros: bool,
}

/// Parts `buf`, which goes to `offset` of the file, into whole blocks of zeros and the rest. At the end of
/// the file a begun block counts as whole.
pub(super) fn stretches(buf: &[u8], offset: u64, ends_file: bool) -> impl Iterator<Item = Stretch> {
    let mut blocks = blocks(buf, offset, ends_file).peekable();
    std::iter::from_fn(move || {
        let mut stretch = blocks.next()?;
        while let Some(more) = blocks.next_if(|block| block.is_zeros == stretch.is_zeros) {
            stretch.range.end = more.range.end;
        }
        Some(stretch)
    })
}

fn blocks(buf: &[u8], offset: u64, ends_file: bool) -> impl Iterator<Item = Stretch> {
    let begun = (offset % HOLE_BLOCK_BYTES as u64) as usize;
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = buf.get(at..).filter(|rest| !rest.is_empty())?;
        let most = if at == 0 { HOLE_BLOCK_BYTES - begun } else { HOLE_BLOCK_BYTES };
        let block = rest.get(..most).unwrap_or(rest);
        let range = at..at + block.len();
        let is_whole = block.len() == HOLE_BLOCK_BYTES
            || (ends_file && range.end == buf.len() && (at > 0 || begun == 0));
        at = range.end;
        Some(Stretch { range, is_zeros: is_whole && is_zeros(block) })
    })
}

/// A line of the cache at a time, so that the compiler can use wide registers and data is most often seen in
/// the first.
fn is_zeros(block: &[u8]) -> bool {
    block.chunks(64).all(|line| line.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Whether that range of a file surely holds nothing, so that it reads as zeros and takes no room.
pub(super) fn is_hole(file: BorrowedFd<'_>, offset: u64, bytes: u64) -> bool {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data >= offset.saturating_add(bytes),
        // No data from there to the end.
        Err(Errno::NXIO) => true,
        Err(_) => false,
    }
}

/// Gives back the room of a range, which reads as zeros then. The length of the file stays.
#[cfg(target_os = "linux")]
pub(super) fn punch(file: BorrowedFd<'_>, offset: u64, bytes: u64) -> Result<(), Errno> {
    use rustix::fs::FallocateFlags;
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, mode, offset, bytes))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn punch(_file: BorrowedFd<'_>, _offset: u64, _bytes: u64) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}
