//! What a sender tells those that send the same to other receivers.

use std::sync::Arc;

use super::run::Attempt;
use super::sending::Sending;
use crate::chunk::ChunkIndex;
use crate::source::{Item, SharedReader};

impl Sending {
    /// The same for one of several receivers.
    pub fn sharing(mut self, shared: Option<Arc<SharedReader>>) -> Sending {
        if let Some(shared) = &shared {
            shared.begin();
        }
        self.shared = shared;
        self
    }

    /// The receiver wants these chunks, and other receivers may, too; none where it only compares for now.
    pub(super) fn will_share(&self, attempt: &Attempt, first: ChunkIndex, count: u64) {
        if let (Some(shared), Some(source)) = (&self.shared, attempt.file.item.source()) {
            shared.wants(source, first, count);
        }
    }

    /// The receiver needs no more of the item.
    pub(super) fn shares_no_more(&self, item: &Item) {
        if let (Some(shared), Some(source)) = (&self.shared, item.source()) {
            shared.over(source);
        }
    }
}
