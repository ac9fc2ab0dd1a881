//! What a sender offers, and what becomes of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::run::Outgoing;
use super::sending::{Entry, Sending};
use super::{End, FileReport, FileStatus, PeerMisbehaved, Progress, ReportKind};
use crate::chunk::FileId;
use crate::limits::OBSERVER_LOOK;
use crate::name::Name;
use crate::protocol::message::{Offer, Outcome, SenderMessage};
use crate::source::{Feed, Item, Next, Trouble, What};

impl Sending {
    /// Offers an item; waits while as many as may be are under way.
    ///
    /// # Errors
    /// The item, once the session is closed.
    pub fn offer(&self, item: Arc<Item>) -> Result<(), Arc<Item>> {
        let mut queue = self.queue.lock();
        let large = !item.layout().is_single();
        while !queue.closed && !queue.has_room_for(large) {
            queue.full = true;
            self.settled.wait(&mut queue);
        }
        if queue.closed {
            return Err(item);
        }
        let file = Outgoing::new(FileId(queue.offered), item);
        let item = &file.item;
        let offer = Offer {
            file: file.id,
            kind: item.kind(),
            metadata: item.metadata.clone(),
            path: item.path.as_ref().map_or(Vec::new(), |path| path.as_bytes().to_vec()),
        };
        if file.layout.is_open() {
            queue.stream = Some(file.id);
            self.reads_once.store(true, Ordering::Relaxed);
            self.progress.stream_began();
        }
        queue.offered += 1;
        queue.large += usize::from(large);
        queue.files.insert(file.id, Entry { file: Arc::new(file), attempt: None, asked_up_to: 0, queued: 0 });
        drop(queue);
        Progress::add(&self.progress.offered, offer.kind.size());
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

    pub(super) fn outcome(&self, file: FileId, outcome: Outcome) -> Result<(), End> {
        let mut queue = self.queue.lock();
        let entry = queue.files.remove(&file).ok_or(PeerMisbehaved::UnknownFile(file.0))?;
        let was_large = entry.file.is_large();
        queue.large -= usize::from(was_large);
        drop(queue);
        if let Some(attempt) = &entry.attempt {
            attempt.end();
        }
        // Nobody needs the length any more.
        if entry.file.layout.is_open() && entry.file.length.set(None).is_ok() {
            self.progress.stream_ended(0);
        }
        self.shares_no_more(&entry.file.item);
        let status = status(&entry.file, outcome, self.dry_run)?;
        Progress::add(&self.progress.files_done, 1);
        Progress::add(&self.progress.bytes_done, entry.file.size().unwrap_or_default());
        if let Some(report) = report(&entry.file, status.clone()) {
            self.observer.file(&report);
        }
        settle(&entry.file.item, &status);
        drop(entry);
        // What waited for this has come out of the feed by now, and whoever waits for the feed looks at it under the lock.
        let worth = self.queue.lock().is_worth_offering(was_large);
        if worth {
            self.settled.notify_all();
        }
        Ok(())
    }
}

fn status(file: &Outgoing, outcome: Outcome, dry_run: bool) -> Result<FileStatus, PeerMisbehaved> {
    let unexpected = |got, expected| PeerMisbehaved::Unexpected { got, expected };
    let hashed = !file.item.has_content() || file.root.get().is_some();
    Ok(match (outcome, file.withdrawn.get()) {
        (Outcome::Failed(_), Some(ours)) => FileStatus::Failed(ours.clone()),
        (Outcome::Failed(theirs), None) => FileStatus::Failed(theirs),
        (Outcome::Wanted, _) if dry_run => FileStatus::Wanted,
        (Outcome::Wanted, _) => return Err(unexpected("a mere wish", "an outcome")),
        _ if !hashed => return Err(unexpected("a success", "none before the file's hash")),
        (Outcome::Stored, _) if dry_run => return Err(unexpected("a stored file", "none in a dry run")),
        (Outcome::Stored, _) => FileStatus::Stored,
        (Outcome::Identical, _) => FileStatus::Identical,
        (Outcome::Renamed(name), _) => FileStatus::Renamed(
            Name::from_wire(&name).map_err(|_| unexpected("a new name that is none", "a file name"))?,
        ),
    })
}

/// What to tell of it; nothing of the destination itself, which nobody sent.
fn report(file: &Outgoing, status: FileStatus) -> Option<FileReport> {
    let (item, hash, size) = (&file.item, file.root.get().copied(), file.size());
    let kind = match item.what {
        What::File(_) | What::Stream(_) => ReportKind::File,
        What::Folder => ReportKind::Folder,
        What::Symlink { .. } => ReportKind::Symlink,
        What::HardLink { .. } => ReportKind::HardLink,
    };
    let size = size.filter(|_| kind == ReportKind::File);
    Some(FileReport { path: item.path.clone()?, kind, named: item.named, size, hash, status })
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
