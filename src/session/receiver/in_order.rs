//! The chunks of a file that is written in order: those that come early wait here for their turn.
//!
//! The sender hears how far it may go, so no more than [`IN_ORDER_WINDOW_CHUNKS`] of them wait at once, and
//! no data connection ever waits for another's chunk or for whoever takes what is written.

use std::collections::BTreeMap;

use parking_lot::{Condvar, Mutex};

use crate::content::chunk::ChunkIndex;
use crate::content::entry::Failure;
use crate::content::tree::Hash;
use crate::limits::{IN_ORDER_STEP_CHUNKS, IN_ORDER_WINDOW_CHUNKS};
use crate::session::ending::PeerMisbehaved;
use crate::session::frames::ChunkBuffer;

/// Between those who receive chunks and the one who writes them.
pub struct InOrder {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Chunks that came and are not written.
    early: BTreeMap<u64, Chunk>,
    /// Buffers of chunks that are written, for those that come.
    spare: Vec<ChunkBuffer>,
    /// The chunk to be written next.
    next: u64,
    /// The sender may send the chunks below this one.
    end: u64,
    /// How many chunks the file has, as far as that is known.
    chunks: u64,
    /// The hash of what came, once all of it has, and that of what was sent.
    hashes: Option<(Hash, Hash)>,
    /// Why the rest does not come.
    failure: Option<Failure>,
    closed: bool,
}

/// The bytes of a chunk, in a buffer that may be longer.
pub struct Chunk {
    buffer: ChunkBuffer,
    len: usize,
}

impl Chunk {
    pub fn content(&mut self) -> &[u8] {
        self.buffer.content(self.len)
    }
}

/// What the writer does next.
pub enum Step {
    Write(Chunk),
    Compare { ours: Hash, theirs: Hash },
    Fail(Failure),
    Leave,
}

impl InOrder {
    pub fn new(chunks: u64) -> InOrder {
        let state = State {
            early: BTreeMap::new(),
            spare: Vec::new(),
            next: 0,
            end: IN_ORDER_WINDOW_CHUNKS.min(chunks),
            chunks,
            hashes: None,
            failure: None,
            closed: false,
        };
        InOrder { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// How far the sender may go at first.
    pub fn end(&self) -> ChunkIndex {
        ChunkIndex(self.state.lock().end)
    }

    /// How many chunks were written.
    pub fn written(&self) -> u64 {
        self.state.lock().next
    }

    /// Takes a chunk of `len` bytes in, which has not come before, and with it the buffer that it is in; the
    /// caller gets another one.
    ///
    /// # Errors
    /// There is no room for it yet.
    pub fn put(&self, index: ChunkIndex, len: usize, buffer: &mut ChunkBuffer) -> Result<(), PeerMisbehaved> {
        let mut state = self.state.lock();
        if state.closed {
            return Ok(());
        }
        if index.0 >= state.end {
            let got = "a chunk that there is no room for yet";
            return Err(PeerMisbehaved::Unexpected { got, expected: "those that it was asked for" });
        }
        let spare = state.spare.pop().unwrap_or_else(ChunkBuffer::new);
        let buffer = std::mem::replace(buffer, spare);
        state.early.insert(index.0, Chunk { buffer, len });
        self.changed.notify_one();
        Ok(())
    }

    /// The file has so many chunks.
    pub fn ends_at(&self, chunks: u64) {
        self.state.lock().chunks = chunks;
        self.changed.notify_one();
    }

    /// All of it has come: what that hashes to, and what was sent.
    pub fn compare(&self, ours: Hash, theirs: Hash) {
        self.state.lock().hashes = Some((ours, theirs));
        self.changed.notify_one();
    }

    /// The rest does not come.
    pub fn fail(&self, failure: Failure) {
        self.state.lock().failure = Some(failure);
        self.changed.notify_one();
    }

    /// Nobody waits for it any more: late chunks are dropped.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.early.clear();
        state.spare.clear();
        self.changed.notify_one();
    }

    /// What is to be done next; waits for it.
    pub fn step(&self) -> Step {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return Step::Leave;
            }
            if let Some(failure) = state.failure.take() {
                return Step::Fail(failure);
            }
            let next = state.next;
            // Known to be wrong, it is not written any further.
            if let Some((ours, theirs)) = state.hashes
                && (next == state.chunks || ours != theirs)
            {
                return Step::Compare { ours, theirs };
            }
            if let Some(chunk) = state.early.remove(&next) {
                state.next += 1;
                return Step::Write(chunk);
            }
            self.changed.wait(&mut state);
        }
    }

    /// A chunk was written. Returns how far the sender may go now, where that is worth telling.
    pub fn wrote(&self, chunk: Chunk) -> Option<ChunkIndex> {
        let mut state = self.state.lock();
        state.spare.push(chunk.buffer);
        let end = (state.next + IN_ORDER_WINDOW_CHUNKS).min(state.chunks);
        let last = end == state.chunks;
        let due = end >= state.end + if last { 1 } else { IN_ORDER_STEP_CHUNKS };
        due.then(|| {
            state.end = end;
            ChunkIndex(end)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(queue: &InOrder, index: u64, byte: u8) -> Result<(), PeerMisbehaved> {
        let mut buffer = ChunkBuffer::new();
        buffer.content(1)[0] = byte;
        queue.put(ChunkIndex(index), 1, &mut buffer)
    }

    fn written(queue: &InOrder) -> u8 {
        let Step::Write(mut chunk) = queue.step() else { panic!("nothing to write") };
        let byte = chunk.content()[0];
        queue.wrote(chunk);
        byte
    }

    #[test]
    fn chunks_are_written_in_order_whichever_comes_first() {
        let queue = InOrder::new(3);
        for (index, byte) in [(2, 7), (0, 5), (1, 6)] {
            put(&queue, index, byte).unwrap();
        }
        assert_eq!([written(&queue), written(&queue), written(&queue)], [5, 6, 7]);
        let hash = Hash::from_bytes([1; 32]);
        queue.compare(hash, hash);
        assert!(matches!(queue.step(), Step::Compare { .. }));
    }

    #[test]
    fn what_is_known_to_be_wrong_is_not_written_and_what_is_right_is_to_its_end() {
        let (one, other) = (Hash::from_bytes([1; 32]), Hash::from_bytes([2; 32]));
        for (theirs, compares) in [(one, false), (other, true)] {
            let queue = InOrder::new(1);
            queue.compare(one, theirs);
            put(&queue, 0, 5).unwrap();
            assert_eq!(matches!(queue.step(), Step::Compare { .. }), compares);
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_refused_and_what_comes_after_the_end_is_dropped() {
        let queue = InOrder::new(2 * IN_ORDER_WINDOW_CHUNKS);
        assert!(put(&queue, IN_ORDER_WINDOW_CHUNKS, 0).is_err());
        queue.close();
        assert!(put(&queue, IN_ORDER_WINDOW_CHUNKS, 0).is_ok());
        assert!(matches!(queue.step(), Step::Leave));
    }
}
