//! The last step of files that are to be on the device before the sender hears of them, or to be read back from it.
//!
//! Such a step takes as long as the device does, so a thread of its own does it while the workers go on receiving;
//! files that are complete meanwhile are finished together, with one wait for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::Receiving;
use super::incoming::{Entry, Offered};
use crate::content::tree::Hash;
use crate::limits::{DESCRIPTORS_PER_FINISHED_FILE, FINISH_BATCH_FILES, WORKER_STACK_BYTES};
use crate::os::rlimit;
use crate::session::ending::End;
use crate::session::report::{FileStatus, ReportKind};
use crate::store::{ExistingFile, Made, Part, Published, SinkError};

/// What must have happened to a file before the sender hears that it arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Diligence {
    /// Data, name and folder are on the device.
    pub sync: bool,
    /// It was read back from the device and had the right hash.
    pub reread: bool,
}

impl Diligence {
    /// Whether there is anything to wait for.
    pub fn takes_time(self) -> bool {
        self.sync || self.reread
    }
}

/// What only has to be on the device.
pub(super) enum Finished {
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
pub(super) struct Complete {
    pub offered: Offered,
    pub part: Arc<Part>,
    pub hash: Hash,
}

/// The threads that wait for the device. Started by the first file that needs them.
#[derive(Default)]
pub(super) struct Finisher {
    queue: Mutex<Option<Sender<Finished>>>,
    flush: Mutex<Option<Sender<Arc<Part>>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    closed: AtomicBool,
}

impl Finisher {
    /// Finishes a file in its turn. Waits where a batch waits already: each file holds a descriptor.
    pub fn finish(session: &Arc<Receiving>, finished: Finished) {
        let mut queue = session.finisher.queue.lock();
        if session.finisher.is_closed() {
            return;
        }
        let sender = match &*queue {
            Some(sender) => sender.clone(),
            None => {
                let batch = rlimit::at_most(FINISH_BATCH_FILES, DESCRIPTORS_PER_FINISHED_FILE);
                let (sender, receiver) = bounded(batch);
                start(session, "finish", move |session| finish_all(session, &receiver, batch));
                queue.insert(sender).clone()
            }
        };
        drop(queue);
        // Refused only where no thread could be started, which ends the session.
        let _ = sender.send(finished);
    }

    /// Starts to write back what has been written of a file, unless that is going on already.
    pub fn write_back(session: &Arc<Receiving>, part: Arc<Part>) {
        let mut flush = session.finisher.flush.lock();
        if session.finisher.is_closed() {
            return;
        }
        let sender = match &*flush {
            Some(sender) => sender,
            None => {
                let (sender, receiver) = bounded(1);
                start(session, "flush", move |_| flush_all(&receiver));
                flush.insert(sender)
            }
        };
        let _ = sender.try_send(part);
    }

    /// Does what takes as long as the disk does and is the rare case, in a thread of its own. There are at most as many
    /// as large files under way.
    pub fn aside(session: &Arc<Receiving>, work: impl FnOnce(&Receiving) + Send + 'static) {
        session.finisher.threads.lock().retain(|thread| !thread.is_finished());
        start(session, "aside", work);
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Has the threads end, and publish nothing more: the session's next one may offer the same files at any moment, and
    /// must neither find their part files in use nor their names taken meanwhile.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        *self.queue.lock() = None;
        *self.flush.lock() = None;
    }

    /// The threads, to be waited for.
    pub fn threads(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut *self.threads.lock())
    }
}

fn start(session: &Arc<Receiving>, name: &str, work: impl FnOnce(&Receiving) + Send + 'static) {
    let own = session.clone();
    let builder = thread::Builder::new().name(name.into()).stack_size(WORKER_STACK_BYTES);
    match builder.spawn(move || work(&own)) {
        Ok(thread) => session.finisher.threads.lock().push(thread),
        Err(error) => session.ending.decide(End::Exhausted(error.to_string())),
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

fn finish_all(session: &Receiving, queue: &Receiver<Finished>, most: usize) {
    while let Ok(first) = queue.recv() {
        if session.finisher.is_closed() {
            continue;
        }
        let batch: Vec<Finished> =
            std::iter::once(first).chain(queue.try_iter().take(most.saturating_sub(1))).collect();
        session.wait_for_room();
        finish_batch(session, batch);
    }
}

fn finish_batch(session: &Receiving, batch: Vec<Finished>) {
    let (mut files, mut entries) = (Vec::new(), Vec::new());
    for finished in batch {
        match finished {
            Finished::File(complete) => files.push(complete),
            Finished::Identical { offered, there, hash } => finish_identical(session, &offered, &there, hash),
            Finished::Entry { entry, made } => entries.push((entry, made)),
        }
    }
    files.iter().for_each(|complete| complete.part.dress(&complete.offered.metadata));
    let published = publish(session, files);
    let names = sync_names(session, &published, &entries).map_err(|error| error.failure());
    for (complete, result) in published {
        match (result, &names) {
            (Ok(_), Err(failure)) => session.fail(&complete.offered, failure.clone()),
            (result, _) => session.published(&complete.offered, complete.hash, result),
        }
    }
    for (entry, made) in entries {
        match &names {
            Ok(()) => session.made(&entry, Ok(made)),
            Err(failure) => session.report_entry(&entry, FileStatus::Failed(failure.clone())),
        }
    }
}

fn finish_identical(session: &Receiving, offered: &Offered, there: &ExistingFile, hash: Hash) {
    let Diligence { reread, .. } = session.terms.diligence;
    let done = there.sync().and_then(|()| if reread { there.reread() } else { Ok(hash) });
    match done {
        Ok(now) if now == hash => session.report(offered, Some(hash), FileStatus::Identical),
        Ok(now) => session.fail_standing(offered, now, hash),
        Err(error) => session.fail(offered, error.failure()),
    }
}

/// Waits until the names in a batch are on the device, if that is wanted.
fn sync_names(
    session: &Receiving,
    files: &[(Complete, Result<Published, SinkError>)],
    entries: &[(Entry, Made)],
) -> Result<(), SinkError> {
    let Some(sink) = session.to.folder().filter(|_| session.terms.diligence.sync) else { return Ok(()) };
    sink.sync_names(files.iter().map(|(complete, _)| &*complete.part))?;
    let entries = entries.iter().map(|(entry, _)| (&entry.path, entry.kind == ReportKind::Folder));
    sink.sync_entries(entries)
}

/// Gives the files of a batch their names, each once it is on the device and, if it is to be, read back from there.
fn publish(session: &Receiving, batch: Vec<Complete>) -> Vec<(Complete, Result<Published, SinkError>)> {
    let together = sync_together(session, &batch);
    let mut published = Vec::with_capacity(batch.len());
    for complete in batch {
        let ready = ready(session, &complete, together);
        // Nobody hears of it any more; what was received waits in the part file.
        if session.finisher.is_closed() {
            continue;
        }
        match ready {
            Ok(hash) if hash == complete.hash => {
                let result = session.name(&complete.offered, &complete.part, complete.hash);
                published.extend(result.map(|result| (complete, result)));
            }
            Ok(hash) => session.fail_verification(&complete.offered, &complete.part, hash, complete.hash),
            // What the device did not take may be lost, also where memory still has it.
            Err(error) => session.fail_unsynced(&complete.offered, &complete.part, &error),
        }
    }
    published
}

/// Syncs many files with one wait where the system can; otherwise each is to be synced by itself.
fn sync_together(session: &Receiving, batch: &[Complete]) -> bool {
    let parts = batch.iter().map(|finished| &*finished.part);
    let together = session.to.folder().filter(|_| batch.len() > 1).map(|sink| sink.sync_together(parts));
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
fn ready(session: &Receiving, complete: &Complete, together: bool) -> Result<Hash, SinkError> {
    let Complete { part, hash, .. } = complete;
    if together {
        part.synced()?
    } else {
        part.sync()?
    }
    if session.terms.diligence.reread { part.reread() } else { Ok(*hash) }
}

#[cfg(test)]
#[path = "finish_tests.rs"]
mod tests;
