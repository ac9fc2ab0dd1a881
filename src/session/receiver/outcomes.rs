//! What becomes of the files of a session at the receiver, and who is told.

use std::sync::Arc;

use rustix::fs::Stat;

use super::Receiving;
use super::compare;
use super::finish::{Complete, Finished, Finisher};
use super::incoming::{Bytes, Entry, Incoming, Next, Offered, Settled};
use crate::content::chunk::{ChunkIndex, FileId};
use crate::content::entry::{Cause, EntryKind, Failure, Metadata, Outcome};
use crate::content::tree::{Hash, Tree, chunk_value};
use crate::limits::{CHUNK_BYTES, FAILED_FILE_BYTES, FAILED_FILES_MAX, TEXT_BYTES_MAX};
use crate::name::RelativePath;
use crate::session::ending::{End, PeerMisbehaved};
use crate::session::progress::Progress;
use crate::session::report::{FileReport, FileStatus, ReportKind};
use crate::store::{Existing, ExistingFile, Found, LinkFault, Made, Part, Published, SinkError, Verified};
use crate::wire::message::{Offer, ReceiverMessage};

impl Receiving {
    /// Does what follows for a file.
    pub(super) fn go_on(self: &Arc<Self>, incoming: &Arc<Incoming>, next: Next) -> Result<(), End> {
        match next {
            Next::Nothing => Ok(()),
            Next::Compare(chunk, value) => {
                compare::compare(self, incoming.clone(), chunk, value);
                Ok(())
            }
            Next::Settle(settled) => self.settle(&incoming.offered, settled),
            Next::Differs => {
                self.differs(&incoming.offered);
                Ok(())
            }
        }
    }

    /// The existing file is another one.
    fn differs(self: &Arc<Self>, offered: &Offered) {
        self.files.lock().incoming.remove(&offered.id);
        match self.to.existing() {
            Existing::Refuse => self.refuse_existing(offered),
            Existing::Overwrite | Existing::Rename => {
                self.start_receiving(Offered { replaces: true, ..offered.clone() });
            }
        }
    }

    /// Publishes a file whose chunks are all there, if it is the file that was sent.
    fn settle(self: &Arc<Self>, offered: &Offered, settled: Settled) -> Result<(), End> {
        let Settled { bytes, layout, ours, theirs } = settled;
        let offered = &Offered { layout, ..offered.clone() };
        self.files.lock().incoming.remove(&offered.id);
        let part = match bytes {
            Bytes::Existing(Some(there)) if ours == theirs => {
                self.identical(offered, there, ours);
                return Ok(());
            }
            Bytes::Existing(_) => {
                let got = "a hash that the chunks it agreed to do not have";
                return Err(PeerMisbehaved::Unexpected { got, expected: "their hash" }.into());
            }
            Bytes::Part(part) => part,
        };
        self.publish(offered, part, ours, theirs);
        Ok(())
    }

    /// The file with this `hash` is there already. Whoever put it there may not have waited for the device.
    fn identical(self: &Arc<Self>, offered: &Offered, there: Arc<ExistingFile>, hash: Hash) {
        if !self.terms.dry_run {
            self.dress_identical(offered, &there);
        }
        if self.terms.diligence.takes_time() && !self.terms.dry_run {
            let offered = offered.clone();
            Finisher::finish(self, Finished::Identical { offered, there, hash });
        } else {
            self.remember_read(offered, hash);
            self.report(offered, Some(hash), FileStatus::Identical);
        }
    }

    /// Whether what stands at its path is remembered to have this hash. What may be replaced has to have its mode and time as well.
    pub(super) fn has_remembered(&self, offered: &Offered, hash: Hash) -> bool {
        let (Some(cache), Some(sink)) = (&self.cache, self.to.folder()) else { return false };
        let wanted = (self.to.existing() == Existing::Overwrite).then_some(&offered.metadata);
        let key = sink.key_at(&offered.path, offered.layout.size(), wanted, cache);
        key.is_some_and(|key| cache.get(&key) == Some(hash))
    }

    /// Remembers the hash of a file that was there and was read.
    fn remember_read(&self, offered: &Offered, hash: Hash) {
        if let (Some(cache), Some(sink)) = (&self.cache, self.to.folder()) {
            let key = sink.key_at(&offered.path, offered.layout.size(), None, cache);
            cache.remember_read(key, hash, offered.since);
        }
    }

    /// Remembers the hash of a file that was made here. One that somebody has written to since does not have its time any more.
    pub(super) fn remember_written(&self, offered: &Offered, hash: Hash, made: &Stat) {
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
    fn dress_identical(&self, offered: &Offered, there: &ExistingFile) {
        if self.to.existing() == Existing::Overwrite
            && let Err(error) = there.dress(&offered.metadata)
        {
            tracing::warn!("{error}");
        }
    }

    /// Gives a complete part file its name, if it is the file that was sent; otherwise removes it.
    pub(super) fn publish(self: &Arc<Self>, offered: &Offered, part: Arc<Part>, ours: Hash, theirs: Hash) {
        if ours != theirs {
            self.fail_verification(offered, &part, ours, theirs);
        } else if self.terms.diligence.takes_time() {
            let complete = Complete { offered: offered.clone(), part, hash: ours };
            Finisher::finish(self, Finished::File(complete));
        } else if self.to.existing() == Existing::Rename
            && !offered.layout.is_single()
            && part.is_name_taken()
        {
            // Those that have its names will be read, and the data connection is not to wait for that.
            let offered = offered.clone();
            Finisher::aside(self, move |session| session.publish_beside(&offered, &part, ours));
        } else {
            part.dress(&offered.metadata);
            let Some(result) = self.name(offered, &part, ours) else { return };
            if is_taken(&result) && !offered.layout.is_single() {
                // The large file that took the name will be read, and the data connection is not to wait for that.
                let offered = offered.clone();
                Finisher::aside(self, move |session| session.published(&offered, ours, result));
            } else {
                self.published(offered, ours, result);
            }
        }
    }

    fn publish_beside(&self, offered: &Offered, part: &Part, hash: Hash) {
        if self.finisher.is_closed() {
            return;
        }
        part.dress(&offered.metadata);
        if let Some(result) = self.name(offered, part, hash) {
            self.published(offered, hash, result);
        }
    }

    /// Gives a dressed part with this `hash` its name. May read files of its size. `None` where the session ended meanwhile,
    /// and nobody is left to tell.
    pub(super) fn name(
        &self,
        offered: &Offered,
        part: &Part,
        hash: Hash,
    ) -> Option<Result<Published, SinkError>> {
        if let Err(error) = self.to.check_place() {
            return Some(Err(error));
        }
        let go_on = || !self.finisher.is_closed();
        let sync = self.terms.diligence.sync;
        let result = part.publish_dressed(self.to.existing(), &Verified { hash, sync, go_on: &go_on });
        if let (Ok(Some(Published { existed: false, .. })), Some(made)) = (&result, part.stat()) {
            self.remember_written(offered, hash, &made);
        }
        result.transpose()
    }

    /// Tells how publishing a verified file went. May read a file of its size.
    pub(super) fn published(&self, offered: &Offered, hash: Hash, result: Result<Published, SinkError>) {
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

    /// Somebody else took the name while the file was on its way: perhaps with the same file, as two senders that have
    /// it may send it at once, and a task that an engine starts anew beside the old one.
    fn name_was_taken(&self, offered: &Offered, hash: Hash, error: &SinkError) {
        match self.hash_there(offered) {
            // The session is over and nobody is left to tell.
            Ok(None) if self.finisher.is_closed() => {}
            Ok(Some(there)) if there == hash => self.report(offered, Some(hash), FileStatus::Identical),
            Ok(_) => self.fail(offered, error.failure()),
            Err(error) => self.fail(offered, error.failure()),
        }
    }

    /// The hash of the file under the final name; `None` where that has another size, or the session ends meanwhile.
    fn hash_there(&self, offered: &Offered) -> Result<Option<Hash>, SinkError> {
        let layout = offered.layout;
        let sink = self.sink(&offered.path)?;
        let Found::SameSize(there) = sink.look(&offered.path, layout.size())? else { return Ok(None) };
        let mut tree = Tree::new(layout);
        let mut buffer = vec![0; CHUNK_BYTES];
        for index in (0..layout.chunks()).map(ChunkIndex) {
            let (Some(len), Some(offset)) = (layout.len_of(index), layout.offset_of(index)) else { break };
            if self.finisher.is_closed() {
                break;
            }
            let content = &mut buffer[..len];
            there.read_at(content, offset)?;
            // Each chunk comes once, so none is misplaced.
            let _ = tree.insert(index, chunk_value(layout, index, content));
        }
        if self.terms.diligence.sync {
            there.sync()?;
        }
        Ok(tree.root())
    }

    pub(super) fn fail_verification(&self, offered: &Offered, part: &Part, ours: Hash, theirs: Hash) {
        let text = format!(
            "{}: what arrived is not what was sent (BLAKE3 {ours} here, {theirs} there); nothing was kept, send it again",
            offered.path
        );
        self.discard(part);
        self.fail(offered, Failure::new(Cause::Verification, text));
    }

    /// What is there had the right bytes a moment ago, and has others on the device.
    pub(super) fn fail_standing(&self, offered: &Offered, now: Hash, hash: Hash) {
        let text = format!(
            "{}: what the disk has of the file that is there is not what was sent (BLAKE3 {now} there, {hash} sent); remove it at \
             the receiver and send it again",
            offered.path
        );
        self.fail(offered, Failure::new(Cause::Verification, text));
    }

    /// The device failed. The part file goes: memory may still have what the device has not, and a comparison would find
    /// nothing wrong.
    pub(super) fn fail_unsynced(&self, offered: &Offered, part: &Part, error: &SinkError) {
        self.discard(part);
        self.fail(offered, error.failure());
    }

    /// A file under way failed. Its part file goes: the failure is a verdict, not an interruption.
    pub(super) fn fail_incoming(&self, incoming: &Incoming, failure: Failure) -> Result<(), PeerMisbehaved> {
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

    pub(super) fn refuse_existing(&self, offered: &Offered) {
        let text = format!(
            "{}: the receiver has another file of this name; it replaces it with `lanx recv --overwrite`, \
             or keeps both with `--rename`",
            offered.path
        );
        self.fail(offered, Failure::new(Cause::Refused, text));
    }

    pub(super) fn fail(&self, offered: &Offered, mut failure: Failure) {
        // What is wrong may be a folder that it is in, and whoever reads of it wants to know which files it takes along.
        let (path, text) = (offered.path.to_string(), failure.text.to_string());
        let name = path.rsplit('/').next().unwrap_or_default();
        if !text.contains(name) && path.len() + text.len() < TEXT_BYTES_MAX {
            failure.text = format!("{path}: {text}").into();
        }
        self.report(offered, None, FileStatus::Failed(failure));
    }

    pub(super) fn report(&self, offered: &Offered, hash: Option<Hash>, status: FileStatus) {
        if !matches!(status, FileStatus::Stored | FileStatus::Renamed(_)) {
            self.give_room_back(offered);
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

    pub(super) fn say_outcome(&self, file: FileId, large: bool, weight: usize, outcome: Outcome) {
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

    /// Every file has its outcome. The sender's summary counts the bytes that it heard of, so it hears of all.
    pub(super) fn complete(&self) {
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

/// Whether somebody else has the name by now.
fn is_taken(result: &Result<Published, SinkError>) -> bool {
    matches!(result, Err(SinkError::Exists { .. } | SinkError::Newer { .. }))
}

// What arrives without bytes: folders and links.

impl Receiving {
    /// Makes what was offered, or in a dry run says what would come of it.
    pub(super) fn offer_entry(self: &Arc<Self>, offer: &Offer, path: RelativePath) {
        let kind = match offer.kind {
            EntryKind::File { .. } | EntryKind::Stream => ReportKind::File,
            EntryKind::Folder | EntryKind::ParentFolder => ReportKind::Folder,
            EntryKind::Symlink { .. } => ReportKind::Symlink,
            EntryKind::HardLink { .. } => ReportKind::HardLink,
        };
        let entry = Entry { id: offer.file, path, kind, weight: offer.weight() };
        if self.terms.dry_run {
            let status =
                match self.sink(&entry.path).and_then(|sink| sink.would_make(&entry.path, &offer.kind)) {
                    Ok(true) => FileStatus::Wanted,
                    Ok(false) => FileStatus::Identical,
                    Err(SinkError::NotLinked { fault, .. }) if fault.wants_a_file() => {
                        return self.say_unlinked(&entry, &fault);
                    }
                    Err(error) => FileStatus::Failed(error.failure()),
                };
            return self.report_entry(&entry, status);
        }
        let sink = self.sink(&entry.path).and_then(|sink| sink.check_place().map(|()| sink));
        let made = match &offer.kind {
            EntryKind::Symlink { target } => {
                sink.and_then(|sink| sink.symlink(&entry.path, target, &offer.metadata))
            }
            EntryKind::HardLink { to } => match RelativePath::from_wire(to) {
                Ok(to) => sink.and_then(|sink| sink.hard_link(&entry.path, &to)),
                Err(bad) => {
                    let failure = Failure::new(Cause::Refused, bad.to_string());
                    return self.report_entry(&entry, FileStatus::Failed(failure));
                }
            },
            _ => sink.and_then(|sink| sink.folder(Some(&entry.path), &offer.metadata)),
        };
        match made {
            Ok(made) if self.terms.diligence.sync => Finisher::finish(self, Finished::Entry { entry, made }),
            made => self.made(&entry, made),
        }
    }

    /// Tells how making it went.
    pub(super) fn made(&self, entry: &Entry, made: Result<Made, SinkError>) {
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
    fn say_unlinked(&self, entry: &Entry, fault: &LinkFault) {
        tracing::debug!("{} is to come as a file: {fault}", entry.path);
        let unable = matches!(fault, LinkFault::Unsupported(_));
        self.say_outcome(entry.id, false, entry.weight, Outcome::Unlinked { unable });
    }

    pub(super) fn report_entry(&self, entry: &Entry, status: FileStatus) {
        let outcome = status.outcome();
        let Entry { id, path, kind, weight } = entry.clone();
        let named = path.parent().is_none();
        self.observer.file(&FileReport { path, kind, named, size: None, hash: None, status, item: None });
        self.say_outcome(id, false, weight, outcome);
    }

    /// Nothing is to be reported of it yet: it comes again, when everything in it is there.
    pub(super) fn make_parent_folder(&self, offer: &Offer, path: &RelativePath) {
        let outcome = match self.sink(path) {
            _ if self.terms.dry_run => Outcome::Wanted,
            Ok(sink) => match sink.parent_folder(path) {
                Ok(()) => Outcome::Stored,
                Err(error) => Outcome::Failed(error.failure()),
            },
            Err(error) => Outcome::Failed(error.failure()),
        };
        self.say_outcome(offer.file, false, offer.weight(), outcome);
    }

    /// The sender's folder has no name here: only its content was wanted. Nobody sent it, so nobody is told of it.
    pub(super) fn dress_destination(&self, offer: &Offer) {
        if self.terms.dry_run {
            return self.say_outcome(offer.file, false, offer.weight(), Outcome::Wanted);
        }
        let outcome = match self.to.folder().map(|sink| sink.folder(None, &offer.metadata)) {
            // Standard output has no mode and no time.
            Some(Ok(_)) | None => Outcome::Stored,
            Some(Err(error)) => Outcome::Failed(error.failure()),
        };
        self.say_outcome(offer.file, false, offer.weight(), outcome);
    }
}
