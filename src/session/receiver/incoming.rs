//! A file that arrives in pieces: which chunks are there, what they hash to, and when that is all of it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};

use crate::content::chunk::{ChunkIndex, FileId, Layout};
use crate::content::tree::{ChunkValue, Hash, Tree};
use crate::limits::{
    CHUNK_BYTES, CLAIM_PIECE_WORDS, FILE_BYTES_MAX, SUBTREES_COMPARED_MAX, SUBTREES_WAITING_MAX,
    VALUES_IN_FLIGHT_MAX, WRITE_BACK_BYTES,
};
use crate::name::RelativePath;
use crate::session::snapshot::FileUnderWay;
use crate::session::{Outbox, PeerMisbehaved, Progress};
use crate::store::{ExistingFile, Part};
use crate::wire::message::{Metadata, Offer, ReceiverMessage};

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
    /// What it counts for as long as it is open.
    pub weight: usize,
}

impl Offered {
    pub fn new(offer: &Offer, path: RelativePath, sparse: bool) -> Offered {
        let (layout, metadata) = (offer.kind.layout(), offer.metadata.clone());
        Offered { id: offer.file, path, layout, sparse, replaces: false, metadata, weight: offer.weight() }
    }
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

// Which chunks of a file are there: one bit for each, set once.

/// Chunks in one piece.
const PIECE_CHUNKS: u64 = CLAIM_PIECE_WORDS as u64 * 64;

/// One bit for each chunk. Pieces that are never touched are never made: a file may be offered with any size, and a stream
/// with none.
pub(super) struct Claims {
    pieces: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

impl Claims {
    pub fn new(layout: Layout) -> Claims {
        let pieces = layout.chunks().div_ceil(PIECE_CHUNKS);
        Claims { pieces: (0..pieces).map(|_| OnceLock::new()).collect() }
    }

    /// Takes a chunk for the caller alone; false where somebody has it, or it is far from any that the file has.
    pub fn take(&self, index: ChunkIndex) -> bool {
        let piece = usize::try_from(index.0 / PIECE_CHUNKS).ok().and_then(|n| self.pieces.get(n));
        let Some(piece) = piece else { return false };
        let words = piece.get_or_init(|| (0..CLAIM_PIECE_WORDS).map(|_| AtomicU64::new(0)).collect());
        let within = index.0 % PIECE_CHUNKS;
        let bit = 1 << (within % 64);
        words.get((within / 64) as usize).is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }
}

// How long a file under way is, as far as that is known, and so which chunks can be its own.
//
// Of a stream only the last chunk may be short, and which one is the last is known when its length is. Until then a short
// chunk is taken on trust, once; the length must bear it out.

pub(super) struct Extent {
    file: FileId,
    layout: Layout,
    /// While the end is not known: the furthest chunk that came, and the one that was short, with their bytes.
    furthest: Option<(ChunkIndex, usize)>,
    short: Option<(ChunkIndex, usize)>,
}

impl Extent {
    pub fn new(file: FileId, layout: Layout) -> Extent {
        Extent { file, layout, furthest: None, short: None }
    }

    /// How the file falls into chunks.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Takes note of a chunk of `len` bytes, which the file may have.
    pub fn admit(&mut self, index: ChunkIndex, len: usize) -> Result<(), PeerMisbehaved> {
        let full = self.layout.len_of(index).ok_or_else(|| self.wrong_chunk(index))?;
        if len != full {
            if !self.layout.is_open() || len == 0 || len > full || self.short.is_some() {
                return Err(self.wrong_length(len, full));
            }
            self.short = Some((index, len));
        }
        if self.layout.is_open() && self.furthest.is_none_or(|(furthest, _)| furthest < index) {
            self.furthest = Some((index, len));
        }
        Ok(())
    }

    /// The stream has ended. What came of it must be in the right places.
    pub fn end(&mut self, bytes: u64) -> Result<Layout, PeerMisbehaved> {
        if !self.layout.is_open() {
            let got = "a length";
            return Err(PeerMisbehaved::Unexpected { got, expected: "one for each stream" });
        }
        if bytes <= CHUNK_BYTES as u64 || bytes > FILE_BYTES_MAX {
            let got = "the length of no stream";
            return Err(PeerMisbehaved::Unexpected {
                got,
                expected: "more than a chunk, and no more than a file",
            });
        }
        let layout = Layout::new(bytes);
        for (index, len) in [self.furthest, self.short].into_iter().flatten() {
            let expected = layout.len_of(index).ok_or_else(|| self.wrong_chunk(index))?;
            if len != expected {
                return Err(self.wrong_length(len, expected));
            }
        }
        self.layout = layout;
        Ok(layout)
    }

    fn wrong_chunk(&self, index: ChunkIndex) -> PeerMisbehaved {
        PeerMisbehaved::WrongChunk { file: self.file.0, chunk: index.0 }
    }

    fn wrong_length(&self, got: usize, expected: usize) -> PeerMisbehaved {
        PeerMisbehaved::WrongLength { file: self.file.0, got: got as u64, expected: expected as u64 }
    }
}

#[cfg(test)]
#[path = "incoming_tests.rs"]
mod tests;

#[cfg(test)]
mod claims_tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_chunk_is_taken_once(chunks in proptest::collection::vec(
            prop_oneof![0..70u64, PIECE_CHUNKS - 3..PIECE_CHUNKS + 3, Just(u64::MAX)], 0..200
        )) {
            let claims = Claims::new(Layout::open());
            let mut taken = HashSet::new();
            for chunk in chunks {
                prop_assert_eq!(claims.take(ChunkIndex(chunk)), chunk != u64::MAX && taken.insert(chunk));
            }
        }
    }

    #[test]
    fn the_largest_file_takes_no_memory_for_what_is_not_there() {
        let claims = Claims::new(Layout::open());
        let last = ChunkIndex(Layout::open().chunks() - 1);
        assert!(claims.take(last) && !claims.take(last) && claims.take(ChunkIndex(0)));
        let made = claims.pieces.iter().filter(|piece| piece.get().is_some()).count();
        assert_eq!(made, 2);
        assert!(claims.pieces.len() * size_of::<OnceLock<Box<[AtomicU64]>>>() <= 256 << 10);
    }
}

#[cfg(test)]
mod extent_tests {
    use proptest::prelude::*;

    use super::*;

    const C: u64 = CHUNK_BYTES as u64;

    /// Lengths that a chunk may claim to have.
    fn lens() -> impl Strategy<Value = usize> {
        prop_oneof![4 => Just(CHUNK_BYTES), 1 => Just(1), 1 => Just(CHUNK_BYTES - 1), 1 => Just(0)]
    }

    proptest! {
        #[test]
        fn what_is_admitted_fits_the_length_and_what_fits_is_admitted(
            chunks in proptest::collection::btree_map(0..6u64, lens(), 0..6),
            at in 0..7usize,
            length in prop_oneof![0..7 * C, (0..7u64).prop_map(|n| n * C), (0..7u64).prop_map(|n| n * C + 1)],
        ) {
            let mut extent = Extent::new(FileId(0), Layout::open());
            let mut result = Ok(());
            for (n, (index, len)) in chunks.iter().enumerate() {
                if n == at {
                    result = result.and_then(|()| extent.end(length).map(drop));
                }
                result = result.and_then(|()| extent.admit(ChunkIndex(*index), *len));
            }
            if chunks.len() <= at {
                result = result.and_then(|()| extent.end(length).map(drop));
            }
            let layout = Layout::new(length);
            let fits = chunks.iter().all(|(index, len)| layout.len_of(ChunkIndex(*index)) == Some(*len));
            prop_assert_eq!(result.is_ok(), fits && !layout.is_single());
        }
    }

    #[test]
    fn a_length_comes_once_and_only_for_a_stream() {
        let mut extent = Extent::new(FileId(0), Layout::open());
        assert!(extent.end(u64::MAX).is_err() && extent.end(FILE_BYTES_MAX + 1).is_err());
        assert_eq!(extent.end(2 * C), Ok(Layout::new(2 * C)));
        assert!(extent.end(2 * C).is_err());
        assert!(Extent::new(FileId(0), Layout::new(2 * C)).end(2 * C).is_err());
    }

    #[test]
    fn two_short_chunks_are_one_too_many_whatever_the_length() {
        let mut extent = Extent::new(FileId(7), Layout::open());
        extent.admit(ChunkIndex(1), 5).unwrap();
        let expected = PeerMisbehaved::WrongLength { file: 7, got: 5, expected: C };
        assert_eq!(extent.admit(ChunkIndex(2), 5), Err(expected));
    }
}
