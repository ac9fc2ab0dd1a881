//! The files to send: what they are, their bytes, and whether they stay as they were.

mod error;

use std::ffi::OsString;
use std::fs::{File, Metadata as FileMetadata, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::chunk::{ChunkIndex, Layout};
use crate::limits::FILE_BYTES_MAX;
use crate::name::Name;
use crate::protocol::message::Metadata;
pub use error::{Change, SourceError};

/// A regular file that can be offered.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    name: Name,
    stamp: Stamp,
    mode: u32,
}

/// What tells whether a file is still the same. The change time is left out on purpose: a backup that
/// links the file, or a chmod, does not change what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mtime_seconds: i64,
    mtime_nanos: i64,
}

impl Stamp {
    fn of(metadata: &FileMetadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mtime_seconds: metadata.mtime(),
            mtime_nanos: metadata.mtime_nsec(),
        }
    }

    /// How `now` differs, if it does.
    fn change_to(&self, now: &Stamp) -> Option<Change> {
        if self == now {
            return None;
        }
        Some(if (self.device, self.inode) != (now.device, now.inode) {
            Change::Replaced
        } else if now.size < self.size {
            Change::Shrank { from: self.size, to: now.size }
        } else if now.size > self.size {
            Change::Grew { from: self.size, to: now.size }
        } else {
            Change::Modified
        })
    }
}

/// The name that a path gives to what is sent: its last part.
///
/// # Errors
/// [`SourceError::NoName`] where it has none, as `/` and `..`.
pub fn file_name(path: &Path) -> Result<OsString, SourceError> {
    path.file_name().map(OsString::from).ok_or_else(|| SourceError::NoName { path: path.into() })
}

impl Source {
    /// Looks at what `path` names, following symbolic links as `scp` does, and checks that it can be read.
    ///
    /// # Errors
    /// [`SourceError`] for what is missing, not a regular file, too large, or may not be read.
    pub fn inspect(path: &Path) -> Result<Source, SourceError> {
        let io = |source| SourceError::Io { path: path.into(), doing: "look at", source };
        let metadata = std::fs::metadata(path).map_err(io)?;
        if metadata.is_dir() {
            return Err(SourceError::Directory { path: path.into() });
        }
        if !metadata.is_file() {
            return Err(SourceError::NotRegular { path: path.into() });
        }
        if metadata.size() > FILE_BYTES_MAX {
            return Err(SourceError::TooLarge { path: path.into(), size: metadata.size() });
        }
        rustix::fs::access(path, rustix::fs::Access::READ_OK).map_err(|e| SourceError::Io {
            path: path.into(),
            doing: "read",
            source: e.into(),
        })?;
        let name = Name::from_local(&file_name(path)?)
            .map_err(|reason| SourceError::BadName { path: path.into(), reason })?;
        Ok(Source { path: path.into(), name, stamp: Stamp::of(&metadata), mode: metadata.mode() & 0o777 })
    }

    pub fn name(&self) -> &Name {
        &self.name
    }

    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    pub fn metadata(&self) -> Metadata {
        Metadata {
            mode: self.mode,
            mtime_seconds: self.stamp.mtime_seconds,
            // Below 10^9 by stat(2); a file system that says otherwise loses its fraction of a second.
            mtime_nanos: u32::try_from(self.stamp.mtime_nanos)
                .ok()
                .filter(|n| *n < 1_000_000_000)
                .unwrap_or(0),
            archive: None,
        }
    }

    /// Opens the file, which must still be the one that was inspected.
    ///
    /// # Errors
    /// [`SourceError::Io`] where it cannot be opened, [`SourceError::Changed`] where it is another one now.
    pub fn open(&self) -> Result<OpenSource, SourceError> {
        let io = |source| SourceError::Io { path: self.path.clone(), doing: "open", source };
        // Not blocking: a FIFO that took the file's place would otherwise hold us for ever.
        let flags = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&self.path).map_err(io)?;
        let open = OpenSource { path: self.path.clone(), file, stamp: self.stamp };
        open.check_unchanged()?;
        Ok(open)
    }

    /// Fills `buf` with all of a file of one chunk, and leaves nothing open.
    ///
    /// # Errors
    /// As [`Source::open`], and [`SourceError::Changed`] where it changed until it was read.
    pub fn read_whole(&self, layout: Layout, buf: &mut [u8]) -> Result<(), SourceError> {
        let open = self.open()?;
        open.read_chunk(layout, ChunkIndex(0), buf)?;
        open.check_unchanged()
    }
}

/// An open source. Reads at offsets, so that any number of threads share it.
#[derive(Debug)]
pub struct OpenSource {
    path: PathBuf,
    file: File,
    stamp: Stamp,
}

impl OpenSource {
    /// Fills `buf` with chunk `index`; `buf` has the length that `layout` gives it.
    ///
    /// # Errors
    /// [`SourceError::Io`], or [`SourceError::Changed`] where the file ends before the chunk does.
    pub fn read_chunk(&self, layout: Layout, index: ChunkIndex, buf: &mut [u8]) -> Result<(), SourceError> {
        let offset = layout.offset_of(index).unwrap_or(layout.size());
        match self.file.read_exact_at(buf, offset) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                self.check_unchanged()?;
                Err(SourceError::Io { path: self.path.clone(), doing: "read", source: e })
            }
            Err(source) => Err(SourceError::Io { path: self.path.clone(), doing: "read", source }),
        }
    }

    /// Checks that the file is what it was when it was offered.
    ///
    /// # Errors
    /// [`SourceError::Changed`] says how it differs.
    pub fn check_unchanged(&self) -> Result<(), SourceError> {
        let io = |source| SourceError::Io { path: self.path.clone(), doing: "look at", source };
        let now = Stamp::of(&self.file.metadata().map_err(io)?);
        match self.stamp.change_to(&now) {
            None => Ok(()),
            Some(change) => Err(SourceError::Changed { path: self.path.clone(), change }),
        }
    }
}
