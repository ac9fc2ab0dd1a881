//! Holes: what of a sparse file takes no room.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::limits::HOLE_BLOCK_BYTES;

/// A stretch of a buffer that goes to the disk in one way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub range: Range<usize>,
    pub is_zeros: bool,
}

/// Parts `buf`, which goes to `offset` of the file, into whole blocks of zeros and the rest. At the end of the file a
/// begun block counts as whole.
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

/// A line of the cache at a time, so that the compiler can use wide registers and data is most often seen in the first.
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
