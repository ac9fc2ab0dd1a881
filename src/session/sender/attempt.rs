//! Files under way at the sender, tries at sending them, and stretches of their chunks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::compress::Guess;
use crate::content::chunk::{ChunkIndex, FileId, Layout};
use crate::content::entry::Failure;
use crate::content::tree::{Hash, Tree};
use crate::source::{Item, OpenSource, Source, SourceError};
use crate::wire::message::Against;

/// What was offered and has no outcome yet.
pub struct Outgoing {
    pub id: FileId,
    pub item: Arc<Item>,
    pub layout: Layout,
    /// When it was offered.
    pub since: SystemTime,
    /// Its hash, where that is remembered and was said.
    pub remembered: Option<Hash>,
    /// Opened by the first worker that needs it, where the file takes more than one chunk: few of those are
    /// under way, and many of the others, more than a process may have open.
    open: OnceLock<Result<OpenSource, SourceError>>,
    /// Of a stream: its length, once it has ended, or nothing once it is done with before.
    pub length: OnceLock<Option<u64>>,
    /// How worth compressing its chunks are; from the first that may be.
    guess: OnceLock<Guess>,
    /// Why we gave it up, if we did.
    pub withdrawn: OnceLock<Failure>,
}

impl Outgoing {
    pub fn new(id: FileId, item: Arc<Item>, remembered: Option<Hash>) -> Outgoing {
        let layout = item.layout();
        Outgoing {
            id,
            item,
            layout,
            since: SystemTime::now(),
            remembered,
            open: OnceLock::new(),
            length: OnceLock::new(),
            guess: OnceLock::new(),
            withdrawn: OnceLock::new(),
        }
    }

    /// The open `source`, which is the item's own.
    pub fn open(&self, source: &Source) -> Result<&OpenSource, &SourceError> {
        self.open.get_or_init(|| source.open()).as_ref()
    }

    /// Whether it takes less room than it is long, and several chunks.
    pub fn may_have_holes(&self) -> bool {
        self.is_large() && self.item.source().is_some_and(Source::is_sparse)
    }

    /// How many chunks from this one on lie in a hole. None where it cannot be opened, of which whoever reads
    /// it hears.
    pub fn hole_at(&self, first: ChunkIndex) -> u64 {
        let open = self.item.source().and_then(|source| self.open(source).ok());
        open.map_or(0, |open| open.hole_at(self.layout, first))
    }

    /// How worth compressing its chunks are.
    pub fn guess(&self) -> &Guess {
        self.guess
            .get_or_init(|| self.item.path.as_ref().map(|path| Guess::of(&path.name())).unwrap_or_default())
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
    /// Known once every chunk was read and the source had not changed.
    pub root: OnceLock<Hash>,
    /// Set when nothing more is to be sent of it; chunks under way may still finish.
    pub over: AtomicBool,
}

impl Attempt {
    pub fn new(file: Arc<Outgoing>, against: Against) -> Attempt {
        let tree = Mutex::new(Tree::new(file.layout));
        let (there, root, over) = (AtomicU64::new(0), OnceLock::new(), AtomicBool::new(false));
        Attempt { file, against, tree, there, root, over }
    }

    /// The receiver has taken these chunks in. They will not be needed again.
    pub fn arrived(&self, dealt: Dealt) {
        self.there.fetch_add(dealt.count, Ordering::Relaxed);
        if let Some(stream) = self.file.item.stream() {
            stream.release(dealt.first.0);
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

/// What one worker does next: one chunk, or as many of a hole as go into one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dealt {
    pub first: ChunkIndex,
    pub count: u64,
    /// Whether they are known to be zeros.
    pub is_hole: bool,
}

impl Dealt {
    pub fn one(chunk: ChunkIndex) -> Dealt {
        Dealt { first: chunk, count: 1, is_hole: false }
    }
}

/// Chunks `first..end` of a file, dealt one by one from an atomic cursor to whichever connection asks next;
/// those of a hole together. While connections keep pace each gets every n-th chunk; a slow one takes fewer
/// turns.
pub struct Run {
    pub attempt: Arc<Attempt>,
    end: u64,
    cursor: AtomicU64,
    /// Whether the receiver has something there, and wants to know their values alone.
    pub to_hash: bool,
    /// Whether they were read before, and only their way to the receiver was lost.
    pub again: bool,
}

impl Run {
    /// Chunks that the receiver does not have.
    pub fn missing(attempt: Arc<Attempt>, first: ChunkIndex, count: u64) -> Run {
        Run { attempt, end: first.0 + count, cursor: AtomicU64::new(first.0), to_hash: false, again: false }
    }

    /// Chunks that were read and hashed, and did not arrive.
    pub fn again(attempt: Arc<Attempt>, dealt: Dealt) -> Run {
        Run { again: true, ..Run::missing(attempt, dealt.first, dealt.count) }
    }

    /// Chunks of which the receiver has something.
    pub fn to_hash(attempt: Arc<Attempt>, first: ChunkIndex, count: u64) -> Run {
        Run { to_hash: true, ..Run::missing(attempt, first, count) }
    }

    /// What comes next, for one worker alone; `None` once all are dealt or the attempt is over. Of a hole no
    /// more than up to the next multiple of so many chunks.
    pub fn deal(&self, together: u64) -> Option<Dealt> {
        if self.is_exhausted() {
            return None;
        }
        if self.attempt.file.may_have_holes() {
            return self.deal_of_sparse(if self.to_hash { 1 } else { together });
        }
        let index = self.cursor.fetch_add(1, Ordering::Relaxed);
        (index < self.end).then_some(Dealt::one(ChunkIndex(index)))
    }

    /// The same where there may be a hole, which is looked for before it is dealt.
    fn deal_of_sparse(&self, together: u64) -> Option<Dealt> {
        loop {
            let first = self.cursor.load(Ordering::Relaxed);
            let left = self.end.checked_sub(first).filter(|left| *left > 0)?;
            let hole = self.attempt.file.hole_at(ChunkIndex(first));
            let count = hole.min(left).min(together - first % together).max(1);
            let taken =
                self.cursor.compare_exchange(first, first + count, Ordering::Relaxed, Ordering::Relaxed);
            if taken.is_ok() {
                return Some(Dealt { first: ChunkIndex(first), count, is_hole: hole > 0 });
            }
        }
    }

    pub fn is_exhausted(&self) -> bool {
        self.attempt.is_over() || self.left() == 0
    }

    /// How many chunks have not been dealt.
    pub fn left(&self) -> u64 {
        self.end.saturating_sub(self.cursor.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
