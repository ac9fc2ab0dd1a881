//! What arrives without bytes: folders and links.

use std::sync::Arc;

use super::finishing::{Finished, Finisher};
use super::receiving::Receiving;
use super::receiving_outcomes::storage_failure;
use super::{FileReport, FileStatus, ReportKind};
use crate::chunk::FileId;
use crate::name::RelativePath;
use crate::protocol::message::{Cause, EntryKind, Failure, Offer, Outcome};
use crate::sink::{Made, SinkError};

/// A folder or a link that was offered.
#[derive(Clone)]
pub(super) struct Entry {
    pub id: FileId,
    pub path: RelativePath,
    pub kind: ReportKind,
}

impl Receiving {
    /// Makes what was offered, or in a dry run says what would come of it.
    pub(super) fn offer_entry(self: &Arc<Self>, offer: &Offer, path: RelativePath) {
        let kind = match offer.kind {
            EntryKind::File { .. } | EntryKind::Stream => ReportKind::File,
            EntryKind::Folder => ReportKind::Folder,
            EntryKind::Symlink { .. } => ReportKind::Symlink,
            EntryKind::HardLink { .. } => ReportKind::HardLink,
        };
        let entry = Entry { id: offer.file, path, kind };
        if self.terms.dry_run {
            let status =
                match self.sink(&entry.path).and_then(|sink| sink.would_make(&entry.path, &offer.kind)) {
                    Ok(true) => FileStatus::Wanted,
                    Ok(false) => FileStatus::Identical,
                    Err(error) => FileStatus::Failed(storage_failure(&error)),
                };
            return self.report_entry(&entry, status);
        }
        let sink = self.sink(&entry.path);
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
            Err(error) => FileStatus::Failed(storage_failure(&error)),
        };
        self.report_entry(entry, status);
    }

    pub(super) fn report_entry(&self, entry: &Entry, status: FileStatus) {
        let outcome = status.outcome();
        let Entry { id, path, kind } = entry.clone();
        let named = path.parent().is_none();
        self.observer.file(&FileReport { path, kind, named, size: None, hash: None, status });
        self.say_outcome(id, false, outcome);
    }

    /// The sender's folder has no name here: only its content was wanted. Nobody sent it, so nobody is told of it.
    pub(super) fn dress_destination(&self, offer: &Offer) {
        if self.terms.dry_run {
            return self.say_outcome(offer.file, false, Outcome::Wanted);
        }
        let outcome = match self.to.folder().map(|sink| sink.folder(None, &offer.metadata)) {
            // Standard output has no mode and no time.
            Some(Ok(_)) | None => Outcome::Stored,
            Some(Err(error)) => Outcome::Failed(storage_failure(&error)),
        };
        self.say_outcome(offer.file, false, outcome);
    }
}
