//! What arrives without bytes: folders and links.

use super::finish::Finisher;
use super::offered::Entry;
use super::outcomes::Outcomes;
use crate::content::entry::{Cause, EntryKind, Failure, Outcome};
use crate::name::RelativePath;
use crate::session::report::{FileStatus, ReportKind};
use crate::store::SinkError;
use crate::wire::message::Offer;

/// Makes what was offered, or in a dry run says what would come of it.
pub fn offer_entry(outcomes: &Outcomes, finisher: &Finisher, offer: &Offer, path: RelativePath) {
    let kind = match offer.kind {
        EntryKind::File { .. } | EntryKind::Stream => ReportKind::File,
        EntryKind::Folder | EntryKind::ParentFolder => ReportKind::Folder,
        EntryKind::Symlink { .. } => ReportKind::Symlink,
        EntryKind::HardLink { .. } => ReportKind::HardLink,
    };
    let entry = Entry { id: offer.file, path, kind, weight: offer.weight() };
    if outcomes.terms.dry_run {
        let status =
            match outcomes.sink(&entry.path).and_then(|sink| sink.would_make(&entry.path, &offer.kind)) {
                Ok(true) => FileStatus::Wanted,
                Ok(false) => FileStatus::Identical,
                Err(SinkError::NotLinked { fault, .. }) if fault.wants_a_file() => {
                    return outcomes.say_unlinked(&entry, &fault);
                }
                Err(error) => FileStatus::Failed(error.failure()),
            };
        return outcomes.report_entry(&entry, status);
    }
    let sink = outcomes.sink(&entry.path).and_then(|sink| sink.check_place().map(|()| sink));
    let made = match &offer.kind {
        EntryKind::Symlink { target } => {
            sink.and_then(|sink| sink.symlink(&entry.path, target, &offer.metadata))
        }
        EntryKind::HardLink { to } => match RelativePath::from_wire(to) {
            Ok(to) => sink.and_then(|sink| sink.hard_link(&entry.path, &to)),
            Err(bad) => {
                let failure = Failure::new(Cause::Refused, bad.to_string());
                return outcomes.report_entry(&entry, FileStatus::Failed(failure));
            }
        },
        _ => sink.and_then(|sink| sink.folder(Some(&entry.path), &offer.metadata)),
    };
    finisher.made(entry, made);
}

/// Nothing is to be reported of it yet: it comes again, when everything in it is there.
pub fn make_parent_folder(outcomes: &Outcomes, offer: &Offer, path: &RelativePath) {
    let outcome = match outcomes.sink(path) {
        _ if outcomes.terms.dry_run => Outcome::Wanted,
        Ok(sink) => match sink.parent_folder(path) {
            Ok(()) => Outcome::Stored,
            Err(error) => Outcome::Failed(error.failure()),
        },
        Err(error) => Outcome::Failed(error.failure()),
    };
    outcomes.say_outcome(offer.file, false, offer.weight(), outcome);
}

/// The sender's folder has no name here: only its content was wanted. Nobody sent it, so nobody is told of
/// it.
pub fn dress_destination(outcomes: &Outcomes, offer: &Offer) {
    if outcomes.terms.dry_run {
        return outcomes.say_outcome(offer.file, false, offer.weight(), Outcome::Wanted);
    }
    let outcome = match outcomes.to.folder().map(|sink| sink.folder(None, &offer.metadata)) {
        // Standard output has no mode and no time.
        Some(Ok(_)) | None => Outcome::Stored,
        Some(Err(error)) => Outcome::Failed(error.failure()),
    };
    outcomes.say_outcome(offer.file, false, offer.weight(), outcome);
}
