//! Part files that nobody will resume: found, shown, and removed unless they are in use.

use std::path::PathBuf;
use std::time::SystemTime;

use rustix::fs::{Dir as Entries, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::Sink;
use super::error::SinkError;
use crate::name::looks_like_part;

/// A part file that lies in the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StalePart {
    name: Vec<u8>,
    /// Where it is, as the user knows it.
    pub path: PathBuf,
    /// What it takes on the disk, in bytes.
    pub bytes: u64,
    /// When it was last written to.
    pub modified: SystemTime,
}

/// What became of a part file that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    Removed,
    /// A transfer is writing to it.
    InUse,
    /// It went away meanwhile: published, or removed by somebody else.
    Gone,
}

impl Sink {
    /// The part files in the destination, in the order of their names.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn part_files(&self) -> Result<Vec<StalePart>, SinkError> {
        let failed = |errno| SinkError::system("read", self.path().into(), errno);
        let mut parts = Vec::new();
        for entry in Entries::read_from(self.dir.fd()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if !looks_like_part(name) {
                continue;
            }
            // Only what lanx makes: a regular file. Others of such a name are somebody's own.
            let Some(stat) = self.dir.stat(name).map_err(failed)? else { continue };
            if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
                continue;
            }
            let age = u64::try_from(stat.st_mtime).unwrap_or(0);
            parts.push(StalePart {
                path: self.dir.path_of(name),
                bytes: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
                modified: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age),
                name: name.to_vec(),
            });
        }
        parts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(parts)
    }

    /// Removes a part file, unless a transfer is using it.
    ///
    /// # Errors
    /// What the system said when it could not be opened or removed.
    pub fn remove_part(&self, part: &StalePart) -> Result<Removal, SinkError> {
        let failed = |errno| SinkError::system("remove", part.path.clone(), errno);
        let file = match self.dir.open(&part.name, OFlags::RDWR, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(Removal::Gone),
            Err(errno) => return Err(failed(errno)),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(Removal::InUse),
            Err(errno) => return Err(failed(errno)),
        }
        // Until the lock was ours its holder may have published it.
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        if !self.dir.is_still(&part.name, &stat).map_err(failed)? {
            return Ok(Removal::Gone);
        }
        self.dir.unlink(&part.name).map_err(failed)?;
        Ok(Removal::Removed)
    }
}
