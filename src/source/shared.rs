//! One read for several receivers: what one session has read and hashed, the others take from memory.
//!
//! The copies are bounded ([`SHARED_BYTES_MAX`](crate::limits::SHARED_BYTES_MAX)), and so is each wait: for one that is behind, for what is just being read.
//! Whoever does not find a chunk reads it, so that sharing can make nothing wrong, only unnecessary reads. Nothing is
//! shared for a single receiver: that one has no [`SharedReader`].

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::error::SourceError;
use super::file::Source;
use super::sharing::{Answer, Books, Chunk, Place};
use crate::chunk::ChunkIndex;
use crate::limits::SHARED_WAIT_MAX;
use crate::tree::ChunkValue;

/// What one chunk holds, besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub value: ChunkValue,
    pub len: usize,
    /// Whether it lies in a hole of the file: nothing but zeros.
    pub hole: bool,
}

struct Shared {
    books: Mutex<Books>,
    changed: Condvar,
}

/// One receiver's share in what is read. Dropping it says that it needs no more.
pub struct SharedReader {
    shared: Arc<Shared>,
    me: usize,
}

/// A share for each of several receivers.
pub fn share(receivers: usize) -> Vec<SharedReader> {
    let shared = Arc::new(Shared { books: Mutex::new(Books::new(receivers)), changed: Condvar::new() });
    (0..receivers).map(|me| SharedReader { shared: shared.clone(), me }).collect()
}

impl SharedReader {
    /// A session begins. Those that begin together read together from the first chunk on.
    pub fn begin(&self) {
        self.shared.books.lock().begin(self.me);
    }

    /// The receiver has asked for `count` chunks of the file from `first` on; none where it only compares for now.
    pub fn wants(&self, source: &Source, first: ChunkIndex, count: u64) {
        self.shared.books.lock().wants(self.me, source.stamp(), first.0..first.0.saturating_add(count));
        self.shared.changed.notify_all();
    }

    /// The file has its outcome, so the receiver needs no more of it.
    pub fn over(&self, source: &Source) {
        // The others read nothing of it either.
        if source.size() > 0 {
            self.shared.books.lock().over(self.me, source.stamp());
            self.shared.changed.notify_all();
        }
    }

    /// The session has ended, whatever it had under way.
    pub fn lost(&self) {
        self.shared.books.lock().lost(self.me);
        self.shared.changed.notify_all();
    }

    /// Fills `buf` with a chunk: with the copy of one that another session has read, or else by `read`.
    ///
    /// # Errors
    /// Those of `read`; nobody else hears of them.
    pub fn read(
        &self,
        source: &Source,
        index: ChunkIndex,
        buf: &mut [u8],
        read: impl FnOnce(&mut [u8]) -> Result<Content, SourceError>,
    ) -> Result<Content, SourceError> {
        let place = Place { stamp: source.stamp(), chunk: index.0 };
        match self.turn(place, buf.len()) {
            Turn::Take(chunk) => {
                let content = chunk.content;
                buf.copy_from_slice(&chunk.bytes);
                // Before it is said: the last one leaves the buffer to the next chunk.
                drop(chunk);
                if self.shared.books.lock().took(self.me, place) {
                    self.shared.changed.notify_all();
                }
                Ok(content)
            }
            Turn::Read => read(buf),
            Turn::Lead(buffer) => self.lead(place, buf, buffer, read),
        }
    }

    fn lead(
        &self,
        place: Place,
        buf: &mut [u8],
        buffer: Option<Vec<u8>>,
        read: impl FnOnce(&mut [u8]) -> Result<Content, SourceError>,
    ) -> Result<Content, SourceError> {
        let result = read(buf);
        match &result {
            Ok(content) => {
                let mut bytes = buffer.unwrap_or_else(|| Vec::with_capacity(buf.len()));
                bytes.clear();
                bytes.extend_from_slice(buf);
                self.shared.books.lock().put(place, Chunk { bytes, content: *content });
            }
            Err(_) => self.shared.books.lock().abandon(place),
        }
        self.shared.changed.notify_all();
        result
    }

    /// Waits until it is clear where the chunk comes from.
    fn turn(&self, place: Place, len: usize) -> Turn {
        let Shared { books, changed } = &*self.shared;
        let read_by = Instant::now() + SHARED_WAIT_MAX;
        let mut books = books.lock();
        loop {
            let now = Instant::now();
            match books.ask(self.me, place, len, now) {
                // The same content has the same length; and were that not so, it would be no copy.
                Answer::Have(chunk) if chunk.bytes.len() == len => return Turn::Take(chunk),
                Answer::Lead(buffer) => return Turn::Lead(buffer),
                Answer::Have(_) | Answer::Alone => return Turn::Read,
                Answer::BeingRead if now < read_by => drop(changed.wait_until(&mut books, read_by)),
                Answer::BeingRead => {
                    books.took(self.me, place);
                    return Turn::Read;
                }
                Answer::Full { most, laggards } => {
                    books.waits(self.me, true);
                    let _ = changed.wait_for(&mut books, most);
                    books.waits(self.me, false);
                    books.count_wait(laggards, now, Instant::now());
                }
            }
        }
    }
}

impl Drop for SharedReader {
    fn drop(&mut self) {
        self.lost();
    }
}

/// What to do for a chunk.
enum Turn {
    Take(Arc<Chunk>),
    Read,
    /// Read it and leave a copy in this buffer, if there is one.
    Lead(Option<Vec<u8>>),
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
