//! The destination: one directory, beneath which files arrive as part files and get their final names only when
//! they are complete and verified.
//!
//! - [`Sink::open`] takes the directory handle; everything afterwards is relative to it and follows no symlink.
//! - [`Sink::look`] says what stands at a final name.
//! - [`Sink::part`] gives the locked part file to write into, new or left by an earlier transfer.
//! - [`Part::publish`] sets mode and time and renames.
//!
//! Everything is safe to use from many threads at once, and several processes may share a directory.

mod bytes;
mod clean;
mod dir;
mod durable;
mod error;
mod look;
mod part;
mod publish;
mod space;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use crate::name::Name;
use dir::Dir;

pub use bytes::DataExtents;
pub use clean::{Removal, StalePart};
pub use error::{FileKind, SinkError, SinkErrorKind, SpaceLimit};
pub use look::{ExistingFile, Found};
pub use part::Part;
pub use publish::Published;

/// What to do when a final name is taken by a different file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Leave it and refuse the new one.
    #[default]
    Refuse,
    /// Replace it; a symlink is replaced itself, never what it points to.
    Overwrite,
    /// Keep both: the new one gets a number, as in `photo (1).jpg`.
    Rename,
}

/// A directory that files are received into.
#[derive(Debug)]
pub struct Sink {
    dir: Arc<Dir>,
    existing: Existing,
}

impl Sink {
    /// Opens `dir` to receive into, and makes it when only its last part is missing. `dir` itself may be a
    /// symlink to a directory.
    ///
    /// # Errors
    /// [`SinkError::NoParent`], [`SinkError::NotADirectory`], [`SinkError::Permission`] and
    /// [`SinkError::ReadOnly`] when it cannot be used, otherwise what the system said.
    pub fn open(dir: &Path, existing: Existing) -> Result<Self, SinkError> {
        let dir = Arc::new(Dir::open_root(dir)?);
        Ok(Self { dir, existing })
    }

    /// What this sink was told to do when a final name is taken.
    #[must_use]
    pub fn existing(&self) -> Existing {
        self.existing
    }

    /// The directory as the user wrote it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Looks at what stands under `name`, where a file of `size` bytes is to go.
    ///
    /// # Errors
    /// [`SinkError::InTheWay`] when it is a directory, a FIFO, a device or the like (none of which is opened),
    /// otherwise what the system said.
    pub fn look(&self, name: &Name, size: u64) -> Result<Found, SinkError> {
        look::look(&self.dir, name, size)
    }

    /// Opens the part file of `name`, or makes one, and makes room for `size` bytes. Nobody else gets the same
    /// one before it is published, discarded or dropped.
    ///
    /// # Errors
    /// [`SinkError::TooLarge`], [`SinkError::NoSpace`], [`SinkError::PartsBusy`],
    /// [`SinkError::NameUnstorable`], otherwise what the system said.
    pub fn part(&self, name: &Name, size: u64) -> Result<Part, SinkError> {
        Part::open(&self.dir, name, size)
    }
}
