//! Bytes at offsets: reads and writes that finish or say why not, and where a sparse file holds data.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use rustix::fs::SeekFrom;
use rustix::io::{Errno, retry_on_intr};

use super::error::SinkError;
use super::space;

/// Fills `buf` from `offset`. A file that ends before is an error of its own. `path` is asked for errors
/// only, so that the way without one allocates nothing.
pub(super) fn read_exact_at(
    file: BorrowedFd<'_>,
    buf: &mut [u8],
    offset: u64,
    path: impl Fn() -> PathBuf,
) -> Result<(), SinkError> {
    let wanted = buf.len();
    let mut got = 0;
    while let Some(rest) = buf.get_mut(got..)
        && !rest.is_empty()
    {
        let at = offset.saturating_add(got as u64);
        match retry_on_intr(|| rustix::io::pread(file, &mut *rest, at)) {
            Ok(0) => {
                return Err(SinkError::UnexpectedEnd { path: path(), offset, wanted, got });
            }
            Ok(n) => got += n,
            Err(errno) => return Err(SinkError::system("read", path(), errno)),
        }
    }
    Ok(())
}

/// Writes all of `buf` at `offset`. An error comes with the number of bytes written before it.
pub(super) fn write_all_at(file: BorrowedFd<'_>, buf: &[u8], offset: u64) -> Result<(), (usize, Errno)> {
    let mut done = 0;
    while let Some(rest) = buf.get(done..)
        && !rest.is_empty()
    {
        let at = offset.saturating_add(done as u64);
        match retry_on_intr(|| rustix::io::pwrite(file, rest, at)) {
            // No file system should answer so, but a loop without progress would never end.
            Ok(0) => return Err((done, Errno::IO)),
            Ok(n) => done += n,
            Err(errno) => return Err((done, errno)),
        }
    }
    Ok(())
}

/// The ranges of a file that hold data, in order and apart; what lies between surely holds none.
///
/// It is a hint: a file system that does not know says that all is data, and ranges written meanwhile may or
/// may not appear. Offsets are in bytes from the start of the file.
#[derive(Debug)]
pub struct DataExtents<'a> {
    file: BorrowedFd<'a>,
    next: u64,
    end: u64,
}

impl<'a> DataExtents<'a> {
    pub(super) fn new(file: BorrowedFd<'a>, size: u64) -> Self {
        let length = rustix::fs::fstat(file).map_or(size, |stat| space::length(&stat));
        Self { file, next: 0, end: size.min(length) }
    }
}

impl Iterator for DataExtents<'_> {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Range<u64>> {
        if self.next >= self.end {
            return None;
        }
        let from = match rustix::fs::seek(self.file, SeekFrom::Data(self.next)) {
            Ok(from) => from.max(self.next),
            // NXIO: no data from here to the end.
            Err(Errno::NXIO) => self.end,
            Err(_) => self.next,
        };
        let to = match rustix::fs::seek(self.file, SeekFrom::Hole(from)) {
            Ok(to) if to > from => to.min(self.end),
            // It does not know holes, or the file changed meanwhile: call the rest data.
            _ => self.end,
        };
        self.next = to;
        (from < to).then_some(from..to)
    }
}
