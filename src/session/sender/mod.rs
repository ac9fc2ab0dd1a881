//! The sender's side of a session: what it offers, what is asked of it, and what its workers do next.

pub mod attempt;
pub mod compress;
pub mod dealer;
pub mod lanes;
pub mod ramp_up;
pub mod worker;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::rate_limit::Pace;
use super::snapshot::{FileUnderWay, Scene, UnderWay};
use super::stage_clock::Stages;
use crate::cache::Cache;
use crate::content::chunk::{ChunkIndex, FileId, Layout};
use crate::content::entry::Outcome;
use crate::content::tree::Hash;
use crate::limits::{
    COMPARED_AT_ONCE_MAX, CONNECTIONS_MAX, FILES_IN_FLIGHT_MAX, LARGE_FILES_IN_FLIGHT_MAX, OBSERVER_LOOK,
    OFFERS_BYTES_MIN, OFFERS_WAKE_FILES, OFFERS_WAKE_PART, RUNS_QUEUED_MAX,
};
use crate::name::Name;
use crate::session::ending::{End, Ending, PeerMisbehaved};
use crate::session::outbox::Outbox;
use crate::session::progress::Progress;
use crate::session::report::{FileReport, FileStatus, Observer, ReportKind};
use crate::source::{Feed, Item, Next, Reached, SharedReader, Stream, Trouble, What};
use crate::wire::message::{Against, Offer, ReceiverMessage, SenderMessage};
use crate::wire::stage_times::Spent;
use attempt::{Attempt, Dealt, Outgoing, Run};
use compress::Present;
use lanes::Line;

/// Stretches of chunks to hash that are queued at once: what an honest receiver compares of all files under way. Of large ones
/// as many may turn out to differ, and are to be sent.
const COMPARED_QUEUED_MAX: usize = LARGE_FILES_IN_FLIGHT_MAX * COMPARED_AT_ONCE_MAX + FILES_IN_FLIGHT_MAX;

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
    /// Whether it was told that further names become files.
    unlinked: AtomicBool,
    /// What chunks are compressed with at present.
    pub compress: Present,
    /// Where hashes of files are remembered.
    pub cache: Option<Arc<Cache>>,
    /// Whether the receiver is told what is remembered, instead of having the files read.
    pub trusts_cache: bool,
    /// How many chunks of a hole the receiver takes in one frame.
    pub dealt_together: u64,
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

pub(super) struct Queue {
    pub(super) send: VecDeque<Arc<Run>>,
    compare: VecDeque<Arc<Run>>,
    pub(super) files: HashMap<FileId, Entry>,
    pub(super) offered: u64,
    pub(super) large: usize,
    /// What the open offers weigh, and may weigh at the receiver.
    bytes: usize,
    bytes_max: usize,
    /// The file that is a stream.
    pub(super) stream: Option<FileId>,
    /// Whoever offers waits for room.
    pub(super) full: bool,
    pub(super) finished: bool,
    pub(super) closed: bool,
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

pub(super) struct Entry {
    pub(super) file: Arc<Outgoing>,
    /// What its offer weighs.
    weight: usize,
    pub(super) attempt: Option<Arc<Attempt>>,
    /// How far a receiver that takes it in order has asked for it; 0 for any other.
    pub(super) asked_up_to: u64,
    /// Of a stream: how far it is queued.
    pub(super) queued: u64,
}

impl Entry {
    /// The hash of the file, once it is known that the receiver may have it.
    fn root(&self) -> Option<Hash> {
        self.attempt.as_ref()?.root.get().copied()
    }
}

impl Scene for Sending {
    fn under_way(&self, most: usize) -> UnderWay {
        let (connections, walked) = (self.lines(), self.walked.load(Ordering::Relaxed));
        let queue = self.queue.lock();
        let begun = queue.files.values().filter_map(|entry| {
            let attempt = entry.attempt.as_ref().filter(|_| entry.file.is_large())?;
            Some((entry.file.clone(), attempt.there.load(Ordering::Relaxed)))
        });
        let mut begun: Vec<(Arc<Outgoing>, u64)> = begun.collect();
        let (all, finished) = (queue.files.len(), queue.finished);
        drop(queue);
        begun.sort_unstable_by_key(|(file, _)| file.id);
        begun.truncate(most);
        let shown = |(file, there): (Arc<Outgoing>, u64)| {
            Some(FileUnderWay::new(file.item.path.clone()?, there, file.layout))
        };
        let files: Vec<FileUnderWay> = begun.into_iter().filter_map(shown).collect();
        UnderWay {
            connections,
            others: all.saturating_sub(files.len()),
            files,
            all_offered: finished || walked,
        }
    }
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

    fn has_room_for(&self, large: bool, weight: usize) -> bool {
        self.files.len() < FILES_IN_FLIGHT_MAX
            && self.bytes + weight <= self.bytes_max
            && !(large && self.large >= LARGE_FILES_IN_FLIGHT_MAX)
    }

    /// Whether an outcome is worth telling whoever offers: room for one file of thousands is not.
    fn is_worth_offering(&mut self, had_large: bool) -> bool {
        let ample = self.files.len() <= FILES_IN_FLIGHT_MAX - OFFERS_WAKE_FILES
            && self.bytes <= self.bytes_max - self.bytes_max / OFFERS_WAKE_PART;
        let ample = had_large || ample;
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
            unlinked: AtomicBool::new(false),
            compress: Present::default(),
            cache: None,
            trusts_cache: false,
            dealt_together: 1,
            reads_once: AtomicBool::new(false),
            shared: None,
            in_order: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            stages: Stages::default(),
            theirs: OnceLock::new(),
            ending: Ending::default(),
        }
    }

    /// What the open offers may weigh at the receiver.
    pub fn set_offers_bytes(&self, bytes: usize) {
        self.queue.lock().bytes_max = bytes;
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
            ReceiverMessage::Compare { file, against } => self.compare(file, against),
            ReceiverMessage::Missing { file, first, count } => {
                let Some(attempt) = self.announced(file, first, count)? else { return Ok(()) };
                self.enqueue_missing(attempt, first, count)
            }
            ReceiverMessage::Hash { file, first, count } => {
                let Some(attempt) = self.announced(file, first, count)? else { return Ok(()) };
                self.enqueue_hash(attempt, first, count)
            }
            ReceiverMessage::Differs { file, chunk } => {
                let Some(attempt) = self.announced(file, chunk, 1)? else { return Ok(()) };
                self.chunk_differs(&attempt, chunk)
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
            ReceiverMessage::Misplaced { text } => Err(End::Misplaced(text)),
            ReceiverMessage::Revoked => Err(End::Revoked),
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
            return Err(PeerMisbehaved::Unexpected { got, expected: "a wish for their values" }.into());
        }
        // Before a worker can ask for one of them.
        self.will_share(&attempt, first, count);
        let mut queue = self.queue.lock();
        if queue.send.len() >= RUNS_QUEUED_MAX + COMPARED_QUEUED_MAX {
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

    fn enqueue_hash(&self, attempt: Arc<Attempt>, first: ChunkIndex, count: u64) -> Result<(), End> {
        let mut queue = self.queue.lock();
        if queue.compare.len() >= COMPARED_QUEUED_MAX {
            let what = "stretches of chunks to compare";
            return Err(PeerMisbehaved::TooMany { what, limit: COMPARED_QUEUED_MAX }.into());
        }
        queue.compare.push_back(Arc::new(Run::to_hash(attempt, first, count)));
        drop(queue);
        self.to_compare.notify_one();
        match count {
            1 => drop(self.to_send.notify_one()),
            _ => drop(self.to_send.notify_all()),
        }
        Ok(())
    }

    /// A chunk whose value was said is to be sent after all.
    fn chunk_differs(&self, attempt: &Arc<Attempt>, chunk: ChunkIndex) -> Result<(), End> {
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

// What a sender offers, and what becomes of it.

impl Sending {
    /// Offers an item; waits while as many as may be are under way.
    ///
    /// # Errors
    /// The item, once the session is closed.
    pub fn offer(&self, item: Arc<Item>) -> Result<(), Arc<Item>> {
        let mut offer = Offer {
            file: FileId(0),
            kind: item.kind(),
            metadata: item.metadata.clone(),
            path: item.path.as_ref().map_or(Vec::new(), |path| path.as_bytes().to_vec()),
        };
        let (large, weight) = (!item.layout().is_single(), offer.weight());
        let remembered = self.cache.as_ref().filter(|_| self.trusts_cache).and_then(|cache| {
            let key = item.source()?.key(cache)?;
            cache.get(&key)
        });
        let mut queue = self.queue.lock();
        while !queue.closed && !queue.has_room_for(large, weight) {
            queue.full = true;
            self.settled.wait(&mut queue);
        }
        if queue.closed {
            return Err(item);
        }
        offer.file = FileId(queue.offered);
        let file = Outgoing::new(offer.file, item, remembered);
        if file.layout.is_open() {
            queue.stream = Some(file.id);
            self.reads_once.store(true, Ordering::Relaxed);
            self.progress.stream_began();
        }
        queue.offered += 1;
        queue.large += usize::from(large);
        queue.bytes += weight;
        let file = Arc::new(file);
        queue.files.insert(file.id, Entry { file, weight, attempt: None, asked_up_to: 0, queued: 0 });
        drop(queue);
        Progress::add(&self.progress.offered, offer.kind.size());
        if let Some(hash) = remembered {
            self.outbox.send(&SenderMessage::Remembered { file: offer.file, hash });
        }
        self.outbox.send(&SenderMessage::Offer(offer));
        Ok(())
    }

    /// What `feed` has next; waits for outcomes where it depends on them, and for the observer. `None` once the session is closed.
    pub fn next_of(&self, feed: &mut Feed) -> Option<Next> {
        while !self.observer.keeps_up() {
            let mut queue = self.queue.lock();
            if queue.closed {
                return None;
            }
            self.settled.wait_for(&mut queue, OBSERVER_LOOK);
        }
        // Reads folders, so not under the lock that every worker takes.
        match feed.next() {
            Next::Later => self.walked.store(true, Ordering::Relaxed),
            next => return Some(next),
        }
        let mut queue = self.queue.lock();
        loop {
            if queue.closed {
                return None;
            }
            // The walk is over by now. Asked again under the lock, as what it waits for may just have come.
            match feed.next() {
                Next::Later => self.settled.wait(&mut queue),
                next => return Some(next),
            }
        }
    }

    /// Everything has been offered.
    pub fn finish(&self) {
        let mut queue = self.queue.lock();
        queue.finished = true;
        let files = queue.offered;
        drop(queue);
        self.outbox.send(&SenderMessage::Finish { files });
    }

    /// Tells the user of something that cannot be offered.
    pub fn tell(&self, trouble: &Trouble) {
        self.observer.unsent(trouble);
    }

    /// Tells the user that large packets are lost on the way.
    pub fn large_lost(&self) {
        self.observer.large_lost();
    }

    pub(super) fn outcome(&self, file: FileId, outcome: Outcome) -> Result<(), End> {
        let mut queue = self.queue.lock();
        let entry = queue.files.remove(&file).ok_or(PeerMisbehaved::UnknownFile(file.0))?;
        let was_large = entry.file.is_large();
        queue.large -= usize::from(was_large);
        queue.bytes -= entry.weight;
        drop(queue);
        if let Some(attempt) = &entry.attempt {
            attempt.end();
        }
        // Nobody needs the length any more.
        if entry.file.layout.is_open() && entry.file.length.set(None).is_ok() {
            self.progress.stream_ended(0);
        }
        self.shares_no_more(&entry.file.item);
        match outcome {
            Outcome::Unlinked { unable } if entry.file.item.become_a_file() => {
                if unable {
                    self.tell_unlinked(&entry.file.item);
                }
            }
            outcome => {
                let status = status(&entry, outcome, self.dry_run)?;
                self.remember(&entry, &status);
                Progress::add(&self.progress.files_done, 1);
                Progress::add(&self.progress.bytes_done, entry.file.size().unwrap_or_default());
                if let Some(report) = report(&entry, status.clone()) {
                    self.observer.file(&report);
                }
                settle(&entry.file.item, &status);
            }
        }
        drop(entry);
        // What waited for this has come out of the feed by now, and whoever waits for the feed looks at it under the lock.
        let worth = self.queue.lock().is_worth_offering(was_large);
        if worth {
            self.settled.notify_all();
        }
        Ok(())
    }
}

impl Sending {
    /// Remembers the hash of a file that was read and stood still meanwhile.
    fn remember(&self, entry: &Entry, status: &FileStatus) {
        if let (Some(cache), Some(hash), Some(source)) = (&self.cache, entry.root(), entry.file.item.source())
            && !matches!(status, FileStatus::Failed(_))
        {
            cache.remember_read(source.key(cache), hash, entry.file.since);
        }
    }

    /// Says once that further names become files.
    fn tell_unlinked(&self, item: &Item) {
        if let Some(path) = &item.path
            && !self.unlinked.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "{path} becomes a file of its own, as do others like it: the receiver's file system gives a file no further name"
            );
        }
    }
}

fn status(entry: &Entry, outcome: Outcome, dry_run: bool) -> Result<FileStatus, PeerMisbehaved> {
    let unexpected = |got, expected| PeerMisbehaved::Unexpected { got, expected };
    let file = &*entry.file;
    let remembered = outcome == Outcome::Remembered;
    let hashed = match remembered {
        true => file.remembered.is_some() && entry.attempt.is_none(),
        false => !file.item.has_content() || entry.root().is_some(),
    };
    Ok(match (outcome, file.withdrawn.get()) {
        (Outcome::Failed(_), Some(ours)) => FileStatus::Failed(ours.clone()),
        (Outcome::Failed(theirs), None) => FileStatus::Failed(theirs),
        (Outcome::Wanted, _) if dry_run => FileStatus::Wanted,
        (Outcome::Wanted, _) => return Err(unexpected("a mere wish", "an outcome")),
        (Outcome::Unlinked { .. }, _) => return Err(unexpected("no link", "that for a further name only")),
        _ if !hashed => return Err(unexpected("a success", "none before the file's hash")),
        (Outcome::Stored, _) if dry_run => return Err(unexpected("a stored file", "none in a dry run")),
        (Outcome::Stored, _) => FileStatus::Stored,
        (Outcome::Identical, _) => FileStatus::Identical,
        (Outcome::Remembered, _) => FileStatus::Remembered,
        (Outcome::Renamed(name), _) => FileStatus::Renamed(
            Name::from_wire(&name).map_err(|_| unexpected("a new name that is none", "a file name"))?,
        ),
    })
}

/// What to tell of it; nothing of the destination itself, which nobody sent, and of a folder when all in it is there.
fn report(entry: &Entry, status: FileStatus) -> Option<FileReport> {
    let (item, size) = (&entry.file.item, entry.file.size());
    let hash = entry.root().or(entry.file.remembered.filter(|_| matches!(status, FileStatus::Remembered)));
    let kind = match item.what {
        What::File(_) | What::Stream(_) => ReportKind::File,
        What::Folder => ReportKind::Folder,
        What::ParentFolder => return None,
        What::Symlink { .. } => ReportKind::Symlink,
        What::HardLink { .. } => ReportKind::HardLink,
    };
    let size = size.filter(|_| kind == ReportKind::File);
    let (path, item) = (item.path.clone()?, item.clone());
    Some(FileReport { path, kind, named: item.named, size, hash, status, item: Some(item) })
}

/// Lets out of the feed what waited for the item.
fn settle(item: &Item, status: &FileStatus) {
    let path = item.path.as_ref();
    let renamed = match status {
        FileStatus::Renamed(name) => path.map(|path| path.with_name(name)),
        _ => None,
    };
    match status {
        FileStatus::Failed(_) => item.done(None),
        _ => item.done(renamed.as_ref().or(path)),
    }
}

// What a sender tells those that send the same to other receivers.

impl Sending {
    /// The same for one of several receivers.
    pub fn sharing(mut self, shared: Option<Arc<SharedReader>>) -> Sending {
        if let Some(shared) = &shared {
            shared.begin();
        }
        self.shared = shared;
        self
    }

    /// The receiver wants these chunks, and other receivers may, too; none where it only compares for now.
    pub(super) fn will_share(&self, attempt: &Attempt, first: ChunkIndex, count: u64) {
        if let (Some(shared), Some(source)) = (&self.shared, attempt.file.item.source()) {
            shared.wants(source, first, count);
        }
    }

    /// The receiver needs no more of the item.
    pub(super) fn shares_no_more(&self, item: &Item) {
        if let (Some(shared), Some(source)) = (&self.shared, item.source()) {
            shared.over(source);
        }
    }
}

// What is not sent all at once: a file that the receiver takes in order, as far as it has asked for it; and a stream, whose
// chunks are queued as they are read, and whose length is told when it has ended.

impl Sending {
    /// Hears of all that comes of `stream`, also before it is offered.
    pub fn follow(self: &Arc<Self>, stream: &Stream) {
        // The stream may outlive the session.
        let sending = Arc::downgrade(self);
        stream.attach(move || {
            if let Some(sending) = sending.upgrade() {
                sending.stream_grew();
            }
        });
    }

    /// Has something of the file to be compared; of a stream nobody has.
    pub(super) fn compare(&self, file: FileId, against: Against) -> Result<(), End> {
        let attempt = self.begin(file, against)?;
        let layout = attempt.file.layout;
        if layout.is_open() || (layout.is_single() && against == Against::Part) {
            let got = "a comparison of a stream, or of part of one chunk";
            return Err(PeerMisbehaved::Unexpected { got, expected: "a wish for all of it" }.into());
        }
        self.will_share(&attempt, ChunkIndex(0), 0);
        match layout.is_single() {
            true => self.enqueue_hash(attempt, ChunkIndex(0), 1),
            false => Ok(()),
        }
    }

    /// Sends a file as far as the receiver has asked for it.
    pub(super) fn send_up_to(&self, file: FileId, end: ChunkIndex) -> Result<(), End> {
        let mut queue = self.queue.lock();
        let entry = queue.files.get_mut(&file).ok_or(PeerMisbehaved::UnknownFile(file.0))?;
        let layout = entry.file.layout;
        let first = std::mem::replace(&mut entry.asked_up_to, end.0);
        if layout.is_single() || end.0 <= first || end.0 > layout.chunks() {
            return Err(PeerMisbehaved::WrongChunk { file: file.0, chunk: end.0 }.into());
        }
        let attempt = entry.attempt.clone().filter(|_| first > 0);
        drop(queue);
        let attempt = match attempt {
            Some(attempt) => attempt,
            None => self.begin(file, Against::Part)?,
        };
        self.in_order.store(true, Ordering::Relaxed);
        if layout.is_open() {
            self.want_stream(file, end.0);
            return Ok(());
        }
        if first == 0 {
            self.will_share(&attempt, ChunkIndex(0), layout.chunks());
        }
        self.enqueue_missing(attempt, ChunkIndex(first), end.0 - first)
    }

    /// The receiver wants the stream as far as chunk `end`.
    pub(super) fn want_stream(&self, file: FileId, end: u64) {
        if let Some(entry) = self.queue.lock().files.get_mut(&file) {
            entry.asked_up_to = end;
        }
        self.stream_grew();
    }

    /// More is known of the stream, or more of it is wanted.
    fn stream_grew(&self) {
        let wanted = self.queue.lock().queue_stream();
        // Whoever offers waits until it is known what to offer.
        self.settled.notify_all();
        let Some((attempt, queued, reached)) = wanted else { return };
        match queued {
            0 => {}
            1 => drop(self.to_send.notify_one()),
            _ => drop(self.to_send.notify_all()),
        }
        match reached.end {
            Some(Ok(bytes)) => self.stream_ended(&attempt, bytes),
            Some(Err(error)) => self.withdraw(&attempt, &error),
            None => {}
        }
    }

    fn stream_ended(&self, attempt: &Attempt, bytes: u64) {
        let file = &attempt.file;
        if attempt.is_over() || file.length.set(Some(bytes)).is_err() {
            return;
        }
        self.progress.stream_ended(bytes);
        // Before the hash, which whoever hashes the last chunk may say from now on.
        self.outbox.send(&SenderMessage::Length { file: file.id, bytes });
        // A stream was offered only because it has two chunks, and each was read once.
        if let Ok(Some(hash)) = attempt.tree.lock().close(Layout::new(bytes)) {
            self.say_root(attempt, hash);
        }
    }
}

impl Queue {
    /// Queues what was read of the stream and is wanted. Returns how many chunks that were, and how far it was read, once it
    /// is wanted at all.
    fn queue_stream(&mut self) -> Option<(Arc<Attempt>, u64, Reached)> {
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
