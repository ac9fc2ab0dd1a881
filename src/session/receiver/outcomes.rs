//! What becomes of the files of a session at the receiver, and who is told. No thread is started here:
//! whoever finishes, compares or writes a file says here how that ended, and names it where that may take a
//! while.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::Stat;

use super::files::Files;
use super::incoming::{Bytes, Incoming};
use super::memory::{Budget, Reserve};
use super::offered::{Entry, Offered};
use super::room::Room;
use super::terms::Terms;
use crate::cache::Cache;
use crate::content::chunk::FileId;
use crate::content::entry::{Cause, Failure, Metadata, Outcome};
use crate::content::tree::Hash;
use crate::limits::TEXT_BYTES_MAX;
use crate::name::RelativePath;
use crate::session::ending::{End, Ending, PeerMisbehaved};
use crate::session::outbox::Outbox;
use crate::session::progress::Progress;
use crate::session::report::{FileReport, FileStatus, Observer, ReportKind};
use crate::store::{
    Destination, Existing, ExistingFile, Found, LinkFault, Made, Part, Published, Sink, SinkError, Verified,
};
use crate::wire::message::ReceiverMessage;

/// What a failed file counts for whose late chunks are still dropped: a place in a set.
const FAILED_FILE_BYTES: usize = 24;

/// Failed files of one session whose late chunks the receiver still discards quietly.
const FAILED_FILES_MAX: usize = 65_536;

/// What all that handle files of a session share.
pub struct Outcomes {
    pub to: Arc<Destination>,
    pub terms: Terms,
    pub files: Mutex<Files>,
    pub outbox: Outbox<ReceiverMessage>,
    pub memory: Arc<Budget>,
    /// The bounds on what may be stored.
    pub room: Room,
    /// Where hashes of files are remembered.
    pub cache: Option<Arc<Cache>>,
    pub observer: Arc<dyn Observer>,
    pub progress: Arc<Progress>,
    pub ending: Ending,
    closed: AtomicBool,
}

impl Outcomes {
    pub fn new(
        to: Arc<Destination>,
        terms: Terms,
        outbox: Outbox<ReceiverMessage>,
        reserve: Arc<dyn Reserve>,
        observer: Arc<dyn Observer>,
        progress: Arc<Progress>,
    ) -> Outcomes {
        Outcomes {
            to,
            terms,
            files: Mutex::default(),
            outbox,
            memory: Arc::new(Budget::new(reserve)),
            room: Room::default(),
            cache: None,
            observer,
            progress,
            ending: Ending::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Ends all that is under way. What was received of each file stays in its part file, except of a stream:
    /// nobody could go on with it.
    pub fn close(&self) {
        let mut files = self.files.lock();
        self.closed.store(true, Ordering::Relaxed);
        files.singles.clear();
        let incoming = std::mem::take(&mut files.incoming);
        drop(files);
        for file in incoming.values() {
            if let Some(Bytes::Output(queue)) = file.end() {
                queue.close();
            }
        }
        self.outbox.close();
    }

    /// A file is under way from now on.
    pub fn insert(&self, incoming: Arc<Incoming>) {
        let mut files = self.files.lock();
        if !self.is_closed() {
            files.incoming.insert(incoming.offered.id, incoming);
        }
    }

    /// Makes room for a file that is about to be received, or fails it.
    pub fn make_room(&self, offered: Offered) -> Option<Offered> {
        let Ok(sink) = self.sink(&offered.path) else { return Some(offered) };
        match self.room.take(&offered, sink) {
            Ok(counted) => Some(Offered { counted, ..offered }),
            Err(text) => {
                self.fail(&offered, Failure::new(Cause::Storage, text));
                None
            }
        }
    }

    /// Why a chunk of a stream is not to be stored.
    pub fn no_room_for_chunk(&self, offered: &Offered, chunk: u64, len: u64) -> Option<Failure> {
        let sink = self.sink(&offered.path).ok().filter(|_| offered.layout.is_open())?;
        let text = self.room.take_chunk(offered, chunk, len, sink).err()?;
        Some(Failure::new(Cause::Storage, text))
    }

    /// The folder, which `path` needs.
    pub fn sink(&self, path: &RelativePath) -> Result<&Sink, SinkError> {
        self.to
            .folder()
            .ok_or_else(|| SinkError::NoFolder { path: OsStr::from_bytes(path.as_bytes()).into() })
    }

    /// Whether what stands at its path is remembered to have this hash. What may be replaced has to have its
    /// mode and time as well.
    pub fn has_remembered(&self, offered: &Offered, hash: Hash) -> bool {
        let (Some(cache), Some(sink)) = (&self.cache, self.to.folder()) else { return false };
        let wanted = (self.to.existing() == Existing::Overwrite).then_some(&offered.metadata);
        let key = sink.key_at(&offered.path, offered.layout.size(), wanted, cache);
        key.is_some_and(|key| cache.get(&key) == Some(hash))
    }

    /// Remembers the hash of a file that was there and was read.
    pub fn remember_read(&self, offered: &Offered, hash: Hash) {
        if let (Some(cache), Some(sink)) = (&self.cache, self.to.folder()) {
            let key = sink.key_at(&offered.path, offered.layout.size(), None, cache);
            cache.remember_read(key, hash, offered.since);
        }
    }

    /// Remembers the hash of a file that was made here. One that somebody has written to since does not have
    /// its time any more.
    pub fn remember_written(&self, offered: &Offered, hash: Hash, made: &Stat) {
        if let (Some(cache), Some(sink)) = (&self.cache, self.to.folder())
            && let Some(key) = sink.key_of(made, cache)
        {
            let Metadata { mtime_seconds, mtime_nanos, .. } = offered.metadata;
            if key.is_as_told(offered.layout.size(), (mtime_seconds, mtime_nanos.into())) {
                cache.remember_written(key, hash);
            }
        }
    }

    /// What may be replaced gets all of the sender's file, and not its bytes alone.
    pub fn dress_identical(&self, offered: &Offered, there: &ExistingFile) {
        if self.to.existing() == Existing::Overwrite
            && let Err(error) = there.dress(&offered.metadata)
        {
            tracing::warn!("{error}");
        }
    }

    /// Gives a dressed part with this `hash` its name. May read files of its size. `None` where the session
    /// ended meanwhile, and nobody is left to tell.
    pub fn name(&self, offered: &Offered, part: &Part, hash: Hash) -> Option<Result<Published, SinkError>> {
        if let Err(error) = self.to.check_place() {
            return Some(Err(error));
        }
        let go_on = || !self.is_closed();
        let sync = self.terms.diligence.sync;
        let result = part.publish_dressed(self.to.existing(), &Verified { hash, sync, go_on: &go_on });
        if let (Ok(Some(Published { existed: false, .. })), Some(made)) = (&result, part.stat()) {
            self.remember_written(offered, hash, &made);
        }
        result.transpose()
    }

    /// Tells how publishing a verified file went. May read a file of its size.
    pub fn published(&self, offered: &Offered, hash: Hash, result: Result<Published, SinkError>) {
        match result {
            // Also where it stood there before: a further name of it is to be made of that one.
            Ok(published) if published.renamed => {
                self.report(offered, Some(hash), FileStatus::Renamed(published.name));
            }
            Ok(published) if published.existed => self.report(offered, Some(hash), FileStatus::Identical),
            Ok(_) => self.report(offered, Some(hash), FileStatus::Stored),
            Err(error @ (SinkError::Exists { .. } | SinkError::Newer { .. })) => {
                self.name_was_taken(offered, hash, &error);
            }
            Err(error) => self.fail(offered, error.failure()),
        }
    }

    /// Somebody else took the name while the file was on its way: perhaps with the same file, as two senders
    /// that have it may send it at once, and a task that an engine starts anew beside the old one.
    fn name_was_taken(&self, offered: &Offered, hash: Hash, error: &SinkError) {
        match self.hash_there(offered) {
            // The session is over and nobody is left to tell.
            Ok(None) if self.is_closed() => {}
            Ok(Some(there)) if there == hash => self.report(offered, Some(hash), FileStatus::Identical),
            Ok(_) => self.fail(offered, error.failure()),
            Err(error) => self.fail(offered, error.failure()),
        }
    }

    /// The hash of the file under the final name; `None` where that has another size, or the session ends
    /// meanwhile.
    fn hash_there(&self, offered: &Offered) -> Result<Option<Hash>, SinkError> {
        let layout = offered.layout;
        let sink = self.sink(&offered.path)?;
        let Found::SameSize(there) = sink.look(&offered.path, layout.size())? else { return Ok(None) };
        let hash = there.hash(|| !self.is_closed())?;
        if self.terms.diligence.sync {
            there.sync()?;
        }
        Ok(hash)
    }

    pub fn fail_verification(&self, offered: &Offered, part: &Part, ours: Hash, theirs: Hash) {
        let text = format!(
            "{}: what arrived is not what was sent (BLAKE3 {ours} here, {theirs} there); nothing was kept, send it again",
            offered.path
        );
        self.discard(part);
        self.fail(offered, Failure::new(Cause::Verification, text));
    }

    /// What is there had the right bytes a moment ago, and has others on the device.
    pub fn fail_standing(&self, offered: &Offered, now: Hash, hash: Hash) {
        let text = format!(
            "{}: what the disk has of the file that is there is not what was sent (BLAKE3 {now} there, {hash} sent); remove it at \
             the receiver and send it again",
            offered.path
        );
        self.fail(offered, Failure::new(Cause::Verification, text));
    }

    /// The device failed. The part file goes: memory may still have what the device has not, and a comparison
    /// would find nothing wrong.
    pub fn fail_unsynced(&self, offered: &Offered, part: &Part, error: &SinkError) {
        self.discard(part);
        self.fail(offered, error.failure());
    }

    /// A file under way failed. Its part file goes: the failure is a verdict, not an interruption.
    pub fn fail_incoming(&self, incoming: &Incoming, failure: Failure) -> Result<(), PeerMisbehaved> {
        // Of what goes to the standard output its writer says what became of it.
        if let Some(queue) = incoming.output() {
            queue.fail(failure);
            return Ok(());
        }
        let Some(bytes) = incoming.end() else { return Ok(()) };
        let id = incoming.offered.id;
        let mut files = self.files.lock();
        if files.failed.len() >= FAILED_FILES_MAX || !self.memory.keep(FAILED_FILE_BYTES) {
            return Err(PeerMisbehaved::TooMany { what: "failed files", limit: FAILED_FILES_MAX });
        }
        files.incoming.remove(&id);
        files.failed.insert(id);
        drop(files);
        // A worker may be writing to it at this moment: then it writes into nothing.
        if let Bytes::Part(part) = bytes {
            self.discard(&part);
        }
        self.fail(&incoming.offered_now(), failure);
        Ok(())
    }

    fn discard(&self, part: &Part) {
        if let Err(error) = part.discard() {
            tracing::warn!("{error}");
        }
    }

    pub fn refuse_existing(&self, offered: &Offered) {
        let text = format!(
            "{}: the receiver has another file of this name; it replaces it with `lanx recv --overwrite`, \
             or keeps both with `--rename`",
            offered.path
        );
        self.fail(offered, Failure::new(Cause::Refused, text));
    }

    pub fn fail(&self, offered: &Offered, mut failure: Failure) {
        // What is wrong may be a folder that it is in, and whoever reads of it wants to know which files it
        // takes along.
        let (path, text) = (offered.path.to_string(), failure.text.to_string());
        let name = path.rsplit('/').next().unwrap_or_default();
        if !text.contains(name) && path.len() + text.len() < TEXT_BYTES_MAX {
            failure.text = format!("{path}: {text}").into();
        }
        self.report(offered, None, FileStatus::Failed(failure));
    }

    pub fn report(&self, offered: &Offered, hash: Option<Hash>, status: FileStatus) {
        if !matches!(status, FileStatus::Stored | FileStatus::Renamed(_)) {
            self.room.give_back(offered);
        }
        let outcome = status.outcome();
        let (path, size) = (offered.path.clone(), offered.layout.known_size());
        if size.is_none() {
            self.progress.stream_ended(0);
        }
        let named = path.parent().is_none();
        self.observer.file(&FileReport {
            path,
            kind: ReportKind::File,
            named,
            size,
            hash,
            status,
            item: None,
        });
        self.say_outcome(offered.id, !offered.layout.is_single(), offered.weight, outcome);
    }

    pub fn say_outcome(&self, file: FileId, large: bool, weight: usize, outcome: Outcome) {
        let mut files = self.files.lock();
        // Before the sender hears of it: it offers the next one at once.
        files.open -= 1;
        files.large -= usize::from(large);
        drop(files);
        self.memory.close(weight);
        if !matches!(outcome, Outcome::Unlinked { .. }) {
            Progress::add(&self.progress.files_done, 1);
        }
        self.outbox.send(&ReceiverMessage::Outcome { file, outcome });
        let mut files = self.files.lock();
        files.untold -= 1;
        let complete = files.untold == 0 && files.finished;
        drop(files);
        if complete {
            self.complete();
        }
    }

    /// Every file has its outcome. The sender's summary counts the bytes that it heard of, so it hears of
    /// all.
    pub fn complete(&self) {
        let Progress { written, kept, .. } = &*self.progress;
        let (written, kept) = (Progress::get(written), Progress::get(kept));
        self.outbox.send(&ReceiverMessage::Progress { written, kept });
        // What was stored is of use only where it is looked for.
        let placed = if self.terms.dry_run { Ok(()) } else { self.to.check_place() };
        self.ending.decide(match placed {
            Ok(()) => End::Complete,
            Err(error) => End::Misplaced(error.to_string().into()),
        });
    }
}

// What arrives without bytes: folders and links.

impl Outcomes {
    /// Tells how making it went.
    pub fn made(&self, entry: &Entry, made: Result<Made, SinkError>) {
        let status = match made {
            Ok(Made::New) => FileStatus::Stored,
            Ok(Made::Identical) => FileStatus::Identical,
            Ok(Made::Renamed(name)) => FileStatus::Renamed(name),
            Err(SinkError::NotLinked { fault, .. }) if fault.wants_a_file() => {
                return self.say_unlinked(entry, &fault);
            }
            Err(error) => FileStatus::Failed(error.failure()),
        };
        self.report_entry(entry, status);
    }

    /// Nothing is to be reported of it yet: it comes again, as a file.
    pub fn say_unlinked(&self, entry: &Entry, fault: &LinkFault) {
        tracing::debug!("{} is to come as a file: {fault}", entry.path);
        let unable = matches!(fault, LinkFault::Unsupported(_));
        self.say_outcome(entry.id, false, entry.weight, Outcome::Unlinked { unable });
    }

    pub fn report_entry(&self, entry: &Entry, status: FileStatus) {
        let outcome = status.outcome();
        let Entry { id, path, kind, weight } = entry.clone();
        let named = path.parent().is_none();
        self.observer.file(&FileReport { path, kind, named, size: None, hash: None, status, item: None });
        self.say_outcome(id, false, weight, outcome);
    }
}
