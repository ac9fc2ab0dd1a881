//! Stretches of chunks that wait to be sent, and how they are dealt.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::compress::Guess;
use super::lanes::Line;
use super::{Lanes, Sending};
use crate::content::chunk::{ChunkIndex, FileId, Layout};
use crate::content::entry::{Cause, Failure};
use crate::content::tree::{ChunkValue, Hash, Tree};
use crate::session::{End, PeerMisbehaved};
use crate::source::{Item, OpenSource, Source, SourceError};
use crate::wire::message::{Against, SenderMessage};

/// What was offered and has no outcome yet.
pub struct Outgoing {
    pub id: FileId,
    pub item: Arc<Item>,
    pub layout: Layout,
    /// When it was offered.
    pub since: SystemTime,
    /// Its hash, where that is remembered and was said.
    pub remembered: Option<Hash>,
    /// Opened by the first worker that needs it, where the file takes more than one chunk: few of those are under
    /// way, and many of the others, more than a process may have open.
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

    /// A chunk that was read and hashed, and did not arrive.
    pub fn again(attempt: Arc<Attempt>, chunk: ChunkIndex) -> Run {
        Run { again: true, ..Run::missing(attempt, chunk, 1) }
    }

    /// Chunks of which the receiver has something.
    pub fn to_hash(attempt: Arc<Attempt>, first: ChunkIndex, count: u64) -> Run {
        Run { to_hash: true, ..Run::missing(attempt, first, count) }
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
        !self.to_hash && !self.again
    }
}

// What the sender's workers take and give back: chunks to send, values, and hashes.

impl Sending {
    /// The next chunk of `held`, which is exchanged for the next run with work in `lanes` where it has none.
    /// Calls `idle` before waiting, so that nothing lies unflushed meanwhile. `None` once the session, or the worker's
    /// own connection, is closed, or the connection is one too many.
    pub(super) fn next(
        &self,
        held: &mut Option<Arc<Run>>,
        lanes: Lanes,
        line: Option<&Line>,
        mut idle: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Option<ChunkIndex>> {
        loop {
            if line.is_some_and(Line::is_retired) {
                self.to_send.notify_one();
                return Ok(None);
            }
            if let Some(index) = held.as_ref().and_then(|run| run.deal()) {
                return Ok(Some(index));
            }
            *held = None;
            let mut queue = self.queue.lock();
            let mut flushed = false;
            *held = loop {
                if queue.closed || line.is_some_and(|line| line.is_closed() || line.is_retired()) {
                    // It may have been the one who was told of a chunk.
                    self.to_send.notify_one();
                    return Ok(None);
                }
                if let Some(run) = queue.front(lanes) {
                    break Some(run);
                }
                if flushed {
                    match lanes {
                        Lanes::All => self.to_send.wait(&mut queue),
                        Lanes::Compare => self.to_compare.wait(&mut queue),
                    }
                } else {
                    drop(queue);
                    idle()?;
                    flushed = true;
                    queue = self.queue.lock();
                }
            };
        }
    }

    /// A chunk that was read and not hashed, as it could not be sent.
    pub(super) fn resend(&self, attempt: &Arc<Attempt>, index: ChunkIndex) {
        self.queue.lock().send.push_back(Arc::new(Run::missing(attempt.clone(), index, 1)));
        self.to_send.notify_one();
    }

    /// A chunk that was hashed and did not arrive.
    pub(super) fn deal_again(&self, attempt: &Arc<Attempt>, chunk: ChunkIndex) {
        if !attempt.is_over() {
            // In front: the receiver may wait for just this one to finish a file.
            self.queue.lock().send.push_front(Arc::new(Run::again(attempt.clone(), chunk)));
            self.to_send.notify_one();
        }
    }

    pub(super) fn withdraw(&self, attempt: &Attempt, error: &SourceError) {
        let cause = if error.is_passing() { Cause::Changed } else { Cause::Source };
        let failure = Failure::new(cause, error.to_string());
        if attempt.end() && attempt.file.withdrawn.set(failure.clone()).is_ok() {
            self.outbox.send(&SenderMessage::Withdraw { file: attempt.file.id, failure });
        }
    }

    /// Says the value of a chunk that the receiver has asked for, and the hash after the last one. Of a file of one chunk they
    /// are the same.
    pub(super) fn say_value(
        &self,
        attempt: &Attempt,
        chunk: ChunkIndex,
        value: ChunkValue,
    ) -> Result<(), End> {
        let file = &attempt.file;
        if file.is_large() {
            attempt.there.fetch_add(1, Ordering::Relaxed);
            self.outbox.send(&SenderMessage::Value { file: file.id, chunk, value });
        }
        self.hashed(attempt, chunk, value, false)
    }

    /// Takes in the value of a chunk that was read; after the last one tells the receiver the hash of the file,
    /// unless it went with the chunk.
    pub(super) fn hashed(
        &self,
        attempt: &Attempt,
        chunk: ChunkIndex,
        value: ChunkValue,
        told: bool,
    ) -> Result<(), End> {
        let file = &attempt.file;
        let root = attempt.tree.lock().insert(chunk, value);
        // A chunk comes here twice only if the receiver asked for it twice.
        let root = root.map_err(|_| PeerMisbehaved::WrongChunk { file: file.id.0, chunk: chunk.0 })?;
        let (Some(hash), false) = (root, told) else { return Ok(()) };
        if self.is_still(attempt, &hash) {
            self.say_root(attempt, hash);
        }
        Ok(())
    }

    /// Whether the source still is what was read of it, which has this `hash`; where it is not, it is withdrawn. May read a
    /// file of its size, so no lock is held meanwhile.
    fn is_still(&self, attempt: &Attempt, hash: &Hash) -> bool {
        let file = &attempt.file;
        // A file of one chunk was checked when it was read.
        let Some(source) = file.item.source().filter(|_| file.is_large()) else { return true };
        let Ok(open) = file.open(source) else { return true };
        // Where it is given up there is nobody left to tell.
        let go_on = || !attempt.is_over() && !self.is_closed();
        open.check_content(file.layout, hash, go_on).unwrap_or_else(|error| {
            self.withdraw(attempt, &error);
            false
        })
    }

    /// Every chunk was read and hashed.
    pub(super) fn say_root(&self, attempt: &Attempt, hash: Hash) {
        if attempt.root.set(hash).is_ok() {
            self.outbox.send(&SenderMessage::Root { file: attempt.file.id, hash });
        }
    }
}

#[cfg(test)]
#[path = "dealer_tests.rs"]
mod tests;
