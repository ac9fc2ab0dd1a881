//! The sender's side of a session: what it offers, what is asked of it, and what its workers do next.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::line::Line;
use super::pace::Pace;
use super::run::{Attempt, Outgoing, Run};
use super::stages::Stages;
use super::{End, Ending, Observer, Outbox, PeerMisbehaved, Progress};
use crate::chunk::{ChunkIndex, FileId};
use crate::limits::{
    COMPARERS_MAX, CONNECTIONS_MAX, FILES_IN_FLIGHT_MAX, LARGE_FILES_IN_FLIGHT_MAX, OFFERS_WAKE_FILES,
    RUNS_QUEUED_MAX, VALUES_IN_FLIGHT_MAX, VALUES_PER_MESSAGE_MAX,
};
use crate::protocol::message::{Against, ReceiverMessage, SenderMessage};
use crate::protocol::spent::Spent;
use crate::source::{Item, SharedReader};
use crate::tree::ChunkValue;

/// Chaining values queued at once: what an honest receiver announces for every large file under way.
const VALUES_QUEUED_MAX: usize = LARGE_FILES_IN_FLIGHT_MAX
    * (VALUES_IN_FLIGHT_MAX + COMPARERS_MAX * VALUES_PER_MESSAGE_MAX)
    + FILES_IN_FLIGHT_MAX;

/// Which work a thread takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// Chunks to send, and where there are none, chunks to compare.
    All,
    /// Chunks to compare.
    Compare,
}

/// The sender's side of a session, shared by its threads.
pub struct Sending {
    pub(super) queue: Mutex<Queue>,
    /// Waited on by those who send, for chunks. One waiter is told of one chunk: to wake all of them for each of many
    /// small files would cost more than sending it.
    pub(super) to_send: Condvar,
    /// By those who only compare.
    pub(super) to_compare: Condvar,
    /// By whoever offers, for room and outcomes.
    pub(super) settled: Condvar,
    /// The data connections that have not ended, by number.
    pub(super) lines: Mutex<HashMap<u32, Arc<Line>>>,
    /// How many of them the receiver allows at present.
    pub(super) share: AtomicU8,
    /// Told when one of them has ended, or another number is allowed.
    pub lines_changed: Notify,
    pub(super) outbox: Outbox<SenderMessage>,
    pub(super) observer: Arc<dyn Observer>,
    pub progress: Arc<Progress>,
    /// All folders were walked through: what is not offered yet has no bytes.
    pub(super) walked: AtomicBool,
    /// Nothing is to be stored.
    pub(super) dry_run: bool,
    /// How fast chunks may go, where the user has set that.
    pub(super) pace: Option<Arc<Pace>>,
    /// A stream was offered: what was read of it cannot be read again for another session.
    pub reads_once: AtomicBool,
    /// What is read for several receivers, where there are several.
    pub(super) shared: Option<Arc<SharedReader>>,
    /// The receiver takes a file in order: what it has taken it cannot take back, so no other session can go on from there.
    pub in_order: AtomicBool,
    /// Bytes of content written to data connections.
    pub sent: AtomicU64,
    /// What the threads of this side do with their time.
    pub stages: Stages,
    /// What those of the receiver did, once it has said so.
    pub theirs: OnceLock<Spent>,
    pub ending: Ending,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) send: VecDeque<Arc<Run>>,
    compare: VecDeque<Arc<Run>>,
    pub(super) files: HashMap<FileId, Entry>,
    pub(super) offered: u64,
    pub(super) large: usize,
    /// The file that is a stream.
    pub(super) stream: Option<FileId>,
    /// Whoever offers waits for room.
    pub(super) full: bool,
    pub(super) finished: bool,
    pub(super) closed: bool,
}

pub(super) struct Entry {
    pub(super) file: Arc<Outgoing>,
    pub(super) attempt: Option<Arc<Attempt>>,
    /// How far a receiver that takes it in order has asked for it; 0 for any other.
    pub(super) asked_up_to: u64,
    /// Of a stream: how far it is queued.
    pub(super) queued: u64,
}

impl Queue {
    /// The first run with chunks left to deal.
    pub(super) fn front(&mut self, lanes: Lanes) -> Option<Arc<Run>> {
        fn live(lane: &mut VecDeque<Arc<Run>>) -> Option<Arc<Run>> {
            while lane.front()?.is_exhausted() {
                lane.pop_front();
            }
            lane.front().cloned()
        }
        let to_send = if lanes == Lanes::All { live(&mut self.send) } else { None };
        to_send.or_else(|| live(&mut self.compare))
    }

    /// Whether everything was offered and no chunk waits to be dealt.
    pub(super) fn is_dealt(&mut self) -> bool {
        self.finished && self.stream.is_none() && self.front(Lanes::All).is_none()
    }

    /// Whether more than so many chunks wait to be dealt.
    pub(super) fn has_more_than(&self, chunks: usize) -> bool {
        let runs = self.send.iter().take(chunks + 1);
        runs.map(|run| run.left()).fold(0, u64::saturating_add) > chunks as u64
    }

    pub(super) fn has_room_for(&self, large: bool) -> bool {
        self.files.len() < FILES_IN_FLIGHT_MAX && !(large && self.large >= LARGE_FILES_IN_FLIGHT_MAX)
    }

    /// Whether an outcome is worth telling whoever offers: room for one file of thousands is not.
    pub(super) fn is_worth_offering(&mut self, had_large: bool) -> bool {
        let ample = had_large || self.files.len() <= FILES_IN_FLIGHT_MAX - OFFERS_WAKE_FILES;
        let worth = !self.full || ample;
        self.full &= !worth;
        worth
    }
}

impl Sending {
    pub fn new(
        outbox: Outbox<SenderMessage>,
        observer: Arc<dyn Observer>,
        progress: Arc<Progress>,
        dry_run: bool,
        pace: Option<Arc<Pace>>,
    ) -> Sending {
        Sending {
            queue: Mutex::default(),
            to_send: Condvar::new(),
            to_compare: Condvar::new(),
            settled: Condvar::new(),
            lines: Mutex::default(),
            share: AtomicU8::new(CONNECTIONS_MAX),
            lines_changed: Notify::new(),
            outbox,
            observer,
            progress,
            walked: AtomicBool::new(false),
            dry_run,
            pace,
            reads_once: AtomicBool::new(false),
            shared: None,
            in_order: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            stages: Stages::default(),
            theirs: OnceLock::new(),
            ending: Ending::default(),
        }
    }

    /// Sends every thread of this session home. Returns what has no outcome, in the order of the offers.
    pub fn close(&self) -> Vec<Arc<Item>> {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let mut rest: Vec<(FileId, Entry)> = queue.files.drain().collect();
        drop(queue);
        for waiting in [&self.to_send, &self.to_compare, &self.settled] {
            waiting.notify_all();
        }
        if let Some(shared) = &self.shared {
            shared.lost();
        }
        rest.sort_by_key(|(id, _)| *id);
        rest.into_iter().map(|(_, entry)| entry.file.item.clone()).collect()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    /// Whether everything was offered and has its outcome, so that only the goodbye is missing.
    pub fn is_done(&self) -> bool {
        let queue = self.queue.lock();
        queue.finished && queue.files.is_empty()
    }

    /// Hears what the receiver says.
    ///
    /// # Errors
    /// The [`End`] of the session: [`End::Complete`] when all is said, [`End::PeerLeft`], or [`End::Misbehaved`].
    pub fn handle(&self, message: ReceiverMessage) -> Result<(), End> {
        match message {
            ReceiverMessage::Welcome { .. }
            | ReceiverMessage::CodeWanted
            | ReceiverMessage::Pake { .. }
            | ReceiverMessage::Proof { .. }
            | ReceiverMessage::Barred(_)
            | ReceiverMessage::Waiting(_)
            | ReceiverMessage::Speeds { .. } => {
                let got = "a part of the greeting";
                Err(PeerMisbehaved::Unexpected { got, expected: "an answer" }.into())
            }
            ReceiverMessage::Send { file } => {
                let attempt = self.begin(file, Against::Part)?;
                if attempt.file.layout.is_open() {
                    self.want_stream(file, u64::MAX);
                    return Ok(());
                }
                let chunks = attempt.file.layout.chunks();
                self.enqueue_missing(attempt, ChunkIndex(0), chunks)
            }
            ReceiverMessage::SendUpTo { file, end } => self.send_up_to(file, end),
            ReceiverMessage::Compare { file, against } => Ok(self.compare(file, against)?),
            ReceiverMessage::Missing { file, first, count } => {
                let Some(attempt) = self.announced(file, first, count)? else { return Ok(()) };
                self.enqueue_missing(attempt, first, count)
            }
            ReceiverMessage::Values { file, first, values } => {
                let Some(attempt) = self.announced(file, first, values.len() as u64)? else { return Ok(()) };
                self.enqueue_compare(attempt, first, values)
            }
            ReceiverMessage::Outcome { file, outcome } => self.outcome(file, outcome),
            ReceiverMessage::Progress { written, kept } => {
                self.progress.written.store(written, Ordering::Relaxed);
                self.progress.kept.store(kept, Ordering::Relaxed);
                Ok(())
            }
            ReceiverMessage::Confirmed { connection, frames } => Ok(self.line_confirmed(connection, frames)?),
            ReceiverMessage::HungUp { connection, frames } => Ok(self.line_hung_up(connection, frames)?),
            ReceiverMessage::Share { connections } => {
                self.set_share(connections);
                Ok(())
            }
            ReceiverMessage::Spent(spent) => {
                // Said twice the second is of no interest.
                let _ = self.theirs.set(spent);
                Ok(())
            }
            ReceiverMessage::Leave { text } => Err(End::PeerLeft(text)),
            ReceiverMessage::Away => Err(End::Away),
            ReceiverMessage::Bye => {
                let queue = self.queue.lock();
                if queue.finished && queue.files.is_empty() {
                    return Err(End::Complete);
                }
                Err(PeerMisbehaved::Unexpected { got: "a goodbye", expected: "the outcome of each file" }
                    .into())
            }
        }
    }

    pub(super) fn begin(&self, file: FileId, against: Against) -> Result<Arc<Attempt>, PeerMisbehaved> {
        let mut queue = self.queue.lock();
        let entry = queue.files.get_mut(&file).ok_or(PeerMisbehaved::UnknownFile(file.0))?;
        if !entry.file.item.has_content() {
            let got = "a wish for the bytes of what is no file";
            return Err(PeerMisbehaved::Unexpected { got, expected: "its outcome" });
        }
        if entry.attempt.as_ref().is_some_and(|a| !a.is_over() || a.against == Against::Part) {
            return Err(PeerMisbehaved::Unexpected {
                got: "a second answer",
                expected: "one for each offer",
            });
        }
        let attempt = Arc::new(Attempt::new(entry.file.clone(), against));
        entry.attempt = Some(attempt.clone());
        Ok(attempt)
    }

    /// The attempt that chunks are announced for; `None` where they no longer matter.
    fn announced(
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

    pub(super) fn enqueue_missing(
        &self,
        attempt: Arc<Attempt>,
        first: ChunkIndex,
        count: u64,
    ) -> Result<(), End> {
        if attempt.against == Against::Existing {
            let got = "missing chunks of an existing file";
            return Err(PeerMisbehaved::Unexpected { got, expected: "their values" }.into());
        }
        // Before a worker can ask for one of them.
        self.will_share(&attempt, first, count);
        let mut queue = self.queue.lock();
        if queue.send.len() >= RUNS_QUEUED_MAX + VALUES_QUEUED_MAX {
            return Err(
                PeerMisbehaved::TooMany { what: "stretches of chunks", limit: RUNS_QUEUED_MAX }.into()
            );
        }
        queue.send.push_back(Arc::new(Run::missing(attempt, first, count)));
        drop(queue);
        match count {
            1 => drop(self.to_send.notify_one()),
            _ => drop(self.to_send.notify_all()),
        }
        Ok(())
    }

    fn enqueue_compare(
        &self,
        attempt: Arc<Attempt>,
        first: ChunkIndex,
        values: Vec<ChunkValue>,
    ) -> Result<(), End> {
        let mut queue = self.queue.lock();
        if queue.compare.len() >= VALUES_QUEUED_MAX {
            return Err(PeerMisbehaved::TooMany { what: "values", limit: VALUES_QUEUED_MAX }.into());
        }
        queue.compare.push_back(Arc::new(Run::to_compare(attempt, first, values)));
        drop(queue);
        self.to_compare.notify_one();
        self.to_send.notify_all();
        Ok(())
    }
}
