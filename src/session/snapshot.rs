//! What is under way at one moment, for whoever shows it to a person. Looked at a few times a second and
//! never waited for.

use crate::content::chunk::Layout;
use crate::name::RelativePath;

/// What a session is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Live data connections.
    pub connections: usize,
    /// The first of the files that travel in pieces, in the order in which they were offered.
    pub files: Vec<FileUnderWay>,
    /// How many more files, folders and links have no outcome yet.
    pub others: usize,
    /// Whether everything that has bytes was offered, so that the whole is known.
    pub all_offered: bool,
}

/// A file that travels in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileUnderWay {
    pub path: RelativePath,
    /// Chunks that the receiver has.
    pub chunks: u64,
    /// All of them; `None` while nobody knows.
    pub of: Option<u64>,
}

impl FileUnderWay {
    pub(super) fn new(path: RelativePath, chunks: u64, layout: Layout) -> FileUnderWay {
        FileUnderWay { path, chunks, of: (!layout.is_open()).then(|| layout.chunks()) }
    }
}

/// A session that can be looked at.
pub trait Scene: Send + Sync {
    /// What is under way, with no more than `most` of its files.
    fn under_way(&self, most: usize) -> UnderWay;
}
