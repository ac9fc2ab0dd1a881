//! What the sender has offered, from its offer to its outcome.

use std::time::SystemTime;

use crate::content::chunk::{FileId, Layout};
use crate::content::entry::Metadata;
use crate::name::RelativePath;
use crate::os::stamp::Stamp;
use crate::session::report::ReportKind;
use crate::wire::message::Offer;

/// A folder or a link that was offered.
#[derive(Clone)]
pub struct Entry {
    pub id: FileId,
    pub path: RelativePath,
    pub kind: ReportKind,
    /// What it counts for as long as it is open.
    pub weight: usize,
}

/// A file that was offered, once its path was found to be one.
#[derive(Clone)]
pub struct Offered {
    pub id: FileId,
    pub path: RelativePath,
    /// As it was offered: that of a stream is open.
    pub layout: Layout,
    /// Whether it has holes that are to be kept.
    pub sparse: bool,
    /// Whether something was found under its name that it is to replace.
    pub replaces: bool,
    /// What that was, and in which state.
    pub looked_at: Option<Stamp>,
    pub metadata: Metadata,
    /// When it was offered.
    pub since: SystemTime,
    /// What it counts for as long as it is open.
    pub weight: usize,
    /// What of the sender's quota was taken for it.
    pub counted: u64,
}

impl Offered {
    pub fn new(offer: &Offer, path: RelativePath, sparse: bool) -> Offered {
        let (layout, metadata) = (offer.kind.layout(), offer.metadata.clone());
        let (id, since, weight) = (offer.file, SystemTime::now(), offer.weight());
        Offered {
            id,
            path,
            layout,
            sparse,
            replaces: false,
            looked_at: None,
            metadata,
            since,
            weight,
            counted: 0,
        }
    }
}
