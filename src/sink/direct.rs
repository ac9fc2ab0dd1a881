//! Part files that are written past the page cache.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::bytes::write_all_at;
use super::part::Part;
use crate::direct::Direct;
use crate::limits::CHUNK_BYTES;

impl Part {
    /// Has whole chunks written past the page cache from now on. Not those of a sparse file, of which any block may become a
    /// hole, nor a file of one chunk, which is not worth a second handle.
    pub(super) fn open_directly(&mut self, direct: &Arc<Direct>) {
        if self.sparse || self.size.room() <= CHUNK_BYTES as u64 {
            return;
        }
        let second = |flag| self.dir.open(&self.part_name, OFlags::WRONLY | flag, Mode::empty());
        self.direct = direct.open(&self.file, &self.path(), second);
    }

    /// Writes all of `buf` at `offset`, past the page cache as far as that goes.
    pub(super) fn write_all_at(&self, buf: &[u8], offset: u64) -> Result<(), (usize, Errno)> {
        let done = match &self.direct {
            Some(direct) => direct.write_at(buf, offset)?,
            None => 0,
        };
        let rest = buf.get(done..).unwrap_or_default();
        write_all_at(self.file.as_fd(), rest, offset.saturating_add(done as u64))
            .map_err(|(more, errno)| (done + more, errno))
    }
}
