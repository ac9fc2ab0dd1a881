//! A part file that grows with a stream: how long it will be nobody knows until it has ended.

use std::sync::OnceLock;

use super::error::SinkError;
use super::part::Part;
use super::{Sink, folders};
use crate::limits::FILE_BYTES_MAX;
use crate::name::RelativePath;

/// How long a part file is to be.
#[derive(Debug)]
pub(super) enum Size {
    Agreed(u64),
    /// Known when the stream has ended.
    Stream(OnceLock<u64>),
}

impl Size {
    /// Bytes; the most that may come while the end is not known.
    pub fn bytes(&self) -> u64 {
        match self {
            Size::Agreed(bytes) => *bytes,
            Size::Stream(end) => end.get().copied().unwrap_or(FILE_BYTES_MAX),
        }
    }

    /// Bytes to make room for ahead.
    pub fn room(&self) -> u64 {
        match self {
            Size::Agreed(bytes) => *bytes,
            Size::Stream(_) => 0,
        }
    }

    /// Whether what is in the part file may serve a later transfer.
    pub fn can_resume(&self) -> bool {
        matches!(self, Size::Agreed(_))
    }
}

impl Sink {
    /// As [`Sink::part`], for a stream. It begins empty, no room is made ahead, and dropping it removes it: a stream is read
    /// once, so nobody could send the rest.
    ///
    /// # Errors
    /// As [`Sink::part`].
    pub fn part_of_stream(&self, path: &RelativePath) -> Result<Part, SinkError> {
        let name = path.name();
        let size = || Size::Stream(OnceLock::new());
        self.folders.within(folders::parent(path.as_bytes()), |dir| Part::open(dir, &name, size(), false))
    }
}

impl Part {
    /// The stream has ended and has so many bytes. Nothing comes of it for any other file, or a second time.
    pub fn end_at(&self, bytes: u64) {
        if let Size::Stream(end) = &self.size {
            let _ = end.set(bytes);
        }
    }
}
