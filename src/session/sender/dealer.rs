//! What the sender's workers do next: chunks to send and to compare, of the files that are under way.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Condvar, Mutex};

use super::attempt::{Attempt, Dealt, Outgoing, Run};
use super::lanes::DataConnection;
use crate::content::chunk::{ChunkIndex, FileId};
use crate::content::tree::Hash;
use crate::limits::{
    COMPARED_AT_ONCE_MAX, FILES_IN_FLIGHT_MAX, LARGE_FILES_IN_FLIGHT_MAX, MISSING_PER_FILE_MAX,
    OFFERS_BYTES_MIN, OFFERS_WAKE_PART,
};
use crate::session::ending::{End, PeerMisbehaved};
use crate::source::Reached;
use crate::wire::message::Against;

/// Files for which there must be room again before a sender that had none goes on offering: for one at a time
/// it would be woken for each.
const OFFERS_WAKE_FILES: usize = FILES_IN_FLIGHT_MAX / OFFERS_WAKE_PART;

/// Stretches of chunks that wait to be sent at once.
const RUNS_QUEUED_MAX: usize = FILES_IN_FLIGHT_MAX + LARGE_FILES_IN_FLIGHT_MAX * MISSING_PER_FILE_MAX;

/// Stretches of chunks to hash that are queued at once: what an honest receiver compares of all files under
/// way. Of large ones as many may turn out to differ, and are to be sent.
const COMPARED_QUEUED_MAX: usize = LARGE_FILES_IN_FLIGHT_MAX * COMPARED_AT_ONCE_MAX + FILES_IN_FLIGHT_MAX;

/// Which work a thread takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Chunks to send, and where there are none, chunks to compare.
    All,
    /// Chunks to compare.
    Compare,
}

/// What waits for workers, and how they wait for it.
pub struct Dealer {
    pub queue: Mutex<Queue>,
    /// Waited on by those who send, for chunks. One waiter is told of one chunk: to wake all of them for each
    /// of many small files would cost more than sending it.
    to_send: Condvar,
    /// By those who only compare.
    to_compare: Condvar,
    /// By whoever offers, for room and outcomes.
    pub settled: Condvar,
    /// How many chunks of a hole the receiver takes in one frame.
    pub dealt_together: u64,
}

impl Default for Dealer {
    fn default() -> Dealer {
        Dealer {
            queue: Mutex::default(),
            to_send: Condvar::new(),
            to_compare: Condvar::new(),
            settled: Condvar::new(),
            dealt_together: 1,
        }
    }
}

pub struct Queue {
    pub send: VecDeque<Arc<Run>>,
    pub compare: VecDeque<Arc<Run>>,
    pub files: HashMap<FileId, Entry>,
    pub offered: u64,
    pub large: usize,
    /// What the open offers weigh, and may weigh at the receiver.
    pub bytes: usize,
    bytes_max: usize,
    /// The file that is a stream.
    pub stream: Option<FileId>,
    /// Whoever offers waits for room.
    pub full: bool,
    pub finished: bool,
    pub closed: bool,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            send: VecDeque::new(),
            compare: VecDeque::new(),
            files: HashMap::new(),
            offered: 0,
            large: 0,
            bytes: 0,
            bytes_max: OFFERS_BYTES_MIN,
            stream: None,
            full: false,
            finished: false,
            closed: false,
        }
    }
}

pub struct Entry {
    pub file: Arc<Outgoing>,
    /// What its offer weighs.
    pub weight: usize,
    pub attempt: Option<Arc<Attempt>>,
    /// How far a receiver that takes it in order has asked for it; 0 for any other.
    pub asked_up_to: u64,
    /// Of a stream: how far it is queued.
    pub queued: u64,
}

impl Entry {
    /// The hash of the file, once it is known that the receiver may have it.
    pub fn root(&self) -> Option<Hash> {
        self.attempt.as_ref()?.root.get().copied()
    }
}

impl Queue {
    /// The first run with chunks left to deal.
    pub fn front(&mut self, work: Work) -> Option<Arc<Run>> {
        fn live(runs: &mut VecDeque<Arc<Run>>) -> Option<Arc<Run>> {
            while runs.front()?.is_exhausted() {
                runs.pop_front();
            }
            runs.front().cloned()
        }
        let to_send = if work == Work::All { live(&mut self.send) } else { None };
        to_send.or_else(|| live(&mut self.compare))
    }

    /// Whether everything was offered and no chunk waits to be dealt.
    pub fn is_dealt(&mut self) -> bool {
        self.finished && self.stream.is_none() && self.front(Work::All).is_none()
    }

    /// Whether more than so many chunks wait to be dealt.
    pub fn has_more_than(&self, chunks: usize) -> bool {
        let runs = self.send.iter().take(chunks + 1);
        runs.map(|run| run.left()).fold(0, u64::saturating_add) > chunks as u64
    }

    pub fn has_room_for(&self, large: bool, weight: usize) -> bool {
        self.files.len() < FILES_IN_FLIGHT_MAX
            && self.bytes + weight <= self.bytes_max
            && !(large && self.large >= LARGE_FILES_IN_FLIGHT_MAX)
    }

    /// Whether an outcome is worth telling whoever offers: room for one file of thousands is not.
    pub fn is_worth_offering(&mut self, had_large: bool) -> bool {
        let ample = self.files.len() <= FILES_IN_FLIGHT_MAX - OFFERS_WAKE_FILES
            && self.bytes <= self.bytes_max - self.bytes_max / OFFERS_WAKE_PART;
        let ample = had_large || ample;
        let worth = !self.full || ample;
        self.full &= !worth;
        worth
    }
}

impl Queue {
    /// Queues what was read of the stream and is wanted. Returns how many chunks that were, and how far it
    /// was read, once it is wanted at all.
    pub fn queue_stream(&mut self) -> Option<(Arc<Attempt>, u64, Reached)> {
        let entry = self.files.get_mut(&self.stream?)?;
        let attempt = entry.attempt.clone()?;
        let reached = entry.file.item.stream()?.reached();
        let end = reached.chunks.min(entry.asked_up_to);
        let count = end.saturating_sub(entry.queued);
        if count > 0 {
            let run = Run::missing(attempt.clone(), ChunkIndex(entry.queued), count);
            entry.queued = end;
            self.send.push_back(Arc::new(run));
        }
        Some((attempt, count, reached))
    }
}

impl Dealer {
    /// What the open offers may weigh at the receiver.
    pub fn set_offers_bytes(&self, bytes: usize) {
        self.queue.lock().bytes_max = bytes;
    }

    /// Sends every thread of the session home. Returns what has no outcome, in the order of the offers.
    pub fn close(&self) -> Vec<Arc<Outgoing>> {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let mut rest: Vec<Arc<Outgoing>> = queue.files.drain().map(|(_, entry)| entry.file).collect();
        drop(queue);
        for waiting in [&self.to_send, &self.to_compare, &self.settled] {
            waiting.notify_all();
        }
        rest.sort_by_key(|file| file.id);
        rest
    }

    /// Has all who send look again at what there is, and at their connections.
    pub fn wake(&self) {
        // A worker looks at its connection under this lock before it waits.
        drop(self.queue.lock());
        self.to_send.notify_all();
    }

    /// There are so many chunks more to send.
    pub fn wake_for(&self, chunks: u64) {
        match chunks {
            0 => {}
            1 => drop(self.to_send.notify_one()),
            _ => drop(self.to_send.notify_all()),
        }
    }

    pub fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    /// Whether everything was offered and has its outcome, so that only the goodbye is missing.
    pub fn is_done(&self) -> bool {
        let queue = self.queue.lock();
        queue.finished && queue.files.is_empty()
    }

    pub fn begin(&self, file: FileId, against: Against) -> Result<Arc<Attempt>, PeerMisbehaved> {
        let mut queue = self.queue.lock();
        let entry = queue.files.get_mut(&file).ok_or(PeerMisbehaved::UnknownFile(file.0))?;
        if !entry.file.item.has_content() {
            let got = "a wish for the bytes of what is no file";
            return Err(PeerMisbehaved::Unexpected { got, expected: "its outcome" });
        }
        // An existing file may turn out to be another one, and then there is a second answer.
        if entry.attempt.as_ref().is_some_and(|a| a.against == Against::Part || against == Against::Existing)
        {
            return Err(PeerMisbehaved::Unexpected {
                got: "a second answer",
                expected: "one for each offer",
            });
        }
        if let Some(attempt) = &entry.attempt {
            attempt.end();
        }
        let attempt = Arc::new(Attempt::new(entry.file.clone(), against));
        // What the receiver has not heard yet.
        if entry.file.withdrawn.get().is_some() {
            attempt.end();
        }
        entry.attempt = Some(attempt.clone());
        Ok(attempt)
    }

    /// The attempt that chunks are announced for; `None` where they no longer matter.
    pub fn announced(
        &self,
        file: FileId,
        first: ChunkIndex,
        count: u64,
    ) -> Result<Option<Arc<Attempt>>, PeerMisbehaved> {
        let queue = self.queue.lock();
        let entry = queue.files.get(&file).ok_or(PeerMisbehaved::UnknownFile(file.0))?;
        if entry.file.layout.is_open() {
            return Err(PeerMisbehaved::Unexpected { got: "chunks of a stream", expected: "its outcome" });
        }
        let end = first.0.checked_add(count);
        if count == 0 || end.is_none_or(|end| end > entry.file.layout.chunks()) {
            return Err(PeerMisbehaved::WrongChunk { file: file.0, chunk: first.0 });
        }
        match &entry.attempt {
            Some(attempt) => Ok((!attempt.is_over()).then(|| attempt.clone())),
            None => Err(PeerMisbehaved::Unexpected { got: "chunks", expected: "an answer to the offer" }),
        }
    }

    pub fn enqueue_missing(&self, attempt: Arc<Attempt>, first: ChunkIndex, count: u64) -> Result<(), End> {
        if attempt.against == Against::Existing {
            let got = "missing chunks of an existing file";
            return Err(PeerMisbehaved::Unexpected { got, expected: "a wish for their values" }.into());
        }
        let mut queue = self.queue.lock();
        if queue.send.len() >= RUNS_QUEUED_MAX + COMPARED_QUEUED_MAX {
            return Err(
                PeerMisbehaved::TooMany { what: "stretches of chunks", limit: RUNS_QUEUED_MAX }.into()
            );
        }
        queue.send.push_back(Arc::new(Run::missing(attempt, first, count)));
        drop(queue);
        self.wake_for(count);
        Ok(())
    }

    pub fn enqueue_hash(&self, attempt: Arc<Attempt>, first: ChunkIndex, count: u64) -> Result<(), End> {
        let mut queue = self.queue.lock();
        if queue.compare.len() >= COMPARED_QUEUED_MAX {
            let what = "stretches of chunks to compare";
            return Err(PeerMisbehaved::TooMany { what, limit: COMPARED_QUEUED_MAX }.into());
        }
        queue.compare.push_back(Arc::new(Run::to_hash(attempt, first, count)));
        drop(queue);
        self.to_compare.notify_one();
        self.wake_for(count);
        Ok(())
    }

    /// The next chunk of `held`, which is exchanged for the next run with its kind of work where it has none.
    /// Calls `idle` before waiting, so that nothing lies unflushed meanwhile. `None` once the session, or the
    /// worker's own connection, is closed, or the connection is one too many.
    pub fn next(
        &self,
        held: &mut Option<Arc<Run>>,
        work: Work,
        connection: Option<&DataConnection>,
        mut idle: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Option<Dealt>> {
        loop {
            if connection.is_some_and(DataConnection::is_retired) {
                self.to_send.notify_one();
                return Ok(None);
            }
            if let Some(dealt) = held.as_ref().and_then(|run| run.deal(self.dealt_together)) {
                return Ok(Some(dealt));
            }
            *held = None;
            let mut queue = self.queue.lock();
            let mut flushed = false;
            *held = loop {
                if queue.closed || connection.is_some_and(|own| own.is_closed() || own.is_retired()) {
                    // It may have been the one who was told of a chunk.
                    self.to_send.notify_one();
                    return Ok(None);
                }
                if let Some(run) = queue.front(work) {
                    break Some(run);
                }
                if flushed {
                    match work {
                        Work::All => self.to_send.wait(&mut queue),
                        Work::Compare => self.to_compare.wait(&mut queue),
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

    /// Chunks that were not hashed, as they could not be sent.
    pub fn resend(&self, attempt: &Arc<Attempt>, dealt: Dealt) {
        let run = Run::missing(attempt.clone(), dealt.first, dealt.count);
        self.queue.lock().send.push_back(Arc::new(run));
        self.to_send.notify_one();
    }

    /// Chunks that were hashed and did not arrive.
    pub fn deal_again(&self, attempt: &Arc<Attempt>, dealt: Dealt) {
        if !attempt.is_over() {
            // In front: the receiver may wait for just this one to finish a file.
            self.queue.lock().send.push_front(Arc::new(Run::again(attempt.clone(), dealt)));
            self.to_send.notify_one();
        }
    }

    /// A chunk whose value was said is to be sent after all.
    pub fn chunk_differs(&self, attempt: &Arc<Attempt>, chunk: ChunkIndex) -> Result<(), End> {
        if attempt.against == Against::Existing {
            let got = "a chunk of an existing file that differs";
            return Err(PeerMisbehaved::Unexpected { got, expected: "another answer" }.into());
        }
        if self.queue.lock().send.len() >= RUNS_QUEUED_MAX + COMPARED_QUEUED_MAX {
            return Err(
                PeerMisbehaved::TooMany { what: "chunks that differ", limit: COMPARED_QUEUED_MAX }.into()
            );
        }
        // It was counted when its value was said; no more than once, whatever the receiver says.
        let _ =
            attempt.there.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |there| there.checked_sub(1));
        self.deal_again(attempt, Dealt::one(chunk));
        Ok(())
    }
}
