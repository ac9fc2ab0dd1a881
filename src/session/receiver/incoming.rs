//! A file that arrives in pieces: which chunks are there, what they hash to, and when that is all of it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rangemap::RangeSet;

use super::claims::Claims;
use super::extent::Extent;
use super::in_order::InOrder;
use super::memory::{Budget, Kept};
use super::offered::Offered;
use crate::content::chunk::{ChunkIndex, Layout};
use crate::content::tree::{ChunkValue, Hash, Subtree, Tree};
use crate::limits::{
    CHUNK_BYTES, COMPARED_AT_ONCE_FIRST, COMPARED_AT_ONCE_MAX, COMPARED_BYTES, KEPT_BYTES_FILE,
    MISSING_PER_FILE_MAX, SUBTREE_BYTES, WRITE_BACK_BYTES,
};
use crate::session::ending::PeerMisbehaved;
use crate::session::outbox::Outbox;
use crate::session::progress::Progress;
use crate::session::snapshot::FileUnderWay;
use crate::store::{ExistingFile, Part};
use crate::wire::message::ReceiverMessage;

/// What a stretch of chunks counts for that may be there: its place in the plan, and subtrees at both of its
/// ends until all around it has come.
const STRETCH_BYTES: usize = 64 + 16 * SUBTREE_BYTES;

/// What the chunks of a file are, at the receiver.
#[derive(Clone)]
pub enum Bytes {
    /// A file under the final name that may be the offered one; none where it is surely another. Of that the
    /// sender hears no sooner than of any other that differs, as it is not to learn from it how large the
    /// files here are.
    Existing(Option<Arc<ExistingFile>>),
    /// A part file that chunks are written into.
    Part(Arc<Part>),
    /// They are written one after the other, to what cannot take them otherwise.
    Output(Arc<InOrder>),
}

/// Where a chunk goes.
pub enum WriteTo {
    Part(Arc<Part>),
    Output(Arc<InOrder>),
}

/// What of a file is compared before it is sent.
#[derive(Default)]
pub struct Plan {
    /// Whole chunks, as far as their values were not asked for. Never a shorter one of a part file: how a few
    /// bytes differ tells what they are.
    left: VecDeque<Range<u64>>,
    /// The last chunk of an existing file where it is short. Its value is asked for when all others were
    /// right, so that only whoever has the whole file hears that the rest is right, too.
    tail: Option<u64>,
    /// The chunks that are in the part file; others are in the older file.
    own: Vec<Range<u64>>,
    older: Option<Arc<ExistingFile>>,
}

/// What became of a comparison that has not come to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compared {
    /// The value was asked for.
    Asked,
    /// It came, and a thread compares.
    Judged,
    /// It is another one, and the chunk is to come.
    Owed,
}

/// Where something of a chunk is.
pub enum Here {
    Existing(Arc<ExistingFile>),
    Part(Arc<Part>),
    /// In the older file; if it is right it goes into the part file.
    Older(Arc<ExistingFile>, Arc<Part>),
}

impl Here {
    /// Whether that range of it surely holds nothing. Of an older file it is copied in any case.
    pub fn is_hole(&self, offset: u64, bytes: u64) -> bool {
        match self {
            Here::Existing(file) => file.is_hole(offset, bytes),
            Here::Part(part) => part.is_hole(offset, bytes),
            Here::Older(..) => false,
        }
    }
}

/// What follows from what was said or done about a file.
pub enum Next {
    Nothing,
    /// A thread is to compare this chunk with this value.
    Compare(ChunkIndex, ChunkValue),
    /// All of it is accounted for.
    Settle(Settled),
    /// The existing file is another one.
    Differs,
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
    /// The chunks that were written or kept, so that no chunk is ever written twice and nothing is written
    /// any more once all of them are there.
    claims: Claims,
    /// Bytes written, to know when it is time to write them back.
    written: AtomicU64,
    state: Mutex<State>,
}

struct State {
    /// `None` once the file is over.
    bytes: Option<Bytes>,
    extent: Extent,
    tree: Tree,
    /// Chunks that were written or kept.
    there: u64,
    plan: Plan,
    /// The chunks whose comparison has not come to its end.
    under_comparison: BTreeMap<u64, Compared>,
    /// The existing file is another one.
    differs: bool,
    theirs: Option<Hash>,
    kept: Kept,
}

impl Plan {
    /// Of a file under the final name.
    pub fn of_existing(layout: Layout) -> Plan {
        // Of one chunk the hash comes by itself.
        if layout.is_single() {
            return Plan::default();
        }
        let whole = whole_chunks(layout.size());
        let tail = (whole < layout.chunks()).then_some(whole);
        Plan { left: VecDeque::from([Range { start: 0, end: whole }]), tail, ..Plan::default() }
    }

    /// Of a part file, and perhaps an older version of the file. Few enough stretches that what lies between
    /// can be told in [`MISSING_PER_FILE_MAX`] messages.
    pub fn of_part(layout: Layout, part: &Part, older: Option<ExistingFile>) -> Plan {
        let whole = whole_chunks(layout.size());
        let end = whole_chunks(part.existing_len()).min(whole);
        let own = stretches(part.data_extents(), end, MISSING_PER_FILE_MAX / 2);
        let in_older = older.as_ref().map_or_else(Vec::new, |older| {
            let end = whole_chunks(older.size()).min(whole);
            stretches(older.extents().into_iter(), end, MISSING_PER_FILE_MAX / 2)
        });
        let older = older.filter(|_| !in_older.is_empty()).map(Arc::new);
        let left: RangeSet<u64> = own.iter().cloned().chain(in_older).collect();
        Plan { left: left.into_iter().collect(), tail: None, own, older }
    }

    /// Has everything between the first and the last chunk compared: what is needed for many stretches is not
    /// to be had.
    fn coarsen(&mut self) {
        if let (Some(first), Some(last)) = (self.own.first(), self.own.last()) {
            self.own = Vec::from([Range { start: first.start, end: last.end }]);
        }
        if let (Some(first), Some(last)) = (self.left.front(), self.left.back()) {
            self.left = VecDeque::from([Range { start: first.start, end: last.end }]);
        }
    }

    fn bytes(&self) -> usize {
        self.own.len().max(self.left.len()) * STRETCH_BYTES
    }

    /// Whether there is nothing to compare with.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }
}

/// The chunks below `end` of which something is in these extents, in no more than so many stretches.
fn stretches(extents: impl Iterator<Item = Range<u64>>, end: u64, most: usize) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    for extent in extents {
        let first = extent.start / CHUNK_BYTES as u64;
        let last = extent.end.div_ceil(CHUNK_BYTES as u64).min(end);
        let room = found.len() + 2 < most;
        match found.last_mut() {
            _ if first >= end => break,
            Some(before) if first <= before.end => before.end = before.end.max(last),
            _ if room => found.push(first..last),
            _ => {
                found.push(first..end);
                break;
            }
        }
    }
    found
}

/// How many whole chunks are in so many bytes.
fn whole_chunks(bytes: u64) -> u64 {
    bytes / CHUNK_BYTES as u64
}

impl State {
    fn settle(&mut self) -> Option<Settled> {
        let (ours, theirs) = (self.tree.root()?, self.theirs?);
        let bytes = match &self.bytes {
            // It is over when all of it is written.
            Some(Bytes::Output(queue)) => Bytes::Output(queue.clone()),
            _ => self.bytes.take()?,
        };
        Some(Settled { bytes, layout: self.extent.layout(), ours, theirs })
    }

    /// Whether the existing file is known to be another one, and nothing that the sender says of it is still
    /// on its way: each value that was asked for has come, and where these were all of them, the hash behind
    /// them.
    fn is_another(&self) -> bool {
        let all_asked = self.plan.left.is_empty() && self.plan.tail.is_none();
        self.differs
            && matches!(self.bytes, Some(Bytes::Existing(_)))
            && !self.under_comparison.values().any(|compared| *compared == Compared::Asked)
            && (self.theirs.is_some() || !all_asked)
    }

    /// Takes the memory for what is known, and so many comparisons more; false where it is not to be had.
    fn keep(&mut self, more: usize) -> bool {
        // What is known of a file of one chunk is little, and it is no longer known with its outcome. Of one
        // that is written in order no more waits than its window has chunks.
        if self.extent.layout().is_single() || matches!(self.bytes, Some(Bytes::Output(_))) {
            return true;
        }
        let compared = (self.under_comparison.len() + more) * COMPARED_BYTES;
        let known = self.tree.waiting() * SUBTREE_BYTES + compared;
        // At the beginning nothing is known, and for what will be there must be room at the end.
        self.kept.set(known.max(self.plan.bytes()))
    }

    /// What follows from what is known by now.
    fn next(&mut self) -> Next {
        if self.is_another() {
            self.bytes = None;
            return Next::Differs;
        }
        self.settle().map_or(Next::Nothing, Next::Settle)
    }
}

impl Incoming {
    pub fn new(offered: Offered, bytes: Bytes, mut plan: Plan, budget: &Arc<Budget>) -> Incoming {
        let mut kept = Kept::nothing(budget);
        if plan.own.len().max(plan.left.len()) > 1 && !kept.set(plan.bytes()) {
            plan.coarsen();
        }
        let state = State {
            bytes: Some(bytes),
            extent: Extent::new(offered.id, offered.layout),
            tree: Tree::new(offered.layout),
            there: 0,
            plan,
            under_comparison: BTreeMap::new(),
            differs: false,
            theirs: None,
            kept,
        };
        let (written, claims) = (AtomicU64::new(0), Claims::default());
        Incoming { written, claims, offered, state: Mutex::new(state) }
    }

    fn wrong_chunk(&self, index: ChunkIndex) -> PeerMisbehaved {
        PeerMisbehaved::WrongChunk { file: self.offered.id.0, chunk: index.0 }
    }

    /// Where chunk `index` of `len` bytes goes; `None` once the file is over.
    pub fn target_for(&self, index: ChunkIndex, len: usize) -> Result<Option<WriteTo>, PeerMisbehaved> {
        let mut state = self.state.lock();
        match &state.bytes {
            Some(Bytes::Output(queue)) => {
                let place = WriteTo::Output(queue.clone());
                state.extent.admit(index, len)?;
                Ok(Some(place))
            }
            Some(Bytes::Part(part)) => {
                let place = WriteTo::Part(part.clone());
                if let Some(Compared::Asked | Compared::Judged) = state.under_comparison.get(&index.0) {
                    return Err(self.wrong_chunk(index));
                }
                state.extent.admit(index, len)?;
                Ok(Some(place))
            }
            Some(Bytes::Existing(_)) => {
                let got = "a chunk of a file that is only compared";
                Err(PeerMisbehaved::Unexpected { got, expected: "its value" })
            }
            None => Ok(None),
        }
    }

    /// The part file that `count` chunks of zeros from `first` on are made in, for the caller alone; `None`
    /// once the file is over.
    ///
    /// # Errors
    /// One of them is there, or is being compared, or the file is only compared.
    pub fn part_for_hole(&self, first: ChunkIndex, count: u64) -> Result<Option<Arc<Part>>, PeerMisbehaved> {
        let state = self.state.lock();
        let part = match &state.bytes {
            Some(Bytes::Part(part)) => part.clone(),
            Some(Bytes::Existing(_)) => {
                let got = "a hole in a file that is only compared";
                return Err(PeerMisbehaved::Unexpected { got, expected: "its values" });
            }
            Some(Bytes::Output(_)) => {
                let got = "a hole in a file that is written in order";
                return Err(PeerMisbehaved::Unexpected { got, expected: "its chunks" });
            }
            None => return Ok(None),
        };
        let chunks = first.0..first.0.saturating_add(count);
        let compared = state.under_comparison.range(chunks.clone());
        if compared.into_iter().any(|(_, compared)| *compared != Compared::Owed) {
            return Err(self.wrong_chunk(first));
        }
        if self.claims.take_all(chunks) { Ok(Some(part)) } else { Err(self.wrong_chunk(first)) }
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

    /// Claimed chunks were written: one, or those of a hole.
    pub fn stored(
        &self,
        subtrees: &[Subtree],
        outbox: &Outbox<ReceiverMessage>,
    ) -> Result<Next, PeerMisbehaved> {
        self.insert(&mut self.state.lock(), subtrees, outbox)
    }

    /// Adds the values of what is there. What it leaves room for is compared.
    fn insert(
        &self,
        state: &mut State,
        subtrees: &[Subtree],
        outbox: &Outbox<ReceiverMessage>,
    ) -> Result<Next, PeerMisbehaved> {
        for subtree in subtrees {
            let (first, chunks) = (subtree.first.0, 1 << subtree.level);
            match chunks {
                1 => drop(state.under_comparison.remove(&first)),
                _ => state.under_comparison.retain(|chunk, _| !(first..first + chunks).contains(chunk)),
            }
            state.tree.insert_subtree(*subtree).map_err(|_| self.wrong_chunk(subtree.first))?;
            state.there += chunks;
        }
        if !state.keep(0) && state.tree.waiting() * SUBTREE_BYTES > KEPT_BYTES_FILE {
            let limit = state.tree.waiting();
            return Err(PeerMisbehaved::TooMany { what: "scattered chunks", limit });
        }
        self.ask(state, outbox);
        Ok(state.next())
    }

    /// The sender's hash of the file.
    pub fn root(&self, hash: Hash) -> Result<Next, PeerMisbehaved> {
        let mut state = self.state.lock();
        if state.extent.layout().is_open() {
            if state.bytes.is_none() {
                // It failed before its end was heard of.
                return Ok(Next::Nothing);
            }
            let got = "the hash of a stream";
            return Err(PeerMisbehaved::Unexpected { got, expected: "its length before" });
        }
        if state.theirs.replace(hash).is_some() {
            let got = "a second hash of a file";
            return Err(PeerMisbehaved::Unexpected { got, expected: "one hash for each file" });
        }
        // Of a file of one chunk that is compared it is the value that was asked for.
        match self.offered.layout.is_single() && !matches!(state.bytes, Some(Bytes::Output(_))) {
            true => self.judge(&mut state, ChunkIndex(0), *hash.as_bytes()),
            false => Ok(state.next()),
        }
    }

    /// The stream has ended. Nothing comes of it where the file is over.
    pub fn length(&self, bytes: u64, progress: &Progress) -> Result<Next, PeerMisbehaved> {
        let mut state = self.state.lock();
        let Some(place) = state.bytes.clone() else { return Ok(Next::Nothing) };
        let layout = state.extent.end(bytes)?;
        match place {
            Bytes::Part(part) => part.end_at(bytes),
            Bytes::Output(queue) => queue.ends_at(layout.chunks()),
            // No stream is compared.
            Bytes::Existing(_) => {}
        }
        progress.stream_ended(bytes);
        state.tree.close(layout).map_err(|misplaced| self.wrong_chunk(misplaced.0))?;
        Ok(state.next())
    }

    /// What was offered, with the length as far as it is known by now.
    pub fn offered_now(&self) -> Offered {
        Offered { layout: self.state.lock().extent.layout(), ..self.offered.clone() }
    }

    /// How far it has come.
    pub fn under_way(&self) -> FileUnderWay {
        let state = self.state.lock();
        let there = match &state.bytes {
            Some(Bytes::Output(queue)) => queue.written(),
            _ => state.there,
        };
        FileUnderWay::new(self.offered.path.clone(), there, state.extent.layout())
    }

    /// What its chunks wait in, where they are written in order.
    pub fn output(&self) -> Option<Arc<InOrder>> {
        match &self.state.lock().bytes {
            Some(Bytes::Output(queue)) => Some(queue.clone()),
            _ => None,
        }
    }

    /// Ends it early; hands out what it held, the first time.
    pub fn end(&self) -> Option<Bytes> {
        self.state.lock().bytes.take()
    }

    // ---- comparing ----

    /// Tells the sender which chunks are surely missing, and asks for the first values. Under the lock, so
    /// that nothing of this file is said after it ended: the first chunk may arrive, and fail, before the
    /// last is told.
    pub fn begin_comparing(&self, outbox: &Outbox<ReceiverMessage>) {
        let mut state = self.state.lock();
        if self.offered.layout.is_single() {
            // That it is compared asks for its hash.
            state.under_comparison.insert(0, Compared::Asked);
            return;
        }
        if let Some(Bytes::Part(_)) = state.bytes {
            let mut missing_from = 0;
            let end = self.offered.layout.chunks();
            for range in state.plan.left.iter().chain([&(end..end)]) {
                if missing_from < range.start {
                    let (first, count) = (ChunkIndex(missing_from), range.start - missing_from);
                    outbox.send(&ReceiverMessage::Missing { file: self.offered.id, first, count });
                }
                missing_from = range.end;
            }
        }
        self.ask(&mut state, outbox);
    }

    /// Asks for values as far as there is room for more: for few as long as most of the file may be another
    /// one's.
    fn ask(&self, state: &mut State, outbox: &Outbox<ReceiverMessage>) {
        if state.plan.left.is_empty() && state.there + 1 == self.offered.layout.chunks() {
            state.plan.left.extend(state.plan.tail.take().map(|tail| tail..tail + 1));
        }
        let right = usize::try_from(state.there).unwrap_or(usize::MAX);
        let most = COMPARED_AT_ONCE_FIRST.saturating_add(right).min(COMPARED_AT_ONCE_MAX);
        while let Some(front) = state.plan.left.front() {
            let compared = state.under_comparison.len();
            let room = most.saturating_sub(compared);
            if state.bytes.is_none() || state.differs || room == 0 {
                return;
            }
            if room < COMPARED_AT_ONCE_FIRST && compared > COMPARED_AT_ONCE_FIRST {
                return;
            }
            let (first, count) = (front.start, (front.end - front.start).min(room as u64));
            let mut count = count;
            if !state.keep(count as usize) {
                // It goes on with the first few, as each file may in any case.
                count = count.min(COMPARED_AT_ONCE_FIRST.saturating_sub(compared) as u64);
            }
            if count == 0 {
                return;
            }
            let Some(front) = state.plan.left.front_mut() else { return };
            front.start += count;
            if front.is_empty() {
                state.plan.left.pop_front();
            }
            let asked = (first..first + count).map(|chunk| (chunk, Compared::Asked));
            state.under_comparison.extend(asked);
            outbox.send(&ReceiverMessage::Hash { file: self.offered.id, first: ChunkIndex(first), count });
        }
    }

    /// The sender's value of a chunk.
    pub fn value(&self, index: ChunkIndex, value: ChunkValue) -> Result<Next, PeerMisbehaved> {
        if self.offered.layout.is_single() {
            return Err(self.wrong_chunk(index));
        }
        self.judge(&mut self.state.lock(), index, value)
    }

    fn judge(&self, state: &mut State, index: ChunkIndex, value: ChunkValue) -> Result<Next, PeerMisbehaved> {
        let Some(bytes) = &state.bytes else { return Ok(Next::Nothing) };
        let is_known = matches!(bytes, Bytes::Existing(None)) || state.differs;
        match state.under_comparison.get_mut(&index.0) {
            Some(compared @ Compared::Asked) => *compared = Compared::Judged,
            _ => return Err(self.wrong_chunk(index)),
        }
        if is_known {
            state.differs = true;
            return Ok(state.next());
        }
        Ok(Next::Compare(index, value))
    }

    /// Where something of this chunk is; `None` once the file is over.
    pub fn here(&self, index: ChunkIndex) -> Option<Here> {
        let state = self.state.lock();
        match state.bytes.clone()? {
            Bytes::Existing(existing) => existing.map(Here::Existing),
            Bytes::Output(_) => None,
            Bytes::Part(part) => match &state.plan.older {
                Some(older) if !state.plan.own.iter().any(|own| own.contains(&index.0)) => {
                    Some(Here::Older(older.clone(), part))
                }
                _ => Some(Here::Part(part)),
            },
        }
    }

    /// What is here of a claimed chunk has this value, which is the sender's.
    pub fn is_right(
        &self,
        index: ChunkIndex,
        value: ChunkValue,
        outbox: &Outbox<ReceiverMessage>,
    ) -> Result<Next, PeerMisbehaved> {
        let mut state = self.state.lock();
        match state.bytes {
            Some(_) => self.insert(&mut state, &[Subtree::of_chunk(index, value)], outbox),
            None => Ok(Next::Nothing),
        }
    }

    /// What is here of a chunk is not what was sent. Under the lock, so that nothing of this file is said
    /// after it ended.
    pub fn is_wrong(&self, index: ChunkIndex, outbox: &Outbox<ReceiverMessage>) -> Next {
        let mut state = self.state.lock();
        match state.bytes {
            None | Some(Bytes::Output(_)) => return Next::Nothing,
            Some(Bytes::Existing(_)) => {
                state.differs = true;
            }
            Some(Bytes::Part(_)) => {
                state.under_comparison.insert(index.0, Compared::Owed);
                outbox.send(&ReceiverMessage::Differs { file: self.offered.id, chunk: index });
            }
        }
        state.next()
    }
}

#[cfg(test)]
#[path = "incoming_tests.rs"]
mod tests;
