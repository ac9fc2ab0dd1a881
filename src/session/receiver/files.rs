//! The files of a session that have no outcome yet, and what is known of each.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::incoming::Incoming;
use super::offered::Offered;
use crate::content::chunk::FileId;
use crate::content::tree::Hash;
use crate::limits::{FILES_IN_FLIGHT_MAX, LARGE_FILES_IN_FLIGHT_MAX};
use crate::session::ending::PeerMisbehaved;

#[derive(Default)]
pub struct Files {
    pub offered: u64,
    /// The hash that the sender remembers of the file that it offers next.
    pub remembered: Option<(FileId, Hash)>,
    /// Files that arrive whole in one frame.
    pub singles: HashMap<FileId, Offered>,
    /// Files that arrive in pieces.
    pub incoming: HashMap<FileId, Arc<Incoming>>,
    /// Files that failed while the sender was still sending them: their late chunks are discarded.
    pub failed: BTreeSet<FileId>,
    /// Files without an outcome.
    pub open: usize,
    pub large: usize,
    /// Files whose outcome is not queued for the sender yet.
    pub untold: usize,
    pub finished: bool,
}

/// What a data connection's chunk belongs to.
pub enum Target {
    Incoming(Arc<Incoming>),
    /// Too late; to be discarded.
    Failed,
}

impl Files {
    /// Counts an offer.
    ///
    /// # Errors
    /// It is not the next one, or one too many.
    pub fn count(&mut self, file: FileId, large: bool) -> Result<(), PeerMisbehaved> {
        if self.finished || file.0 != self.offered {
            let expected = "each file to be offered once, in order, before the end";
            return Err(PeerMisbehaved::Unexpected { got: "an offer", expected });
        }
        if self.open >= FILES_IN_FLIGHT_MAX {
            return Err(PeerMisbehaved::TooMany { what: "files at once", limit: FILES_IN_FLIGHT_MAX });
        }
        if large && self.large >= LARGE_FILES_IN_FLIGHT_MAX {
            let (what, limit) = ("large files at once", LARGE_FILES_IN_FLIGHT_MAX);
            return Err(PeerMisbehaved::TooMany { what, limit });
        }
        self.offered += 1;
        self.open += 1;
        self.untold += 1;
        self.large += usize::from(large);
        Ok(())
    }

    /// What a chunk of this file belongs to.
    pub fn target(&self, file: FileId) -> Result<Target, PeerMisbehaved> {
        match self.incoming.get(&file) {
            Some(incoming) => Ok(Target::Incoming(incoming.clone())),
            None if self.failed.contains(&file) => Ok(Target::Failed),
            None => Err(PeerMisbehaved::UnknownFile(file.0)),
        }
    }
}
