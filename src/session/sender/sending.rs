//! The sender's side of a session: what it offers, what it hears of that, and what it says to the receiver.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::attempt::{Attempt, Outgoing};
use super::compress::{Compress, Present};
use super::dealer::{Dealer, Entry};
use super::lanes::DataConnections;
use crate::cache::Cache;
use crate::content::chunk::{ChunkIndex, FileId, Layout};
use crate::content::entry::{Cause, Failure, Outcome};
use crate::content::tree::{ChunkValue, Hash, Subtree};
use crate::limits::OBSERVER_LOOK;
use crate::name::Name;
use crate::session::ending::{End, Ending, PeerMisbehaved};
use crate::session::outbox::Outbox;
use crate::session::progress::Progress;
use crate::session::rate_limit::Pace;
use crate::session::report::{FileReport, FileStatus, Observer, ReportKind};
use crate::session::snapshot::{FileUnderWay, Scene, UnderWay};
use crate::session::stage_clock::Stages;
use crate::source::{Feed, Item, Next, SourceError, Stream, Trouble, What};
use crate::wire::message::{Against, Offer, ReceiverMessage, SenderMessage};
use crate::wire::stage_times::Spent;

/// How files are sent, whoever the receiver is.
#[derive(Clone, Default)]
pub struct TransferOptions {
    /// Nothing is to be stored: the user only wants to know what would be.
    pub dry_run: bool,
    /// How fast chunks may go, all connections of all transfers with the same pace together.
    pub pace: Option<Arc<Pace>>,
    /// Where hashes of files are remembered.
    pub cache: Option<Arc<Cache>>,
    /// Every file is to be read, whatever is remembered.
    pub checksum: bool,
    /// How chunks are compressed, as far as the receiver grants that.
    pub compress: Compress,
}

/// The sender's side of a session, shared by its threads.
pub struct Sending {
    pub dealer: Dealer,
    pub connections: DataConnections,
    pub(super) outbox: Outbox<SenderMessage>,
    pub(super) observer: Arc<dyn Observer>,
    pub progress: Arc<Progress>,
    /// All folders were walked through: what is not offered yet has no bytes.
    pub(super) walked: AtomicBool,
    pub options: TransferOptions,
    /// Whether it was told that further names become files.
    unlinked: AtomicBool,
    /// What chunks are compressed with at present.
    pub compress: Present,
    /// Whether the receiver is told what is remembered, instead of having the files read.
    pub trusts_cache: bool,
    /// A stream was offered: what was read of it cannot be read again for another session.
    pub reads_once: AtomicBool,
    /// The receiver takes a file in order: what it has taken it cannot take back, so no other session can go
    /// on from there.
    pub in_order: AtomicBool,
    /// Bytes of content written to data connections.
    pub sent: AtomicU64,
    /// What the threads of this side do with their time.
    pub stages: Stages,
    /// What those of the receiver did, once it has said so.
    pub theirs: OnceLock<Spent>,
    pub ending: Ending,
}

impl Scene for Sending {
    fn under_way(&self, most: usize) -> UnderWay {
        let (connections, walked) = (self.connections.count(), self.walked.load(Ordering::Relaxed));
        let queue = self.dealer.queue.lock();
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

impl Sending {
    pub fn new(
        outbox: Outbox<SenderMessage>,
        observer: Arc<dyn Observer>,
        progress: Arc<Progress>,
        options: TransferOptions,
    ) -> Sending {
        Sending {
            dealer: Dealer::default(),
            connections: DataConnections::new(outbox.clone()),
            outbox,
            observer,
            progress,
            walked: AtomicBool::new(false),
            options,
            unlinked: AtomicBool::new(false),
            compress: Present::default(),
            trusts_cache: false,
            reads_once: AtomicBool::new(false),
            in_order: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            stages: Stages::default(),
            theirs: OnceLock::new(),
            ending: Ending::default(),
        }
    }

    /// Sends every thread of this session home. Returns what has no outcome, in the order of the offers.
    pub fn close(&self) -> Vec<Arc<Item>> {
        let rest = self.dealer.close();
        rest.into_iter().map(|file| file.item.clone()).collect()
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
                let attempt = self.dealer.begin(file, Against::Part)?;
                if attempt.file.layout.is_open() {
                    self.want_stream(file, u64::MAX);
                    return Ok(());
                }
                let chunks = attempt.file.layout.chunks();
                self.dealer.enqueue_missing(attempt, ChunkIndex(0), chunks)
            }
            ReceiverMessage::SendUpTo { file, end } => self.send_up_to(file, end),
            ReceiverMessage::Compare { file, against } => self.compare(file, against),
            ReceiverMessage::Missing { file, first, count } => {
                let Some(attempt) = self.dealer.announced(file, first, count)? else { return Ok(()) };
                self.dealer.enqueue_missing(attempt, first, count)
            }
            ReceiverMessage::Hash { file, first, count } => {
                let Some(attempt) = self.dealer.announced(file, first, count)? else { return Ok(()) };
                self.dealer.enqueue_hash(attempt, first, count)
            }
            ReceiverMessage::Differs { file, chunk } => {
                let Some(attempt) = self.dealer.announced(file, chunk, 1)? else { return Ok(()) };
                self.dealer.chunk_differs(&attempt, chunk)
            }
            ReceiverMessage::Outcome { file, outcome } => self.outcome(file, outcome),
            ReceiverMessage::Progress { written, kept } => {
                self.progress.written.store(written, Ordering::Relaxed);
                self.progress.kept.store(kept, Ordering::Relaxed);
                Ok(())
            }
            ReceiverMessage::Confirmed { connection, frames } => {
                Ok(self.connections.confirmed(connection, frames)?)
            }
            ReceiverMessage::HungUp { connection, frames } => self.hung_up(connection, frames),
            ReceiverMessage::Share { connections } => {
                self.connections.set_share(connections);
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
                let queue = self.dealer.queue.lock();
                if queue.finished && queue.files.is_empty() {
                    return Err(End::Complete);
                }
                Err(PeerMisbehaved::Unexpected { got: "a goodbye", expected: "the outcome of each file" }
                    .into())
            }
        }
    }

    /// A data connection has ended: what was on it goes another way.
    fn hung_up(&self, connection: u32, frames: u64) -> Result<(), End> {
        for (attempt, dealt) in self.connections.hung_up(connection, frames)? {
            self.dealer.deal_again(&attempt, dealt);
        }
        // Its worker may be among those who wait.
        self.dealer.wake();
        Ok(())
    }

    /// Has all but `most` data connections end behind what is written on them.
    pub fn retire_surplus(&self, most: usize) {
        if self.connections.retire_surplus(most) {
            self.dealer.wake();
        }
    }

    /// Once all chunks are dealt, gives up the data connection that would hold up the end, if there is one.
    /// Whether there was.
    pub fn give_up_straggler(&self, now: Instant) -> bool {
        self.dealer.queue.lock().is_dealt() && self.connections.give_up_straggler(now)
    }

    /// Whether one more data connection than so many would find something to do. At the end a new one, which
    /// is slow at first, would only take the last chunks from those that wait for them.
    pub fn has_work_beside(&self, connections: usize) -> bool {
        connections == 0 || self.dealer.queue.lock().has_more_than(connections)
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
        let remembered = self.options.cache.as_ref().filter(|_| self.trusts_cache).and_then(|cache| {
            let key = item.source()?.key(cache)?;
            cache.get(&key)
        });
        let mut queue = self.dealer.queue.lock();
        while !queue.closed && !queue.has_room_for(large, weight) {
            queue.full = true;
            self.dealer.settled.wait(&mut queue);
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

    /// What `feed` has next; waits for outcomes where it depends on them, and for the observer. `None` once
    /// the session is closed.
    pub fn next_of(&self, feed: &mut Feed) -> Option<Next> {
        while !self.observer.keeps_up() {
            let mut queue = self.dealer.queue.lock();
            if queue.closed {
                return None;
            }
            self.dealer.settled.wait_for(&mut queue, OBSERVER_LOOK);
        }
        // Reads folders, so not under the lock that every worker takes.
        match feed.next() {
            Next::Later => self.walked.store(true, Ordering::Relaxed),
            next => return Some(next),
        }
        let mut queue = self.dealer.queue.lock();
        loop {
            if queue.closed {
                return None;
            }
            // The walk is over by now. Asked again under the lock, as what it waits for may just have come.
            match feed.next() {
                Next::Later => self.dealer.settled.wait(&mut queue),
                next => return Some(next),
            }
        }
    }

    /// Everything has been offered.
    pub fn finish(&self) {
        let mut queue = self.dealer.queue.lock();
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
        let mut queue = self.dealer.queue.lock();
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
        match outcome {
            Outcome::Unlinked { unable } if entry.file.item.become_a_file() => {
                if unable {
                    self.tell_unlinked(&entry.file.item);
                }
            }
            outcome => {
                let status = status(&entry, outcome, self.options.dry_run)?;
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
        // What waited for this has come out of the feed by now, and whoever waits for the feed looks at it
        // under the lock.
        let worth = self.dealer.queue.lock().is_worth_offering(was_large);
        if worth {
            self.dealer.settled.notify_all();
        }
        Ok(())
    }
}

impl Sending {
    /// Remembers the hash of a file that was read and stood still meanwhile.
    fn remember(&self, entry: &Entry, status: &FileStatus) {
        if let (Some(cache), Some(hash), Some(source)) =
            (&self.options.cache, entry.root(), entry.file.item.source())
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

/// What to tell of it; nothing of the destination itself, which nobody sent, and of a folder when all in it
/// is there.
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

// What is not sent all at once: a file that the receiver takes in order, as far as it has asked for it; and a
// stream, whose chunks are queued as they are read, and whose length is told when it has ended.

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
        let attempt = self.dealer.begin(file, against)?;
        let layout = attempt.file.layout;
        if layout.is_open() || (layout.is_single() && against == Against::Part) {
            let got = "a comparison of a stream, or of part of one chunk";
            return Err(PeerMisbehaved::Unexpected { got, expected: "a wish for all of it" }.into());
        }
        match layout.is_single() {
            true => self.dealer.enqueue_hash(attempt, ChunkIndex(0), 1),
            false => Ok(()),
        }
    }

    /// Sends a file as far as the receiver has asked for it.
    pub(super) fn send_up_to(&self, file: FileId, end: ChunkIndex) -> Result<(), End> {
        let mut queue = self.dealer.queue.lock();
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
            None => self.dealer.begin(file, Against::Part)?,
        };
        self.in_order.store(true, Ordering::Relaxed);
        if layout.is_open() {
            self.want_stream(file, end.0);
            return Ok(());
        }
        self.dealer.enqueue_missing(attempt, ChunkIndex(first), end.0 - first)
    }

    /// The receiver wants the stream as far as chunk `end`.
    pub(super) fn want_stream(&self, file: FileId, end: u64) {
        if let Some(entry) = self.dealer.queue.lock().files.get_mut(&file) {
            entry.asked_up_to = end;
        }
        self.stream_grew();
    }

    /// More is known of the stream, or more of it is wanted.
    fn stream_grew(&self) {
        let wanted = self.dealer.queue.lock().queue_stream();
        // Whoever offers waits until it is known what to offer.
        self.dealer.settled.notify_all();
        let Some((attempt, queued, reached)) = wanted else { return };
        self.dealer.wake_for(queued);
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

// What the workers say of what they have read.

impl Sending {
    pub(super) fn withdraw(&self, attempt: &Attempt, error: &SourceError) {
        let cause = if error.is_passing() { Cause::Changed } else { Cause::Source };
        let failure = Failure::new(cause, error.to_string());
        if attempt.end() && attempt.file.withdrawn.set(failure.clone()).is_ok() {
            self.outbox.send(&SenderMessage::Withdraw { file: attempt.file.id, failure });
        }
    }

    /// Says the value of a chunk that the receiver has asked for, and the hash after the last one. Of a file
    /// of one chunk they are the same.
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
        self.hashed(attempt, &[Subtree::of_chunk(chunk, value)], false)
    }

    /// Takes in the values of chunks that were read, or of a hole; after the last one tells the receiver the
    /// hash of the file, unless it went with the chunk.
    pub(super) fn hashed(&self, attempt: &Attempt, subtrees: &[Subtree], told: bool) -> Result<(), End> {
        let file = &attempt.file;
        let mut tree = attempt.tree.lock();
        let mut root = None;
        for subtree in subtrees {
            // A chunk comes here twice only if the receiver asked for it twice.
            let wrong = |_| PeerMisbehaved::WrongChunk { file: file.id.0, chunk: subtree.first.0 };
            root = tree.insert_subtree(*subtree).map_err(wrong)?;
        }
        drop(tree);
        let (Some(hash), false) = (root, told) else { return Ok(()) };
        if self.is_still(attempt, &hash) {
            self.say_root(attempt, hash);
        }
        Ok(())
    }

    /// Whether the source still is what was read of it, which has this `hash`; where it is not, it is
    /// withdrawn. May read a file of its size, so no lock is held meanwhile.
    fn is_still(&self, attempt: &Attempt, hash: &Hash) -> bool {
        let file = &attempt.file;
        // A file of one chunk was checked when it was read.
        let Some(source) = file.item.source().filter(|_| file.is_large()) else { return true };
        let Ok(open) = file.open(source) else { return true };
        // Where it is given up there is nobody left to tell.
        let go_on = || !attempt.is_over() && !self.dealer.is_closed();
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
