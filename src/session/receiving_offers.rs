//! What the receiver makes of each offer.

use std::sync::Arc;

use super::incoming::{Bytes, Incoming, Offered};
use super::receiving::Receiving;
use super::receiving_compare;
use super::receiving_outcomes::storage_failure;
use super::{End, FileStatus, PeerMisbehaved, Progress};
use crate::limits::{FILE_BYTES_MAX, FILES_IN_FLIGHT_MAX, LARGE_FILES_IN_FLIGHT_MAX};
use crate::name::RelativePath;
use crate::protocol::message::{Against, Cause, EntryKind, Failure, Offer, Outcome, ReceiverMessage};
use crate::sink::{Destination, Existing, Found, SinkError};

impl Receiving {
    pub(super) fn offer(self: &Arc<Self>, offer: &Offer) -> Result<(), End> {
        let layout = offer.kind.layout();
        self.count_offer(offer, !layout.is_single())?;
        if offer.kind == EntryKind::Folder && offer.path.is_empty() {
            self.dress_destination(offer);
            return Ok(());
        }
        let path = match RelativePath::from_wire(&offer.path) {
            Ok(path) => path,
            Err(bad) => {
                let failure = Failure::new(Cause::Refused, bad.to_string());
                self.say_outcome(offer.file, !layout.is_single(), Outcome::Failed(failure));
                return Ok(());
            }
        };
        match offer.kind {
            EntryKind::File { sparse, .. } => {
                let metadata = offer.metadata.clone();
                self.offer_file(Offered { id: offer.file, path, layout, sparse, replaces: false, metadata });
            }
            EntryKind::Stream => {
                self.progress.stream_began();
                let metadata = offer.metadata.clone();
                self.offer_file(Offered {
                    id: offer.file,
                    path,
                    layout,
                    sparse: false,
                    replaces: false,
                    metadata,
                });
            }
            _ => self.offer_entry(offer, path),
        }
        Ok(())
    }

    fn offer_file(self: &Arc<Self>, offered: Offered) {
        let size = offered.layout.size();
        if size > FILE_BYTES_MAX {
            let text = format!("{}: {size} bytes are more than lanx stores in one file", offered.path);
            self.fail(&offered, Failure::new(Cause::Storage, text));
            return;
        }
        if let Destination::Output(output) = &*self.to {
            return self.offer_to_output(offered, output);
        }
        // A stream has no size that a file could share: whatever is there differs.
        let size = offered.layout.known_size().unwrap_or(u64::MAX);
        match self.sink(&offered.path).and_then(|sink| sink.look(&offered.path, size)) {
            Ok(Found::SameSize(existing)) => {
                let bytes = Bytes::Existing(Arc::new(existing));
                self.start_comparing(offered, bytes, Against::Existing);
            }
            Ok(Found::Different) if self.to.existing() == Existing::Refuse => self.refuse_existing(&offered),
            Ok(Found::Nothing) => self.start_receiving(offered),
            Ok(Found::Different) => self.start_receiving(Offered { replaces: true, ..offered }),
            // With a number behind it the name is free.
            Err(SinkError::InTheWay { .. }) if self.to.existing() == Existing::Rename => {
                self.start_receiving(offered)
            }
            Err(error) => self.fail(&offered, storage_failure(&error)),
        }
    }

    fn count_offer(&self, offer: &Offer, large: bool) -> Result<(), PeerMisbehaved> {
        let mut files = self.files.lock();
        if files.finished || offer.file.0 != files.offered {
            let expected = "each file to be offered once, in order, before the end";
            return Err(PeerMisbehaved::Unexpected { got: "an offer", expected });
        }
        if files.open >= FILES_IN_FLIGHT_MAX {
            return Err(PeerMisbehaved::TooMany { what: "files at once", limit: FILES_IN_FLIGHT_MAX });
        }
        if large && files.large >= LARGE_FILES_IN_FLIGHT_MAX {
            return Err(PeerMisbehaved::TooMany {
                what: "large files at once",
                limit: LARGE_FILES_IN_FLIGHT_MAX,
            });
        }
        files.offered += 1;
        files.open += 1;
        files.untold += 1;
        files.large += usize::from(large);
        drop(files);
        Progress::add(&self.progress.offered, offer.kind.size().min(FILE_BYTES_MAX));
        Ok(())
    }

    pub(super) fn start_receiving(self: &Arc<Self>, offered: Offered) {
        if self.terms.dry_run {
            self.report(&offered, None, FileStatus::Wanted);
            return;
        }
        if offered.layout.is_single() {
            let file = offered.id;
            self.files.lock().singles.insert(file, offered);
            self.outbox.send(&ReceiverMessage::Send { file });
            return;
        }
        let (path, size) = (&offered.path, offered.layout.size());
        let part = self.sink(path).and_then(|sink| match offered.replaces && self.terms.delta {
            _ if offered.layout.is_open() => sink.part_of_stream(path),
            true => sink.part_from_existing(path, size, offered.sparse),
            false => sink.part(path, size, offered.sparse),
        });
        match part {
            Ok(part) if part.is_fresh() => {
                let file = offered.id;
                self.insert(Arc::new(Incoming::new(offered, Bytes::Part(Arc::new(part)))));
                self.outbox.send(&ReceiverMessage::Send { file });
            }
            Ok(part) => self.start_comparing(offered, Bytes::Part(Arc::new(part)), Against::Part),
            Err(error) => self.fail(&offered, storage_failure(&error)),
        }
    }

    fn start_comparing(self: &Arc<Self>, offered: Offered, bytes: Bytes, against: Against) {
        let file = offered.id;
        let incoming = Arc::new(Incoming::new(offered, bytes.clone()));
        self.insert(incoming.clone());
        self.outbox.send(&ReceiverMessage::Compare { file, against });
        receiving_compare::start(self, incoming, &bytes);
    }

    fn insert(&self, incoming: Arc<Incoming>) {
        let mut files = self.files.lock();
        if !files.closed {
            files.incoming.insert(incoming.offered.id, incoming);
        }
    }
}
