//! A file that arrives in pieces: which chunks are there, what they hash to, and when that is all of it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

use super::claims::Claims;
use super::extent::Extent;
use super::under_way::FileUnderWay;
use super::{Outbox, PeerMisbehaved, Progress};
use crate::chunk::{ChunkIndex, FileId, Layout};
use crate::limits::{SUBTREES_COMPARED_MAX, SUBTREES_WAITING_MAX, VALUES_IN_FLIGHT_MAX, WRITE_BACK_BYTES};
use crate::name::RelativePath;
use crate::protocol::message::{Metadata, ReceiverMessage};
use crate::sink::{ExistingFile, Part};
use crate::tree::{ChunkValue, Hash, Tree};

/// A file that was offered, once its path was found to be one.
#[derive(Clone)]
pub struct Offered {
    pub id: FileId,
    pub path: RelativePath,
    /// As it was offered: that of a stream is open.
    pub layout: Layout,
    /// Whether it has holes that are to be kept.
    pub sparse: bool,
    /// Whether something was found under its name that it is to replace.
    pub replaces: bool,
    pub metadata: Metadata,
}

/// What the chunks of a file are, at the receiver.
#[derive(Clone)]
pub enum Bytes {
    /// A file under the final name that may be the offered one.
    Existing(Arc<ExistingFile>),
    /// A part file that chunks are written into.
    Part(Arc<Part>),
}

/// A file whose every chunk is accounted for.
pub struct Settled {
    pub bytes: Bytes,
    /// How long it is, which for a stream was not known before.
    pub layout: Layout,
    /// The hash of what is here.
    pub ours: Hash,
    /// The hash of what was sent.
    pub theirs: Hash,
}

/// A file under way that takes more than one frame, or none because it is compared with an existing one.
pub struct Incoming {
    pub offered: Offered,
    /// The chunks that were written or kept, so that no chunk is ever written twice and nothing is written any more once
    /// all of them are there.
    claims: Claims,
    /// Bytes written, to know when it is time to write them back.
    written: AtomicU64,
    state: Mutex<State>,
    room: Condvar,
}

struct State {
    /// `None` once the file is over.
    bytes: Option<Bytes>,
    extent: Extent,
    tree: Tree,
    /// Chunks that were written or kept.
    there: u64,
    /// Values that the sender knows and has not judged.
    announced: HashMap<u64, ChunkValue>,
    theirs: Option<Hash>,
}

impl State {
    /// Whether more may be compared.
    fn has_room(&self) -> bool {
        self.announced.len() < VALUES_IN_FLIGHT_MAX && self.tree.waiting() < SUBTREES_COMPARED_MAX
    }

    fn settle(&mut self) -> Option<Settled> {
        let (ours, theirs) = (self.tree.root()?, self.theirs?);
        Some(Settled { bytes: self.bytes.take()?, layout: self.extent.layout(), ours, theirs })
    }
}

impl Incoming {
    pub fn new(offered: Offered, bytes: Bytes) -> Incoming {
        let state = State {
            bytes: Some(bytes),
            extent: Extent::new(offered.id, offered.layout),
            tree: Tree::new(offered.layout),
            there: 0,
            announced: HashMap::new(),
            theirs: None,
        };
        Incoming {
            written: AtomicU64::new(0),
            claims: Claims::new(offered.layout),
            offered,
            state: Mutex::new(state),
            room: Condvar::new(),
        }
    }

    fn wrong_chunk(&self, index: ChunkIndex) -> PeerMisbehaved {
        PeerMisbehaved::WrongChunk { file: self.offered.id.0, chunk: index.0 }
    }

    /// The part file that chunk `index` of `len` bytes goes into; `None` once the file is over.
    pub fn part_for(&self, index: ChunkIndex, len: usize) -> Result<Option<Arc<Part>>, PeerMisbehaved> {
        let mut state = self.state.lock();
        match &state.bytes {
            Some(Bytes::Part(part)) => {
                let part = part.clone();
                state.extent.admit(index, len)?;
                Ok(Some(part))
            }
            Some(Bytes::Existing(_)) => {
                let got = "a chunk of a file that is only compared";
                Err(PeerMisbehaved::Unexpected { got, expected: "a verdict on it" })
            }
            None => Ok(None),
        }
    }

    /// Takes chunk `index` for the caller alone.
    pub fn claim(&self, index: ChunkIndex) -> Result<(), PeerMisbehaved> {
        let wrong = || self.wrong_chunk(index);
        self.offered.layout.len_of(index).ok_or_else(wrong)?;
        if self.claims.take(index) { Ok(()) } else { Err(wrong()) }
    }

    /// Notes that `bytes` more were written; true each time that makes another [`WRITE_BACK_BYTES`].
    pub fn write_back_is_due(&self, bytes: u64) -> bool {
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        before / WRITE_BACK_BYTES != (before + bytes) / WRITE_BACK_BYTES
    }

    /// A claimed chunk was written.
    pub fn stored(&self, index: ChunkIndex, value: ChunkValue) -> Result<Option<Settled>, PeerMisbehaved> {
        let mut state = self.state.lock();
        state.announced.remove(&index.0);
        self.insert(&mut state, index, value)
    }

    /// Adds the value of a chunk that is there. What it leaves room for may be compared.
    fn insert(
        &self,
        state: &mut State,
        index: ChunkIndex,
        value: ChunkValue,
    ) -> Result<Option<Settled>, PeerMisbehaved> {
        state.tree.insert(index, value).map_err(|_| self.wrong_chunk(index))?;
        if state.tree.waiting() > SUBTREES_WAITING_MAX {
            return Err(PeerMisbehaved::TooMany { what: "scattered chunks", limit: SUBTREES_WAITING_MAX });
        }
        state.there += 1;
        self.room.notify_all();
        Ok(state.settle())
    }

    /// The sender says that our value of this chunk is right.
    pub fn keep(&self, index: ChunkIndex) -> Result<Option<Settled>, PeerMisbehaved> {
        let mut state = self.state.lock();
        if state.bytes.is_none() {
            return Ok(None);
        }
        let value = state.announced.remove(&index.0).ok_or_else(|| self.wrong_chunk(index))?;
        self.claim(index)?;
        self.insert(&mut state, index, value)
    }

    /// The sender's hash of the file.
    pub fn root(&self, hash: Hash) -> Result<Option<Settled>, PeerMisbehaved> {
        let mut state = self.state.lock();
        if state.extent.layout().is_open() {
            if state.bytes.is_none() {
                // It failed before its end was heard of.
                return Ok(None);
            }
            let got = "the hash of a stream";
            return Err(PeerMisbehaved::Unexpected { got, expected: "its length before" });
        }
        if state.theirs.replace(hash).is_some() {
            let got = "a second hash of a file";
            return Err(PeerMisbehaved::Unexpected { got, expected: "one hash for each file" });
        }
        Ok(self.settled(&mut state))
    }

    /// The stream has ended. Nothing comes of it where the file is over.
    pub fn length(&self, bytes: u64, progress: &Progress) -> Result<Option<Settled>, PeerMisbehaved> {
        let mut state = self.state.lock();
        let Some(Bytes::Part(part)) = state.bytes.clone() else { return Ok(None) };
        let layout = state.extent.end(bytes)?;
        part.end_at(bytes);
        progress.stream_ended(bytes);
        state.tree.close(layout).map_err(|misplaced| self.wrong_chunk(misplaced.0))?;
        Ok(self.settled(&mut state))
    }

    /// What to publish, if that was the last of it. Whoever compares hears that it is over.
    fn settled(&self, state: &mut State) -> Option<Settled> {
        let settled = state.settle();
        if settled.is_some() {
            self.room.notify_all();
        }
        settled
    }

    /// What was offered, with the length as far as it is known by now.
    pub fn offered_now(&self) -> Offered {
        Offered { layout: self.state.lock().extent.layout(), ..self.offered.clone() }
    }

    /// How far it has come.
    pub fn under_way(&self) -> FileUnderWay {
        let state = self.state.lock();
        FileUnderWay::new(self.offered.path.clone(), state.there, state.extent.layout())
    }

    /// Ends it early; hands out what it held, the first time.
    pub fn end(&self) -> Option<Bytes> {
        let bytes = self.state.lock().bytes.take();
        self.room.notify_all();
        bytes
    }

    // ---- for the comparing threads ----

    /// Tells the sender which chunks are surely missing. Under the lock, as [`Incoming::announce`]: the first of them may arrive,
    /// and fail, before the last is told.
    pub fn ask_for(&self, missing: Range<u64>, outbox: &Outbox<ReceiverMessage>) {
        let state = self.state.lock();
        if state.bytes.is_some() {
            let (first, count) = (ChunkIndex(missing.start), missing.end - missing.start);
            outbox.send(&ReceiverMessage::Missing { file: self.offered.id, first, count });
        }
    }

    /// What is to be compared, once there is room for more values; `None` when the file is over.
    pub fn bytes_when_room(&self) -> Option<Bytes> {
        let mut state = self.state.lock();
        while state.bytes.is_some() && !state.has_room() {
            self.room.wait(&mut state);
        }
        state.bytes.clone()
    }

    /// Tells the sender the values of chunks. Under the lock, so that nothing of this file is said after it ended.
    pub fn announce(&self, first: ChunkIndex, values: Vec<ChunkValue>, outbox: &Outbox<ReceiverMessage>) {
        let mut state = self.state.lock();
        if state.bytes.is_some() {
            state.announced.extend((first.0..).zip(values.iter().copied()));
            outbox.send(&ReceiverMessage::Values { file: self.offered.id, first, values });
        }
    }
}

#[cfg(test)]
#[path = "incoming_tests.rs"]
mod tests;
