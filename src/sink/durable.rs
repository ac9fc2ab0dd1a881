//! Making sure that what was written is on the device, and reading it back from there.

use std::os::fd::AsFd;

use blake3::{Hash, Hasher};
use rustix::fs::{Advice, fadvise};

use super::error::SinkError;
use super::part::Part;
use super::{Sink, space};
use crate::limits::CHUNK_BYTES;

impl Part {
    /// Waits until the bytes written so far are on the device, so that little is left to do at the end.
    ///
    /// # Errors
    /// What the device said.
    pub fn sync_data(&self) -> Result<(), SinkError> {
        rustix::fs::fdatasync(&self.file).map_err(|errno| self.not_synced(errno))
    }

    /// Waits until bytes, length, mode and times are on the device.
    ///
    /// # Errors
    /// What the device said.
    pub fn sync(&self) -> Result<(), SinkError> {
        rustix::fs::fsync(&self.file).map_err(|errno| self.not_synced(errno))
    }

    fn not_synced(&self, errno: rustix::io::Errno) -> SinkError {
        space::refused("sync", self.file.as_fd(), self.size, &self.path(), errno)
    }

    /// Reads the file back and hashes it. What is in memory is dropped first, so that the bytes come from the device;
    /// they must have been synced, as only then they can be dropped. Where the storage is memory there is nothing to
    /// drop.
    ///
    /// # Errors
    /// What the device said, or [`SinkError::UnexpectedEnd`].
    pub fn reread(&self) -> Result<Hash, SinkError> {
        if let Err(errno) = fadvise(&self.file, 0, None, Advice::DontNeed) {
            tracing::debug!(%errno, "the page cache could not be dropped");
        }
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut offset = 0;
        while offset < self.size {
            let len = (self.size - offset).min(CHUNK_BYTES as u64);
            let bytes = &mut buffer[..len as usize];
            self.read_at(bytes, offset)?;
            hasher.update(bytes);
            offset += len;
        }
        Ok(hasher.finalize())
    }
}

impl Sink {
    /// Waits until the names given in the destination so far are on the device.
    ///
    /// # Errors
    /// What the device said.
    pub fn sync_names(&self) -> Result<(), SinkError> {
        rustix::fs::fsync(self.dir.fd()).map_err(|errno| SinkError::system("sync", self.path().into(), errno))
    }

    /// Waits until everything written to the destination's file system so far is on the device: for many small files
    /// one wait instead of one each.
    ///
    /// # Errors
    /// What the device said.
    #[cfg(target_os = "linux")]
    pub fn sync_everything(&self) -> Result<(), SinkError> {
        rustix::fs::syncfs(self.dir.fd())
            .map_err(|errno| SinkError::system("sync", self.path().into(), errno))
    }
}
