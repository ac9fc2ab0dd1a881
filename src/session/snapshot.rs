//! What is under way at one moment, for whoever shows it to a person. Looked at a few times a second and never waited for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::sender::Sending;
use super::sender::attempt::Outgoing;
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

impl Scene for Sending {
    fn under_way(&self, most: usize) -> UnderWay {
        let (connections, walked) = (self.lines(), self.walked.load(Ordering::Relaxed));
        let queue = self.queue.lock();
        let begun = queue.files.values().filter_map(|entry| {
            let attempt = entry.attempt.as_ref().filter(|_| entry.file.is_large())?;
            Some((entry.file.clone(), attempt.there.load(Ordering::Relaxed)))
        });
        let mut begun: Vec<(Arc<Outgoing>, u64)> = begun.collect();
        let (all, finished) = (queue.files.len(), queue.finished);
        drop(queue);
        begun.sort_unstable_by_key(|(file, _)| file.id);
        begun.truncate(most);
        let shown = |(file, there): (Arc<Outgoing>, u64)| {
            Some(FileUnderWay::new(file.item.path.clone()?, there, file.layout))
        };
        let files: Vec<FileUnderWay> = begun.into_iter().filter_map(shown).collect();
        UnderWay {
            connections,
            others: all.saturating_sub(files.len()),
            files,
            all_offered: finished || walked,
        }
    }
}
