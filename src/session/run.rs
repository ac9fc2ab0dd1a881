//! Stretches of chunks that wait to be sent, and how they are dealt.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::chunk::{ChunkIndex, FileId, Layout};
use crate::protocol::message::{Against, Failure};
use crate::source::{Item, OpenSource, Source, SourceError};
use crate::tree::{ChunkValue, Hash, Tree};

/// What was offered and has no outcome yet.
pub struct Outgoing {
    pub id: FileId,
    pub item: Arc<Item>,
    pub layout: Layout,
    /// Opened by the first worker that needs it, where the file takes more than one chunk: few of those are under
    /// way, and many of the others, more than a process may have open.
    open: OnceLock<Result<OpenSource, SourceError>>,
    /// Of a stream: its length, once it has ended, or nothing once it is done with before.
    pub length: OnceLock<Option<u64>>,
    /// Known once every chunk was read and the source had not changed.
    pub root: OnceLock<Hash>,
    /// Why we gave it up, if we did.
    pub withdrawn: OnceLock<Failure>,
}

impl Outgoing {
    pub fn new(id: FileId, item: Arc<Item>) -> Outgoing {
        let layout = item.layout();
        Outgoing {
            id,
            item,
            layout,
            open: OnceLock::new(),
            length: OnceLock::new(),
            root: OnceLock::new(),
            withdrawn: OnceLock::new(),
        }
    }

    /// The open `source`, which is the item's own.
    pub fn open(&self, source: &Source) -> Result<&OpenSource, &SourceError> {
        self.open.get_or_init(|| source.open()).as_ref()
    }

    /// Bytes in it, where that is known.
    pub fn size(&self) -> Option<u64> {
        self.layout.known_size().or_else(|| self.length.get().copied().flatten())
    }

    /// Whether it takes more than one frame.
    pub fn is_large(&self) -> bool {
        !self.layout.is_single()
    }
}

/// One try at sending a file. There is a second one where an existing file turned out to be another.
pub struct Attempt {
    pub file: Arc<Outgoing>,
    pub against: Against,
    pub tree: Mutex<Tree>,
    /// Chunks of it that the receiver has taken in or had.
    pub there: AtomicU64,
    /// Set when nothing more is to be sent of it; chunks under way may still finish.
    pub over: AtomicBool,
    /// Held while a verdict is queued, so that none follows the one that ends the attempt.
    pub verdicts: Mutex<()>,
}

impl Attempt {
    pub fn new(file: Arc<Outgoing>, against: Against) -> Attempt {
        let tree = Mutex::new(Tree::new(file.layout));
        Attempt {
            file,
            against,
            tree,
            there: AtomicU64::new(0),
            over: AtomicBool::new(false),
            verdicts: Mutex::default(),
        }
    }

    /// The receiver has taken a chunk in. It will not be needed again.
    pub fn arrived(&self, chunk: ChunkIndex) {
        self.there.fetch_add(1, Ordering::Relaxed);
        if let Some(stream) = self.file.item.stream() {
            stream.release(chunk.0);
        }
    }

    /// Ends the attempt. Returns false where it had ended before.
    pub fn end(&self) -> bool {
        !self.over.swap(true, Ordering::Relaxed)
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Chunks `first..end` of a file, dealt one by one from an atomic cursor to whichever connection asks next.
/// While connections keep pace each gets every n-th chunk; a slow one takes fewer turns.
pub struct Run {
    pub attempt: Arc<Attempt>,
    first: u64,
    end: u64,
    cursor: AtomicU64,
    /// The receiver's values of these chunks, where it has something there.
    values: Vec<ChunkValue>,
    /// Whether they were read before, and only their way to the receiver was lost.
    pub again: bool,
}

impl Run {
    /// Chunks that the receiver does not have.
    pub fn missing(attempt: Arc<Attempt>, first: ChunkIndex, count: u64) -> Run {
        Run {
            attempt,
            first: first.0,
            end: first.0 + count,
            cursor: AtomicU64::new(first.0),
            values: Vec::new(),
            again: false,
        }
    }

    /// A chunk that was read and hashed, and did not arrive.
    pub fn again(attempt: Arc<Attempt>, chunk: ChunkIndex) -> Run {
        Run { again: true, ..Run::missing(attempt, chunk, 1) }
    }

    /// Chunks of which the receiver has something with these values.
    pub fn to_compare(attempt: Arc<Attempt>, first: ChunkIndex, values: Vec<ChunkValue>) -> Run {
        let end = first.0 + values.len() as u64;
        Run { attempt, first: first.0, end, cursor: AtomicU64::new(first.0), values, again: false }
    }

    /// The next chunk, for one worker alone; `None` once all are dealt or the attempt is over.
    pub fn deal(&self) -> Option<ChunkIndex> {
        if self.is_exhausted() {
            return None;
        }
        let index = self.cursor.fetch_add(1, Ordering::Relaxed);
        (index < self.end).then_some(ChunkIndex(index))
    }

    pub fn is_exhausted(&self) -> bool {
        self.attempt.is_over() || self.left() == 0
    }

    /// How many chunks have not been dealt.
    pub fn left(&self) -> u64 {
        self.end.saturating_sub(self.cursor.load(Ordering::Relaxed))
    }

    /// Whether other receivers may want these chunks at the same time: not those that only this one has or has lost.
    pub fn is_shared(&self) -> bool {
        self.values.is_empty() && !self.again
    }

    /// The receiver's value of a chunk of this run.
    pub fn value(&self, index: ChunkIndex) -> Option<&ChunkValue> {
        self.values.get(usize::try_from(index.0.checked_sub(self.first)?).ok()?)
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
