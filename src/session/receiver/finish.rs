//! The last step of a file: it gets its name. Whether that is now or later is decided here.
//!
//! A file that is to be on the device before the sender hears of it, or to be read back from it, comes later.
//! Such a step takes as long as the device does, so a thread of its own does it while the workers go on
//! receiving; files that are complete meanwhile are finished together, with one wait for all of them.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::offered::{Entry, Offered};
use super::outcomes::Outcomes;
use super::terms::Diligence;
use crate::content::tree::Hash;
use crate::limits::FINISH_BATCH_FILES;
use crate::os::rlimit;
use crate::os::threads;
use crate::session::ending::End;
use crate::session::report::{FileStatus, ReportKind};
use crate::store::{Existing, ExistingFile, Made, Part, Published, SinkError};

/// Files that may be open for each one that waits for the device: while a batch does the next one gathers,
/// and each may hold its folder.
const DESCRIPTORS_PER_FINISHED_FILE: u64 = 32;

/// What only has to be on the device.
enum Finished {
    File(Complete),
    /// A file that was there already.
    Identical {
        offered: Offered,
        there: Arc<ExistingFile>,
        hash: Hash,
    },
    /// A folder or a link, which is there already.
    Entry {
        entry: Entry,
        made: Made,
    },
}

/// A file whose bytes are all there, and right as they came.
struct Complete {
    offered: Offered,
    part: Arc<Part>,
    hash: Hash,
}

/// What names files when all their bytes are there, with the threads that wait for the device. Those are
/// started by the first file that needs them.
pub struct Finisher {
    outcomes: Arc<Outcomes>,
    queue: Mutex<Option<Sender<Finished>>>,
    flush: Mutex<Option<Sender<Arc<Part>>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Finisher {
    pub fn new(outcomes: Arc<Outcomes>) -> Finisher {
        Finisher { outcomes, queue: Mutex::default(), flush: Mutex::default(), threads: Mutex::default() }
    }

    /// Gives a complete part file its name, if it is the file that was sent; otherwise removes it. Now, where
    /// that takes no time, and otherwise in a thread.
    pub fn publish(&self, offered: &Offered, part: Arc<Part>, ours: Hash, theirs: Hash) {
        let outcomes = &self.outcomes;
        if ours != theirs {
            outcomes.fail_verification(offered, &part, ours, theirs);
        } else if outcomes.terms.diligence.takes_time() {
            let complete = Complete { offered: offered.clone(), part, hash: ours };
            self.finish(Finished::File(complete));
        } else if outcomes.to.existing() == Existing::Rename
            && !offered.layout.is_single()
            && part.is_name_taken()
        {
            // Those that have its names will be read, and the data connection is not to wait for that.
            let offered = offered.clone();
            self.aside(move |outcomes| publish_beside(outcomes, &offered, &part, ours));
        } else {
            part.dress(&offered.metadata);
            let Some(result) = outcomes.name(offered, &part, ours) else { return };
            if is_taken(&result) && !offered.layout.is_single() {
                // The large file that took the name will be read, and the data connection is not to wait for
                // that.
                let offered = offered.clone();
                self.aside(move |outcomes| outcomes.published(&offered, ours, result));
            } else {
                outcomes.published(offered, ours, result);
            }
        }
    }

    /// The file with this `hash` is there already. Whoever put it there may not have waited for the device.
    pub fn identical(&self, offered: &Offered, there: Arc<ExistingFile>, hash: Hash) {
        let outcomes = &self.outcomes;
        if !outcomes.terms.dry_run {
            outcomes.dress_identical(offered, &there);
        }
        if outcomes.terms.diligence.takes_time() && !outcomes.terms.dry_run {
            let offered = offered.clone();
            self.finish(Finished::Identical { offered, there, hash });
        } else {
            outcomes.remember_read(offered, hash);
            outcomes.report(offered, Some(hash), FileStatus::Identical);
        }
    }

    /// Tells of a folder or a link that was made, once it is on the device where that is wanted.
    pub fn made(&self, entry: Entry, made: Result<Made, SinkError>) {
        match made {
            Ok(made) if self.outcomes.terms.diligence.sync => self.finish(Finished::Entry { entry, made }),
            made => self.outcomes.made(&entry, made),
        }
    }

    /// Finishes a file in its turn. Waits where a batch waits already: each file holds a descriptor.
    fn finish(&self, finished: Finished) {
        let mut queue = self.queue.lock();
        if self.outcomes.is_closed() {
            return;
        }
        let sender = match &*queue {
            Some(sender) => sender.clone(),
            None => {
                let batch = rlimit::at_most(FINISH_BATCH_FILES, DESCRIPTORS_PER_FINISHED_FILE);
                let (sender, receiver) = bounded(batch);
                self.start("finish", move |outcomes| finish_all(outcomes, &receiver, batch));
                queue.insert(sender).clone()
            }
        };
        drop(queue);
        // Refused only where no thread could be started, which ends the session.
        let _ = sender.send(finished);
    }

    /// Starts to write back what has been written of a file, unless that is going on already.
    pub fn write_back(&self, part: Arc<Part>) {
        let mut flush = self.flush.lock();
        if self.outcomes.is_closed() {
            return;
        }
        let sender = match &*flush {
            Some(sender) => sender,
            None => {
                let (sender, receiver) = bounded(1);
                self.start("flush", move |_| flush_all(&receiver));
                flush.insert(sender)
            }
        };
        let _ = sender.try_send(part);
    }

    /// Does what takes as long as the disk does and is the rare case, in a thread of its own. There are at
    /// most as many as large files under way.
    fn aside(&self, work: impl FnOnce(&Outcomes) + Send + 'static) {
        self.threads.lock().retain(|thread| !thread.is_finished());
        self.start("aside", work);
    }

    fn start(&self, name: &str, work: impl FnOnce(&Outcomes) + Send + 'static) {
        let own = self.outcomes.clone();
        let builder = threads::worker(name);
        match builder.spawn(move || work(&own)) {
            Ok(thread) => self.threads.lock().push(thread),
            Err(error) => self.outcomes.ending.decide(End::Exhausted(error.to_string())),
        }
    }

    /// Has the threads of a session that is closed end, and publish nothing more: the session's next one may
    /// offer the same files at any moment, and must neither find their part files in use nor their names
    /// taken meanwhile.
    pub fn close(&self) {
        *self.queue.lock() = None;
        *self.flush.lock() = None;
    }

    /// The threads, to be waited for.
    pub fn threads(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut *self.threads.lock())
    }
}

/// Whether somebody else has the name by now.
fn is_taken(result: &Result<Published, SinkError>) -> bool {
    matches!(result, Err(SinkError::Exists { .. } | SinkError::Newer { .. }))
}

fn publish_beside(outcomes: &Outcomes, offered: &Offered, part: &Part, hash: Hash) {
    if outcomes.is_closed() {
        return;
    }
    part.dress(&offered.metadata);
    if let Some(result) = outcomes.name(offered, part, hash) {
        outcomes.published(offered, hash, result);
    }
}

fn flush_all(parts: &Receiver<Arc<Part>>) {
    for part in parts {
        if let Err(error) = part.sync_data() {
            // The part remembers it for its last sync, which tells the sender.
            tracing::debug!("{error}");
        }
    }
}

fn finish_all(outcomes: &Outcomes, queue: &Receiver<Finished>, most: usize) {
    while let Ok(first) = queue.recv() {
        if outcomes.is_closed() {
            continue;
        }
        let batch: Vec<Finished> =
            std::iter::once(first).chain(queue.try_iter().take(most.saturating_sub(1))).collect();
        outcomes.outbox.wait_for_room();
        finish_batch(outcomes, batch);
    }
}

fn finish_batch(outcomes: &Outcomes, batch: Vec<Finished>) {
    let (mut files, mut entries) = (Vec::new(), Vec::new());
    for finished in batch {
        match finished {
            Finished::File(complete) => files.push(complete),
            Finished::Identical { offered, there, hash } => {
                finish_identical(outcomes, &offered, &there, hash)
            }
            Finished::Entry { entry, made } => entries.push((entry, made)),
        }
    }
    files.iter().for_each(|complete| complete.part.dress(&complete.offered.metadata));
    let published = publish(outcomes, files);
    let names = sync_names(outcomes, &published, &entries).map_err(|error| error.failure());
    for (complete, result) in published {
        match (result, &names) {
            (Ok(_), Err(failure)) => outcomes.fail(&complete.offered, failure.clone()),
            (result, _) => outcomes.published(&complete.offered, complete.hash, result),
        }
    }
    for (entry, made) in entries {
        match &names {
            Ok(()) => outcomes.made(&entry, Ok(made)),
            Err(failure) => outcomes.report_entry(&entry, FileStatus::Failed(failure.clone())),
        }
    }
}

fn finish_identical(outcomes: &Outcomes, offered: &Offered, there: &ExistingFile, hash: Hash) {
    let Diligence { reread, .. } = outcomes.terms.diligence;
    let done = there.sync().and_then(|()| if reread { there.reread() } else { Ok(hash) });
    match done {
        Ok(now) if now == hash => outcomes.report(offered, Some(hash), FileStatus::Identical),
        Ok(now) => outcomes.fail_standing(offered, now, hash),
        Err(error) => outcomes.fail(offered, error.failure()),
    }
}

/// Waits until the names in a batch are on the device, if that is wanted.
fn sync_names(
    outcomes: &Outcomes,
    files: &[(Complete, Result<Published, SinkError>)],
    entries: &[(Entry, Made)],
) -> Result<(), SinkError> {
    let Some(sink) = outcomes.to.folder().filter(|_| outcomes.terms.diligence.sync) else { return Ok(()) };
    sink.sync_names(files.iter().map(|(complete, _)| &*complete.part))?;
    let entries = entries.iter().map(|(entry, _)| (&entry.path, entry.kind == ReportKind::Folder));
    sink.sync_entries(entries)
}

/// Gives the files of a batch their names, each once it is on the device and, if it is to be, read back from
/// there.
fn publish(outcomes: &Outcomes, batch: Vec<Complete>) -> Vec<(Complete, Result<Published, SinkError>)> {
    let together = sync_together(outcomes, &batch);
    let mut published = Vec::with_capacity(batch.len());
    for complete in batch {
        let ready = ready(outcomes, &complete, together);
        // Nobody hears of it any more; what was received waits in the part file.
        if outcomes.is_closed() {
            continue;
        }
        match ready {
            Ok(hash) if hash == complete.hash => {
                let result = outcomes.name(&complete.offered, &complete.part, complete.hash);
                published.extend(result.map(|result| (complete, result)));
            }
            Ok(hash) => outcomes.fail_verification(&complete.offered, &complete.part, hash, complete.hash),
            // What the device did not take may be lost, also where memory still has it.
            Err(error) => outcomes.fail_unsynced(&complete.offered, &complete.part, &error),
        }
    }
    published
}

/// Syncs many files with one wait where the system can; otherwise each is to be synced by itself.
fn sync_together(outcomes: &Outcomes, batch: &[Complete]) -> bool {
    let parts = batch.iter().map(|finished| &*finished.part);
    let together = outcomes.to.folder().filter(|_| batch.len() > 1).map(|sink| sink.sync_together(parts));
    match together {
        Some(Ok(())) => true,
        // Which of them it is about, only each of them tells.
        Some(Err(error)) => {
            tracing::info!("not synced together: {error}");
            false
        }
        None => false,
    }
}

/// Syncs a file, unless that was done, and reads it back if it is to be. Returns the hash of what is there.
fn ready(outcomes: &Outcomes, complete: &Complete, together: bool) -> Result<Hash, SinkError> {
    let Complete { part, hash, .. } = complete;
    if together {
        part.synced()?
    } else {
        part.sync()?
    }
    if outcomes.terms.diligence.reread { part.reread() } else { Ok(*hash) }
}

#[cfg(test)]
#[path = "finish_tests.rs"]
mod tests;
